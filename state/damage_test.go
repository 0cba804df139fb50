package state

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/state/database/databasetest"
)

// journaled is a folder with a journal of some pages.
func journaled(t *testing.T, dir string) {
	t.Helper()
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var entries []Entry
	for range 600 {
		entries = append(entries, Entry{At: time.Unix(1, 0), Step: "dns/acme.example/MX/@", Event: "x", Data: json.RawMessage(`{"pad":"0123456789012345678901234567890123456789"}`)})
	}
	if err := errors.Join(d.Append(t.Context(), entries...), d.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedFilesAreRefusedAndKept: what can't be believed is named with a remedy, whether it is opened to be
// written or to be read, and not an octet of it changes, nor of what lies beside it.
func TestDamagedFilesAreRefusedAndKept(t *testing.T) {
	damages := databasetest.Damages("holder", "journal_step", "command")
	t.Run("all", func(t *testing.T) { eachDamage(t, damages) })
	faults.Count(t, "damaged databases", len(damages))
}

func eachDamage(t *testing.T, damages []databasetest.Damage) {
	for _, x := range damages {
		t.Run(x.Name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			journaled(t, dir)
			if err := x.Do(Path(dir)); err != nil {
				t.Fatal(err)
			}
			before := databasetest.Snapshot(t, Path(dir))
			for range 2 { // also the second time
				d, err := Open(dir)
				if err == nil {
					d.Close()
				}
				_, refused := errors.AsType[*DamagedError](err)
				if refused == x.Newer || err == nil {
					t.Fatalf("opened: %v", err)
				}
				remedy := "restore it from a backup (mxodus state backup writes one), it is never rebuilt silently"
				if x.Newer {
					remedy = "use that version"
				}
				if text := err.Error(); !strings.Contains(text, remedy) || !strings.Contains(text, Path(dir)) {
					t.Errorf("the words are %q", text)
				}
			}
			// Reading looks over less, so it may find some damages only where it comes to them; it changes nothing either.
			if d, err := Look(dir); err == nil {
				_, err = d.Entries(t.Context(), 0)
				d.Close()
				if _, refused := errors.AsType[*DamagedError](err); err != nil && !refused {
					t.Errorf("read: %v", err)
				}
			}
			if after := databasetest.Snapshot(t, Path(dir)); !maps.Equal(before, after) {
				t.Error("something was changed")
			}
			if !Exists(dir) {
				t.Error("it is taken for one that isn't there")
			}
		})
	}
}

// TestFolderNames: characters that mean something in the names that SQLite takes are characters here.
func TestFolderNames(t *testing.T) {
	for _, name := range []string{"a?b", "a%41b", "a#b", "a b", "a&mode=memory", "Übung", "a;b", "?mode=memory"} {
		dir := filepath.Join(t.TempDir(), name)
		journaled(t, dir)
		if fi, err := os.Stat(Path(dir)); err != nil || fi.Size() == 0 {
			t.Errorf("%q: %v", name, err)
		}
		d, err := Look(dir)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if entries, err := d.Entries(t.Context(), 0); err != nil || len(entries) != 600 {
			t.Errorf("%q: %d entries, %v", name, len(entries), err)
		}
		d.Close()
	}
}

// TestOlderFilesGoOn: one that was made before files had a mark of their own and all of the indexes.
func TestOlderFilesGoOn(t *testing.T) {
	dir := t.TempDir()
	journaled(t, dir)
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"PRAGMA application_id = 0", "DROP INDEX journal_event"} {
		if _, err := d.db.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	d.Close()
	if d, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var n int
	if err := d.db.QueryRow("SELECT count(*) FROM sqlite_schema WHERE name = 'journal_event'").Scan(&n); err != nil || n != 1 {
		t.Errorf("the index is there %d times, %v", n, err)
	}
}

// TestDeathWhileAFileIsMade: what such a death leaves is not taken for a state file, and doesn't stand in the way.
func TestDeathWhileAFileIsMade(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Dir(Path(dir)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(Path(dir)), ".state.db-4711"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if Exists(dir) {
		t.Fatal("half a file is taken for a whole one")
	}
	if _, err := Look(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("looked: %v", err)
	}
	journaled(t, dir)
}
