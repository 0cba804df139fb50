package smtp

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/smtp/smtptest"
)

const password = "pässword-canary-7f31"

type oneSecret string

func (s oneSecret) Resolve(context.Context, plan.SecretRef, string) (providers.Secret, error) {
	return providers.Keep(string(s)), nil
}

func start(t *testing.T, c smtptest.Config) *smtptest.Server {
	t.Helper()
	s, err := smtptest.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func blockFor(s *smtptest.Server, mode plan.TLSMode) plan.SMTPServer {
	return plan.SMTPServer{Name: "office", Host: s.Host, Port: s.Port, TLS: mode, From: "IT <it@acme.example>"}
}

func withLogin(b plan.SMTPServer) plan.SMTPServer {
	b.Username, b.Credentials = "it@acme.example", plan.SecretRef{Name: "mail", Kind: "env", Ref: "X"}
	return b
}

var notice = providers.Mail{
	ID: "notice-1.anna@mxodus.invalid", From: "IT-Abteilung <it@acme.example>", To: "anna@acme.example",
	Subject: "Ihr Postfach zieht um – Freitag", Text: "Grüße\n.\n..zwei Punkte\n", HTML: "<p>Grüße</p>",
	Date: time.Date(2027, 1, 13, 9, 30, 0, 0, time.FixedZone("", 3600)),
}

func certificate(t *testing.T, names ...string) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestSend sends under each kind of TLS, with and without a login, and reads
// the message back as a mail reader would.
func TestSend(t *testing.T) {
	cert, ca := certificate(t, "127.0.0.1")
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	for _, tc := range []struct {
		name  string
		sink  smtptest.Config
		mode  plan.TLSMode
		login bool
	}{
		{"clear", smtptest.Config{}, plan.TLSNone, false},
		{"clear with login", smtptest.Config{Username: "it@acme.example", Password: password}, plan.TLSNone, true},
		{"implicit", smtptest.Config{TLS: config, Implicit: true}, plan.TLSImplicit, false},
		{"implicit with login", smtptest.Config{TLS: config, Implicit: true, Username: "it@acme.example", Password: password}, plan.TLSImplicit, true},
		{"starttls with login", smtptest.Config{TLS: config, Username: "it@acme.example", Password: password}, plan.TLSStart, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.sink.Addresses = []string{"anna@acme.example"}
			sink := start(t, tc.sink)
			block := blockFor(sink, tc.mode)
			if tc.login {
				block = withLogin(block)
			}
			n, err := New(block, Options{CA: ca, Secrets: oneSecret(password)})
			if err != nil {
				t.Fatal(err)
			}
			if err := n.Check(t.Context()); err != nil {
				t.Fatalf("check: %v", err)
			}
			if got := len(sink.Messages()); got != 0 {
				t.Fatalf("check sent %d messages", got)
			}
			for range 2 {
				if err := n.Send(t.Context(), notice); err != nil {
					t.Fatal(err)
				}
			}
			got := sink.Messages()
			if len(got) != 2 || string(got[0].Data) != string(got[1].Data) {
				t.Fatalf("want two equal messages, got %d", len(got))
			}
			if got[0].From != "it@acme.example" || len(got[0].To) != 1 || got[0].To[0] != "anna@acme.example" {
				t.Errorf("envelope %q -> %q", got[0].From, got[0].To)
			}
			checkNotice(t, got[0].Data)
		})
	}
}

func checkNotice(t *testing.T, data []byte) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil || subject != notice.Subject {
		t.Errorf("subject %q, %v", subject, err)
	}
	if got := m.Header.Get("Message-Id"); got != "<"+notice.ID+">" {
		t.Errorf("message-id %q", got)
	}
	if date, err := m.Header.Date(); err != nil || !date.Equal(notice.Date) {
		t.Errorf("date %v, %v", date, err)
	}
	if got := m.Header.Get("Auto-Submitted"); got != "auto-generated" {
		t.Errorf("auto-submitted %q", got)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	r := multipart.NewReader(m.Body, params["boundary"])
	for _, want := range []string{notice.Text, notice.HTML} {
		p, err := r.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil || strings.TrimSpace(strings.ReplaceAll(string(text), "\r\n", "\n")) != strings.TrimSpace(want) {
			t.Errorf("part %q, %v; want %q", text, err, want)
		}
	}
}

func TestSendRefusals(t *testing.T) {
	good, ca := certificate(t, "127.0.0.1")
	other, otherCA := certificate(t, "mail.elsewhere.example")
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, tc := range []struct {
		name   string
		sink   smtptest.Config
		mode   plan.TLSMode
		before func(*smtptest.Server)
		change func(*plan.SMTPServer)
		ca     []byte
		want   providers.Reason
		words  string // of the server or the remedy
		taken  int
	}{
		{name: "wrong password", sink: smtptest.Config{Username: "it@acme.example", Password: "other"}, mode: plan.TLSNone,
			change: func(b *plan.SMTPServer) { *b = withLogin(*b) }, want: providers.Authentication, words: "535 5.7.8 Authentication failed"},
		{name: "no login offered", mode: plan.TLSNone, change: func(b *plan.SMTPServer) { *b = withLogin(*b) }, want: providers.Refused, words: "offers no login"},
		{name: "login needed", sink: smtptest.Config{Username: "x", Password: "y"}, mode: plan.TLSNone, want: providers.Authentication, words: "530"},
		{name: "unknown recipient", mode: plan.TLSNone, want: providers.NotFound, words: "550 5.1.1 No such user here"},
		{name: "greylisted", sink: smtptest.Config{AcceptAll: true}, mode: plan.TLSNone,
			before: func(s *smtptest.Server) { s.TempFail(1) }, want: providers.Throttled, words: "451 4.7.1 Greylisted"},
		{name: "answer lost, message taken", sink: smtptest.Config{AcceptAll: true}, mode: plan.TLSNone,
			before: func(s *smtptest.Server) { s.DropAfterData(1, true) }, want: providers.Uncertain, taken: 1},
		{name: "answer lost, message lost", sink: smtptest.Config{AcceptAll: true}, mode: plan.TLSNone,
			before: func(s *smtptest.Server) { s.DropAfterData(1, false) }, want: providers.Uncertain},
		{name: "refused behind the data", sink: smtptest.Config{AcceptAll: true, Deliver: func(smtptest.Message) error { return errors.New("disk full") }},
			mode: plan.TLSNone, want: providers.Throttled, words: "disk full"},
		{name: "nobody there", mode: plan.TLSNone,
			change: func(b *plan.SMTPServer) { b.Port = closed.Addr().(*net.TCPAddr).Port }, want: providers.Unreachable},
		{name: "unknown issuer", sink: smtptest.Config{TLS: &tls.Config{Certificates: []tls.Certificate{good}}, Implicit: true},
			mode: plan.TLSImplicit, ca: otherCA, want: providers.Certificate, words: "ca_file"},
		{name: "wrong name", sink: smtptest.Config{TLS: &tls.Config{Certificates: []tls.Certificate{other}}},
			mode: plan.TLSStart, ca: otherCA, want: providers.Certificate, words: "set host"},
		{name: "starttls stripped", mode: plan.TLSStart, ca: ca, want: providers.Certificate, words: "offers no STARTTLS"},
		{name: "implicit where starttls is spoken", mode: plan.TLSImplicit, ca: ca, want: providers.Certificate, words: "starttls"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sink := start(t, tc.sink)
			if tc.before != nil {
				tc.before(sink)
			}
			block := blockFor(sink, tc.mode)
			if tc.change != nil {
				tc.change(&block)
			}
			n, err := New(block, Options{CA: tc.ca, Secrets: oneSecret(password)})
			if err != nil {
				t.Fatal(err)
			}
			err = n.Send(t.Context(), notice)
			e, ok := errors.AsType[*providers.Error](err)
			if !ok || e.Reason != tc.want {
				t.Fatalf("got %v, want reason %q", err, tc.want)
			}
			if all := err.Error() + " " + e.Remedy; !strings.Contains(all, tc.words) || strings.Contains(all, password) {
				t.Errorf("got %q, want %q in it and no secret", all, tc.words)
			}
			if got := len(sink.Messages()); got != tc.taken {
				t.Errorf("%d messages taken, want %d", got, tc.taken)
			}
		})
	}
}

// scripted answers each line it reads with the next reply, verbatim.
func scripted(t *testing.T, replies ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 64<<10)
		for _, r := range replies {
			if _, err := io.WriteString(conn, r); err != nil {
				return
			}
			if _, err := conn.Read(buf); err != nil {
				return
			}
		}
	}()
	return l.Addr().String()
}

// TestBrokenBeforeData: a connection that ends before the message was on its
// way leaves nothing in doubt.
func TestBrokenBeforeData(t *testing.T) {
	for _, replies := range [][]string{
		{"220 hi\r\n"},
		{"220 hi\r\n", "250 me\r\n"},
		{"220 hi\r\n", "250 me\r\n", "250 ok\r\n"},
		{"220 hi\r\n", "250 me\r\n", "250 ok\r\n", "250 ok\r\n"},
	} {
		addr := scripted(t, replies...)
		n := scriptedNotifier(t, addr, plan.TLSNone)
		err := n.Send(t.Context(), notice)
		if got := providers.ReasonOf(err); got != providers.Unreachable {
			t.Errorf("after %d replies: %v", len(replies), err)
		}
	}
}

func scriptedNotifier(t *testing.T, addr string, mode plan.TLSMode) *Notifier {
	t.Helper()
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := New(plan.SMTPServer{Name: "s", Host: "127.0.0.1", Port: tcp.Port, TLS: mode}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestDataInClearBehindSTARTTLS(t *testing.T) {
	addr := scripted(t, "220 hi\r\n", "250-me\r\n250 STARTTLS\r\n", "220 go\r\n250 injected\r\n")
	err := scriptedNotifier(t, addr, plan.TLSStart).Check(t.Context())
	if got := providers.ReasonOf(err); got != providers.Protocol {
		t.Errorf("got %v", err)
	}
}

// TestEndlessReply: what a server may say is bounded.
func TestEndlessReply(t *testing.T) {
	addr := scripted(t, "220 hi\r\n", strings.Repeat("250-x\r\n", maxReplies/7+100)+"250 end\r\n", "221 bye\r\n")
	err := scriptedNotifier(t, addr, plan.TLSNone).Check(t.Context())
	if err == nil {
		t.Error("an endless reply was taken")
	}
}

func TestCancelled(t *testing.T) {
	addr := scripted(t, "220 hi\r\n", "")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	err := scriptedNotifier(t, addr, plan.TLSNone).Send(ctx, notice)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestNew(t *testing.T) {
	for _, tc := range []struct {
		block plan.SMTPServer
		ca    string
		want  string
	}{
		{plan.SMTPServer{Name: "a", Host: "mail.acme.example", TLS: plan.TLSNone}, "", "loopback"},
		{plan.SMTPServer{Name: "a", Host: "mail.acme.example", TLS: "ssl"}, "", "implicit, starttls or none"},
		{plan.SMTPServer{Name: "a", Host: "mail.acme.example", CAFile: "ca.pem"}, "nonsense", "ca_file ca.pem"},
		{withLogin(plan.SMTPServer{Name: "a", Host: "mail.acme.example"}), "", "secret.mail"},
	} {
		o := Options{}
		if tc.ca != "" {
			o.CA = []byte(tc.ca)
		}
		if _, err := New(tc.block, o); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: got %v, want %q", tc.block, err, tc.want)
		}
	}
}

func TestBadMail(t *testing.T) {
	sink := start(t, smtptest.Config{AcceptAll: true})
	n, err := New(blockFor(sink, plan.TLSNone), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(*providers.Mail){
		func(m *providers.Mail) { m.To = "anna@acme.example>\r\nRCPT TO:<eve@evil.example" },
		func(m *providers.Mail) { m.To = "" },
		func(m *providers.Mail) { m.From = "nobody" },
		func(m *providers.Mail) { m.Subject = "x\r\nBcc: eve@evil.example" },
		func(m *providers.Mail) { m.ID = "" },
		func(m *providers.Mail) { m.ID = "a>\r\nBcc: eve@evil.example" },
	} {
		m := notice
		change(&m)
		if err := n.Send(t.Context(), m); providers.ReasonOf(err) != providers.BadMessage {
			t.Errorf("%+v: got %v", m, err)
		}
	}
	if got := len(sink.Asked()); got != 0 {
		t.Errorf("%d recipients reached the server", got)
	}
}

func TestRefusal(t *testing.T) {
	for msg, want := range map[string]providers.Reason{
		"550 5.1.1 unknown user":         providers.NotFound,
		"550 Mailbox unavailable":        providers.NotFound,
		"550 5.7.1 relaying denied":      providers.Refused,
		"552 5.2.2 mailbox full":         providers.OverQuota,
		"452 4.2.2 mailbox full":         providers.OverQuota,
		"552 too big":                    providers.TooLarge,
		"554 5.6.0 bad content":          providers.BadMessage,
		"554 no":                         providers.Refused,
		"421 too many connections":       providers.TooMany,
		"421 4.3.2 shutting down":        providers.Throttled,
		"450 4.2.0 try later":            providers.Throttled,
		"535 5.7.139 basic auth is off":  providers.Authentication,
		"553 5.1.2 no such host in name": providers.NotFound,
	} {
		var code int
		for _, c := range msg[:3] {
			code = code*10 + int(c-'0')
		}
		if got := refusal("x", "y", code, msg[4:]); got.Reason != want || got.Server != msg {
			t.Errorf("%q: %q, %q; want %q", msg, got.Reason, got.Server, want)
		}
	}
}

// TestLoginMechanism: where there is no PLAIN, LOGIN is spoken, and the
// password appears in no error.
func TestLoginMechanism(t *testing.T) {
	got := make(chan string, 8)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		defer close(got)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 4096)
		for _, r := range []string{"220 a\r\n", "250-b\r\n250 AUTH LOGIN\r\n", "334 UGFzc3dvcmQ6\r\n", "535 5.7.8 no\r\n"} {
			io.WriteString(conn, r)
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			got <- strings.TrimSpace(string(buf[:n]))
		}
	}()
	block := withLogin(plan.SMTPServer{Name: "s", Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, TLS: plan.TLSNone})
	n, err := New(block, Options{Secrets: oneSecret("hunter2")})
	if err != nil {
		t.Fatal(err)
	}
	err = n.Check(t.Context())
	if providers.ReasonOf(err) != providers.Authentication || strings.Contains(err.Error(), "aHVudGVyMg") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
	var lines []string
	for line := range got {
		lines = append(lines, line)
	}
	want := []string{"AUTH LOGIN aXRAYWNtZS5leGFtcGxl", "aHVudGVyMg=="}
	if len(lines) != 3 || lines[1] != want[0] || lines[2] != want[1] {
		t.Errorf("the client said %q", lines)
	}
}
