package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// NameServers observes a domain. The zero value with a Clock follows the
// delegation from the root and uses the system's resolver. It is safe for
// concurrent use; the fields aren't changed after the first call.
type NameServers struct {
	Servers  []string // host:port; not empty: these instead of the delegation
	Resolver string   // host:port; "" = those of /etc/resolv.conf
	Watch    []string // host:port of resolvers that Observed returns
	Clock    providers.Clock

	Roots   []string      // addr:port of root name servers; empty = the public root
	Port    uint16        // of delegated servers; 0 = 53. Delegations hold no ports: this is for trees of one's own.
	Timeout time.Duration // of one try; 0 = two seconds

	mu     sync.Mutex
	cached map[string]delegated
}

var _ providers.NameServers = (*NameServers)(nil)

// delegated is a remembered answer of Authoritative.
type delegated struct {
	servers []string
	until   time.Time
}

// maxDelegationAge bounds how long a delegation is remembered: a watch
// that asks every few seconds must not walk from the root each time, and one that
// goes on for hours must see a change.
const maxDelegationAge = 5 * time.Minute

func (n *NameServers) timeout() time.Duration {
	if n.Timeout > 0 {
		return n.Timeout
	}
	return tryTimeout
}

func (n *NameServers) port() uint16 {
	if n.Port > 0 {
		return n.Port
	}
	return 53
}

// Authoritative implements providers.NameServers. By delegation these are all
// addresses, v4 and v6, of the servers that the parent and the zone itself name:
// resolvers may use either set (RFC 2181 §5.4.1). A server whose name has no
// address comes back by its name, so that asking it says so. Addresses of a
// family that this machine has no route for are left out where the same server
// has one of the other family.
func (n *NameServers) Authoritative(ctx context.Context, domain string) ([]string, error) {
	domain, err := Name(domain)
	if err != nil {
		return nil, err
	}
	if len(n.Servers) > 0 {
		return slices.Clone(n.Servers), nil
	}
	now := n.Clock.Now()
	n.mu.Lock()
	known, ok := n.cached[domain]
	n.mu.Unlock()
	if ok && now.Before(known.until) {
		return slices.Clone(known.servers), nil
	}
	servers, ttl, err := newWalk(n).authoritative(ctx, domain)
	if err != nil {
		return nil, err
	}
	age := min(time.Duration(ttl)*time.Second, maxDelegationAge)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cached == nil {
		n.cached = map[string]delegated{}
	}
	n.cached[domain] = delegated{servers, now.Add(age)}
	return slices.Clone(servers), nil
}

// Ask implements providers.NameServers. The set holds records of exactly that
// name: an alias at the name is there only when CNAME is asked for, and the NS records of a
// zone delegated there also from the servers of the zone around it. A server
// that answers without authority (lame, or a resolver) says so in Authoritative: its empty set
// proves nothing. Recursion is asked for at resolvers (Observed, Resolver)
// alone.
func (n *NameServers) Ask(ctx context.Context, server, name, typ string) (providers.Answer, error) {
	server = withPort(server)
	name, t, err := question(name, typ)
	if err != nil {
		return providers.Answer{}, err
	}
	r, err := n.exchange(ctx, server, name, t, server == n.Resolver || slices.Contains(n.Watch, server))
	if err != nil {
		return providers.Answer{}, err
	}
	return n.answer(server, name, t, r), nil
}

func question(name, typ string) (string, uint16, error) {
	name, err := Name(name)
	if err != nil {
		return "", 0, err
	}
	t, err := typeOf(typ)
	return name, t, err
}

func (n *NameServers) answer(server, name string, typ uint16, r *dns.Msg) providers.Answer {
	a := providers.Answer{
		Server:        server,
		Set:           setOf(name, typ, r.Answer),
		Authoritative: r.Authoritative,
		Rcode:         rcode(r),
		At:            n.Clock.Now(),
	}
	a.Serial, _ = serialOf(name, r)
	if cut := cutAt(name, typ, r); len(cut) > 0 {
		a.Set = setOf(name, typ, cut)
	}
	if !a.Set.Exists() {
		a.NegativeTTL = negativeTTL(r)
	}
	return a
}

// negativeTTL is how long "there is no such record" is kept: min(SOA TTL, SOA
// minimum) (RFC 2308 §5). 0 when the answer has no SOA.
func negativeTTL(r *dns.Msg) uint32 {
	for _, rr := range r.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(soa.Hdr.Ttl, soa.Minttl)
		}
	}
	return 0
}

// exchange asks a server by address, or each address of its name until one answers.
func (n *NameServers) exchange(ctx context.Context, server, name string, typ uint16, recurse bool) (*dns.Msg, error) {
	return n.atEach(ctx, server, func(addr string) (*dns.Msg, error) { return ask(ctx, addr, name, typ, recurse, n.timeout()) })
}

// hostResolver finds addresses of name servers that are given by name: the hosts
// file first, then the configured resolver or the system's.
func (n *NameServers) hostResolver() *net.Resolver {
	if n.Resolver == "" {
		return net.DefaultResolver
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: n.timeout()}).DialContext(ctx, network, n.Resolver)
	}}
}

// Resolve implements providers.NameServers. Aliases are followed: Set.Name is
// the name at the end of the chain, so an answer whose Set.Name isn't the name asked for
// came by a CNAME. TTLs are what the resolver has left of them.
func (n *NameServers) Resolve(ctx context.Context, name, typ string) (providers.Answer, error) {
	name, t, err := question(name, typ)
	if err != nil {
		return providers.Answer{}, err
	}
	resolvers, err := n.resolvers()
	if err != nil {
		return providers.Answer{}, err
	}
	var last error
	for _, server := range resolvers {
		r, err := n.exchange(ctx, server, name, t, true)
		if err != nil {
			if ctx.Err() != nil {
				return providers.Answer{}, err
			}
			last = err
			continue
		}
		end := name
		if t != dns.TypeCNAME {
			end = followed(name, r.Answer)
		}
		return n.answer(server, end, t, r), nil
	}
	return providers.Answer{}, last
}

func (n *NameServers) resolvers() ([]string, error) {
	if n.Resolver != "" {
		return []string{n.Resolver}, nil
	}
	conf, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err == nil && len(conf.Servers) == 0 {
		err = errors.New("/etc/resolv.conf names no server")
	}
	if err != nil {
		return nil, fmt.Errorf("the system's resolver is not known: %w; name one with resolver = \"host:port\" in the dns block", err)
	}
	list := make([]string, len(conf.Servers))
	for i, s := range conf.Servers {
		list[i] = net.JoinHostPort(s, conf.Port)
	}
	return list, nil
}

// followed goes along the CNAMEs among rrs. A loop ends where it began to repeat.
func followed(name string, rrs []dns.RR) string {
	for range len(rrs) {
		aliases := ofName(name, dns.TypeCNAME, rrs)
		if len(aliases) == 0 {
			break
		}
		name = dns.CanonicalName(aliases[0].(*dns.CNAME).Target)
	}
	return name
}

// Serial implements providers.NameServers. For a domain inside a zone it is the
// zone's serial. Answers without authority are Refused errors.
func (n *NameServers) Serial(ctx context.Context, server, domain string) (uint32, error) {
	server = withPort(server)
	domain, err := Name(domain)
	if err != nil {
		return 0, err
	}
	r, err := n.exchange(ctx, server, domain, dns.TypeSOA, false)
	if err != nil {
		return 0, err
	}
	if serial, ok := serialOf(domain, r); ok && r.Authoritative && (r.Rcode == dns.RcodeSuccess || r.Rcode == dns.RcodeNameError) {
		return serial, nil
	}
	return 0, &providers.Error{
		Op: "read SOA", Subject: display(domain) + " at " + server, Reason: providers.Refused, Server: rcode(r),
		Err:    errors.New("the server does not answer with authority"),
		Remedy: "see whether the server should serve the domain: a server that is named but doesn't is lame",
	}
}

// serialOf is the serial of the zone around name, false where r holds no SOA of it.
func serialOf(name string, r *dns.Msg) (uint32, bool) {
	for _, rr := range slices.Concat(r.Answer, r.Ns) {
		if soa, ok := rr.(*dns.SOA); ok && within(name, dns.CanonicalName(soa.Hdr.Name)) {
			return soa.Serial, true
		}
	}
	return 0, false
}

// Observed implements providers.NameServers.
func (n *NameServers) Observed() []string { return slices.Clone(n.Watch) }

// newer compares SOA serials (RFC 1982 §3.2).
func newer(a, b uint32) bool { return int32(a-b) > 0 }

// newest is the set that the authoritative servers serve: what all agree on or, where
// they differ, what those with the highest serial say.
func (n *NameServers) newest(ctx context.Context, domain, name, typ string) (plan.RRset, error) {
	servers, err := n.Authoritative(ctx, domain)
	if err != nil {
		return plan.RRset{}, err
	}
	var answers []providers.Answer
	var failed []error
	for _, server := range servers {
		a, err := n.Ask(ctx, server, name, typ)
		switch {
		case ctx.Err() != nil:
			return plan.RRset{}, context.Cause(ctx)
		case err != nil:
			failed = append(failed, err)
		case a.Set.Exists() && a.Set.Type == "NS" && a.Rcode == "NOERROR":
			answers = append(answers, a) // a delegation, which nobody answers with authority above it
		case !a.Authoritative || a.Rcode != "NOERROR" && a.Rcode != "NXDOMAIN":
			failed = append(failed, fmt.Errorf("%s answers %s without authority", server, a.Rcode))
		default:
			answers = append(answers, a)
		}
	}
	if len(answers) == 0 {
		return plan.RRset{}, &providers.Error{
			Op: "look up", Subject: display(name) + " " + typ, Reason: providers.Unreachable, Err: errors.Join(failed...),
			Remedy: "no name server of the domain answers for it: see whether the domain is delegated to the right ones",
		}
	}
	differ := func(a providers.Answer) bool { return !a.Set.Equal(answers[0].Set) }
	if !slices.ContainsFunc(answers, differ) {
		return answers[0].Set, nil
	}
	return n.bySerial(ctx, domain, answers)
}

func (n *NameServers) bySerial(ctx context.Context, domain string, answers []providers.Answer) (plan.RRset, error) {
	best, top := answers[0], uint32(0)
	tie := false
	for i, a := range answers {
		serial, err := n.Serial(ctx, a.Server, domain)
		if err != nil {
			return plan.RRset{}, err
		}
		switch {
		case i == 0 || newer(serial, top):
			best, top, tie = a, serial, false
		case serial == top && !a.Set.Equal(best.Set):
			tie = true
		}
	}
	if tie {
		return plan.RRset{}, &providers.Error{
			Op: "look up", Subject: display(best.Set.Name) + " " + best.Set.Type, Reason: providers.Conflict,
			Err:    fmt.Errorf("the name servers of %s differ although they have the same serial %d", display(domain), top),
			Remedy: "wait until the host has brought them together; if that doesn't happen, ask the host",
		}
	}
	return best.Set, nil
}
