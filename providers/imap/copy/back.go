package copy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// A mailbox may be copied in two directions: to the target, and, in a rollback, what has come
// to the target since back to the source. Each has a manifest of its own. They tell each
// other what they know: a message that one of them has put somewhere is, seen from the other,
// at both ends already and is never copied back to where it came from.

// direction is which way a pass goes over a mailbox, and where its records are.
type direction struct {
	from, to   *end
	manifest   string // path
	quarantine string
	back       bool
}

func (e *Engine) forward(m plan.Mailbox, source, target *end) direction {
	return direction{from: source, to: target, manifest: e.ManifestPath(m), quarantine: e.QuarantinePath(m)}
}

// backward is the other way: the hosts change their roles.
func (e *Engine) backward(m plan.Mailbox, source, target *end) direction {
	return direction{from: target, to: source, manifest: strings.TrimSuffix(e.ManifestPath(m), ".db") + ".back.db", quarantine: e.QuarantinePath(m) + ".back", back: true}
}

func (d direction) open() (*manifest.DB, error) {
	return manifest.Open(d.manifest, strings.ToLower(d.to.account.Address+" at "+d.to.host.Hostname))
}

// begun reports whether a pass was ever made in this direction.
func (d direction) begun() (bool, error) {
	_, err := os.Stat(d.manifest)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// learn brings into m what the manifest of the other direction knows. What it has in doubt is
// settled first: a message whose place is not known yet could not be told from a new one.
func (r *run) learn(ctx context.Context, other direction) (err error) {
	if begun, err := other.begun(); err != nil || !begun {
		return err
	}
	o, err := other.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	if err := r.e.settleDoubts(ctx, r.spec, other, o); err != nil {
		return err
	}
	return r.takeOver(ctx, o)
}

// settleDoubts looks for what a direction has sent without an answer, and sends nothing.
func (e *Engine) settleDoubts(ctx context.Context, spec providers.PassSpec, d direction, m *manifest.DB) error {
	doubts, err := m.Doubts(ctx)
	if err != nil {
		return err
	}
	staged, err := m.Stagings(ctx)
	if err != nil || len(doubts)+len(staged) == 0 {
		return err
	}
	r := e.newRun(spec, d, m)
	defer r.dismiss()
	if r.number, r.finished, err = m.BeginPass(ctx, string(spec.Mode), e.o.Clock.Now()); err != nil {
		return err
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	if err := r.clearStagings(ctx); err != nil {
		return err
	}
	if doubts, err = m.Doubts(ctx); err != nil || len(doubts) == 0 {
		return err
	}
	return r.resolveAll(ctx, doubts)
}

// takeOver writes each claim of o into r's manifest, seen from the other end.
func (r *run) takeOver(ctx context.Context, o *manifest.DB) error {
	places, err := newPlaces(ctx, r.m, o)
	if err != nil {
		return err
	}
	flipped, err := o.LeftMirroring(ctx)
	if err != nil {
		return err
	}
	first := map[int64]time.Time{} // claim in each folder that we read
	var rows []manifest.Message
	save := func() error {
		err := r.m.Update(ctx, func(t *manifest.Tx) error {
			for _, m := range rows {
				if err := places.learn(t, m, r.number); err != nil {
					return err
				}
			}
			return nil
		})
		rows = rows[:0]
		return err
	}
	if err := o.Claims(ctx, func(m manifest.Message) error {
		if at, ok := first[m.Target]; !ok || m.At.Before(at) {
			first[m.Target] = m.At
		}
		if rows = append(rows, m); len(rows) < 500 {
			return nil
		}
		return save()
	}); err != nil {
		return err
	}
	if r.back {
		r.baselines = map[string]manifest.Numbers{}
		for id, t := range places.targets {
			// What was in a folder when the first message was put there was there before the
			// migration; after the flip that may be mail that has come since.
			if at, ok := first[id]; ok && (flipped.IsZero() || at.Before(flipped)) {
				r.baselines[t.Raw] = t.Baseline
			}
		}
	}
	return save()
}

// places are the folders of two manifests, each at the end where the other has it.
type places struct {
	folders map[int64]manifest.Folder // of the other manifest, by ID: places where we put messages
	targets map[int64]manifest.Target // likewise: places where we read them
	ownFrom map[string]manifest.Folder
	ownTo   map[string]manifest.Target
}

func newPlaces(ctx context.Context, own, other *manifest.DB) (*places, error) {
	p := &places{folders: map[int64]manifest.Folder{}, targets: map[int64]manifest.Target{}}
	folders, err := other.Folders(ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range folders {
		p.folders[f.ID] = f
	}
	targets, err := other.Targets(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range targets {
		p.targets[t.ID] = t
	}
	if p.ownFrom, err = own.Folders(ctx); err != nil {
		return nil, err
	}
	p.ownTo, err = own.Targets(ctx)
	return p, err
}

// learn writes one claim m of the other manifest.
func (p *places) learn(t *manifest.Tx, m manifest.Message, pass int64) error {
	was, now := p.folders[m.Folder], p.targets[m.Target]
	if now.ID == 0 {
		return nil // taken and never found again, in a folder that is not known: as an end it can't be named
	}
	from, ok := p.ownFrom[now.Raw]
	if !ok {
		// UIDs of the last visit: should they have changed since, contents are compared.
		from = manifest.Folder{Raw: now.Raw, Name: now.Name, Numbers: manifest.Numbers{UIDValidity: now.Numbers.UIDValidity}}
		if err := t.PutFolder(&from); err != nil {
			return err
		}
		p.ownFrom[now.Raw] = from
	}
	to, ok := p.ownTo[was.Raw]
	if !ok {
		to = manifest.Target{Raw: was.Raw, Name: was.Name, Numbers: was.Numbers, Baseline: was.Numbers}
		if err := t.PutTarget(&to); err != nil {
			return err
		}
		p.ownTo[was.Raw] = to
	}
	m.Folder, m.UIDValidity, m.UID, m.Target, m.TargetUIDValidity, m.TargetUID = from.ID, m.TargetUIDValidity, m.TargetUID, to.ID, m.UIDValidity, m.UID
	row := m
	if m.Vanished = 0; m.UID == 0 {
		// Its owner moved it before we knew where it was: it is known again by its content, like
		// one that has vanished from one folder and turns up in another.
		m.UIDValidity, m.UID, m.Vanished = 0, uint32(row.ID), pass
	}
	_, err := t.Learn(m)
	return err
}

// inverse are the folder rules of the way back: each folder goes to where its mail came from.
// Folders that came into being at the target keep their names.
func inverse(source, target []imap.ListEntry, rules plan.FolderRules) (plan.FolderRules, error) {
	mappings, err := imap.MapFolders(source, target, rules)
	if err != nil {
		return plan.FolderRules{}, err
	}
	back := map[string]string{}
	for _, m := range mappings {
		if _, taken := back[m.Target]; !m.Excluded && !taken {
			back[m.Target] = m.Source.Name
		}
	}
	return plan.FolderRules{Map: back}, nil
}

// wentBack explains an error of a pass in which the hosts have changed their roles.
func wentBack(err error) error {
	if err == nil || errors.Is(err, providers.ErrStopped) {
		return err
	}
	return fmt.Errorf("carry mail back (the target is read, the source is written to): %w", err)
}
