package dnstest

import (
	"github.com/miekg/dns"
)

// update carries out a message of RFC 2136, all of it or nothing, and returns
// the response code.
func (z *Zone) update(m *dns.Msg) int {
	if len(m.Question) != 1 || m.Question[0].Qtype != dns.TypeSOA {
		return dns.RcodeFormatError
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	now := z.newest()
	if code := z.prerequisites(now, m.Answer); code != dns.RcodeSuccess {
		return code
	}
	if code := z.prescan(m.Ns); code != dns.RcodeSuccess {
		return code
	}
	next := now.clone()
	changed := false
	for _, rr := range m.Ns {
		changed = z.apply(next, rr) || changed
	}
	if changed {
		z.publish(next)
	}
	return dns.RcodeSuccess
}

// prerequisites is RFC 2136 §3.2.5.
func (z *Zone) prerequisites(now sets, list []dns.RR) int {
	type key struct {
		name string
		typ  uint16
	}
	exact := map[key][]dns.RR{}
	for _, rr := range list {
		h := rr.Header()
		name := dns.CanonicalName(h.Name)
		if h.Ttl != 0 {
			return dns.RcodeFormatError
		}
		if !dns.IsSubDomain(z.origin, name) {
			return dns.RcodeNotZone
		}
		found := now[name][h.Rrtype]
		switch {
		case h.Class == dns.ClassANY && h.Rrtype == dns.TypeANY:
			if len(now[name]) == 0 {
				return dns.RcodeNameError
			}
		case h.Class == dns.ClassANY:
			if len(found) == 0 {
				return dns.RcodeNXRrset
			}
		case h.Class == dns.ClassNONE && h.Rrtype == dns.TypeANY:
			if len(now[name]) > 0 {
				return dns.RcodeYXDomain
			}
		case h.Class == dns.ClassNONE:
			if len(found) > 0 {
				return dns.RcodeYXRrset
			}
		case h.Class == dns.ClassINET:
			exact[key{name, h.Rrtype}] = append(exact[key{name, h.Rrtype}], rr)
		default:
			return dns.RcodeFormatError
		}
	}
	for k, want := range exact {
		if !sameRecords(now[k.name][k.typ], want) {
			return dns.RcodeNXRrset
		}
	}
	return dns.RcodeSuccess
}

// sameRecords compares whatever the TTL.
func sameRecords(a, b []dns.RR) bool {
	holds := func(list []dns.RR, rr dns.RR) bool {
		for _, o := range list {
			if dns.IsDuplicate(o, rr) {
				return true
			}
		}
		return false
	}
	for _, rr := range a {
		if !holds(b, rr) {
			return false
		}
	}
	for _, rr := range b {
		if !holds(a, rr) {
			return false
		}
	}
	return true
}

// prescan is RFC 2136 §3.4.1.3.
func (z *Zone) prescan(list []dns.RR) int {
	for _, rr := range list {
		h := rr.Header()
		if !dns.IsSubDomain(z.origin, dns.CanonicalName(h.Name)) {
			return dns.RcodeNotZone
		}
		switch h.Class {
		case dns.ClassINET, dns.ClassNONE:
			if h.Rrtype == dns.TypeANY || h.Rrtype == dns.TypeAXFR || h.Class == dns.ClassNONE && h.Ttl != 0 {
				return dns.RcodeFormatError
			}
		case dns.ClassANY:
			if h.Ttl != 0 {
				return dns.RcodeFormatError
			}
		default:
			return dns.RcodeFormatError
		}
	}
	return dns.RcodeSuccess
}

// apply is RFC 2136 §3.4.2 for one record; it reports whether anything changed.
func (z *Zone) apply(next sets, rr dns.RR) bool {
	h := rr.Header()
	name := dns.CanonicalName(h.Name)
	upkeep := func(typ uint16) bool { return name == z.origin && (typ == dns.TypeSOA || typ == dns.TypeNS) }
	switch h.Class {
	case dns.ClassINET:
		if h.Rrtype == dns.TypeSOA || passedOver(next[name], h.Rrtype) {
			return false
		}
		if h.Rrtype == dns.TypeCNAME {
			next.remove(name, dns.TypeCNAME) // one takes the other's place
		}
		next.add(dns.Copy(rr))
		return true
	case dns.ClassANY:
		changed := false
		for typ := range next[name] {
			if (h.Rrtype == typ || h.Rrtype == dns.TypeANY) && !upkeep(typ) {
				next.remove(name, typ)
				changed = true
			}
		}
		return changed
	}
	if upkeep(h.Rrtype) {
		return false
	}
	old := next[name][h.Rrtype]
	rr = dns.Copy(rr)
	rr.Header().Class = dns.ClassINET
	next.remove(name, h.Rrtype)
	for _, o := range old {
		if !dns.IsDuplicate(o, rr) {
			next.add(o)
		}
	}
	return len(next[name][h.Rrtype]) != len(old)
}

// passedOver reports whether servers ignore, in silence, a record of that type beside
// those that are there: a CNAME stands alone (RFC 2136 §3.4.2.2).
func passedOver(there map[uint16][]dns.RR, typ uint16) bool {
	if typ == dns.TypeCNAME {
		for t := range there {
			if t != dns.TypeCNAME {
				return true
			}
		}
		return false
	}
	return len(there[dns.TypeCNAME]) > 0
}
