package copy

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

func TestSettle(t *testing.T) {
	for _, c := range []struct {
		answer imap.Appended
		want   verdict
		state  manifest.State
	}{
		{imap.Appended{Done: true, UID: 7, UIDValidity: 1}, claim, manifest.Claimed},
		{imap.Appended{Done: true}, applied, manifest.Applied},
		{imap.Appended{}, doubt, manifest.Intent},
		{imap.Appended{Unsent: true}, again, manifest.Seen},
		{imap.Appended{Err: refused(providers.Throttled, "")}, again, manifest.Seen},
		{imap.Appended{Err: refused(providers.NotFound, "")}, again, manifest.Seen},
		{imap.Appended{Err: refused(providers.TooLarge, "")}, refuse, manifest.Quarantined},
		{imap.Appended{Err: refused(providers.OverQuota, "")}, refuse, manifest.Quarantined},
		{imap.Appended{Err: refused(providers.BadMessage, "")}, refuse, manifest.Quarantined},
		{imap.Appended{Err: refused(providers.Refused, "")}, refuse, manifest.Quarantined},
		{imap.Appended{Err: errors.New("words of no known kind")}, refuse, manifest.Quarantined},
		{imap.Appended{Err: refused(providers.Authentication, "")}, stop, manifest.Seen},
		{imap.Appended{Err: refused(providers.Uncertain, "")}, doubt, manifest.Intent},
	} {
		if got := settle(c.answer); got != c.want || next(got) != c.state {
			t.Errorf("settle(%+v) = %v, then %v; want %v, then %v", c.answer, got, next(got), c.want, c.state)
		}
	}
}

// world is a model of both sides around the engine's own decisions (settle, resolved,
// match): a source of messages, some alike; a target that may answer or not,
// and may store a message late; a process that may die at any point.
type world struct {
	content []byte // of each source message
	rows    []manifest.Message
	server  []found // at the target, by UID
	late    []byte  // sent on a connection that is gone, stored later or never
	stored  map[byte]int
	nextUID uint32

	hasty     bool // what has no answer is sent again
	impatient bool // what has no answer is looked for at once
}

func contentDigest(c byte) digest {
	var d digest
	d.raw[0], d.canonical[0] = c, c
	return d
}

func (w *world) store(c byte) uint32 {
	uid := w.nextUID
	w.nextUID++
	w.server = append(w.server, found{UID: uid, Digest: contentDigest(c)})
	w.stored[c]++
	return uid
}

// send takes one message through an APPEND with the outcome that was drawn.
func (w *world) send(i int, outcome string) {
	row := &w.rows[i]
	if row.State != 0 && row.State != manifest.Seen {
		return // Tx.Intend refuses all others
	}
	row.State, row.Window = manifest.Intent, w.nextUID
	var answer imap.Appended
	switch outcome {
	case "taken":
		answer = imap.Appended{Done: true, UIDValidity: 1, UID: w.store(w.content[i])}
	case "taken without UID":
		w.store(w.content[i])
		answer.Done = true
	case "refused for now":
		answer.Err = refused(providers.Throttled, "")
	case "never sent":
		answer.Unsent = true
	case "taken, answer lost":
		w.store(w.content[i])
	case "on its way":
		w.late = append(w.late, w.content[i])
	case "dropped":
	case "killed before sending", "killed before recording":
		if outcome == "killed before recording" {
			w.store(w.content[i])
		}
		return // nothing is recorded: the row stays an intent
	}
	v := settle(answer)
	if v == doubt && w.hasty {
		v = again
	}
	row.State = next(v)
	if v == claim {
		row.TargetUID = answer.UID
	}
}

// resolve is the search after the grace: what was on its way has arrived or never will.
func (w *world) resolve(arrives func() bool, killed bool) {
	for _, c := range w.late {
		if w.impatient {
			break
		}
		if arrives() {
			w.store(c)
		}
	}
	if !w.impatient {
		w.late = nil
	}
	claimed := map[uint32]bool{}
	var want []wanted
	for i, row := range w.rows {
		if row.TargetUID != 0 {
			claimed[row.TargetUID] = true
		}
		if row.State == manifest.Intent || row.State == manifest.Applied {
			want = append(want, wanted{ID: int64(i), Digest: contentDigest(w.content[i]), Applied: row.State == manifest.Applied, Window: row.Window})
		}
	}
	var have []found
	for _, f := range w.server {
		if !claimed[f.UID] {
			have = append(have, f)
		}
	}
	at := match(want, have)
	if killed {
		return // before the commit
	}
	for _, x := range want {
		row := &w.rows[x.ID]
		switch resolved(row.State, at[x.ID] != 0, false) {
		case claim:
			row.State, row.TargetUID = manifest.Claimed, at[x.ID]
		case applied:
			row.State = manifest.Claimed
		case again:
			row.State = manifest.Seen
		}
	}
}

func TestModelNothingLostNothingDouble(t *testing.T) {
	outcomes := []string{"taken", "taken without UID", "refused for now", "never sent", "taken, answer lost", "on its way", "dropped",
		"killed before sending", "killed before recording"}
	rapid.Check(t, func(t *rapid.T) {
		w := &world{nextUID: 1, stored: map[byte]int{}}
		w.content = rapid.SliceOfN(rapid.ByteRange('a', 'c'), 1, 8).Draw(t, "content")
		w.rows = make([]manifest.Message, len(w.content))
		for range rapid.IntRange(0, 3).Draw(t, "before") {
			w.server = append(w.server, found{UID: w.nextUID, Digest: contentDigest('a')}) // the baseline, alike
			w.nextUID++
		}
		t.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				w.send(rapid.IntRange(0, len(w.rows)-1).Draw(t, "message"), rapid.SampledFrom(outcomes).Draw(t, "outcome"))
			},
			"foreign": func(t *rapid.T) {
				w.server = append(w.server, found{UID: w.nextUID, Digest: contentDigest('z')})
				w.nextUID++
			},
			"late": func(t *rapid.T) {
				if len(w.late) > 0 {
					w.store(w.late[0])
					w.late = w.late[1:]
				}
			},
			"its owner deletes a copy": func(t *rapid.T) {
				for i, f := range w.server {
					for _, row := range w.rows {
						if row.TargetUID == f.UID && rapid.Bool().Draw(t, "this") {
							w.server = append(w.server[:i:i], w.server[i+1:]...)
							return
						}
					}
				}
			},
			"resolve": func(t *rapid.T) {
				w.resolve(func() bool { return rapid.Bool().Draw(t, "arrives") }, rapid.IntRange(0, 3).Draw(t, "killed") == 0)
			},
			"": func(t *rapid.T) {
				seen := map[uint32]int{}
				for i, row := range w.rows {
					if row.TargetUID != 0 {
						if j, twice := seen[row.TargetUID]; twice {
							t.Fatalf("messages %d and %d claim UID %d", i, j, row.TargetUID)
						}
						seen[row.TargetUID] = i
					}
				}
			},
		})
		// In the end nothing fails any more.
		for range 3 {
			w.resolve(func() bool { return true }, false)
			for i := range w.rows {
				w.send(i, "taken")
			}
		}
		want := map[byte]int{}
		for _, c := range w.content {
			want[c]++
		}
		for i, row := range w.rows {
			if row.State != manifest.Claimed {
				t.Fatalf("message %d ends %v", i, row.State)
			}
		}
		if fmt.Sprint(w.stored) != fmt.Sprint(want) {
			t.Fatalf("stored %v, want %v", w.stored, want)
		}
	})
}

func TestMatch(t *testing.T) {
	d := func(raw, canonical byte) digest {
		var d digest
		d.raw[0], d.canonical[0] = raw, canonical
		return d
	}
	for name, c := range map[string]struct {
		want []wanted
		have []found
		at   map[int64]uint32
	}{
		"twins need two": {
			[]wanted{{ID: 1, Digest: d(1, 1)}, {ID: 2, Digest: d(1, 1)}},
			[]found{{5, d(1, 1)}}, map[int64]uint32{1: 5}},
		"what was taken goes first": {
			[]wanted{{ID: 1, Digest: d(1, 1)}, {ID: 2, Digest: d(1, 1), Applied: true}},
			[]found{{5, d(1, 1)}}, map[int64]uint32{2: 5}},
		"octets before the canonical form": {
			[]wanted{{ID: 1, Digest: d(1, 9)}, {ID: 2, Digest: d(2, 9)}},
			[]found{{5, d(2, 9)}, {6, d(3, 9)}}, map[int64]uint32{1: 6, 2: 5}},
		"nothing below the window": {
			[]wanted{{ID: 1, Digest: d(1, 1), Window: 6}},
			[]found{{5, d(1, 1)}}, map[int64]uint32{}},
		"the highest window chooses first": {
			[]wanted{{ID: 1, Digest: d(1, 1), Window: 1}, {ID: 2, Digest: d(1, 1), Window: 6}},
			[]found{{7, d(1, 1)}, {5, d(1, 1)}}, map[int64]uint32{1: 5, 2: 7}},
	} {
		if got := match(c.want, c.have); fmt.Sprint(got) != fmt.Sprint(c.at) {
			t.Errorf("%s: %v, want %v", name, got, c.at)
		}
	}
}
