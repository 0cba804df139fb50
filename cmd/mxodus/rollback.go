package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/plan/planfile"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/state"
)

func newRollback(a *app) *cobra.Command {
	var to, out string
	cmd := &cobra.Command{
		Use:   "rollback -to PHASE",
		Short: "Write a plan that takes back what was done after a phase",
		Long: "rollback reads the journal and writes a plan that gives each record that was changed\n" +
			"after PHASE its former value again and carries the mail that has come to the target since\n" +
			"the flip back to the source, each message once. What can't be taken back is said in it.\n" +
			"Review it and apply it like any plan. Nothing is touched by this command. It is possible\n" +
			"until decommission.",
		Example: "  mxodus rollback -to bulk_copy -out plans/0001-back.plan\n  mxodus apply plans/0001-back.plan",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.rollback(cmd.Context(), plan.Phase(to), out)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the last `phase` that stays done, such as bulk_copy")
	cmd.Flags().StringVar(&out, "out", "", "save the plan as `file` (default: plans/NNNN-back.plan)")
	return cmd
}

func (a *app) rollback(ctx context.Context, to plan.Phase, out string) error {
	if !to.Valid() || to == plan.Decommission {
		return usage("-to wants a phase that comes before decommission: one of %v", plan.Phases()[:8])
	}
	r, err := a.openRun(ctx, "", false)
	if err != nil {
		return err
	}
	defer r.close()
	for _, m := range r.loaded.Migration.Mailboxes {
		if r.engine.Record.Closed(m.Source) {
			return exitWith(exitGate, fmt.Errorf("%s is closed at the source: there is no way back after decommission has begun", m.Source))
		}
	}
	base, record, err := a.takenBack(ctx, r)
	if err != nil {
		return err
	}
	back := apply.Rollback(base, to, base.Number, record.Done())
	back.Parent = r.plan.Digest
	data, err := planfile.Encode(back)
	if err != nil {
		return err
	}
	if out == "" {
		out = a.backName(r.plan, base.Number)
	}
	if err := state.WriteFile(a.path(out), data, 0o644); err != nil {
		return err
	}
	if a.json {
		return render.PlanJSON(a.stdout, back, render.PlanView{})
	}
	if err := render.Plan(a.stdout, back, render.PlanView{Screen: a.screen()}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "\nSaved as %s. Review it, then: mxodus apply %s\n", render.Escape(out), render.Escape(out))
	return err
}

// takenBack is the plan whose steps a rollback takes back, and what the journal knows of it:
// the one applied last, or the one that this one, a rollback itself, has taken back in part.
func (a *app) takenBack(ctx context.Context, r *running) (*plan.Plan, *apply.Record, error) {
	if r.plan.Rollback == "" {
		return r.plan, r.engine.Record, nil
	}
	known := a.knownPlans()
	base := r.plan
	for base != nil && base.Rollback != "" {
		base = known[base.Parent]
	}
	if base == nil {
		return nil, nil, exitWith(exitRefused, fmt.Errorf("the plan that %s takes back is no longer in %s: restore it from version control", planTitle(r.plan), plansDir))
	}
	entries, err := r.db.Entries(ctx, 0)
	return base, apply.NewRecord(base, entries), err
}

func planTitle(p *plan.Plan) string {
	if p.Rollback != "" {
		return fmt.Sprintf("rollback plan %04d", p.Number)
	}
	return fmt.Sprintf("plan %04d", p.Number)
}

// backName is plans/NNNN-back.plan; after a rollback that was applied, whose file has to stay, the
// first free name behind it.
func (a *app) backName(applied *plan.Plan, number int) string {
	name := filepath.Join(plansDir, fmt.Sprintf("%04d-back.plan", number))
	for n := 2; applied.Rollback != ""; n++ {
		if _, err := os.Lstat(a.path(name)); err != nil {
			break
		}
		name = filepath.Join(plansDir, fmt.Sprintf("%04d-back-%d.plan", number, n))
	}
	return name
}
