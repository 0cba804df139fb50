package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/providers/imap/imaptest"
	"github.com/mxodus/mxodus/providers/smtp/smtptest"
)

// post is how the world writes to the company: to the mail server that the MX names, or, like a
// resolver that keeps to an old answer, to the one that it named before.
type post struct {
	w        *world
	old, new *smtptest.Postfix

	mu    sync.Mutex
	sent  map[string]int // by recipient
	wrong []error
}

// exchanges starts a Postfix at each host; what they take they put into the mailboxes there.
func (w *world) exchanges(t *testing.T) *post {
	t.Helper()
	p := &post{w: w, sent: map[string]int{}}
	into := func(host *mailHost) func(smtptest.Message) error {
		return func(m smtptest.Message) error {
			for _, to := range m.To {
				if err := host.deliver(to, m.Data, time.Now().Truncate(time.Second)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	everybody := append(slices.Clone(w.people), "info@acme.example", "team@acme.example")
	p.old = smtptest.StartPostfix(t, smtptest.PostfixOptions{Domains: []string{"acme.example"}, Addresses: w.people, Deliver: into(w.source)})
	p.new = smtptest.StartPostfix(t, smtptest.PostfixOptions{Domains: []string{"acme.example"}, Addresses: everybody, Deliver: into(w.target)})
	return p
}

// exchanger is the Postfix that the zone's MX names now.
func (p *post) exchanger() *smtptest.Postfix {
	if strings.Contains(fmt.Sprint(p.w.dns.ask(p.w.t, p.w.dns.primary, "acme.example.", dns.TypeMX)), "mail.acme.example.") {
		return p.new
	}
	return p.old
}

// write sends one message to each person by a mail server.
func (p *post) write(via *smtptest.Postfix, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, to := range p.w.people {
		p.sent[to]++
		octets := fmt.Appendf(nil, "From: partner@other.example\r\nTo: %s\r\nSubject: %s %d\r\nMessage-ID: <%d.%s.post@other.example>\r\n\r\nsent meanwhile\r\n", to, what, p.sent[to], p.sent[to], to[:4])
		if err := hand(via.Addr, to, octets); err != nil {
			p.wrong = append(p.wrong, fmt.Errorf("write to %s: %w", to, err))
		}
	}
}

// hand gives one message to a mail server, as another one does.
func hand(server, to string, octets []byte) error {
	c, err := smtp.Dial(server)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.SendMail("partner@other.example", []string{to}, bytes.NewReader(octets))
}

// delivered waits until the mail servers have handed on all that they took.
func (p *post) delivered(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	want := 0
	for _, n := range p.sent {
		want += n
	}
	for range 500 {
		if len(p.old.Messages())+len(p.new.Messages()) == want {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if n := len(p.old.Messages()) + len(p.new.Messages()); n != want || len(p.wrong) > 0 {
		t.Errorf("%d messages handed on, %d written; %v\n%s", n, want, p.wrong, tail(p.new.Log(), 1500))
	}
}

// once holds that a host has all that was planted, written and notified, each message once, and lacks
// nothing that the other host has.
func (p *post) once(t *testing.T, what string, host, other *mailHost, rename func(string) string) {
	t.Helper()
	n, want := 0, p.w.planted
	for _, person := range p.w.people {
		here := host.read(t, person)
		for _, l := range imaptest.Diff(other.read(t, person), here, rename) {
			if !strings.Contains(l, "too many") {
				t.Errorf("%s: %s: %s", what, person, l)
			}
		}
		for _, mails := range here {
			n += len(mails)
		}
		want += p.sent[person] + p.w.notices()[person]
	}
	if n != want {
		t.Errorf("%s holds %d messages, %d were planted and written", what, n, want)
	}
}

// until plays the people around a run of apply -json until the phases are done.
func (w *world) until(f *folder, c *child, phases ...string) {
	w.t.Helper()
	left := map[string]bool{}
	for _, p := range phases {
		left[p] = true
	}
	for ev := range c.events {
		if ev.State == "by_hand" {
			w.act(f, ev.Step)
		}
		if ev.Type == "phase" {
			delete(left, ev.Phase)
		}
		if len(left) == 0 {
			return
		}
	}
	w.t.Fatalf("apply ended with code %d before %v were done\n%s", c.code(), left, tail(c.output(), 4000))
}

// interrupt is Ctrl-C.
func (c *child) interrupt() {
	c.f.t.Helper()
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil {
		c.f.t.Fatal(err)
	}
	if code := c.code(); code != 130 {
		c.f.t.Fatalf("after Ctrl-C: exit code %d, want 130\n%s", code, tail(c.output(), 2000))
	}
}

// show logs the screen of status.
func (f *folder) show(moment string) {
	f.t.Helper()
	f.t.Logf("status, %s\n%s", moment, f.run(0, "status"))
}

// TestRollbackWithMailOnBothSides flips, has mail come by the new MX and, from senders who know no
// better, by the old one, rolls back while mail goes on coming to both, and migrates once more: on two
// Dovecots, two BINDs and two Postfixes. After the rollback the old host has every message once;
// after the second attempt the new one has.
func TestRollbackWithMailOnBothSides(t *testing.T) {
	t.Parallel()
	w := startWorld(t, servers{dovecot: true, bind: true, people: 3})
	p := w.exchanges(t)
	w.plant(imaptest.Generate(11, 150))
	f := w.migration(pace{lead: 14 * time.Second, provision: 12 * time.Second, notice: 4 * time.Second, repeat: 4 * time.Second, delta: time.Second, hold: 600 * time.Second})
	f.edit("acme.mx.hcl", `smtp_probe  = "`+w.newMX.Addr+`"`, `smtp_probe  = "`+p.new.Addr+`"`)
	f.run(0, "plan", "-out", "plans/0001.plan")
	f.show("the plan is saved")
	f.approve("flip")
	run := f.start("apply", "-wait", "-json", "plans/0001.plan")
	w.until(f, run, "notice")
	f.show("copied, and before the cutover")
	w.until(f, run, "flip")
	p.write(p.exchanger(), "by the new MX")
	p.write(p.old, "by the old MX, late")
	w.until(f, run, "delta", "validate")
	f.show("flipped, and held")
	run.interrupt()
	if p.exchanger() != p.new {
		t.Fatal("the MX was not flipped")
	}
	p.write(p.new, "when nobody looks")

	out := f.run(0, "rollback", "-to", "notice")
	for _, words := range []string{"plans/0001-back.plan", "Mail that goes back", "anna@acme.example", "3 to copy", "10 mx.old.example."} {
		if !strings.Contains(out, words) {
			t.Errorf("the review of the rollback plan says nothing of %q:\n%s", words, out)
		}
	}
	f.run(0, "verify", "plans/0001-back.plan")
	back := f.start("apply", "-wait", "-json", "plans/0001-back.plan")
	for ev := range back.events {
		if ev.Type == "pass" && len(p.new.Messages()) > 0 {
			p.write(p.new, "from a resolver that knows the new MX")
			p.write(p.exchanger(), "by the old MX again")
			f.show("on the way back")
			break
		}
	}
	if code := back.code(); code != 0 {
		t.Fatalf("the rollback: exit code %d\n%s", code, tail(back.output(), 4000))
	}
	f.show("rolled back")
	p.delivered(t)
	p.once(t, "the old host after the rollback", w.source, w.target, german)
	for _, line := range differences(w.dns.records(t), with(t, w.before, "acme.example. 2 IN MX 10 mx.old.example.", "acme.example. 2 IN MX 20 mx2.old.example.",
		`acme.example. 2 IN TXT "v=spf1 include:spf.old.example ~all"`, `acme.example. 2 IN TXT "site-verification=8f2c1"`, "autodiscover.acme.example. 2 IN CNAME autodiscover.old.example.")) {
		t.Errorf("zone after the rollback: %s", line)
	}

	f.run(0, "plan", "-out", "plans/0002.plan")
	p.write(p.exchanger(), "between the attempts")
	f.run(0, "approve", "flip", "-by", "kerstin@acme.example", "-plan", "plans/0002.plan")
	run = f.start("apply", "-wait", "-json", "plans/0002.plan")
	w.until(f, run, "delta", "validate")
	run.interrupt()
	p.delivered(t)
	p.once(t, "the new host after the second attempt", w.target, w.source, english)
	for _, person := range w.people {
		if c := w.notices()[person]; c != 1 {
			t.Errorf("%s got %d notices, want 1", person, c)
		}
	}
}
