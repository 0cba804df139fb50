package smtp

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/smtp/smtptest"
)

func TestProbe(t *testing.T) {
	cert, _ := certificate(t, "anything.example")
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	sink := start(t, smtptest.Config{Addresses: []string{"anna@acme.example", "jürgen@acme.example"}, TLS: config})
	grey := start(t, smtptest.Config{AcceptAll: true})
	grey.TempFail(1)
	for _, tc := range []struct {
		name, server, address string
		ok                    bool
		words                 string
		reason                providers.Reason
	}{
		{"taken", sink.Addr, "Anna@acme.example", true, "250", ""},
		{"taken, beyond ASCII", sink.Addr, "jürgen@acme.example", true, "250", ""},
		{"not taken", sink.Addr, "eve@acme.example", false, "550 5.1.1 No such user here", ""},
		{"greylisted", grey.Addr, "anna@acme.example", false, "451 4.7.1", providers.Throttled},
		{"injection", sink.Addr, "a@b.example>\r\nDATA", false, "", providers.BadMessage},
		{"no address", sink.Addr, "@", false, "", providers.BadMessage},
		{"turned away", scripted(t, "554 5.7.1 Your host is on a list\r\n"), "anna@acme.example", false, "", providers.Refused},
		{"too many", scripted(t, "421 4.7.0 Too many connections\r\n"), "anna@acme.example", false, "", providers.TooMany},
		{"null sender refused", scripted(t, "220 a\r\n", "250 b\r\n", "550 5.7.1 no bounces here\r\n"), "anna@acme.example", false, "", providers.Refused},
		{"no SMTPUTF8", scripted(t, "220 a\r\n", "250 b\r\n"), "jürgen@acme.example", false, "", providers.Refused},
		{"hangs up", scripted(t, "220 a\r\n", "250 b\r\n"), "anna@acme.example", false, "", providers.Unreachable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ok, words, err := new(Probe).Accepts(t.Context(), tc.server, tc.address)
			if ok != tc.ok || providers.ReasonOf(err) != tc.reason || !strings.Contains(words, tc.words) {
				t.Errorf("got %v, %q, %v", ok, words, err)
			}
		})
	}
	if got := len(sink.Messages()) + len(grey.Messages()); got != 0 {
		t.Errorf("the probe sent %d messages", got)
	}
}

func TestProbeNeedsTLS(t *testing.T) {
	cert, _ := certificate(t, "anything.example")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 4096)
		for _, r := range []string{"220 a\r\n", "250-b\r\n250 STARTTLS\r\n", "530 5.7.0 Must issue STARTTLS first\r\n", "220 go\r\n"} {
			io.WriteString(conn, r)
			if strings.HasPrefix(r, "220 go") {
				break
			}
			if _, err := conn.Read(buf); err != nil {
				return
			}
		}
		secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
		for _, r := range []string{"", "250 b\r\n", "250 ok\r\n", "250 2.1.5 ok\r\n", "250 ok\r\n", "221 bye\r\n"} {
			io.WriteString(secure, r)
			if _, err := secure.Read(buf); err != nil {
				return
			}
		}
	}()
	ok, words, err := new(Probe).Accepts(t.Context(), l.Addr().String(), "anna@acme.example")
	if !ok || err != nil || words != "250 2.1.5 ok" {
		t.Errorf("got %v, %q, %v", ok, words, err)
	}
}

func TestProbeTimeout(t *testing.T) {
	addr := scripted(t, "220 a\r\n", "")
	p := &Probe{Timeout: 30 * time.Millisecond}
	_, _, err := p.Accepts(t.Context(), addr, "anna@acme.example")
	if providers.ReasonOf(err) != providers.Unreachable || !strings.Contains(err.Error(), "no answer within") {
		t.Errorf("got %v", err)
	}
}
