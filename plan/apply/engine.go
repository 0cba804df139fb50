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
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/state"
)

// Event is what a run tells while it goes. Type is one of "run", "step",
// "progress", "pass", "wait", "gate", "check", "note".
type Event struct {
	Type     string                `json:"type"`
	At       time.Time             `json:"at"`
	Phase    plan.Phase            `json:"phase,omitempty"`
	Step     string                `json:"step,omitempty"`
	Gate     string                `json:"gate,omitempty"`
	State    string                `json:"state,omitempty"` // of a step: started, applied, seen, done, failed, drift, by_hand
	Text     string                `json:"text,omitempty"`
	Lines    []string              `json:"lines,omitempty"`
	Until    *time.Time            `json:"until,omitempty"`
	Progress *providers.Progress   `json:"progress,omitempty"`
	Result   *providers.PassResult `json:"result,omitempty"`
}

// Engine applies one plan. Fill the fields, then call Run once.
type Engine struct {
	Plan      *plan.Plan
	Migration *plan.Migration
	Inventory *inventory.Inventory
	Systems   providers.Systems
	Journal   Journal
	Record    *Record
	Clock     providers.Clock
	Random    func() string // a fresh token of lower-case letters and digits
	Dir       string        // the migration's folder: approvals, plans, archive
	Events    func(Event)   // may be nil; called from one goroutine at a time

	Wait     bool            // sleep through waits instead of parking
	Stop     <-chan struct{} // closed: finish what is in flight and return
	Mailbox  string          // only this source address is copied; "" = all
	Wave     int             // only this wave is copied; 0 = all
	Parallel int             // mailboxes copied at the same time; 0 = one

	locate   sync.Once
	loc      *time.Location
	eventMu  sync.Mutex
	told     sync.Map // step addresses whose instructions were given in this run
	probeMu  sync.Mutex
	probed   map[string]probed
	retry    map[string]retry // by step; only of this run
	waitTold map[string]bool
	gates    map[string]gateState
}

// Outcome is how a run ended when nothing stopped it.
type Outcome struct {
	Complete bool
	Stopped  bool
	Waiting  []Waiting // what the migration waits for, what ends first first
	Refused  []Answer  // checks that keep a gate shut
	Drift    []string  // step addresses
	Failed   []string  // step addresses
}

// retry is when a step is looked at again and why not before.
type retry struct {
	next  time.Time
	pause time.Duration
	final bool     // not again in this run
	kind  WaitKind // Trouble, WaitCheck, or a poll: WaitTTL, WaitByHand
	names []string // what a poll waits for
}

// task is work that runs beside others: one step, or a group that changes together.
type task struct {
	steps []plan.Step
	run   func(ctx context.Context, steps []plan.Step) error
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
	e.waitTold = map[string]bool{}
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
	for {
		now := e.Clock.Now()
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

// tellWait says what a run that sleeps is waiting for, once for each change.
// A gate speaks for itself, and the next of many passes is no news.
func (e *Engine) tellWait(waiting []Waiting) {
	now := e.Clock.Now()
	news := slices.DeleteFunc(slices.Clone(waiting), func(w Waiting) bool {
		pass := strings.HasPrefix(w.Step, "copy/") || strings.HasPrefix(w.Step, "delta/") || strings.HasPrefix(w.Step, "hold/")
		return w.refresh || w.Gate != "" || w.Kind == Dependency ||
			len(w.Names) == 0 && !w.Until.IsZero() && (!w.Until.After(now.Add(time.Second)) || pass && w.Until.Sub(now) < time.Minute)
	})
	w := mostPressing(news)
	if w == nil {
		return
	}
	told := string(w.Kind) + w.Step + strings.Join(w.Names, "\n")
	if w.Kind == WaitTime || w.Kind == WaitTTL && len(w.Names) == 0 {
		told += w.Until.Truncate(time.Second).String()
	}
	if e.waitTold[told] {
		return
	}
	e.waitTold[told] = true
	ev := Event{Type: "wait", Step: w.Step, State: string(w.Kind), Text: w.Phrase(e.outlook().loc)}
	if !w.Until.IsZero() {
		ev.Until = &w.Until
	}
	e.emit(ev)
}

// lingerLimit is how long a run without Wait watches name servers take over
// what it has just written, so that one call of apply does one whole thing.
const lingerLimit = 20 * time.Second

// linger reports whether a run that would park should look once more first:
// it has written records that no server contradicts yet.
func (e *Engine) linger(_ context.Context, now time.Time, waiting []Waiting, out Outcome) (bool, error) {
	if out.Complete || e.Wait {
		return false, nil
	}
	for _, w := range waiting {
		st := e.Record.State(w.Step)
		if w.Kind == WaitTTL && st.Seen.IsZero() && now.Sub(st.Applied) < lingerLimit {
			return true, nil
		}
	}
	return false, nil
}

// canGoOn reports whether time or a person can end one of the waits. Passes
// that only keep the target fresh until the flip don't count: they would go on
// for ever before a flip that has drifted.
func canGoOn(waiting []Waiting) bool {
	return slices.ContainsFunc(waiting, func(w Waiting) bool {
		return !w.refresh && w.Kind != Dependency && (w.Kind != Trouble || !w.Until.IsZero())
	})
}

// pollMin and pollMax bound how often a wait without a known end is looked at.
// A wait with a known end is looked at every lookAgain all the same: timers
// stand still while a laptop sleeps.
const (
	pollMin   = 200 * time.Millisecond
	pollMax   = 30 * time.Second
	lookAgain = 5 * time.Minute
)

// nextWake is when the loop has to look again: the earliest known end of a
// wait, and for waits on people and servers a poll whose pause is a tenth of
// the time waited so far.
func (e *Engine) nextWake(now time.Time, waiting []Waiting, running bool) time.Duration {
	d := lookAgain
	for _, w := range waiting {
		switch {
		case !w.Until.IsZero():
			d = min(d, max(w.Until.Sub(now), time.Millisecond))
		case w.Kind == WaitApproval || w.Kind == WaitCheck || w.Kind == WaitByHand || w.Kind == WaitTTL:
			d = min(d, e.pollPause(w, now))
		}
	}
	if running {
		d = min(d, time.Second)
	}
	return d
}

func (e *Engine) pollPause(w Waiting, now time.Time) time.Duration {
	var since time.Time
	if w.Gate != "" {
		since = e.gates[w.Gate].since
	} else {
		st := e.Record.State(w.Step)
		since = later(st.Applied, st.Told)
	}
	if since.IsZero() {
		return pollMin
	}
	return min(max(now.Sub(since)/10, pollMin), pollMax)
}

// waker turns the clock's Sleep into a channel. One sleep is out at a time.
type waker struct {
	clock providers.Clock
	stop  context.CancelFunc
}

func (w *waker) at(ctx context.Context, d time.Duration) <-chan struct{} {
	w.cancel()
	ctx, stop := context.WithCancel(ctx)
	w.stop = stop
	ch := make(chan struct{})
	go func() {
		if w.clock.Sleep(ctx, d) == nil {
			close(ch)
		}
	}()
	return ch
}

func (w *waker) cancel() {
	if w.stop != nil {
		w.stop()
	}
}

// resource is what a step needs for itself: a mailbox for a pass, the zone for
// a change of records (each write is compared with the whole zone before and
// after it), else the step.
func resource(s plan.Step) string {
	if d, err := parseDNS(s.Address); err == nil {
		return "zone/" + d.domain
	}
	if isPass(s) || strings.HasPrefix(s.Address, "validate/mail/") {
		return "mailbox/" + s.Address[strings.LastIndex(s.Address, "/")+1:]
	}
	return s.Address
}

// note journals entries and makes them part of the record. Nothing that a
// person is told has not been written before.
func (e *Engine) note(ctx context.Context, entries ...state.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	now := e.Clock.Now()
	for i := range entries {
		entries[i].At, entries[i].Plan = now, e.Plan.Digest
		if key, ok := e.Record.keys[entries[i].Step]; ok {
			entries[i].Data = withKey(entries[i].Data, key)
		}
	}
	// An interrupted run still writes down what it did.
	if err := e.Journal.Append(context.WithoutCancel(ctx), entries...); err != nil {
		return &journalError{fmt.Errorf("write the journal: %w", err)}
	}
	if err := e.sync(ctx); err != nil {
		return err
	}
	for _, entry := range entries {
		e.announce(entry)
	}
	return nil
}

// sync makes part of the record what the journal holds since it was last read:
// our own entries and those of done, which runs beside apply.
func (e *Engine) sync(ctx context.Context) error {
	e.Record.mu.Lock()
	defer e.Record.mu.Unlock()
	entries, err := e.Journal.Entries(context.WithoutCancel(ctx), e.Record.lastSeq)
	if err != nil {
		return &journalError{fmt.Errorf("read the journal: %w", err)}
	}
	for _, entry := range entries {
		e.Record.fold(entry)
	}
	return nil
}

func withKey(data json.RawMessage, key string) json.RawMessage {
	m := map[string]any{}
	if len(data) > 0 {
		_ = json.Unmarshal(data, &m) // made by entryData or passEntry: an object
	}
	m["Key"] = key
	b, err := json.Marshal(m)
	if err != nil {
		return data
	}
	return b
}

func stepEntry(address, event string, d entryData) state.Entry {
	b, err := json.Marshal(d)
	if err != nil {
		b = nil
	}
	return state.Entry{Step: address, Event: event, Data: b}
}

func runEntry(event string, d entryData) state.Entry { return stepEntry("", event, d) }

func entriesFor(steps []plan.Step, event string, d entryData) []state.Entry {
	list := make([]state.Entry, len(steps))
	for i, s := range steps {
		list[i] = stepEntry(s.Address, event, d)
	}
	return list
}

// announce turns journal entries into events for the person who watches.
func (e *Engine) announce(entry state.Entry) {
	if entry.Step == "" {
		return
	}
	s, ok := e.Plan.Step(entry.Step)
	if !ok {
		return
	}
	ev := Event{Type: "step", At: entry.At, Phase: s.Phase, Step: s.Address, State: entry.Event}
	var d entryData
	_ = json.Unmarshal(entry.Data, &d)
	switch entry.Event {
	case evPass:
		var p passEntry
		_ = json.Unmarshal(entry.Data, &p)
		ev.Type, ev.State, ev.Result = "pass", "", &p.Result
	case evFailed:
		ev.Text = d.Error
	case evDrift:
		ev.Lines = append(append([]string{"planned against:"}, d.Want...), append([]string{"found:"}, d.Found...)...)
	case evApplied:
		ev.Text, ev.Lines = d.How, s.To
	case evDone:
		ev.Text = d.How
	case evSent:
		ev.Text = d.To
	case evSending, evUnsent, evTold:
		return
	}
	e.emit(ev)
}

func (e *Engine) emit(ev Event) {
	if e.Events == nil {
		return
	}
	if ev.At.IsZero() {
		ev.At = e.Clock.Now()
	}
	e.eventMu.Lock()
	defer e.eventMu.Unlock()
	e.Events(ev)
}

// settle journals what has become true by the passing of time: steps whose
// outcome has been seen for long enough, passes that have come to their end,
// phases whose last step is done.
func (e *Engine) settle(ctx context.Context, now time.Time) error {
	o := e.outlook()
	for changed := true; changed; {
		changed = false
		t := o.times()
		var entries []state.Entry
		for _, s := range e.Plan.Steps {
			st := e.Record.State(s.Address)
			if !st.Done.IsZero() {
				continue
			}
			switch {
			case isPass(s) && o.passEnds(s, t, now):
				entries = append(entries, stepEntry(s.Address, evDone, entryData{How: "copied"}))
			case dnsRole(s.Address) != roleOther && !st.Seen.IsZero() && !now.Before(st.Seen.Add(s.Settle)):
				entries = append(entries, stepEntry(s.Address, evDone, entryData{How: "seen"}))
			}
		}
		if err := e.note(ctx, entries...); err != nil {
			return err
		}
		for _, p := range plan.Phases() {
			if !o.phaseDue(p, o.times(), now) || !e.emptyPhaseOpen(p) {
				continue
			}
			entries = []state.Entry{runEntry(evPhase, entryData{Phase: p})}
			if p == plan.Flip && e.Record.Flipped().IsZero() && e.Plan.Rollback == "" {
				entries = append(entries, runEntry(evFlip, entryData{}))
			}
			if p == plan.Decommission && e.Plan.Rollback == "" {
				for _, m := range e.Migration.Mailboxes {
					if !e.Record.Closed(m.Source) {
						entries = append(entries, runEntry(evClosed, entryData{Address: m.Source}))
					}
				}
			}
			if err := e.note(ctx, entries...); err != nil {
				return err
			}
			e.emit(Event{Type: "phase", Phase: p, State: "done"})
			changed = true
		}
	}
	return nil
}

// emptyPhaseOpen reports whether a phase may end as far as its gate goes: one
// without steps (a flip that is done elsewhere) still waits for its gate.
func (e *Engine) emptyPhaseOpen(p plan.Phase) bool {
	gate := e.Plan.Window(p).Gate
	if gate == "" || len(e.outlook().steps(p)) > 0 || e.Plan.Rollback != "" {
		return true
	}
	return e.gates[gate].open
}

// due returns the tasks to begin now and, for everything else, why it waits.
func (e *Engine) due(ctx context.Context, now time.Time, running map[string]bool) ([]task, []Waiting, error) {
	o := e.outlook()
	t := o.times()
	var tasks []task
	var waits []Waiting
	copying := 0
	for r := range running {
		if strings.HasPrefix(r, "mailbox/") {
			copying++
		}
	}
	groups := map[string][]plan.Step{}
	for _, s := range e.Plan.Steps {
		st := e.Record.State(s.Address)
		refresh := strings.HasPrefix(s.Address, "copy/") && o.done(s.Address)
		if !st.Done.IsZero() && !refresh || !e.chosen(s) {
			continue
		}
		if r, ok := e.retry[s.Address]; ok && (r.final || r.next.After(now)) {
			if !refresh {
				w := Waiting{Kind: r.kind, Step: s.Address, Names: r.names}
				if !r.final {
					w.Until = r.next
				}
				waits = append(waits, w)
			}
			continue
		}
		if w := o.blocked(s, t, now); w != nil {
			if !refresh {
				waits = append(waits, *w)
			}
			continue
		}
		if running[resource(s)] && st.Applied.IsZero() {
			continue
		}
		if isPass(s) {
			at, more := o.passDue(s, t)
			if !more {
				continue
			}
			if at.After(now) {
				if !refresh || e.Wait {
					waits = append(waits, Waiting{Kind: WaitTime, Step: s.Address, Until: at, refresh: refresh})
				}
				continue
			}
			if copying >= e.Parallel {
				continue // begins when one of the others ends
			}
		}
		if gate := o.gateOf(s); gate != "" && !e.alreadyMade(s) {
			w, err := e.gate(ctx, gate, s, now)
			if err != nil {
				return nil, nil, err
			}
			if w != nil {
				waits = append(waits, *w)
				continue
			}
		}
		switch kind := kindOf(s); {
		case isPass(s):
			copying++
			running[resource(s)] = true
			tasks = append(tasks, task{[]plan.Step{s}, e.pass})
		case kind == "dns" && !st.Applied.IsZero():
			w, err := e.watch(ctx, s, now)
			if err != nil {
				return nil, nil, err
			}
			if w != nil {
				waits = append(waits, *w)
			}
		case kind == "dns" && s.Phase == plan.Flip:
			d, err := parseDNS(s.Address)
			if err != nil {
				return nil, nil, err
			}
			groups[d.domain] = append(groups[d.domain], s)
		case kind == "dns":
			running[resource(s)] = true // one after the other
			tasks = append(tasks, task{[]plan.Step{s}, e.changeZone})
		case s.Action == plan.ByHand:
			w, err := e.byHand(ctx, s)
			if err != nil {
				return nil, nil, err
			}
			if w != nil {
				waits = append(waits, *w)
			}
		case kind == "notice":
			tasks = append(tasks, task{[]plan.Step{s}, e.sendNotice})
		case kind == "validate":
			tasks = append(tasks, task{[]plan.Step{s}, e.validate})
		case kind == "archive":
			tasks = append(tasks, task{[]plan.Step{s}, e.archive})
		default:
			return nil, nil, fmt.Errorf("the plan holds the step %s, which this mxodus can't execute: use the version that wrote the plan", s.Address)
		}
	}
	for _, domain := range slices.Sorted(maps.Keys(groups)) {
		group := groups[domain]
		if e.wholeGroup(o, domain, group) {
			tasks = append(tasks, task{group, e.changeZone})
		}
	}
	shut, err := e.emptyGates(ctx, o, t, now)
	return tasks, earliest(append(waits, shut...)), err
}

// wholeGroup reports whether all of a domain's flip records that are not made
// yet are ready: none of them is written alone.
func (e *Engine) wholeGroup(o outlook, domain string, group []plan.Step) bool {
	n := 0
	for _, s := range o.steps(plan.Flip) {
		if d, err := parseDNS(s.Address); err == nil && d.domain == domain && e.Record.State(s.Address).Applied.IsZero() {
			n++
		}
	}
	return n == len(group)
}

// chosen reports whether -mailbox and -wave leave the step in. They choose among copies only.
func (e *Engine) chosen(s plan.Step) bool {
	if e.Mailbox == "" && e.Wave == 0 {
		return true
	}
	if !isPass(s) {
		return false
	}
	m, ok := e.Migration.MailboxAt(mailboxOf(s))
	return ok && (e.Mailbox == "" || e.Mailbox == m.Source) && (e.Wave == 0 || e.Wave == m.Wave)
}

// alreadyMade reports whether the step's change was accepted, or a person was
// told to make it: then its gate is not asked again, because nothing could be
// held back any more.
func (e *Engine) alreadyMade(s plan.Step) bool {
	st := e.Record.State(s.Address)
	return !st.Applied.IsZero() || !st.Told.IsZero()
}

// watch asks the name servers about a change that was accepted.
func (e *Engine) watch(ctx context.Context, s plan.Step, now time.Time) (*Waiting, error) {
	st := e.Record.State(s.Address)
	if !st.Seen.IsZero() {
		return &Waiting{Kind: WaitTTL, Step: s.Address, Until: st.Seen.Add(s.Settle)}, nil
	}
	w := &Waiting{Kind: WaitTTL, Step: s.Address}
	lag, err := e.converge(ctx, s)
	if jerr, ok := errors.AsType[*journalError](err); ok {
		return nil, jerr
	}
	if err != nil {
		lag = err.Error()
	}
	if lag == "" {
		delete(e.retry, s.Address)
		if s.Settle > 0 {
			w.Until = now.Add(s.Settle)
		} else {
			w.Until = now
		}
		return w, nil
	}
	w.Until = now.Add(e.pollPause(*w, now))
	w.Names = []string{lag}
	e.retry[s.Address] = retry{next: w.Until, kind: WaitTTL, names: w.Names}
	return w, nil
}

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
	if errors.Is(r.err, errTold) {
		for _, s := range r.task.steps {
			w := Waiting{Kind: WaitByHand, Step: s.Address}
			e.retry[s.Address] = retry{next: now.Add(e.pollPause(w, now)), kind: WaitByHand}
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

// journalError stops a run: without a journal nothing may be done.
type journalError struct{ err error }

func (e *journalError) Error() string { return e.err.Error() }
func (e *journalError) Unwrap() error { return e.err }

func (e *Engine) outcome(waiting []Waiting, stopped bool) Outcome {
	out := Outcome{Stopped: stopped, Waiting: waiting, Complete: !stopped}
	o := e.outlook()
	for _, s := range e.Plan.Steps {
		if o.done(s.Address) {
			continue
		}
		if e.chosen(s) {
			out.Complete = false
		}
		r, tried := e.retry[s.Address]
		st := e.Record.State(s.Address)
		switch {
		case st.Drift != nil:
			out.Drift = append(out.Drift, s.Address)
		case !tried || st.Failed == nil:
		case r.kind == Trouble:
			out.Failed = append(out.Failed, s.Address)
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
