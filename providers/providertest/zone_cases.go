package providertest

import (
	"strings"

	"github.com/mxodus/mxodus/plan"
)

// zoneCase is a series of states. Each names the sets that change; "@" is the case's
// own name, "@@" in data too.
type zoneCase struct {
	name   string
	states [][]plan.RRset
}

func states(list ...[]plan.RRset) [][]plan.RRset { return list }

func at(sets ...plan.RRset) []plan.RRset { return sets }

var zoneCases = []zoneCase{
	{"create, change and delete an A", states(
		at(rr("@", "A", 300, "192.0.2.1")),
		at(rr("@", "A", 300, "192.0.2.2")),
		at(gone("@", "A")),
		at(rr("@", "A", 300, "192.0.2.3")))},
	{"a set of addresses grows and shrinks", states(
		at(rr("@", "A", 300, "192.0.2.1")),
		at(rr("@", "A", 300, "192.0.2.1", "192.0.2.2", "192.0.2.3")),
		at(rr("@", "A", 300, "192.0.2.2")))},
	{"AAAA in its shortest form", states(
		at(rr("@", "AAAA", 300, "2001:db8::1")),
		at(rr("@", "AAAA", 300, "2001:db8:0:1::", "2001:db8::2")))},
	{"TTL alone", states(
		at(rr("@", "A", 3600, "192.0.2.1")),
		at(rr("@", "A", 300, "192.0.2.1")),
		at(rr("@", "A", 3600, "192.0.2.1")))},
	{"TTL alone, of a set", states(
		at(rr("@", "MX", 3600, "10 mx1.old.example.", "20 mx2.old.example.")),
		at(rr("@", "MX", 60, "10 mx1.old.example.", "20 mx2.old.example.")),
		at(rr("@", "MX", 3600, "10 mx1.old.example.", "20 mx2.old.example.")))},
	{"TTL alone, of texts", states(
		at(rr("@", "TXT", 3600, `"v=spf1 -all"`, `"other"`)),
		at(rr("@", "TXT", 300, `"v=spf1 -all"`, `"other"`)))},
	{"TTL alone, of a CNAME", states(
		at(rr("@", "CNAME", 3600, "a.example.")),
		at(rr("@", "CNAME", 300, "a.example.")))},
	{"TTL and data together", states(
		at(rr("@", "A", 3600, "192.0.2.1")),
		at(rr("@", "A", 300, "192.0.2.2")))},
	{"MX replaced as a whole", states(
		at(rr("@", "MX", 300, "10 mx00.old.example.", "10 mx01.old.example.")),
		at(rr("@", "MX", 300, "0 acme-example.mail.new.example.")))},
	{"MX keeps its hosts and swaps their order", states(
		at(rr("@", "MX", 300, "10 a.example.", "20 b.example.")),
		at(rr("@", "MX", 300, "20 a.example.", "10 b.example.")))},
	{"MX grows by one", states(
		at(rr("@", "MX", 300, "10 a.example.")),
		at(rr("@", "MX", 300, "10 a.example.", "20 b.example.")))},
	{"one host at two preferences", states(
		at(rr("@", "MX", 300, "10 a.example.", "20 a.example.")))},
	{"MX inside the zone", states(
		at(rr("@", "MX", 300, "10 mail.@@"), rr("mail", "A", 300, "192.0.2.7")))},
	{"null MX (RFC 7505)", states(
		at(rr("@", "MX", 300, "10 a.example.")),
		at(rr("@", "MX", 300, "0 .")))},
	{"CNAME to another host", states(
		at(rr("@", "CNAME", 300, "adsredir.old.example.")),
		at(rr("@", "CNAME", 300, "autodiscover.new.example.")))},
	{"CNAME deleted", states(
		at(rr("@", "CNAME", 300, "a.example.")),
		at(gone("@", "CNAME")))},
	{"A becomes CNAME", states(
		at(rr("@", "A", 300, "192.0.2.1")),
		at(gone("@", "A"), rr("@", "CNAME", 300, "a.example.")))},
	{"CNAME becomes A, addition named first", states(
		at(rr("@", "CNAME", 300, "a.example.")),
		at(rr("@", "A", 300, "192.0.2.1"), gone("@", "CNAME")))},
	{"CNAME becomes TXT, as _dmarc does", states(
		at(rr("_dmarc", "CNAME", 300, "dmarc.old.example.")),
		at(gone("_dmarc", "CNAME"), rr("_dmarc", "TXT", 300, `"v=DMARC1; p=none; rua=mailto:dmarc@acme.example"`)))},
	{"DKIM selectors", states(
		at(rr("selector1._domainkey", "CNAME", 3600, "selector1-acme-example._domainkey.new.example."),
			rr("selector2._domainkey", "CNAME", 3600, "selector2-acme-example._domainkey.new.example.")))},
	{"TXT with one text", states(
		at(rr("@", "TXT", 300, `"v=spf1 include:_spf.old.example ~all"`)),
		at(rr("@", "TXT", 300, `"v=spf1 include:spf.new.example -all"`)))},
	{"TXT beside other texts", states(
		at(rr("@", "TXT", 300, `"v=spf1 -all"`, `"MS=ms12345678"`, `"google-site-verification=abc_DEF"`)),
		at(rr("@", "TXT", 300, `"v=spf1 mx -all"`, `"MS=ms12345678"`, `"google-site-verification=abc_DEF"`)),
		at(rr("@", "TXT", 300, `"v=spf1 mx -all"`, `"google-site-verification=abc_DEF"`)))},
	{"TXT with quotes", states(
		at(rr("@", "TXT", 300, `"say \"friend\" and enter"`)),
		at(rr("@", "TXT", 300, `"\""`)))},
	{"TXT with backslashes", states(at(rr("@", "TXT", 300, `"C:\\mail\\new"`)))},
	{"TXT with what zone files give a meaning", states(
		at(rr("@", "TXT", 300, `"a; b (c) $ORIGIN @ d"`)))},
	{"TXT with blanks at both ends", states(at(rr("@", "TXT", 300, `"  two  blanks  "`)))},
	{"TXT without text", states(at(rr("@", "TXT", 300, `""`)))},
	{"TXT with octets beyond ASCII", states(at(rr("@", "TXT", 300, `"M\195\188ller\009tab\000nul"`)))},
	{"TXT that looks like an escape", states(at(rr("@", "TXT", 300, `"\\065"`)))},
	{"TXT in upper and lower case", states(
		at(rr("@", "TXT", 300, `"Case Matters"`)),
		at(rr("@", "TXT", 300, `"case matters"`)))},
	{"TXT of 255 octets", states(at(rr("@", "TXT", 300, quoted(255))))},
	{"TXT of 256 octets", states(at(rr("@", "TXT", 300, quoted(256))))},
	{"TXT of 2,000 octets", states(
		at(rr("@", "TXT", 300, quoted(2000))),
		at(rr("@", "TXT", 300, quoted(1999))))},
	{"many texts", states(at(rr("@", "TXT", 300, `"1"`, `"2"`, `"3"`, `"4"`, `"5"`, `"6"`, `"7"`, `"8"`, `"9"`)))},
	{"SRV", states(
		at(rr("_autodiscover._tcp", "SRV", 300, "0 0 443 autodiscover.old.example.")),
		at(rr("_autodiscover._tcp", "SRV", 300, "10 5 8443 autodiscover.new.example.")))},
	{"CAA", states(
		at(rr("@", "CAA", 300, `0 issue "ca.example"`, `0 iodef "mailto:sec@acme.example"`)),
		at(rr("@", "CAA", 300, `128 issue ";"`)))},
	{"TLSA", states(
		at(rr("_25._tcp", "TLSA", 300, "3 1 1 "+strings.Repeat("ab", 32))))},
	{"a name server of a part below", states(
		at(rr("part", "NS", 300, "ns1.elsewhere.example.", "ns2.elsewhere.example.")),
		at(gone("part", "NS")))},
	{"deep names", states(at(rr("a.b.c.d.e", "A", 300, "192.0.2.1")), at(gone("a.b.c.d.e", "A")))},
	{"an internationalised name", states(at(rr("xn--mller-kva", "A", 300, "192.0.2.1")))},
	{"a wildcard", states(at(rr("*", "MX", 300, "10 any.example.")), at(gone("*", "MX")))},
	{"several sets at once", states(
		at(rr("@", "MX", 300, "10 old.example."), rr("@", "TXT", 300, `"v=spf1 a -all"`), rr("autodiscover", "CNAME", 300, "old.example.")),
		at(rr("@", "MX", 300, "10 new.example."), rr("@", "TXT", 300, `"v=spf1 mx -all"`), rr("autodiscover", "CNAME", 300, "new.example.")),
		at(rr("@", "MX", 60, "10 new.example."), gone("@", "TXT"), gone("autodiscover", "CNAME"), rr("new", "AAAA", 60, "2001:db8::9")))},
	{"TTLs at their ends", states(
		at(rr("@", "A", 1, "192.0.2.1")),
		at(rr("@", "A", 604800, "192.0.2.1")))},
}

// quoted is a text of n octets in its canonical form: strings of 255.
func quoted(n int) string {
	text := strings.Repeat("0123456789abcdef", n/16+1)[:n]
	var parts []string
	for ; len(text) > 255; text = text[255:] {
		parts = append(parts, `"`+text[:255]+`"`)
	}
	return strings.Join(append(parts, `"`+text+`"`), " ")
}
