package microsoft365test

import (
	"fmt"
)

func groupJSON(g *Group) map[string]any {
	list := []string{"SMTP:" + g.Address}
	for _, a := range g.Aliases {
		list = append(list, "smtp:"+a)
	}
	return map[string]any{"Guid": g.GUID, "Identity": g.Name, "DisplayName": g.Name, "PrimarySmtpAddress": g.Address, "EmailAddresses": list,
		"RecipientTypeDetails": "MailUniversalDistributionGroup", "RequireSenderAuthenticationEnabled": !g.External}
}

func (t *Tenant) seenGroup(id string) (*Group, *cmdletError) {
	g := t.group(id)
	if g == nil || t.now().Before(g.Made.Add(t.Trouble.Late)) {
		return nil, missing(id)
	}
	return g, nil
}

func getGroup(t *Tenant, p params) ([]any, *cmdletError) {
	if id := p.text("Identity"); id != "" {
		g, err := t.seenGroup(id)
		if err != nil {
			return nil, err
		}
		return []any{groupJSON(g)}, nil
	}
	var out []any
	for _, g := range t.Groups {
		out = append(out, groupJSON(g))
	}
	return out, nil
}

func newGroup(t *Tenant, p params) ([]any, *cmdletError) {
	address := p.text("PrimarySmtpAddress")
	switch {
	case t.group(p.text("Name")) != nil:
		return nil, exists(p.text("Name"))
	case t.holder(address) != "":
		return nil, addressTaken(address, t.holder(address))
	}
	// Outsiders may write to a list only where that is said.
	closed := !p.has("RequireSenderAuthenticationEnabled") || p.yes("RequireSenderAuthenticationEnabled")
	g := &Group{GUID: t.newID(), Address: address, Name: p.text("Name"), External: !closed, Made: t.now()}
	t.Groups = append(t.Groups, g)
	return []any{groupJSON(g)}, nil
}

func setGroup(t *Tenant, p params) ([]any, *cmdletError) {
	g, err := t.seenGroup(p.text("Identity"))
	if err != nil {
		return nil, err
	}
	if p.has("RequireSenderAuthenticationEnabled") {
		g.External = !p.yes("RequireSenderAuthenticationEnabled")
	}
	if p.has("EmailAddresses") {
		g.Aliases, err = t.addAddresses(p, g.GUID, g.Aliases)
	}
	return nil, err
}

func (t *Tenant) recipientJSON(id string) map[string]any {
	if m, err := t.box(id); err == nil {
		return mailboxJSON(m)
	}
	if g, err := t.seenGroup(id); err == nil {
		return groupJSON(g)
	}
	if c := t.contact(id); c != nil {
		return map[string]any{"PrimarySmtpAddress": c.Address, "ExternalEmailAddress": "SMTP:" + c.Address, "RecipientTypeDetails": "MailContact", "EmailAddresses": []string{"SMTP:" + c.Address}}
	}
	return nil
}

func getRecipient(t *Tenant, p params) ([]any, *cmdletError) {
	r := t.recipientJSON(p.text("Identity"))
	if r == nil {
		return nil, missing(p.text("Identity"))
	}
	return []any{r}, nil
}

func getGroupMembers(t *Tenant, p params) ([]any, *cmdletError) {
	g, err := t.seenGroup(p.text("Identity"))
	if err != nil {
		return nil, err
	}
	var out []any
	for _, m := range g.Members {
		if r := t.recipientJSON(m); r != nil {
			out = append(out, r)
		}
	}
	return out, nil
}

func addMember(t *Tenant, p params) ([]any, *cmdletError) {
	g, err := t.seenGroup(p.text("Identity"))
	if err != nil {
		return nil, err
	}
	r := t.recipientJSON(p.text("Member"))
	if r == nil {
		return nil, missing(p.text("Member"))
	}
	address := fmt.Sprint(r["PrimarySmtpAddress"])
	if containsFold(g.Members, address) {
		return nil, &cmdletError{400, "Microsoft.Exchange.Management.Tasks.MemberAlreadyExistsException", "The recipient \"" + address + "\" is already a member of the group \"" + g.Name + "\"."}
	}
	g.Members = append(g.Members, address)
	return nil, nil
}
