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
	"github.com/mxodus/mxodus/providers/smtp/smtptest"
)

// demoWorld is the company of the demo and its servers.
type demoWorld struct {
	clock    providers.Clock
	old, new *imaptest.Memory
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

var demoPeople = []string{"anna@acme.example", "jens@acme.example", "kasse@acme.example"}

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
	if w.old, err = imaptest.NewMemory(imaptest.MemoryOptions{}); err != nil {
		return w, err
	}
	if w.new, err = imaptest.NewMemory(imaptest.MemoryOptions{}); err != nil {
		return w, err
	}
	if w.zone, err = dnstest.NewZone("acme.example.", demoZone, clock); err != nil {
		return w, err
	}
	if w.ns1, err = dnstest.Listen("127.0.0.1:0", &w.key, w.zone); err != nil {
		return w, err
	}
	if w.ns2, err = dnstest.Listen("127.0.0.1:0", nil, w.zone); err != nil {
		return w, err
	}
	w.ns2.Lag(demoLag)
	if w.oldMX, err = smtptest.Start(smtptest.Config{Addresses: demoPeople, Deliver: w.deliver(w.old, false)}); err != nil {
		return w, err
	}
	if w.newMX, err = smtptest.Start(smtptest.Config{Addresses: demoPeople[:2], Deliver: w.deliver(w.new, true)}); err != nil {
		return w, err
	}
	return w, w.plant(messages)
}

func (w *demoWorld) close() {
	w.busy.Wait()
	for _, m := range []*imaptest.Memory{w.old, w.new} {
		if m != nil {
			m.Close()
		}
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

// demoSent is what the old host calls its folder of sent mail.
const demoSent = "Gesendete Objekte"

// plant fills the old server. The third mailbox is missing at the new one.
func (w *demoWorld) plant(messages int) error {
	for i, p := range demoPeople {
		w.old.AddAccount(p, demoPassword)
		if err := w.old.AddFolder(p, demoSent, `\Sent`); err != nil {
			return err
		}
		if i < 2 {
			if err := w.account(p); err != nil {
				return err
			}
		}
	}
	for i, g := range imaptest.Generate(1, messages) {
		// The embedded server completes a header that has no end when the
		// message is read; real servers don't. Such mail is left to the tests.
		if !bytes.Contains(g.Octets, []byte("\r\n\r\n")) {
			continue
		}
		folder := g.Folder
		if folder == "Sent" {
			folder = demoSent
		}
		if _, err := w.old.Deliver(demoPeople[i%len(demoPeople)], folder, g.Octets, g.Flags, g.Date); err != nil {
			return err
		}
		w.planted++
	}
	return nil
}

// account makes a mailbox at the new server.
func (w *demoWorld) account(p string) error {
	w.new.AddAccount(p, demoPassword)
	return w.new.AddFolder(p, "Sent", `\Sent`)
}

// deliver puts what an exchanger takes into the recipient's INBOX.
func (w *demoWorld) deliver(server *imaptest.Memory, direct bool) func(smtptest.Message) error {
	return func(m smtptest.Message) error {
		for _, to := range m.To {
			at := w.clock.Now().Truncate(time.Second)
			if to == "info@acme.example" {
				to = demoPeople[0]
			}
			if _, err := server.Deliver(to, "INBOX", m.Data, nil, at); err != nil {
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

func (w *demoWorld) environ() []string { return []string{"DEMO_TSIG=" + w.key.Secret} }

func (w *demoWorld) about() []string {
	return []string{
		fmt.Sprintf("old host   IMAP %s   %d mailboxes, %s messages in %d folders each, names like %q", w.old.Address(), len(demoPeople), render.Count(int64(w.planted)), len(imaptest.Folders), "日本語/メール"),
		fmt.Sprintf("new host   IMAP %s   2 of the mailboxes exist", w.new.Address()),
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

source "imap" "old" {
  host        = "127.0.0.1"
  port        = %d
  tls         = "none"
  credentials = secret.mail

  limits {
    doubt_grace = "1s"
  }
}

target "imap" "new" {
  host        = "127.0.0.1"
  port        = %d
  tls         = "none"
  credentials = secret.mail
  smtp_probe  = "%s"

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
  for_each     = { for m in csvdecode(file("mailboxes.csv")) : m.address => m }
  source       = each.key
  target       = each.value.target
  display_name = each.value.name
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

  record "MX" "@" {
    at     = phase.flip
    values = ["10 mail.acme.example."]
  }

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
    start = before(cutover, "20s")
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
const demoLead = 22 * time.Second

// files writes the migration's folder.
func (w *demoWorld) files(dir string, now time.Time) error {
	cutover := now.Add(demoLead).UTC().Format(time.RFC3339)
	hcl := fmt.Sprintf(demoHCL, cutover, w.old.Port(), w.new.Port(), w.newMX.Addr, w.ns1.Addr(), w.ns1.Addr(), w.ns2.Addr(), w.oldMX.Port)
	table, secrets := "address,target,name\n", "address,password\n"
	for i, p := range demoPeople {
		table += fmt.Sprintf("%s,%s,%s\n", p, p, []string{"Anna Weber", "Jens Jansen", "Kasse"}[i])
		secrets += p + "," + demoPassword + "\n"
	}
	for name, text := range map[string]string{
		"acme.mx.hcl": hcl, "mailboxes.csv": table, "secrets/mailboxes.csv": secrets,
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
		if err := w.deliver(w.old, false)(msg); err != nil {
			d.note(err.Error())
		}
	}
	msg := smtptest.Message{To: []string{demoPeople[1]}, Data: []byte("From: quick@partner.example\r\nTo: jens@acme.example\r\nSubject: first by the new MX\r\n\r\nhello\r\n")}
	if err := w.deliver(w.new, true)(msg); err != nil {
		d.note(err.Error())
	}
}

// byHand is what the administrator does in the panels.
func (w *demoWorld) byHand(ctx context.Context, d *demo, step string) {
	kind, rest, _ := strings.Cut(step, "/")
	var err error
	switch {
	case kind == "account":
		d.note("(the administrator makes the mailbox " + rest + " at the new host)")
		err = w.account(rest)
		w.newMX.Accept(rest)
	case kind == "alias":
		d.note("(the administrator makes the alias " + rest + " at the new host)")
		w.newMX.Accept(rest)
	case strings.HasPrefix(step, "retire/host/"):
		d.note("(the administrator cancels the contract: mxodus done " + step + ")")
		d.quietly(ctx, "done", step)
	case kind == "retire":
		d.note("(the administrator closes " + rest + " in the old host's panel)")
		err = w.old.Disable(rest)
	}
	if err != nil {
		d.note(err.Error())
	}
}

// compare holds the servers' memory against each other, and the zone against
// the plan, without any of mxodus's own records. n counts messages at the new server.
func (w *demoWorld) compare() (n int, problems []string, err error) {
	w.busy.Wait()
	rename := func(folder string) string {
		if folder == demoSent {
			return "Sent"
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
		before["INBOX"] = append(before["INBOX"], w.direct[p]...)
		for _, d := range imaptest.Diff(before, after, rename) {
			problems = append(problems, p+": "+d)
		}
		for _, mails := range after {
			n += len(mails)
		}
	}
	for _, want := range []plan.RRset{
		{Name: "acme.example.", Type: "MX", TTL: 8, Data: []string{"10 mail.acme.example."}},
		{Name: "acme.example.", Type: "TXT", TTL: 8, Data: []string{`"site-verification=8f2c1"`, `"v=spf1 mx -all"`}},
		{Name: "autodiscover.acme.example.", Type: "CNAME", TTL: 8, Data: []string{"mail.acme.example."}},
		{Name: "shop.acme.example.", Type: "A", TTL: 8, Data: []string{"192.0.2.81"}},
	} {
		if got := w.zone.Set(want.Name, want.Type); !got.Equal(want) {
			problems = append(problems, fmt.Sprintf("zone: %s is %v, planned %v", want.Name, got.Lines(), want.Lines()))
		}
	}
	if n < w.planted {
		problems = append(problems, fmt.Sprintf("%d messages at the new server, %d were planted at the old one", n, w.planted))
	}
	slices.Sort(problems)
	return n, problems, nil
}
