package planner

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
)

// checkLicenses asks, at each target with a directory, whether those who get a
// licence can have one, and whether everybody who needs one gets it.
func (p *planner) checkLicenses() {
	for _, host := range p.m.Targets {
		if dir, known := p.inv.Directory(host.Key()); directories[host.Kind] && known {
			p.licensesEnough(dir)
		}
	}
	for _, m := range p.open() {
		if p.hasDirectory(m.On) && m.Kind != plan.SharedMailbox {
			p.licensed(m)
		}
	}
}

func (p *planner) licensesEnough(dir inventory.Directory) {
	need := map[string][]string{}
	pos := map[string]plan.Pos{}
	for _, m := range p.open() {
		seen, _ := p.inv.Target(m.On, m.Target)
		if m.On == dir.Host && m.License != "" && !slices.Contains(seen.Licenses, m.License) && !slices.Contains(need[m.License], m.Target) {
			need[m.License] = append(need[m.License], m.Target)
			pos[m.License] = m.Pos
		}
	}
	var names []string
	for _, l := range dir.Licenses {
		names = append(names, l.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(need)) {
		f := plan.Finding{Check: "licenses_enough", Severity: plan.Passes, Subject: name, Pos: pos[name]}
		l, there := dir.License(name)
		wanted := len(need[name])
		switch {
		case !there:
			f.Severity = plan.Blocks
			f.Summary = fmt.Sprintf("%s has no licence %s, and %s shall have it", dir.Host, name, users(wanted))
			f.Detail = sorted(names)
			f.Remedy = "write the name of a licence that the tenant has (they are listed here), or buy this one"
		case l.Free < wanted:
			f.Severity = plan.Blocks
			f.Summary = fmt.Sprintf("%s more need %s, and %s has %d left", users(wanted), name, dir.Host, max(l.Free, 0))
			f.Remedy = fmt.Sprintf("buy %d more, then discover and plan again", wanted-max(l.Free, 0))
		default:
			f.Summary = fmt.Sprintf("%s more need %s, and %s has %d left", users(wanted), name, dir.Host, l.Free)
		}
		p.find(f)
	}
}

func users(n int) string {
	if n == 1 {
		return "1 user"
	}
	return fmt.Sprintf("%d users", n)
}

// licensed: a user without a licence has no mailbox, and one without a country
// can have no licence.
func (p *planner) licensed(m plan.Mailbox) {
	seen, _ := p.inv.Target(m.On, m.Target)
	switch {
	case m.License == "" && len(seen.Licenses) == 0:
		p.find(plan.Finding{
			Check: "license_named", Severity: plan.Blocks, Subject: m.Target, Pos: m.Pos,
			Summary: fmt.Sprintf("%s has no licence at %s and the configuration names none, so there would be no mailbox", m.Target, m.On),
			Remedy:  "give the mailbox a license, or make it a shared_mailbox",
		})
	case m.License != "" && !slices.Contains(seen.Licenses, m.License) && m.UsageLocation == "" && seen.UsageLocation == "":
		p.find(plan.Finding{
			Check: "usage_location_named", Severity: plan.Blocks, Subject: m.Target, Pos: m.Pos,
			Summary: fmt.Sprintf("%s has no usage location, and without one %s gives no licence", m.Target, m.On),
			Remedy:  "give the mailbox a usage_location such as \"DE\"",
		})
	}
}

// checkCatchAll tells what becomes of a catch-all mailbox where the target has
// no such thing.
func (p *planner) checkCatchAll() {
	for _, m := range p.open() {
		if m.Kind != plan.CatchAllMailbox || !p.hasDirectory(m.On) {
			continue
		}
		p.find(plan.Finding{
			Check: "catch_all", Severity: plan.Warns, Subject: m.Source, Pos: m.Pos,
			Summary: fmt.Sprintf("%s has no catch-all mailboxes: %s gets the mail that nobody else gets by a rule, for which %s has to take mail for every name as an internal relay", m.On, m.Target, domainOf(m.Target)),
			Remedy:  "where you can, give every address that still gets mail an alias instead, and make the mailbox an ordinary one",
		})
	}
}

// largestAt is what a kind of target can be set to take at most, in octets.
var largestAt = map[string]int64{"microsoft365": 150 << 20}

// checkLimits finds sizes of message that a target can't be raised to.
func (p *planner) checkLimits() {
	for _, host := range p.m.Targets {
		if most := largestAt[host.Kind]; most > 0 && host.Oversize.Limit > most {
			p.find(plan.Finding{
				Check: "oversize_limit", Severity: plan.Blocks, Subject: host.Key(), Pos: host.Pos,
				Summary: fmt.Sprintf("%s takes messages of %s at most, and oversize.limit is %s", host.Key(), mega(most), mega(host.Oversize.Limit)),
				Remedy:  fmt.Sprintf("set oversize.limit to %dMB or less: larger messages are quarantined", most>>20),
			})
		}
	}
}

// messageLimits are the largest messages that mailboxes of a kind take where
// nothing else is said, in octets.
var messageLimits = map[string]int64{"microsoft365": 35 << 20, "google_workspace": 35_651_584}

// Outlook holds the figures of the day against what the targets take: messages
// that are too large and mailboxes that are too full. The figures change while
// mail comes in, so these findings are shown beside a plan and are no part
// of it. est may be nil: then there are none.
func Outlook(m *plan.Migration, inv *inventory.Inventory, est *inventory.Estimates) []plan.Finding {
	if est == nil {
		return nil
	}
	p := &planner{m: m, inv: inv}
	p.oversize(est)
	p.overQuota(est)
	return sortFindings(p.findings)
}

func (p *planner) oversize(est *inventory.Estimates) {
	for _, host := range p.m.Targets {
		limit := host.Oversize.Limit
		for _, l := range []int64{host.Limits.MaxMessageSize, messageLimits[host.Kind]} {
			if limit == 0 {
				limit = l
			}
		}
		if limit == 0 {
			continue // the server says, when it is asked
		}
		f := plan.Finding{Check: "oversize_messages", Severity: plan.Passes, Subject: host.Key(), Pos: host.Pos}
		measured := false
		for _, m := range p.open() {
			e, ok := est.Mailboxes[m.Source]
			if m.On != host.Key() || !ok || e.Largest < 0 {
				continue
			}
			measured = true
			if e.Largest > limit {
				f.Detail = append(f.Detail, fmt.Sprintf("%s: the largest has %s", m.Source, mega(e.Largest)))
			}
		}
		switch {
		case !measured:
			continue
		case len(f.Detail) > 0:
			f.Severity = plan.Warns
			f.Summary = fmt.Sprintf("in %s messages are larger than the %s that %s takes: they will be quarantined as .eml, not copied", boxes(len(f.Detail)), mega(limit), host.Key())
			f.Remedy = "raise the limit at the target and say so with oversize.limit, or tell the owners: the report lists each message"
		default:
			f.Summary = fmt.Sprintf("no message is larger than the %s that %s takes", mega(limit), host.Key())
		}
		p.find(f)
	}
}

func (p *planner) overQuota(est *inventory.Estimates) {
	size := map[string]int64{}
	quota := map[string]int64{}
	var order []plan.Mailbox
	for _, m := range p.open() {
		dir, _ := p.inv.Directory(m.On)
		l, _ := dir.License(m.License)
		e, ok := est.Mailboxes[m.Source]
		if l.Quota == 0 || !ok || e.Octets < 0 {
			continue
		}
		at := m.On + "\n" + strings.ToLower(m.Target)
		if quota[at] == 0 {
			order = append(order, m)
		}
		quota[at], size[at] = l.Quota, size[at]+e.Octets
	}
	for _, m := range order {
		if at := m.On + "\n" + strings.ToLower(m.Target); size[at] > quota[at] {
			p.find(plan.Finding{
				Check: "over_quota", Severity: plan.Warns, Subject: m.Target, Pos: m.Pos,
				Summary: fmt.Sprintf("%s holds %s, and a mailbox with %s takes %s: the copy would stop when it is full", m.Source, mega(size[at]), m.License, mega(quota[at])),
				Remedy:  "give it a larger licence, or leave folders out with folders.exclude",
			})
		}
	}
}

func boxes(n int) string {
	if n == 1 {
		return "1 mailbox"
	}
	return fmt.Sprintf("%d mailboxes", n)
}

// mega writes octets as limits are written in the configuration: in powers of 1024.
func mega(octets int64) string {
	switch {
	case octets >= 1<<30:
		return fmt.Sprintf("%.1f GB", float64(octets)/(1<<30))
	case octets >= 1<<20:
		return fmt.Sprintf("%.0f MB", float64(octets)/(1<<20))
	}
	return fmt.Sprintf("%.0f KB", float64(octets)/(1<<10))
}
