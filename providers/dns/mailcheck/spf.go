package mailcheck

import (
	"context"
	"fmt"
	"strings"

	"github.com/mxodus/mxodus/plan/mailrecords"
	"github.com/mxodus/mxodus/providers/dns"
)

// spfWalk counts what a receiver would ask (RFC 7208 §4.6.4).
type spfWalk struct {
	*check
	lookups, void int
	path          []string // domains that are being walked, to see a loop
}

const (
	maxLookups = 10
	maxVoid    = 2
	// Receivers give up at eleven. Whoever has to mend a record wants the whole count, within reason.
	maxWalk = 60
)

func (c *check) spf(ctx context.Context) {
	const name = "spf"
	records, l := c.texts(ctx, c.domain, mailrecords.IsSPF)
	switch {
	case l.err != nil:
		c.unanswered(name, c.domain, l.err)
		return
	case len(records) == 0:
		c.find(name, c.domain, Warning, "spf_none", "there is no SPF record, so anybody may send in the domain's name", "publish one that names the hosts that send, and ends in -all or ~all", l.source)
		return
	case len(records) > 1:
		c.find(name, c.domain, Wrong, "spf_many", fmt.Sprintf("there are %d SPF records, which receivers take as an error (RFC 7208 §4.5): %s", len(records), strings.Join(records, " | ")), "make one of them", l.source)
		return
	}
	record, err := mailrecords.ParseSPF(records[0])
	if err != nil {
		c.find(name, c.domain, Wrong, "spf_syntax", "the SPF record is an error to receivers: "+err.Error(), "mend the term", l.source)
		return
	}
	w := &spfWalk{check: c}
	tree := w.walk(ctx, c.domain, "", records[0])
	c.report.SPF = &tree
	if ctx.Err() != nil {
		return
	}
	before := len(c.report.Findings)
	for _, broken := range failures(tree) {
		if broken.Unanswered {
			c.find(name, broken.Domain, Warning, "spf_unanswered", fmt.Sprintf("%s: %s", broken.Term, broken.Error), "ask again; the count of look-ups is too low", "")
			continue
		}
		c.find(name, broken.Domain, Wrong, "spf_include", fmt.Sprintf("%s: %s; receivers take the whole record as an error", broken.Term, broken.Error), "take the term out, or ask whoever gave it to you for the right one", "")
	}
	if w.lookups > maxLookups {
		c.find(name, c.domain, Wrong, "spf_many_lookups", fmt.Sprintf("receivers would have to ask %d times and stop at %d with an error (RFC 7208 §4.6.4)", w.lookups, maxLookups), "leave out includes that nobody sends through, or write out their networks", l.source)
	}
	if w.void > maxVoid {
		c.find(name, c.domain, Wrong, "spf_void", fmt.Sprintf("%d look-ups find nothing, and receivers stop at more than %d (RFC 7208 §4.6.4)", w.void, maxVoid), "take out terms whose names don't exist", l.source)
	}
	c.spfEnd(record, l.source)
	if len(c.report.Findings) == before {
		c.find(name, c.domain, Fine, "spf_sound", fmt.Sprintf("%s (%d of %d look-ups)", records[0], w.lookups, maxLookups), "", l.source)
	}
}

// spfEnd looks at what is left for everybody else.
func (c *check) spfEnd(record mailrecords.SPF, source string) {
	const name = "spf"
	all, hasAll := record.Find("all")
	_, redirect := record.Find("redirect")
	switch {
	case hasAll && all.Qualifier == '+':
		c.find(name, c.domain, Wrong, "spf_all_pass", "+all lets everybody send in the domain's name", "end the record in -all or ~all", source)
	case hasAll && all.Qualifier == '?' || !hasAll && !redirect:
		c.find(name, c.domain, Warning, "spf_neutral", "the record says nothing about hosts that it doesn't name", "end the record in -all or ~all", source)
	}
	if _, ok := record.Find("ptr"); ok {
		c.find(name, c.domain, Warning, "spf_ptr", "ptr should not be used (RFC 7208 §5.5), and some receivers pass over it", "name the networks instead", source)
	}
}

// walk reads one record and everything that it refers to. record "" looks it up.
func (w *spfWalk) walk(ctx context.Context, domain, term, record string) Include {
	node := Include{Term: term, Domain: strings.TrimSuffix(domain, ".")}
	for _, d := range w.path {
		if d == domain {
			node.Error = "it refers back to itself"
			return node
		}
	}
	w.path = append(w.path, domain)
	defer func() { w.path = w.path[:len(w.path)-1] }()
	start := w.lookups
	if record == "" {
		records, l := w.texts(ctx, domain, mailrecords.IsSPF)
		switch {
		case l.err != nil:
			node.Error, node.Unanswered = "could not be asked: "+l.err.Error(), true
			return node
		case len(records) != 1:
			if !l.set.Exists() {
				w.void++
			}
			node.Error = fmt.Sprintf("%s has %d SPF records instead of one (RFC 7208 §5.2)", node.Domain, len(records))
			return node
		}
		record = records[0]
	}
	node.Record = record
	parsed, err := mailrecords.ParseSPF(record)
	if err != nil {
		node.Error = err.Error()
		return node
	}
	_, hasAll := parsed.Find("all")
	for _, t := range parsed.Terms {
		if !t.Asks() || t.Name == "redirect" && hasAll {
			continue
		}
		if w.lookups++; w.lookups > maxWalk {
			node.Error = fmt.Sprintf("more than %d look-ups: not followed further", maxWalk)
			break
		}
		if below, follow := w.follow(ctx, domain, t); follow {
			node.Below = append(node.Below, below)
		}
	}
	node.Lookups = w.lookups - start
	return node
}

// follow looks at what one term refers to. Terms with macros depend on the message and are counted alone.
func (w *spfWalk) follow(ctx context.Context, domain string, t mailrecords.Term) (Include, bool) {
	if t.Macro() || t.Name == "ptr" || ctx.Err() != nil {
		return Include{}, false
	}
	target := domain
	if t.Value != "" {
		var err error
		if target, err = dns.Name(t.Value); err != nil {
			return Include{Term: t.String(), Error: err.Error()}, true
		}
	}
	switch t.Name {
	case "include", "redirect":
		return w.walk(ctx, target, t.String(), ""), true
	case "mx":
		l := w.lookup(ctx, target, "MX")
		if l.err == nil && !l.set.Exists() {
			w.void++
		}
		if len(l.set.Data) > 10 {
			return Include{Term: t.String(), Domain: target, Error: "more than 10 MX hosts (RFC 7208 §4.6.4)"}, true
		}
	case "a", "exists":
		found, asked := false, true
		for _, typ := range []string{"A", "AAAA"} {
			l := w.lookup(ctx, target, typ)
			found, asked = found || l.set.Exists(), asked && l.err == nil
		}
		if asked && !found {
			w.void++
		}
	}
	return Include{}, false
}

// failures are the nodes that end in an error.
func failures(n Include) []Include {
	var list []Include
	if n.Error != "" {
		if n.Term == "" {
			n.Term = "the record"
		}
		list = append(list, n)
	}
	for _, b := range n.Below {
		list = append(list, failures(b)...)
	}
	return list
}
