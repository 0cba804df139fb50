package microsoft365

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/microsoft365/exchange"
	"github.com/mxodus/mxodus/providers/microsoft365/graph"
	"github.com/mxodus/mxodus/providers/microsoft365/rest"
)

// Observe implements providers.Directory. With exchange = "by_hand" it asks Graph alone;
// what Graph doesn't tell (rights on shared mailboxes, who may write to a list) is taken
// to be as it is wanted.
func (t *Tenant) Observe(ctx context.Context, q providers.DirectoryQuery) (providers.DirectoryFacts, error) {
	o := observer{t: t, planning: q.Licenses, facts: providers.DirectoryFacts{Pending: map[string]string{}}}
	o.facts.Directory.Host = t.host.Key()
	steps := []func(context.Context, providers.DirectoryQuery) error{o.licenses, o.domains, o.application, o.gather, o.mailboxes, o.addresses, o.catchAlls}
	for _, step := range steps {
		if err := step(ctx, q); err != nil {
			return providers.DirectoryFacts{}, err
		}
	}
	return o.facts, nil
}

// observer answers one query.
type observer struct {
	t     *Tenant
	facts providers.DirectoryFacts
	skus  []graph.SKU
	all   *everybody // nil: each is asked about by itself
	// planning: it is for a plan, which shall name whoever has an address that it wants.
	planning bool
}

// everybody is a whole directory, read at once.
type everybody struct {
	users     map[string]graph.User       // by principal name
	ids       map[string]graph.User       // by id
	byAddress map[string]graph.User       // by each address
	mailboxes map[string]exchange.Mailbox // by each address
	groups    map[string]exchange.Group
}

// few is up to how many things are asked about one by one.
const few = 6

func (o *observer) licenses(ctx context.Context, q providers.DirectoryQuery) error {
	if !q.Licenses && len(q.Mailboxes) == 0 {
		return nil
	}
	skus, err := o.t.graph.SKUs(ctx)
	if err != nil {
		return err
	}
	o.skus = skus
	if !q.Licenses {
		return nil
	}
	for _, s := range skus {
		if s.Name != "" && !strings.EqualFold(s.Status, "Suspended") && !strings.EqualFold(s.Status, "Deleted") && !strings.EqualFold(s.Status, "LockedOut") {
			o.facts.Directory.Licenses = append(o.facts.Directory.Licenses, inventory.License{Name: s.Name, Free: s.Free(), Quota: s.Quota()})
		}
	}
	return nil
}

func (o *observer) domains(ctx context.Context, q providers.DirectoryQuery) error {
	var keys []exchange.DKIM
	asked := false
	for _, name := range q.Domains {
		d, ok, err := o.t.graph.Domain(ctx, name)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		seen := inventory.DirectoryDomain{Name: name, Verified: d.Verified}
		if !d.Verified {
			if seen.Verification, err = o.t.graph.VerificationText(ctx, name); err != nil {
				return err
			}
		} else {
			records, err := o.t.graph.ServiceRecords(ctx, name)
			if err != nil {
				return err
			}
			named(&seen, records)
			if !asked && !o.t.byHand() {
				if keys, err = o.t.exo.DKIMs(ctx); err != nil {
					return err
				}
				asked = true
			}
			for _, k := range keys {
				if strings.EqualFold(k.Domain, name) {
					seen.DKIM, seen.Signing = selectors(k), k.On()
				}
			}
		}
		o.facts.Directory.Domains = append(o.facts.Directory.Domains, seen)
	}
	return nil
}

// named takes over what the tenant asks the zone for. Its names follow no rule that could
// be relied on: what isn't among the records isn't known.
func named(d *inventory.DirectoryDomain, records []graph.Record) {
	for _, r := range records {
		switch {
		case r.Is("Mx") && r.Exchanger != "":
			d.MX = strings.ToLower(strings.TrimSuffix(r.Exchanger, "."))
		case r.Is("Txt") && strings.HasPrefix(strings.ToLower(r.Text), "v=spf1"):
			d.SPF = r.Text
		case r.Is("CName") && strings.HasPrefix(strings.ToLower(r.Label), "autodiscover"):
			d.Autodiscover = strings.ToLower(strings.TrimSuffix(r.Canonical, "."))
		}
	}
}

func selectors(k exchange.DKIM) map[string]string {
	if k.Selector1 == "" || k.Selector2 == "" {
		return nil
	}
	clean := func(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }
	return map[string]string{"selector1": clean(k.Selector1), "selector2": clean(k.Selector2)}
}

// application asks whether Exchange knows the application, where that is the question.
func (o *observer) application(ctx context.Context, q providers.DirectoryQuery) error {
	alone := len(q.Domains)+len(q.Mailboxes)+len(q.Aliases)+len(q.Lists)+len(q.Forwarders) == 0
	if o.t.byHand() || !q.Licenses && !alone {
		return nil
	}
	_, ok, err := o.t.principal(ctx)
	o.facts.Directory.Application = ok
	return err
}

// gather reads the whole directory where many are asked about. Where that can't be had
// whole, each is asked about by itself.
func (o *observer) gather(ctx context.Context, q providers.DirectoryQuery) error {
	if len(q.Mailboxes)+len(q.Aliases)+len(q.Lists)+len(q.Forwarders) <= few {
		return nil
	}
	all := &everybody{users: map[string]graph.User{}, ids: map[string]graph.User{}, byAddress: map[string]graph.User{}, mailboxes: map[string]exchange.Mailbox{}, groups: map[string]exchange.Group{}}
	users, err := o.t.graph.Users(ctx)
	if err == nil {
		for _, u := range users {
			all.users[strings.ToLower(u.Principal)], all.ids[strings.ToLower(u.ID)] = u, u
			for _, a := range u.Addresses {
				if kind, address, ok := strings.Cut(strings.ToLower(a), ":"); ok && kind == "smtp" {
					all.byAddress[address] = u
				}
			}
		}
		if !o.t.byHand() {
			err = o.exchangeWhole(ctx, all)
		}
	}
	if err == nil {
		o.all = all
		return nil
	}
	if cantTell(err) {
		return nil // one by one
	}
	return err
}

// cantTell reports whether a question can't be asked here, in this way: lists that are cut
// off, cmdlets that a tenant doesn't have. A missing grant or a service that isn't there is another
// thing.
func cantTell(err error) bool {
	if err == nil || rest.StatusOf(err) == http.StatusForbidden {
		return false
	}
	switch providers.ReasonOf(err) {
	case providers.NotFound, providers.Refused, providers.Protocol:
		return true
	}
	return false
}

func (o *observer) exchangeWhole(ctx context.Context, all *everybody) error {
	boxes, err := o.t.exo.Mailboxes(ctx)
	if err != nil {
		return err
	}
	for _, m := range boxes {
		all.mailboxes[strings.ToLower(m.Address)] = m
		for _, a := range m.Addresses.SMTP() {
			all.mailboxes[a] = m
		}
	}
	groups, err := o.t.exo.Groups(ctx)
	if err != nil {
		return err
	}
	for _, g := range groups {
		all.groups[strings.ToLower(g.Address)] = g
		for _, a := range g.Addresses.SMTP() {
			all.groups[a] = g
		}
	}
	return nil
}

func (o *observer) user(ctx context.Context, name string) (graph.User, bool, error) {
	if o.all != nil {
		if u, ok := o.all.users[strings.ToLower(name)]; ok {
			return u, true, nil
		}
		u, ok := o.all.ids[strings.ToLower(name)]
		return u, ok, nil
	}
	return o.t.graph.User(ctx, name)
}

func (o *observer) mailbox(ctx context.Context, address string) (exchange.Mailbox, bool, error) {
	if o.all != nil {
		m, ok := o.all.mailboxes[strings.ToLower(address)]
		return m, ok, nil
	}
	return o.t.exo.Mailbox(ctx, address)
}

func (o *observer) group(ctx context.Context, address string) (exchange.Group, bool, error) {
	if o.all != nil {
		g, ok := o.all.groups[strings.ToLower(address)]
		return g, ok, nil
	}
	return o.t.exo.Group(ctx, address)
}

func (o *observer) mailboxes(ctx context.Context, q providers.DirectoryQuery) error {
	for _, m := range q.Mailboxes {
		see := o.byExchange
		if o.t.byHand() {
			see = o.byGraph
		}
		seen, err := see(ctx, m, q.Access)
		if err != nil {
			return err
		}
		seen.Host, seen.Address = o.t.host.Key(), m.Target
		o.facts.Mailboxes = append(o.facts.Mailboxes, seen)
	}
	return nil
}

// account is what Graph tells of a user.
func (o *observer) account(u graph.User) inventory.Account {
	a := inventory.Account{Kind: plan.UserMailbox, DisplayName: u.DisplayName, UsageLocation: u.Location}
	for _, l := range u.Licenses {
		for _, s := range o.skus {
			if strings.EqualFold(s.ID, l.SKU) {
				a.Licenses = append(a.Licenses, s.Name)
			}
		}
	}
	slices.Sort(a.Licenses)
	a.Licenses = slices.Compact(a.Licenses)
	return a
}

func (o *observer) byExchange(ctx context.Context, m plan.Mailbox, access bool) (inventory.Mailbox, error) {
	none := inventory.Mailbox{}
	user, there, err := o.user(ctx, m.Target)
	if err != nil {
		return none, err
	}
	box, boxed, err := o.mailbox(ctx, m.Target)
	if err != nil {
		return none, err
	}
	if boxed && !strings.EqualFold(box.Address, m.Target) && !(there && strings.EqualFold(user.ID, box.Object)) {
		o.belongs(m.Target, "alias", box.Address)
		return none, nil
	}
	if boxed && !there && box.Object != "" {
		// Its user goes by another name.
		if user, there, err = o.user(ctx, box.Object); err != nil {
			return none, err
		}
	}
	if !boxed && !there {
		return none, o.somebody(ctx, m.Target)
	}
	seen := inventory.Mailbox{Exists: true, Account: o.account(user)}
	if !boxed {
		o.facts.Pending[m.Target] = "Exchange is still making the mailbox of " + m.Target
		if !user.MailboxComes() {
			o.facts.Pending[m.Target] = m.Target + " has no licence yet that brings a mailbox"
		}
		return seen, nil
	}
	seen.DisplayName = cmp.Or(seen.DisplayName, box.Name)
	if box.Shared() {
		seen.Kind = plan.SharedMailbox
	}
	seen.Largest = largest(box)
	if len(m.FullAccess) > 0 {
		if seen.FullAccess, err = o.holders(ctx, "full", o.t.exo.FullAccess, m.Target, m.FullAccess); err != nil {
			return none, err
		}
	}
	if len(m.SendAs) > 0 {
		if seen.SendAs, err = o.holders(ctx, "send", o.t.exo.SendAs, m.Target, m.SendAs); err != nil {
			return none, err
		}
	}
	if !access {
		return seen, nil
	}
	cas, ok, err := o.t.exo.CASMailbox(ctx, m.Target)
	if err != nil {
		return none, err
	}
	seen.IMAP = ok && cas.IMAP != nil && *cas.IMAP
	seen.Application, err = o.t.mayOpen(ctx, m.Target)
	return seen, err
}

// largest is the size of message that a mailbox takes: both of its limits have been seen to count.
func largest(m exchange.Mailbox) int64 {
	limit := int64(m.Receive)
	if s := int64(m.Send); s > 0 && (limit <= 0 || s < limit) {
		limit = s
	}
	if m.Receive < 0 && m.Send < 0 {
		return 150 << 20 // unlimited is not more than this
	}
	return max(limit, 0)
}

// holders are those of the wanted who have a right. Exchange shows them by principal name,
// by address, by name or by id.
func (o *observer) holders(ctx context.Context, right string, read func(context.Context, string) ([]string, error), address string, wanted []string) ([]string, error) {
	who, err := read(ctx, address)
	if err != nil && !cantTell(err) {
		return nil, err
	}
	var held []string
	for _, w := range wanted {
		if slices.Contains(who, strings.ToLower(w)) || o.t.gave(right, address, w) {
			held = append(held, w)
			continue
		}
		if len(who) == 0 {
			continue
		}
		m, ok, err := o.mailbox(ctx, w)
		if err != nil {
			return nil, err
		}
		names := []string{m.Identity, m.Principal, m.Address, m.GUID, m.Object, m.Name}
		if ok && slices.ContainsFunc(names, func(n string) bool { return n != "" && slices.Contains(who, strings.ToLower(n)) }) {
			held = append(held, w)
		}
	}
	return held, nil
}

func (o *observer) byGraph(ctx context.Context, m plan.Mailbox, _ bool) (inventory.Mailbox, error) {
	user, there, err := o.user(ctx, m.Target)
	if err != nil {
		return inventory.Mailbox{}, err
	}
	if !there {
		if o.all != nil {
			if other, taken := o.all.byAddress[strings.ToLower(m.Target)]; taken {
				o.belongs(m.Target, "alias", cmp.Or(other.Mail, other.Principal))
			}
		}
		return inventory.Mailbox{}, nil
	}
	seen := inventory.Mailbox{Exists: true, Account: o.account(user)}
	seen.Kind = cmp.Or(m.Kind, plan.UserMailbox)
	if seen.Kind == plan.CatchAllMailbox {
		seen.Kind = plan.UserMailbox
	}
	seen.FullAccess, seen.SendAs = m.FullAccess, m.SendAs
	switch {
	case user.Mail != "" && (user.Provisioning() == "" || strings.EqualFold(user.Provisioning(), "Success")):
	case m.Kind == plan.SharedMailbox && user.Mail == "":
		seen.Exists = false
	case !user.MailboxComes():
		o.facts.Pending[m.Target] = m.Target + " has no licence yet that brings a mailbox"
	default:
		o.facts.Pending[m.Target] = "Exchange is still making the mailbox of " + m.Target
	}
	return seen, nil
}

// belongs notes who has an address.
func (o *observer) belongs(address, kind string, to ...string) {
	a := inventory.Address{Host: o.t.host.Key(), Address: address, Exists: true, Kind: kind}
	for _, t := range to {
		a.Deliver = append(a.Deliver, strings.ToLower(t))
	}
	o.facts.Addresses = append(o.facts.Addresses, a)
}

// somebody looks for a list, a contact or anything else that has the address.
func (o *observer) somebody(ctx context.Context, address string) error {
	g, ok, err := o.group(ctx, address)
	if err != nil && !cantTell(err) {
		return err
	}
	if ok {
		o.belongs(address, "list", g.Address)
		return nil
	}
	if o.all != nil || !o.planning {
		return nil // Exchange refuses an address that somebody has, whoever it is
	}
	r, ok, err := o.t.exo.Recipient(ctx, address)
	if ok {
		o.belongs(address, "other", r.Address)
	}
	if cantTell(err) {
		return nil // a help only: Exchange refuses an address that is taken
	}
	return err
}
