package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mxodus/mxodus/providers"
)

// probeTimeout bounds one question. RFC 5321 §4.5.3.2 would give five minutes
// a command; a mail exchanger that needs them is as good as unreachable here.
const probeTimeout = 30 * time.Second

// Probe asks mail exchangers about recipients. The zero value is ready and
// safe for concurrent use.
type Probe struct {
	Dial    DialFunc      // nil = the network
	Timeout time.Duration // of one question; 0 = 30 seconds
}

var _ providers.RecipientProbe = (*Probe)(nil)

// Accepts asks server (host:port) whether it takes mail for address: MAIL
// FROM:<>, RCPT TO, RSET. No message is sent. A refusal of the recipient is
// ok = false; one of the session, of the null sender or for the time being is
// an error, because it says nothing about the address.
func (p *Probe) Accepts(ctx context.Context, server, address string) (ok bool, words string, err error) {
	op := "ask for " + address + " at"
	if err := checkAddress(address); err != nil {
		return false, "", &providers.Error{Op: op, Subject: server, Reason: providers.BadMessage, Err: err}
	}
	timeout := p.Timeout
	if timeout == 0 {
		timeout = probeTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	s, err := dial(ctx, p.Dial, server, nil)
	if err != nil {
		return false, "", err
	}
	defer s.close()
	if err := s.nullSender(ctx, op, address); err != nil {
		return false, "", err
	}
	if err := s.text.PrintfLine("RCPT TO:<%s>", address); err != nil {
		return false, "", s.broken(ctx, op, err)
	}
	code, msg, err := s.text.ReadResponse(0)
	if err != nil {
		return false, "", s.broken(ctx, op, err)
	}
	e := refusal(op, server, code, msg)
	switch code / 100 {
	case 2:
		ok = true
	case 5:
		ok = false
	default:
		return false, e.Server, e
	}
	_, _ = s.command(ctx, op, 250, "RSET")
	s.quit(ctx)
	return ok, e.Server, nil
}

// nullSender begins a mail transaction. A server that insists on TLS first
// (530) gets it; its certificate is not looked at, because no secret is sent
// and in clear the answer would be worth no more (RFC 7435).
func (s *session) nullSender(ctx context.Context, op, address string) error {
	_, tlsOffered := s.ext["STARTTLS"]
	err := s.mailFrom(ctx, op, address)
	if e, ok := errors.AsType[*providers.Error](err); ok && strings.HasPrefix(e.Server, "530 ") && tlsOffered && !s.secure {
		if err := s.startTLS(ctx, &tls.Config{InsecureSkipVerify: true}); err != nil { //nolint:gosec // see above
			return err
		}
		return s.mailFrom(ctx, op, address)
	}
	return err
}

func (s *session) mailFrom(ctx context.Context, op, address string) error {
	params := ""
	if !ascii(address) {
		if _, ok := s.ext["SMTPUTF8"]; !ok {
			return utf8Refusal(op, s.server)
		}
		params = " SMTPUTF8"
	}
	_, err := s.command(ctx, op, 250, "MAIL FROM:<>%s", params)
	return err
}

func checkAddress(address string) error {
	at := strings.LastIndexByte(address, '@')
	if at < 1 || at == len(address)-1 || strings.ContainsAny(address, "<>\r\n\x00 \t") {
		return errors.New("no mail address")
	}
	return nil
}
