package apply

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/providers"
)

// accountsReady: does every mailbox at the target answer a login, and where the target
// has a directory: are its domains verified and its users licensed?
func accountsReady(ctx context.Context, e *Engine, a *Answer) {
	a.Remedy = "see that the account exists at the target, has its licence, and that its credentials are right"
	for _, host := range e.Migration.Targets {
		e.directoryReady(ctx, host, a)
	}
	list := e.Migration.Mailboxes
	failed := make([]error, len(list))
	atOnce(len(list), mailboxesAtOnce, func(i int) { failed[i] = e.loginOnce(ctx, "target", list[i]) })
	for i, err := range failed {
		if err != nil {
			a.no("%s: %v", list[i].Target, err)
		}
	}
	refused := 0
	for _, err := range failed {
		if err != nil {
			refused++
		}
	}
	a.saw(e, "the targets", "a login to each mailbox", count(len(list)-refused, len(list)))
}

// directoryReady asks the target's directory, where it has one.
func (e *Engine) directoryReady(ctx context.Context, host plan.Host, a *Answer) {
	at, ok := e.Systems.Directory(host.Key())
	if !ok {
		return
	}
	var q providers.DirectoryQuery
	for _, d := range e.Migration.Domains {
		if d.Mail == host.Key() {
			q.Domains = append(q.Domains, d.Name)
		}
	}
	for _, m := range e.Migration.Mailboxes {
		if m.On == host.Key() {
			q.Mailboxes = append(q.Mailboxes, m)
		}
	}
	facts, err := at.Observe(ctx, q)
	if err != nil {
		a.no("the directory of %s could not be asked: %v", host.Key(), err)
		return
	}
	for _, name := range q.Domains {
		seen, known := facts.Directory.Domain(name)
		a.saw(e, "the directory of "+host.Key(), name, map[bool]string{true: "verified", false: "not verified"}[seen.Verified])
		if !known || !seen.Verified {
			a.no("%s is not verified at %s: it takes no mail for it", name, host.Key())
		}
	}
	for _, m := range q.Mailboxes {
		i := slices.IndexFunc(facts.Mailboxes, func(o inventory.Mailbox) bool { return strings.EqualFold(o.Address, m.Target) })
		switch {
		case i < 0 || !facts.Mailboxes[i].Exists:
			a.no("%s does not exist at %s", m.Target, host.Key())
		case facts.Pending[m.Target] != "":
			a.no("%s is not ready at %s: %s", m.Target, host.Key(), facts.Pending[m.Target])
		case m.License != "" && m.Kind != plan.SharedMailbox && !slices.Contains(facts.Mailboxes[i].Licenses, m.License):
			a.no("%s has not the licence %s at %s", m.Target, m.License, host.Key())
		}
	}
}

// mailboxesAtOnce bounds logins and questions about recipients; hosts bound
// their own connections besides.
const mailboxesAtOnce = 16

// loginOnce logs in to one side of a mailbox, once a round.
func (e *Engine) loginOnce(ctx context.Context, side string, m plan.Mailbox) error {
	_, err := roundOf(ctx).logins.get(side+" "+m.From+" "+m.Source+" "+m.On+" "+m.Target, func() (struct{}, error) {
		if side == "source" {
			return struct{}{}, e.sourceLogin(ctx, m)
		}
		return struct{}{}, e.targetLogin(ctx, m)
	})
	return err
}

// sourceKeepsAccepting: will mail of senders that still go to the old MX be taken?
func sourceKeepsAccepting(ctx context.Context, e *Engine, a *Answer) {
	a.Remedy = "leave the mailboxes at the source open until the hold is over: mail by the old MX has to go somewhere"
	list := e.Migration.Mailboxes
	failed := make([]error, len(list))
	atOnce(len(list), mailboxesAtOnce, func(i int) { failed[i] = e.loginOnce(ctx, "source", list[i]) })
	for i, err := range failed {
		switch providers.ReasonOf(err) {
		case providers.TooMany, providers.Throttled:
			continue // it answers, and is busy
		}
		if err != nil {
			a.no("%s: the source does not let it in any more: %v", list[i].Source, err)
		}
	}
	a.saw(e, "the sources", "a login to each mailbox", count(len(list)-len(a.Detail), len(list)))
	e.eachFlip(a, func(f flip) { e.oldMXAccepts(ctx, f, a) })
}

// oldMXPatience bounds one question to an old mail exchanger: where port 25 is
// closed from here, silence is all there is.
const oldMXPatience = 8 * time.Second

// oldMXAccepts asks the hosts of the old MX for one of the domain's people.
// Only a refusal of the recipient counts: from where port 25 is closed nobody can ask.
func (e *Engine) oldMXAccepts(ctx context.Context, f flip, a *Answer) {
	mx, ok := f.set("MX", "@")
	if !ok || !mx.from.Exists() {
		return
	}
	old := mxHosts(mx.from)
	target, _ := e.Migration.Target(f.domain.Mail)
	cfg, _ := e.Migration.Zone(f.domain.Zone)
	i := slices.IndexFunc(e.Migration.Mailboxes, func(m plan.Mailbox) bool {
		_, domain, _ := strings.Cut(m.Source, "@")
		return strings.EqualFold(domain, f.domain.Name)
	})
	if len(old) == 0 || i < 0 {
		return
	}
	if target.SMTPProbe != "" || !cfg.Worldly() {
		a.warn("%s: whether the old MX goes on taking mail was not asked: port 25 is not for asking here", f.domain.Name)
		return
	}
	address := e.Migration.Mailboxes[i].Source
	refused := 0
	for _, server := range old {
		ctx, cancel := context.WithTimeout(ctx, oldMXPatience)
		taken, words, err := e.accepts(ctx, server, address)
		cancel()
		switch {
		case err != nil:
			a.saw(e, server, "RCPT TO:<"+address+">", err.Error())
			a.warn("%s: the old MX %s could not be asked from here", f.domain.Name, server)
		case !taken:
			refused++
			a.saw(e, server, "RCPT TO:<"+address+">", words)
		default:
			a.saw(e, server, "RCPT TO:<"+address+">", words)
		}
	}
	if refused == len(old) {
		a.no("%s: the old MX takes no mail for %s any more", f.domain.Name, address)
	}
}
