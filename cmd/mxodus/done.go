package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/plan/render"
)

func newDone(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "done STEP",
		Short:   "Say that a by-hand step is done",
		Long:    "done asks the step's proof probe, which decides. Where no probe can tell, such as for a\ncancelled contract, your word counts. It may be given while apply runs.",
		Example: "  mxodus done retire/host/ionos",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.openRun(cmd.Context(), "", true)
			if err != nil {
				return err
			}
			defer r.close()
			return a.done(cmd.Context(), r, args[0])
		},
	}
}

func (a *app) done(ctx context.Context, r *running, address string) error {
	proof, err := r.engine.Done(ctx, address)
	if errors.Is(err, apply.ErrNotDone) {
		return exitWith(exitGate, fmt.Errorf("%s: %w", address, err))
	}
	if err != nil {
		return err
	}
	if a.json {
		return a.writeJSON(struct {
			Step   string `json:"step"`
			Proven bool   `json:"proven"`
		}{address, proof.Proven})
	}
	how := "is taken on your word: no probe can tell"
	if proof.Proven {
		how = "is proven"
	}
	_, err = fmt.Fprintf(a.stdout, "%s %s.\n", render.Escape(address), how)
	return err
}

func newCheck(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [NAME]",
		Short: "Ask a plan's checks now; exit 5 when one says no",
		Long: "check asks the checks of all gates, or the one named, and changes nothing. The flip's\n" +
			"gate asks more than its configuration names: docs/dns.md lists what is asked right\n" +
			"before the flip in any case. The name of a probe sends its mail and follows it; without\n" +
			"a name no mail is sent.",
		Example: "  mxodus check every_address_exists_at_target\n  mxodus check round_trip",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.check(cmd.Context(), strings.Join(args, ""))
		},
	}
	cmd.AddCommand(newCheckDNS(a))
	return cmd
}

// findingJSON is one line of doctor and check.
type findingJSON struct {
	Check   string `json:"check"`
	Subject string `json:"subject"`
	OK      bool   `json:"ok"`
	Code    string `json:"code"`
	Detail  string `json:"detail"`
	Remedy  string `json:"remedy"`
	Source  string `json:"source"`

	group string // what several findings that went well are called together
}

func (a *app) check(ctx context.Context, name string) error {
	r, err := a.openRun(ctx, "", true)
	if err != nil {
		return err
	}
	defer r.close()
	bad, asked := false, 0
	for _, p := range r.loaded.Migration.Validation.Probes {
		if name == p.Name || name == "validate/probe/"+p.Name {
			return a.probeNow(ctx, r, p.Name)
		}
	}
	for _, g := range r.plan.Gates {
		for _, ref := range r.engine.Asked(g) {
			if name != "" && name != ref.Name && name != ref.String() {
				continue
			}
			asked++
			ans := r.engine.Check(ctx, ref)
			bad = bad || !ans.OK
			if err := a.showAnswer(g.Name, ans); err != nil {
				return err
			}
		}
	}
	if name == "" && !a.json {
		for _, p := range r.loaded.Migration.Validation.Probes {
			fmt.Fprintf(a.stdout, "-    probe %s was not asked: mxodus check %s sends its mail\n", render.Escape(p.Name), render.Escape(p.Name))
			asked++
		}
	}
	switch {
	case asked == 0:
		return usage("the plan's gates ask for no check %s; there are %s", render.Escape(name), strings.Join(apply.CheckNames(), ", "))
	case bad:
		return exit(exitGate)
	}
	return nil
}

// evidenceText is who said what, in one line, the newest look last.
func evidenceText(ans apply.Answer) string {
	parts := []string{"asked " + ans.At.UTC().Format("2006-01-02T15:04:05Z")}
	for _, s := range ans.Evidence {
		parts = append(parts, s.String())
	}
	return strings.Join(parts, "; ")
}

func (a *app) showAnswer(gate string, ans apply.Answer) error {
	if a.json {
		f := findingJSON{Check: ans.Check.Name, Subject: "gate " + gate, OK: ans.OK, Code: ans.Check.Name, Detail: strings.Join(append(ans.Detail, ans.Warnings...), "; "), Source: evidenceText(ans)}
		if !ans.OK {
			f.Remedy = ans.Remedy
		}
		return a.writeJSON(f)
	}
	sign := map[bool]string{true: "yes", false: "no "}[ans.OK]
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s  (gate %s)\n", sign, render.Escape(ans.Check.String()), gate)
	for _, d := range ans.Detail {
		fmt.Fprintf(&b, "     %s\n", render.Escape(d))
	}
	for _, w := range ans.Warnings {
		fmt.Fprintf(&b, "     warning: %s\n", render.Escape(w))
	}
	if !ans.OK && ans.Remedy != "" {
		fmt.Fprintf(&b, "     what to do: %s\n", render.Escape(ans.Remedy))
	}
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}
