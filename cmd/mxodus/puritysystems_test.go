package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers/cloudflare/cloudflaretest"
	"github.com/mxodus/mxodus/providers/digitalocean/digitaloceantest"
	"github.com/mxodus/mxodus/providers/dns/hosted/hostedtest"
	"github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/google_workspace/googletest"
	"github.com/mxodus/mxodus/providers/hetzner/hetznertest"
	"github.com/mxodus/mxodus/providers/ionos/ionostest"
	"github.com/mxodus/mxodus/providers/microsoft365/microsoft365test"
	"github.com/mxodus/mxodus/providers/powerdns/powerdnstest"
)

// dnsWire stands before a name server, on UDP and TCP, and writes down the opcode of every message.
type dnsWire struct {
	recorder
	addr string
}

func recordDNS(t *testing.T, server string) *dnsWire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	packets, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	w := &dnsWire{addr: l.Addr().String()}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); packets.Close(); all.Wait() })
	all.Go(func() {
		buf := make([]byte, 65535)
		for {
			n, from, err := packets.ReadFrom(buf)
			if err != nil {
				return
			}
			w.note(buf[:n])
			m := append([]byte(nil), buf[:n]...)
			all.Go(func() {
				c, err := net.Dial("udp", server)
				if err != nil {
					return
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(3 * time.Second))
				answer := make([]byte, 65535)
				if _, err = c.Write(m); err == nil {
					if n, err = c.Read(answer); err == nil {
						packets.WriteTo(answer[:n], from)
					}
				}
			})
		}
	})
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				c, err := net.Dial("tcp", server)
				if err != nil {
					return
				}
				defer c.Close()
				all.Go(func() { _, _ = io.Copy(conn, c); conn.Close() })
				for {
					head := make([]byte, 2)
					if _, err := io.ReadFull(conn, head); err != nil {
						return
					}
					m := make([]byte, binary.BigEndian.Uint16(head))
					if _, err := io.ReadFull(conn, m); err != nil {
						return
					}
					w.note(m)
					if _, err := c.Write(append(head, m...)); err != nil {
						return
					}
				}
			})
		}
	})
	return w
}

func (w *dnsWire) note(m []byte) {
	op := "nothing"
	if len(m) > 2 {
		op = dns.OpcodeToString[int(m[2]>>3)&0xF]
	}
	w.mu.Lock()
	w.lines = append(w.lines, op)
	w.mu.Unlock()
}

// readingHTTP are requests that change nothing: what is gotten; tokens, which are asked for by POST (RFC 6749 §3.2), as
// Exchange's cmdlets are, of which those that begin with Get- read; and batches of Graph that hold nothing else.
var readingHTTP = regexp.MustCompile(`^((GET|HEAD) \S+|POST (/login/[^/]+/oauth2/v2\.0/token|/token)|POST /exchange/adminapi/beta/[^/]+/InvokeCommand Get-\w+|POST /graph/v1\.0/\$batch( \[GET [^\]]+\])+)$`)

// TestReadingHTTP: the expression finds what it has to.
func TestReadingHTTP(t *testing.T) {
	for line, reads := range map[string]bool{
		"GET /graph/v1.0/users": true, "POST /login/acme/oauth2/v2.0/token": true, "POST /exchange/adminapi/beta/acme/InvokeCommand Get-Mailbox": true,
		"POST /graph/v1.0/$batch [GET /users/a] [GET /users/b]": true, "POST /graph/v1.0/$batch": false, "POST /graph/v1.0/$batch [GET /users/a] [PATCH /users/b]": false,
		"POST /exchange/adminapi/beta/acme/InvokeCommand Set-Mailbox": false, "POST /exchange/adminapi/beta/acme/InvokeCommand": false, "POST /graph/v1.0/users": false,
		"PATCH /graph/v1.0/users/a": false, "PUT /v1/zones/1/records/2": false, "DELETE /v1/zones/1/records/2": false, "POST /v1/zones/1/records": false,
	} {
		if readingHTTP.MatchString(line) != reads {
			t.Errorf("%q: reads should be %v", line, reads)
		}
	}
}

// pureWorld is a world whose systems are all listened to.
type pureWorld struct {
	*plainWorld
	imap *recorder
	dns  *dnsWire
	http *front
	more func() []string // commands at another mail server, since the beginning
	seen int
	at   int // of more
}

func startPure(t *testing.T) *pureWorld {
	t.Helper()
	w := &pureWorld{plainWorld: startPlain(t)}
	w.imap = w.record
	w.dns = recordDNS(t, w.world.dns.primary)
	for name, text := range w.blocks {
		w.blocks[name] = strings.ReplaceAll(text, w.world.dns.primary, w.dns.addr)
	}
	return w
}

// took is what has been sent since the last call, and which of it changes something.
func (w *pureWorld) took() (all int, changes []string) {
	note := func(system string, lines []string, changing func(string) bool) {
		all += len(lines)
		for _, line := range lines {
			if changing(line) {
				changes = append(changes, system+": "+line)
			}
		}
	}
	note("IMAP", w.imap.take(), mutating.MatchString)
	note("DNS", w.dns.take(), func(line string) bool { return line != "QUERY" })
	if w.http != nil {
		note("HTTP", w.http.take(), func(line string) bool { return !readingHTTP.MatchString(line) })
	}
	if w.more != nil {
		lines := w.more()
		note("IMAP", lines[w.at:], func(line string) bool { return mutating.MatchString("x " + line) })
		w.at = len(lines)
	}
	if n := len(w.oldMX.Messages()) + len(w.newMX.Messages()); n > 0 {
		changes = append(changes, fmt.Sprintf("SMTP: %d messages were handed in", n))
	}
	return all, changes
}

// asking are the reading commands that ask systems, offline those that shouldn't.
var (
	asking = [][]string{
		{"doctor", "-json"}, {"discover"}, {"plan", "-out", "plans/0001.plan"}, {"check"}, {"check", "dns"}, {"manifest", "verify"}, {"approve", "flip", "-by", "kerstin@acme.example"},
	}
	offline = [][]string{
		{"verify", "plans/0001.plan"}, {"status"}, {"status", "-json"}, {"status", "-metrics"}, {"report"}, {"rollback", "-to", "provision", "-out", "plans/back.plan"}, {"simulate"},
		{"show", "plans/0001.plan"}, {"show", "-json", "plans/0001.plan"}, {"show", "-markdown", "plans/0001.plan"}, {"show", "-html", "plans/0001.plan"}, {"validate"}, {"fmt", "-check"},
		{"simulate", "-assume", "mx_ttl=86400"}, {"report", "-html", "report.html"}, {"manifest", "export"}, {"manifest", "find", "x@y.example"}, {"state", "list"},
		{"explain", "5"}, {"providers"}, {"version"}, {"plan", "-offline"}, {"discover", "-generate"}, {"plan", "-detailed-exitcode"}, {"check", "-json"}, {"check", "dns", "acme.example"},
	}
)

// read runs reading commands, and wants nothing else to be sent.
func (w *pureWorld) read(f *folder, commands ...[]string) {
	w.t.Helper()
	w.took()
	for _, args := range commands {
		f.any(args...)
		n, changes := w.took()
		w.seen += n
		for _, line := range changes {
			w.t.Errorf("mxodus %s sent %s", strings.Join(args, " "), line)
		}
	}
}

// page has serve show its page.
func (w *pureWorld) page(f *folder) {
	w.t.Helper()
	c := f.start("serve", "-listen", "127.0.0.1:0", "-json")
	url := serveURL(w.t, c)
	for _, path := range []string{"/", "/live", "/status.json"} {
		fetchPage(w.t, url+path)
	}
	time.Sleep(300 * time.Millisecond) // its looks at the name servers
	c.kill()
	n, changes := w.took()
	w.seen += n
	for _, line := range changes {
		w.t.Errorf("mxodus serve sent %s", line)
	}
}

// end is the control: apply does change something, and is seen to.
func (w *pureWorld) end(f *folder, systems ...string) {
	w.t.Helper()
	c := f.start("apply", "plans/0001.plan")
	missing := slices.Clone(systems)
	var all []string
	for running := true; running && len(missing) > 0; {
		select {
		case <-c.ended:
			running = false
		case <-time.After(50 * time.Millisecond):
		}
		_, changes := w.took()
		all = append(all, changes...)
		missing = slices.DeleteFunc(missing, func(system string) bool {
			return slices.ContainsFunc(changes, func(line string) bool { return strings.HasPrefix(line, system+": ") })
		})
	}
	if len(missing) > 0 {
		w.t.Errorf("apply changed nothing by %v, or nobody sees it: %q", missing, all)
	}
	// A host's records never come to be served by the world's own name servers: that would be waited for.
	select {
	case <-c.ended:
	case <-time.After(2 * time.Second):
		_ = c.cmd.Process.Signal(os.Interrupt)
	}
	if code := c.code(); code == exitBug || code < 0 {
		w.t.Errorf("apply: exit code %d\n%s", code, tail(c.output(), 3000))
	}
	w.took()
	w.read(f, append(slices.Clone(asking), offline[:6]...)...)
	w.page(f)
	if w.seen < 100 {
		w.t.Errorf("only %d commands were recorded", w.seen)
	}
	faults.Count(w.t, "commands recorded", w.seen)
	w.t.Logf("%d commands of reading", w.seen)
}

// TestReadingCommandsOnlyReadSystems: reading commands send no verb that changes anything to any system: no IMAP command,
// no DNS update, no request of HTTP, no mail.
func TestReadingCommandsOnlyReadSystems(t *testing.T) {
	t.Parallel()
	t.Run("RFC 2136", func(t *testing.T) {
		t.Parallel()
		w := startPure(t)
		f := w.folder(nil, nil)
		w.read(f, append(slices.Clone(asking), offline...)...)
		w.end(f, "DNS", "IMAP")
	})
	for kind, start := range zoneDoubles(t) {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := startPure(t)
			url, secret, store := start("acme.example.")
			store.Put(plan.RRset{Name: "acme.example.", Type: "MX", TTL: 3600, Data: []string{"10 mx.old.example.", "20 mx2.old.example."}})
			store.Put(plan.RRset{Name: "mail.acme.example.", Type: "A", TTL: 3600, Data: []string{"192.0.2.25"}})
			w.http = startFront(t, url)
			f := w.folder(map[string]string{"dns": fmt.Sprintf("dns \"%s\" {\n  credentials = secret.zone\n  endpoint = \"%s\"\n  authoritative = [\"%s\"]\n  resolver = \"%s\"\n}\n\nsecret \"zone\" {\n  env = \"ZONE\"\n}\n",
				kind, w.http.URL, w.dns.addr, w.dns.addr)}, nil, "ZONE="+secret)
			w.read(f, asking...)
			w.end(f, "HTTP", "IMAP")
		})
	}
	t.Run("Microsoft 365", func(t *testing.T) {
		t.Parallel()
		w := startPure(t)
		app := microsoft365test.Application()
		tenant := microsoft365test.New(app)
		t.Cleanup(tenant.Close)
		tenant.MX = "mail.acme.example"
		tenant.Domains = append(tenant.Domains, &microsoft365test.Domain{Name: "acme.example", Verified: true, Services: []string{"Email"}, MX: "mail.acme.example", DKIM: true})
		tenant.AddUser("anna@acme.example", "Anna")
		boxes, err := tenant.StartIMAP(microsoft365test.IMAPTrouble{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { boxes.Close() })
		w.http, w.more = startFront(t, tenant.URL), boxes.Commands
		f := w.folder(map[string]string{"target": fmt.Sprintf("target \"microsoft365\" {\n  tenant = \"acme.onmicrosoft.com\"\n  client_id = \"%s\"\n  credentials = secret.app\n  ca_file = \"new.pem\"\n  smtp_probe = \"%s\"\n  endpoints {\n    login = \"%s/login\"\n    graph = \"%s/graph\"\n    exchange = \"%s/exchange\"\n    imap = \"localhost:%d\"\n  }\n}\n\nsecret \"app\" {\n  env = \"APP\"\n}\n",
			app.ClientID, w.newMX.Addr, w.http.URL, w.http.URL, w.http.URL, boxes.Port()),
			"more": "mailbox \"new\" {\n  source = \"jens@acme.example\"\n  target = \"jens@acme.example\"\n  display_name = \"Jens\"\n  license = \"O365_BUSINESS_PREMIUM\"\n  usage_location = \"DE\"\n}\n\nalias \"info\" {\n  address = \"info@acme.example\"\n  deliver = mailbox.anna\n}\n"},
			map[string]string{"new.pem": string(boxes.Authority().PEM())}, "APP="+app.Secret)
		w.read(f, asking...)
		w.end(f, "HTTP", "DNS")
	})
	t.Run("Google", func(t *testing.T) {
		t.Parallel()
		w := startPure(t)
		g, err := googletest.New(googletest.Trouble{}, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { g.Close() })
		g.AddAccount("anna@acme.example")
		w.more = g.Commands
		for i := range 3 {
			w.source.deliver("anna@acme.example", fmt.Appendf(nil, "From: a@b.example\r\nSubject: %d\r\n\r\nx\r\n", i), time.Now())
		}
		f := w.folder(map[string]string{"target": fmt.Sprintf("target \"google_workspace\" {\n  credentials = secret.account\n  ca_file = \"new.pem\"\n  smtp_probe = \"%s\"\n  endpoints {\n    token = \"%s\"\n    imap = \"localhost:%d\"\n  }\n}\n\nsecret \"account\" {\n  file = \"secrets/account.json\"\n}\n",
			w.newMX.Addr, g.TokenURL(), g.Port())}, map[string]string{"secrets/account.json": g.Key(), "new.pem": string(g.Authority().PEM())})
		w.read(f, asking...)
		w.end(f, "IMAP", "DNS")
	})
}

// zoneDoubles start a double of each host of zones with an HTTP API, with an empty zone.
func zoneDoubles(t *testing.T) map[string]func(zone string) (url, key string, store *hostedtest.Store) {
	return map[string]func(zone string) (url, key string, store *hostedtest.Store){
		"cloudflare": func(z string) (string, string, *hostedtest.Store) {
			s := cloudflaretest.Start(t, z)
			return s.URL, cloudflaretest.Token, s.Store
		},
		"digitalocean": func(z string) (string, string, *hostedtest.Store) {
			s := digitaloceantest.Start(t, z)
			return s.URL, digitaloceantest.Token, s.Store
		},
		"hetzner": func(z string) (string, string, *hostedtest.Store) {
			s := hetznertest.Start(t, z)
			return s.URL, hetznertest.Token, s.Store
		},
		"ionos": func(z string) (string, string, *hostedtest.Store) {
			s := ionostest.Start(t, z)
			return s.URL, ionostest.Key, s.Store
		},
		"powerdns": func(z string) (string, string, *hostedtest.Store) {
			s := powerdnstest.Start(t, z)
			return s.URL, powerdnstest.Key, s.Store
		},
	}
}
