// Package hosted makes a providers.Zone of a DNS host's HTTP interface.
//
// A provider says how records are listed and written (Host) and speaks over
// a Client; Zone does what all of them need: canonical forms, refusing before
// writing, comparing before and after, taking half a write back. Such interfaces know
// no prerequisites, so between the comparison and the write there is a moment in
// which somebody else's edit of the same set goes unseen.
package hosted

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns"
)

// Record is one record as the host holds it.
type Record struct {
	ID       string // the host's; "" where records have none
	Name     string // canonical
	Type     string
	TTL      uint32 // seconds
	Data     string // in the form of dns.Canonical
	Disabled bool   // kept by the host and not published
}

// Host lists and writes a zone's records. It is safe for concurrent use.
type Host interface {
	Features() providers.ZoneFeatures
	// Check says why the host can't hold a set that dns.Changes lets through; it asks nobody.
	Check(set plan.RRset) error
	// List reads all records, also the disabled ones.
	List(ctx context.Context) ([]Record, error)
	// Write brings every change's Old, which was holds, to its New. An Uncertain error
	// means that some or all may have been written; a Refused one that the host said no,
	// perhaps after it took a part.
	Write(ctx context.Context, was []Record, changes []plan.RRsetChange) error
}

// Zone is a zone at a host. It is safe for concurrent use; two updates at the same time
// see each other as any two writers do.
type Zone struct {
	Name  string // canonical
	At    string // the host's name for people: "IONOS"
	Host  Host
	Clock providers.Clock
}

var (
	_ providers.Zone       = (*Zone)(nil)
	_ providers.Timekeeper = (*Zone)(nil)
)

// Skew implements providers.Timekeeper where the host's client tells.
func (z *Zone) Skew() (ahead time.Duration, known bool) {
	if t, ok := z.Host.(providers.Timekeeper); ok {
		return t.Skew()
	}
	return 0, false
}

const opUpdate = "update zone"

// readings is how often the zone is read after a write until it shows it, and
// between them the pause: some hosts answer from a copy that follows in a moment.
const (
	readings = 4
	pause    = time.Second
	attempts = 4 // writes of one update, where answers of parts were lost
)

// Features implements providers.Zone.
func (z *Zone) Features() providers.ZoneFeatures { return z.Host.Features() }

// Instructions implements providers.Zone.
func (z *Zone) Instructions(changes []plan.RRsetChange) []string {
	return dns.Instructions(z.Name, changes)
}

func (z *Zone) subject() string { return dns.Readable(z.Name) + " at " + z.At }

// Lookup implements providers.Zone.
func (z *Zone) Lookup(ctx context.Context, name, typ string) (plan.RRset, error) {
	name, err := dns.Owned(z.Name, name, typ)
	if err != nil {
		return plan.RRset{}, err
	}
	records, err := z.list(ctx)
	if err != nil {
		return plan.RRset{}, err
	}
	return setOf(records, name, typ), nil
}

// Records implements providers.Zone. Disabled records are left out.
func (z *Zone) Records(ctx context.Context) ([]plan.RRset, bool, error) {
	records, err := z.list(ctx)
	if err != nil {
		return nil, false, err
	}
	return z.sets(records), true, nil
}

func (z *Zone) list(ctx context.Context) ([]Record, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	records, err := z.Host.List(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return records, err
}

// setOf collects the published records of one name and type. Where TTLs differ the largest counts.
func setOf(records []Record, name, typ string) plan.RRset {
	set := plan.RRset{Name: name, Type: typ}
	for _, r := range records {
		if r.Name == name && r.Type == typ && !r.Disabled {
			set.TTL = max(set.TTL, r.TTL)
			set.Data = append(set.Data, r.Data)
		}
	}
	slices.Sort(set.Data)
	set.Data = slices.Compact(set.Data)
	return set
}

func key(s plan.RRset) string { return s.Name + " " + s.Type }

// sets groups the published records, sorted by name and type.
func (z *Zone) sets(records []Record) []plan.RRset {
	seen := map[string]bool{}
	var list []plan.RRset
	for _, r := range records {
		k := r.Name + " " + r.Type
		if !seen[k] && !r.Disabled && !dns.Administrative(z.Name, r.Name, r.Type) {
			seen[k] = true
			list = append(list, setOf(records, r.Name, r.Type))
		}
	}
	slices.SortFunc(list, func(a, b plan.RRset) int { return strings.Compare(key(a), key(b)) })
	return list
}

// Update implements providers.Zone. It reads the zone, compares, writes what is
// left to do, reads the whole zone again and compares everything.
//
// What the host takes in parts is finished or taken back here, because a set that is
// half old and half new is neither to whoever looks. Records of others that
// the host switches off with the write, as some do with those of services of
// their own, make a Conflict that names them; the write stands then.
func (z *Zone) Update(ctx context.Context, changes []plan.RRsetChange) error {
	changes, err := dns.Changes(z.Name, changes)
	if err != nil {
		return err
	}
	for _, c := range changes {
		if err := z.check(c.New); err != nil {
			return err
		}
	}
	if len(changes) == 0 {
		return nil
	}
	was, err := z.list(ctx)
	if err != nil {
		return err
	}
	todo := open(was, changes)
	for _, c := range todo {
		if now := setOf(was, c.New.Name, c.New.Type); !now.Equal(c.Old) {
			return z.conflict(fmt.Errorf("%s %s is %s, expected %s", dns.Readable(c.Old.Name), c.Old.Type, lines(now), lines(c.Old)))
		}
	}
	if len(todo) == 0 {
		return nil
	}
	if bad := dns.Beside(after(z.sets(was), todo)); bad != "" {
		return z.conflict(fmt.Errorf("the zone would hold %s (RFC 1034 §3.6.2)", bad))
	}
	now, err := z.write(ctx, was, todo)
	if err != nil {
		return err
	}
	if off := z.switchedOff(was, now, todo); len(off) > 0 {
		e := z.conflict(fmt.Errorf("the records were written as wanted, and with the write %s went away: %s", z.At, strings.Join(off, "; ")))
		e.Remedy = "see in the host's panel which service the records belong to, and put back those that are still needed"
		return e
	}
	return nil
}

// check refuses what the host can't hold.
func (z *Zone) check(set plan.RRset) error {
	if !set.Exists() {
		return nil
	}
	refuse := func(format string, args ...any) error {
		return &providers.Error{
			Op: opUpdate, Subject: z.subject(), Reason: providers.Refused,
			Err:    fmt.Errorf("%s %s: %w", dns.Readable(set.Name), set.Type, fmt.Errorf(format, args...)),
			Remedy: "change the record in the configuration: nothing was written",
		}
	}
	f := z.Features()
	if set.TTL < f.MinimumTTL {
		return refuse("a TTL of %d is below the %d that %s takes", set.TTL, f.MinimumTTL, z.At)
	}
	if f.MaximumTTL > 0 && set.TTL > f.MaximumTTL {
		return refuse("a TTL of %d is above the %d that %s takes", set.TTL, f.MaximumTTL, z.At)
	}
	if err := z.Host.Check(set); err != nil {
		return refuse("%w", err)
	}
	return nil
}

// open are the changes that records don't show yet.
func open(records []Record, changes []plan.RRsetChange) []plan.RRsetChange {
	return slices.DeleteFunc(slices.Clone(changes), func(c plan.RRsetChange) bool {
		return setOf(records, c.New.Name, c.New.Type).Equal(c.New)
	})
}

// after are the sets as they will be.
func after(sets []plan.RRset, changes []plan.RRsetChange) []plan.RRset {
	list := slices.DeleteFunc(slices.Clone(sets), func(s plan.RRset) bool {
		return slices.ContainsFunc(changes, func(c plan.RRsetChange) bool { return key(c.New) == key(s) })
	})
	for _, c := range changes {
		list = append(list, c.New)
	}
	return list
}

// write hands the changes in and returns the zone that shows them.
func (z *Zone) write(ctx context.Context, was []Record, changes []plan.RRsetChange) ([]Record, error) {
	from := was
	for try := 1; ; try++ {
		err := z.Host.Write(ctx, from, open(from, changes))
		uncertain := providers.ReasonOf(err) == providers.Uncertain
		now, left, readErr := z.settle(ctx, changes, err == nil)
		switch {
		case readErr != nil && err != nil && !uncertain:
			// Of several requests some may have been carried out: which, nobody knows.
			return nil, z.uncertain("", fmt.Errorf("%w; reading the zone after that failed: %w", err, readErr))
		case readErr != nil:
			return nil, z.uncertain("", errors.Join(err, fmt.Errorf("the zone could not be read after the write: %w", readErr)))
		case err == nil && len(left) == 0:
			return now, nil
		case err == nil:
			c := left[0]
			return nil, &providers.Error{
				Op: opUpdate, Subject: z.subject(), Reason: providers.Uncertain,
				Err: fmt.Errorf("%s took the write, but shows %s %s as %s instead of %s", z.At, dns.Readable(c.New.Name), c.New.Type,
					lines(setOf(now, c.New.Name, c.New.Type)), lines(c.New)),
				Remedy: "look at the zone again in a minute; another writer may have been at work",
			}
		case uncertain && (whole(now, changes) || try == attempts):
			return nil, err // the caller looks: each set is as it was or as wanted
		case uncertain:
			from = now // half a set was written: reading has told what is left
		case slices.ContainsFunc(changes, func(c plan.RRsetChange) bool { return !setOf(now, c.New.Name, c.New.Type).Equal(c.Old) }):
			return nil, z.takeBack(ctx, now, changes, err)
		default:
			return nil, err // refused, and nothing was written
		}
	}
}

// settle reads the zone until it shows the changes, once where it isn't known to have taken them.
func (z *Zone) settle(ctx context.Context, changes []plan.RRsetChange, taken bool) (now []Record, left []plan.RRsetChange, err error) {
	for n := 1; ; n++ {
		if now, err = z.list(ctx); err != nil {
			return nil, nil, err
		}
		left = open(now, changes)
		if len(left) == 0 || !taken || n == readings {
			return now, left, nil
		}
		if err := z.Clock.Sleep(ctx, pause); err != nil {
			return nil, nil, err
		}
	}
}

// whole reports whether every set is either as it was or as wanted.
func whole(now []Record, changes []plan.RRsetChange) bool {
	return !slices.ContainsFunc(changes, func(c plan.RRsetChange) bool {
		set := setOf(now, c.New.Name, c.New.Type)
		return !set.Equal(c.Old) && !set.Equal(c.New)
	})
}

// takeBack undoes what was written before the host refused the rest.
func (z *Zone) takeBack(ctx context.Context, now []Record, changes []plan.RRsetChange, refusal error) error {
	var back []plan.RRsetChange
	for _, c := range changes {
		if set := setOf(now, c.New.Name, c.New.Type); !set.Equal(c.Old) {
			back = append(back, plan.RRsetChange{Old: set, New: c.Old})
		}
	}
	err := z.Host.Write(ctx, now, back)
	_, left, readErr := z.settle(ctx, back, err == nil)
	if err := errors.Join(err, readErr); err != nil || len(left) > 0 {
		return z.uncertain("", fmt.Errorf("%w; a part was written before that, and taking it back failed: %w", refusal, errors.Join(err, fmt.Errorf("%d sets are left", len(left)))))
	}
	return refusal
}

// switchedOff are records of sets that nobody wanted changed, and that are no longer published.
func (z *Zone) switchedOff(was, now []Record, changes []plan.RRsetChange) []string {
	var list []string
	for _, set := range z.sets(was) {
		if slices.ContainsFunc(changes, func(c plan.RRsetChange) bool { return key(c.New) == key(set) }) {
			continue
		}
		left := setOf(now, set.Name, set.Type)
		for _, data := range set.Data {
			if !slices.Contains(left.Data, data) {
				list = append(list, fmt.Sprintf("%s %s %s", dns.Readable(set.Name), set.Type, data))
			}
		}
	}
	return list
}

func (z *Zone) conflict(err error) *providers.Error {
	return &providers.Error{
		Op: opUpdate, Subject: z.subject(), Reason: providers.Conflict, Err: err,
		Remedy: "somebody changed the zone in between: look at it again, then plan again",
	}
}

func (z *Zone) uncertain(server string, err error) error {
	return &providers.Error{
		Op: opUpdate, Subject: z.subject(), Reason: providers.Uncertain, Server: server, Err: err,
		Remedy: "read the zone before doing anything else: the update may have been made",
	}
}

func lines(set plan.RRset) string {
	if !set.Exists() {
		return "absent"
	}
	return fmt.Sprintf("%q", set.Lines())
}
