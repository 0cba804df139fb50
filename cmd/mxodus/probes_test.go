package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-smtp"
	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/providers/canary"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
	"github.com/mxodus/mxodus/providers/smtp/smtptest"
)

const (
	probeAddress  = "probe@outside.example"
	probePassword = "Out+" + canary.Mark + "/&=side"
)

// probeWorld is a world with an outside account: a Dovecot that it reads at and a server that
// sends by what the zone says of the MX. The exchangers of the company and where it sends are
// Postfixes.
type probeWorld struct {
	*world
	outside     *mailHost
	oldExchange *smtptest.Postfix
	newExchange *smtptest.Postfix
	submission  *smtptest.Postfix
	sends       *smtptest.Server // of the outside account
	key         ed25519.PrivateKey
	plainIMAP   string // of the outside account, without TLS

	mu sync.Mutex
}

func startProbeWorld(t *testing.T) *probeWorld {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	zone := strings.Replace(oldZone, "_dmarc ", "new1._domainkey TXT \"v=DKIM1; k=ed25519; p="+base64.StdEncoding.EncodeToString(public)+"\"\n_dmarc ", 1)
	w := &probeWorld{world: startWorldOn(t, servers{dovecot: true, bind: true, people: 3}, zone), key: private}
	d := imaptest.StartDovecot(t, imaptest.DovecotOptions{Accounts: map[string]string{probeAddress: probePassword}})
	w.outside = &mailHost{address: d.TLSAddress(), client: d.Client(), pass: func(string) string { return probePassword }}
	w.plainIMAP = d.Address()
	known := append([]string{"info@acme.example", "team@acme.example"}, w.people...)
	w.oldExchange = smtptest.StartPostfix(t, smtptest.PostfixOptions{Domains: []string{"acme.example"}, Addresses: known, Deliver: w.toSource})
	w.newExchange = smtptest.StartPostfix(t, smtptest.PostfixOptions{Domains: []string{"acme.example"}, Addresses: known, Deliver: w.toTarget})
	w.submission = smtptest.StartPostfix(t, smtptest.PostfixOptions{Username: w.people[0], Password: targetPassword(w.people[0]), Deliver: w.toOutside})
	if w.sends, err = smtptest.Start(smtptest.Config{AcceptAll: true, Username: probeAddress, Password: probePassword, Deliver: w.relay}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.sends.Close() })
	return w
}

func (w *probeWorld) toSource(m smtptest.Message) error {
	for _, to := range m.To {
		if err := w.source.deliver(to, m.Data, time.Now().Truncate(time.Second)); err != nil {
			return err
		}
	}
	return nil
}

func (w *probeWorld) toTarget(m smtptest.Message) error {
	for _, to := range m.To {
		at := time.Now().Truncate(time.Second)
		if err := w.target.deliver(to, m.Data, at); err != nil {
			return err
		}
		w.mu.Lock()
		w.direct[to] = append(w.direct[to], imaptest.GeneratedMail{Octets: m.Data, Date: at}.Mail())
		w.mu.Unlock()
	}
	return nil
}

// relay is the outside account's server: it gives mail to whoever the zone names as the MX.
func (w *probeWorld) relay(m smtptest.Message) error {
	exchange := w.oldExchange.Addr
	for _, mx := range w.dns.ask(w.t, w.dns.primary, "acme.example.", dns.TypeMX) {
		if strings.HasSuffix(mx, " mail.acme.example.") {
			exchange = w.newExchange.Addr
		}
	}
	c, err := smtp.Dial(exchange)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.SendMail(m.From, m.To, bytes.NewReader(m.Data))
}

// toOutside is what the company sends: its server signs, the outside account's server judges by the zone.
func (w *probeWorld) toOutside(m smtptest.Message) error {
	var signed bytes.Buffer
	if err := dkim.Sign(&signed, bytes.NewReader(m.Data), &dkim.SignOptions{Domain: "acme.example", Selector: "new1", Signer: w.key}); err != nil {
		return err
	}
	spf := "none"
	for _, txt := range w.dns.ask(w.t, w.dns.primary, "acme.example.", dns.TypeTXT) {
		switch {
		case strings.Contains(txt, `"v=spf1`) && strings.Contains(txt, " ip4:127.0.0.1 "):
			spf = "pass"
		case strings.Contains(txt, `"v=spf1`):
			spf = "fail"
		}
	}
	verdict := "fail"
	found, err := dkim.VerifyWithOptions(bytes.NewReader(signed.Bytes()), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		var list []string
		for _, rr := range w.dns.ask(w.t, w.dns.primary, name+".", dns.TypeTXT) {
			txt, err := dns.NewRR(rr)
			if err != nil {
				return nil, err
			}
			list = append(list, strings.Join(txt.(*dns.TXT).Txt, ""))
		}
		return list, nil
	}})
	if err != nil {
		return err
	}
	if len(found) == 1 && found[0].Err == nil {
		verdict = "pass"
	}
	header := fmt.Sprintf("Authentication-Results: mx.outside.example (a receiver);\r\n spf=%s (127.0.0.1) smtp.mailfrom=%s;\r\n dkim=%s header.d=acme.example;\r\n dmarc=%s header.from=acme.example\r\n", spf, m.From, verdict, verdict)
	return w.outside.deliver(probeAddress, append([]byte(header), signed.Bytes()...), time.Now().Truncate(time.Second))
}

// folder is a migration with the probe and an SPF record.
func (w *probeWorld) folder(p pace, spf string) *folder {
	f := w.migration(p)
	_, imapPort, _ := net.SplitHostPort(w.plainIMAP)
	f.edit("acme.mx.hcl", "source \"imap\" \"old\" {\n", "source \"imap\" \"old\" {\n  smtp_probe  = \""+w.oldExchange.Addr+"\"\n")
	f.edit("acme.mx.hcl", "  smtp_probe  = \""+w.newMX.Addr+"\"\n", "  smtp_probe  = \""+w.newExchange.Addr+"\"\n  submission  = \"smtp+none://"+w.submission.Addr+"\"\n")
	f.edit("acme.mx.hcl", "dns \"rfc2136\" {\n", "dns \"rfc2136\" {\n  resolver      = \""+w.dns.primary+"\"\n")
	f.edit("acme.mx.hcl", `"v=spf1 mx -all"`, `"`+spf+`"`)
	f.write("acme.mx.hcl", f.read("acme.mx.hcl")+fmt.Sprintf(`
secret "outside" {
  file = "secrets/outside"
}

validation {
  sample = ["%s"]

  probe "trip" {
    imap        = "imap+none://probe%%40outside.example@127.0.0.1:%s"
    smtp        = "smtp+none://probe@outside.example@%s"
    credentials = secret.outside
    expect      = ["spf=pass", "dkim=pass", "dmarc=pass"]
    timeout     = "30s"
  }
}
`, w.people[0], imapPort, w.sends.Addr))
	f.write("secrets/outside", probePassword+"\n")
	return f
}

// TestWholeMigrationWithProbes runs a migration on three Dovecots, BIND and three Postfixes with all probes on.
func TestWholeMigrationWithProbes(t *testing.T) {
	t.Parallel()
	w := startProbeWorld(t)
	w.plant(imaptest.Generate(11, 300))
	f := w.folder(pace{lead: 20 * time.Second, provision: 18 * time.Second, notice: 6 * time.Second, repeat: 5 * time.Second, delta: 2 * time.Second, hold: 8 * time.Second}, "v=spf1 ip4:127.0.0.1 -all")
	// One account is not there yet.
	if out := f.run(5, "doctor"); !strings.Contains(out, "probe_login") || !strings.Contains(out, "logs in to receive and to send") {
		t.Errorf("doctor:\n%s", out)
	}
	f.run(2, "plan", "-detailed-exitcode", "-out", "plans/0001.plan")
	f.run(0, "verify", "plans/0001.plan")
	// Before the flip mail goes by the old MX alone, and the records don't name the new server.
	if out := f.run(5, "check", "trip", "-json"); !strings.Contains(out, `"code":"not_sent","detail":"the MX has not moved yet"`) || !strings.Contains(out, "its receiver says spf=fail") {
		t.Errorf("check before the flip:\n%s", out)
	}
	f.approve("flip")
	f.approve("decommission")
	run := f.start("apply", "-wait", "-json", "plans/0001.plan")
	w.unattended(f, run)
	if code := run.code(); code != 0 {
		t.Fatalf("apply: exit code %d\n%s", code, tail(run.output(), 4000))
	}
	w.compare()
	probes := map[string]int{}
	for _, from := range []*smtptest.Postfix{w.oldExchange, w.newExchange, w.submission} {
		for _, m := range from.Messages() {
			if bytes.Contains(m.Data, []byte("Subject: mxodus probe ")) {
				probes[from.Addr]++
			}
		}
	}
	// check asked once before the flip, by the old MX and to the outside; apply once each way.
	for name, want := range map[string]int{w.oldExchange.Addr: 2, w.newExchange.Addr: 1, w.submission.Addr: 2} {
		if probes[name] != want {
			t.Errorf("%d probes by %s, want %d", probes[name], name, want)
		}
	}
	f.mu.Lock()
	texts := map[string]string{"what was printed": f.printed.String()}
	f.mu.Unlock()
	for name, text := range f.files("secrets") {
		texts[name] = text
	}
	secrets := w.secrets()
	secrets["the password of the outside account"] = probePassword
	for _, line := range canary.Leaks(texts, secrets) {
		t.Error(line)
	}
	if dir := os.Getenv("MXODUS_KEEP_REPORT"); dir != "" {
		f.run(0, "report", "-html", "report.html")
		if err := os.WriteFile(dir+"/report.html", []byte(f.read("report.html")), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// TestProbeWithWrongSPF: the records that the flip published make receivers refuse, and the hold doesn't begin.
func TestProbeWithWrongSPF(t *testing.T) {
	t.Parallel()
	w := startProbeWorld(t)
	w.plant(imaptest.Generate(12, 60))
	f := w.folder(pace{lead: 16 * time.Second, provision: 14 * time.Second, notice: 5 * time.Second, repeat: 5 * time.Second, delta: 2 * time.Second, hold: 8 * time.Second}, "v=spf1 ip4:192.0.2.25 -all")
	f.run(2, "plan", "-detailed-exitcode", "-out", "plans/0001.plan")
	f.approve("flip")
	run := f.start("apply", "-wait", "-json", "plans/0001.plan")
	const step = "validate/probe/trip/outbound/acme.example"
	told := ""
	for ev := range run.events {
		switch {
		case ev.State == "by_hand":
			w.act(f, ev.Step)
		case ev.Step == step && ev.State == "failed":
			if told == "" {
				told = ev.Text
				run.cmd.Process.Signal(os.Interrupt)
			}
		}
	}
	if code := run.code(); code != 130 || !strings.Contains(told, "its receiver says spf=fail, expected spf=pass") {
		t.Fatalf("apply: exit code %d, told %q\n%s", code, told, tail(run.output(), 3000))
	}
	out := f.run(5, "apply", "plans/0001.plan")
	if !strings.Contains(out, "spf=fail") {
		t.Errorf("apply again:\n%s", out)
	}
	if out = f.run(5, "check", "trip"); !strings.Contains(out, "its receiver says spf=fail, expected spf=pass") || !strings.Contains(out, "yes  probe trip by the new MX") {
		t.Errorf("check trip:\n%s", out)
	}
	t.Logf("check trip:\n%s", out)
	if s := f.status(); s["phase"] == "hold" || s["complete"] == true {
		t.Errorf("status: %v", s)
	}
}
