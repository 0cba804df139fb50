package mailcheck

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/mailrecords"
	"github.com/mxodus/mxodus/providers/dns"
)

func (c *check) dkim(ctx context.Context) {
	const name = "dkim"
	selectors, host := c.selectors()
	found, unanswered := 0, 0
	for _, s := range selectors {
		at, err := dns.Name(s + "._domainkey." + c.domain)
		if err != nil {
			c.find(name, s, Warning, "dkim_selector", "is no selector: "+err.Error(), "give the label before ._domainkey alone", "")
			continue
		}
		l := c.lookup(ctx, at, "TXT")
		alias := c.exactly(ctx, at, "CNAME")
		switch {
		case l.err != nil && alias.set.Exists():
			unanswered++
			c.find(name, at, Warning, "dkim_unanswered", "the key at "+strings.TrimSuffix(alias.set.Data[0], ".")+" could not be asked: "+l.err.Error(), "ask again", "")
		case l.err != nil:
			unanswered++
			c.unanswered(name, at, l.err)
		case !l.set.Exists() && alias.set.Exists():
			c.find(name, at, Wrong, "dkim_dangling", fmt.Sprintf("the CNAME leads to %s, where no key is", strings.TrimSuffix(alias.set.Data[0], ".")), "switch DKIM on at the mail host, or mend the CNAME after what it shows", alias.source)
		case l.set.Exists():
			found++
			c.key(at, l)
		}
	}
	if found+unanswered > 0 {
		return
	}
	where := "the selectors " + strings.Join(selectors, ", ")
	if host != "" {
		where = host + "'s selectors and the usual ones"
	}
	c.find(name, c.domain, Warning, "dkim_none", "no DKIM key was found at "+where+"; others can't be guessed", "switch DKIM on at the mail host; name other selectors with -selector", "")
}

func (c *check) key(at string, l lookedUp) {
	const name = "dkim"
	if len(l.set.Data) > 1 {
		c.find(name, at, Wrong, "dkim_many", fmt.Sprintf("%d records stand where one key belongs (RFC 6376 §3.6.2.2)", len(l.set.Data)), "leave one of them", l.source)
		return
	}
	text, err := plan.TXTText(l.set.Data[0])
	if err != nil {
		c.find(name, at, Wrong, "dkim_syntax", err.Error(), "publish the key anew", l.source)
		return
	}
	k, err := mailrecords.ParseDKIM(text)
	switch {
	case err != nil:
		c.find(name, at, Wrong, "dkim_syntax", "the record is no key: "+err.Error(), "publish the key anew, as the mail host shows it", l.source)
	case k.Revoked:
		c.find(name, at, Note, "dkim_revoked", "the key is revoked", "", l.source)
	case k.Type == "rsa" && k.Octets < 150: // 1,024 bits are 162 octets in this form
		c.find(name, at, Warning, "dkim_short", "the key has less than 1,024 bits, which receivers pass over (RFC 8301 §3.2)", "have the mail host make a longer one", l.source)
	case k.Testing:
		c.find(name, at, Warning, "dkim_testing", "the key says that it is only tested (t=y), so receivers treat the mail as unsigned", "take t=y out", l.source)
	default:
		c.find(name, at, Fine, "dkim_key", fmt.Sprintf("a %s key, by %s", k.Type, l.source), "", l.source)
	}
}

func (c *check) dmarc(ctx context.Context) {
	const name = "dmarc"
	at := "_dmarc." + c.domain
	records, l := c.texts(ctx, at, mailrecords.IsDMARC)
	if l.err != nil {
		c.unanswered(name, at, l.err)
		return
	}
	if alias := c.exactly(ctx, at, "CNAME"); alias.set.Exists() {
		c.find(name, at, Note, "dmarc_alias", "the policy is a CNAME to "+strings.TrimSuffix(alias.set.Data[0], ".")+": whoever holds that name decides", "before that contract ends, publish a record of the domain's own in its place", alias.source)
	}
	if len(records) == 0 {
		if org, err := publicsuffix.EffectiveTLDPlusOne(c.report.Domain); err == nil && org != c.report.Domain {
			above, la := c.texts(ctx, "_dmarc."+org+".", mailrecords.IsDMARC)
			if la.err == nil && len(above) == 1 {
				at, records, l = "_dmarc."+org+".", above, la // RFC 7489 §6.6.3
			}
		}
	}
	switch len(records) {
	case 0:
		c.find(name, at, Warning, "dmarc_none", "there is no DMARC policy", "publish \"v=DMARC1; p=none; rua=mailto:…\" to begin with", l.source)
		return
	case 1:
	default:
		c.find(name, at, Wrong, "dmarc_many", fmt.Sprintf("there are %d DMARC records, and receivers take notice of none then (RFC 7489 §6.6.3)", len(records)), "leave one of them", l.source)
		return
	}
	d, err := mailrecords.ParseDMARC(records[0])
	if err != nil {
		c.find(name, at, Wrong, "dmarc_syntax", "receivers take no notice of the policy: "+err.Error(), "mend it", l.source)
		return
	}
	c.find(name, at, Fine, "dmarc_policy", records[0], "", l.source)
	asked := map[string]bool{}
	for _, uri := range append(slices.Clone(d.Aggregate), d.Forensic...) {
		to := mailrecords.ReportDomain(uri)
		if to == "" || asked[to] || sameOrganisation(to, c.report.Domain) {
			continue
		}
		asked[to] = true
		permit, err := dns.Name(c.report.Domain + "._report._dmarc." + to)
		if err != nil {
			continue
		}
		if given, lp := c.texts(ctx, permit, mailrecords.IsDMARC); lp.err == nil && len(given) == 0 {
			c.find(name, at, Warning, "dmarc_reports_refused", fmt.Sprintf("reports go to %s, which doesn't say at %s that it takes them (RFC 7489 §7.1): nobody sends any", to, strings.TrimSuffix(permit, ".")), "ask there for that record, or have the reports sent to the domain itself", lp.source)
		}
	}
}

func sameOrganisation(a, b string) bool {
	x, err1 := publicsuffix.EffectiveTLDPlusOne(a)
	y, err2 := publicsuffix.EffectiveTLDPlusOne(b)
	return a == b || err1 == nil && err2 == nil && x == y
}

func (c *check) tlsReporting(ctx context.Context) {
	const name = "tls_rpt"
	at := "_smtp._tls." + c.domain
	records, l := c.texts(ctx, at, mailrecords.IsTLSRPT)
	switch {
	case l.err != nil:
		c.unanswered(name, at, l.err)
	case len(records) == 0:
		c.find(name, at, Note, "tls_rpt_none", "senders report no trouble with TLS (RFC 8460)", "", l.source)
	case len(records) > 1:
		c.find(name, at, Wrong, "tls_rpt_many", "there are several records, and senders take notice of none then (RFC 8460 §3)", "leave one of them", l.source)
	default:
		to, err := mailrecords.ParseTLSRPT(records[0])
		if err != nil {
			c.find(name, at, Wrong, "tls_rpt_syntax", "senders take no notice of it: "+err.Error(), "mend it", l.source)
			return
		}
		c.find(name, at, Fine, "tls_rpt_sound", "reports go to "+strings.Join(to, ", "), "", l.source)
	}
}

// autodiscover shows where mail programs are led. Outlook tries several ways, and
// one that is left at an old host wins over the right one.
func (c *check) autodiscover(ctx context.Context) {
	const name = "autodiscover"
	at := "autodiscover." + c.domain
	var ways []string
	source := ""
	for _, q := range []struct{ name, typ string }{{at, "CNAME"}, {at, "A"}, {"_autodiscover._tcp." + c.domain, "SRV"}} {
		l := c.exactly(ctx, q.name, q.typ)
		if l.err != nil {
			c.unanswered(name, q.name, l.err)
			return
		}
		if l.set.Exists() {
			source = l.source
			ways = append(ways, fmt.Sprintf("%s %s %s", strings.TrimSuffix(q.name, "."), q.typ, strings.Join(l.set.Data, ", ")))
		}
	}
	switch len(ways) {
	case 0:
		c.find(name, at, Note, "autodiscover_none", "mail programs find no settings by autodiscover", "", "")
	case 1:
		c.find(name, at, Fine, "autodiscover", ways[0], "", source)
	default:
		c.find(name, at, Warning, "autodiscover_several", "mail programs are led several ways: "+strings.Join(ways, "; "), "leave the one that the mail host asks for", source)
	}
}

func (c *check) dnssec(ctx context.Context) {
	const name = "dnssec"
	key := c.exactly(ctx, c.domain, "DNSKEY")
	ds := c.resolve(ctx, c.domain, "DS")
	if key.err != nil || ds.err != nil {
		if err := key.err; err != nil {
			c.unanswered(name, c.domain, err)
		} else {
			c.unanswered(name, c.domain, ds.err)
		}
		return
	}
	signed, chained := key.set.Exists(), ds.set.Exists()
	switch {
	case chained && !signed:
		c.find(name, c.domain, Wrong, "dnssec_orphan_ds", "the parent has a DS, and the zone no key: for every resolver that validates the domain doesn't exist", "have the registrar take the DS out, or sign the zone", ds.source)
	case !signed:
		c.find(name, c.domain, Note, "dnssec_none", "the zone is not signed", "", key.source)
	case !chained:
		c.find(name, c.domain, Warning, "dnssec_no_ds", "the zone is signed, and the parent has no DS: nobody validates", "have the registrar publish the DS, or leave it unsigned", ds.source)
	default:
		authentic, broken, err := c.ns.Validated(ctx, c.domain, "SOA")
		switch {
		case err != nil:
			c.unanswered(name, c.domain, err)
		case broken:
			c.find(name, c.domain, Wrong, "dnssec_broken", "the chain of signatures doesn't hold: the resolver refuses the domain", "see whether the DS fits the zone's keys and the signatures have not run out", "")
		case authentic:
			c.find(name, c.domain, Fine, "dnssec_valid", "signed, and the resolver takes the chain for authentic", "", "")
		default:
			c.find(name, c.domain, Note, "dnssec_unvalidated", "signed with a DS at the parent; the resolver that was asked doesn't validate", "ask one that does: resolver = \"9.9.9.9:53\"", "")
		}
	}
}
