// Package mailcheck looks at everything that a domain says about its mail in
// the DNS and tells what is wrong with it: delegation, MX, SPF, DKIM, DMARC,
// MTA-STS, TLS reporting, autodiscover and DNSSEC. It changes nothing.
//
// Names of the domain itself are asked at its authoritative servers alone, since
// asking a resolver for a name that doesn't exist yet would leave that answer in its
// cache (RFC 2308). Names of others go to the resolver.
package mailcheck

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns"
)

// Observer is what *dns.NameServers does.
type Observer interface {
	providers.NameServers
	Validated(ctx context.Context, name, typ string) (authentic, broken bool, err error)
}

// Options are what a check may need besides the observer.
type Options struct {
	Selectors []string     // DKIM selectors to look for besides those of known hosts
	HTTP      *http.Client // fetches the MTA-STS policy; nil = it isn't fetched, and the report says so
}

// Severity is how bad a finding is.
type Severity string

// The severities. One Wrong makes the whole report not OK.
const (
	Fine    Severity = "ok"
	Note    Severity = "note"    // neither good nor bad
	Warning Severity = "warning" // works, and not as it should
	Wrong   Severity = "wrong"   // mail suffers
)

// Finding is one answer.
type Finding struct {
	Check    string   `json:"check"` // stable: "mx", "spf", …
	Subject  string   `json:"subject"`
	OK       bool     `json:"ok"` // false for Wrong alone
	Severity Severity `json:"severity"`
	Code     string   `json:"code"`   // stable: "spf_many_lookups"
	Detail   string   `json:"detail"` // in words
	Remedy   string   `json:"remedy"`
	Source   string   `json:"source"` // who said so
}

// Server is one authoritative server as it answered.
type Server struct {
	Address string            `json:"address"`
	Serial  uint32            `json:"serial"`
	Problem string            `json:"problem,omitempty"`
	MX      []string          `json:"mx"`
	TTL     map[string]uint32 `json:"ttl"` // by type, of the sets at the apex
}

// Include is one node of the SPF tree.
type Include struct {
	Term    string `json:"term"`
	Domain  string `json:"domain"`
	Record  string `json:"record,omitempty"`
	Lookups int    `json:"lookups"` // of this node and everything below
	Error   string `json:"error,omitempty"`
	// Unanswered says that Error is no fault of the record: nobody answered.
	Unanswered bool      `json:"unanswered,omitempty"`
	Below      []Include `json:"below,omitempty"`
}

// Report is everything that was seen.
type Report struct {
	Domain   string       `json:"domain"` // without the final dot
	OK       bool         `json:"ok"`
	Findings []Finding    `json:"findings"`
	Servers  []Server     `json:"servers"`
	Sets     []plan.RRset `json:"records"` // sorted by name and type
	SPF      *Include     `json:"spf,omitempty"`
}

// Run checks one domain. What can't be asked becomes a finding; an error means that the
// domain's name is none, or that ctx has ended.
func Run(ctx context.Context, ns Observer, domain string, o Options) (Report, error) {
	domain, err := dns.Name(domain)
	if err != nil {
		return Report{}, err
	}
	c := &check{ns: ns, domain: domain, options: o, report: Report{Domain: strings.TrimSuffix(domain, ".")}, seen: map[string]lookedUp{}}
	if c.delegation(ctx) {
		for _, ask := range []func(context.Context){
			c.mx, c.spf, c.dkim, c.dmarc, c.mtaSTS, c.tlsReporting, c.autodiscover, c.dnssec,
		} {
			ask(ctx)
		}
	}
	if ctx.Err() != nil {
		return Report{}, context.Cause(ctx)
	}
	slices.SortFunc(c.report.Sets, func(a, b plan.RRset) int { return strings.Compare(a.Name+" "+a.Type, b.Name+" "+b.Type) })
	c.report.OK = !slices.ContainsFunc(c.report.Findings, func(f Finding) bool { return f.Severity == Wrong })
	return c.report, nil
}

// check is one run.
type check struct {
	ns      Observer
	domain  string // canonical
	options Options
	report  Report
	servers []string // those that answer with authority
	seen    map[string]lookedUp
	mxHosts []string
}

type lookedUp struct {
	set    plan.RRset
	rcode  string
	source string
	err    error
}

func (c *check) find(check, subject string, s Severity, code, detail, remedy, source string) {
	c.report.Findings = append(c.report.Findings, Finding{
		Check: check, Subject: strings.TrimSuffix(subject, "."), OK: s != Wrong, Severity: s, Code: code, Detail: detail, Remedy: remedy, Source: source,
	})
}

func (c *check) own(name string) bool {
	return name == c.domain || strings.HasSuffix(name, "."+c.domain)
}

// lookup finds a set, through aliases. name is canonical.
func (c *check) lookup(ctx context.Context, name, typ string) lookedUp {
	for range 9 {
		l := c.exactly(ctx, name, typ)
		if l.err != nil || l.set.Exists() || typ == "CNAME" || !c.own(name) {
			return l
		}
		alias := c.exactly(ctx, name, "CNAME")
		if !alias.set.Exists() {
			return l
		}
		name = alias.set.Data[0]
	}
	return lookedUp{err: fmt.Errorf("the chain of CNAMEs from %s has no end", strings.TrimSuffix(name, "."))}
}

// exactly asks once for what is at that name. Names of others are followed through aliases by the resolver.
func (c *check) exactly(ctx context.Context, name, typ string) lookedUp {
	key := name + " " + typ
	if l, ok := c.seen[key]; ok {
		return l
	}
	l := c.ask(ctx, name, typ)
	c.seen[key] = l
	if l.set.Exists() && c.own(name) {
		c.report.Sets = append(c.report.Sets, l.set)
	}
	return l
}

func (c *check) ask(ctx context.Context, name, typ string) lookedUp {
	if c.own(name) {
		var last error
		for _, server := range c.servers {
			a, err := c.ns.Ask(ctx, server, name, typ)
			switch {
			case ctx.Err() != nil:
				return lookedUp{err: context.Cause(ctx)}
			case err != nil:
				last = err
			case !a.Authoritative && a.Rcode == "NOERROR" && !a.Set.Exists():
				// A part of the domain is delegated further: whoever serves it is found by the resolver.
				return c.resolve(ctx, name, typ)
			case a.Rcode != "NOERROR" && a.Rcode != "NXDOMAIN":
				last = fmt.Errorf("%s answers %s", server, a.Rcode)
			default:
				return lookedUp{set: a.Set, rcode: a.Rcode, source: server}
			}
		}
		if last == nil {
			last = errors.New("no server answers with authority")
		}
		return lookedUp{err: last}
	}
	return c.resolve(ctx, name, typ)
}

func (c *check) resolve(ctx context.Context, name, typ string) lookedUp {
	a, err := c.ns.Resolve(ctx, name, typ)
	switch {
	case err != nil:
		return lookedUp{err: err}
	case a.Rcode != "NOERROR" && a.Rcode != "NXDOMAIN":
		return lookedUp{err: fmt.Errorf("the resolver answers %s for %s %s", a.Rcode, strings.TrimSuffix(name, "."), typ)}
	}
	return lookedUp{set: a.Set, rcode: a.Rcode, source: "resolver " + a.Server}
}

// texts are the texts at a name that are of one kind.
func (c *check) texts(ctx context.Context, name string, is func(string) bool) (list []string, l lookedUp) {
	l = c.lookup(ctx, name, "TXT")
	for _, data := range l.set.Data {
		if text, err := plan.TXTText(data); err == nil && is(text) {
			list = append(list, text)
		}
	}
	return list, l
}

// unanswered is a finding where a question got no answer; nothing is concluded from it.
func (c *check) unanswered(check, subject string, err error) {
	c.find(check, subject, Warning, check+"_unanswered", "could not be asked: "+err.Error(), "ask again; where it stays, see whether the servers answer from here", "")
}

// delegation asks every server for its serial and for what stands at the apex. It reports whether
// there is anybody to ask further.
func (c *check) delegation(ctx context.Context) bool {
	const name = "delegation"
	servers, err := c.ns.Authoritative(ctx, c.domain)
	if err != nil {
		c.find(name, c.domain, Wrong, "delegation_none", "the name servers can't be found: "+err.Error(), remedyOf(err, "see whether the domain is registered and delegated"), "")
		return false
	}
	serials := map[uint32][]string{}
	sets := map[string]map[string][]string{} // type -> lines -> servers
	seen := make([]served, len(servers))
	var asked sync.WaitGroup // a silent server costs seconds: they are asked side by side
	for i, server := range servers {
		asked.Go(func() { seen[i] = c.askServer(ctx, server) })
	}
	asked.Wait()
	if ctx.Err() != nil {
		return false
	}
	for _, s := range seen {
		c.report.Servers = append(c.report.Servers, s.Server)
		if s.err != nil {
			code := "server_unreachable"
			if providers.ReasonOf(s.err) == providers.Refused {
				code = "server_lame"
			}
			c.find(name, c.domain, Wrong, code, fmt.Sprintf("%s is named as a name server and does not serve the domain: %v", s.Address, s.err), "mend the server, or take it out of the delegation", s.Address)
			continue
		}
		serials[s.Serial] = append(serials[s.Serial], s.Address)
		c.servers = append(c.servers, s.Address)
		for typ, lines := range s.lines {
			if sets[typ] == nil {
				sets[typ] = map[string][]string{}
			}
			sets[typ][lines] = append(sets[typ][lines], s.Address)
		}
	}
	if len(c.servers) == 0 {
		return false
	}
	for _, typ := range apexTypes {
		if len(sets[typ]) > 1 {
			var said []string
			for lines, who := range sets[typ] {
				if lines == "" {
					lines = "nothing"
				}
				said = append(said, fmt.Sprintf("%s: %s", strings.Join(who, " and "), lines))
			}
			slices.Sort(said)
			c.find(name, c.domain, Wrong, "servers_differ", fmt.Sprintf("the servers have different %s: %s", typ, strings.Join(said, "; ")), "wait until the zone has reached every server; where it stays, see its transfers", "")
		}
	}
	if len(serials) > 1 {
		c.find(name, c.domain, Warning, "serials_differ", "the servers have different serials, so some lag behind", "wait until the zone has reached every server", "")
	}
	if len(servers) < 2 {
		c.find(name, c.domain, Warning, "one_server", "there is one name server alone (RFC 2182 §5 asks for two)", "add another", "")
	}
	if len(c.servers) == len(servers) && len(serials) == 1 {
		c.find(name, c.domain, Fine, "servers_agree", fmt.Sprintf("%d of %d servers answer with authority and have the same serial", len(c.servers), len(servers)), "", "")
	}
	return true
}

// served is what one server said.
type served struct {
	Server
	err   error
	lines map[string]string // the apex' sets by type
}

func (c *check) askServer(ctx context.Context, server string) served {
	s := served{Server: Server{Address: server, TTL: map[string]uint32{}}, lines: map[string]string{}}
	if s.Serial, s.err = c.ns.Serial(ctx, server, c.domain); s.err != nil {
		s.Problem = s.err.Error()
		return s
	}
	for _, typ := range apexTypes {
		a, err := c.ns.Ask(ctx, server, c.domain, typ)
		if err != nil || !a.Authoritative {
			continue
		}
		s.lines[typ] = strings.Join(a.Set.Lines(), ", ")
		if a.Set.Exists() {
			s.TTL[typ] = a.Set.TTL
		}
		if typ == "MX" {
			s.MX = a.Set.Data
		}
	}
	return s
}

// apexTypes are compared between the servers.
var apexTypes = []string{"MX", "NS", "TXT"}

// remedyOf is the remedy that an error brings along.
func remedyOf(err error, otherwise string) string {
	if e, ok := errors.AsType[*providers.Error](err); ok && e.Remedy != "" {
		return e.Remedy
	}
	return otherwise
}
