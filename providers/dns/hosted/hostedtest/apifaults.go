package hostedtest

import (
	"errors"
	"flag"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/https/httpstest"
)

// APIFixture is a host's double under TestAPIFaults.
type APIFixture struct {
	Zone   string // canonical
	Store  *Store
	URL    string // of the double's interface
	Secret string
	// Open makes the provider of the interface at base, anew.
	Open func(t *testing.T, base string) providers.Zone
}

var (
	onlyFault = flag.String("api-fault", "", "only this fault of an API, to see a failure again")
	rounds    = flag.Int("fault-rounds", 1, "more than one: every fault at every request (make torture)")
)

// TestAPIFaults has each request of an update meet each fault of httpstest. After it the record sets are as they were or as wanted; an error says
// what happened, with the host's words and without the secret; nothing of the zone beside has changed; a second run brings what is left,
// and a write that was carried out is not made again. What is endless costs bounded memory.
func TestAPIFaults(t *testing.T, f APIFixture) {
	t.Parallel()
	u, err := url.Parse(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := &apiSuite{APIFixture: f, proxy: httpstest.Start(t, u.Scheme+"://"+u.Host)}
	s.base = s.proxy.URL + u.Path
	for i := range 17 { // so that lists have pages
		s.beside = append(s.beside, plan.RRset{Name: fmt.Sprintf("beside%02d.%s", i, f.Zone), Type: "A", TTL: 3600, Data: []string{fmt.Sprintf("192.0.2.%d", 100+i)}})
	}
	at := func(label, typ string, data ...string) plan.RRset {
		return plan.RRset{Name: label + f.Zone, Type: typ, TTL: 300, Data: data}
	}
	one := []plan.RRsetChange{{Old: at("", "MX", "10 mx.old.example."), New: at("", "MX", "0 mx.new.example.")}}
	three := append(slices.Clone(one),
		plan.RRsetChange{Old: at("", "TXT", `"v=spf1 include:old.example -all"`), New: at("", "TXT", `"v=spf1 include:new.example -all"`)},
		plan.RRsetChange{Old: at("autodiscover.", "CNAME", "old.example."), New: at("autodiscover.", "CNAME", "new.example.")},
		plan.RRsetChange{Old: plan.RRset{Name: "fresh." + f.Zone, Type: "TXT"}, New: at("fresh.", "TXT", `"new"`)},
		plan.RRsetChange{Old: at("gone.", "CNAME", "old.example."), New: plan.RRset{Name: "gone." + f.Zone, Type: "CNAME"}},
	)
	t.Run("one set", func(t *testing.T) { s.run(t, one) })
	t.Run("several sets", func(t *testing.T) { s.run(t, three) })
}

type apiSuite struct {
	APIFixture
	proxy  *httpstest.Proxy
	base   string
	beside []plan.RRset
}

// fresh is the zone before changes, and a provider that knows nothing.
func (s *apiSuite) fresh(t *testing.T, changes []plan.RRsetChange) providers.Zone {
	t.Helper()
	s.Store.Put(s.beside...)
	for _, c := range changes {
		s.Store.Put(plan.RRset{Name: c.New.Name, Type: c.New.Type})
	}
	for _, c := range changes {
		s.Store.Put(c.Old)
	}
	return s.Open(t, s.base)
}

func (s *apiSuite) run(t *testing.T, changes []plan.RRsetChange) {
	zone := s.fresh(t, changes)
	s.proxy.Spoil(0, httpstest.Fault{})
	if err := zone.Update(t.Context(), changes); err != nil {
		t.Fatalf("without faults: %v", err)
	}
	requests, writes := s.proxy.Counts()
	at := s.proxy.Writes()
	often := 4 // of the requests that only read, one in so many
	if len(changes) > 1 {
		often = 8
	}
	if requests < 3 || writes < 1 {
		t.Fatalf("without faults: %d requests, %d writes", requests, writes)
	}
	inflicted := 0
	for i, f := range httpstest.Faults() {
		if f.Slow || *onlyFault != "" && f.Name != *onlyFault {
			continue // providers/dns/hosted tries the slow ones, with less patience
		}
		for n := 1; n <= requests; n++ {
			sampled := (i+n)%often == 0 || slices.Contains(at, n) && (len(changes) == 1 || (i+n)%3 == 0)
			if f.Pages {
				sampled = len(changes) == 1 && (n == 1 || n == requests)
			}
			if *rounds == 1 && *onlyFault == "" && (f.Large || !sampled) {
				continue // the client's own tests try the large ones
			}
			if s.one(t, f, n, changes, writes) {
				inflicted++
			}
			if t.Failed() {
				t.Fatalf("request %d: %s; again: -run %s -api-fault %q", n, f.Name, t.Name(), f.Name)
			}
		}
	}
	faults.Count(t, "API faults", inflicted)
	t.Logf("%d faults of %d kinds at %d requests", inflicted, len(httpstest.Faults()), requests)
}

// one has the nth request meet f; it reports whether that made a difference.
func (s *apiSuite) one(t *testing.T, f httpstest.Fault, n int, changes []plan.RRsetChange, writes int) bool {
	t.Helper()
	zone := s.fresh(t, changes)
	s.proxy.Spoil(n, f)
	err := zone.Update(t.Context(), changes)
	met := s.proxy.Inflicted()
	_, carried := s.proxy.Counts()
	s.proxy.Clear()
	s.judge(t, f, changes, err, met)

	var left []plan.RRsetChange
	for _, c := range changes {
		if now := s.Store.Set(c.New.Name, c.New.Type); !now.Equal(c.New) {
			left = append(left, plan.RRsetChange{Old: now, New: c.New})
		}
	}
	s.proxy.Spoil(0, httpstest.Fault{})
	if err := zone.Update(t.Context(), left); err != nil {
		t.Errorf("the rest, without faults: %v", err)
	}
	_, more := s.proxy.Counts()
	if len(changes) == 1 && carried+more != writes {
		t.Errorf("%d writes were carried out, and %d with the second run; want %d in all", carried, more, writes)
	}
	for _, c := range changes {
		if now := s.Store.Set(c.New.Name, c.New.Type); !now.Equal(c.New) {
			t.Errorf("at the end %s %s is %q", c.New.Name, c.New.Type, now.Lines())
		}
	}
	for _, b := range s.beside {
		if now := s.Store.Set(b.Name, b.Type); !now.Equal(b) {
			t.Errorf("%s was changed to %q", b.Name, now.Lines())
		}
	}
	s.proxy.Spoil(0, httpstest.Fault{})
	if err := zone.Update(t.Context(), changes); err != nil {
		t.Errorf("once more: %v", err)
	}
	if _, carried := s.proxy.Counts(); carried > 0 {
		t.Errorf("once more: %d writes, and nothing was left to do", carried)
	}
	if n := s.proxy.Astray(); n > 0 {
		t.Errorf("%d requests went to another host", n)
	}
	if n := s.proxy.Poured(); n > 100<<20 {
		t.Errorf("%d octets of an endless answer were taken", n)
	}
	return met
}

// judge holds the zone and the error against each other.
func (s *apiSuite) judge(t *testing.T, f httpstest.Fault, changes []plan.RRsetChange, err error, met bool) {
	t.Helper()
	written := false // and not taken back
	for _, c := range changes {
		now := s.Store.Set(c.New.Name, c.New.Type)
		written = written || !now.Equal(c.Old)
		if !now.Equal(c.New) && (err == nil || !now.Equal(c.Old)) {
			t.Errorf("%s %s is %q (%v)", c.New.Name, c.New.Type, now.Lines(), err)
		}
	}
	if err == nil {
		return
	}
	e, ok := errors.AsType[*providers.Error](err)
	switch {
	case !met:
		t.Errorf("an error, and nothing has happened: %v", err)
	case !ok || e.Remedy == "":
		t.Errorf("an error without a remedy: %#v", err)
	case e.Reason == providers.Conflict && f.Name != "409" && f.Name != "412":
		t.Errorf("nobody has changed the zone, and the error says so: %v", err)
	case written && e.Reason != providers.Uncertain:
		t.Errorf("something was written, and the error says %s: %v", e.Reason, err)
	case strings.Contains(err.Error(), "took the write, but shows"):
		// A 404 to a deletion says that the record is gone; that it isn't is seen afterwards.
	case f.Speaks && !strings.Contains(err.Error(), httpstest.Words):
		t.Errorf("the host's words are lost: %v", err)
	}
	if strings.Contains(fmt.Sprintf("%v %+v", err, e), s.Secret) {
		t.Errorf("the error shows the secret: %v", err)
	}
}
