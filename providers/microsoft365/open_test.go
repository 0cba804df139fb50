package microsoft365_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/microsoft365/microsoft365test"
)

// TestWritesLeftOpen: writes that are done and answered with 500, each of them, end well in one call; what creates is
// not sent again, because what it asked for is looked for first.
func TestWritesLeftOpen(t *testing.T) {
	const at = "@acme.onmicrosoft.com"
	w := newWorld(t, microsoft365test.Application(), microsoft365test.Trouble{AfterCommitEvery: 1})
	w.double.AddUser("anna"+at, "Anna")
	w.double.AddUser("ines"+at, "Ines")
	olaf := plan.Mailbox{Kind: plan.UserMailbox, Target: "olaf" + at, DisplayName: "Olaf", License: "O365_BUSINESS_PREMIUM", UsageLocation: "DE"}
	info := plan.Mailbox{Kind: plan.SharedMailbox, Target: "info" + at, DisplayName: "Info", FullAccess: []string{"anna" + at}, SendAs: []string{"anna" + at}}
	team := plan.List{Address: "team" + at, External: true, Members: []string{"anna" + at, "ines" + at, "olaf" + at}}
	for _, c := range []providers.DirectoryChange{
		{Kind: "account", Of: providers.DirectoryQuery{Mailboxes: []plan.Mailbox{olaf}}},
		{Kind: "shared", Of: providers.DirectoryQuery{Mailboxes: []plan.Mailbox{info}}},
		{Kind: "access", Of: providers.DirectoryQuery{Mailboxes: []plan.Mailbox{olaf}}},
		{Kind: "list", Of: providers.DirectoryQuery{Lists: []plan.List{team}}},
		{Kind: "domain", Of: providers.DirectoryQuery{Domains: []string{"acme.example"}}},
	} {
		if err := w.tenant.Apply(t.Context(), c); err != nil {
			t.Errorf("%s: %v", c.Kind, err)
		}
	}
	sent := map[string]int{}
	for _, c := range w.double.Calls {
		sent[c]++
	}
	for _, c := range []string{"POST /users", "New-Mailbox", "New-ServicePrincipal", "New-DistributionGroup", "POST /domains"} {
		if sent[c] != 1 {
			t.Errorf("%s: sent %d times, want once", c, sent[c])
		}
	}
}

// TestWriteThatIsNeverSeen: one that stays open is tried five times, and no oftener.
func TestWriteThatIsNeverSeen(t *testing.T) {
	w := newWorld(t, microsoft365test.Application(), microsoft365test.Trouble{AfterCommitEvery: 1, Late: 24 * time.Hour})
	olaf := plan.Mailbox{Kind: plan.UserMailbox, Target: "olaf@acme.onmicrosoft.com", DisplayName: "Olaf"}
	err := w.tenant.Apply(t.Context(), providers.DirectoryChange{Kind: "account", Of: providers.DirectoryQuery{Mailboxes: []plan.Mailbox{olaf}}})
	if providers.ReasonOf(err) != providers.Unreachable || !strings.Contains(err.Error(), "UnknownError") {
		t.Errorf("want the service's trouble, got %v", err)
	}
	if n, looks := w.double.Asked("POST /users"), w.double.Asked("GET /users/olaf"); n != 5 || looks < 5 {
		t.Errorf("sent %d times, want 5, and looked for %d times", n, looks)
	}
}

// TestTokenRunsOutTwice: a request whose token runs out before and after a wait is made with a third one.
func TestTokenRunsOutTwice(t *testing.T) {
	w := newWorld(t, microsoft365test.Application(), microsoft365test.Trouble{ExpireEvery: 2, ThrottleEvery: 3})
	if _, err := w.tenant.Observe(t.Context(), providers.DirectoryQuery{Licenses: true, Domains: []string{"acme.example"}}); err != nil {
		t.Error(err)
	}
}
