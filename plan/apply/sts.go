package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/mailrecords"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/state"
)

// stsPolicy is an MTA-STS policy as it was seen. The zero value is a domain that has none.
type stsPolicy struct {
	ID     string
	Mode   string
	MX     []string
	MaxAge time.Duration
}

func (p stsPolicy) equal(o stsPolicy) bool {
	return p.ID == o.ID && p.Mode == o.Mode && p.MaxAge == o.MaxAge && slices.Equal(p.MX, o.MX)
}

// refuses are the hosts that a sender which holds the policy doesn't deliver to.
func (p stsPolicy) refuses(hosts []string) []string {
	if p.Mode != "enforce" {
		return nil
	}
	rule := mailrecords.Policy{MX: p.MX}
	var list []string
	for _, h := range hosts {
		if !rule.Allows(h) {
			list = append(list, strings.TrimSuffix(h, "."))
		}
	}
	return list
}

// seenPolicy is a policy and when it was first seen.
type seenPolicy struct {
	At     time.Time
	Policy stsPolicy
}

// stsSafe is from when on no sender holds a policy that refuses hosts: one that has
// been replaced is kept for its max_age, at most from the moment that its successor was
// first seen (RFC 8461 §3.2). history is oldest first; of its newest policy the
// caller knows that it allows them.
func stsSafe(history []seenPolicy, hosts []string) (safe time.Time, by stsPolicy) {
	for i := 1; i < len(history); i++ {
		old := history[i-1].Policy
		if until := history[i].At.Add(old.MaxAge); len(old.refuses(hosts)) > 0 && until.After(safe) {
			safe, by = until, old
		}
	}
	return safe, by
}

// fetchSTS is the domain's policy as a sender gets it now. No record is the zero policy.
func (e *Engine) fetchSTS(ctx context.Context, p *prospect, domain string) (stsPolicy, error) {
	records, err := p.texts(ctx, "_mta-sts."+domain+".", mailrecords.IsSTS)
	if err != nil || len(records) == 0 {
		return stsPolicy{}, err
	}
	if len(records) > 1 {
		return stsPolicy{}, fmt.Errorf("there are %d records, and senders take notice of none then (RFC 8461 §3.1)", len(records))
	}
	id, err := mailrecords.ParseSTS(records[0])
	if err != nil {
		return stsPolicy{}, err
	}
	webs, ok := e.Systems.(providers.Webs)
	if !ok {
		return stsPolicy{}, errors.New("nobody is there to fetch the policy")
	}
	web, err := webs.Web(domain)
	if err != nil {
		return stsPolicy{}, err
	}
	// Asked at the domain's own servers: a resolver would keep the answer that there is none.
	switch has, err := p.addresses(ctx, "mta-sts."+domain+"."); {
	case err != nil:
		return stsPolicy{}, err
	case !has:
		return stsPolicy{}, fmt.Errorf("mta-sts.%s has no address", domain)
	}
	url := "https://mta-sts." + domain + "/.well-known/mta-sts.txt"
	page, err := roundOf(ctx).pages.get(url, func() (providers.Page, error) { return web.Get(ctx, url) })
	switch {
	case err != nil:
		return stsPolicy{}, err
	case page.Status != 200:
		return stsPolicy{}, fmt.Errorf("%s answers HTTP %d", url, page.Status)
	}
	p.a.saw(e, url, "GET", page.Body)
	policy, err := mailrecords.ParsePolicy(page.Body)
	return stsPolicy{ID: id, Mode: policy.Mode, MX: policy.MX, MaxAge: policy.MaxAge}, err
}

// observePolicies journals the MTA-STS policies of domains whose MX is still to
// change, when they have changed: how long an old one is held counts from there.
func (e *Engine) observePolicies(ctx context.Context) error {
	list, err := e.flips()
	if err != nil {
		return nil // the checks say so
	}
	var entries []state.Entry
	for _, f := range list {
		if _, moves := f.set("MX", "@"); !moves {
			continue
		}
		p := &prospect{e: e, a: &Answer{}}
		policy, err := e.fetchSTS(ctx, p, f.domain.Name)
		if err != nil {
			continue // not seen is not gone
		}
		history := e.Record.policyHistory(f.domain.Name)
		if len(history) == 0 && policy.equal(stsPolicy{}) {
			continue
		}
		if len(history) == 0 || !history[len(history)-1].Policy.equal(policy) {
			entries = append(entries, runEntry(evPolicy, entryData{Domain: f.domain.Name, STS: &policy}))
		}
	}
	return e.note(ctx, entries...)
}

// stsAllows: does the MTA-STS policy let senders deliver to the new MX, and has
// every older one that doesn't run out?
func stsAllows(ctx context.Context, e *Engine, a *Answer) {
	e.eachFlip(a, func(f flip) {
		r, ok := f.set("MX", "@")
		if !ok {
			return
		}
		domain := f.domain.Name
		a.Remedy = fmt.Sprintf("list the old and the new MX in https://mta-sts.%s/.well-known/mta-sts.txt, give the record _mta-sts a new id, and wait for the old policy's max_age", domain)
		hosts := hostsOf(r.want)
		policy, err := e.fetchSTS(ctx, e.prospect(a), domain)
		if err != nil {
			e.stsUnknown(f, hosts, err, a)
			return
		}
		if left := policy.refuses(hosts); len(left) > 0 {
			a.no("%s: senders that know the MTA-STS policy refuse %s, for as long as %s (RFC 8461 §5)", domain, strings.Join(left, ", "), plan.FormatDuration(policy.MaxAge))
			return
		}
		if allowing := (mailrecords.Policy{MX: policy.MX}); policy.Mode == "testing" {
			for _, h := range hosts {
				if !allowing.Allows(h) {
					a.warn("%s: the MTA-STS policy, in mode testing, does not name %s", domain, strings.TrimSuffix(h, "."))
				}
			}
		}
		history := e.stsHistory(domain)
		if n := len(history); n == 0 || !history[n-1].Policy.equal(policy) {
			history = append(history, seenPolicy{At: e.Clock.Now(), Policy: policy})
		}
		if safe, by := stsSafe(history, hosts); e.Clock.Now().Before(safe) {
			a.no("%s: senders may hold the MTA-STS policy %s, which refuses the new MX, until %s", domain, by.ID, safe.UTC().Format(time.RFC3339))
		}
	})
}

// stsHistory is what was seen of the domain's policy: at plan time, which has no time of
// its own and comes first, and by runs.
func (e *Engine) stsHistory(domain string) []seenPolicy {
	history := e.Record.policyHistory(domain)
	if e.Inventory != nil {
		if seen, ok := e.Inventory.Domain(domain); ok && seen.STS.Mode != "" {
			first := stsPolicy{ID: seen.STS.ID, Mode: seen.STS.Mode, MX: seen.STS.MX, MaxAge: seen.STS.MaxAge}
			history = slices.Insert(history, 0, seenPolicy{Policy: first})
		}
	}
	return history
}

// stsUnknown weighs a policy that could not be had: it blocks where one is
// known that refuses the new MX, and warns elsewhere.
func (e *Engine) stsUnknown(f flip, hosts []string, err error, a *Answer) {
	history := e.stsHistory(f.domain.Name)
	if n := len(history); n > 0 {
		if left := history[n-1].Policy.refuses(hosts); len(left) > 0 {
			a.no("%s: the MTA-STS policy that was last seen refuses %s, and it could not be fetched again: %v", f.domain.Name, strings.Join(left, ", "), err)
			return
		}
	}
	a.warn("%s: the MTA-STS policy could not be had: %v", f.domain.Name, err)
}
