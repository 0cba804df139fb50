package apply

import (
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/timeline"
	"github.com/mxodus/mxodus/providers"
)

// Status is where a migration is: from plan, journal, approvals and clock
// alone, without a look at the world.
type Status struct {
	Phase     plan.Phase // the first that is not done; Decommission when all are
	Complete  bool
	Done      int
	Failed    int
	Waiting   int
	ByHand    int
	Next      *Waiting
	Waits     []Waiting
	BlockedBy []string // checks that said no when they were last asked
	Drift     []TroubleNote
	Failures  []TroubleNote
	Phases    []PhaseStatus
	Mailboxes []MailboxStatus
	Tasks     []plan.Step // by-hand steps that wait for a person
	Unsure    []string    // recipients whose notice may not have arrived
	Flipped   time.Time
	NextDelta *NextDelta   // nil: no further pass is planned
	Late      []LateSender // hosts that sent mail to the old MX after the flip
	Converges time.Time    // when the delta passes will probably be over; zero: not foreseeable, or they are
}

// TroubleNote is a step that failed or drifted, with the words for it.
type TroubleNote struct {
	Step  string
	At    time.Time
	Words string
}

// PhaseStatus is a phase's place in time. Zero times are not known yet.
type PhaseStatus struct {
	Phase       plan.Phase
	Start, End  time.Time
	Done, Steps int
}

// MailboxStatus is how far one mailbox is, by its last pass.
type MailboxStatus struct {
	Address     string
	Messages    int // seen at the source by the last pass
	Copied      int // over all passes
	Quarantined int
	Doubt       int
	LastPass    time.Time
	Closed      bool
}

// Status computes where the migration is at the clock's now.
func (e *Engine) Status() (Status, error) {
	now := e.Clock.Now()
	o := e.outlook()
	t := o.times()
	s := Status{Complete: true, Flipped: e.Record.Flipped(), Phase: plan.Decommission}
	per := map[plan.Phase]*PhaseStatus{}
	for _, p := range plan.Phases() {
		s.Phases = append(s.Phases, PhaseStatus{Phase: p, Start: t.Start[p], End: t.End[p]})
	}
	for i := range s.Phases {
		per[s.Phases[i].Phase] = &s.Phases[i]
	}
	for i := len(s.Phases) - 1; i >= 0; i-- {
		if s.Phases[i].End.IsZero() {
			s.Phase = s.Phases[i].Phase
			s.Complete = e.Plan.Rollback != "" && s.Complete
		}
	}
	seen := map[string]bool{}
	for _, step := range e.Plan.Steps {
		st := e.Record.State(step.Address)
		per[step.Phase].Steps++
		for to, at := range st.Sending {
			if st.Sent[to].IsZero() && now.Sub(at) > time.Minute {
				s.Unsure = append(s.Unsure, to)
			}
		}
		if o.done(step.Address) {
			s.Done++
			per[step.Phase].Done++
			continue
		}
		s.Complete = false
		switch {
		case st.Drift != nil:
			s.Failed++
			s.Drift = append(s.Drift, TroubleNote{step.Address, st.Drift.At, listed(st.Drift.Found)})
		case st.Failed != nil:
			s.Failed++
			s.Failures = append(s.Failures, TroubleNote{step.Address, st.Failed.At, st.Failed.Error})
		case !st.Told.IsZero() && st.Applied.IsZero():
			s.ByHand++
			s.Tasks = append(s.Tasks, step)
			s.Waits = append(s.Waits, Waiting{Kind: WaitByHand, Step: step.Address})
			continue
		default:
			s.Waiting++
		}
		w, err := e.waitsFor(o, t, step, now)
		if err != nil {
			return Status{}, err
		}
		if w != nil && !seen[w.Gate+"\n"+w.Step] {
			seen[w.Gate+"\n"+w.Step] = true
			s.Waits = append(s.Waits, *w)
			if w.Kind == WaitCheck {
				s.BlockedBy = append(s.BlockedBy, w.Names...)
			}
		}
	}
	s.Late = LateSenders(e.Record.Stragglers())
	s.Converges = o.converges()
	s.NextDelta = o.nextDelta(o.passesDue(now), e.Parallel)
	s.Waits = earliest(s.Waits)
	s.Next = mostPressing(s.Waits)
	for _, m := range e.Migration.Mailboxes {
		s.Mailboxes = append(s.Mailboxes, e.mailboxStatus(m))
	}
	return s, nil
}

// waitsFor is what a step waits for, as far as the journal and the approvals tell.
func (e *Engine) waitsFor(o outlook, t timeline.Times, s plan.Step, now time.Time) (*Waiting, error) {
	st := e.Record.State(s.Address)
	if b := o.blocked(s, t, now); b != nil {
		if b.Kind == Dependency {
			return nil, nil
		}
		return b, nil
	}
	if !st.Applied.IsZero() {
		w := &Waiting{Kind: WaitTTL, Step: s.Address}
		if !st.Seen.IsZero() {
			w.Until = st.Seen.Add(s.Settle)
		}
		return w, nil
	}
	if gate := o.gateOf(s); gate != "" {
		g, ok := e.Plan.Gate(gate)
		e.Record.mu.Lock()
		_, opened := e.Record.gates[gate]
		e.Record.mu.Unlock()
		if ok && !opened {
			return e.gateWait(g, s.Phase, now)
		}
	}
	if isPass(s) {
		if at, more := o.passDue(s, t, now); more {
			return &Waiting{Kind: WaitTime, Step: s.Address, Until: later(at, now)}, nil
		}
	}
	return &Waiting{Kind: WaitTime, Step: s.Address, Until: now}, nil
}

// gateWait is what a gate waits for by its last known answers.
func (e *Engine) gateWait(g plan.Gate, phase plan.Phase, now time.Time) (*Waiting, error) {
	answers := e.LastAnswers(g)
	w := &Waiting{Kind: WaitApproval, Gate: g.Name}
	for _, a := range answers {
		if !a.OK {
			w.Kind = WaitCheck
			w.Names = append(w.Names, a.Check.String())
		}
	}
	if w.Kind == WaitCheck {
		return w, nil
	}
	_, missing, err := e.approvals(g, phase, answers, now)
	if err != nil {
		return nil, err
	}
	if len(missing) == 0 {
		return &Waiting{Kind: WaitTime, Gate: g.Name, Until: now}, nil
	}
	w.Names = missing
	return w, nil
}

// LastAnswers are the newest answers that the journal has of the gate's checks:
// what an approval is given on. A check that was never asked is left out.
func (e *Engine) LastAnswers(g plan.Gate) []Answer {
	e.Record.mu.Lock()
	defer e.Record.mu.Unlock()
	var list []Answer
	for _, ref := range e.Asked(g) {
		if a, ok := e.Record.checks[ref.String()]; ok {
			list = append(list, a)
		}
	}
	return list
}

// mostPressing is what a person is told first: what needs somebody, then what ends first.
func mostPressing(waits []Waiting) *Waiting {
	for _, kind := range []WaitKind{WaitCheck, WaitApproval, WaitByHand} {
		for i, w := range waits {
			if w.Kind == kind {
				return &waits[i]
			}
		}
	}
	if len(waits) == 0 {
		return nil
	}
	return &waits[0]
}

func (e *Engine) mailboxStatus(m plan.Mailbox) MailboxStatus {
	s := MailboxStatus{Address: m.Source, Closed: e.Record.Closed(m.Source)}
	var last providers.PassResult
	for _, kind := range []string{"copy/", "delta/", "hold/", "carry_back/"} {
		st := e.Record.State(kind + m.Source)
		s.Copied += st.Copied
		if st.LastPass.After(s.LastPass) {
			s.LastPass, last = st.LastPass, st.Result
		}
	}
	s.Messages = last.Copied + last.Unchanged
	s.Quarantined, s.Doubt = last.Quarantined, last.Doubt
	return s
}

// Phrase says what is waited for, in words and local time.
func (w Waiting) Phrase(loc *time.Location) string {
	at := ""
	if !w.Until.IsZero() {
		at = " until " + w.Until.In(loc).Format("Mon 2 Jan 15:04:05 MST")
	}
	switch w.Kind {
	case WaitTime:
		return w.subject() + ": waits" + at
	case WaitTTL:
		if len(w.Names) > 0 {
			return w.Step + ": waits for every name server: " + strings.Join(w.Names, "; ")
		}
		if at == "" {
			return w.Step + ": waits for every name server"
		}
		return w.Step + ": waits for the old TTL to run out" + at
	case WaitApproval:
		return "gate " + w.Gate + ": waits for approval: " + strings.Join(w.Names, "; ")
	case WaitByHand:
		return w.Step + ": waits for a person"
	case WaitCheck:
		if w.Gate == "" {
			return w.Step + ": the validation says no"
		}
		return "gate " + w.Gate + ": kept shut by " + strings.Join(w.Names, ", ")
	case WaitMail:
		return w.Step + ": " + strings.Join(w.Names, "; ")
	case Trouble:
		return w.Step + ": failed" + at
	}
	return w.subject() + ": waits for " + strings.Join(w.Names, ", ")
}

func (w Waiting) subject() string {
	if w.Step == "" && w.Gate != "" {
		return "gate " + w.Gate
	}
	if w.Step == "" {
		return "the next phase"
	}
	return w.Step
}
