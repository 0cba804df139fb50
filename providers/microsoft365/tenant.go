// Package microsoft365 is a Microsoft 365 tenant as a target: its domains, users and
// addresses over Microsoft Graph and the admin interface of Exchange Online, and the
// tokens that its IMAP takes.
//
// Nothing in a tenant is deleted, and only what a plan names is changed.
package microsoft365

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/https"
	"github.com/mxodus/mxodus/providers/microsoft365/entra"
	"github.com/mxodus/mxodus/providers/microsoft365/exchange"
	"github.com/mxodus/mxodus/providers/microsoft365/graph"
)

// Options are what a tenant needs besides its block of the configuration.
type Options struct {
	Secrets providers.Secrets
	Clock   providers.Clock
	Root    string // the migration's folder: ca_file is relative to it
	// Person shows somebody where to sign in and the code to type in there; nil: nobody can be asked.
	Person func(page, code string)
}

// Tenant is one target of kind microsoft365. It is safe for concurrent use.
type Tenant struct {
	host    plan.Host
	options Options
	cloud   entra.Cloud
	http    *http.Client
	tokens  *entra.Client
	graph   *graph.Client
	exo     *exchange.Client

	mu      sync.Mutex
	id      string                    // the tenant's id, once it is known
	known   exchange.ServicePrincipal // the application, once Exchange knows it
	granted map[string]bool           // rights that were given in this run
	users   newUsers
}

// New makes the tenant of a target block. It touches no network and resolves no secret.
// A ca_file that can't be read is an error.
func New(host plan.Host, o Options) (*Tenant, error) {
	t := &Tenant{host: host, options: o, granted: map[string]bool{}, users: newUsers{root: o.Root, random: rand.Reader}}
	name := cmp.Or(host.Settings["cloud"], "global")
	cloud, ok := entra.Clouds[name]
	if !ok {
		return nil, fmt.Errorf("there is no cloud %q", name)
	}
	t.cloud = cloud
	var now func() time.Time
	if o.Clock != nil {
		now = o.Clock.Now
	}
	transport, err := https.NewTransport(o.Root, host.CAFile, now)
	if err != nil {
		return nil, err
	}
	transport.MaxConnsPerHost = 8
	t.http = &http.Client{Transport: transport, Timeout: requestTimeout, CheckRedirect: https.NoRedirects}
	conf := entra.Config{
		Tenant: host.Settings["tenant"], ClientID: host.Settings["client_id"], Login: host.Settings["endpoints.login"], Cloud: cloud,
		Name: host.Credentials.String(), Person: o.Person, HTTP: t.http, Clock: o.Clock,
	}
	if !host.Credentials.IsZero() {
		conf.Credential = func(ctx context.Context) (providers.Secret, error) {
			return o.Secrets.Resolve(ctx, host.Credentials, "")
		}
	}
	t.tokens = entra.New(conf)
	t.graph = graph.New(cmp.Or(host.Settings["endpoints.graph"], cloud.Graph), t.tokens.Graph(), t.http, o.Clock)
	t.exo = exchange.New(cmp.Or(host.Settings["endpoints.exchange"], cloud.Exchange), t.tokens.Exchange(), t.http, o.Clock, t.tenantID)
	return t, nil
}

// byHand reports whether a person runs Exchange's cmdlets.
func (t *Tenant) byHand() bool { return t.host.Settings["exchange"] == "by_hand" }

// tenantID is the tenant's id, by which Exchange routes requests: as it is configured, as
// the application's token says it, as Graph does, or else its name, which has been seen to do.
func (t *Tenant) tenantID(ctx context.Context) (string, error) {
	t.mu.Lock()
	id := t.id
	t.mu.Unlock()
	if id != "" {
		return id, nil
	}
	id = t.host.Settings["tenant"]
	if !entra.IsID(id) {
		token, err := t.tokens.Exchange().Token(ctx)
		if err != nil {
			return "", err
		}
		if claims, ok := entra.ClaimsOf(token); ok {
			id = claims.Tenant
		} else if org, err := t.graph.Organization(ctx); err == nil && org != "" {
			id = org
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.id = id
	return id, nil
}

const requestTimeout = 60 * time.Second

// ExchangeTokens are the tokens for IMAP, and for Exchange's admin interface: one token
// opens every mailbox that the application was given.
func (t *Tenant) ExchangeTokens() *entra.Source { return t.tokens.Exchange() }

// IMAP is where the tenant's mailboxes are reached.
func (t *Tenant) IMAP() (host string, port int) {
	if e := t.host.Settings["endpoints.imap"]; e != "" {
		if h, p, err := net.SplitHostPort(e); err == nil {
			if n, err := strconv.Atoi(p); err == nil {
				return h, n
			}
		}
	}
	return t.cloud.IMAP, 993
}
