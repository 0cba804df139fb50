package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/planfile"
	"github.com/mxodus/mxodus/providers/dns/dnstest"
	inflicted "github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// These tests end the program by SIGKILL, and lose answers, at each step of lowering,
// flip, restoring and going back, with two real BINDs. Each ends in the zone that the plan
// wants, and in a second run and a second plan that find nothing to do.

// bindWorld is a migration whose updates go through a proxy.
func bindWorld(t *testing.T) (*world, *dnstest.Proxy) {
	t.Helper()
	w := startWorld(t, servers{people: 3, bind: true, latency: time.Millisecond})
	proxy, err := dnstest.ListenProxy(w.dns.primary)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proxy.Close() })
	w.dns.update = proxy.Addr()
	w.plant(imaptest.Generate(11, 30))
	return w, proxy
}

// lead leaves time for all kills before the flip: what is due late is done late.
var killPace = pace{lead: 6 * time.Second, provision: 5 * time.Second, notice: 3 * time.Second, repeat: 2 * time.Second, delta: time.Second, hold: 3 * time.Second}

// TestKilledAtEachJournaledStepOfDNS kills apply as soon as it tells that something was
// journaled of a DNS step, once for each such thing.
func TestKilledAtEachJournaledStepOfDNS(t *testing.T) {
	t.Parallel()
	w, _ := bindWorld(t)
	f := w.migration(killPace)
	p := f.planned()
	f.approve("flip")
	f.approve("decommission")
	killedAt := map[string]bool{}
	fresh := func(ev event) bool {
		at := ev.Step + " " + ev.State
		if !strings.HasPrefix(ev.Step, "dns/") || ev.Type != "step" || killedAt[at] {
			return false
		}
		killedAt[at] = true
		return true
	}
	kills := 0
	for {
		r := w.runFor(f, 1, fresh)
		if !r.killed {
			if r.code != 0 {
				t.Fatalf("after %d kills: exit code %d\n%s", kills, r.code, tail(r.out, 4000))
			}
			break
		}
		if kills++; kills > 100 {
			t.Fatal("no end")
		}
	}
	w.exactlyOnce(f, fmt.Sprintf("%d kills", kills))
	w.secondRun(f, "plans/0001.plan")
	for _, s := range p.Steps {
		if strings.HasPrefix(s.Address, "dns/") && !slices.ContainsFunc(states, func(state string) bool { return killedAt[s.Address+" "+state] }) {
			t.Errorf("no kill at %s", s.Address)
		}
	}
	inflicted.Count(t, "kills", kills)
	t.Logf("%d kills at %d steps of DNS", kills, len(killedAt))
}

var states = []string{"started", "applied", "seen", "done"}

// secondRun finds nothing to do, and writes nothing.
func (w *world) secondRun(f *folder, file string) {
	w.t.Helper()
	serial := w.dns.ask(w.t, w.dns.primary, "acme.example.", 6)
	f.run(0, "apply", "-wait", file)
	if after := w.dns.ask(w.t, w.dns.primary, "acme.example.", 6); !slices.Equal(serial, after) {
		w.t.Errorf("a second run wrote to the zone: %v, then %v", serial, after)
	}
}

// fault is what happens to one update.
type fault string

const (
	killedUnsent fault = "killed before the update arrives"
	killedSent   fault = "killed, and the update is carried out"
	lostAnswer   fault = "the answer is lost"
	lostUpdate   fault = "the update is lost"
	unharmed     fault = "unharmed"
)

// faulty runs apply with one fault after the other in the way of its updates, and
// starts it again when it was killed or has failed. It returns how often each happened.
func (w *world) faulty(f *folder, proxy *dnstest.Proxy, file string, faults []fault) map[fault]int {
	t := w.t
	t.Helper()
	hit := map[fault]int{}
	var mu sync.Mutex
	var now *child
	kill := func() {
		mu.Lock()
		c := now
		mu.Unlock()
		c.kill()
	}
	var arm func()
	arm = func() {
		next := unharmed
		if len(faults) > 0 {
			next, faults = faults[0], faults[1:]
		}
		count := func() { mu.Lock(); hit[next]++; mu.Unlock() }
		switch next {
		case killedUnsent:
			proxy.InsteadOfUpdate(func() { count(); kill(); arm() })
		case killedSent:
			proxy.BeforeUpdate(func() { count(); kill(); arm() })
		case lostUpdate:
			proxy.InsteadOfUpdate(func() { count(); arm() })
		case lostAnswer:
			proxy.BeforeUpdate(func() { count(); proxy.LoseAnswers(1); arm() })
		}
	}
	arm()
	for try := 0; ; try++ {
		if try > 60 {
			t.Fatalf("no end; faults so far: %v", hit)
		}
		c := f.start("apply", "-wait", "-json", file)
		mu.Lock()
		now = c
		mu.Unlock()
		for ev := range c.events {
			w.react(f, ev)
		}
		switch c.code() {
		case -1, exitFailed: // killed, or the lost update was told as a failure
		case 0:
			mu.Lock()
			defer mu.Unlock()
			return hit
		default:
			t.Fatalf("exit code %d\n%s", c.code(), tail(c.output(), 4000))
		}
	}
}

// everyFault has each of n updates meet every fault: some before it is carried out, and
// one by which it is.
func everyFault(n int) []fault {
	var list []fault
	for i := range n {
		list = append(list, killedUnsent, lostUpdate, []fault{killedSent, lostAnswer}[i%2])
	}
	return list
}

// TestFaultsAtEachUpdate has every update of a migration, and then every update of its
// way back, killed and lost.
func TestFaultsAtEachUpdate(t *testing.T) {
	t.Parallel()
	w, proxy := bindWorld(t)
	f := w.migration(killPace)
	f.planned()
	f.approve("flip")
	f.approve("decommission")
	// Three TTLs are lowered, one update is the flip, the TTLs are raised again.
	hit := w.faulty(f, proxy, "plans/0001.plan", everyFault(7))
	w.exactlyOnce(f, fmt.Sprint(hit))
	w.secondRun(f, "plans/0001.plan")
	if hit[killedUnsent] != 7 || hit[lostUpdate] != 7 || hit[killedSent]+hit[lostAnswer] != 7 {
		t.Errorf("faults that happened: %v, want seven of each kind", hit)
	}
	t.Logf("faults: %v", hit)
}

// TestFaultsOnTheWayBack flips, and goes back with a fault at each update.
func TestFaultsOnTheWayBack(t *testing.T) {
	t.Parallel()
	w, proxy := bindWorld(t)
	slow := killPace
	slow.hold = time.Hour // nothing is restored before the way back
	f := w.migration(slow)
	p := f.planned()
	f.approve("flip")
	flipped := func(ev event) bool { return ev.Type == "phase" && ev.Phase == string(plan.Flip) }
	if r := w.runFor(f, 1, flipped); !r.killed {
		t.Fatalf("apply ended with exit code %d before it had flipped\n%s", r.code, tail(r.out, 4000))
	}
	f.run(0, "rollback", "-to", string(plan.Provision), "-out", "plans/0002.plan")
	back, err := planfile.Decode([]byte(f.read("plans/0002.plan")))
	if err != nil {
		t.Fatal(err)
	}
	records := 0
	for _, s := range back.Steps {
		if strings.HasPrefix(s.Address, "dns/") {
			records++
		}
	}
	// The records of the flip go back as they came: together, in one update.
	hit := w.faulty(f, proxy, "plans/0002.plan", everyFault(1))
	for _, line := range differences(w.dns.records(t), w.before) {
		t.Errorf("zone after the way back: %s", line)
	}
	w.secondRun(f, "plans/0002.plan")
	if records != 3 || hit[killedUnsent] != 1 || hit[lostUpdate] != 1 || hit[killedSent] != 1 {
		t.Errorf("%d records to take back of %d steps; faults that happened: %v", records, len(p.Steps), hit)
	}
	t.Logf("%d records taken back; faults: %v", records, hit)
}
