package copy

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// What other copiers were measured to get wrong, one test each. How the program ends then is in cmd/mxodus (TestCopyExitCodes).

// TestASourceCutInAMessage cuts the source's connection in the middle of a message, time and again. imapsync 2.229 writes the
// begin of the message and then the whole of it as one, says that the sync looks good, and never repairs it.
func TestASourceCutInAMessage(t *testing.T) {
	src, dst := dovecots(t)
	random := rand.New(rand.NewPCG(7, 7))
	var mails []imaptest.GeneratedMail
	for i := range 12 {
		m := mail("INBOX", fmt.Sprintf("m%d", i))
		for len(m.Octets) < 300_000 {
			m.Octets = append(m.Octets, fmt.Sprintf("%076d\r\n", random.Uint64())...)
		}
		mails = append(mails, m)
	}
	src.fill(t, mails)
	left := 8
	source := newCutter(t, src.address, func() (up, down int64) {
		if left == 0 {
			return -1, -1
		}
		left--
		return -1, 20_000 + random.Int64N(700_000)
	})
	b := newBench(t, src, dst, t.TempDir(), func(s, _ *plan.Host) { s.Port = source.port() })
	for try := 0; ; try++ {
		r, err := b.try(providers.BeforeFlip)
		if err == nil {
			break
		}
		if r.Quarantined > 0 || try > 8 {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if cuts := source.count(); cuts < 5 {
		t.Fatalf("only %d cuts", cuts)
	}
	b.equal()
	b.idle(providers.BeforeFlip)
}

// TestMessagesThatLookAlike copies messages without Message-ID, with the same one and other bodies, also of the same size, and
// identical ones. imapsync leaves out the first two kinds and says that the sync looks good.
func TestMessagesThatLookAlike(t *testing.T) {
	src, dst := dovecots(t)
	with := func(octets string) imaptest.GeneratedMail {
		m := mail("INBOX", "x")
		m.Octets = []byte(octets)
		return m
	}
	mails := []imaptest.GeneratedMail{
		with("\r\nno header at all\r\n"), with("\r\nno header at all\r\n"), with("Subject: no Message-ID, no Received\r\n\r\nbody\r\n"),
		with("Message-ID: <same@acme.example>\r\n\r\nbody one\r\n"), with("Message-ID: <same@acme.example>\r\n\r\nbody two\r\n"),
		with("Message-ID: <same@acme.example>\r\n\r\nanother body of another size\r\n"), with("Message-ID: <same@acme.example>\r\n\r\nbody one\r\n"),
		mail("INBOX", "identical"), mail("INBOX", "identical"), mail("A", "identical"),
	}
	src.fill(t, mails)
	b := newBench(t, src, dst, t.TempDir(), nil)
	if r := b.pass(providers.BeforeFlip); r.Copied != len(mails) {
		t.Errorf("%+v, want %d", r, len(mails))
	}
	b.equal()
	b.idle(providers.BeforeFlip)
}

// TestNothingIsAddedAndNoKeywordLost copies keywords, and octets that a program may want to mend. mbsync 1.4.4 adds a header
// field to every message and drops all keywords but $Forwarded.
func TestNothingIsAddedAndNoKeywordLost(t *testing.T) {
	src, dst := dovecots(t)
	keywords := mail("INBOX", "keywords", `\Seen`, "$Forwarded", "$MDNSent", "Work", "later", "$label1", "NonJunk")
	odd := mail("INBOX", "odd", "Work")
	odd.Octets = append([]byte("X-Odd:  two  blanks \r\n\tand a tab\r\nSubject: =?utf-8?q?no_need?=\r\n"), odd.Octets...)
	deleted := mail("INBOX", "deleted", `\Deleted`)
	src.fill(t, []imaptest.GeneratedMail{keywords, odd, deleted})
	b := newBench(t, src, dst, t.TempDir(), nil)
	if r := b.pass(providers.BeforeFlip); r.Copied != 3 || r.KeywordsLost != 0 || r.Altered != 0 {
		t.Errorf("%+v", r)
	}
	b.equal()
	for _, m := range dst.read(t)["INBOX"] {
		if m.SHA256 == "" {
			t.Error("a message was not read")
		}
	}
	store(t, src, "INBOX", 2, goimap.StoreFlagsAdd, "Late")
	if r := b.pass(providers.BeforeFlip); r.Flags != 1 {
		t.Errorf("a keyword that comes later: %+v", r)
	}
	b.equal()
}

// TestRefusedMessagesAreTriedAgain copies to a target that refuses some messages, for their size and for what they hold, twice,
// and then no longer. mbsync warns once, and never tries again; interimap stops at the first one.
func TestRefusedMessagesAreTriedAgain(t *testing.T) {
	src, _ := memories(t)
	large := mail("INBOX", "large")
	large.Octets = append(large.Octets, bytes.Repeat([]byte("0123456789abcdef\r\n"), 5000)...)
	src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one"), large, mail("INBOX", "poison"), mail("INBOX", "two")})
	strict, tried := true, 0
	dst := mannered(t, imaptest.Manners{
		TooLarge: func(size int64) string {
			if strict && size > 50_000 {
				tried++
				return "NO Maximum size of appendable message has been exceeded."
			}
			return ""
		},
		Append: func(_ *imaptest.Visitor, _ string, m *imaptest.Stored) imaptest.Fate {
			if strict && bytes.Contains(m.Octets, []byte("poison")) {
				tried++
				return imaptest.Fate{Answer: "NO Message contains invalid header"}
			}
			return imaptest.Fate{}
		},
	})
	b := newBench(t, src, dst, t.TempDir(), nil)
	pass := func() providers.PassResult {
		t.Helper()
		r, err := b.engine.pass(t.Context(), providers.PassSpec{Mailbox: b.mailbox, Mode: providers.BeforeFlip, Asked: true}, b.source, b.to)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := pass(); r.Copied != 2 || r.Quarantined != 2 || len(r.Refusals) != 2 {
		t.Errorf("first run: %+v", r)
	}
	first := tried
	for range 2 {
		before := tried
		if r := pass(); r.Copied != 0 || r.Quarantined != 2 || len(r.Refusals) != 2 || tried == before {
			t.Errorf("again: %+v, tried %d times", r, tried-before)
		}
	}
	// A pass that nobody asked for leaves them alone for a day, and still tells.
	before := tried
	if r := b.pass(providers.BeforeFlip); r.Quarantined != 2 || tried != before || first == 0 {
		t.Errorf("by the clock: %+v", r)
	}
	strict = false
	if r := pass(); r.Copied != 2 || r.Quarantined != 0 {
		t.Errorf("when they are taken: %+v", r)
	}
	if n := len(dst.read(t)["INBOX"]); n != 4 {
		t.Errorf("the target holds %d messages", n)
	}
	b.idle(providers.BeforeFlip)
}

// TestTheSourceIsOnlyRead kills copies and passes deltas, and looks at every command the source got. interimap writes what was in
// flight when it was killed into the source.
func TestTheSourceIsOnlyRead(t *testing.T) {
	pair := pairs["memory"](t)
	pair.src.fill(t, twoHundred())
	before := pair.src.read(t)
	source := imaptest.NewMeddler(t, pair.src.address)
	proxied := pair.src
	proxied.address = fmt.Sprintf("127.0.0.1:%d", source.Port())
	dst, state := pair.fresh(), t.TempDir()
	for _, at := range []string{"12 after", "3 before", "9 after", "2 after", "15 before"} {
		child(t, proxied, dst, state, providers.BeforeFlip, childDies+"="+at)
	}
	b := newBench(t, pair.src, dst, state, func(s, d *plan.Host) {
		s.Port = source.Port()
		d.Limits.DoubtGrace = 20 * time.Millisecond
	})
	b.mailbox.Deletes = "mirror"
	b.pass(providers.BeforeFlip)
	b.pass(providers.AfterFlip)
	if _, err := b.engine.compare(t.Context(), b.mailbox, b.source, b.to, (*run).auditAll); err != nil {
		t.Error(err)
	}
	b.equal()
	if lines := imaptest.Diff(before, pair.src.read(t), nil); len(lines) > 0 {
		t.Errorf("the source is another one: %v", lines)
	}
	reading := " CAPABILITY AUTHENTICATE LOGIN ID NAMESPACE LIST LSUB STATUS EXAMINE UNSELECT NOOP LOGOUT ENABLE COMPRESS UID_FETCH "
	commands := source.Answered()
	for _, c := range commands {
		if !strings.Contains(reading, " "+strings.ReplaceAll(c, " ", "_")+" ") {
			t.Errorf("the source got %s", c)
		}
	}
	if len(commands) < 50 {
		t.Errorf("only %d commands were seen", len(commands))
	}
}
