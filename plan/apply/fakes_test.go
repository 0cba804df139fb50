package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/state"
)

// realClock reads the bubble's clock under testing/synctest.
type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }
func (realClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// memoryJournal is a journal that dies, like a machine, after a number of appends.
type memoryJournal struct {
	mu      sync.Mutex
	entries []state.Entry
	budget  int  // appends left; negative: no limit
	after   bool // die after the append is durable, not before
	gone    bool
	died    func()
}

var errDied = errors.New("the machine died")

func (j *memoryJournal) Append(_ context.Context, entries ...state.Entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.gone || j.budget == 0 && !j.after {
		j.die()
		return errDied
	}
	for _, e := range entries {
		e.Seq = int64(len(j.entries) + 1)
		j.entries = append(j.entries, e)
	}
	if j.budget == 0 {
		j.die()
		return errDied
	}
	j.budget--
	return nil
}

func (j *memoryJournal) die() {
	j.gone = true
	if j.died != nil {
		j.died()
	}
}

func (j *memoryJournal) Entries(_ context.Context, after int64) ([]state.Entry, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.entries[after:]), nil
}

// world is everything outside, in memory. A dead world refuses every write, as
// nothing leaves a machine that has died.
type world struct {
	mu      sync.Mutex
	dead    bool
	zone    map[string]plan.RRset
	updates int // writes that changed something
	servers []string
	lag     time.Duration
	served  map[string]map[string]timed // server -> key
	hand    bool
	lame    map[string]bool // servers that answer without authority
	refuse  error           // what Update answers
	lose    bool            // Update is applied, its answer is lost
	side    *plan.RRset
	down    func(what string) error // "name server", "zone", "smtp": why it doesn't answer now; may be nil

	passes   map[string]int
	pending  map[string][]int // messages that wait at the source, one number a pass
	modes    map[string][]providers.PassMode
	passErr  map[string]error
	compared map[string]providers.Comparison
	closed   map[string]bool // logins refused at the source
	accounts map[string]bool
	knows    map[string]bool // recipients
	sent     []string
	sendErr  error
	post     post
	arrivals map[string][]providers.Arrival
}

type timed struct {
	set   plan.RRset
	since time.Time
	old   plan.RRset
}

func (w *world) answers(what string) error {
	if w.down == nil {
		return nil
	}
	return w.down(what)
}

func key(name, typ string) string { return name + " " + typ }

func (w *world) put(sets ...plan.RRset) {
	for _, s := range sets {
		w.zone[key(s.Name, s.Type)] = s
	}
}

func (w *world) Source(string) (providers.MailHost, error)         { return host{w, true}, nil }
func (w *world) Target(string) (providers.MailHost, error)         { return host{w, false}, nil }
func (w *world) Zone(string) (providers.Zone, error)               { return zone{w}, nil }
func (w *world) NameServers(string) (providers.NameServers, error) { return servers{w}, nil }
func (w *world) Copier() providers.Copier                          { return copier{w} }
func (w *world) Notifier(string) (providers.Notifier, error)       { return notifier{w}, nil }
func (w *world) RecipientProbe() providers.RecipientProbe          { return prober{w} }
func (w *world) Directory(string) (providers.Directory, bool)      { return nil, false }

type host struct {
	w      *world
	source bool
}

func (h host) Login(_ context.Context, a providers.Account) error {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	if h.source && h.w.closed[a.Address] || !h.source && !h.w.accounts[a.Address] {
		return &providers.Error{Op: "log in", Subject: a.Address, Reason: providers.Authentication, Server: "NO no"}
	}
	return nil
}
func (h host) Folders(context.Context, providers.Account) ([]providers.Folder, error) {
	return nil, nil
}
func (h host) Recipients(context.Context, providers.Account, []string, int) (map[string]int, error) {
	return nil, nil
}

type zone struct{ w *world }

func (z zone) Features() providers.ZoneFeatures {
	return providers.ZoneFeatures{ByHand: z.w.hand, Atomic: true}
}
func (z zone) Lookup(_ context.Context, name, typ string) (plan.RRset, error) {
	z.w.mu.Lock()
	defer z.w.mu.Unlock()
	if err := z.w.answers("zone"); err != nil {
		return plan.RRset{}, err
	}
	s := z.w.zone[key(name, typ)]
	s.Name, s.Type = name, typ
	return s, nil
}
func (z zone) Records(context.Context) ([]plan.RRset, bool, error) {
	z.w.mu.Lock()
	defer z.w.mu.Unlock()
	var list []plan.RRset
	for _, s := range z.w.zone {
		if s.Exists() {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b plan.RRset) int { return strings.Compare(key(a.Name, a.Type), key(b.Name, b.Type)) })
	return list, true, nil
}
func (z zone) Update(_ context.Context, changes []plan.RRsetChange) error {
	z.w.mu.Lock()
	defer z.w.mu.Unlock()
	if z.w.dead {
		return &providers.Error{Reason: providers.Unreachable}
	}
	if err := z.w.answers("zone"); err != nil {
		return err
	}
	if z.w.refuse != nil {
		return z.w.refuse
	}
	for _, c := range changes {
		if !z.w.zone[key(c.Old.Name, c.Old.Type)].Equal(c.Old) {
			return &providers.Error{Op: "update", Reason: providers.Conflict}
		}
	}
	z.w.write(changes)
	if z.w.side != nil {
		z.w.write([]plan.RRsetChange{{Old: z.w.zone[key(z.w.side.Name, z.w.side.Type)], New: *z.w.side}})
		z.w.side = nil
	}
	if z.w.lose {
		z.w.lose = false
		return &providers.Error{Op: "update", Reason: providers.Uncertain}
	}
	return nil
}

func (w *world) write(changes []plan.RRsetChange) {
	w.updates++
	for _, c := range changes {
		k := key(c.New.Name, c.New.Type)
		old := w.zone[k]
		w.zone[k] = c.New
		for i, s := range w.servers {
			if w.served[s] == nil {
				w.served[s] = map[string]timed{}
			}
			w.served[s][k] = timed{set: c.New, old: old, since: time.Now().Add(time.Duration(i) * w.lag)}
		}
	}
}
func (z zone) Instructions(changes []plan.RRsetChange) []string {
	var lines []string
	for _, c := range changes {
		lines = append(lines, fmt.Sprint(c.New.Lines()))
	}
	return lines
}

type servers struct{ w *world }

func (s servers) Authoritative(context.Context, string) ([]string, error) { return s.w.servers, nil }
func (s servers) Ask(_ context.Context, server, name, typ string) (providers.Answer, error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if err := s.w.answers("name server"); err != nil {
		return providers.Answer{}, err
	}
	set := s.w.zone[key(name, typ)]
	if t, ok := s.w.served[server][key(name, typ)]; ok {
		set = t.set
		if time.Now().Before(t.since) {
			set = t.old
		}
	}
	if s.w.lame[server] {
		return providers.Answer{Server: server, Rcode: "NOERROR", At: time.Now()}, nil
	}
	return providers.Answer{Server: server, Set: set, Authoritative: true, Rcode: "NOERROR", At: time.Now()}, nil
}
func (s servers) Resolve(ctx context.Context, name, typ string) (providers.Answer, error) {
	return s.Ask(ctx, s.w.servers[0], name, typ)
}
func (s servers) Serial(context.Context, string, string) (uint32, error) { return 1, nil }
func (s servers) Observed() []string                                     { return nil }

type copier struct{ w *world }

func (c copier) Pass(_ context.Context, spec providers.PassSpec) (providers.PassResult, error) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if c.w.dead {
		return providers.PassResult{}, errDied
	}
	a := spec.Mailbox.Source
	if err := c.w.passErr[a]; err != nil {
		return providers.PassResult{}, err
	}
	c.w.modes[a] = append(c.w.modes[a], spec.Mode)
	r := providers.PassResult{Unchanged: c.w.passes[a]}
	if q := c.w.pending[a]; len(q) > 0 {
		r.Copied, c.w.pending[a] = q[0], q[1:]
	}
	c.w.passes[a]++
	c.w.post.carry(a)
	return r, nil
}
func (c copier) Compare(_ context.Context, m plan.Mailbox) (providers.Comparison, error) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if x, ok := c.w.compared[m.Source]; ok {
		return x, nil
	}
	return providers.Comparison{Source: 100, Target: 100}, nil
}
func (c copier) Export(_ context.Context, m plan.Mailbox, dir string) (string, string, error) {
	name := m.Source + ".jsonl"
	if err := state.WriteFile(dir+"/"+name, []byte("{}\n"), 0o600); err != nil {
		return "", "", err
	}
	sum, err := fileDigest(dir, name)
	return name, sum, err
}

type notifier struct{ w *world }

func (n notifier) Send(_ context.Context, m providers.Mail) error {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	if n.w.dead {
		return errDied
	}
	if err := n.w.answers("smtp"); err != nil {
		return err
	}
	if n.w.sendErr != nil {
		return n.w.sendErr
	}
	n.w.sent = append(n.w.sent, m.To)
	return nil
}
func (n notifier) Check(context.Context) error { return nil }

type prober struct{ w *world }

func (p prober) Accepts(_ context.Context, _, address string) (bool, string, error) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.w.knows[address], "550 no", nil
}
