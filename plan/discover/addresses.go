package discover

import (
	"context"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
)

// addresses asks each target's mail exchanger whether it knows the aliases,
// lists and forwarders already. Only a configured smtp_probe is asked: before
// the flip nobody else is known to answer for the domain. A server that takes a
// name that nobody has takes every name, and tells nothing.
func (o *observer) addresses(ctx context.Context) {
	wanted := map[string][]string{} // target key -> addresses
	for _, a := range o.m.Aliases {
		wanted[a.On] = append(wanted[a.On], a.Address)
	}
	for _, l := range o.m.Lists {
		wanted[l.On] = append(wanted[l.On], l.Address)
	}
	for _, f := range o.m.Forwarders {
		wanted[f.On] = append(wanted[f.On], f.Address)
	}
	for _, host := range o.m.Targets {
		if host.SMTPProbe == "" || host.SMTPProbe == "off" {
			continue
		}
		if _, ok := o.sys.Directory(host.Key()); ok {
			continue // it knows better
		}
		telling := map[string]bool{}
		for _, address := range slices.Compact(slices.Sorted(slices.Values(wanted[host.Key()]))) {
			domain := address[strings.LastIndexByte(address, '@')+1:]
			if _, known := telling[domain]; !known {
				telling[domain] = o.tells(ctx, host, domain)
			}
			if !telling[domain] {
				continue
			}
			ok, _, err := o.sys.RecipientProbe().Accepts(ctx, host.SMTPProbe, address)
			if err != nil {
				o.say("warning: %s could not be asked about %s: %v", host.SMTPProbe, address, err)
				continue
			}
			o.mu.Lock()
			o.inv.Addresses = append(o.inv.Addresses, inventory.Address{Host: host.Key(), Address: address, Exists: ok})
			o.mu.Unlock()
		}
	}
}

// tells asks about a name that nobody has: the lineage is random.
func (o *observer) tells(ctx context.Context, host plan.Host, domain string) bool {
	taken, _, err := o.sys.RecipientProbe().Accepts(ctx, host.SMTPProbe, "mxodus-"+strings.ToLower(o.inv.Lineage)+"@"+domain)
	switch {
	case err != nil:
		o.say("warning: %s could not be asked about %s: %v", host.SMTPProbe, domain, err)
	case taken:
		o.say("warning: %s takes mail for every name of %s, so it can't be asked which addresses exist", host.SMTPProbe, domain)
	}
	return err == nil && !taken
}
