package smtp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	gomail "github.com/wneessen/go-mail"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// sendTimeout bounds a whole session. RFC 5321 §4.5.3.2.6 gives the server ten
// minutes for the answer to the message alone.
const sendTimeout = 15 * time.Minute

// Options is what a Notifier needs besides its configuration.
type Options struct {
	Secrets providers.Secrets // needed when the server asks for a login
	CA      []byte            // PEM of ca_file; nil = the system's roots
	Dial    DialFunc          // nil = the network
	Timeout time.Duration     // of a session; 0 = 15 minutes
}

// Notifier hands in mail at one server, with one connection a message. It is
// safe for concurrent use.
type Notifier struct {
	server  plan.SMTPServer
	address string
	opts    Options
	tls     *tls.Config
}

var _ providers.Notifier = (*Notifier)(nil)

// New makes the notifier of an smtp block. It doesn't connect.
func New(server plan.SMTPServer, o Options) (*Notifier, error) {
	n := &Notifier{server: server, address: hostPort(server), opts: o}
	if o.Timeout == 0 {
		n.opts.Timeout = sendTimeout
	}
	switch server.TLS {
	case plan.TLSImplicit, plan.TLSStart, "":
		n.tls = &tls.Config{ServerName: server.Host, MinVersion: tls.VersionTLS12}
	case plan.TLSNone:
		if !loopback(server.Host) {
			return nil, fmt.Errorf("smtp %q: tls = \"none\" is accepted for loopback addresses alone, not for %s", server.Name, server.Host)
		}
	default:
		return nil, fmt.Errorf("smtp %q: tls is implicit, starttls or none, not %q", server.Name, server.TLS)
	}
	if n.tls != nil && o.CA != nil {
		n.tls.RootCAs = x509.NewCertPool()
		if !n.tls.RootCAs.AppendCertsFromPEM(o.CA) {
			return nil, fmt.Errorf("smtp %q: ca_file %s holds no certificate in PEM form", server.Name, server.CAFile)
		}
	}
	if !server.Credentials.IsZero() && o.Secrets == nil {
		return nil, fmt.Errorf("smtp %q: %s can't be resolved here", server.Name, server.Credentials)
	}
	return n, nil
}

// Check logs in and out.
func (n *Notifier) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.opts.Timeout)
	defer cancel()
	s, err := n.login(ctx)
	if err != nil {
		return err
	}
	s.quit(ctx)
	return nil
}

// Send hands in one message. Until the final dot is on its way an error means
// that the message was not taken; from there on only the server's answer tells,
// and without one the error is Uncertain.
func (n *Notifier) Send(ctx context.Context, m providers.Mail) error {
	_, err := n.SendReceipt(ctx, m)
	return err
}

// SendReceipt implements providers.Receipter.
func (n *Notifier) SendReceipt(ctx context.Context, m providers.Mail) (string, error) {
	from, to, body, err := compose(m, n.server.From)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, n.opts.Timeout)
	defer cancel()
	s, err := n.login(ctx)
	if err != nil {
		return "", err
	}
	defer s.close()
	words, err := s.hand(ctx, from, to, body, m.ID)
	if err != nil {
		return "", err
	}
	s.quit(ctx)
	return words, nil
}

// hand gives one message to the server and returns what it answered. from "" is the null sender.
func (s *session) hand(ctx context.Context, from, to string, body []byte, id string) (words string, err error) {
	op := "send mail to " + to + " by"
	params, err := s.parameters(from, to, body)
	if err != nil {
		return "", err
	}
	if _, err := s.command(ctx, "send mail as <"+from+"> by", 250, "MAIL FROM:<%s>%s", from, params); err != nil {
		return "", err
	}
	if _, err := s.command(ctx, op, 25, "RCPT TO:<%s>", to); err != nil {
		return "", err
	}
	if _, err := s.command(ctx, op, 354, "DATA"); err != nil {
		return "", err
	}
	w := s.text.DotWriter()
	if _, err := w.Write(body); err != nil {
		return "", s.broken(ctx, op, err)
	}
	// Everything is buffered: only Close may put the final dot on the wire.
	err = w.Close()
	if err == nil {
		words, err = s.reply(ctx, op, 250)
	} else {
		err = s.broken(ctx, op, err)
	}
	if e, ok := errors.AsType[*providers.Error](err); ok && e.Server == "" {
		e.Reason = providers.Uncertain
		e.Remedy = "look whether the message with Message-ID <" + id + "> arrived before sending it again"
	}
	return words, err
}

// login connects and, where the configuration says so, logs in.
func (n *Notifier) login(ctx context.Context) (*session, error) {
	var implicit *tls.Config
	if n.server.TLS != plan.TLSStart {
		implicit = n.tls
	}
	s, err := dial(ctx, n.opts.Dial, n.address, implicit)
	if err != nil {
		return nil, err
	}
	if n.server.TLS == plan.TLSStart {
		if err := s.startTLS(ctx, n.tls); err != nil {
			s.close()
			return nil, err
		}
	}
	if n.server.Credentials.IsZero() {
		return s, nil
	}
	secret, err := n.opts.Secrets.Resolve(ctx, n.server.Credentials, n.server.Username)
	if err == nil {
		err = s.auth(ctx, n.server.Username, secret.Reveal())
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// auth logs in (RFC 4954) by PLAIN, or by LOGIN where that is all there is.
func (s *session) auth(ctx context.Context, user, secret string) error {
	op := "log in as " + user + " at"
	mechs := strings.Fields(strings.ToUpper(s.ext["AUTH"]))
	var c sasl.Client
	switch {
	case slices.Contains(mechs, sasl.Plain):
		c = sasl.NewPlainClient("", user, secret)
	case slices.Contains(mechs, sasl.Login):
		c = sasl.NewLoginClient(user, secret)
	default:
		return &providers.Error{Op: op, Subject: s.server, Reason: providers.Refused,
			Err:    fmt.Errorf("the server offers no login by password (AUTH %s)", strings.Join(mechs, " ")),
			Remedy: "leave username and credentials out if it takes mail without a login, or use the submission port"}
	}
	mech, ir, err := c.Start()
	if err != nil {
		return fmt.Errorf("log in as %s: %w", user, err)
	}
	line := "AUTH " + mech
	if ir != nil {
		line += " " + base64.StdEncoding.EncodeToString(ir)
	}
	for {
		// The line holds the secret: it goes out here and into no error.
		if err := s.text.PrintfLine("%s", line); err != nil {
			return s.broken(ctx, op, err)
		}
		code, msg, err := s.text.ReadResponse(0)
		switch {
		case err != nil:
			if e, ok := errors.AsType[textproto.ProtocolError](err); ok { // it quotes the line
				err = textproto.ProtocolError(providers.Conceal(e.Error(), secret))
			}
			return s.broken(ctx, op, err)
		case code == 235:
			return nil
		case code != 334:
			e := refusal(op, s.server, code, msg)
			e.Server = providers.Conceal(e.Server, secret)
			if e.Reason == providers.Authentication {
				e.Remedy = "check username and password; where the account has a second factor, make an app password"
			}
			return e
		}
		challenge, err := base64.StdEncoding.DecodeString(msg)
		if err != nil {
			return &providers.Error{Op: op, Subject: s.server, Reason: providers.Protocol, Err: errors.New("a challenge that is no base64")}
		}
		answer, err := c.Next(challenge)
		if err != nil {
			return &providers.Error{Op: op, Subject: s.server, Reason: providers.Protocol, Err: errors.New("a challenge out of turn")}
		}
		line = base64.StdEncoding.EncodeToString(answer)
	}
}

// parameters of MAIL FROM, asking for nothing that was not offered.
func (s *session) parameters(from, to string, body []byte) (string, error) {
	var params string
	if size, ok := s.ext["SIZE"]; ok { // RFC 1870
		params += fmt.Sprintf(" SIZE=%d", len(body))
		var limit int
		if _, err := fmt.Sscan(size, &limit); err == nil && limit > 0 && len(body) > limit {
			return "", &providers.Error{Op: "send mail by", Subject: s.server, Reason: providers.TooLarge,
				Err: fmt.Errorf("the message has %d octets, the server takes %d", len(body), limit)}
		}
	}
	if !ascii(from) || !ascii(to) {
		if _, ok := s.ext["SMTPUTF8"]; !ok { // RFC 6531
			return "", utf8Refusal("send mail to "+to+" by", s.server)
		}
		params += " SMTPUTF8"
	}
	return params, nil
}

func utf8Refusal(op, server string) error {
	return &providers.Error{Op: op, Subject: server, Reason: providers.Refused,
		Err: errors.New("the server takes no addresses with letters beyond ASCII (SMTPUTF8)")}
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

// compose builds the octets of a message. Equal mails give equal octets, so
// that a second copy can be told from the first by its Message-ID and content.
func compose(m providers.Mail, defaultFrom string) (from, to string, body []byte, err error) {
	if m.From == "" {
		m.From = defaultFrom
	}
	sender, err := mail.ParseAddress(m.From)
	if err != nil {
		return "", "", nil, badMail("the sender", m.From, err)
	}
	rcpt, err := mail.ParseAddress(m.To)
	if err != nil {
		return "", "", nil, badMail("the recipient", m.To, err)
	}
	if strings.ContainsAny(m.ID+m.Subject, "\r\n") || strings.ContainsAny(m.ID, "<> ") || m.ID == "" {
		return "", "", nil, badMail("the Message-ID or subject", m.ID, errors.New("empty, or a line end in it"))
	}
	sum := sha256.Sum256([]byte(m.ID))
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent(), gomail.WithBoundary(hex.EncodeToString(sum[:])[:32]))
	if err := msg.From(sender.String()); err != nil {
		return "", "", nil, badMail("the sender", m.From, err)
	}
	if err := msg.To(rcpt.String()); err != nil {
		return "", "", nil, badMail("the recipient", m.To, err)
	}
	msg.Subject(m.Subject)
	msg.SetDateWithValue(m.Date)
	msg.SetMessageIDWithValue(m.ID)
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834 §5: no out-of-office replies
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	}
	var b bytes.Buffer
	if _, err := msg.WriteTo(&b); err != nil {
		return "", "", nil, badMail("the message to", m.To, err)
	}
	return sender.Address, rcpt.Address, b.Bytes(), nil
}

func badMail(what, value string, err error) error {
	return &providers.Error{Op: "compose mail", Subject: what + " " + fmt.Sprintf("%q", value), Reason: providers.BadMessage, Err: err}
}
