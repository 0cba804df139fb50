package powerdns_test

import (
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/canary"
	"github.com/mxodus/mxodus/providers/dns"
	"github.com/mxodus/mxodus/providers/dns/hosted"
	"github.com/mxodus/mxodus/providers/dns/hosted/hostedtest"
	"github.com/mxodus/mxodus/providers/leaks"
	"github.com/mxodus/mxodus/providers/powerdns"
	"github.com/mxodus/mxodus/providers/powerdns/powerdnstest"
	"github.com/mxodus/mxodus/providers/providertest"
)

func TestMain(m *testing.M) { leaks.Main(m) }

const acme = "acme.example."

func open(t *testing.T, zone, key string) (*powerdnstest.Server, *hosted.Zone) {
	t.Helper()
	s := powerdnstest.Start(t, acme)
	z, err := powerdns.NewZone(zone, s.URL, hostedtest.Ref, hostedtest.Secret(key), hostedtest.NewClock())
	if err != nil {
		t.Fatal(err)
	}
	return s, z
}

func TestZone(t *testing.T) {
	providertest.TestZone(t, func(t *testing.T) providertest.ZoneFixture {
		s, z := open(t, acme, powerdnstest.Key)
		return providertest.ZoneFixture{
			Zone: z, Name: acme,
			Put:        func(_ *testing.T, sets ...plan.RRset) { s.Store.Put(sets...) },
			Read:       func(_ *testing.T, name, typ string) plan.RRset { return s.Store.Set(name, typ) },
			Serial:     func(*testing.T) uint32 { return s.Store.Serial() },
			LoseAnswer: func() { s.LoseAnswer(1) },
			DropWrite:  func() { s.DropWrite(1) },
		}
	})
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name, zone, key, kind string
		reason                providers.Reason
	}{
		{"a wrong key", acme, "wrong", "Master", providers.Authentication},
		{"no such zone", "other.example.", powerdnstest.Key, "Master", providers.NotFound},
		{"a secondary", acme, powerdnstest.Key, "Slave", providers.Refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, z := open(t, c.zone, c.key)
			s.Kind(c.kind)
			if _, err := z.Lookup(t.Context(), c.zone, "MX"); providers.ReasonOf(err) != c.reason {
				t.Errorf("Lookup: %v, want %s", err, c.reason)
			}
		})
	}
	s, z := open(t, acme, powerdnstest.Key)
	s.Answer(true, 422, `{"error":"RRset acme.example. IN MX: too good"}`)
	err := z.Update(t.Context(), []plan.RRsetChange{{Old: plan.RRset{Name: acme, Type: "MX"}, New: plan.RRset{Name: acme, Type: "MX", TTL: 300, Data: []string{"0 mx.example."}}}})
	if providers.ReasonOf(err) != providers.Refused || !strings.Contains(err.Error(), "too good") {
		t.Errorf("Update: %v", err)
	}
	if _, err := powerdns.NewZone(acme, "", hostedtest.Ref, hostedtest.Secret("x"), hostedtest.NewClock()); err == nil {
		t.Error("no endpoint: no error")
	}
}

// TestKeyInAnswers: an answer that can't be used is quoted without the key, which debug pages and proxies send back with any status and in
// any form.
func TestKeyInAnswers(t *testing.T) {
	const key = "Can4ry+/&=%7.of-powerdns"
	inURL, inHex := url.QueryEscape(key), hex.EncodeToString([]byte(key))
	s, z := open(t, acme, key)
	for _, body := range []string{
		`{"name": "` + key + `.", "rrsets": []}`, `{"name": "acme.example.", "rrsets": [{"name": "` + key + "..x" + `", "type": "MX", "records": []}]}`,
		`["` + key + `", "` + inURL + `"]`, `{"name": "acme.example."} ` + inHex, "<html>" + key + " " + inURL + " " + inHex,
	} {
		for _, status := range []int{200, 422, 302} {
			s.Answer(false, status, body)
			_, err := z.Lookup(t.Context(), acme, "MX")
			if err == nil {
				t.Fatalf("%d %s: no error", status, body)
			}
			if found := canary.Leaks(map[string]string{"the error": err.Error()}, map[string]string{"the key": key}); len(found) > 0 {
				t.Errorf("%d %s:\n%s", status, body, strings.Join(found, "\n"))
			}
		}
	}
}

// TestDisabledRecordsStay: REPLACE would take them away.
func TestDisabledRecordsStay(t *testing.T) {
	s, z := open(t, acme, powerdnstest.Key)
	old := plan.RRset{Name: acme, Type: "MX", TTL: 300, Data: []string{"10 old.example."}}
	s.Store.Put(old)
	if err := s.Store.Edit(func(l []hostedtest.Record) ([]hostedtest.Record, error) {
		return append(l, hostedtest.Record{Name: acme, Type: "MX", TTL: 300, Data: "50 spare.example.", Disabled: true}), nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, next := range []plan.RRset{{Name: acme, Type: "MX", TTL: 300, Data: []string{"0 new.example."}}, {Name: acme, Type: "MX"}} {
		if err := z.Update(t.Context(), []plan.RRsetChange{{Old: old, New: next}}); err != nil {
			t.Fatal(err)
		}
		old = next
		kept := false
		for _, r := range s.Store.Records() {
			kept = kept || r.Disabled && r.Data == "50 spare.example."
		}
		if !kept {
			t.Errorf("the disabled record is gone: %v", s.Store.Records())
		}
	}
}

// TestZoneOnPowerDNS runs the suite on a real server; what it holds is read over the DNS.
func TestZoneOnPowerDNS(t *testing.T) {
	providertest.TestZone(t, func(t *testing.T) providertest.ZoneFixture {
		r := powerdnstest.StartReal(t, acme)
		between := hostedtest.NewFaults(forward(t, r.URL))
		front := httptest.NewServer(between)
		t.Cleanup(front.Close)
		z, err := powerdns.NewZone(acme, front.URL, hostedtest.Ref, hostedtest.Secret(powerdnstest.Key), hostedtest.NewClock())
		if err != nil {
			t.Fatal(err)
		}
		return providertest.ZoneFixture{
			Zone: z, Name: acme,
			Put: func(t *testing.T, sets ...plan.RRset) {
				if err := r.Put(sets...); err != nil {
					t.Fatal(err)
				}
			},
			Read: func(t *testing.T, name, typ string) plan.RRset {
				set, err := r.Set(name, typ)
				if err != nil {
					t.Fatal(err)
				}
				return set
			},
			Serial: func(t *testing.T) uint32 {
				serial, err := (&dns.NameServers{Clock: hostedtest.NewClock()}).Serial(t.Context(), r.Addr, acme)
				if err != nil {
					t.Fatal(err)
				}
				return serial
			},
			LoseAnswer: func() { between.LoseAnswer(1) },
			DropWrite:  func() { between.DropWrite(1) },
		}
	})
}

// forward hands everything on to the server.
func forward(t *testing.T, to string) http.Handler {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	return httputil.NewSingleHostReverseProxy(u)
}

func TestAPIFaults(t *testing.T) {
	s := powerdnstest.Start(t, acme)
	hostedtest.TestAPIFaults(t, hostedtest.APIFixture{
		Zone: acme, Store: s.Store, URL: s.URL, Secret: powerdnstest.Key,
		Open: func(t *testing.T, base string) providers.Zone {
			z, err := powerdns.NewZone(acme, base, hostedtest.Ref, hostedtest.Secret(powerdnstest.Key), hostedtest.NewClock())
			if err != nil {
				t.Fatal(err)
			}
			return z
		},
	})
}
