package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/planfile"
	"github.com/mxodus/mxodus/plan/planner"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/plan/timeline"
	"github.com/mxodus/mxodus/providers/microsoft365"
	"github.com/mxodus/mxodus/state"
)

type planOptions struct {
	out      string
	detailed bool
	offline  bool
}

func newPlan(a *app) *cobra.Command {
	var o planOptions
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Discover, then work out and show what has to be done",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.plan(cmd.Context(), o) },
	}
	cmd.Flags().StringVar(&o.out, "out", "", "save the plan as `file`, such as plans/0001.plan")
	cmd.Flags().BoolVar(&o.detailed, "detailed-exitcode", false, "exit 2 when there is something to do")
	cmd.Flags().BoolVar(&o.offline, "offline", false, "plan against inventory.lock as it is, without a look at the world")
	return cmd
}

func (a *app) plan(ctx context.Context, o planOptions) error {
	loaded, err := a.load()
	if err != nil {
		return err
	}
	number, parent, newest, err := a.chain(ctx)
	if err != nil {
		return err
	}
	if o.out != "" {
		if err := a.mayWritePlan(o.out, number); err != nil {
			return err
		}
	}
	inv, err := a.readInventory()
	if err != nil {
		return err
	}
	est := a.readEstimates()
	if !o.offline {
		seen, err := a.observe(ctx, loaded)
		if err != nil {
			return err
		}
		inv, est = seen.inv, seen.est
		// Expressions may read what the target has told just now.
		if seen.changed && len(inv.Directories) > 0 {
			if loaded, err = a.load(); err != nil {
				return err
			}
		}
	} else if inv == nil {
		return fmt.Errorf("there is no %s to plan against: mxodus discover writes it", lockFile)
	}
	p := planner.Make(planner.Input{Migration: loaded.Migration, Inventory: inv, Number: number, Parent: parent})
	data, err := planfile.Encode(p)
	if err != nil {
		return err
	}
	if o.out != "" {
		if err := state.WriteFile(a.path(o.out), data, 0o644); err != nil {
			return err
		}
	}
	scripts, err := a.writeScripts(p, loaded.Migration, o.out)
	if err != nil {
		return err
	}
	view := render.PlanView{Screen: a.screen(), Estimates: est, Forecast: timeline.Forecast(p, est, timeline.Assume{}),
		Outlook: planner.Outlook(loaded.Migration, inv, est)}
	if newest != nil {
		view.Replaces = newest.Number
	}
	if err := a.showPlan(p, view, o); err != nil {
		return err
	}
	for _, name := range scripts {
		if _, err := fmt.Fprintf(a.stderr, "%s holds what a person does in Exchange Online. Review and commit it with the plan.\n", render.Escape(name)); err != nil {
			return err
		}
	}
	if o.detailed && len(p.Steps) > 0 {
		return exit(exitChanges)
	}
	return nil
}

// writeScripts writes, beside a plan that is saved, what it leaves to a person in Exchange Online.
func (a *app) writeScripts(p *plan.Plan, m *plan.Migration, out string) (names []string, err error) {
	for _, h := range m.Targets {
		if out == "" || h.Kind != "microsoft365" {
			continue
		}
		name := strings.TrimSuffix(out, ".plan") + "-exchange.ps1"
		if h.Name != "" {
			name = strings.TrimSuffix(name, ".ps1") + "-" + h.Name + ".ps1"
		}
		text := microsoft365.Script(p, m, h)
		if text == "" {
			continue
		}
		if err := state.WriteFile(a.path(name), []byte(text), 0o644); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

func (a *app) showPlan(p *plan.Plan, view render.PlanView, o planOptions) error {
	if a.json {
		return render.PlanJSON(a.stdout, p, view)
	}
	if err := render.Plan(a.stdout, p, view); err != nil {
		return err
	}
	next := fmt.Sprintf("Not saved. mxodus plan -out %s/%04d.plan saves it.", plansDir, p.Number)
	switch {
	case o.out != "":
		next = fmt.Sprintf("Saved as %s. Review and commit it, then: mxodus apply %s", render.Escape(o.out), render.Escape(o.out))
	case len(p.Steps) == 0:
		return nil
	}
	_, err := fmt.Fprintf(a.stdout, "\n%s\n", next)
	return err
}

// mayWritePlan refuses a name that would break the chain of plans: one that is
// taken, or one in plans/ that doesn't carry the plan's number. Saved plans are
// never overwritten, because approvals and the journal refer to them.
func (a *app) mayWritePlan(out string, number int) error {
	path := a.path(out)
	want := fmt.Sprintf("%04d.plan", number)
	if _, err := os.Lstat(path); err == nil {
		return exitWith(exitRefused, fmt.Errorf("%s is there already and plans are never overwritten: use -out %s/%s", out, plansDir, want))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if filepath.Dir(path) == a.path(plansDir) && filepath.Base(path) != want {
		return usage("the next plan is number %d: use -out %s/%s", number, plansDir, want)
	}
	return nil
}
