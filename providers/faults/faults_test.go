package faults

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestCount(t *testing.T) {
	name := filepath.Join(t.TempDir(), "counts")
	t.Setenv(CountsFile, name)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { Count(t, "kills", 3) })
	}
	all.Wait()
	Count(t, "faults", 0)
	octets, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want := ""
	for range 20 {
		want += "kills\t3\n"
	}
	if string(octets) != want {
		t.Errorf("%q", octets)
	}
	t.Setenv(CountsFile, "")
	Count(t, "kills", 1)
}
