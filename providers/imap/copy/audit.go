package copy

import (
	"context"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// At the end of a pass the copies that it made are looked at: is each where it was put, with the date and the
// flags it was sent with? Servers change these without a word (Dovecot: dates before 1970 and after 2038, and days
// that don't exist; Exchange: keywords). Octets are read back of a few messages in each folder, and of
// all that a server is likely to change; of every one by Engine.Verify. What is different is named in the manifest.

const (
	auditAtOnce   = 5000 // messages of a folder that are asked for together
	samplePerPass = 24   // messages that are read back, besides those that are likely to differ
	sampleOctets  = 256 << 10
)

// auditing are messages of a target folder that are looked at together.
type auditing struct {
	t     *target
	raw   string
	rows  map[uint32]*audited // by the UID at the target
	last  uint32
	valid bool                // the folder still is what it was
	next  uint32              // its UIDNEXT, 0 = the server doesn't say
	kept  map[string][]string // flags as they come, and in canonical form: there are few different ones
}

type audited struct {
	manifest.Copy
	there    bool
	read     bool             // its octets are to be read back
	original manifest.Message // of those
	tier     manifest.Tier
	changed  []string
}

// audit looks at what was copied since the last audit.
func (r *run) audit(ctx context.Context) error {
	ids, err := r.m.Unaudited(ctx)
	if err != nil || len(ids) == 0 {
		return err
	}
	var list []*target
	for _, id := range ids {
		t, err := r.targetByID(id)
		if err != nil {
			return err
		}
		if t.listed { // else its users deleted it
			list = append(list, t)
		}
	}
	sample := samplePerPass
	return r.do(ctx, 1, []job{func(ctx context.Context, w *worker) error {
		for len(list) > 0 {
			var group []*auditing
			rest, err := r.group(ctx, list, &group, &sample)
			if err != nil {
				return err
			}
			if err := r.auditSome(ctx, w, group); err != nil {
				return err
			}
			list = rest
		}
		return nil
	}})
}

// lookAgain finds those copies whose UIDs the audit has found to be wrong, and copies anew what isn't there: with flags that are stored afterwards.
func (r *run) lookAgain(ctx context.Context) error {
	if !r.misled.Load() {
		return nil
	}
	if err := r.copyAll(ctx); err != nil {
		return err
	}
	return r.mergeFlags(ctx)
}

// group takes the messages of target folders that are looked at together: of as many folders as it takes for auditAtOnce messages. It returns
// the folders that are not done with them.
func (r *run) group(ctx context.Context, list []*target, group *[]*auditing, sample *int) (rest []*target, err error) {
	left := auditAtOnce
	for i, t := range list {
		if left == 0 {
			return list[i:], nil
		}
		x, err := r.auditing(ctx, t, t.Audited+1, left, false)
		if err != nil {
			return nil, err
		}
		if left -= len(x.rows); len(x.rows) > 0 {
			x.sample(sample)
			*group = append(*group, x)
		}
		if left == 0 {
			return list[i:], nil // there may be more of this one
		}
	}
	return nil, nil
}

// auditing takes the next messages of a folder; with all, the octets of each are to be read back.
func (r *run) auditing(ctx context.Context, t *target, from uint32, limit int, all bool) (*auditing, error) {
	x := &auditing{t: t, raw: t.Raw, rows: map[uint32]*audited{}, kept: map[string][]string{}}
	return x, r.m.Copies(ctx, t.ID, t.Numbers.UIDValidity, from, limit, func(m manifest.Copy) error {
		x.rows[m.UID] = &audited{Copy: m, read: all || m.Odd}
		x.last = m.UID
		return nil
	})
}

// auditAll looks at every copy there is, and its octets.
func (r *run) auditAll(ctx context.Context) error {
	folders, err := r.m.Folders(ctx)
	if err != nil {
		return err
	}
	for _, f := range folders {
		r.folders = append(r.folders, &folder{Folder: f})
	}
	if r.known, err = r.m.Targets(ctx); err != nil {
		return err
	}
	return r.do(ctx, 1, []job{func(ctx context.Context, w *worker) error {
		dst, err := w.target(ctx)
		if err != nil {
			return err
		}
		list, err := dst.List(ctx)
		if err != nil {
			return err
		}
		r.list = map[string]imap.ListEntry{}
		for _, l := range list {
			r.list[l.Raw] = l
		}
		rewrites, err := r.m.Rewrites(ctx)
		if err != nil {
			return err
		}
		r.rewrites.Store(rewrites || dst.Traits().Rewrites)
		for _, known := range r.known {
			t, err := r.targetByID(known.ID)
			if err != nil {
				return err
			}
			if !t.listed {
				continue
			}
			if err := r.auditFolder(ctx, w, t); err != nil {
				return err
			}
		}
		return nil
	}})
}

// auditFolder looks at every copy in a target folder, and its octets.
func (r *run) auditFolder(ctx context.Context, w *worker, t *target) error {
	for from := uint32(1); ; {
		x, err := r.auditing(ctx, t, from, auditAtOnce, true)
		if err != nil || len(x.rows) == 0 {
			return err
		}
		if err := r.auditSome(ctx, w, []*auditing{x}); err != nil {
			return err
		}
		if !x.valid {
			return nil // it has other UIDs now; the next pass compares contents
		}
		from = x.last + 1
	}
}

// sample chooses messages of the first, the middle and the last third whose octets are read back.
func (x *auditing) sample(left *int) {
	uids := slices.Sorted(maps.Keys(x.rows))
	for _, i := range []int{0, len(uids) / 2, len(uids) - 1} {
		if a := x.rows[uids[i]]; *left > 0 && !a.read && a.Size <= sampleOctets {
			a.read = true
			*left--
		}
	}
}

// auditSome looks at messages of several folders; their number costs no round trips.
func (r *run) auditSome(ctx context.Context, w *worker, group []*auditing) error {
	dst, err := w.target(ctx)
	if err != nil {
		return err
	}
	i := 0
	var refusal error
	if err := dst.Visit(ctx, func() *imap.Visit {
		if i == len(group) {
			return nil
		}
		x := group[i]
		i++
		queries := []imap.Query{{Set: imap.FormatSet(slices.Collect(maps.Keys(x.rows)))}}
		if odd := x.oddDates(); len(odd) > 0 {
			queries = append(queries, imap.Query{Set: imap.FormatSet(odd)})
		}
		return &imap.Visit{
			Raw:    x.raw,
			Opened: x.opened,
			List: &imap.List{
				Queries: queries,
				Items:   imap.FetchItems{Flags: true, InternalDate: true},
				Each:    func(m imap.Meta) error { x.compare(m); return nil },
			},
			Done: func(err error) {
				if err != nil {
					x.valid, refusal = false, err
				}
			},
		}
	}); err != nil {
		return err
	}
	if refusal != nil {
		return refusal
	}
	group = slices.DeleteFunc(slices.Clone(group), func(x *auditing) bool { return !x.valid })
	// A message that the target lists and can't send is told by the next comparison and holds nobody up here.
	if err := r.readBack(ctx, w, group); err != nil && providers.ReasonOf(err) != providers.Protocol {
		return err
	}
	return r.m.Update(ctx, func(t *manifest.Tx) error {
		for _, x := range group {
			if x.misled() {
				for uid := range x.rows {
					if err := t.Withdraw(x.t.ID, x.t.Numbers.UIDValidity, uid, r.e.o.Clock.Now()); err != nil {
						return err
					}
				}
				r.misled.Store(true)
				continue
			}
			for _, a := range x.rows {
				if a.tier != manifest.NotRead || len(a.changed) > 0 {
					if err := t.Audit(a.ID, a.tier, a.changed); err != nil {
						return err
					}
				}
			}
			x.t.Audited = max(x.t.Audited, x.last)
			if err := t.PutTarget(&x.t.Target); err != nil {
				return err
			}
		}
		return nil
	})
}

func (x *auditing) opened(sel imap.Selected) error {
	x.valid, x.next = sel.UIDValidity == x.t.Numbers.UIDValidity, sel.UIDNext
	return nil
}

// misled reports whether the server has named a UID for one of the messages that nothing has got yet. Then the others', too, may be those of
// their neighbours, and all are looked for by content.
func (x *auditing) misled() bool {
	// Courier doesn't say UIDNEXT: there it may as well be that its owner has deleted it, and looking shows that, too.
	return (x.next == 0 || x.last >= x.next) && !x.rows[x.last].there
}

// oddDates are the messages whose dates don't fit into 31 bits of seconds. Dovecot 2.3 has such a date right when it is asked
// the first time, and from then on as its cache has it: APPEND one of 1969 and FETCH its INTERNALDATE twice.
func (x *auditing) oddDates() (uids []uint32) {
	for uid, a := range x.rows {
		if a.Dated && (a.InternalDate < 0 || a.InternalDate > math.MaxInt32) {
			uids = append(uids, uid)
		}
	}
	return uids
}

// compare holds what the target says of a message against how it was sent. Flags that are there and were not
// sent are its owner's.
func (x *auditing) compare(m imap.Meta) {
	a := x.rows[m.UID]
	if a == nil {
		return
	}
	a.there = true
	key := strings.Join(m.Flags, " ")
	have, ok := x.kept[key]
	if !ok {
		have = canonicalFlags(m.Flags)
		x.kept[key] = have
	}
	a.changed = differences(a.Copy, m.InternalDate, have)
}

// differences names what the target has made different: words of package manifest.
func differences(sent manifest.Copy, date time.Time, flags []string) (words []string) {
	if sent.Dated && date.Unix() != sent.InternalDate {
		words = append(words, manifest.ChangedDate+"="+date.UTC().Format(time.RFC3339))
	}
	system, keywords := false, false
	for f := range strings.FieldsSeq(sent.Flags) {
		if !hasFlag(flags, f) {
			system, keywords = system || strings.HasPrefix(f, `\`), keywords || !strings.HasPrefix(f, `\`)
		}
	}
	if system {
		words = append(words, manifest.ChangedFlags)
	}
	if keywords {
		words = append(words, manifest.ChangedKeywords)
	}
	return words
}

// readBack reads the octets of messages from the target and notes on which tier they are equal.
func (r *run) readBack(ctx context.Context, w *worker, group []*auditing) error {
	var reads []*readingBack
	for _, x := range group {
		b := &readingBack{x: x, left: map[uint32]bool{}, back: map[uint32]digest{}}
		for uid, a := range x.rows {
			if !a.there || !a.read {
				continue
			}
			m, err := r.m.Message(ctx, a.ID)
			if err != nil {
				return err
			}
			a.original, b.left[uid] = m, true
		}
		if len(b.left) > 0 {
			reads = append(reads, b)
		}
	}
	if len(reads) == 0 {
		return nil
	}
	dst, err := w.target(ctx)
	if err != nil {
		return err
	}
	content := r.rewrites.Load()
	i := 0
	if err := dst.Visit(ctx, func() *imap.Visit {
		if i == len(reads) {
			return nil
		}
		b := reads[i]
		i++
		return &imap.Visit{Raw: b.x.raw, Opened: b.x.opened, Bodies: &imap.Bodies{Sets: b.sets(), Each: func(m imap.Meta, size int64, body io.Reader) error {
			d, err := readDigest(size, body, content)
			if err == nil && b.left[m.UID] {
				delete(b.left, m.UID)
				b.back[m.UID] = d
			}
			return err
		}}}
	}); err != nil {
		return err
	}
	for _, b := range reads {
		if err := r.settleBack(ctx, w, dst, b, content); err != nil {
			return err
		}
	}
	return nil
}

// readingBack are messages of a folder that are read back.
type readingBack struct {
	x    *auditing
	left map[uint32]bool // still to come
	back map[uint32]digest
}

func (b *readingBack) sets() (sets []string) {
	for some := range slices.Chunk(slices.Sorted(maps.Keys(b.left)), setMessages) {
		sets = append(sets, imap.FormatSet(some))
	}
	return sets
}

// settleBack asks once more for what has not come, and draws the conclusions for one folder.
func (r *run) settleBack(ctx context.Context, w *worker, dst session, b *readingBack, content bool) error {
	x, back := b.x, b.back
	if !x.valid {
		return nil
	}
	if len(b.left) > 0 {
		if _, err := dst.Examine(ctx, x.raw); err != nil {
			return err
		}
		if err := digests(ctx, dst, slices.Sorted(maps.Keys(b.left)), content, func(uid uint32, d digest) error { back[uid] = d; return nil }); err != nil {
			return err
		}
	}
	var unlike []uint32
	for uid, d := range back {
		a := x.rows[uid]
		a.tier = tierOf(wantedOf(a.original).Digest, d)
		if a.tier >= manifest.SameGist {
			unlike = append(unlike, uid)
		}
	}
	if err := r.readBackRendered(ctx, w, x, dst, unlike); err != nil {
		return err
	}
	rendered := false
	for uid := range back {
		a := x.rows[uid]
		switch {
		case a.tier == manifest.OtherContent:
			a.changed = append(a.changed, manifest.ChangedContent)
		case a.tier > manifest.SameOctets:
			a.changed = append(a.changed, manifest.ChangedOctets)
			rendered = rendered || !a.Odd
		}
	}
	if rendered && !r.rewrites.Swap(true) {
		return r.m.Update(ctx, func(t *manifest.Tx) error { return t.SetRewrites() })
	}
	return nil
}

// readBackRendered compares messages once more whose octets differ, by what they say.
func (r *run) readBackRendered(ctx context.Context, w *worker, x *auditing, dst session, unlike []uint32) error {
	if len(unlike) == 0 {
		return nil
	}
	if _, err := dst.Examine(ctx, x.raw); err != nil {
		return err
	}
	var rows []manifest.Message
	for _, uid := range unlike {
		rows = append(rows, x.rows[uid].original)
	}
	originals, err := r.originals(ctx, w, rows)
	if err != nil {
		return err
	}
	slices.Sort(unlike)
	return digests(ctx, dst, unlike, true, func(uid uint32, d digest) error {
		if o, ok := originals[x.rows[uid].ID]; ok {
			x.rows[uid].tier = tierOf(o, d)
		}
		return nil
	})
}

// originals reads messages from the source again, for what their rows don't hold. Those that the source no longer has are left out.
func (r *run) originals(ctx context.Context, w *worker, rows []manifest.Message) (map[int64]digest, error) {
	result := map[int64]digest{}
	byFolder := map[*folder]map[uint32]int64{}
	for _, m := range rows {
		if m.Content != nil {
			result[m.ID] = wantedOf(m).Digest
			continue
		}
		for _, f := range r.folders {
			if f.ID == m.Folder && f.Numbers.UIDValidity == m.UIDValidity && m.Vanished == 0 {
				if byFolder[f] == nil {
					byFolder[f] = map[uint32]int64{}
				}
				byFolder[f][m.UID] = m.ID
			}
		}
	}
	for f, byUID := range byFolder {
		src, err := w.source(ctx)
		if err != nil {
			return nil, err
		}
		sel, err := src.Examine(ctx, f.Raw)
		if err != nil {
			return nil, err
		}
		if sel.UIDValidity != f.Numbers.UIDValidity {
			continue
		}
		if err := digests(ctx, src, slices.Sorted(maps.Keys(byUID)), true, func(uid uint32, d digest) error { result[byUID[uid]] = d; return nil }); err != nil {
			return nil, err
		}
	}
	return result, nil
}

// matchRendered is match with every tier, for messages in doubt of which the manifest may hold the octets' digest alone. The target
// folder is open.
func (r *run) matchRendered(ctx context.Context, w *worker, doubts []manifest.Message, uids []uint32) (map[int64]uint32, error) {
	originals, err := r.originals(ctx, w, doubts)
	if err != nil {
		return nil, err
	}
	want := make([]wanted, len(doubts))
	for i, m := range doubts {
		want[i] = wantedOf(m)
		if d, ok := originals[m.ID]; ok && d.raw == want[i].Digest.raw {
			want[i].Digest = d
		}
	}
	var have []found
	if err := digests(ctx, w.dst, uids, true, func(uid uint32, d digest) error {
		have = append(have, found{UID: uid, Digest: d})
		return nil
	}); err != nil {
		return nil, err
	}
	return match(want, have), nil
}

// keepsOctets reports whether a message that we put into the folder that is open is there octet by octet.
func (r *run) keepsOctets(ctx context.Context, dst session, t *target, sel imap.Selected) (keeps bool, err error) {
	var one []manifest.Message
	if err := r.m.ClaimsFrom(ctx, t.ID, sel.UIDValidity, 1, 20, func(m manifest.Message) error {
		if m.Canonical == nil && m.Size <= sampleOctets {
			one = append(one, m)
		}
		return nil
	}); err != nil || len(one) == 0 {
		return false, err
	}
	original := map[uint32]digest{}
	for _, m := range one {
		original[m.TargetUID] = wantedOf(m).Digest
	}
	err = digests(ctx, dst, slices.Sorted(maps.Keys(original)), false, func(uid uint32, d digest) error {
		keeps = keeps || original[uid].raw == d.raw
		return nil
	})
	return keeps, err
}
