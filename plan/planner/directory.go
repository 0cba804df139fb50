package planner

import (
	"cmp"
	"fmt"
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
		add, verify := "domain/"+d.Name, "domain/"+d.Name+"/verify"
		to := []string{d.Name + " at " + d.Mail}
		if !known {
			p.add(plan.Step{Address: add, Phase: plan.Provision, Action: plan.Create, To: to, Undo: plan.NoneNeeded})
		}
		if !seen.Verified {
			s := plan.Step{Address: verify, Phase: plan.Provision, Action: plan.Change, From: []string{"not verified"}, To: []string{"verified"}, Undo: plan.NoneNeeded}
			s.Expect = plan.FingerprintOf(s.From...)
			if !known {
				s.After = []string{add}
			}
			p.add(s)
		}
		if !seen.Signing {
			s := plan.Step{Address: "domain/" + d.Name + "/dkim", Phase: plan.Provision, Action: plan.Change, From: []string{"DKIM off"}, To: []string{"DKIM on"}, Undo: plan.Restore}
			s.Expect = plan.FingerprintOf(s.From...)
			if !seen.Verified {
				s.After = []string{verify}
			}
			p.add(s)
		}
	}
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
			z.after(record, add)
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

// tenantAccount plans a user or shared mailbox at a target with a directory.
// Attributes that the configuration doesn't name are left as they are.
func (p *planner) tenantAccount(m plan.Mailbox) string {
	seen, _ := p.inv.Target(m.On, m.Target)
	address, what := "account/"+m.Target, "user"
	if m.Kind == plan.SharedMailbox {
		address, what = "shared/"+m.Target, "shared"
	}
	if p.has(address) {
		return address
	}
	var from, to []string
	fact := func(name, have, want string) {
		if want == "" {
			return
		}
		if have == "" {
			have = "none"
		}
		from, to = append(from, name+": "+have), append(to, name+": "+want)
	}
	head := m.Target + " at " + m.On
	from, to = append(from, head), append(to, head)
	// A directory of an older inventory may not say what kind it is: that is no difference.
	if seen.Kind != "" {
		fact("mailbox", string(seen.Kind), what)
	} else {
		fact("mailbox", what, what)
	}
	fact("display name", seen.DisplayName, m.DisplayName)
	have := ""
	if slices.Contains(seen.Licenses, m.License) {
		have = m.License
	}
	fact("license", have, m.License)
	fact("usage location", seen.UsageLocation, m.UsageLocation)
	for _, right := range []struct {
		name       string
		have, want []string
	}{{"full access", seen.FullAccess, m.FullAccess}, {"send as", seen.SendAs, m.SendAs}} {
		for _, who := range sorted(right.want) {
			h := ""
			if slices.Contains(right.have, who) {
				h = who
			}
			fact(right.name, h, who)
		}
	}
	var after []string
	after = append(after, p.verified(m.Target)...)
	step := p.directoryStep(address, seen.Exists, from, to, after)
	if step != "" && m.Kind == plan.SharedMailbox && p.exchangeByHand(m.On) {
		p.byHand(step, "proof: the directory shows it")
	}
	return step
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
	s.Detail = append(s.Detail, proof)
}

// tenantAddress plans an alias, list or forwarder at a target with a directory.
func (p *planner) tenantAddress(kind, address, on string, want inventory.Address) {
	seen, _ := p.inv.Address(on, address)
	lines := func(a inventory.Address) []string {
		out := []string{address + " at " + on}
		for _, d := range sorted(a.Deliver) {
			out = append(out, map[string]string{"alias": "delivers to: ", "list": "member: ", "forwarder": "sends on to: "}[want.Kind]+d)
		}
		switch {
		case want.Kind == "list" && a.External:
			out = append(out, "written to by: anybody")
		case want.Kind == "list":
			out = append(out, "written to by: the organisation")
		case want.Kind == "forwarder" && a.KeepCopy:
			out = append(out, "keeps a copy")
		}
		return out
	}
	if seen.Exists && seen.Kind != "" && seen.Kind != want.Kind {
		p.find(plan.Finding{
			Check: "address_of_other_kind", Severity: plan.Blocks, Subject: address,
			Summary: fmt.Sprintf("%s is there already, as %s, and the configuration wants it as %s", address, article(seen.Kind), article(want.Kind)),
			Remedy:  "rename or remove the one at the target, or write the configuration to fit",
		})
		return
	}
	from := lines(seen)
	if seen.Kind == "" {
		from = lines(want) // asked about by its mail exchanger only: it exists, and that is all that is known
	}
	after := p.verified(address)
	for _, d := range want.Deliver {
		for _, prefix := range []string{"account/", "shared/", "list/"} {
			if a := prefix + d; p.has(a) {
				after = append(after, a)
			}
		}
	}
	if step := p.directoryStep(kind+address, seen.Exists, from, lines(want), after); step != "" && p.exchangeByHand(on) {
		p.byHand(step, "proof: the directory shows it")
	}
}

func article(word string) string {
	if word == "alias" {
		return "an alias"
	}
	return "a " + word
}

// derived are the records that a target with a directory asks the zone for.
// What the configuration writes itself wins. A value that the target has not
// named yet is plan.KnownAfterProvision.
func (z *zonePlan) derived() []plan.Record {
	if !z.hasDirectory(z.domain.Mail) {
		return nil
	}
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
		// A policy that is there is the organisation's own and stays.
		plan.Record{Type: "TXT", Name: "_dmarc", At: plan.Provision, Keep: true, Values: []string{"v=DMARC1; p=none"}},
	)
	for _, selector := range selectors(seen) {
		list = append(list, plan.Record{Type: "CNAME", Name: selector + "._domainkey", At: plan.Provision, Values: value("", fullName(seen.DKIM[selector]))})
	}
	list = slices.DeleteFunc(list, func(r plan.Record) bool {
		return slices.ContainsFunc(z.domain.Records, func(own plan.Record) bool { return overrides(own, r) })
	})
	for i := range list {
		list[i].Pos = z.domain.Pos
	}
	return list
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
