package microsoft365_test

import (
	"slices"
	"testing"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/microsoft365"
	"github.com/mxodus/mxodus/providers/microsoft365/microsoft365test"
)

// TestByHand: with exchange = "by_hand" Exchange is never spoken to. Users are made, and what a
// person has done is seen through Graph.
func TestByHand(t *testing.T) {
	app := microsoft365test.Application()
	app.Exchange, app.Roles = []string{"IMAP.AccessAsApp"}, nil
	app.Graph = append(slices.Clone(app.Graph), "Group.Read.All")
	w := newWorld(t, app, microsoft365test.Trouble{Provision: 10}, "exchange=by_hand")
	w.double.Domains = append(w.double.Domains, &microsoft365test.Domain{Name: "acme.example", Verified: true, MX: "mx.example", Services: []string{"Email"}})
	anna := plan.Mailbox{Kind: plan.UserMailbox, Target: "anna@acme.example", DisplayName: "Anna", License: "O365_BUSINESS_PREMIUM", UsageLocation: "DE"}
	info := plan.Mailbox{Kind: plan.SharedMailbox, Target: "info@acme.example", FullAccess: []string{"anna@acme.example"}}
	q := providers.DirectoryQuery{
		Licenses: true, Domains: []string{"acme.example"}, Mailboxes: []plan.Mailbox{anna, info},
		Aliases:    []plan.Alias{{Address: "sales@acme.example", Deliver: "anna@acme.example"}},
		Lists:      []plan.List{{Address: "team@acme.example", Members: []string{"anna@acme.example"}}},
		Forwarders: []plan.Forwarder{{Address: "bills@acme.example", Deliver: []string{"x@elsewhere.example"}}},
	}
	before, err := w.tenant.Observe(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range before.Mailboxes {
		if m.Exists {
			t.Errorf("%+v", m)
		}
	}
	for _, a := range before.Addresses {
		if a.Exists {
			t.Errorf("%+v", a)
		}
	}
	for _, f := range w.tenant.Check(t.Context(), microsoft365.AllKinds()) {
		if !f.OK {
			t.Errorf("%+v", f)
		}
	}
	change := providers.DirectoryChange{Kind: "account", Of: providers.DirectoryQuery{Mailboxes: []plan.Mailbox{anna}}}
	if err := w.tenant.Apply(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	f, err := w.tenant.Observe(t.Context(), change.Of)
	if err != nil || !f.Mailboxes[0].Exists || f.Pending["anna@acme.example"] == "" {
		t.Errorf("just after: %+v, %v", f, err)
	}
	_ = w.clock.Sleep(t.Context(), 10)
	// What the script does.
	d := w.double
	d.AddUser("info@acme.example", "info")
	d.Lock()
	for _, m := range d.Mailboxes {
		if m.Address == "anna@acme.example" {
			m.Aliases = append(m.Aliases, "sales@acme.example")
		}
	}
	d.Groups = append(d.Groups, &microsoft365test.Group{GUID: "g1", Address: "team@acme.example", Members: []string{"anna@acme.example"}},
		&microsoft365test.Group{GUID: "g2", Address: "bills@acme.example", Members: []string{"x@elsewhere.example"}})
	d.Unlock()
	after, err := w.tenant.Observe(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range after.Mailboxes {
		if !m.Exists || after.Pending[m.Address] != "" {
			t.Errorf("%+v, %v", m, after.Pending)
		}
	}
	for _, a := range after.Addresses {
		if !a.Exists || len(a.Deliver) != 1 {
			t.Errorf("%+v", a)
		}
	}
	for _, verb := range []string{"Get-", "Set-", "New-", "Add-"} {
		if n := d.Asked(verb); n > 0 {
			t.Errorf("%d requests %s… to Exchange", n, verb)
		}
	}
}
