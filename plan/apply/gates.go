package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/timeline"
	"github.com/mxodus/mxodus/state"
)

// freshness is how old a check's answer may be when the flip is written.
const freshness = 60 * time.Second

// gateState is what this run knows of a gate.
type gateState struct {
	since   time.Time // when the gate was first reached
	looked  time.Time // when its checks were last answered
	asked   time.Time // when the round began that gave those answers
	answers []Answer
	open    bool
	missing []string // why approvals are missing or void
	told    string   // what was last said about it
}

// gate asks whether gate may open for step s now and returns what it waits
// for, or nil when it is open. The flip's checks are answered anew when their
// answers are older than a minute; another gate stays open once it has opened.
func (e *Engine) gate(ctx context.Context, name string, s plan.Step, now time.Time) (*Waiting, error) {
	g, ok := e.Plan.Gate(name)
	if !ok {
		return nil, fmt.Errorf("the step %s asks for the gate %q, which the plan does not have", s.Address, name)
	}
	gs := e.gates[name]
	if gs.since.IsZero() {
		gs.since = now
		e.gates[name] = gs
	}
	e.Record.mu.Lock()
	_, opened := e.Record.gates[name]
	e.Record.mu.Unlock()
	if opened && s.Phase != plan.Flip {
		gs.open = true
		e.gates[name] = gs
		return nil, nil
	}
	if gs.open && !gs.asked.After(now) && now.Sub(gs.asked) < freshness {
		return nil, nil
	}
	if w, err := e.pausing(g, gs, s.Phase, now); w != nil || err != nil {
		return w, err
	}
	return e.ask(ctx, g, s.Phase, now)
}

// roundShare is how much longer a shut gate is left alone than its questions took, and
// longestPause the bound of that: a round logs in to every mailbox, and hosts count logins.
const (
	roundShare   = 10
	longestPause = time.Minute
)

// pausing spares the checks while a shut gate was looked at a moment ago. An
// approval that was the only thing missing ends the pause: its file is looked for each time.
func (e *Engine) pausing(g plan.Gate, gs gateState, phase plan.Phase, now time.Time) (*Waiting, error) {
	if gs.open || gs.looked.IsZero() {
		return nil, nil
	}
	pause := min(max(gs.looked.Sub(gs.since)/10, pollMin), pollMax)
	pause = max(pause, min(roundShare*gs.looked.Sub(gs.asked), longestPause))
	if !now.Before(gs.looked.Add(pause)) {
		return nil, nil
	}
	w := gs.waiting(g.Name)
	if w.Kind == WaitApproval {
		_, missing, err := e.approvals(g, phase, gs.answers, now)
		if err != nil || len(missing) == 0 {
			return nil, err
		}
	}
	return w, nil
}

func (gs gateState) waiting(name string) *Waiting {
	w := &Waiting{Kind: WaitApproval, Gate: name}
	for _, a := range gs.answers {
		if !a.OK {
			w.Kind = WaitCheck
			w.Names = append(w.Names, a.Check.String())
		}
	}
	if w.Kind == WaitApproval {
		w.Names = gs.missing
	}
	return w
}

// ask answers the gate's checks, journals the answers that changed, and
// looks for approvals.
func (e *Engine) ask(ctx context.Context, g plan.Gate, phase plan.Phase, now time.Time) (*Waiting, error) {
	gs := e.gates[g.Name]
	if phase == plan.Flip {
		if err := e.refreshRollback(ctx); err != nil {
			return nil, err
		}
		ctx = withRound(ctx)
		if err := e.observePolicies(ctx); err != nil {
			return nil, err
		}
		drifted, err := e.driftOfFlip(ctx)
		if err != nil {
			return nil, err
		}
		if drifted {
			gs.open, gs.looked = false, now
			e.gates[g.Name] = gs
			return &Waiting{Kind: Dependency, Gate: g.Name, Names: []string{errDrift.Error()}}, nil
		}
	}
	gs.asked = e.Clock.Now()
	gs.answers = e.answer(ctx, e.Asked(g))
	if ctx.Err() != nil {
		return gs.waiting(g.Name), nil // the answers are those of a run that is being ended
	}
	var changed []state.Entry
	for _, a := range gs.answers {
		e.Record.mu.Lock()
		known, ok := e.Record.checks[a.Check.String()]
		e.Record.mu.Unlock()
		if !ok || !known.sameEvidence(a) {
			b, err := json.Marshal(a)
			if err != nil {
				return nil, err
			}
			changed = append(changed, state.Entry{Event: evCheck, Data: b})
		}
		for _, step := range a.high {
			changed = append(changed, stepEntry(step, evHigh, entryData{}))
		}
	}
	if err := e.note(ctx, changed...); err != nil {
		return nil, err
	}
	gs.answers = append(gs.answers, e.planned(g)...)
	now = e.Clock.Now()
	gs.looked = now
	var err error
	var by []string
	if by, gs.missing, err = e.approvals(g, phase, gs.answers, now); err != nil {
		return nil, err
	}
	shut := gs.waiting(g.Name)
	gs.open = shut.Kind == WaitApproval && len(gs.missing) == 0
	e.tellGate(g, phase, &gs, by, shut)
	e.gates[g.Name] = gs
	if !gs.open {
		return shut, nil
	}
	return nil, e.note(ctx, runEntry(evEvidence, entryData{Gate: g.Name, Answers: gs.answers}), runEntry(evGate, entryData{Gate: g.Name, Want: by}))
}

// planned are the findings of the plan that keep gate g shut, as answers. A
// check that the gate asks for tells its own findings.
func (e *Engine) planned(g plan.Gate) []Answer {
	var list []Answer
	for _, f := range e.Plan.Findings {
		asked := slices.ContainsFunc(e.Asked(g), func(c plan.CheckRef) bool { return c.Name == f.Check })
		if f.Severity == plan.Blocks && f.Gate == g.Name && !asked {
			list = append(list, Answer{Check: plan.CheckRef{Name: f.Check}, Detail: append([]string{f.Summary}, f.Detail...), Remedy: f.Remedy, At: e.Clock.Now()})
		}
	}
	return list
}

// tellGate says what a gate waits for, once for each change.
func (e *Engine) tellGate(g plan.Gate, phase plan.Phase, gs *gateState, by []string, shut *Waiting) {
	ev := Event{Type: "gate", Phase: phase, Gate: g.Name, State: "open"}
	switch {
	case gs.open:
		ev.Lines = by
	case shut.Kind == WaitCheck:
		ev.State = "blocked"
		for _, a := range gs.answers {
			if !a.OK {
				ev.Lines = append(ev.Lines, "check."+a.Check.String()+" says no:")
				for _, d := range a.Detail {
					ev.Lines = append(ev.Lines, "  "+d)
				}
				if a.Remedy != "" {
					ev.Lines = append(ev.Lines, "  what to do: "+a.Remedy)
				}
			}
		}
	default:
		ev.State = "waiting"
		ev.Lines = gs.missing
	}
	for _, a := range gs.answers {
		for _, w := range a.Warnings {
			ev.Lines = append(ev.Lines, "warning: "+w)
		}
	}
	if told := ev.State + fmt.Sprint(ev.Lines); told != gs.told {
		gs.told = told
		e.emit(ev)
	}
}

// approvals returns who agreed, and why it is not enough; nothing is missing
// when it is.
func (e *Engine) approvals(g plan.Gate, phase plan.Phase, answers []Answer, now time.Time) (by, missing []string, err error) {
	count := g.Approve.Count
	var notBefore time.Time
	if end, known := e.outlook().times().Resolve(e.Plan.Window(phase).Until.Moment); known && now.After(end) {
		// A window that was missed asks again, also where nobody had to be asked within it.
		notBefore, count = end, max(count, 1)
	}
	if count == 0 {
		return nil, nil, nil
	}
	list, err := Approvals(e.Dir, g.Name, e.Plan.Digest)
	if err != nil {
		return nil, nil, err
	}
	for _, a := range list {
		switch why := a.void(e.Plan, g, answers, now, notBefore); {
		case why != "":
			missing = append(missing, why)
		case !slices.ContainsFunc(by, a.by):
			by = append(by, a.By)
		}
	}
	if n := count - len(by); n > 0 {
		if !notBefore.IsZero() {
			missing = append(missing, fmt.Sprintf("its window closed %s", notBefore.In(e.outlook().loc).Format("Mon 2 Jan 15:04 MST")))
		}
		return by, append(missing, fmt.Sprintf("%d of %d approvals: mxodus approve %s", len(by), count, g.Name)), nil
	}
	return by, nil, nil
}

// emptyGates asks the gates of phases that have no steps of their own, such
// as the flip of a migration whose records are kept elsewhere.
func (e *Engine) emptyGates(ctx context.Context, o outlook, t timeline.Times, now time.Time) ([]Waiting, error) {
	var waits []Waiting
	for _, p := range plan.Phases() {
		w := e.Plan.Window(p)
		if _, ended := t.End[p]; ended || len(o.steps(p)) > 0 || e.Plan.Rollback != "" {
			continue
		}
		// A step that can't fail stands for the phase: its start, its needs, its gate.
		stand := plan.Step{Phase: p}
		if b := o.blocked(stand, t, now); b != nil {
			if b.Kind == WaitTime {
				waits = append(waits, *b)
			}
			continue
		}
		if w.Gate == "" || p == plan.Flip && len(e.copiesFirst(o, now)) > 0 {
			continue
		}
		shut, err := e.gate(ctx, w.Gate, stand, now)
		switch {
		case err != nil:
			return nil, err
		case shut != nil:
			waits = append(waits, *shut)
		default:
			waits = append(waits, Waiting{Kind: WaitTime, Gate: w.Gate, Until: now})
		}
	}
	return waits, nil
}
