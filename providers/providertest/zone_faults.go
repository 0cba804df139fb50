package providertest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// refusedAs fails unless err is of that reason and tells what a person can do.
func refusedAs(t *testing.T, err error, want providers.Reason) {
	t.Helper()
	if got := providers.ReasonOf(err); got != want {
		t.Fatalf("error %v is of reason %q, want %q", err, got, want)
	}
	if e, ok := errors.AsType[*providers.Error](err); ok && e.Remedy == "" {
		t.Errorf("error %v has no remedy", err)
	}
}

// conflicts: what the zone holds is not what the change expects.
func (s *zoneSuite) conflicts(t *testing.T) {
	if s.Zone.Features().ByHand {
		t.Skip("a person compares")
	}
	for _, c := range []struct {
		name       string
		there, old plan.RRset
		new        plan.RRset
	}{
		{"other data", rr("@", "A", 300, "192.0.2.1"), rr("@", "A", 300, "192.0.2.9"), rr("@", "A", 300, "192.0.2.2")},
		{"one more record", rr("@", "MX", 300, "10 a.example.", "20 b.example."), rr("@", "MX", 300, "10 a.example."), rr("@", "MX", 300, "0 c.example.")},
		{"one less record", rr("@", "MX", 300, "10 a.example."), rr("@", "MX", 300, "10 a.example.", "20 b.example."), rr("@", "MX", 300, "0 c.example.")},
		{"other TTL", rr("@", "A", 300, "192.0.2.1"), rr("@", "A", 3600, "192.0.2.1"), rr("@", "A", 300, "192.0.2.2")},
		{"other TTL, and the TTL is all that changes", rr("@", "A", 900, "192.0.2.1"), rr("@", "A", 3600, "192.0.2.1"), rr("@", "A", 300, "192.0.2.1")},
		{"there, expected absent", rr("@", "TXT", 300, `"x"`), gone("@", "TXT"), rr("@", "TXT", 300, `"y"`)},
		{"absent, expected there", gone("@", "TXT"), rr("@", "TXT", 300, `"x"`), rr("@", "TXT", 300, `"y"`)},
		{"delete what is other", rr("@", "A", 300, "192.0.2.1"), rr("@", "A", 300, "192.0.2.9"), gone("@", "A")},
		{"text in other case", rr("@", "TXT", 300, `"Text"`), rr("@", "TXT", 300, `"text"`), rr("@", "TXT", 300, `"new"`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := s.next()
			there, old, want := placed(c.there, name), placed(c.old, name), placed(c.new, name)
			s.Put(t, there)
			before := s.serial(t)
			refusedAs(t, s.Zone.Update(t.Context(), []plan.RRsetChange{{Old: old, New: want}}), providers.Conflict)
			s.holds(t, there)
			if after := s.serial(t); after != before {
				t.Errorf("a conflict has written: serial %d, was %d", after, before)
			}
			s.untouched(t)
		})
	}
	t.Run("a CNAME beside other records", func(t *testing.T) {
		name := s.next()
		there := placed(rr("@", "A", 300, "192.0.2.1"), name)
		s.Put(t, there)
		err := s.Zone.Update(t.Context(), []plan.RRsetChange{{Old: placed(gone("@", "CNAME"), name), New: placed(rr("@", "CNAME", 300, "a.example."), name)}})
		if err == nil {
			t.Error("no error, although a CNAME can't stand beside an A (RFC 1034 §3.6.2)")
		}
		s.holds(t, there)
		s.holds(t, placed(gone("@", "CNAME"), name))
	})
	t.Run("other records beside a CNAME", func(t *testing.T) {
		name := s.next()
		there := placed(rr("@", "CNAME", 300, "a.example."), name)
		other := placed(rr("also", "A", 300, "192.0.2.1"), name)
		s.Put(t, there)
		err := s.Zone.Update(t.Context(), []plan.RRsetChange{
			{Old: placed(gone("@", "TXT"), name), New: placed(rr("@", "TXT", 300, `"x"`), name)},
			{Old: placed(gone("also", "A"), name), New: other},
		})
		if err == nil {
			t.Error("no error, although nothing can stand beside a CNAME (RFC 1034 §3.6.2)")
		}
		s.holds(t, there)
		s.holds(t, placed(gone("@", "TXT"), name))
		if s.Zone.Features().Atomic {
			s.holds(t, plan.RRset{Name: other.Name, Type: "A"})
		}
	})
	t.Run("what is wanted is there already", func(t *testing.T) {
		name := s.next()
		there := placed(rr("@", "A", 300, "192.0.2.2"), name)
		s.Put(t, there)
		changes := []plan.RRsetChange{{Old: placed(rr("@", "A", 300, "192.0.2.1"), name), New: there}}
		s.settled(t, changes)
		s.holds(t, there)
	})
	t.Run("one is there already, the other isn't", func(t *testing.T) {
		name := s.next()
		there, todo := placed(rr("@", "A", 300, "192.0.2.2"), name), placed(rr("b", "A", 300, "192.0.2.3"), name)
		s.Put(t, there)
		changes := []plan.RRsetChange{
			{Old: placed(rr("@", "A", 300, "192.0.2.1"), name), New: there},
			{Old: plan.RRset{Name: todo.Name, Type: "A"}, New: todo},
		}
		if err := s.Zone.Update(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
		s.holds(t, there)
		s.holds(t, todo)
		s.settled(t, changes)
	})
	t.Run("no change at all", func(t *testing.T) {
		before := s.serial(t)
		if err := s.Zone.Update(t.Context(), nil); err != nil {
			t.Error(err)
		}
		if after := s.serial(t); after != before {
			t.Errorf("nothing to change has written: serial %d, was %d", after, before)
		}
	})
	s.untouched(t)
}

// refusals: what no zone can hold is an error before anything is written.
func (s *zoneSuite) refusals(t *testing.T) {
	if s.Zone.Features().ByHand {
		t.Skip("Update refuses everything")
	}
	for _, c := range []struct {
		name string
		bad  plan.RRsetChange
	}{
		{"outside of the zone", plan.RRsetChange{Old: gone("www.elsewhere.example.", "A"), New: rr("www.elsewhere.example.", "A", 300, "192.0.2.1")}},
		{"a name that ends like the zone's", plan.RRsetChange{Old: gone("x"+s.Name, "A"), New: rr("x"+s.Name, "A", 300, "192.0.2.1")}},
		{"the SOA", plan.RRsetChange{Old: gone(s.Name, "SOA"), New: rr(s.Name, "SOA", 300, "a. b. 1 2 3 4 5")}},
		{"the zone's own name servers", plan.RRsetChange{Old: gone(s.Name, "NS"), New: rr(s.Name, "NS", 300, "ns.elsewhere.example.")}},
		{"two names in one change", plan.RRsetChange{Old: gone("a."+s.Name, "A"), New: rr("b."+s.Name, "A", 300, "192.0.2.1")}},
		{"two types in one change", plan.RRsetChange{Old: gone("a."+s.Name, "A"), New: rr("a."+s.Name, "AAAA", 300, "2001:db8::1")}},
		{"two CNAMEs", plan.RRsetChange{Old: gone("a."+s.Name, "CNAME"), New: rr("a."+s.Name, "CNAME", 300, "a.example.", "b.example.")}},
		{"no address", plan.RRsetChange{Old: gone("a."+s.Name, "A"), New: rr("a."+s.Name, "A", 300, "192.0.2.256")}},
		{"no type", plan.RRsetChange{Old: gone("a."+s.Name, "BOGUS"), New: rr("a."+s.Name, "BOGUS", 300, "x")}},
		{"a second record by a line break", plan.RRsetChange{Old: gone("a."+s.Name, "HINFO"), New: rr("a."+s.Name, "HINFO", 300, "a b\nc 300 IN A 192.0.2.1")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			good := placed(rr("@", "A", 300, "192.0.2.1"), s.next())
			before := s.serial(t)
			err := s.Zone.Update(t.Context(), []plan.RRsetChange{{Old: plan.RRset{Name: good.Name, Type: "A"}, New: good}, c.bad})
			if err == nil {
				t.Fatal("no error")
			}
			if providers.ReasonOf(err) == providers.Uncertain {
				t.Errorf("%v: it is certain that nothing was written", err)
			}
			if after := s.serial(t); after != before {
				t.Errorf("a refused update has written: serial %d, was %d", after, before)
			}
			s.holds(t, plan.RRset{Name: good.Name, Type: "A"})
		})
	}
	t.Run("a TTL that the system doesn't take", func(t *testing.T) {
		f := s.Zone.Features()
		if f.MinimumTTL < 2 && f.MaximumTTL == 0 {
			t.Skip("it takes any")
		}
		if f.MinimumTTL > 1 {
			s.refuses(t, placed(rr("@", "A", f.MinimumTTL-1, "192.0.2.1"), s.next()))
		}
		if f.MaximumTTL > 0 {
			s.refuses(t, placed(rr("@", "A", f.MaximumTTL+1, "192.0.2.1"), s.next()))
		}
	})
	t.Run("one set twice", func(t *testing.T) {
		name := s.next()
		old := placed(gone("@", "A"), name)
		err := s.Zone.Update(t.Context(), []plan.RRsetChange{
			{Old: old, New: placed(rr("@", "A", 300, "192.0.2.1"), name)},
			{Old: old, New: placed(rr("@", "A", 300, "192.0.2.2"), name)},
		})
		if err == nil {
			t.Error("no error")
		}
		s.holds(t, old)
	})
	s.untouched(t)
}

// reading: look-ups and lists.
func (s *zoneSuite) reading(t *testing.T) {
	t.Run("names and types that don't exist", func(t *testing.T) {
		name := s.next()
		s.Put(t, placed(rr("below", "A", 300, "192.0.2.1"), name))
		s.holds(t, plan.RRset{Name: name, Type: "A"})                       // a name without records of its own
		s.holds(t, plan.RRset{Name: "below." + name, Type: "TXT"})          // a name with others
		s.holds(t, plan.RRset{Name: "nowhere.at.all." + name, Type: "TXT"}) // no such name
	})
	t.Run("names in upper case", func(t *testing.T) {
		name := s.next()
		want := placed(rr("@", "A", 300, "192.0.2.1"), name)
		s.Put(t, want)
		got, err := s.Zone.Lookup(t.Context(), strings.ToUpper(name), "A")
		if err != nil || !got.Equal(want) || got.Name != name {
			t.Errorf("Lookup %s: %v, %v; want %v", strings.ToUpper(name), got, err, want)
		}
	})
	t.Run("hosts in upper case", func(t *testing.T) {
		name := s.next()
		s.Put(t, placed(rr("@", "MX", 300, "10 MX.Example."), name))
		want := placed(rr("@", "MX", 300, "10 mx.example."), name)
		s.holds(t, want)
		if s.Zone.Features().ByHand {
			return
		}
		next := placed(rr("@", "MX", 300, "10 new.example."), name)
		if err := s.Zone.Update(t.Context(), []plan.RRsetChange{{Old: want, New: next}}); err != nil {
			t.Fatalf("the expected set is there, in other case: %v", err)
		}
		s.holds(t, next)
	})
	t.Run("texts that are split oddly", func(t *testing.T) {
		name := s.next()
		s.Put(t, placed(rr("@", "TXT", 300, `"v=DKIM1; " "p=MIGf" "" "MA0"`), name))
		want := placed(rr("@", "TXT", 300, `"v=DKIM1; p=MIGfMA0"`), name)
		s.holds(t, want)
		if s.Zone.Features().ByHand {
			return
		}
		// Wanted is what is there, in strings that are cut elsewhere: the same text to everybody.
		s.settled(t, []plan.RRsetChange{{Old: plan.RRset{Name: name, Type: "TXT"}, New: want}})
		next := placed(rr("@", "TXT", 300, `"v=DKIM1; p=other"`), name)
		if err := s.Zone.Update(t.Context(), []plan.RRsetChange{{Old: want, New: next}}); err != nil {
			t.Fatalf("the expected text is there, split oddly: %v", err)
		}
		s.holds(t, next)
	})
	t.Run("an alias is not followed", func(t *testing.T) {
		name := s.next()
		s.Put(t, placed(rr("@", "CNAME", 300, "to.@@"), name), placed(rr("to", "A", 300, "192.0.2.1"), name))
		s.holds(t, plan.RRset{Name: name, Type: "A"})
		s.holds(t, placed(rr("@", "CNAME", 300, "to.@@"), name))
	})
	t.Run("outside of the zone", func(t *testing.T) {
		if set, err := s.Zone.Lookup(t.Context(), "www.elsewhere.example.", "A"); err == nil {
			t.Errorf("Lookup outside of the zone: %v, want an error", set)
		}
	})
	t.Run("a context that has ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Zone.Lookup(ctx, s.Name, "MX"); !errors.Is(err, context.Canceled) {
			t.Errorf("Lookup: %v, want %v", err, context.Canceled)
		}
	})
	t.Run("the whole zone", func(t *testing.T) {
		sets := s.live(t)
		if sets == nil {
			t.Skip("the zone can't be listed")
		}
		key := func(r plan.RRset) string { return r.Name + " " + r.Type }
		if !slices.IsSortedFunc(sets, func(a, b plan.RRset) int { return strings.Compare(key(a), key(b)) }) {
			t.Error("the sets are not sorted by name and type")
		}
		seen := map[string]plan.RRset{}
		for _, set := range sets {
			if _, twice := seen[key(set)]; twice {
				t.Errorf("%s comes twice", key(set))
			}
			seen[key(set)] = set
			if set.Type == "SOA" || set.Type == "NS" && set.Name == s.Name {
				t.Errorf("%s is listed", key(set))
			}
		}
		for _, want := range s.bystanders() {
			if got := seen[key(want)]; !got.Equal(want) {
				t.Errorf("%s is %q, want %q", key(want), got.Lines(), want.Lines())
			}
		}
	})
	s.untouched(t)
}

// instructing: people get every field, and are told of deletions too.
func (s *zoneSuite) instructing(t *testing.T) {
	name := s.next()
	text := strings.Join(s.Zone.Instructions([]plan.RRsetChange{
		{Old: placed(rr("@", "MX", 300, "10 old.example."), name), New: placed(rr("@", "MX", 300, "5 new.example."), name)},
		{Old: placed(gone("note", "TXT"), name), New: placed(rr("note", "TXT", 1234, `"say \"hi\""`), name)},
		{Old: placed(rr("bye", "A", 300, "192.0.2.99"), name), New: placed(gone("bye", "A"), name)},
		{Old: placed(rr("slow", "A", 3600, "192.0.2.98"), name), New: placed(rr("slow", "A", 61, "192.0.2.98"), name)},
	}), "\n")
	label := strings.TrimSuffix(name, "."+s.Name)
	for _, want := range []string{label, "old.example", "new.example", "5", `say "hi"`, "1234", "note." + label, "bye." + label, "192.0.2.99", "slow." + label, "61"} {
		if !strings.Contains(text, want) {
			t.Errorf("the instructions don't say %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, `\"`) {
		t.Errorf("the instructions hold escapes, which a panel would take for text:\n%s", text)
	}
	if got := s.Zone.Instructions(nil); len(got) > 0 {
		t.Errorf("instructions for nothing: %q", got)
	}
}
