package copy

import (
	"context"
	"errors"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// openTarget selects a target folder; it makes the folder, notes its baseline and brings its
// claims up to date where that is due.
func (r *run) openTarget(ctx context.Context, w *worker, t *target) (imap.Selected, error) {
	dst, err := w.target(ctx)
	if err != nil {
		return imap.Selected{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.listed {
		if err := dst.Create(ctx, t.Raw, t.specialUse); err != nil {
			return imap.Selected{}, err
		}
		t.listed = true
	}
	sel, err := dst.Select(ctx, t.Raw)
	if err != nil {
		if providers.ReasonOf(err) == providers.NotFound {
			t.listed, t.ready = false, false // deleted under us: made again by the next attempt
		}
		return sel, err
	}
	if err := writable(t, sel); err != nil {
		return sel, err
	}
	if sel.UIDNext == 0 {
		if sel.UIDNext, err = highestUID(ctx, dst, sel); err != nil {
			return sel, err
		}
	}
	t.next = max(t.next, sel.UIDNext)
	now := manifest.Numbers{UIDValidity: sel.UIDValidity, UIDNext: sel.UIDNext, Messages: sel.Exists}
	switch {
	case t.ID == 0:
		t.Baseline, t.Numbers = now, now
		if err := r.m.Update(ctx, func(tx *manifest.Tx) error { return tx.PutTarget(&t.Target) }); err != nil {
			return sel, err
		}
	case t.Numbers.UIDValidity != sel.UIDValidity:
		t.next = sel.UIDNext
		if err := r.rebuild(ctx, dst, t, now); err != nil {
			return sel, err
		}
	}
	t.synced, t.sel, t.ready, t.routed, t.opened = true, sel, true, false, r.e.o.Clock.Now()
	return sel, nil
}

// reliedOn is how long a target folder is taken for the one that was opened when messages are changed in it.
const reliedOn = 5 * time.Second

// prepareChanges is prepare for folders in which messages are changed. Changes of flags, moves and deletions name messages by UID and are sent
// without waiting to see whether the folder still has the UIDVALIDITY that these UIDs belong to: it is looked at shortly before.
func (r *run) prepareChanges(ctx context.Context, w *worker, list []*target) (refused map[*target]error, err error) {
	now := r.e.o.Clock.Now()
	for _, t := range list {
		t.mu.Lock()
		t.ready = t.ready && now.Sub(t.opened) < reliedOn
		t.mu.Unlock()
	}
	return r.prepare(ctx, w, list)
}

// writable refuses target folders that messages can't be put into for good.
func writable(t *target, sel imap.Selected) error {
	if err := lasting("target", t.Name, sel); err != nil {
		return err
	}
	if !sel.ReadOnly {
		return nil
	}
	return &providers.Error{Op: "open folder", Subject: t.Name, Reason: providers.Refused,
		Err:    errors.New("the target opens it for reading only"),
		Remedy: "give the account the right to write there, or exclude or map the folder"}
}

// prepare is openTarget for many folders, in two round trips whatever their number, where nothing
// out of the ordinary is found. It returns why folders can't be opened that can't, and
// leaves none of them selected.
func (r *run) prepare(ctx context.Context, w *worker, list []*target) (refused map[*target]error, err error) {
	var create, open, single []*target
	asked := map[*target]bool{}
	for _, t := range list {
		t.mu.Lock()
		ready := t.ready
		t.mu.Unlock()
		if !ready && !asked[t] {
			asked[t] = true
			open = append(open, t)
		}
	}
	if len(open) == 0 {
		return nil, nil
	}
	dst, err := w.target(ctx)
	if err != nil {
		return nil, err
	}
	var raws []string
	for _, t := range open {
		// One with a special use is tried in more ways than one.
		if !t.listed && (t.specialUse == "" || !dst.Has("CREATE-SPECIAL-USE")) {
			create, raws = append(create, t), append(raws, t.Raw)
		}
	}
	if err := dst.CreateAll(ctx, raws, func(i int, err error) { create[i].listed = err == nil }); err != nil {
		return nil, err
	}
	var fresh []*target
	i, opened := 0, 0
	verr := dst.Visit(ctx, func() *imap.Visit {
		for ; i < len(open); i++ {
			t := open[i]
			if !t.listed {
				single = append(single, t)
				continue
			}
			i++
			var sel imap.Selected
			return &imap.Visit{Raw: t.Raw, Write: true,
				Opened: func(s imap.Selected) error { sel = s; return nil },
				Done: func(err error) {
					if err != nil || writable(t, sel) != nil || sel.UIDNext == 0 || t.ID != 0 && t.Numbers.UIDValidity != sel.UIDValidity {
						single = append(single, t)
						return
					}
					t.mu.Lock()
					defer t.mu.Unlock()
					t.next = max(t.next, sel.UIDNext)
					t.sel, t.routed, t.opened = sel, false, r.e.o.Clock.Now()
					opened++
					if t.ID == 0 {
						t.Baseline = manifest.Numbers{UIDValidity: sel.UIDValidity, UIDNext: sel.UIDNext, Messages: sel.Exists}
						t.Numbers = t.Baseline
						fresh = append(fresh, t)
						return
					}
					t.synced, t.ready = true, true
				},
			}
		}
		return nil
	})
	if len(fresh) > 0 {
		if err := r.m.Update(ctx, func(tx *manifest.Tx) error {
			for _, t := range fresh {
				if err := tx.PutTarget(&t.Target); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return nil, err
		}
		for _, t := range fresh {
			t.mu.Lock()
			t.synced, t.ready = true, true
			t.mu.Unlock()
		}
	}
	r.steps.Add(int64(opened))
	if verr != nil {
		return nil, verr
	}
	refused = map[*target]error{}
	for _, t := range single {
		if _, err := r.openTarget(ctx, w, t); err != nil {
			if !onlyThis(err) || passing(err) || !w.healthy() {
				return nil, err
			}
			refused[t] = err
		}
	}
	return refused, nil
}

// highestUID is UIDNEXT where the server doesn't say it.
func highestUID(ctx context.Context, s session, sel imap.Selected) (uint32, error) {
	last := uint32(0)
	if sel.Exists > 0 {
		if err := s.FetchMeta(ctx, "1:*", imap.FetchItems{}, func(m imap.Meta) error { last = max(last, m.UID); return nil }); err != nil {
			return 0, err
		}
	}
	return last + 1, nil
}
