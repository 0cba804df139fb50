package planner

import (
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
)

// emit turns the changes of data into steps, with their TTLs: what the flip or
// a later phase changes is lowered before, and raised again in the hold.
func (z *zonePlan) emit() {
	ttl := map[key]uint32{}
	for _, c := range z.changes {
		ttl[c.key] = z.observed(c.key).TTL
	}
	slices.SortStableFunc(z.changes, func(a, b change) int { return a.phase.Index() - b.phase.Index() })
	last := map[key]string{} // the newest step of each record set
	lowered := false
	for _, c := range z.changes {
		if !lowered && plan.LowerTTL.Before(c.phase) {
			z.lower(ttl, last)
			lowered = true
		}
		z.step(c, ttl, last)
	}
}

// lower plans the lowering of every record set that is changed or deleted from
// the flip on. The old TTL has to run out behind it.
func (z *zonePlan) lower(ttl map[key]uint32, last map[key]string) {
	during := seconds(z.domain.TTLDuring)
	done := map[key]bool{}
	for _, c := range z.changes {
		if c.phase.Before(plan.Flip) || c.rewrite || done[c.key] {
			continue
		}
		done[c.key] = true
		data := z.before(c.key)
		seen := z.observed(c.key)
		was := ttl[c.key]
		old := max(was, seen.OldTTL)
		if len(data) == 0 || old <= during {
			continue
		}
		low := min(was, during)
		if was <= during {
			// Lowered already under an earlier plan: the step stays as it was, so
			// that this plan, too, waits until the old TTL has run out.
			was = old
		}
		s := z.dnsStep(c.key, "/ttl", plan.LowerTTL, data, was, data, low)
		s.Settle = time.Duration(old) * time.Second
		if last[c.key] != "" {
			s.After = []string{last[c.key]}
		}
		z.add(s)
		ttl[c.key], last[c.key] = low, s.Address
	}
}

// before are the data of k when its TTL is lowered: as the phases up to then
// have left them.
func (z *zonePlan) before(k key) []string {
	data := sorted(z.observed(k).Data)
	for _, c := range z.changes {
		if c.key == k && !plan.LowerTTL.Before(c.phase) {
			data = c.new
		}
	}
	return data
}

func (z *zonePlan) step(c change, ttl map[key]uint32, last map[key]string) {
	final := z.final(c.ttl)
	old, to := ttl[c.key], final
	switch {
	case c.rewrite:
	case c.phase == plan.Flip:
		to = min(seconds(z.domain.TTLDuring), final)
	case c.phase.Before(plan.Flip) && c.ttl == 0 && len(c.old) > 0:
		to = old // a set that others share keeps its TTL
	}
	s := z.dnsStep(c.key, z.suffix(c), c.phase, c.old, old, c.new, to)
	if c.phase == plan.Hold && c.rewrite {
		s.Start = z.restoreAt()
	}
	if last[c.key] != "" {
		s.After = append(s.After, last[c.key])
	}
	switch {
	case c.phase == plan.Flip:
		for _, m := range z.open() {
			s.After = append(s.After, "copy/"+m.Source)
		}
	case c.phase.Before(plan.Flip):
		// Caches hold what was there before: the old records, or that there were none.
		s.Settle = time.Duration(z.seen.NegativeTTL) * time.Second
		if len(c.old) > 0 {
			s.Settle = time.Duration(max(old, z.observed(c.key).OldTTL)) * time.Second
		}
	}
	// In the flip all records of a domain change in one update. Elsewhere a
	// CNAME and what it replaces must not meet: name servers refuse that.
	if c.phase != plan.Flip && len(c.new) > 0 {
		for _, o := range z.changes {
			if o.phase == c.phase && o.name == c.name && o.key != c.key && len(o.new) == 0 {
				s.After = append(s.After, z.address(o.key)+z.suffix(o))
			}
		}
	}
	z.add(s)
	ttl[c.key], last[c.key] = to, s.Address
	if c.phase == plan.Flip && !c.rewrite && len(c.new) > 0 && to < final {
		r := z.dnsStep(c.key, "/restore", plan.Hold, c.new, to, c.new, final)
		r.Start = z.restoreAt()
		r.After = []string{s.Address}
		z.add(r)
		ttl[c.key], last[c.key] = final, r.Address
	}
}

// suffix tells the steps of one record set apart. The flip's has none, and
// neither has a set's only change.
func (z *zonePlan) suffix(c change) string {
	switch {
	case c.retire:
		return "/retire"
	case c.rewrite && c.phase == plan.Hold:
		return "/restore"
	case c.phase == plan.Flip:
		return ""
	}
	for _, o := range z.changes {
		if o.key == c.key && o.phase != c.phase && !o.retire && (o.phase == plan.Flip || c.phase.Before(o.phase)) {
			return "/" + string(c.phase)
		}
	}
	return ""
}

func (z *zonePlan) address(k key) string { return "dns/" + z.domain.Name + "/" + k.typ + "/" + k.name }

func (z *zonePlan) dnsStep(k key, suffix string, phase plan.Phase, old []string, oldTTL uint32, new []string, newTTL uint32) plan.Step {
	s := plan.Step{
		Address: z.address(k) + suffix, Phase: phase, Action: plan.Change, Undo: plan.Restore,
		From: recordLines(k.typ, oldTTL, old), To: recordLines(k.typ, newTTL, new),
	}
	s.Expect = plan.FingerprintOf(s.From...)
	switch {
	case len(old) == 0:
		s.Action = plan.Create
	case len(new) == 0:
		s.Action = plan.Delete
	}
	if zone, ok := z.m.Zone(z.domain.Zone); ok && zone.Kind == "by_hand" {
		s.Action = plan.ByHand
		s.Detail = byHandLines(z.fqdn(k.name), s)
	}
	return s
}

// recordLines are records as a plan prints them. One that the target has not
// named yet has no type and no TTL.
func recordLines(typ string, ttl uint32, data []string) []string {
	unknown := func(d string) bool { return d == plan.KnownAfterProvision }
	lines := plan.RRset{Type: typ, TTL: ttl, Data: slices.DeleteFunc(slices.Clone(data), unknown)}.Lines()
	if slices.ContainsFunc(data, unknown) {
		lines = append(lines, plan.KnownAfterProvision)
	}
	return lines
}

// byHandLines say what to do with a record set where a person enters it.
func byHandLines(name string, s plan.Step) []string {
	name = strings.TrimSuffix(name, ".")
	var lines []string
	for _, r := range s.From {
		if !slices.Contains(s.To, r) {
			lines = append(lines, name+": remove "+r)
		}
	}
	for _, r := range s.To {
		if !slices.Contains(s.From, r) {
			lines = append(lines, name+": enter "+r)
		}
	}
	return append(lines, "proof: every name server serves it")
}

// restoreAt is when TTLs are raised again: a quarter into the hold, when going
// back has become unlikely and still takes no longer than the low TTL.
func (z *zonePlan) restoreAt() plan.Moment {
	w := z.m.Window(plan.Hold)
	until := w.Until.Moment
	start := w.Start
	if start.IsZero() {
		start = plan.Moment{Anchor: plan.AnchorEnd(plan.Validate)}
	}
	if until.Anchor != start.Anchor || until.Anchor == plan.AnchorAbsolute {
		// The length isn't known before it happens.
		return plan.Moment{Anchor: plan.AnchorStart(plan.Hold)}
	}
	quarter := (until.Offset - start.Offset) / 4
	return start.Add(max(quarter, 0).Truncate(time.Millisecond))
}
