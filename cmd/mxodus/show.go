package main

import (
	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/plan/timeline"
)

type showOptions struct {
	markdown, html bool
	maxBytes       int
	all            bool
	since          string
}

func newShow(a *app) *cobra.Command {
	var o showOptions
	cmd := &cobra.Command{
		Use:   "show PLAN",
		Short: "Show any plan, also an applied or superseded one",
		Args:  oneArg("a plan file"),
		RunE:  func(_ *cobra.Command, args []string) error { return a.show(args[0], o) },
	}
	cmd.Flags().BoolVar(&o.markdown, "markdown", false, "as Markdown, for the comment of a pull request")
	cmd.Flags().BoolVar(&o.html, "html", false, "as one self-contained HTML page")
	cmd.Flags().IntVar(&o.maxBytes, "max-bytes", 0, "with -markdown: write at most `n` bytes (0: all)")
	cmd.Flags().BoolVar(&o.all, "all", false, "name every mailbox and address, however many there are")
	cmd.Flags().StringVar(&o.since, "since", "", "show only what changed since another `plan`")
	return cmd
}

func (a *app) show(name string, o showOptions) error {
	forms := 0
	for _, set := range []bool{a.json, o.markdown, o.html} {
		if set {
			forms++
		}
	}
	switch {
	case forms > 1:
		return usage("-json, -markdown and -html exclude each other")
	case o.since != "" && (o.html || o.all):
		return usage("-since goes with -markdown or -json, not with -html or -all")
	case o.maxBytes < 0 || o.maxBytes > 0 && !o.markdown:
		return usage("-max-bytes is a positive number and goes with -markdown")
	}
	p, _, err := a.readPlan(a.path(name))
	if err != nil {
		return err
	}
	if o.since != "" {
		return a.showSince(p, o)
	}
	est := a.readEstimates()
	view := render.PlanView{Screen: a.screen(), Estimates: est, Forecast: timeline.Forecast(p, est, timeline.Assume{}), Replaces: a.replaced(p)}
	if o.all {
		view.Rows = -1
	}
	switch {
	case a.json:
		return render.PlanJSON(a.stdout, p, view)
	case o.markdown:
		return render.PlanMarkdown(a.stdout, p, view, o.maxBytes)
	case o.html:
		return render.PlanHTML(a.stdout, p, view)
	}
	return render.Plan(a.stdout, p, view)
}

// showSince shows what differs between two plans, whichever is the newer one.
func (a *app) showSince(p *plan.Plan, o showOptions) error {
	old, _, err := a.readPlan(a.path(o.since))
	if err != nil {
		return err
	}
	switch {
	case a.json:
		return render.PlanSinceJSON(a.stdout, old, p)
	case o.markdown:
		return render.PlanSinceMarkdown(a.stdout, old, p, o.maxBytes)
	}
	return render.PlanSince(a.stdout, old, p, a.screen())
}

// replaced is the number of the saved plan that p followed, 0 when it is the
// first or when its parent isn't there.
func (a *app) replaced(p *plan.Plan) int {
	if parent := a.knownPlans()[p.Parent]; parent != nil {
		return parent.Number
	}
	return 0
}
