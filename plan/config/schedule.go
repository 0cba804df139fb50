package config

import (
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/mxodus/mxodus/plan"
)

// schedule overrides the defaults of the nine phases.
func (l *loader) schedule(n *node, ctx *hcl.EvalContext) {
	b := &body{l: l, syn: n.block.Body, ctx: ctx, at: n.at}
	for _, p := range b.labelled("phase") {
		phase := plan.Phase(p.Labels[0])
		if !phase.Valid() {
			l.errorf(&p.LabelRanges[0], "Unknown phase", "There is no phase %q.%s", phase, suggest(string(phase), phaseNames()))
			continue
		}
		l.m.Schedule[phase.Index()] = b.within(p).window(l.m.Schedule[phase.Index()])
	}
	l.checkSchedule()
}

// longest bounds intervals of the schedule.
const longest = 366 * 24 * time.Hour

func (b *body) window(w plan.Window) plan.Window {
	w.Pos = b.pos()
	start := b.moment("start", w.Start)
	if start != w.Start && w.Phase == plan.Hold {
		w.Until = plan.Until{Moment: start.Add(defaultHold)}
	}
	w.Start = start
	if v, ok := b.value("until"); ok {
		if u, ok := held[plan.Until](v, untilType); ok {
			w.Until = u
		} else if m, err := b.l.moment(v); err == nil {
			w.Until = plan.Until{Moment: m}
		} else {
			b.errorf("until", "No time", "%q takes a time or converged(n): %v.", "until", err)
		}
	}
	if w.Until.Converged > 0 && w.Phase != plan.Delta && w.Phase != plan.BulkCopy && w.Phase != plan.Hold {
		b.errorf("until", "Nothing converges here", "converged(n) counts passes over mailboxes: it can end bulk_copy, delta and hold.")
	}
	if h := b.str("hours", w.Hours); h != w.Hours {
		w.Hours = h
		from, to, ok := strings.Cut(h, "-")
		if !ok || !isClock(from) || !isClock(to) || from == to {
			b.errorf("hours", "No hours", "%q wants \"HH:MM-HH:MM\" in the migration's time zone, such as \"19:00-07:00\".", "hours")
		}
	}
	w.Repeat = b.duration("repeat", w.Repeat, time.Millisecond, longest)
	w.Gate = b.name("gate", "gate", w.Gate)
	return w
}

func isClock(s string) bool {
	_, err := time.Parse("15:04", s)
	return err == nil && len(s) == len("15:04")
}

const defaultHold = 30 * 24 * time.Hour

// defaultSchedule is a careful week-ahead cutover.
func defaultSchedule() []plan.Window {
	cutover := plan.Moment{Anchor: plan.AnchorCutover}
	start := func(p plan.Phase) plan.Moment { return plan.Moment{Anchor: plan.AnchorStart(p)} }
	end := func(p plan.Phase) plan.Moment { return plan.Moment{Anchor: plan.AnchorEnd(p)} }
	const day = 24 * time.Hour
	return []plan.Window{
		{Phase: plan.Provision, Start: cutover.Add(-14 * day)},
		{Phase: plan.LowerTTL, Start: cutover.Add(-7 * day)},
		{Phase: plan.BulkCopy, Start: start(plan.LowerTTL), Repeat: day},
		{Phase: plan.Notice, Start: cutover.Add(-2 * day)},
		{Phase: plan.Flip, Start: cutover, Gate: "flip"},
		{Phase: plan.Delta, Start: end(plan.Flip), Repeat: 15 * time.Minute, Until: plan.Until{Converged: 3}},
		{Phase: plan.Validate, Start: end(plan.Flip)},
		{Phase: plan.Hold, Start: end(plan.Validate), Until: plan.Until{Moment: end(plan.Validate).Add(defaultHold)}, Repeat: 6 * time.Hour},
		{Phase: plan.Decommission, Start: end(plan.Hold), Gate: "decommission"},
	}
}

// checkSchedule refuses phases that wait for each other, or for the end of a
// later one.
func (l *loader) checkSchedule() {
	needs := map[plan.Anchor][]plan.Anchor{}
	for _, w := range l.m.Schedule {
		for _, a := range []plan.Anchor{w.Start.Anchor, w.Until.Moment.Anchor} {
			if p, end, ok := a.Phase(); ok && end && w.Phase.Before(p) {
				l.errorf(rangeAt(w.Pos), "Phase that waits for a later one", "%s can't wait for the end of %s: the order of the phases is fixed.", w.Phase, p)
				return
			}
		}
		start, end := plan.AnchorStart(w.Phase), plan.AnchorEnd(w.Phase)
		needs[start] = []plan.Anchor{w.Start.Anchor}
		needs[end] = []plan.Anchor{start, w.Until.Moment.Anchor}
	}
	for _, w := range l.m.Schedule {
		if path := anchorCycle(needs, plan.AnchorEnd(w.Phase), nil); path != "" {
			l.errorf(rangeAt(w.Pos), "Cycle", "These times need each other: %s.", path)
			return
		}
	}
}

func anchorCycle(needs map[plan.Anchor][]plan.Anchor, a plan.Anchor, path []plan.Anchor) string {
	if i := slices.Index(path, a); i >= 0 {
		words := make([]string, 0, len(path)-i+1)
		for _, p := range append(path[i:], a) {
			words = append(words, "phase."+string(p))
		}
		return strings.Join(words, " → ")
	}
	for _, next := range needs[a] {
		if found := anchorCycle(needs, next, append(path, a)); found != "" {
			return found
		}
	}
	return ""
}

func rangeAt(p plan.Pos) *hcl.Range {
	at := hcl.Pos{Line: max(1, p.Line), Column: 1}
	return &hcl.Range{Filename: p.File, Start: at, End: at}
}

// checks are the questions that a gate can ask; true: with an argument.
var checks = map[string]bool{
	"every_address_exists_at_target": false,
	"bulk_copy_complete":             false,
	"old_ttl_expired_everywhere":     false,
	"target_accepts_mail":            false,
	"rollback_plan_fresh":            false,
	"manifest_archived":              false,
	"no_stragglers_for":              true,

	// These are asked right before the flip whether a gate names them or not.
	"name_servers_agree":           false,
	"zone_as_planned":              false,
	"accounts_ready":               false,
	"new_mx_sound":                 false,
	"spf_sound":                    false,
	"dkim_keys_resolve":            false,
	"dmarc_kept":                   false,
	"mta_sts_allows_new_mx":        false,
	"tlsa_fits_new_mx":             false,
	"autodiscover_leads_to_target": false,
	"autodiscover_as_outlook":      false,
	"dnssec_valid":                 false,
	"clock_right":                  false,
	"source_keeps_accepting":       false,
}

// defaultGateNames are gates that are there without being written.
var defaultGateNames = []string{"decommission", "flip"}

func defaultGate(name string) plan.Gate {
	g := plan.Gate{Name: name}
	switch name {
	case "flip":
		for _, c := range []string{"every_address_exists_at_target", "bulk_copy_complete", "old_ttl_expired_everywhere", "target_accepts_mail", "rollback_plan_fresh"} {
			g.Require = append(g.Require, plan.CheckRef{Name: c})
		}
		g.Approve.Count = 1
	case "decommission":
		g.Require = []plan.CheckRef{{Name: "no_stragglers_for", Arg: "7d"}, {Name: "manifest_archived"}}
		g.Approve.Count = 1
	}
	slices.SortFunc(g.Require, compareChecks)
	return g
}

func compareChecks(a, b plan.CheckRef) int { return strings.Compare(a.String(), b.String()) }

func (l *loader) gate(n *node, ctx *hcl.EvalContext) cty.Value {
	b := &body{l: l, syn: n.block.Body, ctx: ctx, at: n.at}
	g := defaultGate(n.label(0))
	g.Pos = n.pos()
	if b.has("require") {
		g.Require = nil
		for _, v := range b.elements("require", "a list of checks") {
			c, ok := held[plan.CheckRef](v, checkType)
			if !ok {
				b.errorf("require", "No check", "%q takes checks such as check.bulk_copy_complete, and this is %s.", "require", describe(v.Type()))
				continue
			}
			g.Require = append(g.Require, c)
		}
		slices.SortFunc(g.Require, compareChecks)
		g.Require = slices.Compact(g.Require)
	}
	if len(b.blocks("approve")) > 0 {
		a := b.nested("approve")
		g.Approve = plan.Approval{
			By: a.strs("by"), Count: a.integer("count", 1, 0, 100),
			Expires: a.duration("expires", 0, time.Millisecond, longest),
		}
		if len(g.Approve.By) > 0 && g.Approve.Count > len(g.Approve.By) {
			a.errorf("count", "Too few people", "%d approvals are asked for, and only %d may give one.", g.Approve.Count, len(g.Approve.By))
		}
	}
	if len(g.Require) == 0 && g.Approve.Count == 0 {
		l.errorf(&n.at, "Gate that asks nothing", "Gate %q has no check and no approval: it would always be open.", g.Name)
	}
	l.m.Gates = append(l.m.Gates, g)
	return nameVal("gate", g.Name)
}
