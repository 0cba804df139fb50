package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan/config"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/state"
)

func newFmt(a *app) *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "fmt [FILE...]",
		Short: "Write the configuration in its canonical form",
		RunE:  func(_ *cobra.Command, args []string) error { return a.format(args, check) },
	}
	cmd.Flags().BoolVar(&check, "check", false, "change nothing; exit 2 when a file would change")
	return cmd
}

// fmtJSON is the object of `fmt -json`.
type fmtJSON struct {
	Changed []string `json:"changed"` // with -check: would change
}

func (a *app) format(names []string, check bool) error {
	if len(names) == 0 {
		paths, err := filepath.Glob(filepath.Join(escapeGlob(a.dir), "*"+config.Suffix))
		if err != nil {
			return err
		}
		names = paths
	}
	slices.Sort(names)
	type change struct {
		path string
		data []byte
		mode os.FileMode
	}
	var changes []change
	bad := &configError{files: map[string]*hcl.File{}}
	for _, name := range names {
		path := a.path(name)
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || info.Size() > config.MaxFileSize {
			return fmt.Errorf("%s is no file of up to %d MB", a.name(path), config.MaxFileSize>>20)
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		out, diags := config.Format(a.name(path), src)
		if diags.HasErrors() {
			bad.files[a.name(path)] = &hcl.File{Bytes: src} // for the excerpts
			bad.diags = append(bad.diags, diags...)
			continue
		}
		if !bytes.Equal(src, out) {
			changes = append(changes, change{path, out, info.Mode().Perm()})
		}
	}
	if len(bad.diags) > 0 {
		return bad // nothing was written
	}
	changed := fmtJSON{Changed: []string{}}
	for _, c := range changes {
		if !check {
			if err := state.WriteFile(c.path, c.data, c.mode); err != nil {
				return err
			}
		}
		changed.Changed = append(changed.Changed, a.name(c.path))
	}
	if a.json {
		if err := a.writeJSON(changed); err != nil {
			return err
		}
	} else {
		for _, name := range changed.Changed {
			if _, err := fmt.Fprintln(a.stdout, render.Escape(name)); err != nil {
				return err
			}
		}
	}
	if check && len(changes) > 0 {
		return exit(exitChanges)
	}
	return nil
}

// escapeGlob keeps a folder's own name out of pattern matching.
func escapeGlob(dir string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(dir)
}
