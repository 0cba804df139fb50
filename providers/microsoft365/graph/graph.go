// Package graph speaks Microsoft Graph v1.0, as far as moving mail needs it: domains,
// users, licences. https://learn.microsoft.com/graph/api/overview
//
// Refusals are told apart by their code, never by their text, and carry the
// request-id that Microsoft's support asks for.
package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/microsoft365/rest"
)

// Client asks Graph. It is safe for concurrent use.
type Client struct{ c *rest.Client }

// New makes a client of the Graph at base, a URL without version. It touches no network.
func New(base string, tokens rest.Tokens, h *http.Client, clock providers.Clock) *Client {
	// Graph documents its own limits and says with 429 how long to wait:
	// https://learn.microsoft.com/graph/throttling-limits
	return &Client{&rest.Client{
		Base: strings.TrimRight(base, "/") + "/v1.0", At: "Microsoft Graph", Tokens: tokens, HTTP: h, Clock: clock,
		Every: 50 * time.Millisecond, Burst: 100, Explain: explain,
	}}
}

// Refusal is what Graph says of itself in an error.
type Refusal struct {
	Status  rest.Status
	Code    string   // "Request_BadRequest"
	Details []string // further codes: "ObjectConflict"
	Request string   // request-id
}

func (r *Refusal) Error() string {
	s := r.Status.Error()
	if r.Request != "" {
		s += ", request-id " + r.Request
	}
	return s
}

// Unwrap gives the status.
func (r *Refusal) Unwrap() error { return r.Status }

// CodeOf is Graph's own code in err's chain, "" when there is none.
func CodeOf(err error) string {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.Code
	}
	return ""
}

// permissions are what requests need, by the first part of their path.
var permissions = map[string]string{
	"domains": "Domain.ReadWrite.All", "users": "User.ReadWrite.All", "subscribedSkus": "Organization.Read.All",
	"organization": "Organization.Read.All", "servicePrincipals": "Application.Read.All", "groups": "Group.Read.All",
}

// GrantRemedy says how a missing application permission of Graph is given.
func GrantRemedy(permission string) string {
	return "give the application the permission " + permission + " of Microsoft Graph and admin consent: https://entra.microsoft.com, App registrations, the application, API permissions, Add a permission, Microsoft Graph, Application permissions; then Grant admin consent"
}

func explain(e *providers.Error, r rest.Request, status int, body []byte) {
	var said struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
			Details []struct {
				Code string `json:"code"`
			} `json:"details"`
			// Spelled innerError and innererror; encoding/json takes either.
			Inner struct {
				Request string `json:"request-id"`
			} `json:"innerError"`
		} `json:"error"`
	}
	refusal := &Refusal{Status: rest.Status(status)}
	e.Err = refusal
	if json.Unmarshal(body, &said) != nil || said.Error.Code == "" {
		if e.Reason == providers.NotFound {
			e.Reason, e.Remedy = providers.Protocol, "see whether endpoints.graph is right"
		}
		return
	}
	refusal.Code, refusal.Request = said.Error.Code, said.Error.Inner.Request
	e.Server = said.Error.Code + ": " + said.Error.Message
	for _, d := range said.Error.Details {
		refusal.Details = append(refusal.Details, d.Code)
		if d.Code == "ObjectConflict" {
			e.Reason, e.Remedy = providers.Conflict, "something of this name is there already"
		}
	}
	switch said.Error.Code {
	case "Authorization_RequestDenied":
		first, _, _ := strings.Cut(strings.TrimPrefix(r.Path, "/"), "?")
		first, _, _ = strings.Cut(first, "/")
		first, _, _ = strings.Cut(first, "(")
		e.Reason, e.Remedy = providers.Refused, GrantRemedy(permissions[first])
	case "InvalidAuthenticationToken":
		e.Reason, e.Remedy = providers.Authentication, "the token is not taken: see that cloud and the endpoints belong together, and that the application still has its consent"
	case "Request_MultipleObjectsWithSameKeyValue", "ObjectConflict":
		e.Reason, e.Remedy = providers.Conflict, "something of this name is there already"
	case "TooManyRequests", "ServiceNotAvailable", "ServiceUnavailable":
		e.Reason, e.Remedy = providers.Throttled, "wait; the service limits how often it is asked"
	}
}

// do sends one request that reads or sets.
func (g *Client) do(ctx context.Context, op, subject, method, path string, body, out any) error {
	r := rest.Request{Op: op, Subject: subject, Method: method, Path: path, Body: body}
	if method != http.MethodGet {
		r.Effect = rest.Sets
	}
	return g.c.Do(ctx, r, out)
}

// create has something made in a collection.
func (g *Client) create(ctx context.Context, op, subject, path string, body, out any) error {
	return g.c.Do(ctx, rest.Request{Op: op, Subject: subject, Method: http.MethodPost, Path: path, Body: body, Effect: rest.Creates}, out)
}

// maxPages is far more than any list here has: a list without end is the service's mistake.
const maxPages = 5000

// list reads all pages of a list. The link to the next page is followed as it is, to the
// same host alone, and never twice.
func list[T any](ctx context.Context, g *Client, op, path string) ([]T, error) {
	var all []T
	seen := map[string]bool{}
	for range maxPages {
		if seen[path] {
			return nil, &providers.Error{Op: op, Subject: g.c.At, Reason: providers.Protocol, Err: errors.New("its pages lead in a circle"), Remedy: "try again; if it stays, report it to Microsoft"}
		}
		seen[path] = true
		var page struct {
			Value []T    `json:"value"`
			Next  string `json:"@odata.nextLink"`
		}
		if err := g.do(ctx, op, g.c.At, http.MethodGet, path, nil, &page); err != nil {
			return nil, err
		}
		if page.Value == nil {
			return nil, g.empty(op, g.c.At, "a list")
		}
		all = append(all, page.Value...)
		if page.Next == "" {
			return all, nil
		}
		path = page.Next
	}
	return nil, &providers.Error{Op: op, Subject: g.c.At, Reason: providers.Protocol, Err: fmt.Errorf("it has more than %d pages", maxPages), Remedy: "try again; if it stays, report it to Microsoft"}
}

// empty says that an answer holds nothing of what it is about. That isn't "there is none", which has an answer of its own.
func (g *Client) empty(op, subject, what string) error {
	return &providers.Error{Op: op, Subject: subject, Reason: providers.Protocol, Err: errors.New("the answer can't be read: it holds no " + strings.TrimPrefix(what, "a ")), Remedy: "try again; if it stays, see whether endpoints.graph is right"}
}

// seg is one segment of a path.
func seg(s string) string { return url.PathEscape(s) }

// quoted is a string in an OData expression, escaped for a query.
func quoted(s string) string {
	return url.QueryEscape("'" + strings.ReplaceAll(s, "'", "''") + "'")
}
