package timeline

import (
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
)

// Assume is what a forecast supposes about things that nobody knows yet. Zero
// fields take the estimates' figure or the default.
type Assume struct {
	Rate      float64       // octets a second over all mailboxes; default the measured rate, else 2.5 MB/s
	Octets    int64         // to copy; 0: the estimates' figure
	Now       time.Time     // nothing that is not done begins before; zero: the plan's own times only
	Converge  time.Duration // from a change of a record until every authoritative server has it; default 5 min, see Defaults
	ByHand    time.Duration // for a person to do all of one phase's by-hand steps; default 1 h
	Pass      time.Duration // a pass that finds little; default 5 min
	Margin    time.Duration // added to old TTLs
	Ended     map[plan.Phase]time.Time
	BulkStart time.Time // when the bulk copy really began; zero: by the schedule
}

// Row is one phase of a forecast. A zero time is not known.
type Row struct {
	Phase      plan.Phase
	Start, End time.Time
	What       string    // "" : the reader counts the steps
	Earliest   time.Time // of the flip: the earliest that is possible
}

const defaultRate = 2.5e6 // octets a second: what one client gets from a shared mail host

// Defaults fills in what a does not say, from the estimates (nil: none) and
// from what is usual. What usually takes minutes is thought to take at most a
// hundredth of the whole schedule, and what a person does a tenth: where a
// migration of seconds is planned, its world is as quick.
func (a Assume) Defaults(p *plan.Plan, est *inventory.Estimates) Assume {
	if a.Rate <= 0 && est != nil {
		a.Rate = est.Rate
	}
	if a.Rate <= 0 {
		a.Rate = defaultRate
	}
	quick, hand := 5*time.Minute, time.Hour
	if s := span(p); s > 0 {
		quick, hand = min(quick, max(s/100, time.Millisecond)), min(hand, max(s/10, time.Millisecond))
	}
	for _, d := range []struct {
		of   *time.Duration
		want time.Duration
	}{{&a.Converge, quick}, {&a.ByHand, hand}, {&a.Pass, quick}} {
		if *d.of <= 0 {
			*d.of = d.want
		}
	}
	return a
}

// span is how long the schedule says that the migration takes: from its first
// time to the cutover, and the hold. What depends on the world is not in it.
func span(p *plan.Plan) time.Duration {
	first := p.Cutover
	times := Times{Cutover: p.Cutover}
	for _, w := range p.Schedule {
		if at, ok := times.Resolve(w.Start); ok && at.Before(first) {
			first = at
		}
	}
	total := p.Cutover.Sub(first)
	if hold := p.Window(plan.Hold); hold.Until.Moment.Anchor == hold.Start.Anchor {
		total += max(0, hold.Until.Moment.Offset-hold.Start.Offset)
	}
	return total
}

// Forecast says when each phase of p will begin and end. est may be nil.
func Forecast(p *plan.Plan, est *inventory.Estimates, a Assume) []Row {
	f := newForecaster(p, est, a)
	rows := make([]Row, 0, len(plan.Phases()))
	for _, ph := range plan.Phases() {
		// Phases may be anchored on later ones (a notice on the flip), so each is
		// worked out anew until nothing moves any more.
		rows = append(rows, Row{Phase: ph})
	}
	for range rows {
		for i := range rows {
			rows[i] = f.row(rows[i].Phase)
		}
	}
	return rows
}

type forecaster struct {
	plan   *plan.Plan
	phases map[plan.Phase][]plan.Step
	assume Assume
	octets int64
	known  bool // octets are known
	times  Times
}

func newForecaster(p *plan.Plan, est *inventory.Estimates, a Assume) *forecaster {
	loc, err := time.LoadLocation(p.Timezone)
	if err != nil {
		loc = time.UTC
	}
	f := &forecaster{plan: p, phases: map[plan.Phase][]plan.Step{}, assume: a.Defaults(p, est), times: Times{Cutover: p.Cutover, Loc: loc, Start: map[plan.Phase]time.Time{}, End: map[plan.Phase]time.Time{}}}
	for _, s := range p.Steps {
		f.phases[s.Phase] = append(f.phases[s.Phase], s)
	}
	if est != nil {
		for _, s := range p.Steps {
			if address, ok := strings.CutPrefix(s.Address, "copy/"); ok {
				m := est.Mailboxes[address]
				f.octets += max(0, m.Octets)
				f.known = f.known || m.Octets > 0
			}
		}
	}
	if a.Octets > 0 {
		f.octets, f.known = a.Octets, true
	}
	for ph, at := range a.Ended {
		f.times.End[ph] = at
	}
	return f
}

func (f *forecaster) row(ph plan.Phase) Row {
	r := Row{Phase: ph}
	w := f.plan.Window(ph)
	if start, ok := f.times.Resolve(w.Start); ok {
		r.Start = start
	}
	if end, ended := f.assume.Ended[ph]; ended {
		r.End = end
		f.times.Start[ph] = r.Start
		return r
	}
	switch ph {
	case plan.BulkCopy:
		if !f.assume.BulkStart.IsZero() {
			r.Start = f.assume.BulkStart
		}
	case plan.Flip:
		r.Earliest, _ = f.earliest()
		r.Start = later(r.Start, r.Earliest)
	case plan.Delta, plan.Validate, plan.Hold, plan.Decommission:
		r.Start = later(r.Start, f.times.End[plan.Flip])
	}
	if r.Start.IsZero() {
		return r
	}
	r.Start = NextOpen(w.Hours, f.times.Loc, later(r.Start, f.assume.Now))
	// Moments are counted from the schedule's own start; only what has to wait
	// for something else is later.
	f.times.Start[ph] = r.Start
	r.End = f.end(ph, w, r.Start)
	f.times.End[ph] = r.End
	return r
}

func (f *forecaster) end(ph plan.Phase, w plan.Window, start time.Time) time.Time {
	steps := f.steps(ph)
	end := start
	if slices.ContainsFunc(steps, func(s plan.Step) bool { return s.Action == plan.ByHand }) && ph != plan.Decommission {
		end = start.Add(f.assume.ByHand)
	}
	for _, s := range steps {
		if strings.HasPrefix(s.Address, "dns/") {
			begin := start
			if at, ok := f.times.Resolve(s.Start); ok {
				begin = later(begin, at)
			}
			end = later(end, begin.Add(f.assume.Converge+s.Settle))
		}
	}
	switch ph {
	case plan.BulkCopy:
		end = later(end, f.copied(w.Hours, start))
	case plan.Delta:
		if n := w.Until.Converged; n > 0 && len(steps) > 0 {
			end = later(end, start.Add(time.Duration(n)*(max(w.Repeat, f.assume.Pass))))
		}
		if at, ok := StragglersUntil(f.flipped()); ok {
			end = later(end, at)
		}
	case plan.Validate:
		if len(steps) > 0 {
			end = later(end, start.Add(f.assume.Pass))
		}
	}
	if at, ok := f.times.Resolve(w.Until.Moment); ok && ph == plan.Hold {
		end = later(end, at)
	}
	return end
}

// copied is when all octets are over, copying only within hours. What would take
// more than ten years of nights is said to end then: too late for anything.
func (f *forecaster) copied(hours string, start time.Time) time.Time {
	left := time.Duration(float64(f.octets) / f.assume.Rate * float64(time.Second))
	if !f.known {
		left = f.assume.Pass
	}
	at := start
	for range 3660 {
		at = NextOpen(hours, f.times.Loc, at)
		end, bounded := closing(hours, f.times.Loc, at)
		if !bounded || !at.Add(left).After(end) {
			return at.Add(left)
		}
		left -= end.Sub(at)
		at = end
	}
	return at
}

// closing is when the hours that are open at t end.
func closing(hours string, loc *time.Location, t time.Time) (time.Time, bool) {
	from, to, err := ParseHours(hours)
	if hours == "" || err != nil {
		return time.Time{}, false
	}
	local := t.In(loc)
	for range 48 * 60 {
		if !open(from, to, local) {
			return local, true
		}
		local = local.Truncate(time.Minute).Add(time.Minute)
	}
	return time.Time{}, false
}

// earliest leaves the start of the flip's window out: that is what people
// want, and what they are told here is how early it could be.
func (f *forecaster) earliest() (time.Time, bool) {
	at, ok := EarliestFlip(FlipInput{
		BulkEnd: f.times.End[plan.BulkCopy], Provision: f.times.End[plan.Provision],
		Lowered: f.lowered(), Margin: f.assume.Margin,
	})
	return at, ok
}

func (f *forecaster) lowered() []Lowering {
	var list []Lowering
	start := f.times.Start[plan.LowerTTL]
	for _, s := range f.steps(plan.LowerTTL) {
		l := Lowering{Old: s.Settle}
		if end, ended := f.assume.Ended[plan.LowerTTL]; ended {
			l = Lowering{Seen: end}
		} else if !start.IsZero() {
			l.Seen = start.Add(f.assume.Converge)
		}
		list = append(list, l)
	}
	return list
}

func (f *forecaster) flipped() []Flipped {
	start := f.times.Start[plan.Flip]
	if start.IsZero() {
		return nil
	}
	var list []Flipped
	for _, s := range f.steps(plan.Flip) {
		if kind, rest, _ := strings.Cut(s.Address, "/"); kind == "dns" {
			_, rest, _ = strings.Cut(rest, "/")
			typ, _, _ := strings.Cut(rest, "/")
			set, err := plan.ParseRRset("", typ, s.From)
			if err != nil {
				continue
			}
			list = append(list, Flipped{Seen: start.Add(f.assume.Converge), Low: time.Duration(set.TTL) * time.Second})
		}
	}
	return list
}

func (f *forecaster) steps(ph plan.Phase) []plan.Step { return f.phases[ph] }
