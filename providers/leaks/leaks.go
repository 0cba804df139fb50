// Package leaks fails a package's tests that leave something behind: goroutines that go on, files and connections that stay open.
package leaks

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long what ends with a test may take to be gone.
const patience = 3 * time.Second

// OfGoIMAP leaves out goroutines of go-imap beta.8, with whose client and server tests play: its client asks for capabilities by itself, and never ends
// when the connection is closed in that moment (imapclient.(*Client).setCaps); and its server waits for a lock for good when a connection is cut in
// the middle of a body (imapmemserver's fetch returns without Close of its writer).
var OfGoIMAP = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/emersion/go-imap/v2/imapclient.(*Client).setCaps.func1"),
	goleak.IgnoreAnyFunction("github.com/emersion/go-imap/v2/imapserver.newResponseEncoder"),
}

// Main is a package's TestMain: it runs the tests and ends the process, with 1 where they are well and goroutines or descriptors are left that
// were not there before. Descriptors are looked at where the system lists them (/proc/self/fd). except leaves out
// goroutines; each has to say whose they are.
func Main(m *testing.M, except ...goleak.Option) {
	before := open()
	goleak.VerifyTestMain(m, append(except, goleak.Cleanup(func(code int) {
		if code == 0 {
			if list := left(before, patience); len(list) > 0 {
				fmt.Fprintf(os.Stderr, "leaks: descriptors are still open: %s\n", strings.Join(list, ", "))
				code = 1
			}
		}
		os.Exit(code)
	}))...)
}

// open is what the process has open, by descriptor; nil where the system doesn't say. What the runtime keeps for itself is left out.
func open() map[string]string {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	all := map[string]string{}
	for _, f := range list {
		what, err := os.Readlink(filepath.Join("/proc/self/fd", f.Name()))
		// The folder itself was open while it was listed; the poller stays with the process.
		if err != nil || strings.HasPrefix(what, "anon_inode:[event") {
			continue
		}
		all[f.Name()] = what
	}
	return all
}

// left are the descriptors that are open and were not before, when the time is over. It forces no collection of garbage: a file that only that
// closes was forgotten.
func left(before map[string]string, patience time.Duration) (list []string) {
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		list = list[:0]
		for fd, what := range open() {
			if before[fd] != what {
				list = append(list, what)
			}
		}
		slices.Sort(list)
		if len(list) == 0 || time.Now().After(end) {
			return list
		}
	}
}
