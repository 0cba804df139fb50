package dnstest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// Zone is the master copy of a zone. It is safe for concurrent use.
type Zone struct {
	origin string
	clock  providers.Clock

	mu       sync.Mutex
	versions []version // oldest first, never empty
}

// version is the zone as it was from a moment on. It is never changed.
type version struct {
	from time.Time
	sets sets
}

// sets holds records by owner name and type.
type sets map[string]map[uint16][]dns.RR

// NewZone reads a zone file (RFC 1035 §5). Without a SOA or name servers at the apex it
// gets a SOA with serial 1 and minimum 60, and the name server localhost. (outside of the
// zone, so that it needs no address in it).
func NewZone(origin, file string, clock providers.Clock) (*Zone, error) {
	origin = dns.CanonicalName(origin)
	all := sets{}
	p := dns.NewZoneParser(strings.NewReader(file), origin, "")
	p.SetDefaultTTL(3600)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		if !dns.IsSubDomain(origin, rr.Header().Name) {
			return nil, fmt.Errorf("%s is outside of %s", rr.Header().Name, origin)
		}
		all.add(rr)
	}
	if err := p.Err(); err != nil {
		return nil, fmt.Errorf("zone %s: %w", origin, err)
	}
	apex := dns.RR_Header{Name: origin, Class: dns.ClassINET, Ttl: 3600}
	if len(all[origin][dns.TypeSOA]) == 0 {
		apex.Rrtype = dns.TypeSOA
		all.add(&dns.SOA{
			Hdr: apex, Ns: "localhost.", Mbox: "hostmaster." + strings.TrimPrefix(origin, "."),
			Serial: 1, Refresh: 3600, Retry: 600, Expire: 604800, Minttl: 60,
		})
	}
	if len(all[origin][dns.TypeNS]) == 0 {
		apex.Rrtype = dns.TypeNS
		all.add(&dns.NS{Hdr: apex, Ns: "localhost."})
	}
	return &Zone{origin: origin, clock: clock, versions: []version{{sets: all}}}, nil
}

// Origin is the zone's name.
func (z *Zone) Origin() string { return z.origin }

// Put replaces sets as an administrator would, past every provider, and raises
// the serial. A set without data is deleted.
func (z *Zone) Put(list ...plan.RRset) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	all := z.newest().clone()
	for _, s := range list {
		typ, ok := dns.StringToType[s.Type]
		if !ok {
			return fmt.Errorf("%q is no type", s.Type)
		}
		name := dns.CanonicalName(s.Name)
		all.remove(name, typ)
		for _, data := range s.Data {
			rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", name, s.TTL, s.Type, data))
			if err != nil {
				return err
			}
			all.add(rr)
		}
	}
	z.publish(all)
	return nil
}

// Set is one set of the master copy.
func (z *Zone) Set(name, typ string) plan.RRset {
	name = dns.CanonicalName(name)
	t := dns.StringToType[typ]
	return set(name, t, z.at(0)[name][t])
}

// Sets are all sets of the master copy but the SOA and the name servers of
// the apex, sorted by name and type.
func (z *Zone) Sets() []plan.RRset {
	var list []plan.RRset
	for name, types := range z.at(0) {
		for typ, rrs := range types {
			if name != z.origin || typ != dns.TypeSOA && typ != dns.TypeNS {
				list = append(list, set(name, typ, rrs))
			}
		}
	}
	slices.SortFunc(list, func(a, b plan.RRset) int { return strings.Compare(a.Name+" "+a.Type, b.Name+" "+b.Type) })
	return list
}

// Serial is the SOA serial of the master copy.
func (z *Zone) Serial() uint32 { return z.at(0).soa(z.origin).Serial }

// at is the zone as it was lag ago.
func (z *Zone) at(lag time.Duration) sets {
	z.mu.Lock()
	defer z.mu.Unlock()
	limit := z.clock.Now().Add(-lag)
	for _, v := range slices.Backward(z.versions) {
		if lag <= 0 || !v.from.After(limit) {
			return v.sets
		}
	}
	return z.versions[0].sets
}

func (z *Zone) newest() sets { return z.versions[len(z.versions)-1].sets }

// publish makes all the newest version. The caller holds the lock.
func (z *Zone) publish(all sets) {
	soa := dns.Copy(all.soa(z.origin)).(*dns.SOA)
	soa.Serial++
	all.remove(z.origin, dns.TypeSOA)
	all.add(soa)
	z.versions = append(z.versions, version{z.clock.Now(), all})
}

// clone copies the maps; the records themselves are never changed.
func (s sets) clone() sets {
	c := make(sets, len(s))
	for name, types := range s {
		c[name] = maps.Clone(types)
	}
	return c
}

// add puts rr into its set. All records of a set get its TTL (RFC 2181 §5.2, RFC
// 2136 §7.8), and one that is there already is not doubled.
func (s sets) add(rr dns.RR) {
	h := rr.Header()
	h.Name = dns.CanonicalName(h.Name)
	types := s[h.Name]
	if types == nil {
		types = map[uint16][]dns.RR{}
		s[h.Name] = types
	}
	list := []dns.RR{rr}
	for _, old := range types[h.Rrtype] {
		if !dns.IsDuplicate(old, rr) {
			old = dns.Copy(old)
			old.Header().Ttl = h.Ttl
			list = append(list, old)
		}
	}
	types[h.Rrtype] = list
}

func (s sets) remove(name string, typ uint16) {
	delete(s[name], typ)
	if len(s[name]) == 0 {
		delete(s, name)
	}
}

func (s sets) soa(origin string) *dns.SOA { return s[origin][dns.TypeSOA][0].(*dns.SOA) }

// hasBelow reports whether a name below name exists: then name does too, without records
// (RFC 8020 §2).
func (s sets) hasBelow(name string) bool {
	for n := range s {
		if n != name && dns.IsSubDomain(name, n) {
			return true
		}
	}
	return false
}

func sorted(s plan.RRset) plan.RRset {
	slices.Sort(s.Data)
	s.Data = slices.Compact(s.Data)
	return s
}
