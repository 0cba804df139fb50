package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/state"
)

// role is which part of a record's way through the migration a step is.
type role string

const (
	roleOther   role = ""        // no DNS step
	roleTTL     role = "ttl"     // the TTL is lowered
	roleMain    role = "main"    // the final value
	roleRestore role = "restore" // the TTL is raised again
	roleRetire  role = "retire"  // the transition's remains are removed
)

// dnsStep is the address of a DNS step taken apart.
type dnsStep struct {
	domain, typ, name string
	role              role
}

func parseDNS(address string) (dnsStep, error) {
	parts := strings.Split(address, "/")
	if len(parts) < 4 || len(parts) > 5 || parts[0] != "dns" {
		return dnsStep{}, fmt.Errorf("%s is no address of a DNS step", address)
	}
	d := dnsStep{domain: parts[1], typ: parts[2], name: parts[3], role: roleMain}
	if len(parts) == 5 {
		d.role = role(parts[4])
	}
	return d, nil
}

func dnsRole(address string) role {
	d, err := parseDNS(address)
	if err != nil {
		return roleOther
	}
	return d.role
}

// fqdn is the owner name with its final dot.
func (d dnsStep) fqdn() string {
	if d.name == "@" {
		return d.domain + "."
	}
	return d.name + "." + d.domain + "."
}

// ttlOf is the TTL of a step's From or To lines.
func ttlOf(lines []string) time.Duration {
	for _, line := range lines {
		n, _, _ := strings.Cut(line, " ")
		if s, err := strconv.Atoi(n); err == nil {
			return time.Duration(s) * time.Second
		}
	}
	return 0
}

// mxHosts are an MX set's hosts at port 25, the most preferred first.
func mxHosts(set plan.RRset) []string {
	type mx struct {
		preference int
		host       string
	}
	var list []mx
	for _, data := range set.Data {
		p, host, _ := strings.Cut(data, " ")
		n, err := strconv.Atoi(p)
		if err == nil && host != "." {
			list = append(list, mx{n, strings.TrimSuffix(host, ".")})
		}
	}
	slices.SortFunc(list, func(a, b mx) int { return cmp.Or(a.preference-b.preference, strings.Compare(a.host, b.host)) })
	hosts := make([]string, len(list))
	for i, m := range list {
		hosts[i] = m.host + ":25"
	}
	return hosts
}

// record is one RRset of a group of DNS steps: planned, wanted and found.
type record struct {
	step       plan.Step
	at         dnsStep
	from, want plan.RRset
	now        plan.RRset
	back       bool // of a rollback
}

// matches reports whether what was found is what the step was planned against.
// A step that changes only the TTL guards the TTL; the others guard the data,
// because the TTL was lowered in between.
func (r record) matches() bool {
	switch r.at.role {
	case roleTTL:
		return r.now.Equal(r.from)
	case roleRestore:
		return r.now.SameData(r.want)
	}
	// A flip that was begun and never arrived has left the old data, with the low TTL.
	return r.now.SameData(r.from) || r.back && r.now.SameData(r.want)
}

var errDrift = errors.New("the zone is neither as planned nor as wanted")

// look reads what the provider holds for each step.
func (e *Engine) look(ctx context.Context, zone providers.Zone, steps []plan.Step) ([]record, error) {
	list := make([]record, len(steps))
	for i, s := range steps {
		d, err := parseDNS(s.Address)
		if err != nil {
			return nil, err
		}
		r, err := planned(s, d)
		if err != nil {
			return nil, err
		}
		r.back = e.Plan.Rollback != ""
		if r.now, err = zone.Lookup(ctx, r.want.Name, r.want.Type); err != nil {
			return nil, err
		}
		list[i] = r
	}
	return list, nil
}

func reached(list []record) bool {
	return !slices.ContainsFunc(list, func(r record) bool { return !r.now.Equal(r.want) })
}

// changeZone makes the changes of steps, all in one domain, as one group:
// drift in one of them means that none is written. It returns when the
// provider has accepted; converge sees whether the world has.
func (e *Engine) changeZone(ctx context.Context, steps []plan.Step) error {
	return e.changeZoneBefore(ctx, steps, time.Time{})
}

// errStale ends a flip whose answers have grown too old before it could be written.
var errStale = errors.New("the answers of the gate's checks have grown old; they are asked for again")

// flipWhile is changeZone as long as the answers are fresh that were asked for at
// asked; zero: no checks were asked.
func (e *Engine) flipWhile(asked time.Time) func(context.Context, []plan.Step) error {
	if asked.IsZero() {
		return e.changeZone
	}
	return func(ctx context.Context, steps []plan.Step) error {
		return e.changeZoneBefore(ctx, steps, asked.Add(freshness-staleMargin))
	}
}

// staleMargin is left for the journal's entry and the way to the provider.
const staleMargin = 5 * time.Second

func (e *Engine) changeZoneBefore(ctx context.Context, steps []plan.Step, latest time.Time) error {
	d, err := parseDNS(steps[0].Address)
	if err != nil {
		return err
	}
	zone, err := e.Systems.Zone(d.domain)
	if err != nil {
		return err
	}
	list, err := e.look(ctx, zone, steps)
	if err != nil {
		return err
	}
	if reached(list) {
		return e.note(ctx, entriesFor(steps, evApplied, entryData{How: "already"})...)
	}
	if err := e.refuseDrift(ctx, list); err != nil {
		return err
	}
	before, complete, err := zone.Records(ctx)
	if err != nil {
		return err
	}
	begin := e.flipEntries(d.domain, steps[0].Phase, list, before, complete)
	if zone.Features().ByHand {
		// From the moment a person is told, the records may change at any time.
		if e.Record.State(steps[0].Address).Told.IsZero() {
			if err := e.note(ctx, begin...); err != nil {
				return err
			}
		}
		if err := e.tell(ctx, steps, zone.Instructions(changesOf(list))); err != nil {
			return err
		}
		return errTold
	}
	if !latest.IsZero() && e.Clock.Now().After(latest) {
		return errStale
	}
	if err := e.note(ctx, append(entriesFor(steps, evStarted, entryData{}), begin...)...); err != nil {
		return err
	}
	if err := e.write(ctx, zone, steps, list); err != nil {
		return err
	}
	if complete {
		if err := e.onlyPlanned(ctx, zone, before, list); err != nil {
			return err
		}
	}
	return e.note(ctx, entriesFor(steps, evApplied, entryData{How: "changed"})...)
}

// settleBegun looks, once a run, at a flip that a run before this one had begun: what
// became of its write is seen in the zone, and nobody has to be asked again about a
// flip that is made. It reports whether it is.
func (e *Engine) settleBegun(ctx context.Context, s plan.Step) (made bool, err error) {
	d, err := parseDNS(s.Address)
	if err != nil || e.settled[d.domain] {
		return false, err
	}
	st := e.Record.State(s.Address)
	if st.Started.IsZero() || !st.Applied.IsZero() {
		return false, nil
	}
	e.settled[d.domain] = true
	zone, err := e.Systems.Zone(d.domain)
	if err != nil {
		return false, nil // changeZone says so
	}
	var steps []plan.Step
	for _, s := range e.outlook().steps(plan.Flip) {
		if o, err := parseDNS(s.Address); err == nil && o.domain == d.domain && !unknown(s) {
			steps = append(steps, s)
		}
	}
	list, err := e.look(ctx, zone, steps)
	if err != nil || !reached(list) {
		return false, nil // not made: the gate is asked
	}
	if side := e.sinceSnapshot(ctx, zone, d.domain, list); len(side) > 0 {
		e.emit(Event{Type: "note", Phase: plan.Flip, Step: s.Address, Text: "records that the plan does not name differ from the snapshot before the flip", Lines: side})
	}
	return true, e.note(ctx, entriesFor(steps, evApplied, entryData{How: "already"})...)
}

// sinceSnapshot are the records that the plan doesn't name and that differ from the zone's
// snapshot before the flip. Some time after it nobody can tell whose change that is:
// it is said, and taken back only right after the write.
func (e *Engine) sinceSnapshot(ctx context.Context, zone providers.Zone, domain string, list []record) []string {
	before, ok := e.Record.snapshot(domain)
	if !ok {
		return nil
	}
	after, complete, err := zone.Records(ctx)
	if err != nil || !complete {
		return nil
	}
	return unplanned(before, after, list)
}

// write makes the changes and finds out what became of them when no answer
// came or somebody was faster: reading tells; writing again blindly could undo
// another person's change.
func (e *Engine) write(ctx context.Context, zone providers.Zone, steps []plan.Step, list []record) error {
	err := zone.Update(ctx, changesOf(list))
	switch providers.ReasonOf(err) {
	case "", providers.Uncertain, providers.Conflict, providers.Unreachable:
	default:
		return err
	}
	if err == nil {
		return nil
	}
	again, lookErr := e.look(ctx, zone, steps)
	if lookErr != nil {
		return errors.Join(err, lookErr)
	}
	if reached(again) {
		return nil
	}
	if driftErr := e.refuseDrift(ctx, again); driftErr != nil {
		return driftErr
	}
	return err
}

// flipEntries are what the journal keeps of the moment before the flip: the
// zone as it is, and that from now on the target belongs to its users.
func (e *Engine) flipEntries(domain string, phase plan.Phase, list []record, zone []plan.RRset, complete bool) []state.Entry {
	if phase != plan.Flip || e.Plan.Rollback != "" {
		return nil
	}
	if !complete {
		zone = nil
		for _, r := range list {
			zone = append(zone, r.now)
		}
	}
	entries := []state.Entry{runEntry(evSnapshot, entryData{Domain: domain, Sets: zone, Complete: complete})}
	if e.Record.Flipped().IsZero() {
		entries = append(entries, runEntry(evFlip, entryData{}))
	}
	return entries
}

func changesOf(list []record) []plan.RRsetChange {
	var changes []plan.RRsetChange
	for _, r := range list {
		if !r.now.Equal(r.want) {
			changes = append(changes, plan.RRsetChange{Old: r.now, New: r.want})
		}
	}
	return changes
}

// refuseDrift journals every record that is neither as planned nor as wanted.
func (e *Engine) refuseDrift(ctx context.Context, list []record) error {
	var entries []state.Entry
	var names []string
	for _, r := range list {
		if !r.matches() && !r.now.Equal(r.want) {
			names = append(names, fmt.Sprintf("%s %s is %s, planned against %s", r.want.Name, r.want.Type, listed(r.now.Lines()), listed(r.step.From)))
			entries = append(entries, stepEntry(r.step.Address, evDrift, entryData{Want: r.step.From, Found: r.now.Lines()}))
		}
	}
	if len(entries) == 0 {
		return nil
	}
	if err := e.note(ctx, entries...); err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", errDrift, strings.Join(names, "; "))
}

func listed(lines []string) string {
	if len(lines) == 0 {
		return "absent"
	}
	return strings.Join(lines, ", ")
}

// onlyPlanned compares the whole zone with what it was before the write. When
// a record that the plan doesn't name has changed (some hosts switch off records
// of their own services), our write is taken back.
func (e *Engine) onlyPlanned(ctx context.Context, zone providers.Zone, before []plan.RRset, list []record) error {
	after, complete, err := zone.Records(ctx)
	if err != nil || !complete {
		return err
	}
	side := unplanned(before, after, list)
	if len(side) == 0 {
		return nil
	}
	var back []plan.RRsetChange
	for _, r := range list {
		if !r.now.Equal(r.want) {
			back = append(back, plan.RRsetChange{Old: r.want, New: r.now})
		}
	}
	err = &providers.Error{Op: "change the zone", Reason: providers.Conflict, Err: fmt.Errorf("records that the plan does not name changed with the write: %s; the write was taken back", strings.Join(side, "; "))}
	return errors.Join(err, zone.Update(ctx, back))
}

// unplanned lists the RRsets that differ between two readings of a zone and
// are not among the planned ones.
func unplanned(before, after []plan.RRset, planned []record) []string {
	key := func(s plan.RRset) string { return s.Name + " " + s.Type }
	mine := map[string]bool{}
	for _, r := range planned {
		mine[key(r.want)] = true
	}
	was := map[string]plan.RRset{}
	for _, s := range before {
		was[key(s)] = s
	}
	var list []string
	for _, s := range after {
		if !mine[key(s)] && !was[key(s)].Equal(s) {
			list = append(list, fmt.Sprintf("%s was %s, is %s", key(s), listed(was[key(s)].Lines()), listed(s.Lines())))
		}
		delete(was, key(s))
	}
	for k, s := range was {
		if !mine[k] {
			list = append(list, fmt.Sprintf("%s was %s, is absent", k, listed(s.Lines())))
		}
	}
	slices.Sort(list)
	return list
}

// converge asks every authoritative server once whether it serves what step s
// wants, journals what changed in what they say, and the moment when all of them do.
// The text says who lags.
func (e *Engine) converge(ctx context.Context, s plan.Step) (lag string, err error) {
	d, err := parseDNS(s.Address)
	if err != nil {
		return "", err
	}
	want, err := plan.ParseRRset(d.fqdn(), d.typ, s.To)
	if err != nil {
		return "", err
	}
	seen, err := e.survey(ctx, d, want, false)
	if err != nil {
		return "", err
	}
	if !sameViews(e.Record.State(s.Address).Servers, seen) {
		if err := e.note(ctx, stepEntry(s.Address, evServers, entryData{Views: seen})); err != nil {
			return "", err
		}
	}
	if behind := problems(seen); len(behind) > 0 {
		return strings.Join(behind, "; "), nil
	}
	return "", e.note(ctx, stepEntry(s.Address, evSeen, entryData{}))
}

// sameViews reports whether name servers say the same as before; times don't count.
func sameViews(a, b []ServerView) bool {
	return slices.EqualFunc(a, b, func(x, y ServerView) bool {
		return x.Server == y.Server && x.Kind == y.Kind && x.Words == y.Words && slices.Equal(x.Lines, y.Lines)
	})
}
