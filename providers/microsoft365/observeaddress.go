package microsoft365

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/microsoft365/exchange"
)

func (o *observer) addresses(ctx context.Context, q providers.DirectoryQuery) error {
	see := o.address
	if o.t.byHand() {
		see = o.addressByGraph
	}
	for _, a := range q.Aliases {
		if err := see(ctx, a.Address, inventory.Address{Kind: "alias", Deliver: []string{a.Deliver}}); err != nil {
			return err
		}
	}
	for _, l := range q.Lists {
		if err := see(ctx, l.Address, inventory.Address{Kind: "list", Deliver: l.Members, External: l.External}); err != nil {
			return err
		}
	}
	for _, f := range q.Forwarders {
		if err := see(ctx, f.Address, inventory.Address{Kind: "forwarder", Deliver: f.Deliver, KeepCopy: f.KeepCopy}); err != nil {
			return err
		}
	}
	return nil
}

// address finds who has an address and what mail to it does.
func (o *observer) address(ctx context.Context, address string, want inventory.Address) error {
	box, ok, err := o.mailbox(ctx, address)
	if err != nil {
		return err
	}
	switch {
	case ok && strings.EqualFold(box.Address, address) && want.Kind == "forwarder" && want.KeepCopy:
		// A mailbox of its own that sends on. Where to is shown by names of recipients, and is the person's who made it.
		a := inventory.Address{Host: o.t.host.Key(), Address: address, Exists: true, Kind: "forwarder", KeepCopy: box.Forwards()}
		if a.KeepCopy {
			a.Deliver = want.Deliver
		}
		o.facts.Addresses = append(o.facts.Addresses, a)
		return nil
	case ok && strings.EqualFold(box.Address, address):
		o.belongs(address, "mailbox", box.Address)
		return nil
	case ok:
		to := strings.ToLower(box.Address)
		// The owner may be known by another of its addresses.
		if len(want.Deliver) == 1 && box.Has(want.Deliver[0]) {
			to = want.Deliver[0]
		}
		o.belongs(address, "alias", to)
		return nil
	}
	g, ok, err := o.group(ctx, address)
	if err != nil {
		return err
	}
	if !ok {
		before := len(o.facts.Addresses)
		if err := o.somebody(ctx, address); err != nil {
			return err
		}
		if len(o.facts.Addresses) == before {
			o.facts.Addresses = append(o.facts.Addresses, inventory.Address{Host: o.t.host.Key(), Address: address})
		}
		return nil
	}
	if !strings.EqualFold(g.Address, address) {
		to := strings.ToLower(g.Address)
		if len(want.Deliver) == 1 && g.Addresses.Has(want.Deliver[0]) {
			to = want.Deliver[0]
		}
		o.belongs(address, "alias", to)
		return nil
	}
	return o.list(ctx, address, g, want)
}

// list reads a list's members. One whose members are all outside is a forwarder, where one is wanted.
func (o *observer) list(ctx context.Context, address string, g exchange.Group, want inventory.Address) error {
	members, err := o.t.exo.Members(ctx, g.ID())
	if err != nil {
		return err
	}
	a := inventory.Address{Host: o.t.host.Key(), Address: address, Exists: true, Kind: "list", External: g.External()}
	outside := true
	for _, m := range members {
		who := m.Leads()
		if i := slices.IndexFunc(want.Deliver, func(w string) bool { return strings.EqualFold(w, m.Address) || m.Addresses.Has(w) }); i >= 0 {
			who = want.Deliver[i]
		}
		a.Deliver = append(a.Deliver, who)
		outside = outside && m.Contact()
	}
	if outside && want.Kind == "forwarder" {
		a.Kind, a.External = "forwarder", false
		if !g.External() {
			a.Deliver = nil // nobody outside can reach it: it sends nothing on yet
		}
	}
	o.facts.Addresses = append(o.facts.Addresses, a)
	return nil
}

// addressByGraph is the same as far as Graph tells.
func (o *observer) addressByGraph(ctx context.Context, address string, want inventory.Address) error {
	if want.Kind == "forwarder" && want.KeepCopy {
		u, ok, err := o.user(ctx, address)
		if err != nil {
			return err
		}
		a := inventory.Address{Host: o.t.host.Key(), Address: address, Exists: ok && u.HasAddress(address)}
		if a.Exists {
			a.Kind, a.KeepCopy, a.Deliver = "forwarder", true, want.Deliver
		}
		o.facts.Addresses = append(o.facts.Addresses, a)
		return nil
	}
	if o.all != nil {
		if u, ok := o.all.byAddress[strings.ToLower(address)]; ok {
			if strings.EqualFold(u.Mail, address) {
				o.belongs(address, "mailbox", u.Mail)
				return nil
			}
			to := cmp.Or(u.Mail, u.Principal)
			if len(want.Deliver) == 1 && (u.HasAddress(want.Deliver[0]) || strings.EqualFold(u.Principal, want.Deliver[0])) {
				to = want.Deliver[0]
			}
			o.belongs(address, "alias", to)
			return nil
		}
	}
	if want.Kind == "alias" {
		owner, ok, err := o.user(ctx, want.Deliver[0])
		if err != nil {
			return err
		}
		if ok && owner.HasAddress(address) {
			o.belongs(address, "alias", want.Deliver[0])
			return nil
		}
		o.facts.Addresses = append(o.facts.Addresses, inventory.Address{Host: o.t.host.Key(), Address: address})
		return nil
	}
	a := inventory.Address{Host: o.t.host.Key(), Address: address}
	g, ok, err := o.t.graph.GroupByMail(ctx, address)
	if err != nil {
		return err
	}
	if ok {
		a.Exists, a.Kind, a.External, a.KeepCopy = true, want.Kind, want.External, want.KeepCopy
		members, err := o.t.graph.Members(ctx, g.ID)
		if err != nil {
			return err
		}
		a.Deliver = members
	}
	o.facts.Addresses = append(o.facts.Addresses, a)
	return nil
}

// catchAlls asks for the rule of each catch-all mailbox.
func (o *observer) catchAlls(ctx context.Context, q providers.DirectoryQuery) error {
	if o.t.byHand() || q.Access {
		return nil
	}
	for _, m := range q.Mailboxes {
		if m.Kind != plan.CatchAllMailbox {
			continue
		}
		domain := domainOf(m.Target)
		to, err := o.t.catchAll(ctx, domain)
		if err != nil {
			return err
		}
		dir := &o.facts.Directory
		i := slices.IndexFunc(dir.Domains, func(d inventory.DirectoryDomain) bool { return d.Name == domain })
		if i < 0 {
			if to == "" {
				continue
			}
			dir.Domains, i = append(dir.Domains, inventory.DirectoryDomain{Name: domain, Verified: true}), len(dir.Domains)
		}
		dir.Domains[i].CatchAll = to
	}
	return nil
}

func domainOf(address string) string {
	return strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
}
