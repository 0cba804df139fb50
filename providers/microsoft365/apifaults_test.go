package microsoft365_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/https/httpstest"
	"github.com/mxodus/mxodus/providers/microsoft365/microsoft365test"
)

var (
	onlyFault   = flag.String("api-fault", "", "only this fault of an API, to see a failure again")
	faultRounds = flag.Int("fault-rounds", 1, "more than one: every fault at every request (make torture)")
)

// what the double holds, without ids and times.
func (w *world) holds() string {
	w.double.Lock()
	defer w.double.Unlock()
	var list []string
	for _, u := range w.double.Users {
		list = append(list, fmt.Sprint("user ", u.Principal, u.Name, u.Location, u.Licenses, u.Blocked))
	}
	for _, m := range w.double.Mailboxes {
		var full, send []string
		for who := range m.Full {
			full = append(full, who)
		}
		for who := range m.SendAs {
			send = append(send, who)
		}
		slices.Sort(full)
		slices.Sort(send)
		list = append(list, fmt.Sprint("mailbox ", m.Address, m.Name, m.Shared, m.Aliases, m.Forward, m.IMAP, full, send))
	}
	for _, g := range w.double.Groups {
		list = append(list, fmt.Sprintf("group %s %d members", g.Address, len(g.Members)))
	}
	for _, c := range w.double.Contacts {
		list = append(list, "contact "+c.Address)
	}
	for _, d := range w.double.Domains {
		list = append(list, fmt.Sprint("domain ", d.Name, d.Verified))
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}

// TestAPIFaults has each request of a change, also those for tokens, meet each fault of httpstest. An error says what happened,
// with the service's words and without secret, token and password; the same change again brings the tenant where it is without faults, with nothing
// there twice; nobody else gets a request.
func TestAPIFaults(t *testing.T) {
	t.Parallel()
	const at = "@acme.onmicrosoft.com"
	changes := map[string]providers.DirectoryChange{
		"account": {Kind: "account", Of: providers.DirectoryQuery{Mailboxes: []plan.Mailbox{{Kind: plan.UserMailbox, Target: "jens" + at, DisplayName: "Jens", License: "O365_BUSINESS_PREMIUM", UsageLocation: "DE"}}}},
		"shared":  {Kind: "shared", Of: providers.DirectoryQuery{Mailboxes: []plan.Mailbox{{Kind: plan.SharedMailbox, Target: "info" + at, DisplayName: "Info", FullAccess: []string{"anna" + at}, SendAs: []string{"anna" + at}}}}},
		"alias":   {Kind: "alias", Of: providers.DirectoryQuery{Aliases: []plan.Alias{{Address: "sales" + at, Deliver: "anna" + at}}}},
		"list":    {Kind: "list", Of: providers.DirectoryQuery{Lists: []plan.List{{Address: "team" + at, Members: []string{"anna" + at, "bills@elsewhere.example"}, External: true}}}},
		"domain":  {Kind: "domain", Of: providers.DirectoryQuery{Domains: []string{"acme.example"}}},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, requests, writes := tryFault(t, change, httpstest.Fault{}, 0)
			if want == "" || requests < 2 || len(writes) < 1 {
				t.Fatalf("without faults: %d requests, %q", requests, want)
			}
			inflicted := 0
			for i, f := range httpstest.Faults() {
				if f.Slow || *onlyFault != "" && f.Name != *onlyFault {
					continue
				}
				for n := 1; n <= requests; n++ {
					sampled := slices.Contains(writes, n) && (i+n)%3 == 0 || (i+n)%16 == 0
					if *faultRounds == 1 && *onlyFault == "" && (f.Large || !sampled) {
						continue
					}
					got, _, _ := tryFault(t, change, f, n)
					if got != want && !t.Failed() {
						t.Errorf("the tenant holds\n%s\nwant\n%s", got, want)
					}
					if t.Failed() {
						t.Fatalf("request %d: %s; again: -run %s -api-fault %q", n, f.Name, t.Name(), f.Name)
					}
					inflicted++
				}
			}
			faults.Count(t, "API faults", inflicted)
			t.Logf("%d faults at %d requests", inflicted, requests)
		})
	}
}

// tryFault makes the change in a new tenant, with a fault at the nth request, and then again until it is made.
func tryFault(t *testing.T, change providers.DirectoryChange, f httpstest.Fault, n int) (holds string, requests int, writes []int) {
	t.Helper()
	app := microsoft365test.Application()
	double := microsoft365test.New(app)
	defer double.Close()
	proxy := httpstest.Start(t, double.URL)
	w := &world{double: double}
	trouble := microsoft365test.Trouble{PageSize: 2}
	w.through(t, proxy.URL, app, trouble)
	double.AddUser("anna@acme.onmicrosoft.com", "Anna")
	for i := range 3 {
		double.AddUser(fmt.Sprintf("other%d@acme.onmicrosoft.com", i), "Other")
	}
	proxy.Spoil(n, f)
	err := w.tenant.Apply(t.Context(), change)
	met := proxy.Inflicted()
	requests, _ = proxy.Counts()
	writes = proxy.Writes()
	proxy.Clear()
	if err != nil {
		e, ok := errors.AsType[*providers.Error](err)
		switch {
		case !met:
			t.Errorf("an error, and nothing has happened: %v", err)
		case !ok || e.Remedy == "":
			t.Errorf("an error without a remedy: %#v", err)
		case strings.Contains(err.Error(), "oauth2: cannot parse json"):
			// An answer to a request for a token isn't shown: the secret was in the request, and a page may show it again.
		case f.Speaks && !strings.Contains(err.Error(), httpstest.Words) && e.Reason != providers.NotYet:
			t.Errorf("the service's words are lost: %v", err)
		}
		text := fmt.Sprintf("%v %+v", err, e)
		if strings.Contains(text, app.Secret) || strings.Contains(text, "eyJ") {
			t.Errorf("the error shows a secret: %s", text)
		}
		for _, u := range double.Users {
			if u.Password != "" && strings.Contains(text, u.Password) {
				t.Errorf("the error shows a password: %s", text)
			}
		}
	}
	_ = w.clock.Sleep(t.Context(), 15*time.Second) // a refused credential isn't shown again at once
	for try := 0; ; try++ {
		err := w.tenant.Apply(t.Context(), change)
		if err == nil {
			break
		}
		if try == 20 || providers.ReasonOf(err) != providers.NotYet && try > 1 {
			t.Errorf("again, without faults: %v", err)
			return "", requests, writes
		}
		w.fixture().Wait()
	}
	before := w.fixture().Writes()
	if err := w.tenant.Apply(t.Context(), change); err != nil || w.fixture().Writes() != before {
		t.Errorf("once more: %v, %d writes", err, w.fixture().Writes()-before)
	}
	if k := proxy.Astray(); k > 0 {
		t.Errorf("%d requests went to another host", k)
	}
	if k := proxy.Poured(); k > 150<<20 {
		t.Errorf("%d octets of an endless answer were taken", k)
	}
	if data, err := os.ReadFile(filepath.Join(w.dir, "secrets", "new-users.csv")); err == nil {
		for _, u := range double.Users {
			if u.Password != "" && strings.Count(string(data), u.Principal+","+u.Password+"\n") != 1 {
				t.Errorf("the password of %s isn't handed out, or not once", u.Principal)
			}
		}
	}
	return w.holds(), requests, writes
}
