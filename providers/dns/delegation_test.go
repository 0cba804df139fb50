package dns_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns"
	"github.com/mxodus/mxodus/providers/dns/dnstest"
)

// tree is a domain name system of its own: servers on one port and several
// loopback addresses, since delegations hold addresses and no ports.
type tree struct {
	port    uint16
	servers map[string]*dnstest.Server // by address
}

// plant starts one server an address, with its zones by origin.
func plant(t *testing.T, zones map[string]map[string]string) *tree {
	t.Helper()
	tr := &tree{servers: map[string]*dnstest.Server{}}
	first := true
	for _, addr := range slices.Sorted(func(yield func(string) bool) {
		for a := range zones {
			if !yield(a) {
				return
			}
		}
	}) {
		var list []*dnstest.Zone
		for origin, file := range zones[addr] {
			list = append(list, newZone(t, origin, file, realClock{}))
		}
		s, err := dnstest.Listen(net.JoinHostPort(addr, strconv.Itoa(int(tr.port))), nil, list...)
		if err != nil {
			if first {
				t.Fatal(err)
			}
			t.Skipf("this machine has no loopback address %s with the port free: %v", addr, err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		tr.port = netip.MustParseAddrPort(s.Addr()).Port()
		tr.servers[addr] = s
		first = false
	}
	return tr
}

func (tr *tree) at(addrs ...string) []string {
	var list []string
	for _, a := range addrs {
		list = append(list, net.JoinHostPort(a, strconv.Itoa(int(tr.port))))
	}
	slices.Sort(list)
	return list
}

func (tr *tree) observer(clock providers.Clock) *dns.NameServers {
	return &dns.NameServers{Roots: tr.at("127.0.0.1"), Port: tr.port, Clock: clock, Timeout: 200 * time.Millisecond}
}

// world is the tree that most tests use: root and example at .1, hosting.example at .2,
// acme.example at .3 and .4.
func world() map[string]map[string]string {
	acme := "@ 3600 IN NS ns1\n@ 3600 IN NS ns.hosting.example.\nns1 IN A 127.0.0.3\n@ 300 IN MX 10 mail.acme.example.\n"
	hosting := "@ IN NS ns\nns IN A 127.0.0.4\n"
	return map[string]map[string]string{
		"127.0.0.1": {".": "@ IN NS a.root.\na.root. IN A 127.0.0.1\nexample. IN NS a.example.\na.example. IN A 127.0.0.2\n"},
		"127.0.0.2": {"example.": "@ IN NS a\na IN A 127.0.0.2\n" +
			"acme 3600 IN NS ns1.acme\nacme 3600 IN NS ns.hosting\nns1.acme IN A 127.0.0.3\n" +
			"hosting IN NS ns.hosting\nns.hosting IN A 127.0.0.4\n" +
			"plain IN A 192.0.2.1\n" +
			"dangling IN NS ns.nowhere\n" +
			"round IN NS ns.about\nabout IN NS ns.round\n"},
		"127.0.0.3": {"acme.example.": acme},
		"127.0.0.4": {"acme.example.": acme, "hosting.example.": hosting},
	}
}

func TestDelegation(t *testing.T) {
	tr := plant(t, world())
	for _, c := range []struct {
		domain string
		want   []string
	}{
		{"acme.example", tr.at("127.0.0.3", "127.0.0.4")},
		{"ACME.Example.", tr.at("127.0.0.3", "127.0.0.4")},
		{"hosting.example", tr.at("127.0.0.4")},
		{"example", tr.at("127.0.0.2")},
		{"plain.example", tr.at("127.0.0.2")},                 // no zone of its own
		{"ns1.acme.example", tr.at("127.0.0.3", "127.0.0.4")}, // likewise, one level down
		{"dangling.example", []string{fmt.Sprintf("ns.nowhere.example:%d", tr.port)}},
	} {
		t.Run(c.domain, func(t *testing.T) {
			got, err := tr.observer(realClock{}).Authoritative(t.Context(), c.domain)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
	t.Run("a server without address says so when asked", func(t *testing.T) {
		n := tr.observer(realClock{})
		n.Resolver = tr.at("127.0.0.2")[0]
		_, err := n.Ask(t.Context(), fmt.Sprintf("ns.nowhere.example:%d", tr.port), "dangling.example", "MX")
		if providers.ReasonOf(err) != providers.Unreachable {
			t.Errorf("Ask: %v, want unreachable", err)
		}
	})
	t.Run("no such domain", func(t *testing.T) {
		got, err := tr.observer(realClock{}).Authoritative(t.Context(), "nosuch.example")
		if providers.ReasonOf(err) != providers.NotFound {
			t.Errorf("got %q, %v; want not found", got, err)
		}
	})
	t.Run("delegations in a circle come to an end", func(t *testing.T) {
		got, err := tr.observer(realClock{}).Authoritative(t.Context(), "round.example")
		want := []string{fmt.Sprintf("ns.about.example:%d", tr.port)}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
		queries, _ := tr.servers["127.0.0.2"].Counts()
		if queries > 400 {
			t.Errorf("%d queries to one server", queries)
		}
	})
}

// TestDelegationInTrouble: servers on the way fail, the answer stays the same.
func TestDelegationInTrouble(t *testing.T) {
	for _, c := range []struct {
		name string
		turn func(tr *tree)
		ok   bool
	}{
		{"one server of the domain is silent", func(tr *tree) { tr.servers["127.0.0.3"].Silent(true) }, true},
		{"one server of the domain is lame", func(tr *tree) { tr.servers["127.0.0.4"].Lame(true) }, true},
		{"every server of the domain is lame", func(tr *tree) {
			tr.servers["127.0.0.3"].Lame(true)
			tr.servers["127.0.0.4"].Fail(mdns.RcodeRefused)
		}, true},
		{"the parent truncates", func(tr *tree) { tr.servers["127.0.0.2"].Truncate(true) }, true},
		{"the parent is from before EDNS0", func(tr *tree) { tr.servers["127.0.0.2"].NoEDNS(true) }, true},
		{"the parent is silent", func(tr *tree) { tr.servers["127.0.0.2"].Silent(true) }, false},
		{"the root fails", func(tr *tree) { tr.servers["127.0.0.1"].Fail(mdns.RcodeServerFailure) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := plant(t, world())
			c.turn(tr)
			got, err := tr.observer(realClock{}).Authoritative(t.Context(), "acme.example")
			if !c.ok {
				if e, ok := errors.AsType[*providers.Error](err); !ok || e.Reason != providers.Unreachable || !strings.Contains(e.Remedy, "authoritative") {
					t.Errorf("got %q, %v; want unreachable with a remedy", got, err)
				}
				return
			}
			if want := tr.at("127.0.0.3", "127.0.0.4"); err != nil || !slices.Equal(got, want) {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		})
	}
}

// TestParentAndZoneDiffer: resolvers may use the servers that either names.
func TestParentAndZoneDiffer(t *testing.T) {
	w := world()
	w["127.0.0.3"]["acme.example."] = "@ 3600 IN NS ns1\n@ 3600 IN NS ns5\nns1 IN A 127.0.0.3\nns5 IN A 127.0.0.5\n"
	w["127.0.0.4"]["acme.example."] = w["127.0.0.3"]["acme.example."]
	tr := plant(t, w)
	got, err := tr.observer(realClock{}).Authoritative(t.Context(), "acme.example")
	if want := tr.at("127.0.0.3", "127.0.0.4", "127.0.0.5"); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	parent, own, err := tr.observer(realClock{}).Delegation(t.Context(), "Acme.example.")
	if wantParent, wantOwn := []string{"ns.hosting.example", "ns1.acme.example"}, []string{"ns1.acme.example", "ns5.acme.example"}; err != nil ||
		!slices.Equal(parent, wantParent) || !slices.Equal(own, wantOwn) {
		t.Errorf("the parent has %q, want %q; the zone has %q, want %q; %v", parent, wantParent, own, wantOwn, err)
	}
	// Given servers replace the delegation, and nobody is asked.
	given := tr.observer(realClock{})
	given.Servers = tr.at("127.0.0.3")
	if parent, own, err := given.Delegation(t.Context(), "acme.example"); parent != nil || own != nil || err != nil {
		t.Errorf("with given servers: %q, %q, %v", parent, own, err)
	}
}

// TestDelegationOverV6: the addresses of both families are found and asked.
func TestDelegationOverV6(t *testing.T) {
	w := world()
	w["127.0.0.2"]["example."] += "six IN NS ns.six\nns.six IN A 127.0.0.3\nns.six IN AAAA ::1\n"
	w["::1"] = map[string]string{"six.example.": "@ IN NS ns\nns IN A 127.0.0.3\nns IN AAAA ::1\n@ IN MX 10 m.example.\n"}
	w["127.0.0.3"]["six.example."] = w["::1"]["six.example."]
	tr := plant(t, w)
	n := tr.observer(realClock{})
	got, err := n.Authoritative(t.Context(), "six.example")
	if want := tr.at("127.0.0.3", "::1"); err != nil || !slices.Equal(got, want) {
		t.Fatalf("got %q, %v; want %q", got, err, want)
	}
	for _, server := range got {
		if a, err := n.Ask(t.Context(), server, "six.example", "MX"); err != nil || !a.Authoritative || !a.Set.Exists() {
			t.Errorf("Ask %s: %+v, %v", server, a, err)
		}
	}
}

// TestDelegationIsRemembered: for its TTL, and never for more than five minutes.
func TestDelegationIsRemembered(t *testing.T) {
	clock := newHandClock()
	tr := plant(t, world())
	n := tr.observer(clock)
	ask := func() int {
		t.Helper()
		if _, err := n.Authoritative(t.Context(), "acme.example"); err != nil {
			t.Fatal(err)
		}
		queries, _ := tr.servers["127.0.0.1"].Counts()
		return queries
	}
	first := ask()
	clock.advance(4 * time.Minute)
	if again := ask(); again != first {
		t.Errorf("the root was asked again after 4 minutes (%d queries, then %d)", first, again)
	}
	clock.advance(time.Minute)
	if later := ask(); later == first {
		t.Error("the root was not asked again after 5 minutes")
	}
}

// TestDelegationOnBIND: a root, a parent and a domain in one named, which
// answers for the domain where others would refer to it.
func TestDelegationOnBIND(t *testing.T) {
	b := dnstest.StartBIND(t, dnstest.BINDOptions{Zones: map[string]string{
		".":             "@ 3600 IN NS a.root.\na.root. IN A 127.0.0.1\nexample. IN NS ns.example.\nns.example. IN A 127.0.0.1\n",
		"example.":      "@ IN NS ns\nns IN A 127.0.0.1\nacme IN NS ns1.acme\nns1.acme IN A 127.0.0.1\n",
		"acme.example.": "@ IN NS ns1\nns1 IN A 127.0.0.1\n",
	}})
	n := &dns.NameServers{Roots: []string{b.Addr}, Port: netip.MustParseAddrPort(b.Addr).Port(), Clock: realClock{}}
	for _, domain := range []string{"acme.example", "example", "www.acme.example"} {
		got, err := n.Authoritative(t.Context(), domain)
		if domain == "www.acme.example" {
			if providers.ReasonOf(err) != providers.NotFound {
				t.Errorf("%s: %q, %v; want not found", domain, got, err)
			}
		} else if err != nil || !slices.Equal(got, []string{b.Addr}) {
			t.Errorf("%s: %q, %v; want %q", domain, got, err, b.Addr)
		}
	}
}
