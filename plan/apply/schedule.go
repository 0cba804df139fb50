package apply

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/timeline"
)

// WaitKind is what a step waits for. The names are those of `status -json`.
type WaitKind string

// The kinds, plus Dependency, Trouble and WaitMail (a probe is on its way), which status doesn't call "next".
const (
	WaitTime     WaitKind = "time"
	WaitTTL      WaitKind = "ttl"
	WaitApproval WaitKind = "approval"
	WaitByHand   WaitKind = "by_hand"
	WaitCheck    WaitKind = "check"
	WaitMail     WaitKind = "mail"
	Dependency   WaitKind = "dependency"
	Trouble      WaitKind = "trouble" // failed or drifted
)

// Waiting is why a step doesn't run now.
type Waiting struct {
	Kind  WaitKind
	Step  string
	Gate  string
	Until time.Time // zero: not known
	Names []string  // checks that say no, steps it depends on

	refresh bool // a further pass before the flip, which nothing depends on
}

// needs are the phases that have to be done before phase p may touch the
// world, whatever its start says. Copying overlaps with lowering the TTL;
// nothing after the flip happens before it.
func (o outlook) needs(p plan.Phase) []plan.Phase {
	if o.plan.Rollback != "" {
		return nil // a way back waits for nothing
	}
	switch p {
	case plan.Flip:
		return []plan.Phase{plan.Provision, plan.LowerTTL, plan.BulkCopy, plan.Notice}
	case plan.Delta, plan.Validate:
		return []plan.Phase{plan.Flip}
	case plan.Hold:
		return []plan.Phase{plan.Flip, plan.Validate}
	case plan.Decommission:
		return []plan.Phase{plan.Flip, plan.Delta, plan.Validate, plan.Hold}
	}
	return nil
}

// outlook is the pure view of what may run: a plan, a record and nothing else.
// Every decision takes the time as a value.
type outlook struct {
	plan   *plan.Plan
	record *Record
	loc    *time.Location
}

// times are the phases' starts and ends as far as they are known.
func (o outlook) times() timeline.Times {
	t := timeline.Times{Cutover: o.plan.Cutover, Loc: o.loc, Start: map[plan.Phase]time.Time{}, End: map[plan.Phase]time.Time{}}
	for _, p := range plan.Phases() {
		if end, ok := o.record.PhaseEnd(p); ok {
			t.End[p] = end
		}
	}
	// A start may be anchored on any other phase's start: as many rounds as
	// there are phases settle every chain, and most plans need one.
	for range plan.Phases() {
		settled := true
		for _, w := range o.plan.Schedule {
			if at, ok := t.Resolve(w.Start); ok && !t.Start[w.Phase].Equal(at) {
				t.Start[w.Phase], settled = at, false
			}
		}
		if settled {
			break
		}
	}
	return t
}

func (o outlook) steps(p plan.Phase) []plan.Step {
	var list []plan.Step
	for _, s := range o.plan.Steps {
		if s.Phase == p {
			list = append(list, s)
		}
	}
	return list
}

func (o outlook) done(address string) bool {
	st := o.record.State(address)
	if strings.HasPrefix(address, "copy/") {
		return !st.Done.IsZero() || st.Passes > 0 && st.Result.Doubt == 0
	}
	return !st.Done.IsZero()
}

// phaseDue reports whether phase p, which has no end in the journal yet, is
// done now: its steps are, what it needs is, and its start has come.
func (o outlook) phaseDue(p plan.Phase, t timeline.Times, now time.Time) bool {
	if _, ended := t.End[p]; ended {
		return false
	}
	for _, need := range o.needs(p) {
		if _, ended := t.End[need]; !ended {
			return false
		}
	}
	start, known := t.Start[p]
	if !o.plan.Window(p).Start.IsZero() && (!known || start.After(now)) {
		return false
	}
	for _, s := range o.steps(p) {
		if !o.done(s.Address) {
			return false
		}
	}
	return true
}

// blocked returns why step s may not run now, or nil. It doesn't look at
// gates, which cost round trips; see Engine.
func (o outlook) blocked(s plan.Step, t timeline.Times, now time.Time) *Waiting {
	var names []string
	for _, need := range o.needs(s.Phase) {
		if _, ended := t.End[need]; !ended {
			names = append(names, string(need))
		}
	}
	for _, a := range s.After {
		if !o.done(a) {
			names = append(names, a)
		}
	}
	if len(names) > 0 {
		return &Waiting{Kind: Dependency, Step: s.Address, Names: names}
	}
	w := o.plan.Window(s.Phase)
	start := s.Start
	if start.IsZero() {
		start = w.Start
	}
	if !start.IsZero() {
		at, known := t.Resolve(start)
		if !known {
			return &Waiting{Kind: Dependency, Step: s.Address, Names: []string{string(start.Anchor)}}
		}
		if at.After(now) {
			return &Waiting{Kind: WaitTime, Step: s.Address, Until: at}
		}
	}
	if open := timeline.NextOpen(w.Hours, o.loc, now); open.After(now) {
		return &Waiting{Kind: WaitTime, Step: s.Address, Until: open}
	}
	return nil
}

// gateOf is the gate that guards step s, "" for none.
func (o outlook) gateOf(s plan.Step) string {
	if s.Gate != "" {
		return s.Gate
	}
	return o.plan.Window(s.Phase).Gate
}

// kindOf is the first element of a step's address: what executes it.
func kindOf(s plan.Step) string {
	kind, _, _ := strings.Cut(s.Address, "/")
	return kind
}

// isPass reports whether the step copies mail.
func isPass(s plan.Step) bool {
	switch kindOf(s) {
	case "copy", "delta", "hold", "carry_back":
		return true
	}
	return false
}

// mailboxOf is the source address a pass is over.
func mailboxOf(s plan.Step) string {
	_, address, _ := strings.Cut(s.Address, "/")
	return address
}

// copyAge is how old the last pass over a mailbox may be at the flip; a pass is
// made copyMargin before that, so that the gate's answer doesn't change while it is asked.
const (
	copyAge    = 24 * time.Hour
	copyMargin = 10 * time.Minute
)

// staleCopies are the copies whose next pass has to be made before the flip.
func (o outlook) staleCopies(now time.Time) []string {
	var list []string
	for _, s := range o.steps(plan.BulkCopy) {
		if st := o.record.State(s.Address); isPass(s) && st.Passes > 0 && !now.Before(st.LastPass.Add(copyAge-copyMargin)) {
			list = append(list, s.Address)
		}
	}
	return list
}

// passDue returns when the next pass of step s is due; ok is false when no
// further pass is. The first pass of each step is due at once, but for a hold
// step, whose mailbox the delta passes look after until they have converged.
//
// A last pass that lies in the future was made before the clock was set back: nobody knows how
// long ago that was, and the next one is due.
func (o outlook) passDue(s plan.Step, t timeline.Times, now time.Time) (at time.Time, ok bool) {
	st := o.record.State(s.Address)
	if st.LastPass.After(now) {
		st.LastPass = time.Time{}
	}
	repeat := s.Repeat
	kind := kindOf(s)
	switch {
	case kind == "copy" && o.done(s.Address):
		// Passes go on until the flip has begun: the last one before it is
		// never older than a day.
		if !o.record.Flipped().IsZero() {
			return time.Time{}, false
		}
		start, known := t.Start[plan.Flip]
		fresh := later(st.LastPass.Add(copyAge-copyMargin), start)
		switch {
		case known && (repeat <= 0 || fresh.Before(st.LastPass.Add(repeat))):
			return fresh, true
		case repeat <= 0:
			return time.Time{}, false
		}
		return st.LastPass.Add(repeat), true
	case !st.Done.IsZero():
		return time.Time{}, false
	case st.Passes == 0 && kind != "hold":
		return time.Time{}, true
	case repeat <= 0 || st.Result.Doubt > 0 && repeat > time.Minute:
		repeat = time.Minute
	}
	last := st.LastPass
	if kind == "hold" {
		if last = o.lastPass(mailboxOf(s)); last.After(now) {
			last = time.Time{}
		}
		if end, known := t.Resolve(s.Until.Moment); known && last.Before(end) && end.Before(last.Add(repeat)) {
			return end, true // the last look is at the very end
		}
	}
	return last.Add(repeat), true
}

func (o outlook) lastPass(address string) time.Time {
	o.record.mu.Lock()
	defer o.record.mu.Unlock()
	return o.record.mailPass[address]
}

// passEnds reports whether step s needs no further pass, given its state
// after one.
func (o outlook) passEnds(s plan.Step, t timeline.Times, now time.Time) bool {
	st := o.record.State(s.Address)
	if st.Passes == 0 || st.Result.Doubt > 0 {
		return false
	}
	switch {
	case kindOf(s) == "copy":
		return true
	case s.Until.Converged > 0:
		over, known := o.stragglersUntil()
		return st.Quiet >= s.Until.Converged && known && !now.Before(over)
	case s.Until.Moment.IsZero():
		return true
	default:
		end, known := t.Resolve(s.Until.Moment)
		return known && !st.LastBegan.Before(end)
	}
}

// stragglersUntil is when no resolver that keeps to the TTL sends mail to the
// old MX any more; false while a flipped record is not seen everywhere.
// Without records of ours nothing is known about caches: it has passed.
func (o outlook) stragglersUntil() (time.Time, bool) {
	var sets []timeline.Flipped
	for _, s := range o.steps(plan.Flip) {
		if dnsRole(s.Address) == roleOther {
			continue
		}
		set := timeline.Flipped{Seen: o.record.State(s.Address).Seen, Low: ttlOf(s.From)}
		if lower, ok := o.plan.Step(s.Address + "/ttl"); ok {
			set.Lowering = timeline.Lowering{Seen: o.record.State(lower.Address).Seen, Old: lower.Settle}
		}
		sets = append(sets, set)
	}
	if len(sets) == 0 {
		return time.Time{}, true
	}
	return timeline.StragglersUntil(sets)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// earliest returns the wait that ends first; those without an end come last.
func earliest(list []Waiting) []Waiting {
	slices.SortStableFunc(list, func(a, b Waiting) int {
		if a.Until.IsZero() != b.Until.IsZero() {
			if a.Until.IsZero() {
				return 1
			}
			return -1
		}
		return cmp.Or(a.Until.Compare(b.Until), cmp.Compare(a.Step, b.Step))
	})
	return list
}
