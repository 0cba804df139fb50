package smtp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/tlstest"
)

// submission is a notifier that means tlstest.Name and reaches addr.
func submission(t *testing.T, addr net.Addr, mode plan.TLSMode, ca []byte) *Notifier {
	t.Helper()
	n, err := New(withLogin(plan.SMTPServer{Name: "office", Host: tlstest.Name, TLS: mode, From: "IT <it@acme.example>"}), Options{
		CA: ca, Secrets: oneSecret(password), Timeout: 10 * time.Second,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr.String())
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// takesAll answers EHLO with that extension and everything else with success.
func takesAll(c net.Conn, extension string) {
	for br := bufio.NewReader(c); ; {
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		switch {
		case strings.HasPrefix(line, "EHLO"):
			fmt.Fprintf(c, "250-me\r\n250 %s\r\n", extension)
		case strings.HasPrefix(line, "AUTH"):
			fmt.Fprint(c, "235 2.7.0 in\r\n")
		default:
			fmt.Fprint(c, "250 ok\r\n")
		}
	}
}

func refusedSubmission(t *testing.T, n *Notifier, wire *tlstest.Wire, words string) {
	t.Helper()
	for op, err := range map[string]error{"Check": n.Check(t.Context()), "Send": n.Send(t.Context(), notice)} {
		e, ok := errors.AsType[*providers.Error](err)
		text := fmt.Sprintf("%v %+v", err, e)
		if !ok || e.Remedy == "" || e.Subject == "" || !strings.Contains(text, words) || strings.Contains(text, password) {
			t.Errorf("%s: %s: want %q and a remedy, and no password", op, text, words)
		}
	}
	if found := wire.Holds(password); len(found) > 0 {
		t.Errorf("the password was on the wire: %q", found)
	}
	if heard := wire.Heard(); strings.Contains(heard, "MAIL FROM") || strings.Contains(heard, notice.To) {
		t.Errorf("the message was on the wire: %q", heard)
	}
}

// TestCertificates: servers that aren't who they should be get neither password nor mail.
func TestCertificates(t *testing.T) {
	ours, cases := tlstest.Setup(t)
	for mode, before := range map[plan.TLSMode]func(c net.Conn){
		plan.TLSImplicit: func(net.Conn) {},
		plan.TLSStart: func(c net.Conn) {
			tlstest.Converse(c, "220 hi\r\n", "250-me\r\n250-AUTH PLAIN LOGIN\r\n250 STARTTLS\r\n", "220 go\r\n")
		},
	} {
		bad := 0
		for _, c := range cases {
			t.Run(string(mode)+"/"+c.Name, func(t *testing.T) {
				wire := &tlstest.Wire{}
				addr := tlstest.Listen(t, func(conn net.Conn) {
					conn = wire.Conn(conn)
					before(conn)
					if conn = tlstest.Upgrade(wire, conn, c.Config); conn == nil {
						return
					}
					if mode == plan.TLSImplicit {
						fmt.Fprint(conn, "220 hi\r\n")
					}
					takesAll(conn, "AUTH PLAIN LOGIN")
				})
				n := submission(t, addr, mode, ours.PEM)
				if c.Good {
					if err := n.Check(t.Context()); err != nil || len(wire.Holds(password)) == 0 {
						t.Errorf("%v; the server heard %q", err, wire.Heard())
					}
					return
				}
				refusedSubmission(t, n, wire, c.Words)
				bad++
			})
		}
		faults.Count(t, "certificates", bad)
	}
}

// TestStartTLSTricks: whatever stands between says before TLS is up, password and mail aren't said in the clear, and what it has said
// counts for nothing afterwards.
func TestStartTLSTricks(t *testing.T) {
	ours, cases := tlstest.Setup(t)
	upgrade := func(wire *tlstest.Wire, c net.Conn, extension string) {
		if inner := tlstest.Upgrade(wire, c, cases[0].Config); inner != nil {
			takesAll(inner, extension)
		}
	}
	tricks := 0
	for _, c := range []struct {
		name  string
		play  func(wire *tlstest.Wire, c net.Conn)
		words string
	}{
		{"stripped from the extensions", func(_ *tlstest.Wire, c net.Conn) {
			fmt.Fprint(c, "220 hi\r\n")
			takesAll(c, "AUTH PLAIN LOGIN")
		}, "offers no STARTTLS"},
		{"spelled otherwise", func(_ *tlstest.Wire, c net.Conn) {
			fmt.Fprint(c, "220 hi\r\n")
			takesAll(c, "XXXXXXXA")
		}, "offers no STARTTLS"},
		{"EHLO refused", func(_ *tlstest.Wire, c net.Conn) {
			tlstest.Converse(c, "220 hi\r\n", "500 what?\r\n")
		}, "what?"},
		{"refused for now", func(_ *tlstest.Wire, c net.Conn) {
			tlstest.Converse(c, "220 hi\r\n", "250-me\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n", "454 4.7.0 TLS not available due to temporary reason\r\n")
			takesAll(c, "AUTH PLAIN")
		}, "TLS not available"},
		{"refused", func(_ *tlstest.Wire, c net.Conn) {
			tlstest.Converse(c, "220 hi\r\n", "250-me\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n", "502 5.5.1 not implemented\r\n")
			takesAll(c, "AUTH PLAIN")
		}, "not implemented"},
		{"agreed to, and the talk goes on in the clear", func(_ *tlstest.Wire, c net.Conn) {
			tlstest.Converse(c, "220 hi\r\n", "250-me\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n", "220 go\r\n", "250-me\r\n250 AUTH PLAIN\r\n")
			takesAll(c, "AUTH PLAIN")
		}, "TLS"},
		{"data behind the answer", func(wire *tlstest.Wire, c net.Conn) {
			tlstest.Converse(c, "220 hi\r\n", "250-me\r\n250 STARTTLS\r\n", "220 go\r\n250-me\r\n250 AUTH PLAIN\r\n")
			upgrade(wire, c, "SIZE")
		}, "in clear"},
		{"data behind the answer, a moment later", func(wire *tlstest.Wire, c net.Conn) {
			tlstest.Converse(c, "220 hi\r\n", "250-me\r\n250 STARTTLS\r\n", "220 go\r\n")
			time.Sleep(20 * time.Millisecond)
			fmt.Fprint(c, "250-me\r\n250 AUTH PLAIN\r\n")
			upgrade(wire, c, "SIZE")
		}, "TLS"},
		{"answered before it was asked for", func(wire *tlstest.Wire, c net.Conn) {
			tlstest.Converse(c, "220 hi\r\n", "250-me\r\n250 STARTTLS\r\n220 go\r\n250 AUTH PLAIN\r\n")
			takesAll(c, "AUTH PLAIN")
		}, "in clear"},
		{"logins offered before TLS alone", func(wire *tlstest.Wire, c net.Conn) {
			tlstest.Converse(c, "220 hi\r\n", "250-me\r\n250-AUTH PLAIN LOGIN\r\n250 STARTTLS\r\n", "220 go\r\n")
			upgrade(wire, c, "SIZE")
		}, "log in"},
		{"turned away", func(_ *tlstest.Wire, c net.Conn) { fmt.Fprint(c, "554 5.7.1 no service for you\r\n") }, "no service"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wire := &tlstest.Wire{}
			addr := tlstest.Listen(t, func(conn net.Conn) { c.play(wire, wire.Conn(conn)) })
			refusedSubmission(t, submission(t, addr, plan.TLSStart, ours.PEM), wire, c.words)
			tricks++
		})
	}
	t.Run("extensions are asked for again", func(t *testing.T) {
		wire := &tlstest.Wire{}
		addr := tlstest.Listen(t, func(conn net.Conn) {
			conn = wire.Conn(conn)
			tlstest.Converse(conn, "220 hi\r\n", "250-me\r\n250-AUTH CRAM-MD5\r\n250 STARTTLS\r\n", "220 go\r\n")
			upgrade(wire, conn, "AUTH PLAIN")
		})
		if err := submission(t, addr, plan.TLSStart, ours.PEM).Check(t.Context()); err != nil || strings.Count(wire.Heard(), "EHLO") != 2 {
			t.Errorf("%v; the server heard %q", err, wire.Heard())
		}
		tricks++
	})
	t.Run("no TLS but to this machine", func(t *testing.T) {
		for _, host := range []string{"mail.acme.example", "192.0.2.1", "localhost.acme.example", "127.0.0.1.acme.example"} {
			if _, err := New(plan.SMTPServer{Name: "a", Host: host, TLS: plan.TLSNone}, Options{}); err == nil || !strings.Contains(err.Error(), "loopback") {
				t.Errorf("%s: %v", host, err)
			}
		}
		tricks++
	})
	faults.Count(t, "STARTTLS tricks", tricks)
}
