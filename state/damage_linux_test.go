package state

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/state/database/databasetest"
)

// unprivileged runs fn as somebody whom modes hold back, also where the tests run as root: the
// kernel asks the thread's own user for each file (setfsuid(2)).
func unprivileged(t *testing.T, fn func()) {
	t.Helper()
	if os.Getuid() != 0 {
		fn()
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0)
	defer syscall.RawSyscall(syscall.SYS_SETFSUID, 0, 0, 0)
	fn()
}

// TestFilesThatMayNotBeWritten: the words say what to do, and nothing has changed.
func TestFilesThatMayNotBeWritten(t *testing.T) {
	dir, err := os.MkdirTemp("", "mxodus-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	journaled(t, dir)
	for path, mode := range map[string]os.FileMode{dir: 0o755, filepath.Dir(Path(dir)): 0o555, Path(dir): 0o444} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.Chmod(filepath.Dir(Path(dir)), 0o700) })
	before := databasetest.Snapshot(t, Path(dir))
	unprivileged(t, func() {
		d, err := Open(dir)
		if err == nil {
			d.Close()
			t.Error("it was opened")
			return
		}
		if !strings.Contains(err.Error(), Path(dir)) || !strings.Contains(err.Error(), "have to belong to whoever runs mxodus") {
			t.Errorf("the words are %q", err)
		}
	})
	after := databasetest.Snapshot(t, Path(dir))
	for name, text := range after {
		if before[name] != text {
			t.Errorf("%s was changed", name)
		}
	}
	faults.Count(t, "damaged databases", 1)
}
