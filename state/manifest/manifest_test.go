package manifest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

const target = "anna@acme.example at imap.example.net"

var at = time.Date(2027, 1, 15, 18, 0, 0, 123, time.UTC)

func open(t *testing.T, path string) *DB {
	t.Helper()
	d, err := Open(path, target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func update(t *testing.T, d *DB, fn func(*Tx) error) {
	t.Helper()
	if err := d.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// seeded has one folder on each side.
func seeded(t *testing.T, path string) (*DB, Folder, Target) {
	t.Helper()
	d := open(t, path)
	g := Target{Raw: "INBOX", Name: "INBOX", Baseline: Numbers{UIDValidity: 9, UIDNext: 5, Messages: 4}}
	f := Folder{Raw: "&ANw-bung", Name: "Übung", Numbers: Numbers{UIDValidity: 7}}
	update(t, d, func(tx *Tx) error {
		if err := tx.PutTarget(&g); err != nil {
			return err
		}
		f.Target = g.ID
		return tx.PutFolder(&f)
	})
	return d, f, g
}

func message(f Folder, g Target, uid uint32) *Message {
	return &Message{
		Folder: f.ID, UIDValidity: 7, UID: uid, Size: 1234, InternalDate: time.Date(1969, 7, 20, 20, 17, 40, 0, time.UTC),
		Flags: []string{"$Work", `\Seen`}, MessageID: "a@b", Digest: bytes.Repeat([]byte{byte(uid)}, 32), Target: g.ID, Window: 5,
	}
}

func TestValuesSurviveReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "manifest", "a?b %41#.db")
	d, f, g := seeded(t, path)
	m := message(f, g, 3)
	m.Canonical = bytes.Repeat([]byte{8}, 32)
	f.Complete, f.Subscribed = true, true
	f.Numbers = Numbers{UIDValidity: 7, UIDNext: 4, Messages: 1, HighestModSeq: 1<<63 - 1}
	g.Numbers = Numbers{UIDValidity: 9, UIDNext: 6, Messages: 5, HighestModSeq: 2}
	g.Baseline = Numbers{} // must not be written again
	update(t, d, func(tx *Tx) error {
		if err := tx.Intend(m, at); err != nil {
			return err
		}
		if err := tx.Claim(m.ID, 9, 5, at); err != nil {
			return err
		}
		return errors.Join(tx.PutFolder(&f), tx.PutTarget(&g))
	})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = open(t, path)
	got, err := d.Message(t.Context(), m.ID)
	want := *m
	want.State, want.At, want.Window, want.TargetUIDValidity, want.TargetUID = Claimed, at, 0, 9, 5
	if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	folders, err := d.Folders(t.Context())
	if err != nil || folders[f.Raw] != f {
		t.Errorf("folder %+v, %v; want %+v", folders[f.Raw], err, f)
	}
	targets, err := d.Targets(t.Context())
	g.Baseline = Numbers{UIDValidity: 9, UIDNext: 5, Messages: 4}
	if err != nil || targets["INBOX"] != g {
		t.Errorf("target %+v, %v; want %+v", targets["INBOX"], err, g)
	}
	for p, mode := range map[string]os.FileMode{path: 0o600, path + ".lock": 0o600, filepath.Dir(path): 0o700} {
		if fi, err := os.Stat(p); err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, %v; want %v", p, fi.Mode().Perm(), err, mode)
		}
	}
}

// TestWaysBetweenStates holds which step is allowed from which state: the rest are
// refused by the database, whatever the caller believes.
func TestWaysBetweenStates(t *testing.T) {
	steps := []struct {
		name string
		do   func(*Tx, *Message) error
		from []State // 0 = no row
	}{
		{"intend", func(tx *Tx, m *Message) error { c := *m; return tx.Intend(&c, at) }, []State{0, Seen}},
		{"claim", func(tx *Tx, m *Message) error { return tx.Claim(m.ID, 9, 50, at) }, []State{Intent, Applied}},
		{"claim without place", func(tx *Tx, m *Message) error { return tx.Claim(m.ID, 0, 0, at) }, []State{Intent, Applied}},
		{"find", func(tx *Tx, m *Message) error { return tx.Find(m.ID, 9, 50, at) }, []State{Intent}},
		{"applied", func(tx *Tx, m *Message) error { return tx.Applied(m.ID, at) }, []State{Intent}},
		{"revert", func(tx *Tx, m *Message) error { return tx.Revert(m.ID, at) }, []State{Intent}},
		{"quarantine", func(tx *Tx, m *Message) error { return tx.Quarantine(m.ID, Refusal{Reason: "x"}, at) }, []State{Intent}},
		{"requeue", func(tx *Tx, m *Message) error { return tx.Requeue(m.ID, at) }, []State{Quarantined}},
		{"replace", func(tx *Tx, m *Message) error { return tx.Replace(m.ID, 10, 1) }, []State{Claimed}},
		{"forget", func(tx *Tx, m *Message) error { return tx.Forget(m.ID) }, nil}, // not while the source has it
	}
	reach := map[State]func(*Tx, *Message) error{
		0:       func(*Tx, *Message) error { return nil },
		Seen:    func(tx *Tx, m *Message) error { return errors.Join(tx.Intend(m, at), tx.Revert(m.ID, at)) },
		Intent:  func(tx *Tx, m *Message) error { return tx.Intend(m, at) },
		Applied: func(tx *Tx, m *Message) error { return errors.Join(tx.Intend(m, at), tx.Applied(m.ID, at)) },
		Claimed: func(tx *Tx, m *Message) error { return errors.Join(tx.Intend(m, at), tx.Claim(m.ID, 9, 40, at)) },
		Quarantined: func(tx *Tx, m *Message) error {
			return errors.Join(tx.Intend(m, at), tx.Quarantine(m.ID, Refusal{}, at))
		},
	}
	for _, step := range steps {
		for state, prepare := range reach {
			d, f, g := seeded(t, filepath.Join(t.TempDir(), "m.db"))
			m := message(f, g, 1)
			update(t, d, func(tx *Tx) error { return prepare(tx, m) })
			err := d.Update(t.Context(), func(tx *Tx) error { return step.do(tx, m) })
			if allowed := slices.Contains(step.from, state); (err == nil) != allowed {
				t.Errorf("%s in state %v: %v, want allowed = %v", step.name, state, err, allowed)
			}
			d.Close()
		}
	}
}

func TestATargetUIDIsClaimedOnce(t *testing.T) {
	d, f, g := seeded(t, filepath.Join(t.TempDir(), "m.db"))
	a, b := message(f, g, 1), message(f, g, 2)
	update(t, d, func(tx *Tx) error { return errors.Join(tx.Intend(a, at), tx.Intend(b, at), tx.Claim(a.ID, 9, 5, at)) })
	update(t, d, func(tx *Tx) error {
		if err := tx.Claim(b.ID, 9, 5, at); !errors.Is(err, ErrTaken) {
			t.Errorf("second claim of a UID: %v, want ErrTaken", err)
		}
		return tx.Applied(b.ID, at) // the transaction goes on
	})
	if m, _ := d.Message(t.Context(), b.ID); m.State != Applied {
		t.Errorf("state %v", m.State)
	}
}

// TestAWithdrawnClaimIsLookedFor: it frees the UID, and its message is one that is at the target and has to be found behind the baseline.
func TestAWithdrawnClaimIsLookedFor(t *testing.T) {
	d, f, g := seeded(t, filepath.Join(t.TempDir(), "m.db"))
	g.Numbers = g.Baseline
	a, b := message(f, g, 3), message(f, g, 4)
	update(t, d, func(tx *Tx) error {
		return errors.Join(tx.PutTarget(&g), tx.Intend(a, at), tx.Intend(b, at), tx.Claim(a.ID, 9, 50, at))
	})
	update(t, d, func(tx *Tx) error {
		return errors.Join(tx.Withdraw(g.ID, 9, 49, at), tx.Withdraw(g.ID, 9, 50, at), tx.Claim(b.ID, 9, 50, at))
	})
	got, err := d.Message(t.Context(), a.ID)
	if err != nil || got.State != Applied || got.TargetUID != 0 || got.Window != g.Baseline.UIDNext {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := d.Message(t.Context(), b.ID); err != nil || got.State != Claimed || got.TargetUID != 50 {
		t.Errorf("the other one: %+v, %v", got, err)
	}
	// One that was never said to be there, and only found, may not be.
	c := message(f, g, 5)
	update(t, d, func(tx *Tx) error { return errors.Join(tx.Intend(c, at), tx.Find(c.ID, 9, 51, at)) })
	if got, err := d.Message(t.Context(), c.ID); err != nil || got.State != Claimed || got.TargetUID != 51 {
		t.Errorf("found: %+v, %v", got, err)
	}
	update(t, d, func(tx *Tx) error { return tx.Withdraw(g.ID, 9, 51, at) })
	if got, err := d.Message(t.Context(), c.ID); err != nil || got.State != Intent || got.TargetUID != 0 || got.Window != g.Baseline.UIDNext {
		t.Errorf("found, and not there: %+v, %v", got, err)
	}
}

func TestMovedAndDeletedMessages(t *testing.T) {
	ctx := t.Context()
	d, f, g := seeded(t, filepath.Join(t.TempDir(), "m.db"))
	old, moved := message(f, g, 1), message(f, g, 2)
	moved.Digest = old.Digest
	update(t, d, func(tx *Tx) error {
		return errors.Join(tx.Intend(old, at), tx.Claim(old.ID, 9, 5, at), tx.Vanish(old.ID, 4))
	})
	if list, err := d.Moved(ctx, old.Digest, 4); err != nil || len(list) != 0 {
		t.Errorf("vanished in a pass that was finished: %v, %v", list, err)
	}
	if list, err := d.Moved(ctx, old.Digest, 3); err != nil || len(list) != 1 || list[0].TargetUID != 5 {
		t.Fatalf("vanished since: %v, %v", list, err)
	}
	update(t, d, func(tx *Tx) error {
		return errors.Join(tx.Intend(moved, at), tx.Inherit(moved.ID, old.ID, 9, 5, at))
	})
	if m, _ := d.Message(ctx, moved.ID); m.State != Claimed || m.TargetUID != 5 {
		t.Errorf("the heir: %+v", m)
	}
	if list, _ := d.Gone(ctx); len(list) != 0 {
		t.Errorf("nothing is left to delete, got %+v", list)
	}
	// The source shows the old one again: it has to be copied again.
	update(t, d, func(tx *Tx) error { return tx.Return(old.ID) })
	if list, _ := d.Waiting(ctx, f.ID); len(list) != 1 || list[0].UID != 1 {
		t.Errorf("waiting: %+v", list)
	}
	if folders, err := d.FoldersWaiting(ctx); err != nil || len(folders) != 1 || !folders[f.ID] {
		t.Errorf("folders with waiting messages: %v, %v", folders, err)
	}
	counts, err := d.Counts(ctx)
	if err != nil || counts[Claimed] != 1 || counts[Seen] != 1 {
		t.Errorf("counts %v, %v", counts, err)
	}
}

func TestAFailedUpdateLeavesNothingAndOthersAreKept(t *testing.T) {
	d, f, g := seeded(t, filepath.Join(t.TempDir(), "m.db"))
	mistake := errors.New("a mistake")
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			err := d.Update(context.Background(), func(tx *Tx) error {
				if err := tx.Intend(message(f, g, uint32(i+1)), at); err != nil {
					return err
				}
				if i%2 == 1 {
					return mistake
				}
				return nil
			})
			if (i%2 == 1) != errors.Is(err, mistake) {
				t.Errorf("update %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	list, err := d.Doubts(t.Context())
	if err != nil || len(list) != 100 {
		t.Errorf("%d rows, %v; want 100", len(list), err)
	}
	for _, m := range list {
		if m.UID%2 != 1 {
			t.Errorf("UID %d remains of a failed update", m.UID)
		}
	}
}

func TestOneProcessAtATimeAndOneTarget(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.db")
	d := open(t, path)
	if _, err := Open(path, target); !isA[*LockedError](err) {
		t.Errorf("second opening: %v, want a LockedError", err)
	}
	d.Close()
	if _, err := Open(path, "anna@acme.example at other.example"); !isA[*OtherTargetError](err) {
		t.Errorf("other target: %v, want an OtherTargetError", err)
	}
	open(t, path).Close()
	if err := d.Update(t.Context(), func(*Tx) error { return nil }); err == nil {
		t.Error("a closed manifest takes an update")
	}
}

func isA[E error](err error) bool { _, ok := errors.AsType[E](err); return ok }

func TestDamagedFilesAreRefused(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"no database": func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte("mail "), 4000), 0o600) },
		"emptied":     func(p string) error { return os.Truncate(p, 0) },
		"cut":         func(p string) error { fi, _ := os.Stat(p); return os.Truncate(p, fi.Size()/2) },
		"gone":        os.Remove,
		"pages replaced": func(p string) error {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			for i := 8192; i < len(b); i++ {
				b[i] = 0xA5
			}
			return os.WriteFile(p, b, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "m.db")
			d, f, g := seeded(t, path)
			update(t, d, func(tx *Tx) error {
				for i := range 2000 {
					if err := tx.Intend(message(f, g, uint32(i+1)), at); err != nil {
						return err
					}
				}
				return nil
			})
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(path)
			for range 2 { // also the second time
				if d, err := Open(path, target); !isA[*DamagedError](err) {
					if err == nil {
						d.Close()
					}
					t.Errorf("opening: %v, want a DamagedError", err)
				}
			}
			after, err := os.ReadFile(path)
			if name == "gone" {
				if !errors.Is(err, os.ErrNotExist) {
					t.Error("a new file was made")
				}
			} else if !bytes.Equal(before, after) {
				t.Error("the damaged file was changed")
			}
		})
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.db")
	d := open(t, path)
	if _, err := d.write.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	d.Close()
	if d, err := Open(path, target); err == nil {
		d.Close()
		t.Error("a newer manifest was opened")
	}
}

func BenchmarkRows(b *testing.B) {
	d, err := Open(filepath.Join(b.TempDir(), "m.db"), target)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	f, g := Folder{Raw: "INBOX"}, Target{Raw: "INBOX"}
	d.Update(b.Context(), func(tx *Tx) error { return errors.Join(tx.PutTarget(&g), tx.PutFolder(&f)) })
	uid := uint32(0)
	for b.Loop() {
		// One batch as the engine writes it: intents, then claims with the next batch's.
		if err := d.Update(b.Context(), func(tx *Tx) error {
			for range 100 {
				uid++
				m := message(f, g, uid)
				if err := errors.Join(tx.Intend(m, at), tx.Claim(m.ID, 9, uid, at)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(uid)/b.Elapsed().Seconds(), "rows/s")
}

func TestViewReadsWhileAnotherWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.db")
	if _, err := View(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("view of nothing: %v", err)
	}
	d, f, g := seeded(t, path)
	m := message(f, g, 1)
	update(t, d, func(tx *Tx) error { return tx.Intend(m, at) })
	v, err := View(path)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	update(t, d, func(tx *Tx) error { return tx.Claim(m.ID, 9, 5, at) })
	if counts, err := v.Counts(t.Context()); err != nil || counts[Claimed] != 1 {
		t.Errorf("the view counts %v, %v", counts, err)
	}
	if err := v.Update(t.Context(), func(*Tx) error { return nil }); err == nil {
		t.Error("a view took an update")
	}
}

// TestBackupWhileAPassWrites: the copy is a manifest of its own, with what was durable at that moment.
func TestBackupWhileAPassWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	d, f, g := seeded(t, path)
	update(t, d, func(tx *Tx) error { return tx.Intend(message(f, g, 1), at) })
	file := filepath.Join(t.TempDir(), "copy.db")
	if err := Backup(t.Context(), path, file); err != nil {
		t.Fatal(err)
	}
	if err := Backup(t.Context(), path, file); err == nil {
		t.Error("an existing file was overwritten")
	}
	update(t, d, func(tx *Tx) error { return tx.Intend(message(f, g, 2), at) })
	if doubts, err := open(t, file).Doubts(t.Context()); err != nil || len(doubts) != 1 || doubts[0].UID != 1 {
		t.Errorf("the copy holds %+v, %v", doubts, err)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the copy has mode %v, %v", fi.Mode(), err)
	}
}
