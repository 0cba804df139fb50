package dnstest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

type realClock struct{}

func (realClock) Now() time.Time                             { return time.Now() }
func (realClock) Sleep(context.Context, time.Duration) error { return errors.New("not slept on") }

const origin = "acme.example."

// TestDoubleBehavesAsBIND sends the same signed updates, made at random, to the double and to a real
// named, and expects the same response code and the same zone after each.
func TestDoubleBehavesAsBIND(t *testing.T) {
	// The MX is outside of the zone: BIND refuses updates that leave one inside without address.
	const file = "a 300 IN A 192.0.2.1\nb 300 IN CNAME a\n@ 300 IN MX 10 a.example.\nc 300 IN TXT \"x\" \"y\"\n"
	b := StartBIND(t, BINDOptions{Zones: map[string]string{origin: file}})
	z, err := NewZone(origin, file, realClock{})
	if err != nil {
		t.Fatal(err)
	}
	double, err := Listen("127.0.0.1:0", &b.Key, z)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := double.Close(); err != nil {
			t.Error(err)
		}
	}()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	g := updates{rand.New(rand.NewPCG(seed, 1))}
	codes := map[int]int{}
	for i := range 600 {
		m := g.message(t)
		text := m.String()
		want := send(t, m.Copy(), b.Addr, b.Key)
		got := send(t, m.Copy(), double.Addr(), b.Key)
		codes[want]++
		if got != want {
			t.Fatalf("update %d: the double answers %s, BIND %s\n%s", i, dns.RcodeToString[got], dns.RcodeToString[want], text)
		}
		for _, name := range g.names() {
			for _, typ := range g.types() {
				want, err := b.Set(b.Addr, name, dns.TypeToString[typ])
				if err != nil {
					t.Fatal(err)
				}
				if got := z.Set(name, dns.TypeToString[typ]); !got.Equal(want) {
					t.Fatalf("update %d: the double holds %s %s %q, BIND %q\n%s", i, name, dns.TypeToString[typ], got.Lines(), want.Lines(), text)
				}
			}
		}
	}
	t.Logf("response codes: %v", codes)
	if codes[dns.RcodeSuccess] < 50 || len(codes) < 4 {
		t.Errorf("the updates were too much alike: %v", codes)
	}
}

// updates makes messages of RFC 2136 over few names, so that they often meet.
type updates struct{ *rand.Rand }

func (g updates) names() []string {
	return []string{origin, "a." + origin, "b." + origin, "c." + origin}
}
func (g updates) types() []uint16 {
	return []uint16{dns.TypeA, dns.TypeTXT, dns.TypeCNAME, dns.TypeMX}
}

func (g updates) rr(t *testing.T, ttl int) dns.RR {
	name := g.names()[g.IntN(4)]
	typ := g.types()[g.IntN(4)]
	if name == origin && typ == dns.TypeCNAME {
		typ = dns.TypeMX
	}
	data := map[uint16]string{
		dns.TypeA: fmt.Sprintf("192.0.2.%d", g.IntN(3)), dns.TypeTXT: fmt.Sprintf("%q", string(rune('x'+g.IntN(3)))),
		dns.TypeCNAME: fmt.Sprintf("t%d.example.", g.IntN(2)), dns.TypeMX: fmt.Sprintf("%d m.example.", g.IntN(3)),
	}[typ]
	rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", name, ttl, dns.TypeToString[typ], data))
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

func (g updates) message(t *testing.T) *dns.Msg {
	m := new(dns.Msg)
	m.SetUpdate(origin)
	if g.IntN(40) == 0 {
		m.SetUpdate("other.example.")
	}
	if g.IntN(3) == 0 {
		for range 1 + g.IntN(2) {
			rr := []dns.RR{g.rr(t, 0)}
			[]func([]dns.RR){m.Used, m.NameUsed, m.NameNotUsed, m.RRsetUsed, m.RRsetNotUsed}[g.IntN(5)](rr)
		}
	}
	for range 1 + g.IntN(3) {
		rr := []dns.RR{g.rr(t, 60*(1+g.IntN(3)))}
		[]func([]dns.RR){m.Insert, m.Insert, m.Insert, m.RemoveRRset, m.RemoveName, m.Remove}[g.IntN(6)](rr)
	}
	// BIND looks at this before the prerequisites, RFC 2136 §3.2 after them.
	if len(m.Answer) == 0 && g.IntN(30) == 0 {
		rr := g.rr(t, 60)
		rr.Header().Name = "elsewhere.example."
		m.Insert([]dns.RR{rr})
	}
	return m
}

func send(t *testing.T, m *dns.Msg, addr string, key Key) int {
	t.Helper()
	m.SetTsig(key.Name, key.algorithm(), 300, time.Now().Unix())
	c := &dns.Client{Net: "tcp", Timeout: 10 * time.Second, TsigSecret: map[string]string{key.Name: key.Secret}}
	r, _, err := c.Exchange(m, addr)
	if err != nil && !errors.Is(err, dns.ErrAuth) { // the library's word for NOTAUTH
		t.Fatalf("%s: %v", addr, err)
	}
	return r.Rcode
}

// TestQueriesAsBIND asks both for every kind of answer.
func TestQueriesAsBIND(t *testing.T) {
	const file = "$TTL 300\na IN A 192.0.2.1\nb IN CNAME a\nout IN CNAME x.example.net.\nchain IN CNAME b\nx.deep IN A 192.0.2.2\n" +
		"sub IN NS ns.sub\nns.sub IN A 192.0.2.53\n"
	b := StartBIND(t, BINDOptions{Zones: map[string]string{origin: file}})
	z, err := NewZone(origin, file, realClock{})
	if err != nil {
		t.Fatal(err)
	}
	double, err := Listen("127.0.0.1:0", nil, z)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := double.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, label := range []string{"@", "a", "b", "out", "chain", "deep", "x.deep", "sub", "ns.sub", "below.sub", "nothing", "A"} {
		name := label + "." + origin
		if label == "@" {
			name = origin
		}
		for _, typ := range []uint16{dns.TypeA, dns.TypeTXT, dns.TypeCNAME, dns.TypeNS, dns.TypeSOA} {
			if typ == dns.TypeSOA && label != "@" {
				continue // BIND has a setting of its own for these, zero-no-soa-ttl
			}
			m := new(dns.Msg)
			m.SetQuestion(name, typ)
			m.RecursionDesired = false
			want, got := query(t, m, b.Addr), query(t, m, double.Addr())
			if got != want {
				t.Errorf("%s %s: the double answers\n%s\nBIND\n%s", name, dns.TypeToString[typ], got, want)
			}
		}
	}
}

// query is an answer without its order and its additional section, which is optional.
func query(t *testing.T, m *dns.Msg, addr string) string {
	t.Helper()
	r, err := dns.Exchange(m, addr)
	if err != nil {
		t.Fatal(err)
	}
	section := func(rrs []dns.RR) string {
		var list []string
		for _, rr := range rrs {
			list = append(list, strings.ToLower(rr.String()))
		}
		slices.Sort(list)
		return strings.Join(list, "; ")
	}
	authority := section(r.Ns)
	if len(r.Answer) > 0 {
		authority = "" // optional beside an answer
	}
	return fmt.Sprintf("%s aa=%v answer [%s] authority [%s]", dns.RcodeToString[r.Rcode], r.Authoritative, section(r.Answer), authority)
}

func TestLoseAnswers(t *testing.T) {
	z, err := NewZone(origin, "", realClock{})
	if err != nil {
		t.Fatal(err)
	}
	key := newKey("k.")
	s, err := Listen("127.0.0.1:0", &key, z)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	s.LoseAnswers(1)
	m := new(dns.Msg)
	m.SetUpdate(origin)
	rr, err := dns.NewRR("a." + origin + " 60 IN A 192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	m.Insert([]dns.RR{rr})
	m.SetTsig(key.Name, key.algorithm(), 300, time.Now().Unix())
	c := &dns.Client{Net: "tcp", Timeout: 10 * time.Second, TsigSecret: map[string]string{key.Name: key.Secret}}
	if r, _, err := c.Exchange(m, s.Addr()); err == nil {
		t.Errorf("an answer came: %v", r)
	}
	if got := z.Set("a."+origin, "A"); !got.Exists() || z.Serial() != 2 {
		t.Errorf("the update was not made: %v, serial %d", got, z.Serial())
	}
	if _, updates := s.Counts(); updates != 1 {
		t.Errorf("%d updates, want 1", updates)
	}
}

func TestNewZoneRefuses(t *testing.T) {
	for _, file := range []string{"a IN A 192.0.2.300\n", "other.example. IN A 192.0.2.1\n", "a IN BOGUS x\n"} {
		if _, err := NewZone(origin, file, realClock{}); err == nil {
			t.Errorf("NewZone took %q", file)
		}
	}
	z, err := NewZone(origin, "a IN A 192.0.2.1\n", realClock{})
	if err != nil {
		t.Fatal(err)
	}
	if err := z.Put(plan.RRset{Name: "a." + origin, Type: "A", TTL: 60, Data: []string{"nonsense"}}); err == nil || z.Serial() != 1 {
		t.Errorf("Put took nonsense: %v, serial %d", err, z.Serial())
	}
}

func TestSamePortForBoth(t *testing.T) {
	tcp, udp, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if tcp.Addr().(*net.TCPAddr).Port != udp.LocalAddr().(*net.UDPAddr).Port {
		t.Errorf("%v and %v", tcp.Addr(), udp.LocalAddr())
	}
	if err := errors.Join(tcp.Close(), udp.Close()); err != nil {
		t.Error(err)
	}
}
