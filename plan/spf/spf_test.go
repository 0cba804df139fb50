package spf

import (
	"slices"
	"testing"

	"github.com/mxodus/mxodus/providers/faults"
)

func TestLookups(t *testing.T) {
	records := map[string]string{
		"a.example": "v=spf1 include:b.example ip4:192.0.2.1 -all", "b.example": "v=spf1 a mx:c.example ~all",
		"loop.example": "v=spf1 include:loop.example -all", "r.example": "v=spf1 redirect=b.example",
	}
	for text, want := range map[string]struct {
		n     int
		whole bool
	}{
		"v=spf1 -all": {0, true},
		"v=spf1":      {0, true},
		"V=SPF1 ip4:192.0.2.0/24 ip6:2001:db8::/32 ?all": {0, true},
		"v=spf1 mx -all": {1, true},
		"v=spf1 a/24 ptr exists:%{i}.x.example -all": {3, true},
		"v=spf1 include:a.example -all":              {4, true},
		"v=spf1 +INCLUDE:A.example. -all":            {4, true},
		"v=spf1 include:r.example -all":              {4, true},
		"v=spf1 include:gone.example mx -all":        {2, false},
		"v=spf1 include:%{d}.x.example -all":         {1, true},
		"not spf include:a.example":                  {0, true},
	} {
		n, whole := Lookups(text, func(d string) string { return records[d] })
		if n != want.n || whole != want.whole {
			t.Errorf("%s: %d, %v; want %d, %v", text, n, whole, want.n, want.whole)
		}
	}
	if n, _ := Lookups(records["loop.example"], func(d string) string { return records[d] }); n <= Limit {
		t.Errorf("a circle counts %d look-ups", n)
	}
}

func TestIncluded(t *testing.T) {
	got := Included("v=spf1 include:a.example. ~include:B.example a:c.example redirect=d.example include:%{o}.e.example -all")
	if want := []string{"a.example", "b.example", "d.example"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestIs(t *testing.T) {
	for text, want := range map[string]bool{"v=spf1": true, "v=spf1 a": true, "V=SPF1 -all": true, "v=spf10 a": false, "v=spf": false, "": false, " v=spf1": false} {
		if Is(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

func FuzzLookups(f *testing.F) {
	f.Add("v=spf1 include:a redirect=b exists:%{i} a:/24 -all")
	faults.Fuzz(f, func(t *testing.T, text string) {
		if n, _ := Lookups(text, func(string) string { return text }); n < 0 {
			t.Error("negative")
		}
	})
}
