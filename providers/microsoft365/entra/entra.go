// Package entra gets access tokens from the Microsoft identity platform
// (Entra ID): for an application by a client secret or by a certificate, and
// for a person by the device code flow.
//
// Each service has tokens of its own. A Client is one application (or person) in one
// tenant; its Sources hold one token each, renew it before it runs out and, when
// a service refuses it, once for everybody who was refused. Tokens and secrets
// live in memory; no error of this package holds one.
//
// Wire format: POST {login}/{tenant}/oauth2/v2.0/token, RFC 6749 §4.4; assertions
// RFC 7523 §2.2; device code RFC 8628. Refusals are told apart by error_codes,
// the AADSTS numbers, never by their text.
package entra

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/mxodus/mxodus/providers"
)

// Config says who asks for tokens and where.
type Config struct {
	Tenant   string // its id, or a name such as acme.onmicrosoft.com
	ClientID string // of the application; "" only with Person
	Login    string // base URL, "" = the cloud's
	Cloud    Cloud  // the zero value is the global one

	// Credential returns the client secret, or a PEM with certificate and RSA key. It
	// is asked each time a token is fetched, so that a secret may be replaced while a
	// migration runs. nil: Person signs in by a device code.
	Credential func(context.Context) (providers.Secret, error)
	// Name is how messages call the credential: "secret.graph (file …)".
	Name string
	// Person shows somebody where to sign in, and the code to type in there. It returns at
	// once. nil: nobody can be asked.
	Person func(page, code string)

	HTTP   *http.Client // nil = a client of its own. Redirects are never followed
	Clock  providers.Clock
	Random io.Reader // nil = crypto/rand
}

// Client asks for tokens. It is safe for concurrent use.
type Client struct {
	c      Config
	person person

	mu     sync.Mutex
	alg    algorithm // the one that the tenant took, once it is known
	source map[string]*Source
}

// New makes a client. It touches no network and asks for no secret.
func New(c Config) *Client {
	c.Cloud = c.Cloud.orGlobal()
	c.Login = strings.TrimRight(cmp.Or(c.Login, c.Cloud.Login), "/")
	if c.Random == nil {
		c.Random = rand.Reader
	}
	own := http.Client{Timeout: requestTimeout}
	if c.HTTP != nil {
		own = *c.HTTP
	}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.HTTP = &own
	return &Client{c: c, source: map[string]*Source{}}
}

const (
	requestTimeout = 30 * time.Second
	maxTries       = 4
	longestWait    = 2 * time.Minute // that a Retry-After may ask for
)

// Source returns the tokens for a service: "https://graph.microsoft.com". Each call with
// the same resource returns the same Source.
func (c *Client) Source(resource string) *Source {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.source[resource]
	if s == nil {
		// Client credentials take one scope, the resource's default one (AADSTS1002012).
		scope := strings.TrimRight(resource, "/") + "/.default"
		s = &Source{clock: c.c.Clock, room: make(chan struct{}, 1), fetch: func(ctx context.Context) (grant, error) { return c.fetch(ctx, scope) }}
		c.source[resource] = s
	}
	return s
}

// Graph returns the tokens for Microsoft Graph.
func (c *Client) Graph() *Source { return c.Source(c.c.Cloud.Graph) }

// Exchange returns the tokens for Exchange Online: its admin interface, IMAP and SMTP.
func (c *Client) Exchange() *Source { return c.Source(c.c.Cloud.Exchange) }

func (c *Client) tokenURL() string {
	return c.c.Login + "/" + url.PathEscape(c.c.Tenant) + "/oauth2/v2.0/token"
}

// fetch gets one token. Trouble of the service itself is tried again.
func (c *Client) fetch(ctx context.Context, scope string) (grant, error) {
	ctx = context.WithValue(ctx, oauth2.HTTPClient, c.c.HTTP)
	if c.c.Credential == nil {
		return c.byPerson(ctx, scope)
	}
	credential, err := c.c.Credential(ctx)
	if err != nil {
		return grant{}, err
	}
	secret := strings.TrimSpace(credential.Reveal())
	if !isPEM(secret) {
		if err := c.checkSecret(secret); err != nil {
			return grant{}, err
		}
		return c.retried(ctx, secret, func() (*oauth2.Token, error) { return c.ask(ctx, scope, secret, nil) })
	}
	cert, err := parseCertificate(secret)
	if err != nil {
		return grant{}, c.credentialError(err, "the file needs the certificate and its RSA key as PEM, the key without a passphrase; the certificate is uploaded at the app registration, under Certificates & secrets")
	}
	c.mu.Lock()
	alg := cmp.Or(c.alg, ps256)
	c.mu.Unlock()
	g, err := c.byAssertion(ctx, scope, cert, alg)
	if hasCode(err, 700027) && alg == ps256 {
		// Older services verify RS256 alone.
		if again, errRS := c.byAssertion(ctx, scope, cert, rs256); errRS == nil {
			g, err, alg = again, nil, rs256
		}
	}
	if err == nil {
		c.mu.Lock()
		c.alg = alg
		c.mu.Unlock()
	}
	return g, err
}

// byAssertion signs a new assertion for each try: they are good for ten minutes, and once.
func (c *Client) byAssertion(ctx context.Context, scope string, cert certificate, alg algorithm) (grant, error) {
	return c.retried(ctx, "", func() (*oauth2.Token, error) {
		jwt, err := cert.assertion(alg, c.c.ClientID, c.tokenURL(), c.c.Clock.Now(), c.c.Random)
		if err != nil {
			return nil, err
		}
		return c.ask(ctx, scope, "", url.Values{
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
			"client_assertion":      {jwt},
		})
	})
}

func (c *Client) ask(ctx context.Context, scope, secret string, params url.Values) (*oauth2.Token, error) {
	conf := clientcredentials.Config{
		ClientID: c.c.ClientID, ClientSecret: secret, TokenURL: c.tokenURL(), Scopes: []string{scope},
		EndpointParams: params, AuthStyle: oauth2.AuthStyleInParams,
	}
	return conf.Token(ctx)
}

// grant is a token and how long it is good for, by our clock: x/oauth2 reckons by the system's.
type grant struct {
	token providers.Secret
	life  time.Duration
}

func (c *Client) retried(ctx context.Context, secret string, ask func() (*oauth2.Token, error)) (grant, error) {
	for try := 1; ; try++ {
		t, err := ask()
		if err == nil {
			return grantOf(t), nil
		}
		if ctx.Err() != nil {
			return grant{}, context.Cause(ctx)
		}
		err = c.explain(err, secret)
		wait := time.Second << (try - 1)
		switch e, _ := errors.AsType[*providers.Error](err); {
		case e == nil || try == maxTries:
			return grant{}, err
		case e.Reason == providers.Throttled:
			wait = max(wait, e.Wait)
		case e.Reason != providers.Unreachable:
			return grant{}, err
		}
		if wait > longestWait {
			return grant{}, err
		}
		if err := c.c.Clock.Sleep(ctx, wait); err != nil {
			return grant{}, err
		}
	}
}

// grantOf takes the token's life as the service said it: x/oauth2 makes a time of it by the
// system's clock, and for client credentials keeps nothing else.
func grantOf(t *oauth2.Token) grant {
	life := time.Duration(0)
	switch v := t.Extra("expires_in").(type) {
	case float64:
		life = time.Duration(v) * time.Second
	case string:
		n, err := strconv.Atoi(v)
		if err == nil {
			life = time.Duration(n) * time.Second
		}
	}
	if life <= 0 || life > 24*time.Hour {
		life = time.Hour // RFC 6749 §5.1: a service that says nothing documents it: 60 to 90 minutes
	}
	return grant{providers.Keep(t.AccessToken), life}
}

// guid is the form of ids, which client secrets don't have.
var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// IsID reports whether s has the form of an id.
func IsID(s string) bool { return guid.MatchString(s) }

// checkSecret finds the usual mistake before it counts as a failed sign-in.
func (c *Client) checkSecret(secret string) error {
	switch {
	case IsID(secret):
		return c.credentialError(errors.New("it has the form of an id, so it is the secret's ID and not its value"),
			"the value is shown only once, when the secret is made: make a new one at the app registration, under Certificates & secrets, and take the column Value")
	case strings.ContainsAny(secret, "\r\n"):
		return c.credentialError(errors.New("it has several lines and is no PEM"), "put the client secret alone into the file, or certificate and key as PEM")
	}
	return nil
}

func (c *Client) credentialError(err error, remedy string) error {
	return &providers.Error{Op: "get a token for", Subject: c.subject(), Reason: providers.Authentication, Err: fmt.Errorf("%s can't be used: %w", cmp.Or(c.c.Name, "the credential"), err), Remedy: remedy}
}

func (c *Client) subject() string {
	return fmt.Sprintf("the application %s in %s", cmp.Or(c.c.ClientID, "of this person"), c.c.Tenant)
}
