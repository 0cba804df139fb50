package microsoft365_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/microsoft365"
	"github.com/mxodus/mxodus/providers/microsoft365/microsoft365test"
	"github.com/mxodus/mxodus/providers/providertest"
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

// secret is the one of the application.
type secret string

func (s secret) Resolve(context.Context, plan.SecretRef, string) (providers.Secret, error) {
	return providers.Keep(string(s)), nil
}

// world is a tenant's double and the provider that speaks to it.
type world struct {
	double *microsoft365test.Tenant
	tenant *microsoft365.Tenant
	clock  *clock
	dir    string
}

func newWorld(t *testing.T, app microsoft365test.App, trouble microsoft365test.Trouble, settings ...string) *world {
	t.Helper()
	w := &world{double: microsoft365test.New(app)}
	t.Cleanup(w.double.Close)
	w.through(t, w.double.URL, app, trouble, settings...)
	return w
}

// through makes the provider that reaches the double at base.
func (w *world) through(t *testing.T, base string, app microsoft365test.App, trouble microsoft365test.Trouble, settings ...string) {
	t.Helper()
	w.clock, w.dir = &clock{now: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)}, t.TempDir()
	w.double.Now, w.double.Trouble = w.clock.Now, trouble
	host := plan.Host{
		Kind: "microsoft365", Credentials: plan.SecretRef{Name: "graph", Kind: "file", Ref: "graph"}, Oversize: plan.Oversize{Limit: 150 << 20},
		Settings: map[string]string{"tenant": w.double.Name, "client_id": app.ClientID, "endpoints.login": base + "/login", "endpoints.graph": base + "/graph", "endpoints.exchange": base + "/exchange"},
	}
	for _, s := range settings {
		k, v, _ := strings.Cut(s, "=")
		host.Settings[k] = v
	}
	var err error
	w.tenant, err = microsoft365.New(host, microsoft365.Options{Secrets: secret(microsoft365test.Application().Secret), Clock: w.clock, Root: w.dir})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) fixture() providertest.DirectoryFixture {
	return providertest.DirectoryFixture{
		Directory: w.tenant, Host: "microsoft365", License: "O365_BUSINESS_PREMIUM", Domain: "acme.example",
		Wait: func() { _ = w.clock.Sleep(context.Background(), providertest.Moment) },
		Writes: func() int {
			n := 0
			for _, m := range []string{"POST /", "PATCH /", "New-", "Set-", "Add-"} {
				n += w.double.Asked(m)
			}
			return n
		},
		Add: func(address string) { w.double.AddUser(address, "Somebody") },
		Member: func(list, address string) {
			w.double.Lock()
			defer w.double.Unlock()
			for _, g := range w.double.Groups {
				if g.Address == list {
					g.Members = append(g.Members, address)
				}
			}
		},
		SignIn: func(address string) (bool, string) {
			w.double.Lock()
			defer w.double.Unlock()
			for _, u := range w.double.Users {
				if u.Principal == address {
					return !u.Blocked, u.Password
				}
			}
			return false, ""
		},
	}
}

func TestDirectory(t *testing.T) {
	for name, trouble := range map[string]microsoft365test.Trouble{
		"pleasant":   {},
		"unpleasant": microsoft365test.Unpleasant(),
		"slow":       {Late: 90 * time.Second, Provision: 5 * time.Minute, Access: time.Hour, VerifyLate: 20, RecordsLate: 9, SigningLate: 9},
		"paged":      {PageSize: 1, DetailAsJSON: true},
		"cut off":    {PageSize: 4, PagesExpired: true},
		"answerless": {AfterCommitEvery: 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, microsoft365test.Application(), trouble)
			f := w.fixture()
			if trouble.Provision > time.Minute {
				f.Wait = func() { _ = w.clock.Sleep(context.Background(), 30*time.Second) }
			}
			providertest.TestDirectory(t, func(*testing.T) providertest.DirectoryFixture { return f })
			w.passwords(t)
		})
	}
}

// passwords: each new user's is in the table, once, and nobody else can read it.
func (w *world) passwords(t *testing.T) {
	t.Helper()
	path := filepath.Join(w.dir, "secrets", "new-users.csv")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	w.double.Lock()
	defer w.double.Unlock()
	n := 0
	for _, u := range w.double.Users {
		if u.Password == "" {
			continue
		}
		n++
		if strings.Count(string(data), u.Principal+","+u.Password+"\n") != 1 {
			t.Errorf("the password of %s isn't handed out, or not once", u.Principal)
		}
	}
	if lines := strings.Count(string(data), "\n"); n != 2 || lines != 3 {
		t.Errorf("%d users with passwords, %d lines", n, lines)
	}
	for _, c := range w.double.Calls {
		for _, u := range w.double.Users {
			if u.Password != "" && strings.Contains(c, u.Password) {
				t.Error("a password stands in a URL")
			}
		}
	}
}

// TestCheck: each grant that is missing is told apart, and says who mends it where.
func TestCheck(t *testing.T) {
	all := microsoft365.AllKinds()
	for name, c := range map[string]struct {
		change func(*microsoft365test.App)
		check  string
		code   string
		remedy string
	}{
		"secret":       {func(a *microsoft365test.App) { a.Secret = "another" }, "graph_token", "AADSTS7000215", "copy its value"},
		"expired":      {func(a *microsoft365test.App) { a.Expired = true }, "graph_token", "AADSTS7000222", "has run out"},
		"unknown app":  {func(a *microsoft365test.App) { a.ClientID = "11111111-0000-4000-8000-000000000000" }, "graph_token", "AADSTS700016", "client_id"},
		"users":        {func(a *microsoft365test.App) { a.Graph = []string{"Domain.ReadWrite.All", "Organization.Read.All"} }, "graph_permission", "consent_missing", "User.ReadWrite.All"},
		"domains":      {func(a *microsoft365test.App) { a.Graph = []string{"User.ReadWrite.All", "Organization.Read.All"} }, "graph_permission", "consent_missing", "Domain.ReadWrite.All"},
		"licences":     {func(a *microsoft365test.App) { a.Graph = []string{"Domain.ReadWrite.All", "User.ReadWrite.All"} }, "graph_read", "consent_missing", "Organization.Read.All"},
		"no exchange":  {func(a *microsoft365test.App) { a.Exchange, a.Roles = []string{"IMAP.AccessAsApp"}, nil }, "exchange_admin", "exchange_permission_missing", "Exchange.ManageAsApp"},
		"no role":      {func(a *microsoft365test.App) { a.Roles = nil }, "exchange_admin", "exchange_role_missing", "Exchange Administrator"},
		"no imap":      {func(a *microsoft365test.App) { a.Exchange = []string{"Exchange.ManageAsApp"} }, "imap_permission", "imap_permission_missing", "IMAP.AccessAsApp"},
		"all is there": {func(*microsoft365test.App) {}, "exchange_application", "will_be_made", ""},
	} {
		t.Run(name, func(t *testing.T) {
			app := microsoft365test.Application()
			mine := app
			c.change(&app)
			w := newWorld(t, app, microsoft365test.Trouble{NulBodies: true}, "client_id="+mine.ClientID)
			for _, f := range w.tenant.Check(t.Context(), all) {
				if f.Check == c.check && f.Code == c.code {
					if f.OK != (c.remedy == "") || !strings.Contains(f.Remedy, c.remedy) {
						t.Errorf("%+v", f)
					}
					return
				}
			}
			t.Errorf("no finding %s %s among %+v", c.check, c.code, w.tenant.Check(t.Context(), all))
		})
	}
}

// TestSafePaging: lists whose pages lead elsewhere or in a circle are errors, and no other host gets
// the token.
func TestSafePaging(t *testing.T) {
	other := microsoft365test.New(microsoft365test.Application())
	defer other.Close()
	for name, trouble := range map[string]microsoft365test.Trouble{
		"elsewhere": {PageSize: 1, PagesTo: other.URL}, "in a circle": {PageSize: 1, PagesLoop: true},
	} {
		w := newWorld(t, microsoft365test.Application(), trouble)
		w.double.Lock()
		w.double.SKUs = append(w.double.SKUs, &microsoft365test.SKU{ID: "x", Name: "X", Bought: 1})
		w.double.Unlock()
		_, err := w.tenant.Observe(t.Context(), providers.DirectoryQuery{Licenses: true})
		if providers.ReasonOf(err) != providers.Protocol {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := other.Asked(""); n > 0 {
		t.Errorf("the other host was asked %d times", n)
	}
}

// TestThrottled: the wait that is asked for is waited.
func TestThrottled(t *testing.T) {
	w := newWorld(t, microsoft365test.Application(), microsoft365test.Trouble{ThrottleEvery: 2, RetryAfter: 40})
	start := w.clock.Now()
	if _, err := w.tenant.Observe(t.Context(), providers.DirectoryQuery{Licenses: true, Domains: []string{"acme.example"}}); err != nil {
		t.Fatal(err)
	}
	if d := w.clock.Now().Sub(start); d < 40*time.Second {
		t.Errorf("waited %s", d)
	}
}

// TestNoSecretInErrors: whatever the services say, no error shows the secret, a token or a password.
func TestNoSecretInErrors(t *testing.T) {
	app := microsoft365test.Application()
	app.Graph = nil
	w := newWorld(t, app, microsoft365test.Trouble{})
	m := plan.Mailbox{Kind: plan.UserMailbox, Target: "anna@acme.onmicrosoft.com", DisplayName: "Anna"}
	err := w.tenant.Apply(t.Context(), providers.DirectoryChange{Kind: "account", Of: providers.DirectoryQuery{Mailboxes: []plan.Mailbox{m}}})
	if providers.ReasonOf(err) != providers.Refused || !strings.Contains(err.Error(), "request-id") && !strings.Contains(err.Error(), "Authorization_RequestDenied") {
		t.Errorf("without a permission: %v", err)
	}
	for _, s := range []string{app.Secret, "eyJ"} {
		if strings.Contains(err.Error(), s) {
			t.Errorf("the error shows a secret: %v", err)
		}
	}
}

// TestForwarderThatKeeps: one that a person made is seen as such, and before it forwards it isn't.
func TestForwarderThatKeeps(t *testing.T) {
	w := newWorld(t, microsoft365test.Application(), microsoft365test.Trouble{})
	w.double.AddUser("bills@acme.onmicrosoft.com", "bills")
	q := providers.DirectoryQuery{Forwarders: []plan.Forwarder{{Address: "bills@acme.onmicrosoft.com", Deliver: []string{"x@elsewhere.example"}, KeepCopy: true}}}
	for _, to := range []string{"", "x@elsewhere.example"} {
		w.double.Lock()
		w.double.Mailboxes[0].Forward = to
		w.double.Unlock()
		f, err := w.tenant.Observe(t.Context(), q)
		if err != nil || len(f.Addresses) != 1 || f.Addresses[0].Kind != "forwarder" || f.Addresses[0].KeepCopy != (to != "") || (len(f.Addresses[0].Deliver) == 1) != (to != "") {
			t.Errorf("forwards to %q: %+v, %v", to, f.Addresses, err)
		}
	}
}
