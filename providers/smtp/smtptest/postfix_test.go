package smtptest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

func TestPostfixTakesMailForItsRecipients(t *testing.T) {
	p := StartPostfix(t, PostfixOptions{Domains: []string{"acme.example"}, Addresses: []string{"anna@acme.example"}})
	c, err := smtp.Dial(p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail("partner@other.example", nil); err != nil {
		t.Fatal(err)
	}
	for _, stranger := range []string{"jens@acme.example", "somebody@other.example"} {
		if err := c.Rcpt(stranger, nil); err == nil {
			t.Errorf("%s was taken", stranger)
		}
	}
	p.Accept("jens@acme.example")
	for _, known := range []string{"anna@acme.example", "jens@acme.example"} {
		if err := c.Rcpt(known, nil); err != nil {
			t.Errorf("%s: %v", known, err)
		}
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte("Subject: hello\r\n\r\nbody\r\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	handedOn(t, p, 1)
	m := p.Messages()[0]
	if len(m.To) != 2 || m.From != "partner@other.example" || !bytes.Contains(m.Data, []byte("Received: from")) || !bytes.HasSuffix(m.Data, []byte("\r\n\r\nbody\r\n")) {
		t.Errorf("handed on: %v to %v\n%s", m.From, m.To, m.Data)
	}
}

func TestPostfixSubmissionWantsALogin(t *testing.T) {
	certificate := selfSigned(t)
	p := StartPostfix(t, PostfixOptions{TLS: &certificate, Username: "it@acme.example", Password: "Sm7p/&=post"})
	trust := &tls.Config{InsecureSkipVerify: true}
	submit := func(password string) error {
		c, err := smtp.DialStartTLS(p.Addr, trust)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if password != "" {
			if err := c.Auth(sasl.NewPlainClient("", "it@acme.example", password)); err != nil {
				return err
			}
		}
		return c.SendMail("it@acme.example", []string{"outside@other.example"}, bytes.NewReader([]byte("Subject: x\r\n\r\ny\r\n")))
	}
	for _, wrong := range []string{"", "guessed"} {
		if submit(wrong) == nil {
			t.Errorf("the password %q was enough", wrong)
		}
	}
	if err := submit("Sm7p/&=post"); err != nil {
		t.Fatalf("%v\n%s", err, p.Log())
	}
	handedOn(t, p, 1)
}

func handedOn(t *testing.T, p *Postfix, n int) {
	t.Helper()
	for range 500 {
		if len(p.Messages()) >= n {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%d messages, want %d\n%s", len(p.Messages()), n, p.Log())
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
