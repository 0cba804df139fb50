package discover

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/providers"
)

// beside are the types that may stand at a name where a CNAME is wanted, or
// that a finding asks about, where a zone can't be listed.
var beside = []string{"A", "AAAA", "CAA", "CNAME", "HTTPS", "MX", "NS", "SRV", "SVCB", "TLSA", "TXT"}

// absent is a name that no zone holds: asking an authoritative server about it
// shows how long caches keep such an answer. No resolver hears of it.
const absent = "_mxodus-absent."

// wanted are the names and types to look at in domain d.
func wanted(d plan.Domain) map[string][]string {
	apex := d.Name + "."
	names := map[string][]string{apex: {"MX", "TXT"}}
	// What checks ask about: whose policy senders hold, and whose DMARC is.
	for _, policy := range []string{"_mta-sts.", "_dmarc."} {
		names[policy+apex] = []string{"CNAME", "TXT"}
	}
	for _, r := range d.Records {
		name := apex
		if r.Name != "@" && r.Name != "" {
			name = strings.ToLower(r.Name) + "." + apex
		}
		types := append(names[name], r.Type)
		if name != apex {
			types = append(types, beside...)
		}
		slices.Sort(types)
		names[name] = slices.Compact(types)
	}
	return names
}

// domain observes one domain: the zone at its provider, and what each
// authoritative server says.
func (o *observer) domain(ctx context.Context, d plan.Domain) error {
	zone, err := o.sys.Zone(d.Name)
	if err != nil {
		return err
	}
	ns, err := o.sys.NameServers(d.Name)
	if err != nil {
		return err
	}
	servers, err := ns.Authoritative(ctx, d.Name)
	if err != nil {
		return fmt.Errorf("find the name servers of %s: %w", d.Name, err)
	}
	if len(servers) == 0 {
		return fmt.Errorf("no name server is delegated to for %s", d.Name)
	}
	sets, complete, err := zone.Records(ctx)
	if err != nil {
		return fmt.Errorf("list the zone: %w", err)
	}
	if complete {
		sets = slices.DeleteFunc(slices.Clone(sets), func(s plan.RRset) bool {
			return s.Name != d.Name+"." && !strings.HasSuffix(s.Name, "."+d.Name+".")
		})
	} else if sets, err = lookup(ctx, zone, d); err != nil {
		return err
	}
	seen := inventory.Domain{Name: d.Name, Servers: servers, Complete: complete}
	was, _ := o.prev.Domain(d.Name)
	names := wanted(d)
	for _, s := range sets {
		set := inventory.RRset{RRset: s, OldTTL: s.TTL}
		if slices.Contains(names[s.Name], s.Type) {
			set.OldTTL = max(set.OldTTL, o.largestTTL(ctx, ns, servers, s))
		}
		if before := was.Set(s.Name, s.Type); before.SameData(s) {
			set.OldTTL = max(set.OldTTL, before.OldTTL)
		}
		seen.Sets = append(seen.Sets, set)
	}
	seen.Signed = signed(ctx, ns, servers, d.Name)
	seen.NegativeTTL = o.negativeTTL(ctx, ns, servers, d.Name)
	f := zone.Features()
	seen.TTL = plan.TTLLimits{Minimum: f.MinimumTTL, Maximum: f.MaximumTTL}
	if cfg, ok := o.m.Zone(d.Zone); ok && cfg.Worldly() {
		seen.SPF = o.includes(ctx, ns, d, sets)
		seen.Chain = o.chain(ctx, ns, d.Name, seen.Signed)
		seen.STS = o.policy(ctx, ns, d.Name, sets)
		seen.DMARC = o.dmarcBehind(ctx, ns, d.Name, sets)
	}
	o.mu.Lock()
	o.inv.Domains = append(o.inv.Domains, seen)
	o.mu.Unlock()
	how := "the records that are named here"
	if complete {
		how = "the whole zone"
	}
	o.say("%s: %d record sets (%s) at %d name servers", d.Name, len(sets), how, len(servers))
	return nil
}

// lookup reads the wanted sets one by one where the zone can't be listed.
func lookup(ctx context.Context, zone providers.Zone, d plan.Domain) ([]plan.RRset, error) {
	var sets []plan.RRset
	for name, types := range wanted(d) {
		for _, typ := range types {
			set, err := zone.Lookup(ctx, name, typ)
			if err != nil {
				return nil, fmt.Errorf("look up %s %s: %w", name, typ, err)
			}
			if set.Exists() {
				sets = append(sets, set)
			}
		}
	}
	return sets, nil
}

// largestTTL asks every server for the set and returns the largest TTL: what
// caches may hold it with. A server that is silent or differs is told about and
// doesn't stop the observation; the flip's own check asks all of them again.
func (o *observer) largestTTL(ctx context.Context, ns providers.NameServers, servers []string, s plan.RRset) uint32 {
	var ttl uint32
	for _, server := range servers {
		a, err := ns.Ask(ctx, server, s.Name, s.Type)
		switch {
		case err != nil:
			o.say("warning: %s did not answer for %s %s: %v", server, s.Name, s.Type, err)
		case !a.Set.SameData(s):
			o.say("warning: %s serves %q for %s %s, and the zone holds %q", server, a.Set.Data, s.Name, s.Type, s.Data)
			ttl = max(ttl, a.Set.TTL)
		default:
			ttl = max(ttl, a.Set.TTL)
		}
	}
	return ttl
}

// signed reports whether a server holds keys of the domain (RFC 4034 §2).
// Records lists no DNSSEC types, so they are asked for.
func signed(ctx context.Context, ns providers.NameServers, servers []string, domain string) bool {
	for _, server := range servers {
		if a, err := ns.Ask(ctx, server, domain+".", "DNSKEY"); err == nil && a.Set.Exists() {
			return true
		}
	}
	return false
}

// negativeTTL is the largest that a server gives, 0 when none tells.
func (o *observer) negativeTTL(ctx context.Context, ns providers.NameServers, servers []string, domain string) uint32 {
	var ttl uint32
	for _, server := range servers {
		if a, err := ns.Ask(ctx, server, absent+domain+".", "TXT"); err == nil && !a.Set.Exists() {
			ttl = max(ttl, a.NegativeTTL)
		}
	}
	return ttl
}
