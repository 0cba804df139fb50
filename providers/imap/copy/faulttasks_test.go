package copy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// profile is a kind of server, with accounts that nobody has used.
type profile struct {
	name      string
	separator string
	prefix    string
	start     func(t *testing.T) (address string, add func(account string))
}

// many are accounts for servers that want to know them before they start.
func many() map[string]string {
	accounts := map[string]string{}
	for i := range 2 * (len(faultCases(*faultRounds)) + 1) {
		accounts[fmt.Sprintf("u%d@acme.example", i)] = password
	}
	return accounts
}

func double(before, after string, change func(*imaptest.Manners)) func(t *testing.T) (string, func(string)) {
	return func(t *testing.T) (string, func(string)) {
		m := imaptest.Manners{
			Greeting: "ready", Before: strings.Fields(before), After: strings.Fields(after), Inbox: "INBOX",
			Permanent: []string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`, `\*`},
			Login: func(_, p string) string {
				if p == password {
					return ""
				}
				return "NO login failed"
			},
			Unknown: func(string) string { return "BAD not known here" },
		}
		if change != nil {
			change(&m)
		}
		d, err := imaptest.NewDouble(m, false, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d.Address(), d.AddAccount
	}
}

var profiles = []profile{
	{"memory", "/", "", func(t *testing.T) (string, func(string)) {
		m, err := imaptest.NewMemory(imaptest.MemoryOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m.Address(), func(a string) { m.AddAccount(a, password) }
	}},
	{"dovecot", "/", "", func(t *testing.T) (string, func(string)) {
		return imaptest.StartDovecot(t, imaptest.DovecotOptions{Accounts: many()}).Address(), func(string) {}
	}},
	{"courier", ".", "INBOX.", func(t *testing.T) (string, func(string)) {
		return imaptest.StartCourier(t, imaptest.CourierOptions{Accounts: many()}).Address(), func(string) {}
	}},
	{"exchange", "/", "", double("AUTH=PLAIN SASL-IR", "AUTH=PLAIN SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+", func(m *imaptest.Manners) {
		m.Greeting, m.Inbox, m.FoldNames = "The Microsoft Exchange IMAP4 service is ready.", "Inbox", true
		m.Permanent = []string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`}
	})},
	{"ionos", "/", "", double("AUTH=PLAIN SASL-IR", "CHILDREN ENABLE ID IDLE LIST-EXTENDED LIST-STATUS LITERAL- MOVE NAMESPACE QUOTA SASL-IR SORT SPECIAL-USE UIDPLUS UNSELECT WITHIN", nil)},
	{"plain", "/", "", double("AUTH=PLAIN", "UIDPLUS", nil)}, // no LITERAL+, no MOVE, no LIST-STATUS
}

// task is what a pass has to do while things go wrong.
type task struct {
	name string
	mode providers.PassMode
	// before is done after a first pass without faults, nil: there was none.
	before func(c *changes)
}

// changes is what people do to both sides.
type changes struct {
	t        *testing.T
	p        profile
	src, dst server
	own      []imaptest.GeneratedMail // of the target's user, by whatever way
	gone     int                      // messages that the target's user has deleted
	unmarked bool                     // dates and flags are not compared
}

func (c *changes) folder(name string) string {
	if name == "INBOX" {
		return name
	}
	return c.p.prefix + strings.ReplaceAll(name, "/", c.p.separator)
}

func (c *changes) fill(s server, mails ...imaptest.GeneratedMail) {
	c.t.Helper()
	imaptest.Fill(c.t, s.address, s.config, s.name(), password, c.p.separator, c.p.prefix, mails)
}

var works = []task{
	{"a first pass", providers.BeforeFlip, nil},
	{"new mail", providers.BeforeFlip, func(c *changes) {
		c.fill(c.src, mail("INBOX", "new"), mail("INBOX", "new"), mail("Work", "new too", `\Flagged`), mail("Work/Fresh", "in a new folder"))
	}},
	{"flags", providers.BeforeFlip, func(c *changes) {
		store(c.t, c.src, "INBOX", 1, goimap.StoreFlagsAdd, goimap.FlagSeen, goimap.FlagAnswered)
		store(c.t, c.src, "INBOX", 2, goimap.StoreFlagsDel, goimap.FlagSeen)
		store(c.t, c.src, c.folder("Work"), 1, goimap.StoreFlagsSet, goimap.FlagFlagged)
	}},
	{"moves and deletions", providers.BeforeFlip, func(c *changes) {
		s := c.src.selected(c.t, "INBOX")
		if _, err := s.Move(uidSet(3), c.folder("Work")).Wait(); err != nil {
			c.t.Fatal(err)
		}
		expunge(c.t, c.src, "INBOX", 4)
		expunge(c.t, c.src, c.folder("Work/Deep"), 1)
	}},
	{"a first pass after the flip", providers.AfterFlip, nil},
	{"stragglers", providers.AfterFlip, func(c *changes) {
		c.own = append(c.own, mail("INBOX", "by the new way"), mail("INBOX", "one"), mail("Work", "their own"))
		c.fill(c.dst, c.own...)
		expunge(c.t, c.dst, "INBOX", 2)
		c.gone++
		c.fill(c.src, mail("INBOX", "straggler"), mail("INBOX", "straggler"), mail("Work", "late"), mail("Late", "in a new folder"))
	}},
}

// startMails are what the source has at first.
func startMails() []imaptest.GeneratedMail {
	large := mail("Work", "large")
	large.Octets = append(large.Octets, []byte(strings.Repeat("0123456789012345678901234567890123456789\r\n", 300))...)
	return []imaptest.GeneratedMail{
		mail("INBOX", "one"), mail("INBOX", "two", `\Seen`), mail("INBOX", "three"), mail("INBOX", "four", `\Flagged`), mail("INBOX", "twin"), mail("INBOX", "twin"),
		mail("Work", "five"), large, mail("Work/Deep", "six"), mail("Work/Deep", "seven", `\Answered`), mail("Work/Deep", "twin"),
	}
}
