package apply

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/mailrecords"
)

// planned tells whether a fault in the sets of the flip is the plan's own. What
// was there when the plan was reviewed, and stays, only warns: it is no worse after the flip.
func (e *Engine) knownBefore(domain, name, typ string, now plan.RRset) bool {
	if e.Inventory == nil {
		return false
	}
	seen, ok := e.Inventory.Domain(domain)
	return ok && seen.Set(name, typ).SameData(now)
}

// weigh is a.warn for what was there before, a.no for everything else.
func (a *Answer) weigh(before bool) func(format string, args ...any) {
	if before {
		return a.warn
	}
	return a.no
}

// spfSound: will there be one SPF record that receivers can follow?
func spfSound(ctx context.Context, e *Engine, a *Answer) {
	a.Remedy = "own the SPF string with match = \"v=spf1\", and leave out includes that nobody sends through; plan and review again"
	e.eachFlip(a, func(f flip) {
		p := e.prospect(a)
		apex := f.domain.Name + "."
		set, err := p.find(ctx, apex, "TXT")
		if err != nil {
			a.no("%s: the TXT records could not be asked for: %v", f.domain.Name, err)
			return
		}
		_, ours := f.set("TXT", "@")
		no := a.weigh(!ours && e.knownBefore(f.domain.Name, apex, "TXT", set))
		records := textsOf(set, mailrecords.IsSPF)
		switch {
		case len(records) == 0:
			a.warn("%s has no SPF record: anybody may send in its name", f.domain.Name)
			return
		case len(records) > 1:
			no("%s would have %d SPF records, which receivers take as an error (RFC 7208 §4.5)", f.domain.Name, len(records))
			return
		}
		cost := mailrecords.SPFCost(f.domain.Name, records[0], func(name, typ string) ([]string, error) { return p.data(ctx, name, typ) })
		a.saw(e, "the records", "SPF of "+f.domain.Name, fmt.Sprintf("%s: %d look-ups, %d void", records[0], cost.Lookups, cost.Void))
		for _, fault := range cost.Faults {
			no("%s: receivers take the SPF record as an error: %s", f.domain.Name, fault)
		}
		if cost.Lookups > mailrecords.MaxLookups {
			no("%s: the SPF record asks receivers for %d look-ups, and they stop at %d (RFC 7208 §4.6.4)", f.domain.Name, cost.Lookups, mailrecords.MaxLookups)
		}
		if cost.Void > mailrecords.MaxVoid {
			no("%s: %d look-ups of the SPF record find nothing, and receivers stop at more than %d (RFC 7208 §4.6.4)", f.domain.Name, cost.Void, mailrecords.MaxVoid)
		}
		for _, name := range cost.Unasked {
			a.warn("%s: a part of the SPF record could not be followed: %s", f.domain.Name, name)
		}
	})
}

// data are the record data at the end of name's aliases, TXT as plain text.
func (p *prospect) data(ctx context.Context, name, typ string) ([]string, error) {
	set, _, err := p.follow(ctx, name, typ)
	if typ == "TXT" {
		return textsOf(set, func(string) bool { return true }), err
	}
	return set.Data, err
}

// dkimKeys: do the selectors that the new host asks for lead to keys, and are
// the old ones kept, by which mail on its way is verified?
func dkimKeys(ctx context.Context, e *Engine, a *Answer) {
	a.Remedy = "switch DKIM on at the new host, publish its selectors as it names them, and leave the old ones until the end"
	e.eachFlip(a, func(f flip) {
		p := e.prospect(a)
		wanted := map[string]bool{}
		for _, s := range e.Plan.Steps {
			at, err := parseDNS(s.Address)
			if err != nil || at.domain != f.domain.Name || !isSelector(at.name) || len(s.To) == 0 || s.Phase != plan.Provision && s.Phase != plan.Flip || unknown(s) {
				continue
			}
			wanted[at.fqdn()] = true
		}
		for _, r := range f.domain.Records {
			if name := strings.ToLower(r.Name); isSelector(name) && len(r.Values) > 0 && !r.Keep && !plan.Flip.Before(r.At) {
				wanted[name+"."+f.domain.Name+"."] = true
			}
		}
		for name := range wanted {
			e.selector(ctx, p, name, a)
		}
		e.oldSelectors(ctx, p, f, wanted, a)
		slices.Sort(a.Detail)
	})
}

func isSelector(name string) bool { return strings.HasSuffix(name, "._domainkey") }

// selector looks at one selector of the new host.
func (e *Engine) selector(ctx context.Context, p *prospect, name string, a *Answer) {
	short := strings.TrimSuffix(name, ".")
	set, end, err := p.follow(ctx, name, "TXT")
	switch {
	case err != nil:
		a.warn("the DKIM key at %s could not be asked for: %v", short, err)
	case !set.Exists() && end != name:
		a.no("%s leads to %s, where no key is", short, strings.TrimSuffix(end, "."))
	case !set.Exists():
		a.no("there is no DKIM key at %s", short)
	default:
		keys := textsOf(set, func(string) bool { return true })
		if len(keys) != 1 {
			a.no("%d records stand at %s where one key belongs (RFC 6376 §3.6.2.2)", len(set.Data), short)
			return
		}
		k, err := mailrecords.ParseDKIM(keys[0])
		switch {
		case err != nil:
			a.no("what stands at %s is no DKIM key: %v", short, err)
		case k.Revoked:
			a.no("the DKIM key at %s is revoked", short)
		}
	}
}

// oldSelectors: is every selector that was there when the plan was made still
// there, and will it be after the flip?
func (e *Engine) oldSelectors(ctx context.Context, p *prospect, f flip, wanted map[string]bool, a *Answer) {
	if e.Inventory == nil {
		return
	}
	seen, _ := e.Inventory.Domain(f.domain.Name)
	for _, s := range seen.Sets {
		name, _ := strings.CutSuffix(s.Name, "."+f.domain.Name+".")
		if !isSelector(name) || wanted[s.Name] {
			continue
		}
		set, err := p.find(ctx, s.Name, s.Type)
		switch {
		case err != nil:
			a.warn("the old DKIM selector %s could not be asked for: %v", strings.TrimSuffix(s.Name, "."), err)
		case !set.Exists():
			a.no("the old DKIM selector %s is gone, or the flip takes it away: mail that the old host has signed could not be verified any more", strings.TrimSuffix(s.Name, "."))
		}
	}
}

// dmarcKept: is the DMARC policy as before, or no stricter than the new
// sender can meet?
func dmarcKept(ctx context.Context, e *Engine, a *Answer) {
	a.Remedy = "leave the policy as it is until the new host signs with DKIM; tighten it after the migration"
	e.eachFlip(a, func(f flip) {
		name := "_dmarc." + f.domain.Name + "."
		p := e.prospect(a)
		after, err := p.texts(ctx, name, mailrecords.IsDMARC)
		if err != nil {
			a.warn("the DMARC policy of %s could not be asked for: %v", f.domain.Name, err)
			return
		}
		before := after
		if now := (&prospect{e: e, a: a}); slices.ContainsFunc(f.records, func(r record) bool { return r.at.name == "_dmarc" }) {
			if before, err = now.texts(ctx, name, mailrecords.IsDMARC); err != nil {
				a.warn("the DMARC policy that %s has now could not be asked for: %v", f.domain.Name, err)
				before = nil
			}
		}
		no := a.weigh(slices.Equal(before, after))
		switch {
		case len(after) == 0 && len(before) > 0:
			a.no("the flip takes the DMARC policy of %s away: %s", f.domain.Name, before[0])
			return
		case len(after) == 0:
			return
		case len(after) > 1:
			no("%s would have %d DMARC records, and receivers take notice of none then (RFC 7489 §6.6.3)", f.domain.Name, len(after))
			return
		}
		d, err := mailrecords.ParseDMARC(after[0])
		if err != nil {
			no("receivers take no notice of the DMARC policy of %s: %v", f.domain.Name, err)
			return
		}
		a.saw(e, "the records", "DMARC of "+f.domain.Name, after[0])
		was := mailrecords.DMARC{Policy: "none"}
		if len(before) == 1 {
			if b, err := mailrecords.ParseDMARC(before[0]); err == nil {
				was = b
			}
		}
		signs := e.signsAtTarget(f)
		switch {
		case strictness(d) > strictness(was) && !signs:
			a.no("the flip makes the DMARC policy of %s stricter (%s, was %s), and the plan publishes no DKIM key for the new host", f.domain.Name, d.Policy, was.Policy)
		case d.Policy != "none" && !signs:
			a.warn("%s has the DMARC policy %s, and the plan publishes no DKIM key for the new host: see that it signs with d=%s, or that its SPF is aligned", f.domain.Name, d.Policy, f.domain.Name)
		}
	})
}

// strictness orders policies by what they ask of a sender.
func strictness(d mailrecords.DMARC) int {
	n := 2 * slices.Index([]string{"none", "quarantine", "reject"}, d.Policy)
	if d.Policy != "none" && (d.DKIM == "s" || d.SPF == "s") {
		n++
	}
	return n
}

// signsAtTarget reports whether the configuration or the plan publishes keys for the new host.
func (e *Engine) signsAtTarget(f flip) bool {
	return slices.ContainsFunc(e.Plan.Steps, func(s plan.Step) bool {
		at, err := parseDNS(s.Address)
		return err == nil && at.domain == f.domain.Name && isSelector(at.name) && len(s.To) > 0
	}) || slices.ContainsFunc(f.domain.Records, func(r plan.Record) bool {
		return isSelector(strings.ToLower(r.Name)) && len(r.Values) > 0
	})
}
