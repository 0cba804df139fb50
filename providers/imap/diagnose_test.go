package imap_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// network is what a Dialer finds behind host:port: a server, or nothing.
type network map[string]func(net.Conn)

func (n network) dial(_ context.Context, _, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	serve, ok := n[address]
	if !ok {
		if host == "nowhere.example" {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		return nil, errors.New("connection refused")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		defer l.Close()
		if c, err := l.Accept(); err == nil {
			serve(c)
			c.Close()
		}
	}()
	return net.Dial("tcp", l.Addr().String())
}

// loginServer answers every login in the same way.
func loginServer(answer string) func(net.Conn) {
	return func(c net.Conn) {
		r := bufio.NewReader(c)
		if _, err := c.Write([]byte("* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN SASL-IR] ready\r\n")); err != nil {
			return
		}
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			tag, rest, _ := strings.Cut(line, " ")
			switch {
			case strings.HasPrefix(rest, "AUTHENTICATE"):
				_, err = c.Write([]byte(tag + " " + answer + "\r\n"))
			case strings.HasPrefix(rest, "CAPABILITY"):
				_, err = c.Write([]byte("* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\n" + tag + " OK done\r\n"))
			default:
				_, err = c.Write([]byte(tag + " OK done\r\n"))
			}
			if err != nil {
				return
			}
		}
	}
}

type at time.Time

func (a at) Now() time.Time                                   { return time.Time(a) }
func (a at) Sleep(ctx context.Context, _ time.Duration) error { return ctx.Err() }

// TestDiagnose: behind each failure that admins run into stands its cause, and
// what to do about it.
func TestDiagnose(t *testing.T) {
	authority, err := imaptest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := authority.Server()
	if err != nil {
		t.Fatal(err)
	}
	overTLS := func(serve func(net.Conn)) func(net.Conn) {
		return func(c net.Conn) {
			s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate}})
			if s.Handshake() == nil {
				serve(s)
			}
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	const no = "NO [AUTHENTICATIONFAILED] authentication failed"
	for name, tc := range map[string]struct {
		host   plan.Host
		there  network
		others []string
		now    time.Time
		code   string
		remedy string
	}{
		"another region": {
			host:   plan.Host{Kind: "ionos", Hostname: "127.0.0.1"},
			there:  network{"127.0.0.1:993": overTLS(loginServer(no)), "localhost:993": overTLS(loginServer("OK in"))},
			others: []string{"127.0.0.1", "nowhere.example", "localhost"}, code: imap.WrongHost, remedy: "use localhost",
		},
		"the password is wrong everywhere": {
			host:  plan.Host{Kind: "ionos", Hostname: "127.0.0.1"},
			there: network{"127.0.0.1:993": overTLS(loginServer(no)), "localhost:993": overTLS(loginServer(no))}, others: []string{"localhost"},
			code: "authentication", remedy: "app password made in the IONOS panel",
		},
		"app password": {
			host:  plan.Host{Hostname: "127.0.0.1"},
			there: network{"127.0.0.1:993": overTLS(loginServer("NO [ALERT] Application-specific password required"))},
			code:  imap.AppPassword, remedy: "make an app password",
		},
		"IMAP off": {
			host:  plan.Host{Hostname: "127.0.0.1"},
			there: network{"127.0.0.1:993": overTLS(loginServer("NO [ALERT] Your account is not enabled for IMAP use"))},
			code:  imap.IMAPOff, remedy: "switch on IMAP",
		},
		"no such host": {host: plan.Host{Hostname: "nowhere.example"}, code: imap.NoSuchHost, remedy: "typing mistake"},
		"143 with implicit TLS": {
			host:  plan.Host{Hostname: "127.0.0.1", Port: 143},
			there: network{"127.0.0.1:143": loginServer("OK in")}, code: imap.PlainPort, remedy: "leave port out",
		},
		"993 with STARTTLS": {
			host:  plan.Host{Hostname: "127.0.0.1", Port: 993, TLS: plan.TLSStart, Limits: plan.Limits{StallTimeout: 200 * time.Millisecond}},
			there: network{"127.0.0.1:993": overTLS(loginServer("OK in"))}, code: imap.TLSPort, remedy: `say tls = "implicit"`,
		},
		"993 is shut": {
			host:  plan.Host{Hostname: "127.0.0.1"},
			there: network{"127.0.0.1:143": startTLSServer()}, code: imap.OtherPort, remedy: `say tls = "starttls"`,
		},
		"an odd port": {
			host:  plan.Host{Hostname: "127.0.0.1", Port: 10993},
			there: network{"127.0.0.1:993": overTLS(loginServer("OK in"))}, code: imap.OtherPort, remedy: "take the port out",
		},
		"nothing answers": {host: plan.Host{Hostname: "127.0.0.1"}, code: "unreachable", remedy: "check host and port"},
		"expired": {
			host: plan.Host{Hostname: "127.0.0.1"}, now: time.Now().AddDate(300, 0, 0),
			there: network{"127.0.0.1:993": overTLS(loginServer("OK in"))}, code: imap.CertificateExpired, remedy: "the host has to renew it",
		},
		"the clock is behind": {
			host: plan.Host{Hostname: "127.0.0.1"}, now: time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC),
			there: network{"127.0.0.1:993": overTLS(loginServer("OK in"))}, code: imap.CertificateNotYet, remedy: "set this machine's clock",
		},
		"another name": {
			host:  plan.Host{Hostname: "mail.example"},
			there: network{"mail.example:993": overTLS(loginServer("OK in"))}, code: imap.CertificateName, remedy: "localhost",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.host.CAFile, tc.host.Credentials = "ca.pem", plan.SecretRef{Name: "mail", Kind: "env", Ref: "X"}
			if tc.now.IsZero() {
				tc.now = time.Now()
			}
			d := &imap.Dialer{Host: tc.host, Secrets: passwords("top-secret"), Clock: at(tc.now), Root: dir, Dial: tc.there.dial}
			account := providers.Account{Address: "a@example.com"}
			s, err := d.Connect(t.Context(), account)
			if err == nil {
				s.Close()
				t.Fatal("the login works")
			}
			got := d.Diagnose(t.Context(), account, err, tc.others)
			if got.Code != tc.code || !strings.Contains(got.Remedy, tc.remedy) {
				t.Errorf("%s\n got %+v\nwant %s: …%s…", name, got, tc.code, tc.remedy)
			}
			if strings.Contains(got.Detail+got.Remedy, "top-secret") {
				t.Errorf("the password is in %+v", got)
			}
		})
	}
}

// startTLSServer agrees to STARTTLS.
func startTLSServer() func(net.Conn) {
	return func(c net.Conn) {
		r := bufio.NewReader(c)
		if _, err := c.Write([]byte("* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] ready\r\n")); err != nil {
			return
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		tag, _, _ := strings.Cut(line, " ")
		_, _ = c.Write([]byte(tag + " OK go on\r\n"))
	}
}
