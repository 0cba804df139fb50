package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mxodus/mxodus/plan/apply"
)

// TestReferencePages: the generated pages of docs/ say what the program says.
func TestReferencePages(t *testing.T) {
	a, _, _ := program(t.TempDir(), "", false)
	for name, text := range map[string]string{"codes.md": codesPage(), "cli.md": cliPage(a.root())} {
		path := filepath.Join("../../docs", name)
		if *updateScripts {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		have, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(have), text); d != "" {
			t.Errorf("docs/%s is not what the program says; write it with go test ./cmd/mxodus -run TestReferencePages -update\n%s", name, d)
		}
	}
}

// TestCodes: every code that the program can give is explained, and none that it can't.
func TestCodes(t *testing.T) {
	given := map[codeGroup]map[string]bool{}
	add := func(g codeGroup, list ...string) {
		if given[g] == nil {
			given[g] = map[string]bool{}
		}
		for _, c := range list {
			given[g][c] = true
		}
	}
	scan := func(g codeGroup, pattern string, globs ...string) {
		t.Helper()
		n := 0
		for _, glob := range globs {
			files, err := filepath.Glob(filepath.FromSlash("../../" + glob))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				if strings.HasSuffix(f, "_test.go") {
					continue
				}
				src, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(src), -1) {
					add(g, m[len(m)-1])
					n++
				}
			}
		}
		if n == 0 {
			t.Errorf("%s is found nowhere in %v: the test looks at nothing", pattern, globs)
		}
	}
	scan(exitCodes, `\texit[A-Za-z0-9]+ += ([0-9]+)`, "cmd/mxodus/exit.go")
	scan(doctorCodes, `Reason = "([a-z_]+)"`, "providers/providers.go")
	scan(doctorCodes, `(?m)^\t[A-Z][A-Za-z]+ += "([a-z_]+)" +//`, "providers/imap/diagnose.go")
	scan(doctorCodes, `(?:\bcode|Code|f\.Code): +"([a-z0-9_]+)"`, "cmd/mxodus/doctor*.go")
	add(doctorCodes, "failed", "secret")
	scan(tenantCodes, `f\.Code(?:, f\.[A-Za-z]+)* = "([a-z_]+)"`, "providers/microsoft365/check.go")
	add(gateChecks, apply.CheckNames()...)
	scan(planChecks, `Check: +"([a-z_]+)"`, "plan/planner/*.go")
	scan(dnsCodes, `c\.find\([^\n]*?, (?:Wrong|Note|Warning|Fine|[a-z]+), "([a-z_]+)"`, "providers/dns/mailcheck/*.go")
	delete(given[tenantCodes], "failed") // a reason, explained with doctor's

	explained := map[codeGroup]map[string]bool{}
	for _, c := range codes {
		if explained[c.Group] == nil {
			explained[c.Group] = map[string]bool{}
		}
		if explained[c.Group][c.Code] {
			t.Errorf("%s: %s is explained twice", c.Group, c.Code)
		}
		explained[c.Group][c.Code] = true
		if c.Means == "" || !strings.HasSuffix(c.Means, ".") || c.Do != "" && !strings.HasSuffix(c.Do, ".") && !strings.HasSuffix(c.Do, ")") {
			t.Errorf("%s is not explained in sentences: %+v", c.Code, c)
		}
	}
	if d := cmp.Diff(given, explained); d != "" {
		t.Errorf("- given by the code, + explained in codes.go:\n%s", d)
	}
}

// TestHelp: every command says what it does, with examples that the program would take.
func TestHelp(t *testing.T) {
	a, _, _ := program(t.TempDir(), "", false)
	root := a.root()
	for _, c := range documented(root) {
		if c.Short == "" || c.Example == "" {
			t.Errorf("%s has no short help or no example", c.CommandPath())
		}
		for _, line := range strings.Split(regexp.MustCompile(`\\\n\s*`).ReplaceAllString(c.Example, " "), "\n") {
			line, _, _ = strings.Cut(strings.TrimSpace(line), " |")
			line, _, _ = strings.Cut(line, " #") // what stands behind an example
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			if err := takes(a, line); err != nil {
				t.Errorf("%s: the example %q: %v", c.CommandPath(), line, err)
			}
		}
	}
	for path := range usageExamples {
		if c, _, err := root.Find(strings.Fields(path)[1:]); err != nil || c.CommandPath() != path {
			t.Errorf("an example is for %q, which is no command", path)
		}
	}
}

// takes reports whether the program would take a command line.
func takes(a *app, line string) error {
	words := regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`).FindAllString(line, -1)
	for i, w := range words {
		words[i] = strings.Trim(w, `'"`)
	}
	if len(words) == 0 || words[0] != "mxodus" {
		return usage("it does not call mxodus")
	}
	root := a.root()
	cmd, rest, err := root.Find(longFlags(words[1:]))
	if err != nil {
		return err
	}
	if cmd == root && len(words) > 1 && !strings.HasPrefix(words[1], "-") {
		return usage("there is no command %s", words[1])
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

// TestManPages: a page for each command, which the formatter takes without a warning where it is installed.
func TestManPages(t *testing.T) {
	dir := t.TempDir()
	a, out, errOut := program(dir, "", false)
	if code := a.main(context.Background(), []string{"man", "man1"}); code != 0 {
		t.Fatalf("exit code %d: %s%s", code, out, errOut)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "man1", "*.1"))
	if err != nil || len(pages) != len(documented(a.root())) {
		t.Fatalf("%d pages for %d commands, %v", len(pages), len(documented(a.root())), err)
	}
	groff, err := exec.LookPath("groff")
	if err != nil {
		groff = ""
		t.Log("no groff here: the pages are not formatted")
	}
	for _, p := range pages {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{".TH MXODUS", ".SH NAME", ".SH SYNOPSIS", ".SH EXAMPLES"} {
			if !strings.Contains(string(b), want) {
				t.Errorf("%s has no %s", filepath.Base(p), want)
			}
		}
		if groff == "" {
			continue
		}
		if text, err := exec.Command(groff, "-man", "-Tutf8", "-ww", "-z", p).CombinedOutput(); err != nil || len(text) > 0 {
			t.Errorf("%s: %v\n%s", filepath.Base(p), err, text)
		}
	}
}

// TestCompletion: scripts for the shells, and words for commands, codes and steps.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		a, out, errOut := program(t.TempDir(), "", false)
		if code := a.main(context.Background(), []string{"completion", shell}); code != 0 || out.Len() < 1000 {
			t.Errorf("%s: exit code %d, %d octets: %s", shell, code, out.Len(), errOut)
		}
		if path, err := exec.LookPath(shell); err == nil && shell != "fish" {
			cmd := exec.Command(path, "-n")
			cmd.Stdin = out
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s does not take its script: %v\n%s", shell, err, text)
			}
		}
	}
	for line, want := range map[string]string{"__complete expl": "explain", "__complete explain wrong_": "wrong_host", "__complete approve ": "flip"} {
		a, out, _ := program("../../examples/repository", "", false)
		args := strings.Split(line, " ")
		if code := a.main(context.Background(), args); code != 0 || !slices.Contains(strings.Fields(out.String()), want) {
			t.Errorf("%s: exit code %d, %q", line, code, out)
		}
	}
}
