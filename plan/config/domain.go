package config

import (
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/mxodus/mxodus/plan"
)

// recordTypes are the types that a record block can hold.
var recordTypes = []string{"A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TLSA", "TXT"}

func (l *loader) domain(n *node, ctx *hcl.EvalContext) {
	b := &body{l: l, syn: n.block.Body, ctx: ctx, at: n.at}
	name, err := parseDomain(n.label(0))
	if err != nil {
		l.errorf(&n.block.LabelRanges[0], "No domain name", "%v.", err)
		return
	}
	ttl := b.nested("ttl")
	d := plan.Domain{
		Name: name, Zone: b.host("dns", "dns"), Mail: b.host("mail", "target"),
		TTLDuring: ttl.ttl("during", 300*time.Second), TTLRestore: ttl.ttl("restore", 3600*time.Second),
		SPF: b.word("spf", "replace", "replace", "overlap"),
		Pos: n.pos(),
	}
	d.IgnoreAddresses = b.recipients("ignore_addresses")
	for _, r := range b.labelled("record") {
		if rec, ok := b.within(r).record(r, name); ok {
			b.checkSibling(r, d.Records, rec)
			d.Records = append(d.Records, rec)
		}
	}
	slices.SortStableFunc(d.Records, func(a, b plan.Record) int {
		return strings.Compare(a.Type+"\x00"+a.Name+"\x00"+a.Match, b.Type+"\x00"+b.Name+"\x00"+b.Match)
	})
	l.m.Domains = append(l.m.Domains, d)
	l.domains[name] = n
}

func (b *body) record(n *hclsyntax.Block, domain string) (plan.Record, bool) {
	at := n.LabelRanges[0]
	r := plan.Record{Type: strings.ToUpper(n.Labels[0]), At: plan.Flip, Pos: b.pos()}
	if !slices.Contains(recordTypes, r.Type) {
		b.l.errorf(&at, "Unknown record type", "%q is no type that mxodus writes.%s", n.Labels[0], suggest(r.Type, recordTypes))
		return r, false
	}
	name, err := relativeName(n.Labels[1])
	if err != nil || strings.HasSuffix(n.Labels[1], ".") || name == domain || strings.HasSuffix(name, "."+domain) {
		b.l.errorf(&n.LabelRanges[1], "No relative name",
			"%q has to be relative to %s: \"@\" for the domain itself, \"autodiscover\" for autodiscover.%s.", n.Labels[1], domain, domain)
		return r, false
	}
	r.Name = name
	if v, ok := b.value("at"); ok {
		if r.At, ok = held[plan.Phase](v, phaseRefType); !ok {
			b.errorf("at", "No phase", "%q takes a phase such as phase.flip.", "at")
			return r, false
		}
	}
	r.TTL = b.ttl("ttl", 0)
	r.Keep = b.boolean("keep", false)
	if r.Match = b.str("match", ""); r.Match != "" && r.Type != "TXT" {
		b.errorf("match", "Match on other records", "%q owns strings of a TXT RRset; this is %s.", "match", r.Type)
	}
	return r, b.recordValues(&r)
}

// maxText is about what fits into one answer over TCP beside other strings.
const maxText = 4000

// recordValues reads and checks the values. TXT values stay plain text; all
// others become canonical presentation forms (plan.CanonicalRdata).
func (b *body) recordValues(r *plan.Record) bool {
	before := len(b.l.diags)
	values := b.recordStrs("values")
	if len(values) == 0 {
		if len(b.l.diags) == before {
			b.errorf("values", "Record without values", "%q is empty. Records are never deleted by an empty list.", "values")
		}
		return false
	}
	for _, v := range values {
		if v == plan.KnownAfterProvision {
			r.Values = append(r.Values, v)
			continue
		}
		if r.Type == "TXT" {
			if !strings.HasPrefix(v, r.Match) {
				b.errorf("values", "Value that match doesn't own", "%q does not begin with the match %q.", v, r.Match)
				return false
			}
			if len(v) == 0 || len(v) > maxText || strings.ContainsFunc(v, func(c rune) bool { return c < ' ' || c > '~' }) {
				b.errorf("values", "Bad TXT value", "A TXT value is 1 to %d printable ASCII characters.", maxText)
				return false
			}
			if v[0] == '"' {
				b.errorf("values", "Bad TXT value", "Write the plain text without quotes of its own: they are added, and long text is split.")
				return false
			}
			r.Values = append(r.Values, v)
			continue
		}
		canonical, err := plan.CanonicalRdata(r.Type, v)
		if err != nil {
			b.errorf("values", "Bad record value", "%v.", err)
			return false
		}
		r.Values = append(r.Values, canonical)
	}
	slices.Sort(r.Values)
	r.Values = slices.Compact(r.Values)
	if r.Type == "CNAME" && len(r.Values) > 1 {
		b.errorf("values", "Bad record value", "A CNAME has one value (RFC 2181 §10.1).")
		return false
	}
	return true
}

// checkSibling holds a record against those before it.
func (b *body) checkSibling(n *hclsyntax.Block, before []plan.Record, r plan.Record) {
	at := n.DefRange()
	for _, o := range before {
		switch {
		case o.Name != r.Name:
		case o.Type == r.Type && o.At == r.At && (o.Match == r.Match || r.Type != "TXT"):
			b.l.errorf(&at, "Duplicate record", "%s %s is there already at %s: put all values into one list.", r.Type, r.Name, o.Pos)
		case o.Type != r.Type && o.At == r.At && (o.Type == "CNAME" || r.Type == "CNAME"):
			b.l.errorf(&at, "CNAME beside other records", "%s has %s at %s, and a CNAME can't stand beside other records (RFC 1034 §3.6.2).", r.Name, o.Type, o.Pos)
		}
	}
}
