// Package faults is what tests of all packages share to do harm: it counts what was inflicted, so that a run of all packages can end
// with one line of figures, and gives each fuzz target a short round of mutants in every run.
package faults

import (
	"fmt"
	"os"
	"testing"
)

// CountsFile is the environment variable that names the file for the counts. Without it nothing is written.
const CountsFile = "MXODUS_FAULT_COUNTS"

// Count notes that n more things of a class have been inflicted and survived: "faults", "kills", "protocol lies". A class is a plural
// without a tab or a line break. Call it once all is known to be well; where the test has failed, nothing is counted. It may be called from several
// goroutines and processes at once.
func Count(tb testing.TB, class string, n int) {
	tb.Helper()
	name := os.Getenv(CountsFile)
	if name == "" || tb.Failed() || n == 0 {
		return
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		tb.Fatalf("the file for the counts: %v", err)
	}
	// One write of a short line to a file opened for appending isn't torn by others' (POSIX write).
	_, err = fmt.Fprintf(f, "%s\t%d\n", class, n)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		tb.Fatalf("the file for the counts: %v", err)
	}
}
