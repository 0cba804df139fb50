// Package tlstest makes the TLS servers that a client must not talk to, and records what it says to them. Only tests import it.
package tlstest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers/canary"
)

// Name is the host that clients mean to reach.
const Name = "mail.acme.example"

// Case is one server.
type Case struct {
	Name   string
	Config *tls.Config // the server's
	Words  string      // what an error about it has to hold
	// Good: nothing is wrong with it, which shows that the others would work but for their fault.
	Good bool
}

// Authority signs. PEM is its certificate, for a ca_file.
type Authority struct {
	PEM []byte

	certificate *x509.Certificate
	key         crypto.Signer
}

// NewAuthority makes an authority.
func NewAuthority(name string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := template(name)
	t.IsCA, t.KeyUsage, t.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(der)
	return &Authority{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), c, key}, err
}

// Setup is an authority, and the servers for clients that trust it.
func Setup(tb testing.TB) (*Authority, []Case) {
	tb.Helper()
	ours, err := NewAuthority("authority")
	if err != nil {
		tb.Fatal(err)
	}
	cases, err := Cases(ours)
	if err != nil {
		tb.Fatal(err)
	}
	return ours, cases
}

// Upgrade has TLS begin on c as the server, and notes in wire what is said inside. It is nil when the client turned away.
func Upgrade(wire *Wire, c net.Conn, config *tls.Config) net.Conn {
	s := tls.Server(c, config)
	if s.Handshake() != nil {
		return nil
	}
	return wire.Conn(s)
}

// ReadLine reads a line and nothing beyond it, "" at the end of the connection.
func ReadLine(c net.Conn) string {
	var line []byte
	for b := make([]byte, 1); !bytes.HasSuffix(line, []byte("\n")); {
		if _, err := c.Read(b); err != nil {
			return ""
		}
		line = append(line, b[0])
	}
	return strings.TrimRight(string(line), "\r\n")
}

// Converse says greeting, and then an answer to each line that it hears. TAG in an answer is the first word of that line, which is IMAP's tag.
func Converse(c net.Conn, greeting string, answers ...string) {
	fmt.Fprint(c, greeting)
	for _, a := range answers {
		tag, _, _ := strings.Cut(ReadLine(c), " ")
		fmt.Fprint(c, strings.ReplaceAll(a, "TAG", tag))
	}
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

// sign makes a certificate that edit has changed.
func (a *Authority) sign(edit func(t *x509.Certificate)) (tls.Certificate, *Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	t := template(Name)
	t.DNSNames = []string{Name}
	edit(t)
	der, err := x509.CreateCertificate(rand.Reader, t, a.certificate, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	c, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, &Authority{certificate: c, key: key}, err
}

// Cases are servers for clients that trust a and mean Name.
func Cases(a *Authority) ([]Case, error) {
	var list []Case
	var failed error
	add := func(name, words string, c tls.Certificate, err error, edit func(*tls.Config)) {
		if err != nil && failed == nil {
			failed = fmt.Errorf("%s: %w", name, err)
		}
		config := &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12}
		if edit != nil {
			edit(config)
		}
		list = append(list, Case{Name: name, Config: config, Words: words, Good: words == ""})
	}
	signed := func(name, words string, edit func(t *x509.Certificate)) {
		c, _, err := a.sign(edit)
		add(name, words, c, err, nil)
	}
	keep := func(*x509.Certificate) {}
	signed("right", "", keep)
	signed("right by a wildcard", "", func(t *x509.Certificate) { t.DNSNames = []string{"*.acme.example"} })
	signed("expired", "expired", func(t *x509.Certificate) {
		t.NotBefore, t.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	})
	signed("not yet valid", "not yet valid", func(t *x509.Certificate) { t.NotBefore = time.Now().Add(12 * time.Hour) })
	signed("another name", "mail.acme.example", func(t *x509.Certificate) { t.DNSNames = []string{"mail.other.example"} })
	signed("a name without SAN", "Common Name", func(t *x509.Certificate) { t.DNSNames = nil })
	signed("a wildcard a level up", "mail.acme.example", func(t *x509.Certificate) { t.DNSNames = []string{"*.example"} })
	signed("a wildcard a level down", "mail.acme.example", func(t *x509.Certificate) { t.DNSNames = []string{"*.mail.acme.example"} })
	signed("a wildcard for everything", "mail.acme.example", func(t *x509.Certificate) { t.DNSNames = []string{"*"} })
	signed("an address instead of the name", "mail.acme.example", func(t *x509.Certificate) {
		t.DNSNames, t.IPAddresses = nil, []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	signed("a name with NUL", "mail.acme.example", func(t *x509.Certificate) {
		t.DNSNames, t.Subject.CommonName = []string{"mail.acme.example\x00.evil.example"}, Name
	})
	signed("for clients alone", "usage", func(t *x509.Certificate) { t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })

	other, err := NewAuthority("another authority")
	if err != nil {
		return nil, err
	}
	c, _, err := other.sign(keep)
	add("an unknown authority", "unknown authority", c, err, nil)
	lookalike, err := NewAuthority(a.certificate.Subject.CommonName)
	if err != nil {
		return nil, err
	}
	c, _, err = lookalike.sign(keep)
	add("an authority of the same name", "unknown authority", c, err, nil)
	_, leaf, err := a.sign(keep)
	if err != nil {
		return nil, err
	}
	c, _, err = leaf.sign(keep)
	c.Certificate = append(c.Certificate, leaf.certificate.Raw)
	add("signed by a certificate that is no authority", "cannot sign", c, err, nil)
	_, between, err := a.sign(func(t *x509.Certificate) {
		t.IsCA, t.KeyUsage, t.ExtKeyUsage, t.DNSNames, t.Subject.CommonName = true, x509.KeyUsageCertSign, nil, nil, "between"
	})
	if err != nil {
		return nil, err
	}
	c, _, err = between.sign(keep)
	add("a chain with a gap", "unknown authority", c, err, nil)
	c.Certificate = append(c.Certificate, between.certificate.Raw)
	add("right by a chain", "", c, err, nil)
	_, elsewhere, err := a.sign(func(t *x509.Certificate) {
		t.IsCA, t.KeyUsage, t.ExtKeyUsage, t.DNSNames, t.Subject.CommonName = true, x509.KeyUsageCertSign, nil, nil, "for others"
		t.PermittedDNSDomainsCritical, t.PermittedDNSDomains = true, []string{"other.example"}
	})
	if err != nil {
		return nil, err
	}
	c, _, err = elsewhere.sign(keep)
	c.Certificate = append(c.Certificate, elsewhere.certificate.Raw)
	add("an authority for other names", "not permitted", c, err, nil)
	c, err = selfSigned()
	add("self-signed", "unknown authority", c, err, nil)
	c, err = a.weak()
	add("signed with SHA-1", "SHA1", c, err, nil)

	good, _, err := a.sign(keep)
	add("TLS 1.0 alone", "version", good, err, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 })
	add("TLS 1.1 alone", "version", good, err, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })
	add("a client's certificate is demanded", "handshake failure", good, err, func(c *tls.Config) {
		c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12
	})
	add("a client's certificate is demanded, TLS 1.3", "certificate", good, err, func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert })
	return list, failed
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := template(Name)
	t.DNSNames = []string{Name}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// weak is right but for an intermediate authority whose signatures are made with SHA-1.
func (a *Authority) weak() (tls.Certificate, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := template("weak")
	t.IsCA, t.KeyUsage, t.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
	der, err := x509.CreateCertificate(rand.Reader, t, a.certificate, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	authority, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, err
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	l := template(Name)
	l.DNSNames, l.SignatureAlgorithm = []string{Name}, x509.SHA1WithRSA
	leaf, err := x509.CreateCertificate(rand.Reader, l, authority, own.Public(), key)
	return tls.Certificate{Certificate: [][]byte{leaf, der}, PrivateKey: own}, err
}

// Wire records what a client says: on the wire, and behind TLS. It is safe for concurrent use.
type Wire struct {
	mu    sync.Mutex
	heard bytes.Buffer
}

// Conn records what is read from c.
func (w *Wire) Conn(c net.Conn) net.Conn { return wired{c, w} }

// Heard is all of it.
func (w *Wire) Heard() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.heard.String()
}

// Holds reports where and in which form secret was said; nothing when it wasn't.
func (w *Wire) Holds(secret string) []string {
	return canary.Leaks(map[string]string{"the wire": w.Heard()}, map[string]string{"a secret": secret})
}

type wired struct {
	net.Conn
	w *Wire
}

func (c wired) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.heard.Write(p[:n])
	return n, err
}

// Listen serves each connection with play until the test ends, on loopback.
func Listen(tb testing.TB, play func(c net.Conn)) net.Addr {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return // closed
			}
			all.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
				play(conn)
			})
		}
	})
	tb.Cleanup(func() {
		ln.Close()
		all.Wait()
	})
	return ln.Addr()
}
