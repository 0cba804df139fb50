package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/plan/timeline"
)

func newStatus(a *app) *cobra.Command {
	var detailed, watch, metrics bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Where the migration is, what is next and when, who is needed",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if metrics && (watch || a.json) {
				return usage("-metrics goes with neither -watch nor -json")
			}
			for {
				s, err := a.status(cmd.Context())
				if err != nil {
					return err
				}
				if watch && a.stdoutTTY {
					fmt.Fprint(a.stdout, "\x1b[H\x1b[2J")
				}
				switch {
				case metrics:
					err = render.StatusMetrics(a.stdout, s)
				case a.json:
					err = render.StatusJSON(a.stdout, s)
				default:
					err = render.StatusText(a.stdout, s, a.screen())
				}
				if err != nil {
					return err
				}
				if !watch || s.Complete {
					if detailed && !s.Complete {
						return exit(exitParked)
					}
					return nil
				}
				if err := a.clock.Sleep(cmd.Context(), 2*time.Second); err != nil {
					return err
				}
			}
		},
	}
	cmd.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit 3 when the migration is not complete")
	cmd.Flags().BoolVar(&metrics, "metrics", false, "write metrics in the text format of Prometheus")
	cmd.Flags().BoolVar(&watch, "watch", false, "show again every two seconds")
	return cmd
}

// status reads plan, journal, approvals and clock, and nothing else.
func (a *app) status(ctx context.Context) (render.Status, error) {
	r, err := a.openStatus(ctx)
	if err != nil {
		return render.Status{}, err
	}
	defer r.close()
	st, err := r.engine.Status()
	if err != nil {
		return render.Status{}, err
	}
	running := ""
	if held, err := r.db.Held(); err == nil && held {
		h, err := r.db.Holder(ctx)
		if err != nil {
			return render.Status{}, err
		}
		running = fmt.Sprintf("%s, process %d on %s", h.Command, h.PID, h.Host)
	}
	return a.statusView(r, st, running), nil
}

func (a *app) statusView(r *running, st apply.Status, running string) render.Status {
	est := a.readEstimates()
	now := a.clock.Now()
	v := render.Status{
		Migration: r.plan.Name, Plan: r.plan.Digest, Number: r.plan.Number, Timezone: r.plan.Timezone, At: now, Rollback: r.plan.Rollback,
		Phase: st.Phase, Complete: st.Complete, Running: running,
		Steps: render.StepCounts{Total: len(r.plan.Steps), Done: st.Done, Failed: st.Failed, Waiting: st.Waiting + st.ByHand, ByHand: st.ByHand},
	}
	assume := timeline.Assume{Now: now, Ended: map[plan.Phase]time.Time{}}
	for _, p := range st.Phases {
		if !p.End.IsZero() {
			assume.Ended[p.Phase] = p.End
		}
	}
	forecast := map[plan.Phase]timeline.Row{}
	for _, row := range timeline.Forecast(r.plan, est, assume) {
		forecast[row.Phase] = row
	}
	for _, p := range st.Phases {
		ps := render.PhaseStatus{Phase: p.Phase, Done: p.Done, Total: p.Steps, Start: p.Start, End: p.End, Complete: !p.End.IsZero()}
		if ps.Start.IsZero() {
			ps.Start = forecast[p.Phase].Start
		}
		if ps.End.IsZero() {
			ps.End = forecast[p.Phase].End
		}
		if p.Phase == plan.Delta && p.End.IsZero() && !st.Converges.IsZero() {
			ps.End = st.Converges
			if ps.End.Before(now) {
				ps.End = now
			}
		}
		if p.Phase == st.Phase && !p.Start.IsZero() && !p.Start.After(now) {
			v.Since = p.Start
		}
		v.Phases = append(v.Phases, ps)
	}
	if n := st.Next; n != nil && (n.Until.IsZero() || n.Until.After(now)) {
		v.Next = &render.Next{Kind: string(n.Kind), Gate: n.Gate, Step: n.Step, Until: n.Until, Who: who(r.plan, *n)}
	}
	for _, g := range r.plan.Gates {
		for _, ans := range r.engine.LastAnswers(g) {
			for _, name := range st.BlockedBy {
				if name == ans.Check.String() {
					v.BlockedBy = append(v.BlockedBy, render.Blocker{Check: name, Gate: g.Name, Words: ans.Detail, Remedy: ans.Remedy})
				}
			}
		}
	}
	seen := func(address string) int {
		if est == nil {
			return 0
		}
		return int(est.Mailboxes[address].Messages)
	}
	for _, m := range st.Mailboxes {
		ms := render.MailboxStatus{Address: m.Address, Messages: max(m.Messages, seen(m.Address)), Copied: m.Messages, Quarantined: m.Quarantined, Doubt: m.Doubt, LastPass: m.LastPass}
		if m.Closed {
			ms.Note = "closed"
		}
		v.Mailboxes = append(v.Mailboxes, ms)
	}
	for _, d := range st.Drift {
		state := r.engine.Record.State(d.Step)
		v.Drift = append(v.Drift, render.Drift{Step: d.Step, Want: state.Drift.Want, Found: state.Drift.Found})
	}
	for _, f := range st.Failures {
		v.Failures = append(v.Failures, render.Failure{Step: f.Step, Error: f.Words, At: f.At, Remedy: "mend it and run mxodus apply again"})
	}
	v.Unsure = st.Unsure
	if d := st.NextDelta; d != nil {
		v.NextDelta = &render.NextDelta{At: d.At, Mailboxes: d.Mailboxes, Known: d.Known, Messages: d.Messages, Octets: d.Octets, Takes: d.Takes}
	}
	for _, c := range r.engine.Convergence() {
		rs := render.RecordServers{Step: c.Step}
		for _, s := range c.Servers {
			rs.Servers = append(rs.Servers, render.ServerStatus{Server: s.Server, Resolver: s.Resolver, State: string(s.Kind), Since: s.Since, At: s.At, Serves: s.Lines, Words: s.Words})
		}
		v.Servers = append(v.Servers, rs)
	}
	v.Late = lateSenders(st.Late)
	for _, s := range st.Tasks {
		provable := !strings.HasPrefix(s.Address, "retire/host/")
		v.ToDo = append(v.ToDo, render.ToDo{Step: s.Address, Instructions: s.Detail, Proof: provable})
	}
	return v
}

// who is needed for a wait, in words.
func who(p *plan.Plan, w apply.Waiting) string {
	switch w.Kind {
	case apply.WaitApproval:
		g, _ := p.Gate(w.Gate)
		if len(g.Approve.By) > 0 {
			return fmt.Sprintf("%d of %s", g.Approve.Count, strings.Join(g.Approve.By, ", "))
		}
		return "somebody who approves"
	case apply.WaitByHand:
		return "whoever has the panel"
	case apply.WaitCheck:
		return "whoever can mend " + strings.Join(w.Names, ", ")
	}
	return ""
}

func lateSenders(list []apply.LateSender) []render.LateSender {
	out := make([]render.LateSender, len(list))
	for i, l := range list {
		out[i] = render.LateSender(l)
	}
	return out
}
