package copy

import (
	"context"
	"errors"
	"maps"
	"slices"

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
// any more, nil when there is none.
func (r *run) movable(ctx context.Context, dst session, row manifest.Message) (*manifest.Message, error) {
	if !r.moved || r.spec.Mode == providers.BeforeFlip && !moves(dst) {
		return nil, nil
	}
	rows, err := r.m.Moved(ctx, row.Digest, r.finished)
	if err == nil && len(rows) == 0 && r.back {
		// What the target has moved it may have rendered anew before.
		rows, err = r.m.MovedLike(ctx, row, r.finished)
	}
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
	if len(r.moves) == 0 {
		return nil
	}
	moves := r.moves
	r.moves = nil
	if r.spec.Mode == providers.AfterFlip {
		return r.adopt(ctx, moves)
	}
	return r.do(ctx, 1, []job{func(ctx context.Context, w *worker) error { return r.move(ctx, w, moves) }})
}

// route is where messages are moved from and to.
type route struct {
	from *target
	to   *folder
}

// moving are the messages on one route, by their UID in the old folder.
type moving struct {
	route
	byUID  map[uint32]move
	there  map[uint32]bool
	going  []uint32
	placed map[uint32]uint32
	err    error
}

func (r *run) move(ctx context.Context, w *worker, moves []move) error {
	// Rows as they are now: an attempt before this one may have moved some.
	routes := map[route]*moving{}
	var order []*moving
	var open []*target
	for _, m := range moves {
		old, err := r.m.Message(ctx, m.old.ID)
		if err != nil {
			return err
		}
		row, err := r.m.Message(ctx, m.row.ID)
		if err != nil {
			return err
		}
		if old.State != manifest.Claimed || old.TargetUID == 0 || row.State != manifest.Seen {
			continue
		}
		from, err := r.targetByID(old.Target)
		if err != nil {
			return err
		}
		if !from.listed {
			continue
		}
		k := route{from, m.f}
		if routes[k] == nil {
			routes[k] = &moving{route: k, byUID: map[uint32]move{}, there: map[uint32]bool{}, placed: map[uint32]uint32{}}
			order = append(order, routes[k])
			open = append(open, from, m.f.target)
		}
		m.old = old
		routes[k].byUID[old.TargetUID] = m
	}
	refused, err := r.prepareChanges(ctx, w, open)
	if err != nil {
		return err
	}
	order = slices.DeleteFunc(order, func(x *moving) bool {
		for uid, m := range x.byUID {
			if m.old.TargetUIDValidity != x.from.sel.UIDValidity {
				delete(x.byUID, uid)
			}
		}
		return refused[x.from] != nil || refused[x.to.target] != nil || len(x.byUID) == 0
	})
	if len(order) == 0 {
		return nil
	}
	dst, err := w.target(ctx)
	if err != nil {
		return err
	}
	if err := r.eachRoute(ctx, dst, order, func(x *moving) *imap.Visit {
		return &imap.Visit{
			Raw:    x.from.Raw,
			Opened: func(sel imap.Selected) error { return x.from.same(sel) },
			List: &imap.List{Queries: []imap.Query{{Set: imap.FormatSet(slices.Collect(maps.Keys(x.byUID)))}},
				Each: func(m imap.Meta) error { x.there[m.UID] = true; return nil }},
		}
	}); err != nil {
		return err
	}
	for _, x := range order {
		if passing(x.err) {
			return x.err
		}
	}
	if err := r.m.Update(ctx, func(t *manifest.Tx) error {
		for _, x := range order {
			x.going = x.going[:0]
			if x.err != nil {
				continue
			}
			for uid, m := range x.byUID {
				if !x.there[uid] {
					continue
				}
				x.going = append(x.going, uid)
				row := *m.row
				// The copy has the flags it was given in its old folder; what has changed since is
				// merged like any other change.
				row.Flags, row.Target, row.Window = m.old.Flags, x.to.target.ID, x.to.target.window()
				if err := t.Intend(&row, r.e.o.Clock.Now()); err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil {
		return err
	}
	var far []*moving
	for _, x := range order {
		switch {
		case len(x.going) == 0:
		case x.from == x.to.target:
			for _, uid := range x.going {
				x.placed[uid] = uid // it vanished and came back: its copy is where it has to be
			}
		default:
			far = append(far, x)
		}
	}
	if err := r.eachRoute(ctx, dst, far, func(x *moving) *imap.Visit {
		return &imap.Visit{
			Raw: x.from.Raw, Write: true,
			Opened: func(sel imap.Selected) error { return x.from.same(sel) },
			Change: &imap.Change{
				Move: []imap.Transfer{{Set: imap.FormatSet(x.going), To: x.to.target.Raw}},
				Moved: func(_ string, validity uint32, uids map[uint32]uint32) {
					if validity == x.to.target.sel.UIDValidity { // else they are looked for
						maps.Copy(x.placed, uids)
					}
				},
			},
		}
	}); err != nil {
		r.quiet.Store(r.e.o.Clock.Now().UnixNano())
		return err
	}
	return r.recordMoves(ctx, order)
}

// eachRoute makes a visit for each of list, and notes refusals.
func (r *run) eachRoute(ctx context.Context, dst session, list []*moving, visit func(*moving) *imap.Visit) error {
	i := 0
	return dst.Visit(ctx, func() *imap.Visit {
		if i == len(list) {
			return nil
		}
		x := list[i]
		i++
		v := visit(x)
		v.Done = func(err error) {
			if x.err = err; err != nil && !passing(err) {
				r.refusedWith(err.Error())
			}
		}
		return v
	})
}

// same makes sure that UIDs at the target mean what they meant when the folder was prepared.
func (t *target) same(sel imap.Selected) error {
	if sel.UIDValidity == t.sel.UIDValidity {
		return nil
	}
	t.deleted()
	return &providers.Error{Op: "open folder", Subject: t.Name, Reason: providers.Conflict,
		Err: errors.New("the target gave its messages new UIDs during the pass"), Remedy: "run the pass again"}
}

// recordMoves records what was moved.
func (r *run) recordMoves(ctx context.Context, list []*moving) error {
	done := 0
	if err := r.m.Update(ctx, func(t *manifest.Tx) error {
		now := r.e.o.Clock.Now()
		done = 0
		for _, x := range list {
			if x.err != nil {
				// Also after NO some may have been moved (RFC 6851 §3.3): they are in doubt and looked for.
				r.quiet.Store(now.UnixNano())
				continue
			}
			for _, uid := range x.going {
				m := x.byUID[uid]
				done++
				if at := x.placed[uid]; at != 0 {
					if err := t.Inherit(m.row.ID, m.old.ID, x.to.target.sel.UIDValidity, at, now); err != nil {
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
		}
		return nil
	}); err != nil {
		return err
	}
	r.steps.Add(int64(done))
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range list {
		if x.err != nil {
			continue
		}
		for _, uid := range x.going {
			m := x.byUID[uid]
			if add, remove := mergeFlags(m.old.Flags, m.row.Flags); len(add)+len(remove) > 0 {
				x.to.flags = append(x.to.flags, flagChange{id: m.row.ID, add: add, remove: remove, flags: m.row.Flags})
			}
		}
	}
	r.result.Moved += done
	r.progress.Messages += done
	return nil
}

// adopt gives moved messages the copies that were made of them, where these are. After the flip
// the target belongs to its users: nothing is moved there, and nothing is copied a second time.
func (r *run) adopt(ctx context.Context, moves []move) error {
	err := r.m.Update(ctx, func(t *manifest.Tx) error {
		now := r.e.o.Clock.Now()
		for _, m := range moves {
			row := *m.row
			row.Flags, row.Target, row.Window = m.old.Flags, m.old.Target, m.old.TargetUID
			if err := t.Intend(&row, now); err != nil {
				return err
			}
			if err := t.Inherit(row.ID, m.old.ID, m.old.TargetUIDValidity, m.old.TargetUID, now); err != nil {
				return err
			}
		}
		return nil
	})
	r.steps.Add(int64(len(moves)))
	return err
}
