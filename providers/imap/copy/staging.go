package copy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// A folder that its users work with can't be searched for a message that was sent without an
// answer: they may have moved it on, or deleted it. So what goes to such a folder is appended
// to a staging folder that nobody else knows, and moved from there. While a message is in
// doubt it is in the staging folder or nowhere; once it has left, it was delivered,
// whatever its owner does with it. A connection that is lost takes its staging folder with it: the next one
// makes one of another name, and DELETE keeps an APPEND that is still under way from being
// carried out ever.

// stagedAtOnce is how many messages lie in a staging folder before they are moved to their place.
const stagedAtOnce = 500

// stage returns the staging folder of a connection of the worker's to the target and makes it
// where there is none.
func (w *worker) stage(ctx context.Context, dst session) (*manifest.Staging, error) {
	if w.staging != nil && w.stagingOf == dst {
		return w.staging, nil
	}
	for try := 0; ; try++ {
		s := manifest.Staging{Raw: dst.WireName(imap.StagingPrefix + w.r.freshName()), Made: w.r.e.o.Clock.Now()}
		if err := w.r.m.Update(ctx, func(t *manifest.Tx) error { return t.PutStaging(&s) }); err != nil {
			return nil, err
		}
		var refusal error
		if err := dst.CreateAll(ctx, []string{s.Raw}, func(_ int, err error) { refusal = err }); err != nil {
			return nil, err
		}
		if refusal == nil {
			w.staging, w.stagingOf = &s, dst
			return &s, nil
		}
		// One that is there already is not ours, however that came about.
		if err := w.r.retire(ctx, s); err != nil {
			return nil, err
		}
		if try == 2 || providers.ReasonOf(refusal) != providers.Conflict {
			return nil, refusal
		}
	}
}

// freshName is a name that no other connection, pass or state folder uses. It need not be secret.
func (r *run) freshName() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%d\x00%d", r.quarantine, r.number, r.e.o.Clock.Now().UnixNano(), r.names.Add(1)))
	return hex.EncodeToString(sum[:8])
}

func (r *run) retire(ctx context.Context, s manifest.Staging) error {
	return r.m.Update(ctx, func(t *manifest.Tx) error {
		_, err := t.Retire(s.ID, r.e.o.Clock.Now())
		return err
	})
}

// route decides once for each opening of a target folder how new messages go there.
func (r *run) route(ctx context.Context, t *target) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.routed {
		return nil
	}
	use, err := r.inUse(ctx, t, t.sel)
	if err != nil {
		return err
	}
	t.staged, t.routed = use && !r.unstaged.Load(), true
	return nil
}

// inUse reports whether others may work with a target folder.
func (r *run) inUse(ctx context.Context, t *target, sel imap.Selected) (bool, error) {
	if r.traits.Merges {
		// A message that is there already, in whatever folder, would never show in a staging folder; and one
		// that is sent twice is there once.
		return false, nil
	}
	claimed, doubts, err := r.m.Placed(ctx, t.ID, sel.UIDValidity)
	return !direct(r.spec.Mode, sel.Exists, t.Baseline.Messages, claimed, doubts), err
}

// clearStagings settles what connections that are gone have left in staging folders.
func (r *run) clearStagings(ctx context.Context) error {
	list, err := r.m.Stagings(ctx)
	if err != nil || len(list) == 0 {
		return err
	}
	return r.do(ctx, 1, []job{func(ctx context.Context, w *worker) error {
		for _, s := range list {
			if err := r.empty(ctx, w, s); err != nil {
				return err
			}
		}
		return nil
	}})
}

// foreignStagings tells of staging folders that the manifest doesn't know: another state folder's.
func (r *run) foreignStagings(ctx context.Context, list []imap.ListEntry) error {
	ours, err := r.m.Stagings(ctx)
	if err != nil {
		return err
	}
	for _, l := range list {
		if !imap.IsStaging(l.Name) || l.Name == canaryFolder || slices.ContainsFunc(ours, func(s manifest.Staging) bool { return s.Raw == l.Raw }) {
			continue
		}
		n := uint32(0)
		if l.Status != nil {
			n = l.Status.Messages
		}
		r.refusedWith(fmt.Sprintf("the target holds the folder %s with %d messages, left by a copy with another state folder: finish that copy, or delete the folder", l.Name, n))
	}
	return nil
}

// empty moves what lies in a staging folder to its place and deletes the folder.
func (r *run) empty(ctx context.Context, w *worker, s manifest.Staging) error {
	if w.staging != nil && w.staging.ID == s.ID {
		w.staging = nil // also when this fails: nothing more is sent there
	}
	there := true
	for look := 0; !s.Ending; look++ {
		rows, err := r.m.Staged(ctx, s.ID)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			break
		}
		// Also where the server has told the UID of each: a wrong one would bring another message to its place.
		if there, rows, err = r.lookInto(ctx, w, s, rows, look > 0); err != nil {
			return err
		}
		rows = slices.DeleteFunc(rows, func(m manifest.Message) bool { return m.StagedUID == 0 })
		if len(rows) == 0 || !there {
			break
		}
		if look == maxAttempts {
			return &providers.Error{Op: "move messages from", Subject: s.Raw, Reason: providers.Protocol,
				Err: fmt.Errorf("%d messages stay where they are although the server says that it moved them", len(rows))}
		}
		unconfirmed, err := r.deliver(ctx, w, s, rows)
		if err != nil {
			return err
		}
		if unconfirmed == 0 {
			break
		}
	}
	if there {
		if err := r.end(ctx, s); err != nil {
			return err
		}
		dst, err := w.target(ctx)
		if err != nil {
			return err
		}
		// A server ends the session whose folder is deleted (Dovecot 2.3: "Selected mailbox was deleted").
		if _, err := dst.Examine(ctx, "INBOX"); err != nil && dst.Err() != nil {
			return err
		}
		if err := dst.Delete(ctx, s.Raw); err != nil && (dst.Err() != nil || providers.ReasonOf(err) != providers.NotFound) {
			return err
		}
	}
	return r.retire(ctx, s)
}

// end writes that a staging folder is about to be deleted. Were that noted only when it is done, a DELETE that is carried out late
// might meet messages that the next attempt had begun to move.
func (r *run) end(ctx context.Context, s manifest.Staging) error {
	rest, err := r.m.Staged(ctx, s.ID)
	if err != nil {
		return err
	}
	for _, m := range rest {
		if ended(m) != again {
			return fmt.Errorf("message %d was moved from %s without an answer: it has to be looked for first", m.ID, s.Raw)
		}
	}
	return r.m.Update(ctx, func(t *manifest.Tx) error { return t.EndStaging(s.ID) })
}

// lookInto finds out what of rows lies in a staging folder and returns what is to be moved. answered says that no
// move is under way.
func (r *run) lookInto(ctx context.Context, w *worker, s manifest.Staging, rows []manifest.Message, answered bool) (there bool, left []manifest.Message, err error) {
	begun := !answered && slices.ContainsFunc(rows, func(m manifest.Message) bool { return m.Window != 0 })
	if begun {
		// A MOVE without an answer may still be carried out.
		if err := r.awaitQuiet(ctx, "some messages were moved without an answer: giving the target time"); err != nil {
			return false, nil, err
		}
	}
	dst, err := w.target(ctx)
	if err != nil {
		return false, nil, err
	}
	there, uids, err := stagedUIDs(ctx, dst, s)
	if err != nil {
		return there, nil, err
	}
	for look := 0; begun && there; look++ {
		// A MOVE of a message that another session is moving makes two of it (Dovecot 2.3), so nothing is
		// moved again while the folder still changes.
		before := uids
		if err := r.sleepBetweenLooks(ctx); err != nil {
			return there, nil, err
		}
		if there, uids, err = stagedUIDs(ctx, dst, s); err != nil {
			return there, nil, err
		}
		if slices.Equal(before, uids) {
			break
		}
		if look == maxScans {
			return there, nil, &providers.Error{Op: "look for messages in folder", Subject: s.Raw, Reason: providers.Throttled,
				Err: fmt.Errorf("it did not stand still during %d looks", maxScans)}
		}
	}
	found := map[uint32]bool{}
	for _, u := range uids {
		found[u] = true
	}
	at, err := r.identifyStaged(ctx, dst, rows, uids)
	if err != nil {
		return there, nil, err
	}
	messages, octets := 0, int64(0)
	err = r.m.Update(ctx, func(t *manifest.Tx) error {
		now := r.e.o.Clock.Now()
		left, messages, octets = nil, 0, 0
		for _, m := range rows {
			if uid, ok := at[m.ID]; ok {
				m.StagedUID = uid
			}
			here := m.StagedUID != 0 && found[m.StagedUID]
			v := seen(m, here, moves(dst) && there)
			switch v {
			case claim, again:
				m.State, m.Window = manifest.Applied, 0
				left = append(left, m)
				if err := t.Stage(m.ID, m.StagedUID, now); err != nil {
					return err
				}
			case applied, doubt:
				if v == applied {
					messages, octets = messages+1, octets+m.Size
				}
				if err := t.Left(m.ID, v == applied, now); err != nil {
					return err
				}
			}
		}
		return nil
	})
	r.steps.Add(1)
	if err == nil {
		r.copied(messages, octets)
	}
	return there, left, err
}

// stagedUIDs lists a staging folder. there is false when it is gone.
func stagedUIDs(ctx context.Context, dst session, s manifest.Staging) (there bool, uids []uint32, err error) {
	_, err = dst.Examine(ctx, s.Raw)
	switch {
	case err == nil:
		err = dst.FetchMeta(ctx, "1:*", imap.FetchItems{}, func(m imap.Meta) error { uids = append(uids, m.UID); return nil })
		slices.Sort(uids)
		return true, uids, err
	case dst.Err() == nil && providers.ReasonOf(err) == providers.NotFound:
		return false, nil, nil
	}
	return false, nil, err
}

// identifyStaged gives messages of which it isn't known where in the staging folder they are their UIDs, by content; 0 is
// nowhere. Nobody else writes there, so where the UIDs that the server has told don't fit what is in it, none of them is believed.
func (r *run) identifyStaged(ctx context.Context, dst session, rows []manifest.Message, uids []uint32) (map[int64]uint32, error) {
	told := map[uint32]int{}
	for _, m := range rows {
		told[m.StagedUID]++
	}
	var want, all []wanted
	free, open := slices.Clone(uids), slices.Clone(uids)
	drop := func(list []uint32, uid uint32) []uint32 {
		return slices.DeleteFunc(list, func(u uint32) bool { return u == uid })
	}
	wrong := false
	for _, m := range rows {
		if m.StagedUID == 0 {
			want, all = append(want, wantedOf(m)), append(all, wantedOf(m))
			continue
		}
		free = drop(free, m.StagedUID)
		if m.Window != 0 { // it was looked at before its move was begun
			open = drop(open, m.StagedUID)
			continue
		}
		all = append(all, wantedOf(m))
		wrong = wrong || told[m.StagedUID] > 1 || !slices.Contains(uids, m.StagedUID)
	}
	if !wrong {
		at, err := r.matchStaged(ctx, dst, want, free)
		if err != nil || len(at) == len(free) || r.rewrites.Load() {
			return at, err
		}
	}
	at, err := r.matchStaged(ctx, dst, all, open)
	for _, w := range all {
		if at != nil && at[w.ID] == 0 {
			at[w.ID] = 0
		}
	}
	return at, err
}

func (r *run) matchStaged(ctx context.Context, dst session, want []wanted, uids []uint32) (map[int64]uint32, error) {
	var have []found
	if len(want) > 0 && len(uids) > 0 {
		if err := digests(ctx, dst, uids, r.rewrites.Load(), func(uid uint32, d digest) error { have = append(have, found{UID: uid, Digest: d}); return nil }); err != nil {
			return nil, err
		}
	}
	return match(want, have), nil
}

// deliver moves messages from a staging folder to their places. It returns how many the server
// has said nothing of: they have to be looked for.
func (r *run) deliver(ctx context.Context, w *worker, s manifest.Staging, rows []manifest.Message) (unconfirmed int, err error) {
	byTarget := map[*target][]manifest.Message{}
	var order []*target
	for _, m := range rows {
		t, err := r.targetByID(m.Target)
		if err != nil {
			return 0, err
		}
		if byTarget[t] == nil {
			order = append(order, t)
		}
		byTarget[t] = append(byTarget[t], m)
	}
	refused, err := r.prepare(ctx, w, order)
	if err != nil {
		return 0, err
	}
	order = slices.DeleteFunc(order, func(t *target) bool {
		if refused[t] != nil {
			r.failTarget(t, refused[t])
		}
		return refused[t] != nil
	})
	if len(order) == 0 {
		return 0, nil
	}
	dst, err := w.target(ctx)
	if err != nil {
		return 0, err
	}
	if err := r.m.Update(ctx, func(tx *manifest.Tx) error {
		for _, t := range order {
			for _, m := range byTarget[t] {
				if err := tx.Move(m.ID, t.window(), r.e.o.Clock.Now()); err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil {
		return 0, err
	}
	placed, refusals, err := r.transfer(ctx, dst, s, order, byTarget)
	if err != nil {
		r.quiet.Store(r.e.o.Clock.Now().UnixNano())
		return 0, err
	}
	if unconfirmed, err = r.recordDelivered(ctx, order, byTarget, placed); err != nil {
		return 0, err
	}
	for t, refusal := range refusals {
		if providers.ReasonOf(refusal) == providers.NotFound {
			t.deleted() // it is looked at, and made again
		}
		if passing(refusal) {
			return 0, refusal
		}
		// Also after NO some may have been moved (RFC 6851 §3.3). The rest goes with the staging folder and waits for the next pass.
		r.failTarget(t, refusal)
		if _, _, err := r.lookInto(ctx, w, s, unsettled(t, byTarget[t], placed), true); err != nil {
			return 0, err
		}
		for _, m := range byTarget[t] {
			if placed[m.StagedUID].uid == 0 {
				unconfirmed--
			}
		}
	}
	return unconfirmed, nil
}

// spot is where a message is after it was moved.
type spot struct{ validity, uid uint32 }

// transfer moves messages, or copies them where the server knows no MOVE, and returns where they are by their UID in the staging folder.
// err is the connection's end.
func (r *run) transfer(ctx context.Context, dst session, s manifest.Staging, order []*target, byTarget map[*target][]manifest.Message) (placed map[uint32]spot, refusals map[*target]error, err error) {
	placed, refusals = map[uint32]spot{}, map[*target]error{}
	// One after the other: what a server has got ahead it may go on with when the connection is gone, and the fewer
	// moves are in doubt the sooner it stands still.
	for _, t := range order {
		var uids []uint32
		for _, m := range byTarget[t] {
			uids = append(uids, m.StagedUID)
		}
		way := []imap.Transfer{{Set: imap.FormatSet(uids), To: t.Raw}}
		change := &imap.Change{Moved: func(_ string, validity uint32, uids map[uint32]uint32) {
			for from, to := range uids {
				placed[from] = spot{validity, to}
			}
		}}
		if moves(dst) {
			change.Move = way
		} else {
			change.Copy = way
		}
		visit := &imap.Visit{Raw: s.Raw, Write: true, Change: change, Done: func(err error) {
			if err != nil {
				refusals[t] = err
			}
		}}
		if err := dst.Visit(ctx, func() (v *imap.Visit) { v, visit = visit, nil; return v }); err != nil {
			return placed, refusals, err
		}
	}
	return placed, refusals, nil
}

// moves reports whether the server moves messages in one step (RFC 6851).
func moves(s session) bool { return s.Has("MOVE") || s.Has("IMAP4REV2") }

// unsettled are those of a target's messages that the server has said nothing of.
func unsettled(t *target, rows []manifest.Message, placed map[uint32]spot) (list []manifest.Message) {
	for _, m := range rows {
		if placed[m.StagedUID].uid == 0 {
			m.Window = max(t.window(), 1)
			list = append(list, m)
		}
	}
	return list
}

func (r *run) recordDelivered(ctx context.Context, order []*target, byTarget map[*target][]manifest.Message, placed map[uint32]spot) (unconfirmed int, err error) {
	var messages int
	var octets int64
	if err := r.m.Update(ctx, func(tx *manifest.Tx) error {
		messages, octets, unconfirmed = 0, 0, 0
		now := r.e.o.Clock.Now()
		for _, t := range order {
			for _, m := range byTarget[t] {
				at := placed[m.StagedUID]
				if at.uid == 0 {
					unconfirmed++
					continue
				}
				err := errors.New("another folder of that name")
				if at.validity == t.sel.UIDValidity {
					err = tx.Claim(m.ID, at.validity, at.uid, now)
				}
				if err != nil {
					// It is there, and not where the server says: it is looked for.
					if err := tx.Left(m.ID, true, now); err != nil {
						return err
					}
				}
				messages, octets = messages+1, octets+m.Size
			}
		}
		return nil
	}); err != nil {
		return 0, err
	}
	r.steps.Add(int64(messages))
	r.copied(messages, octets)
	return unconfirmed, nil
}

// copied counts messages that are in their place.
func (r *run) copied(messages int, octets int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Copied += messages
	r.result.Octets += octets
	r.progress.Messages += messages
	r.progress.Octets += octets
}

// failTarget notes that a target folder takes no messages in this pass. A nil err was told already.
func (r *run) failTarget(t *target, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.folders {
		if f.target == t {
			f.failed = true
		}
	}
	if err != nil {
		r.failed = append(r.failed, err)
	}
}

// awaitQuiet returns when the grace since the end of the last connection to the target is over.
func (r *run) awaitQuiet(ctx context.Context, why string) error {
	until := time.Unix(0, r.quiet.Load()).Add(r.target.grace())
	if d := until.Sub(r.e.o.Clock.Now()); d > 0 {
		return r.sleep(ctx, d, why)
	}
	return nil
}
