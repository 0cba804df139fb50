package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/providers"
)

var (
	_ providers.TCPServers = (*NameServers)(nil)
	_ providers.Delegator  = (*NameServers)(nil)
	_ providers.Validator  = (*NameServers)(nil)
)

// AskTCP implements providers.TCPServers (RFC 7766).
func (n *NameServers) AskTCP(ctx context.Context, server, name, typ string) (providers.Answer, error) {
	server = withPort(server)
	name, t, err := question(name, typ)
	if err != nil {
		return providers.Answer{}, err
	}
	r, err := n.atEach(ctx, server, func(addr string) (*dns.Msg, error) { return n.overTCP(ctx, addr, name, t) })
	if err != nil {
		return providers.Answer{}, err
	}
	return n.answer(server, name, t, r), nil
}

func (n *NameServers) overTCP(ctx context.Context, server, name string, typ uint16) (*dns.Msg, error) {
	m := new(dns.Msg)
	m.SetQuestion(name, typ)
	m.RecursionDesired = false
	r, _, err := exchange(ctx, "tcp", server, m, nil, 2*n.timeout())
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err == nil && !answers(r, name, typ):
		err = errOther
	}
	if err != nil {
		return nil, &providers.Error{
			Op: "ask name server over TCP", Subject: server, Reason: providers.Unreachable, Err: err,
			Remedy: "see whether the server answers over TCP (RFC 7766 §5), and whether TCP port 53 is open from here",
		}
	}
	return r, nil
}

// atEach asks a server by address, or each address of its name until one answers.
func (n *NameServers) atEach(ctx context.Context, server string, ask func(addr string) (*dns.Msg, error)) (*dns.Msg, error) {
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return nil, errors.New(server + " is no name server: want host:port")
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return ask(server)
	}
	addrs, err := n.hostResolver().LookupHost(ctx, host)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &providers.Error{
			Op: "ask name server", Subject: server, Reason: providers.Unreachable, Err: err,
			Remedy: "the server's name has no address: mend the name, or give its address",
		}
	}
	var last error
	for _, addr := range addrs {
		r, err := ask(net.JoinHostPort(addr, port))
		if err == nil {
			return r, nil
		}
		last = err
	}
	return nil, last
}

// Delegation implements providers.Delegator.
func (n *NameServers) Delegation(ctx context.Context, domain string) (parent, own []string, err error) {
	domain, err = Name(domain)
	if err != nil || len(n.Servers) > 0 {
		return nil, nil, err
	}
	w := newWalk(n)
	r, _, err := w.ask(ctx, domain, dns.TypeNS, 0)
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	cut := w.cuts[domain]
	if cut == nil || err != nil {
		return nil, nil, err
	}
	for _, rr := range ofName(domain, dns.TypeNS, r.Answer) {
		own = append(own, plainName(rr.(*dns.NS).Ns))
	}
	for _, name := range cut.servers {
		parent = append(parent, plainName(name))
	}
	slices.Sort(parent)
	slices.Sort(own)
	return parent, own, nil
}

func plainName(name string) string { return strings.TrimSuffix(dns.CanonicalName(name), ".") }
