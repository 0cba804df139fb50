package dns

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// RFC2136 is a zone whose primary takes dynamic updates. Everything it asks and
// sends goes to that primary over TCP, signed with TSIG where there is a key, so
// that a wrong key shows with the first look-up. It is safe for concurrent use.
type RFC2136 struct {
	Server      string // host:port of the primary
	Zone        string // canonical
	KeyName     string // canonical; "" = unsigned
	Algorithm   string // "" = hmac-sha256
	Credentials plan.SecretRef
	Secrets     providers.Secrets
	Clock       providers.Clock // its time must be right within five minutes, or signatures are refused
	Timeout     time.Duration   // of one exchange; 0 = ten seconds
}

var _ providers.Zone = (*RFC2136)(nil)

// Features says that an update is atomic (RFC 2136 §3.4).
func (z *RFC2136) Features() providers.ZoneFeatures { return providers.ZoneFeatures{Atomic: true} }

// Instructions says what Update would do, for people who have to do it without it.
func (z *RFC2136) Instructions(changes []plan.RRsetChange) []string {
	return instructions(z.Zone, changes)
}

func (z *RFC2136) subject() string { return display(z.Zone) + " at " + z.Server }

func (z *RFC2136) timeout() time.Duration {
	if z.Timeout > 0 {
		return z.Timeout
	}
	return 5 * tryTimeout
}

// Lookup implements providers.Zone.
func (z *RFC2136) Lookup(ctx context.Context, name, typ string) (plan.RRset, error) {
	key, err := z.key(ctx)
	if err != nil {
		return plan.RRset{}, err
	}
	name, t, err := z.owned(name, typ)
	if err != nil {
		return plan.RRset{}, err
	}
	rrs, err := z.read(ctx, key, name, t)
	if err != nil {
		return plan.RRset{}, err
	}
	return setOf(name, t, rrs), nil
}

// owned is the canonical name and the type, or why they can't be in the zone.
func (z *RFC2136) owned(name, typ string) (string, uint16, error) {
	name, err := Name(name)
	if err != nil {
		return "", 0, err
	}
	if !within(name, z.Zone) {
		return "", 0, fmt.Errorf("%s is not in the zone %s", display(name), display(z.Zone))
	}
	t, err := typeOf(typ)
	return name, t, err
}

// read asks the primary for the records of one name and type.
func (z *RFC2136) read(ctx context.Context, key *tsigKey, name string, typ uint16) ([]dns.RR, error) {
	const op = "read zone"
	m := new(dns.Msg)
	m.SetQuestion(name, typ)
	m.RecursionDesired = false
	key.sign(m, z.Clock.Now())
	r, _, err := exchange(ctx, "tcp", z.Server, m, key, z.timeout())
	if r == nil {
		return nil, z.unreachable(ctx, op, err)
	}
	if err := z.signatureError(op, key, r, err); err != nil {
		return nil, err
	}
	switch {
	case !answers(r, name, typ):
		return nil, &providers.Error{Op: op, Subject: z.subject(), Reason: providers.Protocol, Err: errOther}
	case r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError:
		return nil, z.refusal(op, r)
	case len(cutAt(name, typ, r)) > 0:
		return cutAt(name, typ, r), nil
	case !r.Authoritative:
		return nil, &providers.Error{
			Op: op, Subject: z.subject(), Reason: providers.Refused, Server: rcode(r),
			Err:    fmt.Errorf("the server does not answer with authority for %s", display(name)),
			Remedy: fmt.Sprintf("name the primary of %s as server; where %s is delegated to a zone of its own, name that zone", display(z.Zone), display(name)),
		}
	}
	return ofName(name, typ, r.Answer), nil
}

func (z *RFC2136) unreachable(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &providers.Error{
		Op: op, Subject: z.subject(), Reason: providers.Unreachable, Err: err,
		Remedy: "see whether the server runs and takes TCP connections from here",
	}
}

// refusal turns a response code into an error (RFC 2136 §2.2, RFC 1035 §4.1.1).
func (z *RFC2136) refusal(op string, r *dns.Msg) error {
	e := &providers.Error{Op: op, Subject: z.subject(), Server: rcode(r), Reason: providers.Refused}
	switch r.Rcode {
	case dns.RcodeYXDomain, dns.RcodeYXRrset, dns.RcodeNXRrset, dns.RcodeNameError:
		e.Reason = providers.Conflict
		e.Remedy = "somebody changed the zone in between: look at it again, then plan again"
	case dns.RcodeRefused:
		e.Remedy = fmt.Sprintf("allow it at the server: update-policy or allow-update for the key %q, and queries from here; "+
			"BIND also refuses an MX or SRV to a host of the zone that has no address: then publish the address first", z.KeyName)
	case dns.RcodeNotAuth, dns.RcodeNotZone:
		e.Remedy = fmt.Sprintf("the server is not the primary of %s: compare zone and server with its configuration", display(z.Zone))
	case dns.RcodeNotImplemented:
		e.Remedy = "the server takes no dynamic updates: use dns \"by_hand\" for this zone"
	case dns.RcodeServerFailure:
		// The server's own trouble, likely over soon. Nothing is known of an update.
		e.Reason = providers.Unreachable
		e.Remedy = "the server's log says why; try again when it is mended"
	case dns.RcodeFormatError:
		e.Reason = providers.Protocol
	}
	return e
}

// errUnfinished ends a transfer that broke off.
var errUnfinished = errors.New("the transfer ended before the whole zone was there")
