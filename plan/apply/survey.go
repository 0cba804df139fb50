package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// ServerKind is how a name server stands to a record set that is wanted.
type ServerKind string

// The kinds. Converged and Slow are as wanted; every other one is told apart
// because somebody else has to mend it.
const (
	Converged ServerKind = "converged"
	Slow      ServerKind = "slow"    // as wanted, after a long time
	Lagging   ServerKind = "lagging" // still an older zone
	Lying     ServerKind = "lying"   // the same zone by its serial, and other data
	Ahead     ServerKind = "ahead"   // a newer zone with other data: somebody changed it since
	Lame      ServerKind = "lame"    // no authority
	Failing   ServerKind = "failing" // SERVFAIL and the like
	Silent    ServerKind = "silent"  // no answer
)

// ServerView is what one name server said about one record set.
type ServerView struct {
	Server string
	At     time.Time
	Kind   ServerKind
	Serial uint32 // 0 = not known
	Lines  []string
	Words  string        `json:",omitempty"` // of a failure
	Took   time.Duration `json:"-"`

	set plan.RRset
	aa  bool
	err error
	rc  string
}

// slowAnswer is when an answer counts as slow: the first try over UDP was lost.
const slowAnswer = 2 * time.Second

// survey asks every authoritative server of the step's domain for its record set and
// serial, side by side, and tells them apart by want. overTCP asks where nobody can
// answer in a server's place, as far as that is to be had.
func (e *Engine) survey(ctx context.Context, at dnsStep, want plan.RRset, overTCP bool) ([]ServerView, error) {
	ns, err := e.Systems.NameServers(at.domain)
	if err != nil {
		return nil, err
	}
	servers, err := ns.Authoritative(ctx, at.domain)
	if err != nil {
		return nil, err
	}
	if len(servers) == 0 {
		return nil, &providers.Error{Op: "ask the name servers", Subject: at.domain, Reason: providers.NotFound, Remedy: "see that the domain is delegated, or name its servers in authoritative"}
	}
	list := make([]ServerView, len(servers))
	var asked sync.WaitGroup // a silent server costs seconds; they are asked side by side
	for i, server := range servers {
		asked.Go(func() { list[i] = e.view(ctx, ns, server, at, overTCP) })
	}
	asked.Wait()
	judge(list, want)
	return list, nil
}

func (e *Engine) view(ctx context.Context, ns providers.NameServers, server string, at dnsStep, overTCP bool) ServerView {
	v := ServerView{Server: server, At: e.Clock.Now()}
	ask := ns.Ask
	if tcp, ok := ns.(providers.TCPServers); ok && overTCP {
		ask = tcp.AskTCP
	}
	ans, err := ask(ctx, server, at.fqdn(), at.typ)
	v.Took = e.Clock.Now().Sub(v.At)
	v.At = e.Clock.Now()
	if err != nil {
		v.err = err
		return v
	}
	v.set, v.aa, v.rc, v.Lines = ans.Set, ans.Authoritative, ans.Rcode, ans.Set.Lines()
	if serial, err := ns.Serial(ctx, server, at.domain); err == nil {
		v.Serial = serial
	}
	return v
}

// newer compares SOA serials (RFC 1982 §3.2).
func newer(a, b uint32) bool { return int32(a-b) > 0 }

// judge tells the servers apart by what is wanted.
func judge(list []ServerView, want plan.RRset) {
	var right []uint32 // serials of the servers that serve what is wanted
	var newest uint32
	for i := range list {
		v := &list[i]
		switch {
		case v.err != nil:
			v.Kind, v.Words = Silent, v.err.Error()
			if reason := providers.ReasonOf(v.err); reason != "" && reason != providers.Unreachable {
				v.Kind = Failing
			}
		case v.rc == "REFUSED" || v.rc == "NOTAUTH" || !v.aa && (v.rc == "NOERROR" || v.rc == "NXDOMAIN"):
			v.Kind, v.Words = Lame, strings.TrimSpace(v.rc+" without authority")
		case v.rc != "NOERROR" && v.rc != "NXDOMAIN":
			v.Kind, v.Words = Failing, v.rc
		default:
			if newest == 0 || newer(v.Serial, newest) {
				newest = v.Serial
			}
			if v.set.Equal(want) {
				v.Kind = Converged
				if v.Took > slowAnswer {
					v.Kind = Slow
				}
				right = append(right, v.Serial)
			}
		}
	}
	for i := range list {
		v := &list[i]
		if v.Kind != "" {
			continue
		}
		switch {
		case v.Serial != 0 && slices.Contains(right, v.Serial):
			v.Kind = Lying
		case len(right) > 0 && v.Serial == newest && newest != 0:
			v.Kind = Ahead
		default:
			v.Kind = Lagging
		}
	}
}

// fits reports whether the server serves what is wanted.
func (v ServerView) fits() bool { return v.Kind == Converged || v.Kind == Slow }

// answers reports whether the server has answered with authority.
func (v ServerView) answers() bool {
	return v.err == nil && v.aa && (v.rc == "NOERROR" || v.rc == "NXDOMAIN")
}

// problem says what is wrong with the server, "" when nothing is.
func (v ServerView) problem() string {
	switch v.Kind {
	case Converged, Slow:
		return ""
	case Silent:
		return v.Server + " does not answer"
	case Failing:
		return fmt.Sprintf("%s fails: %s", v.Server, v.Words)
	case Lame:
		return v.Server + " does not answer with authority (lame)"
	case Lying:
		return fmt.Sprintf("%s serves %s under the serial %d, under which others serve what is wanted: it is out of step with its own zone", v.Server, listed(v.Lines), v.Serial)
	case Ahead:
		return fmt.Sprintf("%s serves %s under the newest serial %d: somebody has changed it since", v.Server, listed(v.Lines), v.Serial)
	}
	return fmt.Sprintf("%s still serves %s", v.Server, listed(v.Lines))
}

// problems of all servers, one after the other.
func problems(list []ServerView) []string {
	var words []string
	for _, v := range list {
		if p := v.problem(); p != "" {
			words = append(words, p)
		}
	}
	return words
}

// nameServersAgree: do the delegation, every authoritative server and the
// provider say the same, over TCP, with authority and under one serial?
func nameServersAgree(ctx context.Context, e *Engine, a *Answer) {
	a.Remedy = "wait until the zone has reached every server; a server that stays behind, answers without authority or not at all is for its operator to mend, or to be taken out of the delegation"
	e.eachFlip(a, func(f flip) {
		e.delegationAgrees(ctx, f.domain.Name, a)
		held, err := e.lookOnce(ctx, f)
		if err != nil {
			a.no("%s: the provider could not be read: %v", f.domain.Name, err)
			return
		}
		e.serialsAgree(ctx, f.domain.Name, a)
		for _, r := range held {
			views, err := e.survey(ctx, r.at, r.now, false)
			if err != nil {
				a.no("%s: %v", f.domain.Name, err)
				return
			}
			for _, v := range views {
				said := listed(v.Lines)
				if v.Words != "" {
					said = v.Words
				}
				a.saw(e, v.Server, r.now.Name+" "+r.now.Type, fmt.Sprintf("%s (%s, serial %d)", said, v.Kind, v.Serial))
				switch {
				case v.fits() || v.answers() && v.set.SameData(r.now):
					// What interfaces call the TTL is not always what is served;
					// old_ttl_expired_everywhere looks at that.
				case v.Kind == Lagging:
					a.no("%s %s: %s, and the provider holds %s", r.now.Name, r.now.Type, v.problem(), listed(r.now.Lines()))
				default:
					a.no("%s %s: %s", r.now.Name, r.now.Type, v.problem())
				}
			}
		}
	})
	a.Detail = slices.Compact(a.Detail)
}

// serialsAgree asks every server for its serial over TCP.
func (e *Engine) serialsAgree(ctx context.Context, domain string, a *Answer) {
	ns, err := e.Systems.NameServers(domain)
	if err != nil {
		a.no("%s: %v", domain, err)
		return
	}
	servers, err := ns.Authoritative(ctx, domain)
	if err != nil {
		a.no("%s: the name servers could not be found: %v", domain, err)
		return
	}
	type seen struct {
		serial  uint32
		tcp     error // TCP alone failed
		err     error
		took    time.Duration
		lame    bool
		overTCP bool
	}
	list := make([]seen, len(servers))
	tcp, able := ns.(providers.TCPServers)
	atOnce(len(servers), len(servers), func(i int) {
		s := &list[i]
		begin := e.Clock.Now()
		if able {
			ans, err := tcp.AskTCP(ctx, servers[i], domain+".", "SOA")
			s.tcp, s.overTCP = err, err == nil
			if err == nil {
				s.serial, s.lame = ans.Serial, !ans.Authoritative || ans.Rcode != "NOERROR" && ans.Rcode != "NXDOMAIN"
			}
		}
		if !s.overTCP {
			s.serial, s.err = ns.Serial(ctx, servers[i], domain)
		}
		s.took = e.Clock.Now().Sub(begin)
	})
	serials := map[uint32][]string{}
	for i, s := range list {
		server := servers[i]
		switch {
		case s.err != nil && providers.ReasonOf(s.err) == providers.Refused, s.lame:
			a.saw(e, server, domain+" SOA", "no authority")
			a.no("%s: %s does not answer with authority (lame)", domain, server)
		case s.err != nil:
			a.saw(e, server, domain+" SOA", s.err.Error())
			a.no("%s: %s does not answer", domain, server)
		default:
			how := "over TCP"
			if !s.overTCP {
				how = "over UDP"
			}
			a.saw(e, server, domain+" SOA "+how, fmt.Sprintf("serial %d, after %s", s.serial, s.took.Round(time.Millisecond)))
			serials[s.serial] = append(serials[s.serial], server)
			if s.tcp != nil {
				a.warn("%s: %s answers over UDP alone (RFC 7766 §5 asks for TCP)", domain, server)
			}
		}
	}
	if len(serials) > 1 {
		var newest uint32
		for serial := range serials {
			if newest == 0 || newer(serial, newest) {
				newest = serial
			}
		}
		for serial, who := range serials {
			if serial != newest {
				a.no("%s: %s lag behind: serial %d, the newest is %d", domain, strings.Join(who, " and "), serial, newest)
			}
		}
		slices.Sort(a.Detail)
	}
}

// delegationAgrees compares both sides of the delegation, as far as it is to be
// had. All servers of both are asked in any case, so a difference is a warning.
func (e *Engine) delegationAgrees(ctx context.Context, domain string, a *Answer) {
	ns, err := e.Systems.NameServers(domain)
	if err != nil {
		return // serialsAgree says so
	}
	d, ok := ns.(providers.Delegator)
	if !ok {
		return
	}
	parent, own, err := d.Delegation(ctx, domain)
	switch {
	case err != nil && !errors.Is(err, context.Canceled):
		a.no("%s: the delegation could not be followed: %v", domain, err)
	case len(parent)+len(own) == 0:
	default:
		a.saw(e, "the parent of "+domain, domain+" NS", strings.Join(parent, ", "))
		a.saw(e, "the zone "+domain, domain+" NS", strings.Join(own, ", "))
		if !slices.Equal(parent, own) {
			a.warn("%s: the parent names the servers %s, and the zone itself %s; all of them are asked", domain, strings.Join(parent, ", "), strings.Join(own, ", "))
		}
	}
}

// dnssecValid: where the domain is signed, does the chain hold?
func dnssecValid(ctx context.Context, e *Engine, a *Answer) {
	a.Remedy = "see that the DS at the registry fits the zone's keys and that signatures have not run out; where DNSSEC is not meant, have the registrar take the DS out"
	e.eachFlip(a, func(f flip) {
		domain := f.domain.Name
		p := e.prospect(a)
		key, err := p.find(ctx, domain+".", "DNSKEY")
		if err != nil {
			a.warn("%s: whether the zone is signed could not be asked: %v", domain, err) // silence is name_servers_agree's
			return
		}
		cfg, _ := e.Migration.Zone(f.domain.Zone)
		ns, err := e.Systems.NameServers(domain)
		if err != nil {
			a.no("%s: %v", domain, err)
			return
		}
		if !cfg.Worldly() {
			if key.Exists() {
				a.warn("%s is signed, and whether the chain holds can't be asked: %v", domain, errNotAsked)
			}
			return
		}
		ds, err := ns.Resolve(ctx, domain+".", "DS")
		if err != nil || ds.Rcode != "NOERROR" && ds.Rcode != "NXDOMAIN" {
			a.warn("%s: whether the parent has a DS could not be asked at the resolver", domain)
			if !key.Exists() {
				return
			}
		}
		a.saw(e, "the resolver", domain+". DS", listed(ds.Set.Lines()))
		switch {
		case ds.Set.Exists() && !key.Exists():
			a.no("%s: the parent has a DS, and the zone no key: for resolvers that validate, the domain does not exist", domain)
			return
		case !key.Exists():
			return
		}
		v, ok := ns.(providers.Validator)
		if !ok {
			a.warn("%s is signed, and nobody was there to validate it", domain)
			return
		}
		authentic, broken, err := v.Validated(ctx, domain+".", "SOA")
		switch {
		case err != nil:
			a.warn("%s is signed, and whether the chain holds could not be asked", domain)
		case broken:
			a.no("%s: the chain of signatures doesn't hold: a resolver that validates refuses the domain", domain)
		case !authentic && ds.Set.Exists():
			a.warn("%s is signed, and the resolver that was asked doesn't validate", domain)
		}
	})
}
