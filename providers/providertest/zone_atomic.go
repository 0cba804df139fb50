package providertest

import (
	"testing"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// trio is a flip: three sets, from and to.
func trio(name string) (from, to []plan.RRset, changes []plan.RRsetChange) {
	from = []plan.RRset{
		placed(rr("@", "MX", 300, "10 mx00.old.example.", "10 mx01.old.example."), name),
		placed(rr("@", "TXT", 300, `"v=spf1 include:old.example -all"`, `"keep me"`), name),
		placed(rr("autodiscover", "CNAME", 300, "old.example."), name),
	}
	to = []plan.RRset{
		placed(rr("@", "MX", 300, "0 new.example."), name),
		placed(rr("@", "TXT", 300, `"v=spf1 include:new.example -all"`, `"keep me"`), name),
		placed(rr("autodiscover", "CNAME", 300, "new.example."), name),
	}
	for i := range from {
		changes = append(changes, plan.RRsetChange{Old: from[i], New: to[i]})
	}
	return from, to, changes
}

func (s *zoneSuite) allHold(t *testing.T, sets []plan.RRset) {
	t.Helper()
	for _, set := range sets {
		s.holds(t, set)
	}
}

// atomicity: a conflict in any place keeps all others from being written.
func (s *zoneSuite) atomicity(t *testing.T) {
	if !s.Zone.Features().Atomic {
		t.Skip("the provider does not promise it")
	}
	for wrong := range 3 {
		name := s.next()
		from, _, changes := trio(name)
		s.Put(t, from...)
		other := from[wrong]
		other.TTL = 299
		s.Put(t, other)
		from[wrong] = other
		refusedAs(t, s.Zone.Update(t.Context(), changes), providers.Conflict)
		s.allHold(t, from)
	}
	s.untouched(t)
}

// races: somebody else writes between the provider's look and its write.
func (s *zoneSuite) races(t *testing.T) {
	if s.BeforeWrite == nil {
		t.Skip("no way to get in between")
	}
	for _, c := range []struct {
		name  string
		which int
		edit  plan.RRset
	}{
		{"another MX", 0, rr("@", "MX", 300, "10 intruder.example.")},
		{"one MX less", 0, rr("@", "MX", 300, "10 mx00.old.example.")},
		{"one MX more", 0, rr("@", "MX", 300, "10 mx00.old.example.", "10 mx01.old.example.", "20 mx02.old.example.")},
		{"MX deleted", 0, gone("@", "MX")},
		{"another text beside", 1, rr("@", "TXT", 300, `"v=spf1 include:old.example -all"`, `"keep me"`, `"intruder"`)},
		{"CNAME deleted", 2, gone("autodiscover", "CNAME")},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := s.next()
			from, _, changes := trio(name)
			s.Put(t, from...)
			edit := placed(c.edit, name)
			s.BeforeWrite(func() { s.Put(t, edit) })
			refusedAs(t, s.Zone.Update(t.Context(), changes), providers.Conflict)
			from[c.which] = edit
			s.allHold(t, from)
		})
	}
	t.Run("a set that was absent appears", func(t *testing.T) {
		name := s.next()
		from, _, changes := trio(name)
		s.Put(t, from...)
		changes = append(changes, plan.RRsetChange{Old: placed(gone("new", "A"), name), New: placed(rr("new", "A", 300, "192.0.2.1"), name)})
		edit := placed(rr("new", "A", 300, "192.0.2.66"), name)
		s.BeforeWrite(func() { s.Put(t, edit) })
		refusedAs(t, s.Zone.Update(t.Context(), changes), providers.Conflict)
		s.allHold(t, append(from, edit))
	})
	t.Run("a CNAME takes the name", func(t *testing.T) {
		name := s.next()
		edit := placed(rr("@", "CNAME", 300, "intruder.example."), name)
		s.BeforeWrite(func() { s.Put(t, edit) })
		err := s.Zone.Update(t.Context(), []plan.RRsetChange{{Old: placed(gone("@", "TXT"), name), New: placed(rr("@", "TXT", 300, `"x"`), name)}})
		refusedAs(t, err, providers.Conflict)
		s.holds(t, edit)
		s.holds(t, placed(gone("@", "TXT"), name))
	})
	t.Run("a set that is not ours changes", func(t *testing.T) {
		name := s.next()
		from, to, changes := trio(name)
		s.Put(t, from...)
		edit := placed(rr("other", "A", 300, "192.0.2.66"), name)
		s.BeforeWrite(func() { s.Put(t, edit) })
		if err := s.Zone.Update(t.Context(), changes); err != nil {
			t.Fatalf("another name has changed, which is not our business: %v", err)
		}
		s.allHold(t, append(to, edit))
	})
	s.untouched(t)
}

// lostAnswers: no answer means look, and looking tells.
func (s *zoneSuite) lostAnswers(t *testing.T) {
	t.Run("the update was made", func(t *testing.T) {
		if s.LoseAnswer == nil {
			t.Skip("no way to lose an answer")
		}
		name := s.next()
		from, to, changes := trio(name)
		s.Put(t, from...)
		s.LoseAnswer()
		refusedAs(t, s.Zone.Update(t.Context(), changes), providers.Uncertain)
		s.allHold(t, to)
		s.settled(t, changes)
	})
	t.Run("the update was not made", func(t *testing.T) {
		if s.DropWrite == nil {
			t.Skip("no way to lose a write")
		}
		name := s.next()
		from, to, changes := trio(name)
		s.Put(t, from...)
		s.DropWrite()
		refusedAs(t, s.Zone.Update(t.Context(), changes), providers.Uncertain)
		s.allHold(t, from)
		if err := s.Zone.Update(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
		s.allHold(t, to)
		s.settled(t, changes)
	})
	s.untouched(t)
}
