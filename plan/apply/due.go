package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/state"
)

// task is work that runs beside others: one step, or a group that changes together.
type task struct {
	steps []plan.Step
	run   func(ctx context.Context, steps []plan.Step) error
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
			// A rollback takes phases back and ends none: the journal's next plan begins there.
			if e.Plan.Rollback != "" || !o.phaseDue(p, t, now) || !e.emptyPhaseOpen(p) {
				continue
			}
			entries = []state.Entry{runEntry(evPhase, entryData{Phase: p})}
			if p == plan.Flip && e.Record.Flipped().IsZero() {
				entries = append(entries, runEntry(evFlip, entryData{}))
			}
			if p == plan.Decommission {
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
			t = o.times()
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
	copying, changing := 0, 0
	for r := range running {
		if kind, _, _ := strings.Cut(r, "/"); directoryKinds[kind] {
			changing++
		}
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
		if unknown(s) {
			waits = append(waits, Waiting{Kind: Dependency, Step: s.Address, Names: []string{"values that the target names: run mxodus plan, review and apply the next plan"}})
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
			at, more := o.passDue(s, t, now)
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
		gate := o.gateOf(s)
		if gate != "" && flipsRecord(s) && e.Plan.Rollback == "" {
			made, err := e.settleBegun(ctx, s)
			if err != nil {
				return nil, nil, err
			}
			if made {
				st = e.Record.State(s.Address)
			}
		}
		if gate != "" && s.Phase == plan.Flip && !e.alreadyMade(s) {
			if stale := e.copiesFirst(o, now); len(stale) > 0 {
				waits = append(waits, Waiting{Kind: Dependency, Step: s.Address, Names: stale})
				continue
			}
		}
		if gate != "" && !e.alreadyMade(s) {
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
		case directoryKinds[kind]:
			if changing >= directoryWorkers {
				continue // begins when one of the others ends
			}
			changing++
			tasks = append(tasks, task{[]plan.Step{s}, e.changeDirectory})
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
			tasks = append(tasks, task{group, e.flipWhile(e.gates[o.gateOf(group[0])].asked)})
		}
	}
	if err := e.watchResolvers(ctx, now); err != nil {
		return nil, nil, err
	}
	shut, err := e.emptyGates(ctx, o, t, now)
	return tasks, earliest(append(waits, shut...)), err
}

// copiesFirst are the passes that the flip waits for, because the last one would
// be a day old. One that can't be made holds nothing up: the check bulk_copy_complete tells.
func (e *Engine) copiesFirst(o outlook, now time.Time) []string {
	return slices.DeleteFunc(o.staleCopies(now), func(address string) bool {
		_, trouble := e.retry[address]
		return trouble
	})
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

// unknown reports whether the step holds values that nobody could review,
// because the target had not named them when the plan was made.
func unknown(s plan.Step) bool {
	return slices.ContainsFunc(slices.Concat(s.From, s.To), func(line string) bool { return strings.Contains(line, plan.KnownAfterProvision) })
}
