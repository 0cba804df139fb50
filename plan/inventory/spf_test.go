package inventory

import (
	"slices"
	"strings"
	"testing"
)

func TestIncludedSPFRecordsAreKept(t *testing.T) {
	inv := &Inventory{Lineage: "L", Domains: []Domain{{Name: "acme.example", Complete: true, Servers: []string{"192.0.2.1:53"}, SPF: []SPFRecord{
		{Domain: "b.example", Text: `v=spf1 exists:%{i}.x "-all`}, {Domain: "a.example", Text: "v=spf1 -all"},
	}}}}
	data := inv.Encode()
	got, err := Parse(data)
	if err != nil {
		t.Fatalf("%v in\n%s", err, data)
	}
	want := []SPFRecord{inv.Domains[0].SPF[1], inv.Domains[0].SPF[0]}
	if !slices.Equal(got.Domains[0].SPF, want) || got.Domains[0].SPFRecord("a.example") != "v=spf1 -all" || got.Domains[0].SPFRecord("c.example") != "" {
		t.Errorf("came back as %+v", got.Domains[0].SPF)
	}
	twice := strings.Replace(string(data), `spf "b.example"`, `spf "a.example"`, 1)
	if _, err := Parse([]byte(twice)); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("the same record twice: %v", err)
	}
}
