// Package apply executes a plan over weeks: it runs the steps that are due,
// looks at each thing just before it touches it, parks when the next step has
// to wait, and goes on where it was when it is run again, whatever ended it.
//
// The journal is the truth: an entry is durable before the world is touched
// and another one after it. What the journal can't know (whether a write
// arrived before the power went) is found out by looking, never assumed.
package apply

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/providers"
)

// Engine applies one plan. Fill the fields, then call Run once.
type Engine struct {
	Plan      *plan.Plan
	Migration *plan.Migration
	Inventory *inventory.Inventory
	Systems   providers.Systems
	Journal   Journal
	Record    *Record
	Clock     providers.Clock
	Random    func() string // a fresh token of lower-case letters and digits; safe for concurrent use
	Dir       string        // the migration's folder: approvals, plans, archive
	Events    func(Event)   // may be nil; called from one goroutine at a time

	// Documents are files for the archive besides the manifests, by name: the report as it is
	// when the hold ends. May be nil.
	Documents func(context.Context) (map[string][]byte, error)

	Wait     bool            // sleep through waits instead of parking
	Stop     <-chan struct{} // closed: finish what is in flight and return
	Mailbox  string          // only this source address is copied; "" = all
	Wave     int             // only this wave is copied; 0 = all
	Parallel int             // mailboxes copied at the same time; 0 = one

	locate      sync.Once
	loc         *time.Location
	eventMu     sync.Mutex
	told        sync.Map // step addresses whose instructions were given in this run
	probeMu     sync.Mutex
	probed      map[string]probed
	retry       map[string]retry // by step; only of this run
	waitTold    map[string]bool
	gates       map[string]gateState
	resolversAt time.Time       // when resolvers are asked again
	settled     map[string]bool // domains whose flip a run before had begun, and which was looked at
	busy        occupied
}

// Outcome is how a run ended when nothing stopped it.
type Outcome struct {
	Complete bool
	Stopped  bool
	Waiting  []Waiting // what the migration waits for, what ends first first
	Refused  []Answer  // checks that keep a gate shut
	Drift    []string  // step addresses
	Failed   []string  // step addresses

	Done       int // steps
	NotStarted int // steps that are neither done, failed nor drifted
}

// retry is when a step is looked at again and why not before.
type retry struct {
	next  time.Time
	pause time.Duration
	final bool     // not again in this run
	kind  WaitKind // Trouble, WaitCheck, or a poll: WaitTTL, WaitByHand, WaitMail
	names []string // what a poll waits for
}

type taskResult struct {
	task task
	err  error
}

func (e *Engine) outlook() outlook {
	e.locate.Do(func() {
		loc, err := time.LoadLocation(e.Plan.Timezone)
		if err != nil {
			loc = time.UTC
		}
		e.loc = loc
	})
	return outlook{plan: e.Plan, record: e.Record, loc: e.loc}
}

// Run applies what is due. It returns when everything is done, when the rest
// has to wait (unless Wait is set), when the rest can't go on, or when Stop or
// the context ends it. The error is a journal that can't be written or a
// preflight that failed; what single steps met is in the Outcome.
func (e *Engine) Run(ctx context.Context) (Outcome, error) {
	e.probed, e.retry, e.gates = map[string]probed{}, map[string]retry{}, map[string]gateState{}
	e.waitTold, e.settled = map[string]bool{}, map[string]bool{}
	if e.Parallel < 1 {
		e.Parallel = 1
	}
	if err := e.note(ctx, runEntryOf(e.Plan)); err != nil {
		return Outcome{}, err
	}
	if e.Plan.Rollback != "" {
		if err := e.beginRollback(ctx); err != nil {
			return Outcome{}, err
		}
	}
	if err := e.preflight(ctx); err != nil {
		return Outcome{}, err
	}
	if e.Plan.Rollback == "" {
		if err := e.observePolicies(withRound(ctx)); err != nil {
			return Outcome{}, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan taskResult)
	running := map[string]bool{}
	inFlight := 0
	defer func() {
		cancel()
		for ; inFlight > 0; inFlight-- {
			<-results
		}
	}()
	wakes := &waker{clock: e.Clock}
	defer wakes.cancel()
	stopped := false
	var last time.Time
	for {
		now := e.Clock.Now()
		if now.Before(last) {
			e.clockWentBack()
		}
		last = now
		var waiting []Waiting
		if !stopped {
			if err := e.sync(ctx); err != nil {
				return Outcome{}, err
			}
			if err := e.settle(ctx, now); err != nil {
				return Outcome{}, err
			}
			tasks, waits, err := e.due(ctx, now, running)
			if err != nil {
				return Outcome{}, err
			}
			waiting = waits
			for _, t := range tasks {
				for _, s := range t.steps {
					running[resource(s)] = true
				}
				inFlight++
				go func() { results <- taskResult{t, t.run(ctx, t.steps)} }()
			}
		}
		if len(running) == 0 {
			if stopped || ctx.Err() != nil {
				return e.outcome(waiting, true), nil
			}
			// What due has found done may have been the last step of a phase.
			if err := e.settle(ctx, now); err != nil {
				return Outcome{}, err
			}
			out := e.outcome(waiting, false)
			if out.Complete || !e.Wait || !canGoOn(waiting) {
				if more, err := e.linger(ctx, now, waiting, out); err != nil || !more {
					return out, err
				}
			}
		}
		if len(running) == 0 {
			e.tellWait(waiting)
		}
		wake := wakes.at(ctx, e.nextWake(now, waiting, len(running) > 0))
		stop := e.Stop
		if stopped {
			stop = nil
		}
		select {
		case r := <-results:
			inFlight--
			for _, s := range r.task.steps {
				delete(running, resource(s))
			}
			if err := e.finish(ctx, r); err != nil {
				return Outcome{}, err
			}
		case <-wake:
		case <-stop:
			stopped = true
		case <-ctx.Done():
			stopped = true
		}
	}
}

// clockWentBack forgets when this run wanted to look at things again: by a clock that was set back
// that would be too late. What the journal says has been waited for stays so; what it says
// lies in the future is waited for.
func (e *Engine) clockWentBack() {
	for address, r := range e.retry {
		r.next = time.Time{}
		e.retry[address] = r
	}
	for name, g := range e.gates {
		g.looked, g.asked, g.since = time.Time{}, time.Time{}, time.Time{}
		e.gates[name] = g
	}
	e.probeMu.Lock()
	clear(e.probed)
	e.probeMu.Unlock()
	e.emit(Event{Type: "note", Text: "the clock was set back: everything is looked at again"})
}

// notYetMin and notYetMax bound how often something is looked at that takes the other side
// its time: a mailbox that is being made, a record that isn't seen yet.
const (
	notYetMin = 2 * time.Second
	notYetMax = time.Minute
)

// parks is from which time on a wait that a host has named is no trouble but a date: a day's
// allowance that is used up.
const parks = 10 * time.Minute

// finish takes note of how a task ended.
func (e *Engine) finish(ctx context.Context, r taskResult) error {
	now := e.Clock.Now()
	if r.err == nil {
		for _, s := range r.task.steps {
			delete(e.retry, s.Address)
		}
		return nil
	}
	if errors.Is(r.err, providers.ErrStopped) || ctx.Err() != nil && errors.Is(r.err, context.Canceled) {
		return nil
	}
	if jerr, ok := errors.AsType[*journalError](r.err); ok {
		return jerr
	}
	if errors.Is(r.err, errStale) {
		for _, s := range r.task.steps {
			e.retry[s.Address] = retry{next: now.Add(staleMargin + time.Second), kind: WaitCheck, names: []string{errStale.Error()}}
		}
		return nil
	}
	if errors.Is(r.err, errTold) {
		for _, s := range r.task.steps {
			w := Waiting{Kind: WaitByHand, Step: s.Address}
			e.retry[s.Address] = retry{next: now.Add(e.pollPause(w, now)), kind: WaitByHand}
		}
		return nil
	}
	if later, ok := errors.AsType[*pendingError](r.err); ok {
		for _, s := range r.task.steps {
			e.retry[s.Address] = retry{next: later.next, kind: WaitMail, names: []string{later.what}}
		}
		return nil
	}
	if refusal, ok := errors.AsType[*providers.Error](r.err); ok && (refusal.Reason == providers.NotYet || refusal.Reason == providers.Throttled && refusal.Wait >= parks) {
		for _, s := range r.task.steps {
			pause := notYetMin // then a tenth of the time waited so far
			if began := e.Record.State(s.Address).Started; !began.IsZero() {
				pause = min(max(now.Sub(began)/10, notYetMin), notYetMax)
			}
			pause = max(pause, refusal.Wait)
			e.retry[s.Address] = retry{next: now.Add(pause), kind: WaitTime, names: []string{r.err.Error()}}
		}
		return nil
	}
	drift := errors.Is(r.err, errDrift)
	reason := providers.ReasonOf(r.err)
	for _, s := range r.task.steps {
		old := e.retry[s.Address]
		next := retry{pause: min(max(old.pause*2, time.Second), 10*time.Minute), kind: Trouble}
		if errors.Is(r.err, errValidation) {
			next.kind = WaitCheck
		}
		// A run that waits for weeks tries a mailbox again whatever it met: hosts
		// refuse logins for a while and take them again.
		next.final = drift || !e.Wait || permanent(reason) && !isPass(s)
		next.next = now.Add(next.pause)
		e.retry[s.Address] = next
		if drift {
			continue // journaled where it was found
		}
		if err := e.note(ctx, stepEntry(s.Address, evFailed, entryData{Error: r.err.Error(), Reason: reason})); err != nil {
			return err
		}
	}
	return nil
}

// permanent reports whether trying again in the same run is pointless.
func permanent(r providers.Reason) bool {
	switch r {
	case providers.Authentication, providers.Certificate, providers.Refused, providers.Conflict, providers.NotFound:
		return true
	}
	return false
}

func (e *Engine) outcome(waiting []Waiting, stopped bool) Outcome {
	out := Outcome{Stopped: stopped, Waiting: waiting, Complete: !stopped}
	o := e.outlook()
	for _, s := range e.Plan.Steps {
		if o.done(s.Address) {
			out.Done++
			continue
		}
		if e.chosen(s) {
			out.Complete = false
		}
		out.NotStarted++
		r, tried := e.retry[s.Address]
		st := e.Record.State(s.Address)
		switch {
		case st.Drift != nil:
			out.Drift = append(out.Drift, s.Address)
			out.NotStarted--
		case !tried || st.Failed == nil:
		case r.kind == Trouble:
			out.Failed = append(out.Failed, s.Address)
			out.NotStarted--
		case r.kind == WaitCheck:
			out.Refused = append(out.Refused, Answer{Check: plan.CheckRef{Name: s.Address}, Detail: []string{st.Failed.Error}})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.gates)) {
		g := e.gates[name]
		for _, a := range g.answers {
			if !a.OK && !g.open {
				out.Refused = append(out.Refused, a)
			}
		}
	}
	return out
}
