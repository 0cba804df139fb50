package leaks

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestMain(m *testing.M) { Main(m) }

// TestLeft leaves a file and a socket open, and then doesn't.
func TestLeft(t *testing.T) {
	before := open()
	if before == nil {
		t.Skip("this system doesn't list a process's descriptors")
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "forgotten"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if got := left(before, 0); len(got) != 2 || got[0] != f.Name() {
		t.Errorf("open are a file and a socket; found: %q", got)
	}
	time.AfterFunc(50*time.Millisecond, func() { f.Close(); l.Close() })
	if got := left(before, 5*time.Second); len(got) != 0 {
		t.Errorf("everything is closed soon; found: %q", got)
	}
}
