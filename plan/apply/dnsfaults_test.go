package apply

import (
	"flag"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/planfile"
	"github.com/mxodus/mxodus/providers/dns"
	"github.com/mxodus/mxodus/providers/dns/dnstest"
	"github.com/mxodus/mxodus/providers/faults"
)

var (
	faultRounds = flag.Int("fault-rounds", 1, "how many times as many migrations meet faults of the DNS (make torture)")
	faultSeed   = flag.Uint64("fault-seed", 20783, "what is drawn; make torture takes another one each time")
	faultCase   = flag.Int("fault-case", -1, "only this case, to see a failure again")
)

// faultCases is how many migrations meet faults in make test.
const faultCases = 16

// edit is the fault of a person: the record set of the update on its way is changed by hand.
const edit dnstest.Fault = "is edited by somebody else"

// faultPlan decides, by nothing but its seed and what a message is about, what becomes of it. So a case can be seen
// again, in whatever order messages come.
type faultPlan struct {
	seed uint64
	n    int // case; negative: none

	mu    sync.Mutex
	seen  map[string]int
	hit   map[dnstest.Fault]int
	at    map[string]int // faults by what they met: "update of MX"
	trace []string
}

func newFaultPlan(seed uint64, n int) *faultPlan {
	return &faultPlan{seed: seed, n: n, seen: map[string]int{}, hit: map[dnstest.Fault]int{}, at: map[string]int{}}
}

// draw is a number below n, the same for the same words.
func (f *faultPlan) draw(n int, words ...any) int {
	h := fnv.New64a()
	fmt.Fprint(h, f.seed, "/", f.n, "/", fmt.Sprintln(words...))
	x := h.Sum64()
	x ^= x >> 31 // FNV's low bits are weak
	x *= 0x9e3779b97f4a7c15
	return int((x >> 33) % uint64(n))
}

// fault of a message to a server: of updates more than half, the first few times, of queries one in twelve.
func (f *faultPlan) fault(server int, m *mdns.Msg, tcp bool) dnstest.Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n < 0 {
		return dnstest.Unharmed
	}
	q := m.Question[0]
	about := fmt.Sprintf("%s of %s %s", mdns.OpcodeToString[m.Opcode], q.Name, mdns.Type(q.Qtype))
	often, kinds := 12, dnstest.Faults
	if m.Opcode == mdns.OpcodeUpdate {
		about = "update of " + strings.ToLower(m.Ns[len(m.Ns)-1].Header().Name) + " " + mdns.Type(m.Ns[len(m.Ns)-1].Header().Rrtype).String()
		often, kinds = 2, append([]dnstest.Fault{edit, edit, edit, edit}, dnstest.Faults...)
	}
	key := fmt.Sprint(server, tcp, about)
	f.seen[key]++
	nth := f.seen[key]
	if nth > 8 || f.draw(often, key, nth) > 0 {
		return dnstest.Unharmed
	}
	fault := kinds[f.draw(len(kinds), "kind", key, nth)]
	if fault == dnstest.Silence && f.hit[fault] >= 2 {
		fault = dnstest.Hangup // silence costs real time
	}
	f.hit[fault]++
	f.at[about]++
	f.trace = append(f.trace, fmt.Sprintf("server %d, tcp %v, %s, no. %d: %s", server, tcp, about, nth, fault))
	return fault
}

func (f *faultPlan) total() int {
	n := 0
	for _, k := range f.hit {
		n += k
	}
	return n
}

// troubled is a migration's DNS from the lowering of TTLs to the restoring, or back, under a plan of faults.
type troubled struct {
	*flipLab
	faults *faultPlan

	mu      sync.Mutex
	last    []plan.RRset // the zone as it was known last
	changes []string     // what updates made of it
	foreign plan.RRset   // somebody's edit that still stands
	undo    plan.RRset   // what it has replaced
}

func newTroubled(t *testing.T, f *faultPlan) *troubled {
	x := &troubled{flipLab: startFlipLab(t), faults: f}
	for _, s := range x.master.Sets() { // as the world is before TTLs are lowered
		if s.Type == "MX" || s.Type == "TXT" && s.Name == "acme.example." || strings.HasPrefix(s.Name, "autodiscover.") {
			s.TTL = 3600
			x.put(s)
		}
	}
	x.plan()
	if _, err := planfile.Encode(x.p); err != nil {
		t.Fatal(err)
	}
	x.j = &memoryJournal{budget: -1}
	agree(t, x.dir, x.p, "flip")
	x.lastPass = passEntry{}
	x.zone.(*dns.RFC2136).Clock = realClock{} // signatures are of today, whatever the schedule's time
	x.zone.(*dns.RFC2136).Timeout = 250 * time.Millisecond
	x.servers.(*dns.NameServers).Timeout = 60 * time.Millisecond
	x.last = x.master.Sets()
	for i, s := range []*dnstest.Server{x.primary, x.second, x.third} {
		s.Inflict(func(m *mdns.Msg, tcp bool) dnstest.Fault {
			if m.Opcode == mdns.OpcodeUpdate {
				x.note()
			}
			fault := f.fault(i, m, tcp)
			if fault == edit {
				x.meddle(m)
				return dnstest.Unharmed
			}
			return fault
		})
	}
	return x
}

// note takes down what updates have changed since it was called last.
func (x *troubled) note() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.noteLocked()
}

func (x *troubled) noteLocked() {
	now := x.master.Sets()
	is := map[string][]string{}
	was := map[string][]string{}
	for _, s := range x.last {
		was[s.Name+" "+s.Type] = s.Lines()
	}
	for _, s := range now {
		is[s.Name+" "+s.Type] = s.Lines()
	}
	for name, lines := range was {
		if !slices.Equal(lines, is[name]) {
			x.changes = append(x.changes, fmt.Sprintf("%s: %q -> %q", name, lines, is[name]))
		}
	}
	for name, lines := range is {
		if _, there := was[name]; !there {
			x.changes = append(x.changes, fmt.Sprintf("%s: absent -> %q", name, lines))
		}
	}
	x.last = now
}

// meddle changes, as somebody in the panel, a record set that the update m is about to replace. TTLs aren't in the
// prerequisites of RFC 2136, data is.
func (x *troubled) meddle(m *mdns.Msg) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.foreign.Name != "" {
		return // one at a time
	}
	h := m.Ns[0].Header()
	x.undo = x.master.Set(h.Name, mdns.Type(h.Rrtype).String())
	x.foreign = x.undo
	switch x.foreign.Type {
	case "MX":
		x.foreign.Data = []string{"5 somebody.else.example."}
	case "CNAME":
		x.foreign.Data = []string{"somebody.else.example."}
	default:
		x.foreign.Data = []string{`"somebody else's"`}
	}
	if err := x.master.Put(x.foreign); err != nil {
		x.t.Error(err)
	}
	x.last = x.master.Sets()
}

// edited reports whether somebody's edit stands, and takes it back. It must be as it was left.
func (x *troubled) edited() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.foreign.Name == "" {
		return false
	}
	x.noteLocked()
	if now := x.master.Set(x.foreign.Name, x.foreign.Type); !now.Equal(x.foreign) {
		x.t.Errorf("somebody's edit was written over: %v, left as %v", now.Lines(), x.foreign.Lines())
	}
	if err := x.master.Put(x.undo); err != nil {
		x.t.Error(err)
	}
	x.foreign = plan.RRset{}
	x.last = x.master.Sets()
	return true
}

// until applies p again and again, as a person or a timer does, until done says so.
func (x *troubled) until(p *plan.Plan, done func(*Engine, Outcome) bool) {
	x.t.Helper()
	for round := range 80 {
		e := x.engine()
		e.Plan, e.Record = p, NewRecord(p, x.j.entries)
		known := len(x.j.entries)
		out, err := e.Run(x.t.Context())
		edited := x.edited()
		for _, entry := range x.j.entries[known:] {
			if entry.Event == evDrift && !edited {
				x.t.Errorf("run %d: %s drifts, and nobody has changed the zone: %s", round, entry.Step, entry.Data)
			}
		}
		for _, text := range append([]string{fmt.Sprint(err)}, x.told(e)...) {
			if strings.Contains(text, "bXhvZHVz") {
				x.t.Errorf("an error shows the key: %s", text)
			}
		}
		if x.t.Failed() || err == nil && done(e, out) {
			return
		}
		x.clock.ahead.Add(int64(11 * time.Minute))
	}
	x.t.Errorf("no end after 80 runs; the last of the journal: %v", x.tail())
}

func (x *troubled) told(e *Engine) []string {
	var list []string
	for _, s := range e.Plan.Steps {
		if f := e.Record.State(s.Address).Failed; f != nil {
			list = append(list, f.Error)
		}
	}
	return list
}

func (x *troubled) tail() []string {
	var list []string
	for _, e := range x.j.entries[max(len(x.j.entries)-12, 0):] {
		list = append(list, fmt.Sprintf("%s %s %s", e.Step, e.Event, e.Data))
	}
	return list
}

func stepDone(address string) func(*Engine, Outcome) bool {
	return func(e *Engine, _ Outcome) bool { return e.outlook().done(address) }
}

// result is what became of a zone.
type result struct {
	changes []string // what updates made of it, sorted
	zone    []string
}

// migrate lowers, flips and restores, or flips and goes back. Afterwards a second run of the same plan writes nothing.
func (x *troubled) migrate(back bool) result {
	x.t.Helper()
	last := "dns/acme.example/MX/@/restore"
	if back {
		last = "dns/acme.example/MX/@"
	}
	x.until(x.p, stepDone(last))
	p := x.p
	if back && !x.t.Failed() {
		p = takeBack(x.t, x.p, x.j, plan.Provision, x.p.Digest)
		x.until(p, func(_ *Engine, out Outcome) bool { return out.Complete })
	}
	if x.t.Failed() {
		return result{}
	}
	x.note()
	x.faults.mu.Lock()
	x.faults.n = -1 // no more faults
	x.faults.mu.Unlock()
	before := x.updates()
	e := x.engine()
	e.Plan, e.Record = p, NewRecord(p, x.j.entries)
	if _, err := e.Run(x.t.Context()); err != nil || x.updates() != before {
		x.t.Errorf("a second run: %v, %d writes", err, x.updates()-before)
	}
	x.note()
	r := result{changes: slices.Sorted(slices.Values(x.changes))}
	for _, s := range x.master.Sets() {
		r.zone = append(r.zone, fmt.Sprint(s.Name, s.Lines()))
	}
	return r
}

// TestDNSFaults takes migrations through lowering, flip and restoring, or back from the flip, with three name servers that
// fail in every way, and with people who edit what is about to be written. Each has to end as the one without
// faults: the same zone by the same changes, none of them twice and none over somebody's edit.
func TestDNSFaults(t *testing.T) {
	t.Parallel()
	want := map[bool]result{}
	for _, back := range []bool{false, true} {
		want[back] = newTroubled(t, newFaultPlan(0, -1)).migrate(back)
		if len(want[back].changes) < 7 {
			t.Fatalf("without faults: %d changes: %q", len(want[back].changes), want[back].changes)
		}
	}
	var mu sync.Mutex
	sum := map[dnstest.Fault]int{}
	at := map[string]int{}
	t.Run("cases", func(t *testing.T) {
		for n := range faultCases * *faultRounds {
			if *faultCase >= 0 && n != *faultCase {
				continue
			}
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				back := n%2 == 1
				f := newFaultPlan(*faultSeed, n)
				got := newTroubled(t, f).migrate(back)
				if !t.Failed() && (!slices.Equal(got.changes, want[back].changes) || !slices.Equal(got.zone, want[back].zone)) {
					t.Errorf("changes %q\nwant    %q\nzone %q\nwant %q", got.changes, want[back].changes, got.zone, want[back].zone)
				}
				if t.Failed() {
					t.Logf("again: go test ./plan/apply -run TestDNSFaults -fault-seed %d -fault-case %d\n%s", *faultSeed, n, strings.Join(f.trace, "\n"))
				}
				mu.Lock()
				defer mu.Unlock()
				for k, v := range f.hit {
					sum[k] += v
				}
				for k, v := range f.at {
					at[k] += v
				}
				faults.Count(t, "DNS faults", f.total())
			})
		}
	})
	if *faultCase >= 0 {
		return
	}
	total := 0
	for _, f := range append([]dnstest.Fault{edit}, dnstest.Faults...) {
		if sum[f] == 0 {
			t.Errorf("no server ever %s", f)
		}
		total += sum[f]
	}
	updates := 0
	for what, n := range at {
		if strings.HasPrefix(what, "update") {
			updates += n
		}
	}
	t.Logf("%d faults, %d of them at updates: %v", total, updates, sum)
}
