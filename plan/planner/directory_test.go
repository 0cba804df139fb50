package planner_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/plan/planner"
)

// tenant is the organisation of the other tests, on its way to Microsoft 365.
func tenant(t testing.TB) (*plan.Migration, *inventory.Inventory) {
	m, inv := migration(t), observed()
	m.Targets = []plan.Host{{Kind: "microsoft365", Settings: map[string]string{"tenant": "lab.onmicrosoft.com", "exchange": "rest"}, Oversize: plan.Oversize{Limit: 150 << 20}}}
	for i := range m.Mailboxes {
		m.Mailboxes[i].On = "microsoft365"
		if m.Mailboxes[i].Kind == plan.UserMailbox {
			m.Mailboxes[i].License, m.Mailboxes[i].UsageLocation = "basic", "DE"
		}
	}
	m.Aliases[0].On, m.Lists[0].On, m.Forwarders[0].On = "microsoft365", "microsoft365", "microsoft365"
	m.Domains[0].Mail, m.Domains[0].Records = "microsoft365", nil
	inv.Targets, inv.Addresses = nil, nil
	inv.Directories = []inventory.Directory{{
		Host:     "microsoft365",
		Licenses: []inventory.License{{Name: "basic", Free: 2, Quota: 50 << 30}},
		Domains: []inventory.DirectoryDomain{{
			Name: "lab.example", Verified: true, MX: "lab-example.mail.protection.outlook.com", SPF: "v=spf1 include:spf.protection.outlook.com -all",
			Autodiscover: "autodiscover.outlook.com",
			DKIM:         map[string]string{"selector1": "s1.lab.onmicrosoft.com", "selector2": "s2.lab.onmicrosoft.com"},
		}},
	}}
	return m, inv
}

func step(t testing.TB, p *plan.Plan, address string) plan.Step {
	t.Helper()
	s, ok := p.Step(address)
	if !ok {
		t.Fatalf("no step %s among %v", address, addresses(p))
	}
	return s
}

// provisioned are the steps of the provision phase.
func provisioned(p *plan.Plan) []string {
	var list []string
	for _, s := range p.Steps {
		if s.Phase == plan.Provision {
			list = append(list, string(s.Action)+" "+s.Address)
		}
	}
	return list
}

func TestTenantKnowsEverything(t *testing.T) {
	m, inv := tenant(t)
	p := make1(m, inv)
	encode(t, p)
	if diff := cmp.Diff([]string{
		"create account/anna@lab.example",
		"create account/jens@lab.example",
		"create application/microsoft365",
		"create dns/lab.example/CNAME/selector1._domainkey",
		"create dns/lab.example/CNAME/selector2._domainkey",
		"by-hand forwarder/bills@lab.example",
		"create access/anna@lab.example",
		"create access/jens@lab.example",
		"create alias/sales@lab.example",
		"change domain/lab.example/dkim",
		"create list/team@lab.example",
		"create shared/info@lab.example",
		"create access/info@lab.example",
	}, provisioned(p)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for address, to := range map[string]string{
		"dns/lab.example/MX/@":                       "300 MX 0 lab-example.mail.protection.outlook.com.",
		"dns/lab.example/TXT/@":                      `300 TXT "v=spf1 include:spf.protection.outlook.com -all"`,
		"dns/lab.example/CNAME/autodiscover":         "300 CNAME autodiscover.outlook.com.",
		"dns/lab.example/CNAME/selector1._domainkey": "3600 CNAME s1.lab.onmicrosoft.com.",
		"account/jens@lab.example":                   "display name: Jens J.",
		"shared/info@lab.example":                    "full access: jens@lab.example",
		"list/team@lab.example":                      "member: anna@lab.example",
		"forwarder/bills@lab.example":                "copy: kept",
		"access/anna@lab.example":                    "largest message: 150 MB",
		"alias/sales@lab.example":                    "delivers to: anna@lab.example",
	} {
		if s := step(t, p, address); !slices.Contains(s.To, to) || len(s.From) > 0 && s.Expect == "" {
			t.Errorf("%s becomes %q", address, s.To)
		}
	}
	for address, after := range map[string]string{
		"domain/lab.example/dkim": "dns/lab.example/CNAME/selector2._domainkey",
		"alias/sales@lab.example": "account/anna@lab.example",
		"list/team@lab.example":   "account/jens@lab.example",
		"access/jens@lab.example": "account/jens@lab.example",
		"shared/info@lab.example": "account/jens@lab.example",
		"copy/jens@lab.example":   "access/jens@lab.example",
		"copy/info@lab.example":   "access/info@lab.example",
		"access/info@lab.example": "application/microsoft365",
	} {
		if s := step(t, p, address); !slices.Contains(s.After, after) {
			t.Errorf("%s comes after %v, not %s", address, s.After, after)
		}
	}
	for _, f := range p.Findings {
		if f.Severity == plan.Blocks {
			t.Errorf("unexpected: %+v", f)
		}
	}
}

// Before the tenant knows the domain it names nothing: the plan says so, nothing
// of it can be published, and the flip stays shut.
func TestTenantKnowsNothing(t *testing.T) {
	m, inv := tenant(t)
	inv.Directories[0].Domains = nil
	p := make1(m, inv)
	encode(t, p)
	for _, address := range []string{"dns/lab.example/MX/@", "dns/lab.example/TXT/@", "dns/lab.example/CNAME/autodiscover",
		"dns/lab.example/CNAME/selector1._domainkey", "dns/lab.example/CNAME/selector2._domainkey", "dns/lab.example/TXT/@/provision"} {
		s := step(t, p, address)
		if !slices.Contains(s.To, plan.KnownAfterProvision) {
			t.Errorf("%s becomes %q", address, s.To)
		}
		for _, l := range s.To {
			if strings.Contains(l, plan.KnownAfterProvision) && l != plan.KnownAfterProvision {
				t.Errorf("%s: %q", address, l)
			}
		}
	}
	if s := step(t, p, "dns/lab.example/TXT/@"); !slices.Contains(s.To, `300 TXT "google-site-verification=abc"`) {
		t.Errorf("strings of others are not kept: %q", s.To)
	}
	// Lowering the TTL of what is there needs nothing of the tenant.
	if s := step(t, p, "dns/lab.example/MX/@/ttl"); slices.Contains(s.To, plan.KnownAfterProvision) {
		t.Errorf("%q", s.To)
	}
	for _, chain := range [][2]string{
		{"dns/lab.example/TXT/@/provision", "domain/lab.example"}, {"domain/lab.example/verify", "dns/lab.example/TXT/@/provision"},
		{"account/anna@lab.example", "domain/lab.example/verify"}, {"domain/lab.example/keys", "domain/lab.example/verify"},
		{"domain/lab.example/dkim", "domain/lab.example/keys"}, {"dns/lab.example/CNAME/selector1._domainkey", "domain/lab.example/keys"},
	} {
		if s := step(t, p, chain[0]); !slices.Contains(s.After, chain[1]) {
			t.Errorf("%s comes after %v, not %s", chain[0], s.After, chain[1])
		}
	}
	f, ok := finding(p, "values_known")
	if !ok || f.Severity != plan.Blocks || f.Gate != "flip" || len(f.Detail) != 5 {
		t.Errorf("%+v", f)
	}
	// Without any word of the tenant the plan is the same, but for licences.
	inv.Directories = nil
	if _, ok := finding(make1(m, inv), "values_known"); !ok {
		t.Error("a tenant that nobody asked is taken to know all")
	}
}

// What the tenant already holds makes no step; what differs, one that tells
// the difference; what the configuration doesn't name stays.
func TestTenantConverges(t *testing.T) {
	m, inv := tenant(t)
	inv.Directories[0].Domains[0].Signing, inv.Directories[0].Application = true, true
	basic := inventory.Account{Kind: plan.UserMailbox, DisplayName: "Anna as she likes it", Licenses: []string{"basic", "extra"}, UsageLocation: "DE"}
	jens := inventory.Account{Kind: plan.UserMailbox, DisplayName: "Jens J.", Licenses: []string{"basic"}, UsageLocation: "DE"}
	inv.Targets = []inventory.Mailbox{
		{Host: "microsoft365", Address: "anna@lab.example", Exists: true, Account: basic},
		{Host: "microsoft365", Address: "jens@lab.example", Exists: true, Account: jens},
		{Host: "microsoft365", Address: "info@lab.example", Exists: true, Account: inventory.Account{Kind: plan.SharedMailbox, FullAccess: []string{"anna@lab.example", "jens@lab.example"}}},
	}
	for i := range inv.Targets {
		inv.Targets[i].IMAP, inv.Targets[i].Application, inv.Targets[i].Largest = true, true, 150<<20
	}
	inv.Addresses = []inventory.Address{
		{Host: "microsoft365", Address: "sales@lab.example", Exists: true, Kind: "alias", Deliver: []string{"anna@lab.example"}},
		{Host: "microsoft365", Address: "team@lab.example", Exists: true, Kind: "list", Deliver: []string{"jens@lab.example", "anna@lab.example"}, External: true},
		{Host: "microsoft365", Address: "bills@lab.example", Exists: true, Kind: "forwarder", Deliver: []string{"bills@elsewhere.example"}, KeepCopy: true},
	}
	inv.Domains[0].Sets = append(inv.Domains[0].Sets, rrset("selector1._domainkey.lab.example.", "CNAME", 3600, "s1.lab.onmicrosoft.com."),
		rrset("selector2._domainkey.lab.example.", "CNAME", 3600, "s2.lab.onmicrosoft.com."))
	if got := provisioned(make1(m, inv)); len(got) > 0 {
		t.Errorf("still to do: %v", got)
	}
	inv.Targets[1].Licenses, inv.Targets[1].DisplayName = nil, "J."
	inv.Addresses[1].Deliver = []string{"anna@lab.example", "old@lab.example"}
	p := make1(m, inv)
	if diff := cmp.Diff([]string{"change account/jens@lab.example", "change list/team@lab.example"}, provisioned(p)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	s := step(t, p, "account/jens@lab.example")
	if !slices.Contains(s.From, "license: none") || !slices.Contains(s.To, "license: basic") || !slices.Contains(s.From, "display name: J.") || s.Undo != plan.Restore {
		t.Errorf("%+v", s)
	}
	// Members that nobody names stay: nothing in a directory is taken out.
	if f := step(t, p, "list/team@lab.example"); strings.Contains(strings.Join(f.From, " "), "old@") || !slices.Contains(f.To, "member: jens@lab.example") {
		t.Errorf("%+v", f)
	}
}

// A record that the configuration writes takes the place of the derived one,
// and of that alone.
func TestOwnRecordsWin(t *testing.T) {
	m, inv := tenant(t)
	m.Domains[0].Records = []plan.Record{
		{Type: "TXT", Name: "@", At: plan.Flip, Match: "v=spf1", Values: []string{"v=spf1 include:spf.protection.outlook.com ip4:192.0.2.9 -all"}},
		{Type: "A", Name: "Autodiscover", At: plan.Flip, Values: []string{"192.0.2.7"}},
	}
	p := make1(m, inv)
	if s := step(t, p, "dns/lab.example/TXT/@"); !strings.Contains(strings.Join(s.To, " "), "ip4:192.0.2.9") {
		t.Errorf("%q", s.To)
	}
	if _, ok := p.Step("dns/lab.example/CNAME/autodiscover"); ok {
		t.Error("the derived CNAME stands beside the host that is written out")
	}
	step(t, p, "dns/lab.example/MX/@")
	step(t, p, "dns/lab.example/CNAME/selector1._domainkey")
}

// Another tenant's proof begins as ours does, and stays.
func TestVerificationOwnsItsOwnText(t *testing.T) {
	m, inv := tenant(t)
	inv.Directories[0].Domains[0].Verified, inv.Directories[0].Domains[0].Verification = false, "MS=ms11111111"
	inv.Domains[0].Sets[2].Data = append(inv.Domains[0].Sets[2].Data, `"MS=ms22222222"`)
	s := step(t, make1(m, inv), "dns/lab.example/TXT/@/provision")
	for _, text := range []string{"MS=ms11111111", "MS=ms22222222", "google-site"} {
		if !strings.Contains(strings.Join(s.To, " "), text) {
			t.Errorf("%s is not in %q", text, s.To)
		}
	}
}

func TestExchangeByHand(t *testing.T) {
	m, inv := tenant(t)
	m.Targets[0].Settings["exchange"] = "by_hand"
	p := make1(m, inv)
	for _, address := range []string{"shared/info@lab.example", "alias/sales@lab.example", "list/team@lab.example", "forwarder/bills@lab.example"} {
		if s := step(t, p, address); s.Action != plan.ByHand || len(s.Detail) < 2 || !strings.HasPrefix(s.Detail[len(s.Detail)-1], "proof: ") {
			t.Errorf("%+v", s)
		}
	}
	if s := step(t, p, "account/anna@lab.example"); s.Action != plan.Create {
		t.Errorf("%+v", s)
	}
	if s := step(t, p, "access/anna@lab.example"); s.Action != plan.ByHand {
		t.Errorf("%+v", s)
	}
}

// TestObserved: a step is held against fresh facts as it was planned: reached, still to do,
// half done by a run that died, or changed by somebody else.
func TestObserved(t *testing.T) {
	m, inv := tenant(t)
	s := step(t, make1(m, inv), "account/jens@lab.example")
	at := func(a inventory.Account) planner.Facts {
		t.Helper()
		f, ok := planner.Observed(m, &inventory.Inventory{Targets: []inventory.Mailbox{{Host: "microsoft365", Address: "jens@lab.example", Exists: true, Account: a}}}, s)
		if !ok || f.Host != "microsoft365" {
			t.Fatalf("%+v", f)
		}
		return f
	}
	if f, ok := planner.Observed(m, &inventory.Inventory{}, s); !ok || f.There || f.Reached() || f.Drift(s) != nil {
		t.Errorf("nobody is there: %+v", f)
	}
	whole := inventory.Account{Kind: plan.UserMailbox, DisplayName: "Jens J.", Licenses: []string{"basic"}, UsageLocation: "DE"}
	if f := at(whole); !f.Reached() {
		t.Errorf("as wanted: %+v", f)
	}
	half := whole
	half.Licenses = nil
	if f := at(half); f.Reached() || f.Drift(s) != nil {
		t.Errorf("cut short: %+v drifted by %q", f, f.Drift(s))
	}
	other := whole
	other.DisplayName = "Somebody else"
	if f := at(other); f.Reached() || len(f.Drift(s)) != 1 {
		t.Errorf("somebody else's: %+v drifted by %q", f, f.Drift(s))
	}
	inv.Targets = []inventory.Mailbox{{Host: "microsoft365", Address: "jens@lab.example", Exists: true, Account: other}}
	s = step(t, make1(m, inv), "account/jens@lab.example")
	if f := at(other); f.Drift(s) != nil {
		t.Errorf("as planned against: %q", f.Drift(s))
	}
	if f, _ := planner.Observed(m, &inventory.Inventory{}, s); len(f.Drift(s)) == 0 {
		t.Error("a user that was to be changed is gone, and that is no drift")
	}
	for _, a := range []string{"domain/lab.example", "domain/lab.example/dkim", "alias/sales@lab.example", "list/team@lab.example", "access/jens@lab.example", "application/microsoft365"} {
		if _, ok := planner.Observed(m, inv, plan.Step{Address: a}); !ok {
			t.Errorf("%s can't be observed", a)
		}
	}
}

func TestTenantFindings(t *testing.T) {
	for _, c := range []struct {
		name     string
		change   func(m *plan.Migration, inv *inventory.Inventory)
		check    string
		severity plan.Severity
		words    string
	}{
		{"licences short", func(_ *plan.Migration, inv *inventory.Inventory) { inv.Directories[0].Licenses[0].Free = 1 },
			"licenses_enough", plan.Blocks, "2 users more need basic, and microsoft365 has 1 left"},
		{"no such licence", func(m *plan.Migration, _ *inventory.Inventory) { m.Mailboxes[0].License = "basik" },
			"licenses_enough", plan.Blocks, "has no licence basik"},
		{"no licence", func(m *plan.Migration, _ *inventory.Inventory) { m.Mailboxes[0].License = "" },
			"license_named", plan.Blocks, "no mailbox"},
		{"no country", func(m *plan.Migration, _ *inventory.Inventory) { m.Mailboxes[0].UsageLocation = "" },
			"usage_location_named", plan.Blocks, "usage_location"},
		{"catch-all", func(m *plan.Migration, _ *inventory.Inventory) { m.Mailboxes[0].Kind = plan.CatchAllMailbox },
			"catch_all", plan.Warns, "no catch-all mailboxes"},
		{"messages larger than the target takes", func(m *plan.Migration, _ *inventory.Inventory) { m.Targets[0].Oversize.Limit = 151 << 20 },
			"oversize_limit", plan.Blocks, "150 MB at most"},
		{"alias of somebody else", func(_ *plan.Migration, inv *inventory.Inventory) {
			inv.Addresses = []inventory.Address{{Host: "microsoft365", Address: "sales@lab.example", Exists: true, Kind: "alias", Deliver: []string{"jens@lab.example"}}}
		}, "address_taken", plan.Blocks, "belongs to jens@lab.example"},
		{"mailbox that is somebody's alias", func(_ *plan.Migration, inv *inventory.Inventory) {
			inv.Addresses = []inventory.Address{{Host: "microsoft365", Address: "anna@lab.example", Exists: true, Kind: "alias", Deliver: []string{"jens@lab.example"}}}
		}, "address_taken", plan.Blocks, "belongs to jens@lab.example"},
		{"alias that is a list", func(_ *plan.Migration, inv *inventory.Inventory) {
			inv.Addresses = []inventory.Address{{Host: "microsoft365", Address: "sales@lab.example", Exists: true, Kind: "list"}}
		}, "address_of_other_kind", plan.Blocks, "as a list"},
		{"mta-sts", func(_ *plan.Migration, inv *inventory.Inventory) {
			inv.Domains[0].Sets = append(inv.Domains[0].Sets, rrset("_mta-sts.lab.example.", "TXT", 300, `"v=STSv1; id=1"`))
		}, "mta_sts", plan.Warns, "RFC 8461"},
		{"mta-sts by a CNAME", func(_ *plan.Migration, inv *inventory.Inventory) {
			inv.Domains[0].Sets = append(inv.Domains[0].Sets, rrset("_mta-sts.lab.example.", "CNAME", 300, "_mta-sts.elsewhere.example."))
		}, "mta_sts", plan.Warns, "max_age"},
		{"dnssec", func(_ *plan.Migration, inv *inventory.Inventory) { inv.Domains[0].Signed = true }, "dnssec", plan.Warns, "signed"},
		{"dmarc elsewhere", func(_ *plan.Migration, inv *inventory.Inventory) {
			inv.Domains[0].Sets[5] = rrset("_dmarc.lab.example.", "CNAME", 3600, "dmarc.old.example.")
		}, "dmarc_cname", plan.Warns, "dmarc.old.example."},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, inv := tenant(t)
			if f, ok := finding(make1(m, inv), c.check); ok {
				t.Fatalf("there without cause: %+v", f)
			}
			c.change(m, inv)
			f, ok := finding(make1(m, inv), c.check)
			if !ok {
				t.Fatalf("no finding %s", c.check)
			}
			text := strings.Join(append(slices.Clone(f.Detail), f.Summary, f.Remedy), "\n")
			if f.Severity != c.severity || !strings.Contains(text, c.words) || f.Remedy == "" || f.Subject == "" {
				t.Errorf("got %+v", f)
			}
		})
	}
}

// Figures of the day: what is too large or too full is told beside the plan,
// and the plan doesn't depend on it.
func TestOutlook(t *testing.T) {
	m, inv := tenant(t)
	if got := planner.Outlook(m, inv, nil); got != nil {
		t.Errorf("without figures: %+v", got)
	}
	est := &inventory.Estimates{Mailboxes: map[string]inventory.MailboxEstimate{
		"anna@lab.example": {Messages: 10, Octets: 51 << 30, Largest: 151 << 20},
		"jens@lab.example": {Messages: 10, Octets: 50 << 30, Largest: 150 << 20},
		"info@lab.example": {Messages: 10, Octets: -1, Largest: -1},
	}}
	got := planner.Outlook(m, inv, est)
	if len(got) != 2 || got[0].Check != "over_quota" || got[0].Subject != "anna@lab.example" || got[1].Check != "oversize_messages" ||
		len(got[1].Detail) != 1 || !strings.Contains(got[1].Detail[0], "151 MB") {
		t.Errorf("%+v", got)
	}
	// Two sources in one mailbox fill it together.
	m.Mailboxes[1].Target = "anna@lab.example"
	est.Mailboxes["anna@lab.example"] = inventory.MailboxEstimate{Octets: 30 << 30, Largest: 1}
	got = planner.Outlook(m, inv, est)
	if len(got) != 2 || got[0].Check != "over_quota" || !strings.Contains(got[0].Summary, "80.0 GB") || got[1].Severity != plan.Passes {
		t.Errorf("%+v", got)
	}
}

// The source's DKIM selectors stay for as long as its mail may be verified, and
// a person is told which ones to take out at the end.
func TestOldKeys(t *testing.T) {
	m, inv := tenant(t)
	m.Sources[0].Kind = "ionos"
	for i := range m.Mailboxes {
		m.Mailboxes[i].From = "ionos.old"
	}
	inv.Domains[0].Sets = append(inv.Domains[0].Sets, rrset("s2-ionos._domainkey.lab.example.", "CNAME", 3600, "s2.dkim.ionos.com."),
		rrset("s1-ionos._domainkey.lab.example.", "CNAME", 3600, "s1.dkim.ionos.com."), rrset("other._domainkey.lab.example.", "CNAME", 3600, "k.elsewhere.example."))
	p := make1(m, inv)
	s := step(t, p, "retire/host/ionos.old")
	if len(s.Detail) != 3 || !strings.Contains(s.Detail[0], "s1-ionos._domainkey.lab.example") || !strings.Contains(s.Detail[1], "s2-ionos") {
		t.Errorf("%q", s.Detail)
	}
	for _, a := range addresses(p) {
		if strings.Contains(a, "ionos._domainkey") {
			t.Errorf("a record that nothing names is touched by %s", a)
		}
	}
}
