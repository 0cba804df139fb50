package apply

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/plan/planfile"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns"
	"github.com/mxodus/mxodus/providers/dns/dnstest"
	"github.com/mxodus/mxodus/providers/smtp"
	"github.com/mxodus/mxodus/providers/smtp/smtptest"
	"github.com/mxodus/mxodus/state"
)

// flipLab is a migration whose flip is due, against three authoritative
// servers, a resolver and mail exchangers on loopback. Nothing of the DNS in it is
// the engine's own double: records are asked, signed and written over the wire.
type flipLab struct {
	*world
	t        *testing.T
	m        *plan.Migration
	p        *plan.Plan
	inv      *inventory.Inventory
	j        *memoryJournal
	dir      string
	clock    *labClock
	primary  *dnstest.Server
	second   *dnstest.Server
	third    *dnstest.Server
	master   *dnstest.Zone
	parent   *dnstest.Zone // example.
	fresh    *dnstest.Zone // new.example., the target's
	old      *dnstest.Zone // old.example.
	resolver *dnstest.Resolver
	newMX    *smtptest.Server
	oldMX    *smtptest.Server
	pages    map[string]providers.Page // by URL; others can't be reached
	zone     providers.Zone
	servers  providers.NameServers
	exchange map[string]string // host:port -> where it is
	tenant   providers.Directory
	noMXLook bool // the probe can't look at servers
	events   []Event
	lastPass passEntry // over each mailbox, two hours ago
}

// labClock is the system's clock, put forward.
type labClock struct{ ahead atomic.Int64 }

func (c *labClock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *labClock) Sleep(ctx context.Context, d time.Duration) error {
	return realClock{}.Sleep(ctx, d)
}

const labZone = `
@ 60 IN MX 10 mx.old.example.
@ 60 IN TXT "v=spf1 include:spf.old.example -all"
@ 60 IN TXT "other"
old._domainkey 300 IN CNAME old.dkim.old.example.
new._domainkey 300 IN CNAME new.dkim.new.example.
autodiscover 60 IN CNAME autodiscover.old.example.
_dmarc 300 IN TXT "v=DMARC1; p=none"
www 300 IN A 192.0.2.1
`

const labKey = "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA"

type labSecrets string

func (s labSecrets) Resolve(context.Context, plan.SecretRef, string) (providers.Secret, error) {
	return providers.Keep(string(s)), nil
}

func startFlipLab(t *testing.T) *flipLab {
	t.Helper()
	l := &flipLab{world: newWorld(), t: t, clock: &labClock{}, dir: t.TempDir(), pages: map[string]providers.Page{}, exchange: map[string]string{}}
	zone := func(origin, file string) *dnstest.Zone {
		z, err := dnstest.NewZone(origin, file, l.clock)
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	listen := func(key *dnstest.Key, zones ...*dnstest.Zone) *dnstest.Server {
		s, err := dnstest.Listen("127.0.0.1:0", key, zones...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	key := dnstest.Key{Name: "mxodus.", Secret: "bXhvZHVzIGVtYmVkZGVkIG5hbWUgc2VydmVyIGtleSE="}
	l.master, l.parent = zone("acme.example.", labZone), zone("example.", "")
	l.old = zone("old.example.", "mx 300 IN A 192.0.2.10\nspf 300 IN TXT \"v=spf1 ip4:192.0.2.0/24 -all\"\nold.dkim 300 IN TXT \""+labKey+"\"\nautodiscover 300 IN A 192.0.2.11\n")
	l.fresh = zone("new.example.", "mx 300 IN A 192.0.2.20\nmx2 300 IN A 192.0.2.21\nspf 300 IN TXT \"v=spf1 ip4:192.0.2.0/24 -all\"\nnew.dkim 300 IN TXT \""+labKey+"\"\nautodiscover 300 IN A 192.0.2.22\n")
	l.primary, l.second, l.third = listen(&key, l.master), listen(nil, l.master), listen(nil, l.master)
	others := listen(nil, l.parent, l.old, l.fresh)
	r, err := dnstest.ListenResolver("127.0.0.1:0", l.clock, l.primary.Addr(), others.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	l.resolver = r
	addresses := []string{l.primary.Addr(), l.second.Addr(), l.third.Addr()}
	l.servers = &dns.NameServers{Servers: addresses, Resolver: r.Addr(), Clock: l.clock, Timeout: 80 * time.Millisecond}
	l.zone = &dns.RFC2136{
		Server: l.primary.Addr(), Zone: "acme.example.", KeyName: key.Name, Algorithm: "hmac-sha256",
		Credentials: plan.SecretRef{Name: "tsig", Kind: "env", Ref: "X"}, Secrets: labSecrets(key.Secret), Clock: l.clock,
	}
	people := []string{"anna@acme.example", "jens@acme.example"}
	l.newMX, l.oldMX = l.exchanger(people, nil), l.exchanger(people, nil)
	l.exchange["mx.new.example:25"], l.exchange["mx.old.example:25"] = l.newMX.Addr, l.oldMX.Addr
	l.lastPass = passEntry{Mode: providers.BeforeFlip, Result: providers.PassResult{Copied: 5}}
	l.plan()
	return l
}

// acceptAll puts a server in the new MX's place that takes mail for every name.
func (l *flipLab) acceptAll() {
	s, err := smtptest.Start(smtptest.Config{AcceptAll: true})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { s.Close() })
	l.exchange["mx.new.example:25"] = s.Addr
}

func (l *flipLab) exchanger(people []string, config *tls.Config) *smtptest.Server {
	l.t.Helper()
	s, err := smtptest.Start(smtptest.Config{Addresses: people, TLS: config})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { s.Close() })
	return s
}

// plan is what is to be flipped, and the record of everything before it.
func (l *flipLab) plan() {
	m, p := fixture(l.clock.Now().Add(-time.Minute))
	quick(p)
	m.Targets[0].SMTPProbe = ""
	m.Zones = []plan.ZoneConfig{{Kind: "rfc2136", Resolver: l.resolver.Addr()}}
	steps := slices.DeleteFunc(p.Steps, func(s plan.Step) bool { return flipsRecord(s) || dnsRole(s.Address) == roleTTL })
	lower := func(typ, name string, data ...string) plan.Step {
		return plan.Step{
			Address: "dns/acme.example/" + typ + "/" + name + "/ttl", Phase: plan.LowerTTL, Action: plan.Change,
			From: lines("3600", typ, data), To: lines("60", typ, data), Settle: time.Minute, Undo: plan.Restore,
		}
	}
	flip := func(typ, name string, from, to []string) plan.Step {
		return plan.Step{Address: "dns/acme.example/" + typ + "/" + name, Phase: plan.Flip, Action: plan.Change, From: lines("60", typ, from), To: lines("60", typ, to), Gate: "flip", Undo: plan.Restore}
	}
	spf := []string{`"other"`, `"v=spf1 include:spf.old.example -all"`}
	steps = append(steps,
		lower("MX", "@", "10 mx.old.example."), lower("TXT", "@", spf...), lower("CNAME", "autodiscover", "autodiscover.old.example."),
		flip("MX", "@", []string{"10 mx.old.example."}, []string{"10 mx.new.example."}),
		flip("TXT", "@", spf, []string{`"other"`, `"v=spf1 include:spf.new.example -all"`}),
		flip("CNAME", "autodiscover", []string{"autodiscover.old.example."}, []string{"autodiscover.new.example."}),
	)
	slices.SortStableFunc(steps, func(a, b plan.Step) int { return a.Phase.Index() - b.Phase.Index() })
	p.Steps = steps
	l.m, l.p = m, p
	l.inv = &inventory.Inventory{Lineage: "L1", Domains: []inventory.Domain{{Name: "acme.example", Complete: true}}}
	for _, s := range l.master.Sets() {
		l.inv.Domains[0].Sets = append(l.inv.Domains[0].Sets, inventory.RRset{RRset: s, OldTTL: s.TTL})
	}
}

func lines(ttl, typ string, data []string) []string {
	var list []string
	for _, d := range data {
		list = append(list, ttl+" "+typ+" "+d)
	}
	slices.Sort(list)
	return list
}

// prepare journals what is done before the flip; it is called when a scenario has
// changed the plan as it wants.
func (l *flipLab) prepare() {
	l.t.Helper()
	if _, err := planfile.Encode(l.p); err != nil {
		l.t.Fatal(err)
	}
	l.j = &memoryJournal{budget: -1}
	r := NewRecord(l.p, nil)
	at := l.clock.Now().Add(-2 * time.Hour)
	put := func(entries ...state.Entry) {
		for _, e := range entries {
			e.At, e.Plan = at, l.p.Digest
			if key, ok := r.keys[e.Step]; ok {
				e.Data = withKey(e.Data, key)
			}
			if err := l.j.Append(l.t.Context(), e); err != nil {
				l.t.Fatal(err)
			}
		}
	}
	put(runEntryOf(l.p), runEntry(evPreflight, entryData{}))
	for _, s := range l.p.Steps {
		switch {
		case isPass(s) && s.Phase == plan.BulkCopy:
			l.lastPass.Began = at
			b, err := json.Marshal(l.lastPass)
			if err != nil {
				l.t.Fatal(err)
			}
			put(state.Entry{Step: s.Address, Event: evPass, Data: b})
		case s.Phase.Before(plan.Flip):
			put(stepEntry(s.Address, evApplied, entryData{}), stepEntry(s.Address, evSeen, entryData{}), stepEntry(s.Address, evDone, entryData{}))
		}
	}
	for _, p := range plan.Phases() {
		if p.Before(plan.Flip) {
			put(runEntry(evPhase, entryData{Phase: p}))
		}
	}
	agree(l.t, l.dir, l.p, "flip")
}

// run is one call of apply.
func (l *flipLab) run() Outcome {
	l.t.Helper()
	e := l.engine()
	out, err := e.Run(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

func (l *flipLab) engine() *Engine {
	e := engine(l.m, l.p, l.world, l.j, l.dir)
	e.Systems, e.Clock, e.Inventory, e.Wait = l, l.clock, l.inv, false
	e.Events = func(ev Event) { l.events = append(l.events, ev) }
	return e
}

// updates are the writes that reached the primary.
func (l *flipLab) updates() int {
	_, n := l.primary.Counts()
	return n
}

func (l *flipLab) put(sets ...plan.RRset) {
	l.t.Helper()
	l.putIn(l.master, sets...)
}

func (l *flipLab) putIn(z *dnstest.Zone, sets ...plan.RRset) {
	l.t.Helper()
	if err := z.Put(sets...); err != nil {
		l.t.Fatal(err)
	}
}

func set(name, typ string, ttl uint32, data ...string) plan.RRset {
	return plan.RRset{Name: name, Type: typ, TTL: ttl, Data: data}
}

// flipTo changes what the flip publishes.
func (l *flipLab) flipTo(typ, name string, data ...string) {
	for i, s := range l.p.Steps {
		if s.Address == "dns/acme.example/"+typ+"/"+name {
			l.p.Steps[i].To = lines("60", typ, data)
			if len(data) == 0 {
				l.p.Steps[i].Action = plan.Delete
			}
			return
		}
	}
	s := plan.Step{Address: "dns/acme.example/" + typ + "/" + name, Phase: plan.Flip, Action: plan.Change, To: lines("60", typ, data), Gate: "flip", Undo: plan.Restore}
	if name == "@" {
		name = ""
	}
	now := l.master.Set(strings.TrimPrefix(name+".acme.example.", "."), typ)
	s.From = now.Lines()
	if !now.Exists() {
		s.Action = plan.Create
	}
	i := slices.IndexFunc(l.p.Steps, flipsRecord)
	l.p.Steps = slices.Insert(l.p.Steps, i, s)
}

func (l *flipLab) Zone(string) (providers.Zone, error)               { return l.zone, nil }
func (l *flipLab) NameServers(string) (providers.NameServers, error) { return l.servers, nil }
func (l *flipLab) Web(string) (providers.Web, error)                 { return labWeb{l}, nil }
func (l *flipLab) RecipientProbe() providers.RecipientProbe {
	probe := &smtp.Probe{Timeout: 400 * time.Millisecond, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		to, ok := l.exchange[address]
		if strings.HasPrefix(address, "127.0.0.1:") {
			to, ok = address, true
		}
		if !ok {
			return nil, errors.New("connection refused")
		}
		return new(net.Dialer).DialContext(ctx, network, to)
	}}
	if l.noMXLook {
		return struct{ providers.RecipientProbe }{probe}
	}
	return probe
}

func (l *flipLab) Directory(string) (providers.Directory, bool) { return l.tenant, l.tenant != nil }

// labTenant is a directory that only tells.
type labTenant struct {
	providers.Directory
	facts providers.DirectoryFacts
	err   error
}

func (d *labTenant) Observe(context.Context, providers.DirectoryQuery) (providers.DirectoryFacts, error) {
	return d.facts, d.err
}

// inTenant puts the target's people into a directory.
func inTenant(change func(*labTenant)) func(*flipLab) {
	return func(l *flipLab) {
		d := &labTenant{facts: providers.DirectoryFacts{Directory: inventory.Directory{Domains: []inventory.DirectoryDomain{{Name: "acme.example", Verified: true}}}, Pending: map[string]string{}}}
		for i, m := range l.m.Mailboxes {
			l.m.Mailboxes[i].License = "BASIC"
			d.facts.Mailboxes = append(d.facts.Mailboxes, inventory.Mailbox{Address: m.Target, Exists: true, Account: inventory.Account{Licenses: []string{"BASIC"}}})
		}
		change(d)
		l.tenant = d
	}
}

type labWeb struct{ l *flipLab }

func (w labWeb) Get(_ context.Context, url string) (providers.Page, error) {
	if page, ok := w.l.pages[url]; ok {
		return page, nil
	}
	return providers.Page{}, &providers.Error{Op: "fetch", Subject: url, Reason: providers.Unreachable}
}

// policy is an MTA-STS policy with its record.
func (l *flipLab) policy(id, mode string, age int, mx ...string) {
	body := fmt.Sprintf("version: STSv1\nmode: %s\nmax_age: %d\n", mode, age)
	for _, m := range mx {
		body += "mx: " + m + "\n"
	}
	l.pages["https://mta-sts.acme.example/.well-known/mta-sts.txt"] = providers.Page{Status: 200, Type: "text/plain", Body: body}
	l.put(set("_mta-sts.acme.example.", "TXT", 60, `"v=STSv1; id=`+id+`"`), set("mta-sts.acme.example.", "A", 60, "192.0.2.44"))
}

// certificate is a self-signed one for names.
func certificate(t *testing.T, names ...string) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cmp.Or(names...)}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func refusedBy(out Outcome) []string {
	var list []string
	for _, a := range out.Refused {
		list = append(list, a.Check.Name)
	}
	slices.Sort(list)
	return slices.Compact(list)
}
