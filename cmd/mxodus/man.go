package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mxodus/mxodus/state"
)

// newMan writes the manual pages. Packagers call it; it is not listed.
func newMan(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "man FOLDER",
		Short:  "Write a manual page for each command into a folder",
		Hidden: true,
		Args:   oneArg("a folder"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := a.path(args[0])
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			for _, c := range documented(cmd.Root()) {
				name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
				if err := state.WriteFile(filepath.Join(dir, name), []byte(manPage(c)), 0o644); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// documented are all commands that people see, the program itself first.
func documented(cmd *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		if !c.Hidden && c.Name() != "help" && c.Name() != "completion" {
			list = append(list, documented(c)...)
		}
	}
	return list
}

// manPage is a command's page in the man macros (man 7 groff_man). It holds no date, so that the
// same program makes the same page.
func manPage(cmd *cobra.Command) string {
	var b strings.Builder
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"mxodus %s\" \"mxodus\"\n.SH NAME\n%s \\- %s\n", roff(strings.ToUpper(name)), roff(version), roff(name), roff(strings.ToLower(cmd.Short[:1])+cmd.Short[1:]))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(cmd.CommandPath()))
	if _, args, ok := strings.Cut(cmd.Use, " "); ok {
		b.WriteString(roff(args) + "\n")
	}
	b.WriteString("[flags]\n.SH DESCRIPTION\n")
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		b.WriteString(lines(paragraph))
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString(".SH COMMANDS\n")
		for _, c := range cmd.Commands() {
			if !c.Hidden && c.Name() != "help" {
				fmt.Fprintf(&b, ".TP\n.B %s\n%s", roff(c.Name()), lines(c.Short))
			}
		}
	}
	manFlags(&b, "OPTIONS", cmd.LocalNonPersistentFlags())
	manFlags(&b, "GLOBAL OPTIONS", cmd.Root().PersistentFlags())
	if cmd.Example != "" {
		b.WriteString(".SH EXAMPLES\n.nf\n" + lines(cmd.Example) + ".fi\n")
	}
	if cmd == cmd.Root() {
		b.WriteString(".SH EXIT STATUS\n")
		for _, c := range codes {
			if c.Group == exitCodes {
				fmt.Fprintf(&b, ".TP\n.B %s\n%s", roff(c.Code), lines(c.Means))
			}
		}
	}
	return b.String()
}

func manFlags(b *strings.Builder, title string, flags *pflag.FlagSet) {
	first := true
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		if first {
			b.WriteString(".SH " + title + "\n")
			first = false
		}
		what, text := pflag.UnquoteUsage(f)
		fmt.Fprintf(b, ".TP\n.B \\-%s", roff(f.Name))
		if what != "" {
			fmt.Fprintf(b, " \\fI%s\\fR", roff(what))
		}
		b.WriteString("\n" + lines(text))
	})
}

// lines are lines of text that troff takes for text.
func lines(text string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		line = roff(line)
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			line = `\&` + line
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// roff writes text so that troff prints it: everything beyond ASCII by its code point.
func roff(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\\':
			b.WriteString(`\e`)
		case r == '-':
			b.WriteString(`\-`)
		case r > '~':
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// cliPage is docs/cli.md: every command with its flags and examples.
func cliPage(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Every command\n\n<!-- written by go test ./cmd/mxodus -run TestReferencePages -update -->\n\n" +
		"As `mxodus COMMAND -help` and the manual pages have it. What commands do to the world, and how they work together: [commands.md](commands.md).\n")
	for _, c := range documented(root) {
		fmt.Fprintf(&b, "\n## `%s`\n\n", c.CommandPath())
		text := c.Long
		if text == "" {
			text = c.Short + "."
		}
		b.WriteString(text + "\n\n    " + c.UseLine() + "\n")
		if c == root {
			b.WriteString("\nFlags of every command:\n\n```text\n" + flagUsages(c.PersistentFlags()) + "\n```\n")
		} else if flags := c.LocalNonPersistentFlags(); flags.HasAvailableFlags() {
			b.WriteString("\n```text\n" + flagUsages(flags) + "\n```\n")
		}
		if c.Example != "" {
			b.WriteString("\n```sh\n" + unindent(c.Example) + "\n```\n")
		}
	}
	return b.String()
}

func unindent(s string) string {
	return strings.TrimPrefix(strings.ReplaceAll(s, "\n  ", "\n"), "  ")
}
