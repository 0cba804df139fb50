package copy

import (
	"context"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// move is a message that vanished from one source folder and turned up in
// another: its copy follows it instead of being made again.
type move struct {
	old manifest.Message  // the row that vanished, with its claim
	row *manifest.Message // the row that needs one
	f   *folder
}

// movable returns a vanished message with that content whose copy nobody needs
// any more, nil when there is none. Only before the flip: later nothing is moved at the target.
func (r *run) movable(ctx context.Context, dst session, f *folder, digest []byte) (*manifest.Message, error) {
	if !r.moved || r.spec.Mode != providers.BeforeFlip || !dst.Has("MOVE") {
		return nil, nil
	}
	rows, err := r.m.Moved(ctx, digest, r.finished)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range rows {
		if !r.taken[m.ID] {
			r.taken[m.ID] = true
			return &m, nil
		}
	}
	return nil, nil
}

// moveAll carries out the moves that were found. A message that is not where
// we put it stays for the next round, which copies it.
func (r *run) moveAll(ctx context.Context) error {
	type route struct {
		from int64
		to   *folder
	}
	routes := map[route][]move{}
	var order []route
	for _, m := range r.moves {
		k := route{m.old.Target, m.f}
		if routes[k] == nil {
			order = append(order, k)
		}
		routes[k] = append(routes[k], m)
	}
	r.moves = nil
	var jobs []job
	for _, k := range order {
		jobs = append(jobs, func(ctx context.Context, w *worker) error { return r.move(ctx, w, k.from, k.to, routes[k]) })
	}
	return r.do(ctx, 1, jobs)
}

func (r *run) move(ctx context.Context, w *worker, fromID int64, f *folder, moves []move) error {
	from, err := r.targetByID(fromID)
	if err != nil || !from.listed {
		return err
	}
	to, err := r.openTarget(ctx, w, f.target)
	if err != nil {
		return err
	}
	sel, err := r.openTarget(ctx, w, from)
	if err != nil {
		return err
	}
	// Rows as they are now: an attempt before this one may have moved some.
	byUID := map[uint32]move{}
	var uids []uint32
	for _, m := range moves {
		old, err := r.m.Message(ctx, m.old.ID)
		if err != nil {
			return err
		}
		row, err := r.m.Message(ctx, m.row.ID)
		if err != nil {
			return err
		}
		if old.State == manifest.Claimed && old.TargetUID != 0 && old.TargetUIDValidity == sel.UIDValidity && row.State == manifest.Seen {
			m.old = old
			byUID[old.TargetUID] = m
			uids = append(uids, old.TargetUID)
		}
	}
	if len(uids) == 0 {
		return nil
	}
	there := map[uint32]bool{}
	if err := w.dst.FetchMeta(ctx, imap.FormatSet(uids), imap.FetchItems{}, func(m imap.Meta) error { there[m.UID] = true; return nil }); err != nil {
		return err
	}
	var going []uint32
	if err := r.m.Update(ctx, func(t *manifest.Tx) error {
		going = going[:0]
		for uid, m := range byUID {
			if !there[uid] {
				continue
			}
			going = append(going, uid)
			row := *m.row
			// The copy has the flags it was given in its old folder; what has changed since is
			// merged like any other change.
			row.Flags, row.Target, row.Window = m.old.Flags, f.target.ID, f.target.window()
			if err := t.Intend(&row, r.e.o.Clock.Now()); err != nil {
				return err
			}
		}
		return nil
	}); err != nil || len(going) == 0 {
		return err
	}
	placed := map[uint32]uint32{}
	if from != f.target {
		if placed, err = w.dst.Move(ctx, imap.FormatSet(going), f.target.Raw); err != nil {
			// Also after NO some may have been moved (RFC 6851 §3.3): they are looked for.
			r.quiet.Store(r.e.o.Clock.Now().UnixNano())
			if w.dst.Err() != nil {
				return err
			}
			r.refusedWith(err.Error())
			return nil
		}
	} else {
		for _, uid := range going {
			placed[uid] = uid // it vanished and came back: its copy is where it has to be
		}
	}
	if err := r.m.Update(ctx, func(t *manifest.Tx) error {
		now := r.e.o.Clock.Now()
		for _, uid := range going {
			m := byUID[uid]
			if at := placed[uid]; at != 0 {
				if err := t.Inherit(m.row.ID, m.old.ID, to.UIDValidity, at, now); err != nil {
					return err
				}
				continue
			}
			if err := t.Forget(m.old.ID); err != nil {
				return err
			}
			if err := t.Applied(m.row.ID, now); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	r.steps.Add(int64(len(going)))
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, uid := range going {
		m := byUID[uid]
		if add, remove := mergeFlags(m.old.Flags, m.row.Flags); len(add)+len(remove) > 0 {
			f.flags = append(f.flags, flagChange{id: m.row.ID, add: add, remove: remove, flags: m.row.Flags})
		}
	}
	r.result.Moved += len(going)
	r.progress.Messages += len(going)
	return nil
}
