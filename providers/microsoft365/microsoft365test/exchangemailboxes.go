package microsoft365test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

func size(n int64) string { return fmt.Sprintf("%d MB (%s bytes)", n>>20, grouped(n)) }

func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func mailboxJSON(m *Mailbox) map[string]any {
	list := []string{"SMTP:" + m.Address, "SIP:" + m.Address}
	for _, a := range m.Aliases {
		list = append(list, "smtp:"+a)
	}
	kind := "UserMailbox"
	if m.Shared {
		kind = "SharedMailbox"
	}
	return map[string]any{
		"Guid": m.GUID, "Identity": m.Name, "ExternalDirectoryObjectId": m.Object, "DisplayName": m.Name, "PrimarySmtpAddress": m.Address, "UserPrincipalName": m.Address,
		"EmailAddresses": list, "RecipientTypeDetails": kind, "MaxReceiveSize": size(m.Receive), "MaxSendSize": size(m.Send), "ProhibitSendReceiveQuota": "50 GB (53,687,091,200 bytes)",
		"ForwardingAddress": orNull(m.Forward), "ForwardingSmtpAddress": nil, "DeliverToMailboxAndForward": m.Forward != "",
	}
}

// box finds a mailbox that can be seen by now.
func (t *Tenant) box(id string) (*Mailbox, *cmdletError) {
	m := t.mailbox(id)
	if m == nil || t.now().Before(m.Made.Add(t.Trouble.Late)) {
		return nil, missing(id)
	}
	return m, nil
}

func getMailbox(t *Tenant, p params) ([]any, *cmdletError) {
	if id := p.text("Identity"); id != "" {
		m, err := t.box(id)
		if err != nil {
			return nil, err
		}
		return []any{mailboxJSON(m)}, nil
	}
	out := []any{}
	for _, m := range t.Mailboxes {
		if _, err := t.box(m.GUID); err == nil {
			out = append(out, mailboxJSON(m))
		}
	}
	return out, nil
}

func newMailbox(t *Tenant, p params) ([]any, *cmdletError) {
	address, name := p.text("PrimarySmtpAddress"), p.text("Name")
	_, domain, _ := strings.Cut(address, "@")
	d := t.domain(domain)
	switch {
	case !p.yes("Shared"):
		return nil, &cmdletError{400, "Microsoft.Exchange.Configuration.Tasks.TaskInvalidOperationException", "A password or -Shared is needed."}
	case d == nil || !d.Verified:
		return nil, &cmdletError{400, "Microsoft.Exchange.Data.Directory.NotAcceptedDomainException", "You can't use the domain because it's not an accepted domain for your organization."}
	case find(t.Mailboxes, func(m *Mailbox) bool { return strings.EqualFold(m.Address, address) }) != nil:
		return nil, exists(name)
	case t.holder(address) != "":
		return nil, addressTaken(address, t.holder(address))
	case t.user(address) != nil:
		return nil, exists(name)
	}
	u := &User{ID: t.newID(), Principal: address, Name: p.text("DisplayName"), NoMailbox: true, Made: t.now()}
	t.Users = append(t.Users, u)
	m := t.addMailbox(&Mailbox{Object: u.ID, Address: address, Name: p.text("DisplayName"), Shared: true, Made: t.now()})
	return []any{mailboxJSON(m)}, nil
}

func parseMB(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSuffix(strings.ToUpper(s), "MB"), 10, 64)
	if err != nil {
		return 0
	}
	return n << 20
}

func setMailbox(t *Tenant, p params) ([]any, *cmdletError) {
	m, refusal := t.box(p.text("Identity"))
	if refusal != nil {
		return nil, refusal
	}
	if p.has("EmailAddresses") {
		if m.Aliases, refusal = t.addAddresses(p, m.GUID, m.Aliases); refusal != nil {
			return nil, refusal
		}
	}
	for name, into := range map[string]*int64{"MaxReceiveSize": &m.Receive, "MaxSendSize": &m.Send} {
		if !p.has(name) {
			continue
		}
		n := parseMB(p.text(name))
		if n <= 0 || n > 150<<20 {
			return nil, &cmdletError{400, "System.Management.Automation.ParameterBindingException", "The value is out of range: " + p.text(name)}
		}
		*into = n
	}
	if s := p.text("DisplayName"); s != "" {
		m.Name = s
	}
	switch p.text("Type") {
	case "Shared":
		m.Shared = true
	case "Regular":
		m.Shared = false
	}
	return nil, nil
}

// addAddresses adds what a hash table names to the aliases of the object id.
func (t *Tenant) addAddresses(p params, id string, have []string) ([]string, *cmdletError) {
	table, ok := p.table("EmailAddresses")
	if !ok {
		return have, &cmdletError{400, "Microsoft.Exchange.AdminApi.CommandInvocation.ParameterTransformationException", "Cannot process argument transformation on parameter 'EmailAddresses'."}
	}
	for _, a := range (params{table}).list("Add") {
		address := strings.TrimPrefix(strings.TrimPrefix(a, "smtp:"), "SMTP:")
		if by := t.holder(address); by != "" {
			if m := t.mailbox(address); m != nil && m.GUID == id || t.group(address) != nil && t.group(address).GUID == id {
				continue
			}
			return have, addressTaken(address, by)
		}
		have = append(have, address)
	}
	return have, nil
}

func getCAS(t *Tenant, p params) ([]any, *cmdletError) {
	m, err := t.box(p.text("Identity"))
	if err != nil {
		return nil, err
	}
	return []any{map[string]any{"PrimarySmtpAddress": m.Address, "ImapEnabled": m.IMAP, "PopEnabled": false}}, nil
}

func setCAS(t *Tenant, p params) ([]any, *cmdletError) {
	m, err := t.box(p.text("Identity"))
	if err == nil && p.has("ImapEnabled") {
		m.IMAP = p.yes("ImapEnabled")
	}
	return nil, err
}

// who resolves a user, mailbox or application to what rights are kept by.
func (t *Tenant) who(id string) (string, *cmdletError) {
	if p := find(t.Principals, func(p *Principal) bool {
		return strings.EqualFold(p.Object, id) || strings.EqualFold(p.App, id) || strings.EqualFold(p.Name, id)
	}); p != nil {
		return strings.ToLower(p.Object), nil
	}
	m, err := t.box(id)
	if err != nil {
		return "", &cmdletError{404, "Microsoft.Exchange.Configuration.Tasks.ManagementObjectNotFoundException", "Couldn't find object \"" + id + "\". Please make sure that it was spelled correctly or specify a different object."}
	}
	return strings.ToLower(m.Address), nil
}

func getFullAccess(t *Tenant, p params) ([]any, *cmdletError) {
	m, err := t.box(p.text("Identity"))
	if err != nil {
		return nil, err
	}
	out := []any{map[string]any{"Identity": m.Name, "User": "NT AUTHORITY\\SELF", "AccessRights": []string{"FullAccess", "ReadPermission"}, "IsInherited": false, "Deny": false}}
	for _, who := range slices.Sorted(maps.Keys(m.Full)) {
		out = append(out, map[string]any{"Identity": m.Name, "User": who, "AccessRights": []string{"FullAccess"}, "IsInherited": false, "Deny": false})
	}
	return out, nil
}

func addFullAccess(t *Tenant, p params) ([]any, *cmdletError) {
	m, err := t.box(p.text("Identity"))
	if err != nil {
		return nil, err
	}
	if !slices.Contains(p.list("AccessRights"), "FullAccess") {
		return nil, &cmdletError{400, "System.Management.Automation.ParameterBindingException", "AccessRights is needed."}
	}
	who, err := t.who(p.text("User"))
	if err != nil {
		return nil, err
	}
	if _, ok := m.Full[who]; !ok {
		m.Full[who] = t.now()
	}
	return nil, nil
}

func getSendAs(t *Tenant, p params) ([]any, *cmdletError) {
	m, err := t.box(p.text("Identity"))
	if err != nil {
		return nil, err
	}
	var out []any
	for _, who := range slices.Sorted(maps.Keys(m.SendAs)) {
		out = append(out, map[string]any{"Identity": m.Name, "Trustee": who, "AccessRights": []string{"SendAs"}, "AccessControlType": "Allow"})
	}
	return out, nil
}

func addSendAs(t *Tenant, p params) ([]any, *cmdletError) {
	m, err := t.box(p.text("Identity"))
	if err != nil {
		return nil, err
	}
	who, err := t.who(p.text("Trustee"))
	if err != nil {
		return nil, err
	}
	m.SendAs[who] = true
	return nil, nil
}
