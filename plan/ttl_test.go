package plan

import (
	"testing"
	"time"
)

func TestTTLLimits(t *testing.T) {
	d := Domain{Name: "acme.example", TTLDuring: 30 * time.Second, TTLRestore: 48 * time.Hour, Pos: Pos{File: "a.mx.hcl", Line: 7}, Records: []Record{
		{Type: "MX", Name: "@"}, {Type: "A", Name: "mail", TTL: 10 * time.Second, Pos: Pos{File: "a.mx.hcl", Line: 12}},
	}}
	for limits, want := range map[TTLLimits][]string{
		{}:                             nil,
		{Minimum: 10, Maximum: 172800}: nil,
		{Minimum: 60}:                  {"ttl.during of acme.example", "the ttl of record A mail of acme.example"},
		{Maximum: 86400}:               {"ttl.restore of acme.example"},
		{Minimum: 11}:                  {"the ttl of record A mail of acme.example"},
	} {
		got := limits.Refuse(d)
		if len(got) != len(want) {
			t.Errorf("%+v: %+v, want %v", limits, got, want)
			continue
		}
		for i, r := range got {
			if r.Subject != want[i] || r.Words == "" || r.Pos.File == "" {
				t.Errorf("%+v: %+v, want %s", limits, r, want[i])
			}
		}
	}
}
