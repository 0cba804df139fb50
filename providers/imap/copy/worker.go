package copy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// worker has one connection to each side. It serves one job at a time.
type worker struct {
	r        *run
	src, dst session
	slotted  bool

	staging   *manifest.Staging // of the connection stagingOf, nil = none
	stagingOf session
}

// job is a piece of a pass that one worker does. When it fails for a reason
// that passes, it is run again and has to go on where it was.
type job func(ctx context.Context, w *worker) error

const (
	// maxAttempts is how often a job is tried without any progress between.
	maxAttempts = 8
	firstDelay  = 250 * time.Millisecond
	longestWait = 30 * time.Second
)

// first makes the worker that every pass has. It waits for free connections;
// a host that can't be reached is an error at once.
func (r *run) first(ctx context.Context) (*worker, error) {
	// Always in this order: two passes can't wait for each other.
	source, target := r.e.slotsOf(r.source), r.e.slotsOf(r.target)
	if err := source.take(ctx); err != nil {
		return nil, err
	}
	if err := target.take(ctx); err != nil {
		source.give()
		return nil, err
	}
	w := &worker{r: r, slotted: true}
	r.crew = append(r.crew, w)
	for attempt := 0; ; attempt++ {
		err := both(
			func() error { _, err := w.source(ctx); return err },
			func() error { _, err := w.target(ctx); return err },
		)
		reason := providers.ReasonOf(err)
		_, stale := errors.AsType[*staleLogin](err)
		if err == nil || attempt >= maxAttempts || tooLong(err) || reason != providers.Throttled && reason != providers.TooMany && !stale {
			return w, err
		}
		if err := r.sleep(ctx, delay(err, attempt), "trying again after: "+err.Error()); err != nil {
			return nil, err
		}
	}
}

// hire makes further workers as far as both hosts have connections free.
func (r *run) hire(want int) {
	want = min(want, r.source.connections(), r.target.connections())
	source, target := r.e.slotsOf(r.source), r.e.slotsOf(r.target)
	for len(r.crew) < want {
		if !source.tryTake() {
			return
		}
		if !target.tryTake() {
			source.give()
			return
		}
		r.crew = append(r.crew, &worker{r: r, slotted: true})
	}
}

// dismiss closes all connections of the pass.
func (r *run) dismiss() {
	for _, w := range r.crew {
		w.quit()
	}
	r.crew = nil
}

func (w *worker) quit() {
	if w.src != nil {
		w.src.Close()
	}
	if w.dst != nil {
		w.dst.Close()
	}
	w.src, w.dst = nil, nil
	if w.slotted {
		w.r.e.slotsOf(w.r.target).give()
		w.r.e.slotsOf(w.r.source).give()
		w.slotted = false
	}
}

// source returns the connection to the source, a new one where the old is gone.
func (w *worker) source(ctx context.Context) (session, error) {
	if w.src != nil && w.src.Err() == nil && !w.src.Worn() {
		return w.src, nil
	}
	if w.src != nil {
		w.src.Close()
		w.src = nil
	}
	s, err := w.r.source.dial(ctx)
	if err != nil {
		return nil, err
	}
	w.src = s
	return s, nil
}

// target is source for the other side. When it replaces a lost connection, what was on
// that one may still arrive for a while.
func (w *worker) target(ctx context.Context) (session, error) {
	if w.dst != nil && w.dst.Err() == nil && !w.dst.Worn() {
		return w.dst, nil
	}
	w.staging = nil // another connection takes another one
	if w.dst != nil {
		w.dst.Close()
		w.dst = nil
	}
	s, err := w.r.target.dial(ctx)
	if err != nil {
		return nil, err
	}
	w.dst = s
	return s, nil
}

// do runs jobs on up to want workers and returns when all are done. A
// refusal that concerns one folder is noted, and the rest is done; a reason
// that holds for all ends everything.
func (r *run) do(ctx context.Context, want int, jobs []job) error {
	if len(jobs) == 0 {
		return nil
	}
	r.hire(min(want, len(jobs)))
	queue := make(chan job, len(jobs))
	for _, j := range jobs {
		queue <- j
	}
	close(queue)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for i, w := range r.crew[:min(max(want, 1), len(r.crew))] {
		wg.Go(func() {
			if i > 0 {
				// A further connection is a help, no need.
				if err := both(
					func() error { _, err := w.source(ctx); return err },
					func() error { _, err := w.target(ctx); return err },
				); err != nil {
					return
				}
			}
			for j := range queue {
				if ctx.Err() != nil {
					return
				}
				err := w.attempt(ctx, j)
				switch {
				case err == nil:
				case onlyThis(err) && w.healthy():
					r.mu.Lock()
					r.failed = append(r.failed, err)
					r.mu.Unlock()
				default:
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// healthy reports whether both connections are there and alive: without one, an error may be that of logging in again, which is about
// everything.
func (w *worker) healthy() bool {
	return w.src != nil && w.src.Err() == nil && w.dst != nil && w.dst.Err() == nil
}

// onlyThis reports whether an error is about one folder and says nothing of others.
func onlyThis(err error) bool {
	switch providers.ReasonOf(err) {
	case providers.Refused, providers.NotFound, providers.Protocol, providers.Conflict:
		return true
	}
	return false
}

// attempt runs a job, and again after lost connections and when the host
// wants us to wait, as long as something gets done between.
func (w *worker) attempt(ctx context.Context, j job) error {
	for failures := 0; ; {
		before := w.r.steps.Load()
		err := j(ctx, w)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !passing(err) {
			return err
		}
		if w.r.steps.Load() > before {
			failures = 0
		} else {
			failures++
		}
		if errors.Is(err, errWorn) && failures < maxAttempts {
			continue // the next session is opened at once
		}
		if failures >= maxAttempts {
			return fmt.Errorf("given up after %d attempts without progress: %w", failures, err)
		}
		if tooLong(err) {
			return err
		}
		if err := w.r.sleep(ctx, delay(err, failures), "trying again after: "+err.Error()); err != nil {
			return err
		}
	}
}

// errWorn ends a job that goes on with a new session (imap.Session.Worn).
var errWorn = errors.New("the session is replaced before the server ends it")

// errChanged says that a folder became another one while it was worked on.
var errChanged = errors.New("the folder was replaced while it was read")

// passing reports whether an error may go away by itself.
func passing(err error) bool {
	if errors.Is(err, providers.ErrStopped) {
		return false
	}
	switch providers.ReasonOf(err) {
	case providers.Throttled, providers.TooMany, providers.Unreachable, providers.Uncertain, providers.NotFound:
		return true
	}
	if _, lost := errors.AsType[*imap.LostError](err); lost {
		// A session that is ended for its token says nothing of the next login
		// ("Session invalidated - AccessTokenExpired", Exchange Online).
		return providers.ReasonOf(err) != providers.Certificate
	}
	if _, stale := errors.AsType[*staleLogin](err); stale {
		return true
	}
	return errors.Is(err, errChanged) || errors.Is(err, errWorn)
}

// longestNamed is the longest wait that a pass sits out. A longer one ends it: the mailbox's connections are of use to
// others meanwhile.
const longestNamed = 10 * time.Minute

// tooLong reports whether the host named such a wait.
func tooLong(err error) bool {
	e, ok := errors.AsType[*providers.Error](err)
	return ok && e.Wait > longestNamed
}

// delay is how long to wait: what the host named, to the millisecond, else
// longer with each failure.
func delay(err error, failures int) time.Duration {
	if e, ok := errors.AsType[*providers.Error](err); ok && e.Wait > 0 {
		return e.Wait
	}
	return min(firstDelay<<failures, longestWait)
}
