package imap_test

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
)

// TestKeywordsAreNotWorthAMessage: a server that refuses keywords gets the message without those at fault.
func TestKeywordsAreNotWorthAMessage(t *testing.T) {
	d := script(t, func(c *scripted) {
		c.open(t, "LITERAL+ UIDPLUS")
		answer := func(prefix, words string) {
			tag := c.expect(t, prefix)
			c.line() // the message
			c.line() // and the end of the command
			c.say(tag + " " + words)
		}
		answer(`APPEND "INBOX" (\Seen Work ~odd 42) {3+}`, "NO [CANNOT] Keyword length too long")
		answer(`APPEND "INBOX" (\Seen Work) {3+}`, "NO Error in IMAP command received by server.")
		answer(`APPEND "INBOX" (\Seen) {3+}`, "OK [APPENDUID 5 9] done")
		// What is said of the octets is not about keywords, and a message without any is sent once.
		answer(`APPEND "INBOX" (Work) {3+}`, "NO [OVERQUOTA] full")
		answer(`APPEND "INBOX" (\Seen) {3+}`, "NO [CANNOT] not this one")
		c.line()
	})
	s := connect(t, d)
	one := func(flags ...string) imap.Appended {
		t.Helper()
		r, err := s.Append(t.Context(), "INBOX", []imap.Message{{Flags: flags, Size: 3, Body: strings.NewReader("x\r\n")}})
		if err != nil {
			t.Fatal(err)
		}
		return r[0]
	}
	if a := one(`\Seen`, "Work", "~odd", "42"); a.UID != 9 || !slices.Equal(a.Keywords, []string{"Work", "~odd", "42"}) {
		t.Errorf("%+v", a)
	}
	if a := one("Work"); providers.ReasonOf(a.Err) != providers.OverQuota || a.Keywords != nil {
		t.Errorf("%+v", a)
	}
	if a := one(`\Seen`); providers.ReasonOf(a.Err) != providers.Refused {
		t.Errorf("%+v", a)
	}
}

// TestBinaryWhereItIsOffered: NUL goes as literal8 to a server that offers BINARY, and nothing else does.
func TestBinaryWhereItIsOffered(t *testing.T) {
	for offered, announced := range map[string][2]string{"LITERAL+ BINARY": {"~{4+}", "{4+}"}, "BINARY": {"~{4}", "{4}"}, "LITERAL+": {"{4+}", "{4+}"}} {
		t.Run(offered, func(t *testing.T) {
			d := script(t, func(c *scripted) {
				c.open(t, offered)
				for _, a := range announced {
					tag := c.expect(t, `APPEND "INBOX" `+a)
					if !strings.Contains(a, "+") {
						c.say("+ go on")
					}
					io.ReadFull(c.br, make([]byte, 6))
					c.say(tag + " OK done")
				}
				c.line()
			})
			s := connect(t, d)
			for _, m := range []imap.Message{{Size: 4, Body: strings.NewReader("a\x00\r\n"), Binary: true}, {Size: 4, Body: strings.NewReader("ab\r\n")}} {
				if a, err := s.Append(t.Context(), "INBOX", []imap.Message{m}); err != nil || !a[0].Done {
					t.Fatal(err, a)
				}
			}
		})
	}
}

// TestTakenBeforeItWasSent: a server that says OK while it still has to ask for the octets has taken none of them.
func TestTakenBeforeItWasSent(t *testing.T) {
	d := script(t, func(c *scripted) {
		c.open(t, "UIDPLUS")
		tag := c.expect(t, `APPEND "INBOX" {3}`)
		c.say(tag + " OK [APPENDUID 5 9] done")
		c.line()
	})
	s := connect(t, d)
	r, err := s.Append(t.Context(), "INBOX", []imap.Message{{Size: 3, Body: strings.NewReader("x\r\n")}})
	if err == nil || r[0].Done || !r[0].Unsent {
		t.Errorf("%+v, %v", r[0], err)
	}
}
