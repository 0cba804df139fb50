package inventory

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
)

func TestPolicyAndChainAreKept(t *testing.T) {
	d := Domain{
		Name: "acme.example", Complete: true, Servers: []string{"192.0.2.1:53"}, Signed: true, Chain: ChainValid,
		DMARC: "v=DMARC1; p=none;", TTL: plan.TTLLimits{Minimum: 60, Maximum: 86400},
		STS: STSPolicy{ID: "20261126", Mode: "enforce", MX: []string{"mx.b.example", "*.a.example"}, MaxAge: 7 * 24 * time.Hour},
	}
	inv := &Inventory{Lineage: "L", Domains: []Domain{d}}
	data := inv.Encode()
	got, err := Parse(data)
	if err != nil {
		t.Fatalf("%v in\n%s", err, data)
	}
	want := d
	want.STS.MX = []string{"*.a.example", "mx.b.example"}
	g := got.Domains[0]
	if !reflect.DeepEqual(g.STS, want.STS) || g.TTL != want.TTL || g.DMARC != want.DMARC || g.Chain != want.Chain {
		t.Errorf("came back as %+v, want %+v", g, want)
	}
	// A file from before knows none of it, and means the same as ever.
	plain := &Inventory{Lineage: "L", Domains: []Domain{{Name: "acme.example", Complete: true, Servers: d.Servers}}}
	for _, word := range []string{"chain", "minimum_ttl", "maximum_ttl", "mta_sts", "dmarc"} {
		if strings.Contains(string(plain.Encode()), word) {
			t.Errorf("%s stands in a file that has nothing to say of it", word)
		}
	}
	for text, words := range map[string]string{
		strings.Replace(string(data), `"valid"`, `"perhaps"`, 1):                      "no chain of signatures",
		strings.Replace(string(data), `"enforce"`, `""`, 1):                           "has a mode",
		strings.Replace(string(data), "max_age = 604800", "max_age = 99999999999", 1): "max_age",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want words of %q", err, words)
		}
	}
}
