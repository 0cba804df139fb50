package providertest

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// ZoneFixture is a zone under test, with ways around its provider.
type ZoneFixture struct {
	Zone providers.Zone
	Name string // the zone's name: "acme.example."

	// Put writes sets past the provider, as an administrator does; a set without data is deleted.
	Put func(t *testing.T, sets ...plan.RRset)
	// Read reads one set from the server itself, not by the provider.
	Read func(t *testing.T, name, typ string) plan.RRset

	// Refuses tells sets that the system can't hold, such as of a type that it doesn't know: Update must
	// refuse them before it writes. nil = it holds all.
	Refuses func(plan.RRset) bool

	// What follows may be nil where the system can't be made to do it; the cases are
	// skipped then, by name.

	// Serial counts the writes that changed something.
	Serial func(t *testing.T) uint32
	// BeforeWrite runs f when the next write is on its way: after the provider has
	// looked, before the system gets the write.
	BeforeWrite func(f func())
	// LoseAnswer has the next write carried out and its answer lost.
	LoseAnswer func()
	// DropWrite loses the next write itself; to the provider it looks the same.
	DropWrite func()
}

// TestZone runs the suite for providers.Zone. open is called once; the zone
// it returns may hold anything below other names than the suite's own (c1, c2,
// … below the zone), and nothing at the apex but SOA and NS.
//
// Each case converges once, must then show no change, and leaves every other
// name alone.
func TestZone(t *testing.T, open func(t *testing.T) ZoneFixture) {
	f := open(t)
	s := &zoneSuite{ZoneFixture: f}
	s.Put(t, s.bystanders()...)
	t.Run("converge", s.converge)
	t.Run("conflict", s.conflicts)
	t.Run("refuse", s.refusals)
	t.Run("read", s.reading)
	t.Run("instructions", s.instructing)
	if s.Zone.Features().ByHand {
		return
	}
	t.Run("atomic", s.atomicity)
	t.Run("race", s.races)
	t.Run("lost", s.lostAnswers)
}

type zoneSuite struct {
	ZoneFixture
	cases int
}

// next is a name below the zone that no case used yet.
func (s *zoneSuite) next() string {
	s.cases++
	return "c" + strconv.Itoa(s.cases) + "." + s.Name
}

// bystanders are sets that no case touches. Their spelling is odd on purpose.
func (s *zoneSuite) bystanders() []plan.RRset {
	at := func(label, typ string, ttl uint32, data ...string) plan.RRset {
		return plan.RRset{Name: label + "." + s.Name, Type: typ, TTL: ttl, Data: data}
	}
	return []plan.RRset{
		at("bystander", "A", 3600, "192.0.2.250", "192.0.2.251"),
		at("bystander", "TXT", 7200, `"left \"alone\""`, `"v=spf1 -all"`),
		at("bystander", "MX", 60, "10 mx1.bystander.example.", "20 mx2.bystander.example."),
		at("_sip._tcp.bystander", "SRV", 300, "0 5 5060 sip.bystander.example."),
		at("alias.bystander", "CNAME", 900, "target.bystander.example."),
	}
}

// untouched fails when a bystander has changed.
func (s *zoneSuite) untouched(t *testing.T) {
	t.Helper()
	for _, want := range s.bystanders() {
		if got := s.Read(t, want.Name, want.Type); !got.Equal(want) {
			t.Errorf("%s %s was changed: %q, was %q", want.Name, want.Type, got.Lines(), want.Lines())
		}
	}
}

// holds fails unless the provider and the server itself both show want.
func (s *zoneSuite) holds(t *testing.T, want plan.RRset) {
	t.Helper()
	got, err := s.Zone.Lookup(t.Context(), want.Name, want.Type)
	if err != nil {
		t.Fatalf("Lookup %s %s: %v", want.Name, want.Type, err)
	}
	if got.Name != want.Name || got.Type != want.Type {
		t.Errorf("Lookup %s %s answers for %s %s", want.Name, want.Type, got.Name, got.Type)
	}
	if !got.Equal(want) {
		t.Errorf("Lookup %s %s\n got %q\nwant %q", want.Name, want.Type, got.Lines(), want.Lines())
	}
	if !slices.IsSorted(got.Data) {
		t.Errorf("Lookup %s %s is not sorted: %q", want.Name, want.Type, got.Data)
	}
	if raw := s.Read(t, want.Name, want.Type); !raw.Equal(want) {
		t.Errorf("the server holds %s %s\n got %q\nwant %q", want.Name, want.Type, raw.Lines(), want.Lines())
	}
}

// update changes the zone as its provider does it; a person stands in where it is by hand.
func (s *zoneSuite) update(t *testing.T, changes []plan.RRsetChange) error {
	t.Helper()
	if !s.Zone.Features().ByHand {
		return s.Zone.Update(t.Context(), changes)
	}
	if err := s.Zone.Update(t.Context(), changes); providers.ReasonOf(err) != providers.Refused {
		t.Errorf("Update of a zone by hand: %v, want a refusal", err)
	}
	var sets []plan.RRset
	for _, c := range changes {
		s.holds(t, c.Old) // the refused update must have changed nothing
		sets = append(sets, c.New)
	}
	s.Put(t, sets...)
	return nil
}

// serial is 0 where it can't be had.
func (s *zoneSuite) serial(t *testing.T) uint32 {
	t.Helper()
	if s.Serial == nil {
		return 0
	}
	return s.Serial(t)
}

// settled fails when a second run finds something to do.
func (s *zoneSuite) settled(t *testing.T, changes []plan.RRsetChange) {
	t.Helper()
	if s.Zone.Features().ByHand {
		return
	}
	before := s.serial(t)
	if err := s.Zone.Update(t.Context(), changes); err != nil {
		t.Errorf("the same update again: %v", err)
	}
	if after := s.serial(t); after != before {
		t.Errorf("the same update again has written: serial %d, was %d", after, before)
	}
}

// converge walks each case's sets through their states.
func (s *zoneSuite) converge(t *testing.T) {
	for _, c := range zoneCases {
		t.Run(c.name, func(t *testing.T) {
			name := s.next()
			if bad, ok := s.unserved(c, name); ok {
				s.refuses(t, bad)
				return
			}
			was := map[string]plan.RRset{}
			for i, state := range c.states {
				var changes []plan.RRsetChange
				for _, want := range state {
					want = s.clamped(placed(want, name))
					key := want.Name + " " + want.Type
					old, known := was[key]
					if !known {
						old = plan.RRset{Name: want.Name, Type: want.Type}
					}
					changes = append(changes, plan.RRsetChange{Old: old, New: want})
					was[key] = want
				}
				if err := s.update(t, changes); err != nil {
					t.Fatalf("state %d: %v", i+1, err)
				}
				for _, ch := range changes {
					s.holds(t, ch.New)
				}
				s.settled(t, changes)
			}
			s.untouched(t)
		})
	}
}

// clamped has a TTL that the system takes; the suite asks for the ends of what DNS allows.
func (s *zoneSuite) clamped(set plan.RRset) plan.RRset {
	f := s.Zone.Features()
	if set.Exists() {
		set.TTL = max(set.TTL, f.MinimumTTL)
		if f.MaximumTTL > 0 {
			set.TTL = min(set.TTL, f.MaximumTTL)
		}
	}
	return set
}

// unserved is the first set of the case that the system can't hold.
func (s *zoneSuite) unserved(c zoneCase, name string) (plan.RRset, bool) {
	if s.Refuses == nil {
		return plan.RRset{}, false
	}
	for _, state := range c.states {
		for _, set := range state {
			if set = s.clamped(placed(set, name)); set.Exists() && s.Refuses(set) {
				return set, true
			}
		}
	}
	return plan.RRset{}, false
}

// refuses fails unless the set is refused with nothing written, also not what is beside it in the update.
func (s *zoneSuite) refuses(t *testing.T, bad plan.RRset) {
	t.Helper()
	good := placed(rr("good", "A", 300, "192.0.2.1"), bad.Name)
	before := s.serial(t)
	err := s.Zone.Update(t.Context(), []plan.RRsetChange{
		{Old: plan.RRset{Name: good.Name, Type: "A"}, New: good},
		{Old: plan.RRset{Name: bad.Name, Type: bad.Type}, New: bad},
	})
	refusedAs(t, err, providers.Refused)
	if after := s.serial(t); after != before {
		t.Errorf("a refused update has written: serial %d, was %d", after, before)
	}
	s.holds(t, plan.RRset{Name: good.Name, Type: "A"})
}

// placed puts a case's set below the case's name; "@" is that name.
func placed(set plan.RRset, name string) plan.RRset {
	if set.Name == "@" {
		set.Name = name
	} else {
		set.Name = set.Name + "." + name
	}
	set.Data = slices.Clone(set.Data)
	for i, data := range set.Data {
		set.Data[i] = strings.ReplaceAll(data, "@@", name)
	}
	slices.Sort(set.Data)
	return set
}

func rr(name, typ string, ttl uint32, data ...string) plan.RRset {
	return plan.RRset{Name: name, Type: typ, TTL: ttl, Data: data}
}

func gone(name, typ string) plan.RRset { return plan.RRset{Name: name, Type: typ} }

// live are all sets of the zone as far as they can be listed.
func (s *zoneSuite) live(t *testing.T) []plan.RRset {
	t.Helper()
	sets, complete, err := s.Zone.Records(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatalf("Records: %v", err)
	}
	if !complete {
		if len(sets) > 0 {
			t.Errorf("an incomplete zone holds %d sets, want none", len(sets))
		}
		return nil
	}
	return sets
}
