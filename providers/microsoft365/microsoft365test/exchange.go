package microsoft365test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// cmdletError is a refusal of Exchange.
type cmdletError struct {
	status int
	kind   string // .NET type
	text   string
}

func missing(id string) *cmdletError {
	return &cmdletError{404, "Microsoft.Exchange.Configuration.Tasks.ManagementObjectNotFoundException", "The operation couldn't be performed because object '" + id + "' couldn't be found on 'EURPR01A001DC01.EURPR01A001.PROD.OUTLOOK.COM'."}
}

func exists(name string) *cmdletError {
	return &cmdletError{400, "Microsoft.Exchange.Data.Directory.ADObjectAlreadyExistsException", "The name \"" + name + "\" is already being used. Please try another name."}
}

func addressTaken(address, by string) *cmdletError {
	return &cmdletError{400, "Microsoft.Exchange.Data.Directory.ProxyAddressExistsException", "The proxy address \"smtp:" + address + "\" is already being used by the proxy addresses or LegacyExchangeDN of \"" + by + "\". Please choose another proxy address."}
}

// invoke runs a cmdlet.
func (t *Tenant) invoke(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body) // a request that breaks off is none
	t.Lock()
	defer t.Unlock()
	t.settle()
	var input struct {
		CmdletInput struct {
			CmdletName string
			Parameters map[string]any
		}
	}
	if json.Unmarshal(raw, &input) != nil || input.CmdletInput.Parameters == nil {
		t.exchangeError(w, &cmdletError{400, "Microsoft.Exchange.Admin.OData.Core.ODataServiceException", "The request body can't be read."})
		return
	}
	name := input.CmdletInput.CmdletName
	t.Calls = append(t.Calls, name)
	write := !strings.HasPrefix(name, "Get-")
	if t.spoiled(w, write, func(status int) { w.WriteHeader(status) }) {
		return
	}
	i, why := t.good(ExchangeResource, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	switch {
	case why != "" || t.every(t.Trouble.ExpireEvery) || i.app != nil && !slices.Contains(i.app.Exchange, "Exchange.ManageAsApp"):
		w.WriteHeader(401)
		return
	case i.app != nil && !slices.Contains(i.app.Roles, "Exchange Administrator"):
		w.WriteHeader(403)
		if t.Trouble.NulBodies {
			_, _ = w.Write(make([]byte, 64))
		}
		return
	case !t.is(r.PathValue("tenant")), r.Header.Get("X-AnchorMailbox") == "":
		t.exchangeError(w, &cmdletError{400, "Microsoft.Exchange.Admin.OData.Core.ODataServiceException", "The request can't be routed."})
		return
	}
	t.answered(w, write, func(w http.ResponseWriter) {
		p := params{input.CmdletInput.Parameters}
		cmdlet, ok := cmdlets[strings.ToLower(name)]
		if !ok {
			t.exchangeError(w, &cmdletError{400, "System.Management.Automation.CommandNotFoundException", "The term '" + name + "' is not recognized as the name of a cmdlet."})
			return
		}
		values, refusal := cmdlet(t, p)
		if refusal != nil {
			t.exchangeError(w, refusal)
			return
		}
		out := map[string]any{"@odata.context": "https://outlook.office365.com/adminapi/beta/$metadata", "adminapi.warnings@odata.type": "#Collection(String)", "@adminapi.warnings": []string{}}
		if values != nil || !write {
			out["value"] = t.exchangePage(w, r, out, values)
		}
		if out["value"] == "expired" {
			t.exchangeError(w, &cmdletError{400, "Microsoft.Exchange.Admin.OData.Core.ODataServiceException", "Expired or Invalid pagination request. Default Expiry time is 00:30:00"})
			return
		}
		reply(w, 200, out)
	})
}

func (t *Tenant) exchangePage(_ http.ResponseWriter, r *http.Request, out map[string]any, values []any) any {
	if values == nil {
		values = []any{}
	}
	n := t.Trouble.PageSize
	if n == 0 {
		return values
	}
	token := r.URL.Query().Get("$skiptoken")
	if token != "" && t.Trouble.PagesExpired {
		return "expired"
	}
	skip, _ := strconv.Atoi(token)
	end := min(skip+n, len(values))
	if end < len(values) || t.Trouble.PagesLoop && len(values) > 0 {
		if end == len(values) {
			end = 0
		}
		base := "http://" + r.Host
		if t.Trouble.PagesTo != "" {
			base = t.Trouble.PagesTo
		}
		out["@odata.nextLink"] = fmt.Sprintf("%s%s?$skiptoken=%d", base, r.URL.Path, end)
		if end == 0 {
			end = len(values)
		}
	}
	return values[min(skip, len(values)):end]
}

func (t *Tenant) exchangeError(w http.ResponseWriter, e *cmdletError) {
	if t.Trouble.DetailAsJSON {
		detail, _ := json.Marshal(map[string]string{"Message": e.text, "TypeName": e.kind}) // of strings
		reply(w, e.status, map[string]any{"error": map[string]any{"code": "BadRequest", "message": "Error executing cmdlet", "details": []any{map[string]any{"code": "Context", "target": "", "message": string(detail)}}}})
		return
	}
	reply(w, e.status, map[string]any{"error": map[string]any{
		"code": "BadRequest", "message": "Invalid Operation", "details": []any{map[string]any{"code": "Client", "target": "", "message": "|" + e.kind + "|" + e.text}},
		"innererror": map[string]any{"message": "Invalid Operation", "type": "Microsoft.Exchange.Admin.OData.Core.ODataServiceException", "stacktrace": "",
			"internalexception": map[string]any{"message": e.text, "type": e.kind, "stacktrace": ""}},
	}})
}

// params are a cmdlet's parameters; PowerShell doesn't mind their case.
type params struct{ m map[string]any }

func (p params) any(name string) any {
	for k, v := range p.m {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return nil
}

func (p params) text(name string) string { s, _ := p.any(name).(string); return s }
func (p params) yes(name string) bool    { b, _ := p.any(name).(bool); return b }
func (p params) has(name string) bool    { return p.any(name) != nil }

func (p params) list(name string) []string {
	switch v := p.any(name).(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, x := range v {
			out = append(out, fmt.Sprint(x))
		}
		return out
	}
	return nil
}

// table is a hash table; one without its marker is an object, which Exchange refuses.
func (p params) table(name string) (map[string]any, bool) {
	m, ok := p.any(name).(map[string]any)
	return m, ok && m["@odata.type"] == "#Exchange.GenericHashTable"
}

type cmdlet func(t *Tenant, p params) ([]any, *cmdletError)

var cmdlets map[string]cmdlet

func init() { //nolint:gochecknoinits // the table's functions use the table
	cmdlets = map[string]cmdlet{
		"get-mailbox": getMailbox, "new-mailbox": newMailbox, "set-mailbox": setMailbox,
		"get-casmailbox": getCAS, "set-casmailbox": setCAS,
		"get-mailboxpermission": getFullAccess, "add-mailboxpermission": addFullAccess,
		"get-recipientpermission": getSendAs, "add-recipientpermission": addSendAs,
		"get-distributiongroup": getGroup, "new-distributiongroup": newGroup, "set-distributiongroup": setGroup,
		"get-distributiongroupmember": getGroupMembers, "add-distributiongroupmember": addMember,
		"get-recipient": getRecipient, "new-mailcontact": newContact,
		"get-serviceprincipal": getServicePrincipals, "new-serviceprincipal": newServicePrincipal,
		"get-dkimsigningconfig": getDKIM, "new-dkimsigningconfig": newDKIM, "set-dkimsigningconfig": setDKIM,
		"get-accepteddomain": getAccepted, "set-accepteddomain": setAccepted,
		"get-transportrule": getRule, "new-transportrule": newRule, "set-transportrule": setRule,
		"new-dynamicdistributiongroup": newEveryone, "get-mailboxfolderstatistics": folderStatistics, "get-mailboxstatistics": mailboxStatistics,
	}
}

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

func newContact(t *Tenant, p params) ([]any, *cmdletError) {
	address := p.text("ExternalEmailAddress")
	if t.contact(address) != nil {
		return nil, exists(p.text("Name"))
	}
	t.Contacts = append(t.Contacts, &Contact{Name: p.text("Name"), Address: address})
	return []any{t.recipientJSON(address)}, nil
}

func getServicePrincipals(t *Tenant, _ params) ([]any, *cmdletError) {
	var out []any
	for _, p := range t.Principals {
		out = append(out, map[string]any{"AppId": p.App, "ObjectId": p.Object, "DisplayName": p.Name, "Identity": p.Object, "Sid": "S-1-5-21-1"})
	}
	return out, nil
}

func newServicePrincipal(t *Tenant, p params) ([]any, *cmdletError) {
	for _, have := range t.Principals {
		if strings.EqualFold(have.App, p.text("AppId")) {
			return nil, &cmdletError{400, "Microsoft.Exchange.Configuration.Tasks.TaskInvalidOperationException", "The service principal with the AppId already exist."}
		}
	}
	// The registration's own object id is taken as well; then no login works.
	t.Principals = append(t.Principals, &Principal{p.text("AppId"), p.text("ObjectId"), p.text("DisplayName")})
	return nil, nil
}

func (t *Tenant) dkimJSON(d *Domain) map[string]any {
	dashes := strings.ReplaceAll(d.Name, ".", "-")
	status := "CnameMissing"
	if d.Signing {
		status = "Valid"
	}
	keys := t.Keys
	if keys == "" {
		keys = "acme.r-v1.dkim.mail.microsoft"
	}
	return map[string]any{"Domain": d.Name, "Enabled": d.Signing, "Status": status,
		"Selector1CNAME": "selector1-" + dashes + "._domainkey." + keys, "Selector2CNAME": "selector2-" + dashes + "._domainkey." + keys}
}

func getDKIM(t *Tenant, _ params) ([]any, *cmdletError) {
	var out []any
	for _, d := range t.Domains {
		if d.DKIM {
			out = append(out, t.dkimJSON(d))
		}
	}
	return out, nil
}

func newDKIM(t *Tenant, p params) ([]any, *cmdletError) {
	d := t.domain(p.text("DomainName"))
	switch {
	case d == nil || !d.Verified:
		return nil, missing(p.text("DomainName"))
	case d.DKIM:
		return nil, exists(d.Name)
	}
	d.DKIM = true
	return []any{t.dkimJSON(d)}, nil
}

func setDKIM(t *Tenant, p params) ([]any, *cmdletError) {
	d := t.domain(p.text("Identity"))
	if d == nil || !d.DKIM {
		return nil, missing(p.text("Identity"))
	}
	if !p.yes("Enabled") {
		d.Signing = false
		return nil, nil
	}
	want := t.dkimJSON(d)
	published := t.CNAME == nil
	if t.CNAME != nil {
		published = true
		for i := 1; i <= 2; i++ {
			got := t.CNAME(fmt.Sprintf("selector%d._domainkey.%s", i, d.Name))
			published = published && strings.EqualFold(strings.TrimSuffix(got, "."), fmt.Sprint(want[fmt.Sprintf("Selector%dCNAME", i)]))
		}
	}
	if !published || d.SigningN < t.Trouble.SigningLate {
		if published {
			d.SigningN++
		}
		return nil, &cmdletError{400, "Microsoft.Exchange.ManagementTasks.ValidationException", "CNAME record does not exist for this config. Please publish the following two CNAME records first. Domain Name : " + d.Name + " Host Name : selector1._domainkey"}
	}
	d.Signing = true
	return nil, nil
}

func getAccepted(t *Tenant, p params) ([]any, *cmdletError) {
	var out []any
	for _, d := range t.Domains {
		if id := p.text("Identity"); d.Verified && (id == "" || strings.EqualFold(id, d.Name)) {
			kind := "Authoritative"
			if d.Relay {
				kind = "InternalRelay"
			}
			out = append(out, map[string]any{"Name": d.Name, "DomainName": d.Name, "DomainType": kind})
		}
	}
	if id := p.text("Identity"); id != "" && len(out) == 0 {
		return nil, missing(id)
	}
	return out, nil
}

func setAccepted(t *Tenant, p params) ([]any, *cmdletError) {
	d := t.domain(p.text("Identity"))
	if d == nil || !d.Verified {
		return nil, missing(p.text("Identity"))
	}
	d.Relay = p.text("DomainType") == "InternalRelay"
	return nil, nil
}

func getRule(t *Tenant, p params) ([]any, *cmdletError) {
	r, ok := t.Rules[p.text("Identity")]
	if !ok {
		return nil, missing(p.text("Identity"))
	}
	return []any{map[string]any{"Name": p.text("Identity"), "State": "Enabled", "RedirectMessageTo": r["RedirectMessageTo"]}}, nil
}

func newRule(t *Tenant, p params) ([]any, *cmdletError) {
	if _, ok := t.Rules[p.text("Name")]; ok {
		return nil, exists(p.text("Name"))
	}
	for _, g := range p.list("ExceptIfSentToMemberOf") {
		if !t.Everyone[g] {
			return nil, missing(g)
		}
	}
	t.Rules[p.text("Name")] = p.m
	return nil, nil
}

func setRule(t *Tenant, p params) ([]any, *cmdletError) {
	if _, ok := t.Rules[p.text("Identity")]; !ok {
		return nil, missing(p.text("Identity"))
	}
	t.Rules[p.text("Identity")] = p.m
	return nil, nil
}

func newEveryone(t *Tenant, p params) ([]any, *cmdletError) {
	if t.Everyone[p.text("Name")] {
		return nil, exists(p.text("Name"))
	}
	t.Everyone[p.text("Name")] = true
	return nil, nil
}

func folderStatistics(t *Tenant, p params) ([]any, *cmdletError) {
	if _, err := t.box(p.text("Identity")); err != nil {
		return nil, err
	}
	return []any{map[string]any{"Name": "Posteingang", "FolderPath": "/Posteingang", "FolderType": "Inbox", "ItemsInFolder": 0, "FolderSize": "0 B (0 bytes)", "FolderId": "LgAAAAB"}}, nil
}

func mailboxStatistics(t *Tenant, p params) ([]any, *cmdletError) {
	m, err := t.box(p.text("Identity"))
	if err != nil {
		return nil, err
	}
	return []any{map[string]any{"DisplayName": m.Name, "ItemCount": 0, "TotalItemSize": "0 B (0 bytes)"}}, nil
}
