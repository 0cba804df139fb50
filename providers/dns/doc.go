// Package dns observes domains and changes zones.
//
// NameServers asks name servers as the rest of the world does: delegation from
// the root, every authoritative server, resolvers (RFC 1034, 1035, 2181, 2308,
// 6891). RFC2136 is a zone that takes dynamic updates signed with TSIG (RFC
// 2136, 8945). ByHand is a zone that a person edits in a panel: it says what to
// enter and the name servers prove that it was done.
//
// All names are lower case FQDNs with a final dot, all record data is in the
// form of Canonical, so that comparing strings compares records.
package dns

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// New makes the zone that cfg describes and the observer of domain. It touches
// no network and resolves no secret. Kinds other than "rfc2136" and "by_hand"
// are an error.
func New(cfg plan.ZoneConfig, domain string, secrets providers.Secrets, clock providers.Clock) (providers.Zone, providers.NameServers, error) {
	domain, err := Name(domain)
	if err != nil {
		return nil, nil, err
	}
	zone := domain
	if cfg.Zone != "" {
		if zone, err = Name(cfg.Zone); err != nil {
			return nil, nil, fmt.Errorf("dns %s: %w", cfg.Key(), err)
		}
	}
	if !within(domain, zone) {
		return nil, nil, fmt.Errorf("dns %s: the domain %s is not in the zone %s", cfg.Key(), display(domain), display(zone))
	}
	ns := NewNameServers(cfg, clock)
	switch cfg.Kind {
	case "rfc2136":
		z := &RFC2136{
			Server:      withPort(cfg.Server),
			Zone:        zone,
			Algorithm:   cfg.KeyAlgorithm,
			Credentials: cfg.Credentials,
			Secrets:     secrets,
			Clock:       clock,
		}
		if z.Server == "" {
			return nil, nil, fmt.Errorf("dns %s: no server is named: give server = \"host:port\" of the zone's primary", cfg.Key())
		}
		if cfg.KeyName != "" {
			if z.KeyName, err = Name(cfg.KeyName); err != nil {
				return nil, nil, fmt.Errorf("dns %s: key name: %w", cfg.Key(), err)
			}
		}
		if _, err := algorithm(z.Algorithm); err != nil {
			return nil, nil, fmt.Errorf("dns %s: %w", cfg.Key(), err)
		}
		// A zone on this machine is not delegated from the root, so its server
		// is all there is to observe.
		if len(ns.Servers) == 0 && isLoopback(z.Server) {
			ns.Servers = []string{z.Server}
		}
		return z, ns, nil
	case "by_hand":
		return &ByHand{Zone: zone, Domain: domain, Servers: ns}, ns, nil
	}
	return nil, nil, fmt.Errorf("dns %s: no provider serves zones of this kind; known are rfc2136 and by_hand", cfg.Key())
}

// NewNameServers makes the observer that cfg describes, whoever its zone's provider is.
func NewNameServers(cfg plan.ZoneConfig, clock providers.Clock) *NameServers {
	return &NameServers{
		Servers:  withPorts(cfg.Authoritative),
		Resolver: withPort(cfg.Resolver),
		Watch:    withPorts(cfg.Observe),
		Clock:    clock,
	}
}

// tryTimeout is how long one try of one query may take.
const tryTimeout = 2 * time.Second

func withPorts(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = withPort(s)
	}
	return out
}

// withPort adds port 53 to a host or address without one.
func withPort(server string) string {
	if server == "" {
		return ""
	}
	if _, err := netip.ParseAddr(server); err == nil {
		return net.JoinHostPort(server, "53")
	}
	if _, _, err := net.SplitHostPort(server); err == nil {
		return server
	}
	return net.JoinHostPort(strings.Trim(server, "[]"), "53")
}

func isLoopback(server string) bool {
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
