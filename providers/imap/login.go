package imap

import (
	"bufio"
	"errors"
	"net"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/wire"
)

// login lets go-imap's client log in over transport and then takes the
// connection over.
func (d *Dialer) login(transport net.Conn, l *link, greeting string, who identity) (*Session, error) {
	br := bufio.NewReaderSize(transport, 64<<10)
	o := newOpening(transport, br, greeting)
	client := imapclient.New(o, nil)
	subject := who.name + " at " + d.Address()

	err := client.WaitGreeting()
	o.mu.Lock()
	greet := o.greet
	o.mu.Unlock()
	if greet.Kind == "PREAUTH" { // also where the connection has ended since
		o.Close()
		return nil, &providers.Error{Op: "log in", Subject: subject, Reason: providers.Protocol, Server: greet.Words(),
			Err:    errors.New("the server has logged somebody in without asking who"),
			Remedy: "connect to a port that asks for a name and password"}
	}
	if err != nil {
		o.Close()
		return nil, d.openingError(l, o, subject, err)
	}
	o.mu.Lock()
	named := o.caps != ""
	o.mu.Unlock()
	if !named {
		if _, err := client.Capability().Wait(); err != nil {
			defer client.Close()
			return nil, d.openingError(l, o, subject, err)
		}
	}
	o.mu.Lock()
	caps := parseCapabilities(o.caps)
	o.mu.Unlock()

	why, err := d.authenticate(client, caps, who)
	if err != nil {
		defer client.Close()
		if _, ok := errors.AsType[*providers.Error](err); ok {
			return nil, err
		}
		err := d.openingError(l, o, subject, err)
		if e, ok := errors.AsType[*providers.Error](err); ok && who.token.Value.Reveal() != "" && e.Reason == providers.Authentication {
			e.Remedy = tokenRemedy
			if why != "" {
				e.Server += " (" + why + ")"
			}
		}
		return nil, who.conceal(err)
	}

	o.takeOver()
	s := newSession(d, l, transport, br, who.name)
	s.greeting = o.greet.Text
	if d.Clock != nil {
		s.renew = who.token.renewal(d.Clock.Now())
	}
	s.release = func() {
		o.release()
		client.Close() // waits for its reader; the connection is closed already
	}
	// RFC 3501 §6.2.2: what was advertised before the login no longer counts.
	after := ""
	if o.last.Code == "CAPABILITY" {
		after = o.last.Args
	}
	if err := s.begin(after); err != nil {
		s.Close()
		err := d.openingError(l, o, subject, err)
		if e, ok := errors.AsType[*providers.Error](err); ok && who.token.Value.Reveal() != "" && e.Reason == providers.Authentication {
			e.Remedy = tokenRemedy
		}
		return nil, who.conceal(err)
	}
	return s, nil
}

// conceal takes what logged in out of the words of the server, which may quote it.
func (who identity) conceal(err error) error {
	if e, ok := errors.AsType[*providers.Error](err); ok {
		e.Server = providers.Conceal(e.Server, who.password.Reveal(), who.token.Value.Reveal())
		e.Err = providers.ConcealError(e.Err, who.password.Reveal(), who.token.Value.Reveal())
	}
	return err
}

// authenticate sends the password or token by the method of the configuration. why is what the
// server said of a token, besides its answer.
func (d *Dialer) authenticate(client *imapclient.Client, caps map[string]bool, who identity) (why string, err error) {
	subject := who.name + " at " + d.Address()
	if strings.Contains(who.name+who.password.Reveal(), "\x00") {
		// In PLAIN a NUL ends the name (RFC 4616 §2): somebody else would be logged in. LOGIN can't carry it (RFC 3501 §9: CHAR8).
		return "", &providers.Error{Op: "log in", Subject: subject, Reason: providers.Refused,
			Err:    errors.New("the name or the password holds a NUL, which IMAP can't carry"),
			Remedy: "look at the secret's file or command: it gives something else than the text of a password"}
	}
	switch d.Host.Auth {
	case "", "plain":
		if caps["AUTH=PLAIN"] {
			return "", client.Authenticate(sasl.NewPlainClient("", who.name, who.password.Reveal()))
		}
	case "login":
	case "xoauth2":
		if !caps["AUTH=XOAUTH2"] {
			return "", &providers.Error{Op: "log in", Subject: subject, Reason: providers.Refused,
				Err:    errors.New("the server takes no tokens (no AUTH=XOAUTH2): " + offered(caps)),
				Remedy: `use auth = "plain" with a password, or the host and port that take tokens`}
		}
		x := &xoauth2{user: who.name, token: who.token.Value}
		err := client.Authenticate(x)
		return x.why, err
	default:
		return "", &providers.Error{Op: "log in", Subject: subject, Reason: providers.Refused,
			Err:    errors.New("this build can't log in with auth = \"" + d.Host.Auth + "\""),
			Remedy: `use auth = "plain", auth = "login" or auth = "xoauth2"`}
	}
	if caps["LOGINDISABLED"] {
		return "", &providers.Error{Op: "log in", Subject: subject, Reason: providers.Refused,
			Err:    errors.New("the server takes no passwords on this connection (LOGINDISABLED): " + offered(caps)),
			Remedy: `a server that wants TLS first: use tls = "implicit" or "starttls"; one that wants tokens: use auth = "xoauth2"`}
	}
	return "", client.Login(who.name, who.password.Reveal()).Wait()
}

func offered(caps map[string]bool) string {
	var methods []string
	for c := range caps {
		if m, ok := strings.CutPrefix(c, "AUTH="); ok {
			methods = append(methods, m)
		}
	}
	if len(methods) == 0 {
		return "it offers no other way"
	}
	slices.Sort(methods)
	return "it offers " + strings.Join(methods, ", ")
}

// openingError says why a session could not be opened, in the server's words
// where it had any: a BYE, or the answer to the login.
func (d *Dialer) openingError(l *link, o *opening, subject string, err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	st := o.last
	if o.bye != nil {
		st = *o.bye
	}
	if st.Kind == "NO" || st.Kind == "BAD" || st.Kind == "BYE" {
		return refusal("log in", subject, st)
	}
	if e, ok := errors.AsType[*providers.Error](err); ok {
		return e
	}
	return &providers.Error{Op: "log in", Subject: subject, Reason: providers.Unreachable, Err: l.why(err),
		Remedy: "the connection broke before the login was answered; try again"}
}

// greetingError is for a host that turns us away at the door.
func (d *Dialer) greetingError(line string) error {
	_, rest, _ := strings.Cut(line, " ")
	kind, text, _ := strings.Cut(rest, " ")
	st := wire.ParseStatus(strings.ToUpper(kind), text)
	if st.Kind == "PREAUTH" {
		// No STARTTLS may follow (RFC 3501 §6.2.1), so nothing here would be encrypted.
		return &providers.Error{Op: "connect to", Subject: d.Address(), Reason: providers.Protocol, Server: "PREAUTH " + st.Words(),
			Err: errors.New("the server has logged somebody in before TLS, or somebody in between says so"), Remedy: `use tls = "implicit", or a port that asks for a name and password`}
	}
	err := refusal("connect to", d.Address(), st)
	if e, ok := errors.AsType[*providers.Error](err); ok && e.Remedy == "" {
		e.Remedy = "the host turns the connection away: see what it says, and try again later"
	}
	return err
}

// parseCapabilities reads a list of capabilities. IMAP4rev2 counts only where IMAP4rev1 is not
// offered: it would have to be switched on by ENABLE there (RFC 9051 §6.3.1), and is broken at
// Exchange Online and Strato, whose SEARCH then answers without its result.
func parseCapabilities(list string) map[string]bool {
	caps := map[string]bool{}
	for c := range strings.FieldsSeq(list) {
		caps[strings.ToUpper(c)] = true
	}
	if caps["IMAP4REV1"] {
		delete(caps, "IMAP4REV2")
	}
	return caps
}
