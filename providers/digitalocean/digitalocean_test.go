package digitalocean_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/digitalocean"
	"github.com/mxodus/mxodus/providers/digitalocean/digitaloceantest"
	"github.com/mxodus/mxodus/providers/dns/hosted"
	"github.com/mxodus/mxodus/providers/dns/hosted/hostedtest"
	"github.com/mxodus/mxodus/providers/leaks"
	"github.com/mxodus/mxodus/providers/providertest"
)

func TestMain(m *testing.M) { leaks.Main(m) }

const acme = "acme.example."

func open(t *testing.T, zone, token string) (*digitaloceantest.Server, *hosted.Zone) {
	t.Helper()
	s := digitaloceantest.Start(t, acme)
	z, err := digitalocean.NewZone(zone, s.URL, hostedtest.Ref, hostedtest.Secret(token), hostedtest.NewClock())
	if err != nil {
		t.Fatal(err)
	}
	return s, z
}

// unfit are sets of the suite that DigitalOcean can't hold.
func unfit(set plan.RRset) bool {
	for _, data := range set.Data {
		text, err := plan.TXTText(data)
		odd := err == nil && (text == "" || len(text) > 512 || strings.TrimSpace(text) != text || strings.ContainsAny(text, "\"\\\x00\t\xc3"))
		if set.Type == "TLSA" || set.Type == "MX" && data == "0 ." || set.Type == "CAA" && strings.Contains(data, ";") || set.Type == "TXT" && odd {
			return true
		}
	}
	return false
}

// TestZone runs the suite but for lost answers: each record is a request here, and
// TestLostAnywhere loses them one by one.
func TestZone(t *testing.T) {
	providertest.TestZone(t, func(t *testing.T) providertest.ZoneFixture {
		s, z := open(t, acme, digitaloceantest.Token)
		return providertest.ZoneFixture{
			Zone: z, Name: acme, Refuses: unfit,
			Put:    func(_ *testing.T, sets ...plan.RRset) { s.Store.Put(sets...) },
			Read:   func(_ *testing.T, name, typ string) plan.RRset { return s.Store.Set(name, typ) },
			Serial: func(*testing.T) uint32 { return s.Store.Serial() },
		}
	})
}

func set(name, typ string, ttl uint32, data ...string) plan.RRset {
	return plan.RRset{Name: name, Type: typ, TTL: ttl, Data: data}
}

// TestLostAnywhere: whichever request or answer gets lost, no set is left half old and half new.
func TestLostAnywhere(t *testing.T) {
	changes := []plan.RRsetChange{
		{Old: set(acme, "MX", 3600, "10 mx00.old.example.", "10 mx01.old.example.", "20 mx02.old.example."), New: set(acme, "MX", 300, "0 a.new.example.", "5 mx01.old.example.")},
		{Old: set(acme, "TXT", 300, `"keep"`, `"v=spf1 -all"`), New: set(acme, "TXT", 300, `"keep"`, `"v=spf1 mx -all"`)},
		{Old: set("_dmarc."+acme, "CNAME", 300, "dmarc.old.example."), New: plan.RRset{Name: "_dmarc." + acme, Type: "CNAME"}},
		{Old: plan.RRset{Name: "_dmarc." + acme, Type: "TXT"}, New: set("_dmarc."+acme, "TXT", 300, `"v=DMARC1; p=none"`)},
	}
	for n := 1; n <= 7; n++ {
		for _, lost := range []string{"answer", "request", "refusal"} {
			t.Run(fmt.Sprintf("%s %d", lost, n), func(t *testing.T) {
				s, z := open(t, acme, digitaloceantest.Token)
				for _, c := range changes {
					s.Store.Put(c.Old)
				}
				switch lost {
				case "answer":
					s.LoseAnswer(n)
				case "request":
					s.DropWrite(n)
				case "refusal":
					s.Refuse(n, 422, `{"id":"unprocessable_entity","message":"no"}`)
				}
				err := z.Update(t.Context(), changes)
				var left []plan.RRsetChange
				for _, c := range changes {
					now := s.Store.Set(c.New.Name, c.New.Type)
					switch {
					case now.Equal(c.New) && lost != "refusal":
					case now.Equal(c.New) && err == nil:
					case err != nil && now.Equal(c.Old):
						left = append(left, c)
					default:
						t.Errorf("%s %s is %q (%v)", c.New.Name, c.New.Type, now.Lines(), err)
					}
				}
				if lost == "refusal" && err != nil && len(left) != len(changes) {
					t.Errorf("a refused update left %d of %d sets changed", len(changes)-len(left), len(changes))
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

func TestRefusals(t *testing.T) {
	_, z := open(t, acme, "wrong")
	if _, err := z.Lookup(t.Context(), acme, "MX"); providers.ReasonOf(err) != providers.Authentication {
		t.Errorf("a wrong token: %v", err)
	}
	_, z = open(t, "other.example.", digitaloceantest.Token)
	if _, err := z.Lookup(t.Context(), "other.example.", "MX"); providers.ReasonOf(err) != providers.NotFound {
		t.Errorf("no such zone: %v", err)
	}
}

func TestAPIFaults(t *testing.T) {
	s := digitaloceantest.Start(t, acme)
	hostedtest.TestAPIFaults(t, hostedtest.APIFixture{
		Zone: acme, Store: s.Store, URL: s.URL, Secret: digitaloceantest.Token,
		Open: func(t *testing.T, base string) providers.Zone {
			z, err := digitalocean.NewZone(acme, base, hostedtest.Ref, hostedtest.Secret(digitaloceantest.Token), hostedtest.NewClock())
			if err != nil {
				t.Fatal(err)
			}
			return z
		},
	})
}
