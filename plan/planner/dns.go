package planner

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
)

// key names a record set within a domain: its type, and its name relative to
// the domain.
type key struct{ typ, name string }

// change is one write of a record set in one phase.
type change struct {
	key
	phase    plan.Phase
	old, new []string // data
	ttl      uint32   // TTL the configuration names for it, 0 = none
	retire   bool     // removes what only the transition needed
	rewrite  bool     // data may be equal: the TTL is what changes
}

// zonePlan works out one domain's changes.
type zonePlan struct {
	*planner
	domain  plan.Domain
	seen    inventory.Domain
	now     map[key][]string // data as the phases change them
	changes []change
	overlap map[key]change // what ends the transition that a record set holds
}

// domains plans the records of every domain.
func (p *planner) domains() {
	for _, d := range p.m.Domains {
		seen, _ := p.inv.Domain(d.Name)
		z := &zonePlan{planner: p, domain: d, seen: seen, now: map[key][]string{}, overlap: map[key]change{}}
		for _, s := range seen.Sets {
			if name, ok := relative(s.Name, d.Name); ok {
				z.now[key{s.Type, name}] = sorted(s.Data)
			}
		}
		z.work()
		z.emit()
		z.orderTenant()
		z.check()
	}
}

// relative is an owner name without the domain's, "@" for the apex.
func relative(fqdn, domain string) (string, bool) {
	if fqdn == domain+"." {
		return "@", true
	}
	return strings.CutSuffix(fqdn, "."+domain+".")
}

func (z *zonePlan) fqdn(name string) string {
	if name == "@" {
		return z.domain.Name + "."
	}
	return name + "." + z.domain.Name + "."
}

// observed is the record set as discover found it.
func (z *zonePlan) observed(k key) inventory.RRset { return z.seen.Set(z.fqdn(k.name), k.typ) }

// records are the domain's records, those written out and those that the
// target asks for, in canonical order, with names in lower case.
func (z *zonePlan) records() []plan.Record {
	list := slices.Concat(z.domain.Records, z.derived())
	for i := range list {
		list[i].Name = strings.ToLower(cmp.Or(list[i].Name, "@"))
	}
	slices.SortStableFunc(list, func(a, b plan.Record) int {
		return cmp.Or(a.At.Index()-b.At.Index(), strings.Compare(a.Name, b.Name), strings.Compare(a.Type, b.Type),
			strings.Compare(a.Match, b.Match), slices.Compare(a.Values, b.Values))
	})
	return list
}

// work goes through the phases and notes what changes in the data. TTLs come
// later, because lowering them depends on what changes.
func (z *zonePlan) work() {
	for _, r := range z.records() {
		k := key{r.Type, r.Name}
		values, err := canonical(r)
		if err != nil {
			z.find(plan.Finding{
				Check: "record_value", Severity: plan.Blocks, Subject: recordName(z.domain, k), Summary: err.Error(),
				Remedy: "mend the value in the configuration", Pos: r.Pos,
			})
			continue
		}
		z.record(r, k, values)
	}
	for _, k := range slices.SortedFunc(maps.Keys(z.overlap), compareKeys) {
		if c := z.overlap[k]; !slices.Equal(z.now[k], c.new) {
			c.old = z.now[k]
			z.note(c)
		}
	}
}

// canonical is the record's data in canonical presentation form, sorted.
func canonical(r plan.Record) ([]string, error) {
	var list []string
	for _, v := range r.Values {
		if v == plan.KnownAfterProvision {
			list = append(list, v)
			continue
		}
		c, err := plan.CanonicalRdata(r.Type, v)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// record notes the change that record r makes.
func (z *zonePlan) record(r plan.Record, k key, values []string) {
	others := z.others(k)
	if r.Keep {
		if held, what := z.held(r, k, others); held {
			if what != k && k.name != "_dmarc" { // dmarc_cname tells that one
				z.find(plan.Finding{
					Check: "record_kept", Severity: plan.Warns, Subject: recordName(z.domain, k),
					Summary: fmt.Sprintf("a %s record is there already and wins over the %s record, as keep says", what.typ, k.typ),
					Remedy:  "leave keep out to replace it", Pos: r.Pos,
				})
			}
			return
		}
	}
	if k.typ == "CNAME" && k.name == "@" {
		z.find(plan.Finding{
			Check: "cname_at_apex", Severity: plan.Blocks, Subject: recordName(z.domain, k),
			Summary: "a CNAME can't stand beside the SOA and NS records of the domain's own name (RFC 1034 §3.6.2)",
			Remedy:  "use A and AAAA records there, or name a host below the domain", Pos: r.Pos,
		})
		return
	}
	if len(values) > 0 {
		for _, o := range others {
			if z.wanted(o) {
				z.find(plan.Finding{
					Check: "cname_beside", Severity: plan.Blocks, Subject: recordName(z.domain, k),
					Summary: fmt.Sprintf("the configuration wants a CNAME and a %s record at one name (RFC 1034 §3.6.2)", map[bool]string{true: o.typ, false: k.typ}[k.typ == "CNAME"]),
					Remedy:  "leave one of them out", Pos: r.Pos,
				})
				return
			}
			z.note(change{key: o, phase: r.At, old: z.now[o]})
		}
	}
	old := z.now[k]
	data := values
	if r.Match != "" {
		data = slices.Concat(without(old, r.Match), values)
	}
	ttl := uint32(r.TTL / time.Second)
	if z.domain.SPF == "overlap" && r.At == plan.Flip && isSPFRecord(r) {
		z.overlap[k] = change{key: k, phase: plan.Decommission, new: normal(data), ttl: ttl, retire: true}
		data = overlapSPF(old, data)
	}
	seen := z.observed(k)
	c := change{key: k, phase: r.At, old: old, new: normal(data), ttl: ttl}
	switch {
	case !slices.Equal(c.old, c.new):
		z.note(c)
	case ttl > 0 && seen.Exists() && seen.TTL != ttl && !z.transitional(r, seen) && !z.changed(k):
		c.rewrite = true
		z.note(c)
	case z.transitional(r, seen) && len(data) > 0:
		// As wanted, with the TTL of the transition: only that is left to do.
		z.note(change{key: k, phase: plan.Hold, old: old, new: old, ttl: ttl, rewrite: true})
	}
}

// transitional reports whether a record of the flip still has the low TTL that
// an earlier plan has given it.
func (z *zonePlan) transitional(r plan.Record, seen inventory.RRset) bool {
	return r.At == plan.Flip && seen.Exists() && seen.TTL == seconds(z.domain.TTLDuring) && seen.TTL < z.final(uint32(r.TTL/time.Second))
}

// note takes a change over. A second record of the same set in the same phase
// adds to the first one's.
func (z *zonePlan) note(c change) {
	z.now[c.key] = c.new
	for i, o := range z.changes {
		if o.key == c.key && o.phase == c.phase && o.retire == c.retire {
			z.changes[i].new, z.changes[i].ttl = c.new, max(o.ttl, c.ttl)
			return
		}
	}
	z.changes = append(z.changes, c)
}

func (z *zonePlan) changed(k key) bool {
	return slices.ContainsFunc(z.changes, func(c change) bool { return c.key == k })
}

// held reports whether a record that is there wins over r, and which.
func (z *zonePlan) held(r plan.Record, k key, others []key) (bool, key) {
	old := z.now[k]
	if r.Match != "" {
		if len(without(old, r.Match)) < len(old) {
			return true, k
		}
	} else if len(old) > 0 {
		return true, k
	}
	if len(others) > 0 {
		return true, others[0]
	}
	return false, key{}
}

// others are the record sets that can't stay beside k: a CNAME allows no other
// data at its name (RFC 1034 §3.6.2).
func (z *zonePlan) others(k key) []key {
	var list []key
	for o, data := range z.now {
		if o.name == k.name && o != k && len(data) > 0 && (k.typ == "CNAME" || o.typ == "CNAME") && !slices.Contains([]string{"RRSIG", "NSEC", "NSEC3"}, o.typ) {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, compareKeys)
	return list
}

// wanted reports whether the configuration itself publishes k.
func (z *zonePlan) wanted(k key) bool {
	return slices.ContainsFunc(z.records(), func(r plan.Record) bool { return key{r.Type, r.Name} == k && len(r.Values) > 0 && !r.Keep })
}

// without are the TXT data that don't begin with prefix.
func without(data []string, prefix string) []string {
	return slices.DeleteFunc(slices.Clone(data), func(d string) bool { return hasTextPrefix(d, prefix) })
}

func hasTextPrefix(data, prefix string) bool {
	text, err := plan.TXTText(data)
	return err == nil && len(text) >= len(prefix) && strings.EqualFold(text[:len(prefix)], prefix)
}

func normal(data []string) []string { return slices.Compact(sorted(data)) }

func compareKeys(a, b key) int {
	return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.typ, b.typ))
}

func recordName(d plan.Domain, k key) string {
	if k.name == "@" {
		return d.Name + " " + k.typ
	}
	return k.name + "." + d.Name + " " + k.typ
}

func seconds(d time.Duration) uint32 { return uint32(max(d/time.Second, 0)) }

// final is the TTL that a record has when all is over.
func (z *zonePlan) final(named uint32) uint32 { return cmp.Or(named, seconds(z.domain.TTLRestore)) }
