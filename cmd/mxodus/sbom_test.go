package main

import (
	"encoding/json"
	"os"
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
