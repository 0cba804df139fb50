package planner

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
)

// open are the mailboxes whose copy is not closed for good, by source address.
func (p *planner) open() []plan.Mailbox {
	var list []plan.Mailbox
	for _, m := range p.m.Mailboxes {
		if seen, _ := p.inv.Source(m.From, m.Source); !seen.Closed {
			list = append(list, m)
		}
	}
	slices.SortStableFunc(list, func(a, b plan.Mailbox) int { return strings.Compare(a.Source, b.Source) })
	return list
}

// mailboxes plans the account, the passes and the comparison of each mailbox.
func (p *planner) mailboxes() {
	bulk, delta, hold := p.m.Window(plan.BulkCopy), p.m.Window(plan.Delta), p.m.Window(plan.Hold)
	for _, m := range p.open() {
		from := []string{m.Source + " at " + m.From}
		to := []string{m.Target + " at " + m.On}
		expect := p.copyFingerprint(m)
		step := plan.Step{
			Address: "copy/" + m.Source, Phase: plan.BulkCopy, Action: plan.Copy, From: from, To: to,
			Repeat: bulk.Repeat, Until: bulk.Until, Expect: expect, Undo: plan.NoneNeeded, Detail: folderLines(m.Folders),
		}
		if step.Until == (plan.Until{}) {
			step.Until.Moment = plan.Moment{Anchor: plan.AnchorStart(plan.Flip)}
		}
		if a := p.account(m); a != "" {
			step.After = []string{a}
		}
		p.add(step)
		p.add(plan.Step{
			Address: "delta/" + m.Source, Phase: plan.Delta, Action: plan.Copy, From: from, To: to, After: []string{"copy/" + m.Source},
			Repeat: delta.Repeat, Until: delta.Until, Expect: expect, Undo: plan.NoneNeeded,
		})
		p.add(plan.Step{
			Address: "validate/mail/" + m.Source, Phase: plan.Validate, Action: plan.Check, From: from, To: to, Undo: plan.NoneNeeded,
		})
		p.add(plan.Step{
			Address: "hold/" + m.Source, Phase: plan.Hold, Action: plan.Copy, From: from, To: to, After: []string{"delta/" + m.Source},
			Repeat: hold.Repeat, Until: hold.Until, Expect: expect, Undo: plan.NoneNeeded,
		})
	}
	// Those who get rights on a shared mailbox have to be there.
	for _, m := range p.open() {
		if !p.hasDirectory(m.On) {
			continue // a person makes both in the order that suits
		}
		for _, who := range slices.Concat(m.FullAccess, m.SendAs) {
			p.after("shared/"+m.Target, "account/"+who)
		}
	}
}

// account plans the account at the target and returns its step's address, ""
// when it is as wanted. Where the target has no directory a person makes it, and
// a login proves it.
func (p *planner) account(m plan.Mailbox) string {
	if p.hasDirectory(m.On) {
		return p.tenantAccount(m)
	}
	if seen, _ := p.inv.Target(m.On, m.Target); seen.Exists {
		return ""
	}
	kind := "account/"
	what := "mailbox"
	if m.Kind == plan.SharedMailbox {
		kind, what = "shared/", "shared mailbox"
	}
	address := kind + m.Target
	if p.has(address) {
		return address
	}
	host, _ := p.m.Target(m.On)
	secret := m.Credentials
	if secret.IsZero() {
		secret = host.Credentials
	}
	lines := []string{fmt.Sprintf("create the %s %s at %s", what, m.Target, hostLine(host))}
	if m.DisplayName != "" {
		lines = append(lines, "display name: "+m.DisplayName)
	}
	if m.License != "" {
		lines = append(lines, "license: "+m.License)
	}
	if m.Kind == plan.CatchAllMailbox {
		lines = append(lines, "let it take the mail of every address of its domain that has no other home")
	}
	for _, a := range sorted(m.FullAccess) {
		lines = append(lines, "full access for "+a)
	}
	for _, a := range sorted(m.SendAs) {
		lines = append(lines, "send as for "+a)
	}
	if !secret.IsZero() {
		lines = append(lines, "give it the password that "+secret.String()+" holds for it")
	}
	lines = append(lines, "proof: the login works")
	p.add(plan.Step{Address: address, Phase: plan.Provision, Action: plan.ByHand, To: []string{m.Target + " at " + m.On}, Undo: plan.NoneNeeded, Detail: lines})
	return address
}

// hostLine names a host for a person: its key, and where it is.
func hostLine(h plan.Host) string {
	if h.Hostname == "" {
		return h.Key()
	}
	return h.Key() + " (" + net.JoinHostPort(h.Hostname, strconv.Itoa(h.Port)) + ")"
}

// copyFingerprint digests what a copy is planned against: both accounts, and the
// rules. Folders come and go while a mailbox lives, and are no part of it.
func (p *planner) copyFingerprint(m plan.Mailbox) plan.Fingerprint {
	src, _ := p.m.Source(m.From)
	dst, _ := p.m.Target(m.On)
	facts := []string{
		m.Source, src.Kind, src.Hostname, strconv.Itoa(src.Port),
		m.Target, dst.Kind, dst.Hostname, strconv.Itoa(dst.Port), m.Deletes,
	}
	for _, list := range [][]string{m.Folders.Include, m.Folders.Exclude} {
		facts = append(facts, strconv.Itoa(len(list)))
		facts = append(facts, sorted(list)...)
	}
	for _, from := range slices.Sorted(maps.Keys(m.Folders.Map)) {
		facts = append(facts, from, m.Folders.Map[from])
	}
	return plan.FingerprintOf(facts...)
}

// folderLines say what the rules do to folders, and name no other folder:
// plans go to version control.
func folderLines(r plan.FolderRules) []string {
	var lines []string
	for _, from := range slices.Sorted(maps.Keys(r.Map)) {
		if r.Map[from] != from {
			lines = append(lines, from+" → "+r.Map[from])
		}
	}
	for _, g := range sorted(r.Include) {
		lines = append(lines, "only "+g)
	}
	for _, g := range sorted(r.Exclude) {
		lines = append(lines, "without "+g)
	}
	return lines
}

// addresses plans aliases, lists and forwarders. Where the target has no
// directory, and the mail exchanger knew the address already, there is no step;
// else a person creates it.
func (p *planner) addresses() {
	// Lists first: aliases may deliver to them.
	for _, l := range p.m.Lists {
		if p.hasDirectory(l.On) {
			p.tenantAddress("list/", l.Address, l.On, inventory.Address{Kind: "list", Deliver: l.Members, External: l.External}, l.Pos)
			continue
		}
		lines := []string{fmt.Sprintf("create the list %s at %s", l.Address, p.targetLine(l.On))}
		for _, m := range sorted(l.Members) {
			lines = append(lines, "member: "+m)
		}
		if l.External {
			lines = append(lines, "anybody may write to it")
		} else {
			lines = append(lines, "only people of the organisation may write to it")
		}
		p.address("list/", l.Address, l.On, lines)
	}
	for _, a := range p.m.Aliases {
		if p.hasDirectory(a.On) {
			p.tenantAddress("alias/", a.Address, a.On, inventory.Address{Kind: "alias", Deliver: []string{a.Deliver}}, a.Pos)
			continue
		}
		p.address("alias/", a.Address, a.On, []string{fmt.Sprintf("let %s deliver to %s at %s", a.Address, a.Deliver, p.targetLine(a.On))})
	}
	for _, f := range p.m.Forwarders {
		if p.hasDirectory(f.On) {
			p.tenantAddress("forwarder/", f.Address, f.On, inventory.Address{Kind: "forwarder", Deliver: f.Deliver, KeepCopy: f.KeepCopy}, f.Pos)
			continue
		}
		lines := []string{fmt.Sprintf("let %s at %s send on to:", f.Address, p.targetLine(f.On))}
		lines = append(lines, sorted(f.Deliver)...)
		if f.KeepCopy {
			lines = append(lines, "and keep a copy")
		}
		p.address("forwarder/", f.Address, f.On, lines)
	}
}

func (p *planner) address(kind, address, on string, lines []string) {
	if p.inv.AddressExists(on, address) {
		return
	}
	p.add(plan.Step{
		Address: kind + address, Phase: plan.Provision, Action: plan.ByHand, To: []string{address + " at " + on}, Undo: plan.NoneNeeded,
		Detail: append(lines, "proof: the mail exchanger takes mail for it"),
	})
}

func (p *planner) targetLine(key string) string {
	h, ok := p.m.Target(key)
	if !ok {
		return key
	}
	return hostLine(h)
}

// ending plans what closes a migration: the manifest's archive, and the
// source's mailboxes and contracts.
func (p *planner) ending() {
	open := p.open()
	if len(open) == 0 {
		return
	}
	p.add(plan.Step{Address: "archive/manifest", Phase: plan.Hold, Action: plan.Create, After: p.starting("hold/"), Undo: plan.NoneNeeded})
	retired := map[string][]string{}
	for _, m := range open {
		host, _ := p.m.Source(m.From)
		if host.Retire == "keep" {
			continue
		}
		address := "retire/" + m.Source
		retired[m.From] = append(retired[m.From], address)
		p.add(plan.Step{
			Address: address, Phase: plan.Decommission, Action: plan.ByHand, From: []string{m.Source + " at " + m.From},
			After: []string{"archive/manifest"}, Undo: plan.Impossible,
			Detail: []string{
				fmt.Sprintf("close the mailbox %s at %s: delete it or block its login", m.Source, hostLine(host)),
				"proof: the login is refused",
			},
		})
	}
	for key, after := range retired {
		host, _ := p.m.Source(key)
		p.add(plan.Step{
			Address: "retire/host/" + key, Phase: plan.Decommission, Action: plan.ByHand, From: []string{key}, After: after, Undo: plan.Impossible,
			Detail: append(p.oldKeys(host), fmt.Sprintf("end the contract for mail with %s, if nothing else needs it", hostLine(host))),
		})
	}
}

// keyHosts are where a source's customers point their DKIM selectors to.
var keyHosts = map[string]string{"ionos": ".dkim.ionos.com."}

// oldKeys say which records lead to the DKIM keys of a source. They are nobody's in
// the configuration, so they stay until a person takes them out: mail that the
// source has sent can be verified as long as they are there.
func (p *planner) oldKeys(host plan.Host) []string {
	keys, known := keyHosts[host.Kind]
	if !known {
		return nil
	}
	var lines []string
	for _, d := range p.m.Domains {
		seen, _ := p.inv.Domain(d.Name)
		for _, s := range seen.Sets {
			if s.Type == "CNAME" && len(s.Data) == 1 && strings.HasSuffix(s.Data[0], keys) {
				lines = append(lines, fmt.Sprintf("take the CNAME %s out of the zone: it leads to a DKIM key of %s", strings.TrimSuffix(s.Name, "."), host.Key()))
			}
		}
	}
	return sorted(lines)
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }
