package apply

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// Answer is what a check said: the evidence that an approval is bound to.
// Counts are kept out of it, so that the progress of a copy voids nothing.
type Answer struct {
	Check    plan.CheckRef
	OK       bool
	At       time.Time
	Detail   []string // what was found; for people
	Warnings []string // stable texts; a new one voids an approval
	Remedy   string
	Evidence []Sighting `json:",omitempty"` // who said what, when; no part of what an approval is bound to

	high []string // steps whose old TTL was seen again
}

// sameEvidence reports whether the answer is the one that the journal has.
func (a Answer) sameEvidence(o Answer) bool {
	return a.OK == o.OK && slices.Equal(a.Warnings, o.Warnings) && slices.Equal(a.Detail, o.Detail)
}

func (a *Answer) no(format string, args ...any) {
	a.OK = false
	a.Detail = append(a.Detail, fmt.Sprintf(format, args...))
}

func (a *Answer) warn(format string, args ...any) {
	a.Warnings = append(a.Warnings, fmt.Sprintf(format, args...))
}

// checkFunc answers one check. An answer it can't get is a no that says why.
type checkFunc func(ctx context.Context, e *Engine, a *Answer)

var checks = map[string]checkFunc{
	"every_address_exists_at_target": everyAddressExists,
	"bulk_copy_complete":             bulkCopyComplete,
	"old_ttl_expired_everywhere":     oldTTLExpired,
	"target_accepts_mail":            targetAcceptsMail,
	"rollback_plan_fresh":            rollbackPlanFresh,
	"no_stragglers_for":              noStragglersFor,
	"manifest_archived":              manifestArchived,
	"name_servers_agree":             nameServersAgree,
	"zone_as_planned":                zoneAsPlanned,
	"accounts_ready":                 accountsReady,
	"new_mx_sound":                   newMXSound,
	"spf_sound":                      spfSound,
	"dkim_keys_resolve":              dkimKeys,
	"dmarc_kept":                     dmarcKept,
	"mta_sts_allows_new_mx":          stsAllows,
	"tlsa_fits_new_mx":               tlsaFits,
	"autodiscover_leads_to_target":   autodiscoverLeads,
	"autodiscover_as_outlook":        autodiscoverAsOutlook,
	"dnssec_valid":                   dnssecValid,
	"clock_right":                    clockRight,
	"source_keeps_accepting":         sourceKeepsAccepting,
}

// CheckNames returns the names of all checks, sorted.
func CheckNames() []string {
	names := make([]string, 0, len(checks))
	for name := range checks {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Check answers one check now and journals nothing.
func (e *Engine) Check(ctx context.Context, ref plan.CheckRef) Answer {
	a := Answer{Check: ref, OK: true}
	run, ok := checks[ref.Name]
	if !ok {
		a.no("there is no check of that name; there are %s", strings.Join(CheckNames(), ", "))
	} else {
		run(ctx, e, &a)
	}
	a.At = e.Clock.Now()
	slices.Sort(a.Warnings)
	a.Warnings = slices.Compact(a.Warnings)
	return a
}

// everyAddressExists: each address that may get mail has a home at the target,
// by the plan's own findings and by asking who takes the mail.
func everyAddressExists(ctx context.Context, e *Engine, a *Answer) {
	a.Remedy = "create the address at the target, or name it in ignore_addresses, plan and review again"
	for _, f := range e.Plan.Findings {
		if f.Severity == plan.Blocks && f.Check == a.Check.Name {
			a.no("%s", f.Summary)
			a.Detail = append(a.Detail, f.Detail...)
		}
	}
	for _, host := range e.Migration.Targets {
		e.addressesAt(ctx, host, a)
	}
}

// addressesAt asks host for each address that the migration gives a home there.
func (e *Engine) addressesAt(ctx context.Context, host plan.Host, a *Answer) {
	type entry struct {
		address string
		mailbox *plan.Mailbox
	}
	var list []entry
	for i, m := range e.Migration.Mailboxes {
		if m.On == host.Key() {
			list = append(list, entry{m.Target, &e.Migration.Mailboxes[i]})
		}
	}
	for _, x := range e.Migration.Aliases {
		if x.On == host.Key() {
			list = append(list, entry{address: x.Address})
		}
	}
	for _, x := range e.Migration.Lists {
		if x.On == host.Key() {
			list = append(list, entry{address: x.Address})
		}
	}
	for _, x := range e.Migration.Forwarders {
		if x.On == host.Key() {
			list = append(list, entry{address: x.Address})
		}
	}
	parts := make([]Answer, len(list))
	atOnce(len(list), mailboxesAtOnce, func(i int) {
		parts[i].OK = true
		e.addressAt(ctx, host, list[i].address, list[i].mailbox, &parts[i])
	})
	for _, p := range parts {
		a.OK = a.OK && p.OK
		a.Detail, a.Warnings = append(a.Detail, p.Detail...), append(a.Warnings, p.Warnings...)
		if len(a.Evidence) < maxSightings {
			a.Evidence = append(a.Evidence, p.Evidence...)
		}
	}
}

// addressAt asks about one address; mailbox is nil for those that are none.
func (e *Engine) addressAt(ctx context.Context, host plan.Host, address string, mailbox *plan.Mailbox, a *Answer) {
	server, telling, why := e.exchanger(ctx, host, address)
	switch {
	case telling:
		ok, words, err := e.accepts(ctx, server, address)
		switch {
		case err != nil:
			a.no("%s: %s could not be asked: %v", address, server, err)
		case !ok:
			a.no("%s: %s does not take mail for it: %s", address, server, words)
		default:
			a.saw(e, server, "RCPT TO:<"+address+">", words)
		}
	case mailbox == nil && e.knownByDirectory(ctx, address, a):
	case mailbox == nil:
		if st := e.Record.State(byHandAddress(e.Plan, address)); st.How != "word" {
			a.warn("%s can't be asked for: %s", address, why)
		}
	default:
		if err := e.loginOnce(ctx, "target", *mailbox); err != nil {
			a.no("%s: %v", address, err)
		}
	}
}

// exchanger returns who can be asked by RCPT TO about address, and whether its
// answer tells anything: a server that takes a random name takes every name. It is asked
// once a round, elsewhere once a minute.
func (e *Engine) exchanger(ctx context.Context, host plan.Host, address string) (server string, telling bool, why string) {
	_, domain, _ := strings.Cut(address, "@")
	key := host.Key() + "\n" + domain
	if r, ok := ctx.Value(roundKey{}).(*round); ok {
		p, _ := r.takers.get(key, func() (probed, error) { return e.control(ctx, host, domain), nil })
		return p.server, p.telling, p.why
	}
	e.probeMu.Lock()
	p, ok := e.probed[key]
	e.probeMu.Unlock()
	if !ok || e.Clock.Now().Sub(p.at) >= time.Minute {
		p = e.control(ctx, host, domain)
		e.probeMu.Lock()
		if e.probed == nil {
			e.probed = map[string]probed{}
		}
		e.probed[key] = p
		e.probeMu.Unlock()
	}
	return p.server, p.telling, p.why
}

// control asks the exchanger of domain about a name that nobody has.
func (e *Engine) control(ctx context.Context, host plan.Host, domain string) probed {
	p := probed{at: e.Clock.Now()}
	switch servers := e.newExchangers(host, domain); {
	case host.SMTPProbe == "off":
		p.why = "smtp_probe is off"
	case len(servers) == 0:
		p.why = "the plan names no new MX for " + domain
	default:
		p.server = servers[0]
		taken, _, err := e.accepts(ctx, p.server, fmt.Sprintf("mxodus-%s@%s", e.token(), domain))
		switch {
		case err != nil:
			p.why = fmt.Sprintf("%s could not be asked: %v", p.server, err)
		case taken:
			p.why = p.server + " takes mail for every name"
		default:
			p.telling = true
		}
	}
	return p
}

// token is e.Random, for one caller at a time.
func (e *Engine) token() string {
	e.probeMu.Lock()
	defer e.probeMu.Unlock()
	return e.Random()
}

type probed struct {
	at      time.Time
	server  string
	telling bool
	why     string
}

// newExchangers is where the mail of domain will go: the configured probe
// address, or the hosts of the MX that the plan publishes, best first.
func (e *Engine) newExchangers(host plan.Host, domain string) []string {
	if host.SMTPProbe != "" && host.SMTPProbe != "off" {
		return []string{host.SMTPProbe}
	}
	s, ok := e.Plan.Step("dns/" + domain + "/MX/@")
	if !ok {
		return nil
	}
	set, err := plan.ParseRRset(domain+".", "MX", s.To)
	if err != nil {
		return nil
	}
	return mxHosts(set)
}

func bulkCopyComplete(_ context.Context, e *Engine, a *Answer) {
	a.Remedy = "run apply until every mailbox had a full pass; see mxodus status for the mailboxes that are behind"
	now := e.Clock.Now()
	for _, s := range e.Plan.Steps {
		if s.Phase != plan.BulkCopy || !isPass(s) {
			continue
		}
		st := e.Record.State(s.Address)
		switch {
		case st.Passes == 0:
			a.no("%s had no full pass yet", mailboxOf(s))
		case st.Result.Doubt > 0:
			a.no("%s has messages in doubt, which the next pass settles", mailboxOf(s))
		case now.Sub(st.LastPass) > copyAge:
			a.no("the last pass over %s is older than a day", mailboxOf(s))
		}
		if st.Result.Quarantined > 0 {
			a.warn("%s has messages in quarantine", mailboxOf(s))
		}
	}
}

func oldTTLExpired(ctx context.Context, e *Engine, a *Answer) {
	a.Remedy = "wait until the old TTL has run out everywhere; mxodus status says when"
	for _, s := range e.Plan.Steps {
		if s.Phase != plan.LowerTTL {
			continue
		}
		d, err := parseDNS(s.Address)
		if err != nil || e.Record.State(s.Address).Done.IsZero() {
			a.no("%s: the old TTL has not run out yet", s.Address)
			continue
		}
		want, err := plan.ParseRRset(d.fqdn(), d.typ, s.To)
		if err != nil {
			a.no("%s: %v", s.Address, err)
			continue
		}
		seen, err := e.survey(ctx, d, want, false)
		if err != nil {
			a.no("%s: %v", s.Address, err)
			continue
		}
		e.ttlsLow(s, want, seen, a)
	}
}

// ttlsLow holds every server against the low TTL. One that has served the old one again
// since has given it to caches: it runs out anew from there.
func (e *Engine) ttlsLow(s plan.Step, want plan.RRset, seen []ServerView, a *Answer) {
	now := e.Clock.Now()
	again := false
	for _, v := range seen {
		a.saw(e, v.Server, want.Name+" "+want.Type, listed(v.Lines))
		switch {
		case v.err != nil:
			a.no("%s: %s does not answer: %v", s.Address, v.Server, v.err)
		case !v.aa || v.rc != "NOERROR":
			a.no("%s: %s gives no authoritative answer (%s)", s.Address, v.Server, v.rc)
		case v.set.Exists() && v.set.TTL > want.TTL && e.Record.Flipped().IsZero():
			again = true
			a.no("%s: %s serves it with TTL %d again, wanted %d", s.Address, v.Server, v.set.TTL, want.TTL)
		}
	}
	if again {
		a.high = append(a.high, s.Address)
		return
	}
	if until := e.Record.State(s.Address).High.Add(s.Settle); now.Before(until) && e.Record.Flipped().IsZero() {
		a.no("%s: the old TTL was served again, and caches may keep it until %s", s.Address, until.UTC().Format(time.RFC3339))
	}
}

// targetAcceptsMail: the new MX names hosts that exist, are no aliases, and
// take mail for each domain's people.
func targetAcceptsMail(ctx context.Context, e *Engine, a *Answer) {
	a.Remedy = "see that the target's mail servers are reachable and know the domain, or set smtp_probe at the target"
	for _, d := range e.Migration.Domains {
		host, ok := e.Migration.Target(d.Mail)
		if !ok {
			continue
		}
		var people []plan.Mailbox
		for _, m := range e.Migration.Mailboxes {
			if _, domain, _ := strings.Cut(m.Target, "@"); domain == d.Name && m.On == host.Key() {
				people = append(people, m)
			}
		}
		if len(people) == 0 {
			continue
		}
		if host.SMTPProbe == "off" {
			if err := e.loginOnce(ctx, "target", people[0]); err != nil {
				a.no("%s: %v", people[0].Target, err)
			}
			continue
		}
		servers := e.newExchangers(host, d.Name)
		if len(servers) == 0 {
			continue // the plan doesn't move this domain's mail
		}
		var refusals []string
		for _, server := range servers {
			ok, words, err := e.accepts(ctx, server, people[0].Target)
			switch {
			case err != nil:
				refusals = append(refusals, fmt.Sprintf("%s: %v", server, err))
			case !ok:
				refusals = append(refusals, fmt.Sprintf("%s refuses %s: %s", server, people[0].Target, words))
			}
		}
		if len(refusals) == len(servers) {
			for _, r := range refusals {
				a.no("%s", r)
			}
		} else {
			for _, r := range refusals {
				a.warn("one of several mail exchangers: %s", r)
			}
		}
		e.noAliasMX(ctx, d, a)
	}
}

// noAliasMX refuses an MX host that is a CNAME (RFC 2181 §10.3). Only hosts
// inside the migrated zone can be asked at its own servers without risk.
func (e *Engine) noAliasMX(ctx context.Context, d plan.Domain, a *Answer) {
	s, ok := e.Plan.Step("dns/" + d.Name + "/MX/@")
	if !ok {
		return
	}
	set, err := plan.ParseRRset(d.Name+".", "MX", s.To)
	if err != nil {
		a.no("%s: %v", s.Address, err)
		return
	}
	zone, err := e.Systems.Zone(d.Name)
	if err != nil {
		a.no("%s: %v", d.Name, err)
		return
	}
	for _, server := range mxHosts(set) {
		name := strings.TrimSuffix(server, ":25") + "."
		if !strings.HasSuffix(name, "."+d.Name+".") {
			continue
		}
		if set, err := zone.Lookup(ctx, name, "CNAME"); err == nil && set.Exists() {
			a.no("the new MX host %s is an alias (RFC 2181 §10.3)", name)
		}
	}
}

func noStragglersFor(_ context.Context, e *Engine, a *Answer) {
	a.Remedy = "wait; each pass of the hold brings stragglers over and starts the time anew"
	quiet, err := plan.ParseDuration(a.Check.Arg)
	if err != nil {
		a.no("the check wants a duration, no_stragglers_for[\"7d\"]: %v", err)
		return
	}
	if hold := e.outlook().holdLength(); hold > 0 {
		quiet = min(quiet, hold)
	}
	now := e.Clock.Now()
	for _, s := range e.Plan.Steps {
		if !isPass(s) || s.Phase.Before(plan.Delta) {
			continue
		}
		st := e.Record.State(s.Address)
		if !st.LastCopied.IsZero() && now.Sub(st.LastCopied) < quiet {
			a.no("%s got mail at the source less than %s ago", mailboxOf(s), plan.FormatDuration(quiet))
		}
	}
}

// holdLength is how long the hold lasts by plan, 0 when it has no fixed length.
func (o outlook) holdLength() time.Duration {
	w := o.plan.Window(plan.Hold)
	if w.Until.Moment.Anchor == w.Start.Anchor {
		return w.Until.Moment.Offset - w.Start.Offset
	}
	return 0
}

func manifestArchived(_ context.Context, e *Engine, a *Answer) {
	a.Remedy = "run apply: the manifest is archived at the end of the hold"
	s, ok := e.Plan.Step("archive/manifest")
	if !ok {
		return
	}
	st := e.Record.State(s.Address)
	if st.Done.IsZero() {
		a.no("the manifest is not archived yet")
		return
	}
	for name, sum := range st.Files {
		got, err := fileDigest(e.Dir, "archive", name)
		switch {
		case err != nil:
			a.no("archive/%s: %v", name, err)
		case got != sum:
			a.no("archive/%s has changed since it was written", name)
		}
	}
}

// targetLogin logs in to the mailbox at the target.
func (e *Engine) targetLogin(ctx context.Context, m plan.Mailbox) error {
	host, err := e.Systems.Target(m.On)
	if err != nil {
		return err
	}
	return host.Login(ctx, providers.Account{Address: m.Target, Credentials: m.Credentials})
}

// sourceLogin logs in to the mailbox at the source.
func (e *Engine) sourceLogin(ctx context.Context, m plan.Mailbox) error {
	host, err := e.Systems.Source(m.From)
	if err != nil {
		return err
	}
	return host.Login(ctx, providers.Account{Address: m.Source, Credentials: m.Credentials})
}
