package dns

import (
	"fmt"
	"slices"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
)

// Changes checks changes before anything is asked or written, and returns them
// in canonical form. Refused are names outside of the zone, what the server
// maintains itself (SOA, DNSSEC, the apex NS), data that is no record of its type,
// two changes of one set, and two CNAMEs at one name. zone is canonical.
func Changes(zone string, changes []plan.RRsetChange) ([]plan.RRsetChange, error) {
	z := &RFC2136{Zone: zone}
	edits, err := z.edits(changes)
	if err != nil {
		return nil, err
	}
	list := make([]plan.RRsetChange, 0, len(edits))
	for _, e := range edits {
		list = append(list, plan.RRsetChange{Old: e.was, New: e.want})
	}
	return list, nil
}

// Owned is the canonical name and type, or an error when they can't be in the zone.
func Owned(zone, name, typ string) (string, error) {
	name, _, err := (&RFC2136{Zone: zone}).owned(name, typ)
	return name, err
}

// Administrative reports whether a set is the zone's own upkeep, which no provider lists
// or changes: SOA, DNSSEC's records, the NS at the apex. Both names are canonical.
func Administrative(zone, name, typ string) bool {
	t, err := typeOf(typ)
	if err != nil {
		return false
	}
	return (&RFC2136{Zone: zone}).upkeep(&dns.ANY{Hdr: dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET}})
}

// Instructions says in words what a person has to enter, one line each.
func Instructions(zone string, changes []plan.RRsetChange) []string {
	return instructions(zone, changes)
}

// Relative is a canonical name as hosts want it: without the zone, "@" for the zone itself.
func Relative(name, zone string) string { return relative(name, zone) }

// Readable is a canonical name as people read it.
func Readable(name string) string { return display(name) }

// Beside names the types at which sets would stand beside a CNAME of the same name,
// which nothing may (RFC 1034 §3.6.2); "" when the sets are sound.
func Beside(sets []plan.RRset) string {
	aliases := map[string]bool{}
	for _, s := range sets {
		if s.Type == "CNAME" && s.Exists() {
			aliases[s.Name] = true
		}
	}
	for _, s := range sets {
		if aliases[s.Name] && s.Type != "CNAME" && s.Exists() && !slices.Contains([]string{"RRSIG", "NSEC", "NSEC3"}, s.Type) {
			return fmt.Sprintf("%s %s beside a CNAME", display(s.Name), s.Type)
		}
	}
	return ""
}
