package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
)

// TestSBOM: the bill names every module that is linked, with its sum, twice in the same way.
func TestSBOM(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Path: "github.com/mxodus/mxodus"}, Deps: []*debug.Module{
		{Path: "github.com/z/z", Version: "v1.0.0", Sum: "h1:zzz="},
		{Path: "github.com/a/a", Version: "v2.0.0", Replace: &debug.Module{Path: "github.com/b/b", Version: "v2.0.1", Sum: "h1:bbb="}},
	}, Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "GOFLAGS", Value: "-x=/home/me"}}}
	first, err := json.Marshal(billOf(info, "0.1.0"))
	if err != nil {
		t.Fatal(err)
	}
	second, _ := json.Marshal(billOf(info, "0.1.0"))
	if string(first) != string(second) {
		t.Error("two bills of one program differ")
	}
	for _, want := range []string{`"bomFormat":"CycloneDX"`, `"specVersion":"1.5"`, `"purl":"pkg:golang/github.com/b/b@v2.0.1"`, `"value":"h1:zzz="`, `"name":"std","version":"1.26.8"`, `"value":"abc"`} {
		if !strings.Contains(string(first), want) {
			t.Errorf("the bill lacks %s:\n%s", want, first)
		}
	}
	if strings.Contains(string(first), "/home/me") || strings.Contains(string(first), "a/a") {
		t.Errorf("the bill holds what isn't in the program:\n%s", first)
	}
	if !regexp.MustCompile(`"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"`).Match(first) {
		t.Errorf("no serial number: %s", first)
	}
}

// TestSBOMOfTheProgram: every module whose code is linked into the program is in the bill, in the version of go.mod and with the sum of go.sum,
// and the bill holds what CycloneDX 1.5 asks of one: references that lead somewhere, each once.
func TestSBOMOfTheProgram(t *testing.T) {
	t.Parallel()
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("the test was built without build information")
	}
	b := billOf(info, "0.1.0")
	known, refs := map[string]component{}, map[string]bool{}
	for _, c := range b.Components {
		if refs[c.Ref] || c.Type != "library" || c.Name == "" || c.Version == "" || c.PURL != "pkg:golang/"+c.Name+"@"+c.Version {
			t.Errorf("%+v", c)
		}
		known[c.Name], refs[c.Ref] = c, true
	}
	if b.Format != "CycloneDX" || b.Spec != "1.5" || b.Version != 1 || b.Metadata.Component.Type != "application" || b.Metadata.Component.Name != info.Main.Path {
		t.Errorf("%+v", b.Metadata)
	}
	for _, d := range b.Dependencies {
		if d.Ref != b.Metadata.Component.Ref || len(d.Uses) != len(b.Components) {
			t.Errorf("%s uses %d of %d", d.Ref, len(d.Uses), len(b.Components))
		}
		for _, r := range d.Uses {
			if !refs[r] {
				t.Errorf("%s is no component", r)
			}
		}
	}
	sums, err := os.ReadFile("../../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	// What is linked, as the go command says and not the program.
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", ".")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	linked := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		linked[strings.TrimSpace(line)] = true
	}
	delete(linked, "")
	if len(linked) < 10 {
		t.Fatalf("only %d modules: %v", len(linked), linked)
	}
	for module := range linked {
		path, version, _ := strings.Cut(module, " ")
		c := known[path]
		sum := ""
		for _, p := range c.Properties {
			if p.Name == "go:sum" {
				sum = p.Value
			}
		}
		if c.Version != version || sum == "" || !strings.Contains(string(sums), module+" "+sum+"\n") {
			t.Errorf("%s is linked, and the bill says %+v", module, c)
		}
	}
}

// TestReleaseFiles: what packages the program calls commands and flags that it has.
func TestReleaseFiles(t *testing.T) {
	a, _, _ := program(t.TempDir(), "", false)
	for _, name := range []string{"Makefile", ".goreleaser.yaml", "Dockerfile", "examples/unattended/run", "examples/unattended/mxodus@.service"} {
		b, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		b = regexp.MustCompile(`"\$[^"]*"`).ReplaceAll(b, []byte("x"))
		for _, m := range regexp.MustCompile(`(?m)(?:^|[\s;(/@])mxodus ((?:man|sbom|completion|version|apply|demo) ?[^\n"';|>)]*)`).FindAllStringSubmatch(string(b), -1) {
			line := regexp.MustCompile(`\$\$?[({]?[A-Za-z_]+[)}]?|"[^"]*"|\{\{[^}]*\}\}`).ReplaceAllString(m[1], "x")
			if strings.HasPrefix(line, "completion") {
				continue // the shell's name stands in a loop
			}
			if err := takes(a, "mxodus "+line); err != nil {
				t.Errorf("%s: mxodus %s: %v", name, m[1], err)
			}
		}
	}
}
