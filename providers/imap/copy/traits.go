package copy

import (
	"context"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
)

// What the target's traits change: which flags it is sent, which messages are left
// out, how many may be refused before a session is replaced.

const (
	deleted = `\Deleted`
	flagged = `\Flagged`
	mdnSent = "$MDNSent"
)

// leavesOut reports whether a message with these flags is not copied: a target that
// would take a message marked \Deleted away, or never lets it be unmarked, is not given it.
func (r *run) leavesOut(flags []string) bool { return r.traits.NoDeleted && hasFlag(flags, deleted) }

// leftOut counts n messages that are not copied.
func (r *run) leftOut(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Skipped += n
	r.progress.Messages += n
}

// leftOut returns which of uids, in the folder that is open at the source, are left out on purpose.
func leftOut(ctx context.Context, src session, target imap.Traits, uids []uint32) (map[uint32]bool, error) {
	left := map[uint32]bool{}
	if !target.NoDeleted || len(uids) == 0 {
		return left, nil
	}
	err := src.FetchMeta(ctx, imap.FormatSet(uids), imap.FetchItems{Flags: true}, func(m imap.Meta) error {
		if hasFlag(m.Flags, deleted) {
			left[m.UID] = true
		}
		return nil
	})
	return left, err
}

// storable is storable for the target of the pass.
func (r *run) storable(flags []string, sel imap.Selected) (kept, lost []string) {
	return keptBy(r.traits, flags, sel)
}

func keptBy(t imap.Traits, flags []string, sel imap.Selected) (kept, lost []string) {
	kept, lost = storable(flags, sel)
	kept = slices.DeleteFunc(kept, func(f string) bool {
		out := t.MDNSentShows && strings.EqualFold(f, mdnSent) || t.NoDeleted && f == deleted
		if out {
			lost = append(lost, f)
		}
		return out
	})
	return kept, lost
}

// later reports whether the message's \Flagged is stored once more after its APPEND.
func (r *run) later(it *item) bool {
	return r.traits.FlaggedLater && slices.Contains(it.flags, flagged)
}

// withoutLater takes \Flagged out of the flags that count as brought over, before the intent is
// written: should the pass end before it is stored, the next one finds it missing.
func (r *run) withoutLater(it *item) {
	if r.later(it) {
		it.row.Flags = slices.DeleteFunc(slices.Clone(it.row.Flags), func(f string) bool { return f == flagged })
	}
}

// flagLater notes that the message's \Flagged is to be stored. The caller holds r.mu.
func (r *run) flagLater(it *item) {
	if r.later(it) {
		all := canonicalFlags(append([]string{flagged}, it.row.Flags...))
		it.f.flags = append(it.f.flags, flagChange{id: it.row.ID, add: []string{flagged}, flags: all})
	}
}

// plainer takes the keywords of a message that was refused for its content or arguments: Exchange has
// one text for a keyword that it doesn't know and for much else ("BAD Command Argument Error. 11"). It
// reports whether the message may be sent again, which is so once.
func (it *item) plainer(refusal error) bool {
	if it.plain || providers.ReasonOf(refusal) != providers.BadMessage {
		return false
	}
	it.plain = true
	n := keywords(it.flags)
	if n == 0 {
		return false
	}
	it.lost += n
	it.flags = slices.DeleteFunc(slices.Clone(it.flags), func(f string) bool { return !strings.HasPrefix(f, `\`) })
	return true
}

// room is how many messages a batch may hold: as many as may be refused without the server ending
// the session, and as it lets us send at once.
func (w *writer) room() int {
	return max(1, min(batchMessages, w.dst.Tolerance()-w.unheard, w.tempo.room(w.unheard)))
}
