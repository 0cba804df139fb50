package main

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mxodus/mxodus/providers/faults"
)

// committed are the files that people put under version control, and read by others: plans, approvals, the inventory and what init and import
// write for people to edit. Everything else that commands write is state or holds mail, addresses or secrets.
func committed(name string) bool {
	for _, folder := range []string{"plans", "approvals"} {
		if name == folder || strings.HasPrefix(name, folder+"/") {
			return true
		}
	}
	switch name {
	case "inventory.lock", "mailboxes.csv", "aliases.csv", "forwarders.csv", ".gitignore", ".gitattributes":
		return true
	}
	return strings.HasSuffix(name, ".mx.hcl") && !strings.Contains(name, "/")
}

// private wants everything in dir that the program has made, under a umask that takes nothing away, to be for its owner alone: files
// 0600 in folders 0700. What is committed may be read by others, and written by none of them. It counts what it looked at.
func private(t *testing.T, dir string, before map[string]bool) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile
		}
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path) // below dir
		name = filepath.ToSlash(name)
		info, err := d.Info()
		if name == "." || before[name] || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		seen++
		mode, want := info.Mode().Perm(), fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		switch {
		case committed(name) && mode&0o022 != 0:
			t.Errorf("%s has the mode %04o: others may write it", name, mode)
		case !committed(name) && mode != want:
			t.Errorf("%s has the mode %04o, want %04o", name, mode, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen == 0 {
		t.Errorf("nothing new in %s", dir)
	}
	faults.Count(t, "file modes checked", seen)
}

// names are all files and folders that are in dir now.
func names(t *testing.T, dir string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path) // below dir
		all[filepath.ToSlash(name)] = true
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// openly is the argument list of a command that runs with a umask of 0.
func openly(args ...string) []string {
	return append([]string{"sh", "-c", `umask 000; exec "$0" "$@"`}, args...)
}

// TestModesOfWhatCommandsWrite: init and import, whose tables of passwords wait to be filled in. What all other commands
// write is looked at in the migration of TestSecretsOfEveryField and, with a quarantine, in TestCopyExitCodes.
func TestModesOfWhatCommandsWrite(t *testing.T) {
	t.Parallel()
	f := newFolder(t, map[string]string{"people.csv": "E-Mail,Name,Passwort\nanna@acme.example,Anna,x\n"})
	f.open = true
	before := names(t, f.dir)
	f.run(0, "init", "-name", "acme", "-domain", "acme.example", "-source-host", "imap.old.example", "-target-host", "imap.new.example", "-cutover", "2030-01-15T18:00")
	private(t, f.dir, before)
	f.any("import", "people.csv")
	private(t, f.dir, before)
	if !names(t, f.dir)["secrets/source.csv"] {
		t.Error("no table of passwords was written")
	}
}
