package config

import (
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
)

// declared is something with addresses, and the block it was read from.
type declared[T any] struct {
	it T
	b  *body
}

// build evaluates every block, resolves what one block leaves to another, and
// checks what only the whole can tell.
func (l *loader) build() *plan.Migration {
	l.literalSecretPaths()
	l.eval.functions = l.functions()
	l.collectSettings()
	l.m.Schedule = defaultSchedule()
	l.m.Validation.MaxDifference = defaultDifference
	// The migration says which zone local times are in; secrets say which files
	// no expression may read.
	for _, root := range []string{"migration", "secret"} {
		for _, n := range l.blocks {
			if n.root == root {
				l.value(n)
			}
		}
	}
	if l.location == nil {
		return nil
	}
	for _, n := range l.blocks {
		l.value(n)
	}
	if l.diags.HasErrors() {
		return nil
	}
	l.gates()
	l.resolveDomains()
	l.resolveHosts()
	l.checkAddresses()
	l.checkNotices()
	if l.diags.HasErrors() {
		return nil
	}
	l.collect()
	return &l.m
}

// gates adds those that are there without being written.
func (l *loader) gates() {
	for _, name := range defaultGateNames {
		if _, there := l.m.Gate(name); !there {
			l.m.Gates = append(l.m.Gates, defaultGate(name))
		}
	}
}

// resolveDomains fills in the zone and the target where there is only one.
func (l *loader) resolveDomains() {
	seen := map[string]plan.Pos{}
	for i := range l.m.Domains {
		d := &l.m.Domains[i]
		at := &l.domains[d.Name].at
		if first, twice := seen[d.Name]; twice {
			l.errorf(rangeAt(d.Pos), "Duplicate block", "Domain %s is there already at %s.", d.Name, first)
			continue
		}
		seen[d.Name] = d.Pos
		if d.Zone == "" {
			switch len(l.m.Zones) {
			case 0:
				l.errorf(at, "Domain without a dns block", "Say where the records of %s are changed: dns \"ionos\" { … }, dns \"rfc2136\" { … }, or dns \"by_hand\" {} for a person.", d.Name)
			case 1:
				d.Zone = l.m.Zones[0].Key()
			default:
				l.errorf(at, "Several dns blocks", "Say which one holds %s: dns = dns.%s, for example.", d.Name, l.m.Zones[0].Key())
			}
		}
		if d.Mail == "" {
			switch len(l.m.Targets) {
			case 0:
				l.errorf(at, "No target", "A domain needs a target block, where its mail goes.")
			case 1:
				d.Mail = l.m.Targets[0].Key()
			default:
				l.errorf(at, "Several targets", "Say where mail for %s goes: mail = target.%s, for example.", d.Name, l.m.Targets[0].Key())
			}
		}
	}
}

// targetOf is the key of the target for an address that doesn't name one:
// the only one, else the one that the address's domain goes to.
func (l *loader) targetOf(address string) string {
	if len(l.m.Targets) == 1 {
		return l.m.Targets[0].Key()
	}
	if d, ok := l.m.Domain(domainOf(address)); ok {
		return d.Mail
	}
	return ""
}

// resolveHosts fills in which source and target each mailbox, alias, list and
// forwarder is at.
func (l *loader) resolveHosts() {
	on := map[string]string{} // target by folded address
	for i := range l.mailboxes {
		m, b := &l.mailboxes[i].it, l.mailboxes[i].b
		if m.From == "" {
			switch len(l.m.Sources) {
			case 0:
				b.errorf("from", "No source", "A mailbox needs a source block, where its mail is now.")
			case 1:
				m.From = l.m.Sources[0].Key()
			default:
				b.errorf("from", "Several sources", "Say where %s is now: from = source.%s, for example.", m.Source, l.m.Sources[0].Key())
			}
		}
		if m.On == "" {
			m.On = l.targetOf(m.Target)
		}
		if m.On == "" {
			b.noTarget("on", m.Target)
		}
		on[fold(m.Target)] = m.On
		l.checkCredentials(m, b)
	}
	for i := range l.lists {
		a, b := &l.lists[i].it, l.lists[i].b
		if a.On = l.targetOf(a.Address); a.On == "" {
			a.On = common(on, a.Members)
		}
		if a.On == "" {
			b.noTarget("address", a.Address)
		}
		on[fold(a.Address)] = a.On
	}
	for i := range l.aliases {
		a, b := &l.aliases[i].it, l.aliases[i].b
		if a.On = on[fold(a.Deliver)]; a.On == "" {
			b.errorf("deliver", "Unknown recipient", "%s is no mailbox, shared mailbox or list of this migration.%s", a.Deliver, suggest(a.Deliver, keysOf(on)))
		}
	}
	for i := range l.forwarders {
		a, b := &l.forwarders[i].it, l.forwarders[i].b
		if a.On = l.targetOf(a.Address); a.On == "" {
			b.noTarget("address", a.Address)
		}
	}
	for i := range l.mailboxes {
		m, b := &l.mailboxes[i].it, l.mailboxes[i].b
		for _, attr := range []struct {
			name string
			who  []string
		}{{"full_access", m.FullAccess}, {"send_as", m.SendAs}} {
			for _, a := range attr.who {
				if on[fold(a)] == "" {
					b.errorf(attr.name, "Unknown recipient", "%s is no mailbox of this migration.%s", a, suggest(a, keysOf(on)))
				}
			}
		}
	}
}

func (b *body) noTarget(attr, address string) {
	if len(b.l.m.Targets) == 0 {
		b.errorf(attr, "No target", "%s needs a target block, where its mail goes.", address)
		return
	}
	hint := "add a domain block for " + domainOf(address) + " with its mail"
	if attr == "on" {
		hint = "write on = target." + b.l.m.Targets[0].Key() + ", for example, or " + hint
	}
	b.errorf(attr, "Several targets", "Nothing says at which target %s is: %s.", address, hint)
}

// common is the target that all members share, "" when there is none.
func common(on map[string]string, members []string) string {
	key := ""
	for _, m := range members {
		if k := on[fold(m)]; k == "" || key != "" && k != key {
			return ""
		} else {
			key = k
		}
	}
	return key
}

// checkCredentials makes sure that somebody's secret opens both sides.
func (l *loader) checkCredentials(m *plan.Mailbox, b *body) {
	if !m.Credentials.IsZero() {
		return
	}
	if h, ok := l.m.Source(m.From); ok && h.Credentials.IsZero() {
		b.errorf("source", "No credentials", "Nothing opens %s: add credentials = secret.NAME to source %q or to the mailbox.", m.Source, m.From)
	}
	if h, ok := l.m.Target(m.On); ok && h.Credentials.IsZero() {
		b.errorf("target", "No credentials", "Nothing opens %s: add credentials = secret.NAME to target %q or to the mailbox.", m.Target, m.On)
	}
}

// checkAddresses refuses one address in two places: mail would have two homes,
// or two mailboxes would be copied into one.
func (l *loader) checkAddresses() {
	type place struct {
		what string
		pos  plan.Pos
	}
	sources, targets := map[string]place{}, map[string]place{}
	claim := func(b *body, attr, what, address string, in map[string]place) {
		if first, taken := in[fold(address)]; taken {
			b.errorf(attr, "Duplicate address", "%s is the address of %s at %s already.", address, first.what, first.pos)
			return
		}
		in[fold(address)] = place{what, b.pos()}
	}
	for _, d := range l.mailboxes {
		claim(d.b, "source", "a mailbox", d.it.Source, sources)
		claim(d.b, "target", "a mailbox", d.it.Target, targets)
	}
	for _, d := range l.lists {
		claim(d.b, "address", "a list", d.it.Address, targets)
	}
	for _, d := range l.aliases {
		claim(d.b, "address", "an alias", d.it.Address, targets)
	}
	for _, d := range l.forwarders {
		claim(d.b, "address", "a forwarder", d.it.Address, targets)
		for _, to := range d.it.Deliver {
			if fold(to) == fold(d.it.Address) {
				d.b.errorf("deliver", "Loop", "%s would forward to itself.", to)
			}
		}
	}
}

// checkNotices fills in the only mail server.
func (l *loader) checkNotices() {
	for i := range l.m.Notices {
		c := &l.m.Notices[i]
		if c.URL != "" || c.Via != "" {
			continue
		}
		b := l.notices[c.Name]
		switch len(l.m.SMTP) {
		case 0:
			b.errorf("to", "No mail server", "A notice by mail needs an smtp block.")
		case 1:
			c.Via = l.m.SMTP[0].Name
		default:
			b.errorf("to", "Several mail servers", "Say which one: via = smtp.%s, for example.", l.m.SMTP[0].Name)
		}
	}
}

// collect puts everything in canonical order.
func (l *loader) collect() {
	m := &l.m
	for _, d := range l.mailboxes {
		m.Mailboxes = append(m.Mailboxes, d.it)
	}
	for _, d := range l.aliases {
		m.Aliases = append(m.Aliases, d.it)
	}
	for _, d := range l.lists {
		m.Lists = append(m.Lists, d.it)
	}
	for _, d := range l.forwarders {
		m.Forwarders = append(m.Forwarders, d.it)
	}
	sortBy(m.Sources, plan.Host.Key)
	sortBy(m.Targets, plan.Host.Key)
	sortBy(m.Zones, plan.ZoneConfig.Key)
	sortBy(m.SMTP, func(s plan.SMTPServer) string { return s.Name })
	sortBy(m.Mailboxes, func(b plan.Mailbox) string { return fold(b.Source) })
	sortBy(m.Aliases, func(a plan.Alias) string { return fold(a.Address) })
	sortBy(m.Lists, func(a plan.List) string { return fold(a.Address) })
	sortBy(m.Forwarders, func(a plan.Forwarder) string { return fold(a.Address) })
	sortBy(m.Domains, func(d plan.Domain) string { return d.Name })
	sortBy(m.Gates, func(g plan.Gate) string { return g.Name })
	sortBy(m.Notices, func(c plan.NoticeConfig) string { return c.Name })
}

// sortBy sorts by a key that is unique among s.
func sortBy[T any](s []T, key func(T) string) {
	slices.SortFunc(s, func(a, b T) int { return strings.Compare(key(a), key(b)) })
}
