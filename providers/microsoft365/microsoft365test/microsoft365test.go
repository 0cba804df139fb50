// Package microsoft365test is a double of a Microsoft 365 tenant: the token
// service, Microsoft Graph and the admin interface of Exchange Online, over one
// set of users, domains and mailboxes. It behaves as those are documented and as
// they were seen, and each unpleasant behaviour is a switch of Trouble.
package microsoft365test

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// TenantID is the id of the tenant that New makes.
const TenantID = "3b1f6a52-9d1b-4b53-8f0e-2f0a6c7d1e10"

// App is an application that is registered in the tenant.
type App struct {
	ClientID string
	ObjectID string // of its enterprise application
	Secret   string // "" = none
	Expired  bool   // the secret has run out
	Cert     *x509.Certificate
	Graph    []string // application permissions with consent
	Exchange []string
	Roles    []string // directory roles, such as "Exchange Administrator"
	Disabled bool
	NoPS256  bool // the token service takes RS256 alone
}

// Everything is what mxodus asks consent for.
var (
	GraphPermissions    = []string{"Domain.ReadWrite.All", "User.ReadWrite.All", "Organization.Read.All", "Application.Read.All"}
	ExchangePermissions = []string{"Exchange.ManageAsApp", "IMAP.AccessAsApp"}
)

// Tenant is the double. Its fields may be changed between requests, under Lock.
type Tenant struct {
	URL  string // of the server; its parts are at Login, Graph and Exchange
	Name string // acme.onmicrosoft.com

	sync.Mutex
	Now     func() time.Time // nil = the system's clock
	Apps    []*App
	Trouble Trouble

	// TXT and CNAME are what the world's name servers say; nil: every record that is asked
	// for is there.
	TXT   func(domain string) []string
	CNAME func(name string) string
	// MX is the host that new domains get, Keys the domain of their DKIM keys; "" as Microsoft names them.
	MX, Keys string

	world
	server *httptest.Server
	login  loginState
}

// New starts a double whose tenant has one application with every permission. Close ends it.
func New(app App) *Tenant {
	t := &Tenant{Name: "acme.onmicrosoft.com", Apps: []*App{&app}, world: newWorld()}
	mux := http.NewServeMux()
	t.routeGraph(mux)
	mux.HandleFunc("POST /exchange/adminapi/beta/{tenant}/InvokeCommand", t.invoke)
	mux.HandleFunc("POST /login/{tenant}/oauth2/v2.0/token", t.token)
	mux.HandleFunc("POST /login/{tenant}/oauth2/v2.0/devicecode", t.deviceCode)
	mux.HandleFunc("GET /login/{tenant}/v2.0/.well-known/openid-configuration", t.openID)
	t.server = httptest.NewServer(mux)
	t.URL = t.server.URL
	return t
}

// Application is one with every permission, consent and role.
func Application() App {
	return App{
		ClientID: "6f0c1e52-9d1b-4b53-8f0e-0c6d7c7b3a11", ObjectID: "a2c9c3de-1d1c-4a7b-9a53-7be1f6c40e01", Secret: "Q~8c.fT3st-S3cr3t_value~of~the~app",
		Graph: GraphPermissions, Exchange: ExchangePermissions, Roles: []string{"Exchange Administrator"},
	}
}

// Close ends the server.
func (t *Tenant) Close() { t.server.Close() }

// Endpoints are the base URLs of the services: login, graph, exchange.
func (t *Tenant) Endpoints() (login, graph, exchange string) {
	return t.URL + "/login", t.URL + "/graph", t.URL + "/exchange"
}

func (t *Tenant) now() time.Time {
	if t.Now != nil {
		return t.Now()
	}
	return time.Now()
}

func (t *Tenant) is(name string) bool {
	return strings.EqualFold(name, TenantID) || strings.EqualFold(name, t.Name)
}

func (t *Tenant) app(clientID string) *App {
	for _, a := range t.Apps {
		if strings.EqualFold(a.ClientID, clientID) {
			return a
		}
	}
	return nil
}

func writeJSON(w http.ResponseWriter, status int, body string, args ...any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintf(w, body, args...)
}
