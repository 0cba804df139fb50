package imap_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
)

func TestContextAndStall(t *testing.T) {
	silent := func(c *scripted) {
		c.open(t, "")
		c.line()
		io.Copy(io.Discard, c.br)
	}
	s := connect(t, script(t, silent))
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("the operator had enough")
	time.AfterFunc(50*time.Millisecond, func() { cancel(reason) })
	if err := s.Noop(ctx); !errors.Is(err, reason) {
		t.Errorf("cancelled: %v", err)
	}
	d := script(t, silent)
	d.Host.Limits.StallTimeout = 100 * time.Millisecond
	if err := connect(t, d).Noop(t.Context()); !errors.Is(err, imap.ErrStalled) {
		t.Errorf("stalled: %v", err)
	}
	// The opening is bounded too.
	mute := script(t, func(c *scripted) { io.Copy(io.Discard, c.br) })
	mute.Host.Limits.StallTimeout = 100 * time.Millisecond
	if _, err := mute.Connect(t.Context(), providers.Account{Address: "a"}); !errors.Is(err, imap.ErrStalled) {
		t.Errorf("a server without greeting: %v", err)
	}
}

// TestALoginThatEndsAtItsChallenge: a server asks for the password, and ends the session or refuses the login before it has it. Each time it's a matter
// of luck which the client learns first.
func TestALoginThatEndsAtItsChallenge(t *testing.T) {
	for name, end := range map[string]func(c *scripted, tag string){
		"hangs up": func(c *scripted, _ string) { c.say("+ ") },
		"resets":   func(c *scripted, _ string) { c.say("+ "); c.Conn.(*net.TCPConn).SetLinger(0) },
		"refuses":  func(c *scripted, tag string) { c.say("+ ", tag+" NO not you"); io.Copy(io.Discard, c.br) },
		"takes":    func(c *scripted, tag string) { c.say(tag + " OK whoever you are"); io.Copy(io.Discard, c.br) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := script(t, func(c *scripted) {
				c.say("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi")
				end(c, c.expect(t, "AUTHENTICATE PLAIN"))
			})
			d.Host.Limits.StallTimeout = time.Second
			for range 100 {
				ended := make(chan error, 1)
				go func() {
					s, err := d.Connect(t.Context(), providers.Account{Address: "a"})
					if err == nil {
						s.Close()
					}
					ended <- err
				}()
				select {
				case err := <-ended:
					if err == nil {
						t.Fatal("logged in")
					}
					if name == "takes" {
						return // waits for the stall
					}
				case <-time.After(20 * time.Second):
					t.Fatal("the client waits for good")
				}
			}
		})
	}
}

// TestCapabilitiesThatAreNotToldAreNotNone: without its list a server would be taken for one without namespaces.
func TestCapabilitiesThatAreNotToldAreNotNone(t *testing.T) {
	d := script(t, func(c *scripted) {
		c.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi")
		c.say(c.expect(t, "AUTHENTICATE PLAIN") + " OK in")
		c.say(c.expect(t, "CAPABILITY") + " OK done")
	})
	if _, err := d.Connect(t.Context(), providers.Account{Address: "a"}); err == nil || !strings.Contains(err.Error(), "what it can do") {
		t.Errorf("%v", err)
	}
}

func TestOpenings(t *testing.T) {
	for _, test := range []struct {
		name   string
		play   func(c *scripted)
		reason providers.Reason
		words  string
	}{
		{"too many", func(c *scripted) { c.say("* BYE [UNAVAILABLE] Maximum number of connections from user+IP exceeded") }, providers.TooMany, "Maximum number"},
		{"too many, as a refused login", func(c *scripted) {
			c.say("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hi")
			c.say(c.expect(t, "AUTHENTICATE") + " NO [AUTHENTICATIONFAILED] Too many simultaneous connections.")
		}, providers.TooMany, "simultaneous"},
		{"throttled", func(c *scripted) {
			c.say("* OK hi")
			c.say("* CAPABILITY IMAP4rev1", c.expect(t, "CAPABILITY")+" OK done")
			c.say(c.expect(t, "LOGIN") + " BAD Request is throttled. Suggested Backoff Time: 299609 milliseconds")
		}, providers.Throttled, "299609"},
		{"BYE in the login, connection left open", func(c *scripted) {
			c.say("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hi")
			c.expect(t, "AUTHENTICATE")
			c.say("* BYE Connection closed. 14")
			io.Copy(io.Discard, c.br)
		}, providers.Refused, "closed. 14"},
		{"no words", func(c *scripted) {
			c.say("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR]")
			c.say(c.expect(t, "AUTHENTICATE") + " NO")
		}, providers.Authentication, "NO"},
		{"passwords are not taken", func(c *scripted) {
			c.say("* OK [CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=XOAUTH2] hi")
			if _, rest := c.line(); rest != "" {
				t.Errorf("the client went on: %q", rest)
			}
		}, providers.Refused, "it offers XOAUTH2"},
		{"hangs up", func(c *scripted) { c.say("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hi"); c.line() }, providers.Unreachable, "EOF"},
		{"logged in, account not there", func(c *scripted) {
			c.say("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hi")
			c.say(c.expect(t, "AUTHENTICATE") + " OK [CAPABILITY IMAP4rev1 ID] in")
			c.say(c.expect(t, "ID") + " BAD User is authenticated but not connected.")
			c.say(c.expect(t, "LIST") + " OK done")
		}, providers.Authentication, "not connected"},
		{"logged in unasked", func(c *scripted) { c.say("* PREAUTH hi") }, providers.Protocol, "without asking"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := script(t, test.play)
			_, err := d.Connect(t.Context(), providers.Account{Address: "a@example.com"})
			e, ok := errors.AsType[*providers.Error](err)
			if !ok || e.Reason != test.reason || !strings.Contains(e.Error()+fmt.Sprint(e.Err), test.words) {
				t.Fatalf("%v", err)
			}
			if strings.Contains(err.Error(), "top-secret") {
				t.Error("the error holds the password")
			}
		})
	}
}

// TestStartTLSIsNotSkipped: without TLS nothing of the login is sent.
func TestStartTLSIsNotSkipped(t *testing.T) {
	for name, answer := range map[string]string{
		"refused":  "NO not today",
		"injected": "OK begin\r\n* OK injected", // sent before TLS is up
	} {
		t.Run(name, func(t *testing.T) {
			var rest string
			done := make(chan struct{})
			d := script(t, func(c *scripted) {
				c.say("* OK [CAPABILITY IMAP4rev1 STARTTLS] hi")
				c.say(c.expect(t, "STARTTLS") + " " + answer)
				all, _ := io.ReadAll(c.br)
				rest = string(all)
				close(done)
			})
			d.Host.TLS = plan.TLSStart
			if _, err := d.Connect(t.Context(), providers.Account{Address: "a@example.com"}); err == nil {
				t.Fatal("connected")
			}
			if <-done; rest != "" {
				t.Errorf("the client sent %q", rest)
			}
		})
	}
}

func TestPlaintextIsForLoopback(t *testing.T) {
	d := script(t, func(c *scripted) {
		c.say("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hi")
		if all, _ := io.ReadAll(c.br); len(all) > 0 {
			t.Errorf("the client sent %q", all)
		}
	})
	d.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return elsewhere{conn}, err
	}
	if _, err := d.Connect(t.Context(), providers.Account{Address: "a"}); providers.ReasonOf(err) != providers.Refused {
		t.Errorf("%v", err)
	}
}

type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 143} }
