package microsoft365test

import (
	"encoding/json"
	"fmt"
	"io"
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
