package apply

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/planfile"
	"github.com/mxodus/mxodus/providers"
)

// takeBack makes and reads back the rollback plan of what j knows.
func takeBack(t *testing.T, p *plan.Plan, j *memoryJournal, to plan.Phase, parent string) *plan.Plan {
	t.Helper()
	back := Rollback(p, to, p.Number, NewRecord(p, j.entries).Done())
	back.Parent = parent
	data, err := planfile.Encode(back)
	if err != nil {
		t.Fatal(err)
	}
	if back, err = planfile.Decode(data); err != nil {
		t.Fatal(err)
	}
	return back
}

// runFor applies p and stops it after d.
func runFor(t *testing.T, e *Engine, d time.Duration) Outcome {
	t.Helper()
	stop := make(chan struct{})
	timer := time.AfterFunc(d, func() { close(stop) })
	defer timer.Stop()
	e.Stop = stop
	out, err := e.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// again is p as the next plan after the one with digest parent.
func again(t *testing.T, p *plan.Plan, number int, parent string) *plan.Plan {
	t.Helper()
	next := *p
	next.Number, next.Parent = number, parent
	if _, err := planfile.Encode(&next); err != nil {
		t.Fatal(err)
	}
	return &next
}

// TestRollbackFromEveryPhase stops a migration in each of its phases, with mail coming to both
// sides, takes it back to the end of each earlier phase, and then carries it through with a new
// plan. After the rollback the source has every message once, and the records are those of that
// phase; after the second attempt the target has every message once.
func TestRollbackFromEveryPhase(t *testing.T) {
	// When the run is stopped, and the zone's MX then.
	for _, stop := range []struct {
		in    plan.Phase
		after time.Duration
	}{
		{plan.LowerTTL, 31 * time.Minute}, {plan.Notice, 50 * time.Minute}, {plan.Flip, 60*time.Minute + 10*time.Second},
		{plan.Delta, 70 * time.Minute}, {plan.Validate, 62 * time.Minute}, {plan.Hold, 75 * time.Minute},
	} {
		for _, to := range plan.Phases()[:8] {
			t.Run(fmt.Sprintf("%s to %s", stop.in, to), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m, p := fixture(time.Now().Add(time.Hour))
					quick(p)
					w, j, dir := newLettersWorld(), &memoryJournal{budget: -1}, t.TempDir()
					w.both(20, w.mail.source)
					agree(t, dir, p, "flip")
					e := lettersEngine(m, p, w, j, dir)
					if out := runFor(t, e, stop.after); out.Complete {
						t.Fatal("it is complete already")
					}
					flipped := !e.Record.Flipped().IsZero()
					w.both(3, w.mail.source) // stragglers
					if flipped {
						w.both(5, w.mail.target)
					}
					back := takeBack(t, p, j, to, p.Digest)
					if err := Admit(back, m, e.Inventory, j.entries, nil); err != nil {
						t.Fatal(err)
					}
					r := lettersEngine(m, back, w, j, dir)
					carried := flipped && to.Before(plan.Flip)
					late := time.AfterFunc(2*time.Minute, func() { // while the caches still know the new MX
						if carried {
							w.both(1, w.mail.target)
						}
						w.both(1, w.mail.source)
					})
					defer late.Stop()
					out, err := r.Run(t.Context())
					if err != nil || !out.Complete {
						t.Fatalf("the rollback: %+v, %v", out, err)
					}
					if carried {
						w.mail.mu.Lock()
						for a, list := range w.mail.target {
							for _, id := range list {
								if !slices.Contains(w.mail.source[a], id) {
									t.Errorf("message %d of %s was left at the target", id, a)
								}
							}
							if n := len(slices.Compact(slices.Sorted(slices.Values(w.mail.source[a])))); n != len(w.mail.source[a]) {
								t.Errorf("%s has messages twice at the source", a)
							}
						}
						w.mail.mu.Unlock()
					}
					want := "3600 MX 10 mx.old.example."
					switch {
					case flipped && !to.Before(plan.Flip):
						want = w.zone[key("acme.example.", "MX")].Lines()[0] // stays flipped; the TTL may have been raised
						if !strings.HasSuffix(want, "mx.new.example.") {
							t.Errorf("a rollback to %s took the flip back", to)
						}
					case !to.Before(plan.LowerTTL):
						want = "300 MX 10 mx.old.example."
					}
					if got := w.zone[key("acme.example.", "MX")].Lines()[0]; got != want {
						t.Errorf("MX after the rollback: %s, want %s", got, want)
					}
					if w.zone[key("acme.example.", "TXT")].Exists() == (carried || !flipped) {
						t.Errorf("the SPF record of the flip: %v", w.zone[key("acme.example.", "TXT")])
					}
					writes := w.updates
					if out, err := lettersEngine(m, back, w, j, dir).Run(t.Context()); err != nil || !out.Complete || w.updates != writes {
						t.Errorf("the rollback once more: %+v, %v, %d writes", out, err, w.updates-writes)
					}

					if flipped && !carried {
						return // nothing but a TTL was taken back
					}
					if to.Before(plan.LowerTTL) || flipped {
						w.both(2, w.mail.source)
					}
					next := again(t, p, 2, back.Digest)
					agree(t, dir, next, "flip", "decommission")
					e = lettersEngine(m, next, w, j, dir)
					if err := Admit(next, m, e.Inventory, j.entries, nil); err != nil {
						t.Fatal(err)
					}
					e.Events = w.people(e, t.Context())
					e.note(t.Context(), stepEntry("retire/host/imap.old", evWord, entryData{}))
					if out, err := e.Run(t.Context()); err != nil || !out.Complete {
						t.Fatalf("the second attempt: %+v, %v", out, err)
					}
					w.mail.check(t, "the target at the end", w.mail.target)
					if got := w.zone[key("acme.example.", "MX")].Lines()[0]; got != "3600 MX 10 mx.new.example." {
						t.Errorf("MX at the end: %s", got)
					}
					if sent := slices.Compact(slices.Sorted(slices.Values(w.sent))); len(sent) != len(w.sent) {
						t.Errorf("somebody got a notice twice: %v", w.sent)
					}
				})
			})
		}
	}
}

// TestRollbackKilledAtEveryCommit kills the machine before and after each durable entry of a
// rollback, and in the middle of the passes that carry mail back.
func TestRollbackKilledAtEveryCommit(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 0; ; n++ {
			finished := false
			synctest.Test(t, func(t *testing.T) {
				m, p := fixture(time.Now().Add(time.Hour))
				quick(p)
				w, j, dir := newLettersWorld(), &memoryJournal{budget: -1}, t.TempDir()
				w.both(5, w.mail.source)
				agree(t, dir, p, "flip")
				runFor(t, lettersEngine(m, p, w, j, dir), 62*time.Minute)
				w.both(4, w.mail.target)
				back := takeBack(t, p, j, plan.Notice, p.Digest)
				dying := &memoryJournal{entries: j.entries, budget: n, after: after}
				dying.died = func() { w.mu.Lock(); w.dead = true; w.mu.Unlock() }
				w.mail.meets = func(_ string, message int) error {
					w.mu.Lock()
					defer w.mu.Unlock()
					if w.dead || message == 0 && n%3 == 2 && dying.budget == 1 {
						return errDied
					}
					return nil
				}
				late := time.AfterFunc(2*time.Minute, func() { // while caches still know the new MX
					w.both(1, w.mail.target)
					w.both(1, w.mail.source)
				})
				defer late.Stop()
				out, err := lettersEngine(m, back, w, dying, dir).Run(t.Context())
				finished = err == nil && out.Complete && !w.dead
				w.dead = false
				rest := &memoryJournal{entries: dying.entries, budget: -1}
				e := lettersEngine(m, back, w, rest, dir)
				if finished {
					return
				}
				if out, err = e.Run(t.Context()); err != nil || !out.Complete {
					t.Fatalf("died at commit %d (after=%v); then: %+v, %v", n, after, out, err)
				}
				w.mail.check(t, fmt.Sprintf("the source, died at commit %d (after=%v)", n, after), w.mail.source)
				if got := w.zone[key("acme.example.", "MX")].Lines()[0]; got != "300 MX 10 mx.old.example." {
					t.Errorf("MX: %s", got)
				}
			})
			if t.Failed() || finished {
				t.Logf("%d commits (after=%v)", n, after)
				break
			}
			if n > 300 {
				t.Fatal("the rollback never ends")
			}
		}
	}
}

// TestRollbackOfARollback goes back in two strides.
func TestRollbackOfARollback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(time.Hour))
		quick(p)
		w, j, dir := newLettersWorld(), &memoryJournal{budget: -1}, t.TempDir()
		w.both(5, w.mail.source)
		agree(t, dir, p, "flip")
		e := lettersEngine(m, p, w, j, dir)
		runFor(t, e, 75*time.Minute)
		if w.zone[key("acme.example.", "MX")].TTL != 3600 {
			t.Fatal("the TTL was not raised again: the test stops too early")
		}
		first := takeBack(t, p, j, plan.Validate, p.Digest)
		if out, err := lettersEngine(m, first, w, j, dir).Run(t.Context()); err != nil || !out.Complete {
			t.Fatalf("%+v, %v", out, err)
		}
		if got := w.zone[key("acme.example.", "MX")].Lines()[0]; got != "300 MX 10 mx.new.example." {
			t.Errorf("MX after the first stride: %s", got)
		}
		if NewRecord(p, j.entries).Flipped().IsZero() {
			t.Error("a rollback to validate took back that the flip has been")
		}
		w.both(3, w.mail.target)
		second := takeBack(t, p, j, plan.Notice, first.Digest)
		if err := Admit(second, m, e.Inventory, j.entries, nil); err != nil {
			t.Fatal(err)
		}
		if out, err := lettersEngine(m, second, w, j, dir).Run(t.Context()); err != nil || !out.Complete {
			t.Fatalf("%+v, %v", out, err)
		}
		if got := w.zone[key("acme.example.", "MX")].Lines()[0]; got != "300 MX 10 mx.old.example." {
			t.Errorf("MX after the second stride: %s", got)
		}
		w.mail.check(t, "the source", w.mail.source)
	})
}

// TestOnlyACarryBackStepWritesToTheSource holds that passes go that way under a plan that names them, and no other.
func TestOnlyACarryBackStepWritesToTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(time.Hour))
		quick(p)
		w, j, dir := newLettersWorld(), &memoryJournal{budget: -1}, t.TempDir()
		agree(t, dir, p, "flip")
		runFor(t, lettersEngine(m, p, w, j, dir), 62*time.Minute)
		back := takeBack(t, p, j, plan.Notice, p.Digest)
		var steps []string
		for _, s := range back.Steps {
			if isPass(s) {
				steps = append(steps, s.Address)
				if s.Action != plan.Copy || len(s.Detail) == 0 || len(s.After) == 0 {
					t.Errorf("%+v", s)
				}
			}
		}
		if fmt.Sprint(steps) != "[carry_back/anna@acme.example carry_back/jens@acme.example]" {
			t.Errorf("steps: %v", steps)
		}
		back.Steps = slices.DeleteFunc(back.Steps, func(s plan.Step) bool { return s.Address == "carry_back/jens@acme.example" })
		if _, err := planfile.Encode(back); err != nil {
			t.Fatal(err)
		}
		if out, err := lettersEngine(m, back, w, j, dir).Run(t.Context()); err != nil || !out.Complete {
			t.Fatalf("%+v, %v", out, err)
		}
		for a, modes := range w.mail.modes {
			if slices.Contains(modes, providers.CarryBack) != (a == "anna@acme.example") {
				t.Errorf("%s: %v", a, modes)
			}
		}
		if text, err := os.ReadFile(dir + "/plans/0001-back.plan"); err != nil || !strings.Contains(string(text), "carry_back/anna@acme.example") {
			t.Errorf("the rollback plan that the gate wants: %v\n%s", err, text)
		}
	})
}

// TestRollbackOfAFlipThatNeverArrived has the machine die when the flip was about to be written: the zone
// has the old data with the low TTL, which is neither what the flip wanted nor what was there at first.
func TestRollbackOfAFlipThatNeverArrived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(time.Hour))
		quick(p)
		w, j, dir := newLettersWorld(), &memoryJournal{budget: -1}, t.TempDir()
		agree(t, dir, p, "flip")
		w.down = func(what string) error {
			if entries, _ := j.Entries(t.Context(), 0); what == "zone" && !NewRecord(p, entries).Flipped().IsZero() {
				return &providers.Error{Op: "update", Reason: providers.Uncertain}
			}
			return nil
		}
		runFor(t, lettersEngine(m, p, w, j, dir), 62*time.Minute)
		w.down = nil
		if w.updates != 1 || NewRecord(p, j.entries).Flipped().IsZero() {
			t.Fatalf("%d writes: the flip has not been begun, or it arrived", w.updates)
		}
		back := takeBack(t, p, j, plan.Provision, p.Digest)
		out, err := lettersEngine(m, back, w, j, dir).Run(t.Context())
		if err != nil || !out.Complete {
			t.Fatalf("%+v, %v", out, err)
		}
		if got := w.zone[key("acme.example.", "MX")].Lines()[0]; got != "3600 MX 10 mx.old.example." {
			t.Errorf("MX after the rollback: %s", got)
		}
	})
}
