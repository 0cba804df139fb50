package microsoft365test

import (
	"fmt"
	"strings"
)

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
