package discover

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/plan/mailrecords"
	"github.com/mxodus/mxodus/providers"
)

// policyPatience bounds the look at a domain's MTA-STS policy and its signatures.
const policyPatience = 15 * time.Second

// chain is how the parent stands to the domain's signatures. The DS is asked for at the
// resolver, which finds the parent; the name exists, so nothing is left in caches.
func (o *observer) chain(ctx context.Context, ns providers.NameServers, domain string, signed bool) string {
	ctx, cancel := context.WithTimeout(ctx, policyPatience)
	defer cancel()
	ds, err := ns.Resolve(ctx, domain+".", "DS")
	if err == nil && ds.Rcode != "NOERROR" {
		err = fmt.Errorf("the resolver answers %s", ds.Rcode)
	}
	if err != nil {
		o.say("warning: whether the parent of %s has a DS could not be asked: %v", domain, err)
		return inventory.ChainUnknown
	}
	switch {
	case !ds.Set.Exists():
		return inventory.ChainNone
	case !signed:
		return inventory.ChainOrphan
	}
	v, ok := ns.(providers.Validator)
	if !ok {
		return inventory.ChainUnseen
	}
	authentic, broken, err := v.Validated(ctx, domain+".", "SOA")
	switch {
	case err != nil:
		o.say("warning: whether the signatures of %s hold could not be asked: %v", domain, err)
		return inventory.ChainUnseen
	case broken:
		return inventory.ChainBroken
	case authentic:
		return inventory.ChainValid
	}
	return inventory.ChainUnseen
}

// policy is the domain's MTA-STS policy as a sender gets it (RFC 8461 §3.3): the
// record, then the page. What can't be had is told and left out; the planner then
// goes by the record alone.
func (o *observer) policy(ctx context.Context, ns providers.NameServers, domain string, sets []plan.RRset) inventory.STSPolicy {
	ctx, cancel := context.WithTimeout(ctx, policyPatience)
	defer cancel()
	id := ""
	for _, s := range sets {
		if s.Name != "_mta-sts."+domain+"." {
			continue
		}
		if s.Type == "CNAME" {
			ans, err := ns.Resolve(ctx, s.Name, "TXT")
			if err != nil {
				o.say("warning: the MTA-STS record of %s could not be asked for: %v", domain, err)
				return inventory.STSPolicy{}
			}
			s = ans.Set
		}
		for _, data := range s.Data {
			if text, err := plan.TXTText(data); err == nil && mailrecords.IsSTS(text) {
				if found, err := mailrecords.ParseSTS(text); err == nil {
					id = found
				}
			}
		}
	}
	webs, ok := o.sys.(providers.Webs)
	if id == "" || !ok || !o.hosted(ctx, ns, domain) {
		return inventory.STSPolicy{}
	}
	url := "https://mta-sts." + domain + "/.well-known/mta-sts.txt"
	page, err := fetch(ctx, webs, domain, url)
	if err != nil {
		o.say("warning: the MTA-STS policy of %s could not be fetched: %v", domain, err)
		return inventory.STSPolicy{}
	}
	p, err := mailrecords.ParsePolicy(page.Body)
	if err != nil {
		o.say("warning: senders take no notice of the MTA-STS policy of %s: %v", domain, err)
		return inventory.STSPolicy{}
	}
	return inventory.STSPolicy{ID: id, Mode: p.Mode, MX: p.MX, MaxAge: p.MaxAge}
}

// hosted reports whether the policy's host exists. It is asked for at the domain's own
// servers: a resolver would keep the answer that it doesn't.
func (o *observer) hosted(ctx context.Context, ns providers.NameServers, domain string) bool {
	servers, err := ns.Authoritative(ctx, domain)
	if err != nil {
		return false
	}
	for _, server := range servers {
		for _, typ := range []string{"CNAME", "A", "AAAA"} {
			if ans, err := ns.Ask(ctx, server, "mta-sts."+domain+".", typ); err == nil && ans.Set.Exists() {
				return true
			}
		}
	}
	o.say("warning: %s has an MTA-STS record, and mta-sts.%s has no address", domain, domain)
	return false
}

// dmarcBehind is the policy of somebody else's that a CNAME at _dmarc leads to. The name
// exists, so asking a resolver leaves nothing wrong in its cache.
func (o *observer) dmarcBehind(ctx context.Context, ns providers.NameServers, domain string, sets []plan.RRset) string {
	alias := func(s plan.RRset) bool { return s.Name == "_dmarc."+domain+"." && s.Type == "CNAME" }
	if !slices.ContainsFunc(sets, alias) {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, policyPatience)
	defer cancel()
	ans, err := ns.Resolve(ctx, "_dmarc."+domain+".", "TXT")
	if err != nil {
		o.say("warning: the DMARC policy that _dmarc.%s leads to could not be asked for: %v", domain, err)
		return ""
	}
	for _, data := range ans.Set.Data {
		if text, err := plan.TXTText(data); err == nil && mailrecords.IsDMARC(text) {
			return text
		}
	}
	return ""
}

func fetch(ctx context.Context, webs providers.Webs, domain, url string) (providers.Page, error) {
	web, err := webs.Web(domain)
	if err != nil {
		return providers.Page{}, err
	}
	page, err := web.Get(ctx, url)
	if err == nil && page.Status != 200 {
		err = fmt.Errorf("%s answers HTTP %d", url, page.Status)
	}
	return page, err
}
