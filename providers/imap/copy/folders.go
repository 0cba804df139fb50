package copy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// folder is a source folder and what this pass knows of it.
type folder struct {
	manifest.Folder
	specialUse string
	target     *target
	subscribed bool
	now        manifest.Numbers // as listed
	look       look
	surveyed   stage
	seen       manifest.Numbers // what the enumeration stands for
	fresh      bool             // it has no row in the manifest before this pass
	partial    bool             // something is left for the next pass
	failed     bool             // a stage could not be done
	missing    map[uint32]bool  // the source did not deliver them
	fetch      []pending
	numbers    map[uint32]uint64 // of these messages by UID, where one may be in several folders
	flags      []flagChange      // still to be brought over
}

// pending is a message to copy. It is small, because there may be a million.
type pending struct {
	size    int64
	uid     uint32
	settled bool // it has an intent, or needs none
}

// target is a folder at the target.
type target struct {
	manifest.Target
	specialUse string
	listed     bool // it is there
	subscribed bool

	mu     sync.Mutex
	next   uint32 // what is sent from now on gets this UID or a higher one: as the folder was opened, since an APPENDUID may be wrong
	synced bool   // its claims were held against its UIDVALIDITY in this pass
	sel    imap.Selected
	routed bool      // staged is decided for sel
	staged bool      // new messages go by way of a staging folder
	ready  bool      // sel is from this pass and nothing has changed since, as far as we know
	opened time.Time // when sel was told

	twice sync.Map // UIDs that the server has named for more than one message; not under mu, which may be held during a commit
}

func (t *target) window() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.next
}

// disputed reports whether a UID was named for two messages, so that it proves nothing.
func (t *target) disputed(uid uint32) bool {
	_, twice := t.twice.Load(uid)
	return twice
}

// deleted notes that the folder is gone: it is looked at, and made again, before more is sent there.
func (t *target) deleted() {
	t.mu.Lock()
	t.listed, t.ready = false, false
	t.mu.Unlock()
}

// begin lists both sides and maps the folders.
func (r *run) begin(ctx context.Context) error {
	w, err := r.first(ctx)
	if err != nil {
		return err
	}
	var sourceList, targetList []imap.ListEntry
	if err := w.attempt(ctx, func(ctx context.Context, w *worker) error {
		return both(
			func() error {
				src, err := w.source(ctx)
				if err == nil {
					sourceList, err = src.List(ctx)
				}
				return err
			},
			func() error {
				dst, err := w.target(ctx)
				if err == nil {
					targetList, err = dst.List(ctx)
				}
				return err
			},
		)
	}); err != nil {
		return err
	}
	rules := r.spec.Mailbox.Folders
	if r.back {
		if rules, err = inverse(targetList, sourceList, rules); err != nil {
			return err
		}
	}
	mappings, err := imap.MapFolders(sourceList, targetList, rules)
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
		r.list[imap.Identity(l.Raw)] = l
	}
	r.traits, r.labels = w.dst.Traits(), w.src.Traits().Labels
	r.movesTo = w.dst.Has("MOVE") || r.spec.Mode == providers.AfterFlip
	if err := r.mirrors(); err != nil {
		return err
	}
	rewrites, err := r.m.Rewrites(ctx)
	if err != nil {
		return err
	}
	r.rewrites.Store(rewrites || r.traits.Rewrites)
	r.headroom = limitOf(r.target.host.Limits.MaxMessageSize, r.target.host.Oversize.Limit, w.dst.AppendLimit())
	for _, m := range mappings {
		raw := imap.Identity(m.Source.Raw)
		f, isKnown := known[raw]
		delete(known, raw)
		if m.Why != "" {
			r.report(m.Source.Name, "left out: "+m.Why)
		}
		if m.Excluded || !m.Source.Selectable {
			continue
		}
		f.Raw, f.Name = raw, m.Source.Name
		x := &folder{Folder: f, specialUse: m.Source.SpecialUse, subscribed: m.Source.Subscribed, now: numbers(m.Source.Status), fresh: !isKnown}
		x.look = lookAt(f, x.now, r.spec.Mode)
		x.target = r.targetFor(m.Target, w.dst, targetList, m.Source.SpecialUse)
		r.folders = append(r.folders, x)
		r.progress.Total += int(x.now.Messages)
		if !x.look.open {
			r.progress.Messages += int(x.now.Messages)
		}
	}
	if r.labels {
		slices.SortStableFunc(r.folders, func(a, b *folder) int {
			return cmp.Or(precedence(a)-precedence(b), strings.Compare(a.Name, b.Name))
		})
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
	if err := r.foreignStagings(ctx, targetList); err != nil {
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
			raw = imap.Identity(l.Raw)
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
