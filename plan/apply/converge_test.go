package apply

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns"
)

// TestServersConverge flips while one name server lags and a resolver holds the
// old MX, and reads from the journal what each of them said, and when.
func TestServersConverge(t *testing.T) {
	t.Parallel()
	l := startFlipLab(t)
	ns := l.servers.(*dns.NameServers)
	ns.Watch = []string{l.resolver.Addr()}
	l.put(acme("MX", 60, "10 mx.old.example."))
	if _, err := ns.Resolve(t.Context(), "acme.example.", "MX"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	l.prepare()
	l.third.Lag(time.Second)
	time.Sleep(1200 * time.Millisecond) // the third shows the zone as it was a second ago
	l.run()
	const mx = "dns/acme.example/MX/@"
	kinds := func() map[string]ServerKind {
		m := map[string]ServerKind{}
		for _, r := range l.engine().Convergence() {
			if r.Step == mx {
				for _, s := range r.Servers {
					m[s.Server] = s.Kind
				}
			}
		}
		return m
	}
	var lagged bool
	for _, e := range l.j.entries {
		var d entryData
		if e.Event == evServers && e.Step == mx && json.Unmarshal(e.Data, &d) == nil {
			lagged = lagged || slices.ContainsFunc(d.Views, func(v ServerView) bool {
				return v.Server == l.third.Addr() && v.Kind == Lagging && !v.At.IsZero() && v.Serial > 0 && slices.Equal(v.Lines, []string{"60 MX 10 mx.old.example."})
			})
		}
	}
	if !lagged {
		t.Error("the journal doesn't say that the third server lagged, when, and with what")
	}
	got := kinds()
	for _, s := range []string{l.primary.Addr(), l.second.Addr(), l.third.Addr()} {
		if got[s] != Converged {
			t.Errorf("%s is %q after the flip", s, got[s])
		}
	}
	if got[l.resolver.Addr()] != Lagging {
		t.Errorf("the resolver, which holds the old MX, is %q", got[l.resolver.Addr()])
	}
	l.clock.ahead.Add(int64(61 * time.Second))
	l.run()
	if got := kinds(); got[l.resolver.Addr()] != Converged {
		t.Errorf("the resolver is %q after the TTL", got[l.resolver.Addr()])
	}
}

func TestJudge(t *testing.T) {
	want := plan.RRset{Name: "a.", Type: "MX", TTL: 60, Data: []string{"10 new."}}
	old := plan.RRset{Name: "a.", Type: "MX", TTL: 60, Data: []string{"10 old."}}
	right := ServerView{Server: "right", Serial: 7, set: want, aa: true, rc: "NOERROR"}
	for _, tt := range []struct {
		v    ServerView
		with []ServerView
		want ServerKind
	}{
		{right, nil, Converged},
		{ServerView{Serial: 7, set: want, aa: true, rc: "NOERROR", Took: 3 * time.Second}, nil, Slow},
		{ServerView{Serial: 6, set: old, aa: true, rc: "NOERROR"}, []ServerView{right}, Lagging},
		{ServerView{Serial: 7, set: old, aa: true, rc: "NOERROR"}, []ServerView{right}, Lying},
		{ServerView{Serial: 8, set: old, aa: true, rc: "NOERROR"}, []ServerView{right}, Ahead},
		{ServerView{Serial: 7, set: old, aa: true, rc: "NOERROR"}, nil, Lagging},
		{ServerView{Serial: 1<<32 - 1, set: old, aa: true, rc: "NOERROR"}, []ServerView{{Serial: 3, set: want, aa: true, rc: "NOERROR"}}, Lagging},
		{ServerView{set: plan.RRset{}, rc: "NOERROR"}, []ServerView{right}, Lame},
		{ServerView{rc: "REFUSED"}, []ServerView{right}, Lame},
		{ServerView{rc: "SERVFAIL"}, []ServerView{right}, Failing},
		{ServerView{err: &providers.Error{Reason: providers.Unreachable}}, []ServerView{right}, Silent},
	} {
		list := append([]ServerView{tt.v}, tt.with...)
		judge(list, want)
		if list[0].Kind != tt.want {
			t.Errorf("%+v beside %d others: %s, want %s", tt.v, len(tt.with), list[0].Kind, tt.want)
		}
		if (list[0].problem() == "") != list[0].fits() {
			t.Errorf("%s: problem %q", list[0].Kind, list[0].problem())
		}
	}
}
