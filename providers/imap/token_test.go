package imap_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
)

// stillClock stands where it is put.
type stillClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *stillClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *stillClock) pass(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
}

func (c *stillClock) Sleep(context.Context, time.Duration) error { return nil }

// numbered gives out "token 1", "token 2", ... that last an hour each.
func numbered(clock providers.Clock) (*imap.SharedTokens, *atomic.Int64) {
	var n atomic.Int64
	return &imap.SharedTokens{Clock: clock, One: true, Fetch: func(context.Context, string) (imap.Token, error) {
		return imap.Token{Value: providers.Keep(fmt.Sprintf("token%d", n.Add(1))), Expiry: clock.Now().Add(time.Hour)}, nil
	}}, &n
}

// TestXOAUTH2 holds the exchange that Microsoft and Google document, to the octet.
func TestXOAUTH2(t *testing.T) {
	d := script(t, func(c *scripted) {
		c.say("* OK Gimap ready for requests")
		tag := c.expect(t, "CAPABILITY")
		c.say("* CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2 LOGINDISABLED", tag+" OK")
		// The test vector of Microsoft's documentation.
		tag = c.expect(t, "AUTHENTICATE XOAUTH2 dXNlcj10ZXN0QGNvbnRvc28ub25taWNyb3NvZnQuY29tAWF1dGg9QmVhcmVyIEV3QkFBbDNCQUFVRkZwVUFvN0ozVmUwYmpMQldaV0NjbFJDM0VvQUEBAQ==")
		c.say(tag + " OK [CAPABILITY IMAP4rev1] AUTHENTICATE completed.")
		tag = c.expect(t, "LIST ")
		c.say(`* LIST (\Noselect) "/" ""`, tag+" OK done")
		c.line()
	})
	d.Host.Auth = "xoauth2"
	d.Secrets = passwords("EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA\n")
	s, err := d.Connect(t.Context(), providers.Account{Address: "test@contoso.onmicrosoft.com"})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// TestARefusedTokenIsRenewedOnce: the server explains its NO in a challenge that wants an
// empty line for an answer.
func TestARefusedTokenIsRenewedOnce(t *testing.T) {
	for _, test := range []struct {
		name   string
		accept string // the token that is taken
		logins int64
	}{
		{"the next one is taken", "token2", 2},
		{"none is taken", "", 2},
		{"the first one is taken", "token1", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			var logins atomic.Int64
			d := script(t, func(c *scripted) {
				logins.Add(1)
				c.say("* OK [CAPABILITY IMAP4rev1 AUTH=XOAUTH2] ready") // no SASL-IR
				tag := c.expect(t, "AUTHENTICATE XOAUTH2")
				c.say("+ ")
				said, _ := c.line()
				response, _ := base64.StdEncoding.DecodeString(said)
				if want := "user=a@example.com\x01auth=Bearer " + test.accept + "\x01\x01"; string(response) == want {
					c.say(tag + " OK [CAPABILITY IMAP4rev1] in")
					tag = c.expect(t, "LIST ")
					c.say(`* LIST (\Noselect) "/" ""`, tag+" OK done")
					c.line()
					return
				}
				c.say("+ " + base64.StdEncoding.EncodeToString([]byte(`{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}`)))
				if answer, err := c.br.ReadString('\n'); err != nil || answer != "\r\n" {
					t.Errorf("the challenge was answered with %q, want an empty line", answer)
				}
				c.say(tag + " NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)")
				c.line()
			})
			clock := &stillClock{now: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}
			tokens, fetched := numbered(clock)
			d.Host.Auth, d.Tokens, d.Secrets = "xoauth2", tokens, nil
			s, err := d.Connect(t.Context(), providers.Account{Address: "a@example.com"})
			if s != nil {
				s.Close()
			}
			if logins.Load() != test.logins || fetched.Load() != test.logins {
				t.Errorf("%d logins with %d tokens, want %d of both", logins.Load(), fetched.Load(), test.logins)
			}
			if test.accept != "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			e, ok := errors.AsType[*providers.Error](err)
			if !ok || e.Reason != providers.Authentication || !strings.Contains(e.Server, "wants scope https://mail.google.com/") || !strings.Contains(e.Remedy, "scope") {
				t.Fatalf("%v (%+v)", err, e)
			}
			if strings.Contains(fmt.Sprintf("%+v", e), "token2") {
				t.Error("the error holds the token")
			}
		})
	}
}

// TestTokensAreShared: one fetch for all, another one before the end, and one after a refusal.
func TestTokensAreShared(t *testing.T) {
	clock := &stillClock{now: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}
	tokens, fetched := numbered(clock)
	all := func(refused, want string) {
		t.Helper()
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				got, err := tokens.Token(t.Context(), fmt.Sprintf("user%d@example.com", i), refused)
				if err != nil || got.Value.Reveal() != want {
					t.Errorf("got %q, %v, want %q", got.Value.Reveal(), err, want)
				}
			})
		}
		wg.Wait()
	}
	all("", "token1")
	clock.pass(49 * time.Minute)
	all("", "token1")
	clock.pass(2 * time.Minute)
	all("", "token2")
	all("token2", "token3")
	all("token2", "token3")
	if fetched.Load() != 3 {
		t.Errorf("%d tokens were fetched, want 3", fetched.Load())
	}
	perUser := &imap.SharedTokens{Clock: clock, Fetch: func(_ context.Context, address string) (imap.Token, error) {
		return imap.Token{Value: providers.Keep("for " + address)}, nil
	}}
	if got, _ := perUser.Token(t.Context(), "b@example.com", ""); got.Value.Reveal() != "for b@example.com" {
		t.Errorf("got %q", got.Value.Reveal())
	}
	failing := &imap.SharedTokens{Clock: clock, Fetch: func(context.Context, string) (imap.Token, error) {
		return imap.Token{}, errors.New("no network")
	}}
	for range 2 {
		if _, err := failing.Token(t.Context(), "", ""); err == nil {
			t.Error("a failure was kept as a token")
		}
	}
}

// TestASessionIsLeftInTime: before its token ends, and before the refusal with which Exchange closes it.
func TestASessionIsLeftInTime(t *testing.T) {
	d := script(t, func(c *scripted) {
		c.say("* OK The Microsoft Exchange IMAP4 service is ready.")
		tag := c.expect(t, "CAPABILITY")
		c.say("* CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR", tag+" OK")
		tag = c.expect(t, "AUTHENTICATE XOAUTH2 ")
		c.say(tag + " OK AUTHENTICATE completed.")
		tag = c.expect(t, "CAPABILITY")
		// MailKit#2016: some tenants offer IMAP4rev2, and answer SEARCH wrongly when it is on.
		c.say("* CAPABILITY IMAP4rev1 IMAP4rev2 ENABLE UIDPLUS", tag+" OK")
		tag = c.expect(t, "LIST ")
		c.say(`* LIST (\Noselect) "/" ""`, tag+" OK done")
		for {
			tag, rest := c.line()
			if tag == "" {
				return
			}
			if strings.HasPrefix(rest, "ENABLE") || strings.Contains(rest, "RETURN") {
				t.Errorf("the client sent %q", rest)
			}
			c.say(tag + " BAD Command Error. 10")
		}
	})
	clock := &stillClock{now: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}
	d.Host.Auth, d.Clock = "xoauth2", clock
	d.Tokens, _ = numbered(clock)
	d.Host.Kind = "imap"
	s := connect(t, d)
	if s.Worn() || s.Tolerance() != 9 || !s.Traits().NoDeleted || s.Has("IMAP4rev2") {
		t.Fatalf("worn %v, tolerance %d, %+v", s.Worn(), s.Tolerance(), s.Traits())
	}
	if _, err := s.List(t.Context()); err == nil {
		t.Error("a refused LIST is no error")
	}
	for range 7 {
		if err := s.Noop(t.Context()); err == nil {
			t.Fatal("the double answers BAD")
		}
	}
	if s.Worn() && s.Tolerance() > 0 {
		t.Error("worn too early")
	}
	for s.Tolerance() > 0 {
		s.Noop(t.Context())
	}
	if !s.Worn() {
		t.Error("the next refusal would be the tenth")
	}
	s.Close()
	fresh := connect(t, d)
	clock.pass(51 * time.Minute)
	if !fresh.Worn() {
		t.Error("the token ends in nine minutes")
	}
}
