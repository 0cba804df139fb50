package imap_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/tlstest"
)

const canary = "pässword canary 9d41c7"

// toServer is a dialer that means tlstest.Name and reaches addr.
func toServer(t *testing.T, addr net.Addr, mode plan.TLSMode, ca []byte) *imap.Dialer {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	host := plan.Host{Hostname: tlstest.Name, Port: 993, TLS: mode, CAFile: file, Credentials: plan.SecretRef{Name: "mail", Kind: "env", Ref: "X"}}
	host.Limits.StallTimeout = 10 * time.Second
	return &imap.Dialer{Host: host, Secrets: passwords(canary), Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr.String())
	}}
}

// agreeable says OK to everything.
func agreeable(c net.Conn) {
	for br := bufio.NewReader(c); ; {
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		tag, _, _ := strings.Cut(line, " ")
		if strings.Contains(line, "CAPABILITY") {
			fmt.Fprint(c, "* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\n")
		}
		fmt.Fprintf(c, "%s OK done\r\n", tag)
	}
}

// refusedLogin fails unless the login was refused with a clear error, and the password is nowhere on the wire.
func refusedLogin(t *testing.T, d *imap.Dialer, wire *tlstest.Wire, words string, reasons ...providers.Reason) {
	t.Helper()
	s, err := d.Connect(t.Context(), providers.Account{Address: "anna@acme.example"})
	if err == nil {
		s.Close()
		t.Fatal("connected")
	}
	e, ok := errors.AsType[*providers.Error](err)
	text := fmt.Sprintf("%v %+v", err, e)
	if !ok || e.Remedy == "" || e.Subject == "" || !strings.Contains(text, words) || strings.Contains(text, canary) {
		t.Errorf("%s: want %q and a remedy, and no password", text, words)
	}
	found := len(reasons) == 0
	for _, r := range reasons {
		found = found || ok && e.Reason == r
	}
	if !found {
		t.Errorf("%v, want one of %v", err, reasons)
	}
	if found := wire.Holds(canary); len(found) > 0 {
		t.Errorf("the password was on the wire: %q", found)
	}
}

// TestCertificates: servers that aren't who they should be get no password, whether TLS begins at once or by STARTTLS.
func TestCertificates(t *testing.T) {
	ours, cases := tlstest.Setup(t)
	for mode, before := range map[plan.TLSMode]func(c net.Conn){
		plan.TLSImplicit: func(net.Conn) {},
		plan.TLSStart: func(c net.Conn) {
			tlstest.Converse(c, "* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] hi\r\n", "TAG OK begin\r\n")
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
						fmt.Fprint(conn, "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hi\r\n")
					}
					agreeable(conn)
				})
				d := toServer(t, addr, mode, ours.PEM)
				if c.Good {
					s, err := d.Connect(t.Context(), providers.Account{Address: "anna@acme.example"})
					if err != nil || len(wire.Holds(canary)) == 0 {
						t.Fatalf("%v; the server heard %q", err, wire.Heard())
					}
					s.Close()
					return
				}
				refusedLogin(t, d, wire, c.Words, providers.Certificate, providers.Unreachable)
				bad++
			})
		}
		faults.Count(t, "certificates", bad)
	}
}

// TestStartTLSTricks: whatever stands between says before TLS is up, the password isn't said in the clear, and what it has said counts for
// nothing afterwards.
func TestStartTLSTricks(t *testing.T) {
	ours, cases := tlstest.Setup(t)
	good := cases[0].Config
	// upgrade has TLS begin, and says hello in it with those capabilities.
	upgrade := func(wire *tlstest.Wire, c net.Conn, capabilities string) {
		inner := tlstest.Upgrade(wire, c, good)
		if inner == nil {
			return
		}
		for br := bufio.NewReader(inner); ; {
			line, err := br.ReadString('\n')
			if err != nil {
				return
			}
			tag, rest, _ := strings.Cut(line, " ")
			if strings.HasPrefix(rest, "CAPABILITY") {
				fmt.Fprintf(inner, "* CAPABILITY %s\r\n%s OK done\r\n", capabilities, tag)
				continue
			}
			fmt.Fprintf(inner, "%s NO [AUTHENTICATIONFAILED] never\r\n", tag)
		}
	}
	tricks := 0
	for _, c := range []struct {
		name  string
		play  func(wire *tlstest.Wire, c net.Conn)
		words string
	}{
		{"stripped from the capabilities", func(_ *tlstest.Wire, c net.Conn) {
			tlstest.Converse(c, "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hi\r\n", "TAG BAD unknown command\r\n")
			agreeable(c)
		}, "unknown command"},
		{"refused with NO", func(_ *tlstest.Wire, c net.Conn) {
			tlstest.Converse(c, "* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN SASL-IR] hi\r\n", "TAG NO not today\r\n")
			agreeable(c)
		}, "not today"},
		{"refused with BYE", func(_ *tlstest.Wire, c net.Conn) {
			tlstest.Converse(c, "* OK hi\r\n", "* BYE too busy for TLS\r\n")
		}, "too busy"},
		{"agreed to, and the talk goes on in the clear", func(_ *tlstest.Wire, c net.Conn) {
			tlstest.Converse(c, "* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n", "TAG OK begin\r\n", "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] no need\r\n")
			agreeable(c)
		}, "TLS"},
		{"data behind the answer", func(wire *tlstest.Wire, c net.Conn) {
			tlstest.Converse(c, "* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n", "TAG OK begin\r\n* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] injected\r\nT1 OK injected\r\n")
			upgrade(wire, c, "IMAP4rev1")
		}, "in the clear"},
		{"data behind the answer, a moment later", func(wire *tlstest.Wire, c net.Conn) {
			tlstest.Converse(c, "* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n", "TAG OK begin\r\n")
			time.Sleep(20 * time.Millisecond)
			fmt.Fprint(c, "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] injected\r\n")
			upgrade(wire, c, "IMAP4rev1")
		}, "TLS"},
		{"answered before it was asked for", func(wire *tlstest.Wire, c net.Conn) {
			fmt.Fprint(c, "* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\nS0 OK begin\r\nS1 OK go on\r\n")
			agreeable(c)
		}, "in the clear"},
		{"PREAUTH", func(_ *tlstest.Wire, c net.Conn) {
			fmt.Fprint(c, "* PREAUTH [CAPABILITY IMAP4rev1] logged in as anna\r\n")
			agreeable(c)
		}, "logged in as anna"},
		{"BYE for a greeting", func(_ *tlstest.Wire, c net.Conn) { fmt.Fprint(c, "* BYE no\r\n") }, "no"},
		{"never answered", func(_ *tlstest.Wire, c net.Conn) {
			fmt.Fprint(c, "* OK hi\r\n")
			tlstest.ReadLine(c)
			for range 2000 {
				if _, err := fmt.Fprint(c, "* OK wait\r\n"); err != nil {
					return
				}
			}
		}, "STARTTLS"},
		{"answered with a line without end", func(_ *tlstest.Wire, c net.Conn) {
			fmt.Fprint(c, "* OK hi\r\n")
			tlstest.ReadLine(c)
			for range 2000 {
				if _, err := fmt.Fprint(c, strings.Repeat("x", 1000)); err != nil {
					return
				}
			}
		}, "beyond all bounds"},
		{"LOGINDISABLED once TLS is up", func(wire *tlstest.Wire, c net.Conn) {
			tlstest.Converse(c, "* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN SASL-IR] hi\r\n", "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nTAG OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] begin\r\n")
			upgrade(wire, c, "IMAP4rev1 LOGINDISABLED AUTH=XOAUTH2")
		}, "LOGINDISABLED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wire := &tlstest.Wire{}
			addr := tlstest.Listen(t, func(conn net.Conn) { c.play(wire, wire.Conn(conn)) })
			refusedLogin(t, toServer(t, addr, plan.TLSStart, ours.PEM), wire, c.words)
			tricks++
		})
	}
	t.Run("capabilities are asked for again", func(t *testing.T) {
		wire := &tlstest.Wire{}
		addr := tlstest.Listen(t, func(conn net.Conn) {
			conn = wire.Conn(conn)
			tlstest.Converse(conn, "* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=CRAM-MD5] hi\r\n", "TAG OK [CAPABILITY IMAP4rev1 AUTH=CRAM-MD5] begin\r\n")
			upgrade(wire, conn, "IMAP4rev1 AUTH=PLAIN SASL-IR")
		})
		_, err := toServer(t, addr, plan.TLSStart, ours.PEM).Connect(t.Context(), providers.Account{Address: "anna@acme.example"})
		heard := wire.Heard()
		asked, logged := strings.Index(heard, "CAPABILITY"), strings.Index(heard, "AUTHENTICATE PLAIN")
		if providers.ReasonOf(err) != providers.Authentication || asked < 0 || logged < asked {
			t.Errorf("%v; capabilities asked for at %d, login at %d", err, asked, logged)
		}
		tricks++
	})
	for name, mode := range map[string]plan.TLSMode{"LOGINDISABLED and implicit TLS": plan.TLSImplicit, "LOGINDISABLED and no TLS": plan.TLSNone} {
		t.Run(name, func(t *testing.T) {
			wire := &tlstest.Wire{}
			addr := tlstest.Listen(t, func(conn net.Conn) {
				conn = wire.Conn(conn)
				if mode == plan.TLSImplicit {
					conn = wire.Conn(tls.Server(conn, good))
				}
				fmt.Fprint(conn, "* OK [CAPABILITY IMAP4rev1 LOGINDISABLED STARTTLS] hi\r\n")
				agreeable(conn)
			})
			refusedLogin(t, toServer(t, addr, mode, ours.PEM), wire, "LOGINDISABLED", providers.Refused)
			tricks++
		})
	}
	t.Run("no TLS but to this machine", func(t *testing.T) {
		wire := &tlstest.Wire{}
		addr := tlstest.Listen(t, func(conn net.Conn) {
			conn = wire.Conn(conn)
			fmt.Fprint(conn, "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hi\r\n")
			agreeable(conn)
		})
		d := toServer(t, addr, plan.TLSNone, ours.PEM)
		dial := d.Dial
		d.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			return elsewhere{c}, err
		}
		refusedLogin(t, d, wire, "loopback", providers.Refused)
		tricks++
	})
	faults.Count(t, "STARTTLS tricks", tricks)
}
