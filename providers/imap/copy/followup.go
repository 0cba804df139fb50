package copy

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// mergeFlags brings changes of flags over: a three-way merge whose third side, the
// target, is never read, because adding and removing leaves its own
// flags as they are.
func (r *run) mergeFlags(ctx context.Context) error {
	// After the flip nothing else is in the lists than \Flagged of what this pass has copied (flagLater).
	byTarget := map[int64][]flagChange{}
	var order []int64
	for _, f := range r.folders {
		for _, c := range f.flags {
			m, err := r.m.Message(ctx, c.id)
			if err != nil {
				return err
			}
			if m.State != manifest.Claimed {
				f.partial = true
				continue
			}
			if byTarget[m.Target] == nil {
				order = append(order, m.Target)
			}
			byTarget[m.Target] = append(byTarget[m.Target], c)
		}
	}
	if len(order) == 0 {
		return nil
	}
	return r.do(ctx, 1, []job{func(ctx context.Context, w *worker) error { return r.storeFlags(ctx, w, order, byTarget) }})
}

// storeFlags merges flags in target folders; messages of a folder with the same change
// share a command.
func (r *run) storeFlags(ctx context.Context, w *worker, order []int64, byTarget map[int64][]flagChange) error {
	targets, refused, err := r.prepareByID(ctx, w, order)
	if err != nil {
		return err
	}
	dst, err := w.target(ctx)
	if err != nil {
		return err
	}
	var done []flagChange // whose base is what the source has now
	var void []flagChange // that have no place any more
	var later error       // a refusal that passes
	stored, lostKeywords := 0, 0
	i := 0
	if err := dst.Visit(ctx, func() *imap.Visit {
		for i < len(order) {
			t, changes := targets[i], byTarget[order[i]]
			i++
			if t == nil {
				void = append(void, changes...) // its users deleted it
				continue
			}
			if refused[t] != nil {
				r.refusedFolder(refused[t], &later)
				continue
			}
			stores, n, lost, err := r.merges(ctx, t, changes)
			if err != nil {
				later = err
				return nil
			}
			id := order[i-1]
			if len(stores) == 0 {
				byTarget[id] = nil
				done = append(done, changes...)
				lostKeywords += lost
				continue
			}
			return &imap.Visit{
				Raw: t.Raw, Write: true, Change: &imap.Change{Stores: stores},
				Opened: func(sel imap.Selected) error { return t.same(sel) },
				Done: func(err error) {
					if err != nil {
						r.refusedFolder(err, &later)
						return
					}
					byTarget[id] = nil // not again, should another folder have to be tried again
					done = append(done, changes...)
					stored, lostKeywords = stored+n, lostKeywords+lost
				},
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if err := inGroups(done, func(group []flagChange) error {
		return r.m.Update(ctx, func(t *manifest.Tx) error {
			for _, c := range group {
				if err := t.SetFlags(c.id, c.flags); err != nil {
					return err
				}
			}
			return nil
		})
	}); err != nil {
		return err
	}
	r.brought(done, void)
	r.steps.Add(int64(len(done)))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Flags += stored
	r.result.KeywordsLost += lostKeywords
	return later
}

// brought takes changes of flags off the folders' lists: those that were made, and those that have no place any more. A folder with any left is
// looked at again by the next pass.
func (r *run) brought(done, void []flagChange) {
	settled := map[int64]bool{}
	for _, c := range append(done[:len(done):len(done)], void...) {
		settled[c.id] = true
	}
	for _, f := range r.folders {
		f.flags = slices.DeleteFunc(f.flags, func(c flagChange) bool { return settled[c.id] })
	}
}

// refusedFolder takes note of a refusal that concerns one folder: it makes the pass an
// incomplete one, or is kept in later when it may pass.
func (r *run) refusedFolder(err error, later *error) {
	if passing(err) {
		*later = err
		return
	}
	r.mu.Lock()
	r.failed = append(r.failed, err)
	r.mu.Unlock()
}

// merges are the commands for changes of flags in one folder, and of how many messages.
func (r *run) merges(ctx context.Context, t *target, changes []flagChange) (stores []imap.FlagStore, messages, lostKeywords int, err error) {
	type delta struct{ add, remove string }
	groups := map[delta][]uint32{}
	var order []delta
	for _, c := range changes {
		m, err := r.m.Message(ctx, c.id)
		if err != nil {
			return nil, 0, 0, err
		}
		if m.TargetUID == 0 || m.TargetUIDValidity != t.sel.UIDValidity {
			continue // it is there no more
		}
		add, lost := r.storable(c.add, t.sel)
		remove, _ := r.storable(c.remove, t.sel)
		lostKeywords += keywords(lost)
		if len(add)+len(remove) == 0 {
			continue
		}
		d := delta{strings.Join(add, " "), strings.Join(remove, " ")}
		if groups[d] == nil {
			order = append(order, d)
		}
		groups[d] = append(groups[d], m.TargetUID)
		messages++
	}
	for _, d := range order {
		set := imap.FormatSet(groups[d])
		if d.add != "" {
			stores = append(stores, imap.FlagStore{Set: set, Mode: "+FLAGS", Flags: strings.Fields(d.add)})
		}
		if d.remove != "" {
			stores = append(stores, imap.FlagStore{Set: set, Mode: "-FLAGS", Flags: strings.Fields(d.remove)})
		}
	}
	return stores, messages, lostKeywords, nil
}

// there reports whether a target folder exists. That a list lacks it is not enough (a line may be lost): only the folder's own refusal
// says that its users deleted it.
func (r *run) there(ctx context.Context, w *worker, t *target) (bool, error) {
	t.mu.Lock()
	listed := t.listed
	t.mu.Unlock()
	if listed {
		return true, nil
	}
	dst, err := w.target(ctx)
	if err != nil {
		return false, err
	}
	_, err = dst.Examine(ctx, t.Raw)
	switch {
	case err == nil:
		t.mu.Lock()
		t.listed = true
		t.mu.Unlock()
		return true, nil
	case dst.Err() != nil, passing(err) && providers.ReasonOf(err) != providers.NotFound:
		return false, err
	}
	return false, nil
}

// prepareByID prepares target folders; those that are not there any more are nil.
func (r *run) prepareByID(ctx context.Context, w *worker, ids []int64) (targets []*target, refused map[*target]error, err error) {
	targets = make([]*target, len(ids))
	var open []*target
	for i, id := range ids {
		t, err := r.targetByID(id)
		if err != nil {
			return nil, nil, err
		}
		there, err := r.there(ctx, w, t)
		if err != nil {
			return nil, nil, err
		}
		if there {
			targets[i] = t
			open = append(open, t)
		}
	}
	refused, err = r.prepareChanges(ctx, w, open)
	return targets, refused, err
}

// mirrorDeletes deletes at the target what was deleted at the source: only before
// the flip, only where the configuration says so, and only messages that we put there.
func (r *run) mirrorDeletes(ctx context.Context) error {
	if r.spec.Mailbox.Deletes != "mirror" || r.spec.Mode != providers.BeforeFlip || len(r.failed) > 0 {
		return nil
	}
	gone, err := r.m.Gone(ctx)
	if err != nil || len(gone) == 0 {
		return err
	}
	messages := uint32(0)
	for _, f := range r.folders {
		messages += max(f.now.Messages, f.seen.Messages)
	}
	if messages == 0 {
		// More likely the wrong account, or a mail store that is not mounted, than a person
		// who deleted everything.
		return &providers.Error{Op: "mirror deletions of", Subject: r.spec.Mailbox.Source, Reason: providers.Conflict,
			Err:    errors.New("the source holds no message at all any more, and nothing is deleted at the target because of that"),
			Remedy: `look at the source; if it is meant to be empty, set deletes = "keep"`}
	}
	byTarget := map[int64][]manifest.Message{}
	var order []int64
	for _, m := range gone {
		if byTarget[m.Target] == nil {
			order = append(order, m.Target)
		}
		byTarget[m.Target] = append(byTarget[m.Target], m)
	}
	return r.do(ctx, 1, []job{func(ctx context.Context, w *worker) error { return r.delete(ctx, w, order, byTarget) }})
}

func (r *run) delete(ctx context.Context, w *worker, order []int64, byTarget map[int64][]manifest.Message) error {
	dst, err := w.target(ctx)
	if err != nil {
		return err
	}
	if !dst.Has("UIDPLUS") {
		// A plain EXPUNGE would take with it what others have marked.
		r.refusedWith("deletions can't be mirrored: the target does not offer UIDPLUS")
		return nil
	}
	targets, refused, err := r.prepareByID(ctx, w, order)
	if err != nil {
		return err
	}
	if dst, err = w.target(ctx); err != nil {
		return err
	}
	var done []int64
	var later error // a refusal that passes
	i := 0
	if err := dst.Visit(ctx, func() *imap.Visit {
		for i < len(order) {
			t, gone := targets[i], byTarget[order[i]]
			i++
			switch {
			case t == nil:
				continue
			case refused[t] != nil:
				r.refusedFolder(refused[t], &later)
				continue
			case t.Baseline.Messages > 0 && t.Baseline.UIDValidity != t.sel.UIDValidity:
				// Messages that were there before us may look like ours; their UIDs no longer tell them apart.
				continue
			}
			var uids []uint32
			var ids []int64
			for _, m := range gone {
				m, err := r.m.Message(ctx, m.ID)
				if err != nil {
					later = err
					return nil
				}
				if m.TargetUID != 0 && m.TargetUIDValidity == t.sel.UIDValidity && m.Vanished != 0 && m.State == manifest.Claimed {
					uids, ids = append(uids, m.TargetUID), append(ids, m.ID)
				}
			}
			if len(uids) == 0 {
				continue
			}
			set := imap.FormatSet(uids)
			return &imap.Visit{
				Raw: t.Raw, Write: true,
				Opened: func(sel imap.Selected) error { return t.same(sel) },
				Change: &imap.Change{Stores: []imap.FlagStore{{Set: set, Mode: "+FLAGS", Flags: []string{`\Deleted`}}}, Expunge: set},
				Done: func(err error) {
					if err != nil {
						r.refusedFolder(err, &later)
						return
					}
					done = append(done, ids...)
				},
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if err := inGroups(done, func(ids []int64) error {
		return r.m.Update(ctx, func(t *manifest.Tx) error {
			for _, id := range ids {
				if err := t.Forget(id); err != nil {
					return err
				}
			}
			return nil
		})
	}); err != nil {
		return err
	}
	r.steps.Add(int64(len(done)))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Deleted += len(done)
	return later
}
