package mailrecords

import (
	"errors"
	"strings"
	"testing"
)

func TestSPFCost(t *testing.T) {
	world := map[string][]string{
		"a.example. TXT": {"v=spf1 include:b.example mx -all"}, "b.example. TXT": {"other", "v=spf1 a ~all"},
		"a.example. MX": {"10 x."}, "b.example. AAAA": {"2001:db8::1"},
		"two.example. TXT": {"v=spf1 -all", "v=spf1 ~all"}, "loop.example. TXT": {"v=spf1 include:loop.example -all"},
		"wide.example. TXT": {"v=spf1 " + strings.Repeat("include:wide2.example ", 6) + "-all"}, "wide2.example. TXT": {"v=spf1 " + strings.Repeat("exists:e.example ", 6) + "-all"},
	}
	ask := func(name, typ string) ([]string, error) {
		if strings.HasPrefix(name, "silent.") {
			return nil, errors.New("no answer")
		}
		return world[name+" "+typ], nil
	}
	for record, want := range map[string]struct {
		lookups, void, faults, unasked int
	}{
		"v=spf1 ip4:192.0.2.1 -all":                      {},
		"v=spf1 include:a.example -all":                  {4, 0, 0, 0},
		"v=spf1 include:A.Example. a:gone.example -all":  {5, 1, 0, 0},
		"v=spf1 include:gone.example -all":               {1, 1, 1, 0},
		"v=spf1 include:two.example -all":                {1, 0, 1, 0},
		"v=spf1 include:loop.example -all":               {2, 0, 1, 0},
		"v=spf1 include:silent.example mx:silent.x -all": {2, 0, 0, 2},
		"v=spf1 exists:%{i}.x.example ptr -all":          {2, 0, 0, 0},
		"v=spf1 redirect=a.example":                      {4, 0, 0, 0},
		"v=spf1 redirect=a.example -all":                 {},
		"v=spf1 ip4:999.1.1.1 -all":                      {0, 0, 1, 0},
	} {
		c := SPFCost("acme.example", record, ask)
		if c.Lookups != want.lookups || c.Void != want.void || len(c.Faults) != want.faults || len(c.Unasked) != want.unasked {
			t.Errorf("%s: %+v, want %+v", record, c, want)
		}
	}
	if c := SPFCost("acme.example", world["wide.example. TXT"][0], ask); c.Lookups <= MaxLookups || c.Lookups > enough {
		t.Errorf("wide: %d look-ups", c.Lookups)
	}
}
