package timeline

import (
	"time"
)

// Lowering is a record set whose low TTL was seen (or is thought to be seen) at
// the last authoritative server.
type Lowering struct {
	Seen time.Time     // zero: not yet
	Old  time.Duration // the largest TTL that caches may hold the set with
}

// FlipInput is what the earliest flip depends on.
type FlipInput struct {
	Window    time.Time // start of the flip's window
	BulkEnd   time.Time // when every mailbox had a full pass
	Provision time.Time // end of provisioning
	Settle    time.Duration
	Lowered   []Lowering // one for each name server and flipped record set
	Margin    time.Duration
}

// EarliestFlip is the instant before which the flip would lose or delay mail:
//
//	max( start of the flip window, end of the bulk copy,
//	     end of provisioning + settle,
//	     max over name servers and flipped record sets of (low TTL first seen there + old TTL) + margin )
//
// It is false while a low TTL has not been seen yet. Zero times count as past.
func EarliestFlip(in FlipInput) (time.Time, bool) {
	at := later(in.Window, in.BulkEnd)
	if !in.Provision.IsZero() {
		at = later(at, in.Provision.Add(in.Settle))
	}
	for _, l := range in.Lowered {
		if l.Seen.IsZero() {
			return time.Time{}, false
		}
		at = later(at, l.Seen.Add(l.Old).Add(in.Margin))
	}
	return at, true
}

// Flipped is a record set that the flip has written.
type Flipped struct {
	Seen time.Time     // when the new value was seen at every authoritative server
	Low  time.Duration // TTL that the former value was served with
	Lowering
}

// StragglersUntil is when no cache that keeps to the TTL leads to the old host
// any more:
//
//	max( flip seen everywhere + low TTL, low TTL seen everywhere + old TTL )
//
// over all record sets. A set that had no value before has its negative TTL as
// Low. It is false while a set has not been seen everywhere. Resolvers that
// serve stale answers (RFC 8767) make a tail behind it, which the hold watches.
func StragglersUntil(sets []Flipped) (time.Time, bool) {
	var at time.Time
	for _, s := range sets {
		if s.Seen.IsZero() {
			return time.Time{}, false
		}
		at = later(at, s.Seen.Add(s.Low))
		if !s.Lowering.Seen.IsZero() {
			at = later(at, s.Lowering.Seen.Add(s.Old))
		}
	}
	return at, len(sets) > 0
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
