package entra_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/microsoft365/entra"
	"github.com/mxodus/mxodus/providers/microsoft365/microsoft365test"
)

// clock stands still until somebody sleeps.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return ctx.Err()
}

var start = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func world(t *testing.T, app microsoft365test.App) (*microsoft365test.Tenant, *clock) {
	t.Helper()
	c := &clock{now: start}
	tenant := microsoft365test.New(app)
	tenant.Now = c.Now
	t.Cleanup(tenant.Close)
	return tenant, c
}

func client(tenant *microsoft365test.Tenant, c providers.Clock, secret string, change ...func(*entra.Config)) *entra.Client {
	login, _, _ := tenant.Endpoints()
	conf := entra.Config{
		Tenant: tenant.Name, ClientID: microsoft365test.Application().ClientID, Login: login, Clock: c, Name: "secret.graph (file graph)",
		Credential: func(context.Context) (providers.Secret, error) { return providers.Keep(secret), nil },
	}
	for _, f := range change {
		f(&conf)
	}
	return entra.New(conf)
}

func TestSecret(t *testing.T) {
	app := microsoft365test.Application()
	tenant, c := world(t, app)
	cl := client(tenant, c, app.Secret+"\n")
	first, err := cl.Graph().Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if who, why := tenant.Holder(microsoft365test.GraphResource, first); who != app.ClientID {
		t.Fatalf("the token is %q's: %s", who, why)
	}
	mail, err := cl.Exchange().Token(t.Context())
	if err != nil || mail == first {
		t.Fatalf("Exchange has no token of its own: %v", err)
	}
	claims, ok := entra.ClaimsOf(mail)
	if !ok || claims.Tenant != microsoft365test.TenantID || claims.Object != app.ObjectID || !claims.Has("IMAP.AccessAsApp") || claims.Has("Domain.ReadWrite.All") {
		t.Errorf("claims of the token for Exchange: %+v", claims)
	}
	if _, ok := entra.ClaimsOf("opaque"); ok {
		t.Error("an opaque token has claims")
	}
}

// TestRenewal: a token is kept while it is good, renewed before it runs out, and after a
// refusal once for all who were refused.
func TestRenewal(t *testing.T) {
	app := microsoft365test.Application()
	tenant, c := world(t, app)
	source := client(tenant, c, app.Secret).Graph()
	get := func() string {
		t.Helper()
		token, err := source.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	first := get()
	_ = c.Sleep(t.Context(), 54*time.Minute)
	if get() != first || tenant.Tokens() != 1 {
		t.Fatalf("a token that is good for 6 minutes was thrown away: %d issued", tenant.Tokens())
	}
	_ = c.Sleep(t.Context(), 2*time.Minute)
	second := get()
	if second == first || tenant.Tokens() != 2 {
		t.Fatalf("a token that is good for 4 minutes more is still used: %d issued", tenant.Tokens())
	}
	tenant.Revoke()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if token, err := source.Renew(context.Background(), second); err != nil || token == second {
				t.Errorf("renewed: %v", err)
			}
		})
	}
	wg.Wait()
	if tenant.Tokens() != 3 {
		t.Errorf("50 workers with one refused token made %d requests, want 1", tenant.Tokens()-2)
	}
}

func TestShortLife(t *testing.T) {
	app := microsoft365test.Application()
	tenant, c := world(t, app)
	tenant.Trouble.TokenLife = 60 * time.Second
	source := client(tenant, c, app.Secret).Graph()
	for range 10 {
		if _, err := source.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if tenant.Tokens() != 1 {
		t.Errorf("a token that is good for a minute was fetched %d times at once", tenant.Tokens())
	}
	_ = c.Sleep(t.Context(), 31*time.Second)
	if token, err := source.Token(t.Context()); err != nil || tenant.Tokens() != 2 {
		t.Errorf("a token that is good for 29 s more is still used: %d issued, %v", tenant.Tokens(), err)
	} else if _, ends, _ := source.Held(t.Context(), ""); !ends.Equal(c.Now().Add(time.Minute)) {
		t.Errorf("%.5s… ends %s, and it is %s", token, ends, c.Now())
	}
}

func certificate(t *testing.T, from, to time.Time) (*x509.Certificate, string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mxodus"}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	_ = pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	return cert, b.String()
}

func TestCertificate(t *testing.T) {
	for _, old := range []bool{false, true} {
		app := microsoft365test.Application()
		cert, text := certificate(t, start.Add(-time.Hour), start.Add(24*time.Hour))
		app.Cert, app.NoPS256, app.Secret = cert, old, ""
		tenant, c := world(t, app)
		source := client(tenant, c, text).Exchange()
		for range 3 { // each renewal signs a new assertion: the double takes none twice
			token, err := source.Token(t.Context())
			if err != nil {
				t.Fatalf("RS256 alone = %v: %v", old, err)
			}
			if who, why := tenant.Holder(microsoft365test.ExchangeResource, token); who != app.ClientID {
				t.Fatalf("the token is %q's: %s", who, why)
			}
			_ = c.Sleep(t.Context(), time.Hour)
		}
		if n := tenant.Refusals(); old && n != 1 || !old && n != 0 {
			t.Errorf("RS256 alone = %v: %d assertions were refused", old, n)
		}
		_ = c.Sleep(t.Context(), 24*time.Hour)
		if _, err := source.Token(t.Context()); providers.ReasonOf(err) != providers.Authentication || !strings.Contains(err.Error(), "the certificate is good from") {
			t.Errorf("with a certificate that has run out: %v", err)
		}
	}
}

func TestBadCredentials(t *testing.T) {
	app := microsoft365test.Application()
	_, good := certificate(t, start, start.Add(time.Hour))
	_, other := certificate(t, start, start.Add(time.Hour))
	keyOf := func(s string) string { return s[strings.Index(s, "-----BEGIN PRIVATE"):] }
	certOf := func(s string) string { return s[:strings.Index(s, "-----BEGIN PRIVATE")] }
	for _, c := range []struct {
		name, secret, says, remedy string
		requests                   int
	}{
		{"the secret's ID", "a2c9c3de-1d1c-4a7b-9a53-7be1f6c40e01", "ID and not its value", "Certificates & secrets", 0},
		{"two lines", "one\ntwo", "several lines", "alone", 0},
		{"key alone", keyOf(good), "holds no certificate", "PEM", 0},
		{"certificate alone", certOf(good), "no private key", "PEM", 0},
		{"of different pairs", certOf(other) + keyOf(good), "don't belong together", "PEM", 0},
		{"with a passphrase", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "passphrase", "PEM", 0},
		{"wrong secret", "Wr0ng~secret~value", "AADSTS7000215", "copy its value", 1},
		{"unregistered certificate", good, "AADSTS700027", "upload it", 2},
	} {
		tenant, clk := world(t, app)
		_, err := client(tenant, clk, c.secret).Graph().Token(t.Context())
		e := asError(t, err)
		if e.Reason != providers.Authentication || !strings.Contains(err.Error(), c.says) || !strings.Contains(e.Remedy, c.remedy) {
			t.Errorf("%s: %v; %s", c.name, err, e.Remedy)
		}
		if strings.Contains(err.Error()+e.Remedy+e.Server, c.secret) {
			t.Errorf("%s: the error holds the secret", c.name)
		}
		if tenant.Refusals() != c.requests {
			t.Errorf("%s: %d requests, want %d", c.name, tenant.Refusals(), c.requests)
		}
	}
}

func asError(t *testing.T, err error) *providers.Error {
	t.Helper()
	e, ok := err.(*providers.Error)
	if !ok {
		t.Fatalf("%T: %v", err, err)
	}
	return e
}

// TestNumbers: each documented number is told apart, by error_codes and not by its text.
func TestNumbers(t *testing.T) {
	app := microsoft365test.Application()
	for code, remedy := range map[int]string{
		7000222: "run out", 700016: "client_id", 90002: "national cloud", 65001: "/acme.onmicrosoft.com/adminconsent?client_id=" + app.ClientID,
		1002012: "cloud", 70011: "cloud", 53003: "Conditional Access", 9002313: "proxy", 424242: "sign-in logs",
	} {
		tenant, c := world(t, app)
		tenant.Trouble.TokenFailure, tenant.Trouble.TokenCode = 9, code
		source := client(tenant, c, app.Secret).Graph()
		_, err := source.Token(t.Context())
		if e := asError(t, err); entra.CodeOf(err) != code || !strings.Contains(e.Remedy, remedy) {
			t.Errorf("AADSTS%d: %v; %s", code, err, e.Remedy)
		}
		// Many workers aren't many failed sign-ins.
		if _, err := source.Token(t.Context()); err == nil || providers.ReasonOf(err) == providers.Authentication && tenant.Refusals() != 1 {
			t.Errorf("AADSTS%d: asked %d times", code, tenant.Refusals())
		}
	}
}

func TestBusy(t *testing.T) {
	app := microsoft365test.Application()
	tenant, c := world(t, app)
	tenant.Trouble.TokenBusy = 3
	if _, err := client(tenant, c, app.Secret).Graph().Token(t.Context()); err != nil {
		t.Errorf("three times 503: %v", err)
	}
	tenant.Trouble.TokenBusy = 4
	_, err := client(tenant, c, app.Secret).Graph().Token(t.Context())
	if providers.ReasonOf(err) != providers.Unreachable {
		t.Errorf("four times 503: %v", err)
	}
}

// TestRedirect: a secret isn't carried to where a redirect points.
func TestRedirect(t *testing.T) {
	reached := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer elsewhere.Close()
	login := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer login.Close()
	app := microsoft365test.Application()
	tenant, c := world(t, app)
	_, err := client(tenant, c, app.Secret, func(conf *entra.Config) { conf.Login = login.URL }).Graph().Token(t.Context())
	if providers.ReasonOf(err) != providers.Protocol || reached {
		t.Errorf("redirected: %v, reached = %v", err, reached)
	}
}

func TestDeviceCode(t *testing.T) {
	tenant, _ := world(t, microsoft365test.Application())
	tenant.Now = nil
	asked := 0
	cl := client(tenant, &clock{now: start}, "", func(conf *entra.Config) {
		conf.Credential, conf.ClientID = nil, ""
		conf.Person = func(page, code string) {
			if asked++; page != "https://microsoft.com/devicelogin" {
				t.Errorf("sign in at %q", page)
			}
			tenant.SignIn(code, "kerstin@acme.example")
		}
	})
	for _, s := range []*entra.Source{cl.Graph(), cl.Exchange()} {
		if _, err := s.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 1 {
		t.Errorf("one person was asked %d times for two services", asked)
	}
	nobody := client(tenant, &clock{now: start}, "", func(conf *entra.Config) { conf.Credential = nil })
	if _, err := nobody.Graph().Token(t.Context()); providers.ReasonOf(err) != providers.Authentication {
		t.Errorf("without a terminal: %v", err)
	}
}
