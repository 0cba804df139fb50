package copy

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

const (
	batchMessages = 100     // appended together, at most
	batchOctets   = 2 << 20 // and so much of them, but at least one message
	setMessages   = 128     // fetched by one command
	setOctets     = 8 << 20
	callSets      = 32 // sets of one FetchBodies
	bufferedItems = 256
)

// item is a message on its way from the source to the target.
type item struct {
	f     *folder
	p     *pending
	row   manifest.Message
	body  *body
	flags []string // that the target keeps
	lost  int      // keywords it doesn't keep
	plain bool     // it is sent without keywords, because it was refused with them
}

// missing reports whether err only says that messages didn't come, or that the server refuses to send
// them: one that it can't read makes Exchange refuse the whole set. A refusal that passes
// (throttling) says nothing of what is there.
func missing(err error) bool {
	_, ok := errors.AsType[*imap.MissingError](err)
	return ok && !passing(err)
}

// transferAll copies what is on the folders' lists.
func (r *run) transferAll(ctx context.Context) error {
	var list []*work
	var messages, octets int64
	for _, f := range r.folders {
		if f.failed {
			continue
		}
		x := &work{f: f}
		for i := range f.fetch {
			if p := &f.fetch[i]; !p.settled {
				x.messages++
				x.octets += p.size
			}
		}
		messages, octets = messages+x.messages, octets+x.octets
		// A folder that is new is made at the target also when it is empty.
		if x.messages > 0 || f.Target == 0 {
			list = append(list, x)
		}
	}
	if len(list) == 0 {
		return nil
	}
	if err := r.do(ctx, 1, []job{func(ctx context.Context, w *worker) (err error) {
		list, err = r.prepareFolders(ctx, w, list)
		return err
	}}); err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(x *work) bool { return x.messages == 0 })
	// One connection a side is filled by what is sent ahead of the answers. Another one pays
	// where a line carries more than one stream gets of it, and only when there is much to do.
	streams := share(list, 1+int(max(messages/25_000, octets/(512<<20))))
	jobs := make([]job, len(streams))
	for i, folders := range streams {
		jobs[i] = func(ctx context.Context, w *worker) error { return r.stream(ctx, w, folders) }
	}
	return r.do(ctx, len(jobs), jobs)
}

// work is a folder with messages to copy.
type work struct {
	f                *folder
	messages, octets int64
}

// share deals folders out to n streams of much the same size, the largest first.
func share(list []*work, n int) [][]*folder {
	slices.SortStableFunc(list, func(a, b *work) int { return cmp.Compare(b.octets, a.octets) })
	n = min(n, len(list))
	streams, loads := make([][]*folder, n), make([]int64, n)
	for _, x := range list {
		least := 0
		for i := range loads {
			if loads[i] < loads[least] {
				least = i
			}
		}
		streams[least] = append(streams[least], x.f)
		loads[least] += x.octets + x.messages*2000
	}
	return streams
}

// prepareFolders opens the target folders of list and returns those that can be written to.
func (r *run) prepareFolders(ctx context.Context, w *worker, list []*work) ([]*work, error) {
	targets := make([]*target, len(list))
	for i, x := range list {
		targets[i] = x.f.target
	}
	refused, err := r.prepare(ctx, w, targets)
	if err != nil {
		return list, err
	}
	var kept []*work
	var changed []*folder
	for _, x := range list {
		if err := refused[x.f.target]; err != nil {
			r.fail(x.f, err)
			continue
		}
		if err := r.route(ctx, x.f.target); err != nil {
			return kept, err
		}
		kept = append(kept, x)
		if x.f.Target != x.f.target.ID {
			x.f.Target = x.f.target.ID
			changed = append(changed, x.f)
		}
	}
	if len(changed) == 0 {
		return kept, nil
	}
	return kept, r.m.Update(ctx, func(t *manifest.Tx) error {
		for _, f := range changed {
			if err := t.PutFolder(&f.Folder); err != nil {
				return err
			}
		}
		return nil
	})
}

// fail notes that a folder can't be done in this pass.
func (r *run) fail(f *folder, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.failed = true
	r.failed = append(r.failed, err)
}

// stream copies the pending messages of some folders: one goroutine reads from the source, this
// one writes to the target, and neither waits for an answer before it goes on to the next folder.
func (r *run) stream(ctx context.Context, w *worker, folders []*folder) error {
	var list []*work
	for _, f := range folders {
		if !f.failed && slices.ContainsFunc(f.fetch, func(p pending) bool { return !p.settled }) {
			list = append(list, &work{f: f})
		}
	}
	if len(list) == 0 {
		return nil
	}
	// They are open, unless an attempt before this one found them changed.
	list, err := r.prepareFolders(ctx, w, list)
	if err != nil || len(list) == 0 {
		return err
	}
	src, err := w.source(ctx)
	if err != nil {
		return err
	}
	dst, err := w.target(ctx)
	if err != nil {
		return err
	}
	if err := r.compress(ctx, src, dst); err != nil {
		return err
	}
	between := r.e.throughputOf(r.source, r.target)
	between.begin(r.e.o.Clock.Now())
	defer func() { between.end(r.e.o.Clock.Now()) }()
	readCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	items := make(chan *item, bufferedItems)
	readErr := make(chan error, 1)
	go func() {
		err := (&reader{r: r, src: src, work: list, items: items}).run(readCtx)
		close(items)
		readErr <- err
	}()
	out := &writer{r: r, w: w, tempo: r.e.tempoOf(r.target), dst: dst, items: items}
	werr := out.run(ctx)
	cancel()
	for it := range items {
		it.body.close()
	}
	rerr := <-readErr
	out.close()
	if werr != nil {
		return werr
	}
	return rerr
}
