package imap

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// dialTimeout bounds the making of a connection, TLS included.
const dialTimeout = 30 * time.Second

// Dialer opens sessions at one host. Its fields don't change after first
// use; then it is safe for concurrent use.
type Dialer struct {
	Host    plan.Host
	Secrets providers.Secrets
	Clock   providers.Clock // decides whether a certificate is in date; nil = the system's clock
	Root    string          // folder that Host.CAFile is relative to
	Spool   string          // folder for messages too large for memory, "" = the system's
	Canary  bool            // the copy engine tries one message of its own before the first of a mailbox
	Tokens  Tokens          // for Host.Auth "xoauth2"; nil = the host's secret is the token

	// Dial makes the TCP connection; nil = net.Dialer. Tests put faults here.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	listAhead bool // see ConnectListing
}

// Address is host:port, with the port of the TLS mode where none is configured.
func (d *Dialer) Address() string {
	port := d.Host.Port
	if port == 0 {
		port = 993
		if d.Host.TLS == plan.TLSStart || d.Host.TLS == plan.TLSNone {
			port = 143
		}
	}
	return net.JoinHostPort(d.Host.Hostname, strconv.Itoa(port))
}

// Connect opens a session: TCP, TLS, login. Refusals are *providers.Error with
// reason Authentication, Unreachable, Certificate, TooMany, Throttled or Refused
// and a remedy. A token that is refused is renewed, once for all connections, and tried once more.
// ctx governs the opening only; each call of the session has its own.
func (d *Dialer) Connect(ctx context.Context, a providers.Account) (*Session, error) {
	who, err := d.identity(ctx, a, "")
	if err != nil {
		return nil, err
	}
	s, err := d.connect(ctx, who)
	if providers.ReasonOf(err) != providers.Authentication || who.token.Value.Reveal() == "" {
		return s, err
	}
	again, rerr := d.identity(ctx, a, who.token.Value.Reveal())
	if rerr != nil {
		return nil, rerr
	}
	if again.token.Value.Reveal() == who.token.Value.Reveal() {
		return nil, err
	}
	return d.connect(ctx, again)
}

// ConnectListing is Connect for who calls List first: what List asks goes out with what every session asks, and costs no
// round trip of its own.
func (d *Dialer) ConnectListing(ctx context.Context, a providers.Account) (*Session, error) {
	ahead := *d
	ahead.listAhead = true
	return ahead.Connect(ctx, a)
}

func (d *Dialer) connect(ctx context.Context, who identity) (*Session, error) {
	raw, err := d.dial(ctx)
	if err != nil {
		return nil, err
	}
	l := newLink(raw, d.Host.Limits.StallTimeout)
	stop := context.AfterFunc(ctx, func() { l.abort(context.Cause(ctx)) })
	defer stop()
	s, err := d.open(ctx, l, who)
	if err != nil {
		l.Conn.Close()
		if ctx.Err() != nil {
			return nil, &providers.Error{Op: "log in", Subject: who.name + " at " + d.Address(), Reason: providers.Unreachable, Err: context.Cause(ctx)}
		}
		return nil, err
	}
	if !stop() { // ctx ended just now and has closed the connection
		s.Close()
		return nil, context.Cause(ctx)
	}
	return s, nil
}

// identity is who logs in, with a password or with a token.
type identity struct {
	name     string
	password providers.Secret
	token    Token
}

// identity returns whom a logs in as. refused is a token that shall not be it.
func (d *Dialer) identity(ctx context.Context, a providers.Account, refused string) (who identity, err error) {
	template := d.Host.Username
	if template == "" {
		template = "{address}"
	}
	who.name = strings.ReplaceAll(template, "{address}", a.Address)
	subject := who.name + " at " + d.Address()
	ref := a.Credentials
	if ref.IsZero() {
		ref = d.Host.Credentials
	}
	byToken := d.Host.Auth == "xoauth2"
	switch {
	case byToken && d.Tokens != nil:
		who.token, err = d.Tokens.Token(ctx, a.Address, refused)
	case d.Secrets == nil || ref.IsZero():
		return who, &providers.Error{
			Op: "log in", Subject: subject, Reason: providers.Authentication,
			Err:    errors.New("no credentials are configured"),
			Remedy: "set credentials = secret.NAME in the host's block or in the mailbox's",
		}
	case byToken:
		who.token, err = secretTokens{d.Secrets, ref}.Token(ctx, a.Address, refused)
	default:
		who.password, err = d.Secrets.Resolve(ctx, ref, a.Address)
	}
	if err != nil {
		return who, fmt.Errorf("log in %s: %w", subject, err)
	}
	if strings.ContainsAny(who.name+who.password.Reveal()+who.token.Value.Reveal(), "\x00\r\n") {
		return who, &providers.Error{
			Op: "log in", Subject: subject, Reason: providers.Authentication,
			Err:    errors.New("the name or the password holds a line break or NUL, which IMAP can't carry"),
			Remedy: fmt.Sprintf("correct %s", ref),
		}
	}
	return who, nil
}

func (d *Dialer) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	dial := d.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, "tcp", d.Address())
	if err != nil {
		return nil, &providers.Error{
			Op: "connect to", Subject: d.Address(), Reason: providers.Unreachable, Err: err,
			Remedy: "check host and port, and that this machine may connect there",
		}
	}
	return conn, nil
}

// open does everything between the TCP connection and the first command.
func (d *Dialer) open(ctx context.Context, l *link, who identity) (*Session, error) {
	var transport net.Conn = l
	greeting := ""
	switch d.Host.TLS {
	case plan.TLSNone:
		// The password would cross the network in the clear.
		if tcp, ok := l.RemoteAddr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
			return nil, &providers.Error{
				Op: "connect to", Subject: d.Address(), Reason: providers.Refused,
				Err:    errors.New(`tls = "none" is accepted for a loopback address only, because it would show the password to the network`),
				Remedy: `use tls = "implicit" or tls = "starttls"`,
			}
		}
	case plan.TLSStart:
		if err := d.startTLS(l); err != nil {
			return nil, err
		}
		// The client that opens the session waits for a greeting; what the server
		// said before TLS began is not to be trusted (RFC 3501 §6.2.1).
		greeting = "* OK [CAPABILITY IMAP4rev1] TLS is up\r\n"
		fallthrough
	default:
		t, err := d.handshake(ctx, l)
		if err != nil {
			return nil, err
		}
		transport = t
	}
	return d.login(transport, l, greeting, who)
}

func (d *Dialer) handshake(ctx context.Context, l *link) (*tls.Conn, error) {
	config := &tls.Config{ServerName: d.Host.Hostname, MinVersion: tls.VersionTLS12, NextProtos: []string{"imap"}}
	if d.Clock != nil {
		config.Time = d.Clock.Now
	}
	if d.Host.CAFile != "" {
		roots, err := d.roots()
		if err != nil {
			return nil, err
		}
		config.RootCAs = roots
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	t := tls.Client(l, config)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, d.tlsError(l.why(err))
	}
	return t, nil
}

func (d *Dialer) roots() (*x509.CertPool, error) {
	path := d.Host.CAFile
	if !filepath.IsAbs(path) {
		path = filepath.Join(d.Root, path)
	}
	fail := func(err error) error {
		return &providers.Error{
			Op: "read ca_file of", Subject: d.Address(), Reason: providers.Certificate, Err: err,
			Remedy: "set ca_file to a PEM file with the certificate of the authority that signed the host's",
		}
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fail(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fail(fmt.Errorf("%s holds no certificate", path))
	}
	return roots, nil
}

// tlsError tells a certificate that isn't right from a connection that broke.
func (d *Dialer) tlsError(err error) error {
	e := &providers.Error{Op: "start TLS with", Subject: d.Address(), Reason: providers.Unreachable, Err: err,
		Remedy: `check port and tls: 993 is for tls = "implicit", 143 for tls = "starttls"`}
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		e.Err = fmt.Errorf("the server doesn't speak TLS on this port: %w", record)
		return e
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" || strings.Contains(err.Error(), "protocol version") {
			e.Remedy = "client and server don't agree on TLS: spoken here is 1.2 and above, without a certificate of our own; nothing was sent to it"
		}
		return e
	}
	e.Reason = providers.Certificate
	e.Remedy = "the host's certificate has to be valid for its name; nothing was sent to it"
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		e.Remedy = "if the authority is your own, set ca_file to its certificate; nothing was sent to the host"
	}
	if name, ok := errors.AsType[x509.HostnameError](err); ok {
		e.Remedy = fmt.Sprintf("set host to a name that the certificate holds (%s); nothing was sent to the host", strings.Join(name.Certificate.DNSNames, ", "))
	}
	return e
}

// startTLS asks for TLS in the clear and reads nothing beyond the answer: what
// else is there already was not sent by who TLS will prove (RFC 3501 §6.2.1).
func (d *Dialer) startTLS(l *link) error {
	br := bufio.NewReader(l)
	fail := func(reason providers.Reason, server string, err error) error {
		return &providers.Error{
			Op: "start TLS with", Subject: d.Address(), Reason: reason, Server: server, Err: err,
			Remedy: `the connection is never used without TLS; if the host offers port 993, use tls = "implicit"`,
		}
	}
	greeting, err := readLine(br)
	if err != nil {
		return fail(providers.Unreachable, "", err)
	}
	if !strings.HasPrefix(strings.ToUpper(greeting), "* OK") {
		return d.greetingError(greeting)
	}
	if _, err := l.Write([]byte("S0 STARTTLS\r\n")); err != nil {
		return fail(providers.Unreachable, "", err)
	}
	for range 100 {
		line, err := readLine(br)
		if err != nil {
			return fail(providers.Unreachable, "", err)
		}
		tag, rest, _ := strings.Cut(line, " ")
		if tag == "*" && strings.HasPrefix(strings.ToUpper(rest), "BYE") {
			return fail(providers.Refused, rest, nil)
		}
		if tag != "S0" {
			continue
		}
		if !strings.HasPrefix(strings.ToUpper(rest), "OK") {
			return fail(providers.Refused, rest, nil)
		}
		if br.Buffered() > 0 {
			return fail(providers.Protocol, "", errors.New("the server sent data in the clear after it agreed to TLS"))
		}
		return nil
	}
	return fail(providers.Protocol, "", errors.New("the server doesn't answer STARTTLS"))
}
