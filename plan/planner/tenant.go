package planner

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
)

// facts are what a directory holds of something and what it shall hold, line by
// line: have[i] becomes want[i]. What the configuration doesn't name has no line.
type facts struct{ have, want []string }

func (f *facts) line(text string) { f.have, f.want = append(f.have, text), append(f.want, text) }

// add is for a fact with one value; without a wanted one the fact is left alone.
func (f *facts) add(name, have, want string) {
	if want == "" {
		return
	}
	if have == "" {
		have = "none"
	}
	f.have, f.want = append(f.have, name+": "+have), append(f.want, name+": "+want)
}

// each is for a fact with several values, of which others may stay.
func (f *facts) each(name string, have, want []string) {
	for _, w := range sorted(want) {
		h := ""
		if containsFold(have, w) {
			h = w
		}
		f.add(name, h, w)
	}
}

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(l string) bool { return strings.EqualFold(l, s) })
}

// accountFacts are those of a user or shared mailbox.
func accountFacts(m plan.Mailbox, seen inventory.Mailbox) facts {
	f := facts{}
	f.line(m.Target + " at " + m.On)
	what := "user"
	if m.Kind == plan.SharedMailbox {
		what = "shared"
	}
	// A directory of an older inventory may not say what kind it is: that is no difference.
	kind := what
	if seen.Kind != "" {
		kind = string(seen.Kind)
	}
	f.add("mailbox", kind, what)
	f.add("display name", seen.DisplayName, m.DisplayName)
	have := ""
	if slices.Contains(seen.Licenses, m.License) {
		have = m.License
	}
	f.add("license", have, m.License)
	f.add("usage location", seen.UsageLocation, m.UsageLocation)
	f.each("full access", seen.FullAccess, m.FullAccess)
	f.each("send as", seen.SendAs, m.SendAs)
	return f
}

// accessFacts are what copying needs of a mailbox: IMAP, the application's right to open
// it, and the size of message that the configuration asks for.
func accessFacts(m plan.Mailbox, host plan.Host, seen inventory.Mailbox) facts {
	f := facts{}
	f.line(m.Target + " at " + m.On)
	imap, app, largest := "off", "none", ""
	if seen.IMAP {
		imap = "on"
	}
	if seen.Application {
		app = "full access"
	}
	f.add("IMAP", imap, "on")
	f.add("application", app, "full access")
	if want := host.Oversize.Limit; want > 0 {
		if largest = mega(want); seen.Largest < want {
			largest = "none"
			if seen.Largest > 0 {
				largest = mega(seen.Largest)
			}
		}
		f.add("largest message", largest, mega(want))
	}
	return f
}

// addressFacts are those of an alias, list or forwarder.
func addressFacts(on string, seen, want inventory.Address) facts {
	f := facts{}
	f.line(want.Address + " at " + on)
	if seen.Kind == "" {
		seen.Deliver, seen.External, seen.KeepCopy = want.Deliver, want.External, want.KeepCopy // that it exists is all that is known
	}
	if seen.Kind != "" && seen.Kind != want.Kind {
		f.add("kind", seen.Kind, want.Kind)
	}
	switch want.Kind {
	case "alias":
		f.add("delivers to", strings.Join(sorted(seen.Deliver), ", "), strings.Join(sorted(want.Deliver), ", "))
	case "list":
		f.each("member", seen.Deliver, want.Deliver)
		by := map[bool]string{true: "anybody", false: "the organisation"}
		f.add("written to by", by[seen.External], by[want.External])
	case "forwarder":
		f.each("sends on to", seen.Deliver, want.Deliver)
		if want.KeepCopy {
			f.add("copy", map[bool]string{true: "kept", false: "not kept"}[seen.KeepCopy], "kept")
		}
	}
	return f
}

// catchAllFacts are those of a mailbox that gets what nobody else gets.
func catchAllFacts(m plan.Mailbox, seen inventory.DirectoryDomain) facts {
	f := facts{}
	f.line(domainOf(m.Target) + " at " + m.On)
	f.add("mail that nobody else gets", seen.CatchAll, m.Target)
	return f
}

// tenantAccount plans a user or shared mailbox at a target with a directory, and what
// copying needs of it. It returns the last step, "" when nothing differs. Attributes
// that the configuration doesn't name are left as they are.
func (p *planner) tenantAccount(m plan.Mailbox) string {
	address := "account/" + m.Target
	if m.Kind == plan.SharedMailbox {
		address = "shared/" + m.Target
	}
	access := "access/" + m.Target
	for _, a := range []string{access, address} {
		if p.has(a) {
			return a // two sources go into one mailbox
		}
	}
	if other, taken := p.inv.Address(m.On, m.Target); taken && other.Exists && other.Kind != "mailbox" {
		p.taken(m.Target, other, m.Pos)
		return ""
	}
	seen, _ := p.inv.Target(m.On, m.Target)
	f := accountFacts(m, seen)
	step := p.directoryStep(address, seen.Exists, f.have, f.want, p.verified(m.Target))
	if step != "" && m.Kind == plan.SharedMailbox && p.exchangeByHand(m.On) {
		p.byHand(step, "proof: the directory shows it")
	}
	if m.Kind == plan.CatchAllMailbox {
		p.catchAll(m, step)
	}
	host, _ := p.m.Target(m.On)
	after := []string{}
	if step != "" {
		after = append(after, step)
	}
	if a := p.application(m.On); a != "" {
		after = append(after, a)
	}
	f = accessFacts(m, host, seen)
	if p.directoryStep(access, seen.Exists, f.have, f.want, after) == "" {
		return step
	}
	if p.exchangeByHand(m.On) {
		p.byHand(access, "proof: the login by IMAP works")
	}
	return access
}

// application plans that the target's mailboxes can be given to the application that
// copies, once for a target. Where a person uses PowerShell it is part of giving them.
func (p *planner) application(on string) string {
	address := "application/" + on
	if p.has(address) {
		return address
	}
	dir, _ := p.inv.Directory(on)
	if dir.Application || p.exchangeByHand(on) {
		return ""
	}
	p.add(plan.Step{Address: address, Phase: plan.Provision, Action: plan.Create, To: []string{"mailboxes can be given to it"}, Undo: plan.NoneNeeded})
	return address
}

// catchAll plans that a mailbox gets what nobody else gets.
func (p *planner) catchAll(m plan.Mailbox, account string) {
	dir, _ := p.inv.Directory(m.On)
	d, _ := dir.Domain(domainOf(m.Target))
	f := catchAllFacts(m, d)
	after := p.verified(m.Target)
	if account != "" {
		after = append(after, account)
	}
	if step := p.directoryStep("catchall/"+m.Target, true, f.have, f.want, after); step != "" && p.exchangeByHand(m.On) {
		p.byHand(step, "proof: none is possible from outside")
	}
}

// tenantAddress plans an alias, list or forwarder at a target with a directory.
func (p *planner) tenantAddress(kind, address, on string, want inventory.Address, pos plan.Pos) {
	seen, _ := p.inv.Address(on, address)
	want.Address = address
	if seen.Exists && seen.Kind != "" && (seen.Kind != want.Kind || want.Kind == "alias" && !slices.Equal(sorted(seen.Deliver), sorted(want.Deliver))) {
		if seen.Kind == "alias" || seen.Kind == "mailbox" || seen.Kind == "other" {
			p.taken(address, seen, pos)
			return
		}
		p.find(plan.Finding{
			Check: "address_of_other_kind", Severity: plan.Blocks, Subject: address, Pos: pos,
			Summary: fmt.Sprintf("%s is there already, as %s, and the configuration wants it as %s", address, article(seen.Kind), article(want.Kind)),
			Remedy:  "rename or remove the one at the target, or write the configuration to fit",
		})
		return
	}
	f := addressFacts(on, seen, want)
	after := p.verified(address)
	for _, d := range want.Deliver {
		for _, prefix := range []string{"account/", "shared/", "list/"} {
			if a := prefix + d; p.has(a) {
				after = append(after, a)
			}
		}
	}
	step := p.directoryStep(kind+address, seen.Exists, f.have, f.want, after)
	switch {
	case step == "":
	case p.exchangeByHand(on):
		p.byHand(step, "proof: the directory shows it")
	case want.Kind == "forwarder" && want.KeepCopy:
		// It needs a mailbox of its own, and a rule that lets mail be sent on to outside.
		p.byHand(step, "proof: the mail exchanger takes mail for it")
	}
}

// taken finds that somebody else has the address. Nothing is taken from anybody.
func (p *planner) taken(address string, seen inventory.Address, pos plan.Pos) {
	what := "belongs to " + strings.Join(sorted(seen.Deliver), ", ")
	if seen.Kind == "mailbox" || len(seen.Deliver) == 0 {
		what = "is the address of " + article(seen.Kind)
	}
	p.find(plan.Finding{
		Check: "address_taken", Severity: plan.Blocks, Subject: address, Pos: pos,
		Summary: fmt.Sprintf("%s %s at %s, and the configuration gives it to somebody else", address, what, seen.Host),
		Remedy:  "take the address away there, or write the configuration to fit; then discover and plan again",
	})
}

func article(word string) string {
	switch word {
	case "alias":
		return "an alias"
	case "other":
		return "another kind of recipient"
	}
	return "a " + word
}

// Facts is what a step about a target's directory is about, held against fresh facts.
type Facts struct {
	Host       string // key of the target
	There      bool   // it exists
	Have, Want []string
}

// Reached reports whether the step has nothing left to do.
func (f Facts) Reached() bool { return f.There && slices.Equal(f.Have, f.Want) }

// Drift are the lines that are neither what the step was planned against nor what it
// wants. A step that was begun and cut short leaves some of either.
func (f Facts) Drift(s plan.Step) []string {
	if !f.There {
		if len(s.From) > 0 && s.Action == plan.Change && kindOf(s.Address) != "access" {
			return []string{"it is gone"}
		}
		return nil
	}
	if kindOf(s.Address) == "access" {
		return nil // settings that only open and raise, whatever they were
	}
	var drift []string
	for i, have := range f.Have {
		name, value, _ := strings.Cut(have, ": ")
		free := len(s.From) == 0 && (value == "none" || name == "written to by")
		if slices.Contains(s.To, have) || slices.Contains(s.From, have) || free || i < len(f.Want) && have == f.Want[i] {
			continue
		}
		drift = append(drift, have)
	}
	return drift
}

func kindOf(address string) string {
	kind, _, _ := strings.Cut(address, "/")
	return kind
}

// Observed holds what a directory step is about against inv, which need hold no more than
// that. ok is false for steps of other kinds and for what the configuration no longer names.
func Observed(m *plan.Migration, inv *inventory.Inventory, s plan.Step) (Facts, bool) {
	kind, rest, _ := strings.Cut(s.Address, "/")
	of := func(host string, there bool, f facts) (Facts, bool) {
		return Facts{Host: host, There: there, Have: f.have, Want: f.want}, true
	}
	switch kind {
	case "domain":
		name, part, _ := strings.Cut(rest, "/")
		d, ok := m.Domain(name)
		if !ok {
			return Facts{}, false
		}
		dir, _ := inv.Directory(d.Mail)
		seen, known := dir.Domain(name)
		yes := map[string]bool{"": known, "verify": seen.Verified, "keys": len(seen.DKIM) > 0, "dkim": seen.Signing}[part]
		f := facts{have: domainLines(d, ""), want: domainLines(d, part)}
		if part != "" {
			f.have = domainFacts(part, yes)
		}
		return of(d.Mail, part != "" || yes, f)
	case "application":
		dir, _ := inv.Directory(rest)
		return of(rest, dir.Application, facts{have: s.To, want: s.To})
	case "account", "shared", "access", "catchall":
		for _, box := range m.Mailboxes {
			if box.Target != rest {
				continue
			}
			seen, _ := inv.Target(box.On, rest)
			switch kind {
			case "access":
				host, _ := m.Target(box.On)
				return of(box.On, seen.Exists, accessFacts(box, host, seen))
			case "catchall":
				dir, _ := inv.Directory(box.On)
				d, _ := dir.Domain(domainOf(rest))
				return of(box.On, true, catchAllFacts(box, d))
			}
			return of(box.On, seen.Exists, accountFacts(box, seen))
		}
	case "alias", "list", "forwarder":
		on, want, ok := WantedAddress(m, kind, rest)
		if !ok {
			return Facts{}, false
		}
		seen, _ := inv.Address(on, rest)
		return of(on, seen.Exists, addressFacts(on, seen, want))
	}
	return Facts{}, false
}

// WantedAddress is what the configuration wants of an alias, list or forwarder, and at which target.
func WantedAddress(m *plan.Migration, kind, address string) (on string, want inventory.Address, ok bool) {
	want = inventory.Address{Address: address, Kind: kind}
	switch kind {
	case "alias":
		for _, a := range m.Aliases {
			if a.Address == address {
				want.Deliver = []string{a.Deliver}
				return a.On, want, true
			}
		}
	case "list":
		for _, l := range m.Lists {
			if l.Address == address {
				want.Deliver, want.External = l.Members, l.External
				return l.On, want, true
			}
		}
	case "forwarder":
		for _, f := range m.Forwarders {
			if f.Address == address {
				want.Deliver, want.KeepCopy = f.Deliver, f.KeepCopy
				return f.On, want, true
			}
		}
	}
	return "", want, false
}
