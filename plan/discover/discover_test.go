package discover

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/providers"
)

// world is every system, in memory. Whatever would change one is not there: a
// call of it ends the test.
type world struct {
	sources, targets map[string][]providers.Folder // by address
	refuse           map[string]error              // by "source ADDRESS", "target ADDRESS", "recipients ADDRESS"
	recipients       map[string]map[string]int
	zone             []plan.RRset
	listable         bool
	servers          map[string]uint32 // server -> TTL it adds to every record
	dead             string            // server that doesn't answer
	negative         uint32
	known            map[string]bool
	takesAll         bool

	mu     sync.Mutex
	asked  []string
	now    atomic.Int32
	most   atomic.Int32
	lookup []string
}

type systems struct {
	w                *world
	providers.Probes // discover sends nothing
}

func (s systems) Source(string) (providers.MailHost, error)         { return host{s.w, "source"}, nil }
func (s systems) Target(string) (providers.MailHost, error)         { return host{s.w, "target"}, nil }
func (s systems) Zone(string) (providers.Zone, error)               { return zone{w: s.w}, nil }
func (s systems) NameServers(string) (providers.NameServers, error) { return servers{w: s.w}, nil }
func (s systems) RecipientProbe() providers.RecipientProbe          { return prober{s.w} }
func (s systems) Directory(string) (providers.Directory, bool)      { return nil, false }
func (s systems) Copier() providers.Copier                          { panic("discover copies") }
func (s systems) Notifier(string) (providers.Notifier, error)       { panic("discover sends") }

type host struct {
	w    *world
	side string
}

func (h host) Login(context.Context, providers.Account) error { return nil }

func (h host) Folders(_ context.Context, a providers.Account) ([]providers.Folder, error) {
	n := h.w.now.Add(1)
	defer h.w.now.Add(-1)
	for most := h.w.most.Load(); n > most && !h.w.most.CompareAndSwap(most, n); most = h.w.most.Load() {
	}
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.w.asked = append(h.w.asked, h.side+" "+a.Address)
	if err := h.w.refuse[h.side+" "+a.Address]; err != nil {
		return nil, err
	}
	if h.side == "source" {
		return h.w.sources[a.Address], nil
	}
	return h.w.targets[a.Address], nil
}

func (h host) Recipients(_ context.Context, a providers.Account, domains []string, limit int) (map[string]int, error) {
	if h.side != "source" || limit <= 0 || !slices.Equal(domains, []string{"lab.example"}) {
		return nil, fmt.Errorf("asked %s for %q, %d", h.side, domains, limit)
	}
	return h.w.recipients[a.Address], h.w.refuse["recipients "+a.Address]
}

type zone struct {
	providers.Zone // Update would be a nil call
	w              *world
}

func (z zone) Features() providers.ZoneFeatures { return providers.ZoneFeatures{} }

func (z zone) Records(context.Context) ([]plan.RRset, bool, error) {
	if !z.w.listable {
		return nil, false, nil
	}
	return z.w.zone, true, nil
}

func (z zone) Lookup(_ context.Context, name, typ string) (plan.RRset, error) {
	z.w.lookup = append(z.w.lookup, name+" "+typ)
	return z.w.set(name, typ), nil
}

func (w *world) set(name, typ string) plan.RRset {
	for _, s := range w.zone {
		if s.Name == name && s.Type == typ {
			return s
		}
	}
	return plan.RRset{Name: name, Type: typ}
}

type servers struct {
	providers.NameServers // Resolve would be a nil call: it would leave a trace in caches
	w                     *world
}

func (s servers) Authoritative(context.Context, string) ([]string, error) {
	return slices.Sorted(maps.Keys(s.w.servers)), nil
}

func (s servers) Resolve(context.Context, string, string) (providers.Answer, error) {
	return providers.Answer{}, errors.New("no resolver is asked here")
}

func (s servers) Ask(_ context.Context, server, name, typ string) (providers.Answer, error) {
	if server == s.w.dead {
		return providers.Answer{}, &providers.Error{Op: "ask", Subject: server, Reason: providers.Unreachable}
	}
	a := providers.Answer{Server: server, Set: s.w.set(name, typ), Authoritative: true, Rcode: "NOERROR"}
	if a.Set.Exists() {
		a.Set.TTL += s.w.servers[server]
	} else {
		a.Rcode, a.NegativeTTL = "NXDOMAIN", s.w.negative
	}
	return a, nil
}

type prober struct{ w *world }

func (p prober) Accepts(_ context.Context, _, address string) (bool, string, error) {
	return p.w.takesAll || p.w.known[address], "", nil
}

func lab() (*plan.Migration, *world) {
	m := &plan.Migration{
		Name:    "lab",
		Sources: []plan.Host{{Kind: "imap", Name: "old"}},
		Targets: []plan.Host{{Kind: "imap", Name: "new", SMTPProbe: "127.0.0.1:2525"}},
		Zones:   []plan.ZoneConfig{{Kind: "rfc2136", Name: "lab"}},
		Mailboxes: []plan.Mailbox{
			{Source: "anna@lab.example", Target: "anna@lab.example", From: "imap.old", On: "imap.new"},
			{Source: "jens@lab.example", Target: "jens@lab.example", From: "imap.old", On: "imap.new"},
		},
		Aliases: []plan.Alias{{Address: "sales@lab.example", Deliver: "anna@lab.example", On: "imap.new"}, {Address: "new@lab.example", Deliver: "anna@lab.example", On: "imap.new"}},
		Domains: []plan.Domain{{Name: "lab.example", Zone: "rfc2136.lab", Records: []plan.Record{
			{Type: "MX", Name: "@", At: plan.Flip, Values: []string{"10 mx.new.example."}},
			{Type: "CNAME", Name: "Autodiscover", At: plan.Flip, Values: []string{"w.new.example."}},
		}}},
	}
	w := &world{
		sources: map[string][]providers.Folder{
			"anna@lab.example": {{Name: "INBOX", UIDValidity: 7, Messages: 10, Octets: 1000, Largest: 300, Selectable: true}, {Name: "Sent", UIDValidity: 8, Messages: 2, Octets: 50, Largest: 40, SpecialUse: "\\Sent", Selectable: true}, {Name: "Level", Selectable: false}},
			"jens@lab.example": {{Name: "INBOX", UIDValidity: 9, Messages: 3, Octets: -1, Largest: -1, Selectable: true}},
		},
		targets:    map[string][]providers.Folder{"anna@lab.example": {{Name: "INBOX", UIDValidity: 1, Selectable: true}}},
		refuse:     map[string]error{"target jens@lab.example": refusal(providers.Authentication)},
		recipients: map[string]map[string]int{"anna@lab.example": {"Sales@lab.example": 3, "anna@lab.example": 9}, "jens@lab.example": {"sales@lab.example": 1}},
		listable:   true, negative: 900, servers: map[string]uint32{"192.0.2.1:53": 0, "192.0.2.2:53": 600},
		known: map[string]bool{"sales@lab.example": true},
		zone: []plan.RRset{
			{Name: "lab.example.", Type: "MX", TTL: 3600, Data: []string{"10 mx.old.example."}},
			{Name: "autodiscover.lab.example.", Type: "A", TTL: 600, Data: []string{"192.0.2.9"}},
			{Name: "www.lab.example.", Type: "A", TTL: 60, Data: []string{"192.0.2.8"}},
		},
	}
	return m, w
}

func refusal(r providers.Reason) error {
	return &providers.Error{Op: "log in", Subject: "imap.example:993", Reason: r, Server: "NO go away", Remedy: "make an app password"}
}

func observe(t *testing.T, m *plan.Migration, w *world, prev *inventory.Inventory) (*inventory.Inventory, *inventory.Estimates, []string, error) {
	t.Helper()
	var said []string
	inv, est, err := Observe(context.Background(), m, systems{w: w}, prev, func() string { return "fresh" }, func(s string) { said = append(said, s) })
	return inv, est, said, err
}

func TestObserve(t *testing.T) {
	m, w := lab()
	inv, est, _, err := observe(t, m, w, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `# mxodus inventory, format 1
lineage = "fresh"
recipients = [
  "anna@lab.example",
  "sales@lab.example",
]

domain "lab.example" {
  complete     = true
  negative_ttl = 900
  servers = [
    "192.0.2.1:53",
    "192.0.2.2:53",
  ]

  rrset "autodiscover.lab.example." "A" {
    old_ttl = 1200
    records = ["600 A 192.0.2.9"]
  }

  rrset "lab.example." "MX" {
    old_ttl = 4200
    records = ["3600 MX 10 mx.old.example."]
  }

  rrset "www.lab.example." "A" {
    records = ["60 A 192.0.2.8"]
  }
}

source "imap.old" "anna@lab.example" {
  folders = {
    "INBOX" = "7"
    "Sent" = "8 \\Sent"
  }
}

source "imap.old" "jens@lab.example" {
  folders = {
    "INBOX" = "9"
  }
}

target "imap.new" "anna@lab.example" {
  exists = true
  folders = {
    "INBOX" = "1"
  }
}

target "imap.new" "jens@lab.example" {
  exists = false
}

address "imap.new" "new@lab.example" {
  exists = false
}

address "imap.new" "sales@lab.example" {
  exists = true
}
`
	if got := string(inv.Encode()); got != want {
		t.Errorf("got\n%s", got)
	}
	if est.Mailboxes["anna@lab.example"] != (inventory.MailboxEstimate{Messages: 12, Octets: 1050, Largest: 300}) ||
		est.Mailboxes["jens@lab.example"] != (inventory.MailboxEstimate{Messages: 3, Octets: -1, Largest: -1}) || est.Recipients["sales@lab.example"] != 4 {
		t.Errorf("estimates: %+v", est)
	}
}

// Every mailbox that fails is named, with the server's words and the remedy.
func TestAllFailuresAreNamed(t *testing.T) {
	m, w := lab()
	w.refuse = map[string]error{
		"source anna@lab.example": refusal(providers.Authentication), "recipients jens@lab.example": errors.New("connection reset"),
		"target jens@lab.example": refusal(providers.Unreachable),
	}
	inv, _, _, err := observe(t, m, w, nil)
	if inv != nil || err == nil {
		t.Fatalf("got %v, %v", inv, err)
	}
	failed, ok := errors.AsType[*FailedError](err)
	if !ok || len(failed.Failures) != 3 || providers.ReasonOf(err) == "" {
		t.Fatalf("got %#v", err)
	}
	for _, want := range []string{"3 could not be observed", "source anna@lab.example at imap.old", "NO go away", "make an app password", "source jens@lab.example at imap.old: search for recipients: connection reset", "target jens@lab.example at imap.new"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %s", want, err)
		}
	}
}

// What is known from before is kept: the lineage, TTLs that caches may hold, closed mailboxes.
func TestObserveAgain(t *testing.T) {
	m, w := lab()
	first, _, _, err := observe(t, m, w, nil)
	if err != nil {
		t.Fatal(err)
	}
	first.Lineage = "kept"
	first.Close(map[string]bool{"jens@lab.example": true})
	w.zone[0].TTL, w.servers = 300, map[string]uint32{"192.0.2.1:53": 0}
	w.zone[1].Data = []string{"192.0.2.99"}
	w.refuse["source jens@lab.example"] = refusal(providers.Authentication)
	w.asked = nil
	inv, _, _, err := observe(t, m, w, first)
	if err != nil {
		t.Fatal(err)
	}
	d, _ := inv.Domain("lab.example")
	if mx := d.Set("lab.example.", "MX"); mx.TTL != 300 || mx.OldTTL != 4200 {
		t.Errorf("the MX: %+v", mx)
	}
	if a := d.Set("autodiscover.lab.example.", "A"); a.TTL != 600 || a.OldTTL != 600 {
		t.Errorf("other data have no old TTL: %+v", a)
	}
	if jens, ok := inv.Source("imap.old", "jens@lab.example"); !ok || !jens.Closed || len(jens.Folders) != 1 {
		t.Errorf("the closed mailbox: %+v", jens)
	}
	if inv.Lineage != "kept" || slices.Contains(w.asked, "source jens@lab.example") {
		t.Errorf("lineage %q, asked %q", inv.Lineage, w.asked)
	}
	again, _, _, err := observe(t, m, w, inv)
	if err != nil || again.Digest() != inv.Digest() {
		t.Errorf("nothing has changed, and the digest has: %v", err)
	}
}

// Where a zone can't be listed only what matters is looked up.
func TestZoneThatCannotBeListed(t *testing.T) {
	m, w := lab()
	w.listable = false
	inv, _, _, err := observe(t, m, w, nil)
	if err != nil {
		t.Fatal(err)
	}
	d, _ := inv.Domain("lab.example")
	if d.Complete || len(d.Sets) != 2 || !d.Set("autodiscover.lab.example.", "A").Exists() {
		t.Errorf("got %+v", d)
	}
	for _, want := range []string{"lab.example. MX", "lab.example. TXT", "autodiscover.lab.example. AAAA", "autodiscover.lab.example. CNAME"} {
		if !slices.Contains(w.lookup, want) {
			t.Errorf("%s was not looked up: %q", want, w.lookup)
		}
	}
	if slices.ContainsFunc(w.lookup, func(s string) bool { return strings.HasPrefix(s, "www.") }) {
		t.Errorf("looked up %q", w.lookup)
	}
}

// A silent name server, and a mail server that takes everything, are told about.
func TestWarnings(t *testing.T) {
	m, w := lab()
	w.dead, w.takesAll = "192.0.2.2:53", true
	inv, _, said, err := observe(t, m, w, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(said, "\n")
	if !strings.Contains(all, "warning: 192.0.2.2:53 did not answer for lab.example. MX") || !strings.Contains(all, "takes mail for every name") || !strings.Contains(all, "jens@lab.example can't log in at imap.new") {
		t.Errorf("said\n%s", all)
	}
	if len(inv.Addresses) != 0 {
		t.Errorf("a server that takes everything tells nothing: %+v", inv.Addresses)
	}
	if d, _ := inv.Domain("lab.example"); d.Set("lab.example.", "MX").TTL != 3600 {
		t.Errorf("the TTL of those that answer counts: %+v", d.Sets)
	}
}

func TestManyMailboxesAreBounded(t *testing.T) {
	m, w := lab()
	m.Mailboxes = nil
	for i := range 300 {
		a := fmt.Sprintf("u%d@lab.example", i)
		m.Mailboxes = append(m.Mailboxes, plan.Mailbox{Source: a, Target: a, From: "imap.old", On: "imap.new"})
	}
	inv, _, _, err := observe(t, m, w, nil)
	if err != nil || len(inv.Sources) != 300 || len(inv.Targets) != 300 {
		t.Fatalf("got %d and %d, %v", len(inv.Sources), len(inv.Targets), err)
	}
	if n := w.most.Load(); n > parallel {
		t.Errorf("%d at the same time", n)
	}
}

func TestCancelled(t *testing.T) {
	m, w := lab()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := Observe(ctx, m, systems{w: w}, nil, func() string { return "x" }, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A zone that can't be listed is asked for what the checks need, too: keys of
// DNSSEC, the MTA-STS policy, the DMARC record.
func TestPoliciesAreLookedUp(t *testing.T) {
	m, w := lab()
	w.listable = false
	inv, _, _, err := observe(t, m, w, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d, _ := inv.Domain("lab.example"); d.Signed || d.Set("_mta-sts.lab.example.", "TXT").Exists() {
		t.Errorf("%+v", d)
	}
	w.zone = append(w.zone,
		plan.RRset{Name: "lab.example.", Type: "DNSKEY", TTL: 300, Data: []string{"257 3 13 AAAA"}},
		plan.RRset{Name: "_mta-sts.lab.example.", Type: "TXT", TTL: 300, Data: []string{`"v=STSv1; id=1"`}},
		plan.RRset{Name: "_dmarc.lab.example.", Type: "CNAME", TTL: 300, Data: []string{"dmarc.old.example."}},
	)
	w.dead = "192.0.2.1:53" // one server that answers is enough
	if inv, _, _, err = observe(t, m, w, nil); err != nil {
		t.Fatal(err)
	}
	d, _ := inv.Domain("lab.example")
	if !d.Signed || !d.Set("_mta-sts.lab.example.", "TXT").Exists() || !d.Set("_dmarc.lab.example.", "CNAME").Exists() || d.Set("lab.example.", "DNSKEY").Exists() {
		t.Errorf("%+v", d)
	}
}
