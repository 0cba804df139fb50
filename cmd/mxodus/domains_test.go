package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/providers/dns/dnstest"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

const betaZone = `$TTL 4
@             MX    10 mx.old.example.
@             TXT   "v=spf1 include:spf.old.example ~all"
lists         MX    10 lists.other.example.
www           A     192.0.2.80
`

const betaHCL = `
domain "bücher.example" {
  ttl {
    during  = 2
    restore = 4
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
}
`

// TestSeveralDomains moves two domains, one of them internationalised, in one
// migration: their records flip behind one gate, and drift in one of them holds both.
func TestSeveralDomains(t *testing.T) {
	t.Parallel()
	const beta, rita = "xn--bcher-kva.example", "rita@xn--bcher-kva.example"
	w := startWorld(t, servers{people: 3, latency: time.Millisecond})
	key := w.dns.key
	var zones []*dnstest.Zone
	for origin, file := range map[string]string{"acme.example.": oldZone, beta + ".": betaZone} {
		z, err := dnstest.NewZone(origin, file, systemClock{})
		if err != nil {
			t.Fatal(err)
		}
		zones = append(zones, z)
	}
	listen := func(key *dnstest.Key) string {
		s, err := dnstest.Listen("127.0.0.1:0", key, zones...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s.Addr()
	}
	w.dns = &nameServers{primary: listen(&key), secondary: listen(nil), key: key}
	w.before = w.dns.records(t)
	w.people = slices.Insert(w.people, 0, rita)
	w.source.open(rita)
	w.target.open(rita)
	w.newMX.Accept(rita)
	w.oldMX.Accept(rita)
	w.plant(imaptest.Generate(13, 40))
	f := w.migration(pace{lead: 10 * time.Second, provision: 9 * time.Second, notice: 3 * time.Second, repeat: 2 * time.Second, delta: time.Second, hold: 4 * time.Second})
	f.write("beta.mx.hcl", betaHCL)
	out := f.run(0, "plan", "-out", "plans/0001.plan")
	if !strings.Contains(out, "lists."+beta) {
		t.Errorf("the plan doesn't tell of the subdomain with mail of its own:\n%s", out)
	}
	f.approve("flip")
	f.approve("decommission")

	// Somebody changes one domain's MX before the cutover.
	mx := func(host string) {
		for _, z := range zones {
			if z.Origin() == beta+"." {
				set := z.Set(beta+".", "MX")
				set.Data = []string{"10 " + host}
				if err := z.Put(set); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	drifted := false
	c := f.start("apply", "-wait", "-json", "plans/0001.plan")
	for ev := range c.events {
		w.react(f, ev)
		if ev.Type == "phase" && ev.Phase == "notice" && !drifted {
			drifted = true
			mx("somebody.else.example.")
		}
	}
	if c.code() != exitRefused {
		t.Fatalf("apply with drift in one domain: exit code %d, want %d\n%s", c.code(), exitRefused, tail(c.output(), 3000))
	}
	for _, zone := range []string{"acme.example.", beta + "."} {
		if got := w.dns.ask(t, w.dns.primary, zone, dns.TypeMX); strings.Contains(strings.Join(got, " "), "mail.acme.example.") {
			t.Errorf("%s was flipped although the other domain has drifted: %v", zone, got)
		}
	}
	mx("mx.old.example.")
	r := w.runFor(f, 0, nil)
	if r.code != 0 {
		t.Fatalf("apply: exit code %d\n%s", r.code, tail(r.out, 4000))
	}
	w.exactlyOnce(f, "two domains")
	for typ, want := range map[uint16]string{dns.TypeMX: "10 mail.acme.example.", dns.TypeTXT: `"v=spf1 mx -all"`} {
		for _, server := range []string{w.dns.primary, w.dns.secondary} {
			if got := w.dns.ask(t, server, beta+".", typ); len(got) != 1 || !strings.HasSuffix(got[0], want) || !strings.Contains(got[0], "\t4\t") {
				t.Errorf("%s: %v, want TTL 4 and %s", server, got, want)
			}
		}
	}
	if got := w.dns.ask(t, w.dns.primary, "lists."+beta+".", dns.TypeMX); len(got) != 1 || !strings.HasSuffix(got[0], "lists.other.example.") {
		t.Errorf("the subdomain's own MX: %v", got)
	}
}
