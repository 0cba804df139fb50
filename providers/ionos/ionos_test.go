package ionos_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns/hosted"
	"github.com/mxodus/mxodus/providers/dns/hosted/hostedtest"
	"github.com/mxodus/mxodus/providers/ionos"
	"github.com/mxodus/mxodus/providers/ionos/ionostest"
	"github.com/mxodus/mxodus/providers/leaks"
	"github.com/mxodus/mxodus/providers/providertest"
)

func TestMain(m *testing.M) { leaks.Main(m) }

const acme = "acme.example."

func open(t *testing.T, key string) (*ionostest.Server, *hosted.Zone, *hostedtest.Clock) {
	t.Helper()
	s := ionostest.Start(t, acme)
	clock := hostedtest.NewClock()
	z, err := ionos.NewZone(acme, s.URL, hostedtest.Ref, hostedtest.Secret(key), clock)
	if err != nil {
		t.Fatal(err)
	}
	return s, z, clock
}

func TestZone(t *testing.T) {
	providertest.TestZone(t, func(t *testing.T) providertest.ZoneFixture {
		s, z, _ := open(t, ionostest.Key)
		return providertest.ZoneFixture{
			Zone: z, Name: acme, Refuses: func(s plan.RRset) bool { return s.Type == "TLSA" },
			Put:        func(_ *testing.T, sets ...plan.RRset) { s.Store.Put(sets...) },
			Read:       func(_ *testing.T, name, typ string) plan.RRset { return s.Store.Set(name, typ) },
			Serial:     func(*testing.T) uint32 { return s.Store.Serial() },
			LoseAnswer: func() { s.LoseAnswer(1) },
			DropWrite:  func() { s.DropWrite(1) },
		}
	})
}

func set(name, typ string, ttl uint32, data ...string) plan.RRset {
	slices.Sort(data)
	return plan.RRset{Name: name, Type: typ, TTL: ttl, Data: data}
}

var (
	oldMX = set(acme, "MX", 300, "10 mx00.ionos.de.", "10 mx01.ionos.de.")
	newMX = set(acme, "MX", 300, "0 acme-example.mail.protection.outlook.com.")
	flip  = []plan.RRsetChange{{Old: oldMX, New: newMX}}
)

// TestFlipIsOnePatch: what senders see changes with one request, and nothing else is asked of the API
// than a reading before and one after.
func TestFlipIsOnePatch(t *testing.T) {
	s, z, _ := open(t, ionostest.Key)
	s.Store.Put(oldMX, set(acme, "TXT", 300, `"v=spf1 include:_spf-eu.ionos.com ~all"`, `"other"`), set("autodiscover."+acme, "CNAME", 300, "adsredir.ionos.info."))
	err := z.Update(t.Context(), []plan.RRsetChange{
		flip[0],
		{Old: s.Store.Set(acme, "TXT"), New: set(acme, "TXT", 300, `"v=spf1 include:spf.protection.outlook.com -all"`, `"other"`)},
		{Old: s.Store.Set("autodiscover."+acme, "CNAME"), New: set("autodiscover."+acme, "CNAME", 300, "autodiscover.outlook.com.")},
	})
	if err != nil {
		t.Fatal(err)
	}
	id := "/dns/v1/zones/11af3414-ebba-11e9-8df5-66fbe8a334b4"
	if got, want := s.Requests(), []string{"GET /dns/v1/zones", "GET " + id, "PATCH " + id, "GET " + id}; !slices.Equal(got, want) {
		t.Errorf("requests %q, want %q", got, want)
	}
}

// TestSwitchedOff: IONOS switches off records of its own services with a write; that is found out.
func TestSwitchedOff(t *testing.T) {
	s, z, _ := open(t, ionostest.Key)
	dkim := set("s1-ionos._domainkey."+acme, "CNAME", 3600, "s1.dkim.ionos.com.")
	s.Store.Put(oldMX, dkim)
	s.Conflicts(acme, "MX", dkim)
	err := z.Update(t.Context(), flip)
	if providers.ReasonOf(err) != providers.Conflict || !strings.Contains(err.Error(), "s1-ionos._domainkey") {
		t.Errorf("Update: %v, want it to name the record that IONOS switched off", err)
	}
	if got := s.Store.Set(acme, "MX"); !got.Equal(newMX) {
		t.Errorf("the MX is %q", got.Lines())
	}
	// Disabled records are not there to whoever reads, and are not lost either.
	if got, err := z.Lookup(t.Context(), dkim.Name, "CNAME"); err != nil || got.Exists() {
		t.Errorf("Lookup: %v, %v; want an absent set", got, err)
	}
	if !slices.ContainsFunc(s.Store.Records(), func(r hostedtest.Record) bool { return r.Name == dkim.Name && r.Disabled }) {
		t.Error("the disabled record is gone")
	}
}

// TestDisabledRecordsStay: a PATCH replaces disabled records of the set as well, so they are sent along.
func TestDisabledRecordsStay(t *testing.T) {
	s, z, _ := open(t, ionostest.Key)
	s.Store.Put(oldMX)
	parked := hostedtest.Record{Name: acme, Type: "MX", TTL: 3600, Data: "50 spare.acme.example.", Disabled: true}
	if err := s.Store.Edit(func(l []hostedtest.Record) ([]hostedtest.Record, error) { return append(l, parked), nil }); err != nil {
		t.Fatal(err)
	}
	if err := z.Update(t.Context(), flip); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(s.Store.Records(), func(r hostedtest.Record) bool { return r.Data == parked.Data && r.Disabled && r.TTL == 3600 }) {
		t.Errorf("the disabled record is gone: %v", s.Store.Records())
	}
}

func TestZonesOfOthers(t *testing.T) {
	for _, c := range []struct {
		name   string
		key    string
		turn   func(*ionostest.Server)
		reason providers.Reason
		remedy string
	}{
		{"a wrong key", "publicprefix.wrong", func(*ionostest.Server) {}, providers.Authentication, "secret.dns"},
		{"a zone of another account", ionostest.Key, func(s *ionostest.Server) { s.Unlisted(true) }, providers.NotFound, "name servers"},
		{"listed, but not to be used", ionostest.Key, func(s *ionostest.Server) { s.Foreign(true) }, providers.Refused, "name servers"},
		{"a secondary", ionostest.Key, func(s *ionostest.Server) { s.Slave(true) }, providers.Refused, "primary"},
		{"an empty key", "", func(*ionostest.Server) {}, providers.Authentication, "copy"},
		{"a key with a line break", "a\nX-Evil: b", func(*ionostest.Server) {}, providers.Authentication, "copy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, z, _ := open(t, c.key)
			s.Store.Put(oldMX)
			c.turn(s)
			_, lookErr := z.Lookup(t.Context(), acme, "MX")
			for op, err := range map[string]error{"Lookup": lookErr, "Update": z.Update(t.Context(), flip)} {
				e, ok := errors.AsType[*providers.Error](err)
				if !ok || e.Reason != c.reason || !strings.Contains(e.Remedy, c.remedy) {
					t.Errorf("%s: %#v, want %s and a remedy with %q", op, err, c.reason, c.remedy)
				}
				if c.key != "" && strings.Contains(fmt.Sprintf("%v %+v", err, e), c.key) {
					t.Errorf("%s: the error shows the key", op)
				}
			}
			if got := s.Store.Set(acme, "MX"); !got.Equal(oldMX) {
				t.Errorf("the MX is %q", got.Lines())
			}
		})
	}
}

// TestRefusalsKeepTheirWords: the error array, whatever of it there is, reaches people.
func TestRefusalsKeepTheirWords(t *testing.T) {
	for _, c := range []struct {
		name   string
		code   int
		body   string
		reason providers.Reason
		words  string
	}{
		{"an array", 400, `[{"code":"INVALID_RECORD","message":"Record is invalid.","parameters":{"invalidFields":["ttl"]}}]`, providers.Refused, `INVALID_RECORD: Record is invalid. {"invalidFields":["ttl"]}`},
		{"without message", 403, `[{"code":"FORBIDDEN_REQUEST"}]`, providers.Refused, "FORBIDDEN_REQUEST"},
		{"no JSON", 400, "<html>proxy</html>", providers.Refused, "<html>proxy</html>"},
		{"nothing at all", 400, "", providers.Refused, "HTTP 400 Bad Request"},
		{"an array of nothing", 400, "[]", providers.Refused, "[]"},
		{"trouble after the commit", 500, `[{"code":"INTERNAL_SERVER_ERROR"}]`, providers.Uncertain, "INTERNAL_SERVER_ERROR"},
		{"an echo of the key", 400, `[{"code":"X","message":"key ` + ionostest.Key + `"}]`, providers.Refused, "X: key …"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, z, _ := open(t, ionostest.Key)
			s.Store.Put(oldMX)
			s.Answer(true, c.code, c.body)
			err := z.Update(t.Context(), flip)
			e, ok := errors.AsType[*providers.Error](err)
			if !ok || e.Reason != c.reason || e.Server != c.words {
				t.Errorf("Update: %#v, want %s with %q", err, c.reason, c.words)
			}
			if got := s.Store.Set(acme, "MX"); !got.Equal(oldMX) {
				t.Errorf("the MX is %q", got.Lines())
			}
		})
	}
}

// TestTemporaryTrouble is waited out: 429 for reading and writing, 5xx for reading.
func TestTemporaryTrouble(t *testing.T) {
	s, z, clock := open(t, ionostest.Key)
	s.Store.Put(oldMX)
	s.Throttle(2, "7")
	s.Answer(false, 503, "")
	if err := z.Update(t.Context(), flip); err != nil {
		t.Fatal(err)
	}
	if clock.Slept() < 14*time.Second {
		t.Errorf("slept %v, want what Retry-After asked for twice", clock.Slept())
	}
	s.Throttle(1, "86400")
	if _, err := z.Lookup(t.Context(), acme, "MX"); providers.ReasonOf(err) != providers.Throttled {
		t.Errorf("Lookup: %v, want it to say that the host asks for a day", err)
	}
}

// TestRate: 25 requests a minute after the first few.
func TestRate(t *testing.T) {
	s, z, clock := open(t, ionostest.Key)
	s.Store.Put(oldMX)
	for range 60 {
		if _, err := z.Lookup(t.Context(), acme, "MX"); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := clock.Slept(), 51*2400*time.Millisecond; got != want {
		t.Errorf("slept %v over 61 requests, want %v", got, want)
	}
}

// TestStaleReading: the API shows the write a moment later.
func TestStaleReading(t *testing.T) {
	s, z, _ := open(t, ionostest.Key)
	s.Store.Put(oldMX)
	s.BeforeWrite(func() { s.Stale(2) })
	if err := z.Update(t.Context(), flip); err != nil {
		t.Errorf("Update: %v, want it to look again", err)
	}
	s.Store.Put(oldMX)
	s.BeforeWrite(func() { s.Stale(100) })
	if err := z.Update(t.Context(), flip); providers.ReasonOf(err) != providers.Uncertain {
		t.Errorf("Update: %v, want it uncertain: nothing shows the write", err)
	}
}

// TestHalfAWrite: the CNAME is deleted, then the TXT is refused; the CNAME comes back.
func TestHalfAWrite(t *testing.T) {
	s, z, _ := open(t, ionostest.Key)
	alias := set("_dmarc."+acme, "CNAME", 3600, "dmarc.ionos.de.")
	s.Store.Put(alias)
	changes := []plan.RRsetChange{
		{Old: alias, New: plan.RRset{Name: alias.Name, Type: "CNAME"}},
		{Old: plan.RRset{Name: alias.Name, Type: "TXT"}, New: set(alias.Name, "TXT", 3600, `"v=DMARC1; p=none"`)},
	}
	s.BeforeWrite(func() { s.Answer(true, 400, `[{"code":"INVALID_RECORD"}]`) })
	if err := z.Update(t.Context(), changes); providers.ReasonOf(err) != providers.Refused {
		t.Errorf("Update: %v, want the refusal", err)
	}
	if got := s.Store.Set(alias.Name, "CNAME"); !got.Equal(alias) {
		t.Errorf("the CNAME is %q, want it back", got.Lines())
	}
	if err := z.Update(t.Context(), changes); err != nil {
		t.Error(err)
	}
}

// TestLostInTheMiddle: of a set of three that is deleted, the second answer gets lost. A set that is
// half gone would be neither as planned nor as wanted to the next look, so it is finished.
func TestLostInTheMiddle(t *testing.T) {
	for n := 1; n <= 3; n++ {
		for _, lost := range []string{"answer", "write"} {
			t.Run(fmt.Sprintf("%s %d", lost, n), func(t *testing.T) {
				s, z, _ := open(t, ionostest.Key)
				three := set("x."+acme, "A", 300, "192.0.2.1", "192.0.2.2", "192.0.2.3")
				s.Store.Put(three)
				if lost == "answer" {
					s.LoseAnswer(n)
				} else {
					s.DropWrite(n)
				}
				change := []plan.RRsetChange{{Old: three, New: plan.RRset{Name: three.Name, Type: "A"}}}
				err := z.Update(t.Context(), change)
				now := s.Store.Set(three.Name, "A")
				switch {
				case err == nil && !now.Exists():
				case providers.ReasonOf(err) == providers.Uncertain && (now.Equal(three) || !now.Exists()):
				default:
					t.Errorf("Update: %v, the set is %q", err, now.Lines())
				}
				if err := z.Update(t.Context(), change); err != nil || s.Store.Set(three.Name, "A").Exists() {
					t.Errorf("again: %v, %q", err, s.Store.Set(three.Name, "A").Lines())
				}
			})
		}
	}
}

func TestAPIFaults(t *testing.T) {
	s := ionostest.Start(t, acme)
	hostedtest.TestAPIFaults(t, hostedtest.APIFixture{
		Zone: acme, Store: s.Store, URL: s.URL, Secret: ionostest.Key,
		Open: func(t *testing.T, base string) providers.Zone {
			z, err := ionos.NewZone(acme, base, hostedtest.Ref, hostedtest.Secret(ionostest.Key), hostedtest.NewClock())
			if err != nil {
				t.Fatal(err)
			}
			return z
		},
	})
}
