package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/apply"
)

// addCompletions gives shells the words that may stand in a command's place. They come from the
// folder's files alone; nothing outside is asked.
func (a *app) addCompletions(root *cobra.Command) {
	files := func(ext string) cobra.CompletionFunc {
		return cobra.FixedCompletions([]cobra.Completion{ext}, cobra.ShellCompDirectiveFilterFileExt)
	}
	words := func(list func() []string) cobra.CompletionFunc {
		return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 || a.enter() != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return list(), cobra.ShellCompDirectiveNoFileComp
		}
	}
	args := map[string]cobra.CompletionFunc{
		"apply": files("plan"), "show": files("plan"), "verify": files("plan"), "fmt": files("hcl"), "import": files("csv"),
		"init":    cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
		"check":   words(func() []string { return append([]string{"dns"}, apply.CheckNames()...) }),
		"approve": words(a.gateNames), "done": words(a.handSteps), "check dns": words(a.domainNames),
	}
	for path, f := range args {
		if cmd, _, err := root.Find(strings.Fields(path)); err == nil && cmd.ValidArgsFunction == nil && len(cmd.ValidArgs) == 0 {
			cmd.ValidArgsFunction = f
		}
	}
	var phases []string
	for _, p := range plan.Phases() {
		phases = append(phases, string(p))
	}
	for path, list := range map[string][]string{
		"init -from": strings.Fields(sourceKinds), "init -to": strings.Fields(targetKinds), "init -dns": strings.Fields(dnsKinds),
		"init -region": strings.Fields(regionNames), "init -target-region": strings.Fields(regionNames), "rollback -to": phases,
	} {
		name, flag, _ := strings.Cut(path, " -")
		if cmd, _, err := root.Find([]string{name}); err == nil && cmd.Flags().Lookup(flag) != nil {
			// It can only fail for a flag that isn't there, or that has words already.
			_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp))
		}
	}
}

// quietPlan is the newest plan of the folder, nil when there is none that can be read.
func (a *app) quietPlan() *plan.Plan {
	list, err := a.savedPlans()
	if err != nil || len(list) == 0 {
		return nil
	}
	p, _, err := a.readPlan(list[len(list)-1].path)
	if err != nil {
		return nil
	}
	return p
}

func (a *app) gateNames() (list []string) {
	if p := a.quietPlan(); p != nil {
		for _, g := range p.Gates {
			list = append(list, g.Name)
		}
	}
	return list
}

func (a *app) handSteps() (list []string) {
	if p := a.quietPlan(); p != nil {
		for _, s := range p.Steps {
			if s.Action == plan.ByHand {
				list = append(list, s.Address)
			}
		}
	}
	return list
}

func (a *app) domainNames() (list []string) {
	if p := a.quietPlan(); p != nil {
		seen := map[string]bool{}
		for _, s := range p.Steps {
			if parts := strings.Split(s.Address, "/"); parts[0] == "dns" && len(parts) > 1 && !seen[parts[1]] {
				seen[parts[1]] = true
				list = append(list, parts[1])
			}
		}
	}
	return list
}
