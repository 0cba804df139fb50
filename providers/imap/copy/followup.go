package copy

import (
	"context"
	"errors"
	"strings"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// mergeFlags brings changes of flags over: a three-way merge whose third side, the
// target, is never read, because adding and removing leaves its own
// flags as they are.
func (r *run) mergeFlags(ctx context.Context) error {
	if r.spec.Mode != providers.BeforeFlip {
		return nil
	}
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
	var jobs []job
	for _, id := range order {
		jobs = append(jobs, func(ctx context.Context, w *worker) error { return r.storeFlags(ctx, w, id, byTarget[id]) })
	}
	return r.do(ctx, 1+len(jobs)/25, jobs)
}

// storeFlags merges flags in one target folder; messages with the same change
// share a command.
func (r *run) storeFlags(ctx context.Context, w *worker, targetID int64, changes []flagChange) error {
	t, err := r.targetByID(targetID)
	if err != nil {
		return err
	}
	if !t.listed {
		return nil // its users deleted it
	}
	sel, err := r.openTarget(ctx, w, t)
	if err != nil {
		return err
	}
	type delta struct{ add, remove string }
	groups := map[delta][]uint32{}
	var order []delta
	stored, lostKeywords := 0, 0
	for _, c := range changes {
		m, err := r.m.Message(ctx, c.id)
		if err != nil {
			return err
		}
		if m.TargetUID == 0 || m.TargetUIDValidity != sel.UIDValidity {
			continue // it is there no more
		}
		add, lost := storable(c.add, sel)
		remove, _ := storable(c.remove, sel)
		lostKeywords += keywords(lost)
		if len(add)+len(remove) == 0 {
			continue
		}
		d := delta{strings.Join(add, " "), strings.Join(remove, " ")}
		if groups[d] == nil {
			order = append(order, d)
		}
		groups[d] = append(groups[d], m.TargetUID)
		stored++
	}
	for _, d := range order {
		set := imap.FormatSet(groups[d])
		if d.add != "" {
			if err := w.dst.Store(ctx, set, "+FLAGS", strings.Fields(d.add)); err != nil {
				return err
			}
		}
		if d.remove != "" {
			if err := w.dst.Store(ctx, set, "-FLAGS", strings.Fields(d.remove)); err != nil {
				return err
			}
		}
		r.steps.Add(1)
	}
	if err := inGroups(changes, func(group []flagChange) error {
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
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Flags += stored
	r.result.KeywordsLost += lostKeywords
	return nil
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
	var jobs []job
	for _, id := range order {
		jobs = append(jobs, func(ctx context.Context, w *worker) error { return r.delete(ctx, w, id, byTarget[id]) })
	}
	return r.do(ctx, 1, jobs)
}

func (r *run) delete(ctx context.Context, w *worker, targetID int64, gone []manifest.Message) error {
	t, err := r.targetByID(targetID)
	if err != nil {
		return err
	}
	if !t.listed {
		return nil
	}
	sel, err := r.openTarget(ctx, w, t)
	if err != nil {
		return err
	}
	if !w.dst.Has("UIDPLUS") {
		// A plain EXPUNGE would take with it what others have marked.
		r.refusedWith("deletions can't be mirrored: the target does not offer UIDPLUS")
		return nil
	}
	if t.Baseline.Messages > 0 && t.Baseline.UIDValidity != sel.UIDValidity {
		// Messages that were there before us may look like ours; their UIDs no longer tell them apart.
		return nil
	}
	var uids []uint32
	var ids []int64
	for _, m := range gone {
		if m, err = r.m.Message(ctx, m.ID); err != nil {
			return err
		}
		if m.TargetUID != 0 && m.TargetUIDValidity == sel.UIDValidity && m.Vanished != 0 {
			uids, ids = append(uids, m.TargetUID), append(ids, m.ID)
		}
	}
	if len(uids) == 0 {
		return nil
	}
	set := imap.FormatSet(uids)
	if err := w.dst.Store(ctx, set, "+FLAGS", []string{`\Deleted`}); err != nil {
		return err
	}
	if err := w.dst.Expunge(ctx, set); err != nil {
		return err
	}
	if err := inGroups(ids, func(ids []int64) error {
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
	r.steps.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Deleted += len(ids)
	return nil
}
