package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/plan/render"
)

type applyOptions struct {
	wait       bool
	detailed   bool
	maxRuntime string
	wave       int
	mailbox    string
}

func newApply(a *app) *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use:   "apply [PLAN]",
		Short: "Run what is due of a plan; park where it has to wait",
		Long: "apply runs the steps that are due, looks at each thing again just before it touches\n" +
			"it, and parks when the next step waits for a time, a TTL or a person. Run it again\n" +
			"and it goes on; with -wait it sleeps through the waits. Ctrl-C finishes messages in\n" +
			"flight. Without PLAN it goes on with the plan that was applied last.",
		Example: "  mxodus apply plans/0001.plan\n  mxodus apply -wait -max-runtime 8h plans/0001.plan",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.apply(cmd.Context(), strings.Join(args, ""), o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.wait, "wait", false, "sleep through waits instead of parking")
	f.BoolVar(&o.detailed, "detailed-exitcode", false, "exit 3 when parked")
	f.StringVar(&o.maxRuntime, "max-runtime", "", "park after this `duration`, such as 8h")
	f.IntVar(&o.wave, "wave", 0, "copy only the mailboxes of this wave, and do nothing else")
	f.StringVar(&o.mailbox, "mailbox", "", "copy only this source `address`, and do nothing else")
	return cmd
}

func (a *app) apply(ctx context.Context, path string, o applyOptions) error {
	a.graceful.Store(true)
	var limit time.Duration
	if o.maxRuntime != "" {
		var err error
		if limit, err = plan.ParseDuration(o.maxRuntime); err != nil {
			return usage("-max-runtime: %v", err)
		}
	}
	r, err := a.openRun(ctx, path, true)
	if err != nil {
		return err
	}
	defer r.close()
	if err := chosen(r, o); err != nil {
		return err
	}
	lease, err := r.db.Acquire(ctx, holder("apply"), a.clock)
	if err != nil {
		return err
	}
	defer lease.Release()
	// Between reading the journal and taking the lease another run may have ended.
	entries, err := r.db.Entries(ctx, 0)
	if err != nil {
		return err
	}
	r.engine.Record = apply.NewRecord(r.plan, entries)

	stop, release := a.stopAfter(ctx, limit)
	defer release()
	view := a.applyView(r)
	e := r.engine
	e.Wait, e.Wave, e.Mailbox, e.Stop = o.wait, o.wave, o.mailbox, stop
	hooks := &hooks{migration: r.loaded.Migration, notices: r.loaded.Migration.Notices, clock: a.clock, notifier: e.Systems.Notifier, journal: r.db, note: func(text string) {
		view.event(apply.Event{Type: "note", At: a.clock.Now(), Text: text})
	}}
	if err := hooks.remember(ctx); err != nil {
		return err
	}
	e.Documents = func(ctx context.Context) (map[string][]byte, error) { return a.documents(ctx, r) }
	e.Events = func(ev apply.Event) {
		view.event(ev)
		hooks.event(ctx, ev)
		if a.watch != nil {
			a.watch(ev)
		}
	}
	a.view.Store(view)
	defer a.view.Store(nil)
	out, err := e.Run(ctx)
	hooks.wait()
	if err != nil {
		view.end(nil)
		if _, ok := errors.AsType[*apply.PreflightError](err); ok {
			return exitWith(exitGate, err)
		}
		return err
	}
	code := applyCode(out, view.quarantined() > 0, o.detailed)
	view.end(&out)
	if a.json {
		if err := view.summary(out, code); err != nil {
			return err
		}
	}
	return exit(code)
}

// chosen refuses a mailbox or a wave that the plan doesn't have.
func chosen(r *running, o applyOptions) error {
	m := r.loaded.Migration
	if o.mailbox != "" {
		if _, ok := m.MailboxAt(o.mailbox); !ok {
			return usage("-mailbox %s: the configuration has no such source address", render.Escape(o.mailbox))
		}
	}
	if o.wave != 0 {
		for _, b := range m.Mailboxes {
			if b.Wave == o.wave {
				return nil
			}
		}
		return usage("-wave %d: no mailbox is in that wave", o.wave)
	}
	return nil
}

// applyCode is the exit code of a run that nothing cut short.
func applyCode(out apply.Outcome, quarantined, detailed bool) int {
	switch {
	case len(out.Failed) > 0:
		return exitFailed
	case len(out.Drift) > 0:
		return exitRefused
	case len(out.Refused) > 0:
		return exitGate
	case quarantined:
		return exitFailed
	case out.Complete || !detailed:
		return exitOK
	}
	return exitParked
}

// stopAfter is a channel that is closed by an interrupt, or after limit when it is set.
func (a *app) stopAfter(ctx context.Context, limit time.Duration) (<-chan struct{}, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := make(chan struct{})
	expired := make(chan struct{})
	if limit > 0 {
		go func() {
			if a.clock.Sleep(ctx, limit) == nil {
				close(expired)
			}
		}()
	}
	go func() {
		select {
		case <-a.stop:
		case <-expired:
		case <-ctx.Done():
			return
		}
		close(stop)
	}()
	return stop, cancel
}

func (a *app) applyView(r *running) *applyView {
	loc, err := time.LoadLocation(r.plan.Timezone)
	if err != nil {
		loc = time.UTC
	}
	return &applyView{
		out: a.stdout, json: a.json, live: a.stdoutTTY && !a.json, screen: a.screen(), clock: a.clock, loc: loc,
		at: map[string]progressAt{}, before: quarantinedBefore(r), now: map[string]int{}, shown: map[string]bool{}, plan: r.plan,
	}
}

// quarantinedBefore is what earlier runs have put into quarantine, by mailbox.
func quarantinedBefore(r *running) map[string]int {
	before := map[string]int{}
	for _, m := range r.loaded.Migration.Mailboxes {
		for _, kind := range []string{"copy/", "delta/", "hold/", "carry_back/"} {
			st := r.engine.Record.State(kind + m.Source)
			before[m.Source] = max(before[m.Source], st.Result.Quarantined)
		}
	}
	return before
}

// outcomeLines says how a run ended, in words, with the next command.
func outcomeLines(out apply.Outcome, p *plan.Plan, loc *time.Location) []string {
	var lines []string
	for _, s := range out.Failed {
		lines = append(lines, "failed: "+s)
	}
	for _, s := range out.Drift {
		lines = append(lines, "drifted: "+s+" (the world is neither as planned nor as wanted; plan again)")
	}
	if n := len(out.Failed) + len(out.Drift); n > 0 {
		lines = append(lines, fmt.Sprintf("%d of %d steps done, %d failed or drifted, %d not done yet.", out.Done, len(p.Steps), n, out.NotStarted))
	}
	switch {
	case out.Complete:
		return append(lines, fmt.Sprintf("Complete: all %d steps of plan %04d are done.", len(p.Steps), p.Number))
	case out.Stopped:
		lines = append(lines, "Stopped. Run the same command again and it goes on.")
	default:
		lines = append(lines, "Parked. Run mxodus apply again and it goes on; mxodus status shows the whole.")
	}
	shown := 0
	for _, w := range out.Waiting {
		if w.Kind == apply.Dependency || w.Kind == apply.Trouble || shown == 3 {
			continue
		}
		lines = append(lines, "  "+w.Phrase(loc))
		shown++
	}
	return lines
}
