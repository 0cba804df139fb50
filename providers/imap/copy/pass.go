package copy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// run is one pass over one mailbox.
type run struct {
	e              *Engine
	m              *manifest.DB
	spec           providers.PassSpec
	source, target *end
	crew           []*worker
	number         int64 // of this pass
	finished       int64 // of the last one that came to its end
	back           bool  // from the target to the source
	quarantine     string
	baselines      map[string]manifest.Numbers // of folders that are read: what was there before anything of ours
	headroom       int64                       // largest message that is sent, 0 = no limit
	labels         bool                        // the source shows a message in several folders
	movesTo        bool                        // a copy can follow its message to another folder
	traits         imap.Traits                 // of the target

	folders  []*folder
	targets  map[string]*target // by the name the mapping gives
	known    map[string]manifest.Target
	list     map[string]imap.ListEntry // of the target, by the name on the wire
	steps    atomic.Int64              // grows with everything that is settled: the measure of progress
	quiet    atomic.Int64              // when a connection to the target ended last, unix nanoseconds
	names    atomic.Int64              // of staging folders
	rewrites atomic.Bool               // the target renders messages anew: see contentHasher
	unstaged atomic.Bool               // the target lets us make no folder for staging
	misled   atomic.Bool               // the target has named UIDs that it never gave out
	moved    bool                      // something has vanished that may turn up elsewhere

	mu       sync.Mutex // what follows, and Progress
	result   providers.PassResult
	progress providers.Progress
	refusals map[string]bool
	failed   []error // refusals that concern one folder each
	moves    []move
	taken    map[int64]bool // rows whose copy is given to another message
}

// Pass implements providers.Copier.
func (e *Engine) Pass(ctx context.Context, spec providers.PassSpec) (providers.PassResult, error) {
	source, target, err := e.ends(spec.Mailbox)
	if err != nil {
		return providers.PassResult{}, err
	}
	return e.pass(ctx, spec, source, target)
}

func (e *Engine) pass(ctx context.Context, spec providers.PassSpec, source, target *end) (providers.PassResult, error) {
	way, other := e.forward(spec.Mailbox, source, target), e.backward(spec.Mailbox, source, target)
	if spec.Mode != providers.CarryBack {
		return e.passOver(ctx, spec, way, other)
	}
	result, err := e.passOver(ctx, spec, other, way)
	return result, wentBack(err)
}

// newRun is a pass in direction d, whose manifest m is.
func (e *Engine) newRun(spec providers.PassSpec, d direction, m *manifest.DB) *run {
	r := &run{
		e: e, m: m, spec: spec, source: d.from, target: d.to, back: d.back, quarantine: d.quarantine,
		targets: map[string]*target{}, refusals: map[string]bool{}, taken: map[int64]bool{},
		progress: providers.Progress{Mailbox: spec.Mailbox.Source},
	}
	if d.back {
		// Both ends are in use: the source gets what it has not, and nothing there is touched.
		r.spec.Mode = providers.AfterFlip
	}
	// Whoever sent what is in doubt now is no more: the manifest is ours.
	r.quiet.Store(e.o.Clock.Now().UnixNano())
	return r
}

func (e *Engine) passOver(ctx context.Context, spec providers.PassSpec, way, other direction) (result providers.PassResult, err error) {
	m, err := way.open()
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	m.Around(e.around)
	r := e.newRun(spec, way, m)
	defer r.dismiss()
	if r.number, r.finished, err = m.BeginPass(ctx, string(spec.Mode), e.o.Clock.Now()); err != nil {
		return result, err
	}
	if err = r.learn(ctx, other); err == nil {
		err = r.stages(ctx)
	}
	if cerr := r.count(context.WithoutCancel(ctx)); cerr != nil {
		return r.result, errors.Join(err, cerr)
	}
	return r.result, err
}

func (r *run) stages(ctx context.Context) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	for _, stage := range []func(context.Context) error{r.requeue, r.sync, r.enumerateAll, r.onceEach, r.sendCanary, r.copyAll, r.subscribe, r.mergeFlags, r.mirrorDeletes, r.audit, r.lookAgain} {
		if err := r.stopped(); err != nil {
			return err
		}
		if err := stage(ctx); err != nil {
			return err
		}
	}
	if err := r.finish(ctx); err != nil {
		return err
	}
	return errors.Join(r.failed...)
}

// stopped returns ErrStopped when the pass was asked to end.
func (r *run) stopped() error {
	select {
	case <-r.spec.Stop:
		return providers.ErrStopped
	default:
		return nil
	}
}

// requeue takes those messages out of quarantine that may be accepted now.
func (r *run) requeue(ctx context.Context) error {
	refused, err := r.m.Quarantine(ctx)
	if err != nil || len(refused) == 0 {
		return err
	}
	var ids []int64
	for id, q := range refused {
		m, err := r.m.Message(ctx, id)
		if err != nil {
			return err
		}
		if retry(q, m.Size, r.headroom, r.spec.Asked, r.e.o.Clock.Now().Sub(m.At)) {
			ids = append(ids, id)
		}
	}
	return inGroups(ids, func(ids []int64) error {
		return r.m.Update(ctx, func(t *manifest.Tx) error {
			for _, id := range ids {
				if err := t.Requeue(id, r.e.o.Clock.Now()); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// sync rebuilds the claims in target folders whose UIDVALIDITY has changed.
func (r *run) sync(ctx context.Context) error {
	var jobs []job
	for _, t := range r.targets {
		if t.listed && t.ID != 0 && !t.synced {
			jobs = append(jobs, func(ctx context.Context, w *worker) error {
				_, err := r.openTarget(ctx, w, t)
				return err
			})
		}
	}
	return r.do(ctx, len(jobs), jobs)
}

// staged notes whether the last attempt at a stage of the folder went well.
func (f *folder) staged(j job) job {
	return func(ctx context.Context, w *worker) error {
		err := j(ctx, w)
		f.failed = err != nil
		return err
	}
}

// copyAll copies, moves and settles doubts until nothing is left of them.
func (r *run) copyAll(ctx context.Context) error {
	least, rounds := -1, 0
	for {
		if _, err := r.refill(ctx); err != nil {
			return err
		}
		if err := r.transferAll(ctx); err != nil {
			return err
		}
		if err := r.moveAll(ctx); err != nil {
			return err
		}
		if err := r.clearStagings(ctx); err != nil {
			return err
		}
		doubts, err := r.m.Doubts(ctx)
		if err != nil {
			return err
		}
		if len(doubts) > 0 {
			if err := r.stopped(); err != nil {
				return err
			}
			if err := r.resolveAll(ctx, doubts); err != nil {
				return err
			}
		}
		open, err := r.refill(ctx)
		if err != nil || open == 0 {
			return err
		}
		if least < 0 || open < least {
			least, rounds = open, 0
		} else if rounds++; rounds >= maxAttempts {
			return fmt.Errorf("%d messages of %s are sent again and again and never arrive: look at the target's log", open, r.spec.Mailbox.Source)
		}
	}
}

// refill puts messages that wait for another try on their folders' lists and returns how many wait in all.
func (r *run) refill(ctx context.Context) (int, error) {
	waiting, err := r.m.FoldersWaiting(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, f := range r.folders {
		if f.failed {
			continue
		}
		var rows []manifest.Message
		if waiting[f.ID] {
			if rows, err = r.m.Waiting(ctx, f.ID); err != nil {
				return 0, err
			}
		}
		unlisted := map[uint32]bool{}
		for _, m := range rows {
			unlisted[m.UID] = true
		}
		for _, p := range f.fetch {
			if !p.settled {
				delete(unlisted, p.uid)
				n++
			}
		}
		for _, m := range rows {
			if unlisted[m.UID] && m.UIDValidity == f.Numbers.UIDValidity && !f.gone(m.UID) {
				f.fetch = append(f.fetch, pending{uid: m.UID, size: m.Size})
				n++
			}
		}
	}
	return n, nil
}

// finish saves the numbers of what was settled, so that the next pass can skip it.
func (r *run) finish(ctx context.Context) error {
	counts := r.result
	return r.m.Update(ctx, func(t *manifest.Tx) error {
		for _, f := range r.folders {
			if !f.look.open && !f.partial && !f.failed && len(f.flags) == 0 {
				continue
			}
			f.Complete = !f.partial && !f.failed && len(f.flags) == 0
			if f.Complete && f.seen != (manifest.Numbers{}) {
				f.Numbers = f.seen
			}
			if err := t.PutFolder(&f.Folder); err != nil {
				return err
			}
		}
		for _, x := range r.targets {
			if x.ID == 0 {
				continue
			}
			x.Numbers.UIDNext = max(x.Numbers.UIDNext, x.window())
			if err := t.PutTarget(&x.Target); err != nil {
				return err
			}
		}
		if len(r.failed) > 0 {
			return nil
		}
		b, err := json.Marshal(counts)
		if err != nil {
			return err
		}
		return t.FinishPass(r.number, r.e.o.Clock.Now(), string(b))
	})
}

// count fills in what the manifest knows better than the pass.
func (r *run) count(ctx context.Context) error {
	counts, err := r.m.Counts(ctx)
	if err != nil {
		return err
	}
	altered, words, err := r.m.Changes(ctx)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Altered, r.result.Different = altered, words[manifest.ChangedContent]
	r.result.Quarantined = counts[manifest.Quarantined]
	r.result.Doubt = counts[manifest.Intent] + counts[manifest.Applied]
	r.result.Unchanged = max(0, counts[manifest.Claimed]-r.result.Copied-r.result.Flags-r.result.Moved)
	return nil
}
