package copy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// Compare implements providers.Copier. A message counts as there when the UID
// that it was given at the target still exists: what its owner has moved
// or deleted since is among the missing, and so is what is in quarantine.
func (e *Engine) Compare(ctx context.Context, mailbox plan.Mailbox) (c providers.Comparison, err error) {
	source, to, err := e.ends(mailbox)
	if err != nil {
		return c, err
	}
	return e.compare(ctx, mailbox, source, to)
}

// Verify is Compare after every copy was read back from the target and held against its original: its date, its flags, its octets, or
// where the target renders messages anew what it says. What is different is in the manifest then.
func (e *Engine) Verify(ctx context.Context, mailbox plan.Mailbox) (c providers.Comparison, err error) {
	source, to, err := e.ends(mailbox)
	if err != nil {
		return c, err
	}
	return e.compare(ctx, mailbox, source, to, (*run).auditAll)
}

func (e *Engine) compare(ctx context.Context, mailbox plan.Mailbox, source, to *end, before ...func(*run, context.Context) error) (c providers.Comparison, err error) {
	way := e.forward(mailbox, source, to)
	m, err := way.open()
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	r := e.newRun(providers.PassSpec{Mailbox: mailbox}, way, m)
	defer r.dismiss()
	w, err := r.first(ctx)
	if err != nil {
		return c, err
	}
	for _, fn := range before {
		if err := fn(r, ctx); err != nil {
			return c, err
		}
	}
	err = w.attempt(ctx, func(ctx context.Context, w *worker) (err error) {
		c, err = r.compare(ctx, w)
		return err
	})
	return c, err
}

func (r *run) compare(ctx context.Context, w *worker) (c providers.Comparison, err error) {
	src, err := w.source(ctx)
	if err != nil {
		return c, err
	}
	dst, err := w.target(ctx)
	if err != nil {
		return c, err
	}
	sourceList, err := src.List(ctx)
	if err != nil {
		return c, err
	}
	targetList, err := dst.List(ctx)
	if err != nil {
		return c, err
	}
	mappings, err := imap.MapFolders(sourceList, targetList, r.spec.Mailbox.Folders)
	if err != nil {
		return c, err
	}
	known, err := r.m.Folders(ctx)
	if err != nil {
		return c, err
	}
	targets, err := r.m.Targets(ctx)
	if err != nil {
		return c, err
	}
	listed := map[string]bool{}
	for _, l := range targetList {
		listed[imap.Identity(l.Raw)] = l.Selectable
	}
	there := map[int64]uids{}
	for _, t := range targets {
		if listed[t.Raw] {
			if there[t.ID], err = uidsOf(ctx, dst, t.Raw); err != nil {
				return c, err
			}
		}
	}
	once, err := r.kept(ctx, dst.Traits(), known, there)
	if err != nil {
		return c, err
	}
	occurrences, err := r.m.Occurrences(ctx)
	if err != nil {
		return c, err
	}
	atTarget := func(row manifest.Message) bool {
		return there[row.Target].has(row.TargetUIDValidity, row.TargetUID) || once[string(row.Digest)]
	}
	for _, m := range mappings {
		switch {
		case !m.Source.Selectable:
			continue
		case m.Excluded:
			c.LeftOut += int(numbers(m.Source.Status).Messages)
			continue
		}
		now, err := uidsOf(ctx, src, m.Source.Raw)
		if err != nil {
			return c, err
		}
		fc := providers.FolderComparison{Source: m.Source.Name, Target: m.Target, Messages: len(now.list)}
		rest := now.list
		missing := func(words string) { c.Missing = append(c.Missing, words) }
		var unreadUIDs []uint32
		unread := func(uid uint32) { unreadUIDs = append(unreadUIDs, uid) }
		if f, ok := known[imap.Identity(m.Source.Raw)]; ok {
			if err := r.m.Messages(ctx, f.ID, now.validity, 1, func(row manifest.Message) error {
				for len(rest) > 0 && rest[0] < row.UID {
					unread(rest[0])
					rest = rest[1:]
				}
				if len(rest) == 0 || rest[0] != row.UID {
					return nil // gone at the source
				}
				rest = rest[1:]
				switch {
				case row.State == manifest.Claimed && atTarget(row):
					fc.Copied++
				case row.State == manifest.Claimed:
					missing(describe(m.Source.Name, row) + ": copied, and no longer where it was put")
				case row.State == manifest.Quarantined:
					c.Quarantined++
					missing(describe(m.Source.Name, row) + ": refused by the target, in quarantine")
				case row.State == manifest.Seen:
					missing(describe(m.Source.Name, row) + ": not copied yet")
				default:
					missing(describe(m.Source.Name, row) + ": sent without an answer, not looked for yet")
				}
				return nil
			}); err != nil {
				return c, err
			}
		}
		for _, uid := range rest {
			unread(uid)
		}
		left, err := leftOut(ctx, src, dst.Traits(), unreadUIDs)
		if err != nil {
			return c, err
		}
		copied, err := r.elsewhere(ctx, src, unreadUIDs, occurrences)
		if err != nil {
			return c, err
		}
		for _, uid := range unreadUIDs {
			row, found := copied[uid]
			switch {
			case left[uid]:
			case found && row == nil:
				fc.Messages-- // it counts in the folder it was copied from
			case found && row.State == manifest.Claimed && atTarget(*row):
				fc.Copied++
			default:
				missing(fmt.Sprintf("%s, UID %d: not copied yet", m.Source.Name, uid))
			}
		}
		fc.Messages -= len(left)
		c.LeftOut += len(left)
		c.Source += fc.Messages
		c.Target += fc.Copied
		c.Folders = append(c.Folders, fc)
	}
	if _, c.Changed, err = r.m.Changes(ctx); err != nil {
		return c, err
	}
	tiers, err := r.m.Tiers(ctx)
	c.Tiers = providers.Tiers{
		Octets: tiers[manifest.SameOctets], Content: tiers[manifest.SameContent], Gist: tiers[manifest.SameGist],
		Other: tiers[manifest.OtherContent], Unread: tiers[manifest.NotRead],
	}
	return c, err
}

// uids are those of a folder, ascending.
type uids struct {
	validity uint32
	list     []uint32
}

func (u uids) has(validity, uid uint32) bool {
	if uid == 0 || validity != u.validity {
		return false
	}
	_, ok := slices.BinarySearch(u.list, uid)
	return ok
}

// uidsOf reads a folder's UIDs by EXAMINE.
func uidsOf(ctx context.Context, s session, raw string) (u uids, err error) {
	sel, err := s.Examine(ctx, raw)
	if err != nil {
		return u, err
	}
	u.validity = sel.UIDValidity
	if sel.Exists == 0 {
		return u, nil
	}
	err = s.FetchMeta(ctx, "1:*", imap.FetchItems{}, func(m imap.Meta) error {
		u.list = append(u.list, m.UID)
		return nil
	})
	slices.Sort(u.list)
	u.list = slices.Compact(u.list)
	return u, err
}
