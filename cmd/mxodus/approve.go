package main

import (
	"context"
	"fmt"
	"os/user"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/plan/render"
)

func newApprove(a *app) *cobra.Command {
	var by, path string
	cmd := &cobra.Command{
		Use:   "approve GATE",
		Short: "Agree that a gate may open",
		Long: "approve writes approvals/GATE-XXXXXXXX.approval, bound to the plan, to what the gate's\n" +
			"checks said when they were last asked, and to the gate's expiry. It may be given any\n" +
			"time after the plan was saved, also while apply runs. Commit the file, or let it be\n" +
			"reviewed in a pull request.",
		Example: "  mxodus approve flip -by kerstin@acme.example",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.approve(cmd.Context(), args[0], by, path)
		},
	}
	cmd.Flags().StringVar(&by, "by", "", "who agrees (default: your user name)")
	cmd.Flags().StringVar(&path, "plan", "", "the plan's `file` (default: the newest that is saved)")
	return cmd
}

type approvalJSON struct {
	Gate    string   `json:"gate"`
	Plan    string   `json:"plan"`
	By      string   `json:"by"`
	Expires string   `json:"expires,omitempty"`
	File    string   `json:"file"`
	Held    []string `json:"held"`
}

func (a *app) approve(ctx context.Context, gate, by, path string) error {
	if path == "" {
		// The plan that was saved last is the one under review, whichever was applied before it.
		saved, err := a.savedPlans()
		if err != nil {
			return err
		}
		if len(saved) > 0 {
			path = saved[len(saved)-1].path
		}
	}
	r, err := a.openRun(ctx, path, false)
	if err != nil {
		return err
	}
	defer r.close()
	if by == "" {
		u, err := user.Current()
		if err != nil {
			return usage("say who you are with -by")
		}
		by = u.Username
	}
	var answers []apply.Answer
	if g, ok := r.plan.Gate(gate); ok {
		answers = r.engine.LastAnswers(g)
	}
	approval, err := apply.NewApproval(r.plan, gate, by, answers, a.clock.Now())
	if err != nil {
		return err
	}
	file, err := apply.Approve(a.dir, approval)
	if err != nil {
		return err
	}
	if a.json {
		return a.writeJSON(approvalJSON{gate, r.plan.Digest, by, approval.Expires, a.name(file), approval.Held})
	}
	_, err = fmt.Fprintf(a.stdout, "Gate %s of plan %04d is approved by %s, in %s.\n", gate, r.plan.Number, render.Escape(by), a.name(file))
	if err == nil && len(answers) == 0 {
		_, err = fmt.Fprintln(a.stdout, "Its checks were not asked yet; apply asks them when it reaches the gate.")
	}
	for _, ans := range answers {
		if !ans.OK && err == nil {
			_, err = fmt.Fprintf(a.stdout, "  check.%s said no when it was last asked, and has to say yes before the gate opens.\n", render.Escape(ans.Check.String()))
		}
	}
	return err
}
