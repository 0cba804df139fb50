package hetzner_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns/hosted"
	"github.com/mxodus/mxodus/providers/dns/hosted/hostedtest"
	"github.com/mxodus/mxodus/providers/hetzner"
	"github.com/mxodus/mxodus/providers/hetzner/hetznertest"
	"github.com/mxodus/mxodus/providers/leaks"
	"github.com/mxodus/mxodus/providers/providertest"
)

func TestMain(m *testing.M) { leaks.Main(m) }

const acme = "acme.example."

func open(t *testing.T, zone, token string) (*hetznertest.Server, *hosted.Zone, *hostedtest.Clock) {
	t.Helper()
	s := hetznertest.Start(t, acme)
	clock := hostedtest.NewClock()
	z, err := hetzner.NewZone(zone, s.URL, hostedtest.Ref, hostedtest.Secret(token), clock)
	if err != nil {
		t.Fatal(err)
	}
	return s, z, clock
}

// TestZone runs the suite but for lost answers: several sets are several requests here, which
// TestLostAnywhere loses one by one.
func TestZone(t *testing.T) {
	providertest.TestZone(t, func(t *testing.T) providertest.ZoneFixture {
		s, z, _ := open(t, acme, hetznertest.Token)
		return providertest.ZoneFixture{
			Zone: z, Name: acme,
			Put:    func(_ *testing.T, sets ...plan.RRset) { s.Store.Put(sets...) },
			Read:   func(_ *testing.T, name, typ string) plan.RRset { return s.Store.Set(name, typ) },
			Serial: func(*testing.T) uint32 { return s.Store.Serial() },
		}
	})
}

func set(name, typ string, ttl uint32, data ...string) plan.RRset {
	return plan.RRset{Name: name, Type: typ, TTL: ttl, Data: data}
}

// TestLostAnywhere: whichever request or answer gets lost, each set is as it was or as wanted, the caller
// knows when to look, and a second run brings the rest.
func TestLostAnywhere(t *testing.T) {
	changes := []plan.RRsetChange{
		{Old: set(acme, "MX", 3600, "10 mx00.old.example.", "10 mx01.old.example."), New: set(acme, "MX", 300, "0 new.example.")},
		{Old: set(acme, "TXT", 300, `"v=spf1 -all"`), New: set(acme, "TXT", 300, `"v=spf1 mx -all"`)},
		{Old: set("_dmarc."+acme, "CNAME", 300, "dmarc.old.example."), New: plan.RRset{Name: "_dmarc." + acme, Type: "CNAME"}},
		{Old: plan.RRset{Name: "_dmarc." + acme, Type: "TXT"}, New: set("_dmarc."+acme, "TXT", 300, `"v=DMARC1; p=none"`)},
	}
	for n := 1; n <= 6; n++ {
		for _, lost := range []string{"answer", "request"} {
			t.Run(fmt.Sprintf("%s %d", lost, n), func(t *testing.T) {
				s, z, _ := open(t, acme, hetznertest.Token)
				for _, c := range changes {
					s.Store.Put(c.Old)
				}
				if lost == "answer" {
					s.LoseAnswer(n)
				} else {
					s.DropWrite(n)
				}
				err := z.Update(t.Context(), changes)
				if err != nil && providers.ReasonOf(err) != providers.Uncertain {
					t.Fatalf("Update: %v", err)
				}
				var left []plan.RRsetChange
				for _, c := range changes {
					now := s.Store.Set(c.New.Name, c.New.Type)
					switch {
					case now.Equal(c.New):
					case err != nil && now.Equal(c.Old):
						left = append(left, c)
					default:
						t.Errorf("%s %s is %q (%v)", c.New.Name, c.New.Type, now.Lines(), err)
					}
				}
				if err := z.Update(t.Context(), left); err != nil {
					t.Errorf("the rest: %v", err)
				}
				for _, c := range changes {
					if now := s.Store.Set(c.New.Name, c.New.Type); !now.Equal(c.New) {
						t.Errorf("%s %s is %q", c.New.Name, c.New.Type, now.Lines())
					}
				}
			})
		}
	}
}

func TestActions(t *testing.T) {
	change := []plan.RRsetChange{{Old: plan.RRset{Name: acme, Type: "MX"}, New: set(acme, "MX", 300, "0 new.example.")}}
	s, z, clock := open(t, acme, hetznertest.Token)
	s.Slow(3)
	if err := z.Update(t.Context(), change); err != nil || clock.Slept() < 3*time.Second {
		t.Errorf("a slow action: %v after %v", err, clock.Slept())
	}
	s, z, _ = open(t, acme, hetznertest.Token)
	s.FailNext("action_failed")
	if err := z.Update(t.Context(), change); providers.ReasonOf(err) != providers.Refused || s.Store.Set(acme, "MX").Exists() {
		t.Errorf("an action that fails: %v", err)
	}
	s, z, _ = open(t, acme, hetznertest.Token)
	s.Store.Put(set(acme, "MX", 300, "10 old.example."))
	s.Protect("@", "MX")
	if err := z.Update(t.Context(), []plan.RRsetChange{{Old: set(acme, "MX", 300, "10 old.example."), New: change[0].New}}); providers.ReasonOf(err) != providers.Refused {
		t.Errorf("a protected set: %v", err)
	}
	s, z, _ = open(t, acme, hetznertest.Token)
	s.Answer(true, 423, `{"error":{"code":"locked","message":"zone is locked by another action"}}`)
	if err := z.Update(t.Context(), change); err != nil {
		t.Errorf("a zone that is locked for a moment: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	_, z, _ := open(t, acme, "wrong")
	if _, err := z.Lookup(t.Context(), acme, "MX"); providers.ReasonOf(err) != providers.Authentication {
		t.Errorf("a wrong token: %v", err)
	}
	_, z, _ = open(t, "other.example.", hetznertest.Token)
	if _, err := z.Lookup(t.Context(), "other.example.", "MX"); providers.ReasonOf(err) != providers.NotFound {
		t.Errorf("no such zone: %v", err)
	}
	s, z, _ := open(t, acme, hetznertest.Token)
	s.Secondary()
	if _, err := z.Lookup(t.Context(), acme, "MX"); providers.ReasonOf(err) != providers.Refused {
		t.Errorf("a secondary: %v", err)
	}
}

func TestAPIFaults(t *testing.T) {
	s := hetznertest.Start(t, acme)
	hostedtest.TestAPIFaults(t, hostedtest.APIFixture{
		Zone: acme, Store: s.Store, URL: s.URL, Secret: hetznertest.Token,
		Open: func(t *testing.T, base string) providers.Zone {
			z, err := hetzner.NewZone(acme, base, hostedtest.Ref, hostedtest.Secret(hetznertest.Token), hostedtest.NewClock())
			if err != nil {
				t.Fatal(err)
			}
			return z
		},
	})
}
