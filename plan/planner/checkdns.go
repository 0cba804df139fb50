package planner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/plan/mailrecords"
	"github.com/mxodus/mxodus/plan/spf"
)

// domainChecks ask one question each about a domain, once its changes are
// known. An answer is what stands against it, or else in words what holds;
// neither means that the question doesn't arise here.
var domainChecks = []struct {
	name string
	ask  func(*zonePlan) (against []plan.Finding, holds string)
}{
	{"mx_not_planned", (*zonePlan).mxPlanned},
	{"null_mx", (*zonePlan).nullMX},
	{"mx_left_beside", (*zonePlan).mxLeftBeside},
	{"unmanaged_mx", (*zonePlan).unmanagedMX},
	{"spf_single", (*zonePlan).spfSingle},
	{"spf_lookups", (*zonePlan).spfFew},
	{"dmarc_cname", (*zonePlan).dmarcCNAME},
	{"mta_sts", (*zonePlan).mtaSTS},
	{"dnssec", (*zonePlan).dnssec},
	{"ttl_not_lower", (*zonePlan).ttlLower},
	{"ttl_limits", (*zonePlan).ttlServed},
	{"max_deletes", (*zonePlan).maxDeletes},
	{"values_known", (*zonePlan).valuesKnown},
	{"others_stay", (*zonePlan).othersStay},
}

func (z *zonePlan) check() {
	for _, c := range domainChecks {
		against, holds := c.ask(z)
		if len(against) == 0 && holds != "" {
			against = []plan.Finding{{Severity: plan.Passes, Summary: holds}}
		}
		for _, f := range against {
			f.Check = c.name
			if f.Subject == "" {
				f.Subject = z.domain.Name
			}
			if f.Pos == (plan.Pos{}) {
				f.Pos = z.domain.Pos
			}
			z.find(f)
		}
	}
}

// mxPlanned: does the mail go anywhere else after the flip?
func (z *zonePlan) mxPlanned() ([]plan.Finding, string) {
	if slices.ContainsFunc(z.records(), func(r plan.Record) bool { return r.Type == "MX" && r.Name == "@" }) {
		return nil, ""
	}
	return []plan.Finding{{
		Severity: plan.Warns,
		Summary:  fmt.Sprintf("the configuration names no MX record for %s, so its mail goes where it goes today", z.domain.Name),
		Remedy:   "add record \"MX\" \"@\" with at = phase.flip to the domain, or change the MX yourself",
	}}, ""
}

// flippedMX are the changes of MX sets in the flip.
func (z *zonePlan) flippedMX() []change {
	return slices.DeleteFunc(slices.Clone(z.changes), func(c change) bool { return c.typ != "MX" || c.phase != plan.Flip })
}

func mxHost(data string) string { return data[strings.LastIndexByte(data, ' ')+1:] }

func mxHosts(data []string) []string {
	var list []string
	for _, d := range data {
		if d != plan.KnownAfterProvision {
			list = append(list, mxHost(d))
		}
	}
	return normal(list)
}

// nullMX: does the new MX say that the domain takes no mail (RFC 7505)?
func (z *zonePlan) nullMX() (against []plan.Finding, holds string) {
	for _, c := range z.flippedMX() {
		hosts := mxHosts(c.new)
		holds = "the new MX names hosts that take mail, not the null MX"
		if !slices.Contains(hosts, ".") {
			continue
		}
		summary := "the new MX says that the domain takes no mail at all (RFC 7505)"
		if len(hosts) > 1 {
			summary = "the new MX set names hosts and, beside them, says that the domain takes no mail (RFC 7505 §3)"
		}
		against = append(against, plan.Finding{
			Severity: plan.Blocks, Subject: recordName(z.domain, c.key), Summary: summary, Remedy: "name the target's hosts only",
		})
	}
	return against, holds
}

// mxLeftBeside: would some senders go on to the source after the flip?
func (z *zonePlan) mxLeftBeside() (against []plan.Finding, holds string) {
	for _, c := range z.flippedMX() {
		hosts, old := mxHosts(c.new), mxHosts(c.old)
		holds = "no host of the old MX is left beside the new one"
		left := slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return h == "." || !slices.Contains(old, h) })
		if len(left) == 0 || slices.Equal(hosts, old) {
			continue
		}
		against = append(against, plan.Finding{
			Severity: plan.Blocks, Subject: recordName(z.domain, c.key), Detail: left,
			Summary: "the new MX set keeps a host of the old one, so some mail would go on to the source",
			Remedy:  "name the target's hosts only: the hold fetches what still reaches the source",
		})
	}
	return against, holds
}

// unmanagedMX: does a name below the domain have mail of its own?
func (z *zonePlan) unmanagedMX() (against []plan.Finding, holds string) {
	if !z.seen.Complete {
		return nil, "" // nobody can tell
	}
	for _, s := range z.seen.Sets {
		name, ok := relative(s.Name, z.domain.Name)
		_, other := z.m.Domain(strings.TrimSuffix(s.Name, "."))
		named := slices.ContainsFunc(z.records(), func(r plan.Record) bool { return r.Type == "MX" && r.Name == name })
		if !ok || other || s.Type != "MX" || name == "@" || named {
			continue
		}
		against = append(against, plan.Finding{
			Severity: plan.Warns, Subject: strings.TrimSuffix(s.Name, "."), Detail: s.Lines(),
			Summary: fmt.Sprintf("%s has an MX of its own that the configuration doesn't name: it stays as it is", strings.TrimSuffix(s.Name, ".")),
			Remedy:  "name it as a record if its mail moves too, and move it before the source is closed",
		})
	}
	return against, "no name below " + z.domain.Name + " has mail of its own that is not named here"
}

// spfSets are the TXT sets whose SPF record the world will see: those that the
// plan changes, and the domain's own. What is there already only warns.
func (z *zonePlan) spfSets(ask func(k key, texts []string, severity plan.Severity)) {
	for _, c := range z.changes {
		if c.typ == "TXT" && !c.retire {
			ask(c.key, spfTexts(c.new), plan.Blocks)
		}
	}
	if apex := (key{"TXT", "@"}); !z.changed(apex) {
		ask(apex, spfTexts(z.now[apex]), plan.Warns)
	}
}

// spfSingle: would receivers find more than one SPF record?
func (z *zonePlan) spfSingle() (against []plan.Finding, holds string) {
	z.spfSets(func(k key, texts []string, severity plan.Severity) {
		switch {
		case len(texts) == 1:
			holds = "there is one SPF record"
		case len(texts) > 1:
			against = append(against, plan.Finding{
				Severity: severity, Subject: recordName(z.domain, k), Detail: texts,
				Summary: fmt.Sprintf("there would be %d SPF records, and receivers take more than one as an error (RFC 7208 §4.5)", len(texts)),
				Remedy:  "own the SPF string with match = \"v=spf1\", so that the new one replaces the old",
			})
		}
	})
	return against, holds
}

// spfFew: does the SPF record ask more of receivers than they do?
func (z *zonePlan) spfFew() (against []plan.Finding, holds string) {
	z.spfSets(func(k key, texts []string, severity plan.Severity) {
		for _, t := range texts {
			n, whole := spf.Lookups(t, z.seen.SPFRecord)
			if n <= spf.Limit {
				holds = fmt.Sprintf("the SPF record costs receivers %d of the %d look-ups that they do", n, spf.Limit)
				if !whole {
					holds += ", not counting includes that discover could not follow"
				}
				continue
			}
			against = append(against, plan.Finding{
				Severity: severity, Subject: recordName(z.domain, k), Detail: []string{t},
				Summary: fmt.Sprintf("the SPF record costs receivers %d look-ups with all that it includes, and they stop at %d (RFC 7208 §4.6.4)", n, spf.Limit),
				Remedy:  "leave out includes that nobody sends through, or write out their networks",
			})
		}
	})
	return against, holds
}

// dmarcCNAME: is the DMARC policy somebody else's?
func (z *zonePlan) dmarcCNAME() ([]plan.Finding, string) {
	alias := z.now[key{"CNAME", "_dmarc"}]
	if len(alias) == 0 {
		if len(z.now[key{"TXT", "_dmarc"}]) > 0 {
			return nil, "the DMARC policy is a record of the domain's own"
		}
		return nil, ""
	}
	policy := cmp.Or(z.seen.DMARC, "v=DMARC1; p=none")
	return []plan.Finding{{
		Severity: plan.Warns, Subject: recordName(z.domain, key{"CNAME", "_dmarc"}), Detail: alias,
		Summary: "the DMARC policy is a CNAME to somebody else's: no record of the domain's own can stand beside it (RFC 1034 §3.6.2), and it may go when that contract ends",
		Remedy:  fmt.Sprintf("replace it with record \"TXT\" \"_dmarc\" { at = phase.provision, values = [%q] }, without keep", policy),
	}}, ""
}

// mtaSTS: do senders hold a policy that names the old MX?
func (z *zonePlan) mtaSTS() ([]plan.Finding, string) {
	moved := z.flippedMX()
	if len(moved) == 0 {
		return nil, ""
	}
	record := append(slices.Clone(z.now[key{"TXT", "_mta-sts"}]), z.now[key{"CNAME", "_mta-sts"}]...)
	sts := z.seen.STS
	f := plan.Finding{Severity: plan.Warns, Subject: "_mta-sts." + z.domain.Name, Detail: record}
	remedy := fmt.Sprintf("list old and new MX in https://mta-sts.%s/.well-known/mta-sts.txt and give the record a new id, or set mode testing", z.domain.Name)
	switch left := z.refusedBySTS(moved); {
	case sts.Mode == "" && len(record) == 0:
		return nil, "no MTA-STS policy names the old MX"
	case sts.Mode == "":
		f.Summary = "senders hold an MTA-STS policy that names the old MX; in mode enforce they refuse the new one until they have fetched a new policy (RFC 8461 §5)"
		f.Remedy = "before the flip, earlier than the policy's max_age: " + remedy
	case len(left) == 0:
		return nil, fmt.Sprintf("the MTA-STS policy, in mode %s, keeps nobody from the new MX", sts.Mode)
	case sts.Mode == "enforce":
		f.Detail = left
		f.Summary = fmt.Sprintf("senders that know the MTA-STS policy %s refuse the new MX (RFC 8461 §5): the flip waits until the policy lists it and the old one has run out, %s later", sts.ID, plan.FormatDuration(sts.MaxAge))
		f.Remedy = fmt.Sprintf("at the latest %s before the flip: %s", plan.FormatDuration(sts.MaxAge), remedy)
	default:
		f.Detail = left
		f.Summary = fmt.Sprintf("the MTA-STS policy %s, in mode %s, does not list the new MX", sts.ID, sts.Mode)
		f.Remedy = remedy
	}
	return []plan.Finding{f}, ""
}

// refusedBySTS are the hosts of the new MX that the policy which was seen doesn't list.
func (z *zonePlan) refusedBySTS(moved []change) []string {
	if z.seen.STS.Mode == "none" {
		return nil
	}
	rule := mailrecords.Policy{MX: z.seen.STS.MX}
	var left []string
	for _, c := range moved {
		for _, host := range mxHosts(c.new) {
			if c.name == "@" && host != "." && !rule.Allows(host) {
				left = append(left, strings.TrimSuffix(host, "."))
			}
		}
	}
	return normal(left)
}

// dnssec: does a change have to be signed, and does the chain hold today?
func (z *zonePlan) dnssec() ([]plan.Finding, string) {
	if len(z.changes) == 0 || len(z.seen.Servers) == 0 {
		return nil, ""
	}
	f := plan.Finding{Severity: plan.Warns}
	switch {
	case z.seen.Chain == inventory.ChainOrphan:
		f.Summary = "the parent has a DS, and the zone is not signed: for resolvers that validate, the domain does not exist (RFC 4035 §5)"
		f.Remedy = "have the registrar take the DS out, or sign the zone; the flip waits for it"
	case z.seen.Chain == inventory.ChainBroken:
		f.Summary = "the chain of DNSSEC signatures does not hold: a resolver that validates refuses the domain (RFC 4035 §5)"
		f.Remedy = "see that the DS fits the zone's keys and that signatures have not run out; the flip waits for it"
	case !z.seen.Signed:
		return nil, "the zone is not signed, so no signature has to follow a change"
	case z.seen.Chain == inventory.ChainNone:
		return nil, "the zone is signed, and without a DS at the parent nobody validates it"
	default:
		f.Summary = "the zone is signed with DNSSEC: where a change is not signed with it, validating resolvers see the name no more (RFC 4035 §5)"
		if z.seen.Chain == inventory.ChainValid {
			f.Summary = "the zone is signed with DNSSEC and its chain holds: where a change is not signed with it, validating resolvers see the name no more (RFC 4035 §5)"
		}
		f.Remedy = "see that the primary signs what it is sent (inline signing), and that the DS at the registry stays as it is"
	}
	return []plan.Finding{f}, ""
}

// ttlLower: is the way back quick?
func (z *zonePlan) ttlLower() ([]plan.Finding, string) {
	d := z.domain
	if d.TTLDuring < d.TTLRestore {
		return nil, "going back takes " + plan.FormatDuration(d.TTLDuring) + " after the flip"
	}
	return []plan.Finding{{
		Severity: plan.Warns,
		Summary:  fmt.Sprintf("the TTL during the flip (%s) is not lower than the one after it (%s)", plan.FormatDuration(d.TTLDuring), plan.FormatDuration(d.TTLRestore)),
		Remedy:   "choose a smaller ttl.during: it is how long going back would take",
	}}, ""
}

// ttlServed: does the zone's host take the TTLs that are wanted?
func (z *zonePlan) ttlServed() (against []plan.Finding, holds string) {
	if z.seen.TTL != (plan.TTLLimits{}) {
		holds = "the zone's host takes the TTLs that are wanted"
	}
	for _, r := range z.seen.TTL.Refuse(z.domain) {
		against = append(against, plan.Finding{
			Severity: plan.Blocks, Subject: r.Subject, Pos: r.Pos,
			Summary: r.Subject + ": " + r.Words,
			Remedy:  "choose a TTL that the host takes",
		})
	}
	return against, holds
}

// maxDeletes: does the plan delete more than somebody allowed?
func (z *zonePlan) maxDeletes() ([]plan.Finding, string) {
	deletes := 0
	for _, c := range z.changes {
		if len(c.new) == 0 {
			deletes++
		}
	}
	zone, ok := z.m.Zone(z.domain.Zone)
	if !ok || zone.MaxDeletes < 0 || deletes <= zone.MaxDeletes {
		return nil, ""
	}
	return []plan.Finding{{
		Severity: plan.Blocks, Pos: zone.Pos,
		Summary: fmt.Sprintf("the plan deletes %d record sets of %s, and safety.max_deletes allows %d", deletes, z.domain.Name, zone.MaxDeletes),
		Remedy:  "see that the deletions are meant, then raise max_deletes",
	}}, ""
}

// valuesKnown: does the plan say all that would be published?
func (z *zonePlan) valuesKnown() ([]plan.Finding, string) {
	f := plan.Finding{Severity: plan.Blocks, Remedy: "apply the provision phase, then plan again: the next plan names them, and is reviewed before anything is published"}
	for _, c := range z.changes {
		if slices.Contains(c.new, plan.KnownAfterProvision) {
			f.Detail = append(f.Detail, recordName(z.domain, c.key))
		}
	}
	f.Detail = normal(f.Detail)
	switch len(f.Detail) {
	case 0:
		return nil, ""
	case 1:
		f.Summary = "the target has not yet named 1 record set that it asks for"
	default:
		f.Summary = fmt.Sprintf("the target has not yet named %d record sets that it asks for", len(f.Detail))
	}
	return []plan.Finding{f}, ""
}

// othersStay: what of the zone is left alone?
func (z *zonePlan) othersStay() ([]plan.Finding, string) {
	n := 0
	for _, s := range z.seen.Sets {
		if name, ok := relative(s.Name, z.domain.Name); ok && !z.changed(key{s.Type, name}) {
			n++
		}
	}
	switch {
	case !z.seen.Complete || n == 0 || len(z.changes) == 0:
		return nil, ""
	case n == 1:
		return nil, "1 other record set is not named here and stays as it is"
	}
	return nil, fmt.Sprintf("%d other record sets are not named here and stay as they are", n)
}
