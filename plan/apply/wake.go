package apply

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// tellWait says what a run that sleeps is waiting for, once for each change.
// A gate speaks for itself, and the next of many passes is no news.
func (e *Engine) tellWait(waiting []Waiting) {
	now := e.Clock.Now()
	news := slices.DeleteFunc(slices.Clone(waiting), func(w Waiting) bool {
		pass := strings.HasPrefix(w.Step, "copy/") || strings.HasPrefix(w.Step, "delta/") || strings.HasPrefix(w.Step, "hold/") || strings.HasPrefix(w.Step, "carry_back/")
		return w.refresh || w.Gate != "" || w.Kind == Dependency ||
			len(w.Names) == 0 && !w.Until.IsZero() && (!w.Until.After(now.Add(time.Second)) || pass && w.Until.Sub(now) < time.Minute)
	})
	w := mostPressing(news)
	if w == nil {
		return
	}
	told := string(w.Kind) + w.Step + strings.Join(w.Names, "\n")
	if w.Kind == WaitTime || w.Kind == WaitTTL && len(w.Names) == 0 {
		told += w.Until.Truncate(time.Second).String()
	}
	if e.waitTold[told] {
		return
	}
	e.waitTold[told] = true
	ev := Event{Type: "wait", Step: w.Step, State: string(w.Kind), Text: w.Phrase(e.outlook().loc)}
	if !w.Until.IsZero() {
		ev.Until = &w.Until
	}
	e.emit(ev)
}

// lingerLimit is how long a run without Wait watches name servers take over
// what it has just written, so that one call of apply does one whole thing.
const lingerLimit = 20 * time.Second

// linger reports whether a run that would park should look once more first:
// it has written records that no server contradicts yet.
func (e *Engine) linger(_ context.Context, now time.Time, waiting []Waiting, out Outcome) (bool, error) {
	if out.Complete || e.Wait {
		return false, nil
	}
	for _, w := range waiting {
		st := e.Record.State(w.Step)
		if directoryKinds[kindOf(plan.Step{Address: w.Step})] && w.Kind == WaitTime && !st.Started.IsZero() && now.Sub(st.Started) < lingerLimit {
			return true, nil // asked for a moment ago
		}
		if w.Kind == WaitTTL && st.Seen.IsZero() && now.Sub(st.Applied) < lingerLimit {
			return true, nil
		}
		if w.Kind == WaitMail && probedSince(st, now.Add(-lingerLimit)) {
			return true, nil
		}
	}
	return false, nil
}

// canGoOn reports whether time or a person can end one of the waits. Passes
// that only keep the target fresh until the flip don't count: they would go on
// for ever before a flip that has drifted.
func canGoOn(waiting []Waiting) bool {
	return slices.ContainsFunc(waiting, func(w Waiting) bool {
		return !w.refresh && w.Kind != Dependency && (w.Kind != Trouble || !w.Until.IsZero())
	})
}

// pollMin and pollMax bound how often a wait without a known end is looked at.
// A wait with a known end is looked at every lookAgain all the same: timers
// stand still while a laptop sleeps.
const (
	pollMin   = 200 * time.Millisecond
	pollMax   = 30 * time.Second
	lookAgain = 5 * time.Minute
)

// nextWake is when the loop has to look again: the earliest known end of a
// wait, and for waits on people and servers a poll whose pause is a tenth of
// the time waited so far.
func (e *Engine) nextWake(now time.Time, waiting []Waiting, running bool) time.Duration {
	d := lookAgain
	for _, w := range waiting {
		switch {
		case !w.Until.IsZero():
			d = min(d, max(w.Until.Sub(now), time.Millisecond))
		case w.Kind == WaitApproval || w.Kind == WaitCheck || w.Kind == WaitByHand || w.Kind == WaitTTL:
			d = min(d, e.pollPause(w, now))
		}
	}
	if running {
		d = min(d, time.Second)
	}
	return d
}

func (e *Engine) pollPause(w Waiting, now time.Time) time.Duration {
	var since time.Time
	if w.Gate != "" {
		since = e.gates[w.Gate].since
	} else {
		st := e.Record.State(w.Step)
		since = later(st.Applied, st.Told)
	}
	if since.IsZero() {
		return pollMin
	}
	return min(max(now.Sub(since)/10, pollMin), pollMax)
}

// waker turns the clock's Sleep into a channel. One sleep is out at a time.
type waker struct {
	clock providers.Clock
	stop  context.CancelFunc
}

func (w *waker) at(ctx context.Context, d time.Duration) <-chan struct{} {
	w.cancel()
	ctx, stop := context.WithCancel(ctx)
	w.stop = stop
	ch := make(chan struct{})
	go func() {
		if w.clock.Sleep(ctx, d) == nil {
			close(ch)
		}
	}()
	return ch
}

func (w *waker) cancel() {
	if w.stop != nil {
		w.stop()
	}
}

// probedSince reports whether a probe that is still on its way was sent after t.
func probedSince(st StepState, t time.Time) bool {
	for _, r := range st.Probes {
		if !r.OK() && r.Failed == "" && r.Sent.After(t) {
			return true
		}
	}
	return false
}
