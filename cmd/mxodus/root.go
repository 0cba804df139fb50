package main

import (
	"context"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mxodus/mxodus/plan/config"
	"github.com/mxodus/mxodus/plan/render"
)

// commands are all commands, in the order in which -help lists them. It is a
// function because demo runs the others through it.
func commands() []func(*app) *cobra.Command {
	return []func(*app) *cobra.Command{
		newInit,
		newImport,
		newDoctor,
		newValidate,
		newFmt,
		newDiscover,
		newPlan,
		newShow,
		newVerify,
		newSimulate,
		newApply,
		newApprove,
		newStatus,
		newServe,
		newDone,
		newCheck,
		newNotify,
		newRollback,
		newCopy,
		newReport,
		newDemo,
		newManifest,
		newState,
		newProviders,
		newExplain,
		newVersion,
		newMan,
		newSBOM,
	}
}

// main runs the command line and returns its exit code.
func (a *app) main(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(longFlags(args))
	err := root.ExecuteContext(ctx)
	if err != nil {
		a.report(err)
	}
	return a.exitCode(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "mxodus",
		Short: "Plan and apply e-mail migrations",
		Long: "mxodus moves an organisation's mail from one host to another: mailboxes over\n" +
			"IMAP, addresses in the directory, records in DNS. You declare the end state,\n" +
			"review one plan, and apply it over weeks.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
	}
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		msg := "there is no command " + render.Escape(args[0])
		root.SuggestionsMinimumDistance = 2
		if s := root.SuggestionsFor(args[0]); len(s) > 0 {
			msg += "; did you mean " + strings.Join(s, " or ") + "?"
		}
		return usage("%s", msg)
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return usage("%s", strings.ReplaceAll(err.Error(), "--", "-"))
	})
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.enter() }

	flags := root.PersistentFlags()
	flags.StringVar(&a.chdir, "chdir", "", "`folder` of the migration (default: the current one)")
	flags.BoolVar(&a.json, "json", false, "print JSON for scripts")
	flags.BoolVar(&a.noColor, "no-color", false, "print without colours")
	flags.StringArrayVar(&a.vars, "var", nil, "set a variable: `name=value`; may be given several times")
	flags.StringArrayVar(&a.varFiles, "var-file", nil, "read variables from a `file` of the folder")

	cobra.EnableCommandSorting = false
	for _, make := range commands() {
		root.AddCommand(make(a))
	}
	addExamples(root)
	a.addCompletions(root)
	cobra.AddTemplateFunc("flags", flagUsages)
	root.SetUsageTemplate(strings.NewReplacer(
		".LocalFlags.FlagUsages | trimTrailingWhitespaces", "flags .LocalFlags",
		".InheritedFlags.FlagUsages | trimTrailingWhitespaces", "flags .InheritedFlags",
		" --help", " -help",
	).Replace(root.UsageTemplate()))
	return root
}

var twoDashes = regexp.MustCompile(`(?m)^( +(?:-[a-z], )?)--`)

// flagUsages shows flags with one dash, as the documentation does.
func flagUsages(f *pflag.FlagSet) string {
	return strings.TrimRight(twoDashes.ReplaceAllString(f.FlagUsages(), "${1}-"), " \n")
}

// enter moves the app into the folder that -chdir names.
func (a *app) enter() error {
	if a.chdir == "" {
		return nil
	}
	dir := a.path(a.chdir)
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return usage("-chdir: %v", err)
	case !info.IsDir():
		return usage("-chdir: %s is no folder", a.chdir)
	}
	a.dir = dir
	return nil
}

// load reads the configuration. A configuration with errors is a *configError;
// warnings are printed (with -json they are the caller's).
func (a *app) load() (*config.Loaded, error) {
	vars := map[string]string{}
	for _, v := range a.vars {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			return nil, usage("-var %s: want name=value", render.Escape(name))
		}
		vars[name] = value
	}
	root, err := os.OpenRoot(a.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	loaded, diags := config.Load(root.FS(), config.Options{Vars: vars, VarFiles: a.varFiles, Environ: a.environ, Version: version, Facts: a.facts()})
	if diags.HasErrors() {
		return loaded, &configError{loaded.Files, append(diags, loaded.Warnings...)}
	}
	if !a.json {
		a.writeDiagnostics(loaded.Files, loaded.Warnings)
	}
	return loaded, nil
}

// noArgs refuses arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%s takes no argument, and got %q", cmd.Name(), args[0])
	}
	return nil
}

// oneArg wants exactly one argument, called what.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usage("%s takes one argument, %s, and got %d", cmd.Name(), what, len(args))
		}
		return nil
	}
}
