package apply

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// beforeFlip are the questions that are answered anew right before the records
// of the flip are written, whatever its gate asks for. One no means that
// nothing is written.
var beforeFlip = []string{
	"name_servers_agree",
	"old_ttl_expired_everywhere",
	"zone_as_planned",
	"rollback_plan_fresh",
	"accounts_ready",
	"every_address_exists_at_target",
	"new_mx_sound",
	"target_accepts_mail",
	"spf_sound",
	"dkim_keys_resolve",
	"dmarc_kept",
	"mta_sts_allows_new_mx",
	"tlsa_fits_new_mx",
	"autodiscover_leads_to_target",
	"dnssec_valid",
	"bulk_copy_complete",
	"clock_right",
	"source_keeps_accepting",
}

// roundLimit bounds one round of questions, so that its oldest answer is still
// fresh when the flip is written. A question that has no answer by then has said no.
const roundLimit = freshness - 10*time.Second

var errTooSlow = errors.New("no answer in time")

// Asked are the checks that gate g asks: its own and, where it guards records
// of the flip, those that nobody can leave out.
func (e *Engine) Asked(g plan.Gate) []plan.CheckRef {
	list := slices.Clone(g.Require)
	if e.Plan.Rollback != "" || e.Plan.Window(plan.Flip).Gate != g.Name || !slices.ContainsFunc(e.Plan.Steps, flipsRecord) {
		return list
	}
	for _, name := range beforeFlip {
		if !slices.ContainsFunc(list, func(c plan.CheckRef) bool { return c.Name == name }) {
			list = append(list, plan.CheckRef{Name: name})
		}
	}
	return list
}

func flipsRecord(s plan.Step) bool { return s.Phase == plan.Flip && dnsRole(s.Address) != roleOther }

// answer asks all checks at the same time. What several of them look at is
// looked at once.
func (e *Engine) answer(ctx context.Context, refs []plan.CheckRef) []Answer {
	ctx, cancel := context.WithTimeoutCause(withRound(ctx), roundLimit, errTooSlow)
	defer cancel()
	list := make([]Answer, len(refs))
	atOnce(len(refs), len(refs), func(i int) { list[i] = e.Check(ctx, refs[i]) })
	return list
}

// atOnce runs f for 0 to n-1, at most so many at the same time, and returns when all are done.
func atOnce(n, together int, f func(i int)) {
	slots := make(chan struct{}, max(together, 1))
	var all sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			f(i)
		})
	}
	all.Wait()
}

// round is what the checks of one round have looked at.
type round struct {
	zones  memo[[]record]
	logins memo[struct{}]
	sets   memo[providers.Answer]
	pages  memo[providers.Page]
	greets memo[providers.Exchanger]
	takers memo[probed]
}

type roundKey struct{}

func withRound(ctx context.Context) context.Context {
	if _, ok := ctx.Value(roundKey{}).(*round); ok {
		return ctx
	}
	return context.WithValue(ctx, roundKey{}, &round{})
}

// roundOf is the round that ctx belongs to; a check that is asked alone has one of its own.
func roundOf(ctx context.Context) *round {
	if r, ok := ctx.Value(roundKey{}).(*round); ok {
		return r
	}
	return &round{}
}

// memo remembers one result a key. It is safe for concurrent use; who comes second
// waits for the first.
type memo[V any] struct {
	mu   sync.Mutex
	seen map[string]*remembered[V]
}

type remembered[V any] struct {
	done  chan struct{}
	value V
	err   error
}

func (m *memo[V]) get(key string, f func() (V, error)) (V, error) {
	m.mu.Lock()
	if r, ok := m.seen[key]; ok {
		m.mu.Unlock()
		<-r.done
		return r.value, r.err
	}
	r := &remembered[V]{done: make(chan struct{})}
	if m.seen == nil {
		m.seen = map[string]*remembered[V]{}
	}
	m.seen[key] = r
	m.mu.Unlock()
	defer close(r.done)
	r.value, r.err = f()
	return r.value, r.err
}

// flip is one domain whose records the flip has still to write.
type flip struct {
	domain  plan.Domain
	records []record // step, from and want
}

// flips are the domains whose flip is not made yet, by name.
func (e *Engine) flips() ([]flip, error) {
	var list []flip
	for _, d := range e.Migration.Domains {
		f := flip{domain: d}
		open := false
		for _, s := range e.Plan.Steps {
			at, err := parseDNS(s.Address)
			if err != nil || s.Phase != plan.Flip || at.domain != d.Name || unknown(s) {
				continue
			}
			r, err := planned(s, at)
			if err != nil {
				return nil, err
			}
			f.records = append(f.records, r)
			open = open || e.Record.State(s.Address).Applied.IsZero()
		}
		if open {
			list = append(list, f)
		}
	}
	return list, nil
}

// planned is the step's record set, not looked at yet.
func planned(s plan.Step, at dnsStep) (record, error) {
	r := record{step: s, at: at}
	var err error
	if r.from, err = plan.ParseRRset(at.fqdn(), at.typ, s.From); err != nil {
		return r, err
	}
	r.want, err = plan.ParseRRset(at.fqdn(), at.typ, s.To)
	return r, err
}

// set is what the flip makes of a set at that name, relative to the domain.
func (f flip) set(typ, name string) (record, bool) {
	for _, r := range f.records {
		if r.at.typ == typ && r.at.name == name {
			return r, true
		}
	}
	return record{}, false
}

func (f flip) steps() []plan.Step {
	list := make([]plan.Step, len(f.records))
	for i, r := range f.records {
		list[i] = r.step
	}
	return list
}

// eachFlip asks ask about every domain whose flip is not made yet.
func (e *Engine) eachFlip(a *Answer, ask func(flip)) {
	list, err := e.flips()
	if err != nil {
		a.no("%v", err)
	}
	for _, f := range list {
		ask(f)
	}
}

// lookOnce reads what the provider holds for the flip's records, once a round.
func (e *Engine) lookOnce(ctx context.Context, f flip) ([]record, error) {
	return roundOf(ctx).zones.get(f.domain.Name, func() ([]record, error) {
		zone, err := e.Systems.Zone(f.domain.Name)
		if err != nil {
			return nil, err
		}
		return e.look(ctx, zone, f.steps())
	})
}

// zoneAsPlanned: does every record of the flip stand as the plan was made
// against, and can the zone be kept as it is before it is written?
func zoneAsPlanned(ctx context.Context, e *Engine, a *Answer) {
	a.Remedy = "find out who changed the record; then plan, review and apply the next plan"
	e.eachFlip(a, func(f flip) {
		list, err := e.lookOnce(ctx, f)
		if err != nil {
			a.no("%s: the zone could not be read: %v", f.domain.Name, err)
			return
		}
		for _, r := range list {
			a.saw(e, "the provider of "+f.domain.Name, r.want.Name+" "+r.want.Type, listed(r.now.Lines()))
			if !r.matches() && !r.now.Equal(r.want) {
				a.no("%s %s is %s, planned against %s", r.want.Name, r.want.Type, listed(r.now.Lines()), listed(r.step.From))
			}
		}
		zone, err := e.Systems.Zone(f.domain.Name)
		if err != nil {
			a.no("%s: %v", f.domain.Name, err)
			return
		}
		switch _, complete, err := zone.Records(ctx); {
		case err != nil:
			a.no("%s: the zone could not be read for its snapshot: %v", f.domain.Name, err)
		case !complete:
			a.warn("%s can't be listed: the snapshot holds the record sets of the flip alone, and a side effect on others would go unseen", f.domain.Name)
		}
	})
}

// driftOfFlip journals records of the flip, in any domain, that somebody has
// changed since the plan was made, and reports whether there are some. They
// are one group: none of them is written then.
func (e *Engine) driftOfFlip(ctx context.Context) (bool, error) {
	list, err := e.flips()
	if err != nil {
		return false, err
	}
	drifted := false
	for _, f := range list {
		records, err := e.lookOnce(ctx, f)
		if err != nil {
			continue // the check says so
		}
		switch err := e.refuseDrift(ctx, records); {
		case errors.Is(err, errDrift):
			drifted = true
		case err != nil:
			return false, err
		}
	}
	if !drifted {
		return false, nil
	}
	for _, f := range list {
		for _, r := range f.records {
			e.retry[r.step.Address] = retry{final: true, kind: Trouble}
		}
	}
	return true, nil
}

// clockTolerance is how far a clock may be off: TSIG signatures are good for
// as long (RFC 8945 §10), and all waiting is counted by this clock.
const clockTolerance = 5 * time.Minute

// clockRight: is this machine's clock right, as far as anybody tells? All
// waiting for TTLs is counted by it.
func clockRight(_ context.Context, e *Engine, a *Answer) {
	a.Remedy = "set this machine's clock (NTP), then run apply again: the TTLs are waited out by it"
	now := e.Clock.Now()
	if last := e.Record.newest(); last.Sub(now) > time.Minute {
		a.no("the clock has gone back: it says %s, and the journal's newest entry is of %s", now.UTC().Format(time.RFC3339), last.UTC().Format(time.RFC3339))
	}
	for _, d := range e.Migration.Domains {
		zone, err := e.Systems.Zone(d.Name)
		if err != nil {
			continue
		}
		keeper, ok := zone.(providers.Timekeeper)
		if !ok {
			continue
		}
		ahead, known := keeper.Skew()
		if known {
			a.saw(e, "the provider of "+d.Name, "its clock", "ahead of ours by "+ahead.Truncate(time.Second).String())
		}
		if known && ahead.Abs() > clockTolerance {
			a.no("the clock of the provider of %s and ours are more than %s apart", d.Name, plan.FormatDuration(clockTolerance))
		}
	}
}
