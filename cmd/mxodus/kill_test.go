package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/planfile"
	inflicted "github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
	"github.com/mxodus/mxodus/state"
)

// TestKilledApply runs complete migrations whose apply is ended by SIGKILL at random moments,
// also while it recovers, and started again, until it has come to its end.
// MXODUS_KILLS says how many kills there have to be (50), MXODUS_SEED which ones.
func TestKilledApply(t *testing.T) {
	t.Parallel()
	want, seed := number(t, "MXODUS_KILLS", 50), uint64(number(t, "MXODUS_SEED", int(time.Now().UnixNano()&0xffffff)))
	h := &histogram{at: map[plan.Phase]int{}, after: map[string]int{}}
	// Migrations at the same time, whatever -parallel says: most of one is waiting.
	var lanes sync.WaitGroup
	for lane := range 3 {
		lanes.Go(func() {
			for round := 0; h.kills() < want && !t.Failed(); round++ {
				s := seed + uint64(lane*1000+round)
				t.Run(fmt.Sprintf("seed %d", s), func(t *testing.T) { killedMigration(t, s, h) })
			}
		})
	}
	lanes.Wait()
	inflicted.Count(t, "kills", h.kills())
	t.Logf("seed %d: %d kills of a live process in %d migrations; %s", seed, h.kills(), h.migrations, h)
	if !t.Failed() && h.kills() < want {
		t.Errorf("%d kills, want %d", h.kills(), want)
	}
}

// number is a setting of the environment.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s=%s is no number", name, text)
	}
	return n
}

// histogram counts kills by the phase of the step that apply has told of last, and by
// what was journaled last.
type histogram struct {
	mu         sync.Mutex
	at         map[plan.Phase]int
	after      map[string]int
	migrations int
}

func (h *histogram) add(at plan.Phase, after string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at[at]++
	h.after[after]++
}

func (h *histogram) kills() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, k := range h.at {
		n += k
	}
	return n
}

func (h *histogram) String() string {
	var parts []string
	for _, p := range plan.Phases() {
		parts = append(parts, fmt.Sprintf("%s %d", p, h.at[p]))
	}
	return "by phase: " + strings.Join(parts, ", ") + fmt.Sprintf("; by the last entry: %v", h.after)
}

// Kills of one migration: at most so many in a phase, so that it ends and that no phase is spared.
const killsInPhase = 5

func killedMigration(t *testing.T, seed uint64, h *histogram) {
	random := rand.New(rand.NewPCG(seed, 9))
	w := startWorld(t, servers{people: 3, latency: 3 * time.Millisecond})
	w.plant(imaptest.Generate(seed, 240))
	f := w.migration(pace{lead: 8 * time.Second, provision: 6 * time.Second, notice: 3 * time.Second, repeat: 2 * time.Second, delta: time.Second, hold: 4 * time.Second})
	p := f.planned()
	f.approve("flip")
	f.approve("decommission")
	kills, in := 0, map[plan.Phase]int{}
	for {
		var limit time.Duration
		var from func(event) bool
		at, _ := lastDone(p, f)
		if choice := random.IntN(3); choice > 0 || in[at] >= killsInPhase {
			// While something is done, in a phase that had few kills.
			limit = 1 + time.Duration(random.IntN(15_000))*time.Microsecond
			n := random.IntN(4)
			from = func(ev event) bool {
				s, ok := p.Step(ev.Step)
				if !ok || in[s.Phase] >= killsInPhase {
					return false
				}
				if n--; n < 0 {
					in[s.Phase]++
				}
				return n < 0
			}
		} else {
			// At any time: when the program begins, while it looks what became of the run before, while it waits.
			limit = time.Duration(40+random.IntN(1500)) * time.Millisecond
		}
		r := w.runFor(f, limit, from)
		if !r.killed {
			if r.code != 0 {
				t.Fatalf("seed %d, after %d kills: apply ended with exit code %d\n%s", seed, kills, r.code, tail(r.out, 4000))
			}
			break // with -wait only the end is exit code 0
		}
		kills++
		_, after := lastDone(p, f)
		if s, ok := p.Step(r.told); ok {
			at = s.Phase
		}
		if from == nil {
			in[at]++
		}
		h.add(at, after)
		if kills > 100 {
			t.Fatalf("seed %d: no end after %d kills", seed, kills)
		}
	}
	w.exactlyOnce(f, fmt.Sprintf("seed %d, %d kills", seed, kills))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.migrations++
}

// lastDone is the phase of the step that was journaled last, and what was journaled of it.
func lastDone(p *plan.Plan, f *folder) (plan.Phase, string) {
	for _, e := range slices.Backward(f.journal()) {
		if s, ok := p.Step(e.Step); ok {
			return s.Phase, e.Event
		}
	}
	return plan.Provision, "nothing"
}

// planned makes the first plan.
func (f *folder) planned() *plan.Plan {
	f.t.Helper()
	f.run(0, "plan", "-out", "plans/0001.plan")
	p, err := planfile.Decode([]byte(f.read("plans/0001.plan")))
	if err != nil {
		f.t.Fatal(err)
	}
	return p
}

func (f *folder) approve(gate string) {
	f.t.Helper()
	f.run(0, "approve", gate, "-by", "kerstin@acme.example")
}

// runEnd is how a run of apply went.
type runEnd struct {
	killed bool
	code   int
	out    string
	told   string          // the step of the last event
	within map[string]bool // steps that were in the middle of a pass, by what they have told
}

// runFor runs apply -wait and kills it after limit (0: never), counted from its start, or from the
// first event for which from is true. It plays the people, too.
func (w *world) runFor(f *folder, limit time.Duration, from func(event) bool) runEnd {
	c := f.start("apply", "-wait", "-json", "plans/0001.plan")
	r := runEnd{within: map[string]bool{}}
	var timer <-chan time.Time
	if limit > 0 && from == nil {
		timer = time.After(limit)
	}
	for {
		select {
		case ev, more := <-c.events:
			if !more {
				r.code, r.out = c.code(), c.output()
				return r
			}
			if ev.Step != "" {
				r.told = ev.Step
			}
			switch {
			case ev.Type == "pass":
				delete(r.within, ev.Step)
			case ev.Progress != nil && ev.Progress.Messages < ev.Progress.Total:
				r.within[ev.Step] = true
			}
			if from != nil && limit > 0 && timer == nil && from(ev) {
				timer = time.After(limit)
			}
			w.react(f, ev)
		case <-timer:
			if r.killed = c.kill(); r.killed {
				return r
			}
			timer = nil // it has ended by itself
		}
	}
}

// react is what people do about an event of apply. Mail comes once; by-hand steps are asked for again by each run.
func (w *world) react(f *folder, ev event) {
	first := func(name string) bool { defer func() { w.played[name] = true }(); return !w.played[name] }
	switch {
	case ev.State == "by_hand":
		w.act(f, ev.Step)
	case strings.HasPrefix(ev.Step, "copy/") && first("bulk"):
		w.send(w.source, w.people[0], "during the bulk copy")
	case ev.Type == "phase" && ev.Phase == "flip" && first("flip"):
		w.send(w.source, w.people[1], "straggler")
		w.send(w.target, w.people[0], "by the new MX")
	}
}

// exactlyOnce is what has to be true after a migration, whatever ended its runs.
func (w *world) exactlyOnce(f *folder, when string) {
	t := w.t
	t.Helper()
	f.run(0, "plan", "-detailed-exitcode") // 2, if there were something to do
	n := w.compare()
	if n < w.planted {
		t.Errorf("%d messages at the new host, %d were planted", n, w.planted)
	}
	for _, line := range differences(w.dns.records(t), w.flipped()) {
		t.Errorf("zone: %s", line)
	}
	sent := w.notices()
	for _, to := range slices.Sorted(maps.Keys(sent)) {
		if sent[to] > 1 {
			t.Errorf("%s got %d notices", to, sent[to])
		}
	}
	if t.Failed() {
		for _, e := range f.journal() {
			t.Logf("%s %s %s %.200s", e.At.Format("15:04:05.000"), e.Event, e.Step, e.Data)
		}
		t.Errorf("%s", when)
	}
}

// TestKilledCopyOfDovecot is the same with real mail servers, and with kills that all hit the
// bulk copy: the flip is approved only after them.
func TestKilledCopyOfDovecot(t *testing.T) {
	t.Parallel()
	seed := uint64(number(t, "MXODUS_SEED", int(time.Now().UnixNano()&0xffffff)))
	random := rand.New(rand.NewPCG(seed, 10))
	w := startWorld(t, servers{dovecot: true, people: 3})
	w.plant(imaptest.Generate(seed, 900))
	f := w.migration(pace{lead: 10 * time.Second, provision: 10 * time.Second, notice: 5 * time.Second, repeat: 2 * time.Second, delta: time.Second, hold: 4 * time.Second})
	f.planned()
	f.approve("decommission")
	const want = 12
	copying := func(ev event) bool { return ev.Type == "progress" && strings.HasPrefix(ev.Step, "copy/") }
	kills, within := 0, 0
	for ; within < want && kills < 4*want; kills++ {
		r := w.runFor(f, time.Duration(1+random.IntN(250))*time.Millisecond, copying)
		if !r.killed {
			t.Fatalf("seed %d, after %d kills: apply ended with exit code %d\n%s", seed, kills, r.code, tail(r.out, 4000))
		}
		if len(r.within) > 0 {
			within++
		}
		// Where a pass has come to its end there has to be more to copy.
		if slices.ContainsFunc(f.journal(), func(e state.Entry) bool { return e.Event == "pass" }) {
			w.plant(imaptest.Generate(random.Uint64(), 150))
		}
	}
	if within < want {
		t.Errorf("%d of %d kills hit a pass, want %d", within, kills, want)
	}
	f.approve("flip")
	if r := w.runFor(f, 0, nil); r.killed || r.code != 0 {
		t.Fatalf("seed %d, after %d kills: apply ended with exit code %d\n%s", seed, kills, r.code, tail(r.out, 4000))
	}
	w.exactlyOnce(f, fmt.Sprintf("seed %d, %d kills", seed, kills))
	inflicted.Count(t, "kills", kills)
	t.Logf("seed %d: %d kills, %d of them in the middle of a pass of the bulk copy, %d messages", seed, kills, within, w.planted)
}
