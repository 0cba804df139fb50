package copy

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// reader fetches the messages of folders, one folder after the other and each in the order of
// UIDs, and asks for those of the next folder before those of the last have come.
type reader struct {
	r     *run
	src   session
	work  []*work // folders to begin with
	items chan<- *item

	now   *folder
	at    int    // the next of its list
	again []*lot // to be asked for once more
	gone  []*lot // asked for twice and not delivered
	err   error  // why nothing more is asked for
}

// lot is what is asked of a folder in one visit.
type lot struct {
	f     *folder
	asked map[uint32]*pending // and has not come
	order []*pending
	twice bool
}

func (d *reader) run(ctx context.Context) error {
	for {
		if err := d.src.Visit(ctx, func() *imap.Visit { return d.next(ctx) }); err != nil {
			if d.err != nil {
				return d.err
			}
			return err
		}
		if d.err != nil {
			return d.err
		}
		if len(d.again) == 0 {
			break
		}
	}
	for _, l := range d.gone {
		sel, err := d.src.Examine(ctx, l.f.Raw)
		if err != nil {
			return err
		}
		if err := sameFolder(l.f, sel); err != nil {
			d.r.fail(l.f, err)
			continue
		}
		if err := d.r.absent(ctx, d.src, l.f, l.asked); err != nil {
			return err
		}
	}
	return nil
}

// next is the next lot as a visit, nil when there is none or nothing works any more.
func (d *reader) next(ctx context.Context) *imap.Visit {
	if d.err != nil {
		return nil
	}
	if d.err = d.r.stopped(); d.err != nil {
		return nil
	}
	if d.src.Worn() {
		d.err = errWorn
		return nil
	}
	l := d.take()
	if l == nil {
		return nil
	}
	octets := int64(0)
	l.asked = map[uint32]*pending{}
	for _, p := range l.order {
		l.asked[p.uid] = p
		octets += p.size
	}
	if d.err = d.r.e.paceOf(d.r.source).wait(ctx, len(l.order), octets); d.err != nil {
		return nil
	}
	sets, _ := cut(l.order)
	if l.twice {
		// One by one: a single message that the server can't send may have kept all others of its set back.
		sets = sets[:0]
		for _, p := range l.order {
			sets = append(sets, imap.FormatSet([]uint32{p.uid}))
		}
	}
	return &imap.Visit{
		Raw:    l.f.Raw,
		Opened: func(sel imap.Selected) error { return sameFolder(l.f, sel) },
		Bodies: &imap.Bodies{Sets: sets, Each: func(m imap.Meta, size int64, octets io.Reader) error { return d.message(ctx, l, m, size, octets) }},
		Done:   func(err error) { d.done(l, err) },
	}
}

func (d *reader) take() *lot {
	if len(d.again) > 0 {
		l := d.again[0]
		d.again = d.again[1:]
		return l
	}
	for {
		if d.now == nil {
			if len(d.work) == 0 {
				return nil
			}
			d.now, d.work, d.at = d.work[0].f, d.work[1:], 0
		}
		var todo []*pending
		var after []int // the place behind each
		for i := d.at; i < len(d.now.fetch) && len(todo) < callSets*setMessages; i++ {
			if p := &d.now.fetch[i]; !p.settled {
				todo, after = append(todo, p), append(after, i+1)
			}
		}
		if len(todo) == 0 {
			d.now = nil
			continue
		}
		_, n := cut(todo)
		d.at = after[n-1]
		return &lot{f: d.now, order: todo[:n]}
	}
}

// sameFolder makes sure that UIDs mean what they meant when they were listed.
func sameFolder(f *folder, sel imap.Selected) error {
	if sel.UIDValidity == f.Numbers.UIDValidity {
		return nil
	}
	f.partial = true
	return &providers.Error{Op: "read folder", Subject: f.Name, Reason: providers.Conflict,
		Err: errors.New("the source gave its messages new UIDs during the pass"), Remedy: "run the pass again"}
}

// message reads one message and hands it on.
func (d *reader) message(ctx context.Context, l *lot, m imap.Meta, size int64, octets io.Reader) error {
	p := l.asked[m.UID]
	if p == nil {
		return nil
	}
	if err := d.r.stopped(); err != nil {
		return err
	}
	b, err := d.r.e.readBody(ctx, size, octets, d.r.rewrites.Load())
	if err != nil {
		return err
	}
	delete(l.asked, m.UID)
	it := &item{f: l.f, p: p, body: b, row: manifest.Message{
		Folder: l.f.ID, UIDValidity: l.f.Numbers.UIDValidity, UID: m.UID, Size: size, InternalDate: m.InternalDate,
		Flags: canonicalFlags(m.Flags), Number: l.f.numbers[m.UID], MessageID: b.header.messageID, Sender: b.header.sender, Subject: b.header.subject, Digest: b.digest.raw[:], Canonical: b.digest.rewritten(), Content: b.digest.content, Gist: b.digest.gist,
	}}
	select {
	case d.items <- it:
		return nil
	case <-ctx.Done():
		b.close()
		return context.Cause(ctx)
	}
}

// done takes note of how a lot went. What did not come is asked for once more before it is believed.
func (d *reader) done(l *lot, err error) {
	switch {
	case err == nil || missing(err) || providers.ReasonOf(err) == providers.BadMessage:
		if len(l.asked) == 0 {
			return
		}
		if l.twice {
			d.gone = append(d.gone, l)
			return
		}
		rest := &lot{f: l.f, twice: true}
		for _, p := range l.order {
			if l.asked[p.uid] != nil {
				rest.order = append(rest.order, p)
			}
		}
		d.again = append(d.again, rest)
	case onlyThis(err) && (!passing(err) || providers.ReasonOf(err) == providers.NotFound):
		d.r.fail(l.f, err)
	case d.err == nil:
		d.err = err
	}
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
