package planner

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/spf"
)

func TestMergeSPF(t *testing.T) {
	for _, c := range []struct {
		text string
		olds []string
		want string
	}{
		{"v=spf1 include:n.example -all", []string{"v=spf1 include:o.example ~all"}, "v=spf1 include:n.example include:o.example -all"},
		{"v=spf1 include:n.example -all", []string{"v=spf1 INCLUDE:N.example +mx ip4:192.0.2.0/24 ?all"}, "v=spf1 include:n.example +mx ip4:192.0.2.0/24 -all"},
		{"v=spf1 mx -all", []string{"v=spf1 +mx all"}, "v=spf1 mx -all"},
		{"v=spf1 mx -all", []string{"v=spf1 redirect=_spf.o.example"}, "v=spf1 mx include:_spf.o.example -all"},
		{"v=spf1 mx redirect=_spf.n.example", []string{"v=spf1 a exp=x.example -all"}, "v=spf1 mx a redirect=_spf.n.example"},
		{"v=spf1 -all", []string{"v=spf1 a -all", "v=spf1 mx -all"}, "v=spf1 a mx -all"},
		{"v=spf1", nil, "v=spf1"},
	} {
		got := mergeSPF(c.text, c.olds)
		if got != c.want {
			t.Errorf("%q with %q: %q, want %q", c.text, c.olds, got, c.want)
		}
		if again := mergeSPF(c.text, []string{got}); again != got {
			t.Errorf("%q is not stable: %q", got, again)
		}
	}
}

// Merging once more with what is there already changes nothing: else the plan
// would find something to do for ever.
func TestMergeSPFIsStable(t *testing.T) {
	term := rapid.SampledFrom([]string{"mx", "+mx", "a", "-a:x.example", "include:a.example", "INCLUDE:a.example", "redirect=r.example", "exp=e.example", "all", "-all", "~all", "ip4:192.0.2.1", "ip6:::1"})
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) string {
			return strings.Join(append([]string{"v=spf1"}, rapid.SliceOfN(term, 0, 6).Draw(t, name)...), " ")
		}
		text, old := draw("new"), draw("old")
		merged := mergeSPF(text, []string{old})
		if again := mergeSPF(text, []string{merged}); again != merged {
			t.Fatalf("%q with %q is %q, then %q", text, old, merged, again)
		}
		if !spf.Is(merged) {
			t.Fatalf("%q is no SPF record", merged)
		}
	})
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		glob, name string
		want       bool
	}{
		{"Spam", "Spam", true}, {"Spam", "spam", false}, {"Papierkorb/*", "Papierkorb/2019/x", true}, {"Papierkorb/*", "Papierkorb", false},
		{"*", "anything/at all", true}, {"", "", true}, {"", "x", false}, {"a*b*c", "a/b/b/c", true}, {"a*b*c", "acb", false},
		{"inbox", "INBOX", true}, {"Inbox/*", "INBOX/x", true}, {"inboxes", "INBOXES", false}, {"?", "ü", true}, {"a?c", "abbc", false},
		{strings.Repeat("a*", 50) + "b", strings.Repeat("a", 5000), false},
	} {
		if got := match(c.glob, c.name); got != c.want {
			t.Errorf("%q on %q: %v", c.glob, c.name, got)
		}
	}
}

func TestMapped(t *testing.T) {
	r := plan.FolderRules{Map: map[string]string{"A": "B", "A/x": "C", "Inbox/x": "D"}}
	for name, want := range map[string]string{"A": "B", "A/y/z": "B/y/z", "A/x": "C", "A/x/1": "C/1", "AA": "AA", "b/A": "b/A", "INBOX/x/y": "D/y"} {
		if got := mapped(r, name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
