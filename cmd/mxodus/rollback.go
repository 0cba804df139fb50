package main

import (
	"context"
	"fmt"
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
			"after PHASE its former value again. Review it and apply it like any plan. Nothing is\n" +
			"touched by this command. It is possible until decommission.",
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
	back := apply.Rollback(r.plan, to, r.plan.Number, r.engine.Record.Made)
	data, err := planfile.Encode(back)
	if err != nil {
		return err
	}
	if out == "" {
		out = filepath.Join(plansDir, fmt.Sprintf("%04d-back.plan", r.plan.Number))
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
