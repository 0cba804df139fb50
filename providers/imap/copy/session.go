package copy

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
)

// session is what the engine asks of *imap.Session, and of the doubles in tests.
type session interface {
	Has(capability string) bool
	AppendLimit() int64
	Traits() imap.Traits
	Tolerance() int
	Worn() bool
	List(ctx context.Context) ([]imap.ListEntry, error)
	WireName(name string) string
	Examine(ctx context.Context, raw string) (imap.Selected, error)
	Select(ctx context.Context, raw string) (imap.Selected, error)
	Create(ctx context.Context, raw, specialUse string) error
	CreateAll(ctx context.Context, raws []string, done func(i int, err error)) error
	Visit(ctx context.Context, next func() *imap.Visit) error
	Delete(ctx context.Context, raw string) error
	Subscribe(ctx context.Context, raws ...string) error
	FetchMeta(ctx context.Context, set string, items imap.FetchItems, fn func(imap.Meta) error) error
	FetchBodies(ctx context.Context, sets []string, fn func(m imap.Meta, size int64, body io.Reader) error) error
	StartAppend(ctx context.Context, raw string, batch []imap.Message) (wait func() ([]imap.Appended, error), err error)
	Err() error
	Close() error
}

// staleLogin is the refusal of a token that may be taken soon: another one of the same account was taken before, or it is one of the first few
// refusals. Tokens end, and hosts refuse good ones for a while (Exchange Online, after its permissions changed). No account is locked
// for a token, as it may be for a password.
type staleLogin struct{ error }

// tokenRefusals is how many refusals of tokens in a row are borne before one was taken.
const tokenRefusals = 3

func (e *staleLogin) Unwrap() error { return e.error }

// end is one side of a pass: a host and an account there.
type end struct {
	key     string // of the semaphore: which hosts share connections
	host    plan.Host
	account providers.Account
	dial    func(context.Context) (session, error)
	canary  bool
	proven  atomic.Bool  // a login has succeeded in this pass
	refused atomic.Int32 // logins before
}

// newEnd makes the end of a mailbox at a host.
func newEnd(side string, d *imap.Dialer, address string, credentials plan.SecretRef) *end {
	e := &end{key: side + " " + d.Host.Key() + " " + d.Address(), host: d.Host, canary: d.Canary, account: providers.Account{Address: address, Credentials: credentials}}
	var listed atomic.Bool
	e.dial = func(ctx context.Context) (session, error) {
		connect := d.Connect
		if !listed.Swap(true) {
			connect = d.ConnectListing // a pass begins with a look at all folders
		}
		s, err := connect(ctx, e.account)
		if err != nil {
			if d.Host.Auth == "xoauth2" && providers.ReasonOf(err) == providers.Authentication && (e.proven.Load() || e.refused.Add(1) <= tokenRefusals) {
				err = &staleLogin{err}
			}
			return nil, err // not s: a nil *imap.Session in an interface is not nil
		}
		e.proven.Store(true)
		return s, nil
	}
	return e
}
