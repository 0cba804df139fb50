package planner

import (
	"cmp"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/plan/spf"
)

// directories are the target kinds that users, addresses and domains can be
// made in. At all others a person makes them.
var directories = map[string]bool{"microsoft365": true}

func (p *planner) hasDirectory(key string) bool {
	host, _ := p.m.Target(key)
	return directories[host.Kind]
}

// exchangeByHand reports whether a person does at the target what only
// PowerShell can: shared mailboxes, aliases, lists and forwarders.
func (p *planner) exchangeByHand(key string) bool {
	host, _ := p.m.Target(key)
	return host.Settings["exchange"] == "by_hand"
}

// tenantDomains plans that targets with a directory know the domains whose
// mail they take, and sign for them. The records of it are planned with the zone.
func (p *planner) tenantDomains() {
	for _, d := range p.m.Domains {
		if !p.hasDirectory(d.Mail) {
			continue
		}
		dir, _ := p.inv.Directory(d.Mail)
		seen, known := dir.Domain(d.Name)
		add := "domain/" + d.Name
		verify, keys, dkim := add+"/verify", add+"/keys", add+"/dkim"
		if !known {
			p.add(plan.Step{Address: add, Phase: plan.Provision, Action: plan.Create, To: domainLines(d, ""), Undo: plan.NoneNeeded})
		}
		change := func(address, part string, after ...string) {
			from, to := domainFacts(part, false), domainFacts(part, true)
			p.add(plan.Step{Address: address, Phase: plan.Provision, Action: plan.Change, From: from, To: to, After: after, Expect: plan.FingerprintOf(from...), Undo: plan.Restore})
		}
		var after []string
		if !seen.Verified {
			if !known {
				after = []string{add}
			}
			change(verify, "verify", after...)
			after = []string{verify}
		}
		if p.exchangeByHand(d.Mail) && p.selectorsPublished(d.Name) {
			continue // nobody outside can tell whether they sign; whoever published them was told to switch it on
		}
		if len(seen.DKIM) == 0 {
			change(keys, "keys", after...)
			if p.exchangeByHand(d.Mail) {
				p.byHand(keys, "proof: none is possible from outside")
			}
			after = []string{keys}
		}
		if !seen.Signing {
			change(dkim, "dkim", after...)
			if p.exchangeByHand(d.Mail) {
				p.byHand(dkim, "proof: none is possible from outside")
			}
		}
	}
}

// selectorsPublished reports whether both DKIM selectors of the domain are in its zone.
func (p *planner) selectorsPublished(domain string) bool {
	d, _ := p.inv.Domain(domain)
	for _, selector := range selectors(inventory.DirectoryDomain{}) {
		if !d.Set(selector+"._domainkey."+domain+".", "CNAME").Exists() {
			return false
		}
	}
	return true
}

// domainLines and domainFacts are what the steps about a domain say.
func domainLines(d plan.Domain, part string) []string {
	if part == "" {
		return []string{d.Name + " at " + d.Mail}
	}
	return domainFacts(part, true)
}

func domainFacts(part string, yes bool) []string {
	words := map[string][2]string{
		"verify": {"not verified", "verified"},
		"keys":   {"no DKIM keys", "DKIM keys"},
		"dkim":   {"DKIM off", "DKIM on"},
	}[part]
	if yes {
		return []string{words[1]}
	}
	return []string{words[0]}
}

// after makes the step at address wait for others, where it is planned.
func (p *planner) after(address string, others ...string) {
	i := slices.IndexFunc(p.steps, func(s plan.Step) bool { return s.Address == address })
	if i < 0 {
		return
	}
	for _, o := range others {
		if o != "" && o != address && p.has(o) {
			p.steps[i].After = normal(append(p.steps[i].After, o))
		}
	}
}

// verified is the step after which the domain of an address may be used at
// the target, "" when it may be now.
func (p *planner) verified(address string) []string {
	if a := "domain/" + domainOf(address) + "/verify"; p.has(a) {
		return []string{a}
	}
	return nil
}

// orderTenant puts the target's own steps and the records that they need in order:
// the proof of who owns a domain is named once the domain is there, and DKIM
// can be switched on when its keys are found.
func (z *zonePlan) orderTenant() {
	add := "domain/" + z.domain.Name
	for _, c := range z.changes {
		if c.phase != plan.Provision {
			continue
		}
		record := z.address(c.key) + z.suffix(c)
		switch {
		case c.key == key{"TXT", "@"}:
			z.after(record, add)
			z.after(add+"/verify", record)
		case strings.HasSuffix(c.name, "._domainkey"):
			z.after(record, add, add+"/keys")
			z.after(add+"/dkim", record)
		}
	}
}

// directoryStep adds a step from what a directory holds to what it shall hold.
// It returns the step's address, "" when nothing differs.
func (p *planner) directoryStep(address string, exists bool, from, to, after []string) string {
	if exists && slices.Equal(from, to) {
		return ""
	}
	s := plan.Step{Address: address, Phase: plan.Provision, Action: plan.Create, To: to, After: after, Undo: plan.NoneNeeded}
	if exists {
		s.Action, s.From, s.Undo = plan.Change, from, plan.Restore
	}
	s.Expect = plan.FingerprintOf(s.From...)
	p.add(s)
	return address
}

// byHand leaves a planned step to a person.
func (p *planner) byHand(address, proof string) {
	i := slices.IndexFunc(p.steps, func(s plan.Step) bool { return s.Address == address })
	s := &p.steps[i]
	s.Action, s.Undo = plan.ByHand, plan.NoneNeeded
	s.Detail = nil
	for _, line := range s.To {
		if !slices.Contains(s.From, line) {
			s.Detail = append(s.Detail, "set "+line)
		}
	}
	s.Detail = append(s.Detail, "the PowerShell script beside the plan, -exchange.ps1, does it", proof)
}

// derived are the records that the target asks the zone for, where it is known to ask for any.
// What the configuration writes itself wins. A value that the target has not
// named yet is plan.KnownAfterProvision.
func (z *zonePlan) derived() []plan.Record {
	var list []plan.Record
	switch {
	case z.hasDirectory(z.domain.Mail):
		list = z.tenantRecords()
	case z.toGoogle(z.domain):
		list = googleRecords()
	}
	list = slices.DeleteFunc(list, func(r plan.Record) bool {
		return slices.ContainsFunc(z.domain.Records, func(own plan.Record) bool { return overrides(own, r) })
	})
	for i := range list {
		list[i].Pos = z.domain.Pos
	}
	return list
}

// tenantRecords are those that a tenant names.
func (z *zonePlan) tenantRecords() []plan.Record {
	dir, _ := z.inv.Directory(z.domain.Mail)
	seen, _ := dir.Domain(z.domain.Name)
	value := func(before, v string) []string {
		if v == "" {
			return []string{plan.KnownAfterProvision}
		}
		return []string{before + v}
	}
	var list []plan.Record
	if !seen.Verified {
		// Its own text is all it owns: other tenants' proofs begin alike.
		list = append(list, plan.Record{Type: "TXT", Name: "@", At: plan.Provision, Match: cmp.Or(seen.Verification, "MS="), Values: value("", seen.Verification)})
	}
	list = append(list,
		plan.Record{Type: "MX", Name: "@", At: plan.Flip, Values: value("0 ", fullName(seen.MX))},
		plan.Record{Type: "TXT", Name: "@", At: plan.Flip, Match: spf.Version, Values: value("", seen.SPF)},
		plan.Record{Type: "CNAME", Name: "autodiscover", At: plan.Flip, Values: value("", fullName(seen.Autodiscover))},
		z.derivedDMARC(),
	)
	for _, selector := range selectors(seen) {
		list = append(list, plan.Record{Type: "CNAME", Name: selector + "._domainkey", At: plan.Provision, Values: value("", fullName(seen.DKIM[selector]))})
	}
	return list
}

// derivedDMARC is the policy that the domain gets. One that is there is the
// organisation's own and stays. A CNAME to somebody else's, as IONOS publishes it, would go
// with that contract: the same policy takes its place as a record of the domain's own.
func (z *zonePlan) derivedDMARC() plan.Record {
	r := plan.Record{Type: "TXT", Name: "_dmarc", At: plan.Provision, Keep: true, Values: []string{"v=DMARC1; p=none"}}
	if z.observed(key{"CNAME", "_dmarc"}).Exists() && z.seen.DMARC != "" {
		r.Keep, r.Values = false, []string{z.seen.DMARC}
	}
	return r
}

// overrides reports whether a record of the configuration takes the place of
// a derived one: the same set, and of a TXT set the same strings.
func overrides(own, derived plan.Record) bool {
	if !strings.EqualFold(own.Name, derived.Name) {
		return false
	}
	if own.Type != derived.Type {
		// A host that is written out at a name where a CNAME would be derived.
		return derived.Type == "CNAME" || own.Type == "CNAME"
	}
	return own.Type != "TXT" || derived.Match == "" || own.Match == "" || hasPrefixFold(derived.Match, own.Match) || hasPrefixFold(own.Match, derived.Match)
}

// selectors are the DKIM selectors of the domain: those the target has named,
// or the two that it always has.
func selectors(d inventory.DirectoryDomain) []string {
	if len(d.DKIM) == 0 {
		return []string{"selector1", "selector2"}
	}
	var list []string
	for s := range d.DKIM {
		list = append(list, s)
	}
	return sorted(list)
}

// fullName is a host name with its final dot, "" for none.
func fullName(host string) string {
	if host == "" || strings.HasSuffix(host, ".") {
		return host
	}
	return host + "."
}

func hasPrefixFold(s, prefix string) bool {
	_, ok := cutFold(s, prefix)
	return ok
}
