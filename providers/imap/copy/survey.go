package copy

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// enumerateAll looks at all source folders that have to be looked at: in one go, and
// those in which something is out of the ordinary one by one.
func (r *run) enumerateAll(ctx context.Context) error {
	// While the source is asked what is in its folders, the target's are made and opened. What can't be done now is tried again when
	// it is needed, and told then. What an attempt has answered is not asked by the next.
	if err := r.do(ctx, 1, []job{func(ctx context.Context, w *worker) error {
		expected := r.expected()
		return both(func() error { return r.surveyAll(ctx, w) }, func() error { _, _ = r.prepare(ctx, w, expected); return nil })
	}}); err != nil {
		return err
	}
	var jobs []job
	for _, f := range r.folders {
		if f.surveyed == single {
			jobs = append(jobs, f.staged(func(ctx context.Context, w *worker) error { return r.enumerate(ctx, w, f) }))
		}
	}
	if err := r.do(ctx, 1+len(jobs)/25, jobs); err != nil {
		return err
	}
	gone, err := r.m.Gone(ctx)
	if err != nil {
		return err
	}
	for _, g := range gone {
		r.moved = r.moved || g.Vanished > r.finished
	}
	return nil
}

// surveyAll surveys until there is nothing left that a survey can answer.
func (r *run) surveyAll(ctx context.Context, w *worker) error {
	for {
		var list []*folder
		for _, f := range r.folders {
			if f.look.open && f.surveyed <= incomplete {
				list = append(list, f)
			}
		}
		if len(list) == 0 {
			return nil
		}
		if err := r.survey(ctx, w, list); err != nil {
			return err
		}
	}
}

// expected are the target's folders that will be written to, as far as the numbers of the source's tell: those of folders that were never
// copied, and of those in which something is new or has changed. One that its users have deleted is made again only for new messages.
func (r *run) expected() (list []*target) {
	for _, f := range r.folders {
		news := f.look.open && f.target.listed && (r.spec.Mode == providers.BeforeFlip || f.now.UIDNext > f.Numbers.UIDNext)
		if (f.Target == 0 || news) && !f.failed {
			list = append(list, f.target)
		}
	}
	return list
}

// stage is how far the survey of a folder is.
type stage int

const (
	unasked    stage = iota
	incomplete       // messages are missing: the next survey lists all of its UIDs
	surveyed
	single // enumerate has to look at it by itself
)

// question is what is asked of a folder in a survey.
type question struct {
	f                   *folder
	all, fresh, changed listing
	asked               bool // for new messages
	vanished            []span
	sel                 imap.Selected
}

// span is a range of UIDs.
type span struct{ from, to uint32 }

// maxVanished bounds the ranges of vanished messages that are kept of a folder; beyond, all of its UIDs are listed.
const maxVanished = 1 << 20

// survey asks for what is new and what has changed in many folders at once.
func (r *run) survey(ctx context.Context, w *worker, list []*folder) error {
	src, err := w.source(ctx)
	if err != nil {
		return err
	}
	if err := r.firstVisit(ctx, list); err != nil {
		return err
	}
	var failed error
	i := 0
	err = src.Visit(ctx, func() *imap.Visit {
		for i < len(list) && failed == nil {
			f := list[i]
			i++
			if f.now.UIDValidity == 0 || f.now.UIDNext == 0 || f.Numbers.UIDValidity != f.now.UIDValidity {
				f.surveyed = single
				continue
			}
			f.begin()
			q := &question{f: f}
			return &imap.Visit{
				Raw: f.Raw, List: q.list(r.spec.Mode),
				Opened: func(sel imap.Selected) error { q.sel = sel; return nil },
				Done: func(err error) {
					if failed != nil {
						return
					}
					if err != nil || q.strange() {
						f.surveyed = single
						return
					}
					complete, err := r.answered(ctx, q)
					switch {
					case err != nil:
						failed = err
					case complete:
						f.surveyed = surveyed
					case f.surveyed == incomplete:
						f.surveyed = single
					default:
						f.look.all, f.surveyed = true, incomplete
					}
				},
			}
		}
		return nil
	})
	if err == nil {
		err = failed
	}
	return err
}

// firstVisit notes the UIDVALIDITY of folders that were never looked at.
func (r *run) firstVisit(ctx context.Context, list []*folder) error {
	var fresh []*folder
	for _, f := range list {
		if f.Numbers.UIDValidity == 0 && f.now.UIDValidity != 0 {
			fresh = append(fresh, f)
		}
	}
	return inGroups(fresh, func(group []*folder) error {
		return r.m.Update(ctx, func(t *manifest.Tx) error {
			for _, f := range group {
				f.Numbers, f.Complete = manifest.Numbers{UIDValidity: f.now.UIDValidity}, false
				f.look = look{open: true, all: true, flags: r.spec.Mode == providers.BeforeFlip}
				if err := t.PutFolder(&f.Folder); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// list is what has to be asked, nil where the numbers say it all.
func (q *question) list(mode providers.PassMode) *imap.List {
	was, look := q.f.Numbers, &q.f.look
	if was.UIDNext == 0 || look.flags && look.changed == 0 {
		look.all = true
	}
	if q.f.now.Messages == 0 {
		return nil
	}
	if look.all {
		q.asked = true
		return &imap.List{Queries: []imap.Query{{Set: "1:*"}}, Items: imap.FetchItems{Size: true, Flags: look.flags},
			Each: func(m imap.Meta) error { q.all.expect(q.sel.Exists); q.all.add(m, look.flags); return nil }}
	}
	l := &imap.List{Items: imap.FetchItems{Size: true, Flags: mode == providers.BeforeFlip}}
	if q.f.now.UIDNext > was.UIDNext {
		q.asked = true
		l.Queries = append(l.Queries, imap.Query{Set: fmt.Sprintf("%d:*", was.UIDNext)})
	}
	if look.flags && was.UIDNext > 1 {
		l.Queries = append(l.Queries, imap.Query{Set: fmt.Sprintf("1:%d", was.UIDNext-1), ChangedSince: look.changed})
	}
	if len(l.Queries) == 0 {
		return nil
	}
	l.Vanished = func(from, to uint32) error {
		if len(q.vanished) <= maxVanished {
			q.vanished = append(q.vanished, span{from, to})
		}
		return nil
	}
	l.Each = func(m imap.Meta) error {
		if m.UID >= was.UIDNext {
			q.fresh.add(m, l.Items.Flags)
		} else if look.flags { // "n:*" also answers with the last message (RFC 9051 §9)
			q.changed.add(m, true)
		}
		return nil
	}
	return l
}

// strange reports whether the folder is no longer what it was when it was listed.
func (q *question) strange() bool {
	return q.sel.UIDValidity != q.f.now.UIDValidity || lasting("source", q.f.Name, q.sel) != nil || q.sel.UIDNext == 0 ||
		!q.asked && (q.sel.UIDNext != q.f.now.UIDNext || q.sel.Exists != q.f.now.Messages)
}

// answered draws the conclusions. complete is false when messages are missing and it can't be said which.
func (r *run) answered(ctx context.Context, q *question) (complete bool, err error) {
	f, was := q.f, q.f.Numbers
	f.seen = manifest.Numbers{UIDValidity: q.sel.UIDValidity, UIDNext: q.sel.UIDNext, Messages: q.sel.Exists, HighestModSeq: f.now.HighestModSeq}
	r.steps.Add(1)
	if f.look.all {
		q.all.until(q.sel.UIDNext)
		if len(q.all.messages) < int(q.sel.Exists) {
			return false, nil // expunged meanwhile, or kept back: enumerate finds out
		}
		f.seen.Messages = uint32(len(q.all.messages))
		return true, r.hold(ctx, f, &q.all, 1, true)
	}
	q.fresh.until(q.sel.UIDNext)
	if gone := int64(was.Messages) - (int64(q.sel.Exists) - int64(len(q.fresh.messages))); gone != 0 {
		ids, err := r.vanishedOf(ctx, q)
		if err != nil || gone != int64(len(ids)) {
			return false, err
		}
		if err := r.vanish(ctx, ids); err != nil {
			return false, err
		}
	}
	q.changed.order()
	if err := r.hold(ctx, f, &q.fresh, was.UIDNext, false); err != nil {
		return true, err
	}
	return true, r.changes(ctx, f, &q.changed)
}

// vanishedOf are the known messages of a folder of which the server has said that they are there no more.
func (r *run) vanishedOf(ctx context.Context, q *question) (ids []int64, err error) {
	if len(q.vanished) == 0 || len(q.vanished) > maxVanished {
		return nil, nil
	}
	slices.SortFunc(q.vanished, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	i := 0
	err = r.m.Known(ctx, q.f.ID, q.f.Numbers.UIDValidity, q.vanished[0].from, func(k manifest.Known) error {
		for i < len(q.vanished) && q.vanished[i].to < k.UID {
			i++
		}
		if i < len(q.vanished) && q.vanished[i].from <= k.UID && k.Vanished == 0 && k.UID < q.f.Numbers.UIDNext {
			ids = append(ids, k.ID)
		}
		return nil
	})
	return ids, err
}

// until sorts the list and leaves out what came while it was made: the next pass has it.
func (l *listing) until(next uint32) {
	l.order()
	l.messages = slices.DeleteFunc(l.messages, func(m listed) bool { return m.uid >= next })
}
