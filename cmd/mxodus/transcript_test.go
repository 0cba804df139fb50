package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// transcriptZone has the TTL of a minute, so that all of it can be waited out.
const transcriptZone = `$TTL 60
@             MX    10 mx.old.example.
@             TXT   "v=spf1 include:spf.old.example ~all"
autodiscover  CNAME autodiscover.old.example.
mail          A     127.0.0.1
www           A     192.0.2.80
`

// TestTranscript runs a flip on two BINDs with the TTLs 60 → 5 → flip → 60, and
// another one that is taken back, and writes what a person sees to the file that
// MXODUS_TRANSCRIPT names. docs/dns.md shows it. It takes about four minutes.
func TestTranscript(t *testing.T) {
	path := os.Getenv("MXODUS_TRANSCRIPT")
	if path == "" {
		t.Skip("MXODUS_TRANSCRIPT names no file to write to")
	}
	var b strings.Builder
	for _, back := range []bool{false, true} {
		w := startWorld(t, servers{people: 1, latency: time.Millisecond})
		w.dns = bindServers(t, transcriptZone)
		w.target.open(w.people[0])
		w.newMX.Accept(w.people[0])
		w.newMX.Accept("info@acme.example", "team@acme.example")
		w.plant(imaptest.Generate(5, 8))
		f := w.migration(pace{lead: 75 * time.Second, provision: 70 * time.Second, notice: 20 * time.Second, repeat: 30 * time.Second, delta: 2 * time.Second, hold: 40 * time.Second})
		f.edit("acme.mx.hcl", "during  = 2", "during  = 5")
		f.edit("acme.mx.hcl", "restore = 4", "restore = 60")
		say := func(args ...string) {
			out := f.start(args...).output()
			fmt.Fprintf(&b, "$ mxodus %s\n%s\n", strings.Join(args, " "), out)
		}
		dig := func() {
			for _, server := range []string{w.dns.primary, w.dns.secondary} {
				for _, q := range []struct {
					name string
					typ  uint16
				}{{"acme.example.", dns.TypeMX}, {"acme.example.", dns.TypeTXT}, {"autodiscover.acme.example.", dns.TypeCNAME}} {
					for _, line := range w.dns.ask(t, server, q.name, q.typ) {
						fmt.Fprintf(&b, "%-16s %s\n", server, strings.Join(strings.Fields(line), " "))
					}
				}
			}
			b.WriteString("\n")
		}
		heading := map[bool]string{false: "TTL 60 → 5 → flip → 60", true: "the flip taken back"}[back]
		fmt.Fprintf(&b, "=== %s\n\n", heading)
		dig()
		say("plan", "-out", "plans/0001.plan")
		say("approve", "flip", "-by", "kerstin@acme.example")
		say("apply", "-wait", "-max-runtime", "20s", "plans/0001.plan")
		dig()
		say("apply", "-wait", "-max-runtime", map[bool]string{false: "70s", true: "58s"}[back], "plans/0001.plan")
		dig()
		say("status")
		if back {
			say("rollback", "-to", "notice", "-out", "plans/0002.plan")
			say("apply", "-wait", "plans/0002.plan")
		} else {
			say("check", "-json", "name_servers_agree")
			say("apply", "-wait", "-max-runtime", "25s", "plans/0001.plan")
		}
		dig()
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
