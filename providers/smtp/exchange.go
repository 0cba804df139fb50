package smtp

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// Exchange hands mail to mail exchangers, as another site's server would. The
// zero value is ready and safe for concurrent use.
type Exchange struct {
	Dial    DialFunc      // nil = the network
	Timeout time.Duration // of one message; 0 = 2 minutes
}

var _ providers.MailExchange = (*Exchange)(nil)

const exchangeTimeout = 2 * time.Minute

// Deliver implements providers.MailExchange. TLS is used where it is offered, whoever's the
// certificate is, and done without where it fails, as between mail servers (RFC 7435).
func (x *Exchange) Deliver(ctx context.Context, server string, m providers.Mail) error {
	_, to, body, err := compose(m, "")
	if err != nil {
		return err
	}
	timeout := x.Timeout
	if timeout == 0 {
		timeout = exchangeTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	s, err := x.greet(ctx, server)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := s.hand(ctx, "", to, body, m.ID); err != nil {
		return err
	}
	s.quit(ctx)
	return nil
}

// greet opens a session, over TLS where that works.
func (x *Exchange) greet(ctx context.Context, server string) (*session, error) {
	s, err := dial(ctx, x.Dial, server, nil)
	if err != nil {
		return nil, err
	}
	if _, offered := s.ext["STARTTLS"]; !offered {
		return s, nil
	}
	if err := s.startTLS(ctx, &tls.Config{InsecureSkipVerify: true}); err == nil { //nolint:gosec // see Deliver
		return s, nil
	}
	s.close()
	return dial(ctx, x.Dial, server, nil)
}

// Submission sends as any mailbox of one target: a Notifier whose login is the
// mailbox's own. It is safe for concurrent use.
type Submission struct {
	Server      plan.SMTPServer // its Username, From and Credentials are the mailbox's
	Options     Options
	Credentials plan.SecretRef // where the mailbox has none of its own: the target's
}

var _ providers.Submission = (*Submission)(nil)

// Send implements providers.Submission.
func (s *Submission) Send(ctx context.Context, a providers.Account, m providers.Mail) error {
	n, err := s.as(a)
	if err != nil {
		return err
	}
	return n.Send(ctx, m)
}

// Check implements providers.Submission.
func (s *Submission) Check(ctx context.Context, a providers.Account) error {
	n, err := s.as(a)
	if err != nil {
		return err
	}
	return n.Check(ctx)
}

func (s *Submission) as(a providers.Account) (*Notifier, error) {
	server := s.Server
	server.Username, server.From, server.Credentials = a.Address, a.Address, s.Credentials
	if !a.Credentials.IsZero() {
		server.Credentials = a.Credentials
	}
	return New(server, s.Options)
}
