package apply

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/planfile"
	"github.com/mxodus/mxodus/providers"
)

// slowSystems are the fakes with patience asked for in places.
type slowSystems struct {
	*world
	recipient atomic.Int64  // nanoseconds of each answer about a recipient
	listing   time.Duration // of each listing of the zone
	listings  atomic.Int64  // how many of them are slow
}

func (s *slowSystems) RecipientProbe() providers.RecipientProbe { return slowProbe{s} }
func (s *slowSystems) Zone(string) (providers.Zone, error)      { return slowZone{zone{s.world}, s}, nil }

type slowProbe struct{ s *slowSystems }

func (p slowProbe) Accepts(ctx context.Context, server, address string) (bool, string, error) {
	if err := (realClock{}).Sleep(ctx, time.Duration(p.s.recipient.Load())); err != nil {
		return false, "", &providers.Error{Op: "ask", Subject: server, Reason: providers.Unreachable, Err: context.Cause(ctx)}
	}
	return prober{p.s.world}.Accepts(ctx, server, address)
}

type slowZone struct {
	zone
	s *slowSystems
}

func (z slowZone) Records(ctx context.Context) ([]plan.RRset, bool, error) {
	if z.s.listings.Add(-1) >= 0 {
		if err := (realClock{}).Sleep(ctx, z.s.listing); err != nil {
			return nil, false, err
		}
	}
	return z.zone.Records(ctx)
}

// atTheGate runs a migration of minutes up to its flip and some time beyond.
func atTheGate(t *testing.T, prepare func(m *plan.Migration, p *plan.Plan, s *slowSystems), during func(s *slowSystems, e *Engine), want func(s *slowSystems, out Outcome, e *Engine)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(time.Hour))
		quick(p)
		s := &slowSystems{world: newWorld()}
		j, dir := &memoryJournal{budget: -1}, t.TempDir()
		if prepare != nil {
			prepare(m, p, s)
			if _, err := planfile.Encode(p); err != nil {
				t.Fatal(err)
			}
		}
		if len(p.Gates[0].Approve.By) == 0 {
			agree(t, dir, p, "flip")
		}
		stop := make(chan struct{})
		e := engine(m, p, s.world, j, dir)
		e.Systems, e.Stop = s, stop
		if during != nil {
			go during(s, e)
		}
		timer := time.AfterFunc(2*time.Hour, func() { close(stop) })
		defer timer.Stop()
		out, err := e.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want(s, out, e)
	})
}

// TestTimeAtTheGate is about answers that don't come in time, or have grown old.
func TestTimeAtTheGate(t *testing.T) {
	flipped := func(w *world) bool {
		return w.zone[key("acme.example.", "MX")].SameData(plan.RRset{Data: []string{"10 mx.new.example."}})
	}
	t.Run("no answer within the round", func(t *testing.T) {
		atTheGate(t, nil, func(s *slowSystems, e *Engine) {
			time.Sleep(50 * time.Minute)
			s.recipient.Store(int64(10 * time.Minute))
		}, func(s *slowSystems, out Outcome, e *Engine) {
			if flipped(s.world) || s.updates != 1 || !slices.ContainsFunc(out.Refused, func(a Answer) bool { return a.Check.Name == "target_accepts_mail" }) {
				t.Errorf("%d writes, refused %+v", s.updates, out.Refused)
			}
		})
	})
	t.Run("slow answers within the round", func(t *testing.T) {
		atTheGate(t, func(_ *plan.Migration, _ *plan.Plan, s *slowSystems) { s.recipient.Store(int64(9 * time.Second)) }, nil, func(s *slowSystems, out Outcome, e *Engine) {
			if !flipped(s.world) {
				t.Errorf("not flipped: %+v", out)
			}
		})
	})
	t.Run("the answers grow old before the write", func(t *testing.T) {
		atTheGate(t, nil, func(s *slowSystems, e *Engine) {
			time.Sleep(59*time.Minute + 59*time.Second)
			s.listing = 40 * time.Second
			s.listings.Store(2) // one in the round, one before the write
		}, func(s *slowSystems, out Outcome, e *Engine) {
			st := e.Record.State("dns/acme.example/MX/@")
			opened := 0
			var last time.Time
			for _, entry := range e.Journal.(*memoryJournal).entries {
				if entry.Event == evEvidence && !entry.At.After(st.Started) {
					opened++
					last = entry.At
				}
			}
			if !flipped(s.world) || opened != 2 || st.Started.Sub(last) > freshness {
				t.Errorf("flipped %v; the gate opened %d times before the write, last %s before it; want two rounds, because the first answers had grown old", flipped(s.world), opened, st.Started.Sub(last))
			}
		})
	})
	t.Run("nobody who may has approved", func(t *testing.T) {
		atTheGate(t, func(_ *plan.Migration, p *plan.Plan, _ *slowSystems) {
			p.Gates[0].Approve.By = []string{"somebody@else.example"}
		}, nil, func(s *slowSystems, out Outcome, e *Engine) {
			if flipped(s.world) || s.updates != 1 {
				t.Errorf("%d writes", s.updates)
			}
		})
	})
	t.Run("the clock has gone back", func(t *testing.T) {
		atTheGate(t, nil, func(s *slowSystems, e *Engine) {
			time.Sleep(50 * time.Minute)
			e.Record.mu.Lock()
			e.Record.lastAt = time.Now().Add(5 * time.Hour)
			e.Record.mu.Unlock()
		}, func(s *slowSystems, out Outcome, e *Engine) {
			if flipped(s.world) || !slices.Contains(refusedBy(out), "clock_right") {
				t.Errorf("refused by %v, flipped %v", refusedBy(out), flipped(s.world))
			}
		})
	})
	t.Run("drift in one domain stops the flip of the other", func(t *testing.T) {
		atTheGate(t, func(m *plan.Migration, p *plan.Plan, s *slowSystems) {
			m.Domains = append(m.Domains, plan.Domain{Name: "beta.example", Zone: "rfc2136", Mail: "imap.new"})
			s.put(plan.RRset{Name: "beta.example.", Type: "MX", TTL: 300, Data: []string{"10 somebody.else.example."}})
			i := slices.IndexFunc(p.Steps, flipsRecord)
			p.Steps = slices.Insert(p.Steps, i, plan.Step{
				Address: "dns/beta.example/MX/@", Phase: plan.Flip, Action: plan.Change, Gate: "flip", Undo: plan.Restore,
				From: []string{"300 MX 10 mx.old.example."}, To: []string{"300 MX 10 mx.new.example."},
			})
		}, nil, func(s *slowSystems, out Outcome, e *Engine) {
			if flipped(s.world) || s.updates != 1 || !slices.Equal(out.Drift, []string{"dns/beta.example/MX/@"}) {
				t.Errorf("%d writes, drift %v", s.updates, out.Drift)
			}
		})
	})
}

// TestCopiesAreFreshAtTheFlip: the bulk copy ends 30 hours before the flip and
// is not repeated by plan; a pass is made before the flip all the same.
func TestCopiesAreFreshAtTheFlip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(30 * time.Hour))
		for i := range p.Steps {
			p.Steps[i].Settle = min(p.Steps[i].Settle, time.Hour)
			if p.Steps[i].Phase == plan.BulkCopy {
				p.Steps[i].Repeat = 0
			}
		}
		if _, err := planfile.Encode(p); err != nil {
			t.Fatal(err)
		}
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		agree(t, dir, p, "flip")
		stop := make(chan struct{})
		e := engine(m, p, w, j, dir)
		e.Stop = stop
		timer := time.AfterFunc(30*time.Hour+time.Minute, func() { close(stop) })
		defer timer.Stop()
		out, err := e.Run(t.Context())
		if err != nil || w.updates != 2 {
			t.Fatalf("%+v, %v, %d writes", out, err, w.updates)
		}
		for _, a := range []string{"anna@acme.example", "jens@acme.example"} {
			i := slices.Index(w.modes[a], providers.AfterFlip)
			if n := len(w.modes[a][:max(i, 0)]); n != 2 {
				t.Errorf("%s: %d passes before the flip, want the full one and one at the cutover: %v", a, n, w.modes[a])
			}
		}
		flip := e.Record.State("dns/acme.example/MX/@").Started
		var last time.Time
		for _, entry := range j.entries {
			if entry.Event == evPass && strings.HasPrefix(entry.Step, "copy/") && !entry.At.After(flip) {
				last = entry.At
			}
		}
		if flip.Sub(last) > copyAge {
			t.Errorf("the last pass was %s before the flip", flip.Sub(last))
		}
	})
}
