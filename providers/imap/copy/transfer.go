package copy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

const (
	batchMessages = 100     // appended together, at most
	batchOctets   = 4 << 20 // and so much of them, but at least one message
	setMessages   = 128     // fetched by one command
	setOctets     = 8 << 20
	callSets      = 32 // sets of one FetchBodies
	bufferedItems = 256
)

// item is a message on its way from the source to the target.
type item struct {
	p     *pending
	row   manifest.Message
	body  *body
	flags []string // that the target keeps
	lost  int      // keywords it doesn't keep
}

// missing reports whether err only says that messages didn't come.
func missing(err error) bool {
	_, ok := errors.AsType[*imap.MissingError](err)
	return ok
}

// transferAll copies what is on the folders' lists.
func (r *run) transferAll(ctx context.Context) error {
	type work struct {
		f                *folder
		messages, octets int64
	}
	var list []work
	var messages, octets int64
	for _, f := range r.folders {
		if f.failed {
			continue
		}
		x := work{f: f}
		for _, p := range f.fetch {
			if !p.settled {
				x.messages++
				x.octets += p.size
			}
		}
		messages, octets = messages+x.messages, octets+x.octets
		// A folder that is new is made at the target also when it is empty.
		if x.messages > 0 || f.Target == 0 {
			list = append(list, x)
		}
	}
	// Large folders first, so that none is left alone at the end.
	slices.SortStableFunc(list, func(a, b work) int { return cmp.Compare(b.octets, a.octets) })
	jobs := make([]job, len(list))
	for i, x := range list {
		jobs[i] = x.f.staged(func(ctx context.Context, w *worker) error { return r.transfer(ctx, w, x.f) })
	}
	// Another login pays when there are some hundred messages for it.
	return r.do(ctx, 1+int(max(messages/300, octets/(16<<20))), jobs)
}

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
			t.listed = false // deleted under us: made again by the next attempt
		}
		return sel, err
	}
	if err := lasting("target", t.Name, sel); err != nil {
		return sel, err
	}
	if sel.ReadOnly {
		return sel, &providers.Error{Op: "open folder", Subject: t.Name, Reason: providers.Refused,
			Err:    errors.New("the target opens it for reading only"),
			Remedy: "give the account the right to write there, or exclude or map the folder"}
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
	t.synced = true
	return sel, nil
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

// transfer copies a folder's pending messages: one goroutine reads from the source, this
// one writes to the target.
func (r *run) transfer(ctx context.Context, w *worker, f *folder) error {
	r.report(f.Name, "")
	sel, err := r.openTarget(ctx, w, f.target)
	if err != nil {
		return err
	}
	if f.Target != f.target.ID {
		f.Target = f.target.ID
		if err := r.m.Update(ctx, func(t *manifest.Tx) error { return t.PutFolder(&f.Folder) }); err != nil {
			return err
		}
	}
	var todo []*pending
	for i := range f.fetch {
		if !f.fetch[i].settled {
			todo = append(todo, &f.fetch[i])
		}
	}
	if len(todo) == 0 {
		return nil
	}
	src, err := w.source(ctx)
	if err != nil {
		return err
	}
	from, err := src.Examine(ctx, f.Raw)
	if err != nil {
		return err
	}
	if from.UIDValidity != f.Numbers.UIDValidity {
		f.partial = true
		return &providers.Error{Op: "read folder", Subject: f.Name, Reason: providers.Conflict,
			Err: errors.New("the source gave its messages new UIDs during the pass"), Remedy: "run the pass again"}
	}

	readCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	items := make(chan *item, bufferedItems)
	readErr := make(chan error, 1)
	go func() {
		err := r.read(readCtx, src, f, todo, items)
		close(items)
		readErr <- err
	}()
	out := &writer{r: r, f: f, dst: w.dst, sel: sel, items: items}
	werr := out.run(ctx)
	cancel()
	for it := range items {
		it.body.close()
	}
	rerr := <-readErr
	out.close()
	if werr != nil {
		return werr
	}
	return rerr
}

// read fetches messages and hands them on, in the order of their UIDs.
func (r *run) read(ctx context.Context, src session, f *folder, todo []*pending, items chan<- *item) error {
	pace := r.e.paceOf(r.source)
	for retried := false; len(todo) > 0; {
		if err := r.stopped(); err != nil {
			return err
		}
		sets, n := cut(todo)
		asked := map[uint32]*pending{}
		octets := int64(0)
		for _, p := range todo[:n] {
			asked[p.uid] = p
			octets += p.size
		}
		if err := pace.wait(ctx, n, octets); err != nil {
			return err
		}
		err := src.FetchBodies(ctx, sets, func(m imap.Meta, size int64, octets io.Reader) error {
			p := asked[m.UID]
			if p == nil {
				return nil
			}
			if err := r.stopped(); err != nil {
				return err
			}
			b, err := r.e.readBody(ctx, size, octets)
			if err != nil {
				return err
			}
			delete(asked, m.UID)
			it := &item{p: p, body: b, row: manifest.Message{
				Folder: f.ID, UIDValidity: f.Numbers.UIDValidity, UID: m.UID, Size: size, InternalDate: m.InternalDate,
				Flags: canonicalFlags(m.Flags), MessageID: b.messageID, Digest: b.digest.raw[:], Canonical: b.digest.rewritten(),
			}}
			select {
			case items <- it:
				return nil
			case <-ctx.Done():
				b.close()
				return context.Cause(ctx)
			}
		})
		if err != nil && !missing(err) {
			return err
		}
		rest := todo[n:]
		if len(asked) > 0 && !retried {
			// Asked once more before it is believed.
			again := make([]*pending, 0, len(asked)+len(rest))
			for _, p := range todo[:n] {
				if asked[p.uid] != nil {
					again = append(again, p)
				}
			}
			todo, retried = append(again, rest...), true
			continue
		}
		if err := r.absent(ctx, src, f, asked); err != nil {
			return err
		}
		todo, retried = rest, false
	}
	return nil
}

// absent settles messages that the source doesn't deliver: expunged meanwhile, or
// listed and kept back. The latter are told and tried again on the next pass.
func (r *run) absent(ctx context.Context, src session, f *folder, asked map[uint32]*pending) error {
	if len(asked) == 0 {
		return nil
	}
	var uids []uint32
	for uid := range asked {
		uids = append(uids, uid)
	}
	there := map[uint32]bool{}
	if err := src.FetchMeta(ctx, imap.FormatSet(uids), imap.FetchItems{}, func(m imap.Meta) error { there[m.UID] = true; return nil }); err != nil {
		return err
	}
	if f.missing == nil {
		f.missing = map[uint32]bool{}
	}
	f.partial = true
	for uid, p := range asked {
		p.settled = true
		f.missing[uid] = true
		if there[uid] {
			r.refusedWith(fmt.Sprintf("the source lists message UID %d of %s and does not deliver it", uid, f.Name))
		}
	}
	return nil
}

// cut groups the next messages to fetch into sets and says how many they are.
func cut(todo []*pending) (sets []string, n int) {
	for n < len(todo) && len(sets) < callSets {
		var uids []uint32
		octets := int64(0)
		for n < len(todo) && len(uids) < setMessages && (len(uids) == 0 || octets+todo[n].size <= setOctets) {
			uids = append(uids, todo[n].uid)
			octets += todo[n].size
			n++
		}
		sets = append(sets, imap.FormatSet(uids))
	}
	return sets, n
}
