package planner

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
)

// check looks at what was observed and wanted, before anything is planned.
func (z *zonePlan) check() {
	d := z.domain
	mx := false
	named := map[string]bool{}
	for _, r := range z.records() {
		named[r.Name] = named[r.Name] || r.Type == "MX"
		mx = mx || r.Type == "MX" && r.Name == "@"
	}
	if !mx {
		z.find(plan.Finding{
			Check: "mx_not_planned", Severity: plan.Warns, Subject: d.Name,
			Summary: fmt.Sprintf("the configuration names no MX record for %s, so its mail goes where it goes today", d.Name),
			Remedy:  "add record \"MX\" \"@\" with at = phase.flip to the domain, or change the MX yourself", Pos: d.Pos,
		})
	}
	if d.TTLDuring >= d.TTLRestore {
		z.find(plan.Finding{
			Check: "ttl_not_lower", Severity: plan.Warns, Subject: d.Name,
			Summary: fmt.Sprintf("the TTL during the flip (%s) is not lower than the one after it (%s)", plan.FormatDuration(d.TTLDuring), plan.FormatDuration(d.TTLRestore)),
			Remedy:  "choose a smaller ttl.during: it is how long going back would take", Pos: d.Pos,
		})
	}
	if !z.seen.Complete {
		return
	}
	for _, s := range z.seen.Sets {
		name, ok := relative(s.Name, d.Name)
		if _, other := z.m.Domain(strings.TrimSuffix(s.Name, ".")); !ok || other || s.Type != "MX" || name == "@" || named[name] {
			continue
		}
		z.find(plan.Finding{
			Check: "unmanaged_mx", Severity: plan.Warns, Subject: strings.TrimSuffix(s.Name, "."),
			Summary: fmt.Sprintf("%s has an MX of its own that the configuration doesn't name: it stays as it is", strings.TrimSuffix(s.Name, ".")),
			Detail:  s.Lines(),
			Remedy:  "name it as a record if its mail moves too, and move it before the source is closed", Pos: d.Pos,
		})
	}
}

// checkResult looks at what the plan makes of the zone.
func (z *zonePlan) checkResult() {
	d := z.domain
	deletes := 0
	for _, c := range z.changes {
		if len(c.new) == 0 {
			deletes++
		}
		switch {
		case c.typ == "MX" && c.phase == plan.Flip:
			z.checkMX(c)
		case c.typ == "TXT" && !c.retire:
			z.checkSPF(c.key, c.new, plan.Blocks)
		}
	}
	if apex := (key{"TXT", "@"}); !z.changed(apex) {
		z.checkSPF(apex, z.now[apex], plan.Warns)
	}
	if zone, ok := z.m.Zone(d.Zone); ok && zone.MaxDeletes >= 0 && deletes > zone.MaxDeletes {
		z.find(plan.Finding{
			Check: "max_deletes", Severity: plan.Blocks, Subject: d.Name,
			Summary: fmt.Sprintf("the plan deletes %d record sets of %s, and safety.max_deletes allows %d", deletes, d.Name, zone.MaxDeletes),
			Remedy:  "see that the deletions are meant, then raise max_deletes", Pos: zone.Pos,
		})
	}
}

func mxHost(data string) string { return data[strings.LastIndexByte(data, ' ')+1:] }

func mxHosts(data []string) []string {
	var list []string
	for _, d := range data {
		list = append(list, mxHost(d))
	}
	return normal(list)
}

func (z *zonePlan) checkMX(c change) {
	hosts, old := mxHosts(c.new), mxHosts(c.old)
	name := recordName(z.domain, c.key)
	if slices.Contains(hosts, ".") {
		summary := "the new MX says that the domain takes no mail at all (RFC 7505)"
		if len(hosts) > 1 {
			summary = "the new MX set names hosts and, beside them, says that the domain takes no mail (RFC 7505 §3)"
		}
		z.find(plan.Finding{
			Check: "null_mx", Severity: plan.Blocks, Subject: name, Summary: summary,
			Remedy: "name the target's hosts only", Pos: z.domain.Pos,
		})
	}
	var left []string
	for _, h := range hosts {
		if slices.Contains(old, h) && h != "." {
			left = append(left, h)
		}
	}
	if len(left) > 0 && !slices.Equal(hosts, old) {
		z.find(plan.Finding{
			Check: "mx_left_beside", Severity: plan.Blocks, Subject: name,
			Summary: "the new MX set keeps a host of the old one, so some mail would go on to the source", Detail: left,
			Remedy: "name the target's hosts only: the hold fetches what still reaches the source", Pos: z.domain.Pos,
		})
	}
}

func (z *zonePlan) checkSPF(k key, data []string, severity plan.Severity) {
	texts := spfTexts(data)
	if len(texts) > 1 {
		z.find(plan.Finding{
			Check: "spf_single", Severity: severity, Subject: recordName(z.domain, k),
			Summary: fmt.Sprintf("there would be %d SPF records, and receivers take more than one as an error (RFC 7208 §4.5)", len(texts)), Detail: texts,
			Remedy: "own the SPF string with match = \"v=spf1\", so that the new one replaces the old", Pos: z.domain.Pos,
		})
	}
	for _, t := range texts {
		if n := spfLookups(t); n > 10 {
			z.find(plan.Finding{
				Check: "spf_lookups", Severity: severity, Subject: recordName(z.domain, k),
				Summary: fmt.Sprintf("the SPF record asks for %d look-ups by itself, and receivers stop at 10 (RFC 7208 §4.6.4)", n), Detail: []string{t},
				Remedy: "leave out includes that nobody sends through, or write out their networks", Pos: z.domain.Pos,
			})
		}
	}
}
