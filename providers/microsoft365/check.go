package microsoft365

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/microsoft365/entra"
	"github.com/mxodus/mxodus/providers/microsoft365/exchange"
	"github.com/mxodus/mxodus/providers/microsoft365/graph"
	"github.com/mxodus/mxodus/providers/microsoft365/rest"
)

// graphNeeds are the application permissions of Graph, by what changes need them: any one
// of a list is enough.
var graphNeeds = []struct {
	kinds  []string
	any    []string
	reason string
}{
	{[]string{"account", "shared"}, []string{"User.ReadWrite.All", "Directory.ReadWrite.All"}, "users are made and get licences"},
	{[]string{"account"}, []string{"Organization.Read.All", "Organization.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All", "LicenseAssignment.Read.All", "LicenseAssignment.ReadWrite.All"}, "licences are counted"},
	{[]string{"domain", "domain/verify"}, []string{"Domain.ReadWrite.All", "Directory.ReadWrite.All"}, "domains are added and verified"},
}

// byExchange are the kinds of change that Exchange's cmdlets make.
var byExchange = []string{"shared", "access", "application", "catchall", "alias", "list", "forwarder", "domain/keys", "domain/dkim"}

// AllKinds are the kinds of change that a directory is asked for.
func AllKinds() []string {
	return append([]string{"account", "domain", "domain/verify"}, byExchange...)
}

// Check implements providers.Directory. Codes:
//
//	ok                            it works
//	token_refused, AADSTS<n>      no token: the number says why
//	consent_missing               an application permission of Graph
//	exchange_permission_missing   Exchange.ManageAsApp (401)
//	exchange_role_missing         a role that lets the application change recipients (403)
//	imap_permission_missing       IMAP.AccessAsApp
//	will_be_made                  a step of the plan makes it
//	unreachable, throttled, …     the reason, where nothing is known of a grant
func (t *Tenant) Check(ctx context.Context, kinds []string) []providers.Finding {
	needs := func(some []string) bool {
		return slices.ContainsFunc(some, func(k string) bool { return slices.Contains(kinds, k) })
	}
	var list []providers.Finding
	if needs([]string{"account", "shared", "domain", "domain/verify"}) || t.byHand() {
		list = append(list, t.checkGraph(ctx, needs)...)
	}
	if needs(byExchange) && !t.byHand() {
		list = append(list, t.checkExchange(ctx)...)
	}
	if needs([]string{"access"}) {
		list = append(list, t.checkIMAP(ctx)...)
	}
	return list
}

func (t *Tenant) finding(check, subject string, err error, detail string) providers.Finding {
	f := providers.Finding{Check: check, Subject: subject, OK: err == nil, Code: "ok", Detail: detail}
	if err == nil {
		return f
	}
	f.Code, f.Detail = string(providers.ReasonOf(err)), err.Error()
	if f.Code == "" {
		f.Code = "failed"
	}
	if e, ok := errors.AsType[*providers.Error](err); ok {
		f.Remedy = e.Remedy
	}
	if n := entra.CodeOf(err); n != 0 {
		f.Code = fmt.Sprintf("AADSTS%d", n)
	} else if strings.Contains(err.Error(), "get a token for") && f.Code == string(providers.Authentication) {
		f.Code = "token_refused"
	}
	return f
}

func (t *Tenant) checkGraph(ctx context.Context, needs func([]string) bool) []providers.Finding {
	at := t.host.Key()
	token, err := t.tokens.Graph().Token(ctx)
	if err != nil {
		return []providers.Finding{t.finding("graph_token", at, err, "")}
	}
	list := []providers.Finding{t.finding("graph_token", at, nil, "the token service gives a token for Graph")}
	claims, readable := entra.ClaimsOf(token)
	for _, n := range graphNeeds {
		if !needs(n.kinds) || !readable || t.host.Credentials.IsZero() {
			continue
		}
		f := providers.Finding{Check: "graph_permission", Subject: at + " " + n.any[0], OK: slices.ContainsFunc(n.any, claims.Has), Code: "ok", Detail: n.reason}
		if !f.OK {
			f.Code, f.Remedy = "consent_missing", graph.GrantRemedy(n.any[0])
			f.Detail = "the application may not do what this needs: " + n.reason
		}
		list = append(list, f)
	}
	// A permission on paper is one thing; an answer another.
	_, err = t.graph.SKUs(ctx)
	f := t.finding("graph_read", at, err, "Graph answers")
	if rest.StatusOf(err) == 403 {
		f.Code = "consent_missing"
	}
	return append(list, f)
}

func (t *Tenant) checkExchange(ctx context.Context) []providers.Finding {
	at := t.host.Key()
	if _, err := t.tokens.Exchange().Token(ctx); err != nil {
		return []providers.Finding{t.finding("exchange_token", at, err, "")}
	}
	list := []providers.Finding{t.finding("exchange_token", at, nil, "the token service gives a token for Exchange")}
	_, err := t.exo.DKIMs(ctx)
	f := t.finding("exchange_admin", at, err, "Exchange takes the application as an administrator")
	switch {
	case err == nil:
	case rest.StatusOf(err) == 401:
		f.Code = "exchange_permission_missing"
	case rest.StatusOf(err) == 403, exchange.TypeOf(err) == "CommandNotFoundException", strings.Contains(err.Error(), "role definition"):
		f.Code = "exchange_role_missing"
	}
	list = append(list, f)
	if err != nil {
		return list
	}
	_, known, err := t.principal(ctx)
	f = t.finding("exchange_application", at, err, "Exchange knows the application")
	if err == nil && !known {
		f.Code, f.Detail = "will_be_made", "Exchange doesn't know the application yet: the plan has a step for it (New-ServicePrincipal)"
	}
	return append(list, f)
}

// checkIMAP looks whether the application may use IMAP at all. Where its token can't be
// read only a login tells.
func (t *Tenant) checkIMAP(ctx context.Context) []providers.Finding {
	token, err := t.tokens.Exchange().Token(ctx)
	if err != nil {
		if t.byHand() {
			return []providers.Finding{t.finding("exchange_token", t.host.Key(), err, "")}
		}
		return nil // said already
	}
	claims, readable := entra.ClaimsOf(token)
	if !readable {
		return nil
	}
	f := providers.Finding{Check: "imap_permission", Subject: t.host.Key() + " IMAP.AccessAsApp", OK: claims.Has("IMAP.AccessAsApp"), Code: "ok", Detail: "the application may use IMAP"}
	if !f.OK {
		f.Code, f.Detail = "imap_permission_missing", "the application may not use IMAP, so every login will fail, without a reason"
		f.Remedy = "give the application the permission IMAP.AccessAsApp of Office 365 Exchange Online and admin consent: https://entra.microsoft.com, App registrations, the application, API permissions, Add a permission, APIs my organization uses, Office 365 Exchange Online, Application permissions; then Grant admin consent"
	}
	return []providers.Finding{f}
}
