package mailcheck

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

func (c *check) mx(ctx context.Context) {
	const name = "mx"
	l := c.lookup(ctx, c.domain, "MX")
	switch {
	case l.err != nil:
		c.unanswered(name, c.domain, l.err)
		return
	case !l.set.Exists():
		c.find(name, c.domain, Wrong, "mx_none", "there is no MX, so senders try the domain's own address (RFC 5321 §5.1)", "publish the MX of the mail host, or \"0 .\" where the domain takes no mail (RFC 7505)", l.source)
		return
	case slices.Equal(l.set.Data, []string{"0 ."}):
		c.find(name, c.domain, Note, "mx_null", "the domain says that it takes no mail (RFC 7505)", "", l.source)
		return
	}
	wrong := false
	for _, data := range l.set.Data {
		_, host, _ := strings.Cut(data, " ")
		c.mxHosts = append(c.mxHosts, host)
		wrong = c.mxHost(ctx, host, l.source) || wrong
	}
	c.mxHosts = slices.Compact(slices.Sorted(slices.Values(c.mxHosts)))
	if !wrong {
		c.find(name, c.domain, Fine, "mx_sound", strings.Join(l.set.Data, ", "), "", l.source)
	}
}

// mxHost reports whether something is wrong with a host of the MX.
func (c *check) mxHost(ctx context.Context, host, source string) bool {
	const name = "mx"
	short := strings.TrimSuffix(host, ".")
	if host == "." {
		c.find(name, c.domain, Wrong, "mx_null_beside", "the MX names hosts and says at the same time that the domain takes no mail (RFC 7505 §3)", "take one of both out", source)
		return true
	}
	if _, err := netip.ParseAddr(short); err == nil {
		c.find(name, host, Wrong, "mx_address", "the MX names an address where a host name has to stand (RFC 1035 §3.3.9)", "give the host a name and name that", source)
		return true
	}
	alias := c.exactly(ctx, host, "CNAME")
	if alias.err == nil && alias.set.Exists() && alias.set.Name == host {
		c.find(name, host, Wrong, "mx_alias", fmt.Sprintf("the MX names an alias of %s, which it must not (RFC 2181 §10.3)", strings.TrimSuffix(alias.set.Data[0], ".")), "name the host itself", alias.source)
		return true
	}
	var addrs []string
	for _, typ := range []string{"A", "AAAA"} {
		l := c.lookup(ctx, host, typ)
		if l.err != nil {
			c.unanswered(name, host, l.err)
			return false
		}
		addrs = append(addrs, l.set.Data...)
	}
	if len(addrs) == 0 {
		c.find(name, host, Wrong, "mx_no_address", "the MX names a host that has no address: mail to it waits and comes back", "give the host an address, or take it out of the MX", source)
		return true
	}
	return false
}

// dkimHosts are the selectors that hosts give their customers, by the end of the MX.
var dkimHosts = []struct {
	mx        []string
	host      string
	selectors []string
}{
	{[]string{".mail.protection.outlook.com.", ".mx.microsoft."}, "Microsoft 365", []string{"selector1", "selector2"}},
	{[]string{".ionos.de.", ".ionos.com.", ".ionos.co.uk.", ".ionos.es.", ".ionos.fr.", ".ionos.it.", ".kundenserver.de.", ".1and1.com."}, "IONOS", []string{"s1-ionos", "s2-ionos", "s42582890"}},
	{[]string{".google.com.", ".googlemail.com."}, "Google", []string{"google"}},
	{[]string{".messagingengine.com."}, "Fastmail", []string{"fm1", "fm2", "fm3"}},
	{[]string{".protonmail.ch."}, "Proton", []string{"protonmail", "protonmail2", "protonmail3"}},
	{[]string{".icloud.com."}, "iCloud", []string{"sig1"}},
	{[]string{".zoho.com.", ".zoho.eu.", ".zoho.in."}, "Zoho", []string{"zmail", "zoho"}},
	{[]string{".your-server.de."}, "Hetzner", []string{"default"}},
	{[]string{".ovh.net.", ".ovh.ca."}, "OVH", []string{"ovhmo-selector-1", "ovhmo-selector-2"}},
	{[]string{".mailbox.org."}, "mailbox.org", []string{"mbo0001", "mbo0002", "mbo0003", "mbo0004"}},
	{[]string{".hostinger.com."}, "Hostinger", []string{"hostingermail-a", "hostingermail-b", "hostingermail-c"}},
}

// wellKnown are selectors that programs use by themselves.
var wellKnown = []string{"default", "dkim", "mail"}

// selectors are those to ask for, and the host that they are of, "" = unknown.
func (c *check) selectors() (list []string, host string) {
	for _, h := range dkimHosts {
		for _, mx := range c.mxHosts {
			if slices.ContainsFunc(h.mx, func(end string) bool { return strings.HasSuffix(mx, end) }) {
				list, host = append(list, h.selectors...), h.host
			}
		}
	}
	list = append(list, c.options.Selectors...)
	list = append(list, wellKnown...)
	var once []string
	for _, s := range list {
		if s = strings.ToLower(strings.TrimSpace(s)); s != "" && !slices.Contains(once, s) {
			once = append(once, s)
		}
	}
	return once, host
}
