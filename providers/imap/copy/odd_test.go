package copy

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// TestOddMessagesArriveAsTheyAre copies the odd corpus between Dovecots of two kinds of store, in both directions: whatever the
// source shows has to be at the target, octet by octet, with flags and dates.
func TestOddMessagesArriveAsTheyAre(t *testing.T) {
	mails := odd()
	if len(mails) < 300 {
		t.Fatalf("only %d odd messages", len(mails))
	}
	for _, stores := range [][2]string{{"maildir", "mdbox"}, {"mdbox", "maildir"}} {
		t.Run(stores[0]+" to "+stores[1], func(t *testing.T) {
			var ends [2]server
			for i, store := range stores {
				d := imaptest.StartDovecot(t, imaptest.DovecotOptions{Accounts: map[string]string{user: password}, Store: store})
				ends[i] = server{address: d.Address()}
			}
			src, dst := ends[0], ends[1]
			b := newBench(t, src, dst, t.TempDir(), nil)
			there, _ := deliver(t, b.source, mails)
			taken := len(there)
			if taken < 300 {
				t.Fatalf("the source took only %d of %d", taken, len(mails))
			}
			r := b.pass(providers.BeforeFlip)
			if r.Copied != taken || r.Quarantined > 0 {
				t.Errorf("%+v, want %d copied", r, taken)
			}
			from, to := src.read(t), dst.read(t)
			for _, side := range []map[string][]imaptest.Mail{from, to} {
				for i := range side[beyondFolder] {
					side[beyondFolder][i].Date = time.Time{}
				}
			}
			if lines := imaptest.Diff(from, to, nil); len(lines) > 0 {
				t.Errorf("%d differences:\n%s", len(lines), strings.Join(lines[:min(len(lines), 10)], "\n"))
			}
			b.idle(providers.BeforeFlip)
		})
	}
}

// repeated is a message of any size without the memory for it.
type repeated struct{ at, size int64 }

const line = "0123456789012345678901234567890123456789012345678901234567890123456789012345\r\n"

func (r *repeated) Read(p []byte) (int, error) {
	if r.at >= r.size {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) && r.at < r.size {
		k := copy(p[n:min(int64(len(p)), int64(n)+r.size-r.at)], line[r.at%int64(len(line)):])
		n += k
		r.at += int64(k)
	}
	return n, nil
}

// TestLargeMessages copies messages of 150 MB with little memory.
func TestLargeMessages(t *testing.T) {
	if testing.Short() {
		t.Skip("copies 300 MB")
	}
	src, dst := dovecots(t)
	b := newBench(t, src, dst, t.TempDir(), func(s, d *plan.Host) { s.Limits.StallTimeout, d.Limits.StallTimeout = time.Minute, time.Minute })
	s, err := b.source.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const size = 150 << 20
	for i := range 2 {
		head := fmt.Sprintf("Subject: large %d\r\n\r\n", i)
		body := io.MultiReader(strings.NewReader(head), &repeated{size: size - int64(len(head))})
		wait, err := s.StartAppend(t.Context(), "INBOX", []imap.Message{{Size: size, Body: body, InternalDate: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}})
		if err != nil {
			t.Fatal(err)
		}
		if a, err := wait(); err != nil || !a[0].Done {
			t.Fatal(err, a)
		}
	}
	if r := b.pass(providers.BeforeFlip); r.Copied != 2 || r.Octets != 2*size {
		t.Errorf("%+v", r)
	}
	b.equal()
}
