package copy

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// listed is a message in a source folder. It is small, because a folder may hold a million.
type listed struct {
	uid   uint32
	flags int32 // index into listing.sets, -1 = not asked
	size  int64
}

// listing is what was asked of a source folder, in the order of UIDs.
type listing struct {
	messages []listed
	sets     []string // distinct sets of flags, each canonical and joined by blanks
	index    map[string]int32
	numbers  map[uint32]uint64 // by UID, where a message may be in several folders
}

// expect makes room for as many messages as the server says there are: growing bit by bit costs twice the memory at its worst.
func (l *listing) expect(exists uint32) {
	if l.messages == nil {
		l.messages = make([]listed, 0, min(exists, 1<<20))
	}
}

func (l *listing) add(m imap.Meta, flags bool) {
	x := listed{uid: m.UID, flags: -1, size: max(m.Size, 0)}
	if m.Number != 0 {
		if l.numbers == nil {
			l.numbers = map[uint32]uint64{}
		}
		l.numbers[m.UID] = m.Number
	}
	if flags {
		key := strings.Join(canonicalFlags(m.Flags), " ")
		i, ok := l.index[key]
		if !ok {
			if l.index == nil {
				l.index = map[string]int32{}
			}
			i = int32(len(l.sets))
			l.index[key] = i
			l.sets = append(l.sets, key)
		}
		x.flags = i
	}
	l.messages = append(l.messages, x)
}

// order sorts by UID; of a message that came twice the later one is newer.
func (l *listing) order() {
	slices.SortStableFunc(l.messages, func(a, b listed) int { return int(int64(a.uid) - int64(b.uid)) })
	kept := l.messages[:0]
	for i, m := range l.messages {
		if i+1 == len(l.messages) || l.messages[i+1].uid != m.uid {
			kept = append(kept, m)
		}
	}
	l.messages = kept
}

// flagChange is a message whose flags changed at the source.
type flagChange struct {
	id          int64
	add, remove []string
	flags       []string // as they are now
}

// enumerate finds what is new in a source folder, what has vanished and
// whose flags changed.
func (r *run) enumerate(ctx context.Context, w *worker, f *folder) error {
	f.begin()
	src, err := w.source(ctx)
	if err != nil {
		return err
	}
	r.report(f.Name, "")
	sel, err := src.Examine(ctx, f.Raw)
	if err != nil {
		return err
	}
	if err := lasting("source", f.Name, sel); err != nil {
		return err
	}
	if f.Numbers.UIDValidity != sel.UIDValidity {
		if err := r.identify(ctx, src, f, sel); err != nil {
			return err
		}
		f.look = look{open: true, all: true, flags: r.spec.Mode == providers.BeforeFlip}
	}
	f.seen = manifest.Numbers{UIDValidity: sel.UIDValidity, UIDNext: sel.UIDNext, Messages: sel.Exists, HighestModSeq: f.now.HighestModSeq}
	was, look := f.Numbers, f.look
	if was.UIDNext == 0 || sel.UIDNext == 0 {
		look.all = true
	}
	if !look.all {
		fresh := &listing{}
		if sel.UIDNext > was.UIDNext {
			if err := r.fetchList(ctx, src, fresh, was.UIDNext, sel.UIDNext-1, imap.FetchItems{Size: true, Flags: r.spec.Mode == providers.BeforeFlip}); err != nil {
				return err
			}
		}
		before := int64(sel.Exists) - int64(len(fresh.messages))
		if look.flags && look.changed == 0 || before != int64(was.Messages) {
			look.all = true
		} else {
			if err := r.hold(ctx, f, fresh, was.UIDNext, false); err != nil {
				return err
			}
			if !look.flags || was.UIDNext <= 1 {
				return nil
			}
			changed := &listing{}
			if err := r.fetchList(ctx, src, changed, 1, was.UIDNext-1, imap.FetchItems{Flags: true, ChangedSince: look.changed}); err != nil {
				return err
			}
			return r.changes(ctx, f, changed)
		}
	}
	all := &listing{}
	all.expect(sel.Exists)
	last := sel.UIDNext - 1
	if sel.UIDNext == 0 {
		last = 1<<32 - 1
	}
	if sel.Exists > 0 && last > 0 {
		if err := r.fetchList(ctx, src, all, 1, last, imap.FetchItems{Flags: look.flags, Size: true}); err != nil {
			return err
		}
	}
	if sel.UIDNext == 0 && len(all.messages) > 0 {
		f.seen.UIDNext = all.messages[len(all.messages)-1].uid + 1
	}
	f.seen.Messages = uint32(len(all.messages))
	whole, err := r.whole(ctx, src, f, sel, len(all.messages))
	if err != nil {
		return err
	}
	return r.hold(ctx, f, all, 1, whole)
}

// whole reports whether a list has as many messages as the source says that the folder holds. When it has less, and not because some
// were expunged meanwhile, nothing may be concluded from a message's absence: that is told, and the next pass lists the folder again.
func (r *run) whole(ctx context.Context, src session, f *folder, sel imap.Selected, listed int) (bool, error) {
	if listed >= int(sel.Exists) {
		return true, nil
	}
	now, err := src.Examine(ctx, f.Raw)
	if err != nil {
		return false, err
	}
	if err := sameFolder(f, now); err != nil {
		return false, err
	}
	come := 0 // since the list began, at most
	if sel.UIDNext > 0 && now.UIDNext > sel.UIDNext {
		come = int(now.UIDNext - sel.UIDNext)
	}
	if int(now.Exists) <= listed+come {
		return true, nil
	}
	f.partial = true
	r.refusedWith(fmt.Sprintf("the source says that %s holds %d messages, and lists %d", f.Name, now.Exists, listed))
	return false, nil
}

// lasting refuses folders whose UIDs mean nothing in the next session: there a message couldn't
// be known again (RFC 4315 §2, UIDNOTSTICKY).
func lasting(side, name string, sel imap.Selected) error {
	if sel.UIDValidity != 0 && !sel.UIDNotSticky {
		return nil
	}
	return &providers.Error{
		Op: "open folder", Subject: name, Reason: providers.Refused,
		Err:    fmt.Errorf("the %s gives its messages no lasting UIDs, so that a copy could not be told from a new message", side),
		Remedy: "exclude the folder, or ask the server's operator for a mail store with persistent UIDs",
	}
}

// fetchList asks for the messages with UIDs from first to last.
func (r *run) fetchList(ctx context.Context, src session, l *listing, first, last uint32, items imap.FetchItems) error {
	set := fmt.Sprintf("%d:%d", first, last)
	if last == 1<<32-1 {
		set = fmt.Sprintf("%d:*", first)
	}
	err := src.FetchMeta(ctx, set, items, func(m imap.Meta) error {
		if m.UID >= first && m.UID <= last { // "n:*" also answers with the last message (RFC 9051 §9)
			l.add(m, items.Flags)
		}
		return nil
	})
	l.order()
	r.steps.Add(1)
	return err
}

// hold compares a list of a folder from UID from on with the manifest.
// complete says that the list holds every message from there on that exists.
func (r *run) hold(ctx context.Context, f *folder, l *listing, from uint32, complete bool) error {
	var gone, back []int64
	i, unchanged := 0, 0
	before := r.baselines[f.Raw]
	fresh := func(m listed) {
		if before.UIDValidity == f.Numbers.UIDValidity && m.uid < before.UIDNext {
			return // on the way back: it was at the target before the migration, and stays there
		}
		if m.flags >= 0 && r.leavesOut(strings.Fields(l.sets[m.flags])) {
			r.leftOut(1)
			return
		}
		f.want(m, l)
	}
	if !complete || f.Numbers.UIDNext == 0 {
		f.fetch = slices.Grow(f.fetch, len(l.messages)) // nearly all of them are new
	}
	err := r.m.Known(ctx, f.ID, f.Numbers.UIDValidity, from, func(k manifest.Known) error {
		for i < len(l.messages) && l.messages[i].uid < k.UID {
			fresh(l.messages[i])
			i++
		}
		if i == len(l.messages) || l.messages[i].uid != k.UID {
			if complete && k.Vanished == 0 && (f.seen.UIDNext == 0 || k.UID < f.seen.UIDNext) {
				gone = append(gone, k.ID)
			}
			return nil
		}
		m := l.messages[i]
		i++
		if k.Vanished != 0 {
			back = append(back, k.ID)
		}
		if k.State == manifest.Claimed {
			unchanged++
		}
		if m.flags >= 0 {
			f.compare(k, l.sets[m.flags])
		}
		return nil
	})
	if err != nil {
		return err
	}
	for ; i < len(l.messages); i++ {
		fresh(l.messages[i])
	}
	r.mu.Lock()
	r.progress.Messages += unchanged
	for _, p := range f.fetch {
		r.progress.OctetsOf += p.size
	}
	r.mu.Unlock()
	if err := r.vanish(ctx, gone); err != nil {
		return err
	}
	return inGroups(back, func(ids []int64) error {
		return r.m.Update(ctx, func(t *manifest.Tx) error {
			for _, id := range ids {
				if err := t.Return(id); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// begin forgets what an earlier attempt has found.
func (f *folder) begin() { f.fetch, f.numbers, f.flags, f.partial = nil, nil, nil, false }

// want puts a message of a list on the folder's own of those to copy.
func (f *folder) want(m listed, l *listing) {
	f.fetch = append(f.fetch, pending{uid: m.uid, size: m.size})
	if number, ok := l.numbers[m.uid]; ok {
		if f.numbers == nil {
			f.numbers = map[uint32]uint64{}
		}
		f.numbers[m.uid] = number
	}
}

// compare notes a message whose flags are not those that were brought over last.
func (f *folder) compare(k manifest.Known, flags string) {
	if k.Flags == flags {
		return
	}
	switch k.State {
	case manifest.Claimed:
		now := strings.Fields(flags)
		add, remove := mergeFlags(strings.Fields(k.Flags), now)
		f.flags = append(f.flags, flagChange{id: k.ID, add: add, remove: remove, flags: now})
	case manifest.Intent, manifest.Applied:
		// It is looked for first; its flags are compared on the next pass.
		f.partial = true
	}
}

// changes compares the flags of those known messages that a CONDSTORE server named.
func (r *run) changes(ctx context.Context, f *folder, l *listing) error {
	i := 0
	if len(l.messages) == 0 {
		return nil
	}
	// One without a row was left out because it was marked \Deleted; it no longer is.
	back := func(m listed) {
		if r.traits.NoDeleted && !r.leavesOut(strings.Fields(l.sets[m.flags])) {
			f.want(m, l)
		}
	}
	defer func() {
		for ; i < len(l.messages); i++ {
			back(l.messages[i])
		}
	}()
	return r.m.Known(ctx, f.ID, f.Numbers.UIDValidity, l.messages[0].uid, func(k manifest.Known) error {
		for i < len(l.messages) && l.messages[i].uid < k.UID {
			back(l.messages[i])
			i++
		}
		if i < len(l.messages) && l.messages[i].uid == k.UID {
			f.compare(k, l.sets[l.messages[i].flags])
			i++
		}
		return nil
	})
}

// gone reports whether the source had the message no longer when it was asked for it.
func (f *folder) gone(uid uint32) bool { return f.missing[uid] }

// identify gives a folder's messages their identity under the UIDVALIDITY it
// has now. On the first visit there is nothing to do but to remember it. Later it means
// that all UIDs are new (RFC 9051 §2.3.1.1): messages are known again by
// their octets, as a multiset, so that no second copy is made of any.
func (r *run) identify(ctx context.Context, src session, f *folder, sel imap.Selected) error {
	if f.Numbers.UIDValidity != 0 {
		r.report(f.Name, "the source has given its messages new UIDs: comparing contents")
		if err := r.rekey(ctx, src, f, sel); err != nil {
			return err
		}
	}
	f.Numbers = manifest.Numbers{UIDValidity: sel.UIDValidity}
	f.Complete = false
	return r.m.Update(ctx, func(t *manifest.Tx) error { return t.PutFolder(&f.Folder) })
}

func (r *run) rekey(ctx context.Context, src session, f *folder, sel imap.Selected) error {
	old := map[[32]byte][]int64{}
	left := map[int64]bool{}
	have := map[uint32]bool{}
	if err := r.m.Of(ctx, f.ID, func(m manifest.Message) error {
		switch {
		case m.UIDValidity == sel.UIDValidity:
			have[m.UID] = true // an earlier attempt came as far as this one
		case m.Vanished == 0:
			old[[32]byte(m.Digest)] = append(old[[32]byte(m.Digest)], m.ID)
			left[m.ID] = true
		}
		return nil
	}); err != nil {
		return err
	}
	var uids []uint32
	if sel.Exists > 0 && len(left) > 0 {
		if err := src.FetchMeta(ctx, "1:*", imap.FetchItems{}, func(m imap.Meta) error {
			if !have[m.UID] {
				uids = append(uids, m.UID)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	type pair struct {
		id  int64
		uid uint32
	}
	var known []pair
	save := func() error {
		err := r.m.Update(ctx, func(t *manifest.Tx) error {
			for _, p := range known {
				if err := t.Rekey(p.id, sel.UIDValidity, p.uid); err != nil {
					return err
				}
			}
			return nil
		})
		r.steps.Add(int64(len(known)))
		known = known[:0]
		return err
	}
	if err := digests(ctx, src, uids, false, func(uid uint32, d digest) error {
		if ids := old[d.raw]; len(ids) > 0 {
			old[d.raw] = ids[1:]
			delete(left, ids[0])
			known = append(known, pair{ids[0], uid})
		}
		if len(known) >= 500 {
			return save()
		}
		return nil
	}); err != nil {
		return err
	}
	if err := save(); err != nil {
		return err
	}
	gone := make([]int64, 0, len(left))
	for id := range left {
		gone = append(gone, id)
	}
	slices.Sort(gone)
	return r.vanish(ctx, gone)
}

// digests reads messages of the selected folder and calls fn with what they hold.
// Messages that are gone meanwhile are left out. One that is there and is not sent is an
// error: nothing may be concluded from its absence.
func digests(ctx context.Context, s session, uids []uint32, content bool, fn func(uid uint32, d digest) error) error {
	for len(uids) > 0 {
		var sets []string
		left := map[uint32]bool{}
		for len(uids) > 0 && len(sets) < 16 {
			n := min(len(uids), 128)
			for _, uid := range uids[:n] {
				left[uid] = true
			}
			sets = append(sets, imap.FormatSet(slices.Clone(uids[:n])))
			uids = uids[n:]
		}
		err := digestSets(ctx, s, sets, left, content, fn)
		if err != nil && !missing(err) {
			return err
		}
		if len(left) == 0 {
			continue
		}
		sets = nil
		for uid := range left {
			sets = append(sets, imap.FormatSet([]uint32{uid})) // as reader.next
		}
		if err := digestSets(ctx, s, sets, left, content, fn); err != nil && !missing(err) {
			return err
		}
		if err := withheld(ctx, s, left); err != nil {
			return err
		}
	}
	return nil
}

// digestSets takes those messages out of left that came.
func digestSets(ctx context.Context, s session, sets []string, left map[uint32]bool, content bool, fn func(uid uint32, d digest) error) error {
	return s.FetchBodies(ctx, sets, func(m imap.Meta, size int64, body io.Reader) error {
		d, err := readDigest(size, body, content)
		if err != nil {
			return err
		}
		delete(left, m.UID)
		return fn(m.UID, d)
	})
}

// readDigest reads a message of size octets.
func readDigest(size int64, body io.Reader, content bool) (digest, error) {
	h := newHasher(content)
	n, err := io.Copy(h, body)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return digest{}, err
	}
	return h.sum(), nil
}

// withheld is an error when any of the messages, which were asked for and didn't come, is there.
func withheld(ctx context.Context, s session, left map[uint32]bool) error {
	if len(left) == 0 {
		return nil
	}
	var there []uint32
	if err := s.FetchMeta(ctx, imap.FormatSet(slices.Collect(maps.Keys(left))), imap.FetchItems{}, func(m imap.Meta) error {
		there = append(there, m.UID)
		return nil
	}); err != nil || len(there) == 0 {
		return err
	}
	return &providers.Error{Op: "read folder", Reason: providers.Protocol,
		Err:    fmt.Errorf("the server lists messages and does not send them (UIDs %.200s)", imap.FormatSet(there)),
		Remedy: "look at them with a mail program; as long as they can't be read it is not known whether messages in doubt are among them"}
}
