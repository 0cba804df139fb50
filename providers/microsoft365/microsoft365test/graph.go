package microsoft365test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

func (t *Tenant) routeGraph(mux *http.ServeMux) {
	for pattern, h := range map[string]func(w http.ResponseWriter, r *http.Request, body map[string]any){
		"GET /graph/v1.0/domains/{id}":                             t.getDomain,
		"POST /graph/v1.0/domains":                                 t.postDomain,
		"PATCH /graph/v1.0/domains/{id}":                           t.patchDomain,
		"POST /graph/v1.0/domains/{id}/verify":                     t.verifyDomain,
		"GET /graph/v1.0/domains/{id}/verificationDnsRecords":      t.verificationRecords,
		"GET /graph/v1.0/domains/{id}/serviceConfigurationRecords": t.serviceRecords,
		"GET /graph/v1.0/users":                                    t.getUsers,
		"GET /graph/v1.0/users/{id}":                               t.getUser,
		"POST /graph/v1.0/users":                                   t.postUser,
		"PATCH /graph/v1.0/users/{id}":                             t.patchUser,
		"POST /graph/v1.0/users/{id}/assignLicense":                t.assignLicense,
		"GET /graph/v1.0/subscribedSkus":                           t.getSKUs,
		"GET /graph/v1.0/organization":                             t.getOrganization,
		"GET /graph/v1.0/servicePrincipals":                        t.getPrincipals,
		"GET /graph/v1.0/groups":                                   t.getGroups,
		"GET /graph/v1.0/groups/{id}/members":                      t.getMembers,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { t.serveGraph(w, r, h) })
	}
}

// grants are the permissions that a request needs, any one of them.
func grants(r *http.Request) []string {
	write := r.Method != http.MethodGet
	part := strings.Split(strings.TrimPrefix(r.URL.Path, "/graph/v1.0/"), "/")[0]
	switch {
	case part == "domains":
		return []string{"Domain.ReadWrite.All"}
	case part == "users" && write:
		return []string{"User.ReadWrite.All"}
	case part == "users", part == "groups":
		return []string{"User.ReadWrite.All", "Group.Read.All", "Directory.Read.All"}
	case part == "servicePrincipals":
		return []string{"Application.Read.All"}
	}
	return []string{"Organization.Read.All"}
}

func (t *Tenant) serveGraph(w http.ResponseWriter, r *http.Request, h func(http.ResponseWriter, *http.Request, map[string]any)) {
	raw, _ := io.ReadAll(r.Body) // a request that breaks off is none
	t.Lock()
	defer t.Unlock()
	t.settle()
	t.Calls = append(t.Calls, r.Method+" "+strings.TrimPrefix(r.URL.Path, "/graph/v1.0"))
	write := r.Method != http.MethodGet
	if t.spoiled(w, write, func(status int) { graphError(w, status, "TooManyRequests", "Too many requests") }) {
		return
	}
	i, why := t.good(GraphResource, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	if why != "" || t.every(t.Trouble.ExpireEvery) {
		graphError(w, 401, "InvalidAuthenticationToken", "Access token has expired or is not yet valid: "+why)
		return
	}
	if i.app != nil && !slices.ContainsFunc(grants(r), func(p string) bool { return slices.Contains(i.app.Graph, p) }) {
		graphError(w, 403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
		return
	}
	var body map[string]any
	if len(bytes.TrimSpace(raw)) > 0 && json.Unmarshal(raw, &body) != nil {
		graphError(w, 400, "BadRequest", "Unable to read JSON request payload.")
		return
	}
	t.answered(w, write, func(w http.ResponseWriter) { h(w, r, body) })
}

// every reports whether this request is the one of n that is spoiled.
func (t *Tenant) every(n int) bool { return n > 0 && t.requests%n == 0 }

// spoiled answers requests that meet trouble before anything is done.
func (t *Tenant) spoiled(w http.ResponseWriter, write bool, say func(status int)) bool {
	t.requests++
	if write {
		t.writes++
	}
	switch {
	case t.every(t.Trouble.ThrottleEvery):
		w.Header().Set("Retry-After", strconv.Itoa(max(t.Trouble.RetryAfter, 1)))
		say(http.StatusTooManyRequests)
	case t.every(t.Trouble.BusyEvery):
		say(http.StatusServiceUnavailable)
	default:
		return false
	}
	return true
}

// answered lets h answer, or does what h does and answers with 500.
func (t *Tenant) answered(w http.ResponseWriter, write bool, h func(http.ResponseWriter)) {
	if n := t.Trouble.AfterCommitEvery; write && n > 0 && t.writes%n == 0 {
		h(&discard{http.Header{}})
		writeJSON(w, http.StatusInternalServerError, `{"error":{"code":"UnknownError","message":"","innerError":{"request-id":"0"}}}`)
		return
	}
	h(w)
}

type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

func graphError(w http.ResponseWriter, status int, code, message string, details ...string) {
	inner := map[string]string{"request-id": "b4f9c1d2-0000-4000-8000-000000000042", "client-request-id": "b4f9c1d2", "date": "2026-11-26T04:22:28"}
	list := []map[string]string{}
	for _, d := range details {
		list = append(list, map[string]string{"code": d, "message": message, "target": ""})
	}
	reply(w, status, map[string]any{"error": map[string]any{"code": code, "message": message, "innererror": inner, "details": list}})
}

func reply(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

func notFound(w http.ResponseWriter, id string) {
	graphError(w, 404, "Request_ResourceNotFound", "Resource '"+id+"' does not exist or one of its queried reference-property objects are not present.")
}

// page replies with a list, in pages where that is switched on.
func (t *Tenant) page(w http.ResponseWriter, r *http.Request, list []any) {
	skip, _ := strconv.Atoi(r.URL.Query().Get("$skiptoken"))
	out := map[string]any{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata", "value": list}
	if n := t.Trouble.PageSize; n > 0 && len(list) > 0 {
		end := min(skip+n, len(list))
		out["value"] = list[min(skip, len(list)):end]
		if end < len(list) || t.Trouble.PagesLoop {
			if end == len(list) {
				end = 0
			}
			q := r.URL.Query()
			q.Set("$skiptoken", strconv.Itoa(end))
			base := "http://" + r.Host
			if t.Trouble.PagesTo != "" {
				base = t.Trouble.PagesTo
			}
			out["@odata.nextLink"] = base + r.URL.Path + "?" + q.Encode()
		}
	}
	if list == nil {
		out["value"] = []any{}
	}
	reply(w, 200, out)
}

func (t *Tenant) domainJSON(d *Domain) map[string]any {
	services := d.Services
	if services == nil {
		services = []string{}
	}
	return map[string]any{"id": d.Name, "isVerified": d.Verified, "isDefault": false, "isInitial": false, "isRoot": true, "isAdminManaged": true,
		"authenticationType": "Managed", "availabilityStatus": nil, "supportedServices": services}
}

func (t *Tenant) getDomain(w http.ResponseWriter, r *http.Request, _ map[string]any) {
	d := t.domain(r.PathValue("id"))
	if d == nil {
		notFound(w, r.PathValue("id"))
		return
	}
	reply(w, 200, t.domainJSON(d))
}

func (t *Tenant) postDomain(w http.ResponseWriter, _ *http.Request, body map[string]any) {
	name, _ := body["id"].(string)
	switch {
	case name == "" || !strings.Contains(name, "."):
		graphError(w, 400, "Request_BadRequest", "The domain name is invalid.")
		return
	case t.domain(name) != nil:
		graphError(w, 400, "Request_BadRequest", "A domain with the given name already exists.")
		return
	}
	d := &Domain{Name: strings.ToLower(name), Text: fmt.Sprintf("MS=ms%08d", 79058390+len(t.Domains))}
	d.MX = t.MX
	if d.MX == "" {
		d.MX = strings.ReplaceAll(d.Name, ".", "-") + ".o-v1.mx.microsoft"
	}
	t.Domains = append(t.Domains, d)
	reply(w, 201, t.domainJSON(d))
}

func (t *Tenant) patchDomain(w http.ResponseWriter, r *http.Request, body map[string]any) {
	d := t.domain(r.PathValue("id"))
	if d == nil {
		notFound(w, r.PathValue("id"))
		return
	}
	if list, ok := body["supportedServices"].([]any); ok {
		d.Services = nil
		for _, s := range list {
			d.Services = append(d.Services, fmt.Sprint(s))
		}
	}
	w.WriteHeader(204)
}

func (t *Tenant) verificationRecords(w http.ResponseWriter, r *http.Request, _ map[string]any) {
	d := t.domain(r.PathValue("id"))
	if d == nil {
		notFound(w, r.PathValue("id"))
		return
	}
	common := func(kind string, more map[string]any) map[string]any {
		m := map[string]any{"@odata.type": "#microsoft.graph.domainDns" + kind + "Record", "isOptional": false, "label": d.Name, "recordType": kind, "supportedService": "Email", "ttl": 3600, "id": t.newID()}
		for k, v := range more {
			m[k] = v
		}
		return m
	}
	// The MX variant comes first: whoever takes it spoils a domain that gets mail.
	t.page(w, r, []any{
		common("Mx", map[string]any{"mailExchange": strings.TrimPrefix(d.Text, "MS=") + ".msv1.invalid", "preference": 32767}),
		common("Txt", map[string]any{"text": d.Text}),
	})
}

func (t *Tenant) verifyDomain(w http.ResponseWriter, r *http.Request, _ map[string]any) {
	d := t.domain(r.PathValue("id"))
	switch {
	case d == nil:
		notFound(w, r.PathValue("id"))
	case d.Verified:
		graphError(w, 400, "Request_BadRequest", "Domain verification is only for unverified domains.")
	case t.TXT != nil && !slices.Contains(t.TXT(d.Name), d.Text):
		graphError(w, 400, "Request_BadRequest", "Domain verification failed with the following error: the required records could not be found.")
	case d.VerifyN < t.Trouble.VerifyLate:
		d.VerifyN++
		graphError(w, 400, "Request_BadRequest", "Verification of domain failed.")
	default:
		d.Verified, d.Services = true, []string{"Email"}
		reply(w, 200, t.domainJSON(d))
	}
}

func (t *Tenant) serviceRecords(w http.ResponseWriter, r *http.Request, _ map[string]any) {
	d := t.domain(r.PathValue("id"))
	if d == nil {
		notFound(w, r.PathValue("id"))
		return
	}
	if !d.Verified || !slices.Contains(d.Services, "Email") || d.RecordsN < t.Trouble.RecordsLate {
		d.RecordsN++
		t.page(w, r, nil)
		return
	}
	record := func(kind, label string, more map[string]any) map[string]any {
		m := map[string]any{"@odata.type": "#microsoft.graph.domainDns" + kind + "Record", "isOptional": false, "label": label, "recordType": kind, "supportedService": "Email", "ttl": 3600, "id": t.newID()}
		for k, v := range more {
			m[k] = v
		}
		return m
	}
	other := record("CName", "msoid."+d.Name, map[string]any{"canonicalName": "clientconfig.microsoftonline-p.net"})
	other["supportedService"] = "OrgIdAuthentication"
	t.page(w, r, []any{
		other,
		record("Mx", d.Name, map[string]any{"mailExchange": d.MX, "preference": 0}),
		record("Txt", d.Name, map[string]any{"text": "v=spf1 include:spf.protection.outlook.com -all"}),
		record("CName", "autodiscover."+d.Name, map[string]any{"canonicalName": "autodiscover.outlook.com"}),
	})
}

func (t *Tenant) userJSON(u *User, r *http.Request) map[string]any {
	licenses := []any{}
	plans := []any{}
	provisioned := []any{}
	for _, id := range u.Licenses {
		licenses = append(licenses, map[string]any{"skuId": id, "disabledPlans": []string{}})
		if s := find(t.SKUs, func(s *SKU) bool { return s.ID == id }); s != nil && s.ServicePlan != "" {
			plans = append(plans, map[string]any{"assignedDateTime": "2026-11-26T00:00:00Z", "capabilityStatus": "Enabled", "service": "exchange", "servicePlanId": s.ServicePlan})
			status := "PendingInput"
			if t.mailbox(u.ID) != nil {
				status = "Success"
			}
			provisioned = append(provisioned, map[string]any{"capabilityStatus": "Enabled", "provisioningStatus": status, "service": "exchange"})
		}
	}
	all := map[string]any{
		"id": u.ID, "userPrincipalName": u.Principal, "displayName": u.Name, "usageLocation": orNull(u.Location), "accountEnabled": !u.Blocked, "mail": nil,
		"proxyAddresses": []string{}, "assignedLicenses": licenses, "assignedPlans": plans, "provisionedPlans": provisioned,
	}
	if m := t.mailbox(u.ID); m != nil {
		list := []string{"SMTP:" + m.Address}
		for _, a := range m.Aliases {
			list = append(list, "smtp:"+a)
		}
		all["mail"], all["proxyAddresses"] = m.Address, list
	}
	// Most properties come only to those who ask for them.
	asked := strings.Split(r.URL.Query().Get("$select"), ",")
	out := map[string]any{"id": u.ID, "userPrincipalName": u.Principal, "displayName": u.Name, "mail": all["mail"]}
	if asked[0] != "" {
		out = map[string]any{}
	}
	for _, name := range asked {
		if v, ok := all[name]; ok {
			out[name] = v
		}
	}
	return out
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// visible are users that can be found by now.
func (t *Tenant) visible(u *User) bool { return !t.now().Before(u.Made.Add(t.Trouble.Late)) }

func (t *Tenant) getUsers(w http.ResponseWriter, r *http.Request, _ map[string]any) {
	var list []any
	for _, u := range t.Users {
		if t.visible(u) {
			list = append(list, t.userJSON(u, r))
		}
	}
	t.page(w, r, list)
}

func (t *Tenant) getUser(w http.ResponseWriter, r *http.Request, _ map[string]any) {
	u := t.user(r.PathValue("id"))
	if u == nil || !t.visible(u) {
		notFound(w, r.PathValue("id"))
		return
	}
	reply(w, 200, t.userJSON(u, r))
}

func (t *Tenant) postUser(w http.ResponseWriter, r *http.Request, body map[string]any) {
	text := func(k string) string { s, _ := body[k].(string); return s }
	profile, _ := body["passwordProfile"].(map[string]any)
	password, _ := profile["password"].(string)
	name := text("userPrincipalName")
	_, domain, _ := strings.Cut(name, "@")
	d := t.domain(domain)
	switch {
	case t.user(name) != nil, t.holder(name) != "":
		graphError(w, 400, "Request_BadRequest", "Another object with the same value for property userPrincipalName already exists.", "ObjectConflict")
		return
	case d == nil || !d.Verified:
		graphError(w, 400, "Request_BadRequest", "The domain portion of the userPrincipalName property is invalid. You must use one of the verified domain names in your organization.")
		return
	case text("displayName") == "", text("mailNickname") == "", len(password) < 8, body["accountEnabled"] != true:
		graphError(w, 400, "Request_BadRequest", "A value is required for a property.")
		return
	}
	u := &User{ID: t.newID(), Principal: name, Name: text("displayName"), Location: text("usageLocation"), Password: password, Made: t.now()}
	t.Users = append(t.Users, u)
	reply(w, 201, map[string]any{"id": u.ID, "userPrincipalName": u.Principal, "displayName": u.Name})
}

func (t *Tenant) patchUser(w http.ResponseWriter, r *http.Request, body map[string]any) {
	u := t.user(r.PathValue("id"))
	if u == nil || !t.visible(u) {
		notFound(w, r.PathValue("id"))
		return
	}
	for k, v := range body {
		switch k {
		case "displayName":
			u.Name, _ = v.(string)
			if m := t.mailbox(u.ID); m != nil {
				m.Name = u.Name
			}
		case "usageLocation":
			u.Location, _ = v.(string)
		case "accountEnabled":
			u.Blocked = v == false
		default:
			graphError(w, 400, "Request_BadRequest", "Property '"+k+"' is read-only and cannot be set.")
			return
		}
	}
	w.WriteHeader(204)
}

func (t *Tenant) assignLicense(w http.ResponseWriter, r *http.Request, body map[string]any) {
	u := t.user(r.PathValue("id"))
	if u == nil || !t.visible(u) {
		notFound(w, r.PathValue("id"))
		return
	}
	add, ok1 := body["addLicenses"].([]any)
	_, ok2 := body["removeLicenses"].([]any)
	switch {
	case !ok1 || !ok2:
		graphError(w, 400, "Request_BadRequest", "One or more parameters of the function import 'assignLicense' are missing from the request payload.")
		return
	case u.Location == "":
		graphError(w, 400, "Request_BadRequest", "License assignment cannot be done for user with invalid usage location.")
		return
	}
	for _, a := range add {
		m, _ := a.(map[string]any)
		id, _ := m["skuId"].(string)
		s := find(t.SKUs, func(s *SKU) bool { return strings.EqualFold(s.ID, id) })
		switch {
		case s == nil:
			graphError(w, 400, "Request_BadRequest", "License "+id+" does not correspond to a valid company License.")
			return
		case slices.Contains(u.Licenses, s.ID):
			continue
		case t.consumed(s) >= s.Bought:
			graphError(w, 400, "Request_BadRequest", "Subscription with SKU "+id+" does not have any available licenses.")
			return
		}
		u.Licenses, u.Licensed = append(u.Licenses, s.ID), t.now()
	}
	reply(w, 200, map[string]any{"id": u.ID, "userPrincipalName": u.Principal})
}

func (t *Tenant) consumed(s *SKU) int {
	n := 0
	for _, u := range t.Users {
		if slices.Contains(u.Licenses, s.ID) {
			n++
		}
	}
	return n
}

func (t *Tenant) getSKUs(w http.ResponseWriter, r *http.Request, _ map[string]any) {
	var list []any
	for _, s := range t.SKUs {
		list = append(list, map[string]any{
			"skuId": s.ID, "skuPartNumber": s.Name, "capabilityStatus": "Enabled", "consumedUnits": t.consumed(s),
			"prepaidUnits": map[string]any{"enabled": s.Bought, "suspended": 0, "warning": 0},
			"servicePlans": []any{map[string]any{"servicePlanId": s.ServicePlan, "servicePlanName": "EXCHANGE_S_STANDARD", "provisioningStatus": "Success", "appliesTo": "User"}},
		})
	}
	t.page(w, r, list)
}

func (t *Tenant) getOrganization(w http.ResponseWriter, r *http.Request, _ map[string]any) {
	t.page(w, r, []any{map[string]any{"id": TenantID}})
}

func (t *Tenant) getPrincipals(w http.ResponseWriter, r *http.Request, _ map[string]any) {
	var list []any
	for _, a := range t.Apps {
		if strings.Contains(r.URL.Query().Get("$filter"), "'"+a.ClientID+"'") {
			list = append(list, map[string]any{"id": a.ObjectID, "appId": a.ClientID})
		}
	}
	t.page(w, r, list)
}

func (t *Tenant) getGroups(w http.ResponseWriter, r *http.Request, _ map[string]any) {
	var list []any
	for _, g := range t.Groups {
		if f, _ := url.QueryUnescape(r.URL.Query().Get("$filter")); strings.Contains(strings.ToLower(f), "'"+strings.ToLower(g.Address)+"'") {
			list = append(list, map[string]any{"id": g.GUID, "mail": g.Address, "proxyAddresses": []string{"SMTP:" + g.Address}, "groupTypes": []string{}})
		}
	}
	t.page(w, r, list)
}

func (t *Tenant) getMembers(w http.ResponseWriter, r *http.Request, _ map[string]any) {
	g := t.group(r.PathValue("id"))
	if g == nil {
		notFound(w, r.PathValue("id"))
		return
	}
	var list []any
	for _, m := range g.Members {
		list = append(list, map[string]any{"id": m, "mail": m})
	}
	t.page(w, r, list)
}
