package microsoft365test_test

import (
	"fmt"
	"testing"

	"github.com/mxodus/mxodus/providers/imap/imaptest"
	"github.com/mxodus/mxodus/providers/microsoft365/microsoft365test"
)

// TestUnansweredAppendsOfEveryKind: wherever an answer is lost among messages of all kinds that are rendered
// anew, none stays in doubt and none is there twice.
func TestUnansweredAppendsOfEveryKind(t *testing.T) {
	for _, cut := range []int{3, 7, 13, 30} {
		t.Run(fmt.Sprint("every ", cut), func(t *testing.T) {
			t.Parallel()
			w := newTenancy(t, microsoft365test.IMAPTrouble{CutAppends: cut, StoredSize: true, MixItems: true, NonMail: true, ErrorLimit: true, Render: microsoft365test.Renders})
			n := 0
			for _, m := range imaptest.Generate(uint64(cut), 60) {
				if _, err := w.old.Deliver(anna, []string{"INBOX", "Work"}[n%2], m.Octets, nil, m.Date); err != nil {
					t.Fatal(err)
				}
				n++
			}
			for pass := 1; ; pass++ {
				r, err := w.copier().Run(t.Context())
				if err == nil && r.Doubt == 0 && !r.Changed() {
					n -= r.Quarantined
					break
				}
				t.Logf("pass %d: %+v, %v", pass, r, err)
				if pass == 8 {
					t.Fatalf("after %d passes: %+v, %v", pass, r, err)
				}
			}
			all, err := w.mailboxes.Snapshot(anna)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(all["Inbox"]) + len(all["INBOX"]) + len(all["Work"]); got != n {
				t.Errorf("%d messages, want %d", got, n)
			}
		})
	}
}
