package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns/dnstest"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
	"github.com/mxodus/mxodus/providers/ionos/ionostest"
	"github.com/mxodus/mxodus/providers/microsoft365/microsoft365test"
	"github.com/mxodus/mxodus/providers/smtp/smtptest"
)

// demoWorld is the company of the demo and its servers.
type demoWorld struct {
	clock    providers.Clock
	old      *ionostest.Mail
	tenant   *microsoft365test.Tenant
	new      *microsoft365test.Mailboxes // of the tenant
	zone     *dnstest.Zone
	ns1, ns2 *dnstest.Server
	oldMX    *smtptest.Server // takes notices and late mail; delivers to the old server
	newMX    *smtptest.Server // delivers to the new server
	key      dnstest.Key
	planted  int // messages at the start

	mu     sync.Mutex
	played map[string]bool            // what people have done already
	direct map[string][]imaptest.Mail // by account: mail that reached the new server by itself
	busy   sync.WaitGroup
}

var (
	demoPeople = []string{"anna@acme.example", "jens@acme.example", "kasse@acme.example"}
	demoNames  = []string{"Anna Weber", "Jens Jansen", "Kasse"}
)

const demoPassword = "demo-only"

// demoLag is how far the second name server is behind the first.
const demoLag = time.Second

const demoZone = `$TTL 8
@            MX    10 mx.old.example.
@            TXT   "v=spf1 include:spf.old.example ~all"
@            TXT   "site-verification=8f2c1"
@            A     192.0.2.80
www          CNAME @
autodiscover CNAME autodiscover.old.example.
mail         A     192.0.2.25
shop         A     192.0.2.81
`

// demoKeys are the records of the tenant's DKIM keys, which somebody has entered last week.
const demoKeys = `_dmarc TXT "v=DMARC1; p=none"
selector1._domainkey CNAME selector1-acme-example._domainkey.keys
selector2._domainkey CNAME selector2-acme-example._domainkey.keys
selector1-acme-example._domainkey.keys TXT "v=DKIM1; k=rsa; p=MIIBIjANBgkq"
selector2-acme-example._domainkey.keys TXT "v=DKIM1; k=rsa; p=MIIBIjANBgkq"
`

// demoKey signs the updates of the demo's zone.
func demoKey() dnstest.Key {
	secret := sha256.Sum256([]byte("mxodus demo"))
	return dnstest.Key{Name: "mxodus.", Secret: base64.StdEncoding.EncodeToString(secret[:])}
}

func newDemoWorld(clock providers.Clock, messages int) (w *demoWorld, err error) {
	w = &demoWorld{clock: clock, played: map[string]bool{}, direct: map[string][]imaptest.Mail{}, key: demoKey()}
	defer func() {
		if err != nil {
			w.close()
			w = nil
		}
	}()
	if w.old, err = ionostest.NewMail(ionostest.MailOptions{Clock: clock.Now}); err != nil {
		return w, err
	}
	if err := w.openTenant(); err != nil {
		return w, err
	}
	if w.zone, err = dnstest.NewZone("acme.example.", demoZone+demoKeys, clock); err != nil {
		return w, err
	}
	if w.ns1, err = dnstest.Listen("127.0.0.1:0", &w.key, w.zone); err != nil {
		return w, err
	}
	if w.ns2, err = dnstest.Listen("127.0.0.1:0", nil, w.zone); err != nil {
		return w, err
	}
	w.ns2.Lag(demoLag)
	if w.oldMX, err = smtptest.Start(smtptest.Config{Addresses: demoPeople, Deliver: w.deliver(w.old.Double, false)}); err != nil {
		return w, err
	}
	if w.newMX, err = smtptest.Start(smtptest.Config{Addresses: append([]string{"info@acme.example"}, demoPeople...), Deliver: w.deliver(w.new.Double, true)}); err != nil {
		return w, err
	}
	return w, w.plant(messages)
}

func (w *demoWorld) close() {
	w.busy.Wait()
	if w.old != nil {
		w.old.Close()
	}
	if w.new != nil {
		w.new.Close()
	}
	if w.tenant != nil {
		w.tenant.Close()
	}
	for _, s := range []*dnstest.Server{w.ns1, w.ns2} {
		if s != nil {
			s.Close()
		}
	}
	for _, s := range []*smtptest.Server{w.oldMX, w.newMX} {
		if s != nil {
			s.Close()
		}
	}
}

// openTenant starts a tenant that knows the domain and two of the people.
func (w *demoWorld) openTenant() (err error) {
	w.tenant = microsoft365test.New(microsoft365test.Application())
	w.tenant.Now = w.clock.Now
	w.tenant.MX, w.tenant.Keys = "mail.acme.example", "keys.acme.example"
	w.tenant.Domains = append(w.tenant.Domains, &microsoft365test.Domain{Name: "acme.example", Verified: true, Services: []string{"Email"}, MX: "mail.acme.example", DKIM: true})
	if w.new, err = w.tenant.StartIMAP(microsoft365test.IMAPTrouble{
		ThrottleAppends: 90, CutAppends: 170, ErrorLimit: true, StoredSize: true, MixItems: true, NonMail: true, Render: microsoft365test.Renders,
	}); err != nil {
		return err
	}
	for i, name := range demoNames[:2] {
		w.tenant.AddUser(demoPeople[i], name)
	}
	return nil
}

// demoFolders are what the old host calls some folders, and what they are at the new one.
var demoFolders = []struct{ generated, old, new string }{
	{"Sent", ionostest.Sent, "Sent Items"},
	{"Drafts", "Entwürfe", "Drafts"},
	{"Trash", "Papierkorb", "Deleted Items"},
	{"Spam", "Spam", "Junk Email"},
	{" leading", " leading", "leading"},
	{"upper/LOWER", "upper/LOWER", "upper (2)/LOWER"}, // there is UPPER/lower, too, which is the same at Exchange
}

// plant fills the old server. The third person is unknown to the tenant.
func (w *demoWorld) plant(messages int) error {
	for _, p := range demoPeople {
		w.old.AddAccount(p, demoPassword)
	}
	for i, g := range imaptest.Generate(1, messages) {
		folder := g.Folder
		for _, f := range demoFolders {
			if f.generated == folder {
				folder = f.old
			}
		}
		if slices.ContainsFunc(bytes.Split(g.Octets, []byte("\n")), func(line []byte) bool { return len(line) > 10_000 }) {
			continue // what Exchange refuses, and the quarantine it lies in then, is left to the tests
		}
		if _, err := w.old.Deliver(demoPeople[i%len(demoPeople)], g.Octets, g.Flags, g.Date, folder); err != nil {
			return err
		}
		w.planted++
	}
	return nil
}

// deliver puts what an exchanger takes into the recipient's INBOX.
func (w *demoWorld) deliver(server *imaptest.Double, direct bool) func(smtptest.Message) error {
	return func(m smtptest.Message) error {
		for _, to := range m.To {
			at := w.clock.Now().Truncate(time.Second)
			if to == "info@acme.example" {
				to = demoPeople[0]
			}
			if _, err := server.Deliver(to, m.Data, nil, at, "INBOX"); err != nil {
				return err
			}
			if direct {
				sum := sha256.Sum256(m.Data)
				w.mu.Lock()
				w.direct[to] = append(w.direct[to], imaptest.Mail{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(m.Data)), Date: at.UTC()})
				w.mu.Unlock()
			}
		}
		return nil
	}
}

func (w *demoWorld) environ() []string {
	return []string{"DEMO_TSIG=" + w.key.Secret, "DEMO_APP=" + w.tenant.Apps[0].Secret}
}

func (w *demoWorld) about() []string {
	return []string{
		fmt.Sprintf("IONOS      IMAP %s   %d mailboxes, %s messages in %d folders each, names like %q", w.old.Address(), len(demoPeople), render.Count(int64(w.planted)), len(imaptest.Folders), "日本語/メール"),
		fmt.Sprintf("Microsoft  IMAP %s   365, with Graph and Exchange at %s; 2 of the 3 users exist", w.new.Address(), strings.TrimPrefix(w.tenant.URL, "http://")),
		fmt.Sprintf("zone       DNS  %s and %s, which lags a second; acme.example, TTL 8 s", w.ns1.Addr(), w.ns2.Addr()),
		fmt.Sprintf("mail       SMTP %s (old) and %s (new)", w.oldMX.Addr, w.newMX.Addr),
	}
}

const demoHCL = `migration "acme" {
  timezone = "Europe/Berlin"
  cutover  = "%s"
}

secret "mail" {
  csv = "secrets/mailboxes.csv"
}

secret "tsig" {
  env = "DEMO_TSIG"
}

secret "app" {
  env = "DEMO_APP"
}

source "ionos" {
  host        = "127.0.0.1"
  port        = %d
  tls         = "none"
  credentials = secret.mail

  limits {
    doubt_grace = "1s"
  }
}

target "microsoft365" {
  tenant      = "acme.onmicrosoft.com"
  client_id   = "%s"
  credentials = secret.app
  ca_file     = "tenant.pem"
  smtp_probe  = "%s"

  endpoints {
    login    = "%s"
    graph    = "%s"
    exchange = "%s"
    imap     = "localhost:%d"
  }

  limits {
    doubt_grace = "1s"
  }
}

dns "rfc2136" {
  server        = "%s"
  authoritative = ["%s", "%s"]

  key {
    name   = "mxodus."
    secret = secret.tsig
  }
}

smtp "office" {
  host = "127.0.0.1"
  port = %d
  tls  = "none"
  from = "IT <it@acme.example>"
}

# --- who ---------------------------------------------------------------------

mailbox "user" {
  for_each       = { for m in csvdecode(file("mailboxes.csv")) : m.address => m }
  source         = each.key
  target         = each.value.target
  display_name   = each.value.name
  license        = "O365_BUSINESS_PREMIUM"
  usage_location = "DE"

  folders {
    map = { "upper/LOWER" = "upper (2)/LOWER" } # Exchange takes it for UPPER/lower
  }
}

alias "info" {
  address = "info@acme.example"
  deliver = mailbox.user["anna@acme.example"]
}

# --- what the world sees -----------------------------------------------------

domain "acme.example" {
  ttl {
    during  = 2
    restore = 8
  }

  # MX and DKIM are as the tenant asks for them.
  record "TXT" "@" {
    at     = phase.flip
    match  = "v=spf1"
    values = ["v=spf1 mx -all"]
  }

  record "CNAME" "autodiscover" {
    at     = phase.flip
    values = ["mail.acme.example."]
  }
}

# --- when: weeks, in seconds -------------------------------------------------

schedule {
  phase "provision" {
    start = before(cutover, "24s")
  }

  phase "lower_ttl" {
    start = before(cutover, "18s")
  }

  phase "bulk_copy" {
    start  = phase.lower_ttl.start
    repeat = "5s"
  }

  phase "notice" {
    start = before(cutover, "8s")
  }

  phase "flip" {
    start = cutover
    gate  = gate.flip
  }

  phase "delta" {
    start  = phase.flip.end
    repeat = "2s"
    until  = converged(3)
  }

  phase "hold" {
    start  = phase.validate.end
    until  = after(phase.validate.end, "16s")
    repeat = "3s"
  }
}

notify "users" {
  at       = phase.notice.start
  to       = [for m in mailbox.user : m]
  via      = smtp.office
  subject  = "Your mailbox moves on {cutover}"
  template = "notice.txt"
}
`

// demoLead is the time from the start of the demo to the flip.
const demoLead = 26 * time.Second

// files writes the migration's folder.
func (w *demoWorld) files(dir string, now time.Time) error {
	cutover := now.Add(demoLead).UTC().Format(time.RFC3339)
	login, graph, exchange := w.tenant.Endpoints()
	hcl := fmt.Sprintf(demoHCL, cutover, w.old.Port(), w.tenant.Apps[0].ClientID, w.newMX.Addr, login, graph, exchange, w.new.Port(), w.ns1.Addr(), w.ns1.Addr(), w.ns2.Addr(), w.oldMX.Port)
	table, secrets := "address,target,name\n", "address,password\n"
	for i, p := range demoPeople {
		table += fmt.Sprintf("%s,%s,%s\n", p, p, demoNames[i])
		secrets += p + "," + demoPassword + "\n"
	}
	for name, text := range map[string]string{
		"acme.mx.hcl": hcl, "mailboxes.csv": table, "secrets/mailboxes.csv": secrets, "tenant.pem": string(w.new.Authority().PEM()),
		"notice.txt": "Dear {name},\n\nyour mailbox {address} moves to the new server on {cutover}.\nYou don't have to do anything.\n\nIT\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// people react to what apply says, each thing once.
func (w *demoWorld) people(ctx context.Context, d *demo, ev apply.Event) {
	act := func(name string, do func()) {
		w.mu.Lock()
		first := !w.played[name]
		w.played[name] = true
		w.mu.Unlock()
		if !first {
			return
		}
		w.busy.Go(func() {
			if w.clock.Sleep(ctx, pause) == nil {
				do()
			}
		})
	}
	switch {
	case ev.Type == "gate" && ev.State == "waiting":
		act("approve "+ev.Gate, func() {
			d.note("(kerstin, in another terminal: mxodus approve " + ev.Gate + ")")
			d.quietly(ctx, "approve", ev.Gate, "-by", "kerstin@acme.example")
		})
	case ev.Type == "phase" && ev.Phase == plan.Flip:
		act("late sender", func() { w.late(d) })
	case ev.State == "by_hand":
		act(ev.Step, func() { w.byHand(ctx, d, ev.Step) })
	}
}

// late is a sender whose resolver still knows the old MX, and one who knows the new one.
func (w *demoWorld) late(d *demo) {
	d.note("(a late sender still delivers two messages to the old host, another one to the new)")
	for i, to := range []string{demoPeople[0], demoPeople[2]} {
		msg := smtptest.Message{To: []string{to}, Data: fmt.Appendf(nil, "From: late@partner.example\r\nTo: %s\r\nSubject: straggler %d\r\nMessage-ID: <late%d@partner.example>\r\n\r\nsent by the old MX\r\n", to, i, i)}
		if err := w.deliver(w.old.Double, false)(msg); err != nil {
			d.note(err.Error())
		}
	}
	msg := smtptest.Message{To: []string{demoPeople[1]}, Data: []byte("From: quick@partner.example\r\nTo: jens@acme.example\r\nSubject: first by the new MX\r\n\r\nhello\r\n")}
	if err := w.deliver(w.new.Double, true)(msg); err != nil {
		d.note(err.Error())
	}
}

// byHand is what the administrator does in the panels.
func (w *demoWorld) byHand(ctx context.Context, d *demo, step string) {
	kind, rest, _ := strings.Cut(step, "/")
	switch {
	case strings.HasPrefix(step, "retire/host/"):
		d.note("(the administrator cancels the contract: mxodus done " + step + ")")
		d.quietly(ctx, "done", step)
	case kind == "retire":
		d.note("(the administrator closes " + rest + " in the old host's panel)")
		w.old.Disable(rest)
	}
}

// asExchangeHas makes of an account's mail what Exchange has of it, by the double's own
// rendering and by no code of mxodus: content rendered anew, five flags, nothing that is marked as deleted.
func asExchangeHas(account map[string][]imaptest.Mail) {
	for folder, mails := range account {
		var kept []imaptest.Mail
		for _, m := range mails {
			if slices.Contains(m.Flags, `\deleted`) {
				continue
			}
			octets := microsoft365test.Render(m.Octets)
			sum := sha256.Sum256(octets)
			m.SHA256, m.Size = hex.EncodeToString(sum[:]), int64(len(octets))
			m.Flags = slices.DeleteFunc(slices.Clone(m.Flags), func(f string) bool { return !strings.HasPrefix(f, `\`) })
			kept = append(kept, m)
		}
		account[folder] = kept
	}
}

// compare holds the servers' memory against each other, and the zone against
// the plan, without any of mxodus's own records. n counts messages at the new server.
func (w *demoWorld) compare() (n int, problems []string, err error) {
	w.busy.Wait()
	rename := func(folder string) string {
		for _, f := range demoFolders {
			if f.old == folder {
				return f.new
			}
		}
		return folder
	}
	for _, p := range demoPeople {
		before, err := w.old.Snapshot(p)
		if err != nil {
			return 0, nil, err
		}
		after, err := w.new.Snapshot(p)
		if err != nil {
			return 0, nil, err
		}
		asExchangeHas(before)
		before["INBOX"] = append(before["INBOX"], w.direct[p]...)
		for _, d := range imaptest.Diff(before, after, rename) {
			problems = append(problems, p+": "+d)
		}
		for _, mails := range after {
			n += len(mails)
		}
	}
	for _, want := range []plan.RRset{
		{Name: "acme.example.", Type: "MX", TTL: 8, Data: []string{"0 mail.acme.example."}},
		{Name: "acme.example.", Type: "TXT", TTL: 8, Data: []string{`"site-verification=8f2c1"`, `"v=spf1 mx -all"`}},
		{Name: "autodiscover.acme.example.", Type: "CNAME", TTL: 8, Data: []string{"mail.acme.example."}},
		{Name: "shop.acme.example.", Type: "A", TTL: 8, Data: []string{"192.0.2.81"}},
	} {
		if got := w.zone.Set(want.Name, want.Type); !got.Equal(want) {
			problems = append(problems, fmt.Sprintf("zone: %s is %v, planned %v", want.Name, got.Lines(), want.Lines()))
		}
	}
	slices.Sort(problems)
	return n, problems, nil
}
