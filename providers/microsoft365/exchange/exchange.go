// Package exchange runs cmdlets of Exchange Online over its admin interface:
// POST {base}/adminapi/beta/{tenant}/InvokeCommand. Microsoft's own PowerShell module
// speaks it, and documents it nowhere; what is known of it is known from use. The
// documented Admin API (2.0) can neither create mailboxes nor lists, so this one is
// needed.
package exchange

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/microsoft365/rest"
)

// Params are a cmdlet's parameters: strings, numbers, true for a switch, []string, Table.
type Params map[string]any

// Table is a hash table: @{Add = …}.
type Table map[string]any

// MarshalJSON adds the marker that tells a hash table from an object.
func (t Table) MarshalJSON() ([]byte, error) {
	m := map[string]any{"@odata.type": "#Exchange.GenericHashTable"}
	for k, v := range t {
		m[k] = v
	}
	return json.Marshal(m)
}

// Client runs cmdlets. It is safe for concurrent use.
type Client struct {
	c *rest.Client
	// tenant is the tenant's id, by which requests are routed.
	tenant func(context.Context) (string, error)
}

// New makes a client of the interface at base, a URL without version. tenant is asked
// before each request. It touches no network.
func New(base string, tokens rest.Tokens, h *http.Client, clock providers.Clock, tenant func(context.Context) (string, error)) *Client {
	// No limit is published and none is announced in answers; one request a second has
	// been borne by many. Small tenants are done within the burst.
	return &Client{tenant: tenant, c: &rest.Client{
		Base: strings.TrimRight(base, "/") + "/adminapi/beta", At: "Exchange Online", Tokens: tokens, HTTP: h, Clock: clock,
		Every: time.Second, Burst: 200, Explain: explain,
	}}
}

// systemMailbox routes requests that are about no mailbox.
const systemMailbox = "SystemMailbox{bb558c35-97f1-4cb9-8ff7-d53741dc928c}"

type answer struct {
	Value json.RawMessage `json:"value"`
	Next  string          `json:"@odata.nextLink"`
}

// maxPages bounds answers that come in pages.
const maxPages = 1000

// Run runs a cmdlet and reads the objects it returns into out, a pointer to a slice, or
// nil. mailbox routes the request to where that mailbox is, "" to the organisation.
//
// An answer in pages is followed by sending the same request to the next page's
// address, at the same host and by the same route. Where the service doesn't take that,
// which has been seen, the error says that the answer is cut off: half a list is never
// returned.
func (c *Client) Run(ctx context.Context, mailbox, cmdlet string, p Params, out any) error {
	tenant, err := c.tenant(ctx)
	if err != nil {
		return err
	}
	anchor := "APP:" + systemMailbox + "@" + tenant
	subject := strings.TrimSpace(fmt.Sprint(p["Identity"]))
	if p["Identity"] == nil {
		subject = c.c.At
	}
	if mailbox != "" {
		anchor = "UPN:" + mailbox
	}
	if p == nil {
		p = Params{} // never null
	}
	r := rest.Request{
		Op: cmdlet, Subject: subject, Method: http.MethodPost, Path: "/" + tenant + "/InvokeCommand",
		Header: http.Header{
			"X-AnchorMailbox": {anchor}, "X-CmdletName": {cmdlet}, "Parameter-Based-Routing": {"true"},
			"Prefer": {"odata.maxpagesize=1000"}, "Accept": {"application/json; odata.metadata=minimal"},
		},
		Body:   map[string]any{"CmdletInput": map[string]any{"CmdletName": cmdlet, "Parameters": p}},
		Effect: effect(cmdlet),
	}
	var all []json.RawMessage
	seen := map[string]bool{}
	for page := range maxPages {
		seen[r.Path] = true
		var a answer
		if err := c.c.Do(ctx, r, &a); err != nil {
			if page > 0 {
				return cutOff(cmdlet, subject, err)
			}
			return err
		}
		if strings.HasPrefix(cmdlet, "Get-") && (len(a.Value) == 0 || string(a.Value) == "null") {
			// That isn't "there is none", which is an empty list.
			return &providers.Error{Op: cmdlet, Subject: subject, Reason: providers.Protocol, Err: errors.New("the answer can't be read: it holds no list"), Remedy: "ask again; if it stays, set exchange = \"by_hand\", and report it"}
		}
		var values []json.RawMessage
		if len(a.Value) > 0 && json.Unmarshal(a.Value, &values) != nil {
			values = []json.RawMessage{a.Value} // one object by itself
		}
		all = append(all, values...)
		if a.Next == "" {
			break
		}
		if seen[a.Next] || page == maxPages-1 {
			return cutOff(cmdlet, subject, errors.New("its pages lead in a circle"))
		}
		r.Path = a.Next
	}
	if out == nil {
		return nil
	}
	joined, err := json.Marshal(all)
	if err == nil && all != nil {
		err = json.Unmarshal(joined, out)
	}
	if err != nil {
		return &providers.Error{Op: cmdlet, Subject: subject, Reason: providers.Protocol, Err: fmt.Errorf("the answer can't be read: %w", err), Remedy: "the interface may have changed: set exchange = \"by_hand\", and report it"}
	}
	return nil
}

// effect is what a cmdlet does, by its verb. What Add- adds is there once, however often it is added.
func effect(cmdlet string) rest.Effect {
	switch verb, _, _ := strings.Cut(cmdlet, "-"); verb {
	case "Get":
		return rest.Reads
	case "New":
		return rest.Creates
	}
	return rest.Sets
}

// cutOff says that an answer isn't whole.
func cutOff(cmdlet, subject string, err error) error {
	if providers.ReasonOf(err) == providers.Authentication {
		return err
	}
	return &providers.Error{Op: cmdlet, Subject: subject, Reason: providers.Protocol, Err: &CutOffError{err}, Remedy: "ask again; if it stays, set exchange = \"by_hand\", and report it"}
}

// CutOffError is an answer whose further pages can't be had.
type CutOffError struct{ Err error }

func (e *CutOffError) Error() string {
	return "the answer is cut off after its first pages: " + e.Err.Error()
}

// Unwrap returns why.
func (e *CutOffError) Unwrap() error { return e.Err }
