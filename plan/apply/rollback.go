package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/planfile"
	"github.com/mxodus/mxodus/state"
)

// Rollback is the plan that takes p back to the end of phase to: every record
// that made reports as published later gets its former value again, the last
// one first. What can't be taken back is said in its findings.
func Rollback(p *plan.Plan, to plan.Phase, number int, made func(plan.Step) bool) *plan.Plan {
	back := &plan.Plan{Header: p.Header}
	back.Number, back.Parent, back.Rollback = number, p.Digest, to
	mail := false
	for _, s := range p.Steps {
		if !to.Before(s.Phase) {
			continue
		}
		mail = mail || isPass(s) && s.Phase != plan.BulkCopy
		if dnsRole(s.Address) == roleOther || s.Undo != plan.Restore || !made(s) {
			continue
		}
		undo := plan.Step{
			Address: s.Address, Phase: s.Phase, Action: plan.Change,
			From: s.To, To: s.From, Expect: plan.FingerprintOf(s.To...), Undo: plan.Restore,
		}
		switch {
		case len(undo.To) == 0:
			undo.Action = plan.Delete
		case len(undo.From) == 0:
			undo.Action = plan.Create
		}
		back.Steps = append(back.Steps, undo)
	}
	if mail {
		back.Findings = append(back.Findings, plan.Finding{
			Check: "mail_at_target", Severity: plan.Warns, Subject: p.Name,
			Summary: "Mail that has reached the target since the flip stays there",
			Remedy:  "after the rollback move it back by hand, for instance with mxodus copy from the target to the source",
		})
	}
	// Steps of the same record keep their plan order turned round.
	slices.SortStableFunc(back.Steps, func(a, b plan.Step) int { return a.Phase.Index() - b.Phase.Index() })
	return back
}

// Made reports whether the journal knows step s as accepted by its provider.
func (r *Record) Made(s plan.Step) bool { return !r.State(s.Address).Applied.IsZero() }

// refreshRollback writes plans/NNNN-back.plan: the way back from the flip,
// made before the flip, so that nobody has to think of it afterwards.
func (e *Engine) refreshRollback(ctx context.Context) error {
	if e.Record.freshRollback(e.Dir) {
		return nil
	}
	back := Rollback(e.Plan, plan.Notice, e.Plan.Number, func(s plan.Step) bool { return s.Phase == plan.Flip })
	data, err := planfile.Encode(back)
	if err != nil {
		return err
	}
	name := filepath.Join("plans", fmt.Sprintf("%04d-back.plan", e.Plan.Number))
	if err := state.WriteFile(filepath.Join(e.Dir, name), data, 0o644); err != nil {
		return err
	}
	return e.note(ctx, runEntry(evBackPlan, entryData{File: name, Of: e.Plan.Digest}))
}

// freshRollback reports whether the rollback plan on disk takes back this plan.
func (r *Record) freshRollback(dir string) bool {
	r.mu.Lock()
	file, of := r.backFile, r.backPlan
	r.mu.Unlock()
	if file == "" || of != r.plan.Digest {
		return false
	}
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return false
	}
	back, err := planfile.Decode(data)
	return err == nil && back.Parent == r.plan.Digest
}

func rollbackPlanFresh(_ context.Context, e *Engine, a *Answer) {
	a.Remedy = "run apply: it writes plans/NNNN-back.plan when it reaches the gate"
	if !e.Record.freshRollback(e.Dir) {
		a.no("there is no rollback plan for this plan")
	}
}

// beginRollback journals, once for a rollback plan, that what came after its
// phase is being taken back.
func (e *Engine) beginRollback(ctx context.Context) error {
	i := e.Plan.Rollback.Index() + 1
	if i >= len(plan.Phases()) {
		return fmt.Errorf("a rollback to %s takes nothing back", e.Plan.Rollback)
	}
	return e.note(ctx, runEntry(evBack, entryData{Phase: plan.Phases()[i]}))
}

// runEntryOf is the entry that begins a run of plan p.
func runEntryOf(p *plan.Plan) state.Entry {
	b, err := json.Marshal(runData{Number: p.Number, Parent: p.Parent, Rollback: p.Rollback})
	if err != nil {
		b = nil
	}
	return state.Entry{Event: evRun, Data: b}
}
