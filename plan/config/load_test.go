package config

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write the golden files")

// folderOf is a file system of an archive's files but want.
func folderOf(a *txtar.Archive) fstest.MapFS {
	fsys := fstest.MapFS{}
	for _, f := range a.Files {
		if f.Name != "want" {
			fsys[f.Name] = &fstest.MapFile{Data: f.Data}
		}
	}
	return fsys
}

// optionsOf reads the archive's comment: lines such as var=k=v.
func optionsOf(a *txtar.Archive) Options {
	o := Options{Vars: map[string]string{}}
	for line := range strings.SplitSeq(string(a.Comment), "\n") {
		what, value, _ := strings.Cut(line, "=")
		switch what {
		case "var":
			k, v, _ := strings.Cut(value, "=")
			o.Vars[k] = v
		case "varfile":
			o.VarFiles = append(o.VarFiles, value)
		case "env":
			o.Environ = append(o.Environ, value)
		case "version":
			o.Version = value
		}
	}
	return o
}

// TestDiagnostics loads each archive of testdata/bad and compares what a
// person would read with the file "want" in it. -update writes that.
func TestDiagnostics(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			loaded, errs := Load(folderOf(a), optionsOf(a))
			var got bytes.Buffer
			if err := WriteDiagnostics(&got, loaded.Files, append(errs, loaded.Warnings...), 100, false); err != nil {
				t.Fatal(err)
			}
			if fine := strings.HasSuffix(name, "_is_fine"); fine == errs.HasErrors() || fine != (loaded.Migration != nil) {
				t.Errorf("errors: %v, migration: %v", errs.HasErrors(), loaded.Migration != nil)
			}
			if s := got.String(); strings.Contains(s, "KANARIE") {
				t.Errorf("a secret is printed")
			} else if strings.ContainsAny(s, "\x1b\u202e") {
				t.Errorf("control characters are printed")
			}
			want := ""
			for i, f := range a.Files {
				if f.Name == "want" {
					want = string(f.Data)
					a.Files = append(a.Files[:i], a.Files[i+1:]...)
					break
				}
			}
			if *update {
				a.Files = append(a.Files, txtar.File{Name: "want", Data: got.Bytes()})
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got.String()); diff != "" {
				t.Errorf("diagnostics differ (-want +got); -update writes them:\n%s", diff)
			}
		})
	}
}
