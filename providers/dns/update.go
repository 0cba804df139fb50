package dns

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

const opUpdate = "update zone"

// Update implements providers.Zone with one message (RFC 2136). Prerequisites
// name what every set holds (§2.4.2, §2.4.3), so that the server itself compares and swaps. They
// don't see TTLs, and a set that is there already needs none: both are looked at
// right before. A set is replaced by deleting it and adding it anew in the same
// message, because adding alone would keep the old records.
//
// The zone is read again after the server's NOERROR: servers pass over
// in silence what they don't like (a CNAME beside other records, §3.4.2.2).
func (z *RFC2136) Update(ctx context.Context, changes []plan.RRsetChange) error {
	key, err := z.key(ctx)
	if err != nil {
		return err
	}
	edits, err := z.edits(changes)
	if err != nil {
		return err
	}
	m := new(dns.Msg)
	m.SetUpdate(z.Zone)
	write := false
	for i := range edits {
		e := &edits[i]
		if e.found, err = z.read(ctx, key, e.name, e.typ); err != nil {
			return err
		}
		now := setOf(e.name, e.typ, e.found)
		switch {
		case now.Equal(e.want):
			e.settled = true
		case !now.Equal(e.was):
			return z.conflict(e.was, now)
		default:
			write = true
		}
	}
	if !write {
		return nil
	}
	for _, e := range edits {
		e.demand(m)
	}
	demandAliasAlone(m, edits)
	// All deletions stand before all additions: an A that is added while the CNAME
	// it replaces still stands would be passed over (§3.4.2.2).
	for _, e := range edits {
		if !e.settled && len(e.found) > 0 {
			m.RemoveRRset([]dns.RR{e.header()})
		}
	}
	for _, e := range edits {
		if !e.settled {
			m.Insert(e.add)
		}
	}
	key.sign(m, z.Clock.Now())
	if err := z.send(ctx, key, m); err != nil {
		return err
	}
	for _, e := range edits {
		rrs, err := z.read(ctx, key, e.name, e.typ)
		if err != nil {
			return &providers.Error{
				Op: opUpdate, Subject: z.subject(), Reason: providers.Uncertain, Server: "NOERROR",
				Err: fmt.Errorf("the update was taken, but reading it back failed: %w", err),
			}
		}
		if now := setOf(e.name, e.typ, rrs); !now.Equal(e.want) {
			return &providers.Error{
				Op: opUpdate, Subject: z.subject(), Reason: providers.Refused,
				Err:    fmt.Errorf("the server answered NOERROR, but %s %s is %s instead of %s", display(e.name), e.want.Type, lines(now), lines(e.want)),
				Remedy: "see the server's log; it may limit TTLs, or another writer may have been at work",
			}
		}
	}
	return nil
}

// edit is one change, taken apart.
type edit struct {
	name      string
	typ       uint16
	was, want plan.RRset
	add       []dns.RR
	found     []dns.RR // what the primary holds, in its own spelling
	settled   bool     // want is there already
}

// edits checks changes before anything is asked.
func (z *RFC2136) edits(changes []plan.RRsetChange) ([]edit, error) {
	list := make([]edit, 0, len(changes))
	for _, c := range changes {
		name, typ, err := z.owned(c.New.Name, c.New.Type)
		if err != nil {
			return nil, err
		}
		e := edit{name: name, typ: typ}
		if oldName, oldTyp, err := z.owned(c.Old.Name, c.Old.Type); err != nil {
			return nil, err
		} else if oldName != name || oldTyp != typ {
			return nil, fmt.Errorf("a change of %s %s can't become %s %s: delete one and create the other", c.Old.Name, c.Old.Type, c.New.Name, c.New.Type)
		}
		if err := z.changeable(name, typ); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(list, func(o edit) bool { return o.name == name && o.typ == typ }) {
			return nil, fmt.Errorf("%s %s is changed twice in one update", display(name), c.New.Type)
		}
		if e.was, _, err = canonicalSet(c.Old, name); err != nil {
			return nil, err
		}
		if e.want, e.add, err = canonicalSet(c.New, name); err != nil {
			return nil, err
		}
		if typ == dns.TypeCNAME && len(e.want.Data) > 1 {
			return nil, fmt.Errorf("%s can't have %d CNAMEs (RFC 2181 §10.1)", display(name), len(e.want.Data))
		}
		list = append(list, e)
	}
	return list, nil
}

// changeable keeps away from what the server maintains.
func (z *RFC2136) changeable(name string, typ uint16) error {
	probe := &dns.ANY{Hdr: dns.RR_Header{Name: name, Rrtype: typ, Class: dns.ClassINET}}
	if z.upkeep(probe) || typ == dns.TypeANY {
		return fmt.Errorf("%s %s belongs to the zone's own administration and is not changed by updates", display(name), dns.Type(typ))
	}
	return nil
}

// canonicalSet is the set with its data in canonical form, and its records.
func canonicalSet(set plan.RRset, name string) (plan.RRset, []dns.RR, error) {
	out := plan.RRset{Name: name, Type: set.Type, TTL: set.TTL}
	for _, data := range set.Data {
		canonical, err := Canonical(set.Type, data)
		if err != nil {
			return out, nil, err
		}
		out.Data = append(out.Data, canonical)
	}
	slices.Sort(out.Data)
	out.Data = slices.Compact(out.Data)
	rrs, err := recordsOf(out)
	return out, rrs, err
}

// demand adds the prerequisites: the set is exactly as it was found, or absent.
// The spelling is the server's own, since a TXT that was split otherwise is
// another record to it.
func (e edit) demand(m *dns.Msg) {
	if len(e.found) == 0 {
		m.RRsetNotUsed([]dns.RR{e.header()})
		return
	}
	same := make([]dns.RR, len(e.found))
	for i, rr := range e.found {
		same[i] = dns.Copy(rr) // Used clears the TTL
	}
	m.Used(same)
}

func (e edit) header() dns.RR {
	return &dns.ANY{Hdr: dns.RR_Header{Name: e.name, Rrtype: e.typ, Class: dns.ClassINET}}
}

// besideAlias are the types that commonly stand where somebody wants a CNAME.
// DNSSEC's own may (RFC 4034 §3, §4).
var besideAlias = []uint16{
	dns.TypeA, dns.TypeAAAA, dns.TypeMX, dns.TypeTXT, dns.TypeNS, dns.TypeSRV, dns.TypeCAA, dns.TypePTR,
	dns.TypeHTTPS, dns.TypeSVCB, dns.TypeTLSA, dns.TypeDNAME, dns.TypeNAPTR, dns.TypeSPF, dns.TypeSSHFP, dns.TypeDS, dns.TypeURI,
}

// demandAliasAlone makes a conflict of what servers would pass over in silence (RFC
// 2136 §3.4.2.2): a CNAME that is added beside other records, or they beside it.
func demandAliasAlone(m *dns.Msg, edits []edit) {
	touched := func(name string, typ uint16) bool {
		return slices.ContainsFunc(edits, func(e edit) bool { return e.name == name && e.typ == typ })
	}
	asked := map[string]bool{}
	absent := func(name string, typ uint16) {
		k := name + dns.Type(typ).String()
		if !asked[k] && !touched(name, typ) {
			asked[k] = true
			m.RRsetNotUsed([]dns.RR{edit{name: name, typ: typ}.header()})
		}
	}
	for _, e := range edits {
		switch {
		case e.settled || !e.want.Exists():
		case e.typ != dns.TypeCNAME:
			absent(e.name, dns.TypeCNAME)
		default:
			for _, typ := range besideAlias {
				absent(e.name, typ)
			}
		}
	}
}

// send hands in the update. From the first octet on the wire, no answer means that nobody knows.
func (z *RFC2136) send(ctx context.Context, key *tsigKey, m *dns.Msg) error {
	r, sent, err := exchange(ctx, "tcp", z.Server, m, key, z.timeout())
	uncertain := func(server string, err error) error {
		return &providers.Error{
			Op: opUpdate, Subject: z.subject(), Reason: providers.Uncertain, Server: server, Err: err,
			Remedy: "read the zone before doing anything else: the update may have been made",
		}
	}
	switch {
	case r == nil && sent:
		return uncertain("", err)
	case r == nil:
		return z.unreachable(ctx, opUpdate, err)
	}
	if sigErr := z.signatureError(opUpdate, key, r, err); sigErr != nil {
		if providers.ReasonOf(sigErr) == providers.Protocol {
			return uncertain(rcode(r), errors.New("the answer's signature is missing or wrong"))
		}
		return sigErr
	}
	switch r.Rcode {
	case dns.RcodeSuccess:
		return nil
	case dns.RcodeServerFailure:
		return uncertain(rcode(r), nil)
	}
	return z.refusal(opUpdate, r)
}

func (z *RFC2136) conflict(was, now plan.RRset) error {
	return &providers.Error{
		Op: opUpdate, Subject: z.subject(), Reason: providers.Conflict,
		Err:    fmt.Errorf("%s %s is %s, expected %s", display(was.Name), was.Type, lines(now), lines(was)),
		Remedy: "somebody changed the zone in between: look at it again, then plan again",
	}
}

func lines(set plan.RRset) string {
	if !set.Exists() {
		return "absent"
	}
	return fmt.Sprintf("%q", set.Lines())
}
