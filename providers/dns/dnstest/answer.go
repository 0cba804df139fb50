package dnstest

import (
	"fmt"

	"github.com/miekg/dns"
)

// answer fills r as RFC 1034 §4.3.2 has it.
func (s *Server) answer(r *dns.Msg, q dns.Question) {
	s.mu.Lock()
	lag, failing, lame := s.lag, s.rcode, s.lame
	lie, lying := s.lies[dns.CanonicalName(q.Name)+" "+dns.Type(q.Qtype).String()]
	s.mu.Unlock()
	name := dns.CanonicalName(q.Name)
	z := s.zoneOf(name)
	switch {
	case failing != 0:
		r.Rcode = failing
		return
	case z == nil:
		r.Rcode = dns.RcodeRefused
		return
	case lame:
		r.Ns = append(r.Ns, &dns.NS{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 518400}, Ns: "a.root-servers.net."})
		return
	}
	all := z.at(lag)
	r.Authoritative = true
	if lying {
		for _, data := range lie.Data {
			if rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", name, lie.TTL, lie.Type, data)); err == nil {
				r.Answer = append(r.Answer, rr)
			}
		}
		if !lie.Exists() {
			z.deny(r, all)
		}
		return
	}
	for range 16 { // aliases
		if z.refer(r, all, name) {
			return
		}
		types := all[name]
		if alias := types[dns.TypeCNAME]; len(alias) > 0 && q.Qtype != dns.TypeCNAME && q.Qtype != dns.TypeANY {
			r.Answer = append(r.Answer, alias[0])
			name = dns.CanonicalName(alias[0].(*dns.CNAME).Target)
			if !dns.IsSubDomain(z.origin, name) {
				return
			}
			continue
		}
		found := len(r.Answer)
		for typ, rrs := range types {
			if typ == q.Qtype || q.Qtype == dns.TypeANY {
				r.Answer = append(r.Answer, rrs...)
			}
		}
		if len(r.Answer) == found {
			if len(types) == 0 && !all.hasBelow(name) {
				r.Rcode = dns.RcodeNameError
			}
			z.deny(r, all)
		}
		return
	}
}

// refer answers with a delegation when name is at or below one (RFC 1034 §4.3.2 step 3b).
func (z *Zone) refer(r *dns.Msg, all sets, name string) bool {
	cut := ""
	for owner, types := range all {
		if owner != z.origin && len(types[dns.TypeNS]) > 0 && dns.IsSubDomain(owner, name) &&
			(cut == "" || dns.IsSubDomain(owner, cut)) {
			cut = owner
		}
	}
	if cut == "" {
		return false
	}
	r.Authoritative = len(r.Answer) > 0 // an alias of ours led here
	for _, rr := range all[cut][dns.TypeNS] {
		r.Ns = append(r.Ns, rr)
		glue := all[dns.CanonicalName(rr.(*dns.NS).Ns)]
		r.Extra = append(append(r.Extra, glue[dns.TypeA]...), glue[dns.TypeAAAA]...)
	}
	return true
}

// deny adds the SOA, whose TTL is how long the denial is kept (RFC 2308 §3).
func (z *Zone) deny(r *dns.Msg, all sets) {
	soa := dns.Copy(all.soa(z.origin)).(*dns.SOA)
	soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
	r.Ns = append(r.Ns, soa)
}
