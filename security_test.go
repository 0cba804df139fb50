package mxodus

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// testsOf are the names of the tests and fuzz targets in a folder.
func testsOf(t *testing.T, folder string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(string(b), -1) {
			names[m[1]] = true
		}
	}
	return names
}

// TestSecurityPageNamesTests: what docs/security.md says is shown by a test is shown by one that is there, and no threat is without one.
func TestSecurityPageNamesTests(t *testing.T) {
	b, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(b), "| threat | defence | shown by |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")[1:] // below the line
	if len(rows) < 10 {
		t.Fatalf("the table of threats has %d rows", len(rows))
	}
	for _, row := range rows {
		cells := strings.Split(strings.Trim(row, "| "), " | ")
		if len(cells) != 3 {
			t.Errorf("%d cells: %s", len(cells), row)
			continue
		}
		named := regexp.MustCompile("`([a-z0-9_/]+)\\.((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(cells[2], -1)
		if len(named) == 0 {
			t.Errorf("no test shows the defence against %s", cells[0])
		}
		for _, m := range named {
			if !testsOf(t, m[1])[m[2]] {
				t.Errorf("%s: there is no %s in %s", cells[0], m[2], m[1])
			}
		}
	}
}

// TestCorpora: each fuzz target has its round of mutants and a corpus, no corpus has lost its target, and all of them are small.
func TestCorpora(t *testing.T) {
	target := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(f \*testing\.F\)`)
	targets := map[string]bool{}
	entries := map[string]int{}
	var size int64
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == "providers/faults" || d.Name() == ".git"):
			return fs.SkipDir // a target that is a test of mutants
		case d.IsDir():
		case strings.HasSuffix(path, "_test.go"):
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range target.FindAllStringSubmatch(string(b), -1) {
				targets[filepath.Join(filepath.Dir(path), "testdata", "fuzz", m[1])] = true
			}
			if n := strings.Count(string(b), "f."+"Fuzz("); n > 0 {
				t.Errorf("%s: f.Fuzz instead of faults.Fuzz: the target has no mutants in make test", path)
			}
		case strings.Contains(path, "testdata/fuzz/"):
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			size += int64(len(b))
			entries[filepath.Dir(path)]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(targets) < 12 || size > 1<<20 {
		t.Errorf("%d targets, %d octets of corpora", len(targets), size)
	}
	for folder := range targets {
		if entries[folder] < 5 {
			t.Errorf("%s holds %d inputs", folder, entries[folder])
		}
	}
	for folder := range entries {
		if !targets[folder] {
			t.Errorf("%s has no target", folder)
		}
	}
}
