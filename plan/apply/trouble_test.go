package apply

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/planfile"
	"github.com/mxodus/mxodus/providers"
)

func TestDriftStopsTheWholeFlip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(time.Hour))
		quick(p)
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		agree(t, dir, p, "flip")
		go func() {
			time.Sleep(50 * time.Minute)
			w.mu.Lock()
			defer w.mu.Unlock()
			w.put(plan.RRset{Name: "acme.example.", Type: "TXT", TTL: 300, Data: []string{`"somebody-else"`}})
		}()
		e := engine(m, p, w, j, dir)
		out, err := e.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Drift) != 1 || out.Drift[0] != "dns/acme.example/TXT/@" {
			t.Errorf("drift: %v", out.Drift)
		}
		if got := w.zone[key("acme.example.", "MX")].Data[0]; got != "10 mx.old.example." || w.updates != 1 {
			t.Errorf("MX %s after %d writes: part of the group was written", got, w.updates)
		}
	})
}

func TestLostAnswerIsResolvedByReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(time.Hour))
		quick(p)
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		agree(t, dir, p, "flip", "decommission")
		w.lose = true
		e := engine(m, p, w, j, dir)
		e.Events = w.people(e, t.Context())
		e.note(t.Context(), stepEntry("retire/host/imap.old", evWord, entryData{}))
		out, err := e.Run(t.Context())
		if err != nil || !out.Complete {
			t.Fatalf("%+v, %v", out, err)
		}
		checkEnd(t, w)
	})
}

func TestSideEffectIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(time.Hour))
		quick(p)
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		w.side = &plan.RRset{Name: "www.acme.example.", Type: "A"}
		out, err := engine(m, p, w, j, dir).Run(t.Context())
		if err != nil || len(out.Failed) != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
		if got := w.zone[key("acme.example.", "MX")]; got.TTL != 3600 {
			t.Errorf("the write was not taken back: %v", got.Lines())
		}
	})
}

func TestRollbackAfterTheFlip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(time.Hour))
		quick(p)
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		agree(t, dir, p, "flip")
		stop := make(chan struct{})
		e := engine(m, p, w, j, dir)
		e.Stop = stop
		go func() { time.Sleep(61 * time.Minute); close(stop) }()
		if out, err := e.Run(t.Context()); err != nil || !out.Stopped || w.updates != 2 {
			t.Fatalf("%+v, %v, %d writes", out, err, w.updates)
		}
		data, err := os.ReadFile(dir + "/plans/0001-back.plan")
		if err != nil {
			t.Fatal(err)
		}
		back, err := planfile.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		if err := Admit(back, m, e.Inventory, j.entries, nil); err != nil {
			t.Fatal(err)
		}
		r := engine(m, back, w, j, dir)
		if out, err := r.Run(t.Context()); err != nil || !out.Complete {
			t.Fatalf("%+v, %v", out, err)
		}
		if got := w.zone[key("acme.example.", "MX")].Lines()[0]; got != "300 MX 10 mx.old.example." {
			t.Errorf("MX after the rollback: %s", got)
		}
		if w.zone[key("acme.example.", "TXT")].Exists() {
			t.Error("the SPF record of the flip is still there")
		}
		if !r.Record.Flipped().IsZero() {
			t.Error("after the rollback the target may be mirrored again, and the record says flipped")
		}
	})
}

func TestPreflightChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now())
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		w.closed["jens@acme.example"] = true
		_, err := engine(m, p, w, j, dir).Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "jens@acme.example") || strings.Contains(err.Error(), "anna@") {
			t.Fatalf("preflight: %v", err)
		}
		if w.updates != 0 || len(w.passes) != 0 || len(w.sent) != 0 {
			t.Errorf("something was done: %d writes, %v passes, %v", w.updates, w.passes, w.sent)
		}
	})
}

func TestValidationMakesOneMorePassAndThenRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(time.Hour))
		quick(p)
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		agree(t, dir, p, "flip")
		w.compared["anna@acme.example"] = providers.Comparison{Source: 100, Target: 98, Missing: []string{"INBOX uid 7"}}
		stop := make(chan struct{})
		e := engine(m, p, w, j, dir)
		e.Stop = stop
		go func() { time.Sleep(3 * time.Hour); close(stop) }()
		out, err := e.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Refused) == 0 || !strings.Contains(out.Refused[0].Detail[0], "2 of 100") || !strings.Contains(out.Refused[0].Detail[0], "after one more pass") {
			t.Errorf("refused: %+v", out.Refused)
		}
		if st := e.Record.State("hold/anna@acme.example"); st.Passes != 0 {
			t.Error("the hold began although the validation failed")
		}
	})
}

// TestZoneByHand has a person enter every record some minutes after being told.
func TestZoneByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(time.Hour))
		quick(p)
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		w.hand = true
		agree(t, dir, p, "flip", "decommission")
		e := engine(m, p, w, j, dir)
		closing := w.people(e, t.Context())
		e.Events = func(ev Event) {
			closing(ev)
			if ev.State != "by_hand" || dnsRole(ev.Step) == roleOther {
				return
			}
			if ev.Phase == plan.Flip && e.Record.Flipped().IsZero() {
				t.Error("a person was told to flip, and the journal does not say that the flip has begun")
			}
			go func() {
				time.Sleep(3 * time.Minute)
				for _, s := range p.Steps {
					if d, err := parseDNS(s.Address); err == nil && s.Phase == ev.Phase {
						set, err := plan.ParseRRset(d.fqdn(), d.typ, s.To)
						if err != nil {
							t.Error(err)
						}
						w.mu.Lock()
						w.write([]plan.RRsetChange{{New: set}})
						w.mu.Unlock()
					}
				}
			}()
		}
		e.note(t.Context(), stepEntry("retire/host/imap.old", evWord, entryData{}))
		out, err := e.Run(t.Context())
		if err != nil || !out.Complete {
			t.Fatalf("%+v, %v", out, err)
		}
		if got := w.zone[key("acme.example.", "MX")].Lines()[0]; got != "3600 MX 10 mx.new.example." {
			t.Errorf("MX: %s", got)
		}
	})
}

func TestLameServerProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(time.Hour))
		quick(p)
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		agree(t, dir, p, "flip")
		w.lame = map[string]bool{"ns2:53": true}
		stop := make(chan struct{})
		e := engine(m, p, w, j, dir)
		e.Stop = stop
		go func() { time.Sleep(5 * time.Hour); close(stop) }()
		if _, err := e.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if st := e.Record.State("dns/acme.example/MX/@/ttl"); !st.Seen.IsZero() || w.updates != 1 {
			t.Errorf("the low TTL counts as seen (%v) although one server knows nothing of the zone; %d writes", st.Seen, w.updates)
		}
	})
}

// TestRefusedUpdateStopsOnlyItsDependents: copying and notices go on, the flip doesn't happen.
func TestRefusedUpdateStopsOnlyItsDependents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(time.Hour))
		quick(p)
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		agree(t, dir, p, "flip")
		w.refuse = &providers.Error{Op: "update zone", Subject: "acme.example.", Reason: providers.Refused, Server: "REFUSED"}
		e := engine(m, p, w, j, dir)
		out, err := e.Run(t.Context())
		if err != nil || len(out.Failed) != 1 || out.Failed[0] != "dns/acme.example/MX/@/ttl" {
			t.Fatalf("%+v, %v", out, err)
		}
		if w.updates != 0 || w.passes["anna@acme.example"] == 0 || len(w.sent) != 2 || !e.Record.Flipped().IsZero() {
			t.Errorf("%d writes, passes %v, sent %v, flipped %v", w.updates, w.passes, w.sent, e.Record.Flipped())
		}
	})
}

// TestAfterARollbackTheTargetStaysItsUsers: passes go on adding only.
func TestAfterARollbackTheTargetStaysItsUsers(t *testing.T) {
	_, p := fixture(time.Date(2027, 1, 15, 17, 0, 0, 0, time.UTC))
	j := &memoryJournal{budget: -1}
	j.Append(t.Context(), runEntry(evFlip, entryData{}), runEntry(evBack, entryData{Phase: plan.Flip}))
	r := NewRecord(p, j.entries)
	if !r.Flipped().IsZero() || r.mode() != providers.AfterFlip {
		t.Errorf("flipped %v, mode %v; want not flipped and %v", r.Flipped(), r.mode(), providers.AfterFlip)
	}
}

func TestFailedMailboxIsTriedAgainWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(time.Hour))
		quick(p)
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		agree(t, dir, p, "flip", "decommission")
		w.passErr = map[string]error{"jens@acme.example": &providers.Error{Op: "log in", Reason: providers.Authentication, Server: "NO too busy"}}
		go func() { time.Sleep(45 * time.Minute); w.mu.Lock(); w.passErr = nil; w.mu.Unlock() }()
		e := engine(m, p, w, j, dir)
		e.Events = w.people(e, t.Context())
		e.note(t.Context(), stepEntry("retire/host/imap.old", evWord, entryData{}))
		if out, err := e.Run(t.Context()); err != nil || !out.Complete {
			t.Fatalf("%+v, %v", out, err)
		}
	})
}

// TestNothingUnreviewedIsPublished parks before a record whose value the
// target had not named when the plan was made.
func TestNothingUnreviewedIsPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(time.Hour))
		quick(p)
		for i := range p.Steps {
			if p.Steps[i].Address == "dns/acme.example/TXT/@" {
				p.Steps[i].To = []string{"300 TXT " + plan.KnownAfterProvision}
			}
		}
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		agree(t, dir, p, "flip")
		out, err := engine(m, p, w, j, dir).Run(t.Context())
		if err != nil || out.Complete || len(out.Failed)+len(out.Drift)+len(out.Refused) > 0 {
			t.Fatalf("%+v, %v", out, err)
		}
		if w.updates != 1 || w.passes["anna@acme.example"] == 0 {
			t.Errorf("%d writes, passes %v: want the TTL lowered and nothing flipped, and the copy going on", w.updates, w.passes)
		}
	})
}

// TestLameServerIsNoProofOfAbsence removes a record: a server that knows
// nothing of the zone has none either.
func TestLameServerIsNoProofOfAbsence(t *testing.T) {
	m, p := fixture(time.Date(2027, 1, 15, 17, 0, 0, 0, time.UTC))
	step := plan.Step{Address: "dns/acme.example/A/gone", Phase: plan.Provision, Action: plan.Delete, From: []string{"300 A 192.0.2.9"}}
	p.Steps = append(p.Steps, step)
	w, j := newWorld(), &memoryJournal{budget: -1}
	for _, lame := range []bool{true, false} {
		w.lame = map[string]bool{"ns2:53": lame}
		e := engine(m, p, w, j, t.TempDir())
		lag, err := e.converge(t.Context(), step)
		if err != nil || (lag != "") != lame || e.Record.State(step.Address).Seen.IsZero() != lame {
			t.Errorf("lame %v: lag %q, %v, seen %v", lame, lag, err, e.Record.State(step.Address).Seen)
		}
	}
}
