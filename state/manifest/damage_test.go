package manifest

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/state/database/databasetest"
)

// TestDamagedFilesAreRefusedAndKept: what can't be believed is named with a remedy, whether a pass opens it or a
// command that reads, and not an octet of it changes, nor of what lies beside it.
func TestDamagedFilesAreRefusedAndKept(t *testing.T) {
	damages := append(databasetest.Damages("pass", "message_vanished", "result"),
		databasetest.Damage{Name: "no file where one has been", Do: os.Remove},
		databasetest.Damage{Name: "a link as its lock", Do: func(path string) error {
			return errors.Join(os.WriteFile(path+".victim", []byte("kept"), 0o600), os.Remove(path+".lock"), os.Symlink(filepath.Base(path)+".victim", path+".lock"))
		}},
		databasetest.Damage{Name: "no mailbox", Do: func(path string) error {
			d, err := Open(path, target)
			if err != nil {
				return err
			}
			_, err = d.write.Exec("DELETE FROM mailbox")
			return errors.Join(err, d.Close())
		}})
	t.Run("all", func(t *testing.T) {
		for _, x := range damages {
			t.Run(x.Name, func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), "m.db")
				d, f, g := seeded(t, path)
				update(t, d, func(tx *Tx) error {
					for i := range 400 {
						if err := tx.Intend(message(f, g, uint32(i+1)), at); err != nil {
							return err
						}
					}
					return nil
				})
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
				if err := x.Do(path); err != nil {
					t.Fatal(err)
				}
				before := databasetest.Snapshot(t, path)
				for range 2 { // also the second time
					d, err := Open(path, target)
					if err == nil {
						d.Close()
					}
					if err == nil || isA[*DamagedError](err) == x.Newer {
						t.Fatalf("opened: %v", err)
					}
					remedy := "restore it from a backup of the state folder: it is never rebuilt silently"
					if x.Newer {
						remedy = "use that version"
					}
					if text := err.Error(); !strings.Contains(text, remedy) || !strings.Contains(text, path) {
						t.Errorf("the words are %q", text)
					}
				}
				// Reading looks over less, so it finds some damages only where it comes to them; it changes nothing either.
				if d, err := View(path); err == nil {
					err = d.Of(t.Context(), f.ID, func(Message) error { return nil })
					d.Close()
					if err != nil && !isA[*DamagedError](err) {
						t.Errorf("read: %v", err)
					}
				}
				if after := databasetest.Snapshot(t, path); !maps.Equal(before, after) {
					t.Error("something was changed")
				}
			})
		}
	})
	faults.Count(t, "damaged databases", len(damages))
}
