package apply

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/plan/planfile"
	"github.com/mxodus/mxodus/providers"
)

const day = 24 * time.Hour

// fixture is a migration of two mailboxes with one domain, by hand at the end.
func fixture(cutover time.Time) (*plan.Migration, *plan.Plan) {
	m := &plan.Migration{
		Name: "acme", Timezone: "Europe/Berlin", Cutover: cutover,
		Sources: []plan.Host{{Kind: "imap", Name: "old", Hostname: "old.example"}},
		Targets: []plan.Host{{Kind: "imap", Name: "new", Hostname: "new.example", SMTPProbe: "127.0.0.1:2525"}},
		Mailboxes: []plan.Mailbox{
			{Block: "user", Key: "anna@acme.example", Kind: plan.UserMailbox, Source: "anna@acme.example", Target: "anna@acme.example", From: "imap.old", On: "imap.new"},
			{Block: "user", Key: "jens@acme.example", Kind: plan.UserMailbox, Source: "jens@acme.example", Target: "jens@acme.example", From: "imap.old", On: "imap.new"},
		},
		Domains:    []plan.Domain{{Name: "acme.example", Zone: "rfc2136", Mail: "imap.new"}},
		SMTP:       []plan.SMTPServer{{Name: "office", From: "IT <it@acme.example>"}},
		Notices:    []plan.NoticeConfig{{Name: "users", To: []string{"anna@acme.example", "jens@acme.example"}, Via: "office", Subject: "You move {cutover}", Body: "Dear {name}"}},
		Validation: plan.Validation{MaxDifference: 0.01},
	}
	at := func(a plan.Anchor, d time.Duration) plan.Moment { return plan.Moment{Anchor: a, Offset: d} }
	p := &plan.Plan{
		Header: plan.Header{Name: "acme", Number: 1, Lineage: "L1", Config: m.Digest(), Inventory: "sha256:1", Cutover: cutover, Timezone: m.Timezone},
		Schedule: []plan.Window{
			{Phase: plan.Provision, Start: at(plan.AnchorCutover, -14*day)},
			{Phase: plan.LowerTTL, Start: at(plan.AnchorCutover, -7*day)},
			{Phase: plan.BulkCopy, Start: at(plan.AnchorStart(plan.LowerTTL), 0), Repeat: day},
			{Phase: plan.Notice, Start: at(plan.AnchorCutover, -2*day)},
			{Phase: plan.Flip, Start: at(plan.AnchorCutover, 0), Until: plan.Until{Moment: at(plan.AnchorCutover, 4*time.Hour)}, Gate: "flip"},
			{Phase: plan.Delta, Start: at(plan.AnchorEnd(plan.Flip), 0), Until: plan.Until{Converged: 3}, Repeat: 15 * time.Minute},
			{Phase: plan.Validate, Start: at(plan.AnchorEnd(plan.Flip), 0)},
			{Phase: plan.Hold, Start: at(plan.AnchorEnd(plan.Validate), 0), Until: plan.Until{Moment: at(plan.AnchorEnd(plan.Validate), 30*day)}, Repeat: 6 * time.Hour},
			{Phase: plan.Decommission, Start: at(plan.AnchorEnd(plan.Hold), 0), Gate: "decommission"},
		},
		Gates: []plan.Gate{
			{Name: "flip", Require: []plan.CheckRef{{Name: "every_address_exists_at_target"}, {Name: "bulk_copy_complete"}, {Name: "old_ttl_expired_everywhere"}, {Name: "target_accepts_mail"}, {Name: "rollback_plan_fresh"}}, Approve: plan.Approval{Count: 1}},
			{Name: "decommission", Require: []plan.CheckRef{{Name: "no_stragglers_for", Arg: "7d"}, {Name: "manifest_archived"}}, Approve: plan.Approval{Count: 1}},
		},
	}
	old := []string{"3600 MX 10 mx.old.example."}
	low := []string{"300 MX 10 mx.old.example."}
	fresh := []string{"300 MX 10 mx.new.example."}
	p.Steps = []plan.Step{
		{Address: "dns/acme.example/MX/@/ttl", Phase: plan.LowerTTL, Action: plan.Change, From: old, To: low, Settle: time.Hour, Undo: plan.Restore},
		{Address: "copy/anna@acme.example", Phase: plan.BulkCopy, Action: plan.Copy, Repeat: day, Expect: "sha256:a", Undo: plan.NoneNeeded},
		{Address: "copy/jens@acme.example", Phase: plan.BulkCopy, Action: plan.Copy, Repeat: day, Expect: "sha256:j", Undo: plan.NoneNeeded},
		{Address: "notice/users", Phase: plan.Notice, Action: plan.Send, Undo: plan.Impossible},
		{Address: "dns/acme.example/MX/@", Phase: plan.Flip, Action: plan.Change, From: low, To: fresh, Gate: "flip", Undo: plan.Restore,
			After: []string{"copy/anna@acme.example", "copy/jens@acme.example", "dns/acme.example/MX/@/ttl"}},
		{Address: "dns/acme.example/TXT/@", Phase: plan.Flip, Action: plan.Create, To: []string{`300 TXT "v=spf1 mx -all"`}, Gate: "flip", Undo: plan.Restore},
	}
	for _, a := range []string{"anna@acme.example", "jens@acme.example"} {
		p.Steps = append(p.Steps, plan.Step{Address: "delta/" + a, Phase: plan.Delta, Action: plan.Copy, Repeat: 15 * time.Minute, Until: plan.Until{Converged: 3}, Undo: plan.NoneNeeded})
	}
	p.Steps = append(p.Steps, plan.Step{Address: "validate/dns/acme.example", Phase: plan.Validate, Action: plan.Check, Undo: plan.NoneNeeded})
	for _, a := range []string{"anna@acme.example", "jens@acme.example"} {
		p.Steps = append(p.Steps, plan.Step{Address: "validate/mail/" + a, Phase: plan.Validate, Action: plan.Check, Undo: plan.NoneNeeded})
	}
	p.Steps = append(p.Steps,
		plan.Step{Address: "dns/acme.example/MX/@/restore", Phase: plan.Hold, Action: plan.Change, From: fresh, To: []string{"3600 MX 10 mx.new.example."}, Start: at(plan.AnchorEnd(plan.Validate), 7*day), Undo: plan.Restore},
	)
	var holds []string
	for _, a := range []string{"anna@acme.example", "jens@acme.example"} {
		holds = append(holds, "hold/"+a)
		p.Steps = append(p.Steps, plan.Step{Address: "hold/" + a, Phase: plan.Hold, Action: plan.Copy, Repeat: 6 * time.Hour, Until: plan.Until{Moment: at(plan.AnchorEnd(plan.Validate), 30*day)}, Undo: plan.NoneNeeded})
	}
	p.Steps = append(p.Steps, plan.Step{Address: "archive/manifest", Phase: plan.Hold, Action: plan.Create, After: holds, Undo: plan.NoneNeeded})
	for _, a := range []string{"anna@acme.example", "jens@acme.example"} {
		p.Steps = append(p.Steps, plan.Step{Address: "retire/" + a, Phase: plan.Decommission, Action: plan.ByHand, Gate: "decommission", Detail: []string{"close it"}, Undo: plan.Impossible})
	}
	p.Steps = append(p.Steps, plan.Step{Address: "retire/host/imap.old", Phase: plan.Decommission, Action: plan.ByHand, Gate: "decommission", Detail: []string{"cancel it"}, Undo: plan.Impossible})
	if _, err := planfile.Encode(p); err != nil {
		panic(err)
	}
	return m, p
}

func newWorld() *world {
	w := &world{
		zone: map[string]plan.RRset{}, servers: []string{"ns1:53", "ns2:53"}, lag: 20 * time.Second, served: map[string]map[string]timed{},
		passes: map[string]int{}, pending: map[string][]int{}, modes: map[string][]providers.PassMode{}, passErr: map[string]error{},
		compared: map[string]providers.Comparison{}, closed: map[string]bool{}, accounts: map[string]bool{}, knows: map[string]bool{},
		arrivals: map[string][]providers.Arrival{}, post: post{source: map[string][]providers.Found{}, target: map[string][]providers.Found{}},
	}
	for _, a := range []string{"anna@acme.example", "jens@acme.example"} {
		w.accounts[a], w.knows[a] = true, true
		w.pending[a] = []int{50, 0, 3}
	}
	w.put(plan.RRset{Name: "acme.example.", Type: "MX", TTL: 3600, Data: []string{"10 mx.old.example."}},
		plan.RRset{Name: "www.acme.example.", Type: "A", TTL: 3600, Data: []string{"192.0.2.1"}})
	return w
}

func engine(m *plan.Migration, p *plan.Plan, w *world, j *memoryJournal, dir string) *Engine {
	var n atomic.Int64
	return &Engine{
		Plan: p, Migration: m, Inventory: &inventory.Inventory{Lineage: "L1"}, Systems: w, Journal: j, Record: NewRecord(p, j.entries),
		Clock: realClock{}, Random: func() string { return fmt.Sprint("r", n.Add(1)) }, Dir: dir, Wait: true, Parallel: 2,
	}
}

func agree(t *testing.T, dir string, p *plan.Plan, gates ...string) {
	t.Helper()
	for _, g := range gates {
		a, err := NewApproval(p, g, "kerstin@acme.example", nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Approve(dir, a); err != nil {
			t.Fatal(err)
		}
	}
}

// people do by hand what decommissioning asks for.
func (w *world) people(e *Engine, ctx context.Context) func(Event) {
	return func(ev Event) {
		if ev.State != "by_hand" {
			return
		}
		if kind, a, _ := strings.Cut(ev.Step, "/"); kind == "retire" && strings.Contains(a, "@") {
			w.mu.Lock()
			w.closed[a] = true
			w.mu.Unlock()
		}
	}
}

func TestSixWeeksUnattended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		cutover := begin.Add(14*day + time.Hour)
		m, p := fixture(cutover)
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		agree(t, dir, p, "flip", "decommission")
		e := engine(m, p, w, j, dir)
		e.Events = w.people(e, t.Context())
		go func() {
			time.Sleep(45 * day)
			if _, err := engine(m, p, w, j, dir).Done(context.Background(), "retire/host/imap.old"); err != nil {
				t.Error(err)
			}
		}()
		out, err := e.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !out.Complete {
			t.Fatalf("not complete: %+v", out)
		}
		checkEnd(t, w)
		flipped := e.Record.Flipped()
		if flipped.Before(cutover) || flipped.After(cutover.Add(time.Minute)) {
			t.Errorf("flipped %v, cutover %v", flipped, cutover)
		}
		for a, modes := range w.modes {
			if i := slices.Index(modes, providers.AfterFlip); i < 7 || slices.Contains(modes[i:], providers.BeforeFlip) {
				t.Errorf("%s: passes before and after the flip: %v", a, modes)
			}
		}
		if len(w.sent) != 2 {
			t.Errorf("notices: %v", w.sent)
		}
		if got := time.Since(begin); got < 14*day+30*day {
			t.Errorf("a migration of 44 days took %v", got)
		}
		out, err = engine(m, p, w, j, dir).Run(t.Context())
		if err != nil || !out.Complete || w.updates != 3 {
			t.Errorf("a second run: %+v, %v, %d updates", out, err, w.updates)
		}
	})
}

// checkEnd holds the zone against what the plan wants.
func checkEnd(t *testing.T, w *world) {
	t.Helper()
	want := []plan.RRset{
		{Name: "acme.example.", Type: "MX", TTL: 3600, Data: []string{"10 mx.new.example."}},
		{Name: "acme.example.", Type: "TXT", TTL: 300, Data: []string{`"v=spf1 mx -all"`}},
		{Name: "www.acme.example.", Type: "A", TTL: 3600, Data: []string{"192.0.2.1"}},
	}
	for _, s := range want {
		if got := w.zone[key(s.Name, s.Type)]; !got.Equal(s) {
			t.Errorf("%s %s: %v, want %v", s.Name, s.Type, got.Lines(), s.Lines())
		}
	}
	if w.updates != 3 {
		t.Errorf("%d writes to the zone, want 3: lower, flip, restore", w.updates)
	}
}

// TestDeathAtEveryCommit kills the machine before and after each durable entry
// of the journal, one at a time, and runs apply again: the end is the same, no
// record is written twice, no notice is sent twice.
func TestDeathAtEveryCommit(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 0; ; n++ {
			finished := false
			synctest.Test(t, func(t *testing.T) {
				m, p := fixture(time.Now().Add(time.Hour))
				quick(p)
				w, dir := newWorld(), t.TempDir()
				agree(t, dir, p, "flip", "decommission")
				j := &memoryJournal{budget: n, after: after}
				j.died = func() { w.mu.Lock(); w.dead = true; w.mu.Unlock() }
				e := engine(m, p, w, j, dir)
				e.Events = w.people(e, t.Context())
				e.note(t.Context(), stepEntry("retire/host/imap.old", evWord, entryData{}))
				out, err := e.Run(t.Context())
				if err == nil && out.Complete && !w.dead {
					finished = true
					return
				}
				j2 := &memoryJournal{entries: j.entries, budget: -1}
				w.dead = false
				e = engine(m, p, w, j2, dir)
				e.Events = w.people(e, t.Context())
				e.note(t.Context(), stepEntry("retire/host/imap.old", evWord, entryData{}))
				stop := make(chan struct{})
				e.Stop = stop
				timer := time.AfterFunc(10*day, func() { close(stop) })
				defer timer.Stop()
				if out, err = e.Run(t.Context()); err != nil || !out.Complete {
					t.Fatalf("died at commit %d (after=%v); then: %+v, %v", n, after, out, err)
				}
				checkEnd(t, w)
				if got := slices.Compact(slices.Sorted(slices.Values(w.sent))); len(got) != len(w.sent) {
					t.Errorf("died at commit %d (after=%v): a notice was sent twice: %v", n, after, w.sent)
				}
			})
			if t.Failed() || finished {
				t.Logf("%d commits (after=%v)", n, after)
				break
			}
			if n > 500 {
				t.Fatal("the migration never ends")
			}
		}
	}
}

// quick makes the schedule one of minutes, so that every commit of it can be tried.
func quick(p *plan.Plan) {
	for i := range p.Schedule {
		w := &p.Schedule[i]
		w.Repeat = min(w.Repeat, time.Minute)
		w.Start.Offset = max(w.Start.Offset, -30*time.Minute)
		if w.Phase == plan.Hold {
			w.Until.Moment.Offset = 10 * time.Minute
		}
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		s.Repeat = min(s.Repeat, 10*time.Minute)
		s.Settle = min(s.Settle, 5*time.Minute)
		s.Start.Offset = min(s.Start.Offset, time.Minute)
		if s.Phase == plan.Hold && !s.Until.Moment.IsZero() {
			s.Until.Moment.Offset = 10 * time.Minute
		}
	}
	if _, err := planfile.Encode(p); err != nil {
		panic(err)
	}
}

func TestParksAtEachWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(time.Hour))
		quick(p)
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		run := func() Outcome {
			t.Helper()
			e := engine(m, p, w, j, dir)
			e.Wait = false
			out, err := e.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		out := run()
		if len(out.Waiting) == 0 || out.Waiting[0].Kind != WaitTime || w.updates != 0 {
			t.Fatalf("before the first start: %+v, %d writes", out, w.updates)
		}
		time.Sleep(31 * time.Minute)
		out = run()
		if w.updates != 1 || w.passes["anna@acme.example"] != 1 || len(w.sent) != 2 {
			t.Fatalf("after the start: %d writes, passes %v, sent %v, %+v", w.updates, w.passes, w.sent, out)
		}
		time.Sleep(time.Hour)
		out = run()
		if !slices.ContainsFunc(out.Waiting, func(w Waiting) bool { return w.Kind == WaitApproval && w.Gate == "flip" }) || w.updates != 1 {
			t.Fatalf("at the gate: %+v, %d writes", out, w.updates)
		}
		if _, err := os.Stat(dir + "/plans/0001-back.plan"); err != nil {
			t.Errorf("no rollback plan at the gate: %v", err)
		}
		delete(w.knows, "jens@acme.example")
		time.Sleep(2 * time.Minute)
		out = run()
		if len(out.Refused) != 1 || w.updates != 1 {
			t.Fatalf("an address without a home: %+v, %d writes", out.Refused, w.updates)
		}
		w.knows["jens@acme.example"] = true
		agree(t, dir, p, "flip")
		time.Sleep(2 * time.Minute)
		out = run()
		if w.updates != 2 {
			t.Fatalf("after the approval: %d writes, %+v", w.updates, out)
		}
	})
}
