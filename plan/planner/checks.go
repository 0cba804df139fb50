package planner

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
)

// checkAddresses looks for addresses that get mail today and have no home at
// the target: those that messages name, and those of the mailboxes themselves.
func (p *planner) checkAddresses() {
	homes := map[string]bool{}
	catchAll := map[string]string{}
	for _, m := range p.m.Mailboxes {
		homes[strings.ToLower(m.Target)] = true
		if m.Kind == plan.CatchAllMailbox {
			if d := domainOf(m.Target); catchAll[d] == "" || m.Target < catchAll[d] {
				catchAll[d] = m.Target
			}
		}
	}
	for _, a := range p.m.Aliases {
		homes[strings.ToLower(a.Address)] = true
	}
	for _, l := range p.m.Lists {
		homes[strings.ToLower(l.Address)] = true
	}
	for _, f := range p.m.Forwarders {
		homes[strings.ToLower(f.Address)] = true
	}
	seen := slices.Clone(p.inv.Recipients)
	for _, m := range p.m.Mailboxes {
		seen = append(seen, m.Source)
	}
	for i := range seen {
		seen[i] = strings.ToLower(seen[i])
	}
	slices.Sort(seen)
	seen = slices.Compact(seen)
	for _, d := range p.m.Domains {
		p.checkHomes(d, seen, homes, catchAll[d.Name])
	}
}

func (p *planner) checkHomes(d plan.Domain, seen []string, homes map[string]bool, catchAll string) {
	f := plan.Finding{Check: "every_address_exists_at_target", Severity: plan.Passes, Subject: d.Name, Pos: d.Pos}
	if catchAll != "" {
		f.Summary = fmt.Sprintf("%s takes the mail of every address of %s that has no other home", catchAll, d.Name)
		p.find(f)
		return
	}
	for _, a := range seen {
		ignored := slices.ContainsFunc(d.IgnoreAddresses, func(i string) bool { return strings.EqualFold(i, a) })
		if domainOf(a) == d.Name && !homes[a] && !ignored {
			f.Detail = append(f.Detail, a)
		}
	}
	if len(f.Detail) == 0 {
		f.Summary = "every address of " + d.Name + " that messages name has a home at the target"
		p.find(f)
		return
	}
	f.Severity = plan.Blocks
	f.Summary = fmt.Sprintf("%d addresses of %s got mail and have no home at the target", len(f.Detail), d.Name)
	if len(f.Detail) == 1 {
		f.Summary = fmt.Sprintf("1 address of %s got mail and has no home at the target", d.Name)
	}
	f.Remedy = fmt.Sprintf("add a mailbox, alias, list or forwarder for each, or name them in ignore_addresses of domain %q", d.Name)
	p.find(f)
}

func domainOf(address string) string {
	return strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
}

// checkTimes warns where the schedule lowers TTLs too late for its own cutover.
func (p *planner) checkTimes() {
	start := p.m.Window(plan.LowerTTL).Start
	flip := p.m.Window(plan.Flip).Start
	if start.Anchor != plan.AnchorCutover || flip.Anchor != plan.AnchorCutover {
		return
	}
	room := flip.Offset - start.Offset
	var longest time.Duration
	var late []string
	for _, s := range p.steps {
		if s.Phase == plan.LowerTTL && s.Settle > room {
			longest = max(longest, s.Settle)
			late = append(late, fmt.Sprintf("%s is kept for %s", strings.TrimSuffix(strings.TrimPrefix(s.Address, "dns/"), "/ttl"), plan.FormatDuration(s.Settle)))
		}
	}
	if len(late) == 0 {
		return
	}
	slices.Sort(late)
	p.find(plan.Finding{
		Check: "old_ttl_outlasts_cutover", Severity: plan.Warns, Subject: p.m.Name,
		Summary: fmt.Sprintf("lower_ttl begins %s before the flip, and an old TTL of %s has to run out: the flip will be late", plan.FormatDuration(room), plan.FormatDuration(longest)),
		Detail:  late,
		Remedy:  "start lower_ttl earlier, or move the cutover", Pos: p.m.Window(plan.LowerTTL).Pos,
	})
}
