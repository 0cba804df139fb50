package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/providers/canary"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
	"github.com/mxodus/mxodus/providers/ionos/ionostest"
	"github.com/mxodus/mxodus/providers/microsoft365/microsoft365test"
)

const tenantTarget = `target "microsoft365" {
  tenant      = "acme.onmicrosoft.com"
  client_id   = "6f0c1e52-9d1b-4b53-8f0e-0c6d7c7b3a11"
  credentials = secret.graph
  ca_file     = "new.pem"
  smtp_probe  = "{newMX}"

  endpoints {
    login    = "{login}"
    graph    = "{graph}"
    exchange = "{exchange}"
    imap     = "{imap}"
  }

  oversize {
    limit = "150MB"
  }

  limits {
    connections_per_mailbox = 3
    doubt_grace             = "1s"
  }
}

secret "graph" {
  file = "secrets/graph"
}
`

const tenantPeople = `mailbox "user" {
  for_each       = { for m in csvdecode(file("mailboxes.csv")) : m.address => m if m.kind == "user" }
  source         = each.key
  target         = each.value.target
  display_name   = each.value.name
  license        = "O365_BUSINESS_PREMIUM"
  usage_location = "DE"
}

mailbox "rest" {
  kind           = "catch_all"
  source         = "rita@acme.example"
  target         = "rita@acme.example"
  license        = "O365_BUSINESS_PREMIUM"
  usage_location = "DE"
}

shared_mailbox "kasse" {
  source       = "kasse@acme.example"
  target       = "kasse@acme.example"
  display_name = "Kasse"
  full_access  = [mailbox.user["anna@acme.example"], mailbox.user["jens@acme.example"]]
  send_as      = [mailbox.user["anna@acme.example"]]
}

alias "a" {
  for_each = { "info@acme.example" = "anna@acme.example", "shop@acme.example" = "jens@acme.example", "post@acme.example" = "jens@acme.example" }
  address  = each.key
  deliver  = mailbox.user[each.value]
}

distribution_list "team" {
  address = "team@acme.example"
  members = [for m in mailbox.user : m]
}

forwarder "bills" {
  address = "bills@acme.example"
  deliver = ["bills@elsewhere.example"]
}

domain "acme.example" {
  ttl {
    during  = 2
    restore = 4
  }
}
`

// tenantWorld is a company with its old host, its zone, and a tenant that knows nothing of it yet.
type tenantWorld struct {
	*world
	tenant *microsoft365test.Tenant
	boxes  *microsoft365test.Mailboxes
}

func startTenant(t *testing.T, trouble microsoft365test.Trouble, imap microsoft365test.IMAPTrouble) *tenantWorld {
	t.Helper()
	keys := "selector1-acme-example._domainkey.keys TXT \"v=DKIM1; k=rsa; p=MIIBIjANBgkq\"\nselector2-acme-example._domainkey.keys TXT \"v=DKIM1; k=rsa; p=MIIBIjANBgkq\"\n"
	w := &tenantWorld{world: startWorldOn(t, servers{people: 6}, oldZone+keys), tenant: microsoft365test.New(microsoft365test.Application())}
	t.Cleanup(w.tenant.Close)
	w.tenant.Trouble, w.tenant.MX, w.tenant.Keys = trouble, "mail.acme.example", "keys.acme.example"
	w.tenant.TXT = func(domain string) []string {
		var list []string
		for _, rr := range w.dns.ask(t, w.dns.secondary, domain+".", dns.TypeTXT) {
			if _, text, ok := strings.Cut(rr, "\""); ok {
				list = append(list, strings.TrimSuffix(text, "\""))
			}
		}
		return list
	}
	w.tenant.CNAME = func(name string) string {
		for _, rr := range w.dns.ask(t, w.dns.secondary, name+".", dns.TypeCNAME) {
			return rr[strings.LastIndexByte(rr, '\t')+1:]
		}
		return ""
	}
	w.source = ionosHost(t, sourcePassword)
	for _, p := range w.people {
		w.source.open(p)
	}
	var err error
	if w.boxes, err = w.tenant.StartIMAP(imap); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.boxes.Close() })
	for _, a := range []string{"info", "shop", "post", "team", "bills", "kasse"} {
		w.newMX.Accept(a + "@acme.example")
	}
	return w
}

// ionosHost is a mail host as IONOS has it.
func ionosHost(t *testing.T, pass func(string) string) *mailHost {
	t.Helper()
	m, err := ionostest.NewMail(ionostest.MailOptions{TLS: true, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	made := map[string]bool{}
	return &mailHost{
		address: m.Address(), client: m.Authority().Client(), ca: string(m.Authority().PEM()), pass: pass, whole: true,
		open: func(a string) {
			if made[a] {
				m.Enable(a, pass(a))
				return
			}
			made[a] = true
			m.AddAccount(a, pass(a))
		},
		shut: m.Disable, finish: func() { m.Close() },
	}
}

// folder is a migration's folder from the old host to the tenant.
func (w *tenantWorld) folder(p pace) *folder {
	f := w.migration(p)
	login, graph, exchange := w.tenant.Endpoints()
	whole := strings.NewReplacer(
		"{newMX}", w.newMX.Addr, "{login}", login, "{graph}", graph, "{exchange}", exchange, "{imap}", fmt.Sprintf("localhost:%d", w.boxes.Port()),
	).Replace(tenantTarget) + "\n" + tenantPeople
	text := f.read("acme.mx.hcl")
	cut := func(from, to, with string) {
		i, j := strings.Index(text, from), strings.Index(text, to)
		text = text[:i] + with + text[j:]
	}
	cut("target \"imap\" \"new\"", "dns \"rfc2136\"", "")
	cut("mailbox \"user\"", "schedule {", whole+"\n")
	cut("secret \"new\"", "secret \"post\"", "")
	f.write("acme.mx.hcl", text)
	table := "address,target,name,kind\n"
	for _, a := range w.people {
		local, _, _ := strings.Cut(a, "@")
		kind := "user"
		if local == "rita" || local == "kasse" {
			kind = local
		}
		table += a + "," + a + "," + strings.ToUpper(local[:1]) + local[1:] + "," + kind + "\n"
	}
	f.write("mailboxes.csv", table)
	f.write("secrets/graph", w.tenant.Apps[0].Secret+"\n")
	f.write("new.pem", string(w.boxes.Authority().PEM()))
	return f
}

// TestToMicrosoft365: a company without anything in its tenant is moved there, with all the
// trouble that its services are known for, by plans of which each names what the one
// before has brought about.
func TestToMicrosoft365(t *testing.T) {
	t.Parallel()
	w := startTenant(t, microsoft365test.Unpleasant(), microsoft365test.IMAPTrouble{
		ThrottleAppends: 41, ThrottleFetches: 61, ThrottleLogins: 9, RefuseLogins: 2, Backoff: 90 * time.Millisecond, ErrorLimit: true,
		LoseAppends: 53, CutAppends: 59, LateAppends: 67, NoUID: 7, StoredSize: true, MixItems: true, Rev2: true, NonMail: true, Hidden: true,
		ExpireMidway: 97, Render: microsoft365test.Renders,
	})
	mails := plainMails(imaptest.Generate(7, 400))
	w.plant(mails)
	f := w.folder(pace{lead: 40 * time.Second, provision: 39 * time.Second, notice: 5 * time.Second, repeat: 5 * time.Second, delta: 2 * time.Second, hold: 8 * time.Second})
	f.run(0, "validate")
	f.run(0, "doctor")
	var last string
	late := time.Now().Add(8 * time.Minute)
	for n := 1; ; n++ {
		last = fmt.Sprintf("plans/%04d.plan", n)
		f.run(0, "plan", "-out", last)
		if !strings.Contains(f.read(last), "known after provision") {
			break
		}
		f.run(0, "apply", last)
		if time.Now().After(late) {
			t.Fatal("the tenant takes too long")
		}
	}
	f.approve("flip")
	f.approve("decommission")
	run := f.start("apply", "-wait", "-json", last)
	w.played = map[string]bool{}
	for ev := range run.events {
		if ev.State != "by_hand" {
			continue
		}
		switch kind, rest, _ := strings.Cut(ev.Step, "/"); {
		case strings.HasPrefix(ev.Step, "retire/host/"):
			f.run(0, "done", ev.Step)
		case kind == "retire":
			w.source.shut(rest)
		default:
			t.Errorf("apply asks for the step %s, which nobody expected", ev.Step)
		}
	}
	if code := run.code(); code != 0 {
		t.Fatalf("apply: exit code %d\n%s", code, tail(run.output(), 6000))
	}
	if s := f.status(); s["complete"] != true {
		t.Errorf("status: %v", s)
	}
	f.run(0, "plan", "-detailed-exitcode")
	w.whole(f)
	w.rendered(mails)
}

// rendered looks for each message, as Exchange renders it, in the tenant.
func (w *tenantWorld) rendered(mails []imaptest.GeneratedMail) {
	w.t.Helper()
	there := map[string]int{}
	for _, p := range w.people {
		got, err := w.boxes.Snapshot(p)
		if err != nil {
			w.t.Error(err)
			continue
		}
		for _, folder := range got {
			for _, m := range folder {
				there[string(m.Octets)]++
			}
		}
	}
	missing := 0
	for _, m := range mails {
		text := string(microsoft365test.Render(m.Octets))
		if there[text]--; there[text] < 0 {
			missing++
		}
	}
	if missing > 0 {
		w.t.Errorf("%d of %d messages are not there with their content", missing, len(mails))
	}
}

// plainMails are the mails that Exchange takes as they are: what it makes of the others is
// its own test's.
func plainMails(mails []imaptest.GeneratedMail) []imaptest.GeneratedMail {
	return slices.DeleteFunc(mails, func(m imaptest.GeneratedMail) bool {
		long := false
		for line := range strings.SplitSeq(string(m.Octets), "\n") {
			long = long || len(line) > 900
		}
		return long || strings.TrimSpace(m.Folder) != m.Folder || strings.ContainsAny(m.Folder, "\"\\%*") || len(m.Octets) > 60_000
	})
}

// whole looks at the tenant, at the mail, and for secrets.
func (w *tenantWorld) whole(f *folder) {
	t := w.t
	n := 0
	for _, p := range w.people {
		w.source.open(p)
		got, err := w.boxes.Snapshot(p)
		if err != nil {
			t.Errorf("%s: %v", p, err)
			continue
		}
		for _, mails := range got {
			n += len(mails)
		}
	}
	notices := 0
	for _, c := range w.notices() {
		notices += c // they came to the old host, and were carried over
	}
	if n != w.planted+notices || notices != 4 {
		t.Errorf("%d messages in the tenant, %d were planted and %d notices sent", n, w.planted, notices)
	}
	texts := map[string]string{"what was printed": f.printed.String()}
	maps.Copy(texts, f.files("secrets"))
	w.tenant.Lock()
	defer w.tenant.Unlock()
	secrets := w.secrets()
	secrets["the application's secret"] = w.tenant.Apps[0].Secret
	for _, u := range w.tenant.Users {
		if u.Password != "" {
			secrets["the first password of "+u.Principal] = u.Password
		}
		if u.Password == "" && !u.NoMailbox {
			t.Errorf("%s has no password", u.Principal)
		}
	}
	for _, line := range canary.Leaks(texts, secrets) {
		t.Error(line)
	}
	for name, text := range texts {
		if strings.Contains(text, "eyJhbGciOiJSUzI1NiJ9") {
			t.Errorf("%s holds a token", name)
		}
	}
	var addresses []string
	for _, m := range w.tenant.Mailboxes {
		addresses = append(append(addresses, m.Address), m.Aliases...)
		if m.Receive != 150<<20 || !m.IMAP {
			t.Errorf("%s takes %d octets, IMAP = %v", m.Address, m.Receive, m.IMAP)
		}
		if m.Address == "kasse@acme.example" && (!m.Shared || len(m.SendAs) != 1 || len(m.Full) != 3) {
			t.Errorf("the shared mailbox is %+v", m)
		}
	}
	for _, g := range w.tenant.Groups {
		addresses = append(addresses, g.Address)
		if !g.External || len(g.Members) == 0 {
			t.Errorf("the list %s is %+v", g.Address, g)
		}
	}
	slices.Sort(addresses)
	want := []string{"anna@acme.example", "bills@acme.example", "ines@acme.example", "info@acme.example", "jens@acme.example", "kasse@acme.example",
		"olaf@acme.example", "post@acme.example", "rita@acme.example", "shop@acme.example", "team@acme.example"}
	if !slices.Equal(addresses, want) {
		t.Errorf("the tenant has %q", addresses)
	}
	for _, d := range w.tenant.Domains[1:] {
		if d.Name != "acme.example" || !d.Verified || !d.Signing || !d.Relay {
			t.Errorf("the domain is %+v", d)
		}
	}
	calls := map[string]int{}
	for _, c := range w.tenant.Calls {
		verb, path, _ := strings.Cut(c, " ")
		calls[verb+" "+strings.Split(path+"/", "/")[min(1, len(strings.Split(path, "/"))-1)]]++
	}
	t.Logf("%d messages, %d requests to Graph and Exchange: %v", n, len(w.tenant.Calls), calls)
}

// TestTenantGrants: what is missing in a tenant is told before anything is touched, and by plan what
// can't be had there.
func TestTenantGrants(t *testing.T) {
	t.Parallel()
	w := startTenant(t, microsoft365test.Trouble{}, microsoft365test.IMAPTrouble{})
	f := w.folder(pace{lead: 300 * time.Second, provision: 299 * time.Second, notice: 5 * time.Second, repeat: 5 * time.Second, delta: 2 * time.Second, hold: 8 * time.Second})
	w.tenant.Lock()
	w.tenant.Domains = append(w.tenant.Domains, &microsoft365test.Domain{Name: "acme.example", Verified: true, MX: "mail.acme.example", Services: []string{"Email"}})
	w.tenant.Unlock()
	anna := w.tenant.AddUser("anna@acme.example", "Anna")
	w.tenant.AddUser("boss@acme.example", "Boss")
	app := w.tenant.Apps[0]
	writes := func() int {
		n := 0
		for _, verb := range []string{"POST /", "PATCH /", "New-", "Set-", "Add-"} {
			n += w.tenant.Asked(verb)
		}
		return n
	}
	set := func(change func()) { w.tenant.Lock(); defer w.tenant.Unlock(); change() }
	mailbox := func(address string) *microsoft365test.Mailbox {
		i := slices.IndexFunc(w.tenant.Mailboxes, func(m *microsoft365test.Mailbox) bool { return m.Address == address })
		return w.tenant.Mailboxes[i]
	}

	// Everybody is as the plan will find them: nothing fails.
	if out := f.run(0, "doctor", "-json"); !strings.Contains(out, `"will_be_made"`) || !strings.Contains(out, `"will_be_granted"`) {
		t.Errorf("doctor: %s", out)
	}
	set(func() { mailbox("anna@acme.example").IMAP = false })
	if out := f.run(5, "doctor", "-json"); !strings.Contains(out, `"imap_off"`) || !strings.Contains(out, "Set-CASMailbox -Identity anna@acme.example") {
		t.Errorf("doctor with IMAP off: %s", out)
	}
	set(func() { mailbox("anna@acme.example").IMAP = true; app.Roles = nil })
	if out := f.run(5, "doctor", "-json"); !strings.Contains(out, `"exchange_role_missing"`) {
		t.Errorf("doctor without a role: %s", out)
	}
	set(func() { app.Roles = []string{"Exchange Administrator"}; app.Expired = true })
	if out := f.run(5, "doctor", "-json"); !strings.Contains(out, `"AADSTS7000222"`) {
		t.Errorf("doctor with a secret that has run out: %s", out)
	}
	set(func() { app.Expired = false })

	// Somebody else has an address: the plan says whose it is, and keeps the flip shut.
	set(func() { mailbox("boss@acme.example").Aliases = []string{"shop@acme.example"} })
	if out := f.run(0, "plan"); !strings.Contains(out, "shop@acme.example belongs to boss@acme.example") {
		t.Errorf("plan with an address that is taken:\n%s", out)
	}
	set(func() { mailbox("boss@acme.example").Aliases = nil })
	set(func() { w.tenant.SKUs[0].Bought = 3 })
	if out := f.run(0, "plan"); !strings.Contains(out, "microsoft365 has 1 left") {
		t.Errorf("plan without enough licences:\n%s", out)
	}
	set(func() { w.tenant.SKUs[0].Bought = 25 })

	// A grant that went away between plan and apply: nothing is changed.
	f.run(0, "plan", "-out", "plans/0001.plan")
	set(func() { app.Roles = nil })
	zone := w.dns.records(t)
	if out := f.run(5, "apply", "plans/0001.plan"); !strings.Contains(out, "exchange_role_missing") || !strings.Contains(out, "Exchange Administrator") {
		t.Errorf("apply without a role: %s", out)
	}
	if n := writes(); n > 0 || len(differences(w.dns.records(t), zone)) > 0 {
		t.Errorf("%d writes to the tenant before the first grant was there", n)
	}
	if anna.Name != "Anna" {
		t.Errorf("the user is %+v", anna)
	}
}
