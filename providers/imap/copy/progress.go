package copy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/state/manifest"
)

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
