package microsoft365

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/microsoft365/exchange"
	"github.com/mxodus/mxodus/providers/microsoft365/graph"
	"github.com/mxodus/mxodus/providers/microsoft365/rest"
)

// mostTries is how often one and the same write may end without an answer that says whether it was done.
const mostTries = 5

// Apply implements providers.Directory. After a write that may have been done, such as one that was
// answered with 500, it begins anew: everything is looked at again, and what is missing is asked for.
func (t *Tenant) Apply(ctx context.Context, c providers.DirectoryChange) error {
	tries := map[[32]byte]int{} // each write has its own: a list of many members meets more of it
	for {
		err := t.change(ctx, c)
		open, ok := errors.AsType[*rest.OpenError](err)
		if !ok {
			return err
		}
		tries[open.Request]++
		n := tries[open.Request]
		if n >= mostTries {
			return err
		}
		if err := t.options.Clock.Sleep(ctx, time.Second<<(n-1)); err != nil {
			return err
		}
	}
}

// change brings c about, as far as it isn't.
func (t *Tenant) change(ctx context.Context, c providers.DirectoryChange) error {
	q := c.Of
	if len(q.Mailboxes)+len(q.Aliases)+len(q.Lists)+len(q.Forwarders) > 1 {
		return fmt.Errorf("%s: one thing at a time", c.Kind)
	}
	switch {
	case strings.HasPrefix(c.Kind, "domain") && len(q.Domains) == 1:
		return t.applyDomain(ctx, c.Kind, q.Domains[0])
	case c.Kind == "application":
		_, err := t.ensurePrincipal(ctx)
		return err
	case c.Kind == "account" && len(q.Mailboxes) == 1:
		return t.account(ctx, q.Mailboxes[0])
	case c.Kind == "shared" && len(q.Mailboxes) == 1:
		return t.shared(ctx, q.Mailboxes[0])
	case c.Kind == "access" && len(q.Mailboxes) == 1:
		return t.access(ctx, q.Mailboxes[0])
	case c.Kind == "catchall" && len(q.Mailboxes) == 1:
		return t.makeCatchAll(ctx, q.Mailboxes[0].Target)
	case c.Kind == "alias" && len(q.Aliases) == 1:
		return t.alias(ctx, q.Aliases[0])
	case c.Kind == "list" && len(q.Lists) == 1:
		l := q.Lists[0]
		return t.list(ctx, l.Address, l.Members, l.External)
	case c.Kind == "forwarder" && len(q.Forwarders) == 1 && !q.Forwarders[0].KeepCopy:
		f := q.Forwarders[0]
		// Whoever writes to it comes from anywhere.
		return t.list(ctx, f.Address, f.Deliver, true)
	}
	return fmt.Errorf("%s is nothing that Microsoft 365 can be asked for", c.Kind)
}

// notYet says what takes its time.
func notYet(op, subject, why string, err error) error {
	if err == nil {
		err = errors.New(why)
	} else {
		err = fmt.Errorf("%s: %w", why, err)
	}
	return &providers.Error{Op: op, Subject: subject, Reason: providers.NotYet, Err: err, Remedy: "it is looked at again"}
}

// later turns "not found" into NotYet: what was made a moment ago isn't seen everywhere
// at once.
func later(err error, op, subject string) error {
	if providers.ReasonOf(err) == providers.NotFound {
		return notYet(op, subject, "what it is about isn't seen yet", err)
	}
	return err
}

// thereIs takes "is there already" for done.
func thereIs(err error) error {
	if exchange.IsThere(err) {
		return nil
	}
	return err
}

func (t *Tenant) applyDomain(ctx context.Context, kind, name string) error {
	switch kind {
	case "domain":
		if _, ok, err := t.graph.Domain(ctx, name); err != nil || ok {
			return err
		}
		return t.graph.CreateDomain(ctx, name)
	case "domain/verify":
		return t.verify(ctx, name)
	case "domain/keys":
		return t.signingKeys(ctx, name)
	case "domain/dkim":
		return t.sign(ctx, name)
	}
	return fmt.Errorf("%s is nothing that Microsoft 365 can be asked for", kind)
}

// verify has the domain verified, and waits until the tenant names the records that its
// mail needs: the next plan is about them.
func (t *Tenant) verify(ctx context.Context, name string) error {
	d, ok, err := t.graph.Domain(ctx, name)
	switch {
	case err != nil:
		return err
	case !ok:
		return notYet("verify the domain", name, "the tenant doesn't have it yet", nil)
	case !d.Verified:
		if err := t.graph.Verify(ctx, name); err != nil {
			return err
		}
		if d, ok, err = t.graph.Domain(ctx, name); err != nil {
			return err
		}
		if !ok || !d.Verified {
			return notYet("verify the domain", name, "it was verified and isn't seen as such yet", nil)
		}
	}
	records, err := t.graph.ServiceRecords(ctx, name)
	if err != nil {
		return err
	}
	seen := inventory.DirectoryDomain{}
	if named(&seen, records); seen.MX != "" {
		return nil
	}
	why := "the tenant has not named its records yet"
	if !has(d.Services, "Email") {
		if err := t.graph.UseForMail(ctx, d); err != nil {
			why += "; to use it for mail: " + err.Error()
		}
	}
	return notYet("verify the domain", name, why, nil)
}

func has(list []string, s string) bool {
	for _, l := range list {
		if strings.EqualFold(l, s) {
			return true
		}
	}
	return false
}

func (t *Tenant) signing(ctx context.Context, name string) (exchange.DKIM, bool, error) {
	list, err := t.exo.DKIMs(ctx)
	for _, k := range list {
		if strings.EqualFold(k.Domain, name) {
			return k, true, err
		}
	}
	return exchange.DKIM{}, false, err
}

// signingKeys has keys made for the domain, of 2048 bits: the default is 1024. They
// sign nothing before their names are published.
func (t *Tenant) signingKeys(ctx context.Context, name string) error {
	k, ok, err := t.signing(ctx, name)
	if err != nil || ok && selectors(k) != nil {
		return err
	}
	if !ok {
		err := t.exo.Run(ctx, "", "New-DkimSigningConfig", exchange.Params{"DomainName": name, "KeySize": 2048, "Enabled": false}, nil)
		if err := thereIs(later(err, "make keys for", name)); err != nil {
			return err
		}
	}
	if k, ok, err = t.signing(ctx, name); err != nil || ok && selectors(k) != nil {
		return err
	}
	return notYet("make keys for", name, "Exchange has not named them yet", nil)
}

// sign switches signing on. Exchange looks for both names first, and may not find them for
// minutes or, as it says itself, days.
func (t *Tenant) sign(ctx context.Context, name string) error {
	k, ok, err := t.signing(ctx, name)
	switch {
	case err != nil || ok && k.On():
		return err
	case !ok:
		return notYet("sign the mail of", name, "it has no keys yet", nil)
	}
	err = t.exo.Run(ctx, "", "Set-DkimSigningConfig", exchange.Params{"Identity": name, "Enabled": true}, nil)
	if e, ok := errors.AsType[*providers.Error](err); ok && e.Reason == providers.Refused &&
		(exchange.TypeOf(err) == "ValidationException" || strings.Contains(e.Server, "CNAME record does not exist")) {
		return &providers.Error{Op: "sign the mail of", Subject: name, Reason: providers.NotYet, Server: e.Server, Err: e.Err, Wait: 10 * time.Second,
			Remedy: "Exchange doesn't see both CNAME records yet; it is asked again. If this goes on for days, compare them with https://security.microsoft.com/dkimv2"}
	}
	return later(err, "sign the mail of", name)
}

// account makes a user, or changes what differs.
func (t *Tenant) account(ctx context.Context, m plan.Mailbox) error {
	u, ok, err := t.userOf(ctx, m.Target)
	if err != nil {
		return err
	}
	if !ok {
		if u, err = t.newUser(ctx, m); err != nil {
			return err
		}
	}
	change := map[string]any{}
	if ok && m.DisplayName != "" && u.DisplayName != m.DisplayName {
		change["displayName"] = m.DisplayName
	}
	if ok && m.UsageLocation != "" && u.Location != m.UsageLocation {
		change["usageLocation"] = m.UsageLocation
	}
	if len(change) > 0 {
		if err := later(t.graph.ChangeUser(ctx, u.ID, change), "change the user", m.Target); err != nil {
			return err
		}
	}
	if err := t.license(ctx, u, m); err != nil || t.byHand() || !ok {
		return err
	}
	box, boxed, err := t.exo.Mailbox(ctx, m.Target)
	if err == nil && boxed && box.Shared() {
		err = later(t.exo.Run(ctx, m.Target, "Set-Mailbox", exchange.Params{"Identity": box.ID(), "Type": "Regular"}, nil), "make an ordinary mailbox of", m.Target)
	}
	return err
}

// userOf finds a user by principal name or, where Exchange is asked, by address.
func (t *Tenant) userOf(ctx context.Context, address string) (graph.User, bool, error) {
	u, ok, err := t.graph.User(ctx, address)
	if err != nil || ok || t.byHand() {
		return u, ok, err
	}
	box, boxed, err := t.exo.Mailbox(ctx, address)
	if err != nil || !boxed {
		return u, false, err
	}
	if !strings.EqualFold(box.Address, address) {
		return u, false, &providers.Error{Op: "create the user", Subject: address, Reason: providers.Conflict, Server: "the address belongs to " + box.Address,
			Remedy: "take the address from whoever has it now, or leave it out of the configuration"}
	}
	return t.graph.User(ctx, box.Object)
}

// newUser makes a user. Its first password is in NewUsersFile before it is used.
func (t *Tenant) newUser(ctx context.Context, m plan.Mailbox) (graph.User, error) {
	password, err := t.users.password(m.Target)
	if err != nil {
		return graph.User{}, err
	}
	local, _, _ := strings.Cut(m.Target, "@")
	u, err := t.graph.CreateUser(ctx, graph.NewUser{
		Principal: m.Target, DisplayName: cmp.Or(m.DisplayName, local), Nickname: alias(local), Location: m.UsageLocation, Password: password,
	})
	if providers.ReasonOf(err) == providers.Conflict {
		// An answer that was lost, or a user that isn't seen everywhere yet.
		if seen, ok, readErr := t.graph.User(ctx, m.Target); readErr == nil && ok {
			return seen, nil
		}
		return u, notYet("create the user", m.Target, "it is there and can't be read yet", err)
	}
	if err == nil && u.ID == "" {
		return u, notYet("create the user", m.Target, "it was made, and the answer names no id", nil)
	}
	return u, err
}

// license gives the user the licence that the configuration names.
func (t *Tenant) license(ctx context.Context, u graph.User, m plan.Mailbox) error {
	if m.License == "" {
		return nil
	}
	skus, err := t.graph.SKUs(ctx)
	if err != nil {
		return err
	}
	for _, s := range skus {
		if !strings.EqualFold(s.Name, m.License) {
			continue
		}
		for _, l := range u.Licenses {
			if strings.EqualFold(l.SKU, s.ID) {
				return nil
			}
		}
		if s.Free() <= 0 {
			return &providers.Error{Op: "give a licence to", Subject: m.Target, Reason: providers.Refused, Err: fmt.Errorf("no unit of %s is left", s.Name),
				Remedy: "buy more at https://admin.microsoft.com, Billing, Your products, and run apply again"}
		}
		return t.assign(ctx, u.ID, s.ID, m.Target)
	}
	return &providers.Error{Op: "give a licence to", Subject: m.Target, Reason: providers.Refused, Err: fmt.Errorf("the tenant has no licence %s", m.License),
		Remedy: "mxodus discover lists those it has"}
}

// seenWithin is how long a user that was just made may not be found by its id.
const seenWithin = 2 * time.Minute

func (t *Tenant) assign(ctx context.Context, id, sku, address string) error {
	until := t.options.Clock.Now().Add(seenWithin)
	for wait := time.Second; ; wait *= 2 {
		err := t.graph.AssignLicense(ctx, id, sku)
		if providers.ReasonOf(err) != providers.NotFound {
			if e, ok := errors.AsType[*providers.Error](err); ok && e.Reason == providers.Refused {
				e.Subject = address
				e.Remedy = "see that usage_location is set, and that the licence doesn't collide with another one the user has"
			}
			return err
		}
		if t.options.Clock.Now().Add(wait).After(until) {
			return later(err, "give a licence to", address)
		}
		if err := t.options.Clock.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}
