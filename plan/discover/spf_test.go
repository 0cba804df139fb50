package discover

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/providers"
)

// texts is a resolver of TXT records.
type texts struct {
	providers.NameServers
	records map[string][]string
	asked   []string
}

func (r *texts) Resolve(_ context.Context, name, typ string) (providers.Answer, error) {
	r.asked = append(r.asked, name+" "+typ)
	data, ok := r.records[name]
	if !ok {
		return providers.Answer{}, errors.New("nobody answers")
	}
	return providers.Answer{Rcode: "NOERROR", Set: plan.RRset{Name: name, Type: typ, Data: data}}, nil
}

func TestIncludesAreFollowedOnce(t *testing.T) {
	ns := &texts{records: map[string][]string{
		"_spf.old.example.": {`"other text"`, `"v=spf1 include:deep.example -all"`},
		"deep.example.":     {`"v=spf1 include:_spf.old.example ip4:192.0.2.1 -all"`},
		"_spf.new.example.": {`"v=spf1 mx " "-all"`},
		"none.example.":     {`"no spf here"`},
	}}
	var said []string
	o := &observer{progress: func(s string) { said = append(said, s) }}
	d := plan.Domain{Name: "acme.example", Records: []plan.Record{{Type: "TXT", Name: "@", Values: []string{"v=spf1 include:_spf.new.example include:none.example include:gone.example -all"}}}}
	got := o.includes(t.Context(), ns, d, []plan.RRset{{Name: "acme.example.", Type: "TXT", Data: []string{`"v=spf1 include:_spf.old.example ~all"`}}, {Name: "x.acme.example.", Type: "TXT", Data: []string{`"v=spf1 include:not.asked.example -all"`}}})
	want := []inventory.SPFRecord{
		{Domain: "_spf.old.example", Text: "v=spf1 include:deep.example -all"},
		{Domain: "_spf.new.example", Text: "v=spf1 mx -all"},
		{Domain: "deep.example", Text: "v=spf1 include:_spf.old.example ip4:192.0.2.1 -all"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("found %+v\n want %+v", got, want)
	}
	if len(ns.asked) != 5 {
		t.Errorf("asked %q, want each of five names once", ns.asked)
	}
	if len(said) != 1 {
		t.Errorf("said %q, want a warning about gone.example alone", said)
	}
}

func TestLaboratoriesAreNotAskedAbout(t *testing.T) {
	for _, tt := range []struct {
		zone plan.ZoneConfig
		want bool
	}{
		{plan.ZoneConfig{Kind: "by_hand"}, true},
		{plan.ZoneConfig{Kind: "rfc2136", Server: "ns1.acme.example:53"}, true},
		{plan.ZoneConfig{Kind: "rfc2136", Server: "127.0.0.1:5301"}, false},
		{plan.ZoneConfig{Kind: "by_hand", Authoritative: []string{"[::1]:53"}}, false},
		{plan.ZoneConfig{Kind: "rfc2136", Server: "127.0.0.1:5301", Resolver: "127.0.0.1:5303"}, true},
	} {
		if got := tt.zone.Worldly(); got != tt.want {
			t.Errorf("%+v: %v, want %v", tt.zone, got, tt.want)
		}
	}
}
