package discover

import (
	"context"
	"slices"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/providers"
)

// directories asks every target that has one about itself, and about what the migration
// names of it.
func (o *observer) directories(ctx context.Context) {
	for _, host := range o.m.Targets {
		key := host.Key()
		d, ok := o.sys.Directory(key)
		if !ok {
			continue
		}
		q := providers.DirectoryQuery{Licenses: true}
		for _, dom := range o.m.Domains {
			if dom.Mail == key {
				q.Domains = append(q.Domains, dom.Name)
			}
		}
		for _, m := range o.m.Mailboxes {
			if m.On == key && !slices.ContainsFunc(q.Mailboxes, func(b plan.Mailbox) bool { return b.Target == m.Target }) {
				q.Mailboxes = append(q.Mailboxes, m)
			}
		}
		for _, a := range o.m.Aliases {
			if a.On == key {
				q.Aliases = append(q.Aliases, a)
			}
		}
		for _, l := range o.m.Lists {
			if l.On == key {
				q.Lists = append(q.Lists, l)
			}
		}
		for _, f := range o.m.Forwarders {
			if f.On == key {
				q.Forwarders = append(q.Forwarders, f)
			}
		}
		facts, err := d.Observe(ctx, q)
		if err != nil {
			o.fail(Failure{"target", key, "directory", err})
			continue
		}
		facts.Directory.Host = key
		o.inv.Directories = append(o.inv.Directories, facts.Directory)
		for _, m := range facts.Mailboxes {
			m.Host = key
			o.inv.Targets = append(o.inv.Targets, m)
		}
		for _, a := range facts.Addresses {
			a.Host = key
			o.inv.Addresses = append(o.inv.Addresses, a)
		}
		o.say("%s: %d licences, %d domains of it are known", key, len(facts.Directory.Licenses), len(facts.Directory.Domains))
	}
}

// atDirectory observes a mailbox that a directory knows: a login that works is the proof
// that it can be copied to.
func (o *observer) atDirectory(ctx context.Context, m plan.Mailbox, host providers.MailHost) {
	o.mu.Lock()
	at := o.known(m)
	skip := at == nil || !at.Exists || o.asked[m.On+"\n"+m.Target]
	o.asked[m.On+"\n"+m.Target] = true
	o.mu.Unlock()
	if skip {
		return
	}
	folders, err := host.Folders(ctx, providers.Account{Address: m.Target, Credentials: m.Credentials})
	o.mu.Lock()
	defer o.mu.Unlock()
	switch providers.ReasonOf(err) {
	case "":
		if err != nil {
			o.failures = append(o.failures, Failure{"target", m.On, m.Target, err})
			return
		}
		at = o.known(m)
		at.Folders, at.IMAP, at.Application = structure(folders), true, true
	case providers.Unreachable, providers.Certificate, providers.Throttled, providers.TooMany:
		o.failures = append(o.failures, Failure{"target", m.On, m.Target, err})
	default:
		o.shut = append(o.shut, m)
	}
}

// known is the mailbox among those that directories have named; nil when it isn't. The
// caller holds the lock.
func (o *observer) known(m plan.Mailbox) *inventory.Mailbox {
	for i := range o.inv.Targets {
		if t := &o.inv.Targets[i]; t.Host == m.On && t.Address == m.Target {
			return t
		}
	}
	return nil
}

// accesses asks directories what is missing at the mailboxes that can't be opened.
func (o *observer) accesses(ctx context.Context) {
	byHost := map[string][]plan.Mailbox{}
	for _, m := range o.shut {
		byHost[m.On] = append(byHost[m.On], m)
	}
	for key, list := range byHost {
		d, _ := o.sys.Directory(key)
		facts, err := d.Observe(ctx, providers.DirectoryQuery{Mailboxes: list, Access: true})
		if err != nil {
			o.fail(Failure{"target", key, "directory", err})
			continue
		}
		for _, m := range facts.Mailboxes {
			if at := o.known(plan.Mailbox{On: key, Target: m.Address}); at != nil {
				at.IMAP, at.Application = m.IMAP, m.Application
			}
		}
	}
}
