package dns_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns"
	"github.com/mxodus/mxodus/providers/dns/dnstest"
)

// handClock moves when it is told to.
type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func newHandClock() *handClock {
	return &handClock{now: time.Date(2027, 1, 15, 18, 0, 0, 0, time.UTC)}
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) Sleep(context.Context, time.Duration) error { return errors.New("not slept on") }

func (c *handClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func observer(clock providers.Clock, servers ...string) *dns.NameServers {
	return &dns.NameServers{Servers: servers, Clock: clock, Timeout: 200 * time.Millisecond}
}

func mx(ttl uint32, data ...string) plan.RRset {
	return plan.RRset{Name: zoneName, Type: "MX", TTL: ttl, Data: data}
}

func put(t *testing.T, z *dnstest.Zone, sets ...plan.RRset) {
	t.Helper()
	if err := z.Put(sets...); err != nil {
		t.Fatal(err)
	}
}

// TestServersAreToldApart: one healthy server, and each kind of trouble.
func TestServersAreToldApart(t *testing.T) {
	clock := newHandClock()
	z := newZone(t, zoneName, "@ 300 IN MX 10 old.example.\n", clock)
	clock.advance(time.Hour)
	old, fresh := mx(300, "10 old.example."), mx(300, "10 new.example.")
	put(t, z, fresh)

	for _, c := range []struct {
		name      string
		turn      func(*dnstest.Server)
		set       plan.RRset
		authority bool
		rcode     string
		unreached bool
		serial    uint32 // 0 = an error
	}{
		{"healthy", func(*dnstest.Server) {}, fresh, true, "NOERROR", false, 2},
		{"lagging", func(s *dnstest.Server) { s.Lag(time.Minute) }, old, true, "NOERROR", false, 1},
		{"lying", func(s *dnstest.Server) { s.Lie(mx(60, "1 evil.example.")) }, mx(60, "1 evil.example."), true, "NOERROR", false, 2},
		{"denying", func(s *dnstest.Server) { s.Lie(mx(0)) }, mx(0), true, "NOERROR", false, 2},
		{"lame", func(s *dnstest.Server) { s.Lame(true) }, mx(0), false, "NOERROR", false, 0},
		{"failing", func(s *dnstest.Server) { s.Fail(mdns.RcodeServerFailure) }, mx(0), false, "SERVFAIL", false, 0},
		{"refusing", func(s *dnstest.Server) { s.Fail(mdns.RcodeRefused) }, mx(0), false, "REFUSED", false, 0},
		{"silent", func(s *dnstest.Server) { s.Silent(true) }, mx(0), false, "", true, 0},
		{"truncating", func(s *dnstest.Server) { s.Truncate(true) }, fresh, true, "NOERROR", false, 2},
		{"without EDNS0", func(s *dnstest.Server) { s.NoEDNS(true) }, fresh, true, "NOERROR", false, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := listen(t, "127.0.0.1:0", nil, z)
			c.turn(s)
			n := observer(clock, s.Addr())
			a, err := n.Ask(t.Context(), s.Addr(), "Acme.Example", "MX")
			if c.unreached {
				if providers.ReasonOf(err) != providers.Unreachable {
					t.Errorf("Ask: %v, %v; want unreachable", a, err)
				}
			} else if err != nil {
				t.Fatal(err)
			} else if !a.Set.Equal(c.set) || a.Authoritative != c.authority || a.Rcode != c.rcode || a.Server != s.Addr() || !a.At.Equal(clock.Now()) {
				t.Errorf("Ask: %+v\nwant %q, authority %v, %s", a, c.set.Lines(), c.authority, c.rcode)
			}
			serial, err := n.Serial(t.Context(), s.Addr(), "acme.example")
			if serial != c.serial || (err != nil) != (c.serial == 0) {
				t.Errorf("Serial: %d, %v; want %d", serial, err, c.serial)
			}
		})
	}
}

func TestLagEnds(t *testing.T) {
	clock := newHandClock()
	z := newZone(t, zoneName, "@ 300 IN MX 10 old.example.\n", clock)
	s := listen(t, "127.0.0.1:0", nil, z)
	s.Lag(time.Minute)
	clock.advance(time.Hour)
	put(t, z, mx(300, "10 new.example."))
	for _, step := range []struct {
		wait time.Duration
		want string
	}{{0, "10 old.example."}, {59 * time.Second, "10 old.example."}, {time.Second, "10 new.example."}} {
		clock.advance(step.wait)
		a, err := observer(clock).Ask(t.Context(), s.Addr(), zoneName, "MX")
		if err != nil || !slices.Equal(a.Set.Data, []string{step.want}) {
			t.Errorf("after %v more: %v, %v; want %s", step.wait, a.Set.Data, err, step.want)
		}
	}
}

// TestLargeAnswer: what doesn't fit into UDP comes over TCP, whole.
func TestLargeAnswer(t *testing.T) {
	z := newZone(t, zoneName, "", realClock{})
	var want plan.RRset
	want.Name, want.Type, want.TTL = zoneName, "TXT", 300
	for i := range 40 {
		want.Data = append(want.Data, `"`+strings.Repeat(string(rune('a'+i%26)), 100)+string(rune('A'+i/26))+`"`)
	}
	put(t, z, want)
	s := listen(t, "127.0.0.1:0", nil, z)
	a, err := observer(realClock{}).Ask(t.Context(), s.Addr(), zoneName, "TXT")
	if err != nil || !a.Set.Equal(want) {
		t.Errorf("%d records, %v; want %d", len(a.Set.Data), err, len(want.Data))
	}
	if queries, _ := s.Counts(); queries != 2 {
		t.Errorf("%d queries, want one over UDP and one over TCP", queries)
	}
}

func TestNegativeTTL(t *testing.T) {
	for _, c := range []struct {
		name string
		soa  string
		want uint32
	}{
		{"minimum below the SOA's TTL", "@ 3600 IN SOA ns. host. 7 2 3 4 120", 120},
		{"SOA's TTL below the minimum", "@ 60 IN SOA ns. host. 7 2 3 4 86400", 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			check := func(t *testing.T, server string) {
				t.Helper()
				n := observer(realClock{})
				for name, rcode := range map[string]string{"no.such." + zoneName: "NXDOMAIN", zoneName: "NOERROR"} {
					a, err := n.Ask(t.Context(), server, name, "TXT")
					if err != nil || a.Rcode != rcode || a.NegativeTTL != c.want || a.Set.Exists() {
						t.Errorf("%s: %+v, %v; want %s and %d", name, a, err, rcode, c.want)
					}
				}
				a, err := n.Ask(t.Context(), server, zoneName, "NS")
				if err != nil || a.NegativeTTL != 0 || !a.Set.Exists() {
					t.Errorf("NS: %+v, %v; want a set", a, err)
				}
				// A domain within the zone has the zone's serial.
				if serial, err := n.Serial(t.Context(), server, "no.such."+zoneName); err != nil || serial != 7 {
					t.Errorf("Serial: %d, %v; want 7", serial, err)
				}
			}
			t.Run("double", func(t *testing.T) {
				check(t, listen(t, "127.0.0.1:0", nil, newZone(t, zoneName, c.soa, realClock{})).Addr())
			})
			t.Run("BIND", func(t *testing.T) {
				check(t, dnstest.StartBIND(t, dnstest.BINDOptions{Zones: map[string]string{zoneName: c.soa}}).Addr)
			})
		})
	}
}

// TestSecondaryOfBIND: an update at the primary reaches the secondary, and both are seen as they are.
func TestSecondaryOfBIND(t *testing.T) {
	b := dnstest.StartBIND(t, dnstest.BINDOptions{Zones: map[string]string{zoneName: "@ 300 IN MX 10 old.example.\n"}, Secondary: true})
	z := newRFC2136(t, b.Addr, b.Key)
	want := mx(300, "10 new.example.")
	if err := z.Update(t.Context(), []plan.RRsetChange{{Old: mx(300, "10 old.example."), New: want}}); err != nil {
		t.Fatal(err)
	}
	n := observer(realClock{}, b.Addr, b.Secondary)
	for range 200 {
		a, err := n.Ask(t.Context(), b.Secondary, zoneName, "MX")
		if err != nil || !a.Authoritative {
			t.Fatalf("%+v, %v", a, err)
		}
		if a.Set.Equal(want) {
			first, err1 := n.Serial(t.Context(), b.Addr, zoneName)
			second, err2 := n.Serial(t.Context(), b.Secondary, zoneName)
			if err := errors.Join(err1, err2); err != nil || first != second {
				t.Errorf("serials %d and %d, %v", first, second, err)
			}
			return
		}
		if err := (realClock{}).Sleep(t.Context(), 50*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	t.Error("the secondary doesn't follow")
}

func TestResolve(t *testing.T) {
	clock := newHandClock()
	here := newZone(t, zoneName, "mx 300 IN A 192.0.2.1\nalias 60 IN CNAME mx\naway 60 IN CNAME host.other.example.\nloop 60 IN CNAME loop\n", clock)
	there := newZone(t, "other.example.", "host 90 IN A 192.0.2.2\n", clock)
	auth := listen(t, "127.0.0.1:0", nil, here, there)
	r, err := dnstest.ListenResolver("127.0.0.1:0", clock, auth.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	_, n, err := dns.New(plan.ZoneConfig{Kind: "by_hand", Authoritative: []string{auth.Addr()}, Resolver: r.Addr(), Observe: []string{r.Addr()}}, "acme.example", nil, clock)
	if err != nil {
		t.Fatal(err)
	}
	want := func(name, typ, end string, ttl uint32, rcode string, data ...string) {
		t.Helper()
		a, err := n.Resolve(t.Context(), name, typ)
		if err != nil || a.Set.Name != end || !a.Set.Equal(plan.RRset{TTL: ttl, Data: data}) || a.Rcode != rcode || a.Authoritative {
			t.Errorf("Resolve %s %s: %+v, %v; want %s %d %q %s", name, typ, a, err, end, ttl, data, rcode)
		}
	}
	want("mx.acme.example", "A", "mx.acme.example.", 300, "NOERROR", "192.0.2.1")
	want("alias.acme.example", "A", "mx.acme.example.", 300, "NOERROR", "192.0.2.1")
	want("alias.acme.example", "CNAME", "alias.acme.example.", 60, "NOERROR", "mx.acme.example.")
	want("away.acme.example", "A", "host.other.example.", 90, "NOERROR", "192.0.2.2")
	want("loop.acme.example", "A", "loop.acme.example.", 0, "NOERROR")
	want("new.acme.example", "A", "new.acme.example.", 0, "NXDOMAIN")

	t.Run("TTLs count down and run out", func(t *testing.T) {
		clock.advance(100 * time.Second)
		want("mx.acme.example", "A", "mx.acme.example.", 200, "NOERROR", "192.0.2.1")
		put(t, here, plan.RRset{Name: "mx." + zoneName, Type: "A", TTL: 300, Data: []string{"192.0.2.9"}})
		clock.advance(199 * time.Second)
		want("mx.acme.example", "A", "mx.acme.example.", 1, "NOERROR", "192.0.2.1")
		clock.advance(time.Second)
		want("mx.acme.example", "A", "mx.acme.example.", 300, "NOERROR", "192.0.2.9")
	})
	t.Run("a denial is kept too", func(t *testing.T) {
		want("later.acme.example", "A", "later.acme.example.", 0, "NXDOMAIN")
		put(t, here, plan.RRset{Name: "later." + zoneName, Type: "A", TTL: 300, Data: []string{"192.0.2.3"}})
		clock.advance(59 * time.Second)
		want("later.acme.example", "A", "later.acme.example.", 0, "NXDOMAIN")
		clock.advance(time.Second)
		want("later.acme.example", "A", "later.acme.example.", 300, "NOERROR", "192.0.2.3")
	})
	t.Run("asking the name servers leaves nothing in the resolver", func(t *testing.T) {
		if _, err := n.Ask(t.Context(), auth.Addr(), "soon.acme.example", "A"); err != nil {
			t.Fatal(err)
		}
		if r.Knows("soon.acme.example.", "A") {
			t.Error("the resolver knows a name that only the name server was asked for")
		}
	})
	t.Run("a watched resolver is asked to recurse", func(t *testing.T) {
		if got := n.Observed(); !slices.Equal(got, []string{r.Addr()}) {
			t.Fatalf("Observed: %q", got)
		}
		r.Flush()
		a, err := n.Ask(t.Context(), r.Addr(), "mx.acme.example", "A")
		if err != nil || !slices.Equal(a.Set.Data, []string{"192.0.2.9"}) || a.Authoritative {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

func TestContextEnds(t *testing.T) {
	s := listen(t, "127.0.0.1:0", nil, newZone(t, zoneName, "", realClock{}))
	s.Silent(true)
	ctx, cancel := context.WithCancel(t.Context())
	n := &dns.NameServers{Servers: []string{s.Addr()}, Clock: realClock{}, Timeout: time.Hour}
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := n.Ask(ctx, s.Addr(), zoneName, "MX"); !errors.Is(err, context.Canceled) {
		t.Errorf("Ask: %v, want %v", err, context.Canceled)
	}
}

// TestByHandBelievesTheNewest: of servers that differ, the highest serial has the say.
func TestByHandBelievesTheNewest(t *testing.T) {
	clock := newHandClock()
	z := newZone(t, zoneName, "@ 300 IN MX 10 old.example.\n", clock)
	clock.advance(time.Hour)
	put(t, z, mx(300, "10 new.example."))
	slow, fast := listen(t, "127.0.0.1:0", nil, z), listen(t, "127.0.0.1:0", nil, z)
	slow.Lag(time.Minute)
	hand := func(servers ...*dnstest.Server) *dns.ByHand {
		var addrs []string
		for _, s := range servers {
			addrs = append(addrs, s.Addr())
		}
		return &dns.ByHand{Zone: zoneName, Domain: zoneName, Servers: observer(clock, addrs...)}
	}
	for _, order := range [][]*dnstest.Server{{slow, fast}, {fast, slow}} {
		if set, err := hand(order...).Lookup(t.Context(), zoneName, "MX"); err != nil || !set.Equal(mx(300, "10 new.example.")) {
			t.Errorf("Lookup: %v, %v; want the newer one", set, err)
		}
	}
	t.Run("one is silent", func(t *testing.T) {
		slow.Silent(true)
		defer slow.Silent(false)
		if set, err := hand(slow, fast).Lookup(t.Context(), zoneName, "MX"); err != nil || !set.Equal(mx(300, "10 new.example.")) {
			t.Errorf("Lookup: %v, %v", set, err)
		}
	})
	t.Run("none is of any use", func(t *testing.T) {
		slow.Lame(true)
		defer slow.Lame(false)
		if set, err := hand(slow).Lookup(t.Context(), zoneName, "MX"); providers.ReasonOf(err) != providers.Unreachable {
			t.Errorf("Lookup: %v, %v; want unreachable, not an absent set", set, err)
		}
	})
	t.Run("same serial, other data", func(t *testing.T) {
		fast.Lie(mx(300, "10 lie.example."))
		slow.Lag(0)
		if set, err := hand(slow, fast).Lookup(t.Context(), zoneName, "MX"); providers.ReasonOf(err) != providers.Conflict {
			t.Errorf("Lookup: %v, %v; want a conflict", set, err)
		}
	})
}
