package cloudflare_test

import (
	"strings"
	"testing"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/cloudflare"
	"github.com/mxodus/mxodus/providers/cloudflare/cloudflaretest"
	"github.com/mxodus/mxodus/providers/dns/hosted"
	"github.com/mxodus/mxodus/providers/dns/hosted/hostedtest"
	"github.com/mxodus/mxodus/providers/leaks"
	"github.com/mxodus/mxodus/providers/providertest"
)

func TestMain(m *testing.M) { leaks.Main(m) }

const acme = "acme.example."

func open(t *testing.T, zone, token string) (*cloudflaretest.Server, *hosted.Zone) {
	t.Helper()
	s := cloudflaretest.Start(t, acme)
	z, err := cloudflare.NewZone(zone, s.URL, hostedtest.Ref, hostedtest.Secret(token), hostedtest.NewClock())
	if err != nil {
		t.Fatal(err)
	}
	return s, z
}

func TestZone(t *testing.T) {
	providertest.TestZone(t, func(t *testing.T) providertest.ZoneFixture {
		s, z := open(t, acme, cloudflaretest.Token)
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
	_, z := open(t, acme, "wrong")
	if _, err := z.Lookup(t.Context(), acme, "MX"); providers.ReasonOf(err) != providers.Authentication || !strings.Contains(err.Error(), "10000: Authentication error") {
		t.Errorf("a wrong token: %v", err)
	}
	_, z = open(t, "sub.acme.example.", cloudflaretest.Token)
	if _, err := z.Lookup(t.Context(), "sub.acme.example.", "MX"); providers.ReasonOf(err) != providers.NotFound {
		t.Errorf("no such zone: %v", err)
	}
}

// TestProxied: the TTL of a proxied record can't be lowered, and other data ends the proxy.
func TestProxied(t *testing.T) {
	s, z := open(t, acme, cloudflaretest.Token)
	old := plan.RRset{Name: "autodiscover." + acme, Type: "CNAME", TTL: 300, Data: []string{"old.example."}}
	s.Store.Put(old)
	s.Proxy(old.Name, "CNAME")
	slow := old
	slow.TTL = 3600
	if err := z.Update(t.Context(), []plan.RRsetChange{{Old: old, New: slow}}); providers.ReasonOf(err) != providers.Refused || !strings.Contains(err.Error(), "proxied") {
		t.Errorf("Update: %v, want a refusal", err)
	}
	next := plan.RRset{Name: old.Name, Type: "CNAME", TTL: 300, Data: []string{"new.example."}}
	if err := z.Update(t.Context(), []plan.RRsetChange{{Old: old, New: next}}); err != nil {
		t.Error(err)
	}
}

// TestOverwrites: one request, in which the new MX overwrites an old one.
func TestOverwrites(t *testing.T) {
	s, z := open(t, acme, cloudflaretest.Token)
	old := plan.RRset{Name: acme, Type: "MX", TTL: 300, Data: []string{"10 mx00.old.example.", "10 mx01.old.example."}}
	s.Store.Put(old)
	id := s.Store.Records()[0].ID
	if err := z.Update(t.Context(), []plan.RRsetChange{{Old: old, New: plan.RRset{Name: acme, Type: "MX", TTL: 300, Data: []string{"0 new.example."}}}}); err != nil {
		t.Fatal(err)
	}
	if list := s.Store.Records(); len(list) != 1 || list[0].ID != id {
		t.Errorf("records %v, want the first overwritten", list)
	}
	writes := 0
	for _, r := range s.Requests() {
		if !strings.HasPrefix(r, "GET ") {
			writes++
		}
	}
	if writes != 1 {
		t.Errorf("%d writes, want one", writes)
	}
}

func TestAPIFaults(t *testing.T) {
	s := cloudflaretest.Start(t, acme)
	hostedtest.TestAPIFaults(t, hostedtest.APIFixture{
		Zone: acme, Store: s.Store, URL: s.URL, Secret: cloudflaretest.Token,
		Open: func(t *testing.T, base string) providers.Zone {
			z, err := cloudflare.NewZone(acme, base, hostedtest.Ref, hostedtest.Secret(cloudflaretest.Token), hostedtest.NewClock())
			if err != nil {
				t.Fatal(err)
			}
			return z
		},
	})
}
