package copy

import (
	"context"
	"errors"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// A source with labels (imap.Traits.Labels) shows one message in several folders. It is copied once, from the
// first of them: INBOX, where its owner would miss it; then the folders that say what a message is (sent, draft, junk,
// deleted); then the owner's labels in the order of their names; and last what is in no folder but the one that
// shows all. Its further labels are keywords by then (imap.Meta.Flags).

// precedence is the order in which a message's folders are asked for it.
func precedence(f *folder) int {
	switch {
	case f.Name == "INBOX":
		return 0
	case f.specialUse == `\All`:
		return 3
	case f.specialUse != "":
		return 1
	}
	return 2
}

// onceEach takes every message off the lists of all folders but one. What was copied
// from one folder is not copied from another in any later pass. When it has left the first
// since the last pass and turned up in another, it is let through: it moved, and so does its copy.
func (r *run) onceEach(ctx context.Context) error {
	if !r.labels {
		return nil
	}
	known, err := r.m.Occurrences(ctx)
	if err != nil {
		return err
	}
	twice := 0
	for _, f := range r.folders {
		for i := range f.fetch {
			p := &f.fetch[i]
			number := f.numbers[p.uid]
			if number == 0 || p.settled {
				continue
			}
			o, there := known[number]
			if there && (o.Vanished <= r.finished || !o.Placed || !r.moved || !r.movesTo) {
				p.settled = true
				twice++
				continue
			}
			known[number] = manifest.Occurrence{} // taken
		}
	}
	r.mu.Lock()
	r.progress.Messages += twice
	r.mu.Unlock()
	return nil
}

// elsewhere returns which of uids, in the folder that is open at the source, were copied from another folder; of those
// that have left that folder since, with the row that stands for them.
func (r *run) elsewhere(ctx context.Context, src session, uids []uint32, known map[uint64]manifest.Occurrence) (map[uint32]*manifest.Message, error) {
	found := map[uint32]*manifest.Message{}
	if !src.Traits().Labels || len(uids) == 0 {
		return found, nil
	}
	numbers := map[uint32]uint64{}
	if err := src.FetchMeta(ctx, imap.FormatSet(uids), imap.FetchItems{Size: true}, func(m imap.Meta) error { numbers[m.UID] = m.Number; return nil }); err != nil {
		return nil, err
	}
	for uid, number := range numbers {
		o, ok := known[number]
		if !ok {
			continue
		}
		found[uid] = nil
		if o.Vanished != 0 {
			row, err := r.m.Message(ctx, o.Message)
			if err != nil {
				return nil, err
			}
			found[uid] = &row
		}
	}
	return found, nil
}

// mirrors refuses to mirror deletions of a source with labels: a message that leaves one folder is still in another.
func (r *run) mirrors() error {
	if !r.labels || r.spec.Mailbox.Deletes != "mirror" {
		return nil
	}
	return &providers.Error{Op: "mirror deletions of", Subject: r.spec.Mailbox.Source, Reason: providers.Refused,
		Err:    errLabels,
		Remedy: `set deletes = "keep" for this mailbox`}
}

var errLabels = errors.New("the source shows a message in several folders, so one that leaves a folder isn't deleted")

// kept are the digests of copies that are at the target, where it keeps messages with the same content
// once: one of them stands for all.
func (r *run) kept(ctx context.Context, target imap.Traits, folders map[string]manifest.Folder, there map[int64]uids) (map[string]bool, error) {
	kept := map[string]bool{}
	if !target.Merges {
		return kept, nil
	}
	for _, f := range folders {
		if err := r.m.Of(ctx, f.ID, func(row manifest.Message) error {
			if row.State == manifest.Claimed && there[row.Target].has(row.TargetUIDValidity, row.TargetUID) {
				kept[string(row.Digest)] = true
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return kept, nil
}
