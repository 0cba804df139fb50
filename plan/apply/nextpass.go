package apply

import (
	"encoding/json"
	"time"

	"github.com/mxodus/mxodus/state"
)

// brought is what the last pass over a mailbox brought, and in which time it came.
type brought struct {
	before, at time.Time // ends of the pass before it and of itself; before is zero for the first one
	took       time.Duration
	copied     int
	octets     int64
}

// traced notes a pass. The caller holds the lock.
func (r *Record) traced(address string, e state.Entry) {
	var p passEntry
	_ = json.Unmarshal(e.Data, &p) // made by passEntry
	t := brought{before: r.mailPass[address], at: e.At, copied: p.Result.Copied, octets: p.Result.Octets}
	if !p.Began.IsZero() {
		t.took = max(0, e.At.Sub(p.Began))
	}
	r.traces[address] = t
}

// NextDelta is what the next round of passes over all open mailboxes is expected to bring, by the
// rate at which mail has come lately, and how long it will take, by how long passes took.
type NextDelta struct {
	At        time.Time // when the first of them is due
	Mailboxes int
	Known     int // of them, those with two passes already: the others are not in the figures
	Messages  int
	Octets    int64
	Takes     time.Duration
}

// nextDelta is computed for the time now; parallel passes are made side by side. It is nil when no pass is due any more.
func (o outlook) nextDelta(due map[string]time.Time, parallel int) *NextDelta {
	if len(due) == 0 {
		return nil
	}
	o.record.mu.Lock()
	defer o.record.mu.Unlock()
	n := &NextDelta{Mailboxes: len(due)}
	messages, octets := 0.0, 0.0
	var work, longest time.Duration
	for address, at := range due {
		if n.At.IsZero() || at.Before(n.At) {
			n.At = at
		}
		t := o.record.traces[address]
		if t.before.IsZero() || !t.at.After(t.before) {
			continue // the first pass brought the whole mailbox: that is no rate
		}
		n.Known++
		since := float64(max(0, at.Sub(t.at))) / float64(t.at.Sub(t.before))
		messages += float64(t.copied) * since
		octets += float64(t.octets) * since
		work += t.took
		longest = max(longest, t.took)
	}
	n.Messages, n.Octets = int(messages+0.5), int64(octets+0.5)
	n.Takes = max(longest, work/time.Duration(max(1, parallel)))
	return n
}

// passesDue is when the next pass over each mailbox is due that more are planned for.
func (o outlook) passesDue(now time.Time) map[string]time.Time {
	t := o.times()
	due := map[string]time.Time{}
	for _, s := range o.plan.Steps {
		if !isPass(s) || o.blocked(s, t, now) != nil {
			continue
		}
		if st := o.record.State(s.Address); !st.Done.IsZero() && kindOf(s) != "copy" {
			continue
		}
		if at, more := o.passDue(s, t, now); more {
			at = later(at, now)
			if old, ok := due[mailboxOf(s)]; !ok || at.Before(old) {
				due[mailboxOf(s)] = at
			}
		}
	}
	return due
}
