package planner_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
)

var update = flag.Bool("update", false, "write the golden plans anew")

// Plans as people review them. A change here is a change of what mxodus does.
func TestGoldenPlans(t *testing.T) {
	cases := map[string]func(m *plan.Migration, inv *inventory.Inventory){
		"first": func(*plan.Migration, *inventory.Inventory) {},
		"no_domain": func(m *plan.Migration, _ *inventory.Inventory) {
			m.Domains, m.Aliases, m.Lists, m.Forwarders = nil, nil, nil, nil
		},
		"spf_overlap": func(m *plan.Migration, _ *inventory.Inventory) {
			m.Domains[0].SPF = "overlap"
			m.Mailboxes = m.Mailboxes[:1]
		},
		"by_hand_zone": func(m *plan.Migration, _ *inventory.Inventory) {
			m.Zones[0].Kind, m.Domains[0].Zone = "by_hand", "by_hand.lab"
			m.Mailboxes = m.Mailboxes[:1]
		},
	}
	files, err := filepath.Glob("testdata/*.plan")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if cases[strings.TrimSuffix(filepath.Base(f), ".plan")] == nil {
			t.Errorf("%s belongs to no case: remove it", f)
		}
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			m, inv := migration(t), observed()
			change(m, inv)
			p := make1(m, inv)
			p.Config = "sha256:c0ffee" // the vocabulary grows; that is no change of this plan
			got := encode(t, p)
			file := filepath.Join("testdata", name+".plan")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("the plan has changed (-want +got; -update writes it anew):\n%s", cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")))
			}
		})
	}
}

// Same inputs, same bytes: in whatever order they come, wherever they are planned.
func TestPlanDependsOnNothingElse(t *testing.T) {
	local := time.Local
	defer func() { time.Local = local }()
	want := encode(t, make1(migration(t), observed()))
	config := migration(t).Digest()
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		r := rand.New(rand.NewPCG(seed, 1))
		m, inv := migration(t), observed()
		shuffle(r, m.Mailboxes)
		shuffle(r, m.Aliases)
		shuffle(r, m.Notices)
		shuffle(r, m.Gates)
		shuffle(r, m.Schedule)
		shuffle(r, m.Domains[0].Records)
		shuffle(r, m.Lists[0].Members)
		shuffle(r, inv.Sources)
		shuffle(r, inv.Targets)
		shuffle(r, inv.Recipients)
		shuffle(r, inv.Domains[0].Sets)
		shuffle(r, inv.Domains[0].Servers)
		for i := range inv.Domains[0].Sets {
			shuffle(r, inv.Domains[0].Sets[i].Data)
		}
		zone := rapid.SampledFrom([]string{"UTC", "Asia/Tokyo", "America/Los_Angeles"}).Draw(rt, "TZ")
		loc, err := time.LoadLocation(zone)
		if err != nil {
			rt.Skip("no time zone data")
		}
		time.Local = loc
		m.Cutover = m.Cutover.In(loc)
		p := make1(m, inv)
		// The configuration's digest is of lists in the order that package config
		// gives them.
		p.Config = config
		if got := encode(t, p); got != want {
			rt.Fatalf("another plan:\n%s", cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
		}
	})
}

func shuffle[T any](r *rand.Rand, list []T) {
	r.Shuffle(len(list), func(a, b int) { list[a], list[b] = list[b], list[a] })
}

// do makes the world what the steps of p up to and with phase last want.
func do(t testing.TB, p *plan.Plan, inv *inventory.Inventory, last plan.Phase) *inventory.Inventory {
	t.Helper()
	again, err := inventory.Parse(inv.Encode())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Steps {
		if last.Before(s.Phase) {
			continue
		}
		parts := strings.Split(s.Address, "/")
		switch parts[0] {
		case "account", "shared":
			for i := range again.Targets {
				if again.Targets[i].Address == parts[1] {
					again.Targets[i].Exists = true
				}
			}
		case "alias", "list", "forwarder":
			again.Addresses = append(again.Addresses, inventory.Address{Host: "imap.new", Address: parts[1], Exists: true})
		case "retire":
			again.Close(map[string]bool{parts[1]: true})
		case "dns":
			setRecord(t, again, s, parts)
		}
	}
	return again
}

func setRecord(t testing.TB, inv *inventory.Inventory, s plan.Step, parts []string) {
	t.Helper()
	name := parts[1] + "."
	if parts[3] != "@" {
		name = parts[3] + "." + name
	}
	from, err := plan.ParseRRset(name, parts[2], s.From)
	if err != nil {
		t.Fatal(err)
	}
	to, err := plan.ParseRRset(name, parts[2], s.To)
	if err != nil {
		t.Fatal(err)
	}
	d := &inv.Domains[0]
	was := d.Set(name, parts[2])
	if !was.Equal(from) && !was.Equal(to) { // as wanted already is done already
		t.Errorf("%s is planned against %q, and the world has %q", s.Address, s.From, was.Lines())
	}
	d.Sets = slices.DeleteFunc(d.Sets, func(r inventory.RRset) bool { return r.Name == name && r.Type == parts[2] })
	if !to.Exists() {
		return
	}
	set := inventory.RRset{RRset: to, OldTTL: to.TTL}
	if was.SameData(to) {
		set.OldTTL = max(was.OldTTL, to.TTL) // as discover keeps it
	}
	d.Sets = append(d.Sets, set)
}

func addresses(p *plan.Plan) []string {
	var list []string
	for _, s := range p.Steps {
		list = append(list, s.Address)
	}
	return list
}

// Each step is planned against what the steps before it leave, and after the
// last one planning finds nothing to do.
func TestPlanConverges(t *testing.T) {
	for name, change := range map[string]func(m *plan.Migration){
		"as it is":                func(*plan.Migration) {},
		"spf overlap":             func(m *plan.Migration) { m.Domains[0].SPF = "overlap" },
		"own ttl":                 func(m *plan.Migration) { m.Domains[0].Records[1].TTL = 2 * time.Hour },
		"own ttl of a transition": func(m *plan.Migration) { m.Domains[0].SPF, m.Domains[0].Records[2].TTL = "overlap", 2*time.Minute },
		"two phases": func(m *plan.Migration) {
			m.Domains[0].Records = append(m.Domains[0].Records, plan.Record{Type: "TXT", Name: "@", At: plan.Provision, Match: "MS=", Values: []string{"MS=ms1"}})
		},
		"cname in provision": func(m *plan.Migration) { m.Domains[0].Records[0].At = plan.Provision },
		"in the hold":        func(m *plan.Migration) { m.Domains[0].Records[1].At = plan.Hold },
		"delete":             func(m *plan.Migration) { m.Domains[0].Records[0].Values = nil; m.Domains[0].Records[0].Type = "A" },
	} {
		t.Run(name, func(t *testing.T) {
			m := migration(t)
			change(m)
			p := make1(m, observed())
			end := do(t, p, observed(), plan.Decommission)
			if p2 := make1(m, end); len(p2.Steps) > 0 {
				t.Errorf("after the last step the plan still has %q", addresses(p2))
			}
			if was, is := unmanaged(observed()), unmanaged(end); !slices.Equal(was, is) {
				t.Errorf("records that are not named changed: %q, were %q", is, was)
			}
		})
	}
}

func unmanaged(inv *inventory.Inventory) []string {
	var list []string
	for _, s := range inv.Domains[0].Sets {
		if s.Name == "www.lab.example." || s.Type == "A" && s.Name == "lab.example." || s.Name == "_dmarc.lab.example." {
			list = append(list, s.Lines()...)
		}
		for _, d := range s.Data {
			if strings.Contains(d, "google") {
				list = append(list, d)
			}
		}
	}
	slices.Sort(list)
	return list
}

// A plan made half-way holds what is left, and waits no shorter than the first.
func TestPlanAgainHalfWay(t *testing.T) {
	m := migration(t)
	first := make1(m, observed())
	t.Run("between lowering and flip", func(t *testing.T) {
		p := make1(m, do(t, first, observed(), plan.BulkCopy))
		for _, s := range first.Steps {
			if s.Phase != plan.LowerTTL && s.Phase != plan.Flip {
				continue
			}
			got, ok := p.Step(s.Address)
			if !ok || got.Settle != s.Settle || !slices.Equal(got.From, s.From) || !slices.Equal(got.To, s.To) {
				t.Errorf("%s was %+v and is %+v", s.Address, s, got)
			}
		}
		for _, s := range p.Steps {
			if s.Phase == plan.Provision {
				t.Errorf("%s is planned again", s.Address)
			}
		}
	})
	t.Run("in the hold", func(t *testing.T) {
		p := make1(m, do(t, first, observed(), plan.Validate))
		for _, s := range p.Steps {
			if strings.HasPrefix(s.Address, "dns/") && !strings.HasSuffix(s.Address, "/restore") {
				t.Errorf("%s is planned again", s.Address)
			}
		}
		mx, ok := p.Step("dns/lab.example/MX/@/restore")
		if !ok || !slices.Equal(mx.To, []string{"3600 MX 10 mx.new.example."}) || mx.Start.String() != "validate.end+7d12h" {
			t.Errorf("the TTL of the MX is not raised again: %+v", mx)
		}
		if _, ok := p.Step("hold/anna@lab.example"); !ok {
			t.Error("the hold is missing")
		}
	})
	t.Run("one mailbox closed", func(t *testing.T) {
		inv := do(t, first, observed(), plan.Hold)
		inv.Close(map[string]bool{"anna@lab.example": true})
		p := make1(m, inv)
		for _, s := range p.Steps {
			if strings.Contains(s.Address, "anna@") {
				t.Errorf("%s is planned for a closed mailbox", s.Address)
			}
		}
		if s, ok := p.Step("retire/host/imap.old"); !ok || len(s.After) != 2 {
			t.Errorf("the contract: %+v", s)
		}
	})
}

// The old TTL is waited out also when somebody plans again right after it was
// lowered; a TTL that somebody else has changed is planned against as it is.
func TestOldTTLOutlivesLowering(t *testing.T) {
	for _, c := range []struct {
		ttl, old uint32
		from     string
		settle   time.Duration
	}{
		{86400, 86400, "86400", day},
		{300, 86400, "86400", day},
		{600, 86400, "600", day}, // somebody changed it, or one server lags behind
		{301, 301, "301", 301 * time.Second},
		{300, 300, "", 0},
		{60, 60, "", 0},
		{60, 86400, "86400", day},
	} {
		inv := observed()
		inv.Domains[0].Sets[1] = inventory.RRset{RRset: plan.RRset{Name: "lab.example.", Type: "MX", TTL: c.ttl, Data: []string{"10 mx00.old.example."}}, OldTTL: c.old}
		p := make1(migration(t), inv)
		s, ok := p.Step("dns/lab.example/MX/@/ttl")
		if ok != (c.from != "") {
			t.Errorf("%d (was %d): planned %v", c.ttl, c.old, ok)
			continue
		}
		if ok && (s.From[0] != c.from+" MX 10 mx00.old.example." || s.Settle != c.settle || s.To[0] != fmt.Sprintf("%d MX 10 mx00.old.example.", min(c.ttl, 300))) {
			t.Errorf("%d (was %d): %+v", c.ttl, c.old, s)
		}
		// The flip knows the TTL that caches hold the old set with.
		flip, _ := p.Step("dns/lab.example/MX/@")
		if want := fmt.Sprintf("%d MX 10 mx00.old.example.", min(c.ttl, 300)); flip.From[0] != want {
			t.Errorf("%d (was %d): the flip is planned against %q, want %q", c.ttl, c.old, flip.From, want)
		}
	}
}

func TestOrder(t *testing.T) {
	p := make1(migration(t), observed())
	place := map[string]int{}
	for i, s := range p.Steps {
		place[s.Address] = i
	}
	for i, s := range p.Steps {
		if i > 0 && s.Phase.Before(p.Steps[i-1].Phase) {
			t.Errorf("%s stands behind a later phase", s.Address)
		}
		if !slices.IsSorted(s.After) {
			t.Errorf("%s: after is not sorted", s.Address)
		}
		for _, a := range s.After {
			j, ok := place[a]
			if !ok || j >= i {
				t.Errorf("%s stands before %s, which it comes after", s.Address, a)
			}
			// The records of a flip change in one update: one that waited for
			// another would keep the group from ever being whole.
			if before, _ := p.Step(a); s.Phase == plan.Flip && before.Phase == plan.Flip {
				t.Errorf("%s waits for %s within the flip", s.Address, a)
			}
		}
		if want := map[plan.Phase]string{plan.Flip: "flip", plan.Decommission: "decommission"}[s.Phase]; s.Gate != want {
			t.Errorf("%s has the gate %q", s.Address, s.Gate)
		}
	}
}

// Two thousand mailboxes are planned offline within seconds; the figure is in
// the benchmark, here it only has to be right.
func TestManyMailboxes(t *testing.T) {
	m, inv := many(t, 2000)
	p := make1(m, inv)
	if n := len(p.Steps); n < 2000*6 {
		t.Errorf("%d steps", n)
	}
	encode(t, p)
}

func many(t testing.TB, n int) (*plan.Migration, *inventory.Inventory) {
	m, inv := migration(t), observed()
	m.Mailboxes, inv.Sources, inv.Targets = nil, nil, nil
	for i := range n {
		a := fmt.Sprintf("user%04d@lab.example", i)
		m.Mailboxes = append(m.Mailboxes, plan.Mailbox{Block: "user", Kind: plan.UserMailbox, Source: a, Target: a, From: "imap.old", On: "imap.new", Deletes: "keep"})
		inv.Sources = append(inv.Sources, inventory.Mailbox{Host: "imap.old", Address: a, Exists: true, Folders: []inventory.Folder{{Name: "INBOX", UIDValidity: 1}, {Name: "Sent", UIDValidity: 2}, {Name: "Trash", UIDValidity: 3}}})
		inv.Targets = append(inv.Targets, inventory.Mailbox{Host: "imap.new", Address: a})
	}
	return m, inv
}

func BenchmarkMake2000(b *testing.B) {
	m, inv := many(b, 2000)
	for b.Loop() {
		encode(b, make1(m, inv))
	}
}
