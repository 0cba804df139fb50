package copy

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// odd are messages as old mailboxes have them, with what no grammar allows. The names are for
// people who read a failure.
func odd() (list []imaptest.GeneratedMail) {
	bodies := map[string]string{
		"empty body":            "Subject: empty\r\n\r\n",
		"no header":             "\r\nonly a body\r\n",
		"no empty line":         "Subject: no empty line\r\nX: y\r\n",
		"no line end":           "Subject: x\r\n\r\nno line end",
		"one octet":             "x",
		"line ends only":        "\r\n\r\n\r\n",
		"NUL":                   "Subject: nul\r\n\r\nbefore\x00after\r\n",
		"bare LF":               "Subject: lf\n\nline\nline\n",
		"bare CR":               "Subject: cr\r\n\r\na\rb\rc\r\n",
		"mixed line ends":       "Subject: mixed\r\nX: y\n\r\na\r\nb\nc\r",
		"8-bit header":          "Subject: Gr\xfc\xdfe\r\nFrom: M\xfcller <a@b>\r\n\r\n\xe4\xf6\xfc\r\n",
		"UTF-8 header":          "Subject: Grüße 日本 📬\r\n\r\nGrüße\r\n",
		"all octets":            "Subject: all\r\n\r\n" + every() + "\r\n",
		"line of 1 MB":          "Subject: long\r\n\r\n" + strings.Repeat("0123456789", 100_000) + "\r\n",
		"header of 100 KB":      "Subject: " + strings.Repeat("word ", 20_000) + "\r\n\r\nbody\r\n",
		"folded Message-ID":     "Message-ID:\r\n <folded@example.net>\r\n\r\nbody\r\n",
		"two Message-IDs":       "Message-ID: <a@example.net>\r\nMessage-ID: <b@example.net>\r\n\r\nbody\r\n",
		"shared Message-ID":     "Message-ID: <same@example.net>\r\n\r\none body\r\n",
		"shared, another body":  "Message-ID: <same@example.net>\r\n\r\nanother body\r\n",
		"shared, same size":     "Message-ID: <same@example.net>\r\n\r\nzwo body\r\n",
		"From line":             "From somebody Thu Jan  1 00:00:00 1970\r\nSubject: mbox\r\n\r\nFrom here\r\n.\r\n..\r\n",
		"looks like IMAP":       "Subject: ) {10}\r\n\r\n* 1 FETCH (BODY[] {5}\r\nA1 OK\r\n+ go on\r\n",
		"date of 1601":          "Date: Mon, 01 Jan 1601 00:00:00 +0000\r\n\r\nbody\r\n",
		"nested rfc822":         nested(30),
		"5,000 levels":          nested(5000),
		"boundary never closed": "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nopen\r\n",
		"winmail.dat":           "Content-Type: application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: base64\r\n\r\neJ8+IgAA\r\n",
		"signed":                "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=s\r\n\r\n--s\r\n\r\n trailing blanks  \r\n--s--\r\n",
	}
	flags := [][]string{{}, {`\Seen`}, {`\Deleted`, `\Draft`}, {`\Answered`, `\Flagged`, `\Seen`}, {"$MDNSent", "$Forwarded"}, {"NonJunk", "a", "A-1_2.3", "x+y&z", "key:word"}}
	dates := []time.Time{
		time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC), time.Date(2038, 1, 19, 3, 14, 6, 0, time.UTC), time.Date(2024, 2, 29, 23, 59, 60, 0, time.FixedZone("", -12600)),
		time.Date(2021, 3, 28, 2, 30, 0, 0, time.FixedZone("", 3600)), time.Date(1999, 12, 31, 23, 59, 59, 0, time.FixedZone("", 50400)),
	}
	// Dovecot keeps these as other dates, and not the same ones on each way: the messages have to arrive all the same.
	beyond := []time.Time{time.Date(1904, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC),
		time.Date(2106, 2, 7, 6, 28, 16, 0, time.UTC), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)}
	names := make([]string, 0, len(bodies))
	for name := range bodies {
		names = append(names, name)
	}
	slices.Sort(names)
	for round := range 12 {
		for i, name := range names {
			if round > 1 && len(bodies[name]) > 50_000 {
				continue
			}
			list = append(list, imaptest.GeneratedMail{
				Folder: []string{"INBOX", "Odd/Ünd so", "Odd/twins"}[(round+i)%3], Octets: []byte(bodies[name]),
				Flags: flags[(round+i*5)%len(flags)], Date: dates[(round*4+i)%len(dates)],
			})
		}
	}
	for i, date := range beyond {
		list = append(list, imaptest.GeneratedMail{Folder: beyondFolder, Date: date, Octets: fmt.Appendf(nil, "Subject: date %d\r\n\r\nbody\r\n", i)})
	}
	return list
}

// beyondFolder has messages with dates that servers don't keep.
const beyondFolder = "Odd/dates"

func every() string {
	b := make([]byte, 0, 256)
	for i := range 256 {
		if i != '\r' && i != '\n' {
			b = append(b, byte(i))
		}
	}
	return string(b)
}

func nested(depth int) string {
	return strings.Repeat("Content-Type: message/rfc822\r\n\r\n", depth) + "Subject: inside\r\n\r\nbody\r\n"
}

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
			taken := deliver(t, b.source, mails)
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

// deliver appends mails as they are, which go-imap's client would not let us do with all of them.
func deliver(t *testing.T, e *end, mails []imaptest.GeneratedMail) (taken int) {
	t.Helper()
	s, err := e.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	made := map[string]bool{"INBOX": true}
	for _, m := range mails {
		raw := s.WireName(m.Folder)
		if !made[raw] {
			made[raw] = true
			if err := s.Create(t.Context(), raw, ""); err != nil {
				t.Fatal(err)
			}
		}
		wait, err := s.StartAppend(t.Context(), raw, []imap.Message{{Flags: m.Flags, InternalDate: m.Date, Size: int64(len(m.Octets)), Body: bytes.NewReader(m.Octets)}})
		if err != nil {
			t.Fatal(err)
		}
		a, err := wait()
		if err != nil {
			t.Fatal(err)
		}
		if a[0].Done {
			taken++
		} else {
			t.Logf("the server doesn't take %.40q of %s: %v", m.Octets, m.Date, a[0].Err)
		}
	}
	return taken
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
