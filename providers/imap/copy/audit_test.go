package copy

import (
	"bytes"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// rows are those of the manifest by subject, which mail makes the Message-ID.
func (b *bench) rows() map[string]Row {
	b.t.Helper()
	m := map[string]Row{}
	if err := b.engine.Rows(b.t.Context(), b.mailbox, func(r Row) error {
		m[strings.TrimSuffix(r.MessageID, "@acme.example")] = r
		return nil
	}); err != nil {
		b.t.Fatal(err)
	}
	return m
}

// TestDatesThatAServerChangesAreNamed copies dates to a Dovecot that it can't keep.
func TestDatesThatAServerChangesAreNamed(t *testing.T) {
	src, _ := memories(t)
	_, dst := dovecots(t)
	dates := map[string]time.Time{
		"fine":   time.Date(2024, 2, 29, 23, 59, 59, 0, time.FixedZone("", -8*3600)),
		"moon":   time.Date(1969, 7, 20, 20, 17, 40, 0, time.UTC),
		"far":    time.Date(2150, 1, 1, 0, 0, 0, 0, time.UTC),
		"winter": time.Date(2024, 10, 27, 2, 30, 0, 0, time.FixedZone("", 3600)),
	}
	var mails []imaptest.GeneratedMail
	for _, name := range slices.Sorted(maps.Keys(dates)) {
		m := mail("INBOX", name)
		m.Date = dates[name]
		mails = append(mails, m)
	}
	src.fill(t, mails)
	b := newBench(t, src, dst, t.TempDir(), nil)
	r := b.pass(providers.BeforeFlip)
	at := map[string]time.Time{}
	for _, m := range dst.read(t)["INBOX"] {
		at[m.SHA256] = m.Date
	}
	altered := 0
	for name, row := range b.rows() {
		kept := at[row.SHA256].Equal(dates[name])
		want := []string(nil)
		if !kept {
			altered++
			want = []string{"date=" + at[row.SHA256].UTC().Format(time.RFC3339)}
		}
		if !slices.Equal(row.Changed, want) {
			t.Errorf("%s: the manifest names %q, want %q", name, row.Changed, want)
		}
	}
	if r.Altered != altered || altered == 0 || altered > 2 {
		t.Errorf("%d altered of %d by our own reading", r.Altered, altered)
	}
	c, err := b.engine.compare(t.Context(), b.mailbox, b.source, b.to)
	if err != nil || c.Changed["date"] != altered || c.Tiers.Octets == 0 || c.Tiers.Octets+c.Tiers.Unread != 4 {
		t.Errorf("%+v, %v", c, err)
	}
	b.idle(providers.BeforeFlip)
}

// mannered is a target that behaves as m says.
func mannered(t *testing.T, m imaptest.Manners) server {
	t.Helper()
	if m.Before == nil {
		m.Before = []string{"AUTH=PLAIN", "SASL-IR"}
		m.After = []string{"UIDPLUS", "LITERAL+", "MOVE", "NAMESPACE", "UNSELECT"}
	}
	if m.Permanent == nil {
		m.Permanent = []string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`, `\*`}
	}
	if m.Login == nil {
		m.Login = func(_, _ string) string { return "" }
	}
	d, err := imaptest.NewDouble(m, false, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	d.AddAccount(user)
	return server{address: d.Address()}
}

// anew renders a plain message as a server does that keeps no octets.
func anew(octets []byte) []byte {
	head, body, _ := bytes.Cut(octets, []byte("\r\n\r\n"))
	var out bytes.Buffer
	out.WriteString("Received: from here by there; Thu, 29 Feb 2024 10:00:00 +0000\r\n")
	out.Write(bytes.ReplaceAll(head, []byte("Subject: "), []byte("Subject:\r\n ")))
	out.WriteString("\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	out.WriteString(base64.StdEncoding.EncodeToString(body) + "\r\n")
	return out.Bytes()
}

// TestWhatATargetMakesOfMessagesIsNamed copies to targets that change one thing each without a word.
func TestWhatATargetMakesOfMessagesIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		store   func(m *imaptest.Stored)
		changed []string
		tier    string
	}{
		"nothing": {func(m *imaptest.Stored) {}, nil, "octets"},
		"octets":  {func(m *imaptest.Stored) { m.Octets = anew(m.Octets) }, []string{"octets"}, "content"},
		"the text": {func(m *imaptest.Stored) {
			m.Octets = bytes.ReplaceAll(m.Octets, []byte("\r\n\r\none"), []byte("\r\n\r\nOne"))
		}, []string{"octets"}, "gist"},
		"it all":   {func(m *imaptest.Stored) { m.Octets = []byte("Subject: another\r\n\r\nmessage\r\n") }, []string{"content"}, "other"},
		"keywords": {func(m *imaptest.Stored) { delete(m.Flags, "work") }, []string{"keywords"}, "octets"},
		"flags":    {func(m *imaptest.Stored) { delete(m.Flags, `\Flagged`) }, []string{"flags"}, "octets"},
		"the date": {func(m *imaptest.Stored) { m.Date = m.Date.Add(time.Hour) }, []string{"date=2024-02-29T23:59:59Z"}, "octets"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src, _ := memories(t)
			src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one", `\Flagged`, "Work")})
			dst := mannered(t, imaptest.Manners{Append: func(_ *imaptest.Visitor, _ string, m *imaptest.Stored) imaptest.Fate {
				c.store(m)
				return imaptest.Fate{}
			}})
			b := newBench(t, src, dst, t.TempDir(), nil)
			r := b.pass(providers.BeforeFlip)
			row := b.rows()["one"]
			if !slices.Equal(row.Changed, c.changed) || row.Tier != c.tier || r.Altered != min(1, len(c.changed)) {
				t.Errorf("the manifest names %q on tier %q, %d altered", row.Changed, row.Tier, r.Altered)
			}
			b.idle(providers.BeforeFlip)
			all, err := b.engine.compare(t.Context(), b.mailbox, b.source, b.to, (*run).auditAll)
			if tiers := []int{all.Tiers.Octets, all.Tiers.Content, all.Tiers.Gist, all.Tiers.Other}; err != nil || all.Tiers.Unread != 0 ||
				tiers[slices.Index([]string{"octets", "content", "gist", "other"}, c.tier)] != 1 {
				t.Errorf("verified: %+v, %v", all, err)
			}
			cmp, err := b.engine.compare(t.Context(), b.mailbox, b.source, b.to)
			if err != nil || len(cmp.Changed) != len(c.changed) {
				t.Errorf("%+v, %v", cmp, err)
			}
		})
	}
}

// TestDoubtsAtATargetThatRendersAnew loses the answers of APPENDs where no octet of a message is found again.
func TestDoubtsAtATargetThatRendersAnew(t *testing.T) {
	for name, known := range map[string]bool{"nobody knows it": false, "a pass was made": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src, _ := memories(t)
			lose := false
			n := 0
			dst := mannered(t, imaptest.Manners{Append: func(_ *imaptest.Visitor, _ string, m *imaptest.Stored) imaptest.Fate {
				m.Octets = anew(m.Octets)
				n++
				return imaptest.Fate{Cut: lose && n%2 == 0, Lost: lose && n%4 == 0}
			}})
			b := newBench(t, src, dst, t.TempDir(), func(_, d *plan.Host) { d.Limits.DoubtGrace = 20 * time.Millisecond })
			if known {
				src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "zero")})
				b.pass(providers.BeforeFlip)
			}
			lose = true
			src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one"), mail("INBOX", "two"), mail("INBOX", "twin"), mail("INBOX", "twin"), mail("INBOX", "five"), mail("A", "six")})
			r := b.pass(providers.BeforeFlip)
			if r.Copied != 6 || r.Doubt != 0 {
				t.Errorf("%+v", r)
			}
			want := 6
			if known {
				want = 7
			}
			got := dst.readAs(t)
			if len(got["Inbox"])+len(got["INBOX"])+len(got["A"]) != want {
				t.Errorf("the target holds %d and %d messages", len(got["INBOX"]), len(got["A"]))
			}
			lose = false
			b.idle(providers.BeforeFlip)
		})
	}
}

// readAs is read for servers whose commands go-imap's client can be used with.
func (s server) readAs(t testing.TB) map[string][]imaptest.Mail { return s.read(t) }
