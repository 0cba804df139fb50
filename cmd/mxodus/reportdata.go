package main

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/plan/render"
)

// history is every plan of the migration that was applied, oldest first, with what the journal says under it. The
// last one is the plan that the report is of. A flip stays in the report when a later plan has taken over.
type history []past

type past struct {
	plan   *plan.Plan
	record *apply.Record
}

func (a *app) history(ctx context.Context, r *running) (history, error) {
	entries, err := r.db.Entries(ctx, 0)
	if err != nil {
		return nil, err
	}
	applied := map[string]bool{}
	for _, e := range entries {
		applied[e.Plan] = true
	}
	var h history
	for digest, p := range a.knownPlans() {
		if applied[digest] && digest != r.plan.Digest {
			h = append(h, past{p, apply.NewRecord(p, entries)})
		}
	}
	slices.SortFunc(h, func(x, y past) int {
		return cmp.Or(x.plan.Number-y.plan.Number, strings.Compare(x.plan.Digest, y.plan.Digest))
	})
	return append(h, past{r.plan, r.engine.Record}), nil
}

// steps reports what the steps of all plans did; what an earlier plan did not do is left out.
func (h history) steps(rep *render.Report) {
	at := map[string]int{}
	for i, x := range h {
		for _, s := range x.plan.Steps {
			if st := x.record.State(s.Address); i == len(h)-1 || !st.Done.IsZero() || !st.Applied.IsZero() {
				at[s.Address] = i
			}
		}
	}
	for i, x := range h {
		for _, s := range x.plan.Steps {
			if n, ok := at[s.Address]; ok && n == i {
				addStep(rep, x.record, s)
			}
		}
	}
}

// gate is who agreed to a gate under any of the plans, and when it opened last.
func (h history) gate(dir string, g plan.Gate) (render.ApprovalReport, error) {
	rep := render.ApprovalReport{Gate: g.Name}
	for _, c := range g.Require {
		rep.Checks = append(rep.Checks, c.String())
	}
	for _, x := range h {
		if at := x.record.Opened(g.Name); at.After(rep.Opened) {
			rep.Opened = at
		}
		list, err := apply.Approvals(dir, g.Name, x.plan.Digest)
		if err != nil {
			return rep, err
		}
		for _, ap := range list {
			if !slices.Contains(rep.By, ap.By) {
				rep.By = append(rep.By, ap.By)
			}
			rep.Agreed = append(rep.Agreed, render.AgreedReport{By: ap.By, At: instant(ap.At), Expires: instant(ap.Expires), Number: x.plan.Number, Plan: ap.Plan})
		}
	}
	return rep, nil
}

// instant reads a time of an approval; one that can't be read has voided it already.
func instant(s string) time.Time {
	t, _ := time.Parse(time.RFC3339, s)
	return t
}

// addProbes reports the messages of a probe's step, in the order of their keys.
func addProbes(rep *render.Report, st apply.StepState) {
	keys := make([]string, 0, len(st.Probes))
	for k := range st.Probes {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		p := st.Probes[k]
		rep.Probes = append(rep.Probes, render.ProbeReport{Probe: p.Probe, Way: p.Way, From: p.From, To: p.To, ID: p.ID, Sent: p.Sent, Done: p.Done, Words: p.Words, Failed: p.Failed})
	}
}
