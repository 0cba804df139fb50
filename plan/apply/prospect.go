package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// prospect is the DNS as it will be once the flip is written: the plan's
// record sets stand over those that the name servers serve. Names of our
// domains are asked at their authoritative servers alone, because a resolver would
// keep the answer that there is nothing (RFC 2308); names of others exist
// already and are asked at the resolver.
type prospect struct {
	e       *Engine
	a       *Answer
	planned map[string]plan.RRset
}

func (e *Engine) prospect(a *Answer) *prospect {
	p := &prospect{e: e, a: a, planned: map[string]plan.RRset{}}
	list, err := e.flips()
	if err != nil {
		a.no("%v", err)
	}
	for _, f := range list {
		for _, r := range f.records {
			p.planned[r.want.Name+" "+r.want.Type] = r.want
		}
	}
	return p
}

// errNotAsked is a question that nobody can be asked.
var errNotAsked = errors.New("no resolver is named, and the zone is one of this machine")

// find is the set of exactly that name; an alias is not followed. An error
// means that nobody answered: nothing is known then.
func (p *prospect) find(ctx context.Context, name, typ string) (plan.RRset, error) {
	name = strings.ToLower(name)
	none := plan.RRset{Name: name, Type: typ}
	if set, ok := p.planned[name+" "+typ]; ok {
		return set, nil
	}
	if alias := p.planned[name+" CNAME"]; alias.Exists() {
		return none, nil // nothing stands beside it (RFC 1034 §3.6.2)
	}
	ans, err := roundOf(ctx).sets.get(name+" "+typ, func() (providers.Answer, error) { return p.ask(ctx, name, typ) })
	if err != nil {
		p.a.saw(p.e, "nobody", name+" "+typ, err.Error())
		return none, err
	}
	p.a.saw(p.e, ans.Server, name+" "+typ, listed(ans.Set.Lines()))
	if ans.Set.Name != name {
		return none, nil // an alias at a resolver; follow goes along it
	}
	return ans.Set, nil
}

// owner is the migrated domain that name belongs to.
func (e *Engine) owner(name string) (plan.Domain, bool) {
	var best plan.Domain
	for _, d := range e.Migration.Domains {
		if (name == d.Name+"." || strings.HasSuffix(name, "."+d.Name+".")) && len(d.Name) > len(best.Name) {
			best = d
		}
	}
	return best, best.Name != ""
}

func (p *prospect) ask(ctx context.Context, name, typ string) (providers.Answer, error) {
	d, ours := p.e.owner(name)
	if !ours {
		return p.outside(ctx, name, typ)
	}
	ns, err := p.e.Systems.NameServers(d.Name)
	if err != nil {
		return providers.Answer{}, err
	}
	servers, err := ns.Authoritative(ctx, d.Name)
	if err != nil {
		return providers.Answer{}, err
	}
	last := errors.New("no name server answers with authority")
	for _, server := range servers {
		ans, err := ns.Ask(ctx, server, name, typ)
		switch {
		case err != nil:
			last = err
		case !ans.Authoritative && ans.Rcode == "NOERROR" && !ans.Set.Exists() && name != d.Name+".":
			return p.outside(ctx, name, typ) // perhaps a part that is delegated further
		case !ans.Authoritative || ans.Rcode != "NOERROR" && ans.Rcode != "NXDOMAIN":
			last = fmt.Errorf("%s answers %s without authority", server, ans.Rcode)
		default:
			return ans, nil
		}
	}
	return providers.Answer{}, last
}

// outside asks a resolver, by way of the first domain whose configuration allows it.
func (p *prospect) outside(ctx context.Context, name, typ string) (providers.Answer, error) {
	for _, d := range p.e.Migration.Domains {
		cfg, ok := p.e.Migration.Zone(d.Zone)
		if !ok || !cfg.Worldly() {
			continue
		}
		ns, err := p.e.Systems.NameServers(d.Name)
		if err != nil {
			return providers.Answer{}, err
		}
		ans, err := ns.Resolve(ctx, name, typ)
		if err == nil && ans.Rcode != "NOERROR" && ans.Rcode != "NXDOMAIN" {
			err = fmt.Errorf("the resolver answers %s", ans.Rcode)
		}
		return ans, err
	}
	return providers.Answer{}, errNotAsked
}

// follow is find along aliases. end is the name at the end of the chain.
func (p *prospect) follow(ctx context.Context, name, typ string) (set plan.RRset, end string, err error) {
	name = strings.ToLower(name)
	for range 9 {
		set, err := p.find(ctx, name, typ)
		if err != nil || set.Exists() {
			return set, name, err
		}
		alias, err := p.find(ctx, name, "CNAME")
		if err != nil || !alias.Exists() {
			return set, name, err
		}
		name = strings.ToLower(alias.Data[0])
	}
	return plan.RRset{}, name, errors.New("the chain of aliases has no end")
}

// texts are the TXT records at the end of name's aliases, as plain text, of one kind.
func (p *prospect) texts(ctx context.Context, name string, is func(string) bool) ([]string, error) {
	set, _, err := p.follow(ctx, name, "TXT")
	return textsOf(set, is), err
}

func textsOf(set plan.RRset, is func(string) bool) []string {
	var list []string
	for _, data := range set.Data {
		if text, err := plan.TXTText(data); err == nil && is(text) {
			list = append(list, text)
		}
	}
	return list
}

// addresses reports whether a host has an address.
func (p *prospect) addresses(ctx context.Context, host string) (bool, error) {
	for _, typ := range []string{"A", "AAAA"} {
		set, _, err := p.follow(ctx, host, typ)
		if err != nil || set.Exists() {
			return set.Exists(), err
		}
	}
	return false, nil
}

// signed reports whether name's zone is signed with DNSSEC, as far as anybody tells:
// by its keys where it is ours, by a resolver that validates where it is not.
func (p *prospect) signed(ctx context.Context, name string) bool {
	if d, ours := p.e.owner(name); ours {
		key, err := p.find(ctx, d.Name+".", "DNSKEY")
		return err == nil && key.Exists()
	}
	for _, d := range p.e.Migration.Domains {
		if cfg, ok := p.e.Migration.Zone(d.Zone); !ok || !cfg.Worldly() {
			continue
		}
		ns, err := p.e.Systems.NameServers(d.Name)
		if v, ok := ns.(providers.Validator); err == nil && ok {
			authentic, _, err := v.Validated(ctx, name, "A")
			return err == nil && authentic
		}
	}
	return false
}
