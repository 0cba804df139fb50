package copy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// resolveAll settles messages in doubt. A server may carry out an APPEND
// after its connection is gone and after it has said that the folder is as
// before (Dovecot 2.3 does, up to 1.5 s later), so nothing is decided before the
// grace is over, counted from the end of the last connection that could have
// carried one of them. All other work of the pass is done by then.
func (r *run) resolveAll(ctx context.Context, doubts []manifest.Message) error {
	byTarget := map[int64][]manifest.Message{}
	var order []int64
	open := false
	for _, m := range doubts {
		if byTarget[m.Target] == nil {
			order = append(order, m.Target)
		}
		byTarget[m.Target] = append(byTarget[m.Target], m)
		open = open || m.State == manifest.Intent
	}
	if open {
		if err := r.awaitQuiet(ctx, fmt.Sprintf("%d messages were sent without an answer: giving the target time to store them", len(doubts))); err != nil {
			return err
		}
	}
	// Two looks at each folder, with some time between them: the same time for all folders.
	var mu sync.Mutex
	first := map[int64][]uint32{}
	jobs := make([]job, len(order))
	for i, id := range order {
		jobs[i] = func(ctx context.Context, w *worker) error {
			t, err := r.targetByID(id)
			if err != nil {
				return err
			}
			_, uids, _, err := r.unclaimed(ctx, w, t, byTarget[id])
			mu.Lock()
			first[id] = uids
			mu.Unlock()
			return err
		}
	}
	if err := r.do(ctx, 1+len(doubts)/1000, jobs); err != nil {
		return err
	}
	if err := r.sleepBetweenLooks(ctx); err != nil {
		return err
	}
	for i, id := range order {
		jobs[i] = func(ctx context.Context, w *worker) error { return r.resolve(ctx, w, id, byTarget[id], first[id]) }
	}
	return r.do(ctx, 1+len(doubts)/1000, jobs)
}

func (r *run) sleepBetweenLooks(ctx context.Context) error {
	return r.sleep(ctx, min(r.target.grace(), time.Second), "looking twice for messages that were sent without an answer")
}

// maxScans is how often a target folder is looked at that won't stand still.
const maxScans = 20

// resolve looks for messages of one target folder: among the UIDs that were
// given out since their intents and that nobody has claimed, by content. first is what was there at the first look.
func (r *run) resolve(ctx context.Context, w *worker, targetID int64, doubts []manifest.Message, first []uint32) error {
	t, err := r.targetByID(targetID)
	if err != nil {
		return err
	}
	// Rows as they are now: an attempt before this one may have settled some.
	if doubts, err = r.current(ctx, doubts); err != nil || len(doubts) == 0 {
		return err
	}
	uids := first
	var sel imap.Selected
	var gaps gaps
	for scan := 0; ; scan++ {
		before := uids
		if sel, uids, gaps, err = r.unclaimed(ctx, w, t, doubts); err != nil {
			return err
		}
		if before != nil && slices.Equal(before, uids) {
			break
		}
		if scan == maxScans {
			return &providers.Error{Op: "look for messages in folder", Subject: t.Name, Reason: providers.Throttled,
				Err: fmt.Errorf("it did not stand still during %d looks", maxScans)}
		}
		if err := r.sleepBetweenLooks(ctx); err != nil {
			return err
		}
	}
	var have []found
	if err := digests(ctx, w.dst, uids, r.rewrites.Load(), func(uid uint32, d digest) error {
		have = append(have, found{UID: uid, Digest: d})
		return nil
	}); err != nil {
		return err
	}
	if doubts, err = r.current(ctx, doubts); err != nil { // opening the folder may have widened windows
		return err
	}
	want := make([]wanted, len(doubts))
	for i, m := range doubts {
		want[i] = wantedOf(m)
	}
	at := match(want, have)
	use, err := r.inUse(ctx, t, sel)
	if err != nil {
		return err
	}
	strange := len(want) > len(at) && len(have) > len(at) && (!use || r.rewrites.Load())
	if strange {
		// Nobody else is known to write there, so what is there and equal to nothing is ours, rendered anew.
		if at, err = r.matchRendered(ctx, w, doubts, uids); err != nil {
			return err
		}
		if !use && len(want) == len(have) {
			pairUp(at, doubts, uids)
		}
		if strange = len(want) > len(at) && len(have) > len(at); strange && !r.rewrites.Load() {
			keeps, err := r.keepsOctets(ctx, w.dst, t, sel)
			if err != nil {
				return err
			}
			strange = !keeps // else it is somebody's
		}
	}
	if err := r.m.Update(ctx, func(tx *manifest.Tx) error {
		now := r.e.o.Clock.Now()
		for _, m := range doubts {
			var err error
			switch uid := at[m.ID]; resolved(m.State, uid != 0, strange || use && gaps.from(m.Window)) {
			case claim:
				if m.State == manifest.Intent {
					err = tx.Find(m.ID, sel.UIDValidity, uid, now)
				} else {
					err = tx.Claim(m.ID, sel.UIDValidity, uid, now)
				}
			case applied:
				err = tx.Claim(m.ID, 0, 0, now)
			case again:
				err = tx.Revert(m.ID, now)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	r.steps.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range doubts {
		if m.State == manifest.Intent && at[m.ID] != 0 {
			r.result.Copied++
			r.result.Octets += m.Size
			r.progress.Messages++
		}
	}
	return nil
}

// pairUp gives each message in doubt that equals nothing a UID that equals nothing, where there are as many of
// the one as of the other and nobody else writes to the folder: then each of them is there, whatever
// the target has made of it. Which is which is by the order in which they were sent.
func pairUp(at map[int64]uint32, doubts []manifest.Message, uids []uint32) {
	taken := map[uint32]bool{}
	for _, uid := range at {
		taken[uid] = true
	}
	var free []uint32
	for _, uid := range uids { // ascending
		if !taken[uid] {
			free = append(free, uid)
		}
	}
	var rest []manifest.Message
	for _, m := range doubts {
		if at[m.ID] == 0 {
			rest = append(rest, m)
		}
	}
	if len(rest) != len(free) {
		return
	}
	slices.SortFunc(rest, func(a, b manifest.Message) int {
		return cmp.Or(cmp.Compare(a.Window, b.Window), cmp.Compare(a.UID, b.UID))
	})
	for i, m := range rest {
		if free[i] < m.Window {
			return // it was there before this one was sent
		}
	}
	for i, m := range rest {
		at[m.ID] = free[i]
	}
}

// current returns those of doubts that still are, as the manifest has them now.
func (r *run) current(ctx context.Context, doubts []manifest.Message) ([]manifest.Message, error) {
	var list []manifest.Message
	for _, m := range doubts {
		m, err := r.m.Message(ctx, m.ID)
		if err != nil {
			return nil, err
		}
		if m.State == manifest.Intent || m.State == manifest.Applied {
			list = append(list, m)
		}
	}
	return list, nil
}

// gaps are the highest UID that was given out and is not there, 0 = none.
type gaps uint32

// from reports whether what got a UID from window on may be gone.
func (g gaps) from(window uint32) bool { return uint32(g) >= max(window, 1) }

// unclaimed opens a target folder and lists the UIDs that may be one of doubts.
func (r *run) unclaimed(ctx context.Context, w *worker, t *target, doubts []manifest.Message) (imap.Selected, []uint32, gaps, error) {
	sel, err := r.openTarget(ctx, w, t)
	if err != nil {
		return sel, nil, 0, err
	}
	if doubts, err = r.current(ctx, doubts); err != nil {
		return sel, nil, 0, err
	}
	from := uint32(1<<32 - 1)
	for _, m := range doubts {
		from = min(from, max(m.Window, 1))
	}
	claimed, err := r.m.ClaimedIn(ctx, t.ID, sel.UIDValidity, from)
	if err != nil {
		return sel, nil, 0, err
	}
	uids := []uint32{}
	there := map[uint32]bool{}
	err = w.dst.FetchMeta(ctx, fmt.Sprintf("%d:*", from), imap.FetchItems{}, func(m imap.Meta) error {
		there[m.UID] = true
		if m.UID >= from && !claimed[m.UID] {
			uids = append(uids, m.UID)
		}
		return nil
	})
	var gap gaps
	for u := sel.UIDNext - 1; u >= from && gap == 0; u-- {
		if !there[u] && !claimed[u] {
			gap = gaps(u)
		}
	}
	slices.Sort(uids)
	return sel, slices.Compact(uids), gap, err
}

// rebuild finds the copies in a target folder again whose UIDs the target
// has given up (another UIDVALIDITY), by content, before anything is sent there. A claim whose
// message is not there keeps its message from being copied again all the same. The
// caller holds t.mu and has the folder selected.
func (r *run) rebuild(ctx context.Context, dst session, t *target, now manifest.Numbers) error {
	r.report(t.Name, "the target has given its messages new UIDs: comparing contents")
	var want []wanted
	if err := r.m.ClaimsOutside(ctx, t.ID, now.UIDValidity, func(m manifest.Message) error {
		w := wantedOf(m)
		w.Window = 0
		want = append(want, w)
		return nil
	}); err != nil {
		return err
	}
	taken, err := r.m.ClaimedIn(ctx, t.ID, now.UIDValidity, 1) // an earlier attempt came as far as this
	if err != nil {
		return err
	}
	var uids []uint32
	if len(want) > 0 {
		if err := dst.FetchMeta(ctx, "1:*", imap.FetchItems{}, func(m imap.Meta) error {
			if !taken[m.UID] {
				uids = append(uids, m.UID)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	var have []found
	if err := digests(ctx, dst, uids, r.rewrites.Load(), func(uid uint32, d digest) error {
		have = append(have, found{UID: uid, Digest: d})
		return nil
	}); err != nil {
		return err
	}
	at := match(want, have)
	if err := inGroups(want, func(group []wanted) error {
		return r.m.Update(ctx, func(tx *manifest.Tx) error {
			for _, w := range group {
				if at[w.ID] == 0 {
					continue // decided below, when all others are saved
				}
				if err := tx.Replace(w.ID, now.UIDValidity, at[w.ID]); err != nil {
					return err
				}
			}
			return nil
		})
	}); err != nil {
		return err
	}
	doubts, err := r.m.Doubts(ctx)
	if err != nil {
		return err
	}
	t.Numbers = now
	err = r.m.Update(ctx, func(tx *manifest.Tx) error {
		for _, w := range want {
			if at[w.ID] == 0 {
				if err := tx.Replace(w.ID, 0, 0); err != nil {
					return err
				}
			}
		}
		for _, m := range doubts {
			if m.Target == t.ID {
				if err := tx.Widen(m.ID); err != nil {
					return err
				}
			}
		}
		return tx.PutTarget(&t.Target)
	})
	r.steps.Add(1)
	return err
}
