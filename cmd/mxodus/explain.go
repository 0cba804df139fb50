package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan/render"
)

func newExplain(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "explain [CODE]",
		Short: "Say what a code means and what to do about it",
		Long: "explain tells about exit codes, and about the codes that doctor, plan, the gates' checks and\n" +
			"check dns give. Without CODE it lists them all.",
		Example: "  mxodus explain wrong_host\n  mxodus explain 5\n  mxodus explain -json",
		Args:    cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			list := make([]string, 0, len(codes))
			for _, c := range codes {
				list = append(list, c.Code)
			}
			slices.Sort(list)
			return slices.Compact(list), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error { return a.explain(strings.Join(args, "")) },
	}
}

func (a *app) explain(name string) error {
	name = strings.Trim(name, "[]") // as doctor prints it
	// A check with an argument is the check.
	name, _, _ = strings.Cut(name, "[")
	list := slices.DeleteFunc(slices.Clone(codes), func(c code) bool { return name != "" && c.Code != name })
	if len(list) == 0 {
		if n, ok := strings.CutPrefix(name, "AADSTS"); ok && n != "" {
			return a.say("%s comes from Microsoft's token service: https://login.microsoftonline.com/error?code=%s\n", name, n)
		}
		return usage("there is no code %s%s; mxodus explain lists all", render.Escape(name), nearest(name))
	}
	if a.json {
		return a.writeJSON(struct {
			Codes []code `json:"codes"`
		}{list})
	}
	v := doctorView{screen: a.screen()}
	for i, c := range list {
		if name != "" {
			v.fold(v.paint("1", c.Code)+"  ", len([]rune(c.Code))+2, "("+string(c.Group)+") "+c.Means)
			if c.Do != "" {
				v.fold("  what to do: ", 14, c.Do)
			}
			continue
		}
		if i == 0 || list[i-1].Group != c.Group {
			if i > 0 {
				v.b.WriteByte('\n')
			}
			v.b.WriteString(v.paint("1", string(c.Group)) + "\n")
		}
		v.fold(fmt.Sprintf("  %-30s ", c.Code), 33, c.Means)
	}
	return a.say("%s", v.b.String())
}

func (a *app) say(format string, args ...any) error {
	_, err := fmt.Fprintf(a.stdout, format, args...)
	return err
}

// nearest proposes codes that hold what was asked for.
func nearest(name string) string {
	var like []string
	for _, c := range codes {
		if len(name) > 2 && strings.Contains(c.Code, strings.ToLower(name)) && !slices.Contains(like, c.Code) {
			like = append(like, c.Code)
		}
	}
	if len(like) == 0 || len(like) > 8 {
		return ""
	}
	return "; there are " + strings.Join(like, ", ")
}

// codesPage is docs/codes.md.
func codesPage() string {
	var b strings.Builder
	b.WriteString("# Codes\n\n<!-- written by go test ./cmd/mxodus -run TestReferencePages -update -->\n\n" +
		"What scripts may rely on. `mxodus explain CODE` says the same at a terminal, and with `-json` for programs.\n")
	for i, c := range codes {
		if i == 0 || codes[i-1].Group != c.Group {
			fmt.Fprintf(&b, "\n## %s\n\n| code | meaning | what to do |\n|---|---|---|\n", strings.ToUpper(string(c.Group)[:1])+string(c.Group)[1:])
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", c.Code, c.Means, c.Do)
	}
	return b.String()
}
