package discover

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/providers"
)

// chained is a resolver that knows of a DS, and may validate.
type chained struct {
	providers.NameServers
	ds                []string
	authentic, broken bool
	homeless          bool // the policy's host has no address
	err               error
}

func (c chained) Resolve(_ context.Context, name, typ string) (providers.Answer, error) {
	if c.err != nil {
		return providers.Answer{}, c.err
	}
	if typ == "TXT" {
		return providers.Answer{Rcode: "NOERROR", Set: plan.RRset{Name: name, Type: typ, Data: []string{`"v=STSv1; id=9"`}}}, nil
	}
	return providers.Answer{Rcode: "NOERROR", Set: plan.RRset{Name: name, Type: typ, Data: c.ds}}, nil
}

func (c chained) Authoritative(context.Context, string) ([]string, error) {
	return []string{"192.0.2.1:53"}, nil
}

func (c chained) Ask(_ context.Context, _, name, typ string) (providers.Answer, error) {
	a := providers.Answer{Rcode: "NOERROR", Authoritative: true, Set: plan.RRset{Name: name, Type: typ}}
	if typ == "A" && !c.homeless {
		a.Set.Data = []string{"192.0.2.5"}
	}
	return a, nil
}

func (c chained) Validated(context.Context, string, string) (bool, bool, error) {
	return c.authentic, c.broken, nil
}

func TestChain(t *testing.T) {
	ds := []string{"1 13 2 aa"}
	for _, tt := range []struct {
		ns     chained
		signed bool
		want   string
	}{
		{chained{}, false, inventory.ChainNone},
		{chained{}, true, inventory.ChainNone},
		{chained{ds: ds}, false, inventory.ChainOrphan},
		{chained{ds: ds, authentic: true}, true, inventory.ChainValid},
		{chained{ds: ds, broken: true}, true, inventory.ChainBroken},
		{chained{ds: ds}, true, inventory.ChainUnseen},
		{chained{err: errors.New("no answer")}, true, inventory.ChainUnknown},
	} {
		if got := (&observer{}).chain(t.Context(), tt.ns, "acme.example", tt.signed); got != tt.want {
			t.Errorf("%+v, signed %v: %q, want %q", tt.ns, tt.signed, got, tt.want)
		}
	}
}

// pages is a web with one page.
type pages struct {
	providers.Systems
	page providers.Page
	err  error
}

func (p pages) Web(string) (providers.Web, error) { return p, nil }
func (p pages) Get(_ context.Context, url string) (providers.Page, error) {
	if url != "https://mta-sts.acme.example/.well-known/mta-sts.txt" {
		return providers.Page{}, errors.New("asked for " + url)
	}
	return p.page, p.err
}

func TestPolicyIsFollowed(t *testing.T) {
	const body = "version: STSv1\nmode: enforce\nmx: mx.old.example\nmax_age: 3600\n"
	record := []plan.RRset{{Name: "_mta-sts.acme.example.", Type: "TXT", Data: []string{`"v=STSv1; id=1"`}}}
	alias := []plan.RRset{{Name: "_mta-sts.acme.example.", Type: "CNAME", Data: []string{"sts.host.example."}}}
	found := inventory.STSPolicy{ID: "1", Mode: "enforce", MX: []string{"mx.old.example"}, MaxAge: time.Hour}
	aliased := found
	aliased.ID = "9"
	for _, tt := range []struct {
		name string
		sets []plan.RRset
		page providers.Page
		err  error
		want inventory.STSPolicy
		says int
	}{
		{"a policy", record, providers.Page{Status: 200, Body: body}, nil, found, 0},
		{"by an alias", alias, providers.Page{Status: 200, Body: body}, nil, aliased, 0},
		{"no host", record, providers.Page{Status: 200, Body: body}, nil, inventory.STSPolicy{}, 1},
		{"no record", nil, providers.Page{Status: 200, Body: body}, nil, inventory.STSPolicy{}, 0},
		{"not there", record, providers.Page{Status: 404}, nil, inventory.STSPolicy{}, 1},
		{"no connection", record, providers.Page{}, errors.New("refused"), inventory.STSPolicy{}, 1},
		{"no policy", record, providers.Page{Status: 200, Body: "<html>"}, nil, inventory.STSPolicy{}, 1},
	} {
		var said []string
		o := &observer{sys: pages{page: tt.page, err: tt.err}, progress: func(s string) { said = append(said, s) }}
		if got := o.policy(t.Context(), chained{homeless: tt.name == "no host"}, "acme.example", tt.sets); !reflect.DeepEqual(got, tt.want) || len(said) != tt.says {
			t.Errorf("%s: %+v and %d warnings, want %+v and %d: %q", tt.name, got, len(said), tt.want, tt.says, said)
		}
	}
}

// dmarcs is a resolver that knows the policy behind an alias.
type dmarcs struct {
	providers.NameServers
	data []string
	err  error
}

func (d dmarcs) Resolve(_ context.Context, name, typ string) (providers.Answer, error) {
	if name != "_dmarc.acme.example." || typ != "TXT" {
		return providers.Answer{}, errors.New("asked for " + name + " " + typ)
	}
	return providers.Answer{Rcode: "NOERROR", Set: plan.RRset{Name: "dmarc.ionos.de.", Type: typ, Data: d.data}}, d.err
}

func TestPolicyBehindAnAlias(t *testing.T) {
	alias := []plan.RRset{{Name: "_dmarc.acme.example.", Type: "CNAME", Data: []string{"dmarc.ionos.de."}}}
	o := &observer{}
	if got := o.dmarcBehind(t.Context(), dmarcs{data: []string{`"other"`, `"v=DMARC1; p=none;"`}}, "acme.example", alias); got != "v=DMARC1; p=none;" {
		t.Errorf("found %q", got)
	}
	if got := o.dmarcBehind(t.Context(), dmarcs{err: errors.New("no answer")}, "acme.example", alias); got != "" {
		t.Errorf("without an answer: %q", got)
	}
	if got := o.dmarcBehind(t.Context(), dmarcs{data: []string{`"v=DMARC1; p=none;"`}}, "acme.example", nil); got != "" {
		t.Errorf("without an alias: %q", got)
	}
}
