package providers

import (
	"context"
	"crypto/x509"
	"time"
)

// What follows are things that a system may be able to tell besides its
// contract. Who needs one asks for it by a type assertion and says so where it
// is not to be had; nothing is concluded from its absence.

// TCPServers is a NameServers that can ask over TCP alone, where nobody
// answers in the server's place.
type TCPServers interface {
	// AskTCP is Ask over TCP, once. Errors are Unreachable.
	AskTCP(ctx context.Context, server, name, typ string) (Answer, error)
}

// Delegator is a NameServers that knows both sides of a delegation.
type Delegator interface {
	// Delegation returns the names of the name servers as the parent has them
	// and as the domain's own zone has them, sorted. Both are empty where servers are
	// configured, or the domain is no zone of its own: then there is nothing to compare.
	Delegation(ctx context.Context, domain string) (parent, own []string, err error)
}

// Validator is a NameServers whose resolver may check signatures (RFC 4035).
type Validator interface {
	// Validated reports whether the resolver takes the answer for authentic, or
	// refuses it because the chain of signatures is broken.
	Validated(ctx context.Context, name, typ string) (authentic, broken bool, err error)
}

// Timekeeper is a Zone whose provider tells the time.
type Timekeeper interface {
	// Skew is how far the provider's clock was ahead of ours at its last answer;
	// known is false where it has not said.
	Skew() (ahead time.Duration, known bool)
}

// Exchanger is what a mail exchanger showed of itself.
type Exchanger struct {
	Greeting string              // its first reply, unescaped
	STARTTLS bool                // offered (RFC 3207)
	Chain    []*x509.Certificate // as presented, leaf first; not verified
	TLS      error               // why the offered TLS did not come about
}

// ExchangerProbe is a RecipientProbe that can also look at the server itself.
type ExchangerProbe interface {
	// Greet connects to server (host:port), says EHLO, begins TLS where it is offered, as
	// a sender to the mail exchanger called name would, and leaves. Certificates are shown
	// and not judged. Unreachable and Throttled come back as errors.
	Greet(ctx context.Context, server, name string) (Exchanger, error)
}

// Page is what a web server answered to one GET.
type Page struct {
	Status int
	Type   string // media type without parameters, lower case
	Body   string // at most 64 KiB
}

// Web fetches pages over HTTPS. It follows no redirect and verifies certificates.
type Web interface {
	// Get returns what the server answered, whatever its status. Errors are
	// Unreachable, Certificate, or TooLarge for a body beyond 64 KiB.
	Get(ctx context.Context, url string) (Page, error)
}

// Reply is a Page with where it leads on to.
type Reply struct {
	Page
	Location string // of a redirect, as sent
}

// WebAsker is a Web that also asks as mail programs do.
type WebAsker interface {
	// Ask sends one request over HTTP or HTTPS; body is XML, "" for none. Errors are
	// those of Get.
	Ask(ctx context.Context, method, url, body string) (Reply, error)
}

// Webs is a Systems that reaches the web with the names that a domain's resolver gives.
type Webs interface {
	Web(domain string) (Web, error)
}
