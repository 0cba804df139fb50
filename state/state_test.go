package state

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

type testClock struct{}

func (testClock) Now() time.Time { return time.Now() }
func (testClock) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func TestJournalKeepsOrderAndValues(t *testing.T) {
	dir := t.TempDir()
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2027, 1, 15, 18, 0, 0, 12345, time.UTC)
	if err := d.Append(t.Context(),
		Entry{At: at, Plan: "sha256:1", Step: "dns/a/MX/@", Event: "started", Data: json.RawMessage(`{"key":"k"}`)},
		Entry{At: at.Add(time.Second), Plan: "sha256:1", Event: "run.ended"},
	); err != nil {
		t.Fatal(err)
	}
	d.Close()
	if d, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got, err := d.Entries(t.Context(), 0)
	if err != nil || len(got) != 2 {
		t.Fatalf("entries = %v, %v", got, err)
	}
	if !got[0].At.Equal(at) || got[0].Step != "dns/a/MX/@" || string(got[0].Data) != `{"key":"k"}` || string(got[1].Data) != "{}" {
		t.Errorf("entries came back changed: %+v", got)
	}
	if later, _ := d.Entries(t.Context(), got[0].Seq); len(later) != 1 || later[0].Event != "run.ended" {
		t.Errorf("after %d: %+v", got[0].Seq, later)
	}
	for path, want := range map[string]os.FileMode{Path(dir): 0o600, filepath.Dir(Path(dir)): 0o700} {
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", path, fi.Mode().Perm(), err, want)
		}
	}
}

func TestLeaseIsExclusiveAndNamesItsHolder(t *testing.T) {
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	l, err := d.Acquire(t.Context(), Holder{PID: 4711, Host: "laptop", Command: "mxodus apply"}, testClock{})
	if err != nil {
		t.Fatal(err)
	}
	if held, err := d.Held(); !held || err != nil {
		t.Errorf("held = %v, %v while the lease is out", held, err)
	}
	_, err = d.Acquire(t.Context(), Holder{PID: 1}, testClock{})
	locked, ok := errors.AsType[*LockedError](err)
	if !ok || locked.Holder.PID != 4711 || locked.Holder.Command != "mxodus apply" {
		t.Fatalf("second lease: %v", err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if held, err := d.Held(); held || err != nil {
		t.Errorf("held = %v, %v after release", held, err)
	}
	if l, err = d.Acquire(t.Context(), Holder{PID: 2}, testClock{}); err != nil {
		t.Fatalf("after release: %v", err)
	}
	l.Release()
}

func TestDamagedFileIsRefusedAndKept(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"header":    func(b []byte) []byte { copy(b, "not a database"); return b },
		"pages":     func(b []byte) []byte { clear(b[4096:]); return b },
		"truncated": func(b []byte) []byte { return b[:5000] },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			for range 200 {
				d.Append(t.Context(), Entry{At: time.Now(), Event: "x", Data: json.RawMessage(`{"pad":"0123456789012345678901234567890123456789"}`)})
			}
			d.Close()
			b, err := os.ReadFile(Path(dir))
			if err != nil {
				t.Fatal(err)
			}
			b = damage(b)
			if err := os.WriteFile(Path(dir), b, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = Open(dir)
			if _, ok := errors.AsType[*DamagedError](err); !ok {
				t.Fatalf("open: %v, want a DamagedError", err)
			}
			if kept, _ := os.ReadFile(Path(dir)); string(kept) != string(b) {
				t.Error("the damaged file was changed")
			}
		})
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	d.Close()
	if _, err := Open(dir); err == nil {
		t.Fatal("a file of format 99 was opened")
	}
}

func TestWriteFileReplacesWholeFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	path := filepath.Join(dir, "f")
	for _, content := range []string{"first and long", "second"} {
		if err := WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("%q, %v; want %q", got, err, content)
		}
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("file mode: %v, %v", fi.Mode(), err)
	}
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("folder mode: %v, %v", fi.Mode(), err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
	if err := WriteFile(dir, []byte("x"), 0o600); err == nil {
		t.Error("a folder was replaced by a file")
	}
	if names, _ := os.ReadDir(filepath.Dir(dir)); len(names) != 1 {
		t.Errorf("a failed write left behind: %v", names)
	}
}
