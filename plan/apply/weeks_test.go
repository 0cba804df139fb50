package apply

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/state"
)

// jumpClock is a machine's clock that is set, forwards and back.
type jumpClock struct {
	realClock
	ahead atomic.Int64
}

func (c *jumpClock) Now() time.Time       { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *jumpClock) jump(d time.Duration) { c.ahead.Add(int64(d)) }

// trouble reports whether what fails in these three hours: about once a day, at hours of its own.
func trouble(seed uint64, what string, now time.Time) bool {
	h := fnv.New32()
	fmt.Fprint(h, seed, what, now.Unix()/(3*3600))
	return h.Sum32()%7 == 0
}

// TestWeeksOfDailyTrouble runs a migration of six weeks, across a change to summer time, in which every
// day hosts throttle, logins are refused, tokens expire, name servers are down, the DNS host's interface and
// the mail server for notices fail, and the program is stopped, interrupted or killed; now and then the clock is
// set or the laptop sleeps. Mail comes all the time. No message is lost or doubled, no record
// is written twice, nobody gets a notice twice, nothing happens before its time, and no goroutine is left.
func TestWeeksOfDailyTrouble(t *testing.T) {
	seeds := uint64(2)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { weeksOfTrouble(t, seed) }) })
	}
}

func weeksOfTrouble(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 7))
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(time.Date(2000, 3, 14, 9, 0, 0, 0, berlin))) // summer time begins on the 26th
	begin, cutover := time.Now(), time.Date(2000, 3, 29, 18, 0, 0, 0, berlin)
	m, p := fixture(cutover)
	w, dir := newLettersWorld(), t.TempDir()
	w.both(200, w.mail.source)
	clock := &jumpClock{}
	j := &memoryJournal{budget: -1}
	var mu sync.Mutex
	wrong := map[string]int{}
	count := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		wrong[what]++
	}
	seldom := func(what string) bool { // some are asked a few times in all the weeks
		mu.Lock()
		defer mu.Unlock()
		return wrong[what] < 2
	}
	unreachable := func(what string) error {
		count(what)
		return &providers.Error{Op: what, Reason: providers.Unreachable, Err: context.DeadlineExceeded}
	}
	w.down = func(what string) error {
		if seldom(what) || trouble(seed, what, time.Now()) {
			return unreachable(what)
		}
		return nil
	}
	var dead atomic.Bool
	w.mail.meets = func(_ string, message int) error {
		now := time.Now()
		switch {
		case dead.Load():
			return errDied
		case message == 0 && trouble(seed, "login", now):
			count("login")
			return &providers.Error{Op: "log in", Reason: providers.Authentication, Server: "NO [AUTHENTICATIONFAILED] try later"}
		case message == 0 && trouble(seed, "host", now):
			return unreachable("host")
		case message > 0 && trouble(seed, "token", now) && random.IntN(8) == 0:
			count("token") // it has expired in the middle of a pass, and no new one is to be had
			return &providers.Error{Op: "append", Reason: providers.Authentication, Server: "NO [EXPIRED] token expired"}
		case trouble(seed, "throttled", now) && random.IntN(8) == 0:
			count("throttled")
			return throttled("append")
		}
		return nil
	}
	// Mail comes to whoever the senders know: after the flip some of them know the old MX for a week.
	over := make(chan struct{})
	go func() {
		var since time.Time // the flip
		for {
			select {
			case <-over:
				return
			case <-time.After(3 * time.Hour):
			}
			w.mu.Lock()
			if since.IsZero() && slices.Contains(w.zone[key("acme.example.", "MX")].Data, "10 mx.new.example.") {
				since = time.Now()
			}
			w.mu.Unlock()
			switch {
			case since.IsZero():
				w.both(2, w.mail.source)
			case time.Since(since) < 7*day:
				w.both(1, w.mail.source)
				w.both(2, w.mail.target)
			default:
				w.both(2, w.mail.target)
			}
		}
	}()
	runs, deaths, asked := 0, 0, 0
	var out Outcome
	for ; runs < 400; runs++ {
		stop := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		limit := 6*time.Hour + time.Duration(random.Int64N(int64(24*time.Hour)))
		end := func() { close(stop) }
		j.mu.Lock()
		j.budget, j.gone, j.after = -1, false, random.IntN(2) == 0
		switch random.IntN(4) {
		case 0:
			end = cancel
		case 1:
			j.budget, j.died = random.IntN(40), func() { dead.Store(true); w.mu.Lock(); w.dead = true; w.mu.Unlock() }
		}
		j.mu.Unlock()
		timer := time.AfterFunc(limit, end)
		switch runs {
		case 5:
			clock.jump(3 * time.Hour) // a laptop that slept
		case 9:
			clock.jump(-5 * time.Hour)
		case 12:
			clock.jump(2 * time.Hour)
		}
		e := lettersEngine(m, p, w, j, dir)
		e.Clock, e.Stop = clock, stop
		e.Events = func(ev Event) {
			w.people(e, ctx)(ev)
			if ev.Type == "gate" && ev.State == "waiting" {
				asked++
				agreeAt(t, dir, p, clock.Now(), ev.Gate)
			}
			if ev.Step == "retire/host/imap.old" && ev.State == "by_hand" {
				j.Append(ctx, wordFor(p, ev.Step))
			}
		}
		out, err = e.Run(ctx)
		timer.Stop()
		cancel()
		if dead.Load() {
			deaths++
			dead.Store(false)
			w.mu.Lock()
			w.dead = false
			w.mu.Unlock()
		} else if err != nil {
			t.Logf("run %d: %v", runs, err) // a preflight while a host is down: cron tries again
		}
		if out.Complete && err == nil {
			break
		}
		time.Sleep(time.Duration(random.Int64N(int64(2 * time.Hour))))
	}
	close(over)
	synctest.Wait()
	if !out.Complete {
		t.Fatalf("not complete after %d runs and %v: %+v", runs, time.Since(begin), out)
	}
	for _, what := range []string{"name server", "zone", "smtp", "login", "host", "token", "throttled"} {
		if wrong[what] == 0 {
			t.Errorf("%s never failed: the test shows nothing of it", what)
		}
	}
	j.mu.Lock()
	j.budget, j.gone = -1, false
	j.mu.Unlock()
	w.mail.check(t, "the target", w.mail.target)
	checkEnd(t, w.world)
	record := NewRecord(p, j.entries)
	if at := record.Flipped(); at.Before(cutover) || at.After(cutover.Add(2*day)) {
		t.Errorf("flipped %v, cutover %v", at.In(berlin), cutover)
	}
	if lowered := record.State("dns/acme.example/MX/@/ttl").Started; lowered.Before(time.Date(2000, 3, 22, 18, 0, 0, 0, berlin)) {
		t.Errorf("the TTL was lowered %v, before its time", lowered.In(berlin))
	}
	held, _ := record.PhaseEnd(plan.Hold)
	validated, _ := record.PhaseEnd(plan.Validate)
	if held.Sub(validated) < 30*day {
		t.Errorf("held from %v to %v", validated, held)
	}
	if len(w.sent) != 2 || w.sent[0] == w.sent[1] {
		t.Errorf("notices: %v", w.sent)
	}
	for a, modes := range w.mail.modes {
		if i := slices.Index(modes, providers.AfterFlip); slices.Contains(modes[i:], providers.BeforeFlip) {
			t.Errorf("%s: a pass of before the flip after it", a)
		}
	}
	t.Logf("%d runs, %d of them killed, %d approvals asked for, %v, %d messages, failures: %v", runs+1, deaths, asked, time.Since(begin).Round(time.Hour), w.mail.next, wrong)
}

func wordFor(p *plan.Plan, address string) (entry state.Entry) {
	s, _ := p.Step(address)
	entry = stepEntry(address, evWord, entryData{})
	entry.Data, entry.At, entry.Plan = withKey(entry.Data, stepKey(p, s)), time.Now(), p.Digest
	return entry
}

func agreeAt(t *testing.T, dir string, p *plan.Plan, now time.Time, gates ...string) {
	t.Helper()
	for _, g := range gates {
		a, err := NewApproval(p, g, "kerstin@acme.example", nil, now)
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := Approve(dir, a); err != nil {
			t.Error(err)
		}
	}
}

// TestMissedWindowAsksAgain has nobody run apply while the flip's window is open. What was agreed
// before counts no longer, also where the gate asks nobody.
func TestMissedWindowAsksAgain(t *testing.T) {
	for _, count := range []int{1, 0} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p := fixture(time.Now().Add(time.Hour))
				p.Gates[0].Approve.Count = count
				quick(p)
				w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
				agree(t, dir, p, "flip")
				runFor(t, engine(m, p, w, j, dir), 50*time.Minute)
				time.Sleep(5 * time.Hour) // the window is four hours
				e := engine(m, p, w, j, dir)
				e.Wait = false
				out := runFor(t, e, time.Hour)
				i := slices.IndexFunc(out.Waiting, func(w Waiting) bool { return w.Kind == WaitApproval && w.Gate == "flip" })
				if w.updates != 1 || i < 0 || !strings.Contains(strings.Join(out.Waiting[i].Names, "; "), "window closed") {
					t.Fatalf("after the window: %d writes, %+v", w.updates, out.Waiting)
				}
				agree(t, dir, p, "flip")
				if runFor(t, engine(m, p, w, j, dir), time.Hour); w.updates < 2 {
					t.Error("a new approval did not open the gate")
				}
			})
		})
	}
}

// TestLaptopSleepsOverTheWindow lets timers stand still while the clock goes on.
func TestLaptopSleepsOverTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(time.Hour))
		quick(p)
		w, j, dir, clock := newWorld(), &memoryJournal{budget: -1}, t.TempDir(), &jumpClock{}
		agree(t, dir, p, "flip")
		e := engine(m, p, w, j, dir)
		e.Clock = clock
		go func() { time.Sleep(50 * time.Minute); clock.jump(10 * time.Hour) }()
		runFor(t, e, 2*time.Hour)
		if w.updates != 1 || !e.Record.Flipped().IsZero() {
			t.Errorf("%d writes: flipped %v, ten hours late and without a word", w.updates, e.Record.Flipped())
		}
	})
}

// TestClockSetBackAtTheGate sets the clock back while a gate is shut and when it is open: what was
// looked at "in the future" is looked at again, and the flip waits for its time.
func TestClockSetBackAtTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(time.Hour))
		quick(p)
		w, j, dir, clock := newWorld(), &memoryJournal{budget: -1}, t.TempDir(), &jumpClock{}
		e := engine(m, p, w, j, dir)
		e.Clock = clock
		notes := 0
		e.Events = func(ev Event) {
			if ev.Type == "note" && strings.Contains(ev.Text, "set back") {
				notes++
			}
		}
		go func() {
			time.Sleep(70 * time.Minute) // at the gate, without an approval
			clock.jump(-30 * time.Minute)
			agreeAt(t, dir, p, clock.Now(), "flip")
		}()
		runFor(t, e, 85*time.Minute)
		if w.updates != 1 {
			t.Errorf("%d writes: the flip came before its time", w.updates)
		}
		runFor(t, e, 30*time.Minute)
		if w.updates < 2 || notes == 0 {
			t.Errorf("%d writes and %d notes: the flip did not come when it was time", w.updates, notes)
		}
		if at := e.Record.Flipped(); at.Before(p.Cutover) || at.After(p.Cutover.Add(2*time.Minute)) {
			t.Errorf("flipped %v, cutover %v", at, p.Cutover)
		}
	})
}

// TestClockSetBackDoesNotStopPasses: a last pass in the future is as good as none.
func TestClockSetBackDoesNotStopPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(30 * day))
		w, j, dir, clock := newWorld(), &memoryJournal{budget: -1}, t.TempDir(), &jumpClock{}
		p.Schedule[2].Start = plan.Moment{}
		e := engine(m, p, w, j, dir)
		e.Clock = clock
		clock.jump(20 * day)
		runFor(t, e, time.Hour)
		before := w.passes["anna@acme.example"]
		clock.jump(-20 * day)
		runFor(t, e, time.Hour)
		if n := w.passes["anna@acme.example"] - before; before != 1 || n != 1 {
			t.Errorf("%d passes before the clock was set back, %d in the hour after it; want one and one", before, n)
		}
	})
}

// TestDriftInTheMiddleStopsItsDependentsOnly changes a record that the TTL step was planned against.
func TestDriftInTheMiddleStopsItsDependentsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(time.Hour))
		quick(p)
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		agree(t, dir, p, "flip")
		w.put(plan.RRset{Name: "acme.example.", Type: "MX", TTL: 7200, Data: []string{"10 mx.old.example."}})
		e := engine(m, p, w, j, dir)
		out, err := e.Run(t.Context())
		if err != nil || len(out.Drift) != 1 || out.Drift[0] != "dns/acme.example/MX/@/ttl" || len(out.Failed) != 0 {
			t.Fatalf("%+v, %v", out, err)
		}
		if w.updates != 0 || w.passes["anna@acme.example"] == 0 || len(w.sent) != 2 || !e.Record.Flipped().IsZero() {
			t.Errorf("%d writes, passes %v, sent %v, flipped %v", w.updates, w.passes, w.sent, e.Record.Flipped())
		}
		if out.Done != 3 || out.NotStarted != len(p.Steps)-4 {
			t.Errorf("%d done, %d not started, want two copies and a notice, and all but these and the drifted one", out.Done, out.NotStarted)
		}
		// Put back, and the same plan goes on.
		w.put(plan.RRset{Name: "acme.example.", Type: "MX", TTL: 3600, Data: []string{"10 mx.old.example."}})
		runFor(t, engine(m, p, w, j, dir), time.Hour)
		if w.updates == 0 {
			t.Error("the record is as it was planned against again, and nothing was done")
		}
	})
}
