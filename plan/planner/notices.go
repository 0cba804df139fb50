package planner

import (
	"fmt"
	"strings"

	"github.com/mxodus/mxodus/plan"
)

// busy reports whether the plan still moves anything: an open mailbox or a
// record. Once it doesn't, there is nothing to tell and nothing to compare.
func (p *planner) busy() bool {
	return len(p.open()) > 0 || len(p.starting("dns/")) > 0
}

// notices plans the mails that have a time. Those that wait for an event are
// sent by the run that sees the event, and are no steps.
func (p *planner) notices() {
	if !p.busy() {
		return
	}
	for _, n := range p.m.Notices {
		if n.At.IsZero() && (n.Via != "" || n.URL != "") {
			continue
		}
		if n.Via == "" {
			p.find(plan.Finding{
				Check: "notice_via", Severity: plan.Warns, Subject: n.Name,
				Summary: fmt.Sprintf("the notice %q goes to people and has no smtp server, so it is not sent", n.Name),
				Remedy:  "give it via = smtp.NAME, or a url where it goes to a webhook", Pos: n.Pos,
			})
			continue
		}
		phase, ok := p.noticePhase(n.At)
		if !ok {
			p.find(plan.Finding{
				Check: "notice_time", Severity: plan.Warns, Subject: n.Name,
				Summary: fmt.Sprintf("the notice %q would go out after everything is over, so it is not sent", n.Name),
				Remedy:  "choose an earlier time for it", Pos: n.Pos,
			})
			continue
		}
		p.add(plan.Step{
			Address: "notice/" + n.Name, Phase: phase, Action: plan.Send, To: sorted(n.To), Start: n.At, Undo: plan.Impossible,
			Expect: plan.FingerprintOf(n.Subject, n.Body, n.HTML),
		})
	}
}

// noticePhase is the phase that a notice at that time belongs to. The flip waits for
// the notices before it, so one that is to follow the flip must not stand in the
// notice phase: each would wait for the other.
func (p *planner) noticePhase(at plan.Moment) (plan.Phase, bool) {
	after := at.Offset > 0
	phase, end, ok := at.Anchor.Phase()
	switch {
	case !ok && at.Anchor == plan.AnchorAbsolute:
		after = at.At.Add(at.Offset).After(p.m.Cutover)
		fallthrough
	case !ok, phase == plan.Flip && !end:
		if after {
			return plan.Delta, true
		}
		return plan.Notice, true
	}
	if end {
		i := phase.Index() + 1
		if i >= len(plan.Phases()) {
			return "", false
		}
		phase = plan.Phases()[i]
	}
	switch {
	case phase == plan.Flip: // after the end of the notice phase
		return plan.Delta, true
	case phase.Before(plan.Notice):
		return plan.Notice, true
	}
	return phase, true
}

// validation plans what is looked at after the flip besides the mailboxes.
func (p *planner) validation() {
	if !p.busy() {
		return
	}
	for _, d := range p.m.Domains {
		flips := false
		for _, s := range p.steps {
			flips = flips || s.Phase == plan.Flip && strings.HasPrefix(s.Address, "dns/"+d.Name+"/")
		}
		if p.has("dns/" + d.Name + "/CNAME/autodiscover") {
			p.add(plan.Step{Address: "validate/autodiscover/" + d.Name, Phase: plan.Validate, Action: plan.Check, Undo: plan.NoneNeeded})
		}
		if flips {
			p.add(plan.Step{Address: "validate/dns/" + d.Name, Phase: plan.Validate, Action: plan.Check, Undo: plan.NoneNeeded})
		}
	}
	p.probes()
}
