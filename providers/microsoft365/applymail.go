package microsoft365

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/microsoft365/entra"
	"github.com/mxodus/mxodus/providers/microsoft365/exchange"
)

// shared makes a shared mailbox, or changes what differs. Nobody signs in as one: its
// user is blocked.
func (t *Tenant) shared(ctx context.Context, m plan.Mailbox) error {
	box, ok, err := t.exo.Mailbox(ctx, m.Target)
	if err != nil {
		return err
	}
	if ok && !strings.EqualFold(box.Address, m.Target) {
		return taken("create the shared mailbox", m.Target, box.Address)
	}
	if !ok {
		name := m.DisplayName
		if name == "" {
			name, _, _ = strings.Cut(m.Target, "@")
		}
		p := exchange.Params{"Shared": true, "name": m.Target, "displayName": name, "primarySMTPAddress": m.Target}
		if err := thereIs(t.exo.Run(ctx, "", "New-Mailbox", p, nil)); err != nil {
			return err
		}
		if box, ok, err = t.exo.Mailbox(ctx, m.Target); err != nil {
			return err
		}
		if !ok {
			return notYet("create the shared mailbox", m.Target, "it was made and isn't seen yet", nil)
		}
	}
	change := exchange.Params{}
	if !box.Shared() {
		change["Type"] = "Shared"
	}
	if m.DisplayName != "" && box.Name != m.DisplayName {
		change["DisplayName"] = m.DisplayName
	}
	if len(change) > 0 {
		change["Identity"] = box.ID()
		if err := later(t.exo.Run(ctx, m.Target, "Set-Mailbox", change, nil), "change the shared mailbox", m.Target); err != nil {
			return err
		}
	}
	if err := t.block(ctx, box, m.Target); err != nil {
		return err
	}
	return t.rights(ctx, box, m)
}

// block keeps the user of a shared mailbox from signing in.
func (t *Tenant) block(ctx context.Context, box exchange.Mailbox, address string) error {
	id := box.Object
	if id == "" {
		id = address
	}
	u, ok, err := t.graph.User(ctx, id)
	switch {
	case err != nil:
		return err
	case !ok:
		return notYet("block the sign-in of", address, "its user isn't seen yet", nil)
	case u.Enabled != nil && !*u.Enabled:
		return nil
	}
	return later(t.graph.ChangeUser(ctx, u.ID, map[string]any{"accountEnabled": false}), "block the sign-in of", address)
}

// rights gives people full access and the right to send.
func (t *Tenant) rights(ctx context.Context, box exchange.Mailbox, m plan.Mailbox) error {
	o := observer{t: t}
	for _, right := range []struct {
		name   string
		wanted []string
		read   func(context.Context, string) ([]string, error)
		add    func(who string) error
	}{
		{"full", m.FullAccess, t.exo.FullAccess, func(who string) error {
			return t.exo.Run(ctx, m.Target, "Add-MailboxPermission", exchange.Params{"Identity": box.ID(), "User": who, "AccessRights": []string{"FullAccess"}}, nil)
		}},
		{"send", m.SendAs, t.exo.SendAs, func(who string) error {
			return t.exo.Run(ctx, m.Target, "Add-RecipientPermission", exchange.Params{"Identity": box.ID(), "Trustee": who, "AccessRights": []string{"SendAs"}, "Confirm": false}, nil)
		}},
	} {
		if len(right.wanted) == 0 {
			continue
		}
		held, err := o.holders(ctx, right.name, right.read, m.Target, right.wanted)
		if err != nil {
			return err
		}
		for _, who := range right.wanted {
			if slices.Contains(held, who) {
				continue
			}
			if err := later(thereIs(right.add(who)), "give "+who+" rights on", m.Target); err != nil {
				return err
			}
			t.give(right.name, m.Target, who)
		}
	}
	return nil
}

// principal is the application as Exchange knows it; ok is false when it doesn't.
func (t *Tenant) principal(ctx context.Context) (exchange.ServicePrincipal, bool, error) {
	t.mu.Lock()
	known := t.known
	t.mu.Unlock()
	if known.App != "" {
		return known, true, nil
	}
	list, err := t.exo.ServicePrincipals(ctx)
	for _, p := range list {
		if strings.EqualFold(p.App, t.host.Settings["client_id"]) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.known = p
			return p, true, err
		}
	}
	if cantTell(err) {
		err = nil // then it is made, and whoever is there already stays
	}
	return exchange.ServicePrincipal{}, false, err
}

// ensurePrincipal makes Exchange know the application, so that mailboxes can be given to
// it. The object id is the enterprise application's: the registration's would be taken, and
// then every login fails.
func (t *Tenant) ensurePrincipal(ctx context.Context) (exchange.ServicePrincipal, error) {
	p, ok, err := t.principal(ctx)
	if err != nil || ok {
		return p, err
	}
	client := t.host.Settings["client_id"]
	if client == "" {
		return p, &providers.Error{Op: "make Exchange know the application", Subject: t.host.Key(), Reason: providers.Refused, Err: errors.New("no client_id is configured"),
			Remedy: "register an application (docs/microsoft365.md) and set client_id and credentials"}
	}
	object, err := t.enterpriseApplication(ctx, client)
	if err != nil {
		return p, err
	}
	err = t.exo.Run(ctx, "", "New-ServicePrincipal", exchange.Params{"AppId": client, "ObjectId": object, "DisplayName": "mxodus"}, nil)
	if err := thereIs(err); err != nil {
		return p, err
	}
	// By the object id it is found, also before Exchange shows it in its list.
	p = exchange.ServicePrincipal{App: client, Object: object}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known = p
	return p, nil
}

func (t *Tenant) enterpriseApplication(ctx context.Context, client string) (string, error) {
	token, err := t.tokens.Exchange().Token(ctx)
	if err != nil {
		return "", err
	}
	if claims, ok := entra.ClaimsOf(token); ok && claims.Object != "" && strings.EqualFold(claims.App, client) {
		return claims.Object, nil
	}
	id, err := t.graph.ServicePrincipal(ctx, client)
	if err == nil && id == "" {
		err = &providers.Error{Op: "find the enterprise application of", Subject: client, Reason: providers.NotFound, Err: errors.New("the tenant has none"),
			Remedy: "give admin consent once: it makes the enterprise application in this tenant"}
	}
	return id, err
}

// mayOpen reports whether the application has full access to a mailbox. Exchange shows it by one
// of several names.
func (t *Tenant) mayOpen(ctx context.Context, address string) (bool, error) {
	if t.gave("copy", address, "") {
		return true, nil
	}
	p, ok, err := t.principal(ctx)
	if err != nil || !ok {
		return false, err
	}
	who, err := t.exo.FullAccess(ctx, address)
	if err != nil && !cantTell(err) {
		return false, err
	}
	for _, name := range []string{p.App, p.Object, p.Name, p.SID, p.ID} {
		if name != "" && slices.Contains(who, strings.ToLower(name)) {
			return true, nil
		}
	}
	return false, nil
}

// largestMessage is what Exchange Online can be set to at most.
const largestMessage = 150 << 20

// access opens a mailbox for the copy: IMAP on, the application's full access, and the
// size of message that the configuration asks for.
func (t *Tenant) access(ctx context.Context, m plan.Mailbox) error {
	box, ok, err := t.exo.Mailbox(ctx, m.Target)
	if err != nil {
		return err
	}
	if !ok {
		return notYet("open", m.Target, "Exchange is still making the mailbox", nil)
	}
	if limit := t.host.Oversize.Limit; limit > largest(box) {
		if limit > largestMessage {
			return &providers.Error{Op: "raise the size of messages of", Subject: m.Target, Reason: providers.Refused, Err: errors.New("Exchange Online takes 150 MB at most"), Remedy: "set oversize.limit to 150MB or less"}
		}
		size := sizeText(limit)
		err := t.exo.Run(ctx, m.Target, "Set-Mailbox", exchange.Params{"Identity": box.ID(), "MaxReceiveSize": size, "MaxSendSize": size}, nil)
		if err := later(err, "raise the size of messages of", m.Target); err != nil {
			return err
		}
	}
	cas, ok, err := t.exo.CASMailbox(ctx, m.Target)
	if err != nil {
		return err
	}
	if !ok || cas.IMAP == nil || !*cas.IMAP {
		err := t.exo.Run(ctx, m.Target, "Set-CASMailbox", exchange.Params{"Identity": box.ID(), "ImapEnabled": true}, nil)
		if err := later(err, "switch IMAP on for", m.Target); err != nil {
			return err
		}
	}
	if may, err := t.mayOpen(ctx, m.Target); err != nil || may {
		return err
	}
	p, err := t.ensurePrincipal(ctx)
	if err != nil {
		return err
	}
	who := p.Object
	if who == "" {
		who = p.ID
	}
	err = t.exo.Run(ctx, m.Target, "Add-MailboxPermission", exchange.Params{"Identity": box.ID(), "User": who, "AccessRights": []string{"FullAccess"}, "AutoMapping": false}, nil)
	if err := later(thereIs(err), "give the application", m.Target); err != nil {
		return err
	}
	t.give("copy", m.Target, "")
	return nil
}

// give notes a right that was given in this run, gave tells of it: Exchange shows those who have
// rights by names of its own, and late.
func (t *Tenant) give(right, address, who string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.granted[right+"\n"+strings.ToLower(address+"\n"+who)] = true
}

func (t *Tenant) gave(right, address, who string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.granted[right+"\n"+strings.ToLower(address+"\n"+who)]
}

// sizeText is a number of octets as cmdlets take it.
func sizeText(octets int64) string {
	if octets%(1<<20) == 0 {
		return fmt.Sprintf("%dMB", octets>>20)
	}
	return fmt.Sprintf("%dKB", octets>>10)
}

func taken(op, address, by string) error {
	return &providers.Error{Op: op, Subject: address, Reason: providers.Conflict, Server: "the address belongs to " + by,
		Remedy: "take the address from whoever has it now, or leave it out of the configuration"}
}

// alias gives a mailbox or list a further address. Nobody loses one.
func (t *Tenant) alias(ctx context.Context, a plan.Alias) error {
	cmdlet, id := "Set-Mailbox", ""
	box, ok, err := t.exo.Mailbox(ctx, a.Deliver)
	if err != nil {
		return err
	}
	if ok {
		if box.Has(a.Address) {
			return nil
		}
		id = box.ID()
	} else {
		g, ok, err := t.exo.Group(ctx, a.Deliver)
		if err != nil {
			return err
		}
		if !ok {
			return notYet("give "+a.Address+" to", a.Deliver, "it isn't there yet", nil)
		}
		if g.Addresses.Has(a.Address) || strings.EqualFold(g.Address, a.Address) {
			return nil
		}
		cmdlet, id = "Set-DistributionGroup", g.ID()
	}
	if other, ok, err := t.exo.Mailbox(ctx, a.Address); err != nil {
		return err
	} else if ok {
		return taken("give "+a.Address+" to "+a.Deliver, a.Address, other.Address)
	}
	err = t.exo.Run(ctx, "", cmdlet, exchange.Params{"Identity": id, "EmailAddresses": exchange.Table{"Add": []string{"smtp:" + a.Address}}}, nil)
	return later(err, "give "+a.Address+" to", a.Deliver)
}

// list makes a distribution list, or adds the members that it lacks.
func (t *Tenant) list(ctx context.Context, address string, members []string, external bool) error {
	g, ok, err := t.exo.Group(ctx, address)
	if err != nil {
		return err
	}
	if !ok {
		local, _, _ := strings.Cut(address, "@")
		p := exchange.Params{
			"Name": address, "Alias": alias(local), "PrimarySmtpAddress": address, "Type": "Distribution", "RequireSenderAuthenticationEnabled": !external,
		}
		if err := thereIs(t.exo.Run(ctx, "", "New-DistributionGroup", p, nil)); err != nil {
			return err
		}
		if g, ok, err = t.exo.Group(ctx, address); err != nil {
			return err
		}
		if !ok {
			return notYet("create the list", address, "it was made and isn't seen yet", nil)
		}
	}
	if !strings.EqualFold(g.Address, address) {
		return taken("create the list", address, g.Address)
	}
	if g.External() != external {
		err := t.exo.Run(ctx, "", "Set-DistributionGroup", exchange.Params{"Identity": g.ID(), "RequireSenderAuthenticationEnabled": !external}, nil)
		if err := later(err, "change the list", address); err != nil {
			return err
		}
	}
	have, err := t.exo.Members(ctx, g.ID())
	if err != nil {
		return later(err, "read the list", address)
	}
	for _, m := range members {
		if slices.ContainsFunc(have, func(r exchange.Recipient) bool {
			return strings.EqualFold(r.Leads(), m) || strings.EqualFold(r.Address, m) || r.Addresses.Has(m)
		}) {
			continue
		}
		if err := t.member(ctx, g, address, m); err != nil {
			return err
		}
	}
	return nil
}

// member adds one member. People outside are members by a contact that stands for them.
func (t *Tenant) member(ctx context.Context, g exchange.Group, list, member string) error {
	add := func() error {
		return thereIs(t.exo.Run(ctx, "", "Add-DistributionGroupMember", exchange.Params{"Identity": g.ID(), "Member": member, "BypassSecurityGroupManagerCheck": true}, nil))
	}
	err := add()
	if providers.ReasonOf(err) != providers.NotFound {
		return err
	}
	d, ours, readErr := t.graph.Domain(ctx, domainOf(member))
	if readErr != nil {
		return readErr
	}
	if ours && d.Verified {
		return later(err, "add "+member+" to", list)
	}
	if err := thereIs(t.exo.Run(ctx, "", "New-MailContact", exchange.Params{"Name": member, "ExternalEmailAddress": member}, nil)); err != nil {
		return err
	}
	return later(add(), "add "+member+" to", list)
}

// alias is a local part as Exchange takes it for an alias.
func alias(local string) string {
	out := strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("!#$%&'*+-/=?^_{|}~.", r)) {
			return r
		}
		return '-'
	}, local)
	return strings.Trim(out[:min(len(out), 64)], ".")
}

// Names of what makes a catch-all. They say whose they are.
func everyoneOf(domain string) string { return "mxodus everyone at " + domain }
func ruleOf(domain string) string     { return "mxodus catch-all of " + domain }

// catchAll is the address that gets what nobody else at domain gets, by our rule; "" for none.
func (t *Tenant) catchAll(ctx context.Context, domain string) (string, error) {
	accepted, ok, err := t.exo.AcceptedDomain(ctx, domain)
	if err != nil || !ok || !accepted.Relays() {
		return "", err
	}
	rule, ok, err := t.exo.TransportRule(ctx, ruleOf(domain))
	if err != nil || !ok || !rule.On() || len(rule.To) != 1 {
		return "", err
	}
	return strings.ToLower(rule.To[0]), nil
}

// makeCatchAll lets a mailbox get what nobody else gets: Exchange Online has no such thing, so
// a rule sends on what no recipient of the organisation has, and the domain takes mail for every name.
// The order matters: the rule is there before any such mail is taken.
// https://learn.microsoft.com/exchange/mail-flow-best-practices/manage-accepted-domains
func (t *Tenant) makeCatchAll(ctx context.Context, address string) error {
	domain := domainOf(address)
	if to, err := t.catchAll(ctx, domain); err != nil || strings.EqualFold(to, address) {
		return err
	}
	box, ok, err := t.exo.Mailbox(ctx, address)
	if err != nil {
		return err
	}
	if !ok {
		return notYet("make a catch-all of", address, "its mailbox isn't there yet", nil)
	}
	err = t.exo.Run(ctx, "", "New-DynamicDistributionGroup", exchange.Params{"Name": everyoneOf(domain), "IncludedRecipients": "AllRecipients"}, nil)
	if err := thereIs(err); err != nil {
		return err
	}
	_, ok, err = t.exo.TransportRule(ctx, ruleOf(domain))
	if err != nil {
		return err
	}
	p := exchange.Params{
		"RecipientDomainIs": []string{domain}, "ExceptIfSentToMemberOf": []string{everyoneOf(domain)}, "RedirectMessageTo": []string{box.Address},
	}
	if ok {
		p["Identity"] = ruleOf(domain)
		err = t.exo.Run(ctx, "", "Set-TransportRule", p, nil)
	} else {
		p["Name"], p["Enabled"] = ruleOf(domain), true
		err = thereIs(t.exo.Run(ctx, "", "New-TransportRule", p, nil))
	}
	if err := later(err, "make the rule of", domain); err != nil {
		return err
	}
	err = t.exo.Run(ctx, "", "Set-AcceptedDomain", exchange.Params{"Identity": domain, "DomainType": "InternalRelay"}, nil)
	return later(err, "take mail for every name of", domain)
}
