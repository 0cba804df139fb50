package copy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mxodus/mxodus/plan"
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
	quarantine     string
	headroom       int64 // largest message that is sent, 0 = no limit

	folders []*folder
	targets map[string]*target // by the name the mapping gives
	known   map[string]manifest.Target
	list    map[string]imap.ListEntry // of the target, by the name on the wire
	steps   atomic.Int64              // grows with everything that is settled: the measure of progress
	quiet   atomic.Int64              // when a connection to the target ended last, unix nanoseconds
	moved   bool                      // something has vanished that may turn up elsewhere

	mu       sync.Mutex // what follows, and Progress
	result   providers.PassResult
	progress providers.Progress
	refusals map[string]bool
	failed   []error // refusals that concern one folder each
	moves    []move
	taken    map[int64]bool // rows whose copy is given to another message
}

// folder is a source folder and what this pass knows of it.
type folder struct {
	manifest.Folder
	specialUse string
	target     *target
	subscribed bool
	now        manifest.Numbers // as listed
	look       look
	seen       manifest.Numbers // what the enumeration stands for
	fresh      bool             // it has no row in the manifest before this pass
	partial    bool             // something is left for the next pass
	failed     bool             // a stage could not be done
	missing    map[uint32]bool  // the source did not deliver them
	fetch      []pending
	flags      []flagChange
}

// pending is a message to copy.
type pending struct {
	uid     uint32
	size    int64
	settled bool // it has an intent, or needs none
}

// target is a folder at the target.
type target struct {
	manifest.Target
	specialUse string
	listed     bool // it is there
	subscribed bool

	mu     sync.Mutex
	next   uint32 // what is sent from now on gets this UID or a higher one
	synced bool   // its claims were held against its UIDVALIDITY in this pass
}

func (t *target) window() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.next
}

// reached notes that UIDs below next are given out.
func (t *target) reached(next uint32) {
	t.mu.Lock()
	t.next = max(t.next, next)
	t.mu.Unlock()
}

// Pass implements providers.Copier.
func (e *Engine) Pass(ctx context.Context, spec providers.PassSpec) (providers.PassResult, error) {
	source, target, err := e.ends(spec.Mailbox)
	if err != nil {
		return providers.PassResult{}, err
	}
	return e.pass(ctx, spec, source, target)
}

func (e *Engine) pass(ctx context.Context, spec providers.PassSpec, source, to *end) (result providers.PassResult, err error) {
	m, err := e.openManifest(spec.Mailbox, to)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	r := &run{
		e: e, m: m, spec: spec, source: source, target: to,
		quarantine: e.QuarantinePath(spec.Mailbox),
		targets:    map[string]*target{}, refusals: map[string]bool{}, taken: map[int64]bool{},
		progress: providers.Progress{Mailbox: spec.Mailbox.Source},
	}
	// Whoever sent what is in doubt now is no more: the manifest is ours.
	r.quiet.Store(e.o.Clock.Now().UnixNano())
	defer r.dismiss()
	if r.number, r.finished, err = m.BeginPass(ctx, string(spec.Mode), e.o.Clock.Now()); err != nil {
		return result, err
	}
	err = r.stages(ctx)
	if cerr := r.count(context.WithoutCancel(ctx)); cerr != nil {
		return r.result, errors.Join(err, cerr)
	}
	return r.result, err
}

func (r *run) stages(ctx context.Context) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	for _, stage := range []func(context.Context) error{r.requeue, r.sync, r.enumerateAll, r.copyAll, r.subscribe, r.mergeFlags, r.mirrorDeletes} {
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

// begin lists both sides and maps the folders.
func (r *run) begin(ctx context.Context) error {
	w, err := r.first(ctx)
	if err != nil {
		return err
	}
	var sourceList, targetList []imap.ListEntry
	if err := both(
		func() (err error) { sourceList, err = w.src.List(ctx); return },
		func() (err error) { targetList, err = w.dst.List(ctx); return },
	); err != nil {
		return err
	}
	mappings, err := imap.MapFolders(sourceList, targetList, r.spec.Mailbox.Folders)
	if err != nil {
		return err
	}
	known, err := r.m.Folders(ctx)
	if err != nil {
		return err
	}
	if r.known, err = r.m.Targets(ctx); err != nil {
		return err
	}
	r.list = map[string]imap.ListEntry{}
	for _, l := range targetList {
		r.list[l.Raw] = l
	}
	r.headroom = limitOf(r.target.host.Limits.MaxMessageSize, r.target.host.Oversize.Limit, w.dst.AppendLimit())
	for _, m := range mappings {
		f, isKnown := known[m.Source.Raw]
		delete(known, m.Source.Raw)
		if m.Excluded || !m.Source.Selectable {
			continue
		}
		f.Raw, f.Name = m.Source.Raw, m.Source.Name
		x := &folder{Folder: f, specialUse: m.Source.SpecialUse, subscribed: m.Source.Subscribed, now: numbers(m.Source.Status), fresh: !isKnown}
		x.look = lookAt(f, x.now, r.spec.Mode)
		x.target = r.targetFor(m.Target, w.dst, targetList, m.Source.SpecialUse)
		r.folders = append(r.folders, x)
		r.progress.Total += int(x.now.Messages)
		if !x.look.open {
			r.progress.Messages += int(x.now.Messages)
		}
	}
	if err := r.m.Update(ctx, func(t *manifest.Tx) error {
		for _, f := range r.folders {
			if f.ID == 0 {
				if err := t.PutFolder(&f.Folder); err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil {
		return err
	}
	r.result.Folders = len(r.folders)
	r.report("", "")
	return r.vanishFolders(ctx, known)
}

// targetFor returns the target folder of that name.
func (r *run) targetFor(name string, dst session, list []imap.ListEntry, specialUse string) *target {
	if t, ok := r.targets[name]; ok {
		return t
	}
	raw := dst.WireName(name)
	for _, l := range list {
		if l.Name == name && l.Selectable {
			raw = l.Raw
			break
		}
	}
	t := r.targetAt(raw)
	t.Name, t.specialUse = name, specialUse
	r.targets[name] = t
	return t
}

// targetAt returns the target folder with that name on the wire.
func (r *run) targetAt(raw string) *target {
	for _, t := range r.targets {
		if t.Raw == raw {
			return t
		}
	}
	t := &target{Target: r.known[raw]}
	t.Raw = raw
	l, listed := r.list[raw]
	t.listed, t.subscribed = listed && l.Selectable, l.Subscribed
	if l.Status != nil {
		t.next = l.Status.UIDNext
		// A folder whose UIDVALIDITY is the one that the manifest knows needs no second look.
		t.synced = t.ID != 0 && l.Status.UIDValidity == t.Numbers.UIDValidity
	}
	return t
}

// targetByID returns a target folder that the manifest knows, also one that no source folder
// is mapped to any more.
func (r *run) targetByID(id int64) (*target, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.targets {
		if t.ID == id {
			return t, nil
		}
	}
	for raw, k := range r.known {
		if k.ID == id {
			t := r.targetAt(raw)
			r.targets["\x00"+raw] = t // a name that no mapping gives
			return t, nil
		}
	}
	return nil, fmt.Errorf("the manifest of %s holds no target folder %d", addressOf(r.spec.Mailbox), id)
}

// vanishFolders notes the messages of folders that the source no longer lists.
func (r *run) vanishFolders(ctx context.Context, gone map[string]manifest.Folder) error {
	for _, f := range gone {
		// Excluded folders are listed; what is here was deleted or renamed.
		if f.Numbers == (manifest.Numbers{}) {
			continue
		}
		var ids []int64
		if err := r.m.Of(ctx, f.ID, func(m manifest.Message) error {
			if m.Vanished == 0 {
				ids = append(ids, m.ID)
			}
			return nil
		}); err != nil {
			return err
		}
		if err := r.vanish(ctx, ids); err != nil {
			return err
		}
		f.Complete = false
		if err := r.m.Update(ctx, func(t *manifest.Tx) error { return t.PutFolder(&f) }); err != nil {
			return err
		}
	}
	return nil
}

// inGroups calls fn for parts of list: one commit of the manifest each.
func inGroups[T any](list []T, fn func([]T) error) error {
	for len(list) > 0 {
		n := min(len(list), 500)
		if err := fn(list[:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

func (r *run) vanish(ctx context.Context, ids []int64) error {
	return inGroups(ids, func(ids []int64) error {
		return r.m.Update(ctx, func(t *manifest.Tx) error {
			for _, id := range ids {
				if err := t.Vanish(id, r.number); err != nil {
					return err
				}
			}
			return nil
		})
	})
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
		if retry(q, m.Size, r.headroom) {
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

func (r *run) enumerateAll(ctx context.Context) error {
	var jobs []job
	for _, f := range r.folders {
		if f.look.open {
			jobs = append(jobs, f.staged(func(ctx context.Context, w *worker) error { return r.enumerate(ctx, w, f) }))
		}
	}
	// One connection opens some dozens of folders in the time that another login takes.
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
	n := 0
	for _, f := range r.folders {
		if f.failed {
			continue
		}
		rows, err := r.m.Waiting(ctx, f.ID)
		if err != nil {
			return 0, err
		}
		listed := map[uint32]bool{}
		if len(rows) > 0 {
			for _, p := range f.fetch {
				listed[p.uid] = !p.settled
			}
		}
		for _, m := range rows {
			if !listed[m.UID] && m.UIDValidity == f.Numbers.UIDValidity && !f.gone(m.UID) {
				f.fetch = append(f.fetch, pending{uid: m.UID, size: m.Size})
			}
		}
		for _, p := range f.fetch {
			if !p.settled {
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
			if !f.look.open && !f.partial && !f.failed {
				continue
			}
			f.Complete = !f.partial && !f.failed
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
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Quarantined = counts[manifest.Quarantined]
	r.result.Doubt = counts[manifest.Intent] + counts[manifest.Applied]
	r.result.Unchanged = max(0, counts[manifest.Claimed]-r.result.Copied-r.result.Flags-r.result.Moved)
	return nil
}

// report tells the caller how far the pass is.
func (r *run) report(folder, note string) {
	if r.spec.Progress == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress.Folder, r.progress.Note = folder, note
	r.spec.Progress(r.progress)
}

// refusedWith notes a refusal's words once.
func (r *run) refusedWith(words string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if words != "" && !r.refusals[words] && len(r.refusals) < 100 {
		r.refusals[words] = true
		r.result.Refusals = append(r.result.Refusals, words)
	}
}

// sleep waits and says what for.
func (r *run) sleep(ctx context.Context, d time.Duration, why string) error {
	r.report("", fmt.Sprintf("%s, %s", why, d.Round(100*time.Millisecond)))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if r.spec.Stop != nil {
		done := make(chan struct{})
		defer close(done)
		go func() {
			select {
			case <-r.spec.Stop:
				cancel(providers.ErrStopped)
			case <-done:
			}
		}()
	}
	if err := r.e.o.Clock.Sleep(ctx, d); err != nil {
		return context.Cause(ctx)
	}
	return nil
}

// both runs two functions at the same time.
func both(a, b func() error) error {
	done := make(chan error, 1)
	go func() { done <- b() }()
	return errors.Join(a(), <-done)
}

// subscribe carries subscriptions over, each once: what a user unsubscribes at the
// target stays so.
func (r *run) subscribe(ctx context.Context) error {
	var list []*folder
	var raws []string
	for _, f := range r.folders {
		if !f.subscribed || f.Subscribed || f.target.ID == 0 || r.spec.Mode == providers.AfterFlip && !f.fresh {
			continue
		}
		list = append(list, f)
		if !f.target.subscribed {
			raws = append(raws, f.target.Raw)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return r.do(ctx, 1, []job{func(ctx context.Context, w *worker) error {
		dst, err := w.target(ctx)
		if err != nil {
			return err
		}
		if len(raws) > 0 {
			if err := dst.Subscribe(ctx, raws...); dst.Err() != nil {
				return err
			} else if err != nil {
				r.refusedWith(err.Error())
			}
		}
		return r.m.Update(ctx, func(t *manifest.Tx) error {
			for _, f := range list {
				f.Subscribed = true
				if err := t.PutFolder(&f.Folder); err != nil {
					return err
				}
			}
			return nil
		})
	}})
}

// describe names a message without its subject.
func describe(folder string, m manifest.Message) string {
	s := fmt.Sprintf("%s, UID %d, %d octets", folder, m.UID, m.Size)
	if !m.InternalDate.IsZero() {
		s += ", received " + m.InternalDate.Format(time.DateOnly)
	}
	if m.MessageID != "" {
		s += ", Message-ID <" + strings.ToValidUTF8(m.MessageID, "\uFFFD") + ">"
	}
	return s
}

// addressOf is how errors name the mailbox.
func addressOf(m plan.Mailbox) string {
	if m.Source == m.Target {
		return m.Source
	}
	return m.Source + " to " + m.Target
}
