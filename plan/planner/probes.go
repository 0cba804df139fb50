package planner

import (
	"fmt"
	"strings"

	"github.com/mxodus/mxodus/plan"
)

// probes plans the mail that an outside account sends and gets after the flip: to the
// sampled mailboxes by the new MX, to them by the old one while that still takes mail, and
// from each domain to the outside. Which mailboxes are sampled is seen when they
// have been copied: sizes are no part of a plan.
func (p *planner) probes() {
	for _, probe := range p.m.Validation.Probes {
		address := "validate/probe/" + probe.Name
		p.add(plan.Step{Address: address, Phase: plan.Validate, Action: plan.Check, From: []string{probe.Address()}, To: p.m.Validation.Sampled(), Undo: plan.NoneNeeded})
		if old := p.oldExchangers(); len(old) > 0 {
			p.add(plan.Step{Address: address + "/old", Phase: plan.Validate, Action: plan.Check, From: old, To: p.m.Validation.Sampled(), Undo: plan.NoneNeeded})
		}
		for _, d := range p.m.Domains {
			p.outbound(probe, d)
		}
	}
}

// oldExchangers are the MX records that the flip takes away, of domains whose source may be probed.
func (p *planner) oldExchangers() []string {
	var list []string
	for _, d := range p.m.Domains {
		for _, s := range p.steps {
			if s.Phase == plan.Flip && s.Address == "dns/"+d.Name+"/MX/@" && p.probedSource(d.Name) {
				for _, line := range s.From {
					if _, mx, ok := strings.Cut(line, " MX "); ok {
						list = append(list, d.Name+" MX "+mx)
					}
				}
			}
		}
	}
	return sorted(list)
}

// probedSource reports whether any mailbox of the domain leaves a host that probes may be sent to.
func (p *planner) probedSource(domain string) bool {
	for _, m := range p.open() {
		if host, ok := p.m.Source(m.From); ok && domainOf(m.Source) == domain && host.SMTPProbe != "off" {
			return true
		}
	}
	return false
}

// outbound plans a message from the domain to the outside account. Where nothing of the
// configuration can send as one of its mailboxes, a person does.
func (p *planner) outbound(probe plan.Probe, d plan.Domain) {
	host, ok := p.m.Target(d.Mail)
	people := false
	for _, m := range p.open() {
		people = people || m.On == d.Mail && domainOf(m.Target) == d.Name
	}
	if !ok || !people {
		return
	}
	s := plan.Step{Address: "validate/probe/" + probe.Name + "/outbound/" + d.Name, Phase: plan.Validate, Action: plan.Check, From: []string{d.Name + " at " + d.Mail}, To: sorted(probe.Expect), Undo: plan.NoneNeeded}
	if host.Submission == "" {
		if len(probe.Expect) == 0 {
			return
		}
		s.Action = plan.ByHand
		s.Detail = []string{
			fmt.Sprintf("mxodus can't send as a mailbox of %s: the target has no submission server that takes its passwords", d.Name),
			fmt.Sprintf("from any mailbox of %s at %s, send a mail to %s with this subject: mxodus probe %s", d.Name, hostLine(host), probe.Address(), plan.ProbeToken(p.inv.Lineage, probe.Name, d.Name)),
			"proof: it arrives there, its receiver says " + strings.Join(sorted(probe.Expect), ", ") + ", and its DKIM signature holds",
		}
	}
	p.add(s)
}
