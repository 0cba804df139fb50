package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns/dnstest"
)

// nameServers are a primary that takes updates and a secondary that follows it.
type nameServers struct {
	primary, secondary string
	update             string // where updates are sent, "" = to the primary
	key                dnstest.Key
	refuse             func(on bool) // to take updates; only of the embedded ones
}

func bindServers(t *testing.T, zone string) *nameServers {
	t.Helper()
	b := dnstest.StartBIND(t, dnstest.BINDOptions{Zones: map[string]string{"acme.example.": zone}, Secondary: true})
	return &nameServers{primary: b.Addr, secondary: b.Secondary, key: b.Key}
}

func embeddedServers(t *testing.T, zone string, clock providers.Clock) *nameServers {
	t.Helper()
	key := dnstest.Key{Name: "mxodus.", Secret: "bXhvZHVzIGVtYmVkZGVkIG5hbWUgc2VydmVyIGtleSE="}
	z, err := dnstest.NewZone("acme.example.", zone, clock)
	if err != nil {
		t.Fatal(err)
	}
	one, err := dnstest.Listen("127.0.0.1:0", &key, z)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { one.Close() })
	two, err := dnstest.Listen("127.0.0.1:0", nil, z)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { two.Close() })
	two.Lag(500 * time.Millisecond)
	return &nameServers{primary: one.Addr(), secondary: two.Addr(), key: key, refuse: one.RefuseUpdates}
}

// records are the whole zone by owner and type, as the primary hands it out (RFC 5936) and as the
// secondary answers. It waits until the secondary has the primary's serial; SOA is left out.
func (n *nameServers) records(t *testing.T) map[string][]string {
	t.Helper()
	first := n.transfer(t)
	for try := range 300 {
		at := n.ask(t, n.secondary, "acme.example.", dns.TypeSOA)
		if slices.Equal(at, first["acme.example. SOA"]) {
			break
		}
		if try == 299 {
			t.Fatalf("the secondary has %v, the primary %v", at, first["acme.example. SOA"])
		}
		time.Sleep(50 * time.Millisecond)
	}
	delete(first, "acme.example. SOA")
	for key, want := range first {
		name, typ, _ := strings.Cut(key, " ")
		if got := n.ask(t, n.secondary, name, dns.StringToType[typ]); !slices.Equal(got, want) {
			t.Errorf("%s: the secondary has %v, the primary %v", key, got, want)
		}
	}
	return first
}

func (n *nameServers) transfer(t *testing.T) map[string][]string {
	t.Helper()
	m := new(dns.Msg)
	m.SetAxfr("acme.example.")
	m.SetTsig(n.key.Name, cmp.Or(n.key.Algorithm, dns.HmacSHA256), 300, time.Now().Unix())
	tr := &dns.Transfer{TsigSecret: map[string]string{n.key.Name: n.key.Secret}}
	ch, err := tr.In(m, n.primary)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for part := range ch {
		if part.Error != nil {
			t.Fatal(part.Error)
		}
		for _, rr := range part.RR {
			add(all, rr)
		}
	}
	return all
}

// add keeps the records of a set sorted, each once (the SOA stands at both ends of a transfer).
func add(all map[string][]string, rr dns.RR) {
	key := rr.Header().Name + " " + dns.Type(rr.Header().Rrtype).String()
	if list := all[key]; !slices.Contains(list, rr.String()) {
		list = append(list, rr.String())
		slices.Sort(list)
		all[key] = list
	}
}

func (n *nameServers) ask(t *testing.T, server, name string, typ uint16) []string {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, typ)
	r, _, err := (&dns.Client{Net: "tcp", Timeout: 10 * time.Second}).Exchange(m, server)
	if err != nil {
		t.Fatalf("ask %s: %v", server, err)
	}
	all := map[string][]string{}
	for _, rr := range r.Answer {
		add(all, rr)
	}
	return all[name+" "+dns.Type(typ).String()]
}

// with is a zone in which the sets of some records stand in the place of those before.
func with(t *testing.T, zone map[string][]string, records ...string) map[string][]string {
	t.Helper()
	fresh := map[string][]string{}
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		add(fresh, rr)
	}
	out := maps.Clone(zone)
	maps.Copy(out, fresh)
	return out
}

// differences of two zones, one line each.
func differences(got, want map[string][]string) []string {
	var lines []string
	for key, list := range want {
		if !slices.Equal(got[key], list) {
			lines = append(lines, fmt.Sprintf("%s: got %v, want %v", key, got[key], list))
		}
	}
	for key, list := range got {
		if _, ok := want[key]; !ok {
			lines = append(lines, fmt.Sprintf("%s: got %v, want none", key, list))
		}
	}
	slices.Sort(lines)
	return lines
}
