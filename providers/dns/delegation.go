package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/providers"
)

// publicRoot are addresses of root name servers (IANA, "Root Hints"): enough of them to start, v4
// first because not every network has v6.
var publicRoot = []string{
	"198.41.0.4:53", "193.0.14.129:53", "199.7.83.42:53", "192.58.128.30:53",
	"[2001:503:ba3e::2:30]:53", "[2001:7fd::1]:53", "[2001:500:9f::42]:53",
}

// walk follows delegations from the root (RFC 1034 §5.3.3). It lives for one
// question and remembers the zone cuts that it met.
type walk struct {
	n      *NameServers
	cuts   map[string]*cut
	budget int // queries left: delegations of strangers can run in circles
}

// cut is where a zone begins: its name servers, as the parent names them.
type cut struct {
	servers []string                // names
	glue    map[string][]netip.Addr // addresses that the referral brought along
	addrs   []string                // of the root: it has no names here
	ttl     uint32
}

const (
	maxQueries = 150
	maxDepth   = 6 // name servers whose names need name servers whose names …
)

func newWalk(n *NameServers) *walk {
	roots := n.Roots
	if len(roots) == 0 {
		roots = publicRoot
	}
	return &walk{n: n, cuts: map[string]*cut{".": {addrs: roots}}, budget: maxQueries}
}

// authoritative is Authoritative without its cache, with the delegation's TTL in seconds.
func (w *walk) authoritative(ctx context.Context, domain string) ([]string, uint32, error) {
	r, zone, err := w.ask(ctx, domain, dns.TypeNS, 0)
	if ctx.Err() != nil {
		return nil, 0, context.Cause(ctx)
	}
	parent := w.cuts[domain]
	if err != nil {
		if parent == nil {
			return nil, 0, err
		}
		// None of the servers serves the domain, but they are delegated to: the
		// caller asks each and sees it.
		zone, r = domain, new(dns.Msg)
	}
	if r.Rcode == dns.RcodeNameError {
		return nil, 0, &providers.Error{
			Op: "find name servers of", Subject: display(domain), Reason: providers.NotFound, Server: "NXDOMAIN",
			Err:    fmt.Errorf("%s says that there is no such domain", display(zone)),
			Remedy: "see whether the name is spelled right and the domain registered",
		}
	}
	own := ofName(domain, dns.TypeNS, r.Answer)
	if len(own) == 0 && zone != domain && zone != "." {
		// No zone of its own: the servers of the zone around it serve it.
		return w.authoritative(ctx, zone)
	}
	names, ttl := map[string]bool{}, ^uint32(0)
	for _, rr := range own {
		names[dns.CanonicalName(rr.(*dns.NS).Ns)] = true
		ttl = min(ttl, rr.Header().Ttl)
	}
	if parent != nil {
		for _, name := range parent.servers {
			names[name] = true
		}
		ttl = min(ttl, parent.ttl)
	}
	var list []string
	for name := range names {
		endpoints, err := w.endpoints(ctx, name, parent)
		if err != nil {
			return nil, 0, err
		}
		list = append(list, endpoints...)
	}
	if len(list) == 0 {
		return nil, 0, &providers.Error{
			Op: "find name servers of", Subject: display(domain), Reason: providers.NotFound, Server: rcode(r),
			Err: errors.New("the delegation names no server"),
		}
	}
	slices.Sort(list)
	return slices.Compact(list), ttl, nil
}

// endpoints are the addresses of one name server, from the delegation's glue and from its own zone.
func (w *walk) endpoints(ctx context.Context, name string, parent *cut) ([]string, error) {
	var addrs []netip.Addr
	if parent != nil {
		addrs = append(addrs, parent.glue[name]...)
	}
	addrs = append(addrs, w.addresses(ctx, name, 1)...)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if len(addrs) == 0 {
		return []string{net.JoinHostPort(strings.TrimSuffix(name, "."), fmt.Sprint(w.n.port()))}, nil
	}
	var list, cutOff []string
	for _, addr := range addrs {
		if e := w.endpoint(addr); routed(addr) {
			list = append(list, e)
		} else {
			cutOff = append(cutOff, e)
		}
	}
	if len(list) == 0 {
		return cutOff, nil
	}
	return list, nil
}

func (w *walk) endpoint(addr netip.Addr) string {
	return netip.AddrPortFrom(addr, w.n.port()).String()
}

// routed reports whether this machine has a route to addr. Connecting a UDP
// socket asks the kernel and sends nothing.
func routed(addr netip.Addr) bool {
	conn, err := net.Dial("udp", netip.AddrPortFrom(addr, 53).String())
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was written
	return true
}

// addresses are the A and AAAA records of a name server, asked at the servers
// of its zone. None is an answer too: the caller falls back or reports it.
func (w *walk) addresses(ctx context.Context, name string, depth int) []netip.Addr {
	var list []netip.Addr
	for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA} {
		r, _, err := w.ask(ctx, name, typ, depth)
		if err != nil {
			continue
		}
		list = append(list, addrsOf(ofName(name, typ, r.Answer))...)
	}
	return list
}

func addrsOf(rrs []dns.RR) []netip.Addr {
	var list []netip.Addr
	for _, rr := range rrs {
		var addr netip.Addr
		var ok bool
		switch rr := rr.(type) {
		case *dns.A:
			addr, ok = netip.AddrFromSlice(rr.A.To4())
		case *dns.AAAA:
			addr, ok = netip.AddrFromSlice(rr.AAAA)
		}
		if ok {
			list = append(list, addr)
		}
	}
	return list
}

// ask follows referrals until a server answers with authority. It returns that
// answer and the zone it came from.
func (w *walk) ask(ctx context.Context, name string, typ uint16, depth int) (*dns.Msg, string, error) {
	if depth > maxDepth {
		return nil, "", fmt.Errorf("the name servers of %s hang on each other in a chain that is too long", display(name))
	}
	zone := w.closest(name)
	for {
		r, child, err := w.askZone(ctx, zone, name, typ, depth)
		if err != nil {
			return nil, zone, err
		}
		if child == "" {
			return r, zone, nil
		}
		zone = child
	}
}

// closest is the nearest known cut around name.
func (w *walk) closest(name string) string {
	best := "."
	for zone := range w.cuts {
		if within(name, zone) && dns.CountLabel(zone) > dns.CountLabel(best) {
			best = zone
		}
	}
	return best
}

// askZone asks the servers of zone, one after the other, until one answers with
// authority or refers to a zone nearer to name, which is then known.
func (w *walk) askZone(ctx context.Context, zone, name string, typ uint16, depth int) (r *dns.Msg, child string, err error) {
	var failed []error
	try := func(server string) bool {
		if w.budget--; w.budget < 0 {
			failed = append(failed, fmt.Errorf("gave up after %d queries: delegations run in circles", maxQueries))
			return false
		}
		if r, err = ask(ctx, server, name, typ, false, w.n.timeout()); err != nil {
			failed = append(failed, err)
			return false
		}
		if r.Authoritative && (r.Rcode == dns.RcodeSuccess || r.Rcode == dns.RcodeNameError) {
			return true
		}
		if child = w.referral(zone, name, r); child != "" {
			return true
		}
		failed = append(failed, fmt.Errorf("%s answers %s without authority for %s", server, rcode(r), display(zone)))
		return false
	}
	c := w.cuts[zone]
	asked := map[string]bool{}
	for _, server := range slices.Concat(c.addrs, w.glued(c)) {
		if asked[server] = true; try(server) {
			return r, child, nil
		}
		if ctx.Err() != nil {
			return nil, "", context.Cause(ctx)
		}
	}
	for _, host := range c.servers {
		// A server inside the zone that it serves can only be found by glue.
		if within(host, zone) {
			continue
		}
		for _, addr := range w.addresses(ctx, host, depth+1) {
			server := w.endpoint(addr)
			if asked[server] || !routed(addr) {
				continue
			}
			if asked[server] = true; try(server) {
				return r, child, nil
			}
		}
		if ctx.Err() != nil {
			return nil, "", context.Cause(ctx)
		}
	}
	return nil, "", &providers.Error{
		Op: "find name servers of", Subject: display(name), Reason: providers.Unreachable,
		Err:    fmt.Errorf("no server of %s answers: %w", display(zone), errors.Join(failed...)),
		Remedy: "see whether port 53 is open from here; else name the servers with authoritative = [\"host:port\", …] in the dns block",
	}
}

// glued are the addresses that the referral brought along, in the order of names, v4 first.
func (w *walk) glued(c *cut) []string {
	var v4, v6 []string
	for _, name := range c.servers {
		for _, addr := range c.glue[name] {
			switch {
			case !routed(addr):
			case addr.Is4():
				v4 = append(v4, w.endpoint(addr))
			default:
				v6 = append(v6, w.endpoint(addr))
			}
		}
	}
	return append(v4, v6...)
}

// referral learns the cut that r refers to, "" when r is none: NS records
// of a zone below zone and at or above name. Glue is believed only inside
// the zone that gave it (RFC 2181 §5.4.1).
func (w *walk) referral(zone, name string, r *dns.Msg) string {
	if r.Rcode != dns.RcodeSuccess {
		return ""
	}
	for _, rr := range r.Ns {
		child := dns.CanonicalName(rr.Header().Name)
		if rr.Header().Rrtype != dns.TypeNS || child == zone || !within(child, zone) || !within(name, child) {
			continue
		}
		c := &cut{glue: map[string][]netip.Addr{}, ttl: rr.Header().Ttl}
		for _, ns := range ofName(child, dns.TypeNS, r.Ns) {
			host := dns.CanonicalName(ns.(*dns.NS).Ns)
			c.servers = append(c.servers, host)
			if within(host, zone) {
				c.glue[host] = append(addrsOf(ofName(host, dns.TypeA, r.Extra)), addrsOf(ofName(host, dns.TypeAAAA, r.Extra))...)
			}
		}
		slices.Sort(c.servers)
		w.cuts[child] = c
		return child
	}
	return ""
}
