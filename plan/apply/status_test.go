package apply

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mxodus/mxodus/plan"
)

// TestStatusThroughTheWeeks parks a migration at each kind of wait and asks
// for its status, which looks at nothing outside.
func TestStatusThroughTheWeeks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(time.Hour))
		quick(p)
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		park := func() Status {
			t.Helper()
			e := engine(m, p, w, j, dir)
			e.Wait = false
			if _, err := e.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			blind := engine(m, p, nil, j, dir)
			blind.Systems = nil // status must not need them
			s, err := blind.Status()
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		want := func(s Status, phase plan.Phase, kind WaitKind, done int) {
			t.Helper()
			if s.Phase != phase || s.Next == nil || s.Next.Kind != kind || s.Done != done || s.Complete {
				t.Errorf("phase %s, next %+v, %d done; want %s, %s, %d", s.Phase, s.Next, s.Done, phase, kind, done)
			}
		}
		want(park(), plan.Provision, WaitTime, 0)
		time.Sleep(31 * time.Minute)
		want(park(), plan.LowerTTL, WaitTTL, 3)
		time.Sleep(40 * time.Minute)
		want(park(), plan.Flip, WaitApproval, 4)

		delete(w.knows, "anna@acme.example")
		time.Sleep(2 * time.Minute)
		s := park()
		want(s, plan.Flip, WaitCheck, 4)
		if !slices.Contains(s.BlockedBy, "every_address_exists_at_target") {
			t.Errorf("blocked by %v", s.BlockedBy)
		}
		w.knows["anna@acme.example"] = true
		agree(t, dir, p, "flip", "decommission")
		for range 40 {
			time.Sleep(2 * time.Minute)
			s = park()
		}
		want(s, plan.Decommission, WaitByHand, len(p.Steps)-3)
		if len(s.Tasks) != 3 || s.ByHand != 3 || s.Flipped.IsZero() {
			t.Errorf("%d tasks, %d by hand, flipped %v", len(s.Tasks), s.ByHand, s.Flipped)
		}
		for _, b := range s.Mailboxes {
			if b.Copied != 53 || b.LastPass.IsZero() {
				t.Errorf("mailbox: %+v", b)
			}
		}
		w.closed["anna@acme.example"], w.closed["jens@acme.example"] = true, true
		if _, err := engine(m, p, w, j, dir).Done(t.Context(), "retire/host/imap.old"); err != nil {
			t.Fatal(err)
		}
		if s = park(); !s.Complete || s.Next != nil || s.Done != len(p.Steps) {
			t.Errorf("at the end: complete %v, next %+v, %d of %d", s.Complete, s.Next, s.Done, len(p.Steps))
		}
		for _, b := range s.Mailboxes {
			if !b.Closed {
				t.Errorf("%s is not closed", b.Address)
			}
		}
	})
}

// TestDoneAsksTheProbe: a person's word counts only where no probe can tell.
func TestDoneAsksTheProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now())
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		e := engine(m, p, w, j, dir)
		if _, err := e.Done(t.Context(), "retire/anna@acme.example"); err == nil {
			t.Error("a mailbox that still lets people log in was taken for closed")
		}
		w.closed["anna@acme.example"] = true
		if proof, err := e.Done(t.Context(), "retire/anna@acme.example"); err != nil || !proof.Proven || !e.Record.Closed("anna@acme.example") {
			t.Errorf("%+v, %v", proof, err)
		}
		if _, err := e.Done(t.Context(), "copy/anna@acme.example"); err == nil {
			t.Error("a copy was taken for done by hand")
		}
		if _, err := e.Done(t.Context(), "retire/nobody"); err == nil {
			t.Error("a step that is not in the plan was taken for done")
		}
	})
}
