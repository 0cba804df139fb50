package copy

import (
	"context"
	"errors"
	"fmt"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// writer appends messages at the target, in batches of one folder each. Before batches are
// sent, their intents are made durable, in one commit with the claims of those answered
// since; while the server works on some batches, the next are collected and sent.
type writer struct {
	r     *run
	w     *worker
	tempo *tempo
	dst   session
	items <-chan *item

	backlog []*item                    // refused for now, to be sent again
	batches []*batch                   // being collected, to be sent together
	load    int                        // messages of batches
	octets  int64                      // of batches
	flights []flight                   // sent and not answered, oldest first
	flying  int64                      // octets of flights
	unheard int                        // messages of flights
	folder  string                     // of the message that was added last
	ops     []func(*manifest.Tx) error // decided and not committed
	gained  int64                      // messages that ops settle
	streak  int                        // refusals in a row that are not about the message
	waits   int                        // in a row, without a message taken between
	staged  int                        // messages in the staging folder
}

// batch is what is appended by one command: messages of one folder.
type batch struct {
	f     *folder
	items []*item

	// Where they are sent, decided when they are.
	raw     string
	window  uint32
	staging int64
}

// flight is a batch on its way.
type flight struct {
	items  []*item
	octets int64
	staged bool
	wait   func() ([]imap.Appended, error)
}

// How much is sent without an answer: batches and octets. The octets stay in memory until
// the answer is there, because a batch that is refused is sent again one by one.
const (
	maxFlights = 64
	maxFlying  = 8 << 20
)

// maxStreak is how many refusals in a row, none for size or content, mean
// that the target takes nothing at all.
const maxStreak = 20

// errUnsent is why a message is sent again that nobody refused.
var errUnsent = errors.New("the server did not take all octets of the message")

func (w *writer) run(ctx context.Context) error {
	err := w.loop(ctx)
	// What was answered is recorded whatever else went wrong.
	for len(w.flights) > 0 {
		if lerr := w.land(ctx); err == nil {
			err = lerr
		}
	}
	if cerr := w.commit(context.WithoutCancel(ctx)); cerr != nil {
		return errors.Join(err, cerr)
	}
	if w.dst.Err() == nil {
		err = errors.Join(err, w.unload(ctx))
	}
	return err
}

// unload moves what lies in the staging folder to its place.
func (w *writer) unload(ctx context.Context) error {
	s := w.w.staging
	if s == nil {
		return nil
	}
	w.staged = 0
	return w.r.empty(ctx, w.w, *s)
}

// close gives back the bodies that were not sent.
func (w *writer) close() {
	rest := w.backlog
	for _, b := range w.batches {
		rest = append(rest, b.items...)
	}
	for _, it := range rest {
		it.body.close()
	}
	w.backlog, w.batches, w.load, w.octets = nil, nil, 0, 0
}

func (w *writer) loop(ctx context.Context) error {
	for open := true; open || len(w.flights) > 0 || len(w.backlog) > 0 || len(w.batches) > 0; {
		var err error
		if open, err = w.fill(ctx, open); err != nil {
			return err
		}
		switch {
		// A batch behind which there is one of another folder grows no more, and nothing is gained by holding it back.
		case w.full() || len(w.batches) > 1 || len(w.batches) > 0 && len(w.flights) == 0:
			if err := w.send(ctx); err != nil {
				return err
			}
			for err == nil && (len(w.flights) >= maxFlights || len(w.flights) > 1 && w.flying > maxFlying || len(w.flights) > 0 && w.staged >= stagedAtOnce) {
				err = w.land(ctx)
			}
			if err == nil && w.staged >= stagedAtOnce {
				if err = w.commit(ctx); err == nil {
					err = w.unload(ctx)
				}
			}
		case len(w.flights) > 0:
			err = w.land(ctx) // the reader goes on meanwhile
		case open:
			// The source is slower: what is known is made durable before waiting for it.
			if err := w.commit(ctx); err != nil {
				return err
			}
			select {
			case it, ok := <-w.items:
				if open = ok; ok {
					err = w.admit(ctx, it)
				}
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// full reports whether as much is collected as is sent together.
func (w *writer) full() bool { return w.load >= w.room() || w.octets >= batchOctets }

// fill collects what is there already, without waiting.
func (w *writer) fill(ctx context.Context, open bool) (bool, error) {
	for !w.full() {
		if len(w.backlog) > 0 {
			w.add(w.backlog[0])
			w.backlog = w.backlog[1:]
			continue
		}
		if !open {
			return false, nil
		}
		select {
		case it, ok := <-w.items:
			if !ok {
				return false, nil
			}
			if err := w.admit(ctx, it); err != nil {
				return true, err
			}
		default:
			return true, nil
		}
	}
	return open, nil
}

func (w *writer) add(it *item) {
	n := len(w.batches)
	if n == 0 || w.batches[n-1].f != it.f {
		w.batches = append(w.batches, &batch{f: it.f})
		n++
	}
	w.batches[n-1].items = append(w.batches[n-1].items, it)
	w.load, w.octets = w.load+1, w.octets+it.row.Size
	w.folder = it.f.Name
}

// admit decides what becomes of a message that was read: it is sent, kept in
// quarantine, or moved at the target.
func (w *writer) admit(ctx context.Context, it *item) error {
	it.row.Target = it.f.target.ID
	if w.r.leavesOut(it.row.Flags) {
		it.body.close()
		it.p.settled = true
		w.r.leftOut(1)
		return nil
	}
	kept, lost := w.r.storable(it.row.Flags, it.f.target.sel)
	it.flags, it.lost = kept, keywords(lost)
	if limit := w.r.headroom; limit > 0 && it.row.Size > limit {
		it.row.Window = it.f.target.window()
		w.ops = append(w.ops, w.intend(it))
		return w.keep(it, manifest.Refusal{Reason: string(providers.TooLarge), Limit: limit})
	}
	old, err := w.r.movable(ctx, w.dst, it.row)
	if err != nil {
		it.body.close()
		return err
	}
	if old == nil {
		w.add(it)
		return nil
	}
	it.body.close()
	it.p.settled = true
	it.row.Window = it.f.target.window()
	w.ops = append(w.ops, w.intend(it), func(t *manifest.Tx) error { return t.Revert(it.row.ID, it.row.At) })
	w.r.mu.Lock()
	w.r.moves = append(w.r.moves, move{old: *old, row: &it.row, f: it.f})
	w.r.mu.Unlock()
	return nil
}

func (w *writer) intend(it *item) func(*manifest.Tx) error {
	return func(t *manifest.Tx) error { return t.Intend(&it.row, w.r.e.o.Clock.Now()) }
}

// commit makes what was decided durable.
func (w *writer) commit(ctx context.Context) error {
	if len(w.ops) == 0 {
		return nil
	}
	ops, gained := w.ops, w.gained
	w.ops, w.gained = nil, 0
	if err := w.r.m.Update(ctx, func(t *manifest.Tx) error {
		for _, op := range ops {
			if err := op(t); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	w.r.steps.Add(gained)
	w.r.report(w.folder, "")
	return nil
}

// send makes the intents of the batches durable and sends them.
func (w *writer) send(ctx context.Context) error {
	if err := w.r.stopped(); err != nil {
		return err
	}
	for len(w.flights) > 0 && (w.dst.Worn() || w.unheard+w.load > w.dst.Tolerance() || w.load > w.tempo.room(w.unheard)) {
		if err := w.land(ctx); err != nil {
			return err
		}
	}
	if w.dst.Worn() {
		return errWorn
	}
	if err := w.r.e.paceOf(w.r.target).wait(ctx, w.load, w.octets); err != nil {
		return err
	}
	for _, b := range w.batches {
		if err := w.way(ctx, b); err != nil {
			return err
		}
	}
	for _, b := range w.batches {
		for _, it := range b.items {
			it.row.Window, it.row.Staging = b.window, b.staging
			w.r.withoutLater(it)
			w.ops = append(w.ops, w.intend(it))
		}
	}
	if err := w.commit(ctx); err != nil {
		return err
	}
	batches := w.batches
	w.batches, w.load, w.octets = nil, 0, 0
	for _, b := range batches {
		w.start(ctx, b)
	}
	return nil
}

// start sends a batch whose intents are durable. When the connection is gone, its answer says so.
func (w *writer) start(ctx context.Context, b *batch) {
	octets := int64(0)
	messages := make([]imap.Message, len(b.items))
	for i, it := range b.items {
		it.p.settled = true
		octets += it.row.Size
		messages[i] = imap.Message{Flags: it.flags, InternalDate: it.row.InternalDate, Size: it.row.Size, Body: it.body.open(), Binary: it.body.binary}
	}
	wait, err := w.dst.StartAppend(ctx, b.raw, messages)
	if wait == nil {
		unsent := make([]imap.Appended, len(b.items))
		for i := range unsent {
			unsent[i].Unsent = true
		}
		wait = func() ([]imap.Appended, error) { return unsent, err }
	}
	w.flights = append(w.flights, flight{items: b.items, octets: octets, staged: b.staging != 0, wait: wait})
	w.flying, w.unheard = w.flying+octets, w.unheard+len(b.items)
}

// way decides where a batch is sent: to its place, or to the staging folder of the connection.
func (w *writer) way(ctx context.Context, b *batch) error {
	t := b.f.target
	if t.staged && !w.r.unstaged.Load() {
		s, err := w.w.stage(ctx, w.dst)
		switch {
		case err == nil:
			w.staged += len(b.items)
			b.raw, b.window, b.staging = s.Raw, 0, s.ID
			return nil
		case w.dst.Err() != nil || passing(err):
			return err
		}
		// Then as before the flip; what can't be told stays in doubt.
		w.r.unstaged.Store(true)
		w.r.refusedWith("no folder for staging can be made at the target: " + err.Error())
	}
	b.raw, b.window, b.staging = t.Raw, t.window(), 0
	return nil
}

// pace tells the tempo how a batch went.
func (w *writer) pace(results []imap.Appended, flying int, err error) {
	taken, throttled := 0, providers.ReasonOf(err) == providers.Throttled
	for _, a := range results {
		if a.Done {
			taken++
		}
		throttled = throttled || providers.ReasonOf(a.Err) == providers.Throttled
	}
	if throttled {
		w.tempo.throttled(flying)
	} else {
		w.tempo.taken(taken)
	}
}

// land waits for the answers to the oldest batch and decides on each message.
func (w *writer) land(ctx context.Context) error {
	fl := w.flights[0]
	w.flights, w.flying, w.unheard = w.flights[1:], w.flying-fl.octets, w.unheard-len(fl.items)
	results, err := fl.wait()
	lost := err != nil
	w.pace(results, len(fl.items)+w.unheard, err)
	if lost {
		w.r.quiet.Store(w.r.e.o.Clock.Now().UnixNano())
	}
	var wait, fatal error
	taken := false
	for i, it := range fl.items {
		a := results[i]
		v := settle(a)
		if !fl.staged && v == claim && (a.UIDValidity != it.f.target.sel.UIDValidity || a.UID < it.row.Window) {
			v = applied // an APPENDUID that can't be right: it is looked for
		}
		switch v {
		case claim, applied:
			it.lost += len(a.Keywords)
			w.take(it, v, a)
			taken = true
		case again:
			w.ops = append(w.ops, w.revert(it))
			if lost || providers.ReasonOf(a.Err) == providers.NotFound {
				it.p.settled = false
				it.body.close()
				if a.Err != nil {
					if fl.staged {
						w.w.staging = nil
					} else {
						it.f.target.deleted()
					}
					fatal = a.Err
				}
			} else {
				w.backlog = append(w.backlog, it)
				if wait = a.Err; wait == nil {
					wait = errUnsent
				}
			}
		case stop:
			w.ops = append(w.ops, w.revert(it))
			it.p.settled = false
			it.body.close()
			fatal = a.Err
		case refuse:
			if it.plainer(a.Err) {
				w.ops = append(w.ops, w.revert(it))
				w.backlog = append(w.backlog, it)
				continue
			}
			if kerr := w.refused(it, a.Err); kerr != nil && fatal == nil {
				fatal = kerr
			}
		case doubt:
			it.body.close()
		}
	}
	if taken {
		w.streak, w.waits = 0, 0
	}
	switch {
	case lost:
		return err
	case fatal != nil:
		return fatal
	case wait != nil && tooLong(wait):
		return wait
	case wait != nil:
		if w.waits++; w.waits > maxAttempts {
			return fmt.Errorf("given up after %d waits: %w", maxAttempts, wait)
		}
		return w.r.sleep(ctx, delay(wait, w.waits), "the target wants us to wait")
	}
	return nil
}

func (w *writer) revert(it *item) func(*manifest.Tx) error {
	return func(t *manifest.Tx) error { return t.Revert(it.row.ID, w.r.e.o.Clock.Now()) }
}

// take records a message that the target took.
func (w *writer) take(it *item, v verdict, a imap.Appended) {
	it.body.close()
	w.gained++
	w.r.e.throughputOf(w.r.source, w.r.target).passed(it.row.Size)
	w.r.mu.Lock()
	w.r.flagLater(it)
	w.r.result.KeywordsLost += it.lost
	w.r.mu.Unlock()
	if it.row.Staging != 0 {
		w.ops = append(w.ops, func(t *manifest.Tx) error { return t.Stage(it.row.ID, a.UID, w.r.e.o.Clock.Now()) })
		return
	}
	w.ops = append(w.ops, func(t *manifest.Tx) error {
		now := w.r.e.o.Clock.Now()
		if v == claim && !it.f.target.disputed(a.UID) {
			err := t.Claim(it.row.ID, a.UIDValidity, a.UID, now)
			if !errors.Is(err, manifest.ErrTaken) {
				return err
			}
			// The server gave a UID out twice: one of the two is wrong, and nobody knows which.
			it.f.target.twice.Store(a.UID, true)
			if err := t.Withdraw(it.row.Target, a.UIDValidity, a.UID, now); err != nil {
				return err
			}
		}
		return t.Applied(it.row.ID, now)
	})
	w.r.copied(1, it.row.Size)
}

// refused puts a message into quarantine, unless the target refuses whatever it is sent.
func (w *writer) refused(it *item, refusal error) error {
	reason := providers.ReasonOf(refusal)
	words := refusal.Error()
	if e, ok := errors.AsType[*providers.Error](refusal); ok && e.Server != "" {
		words = e.Server
	}
	if !aboutTheMessage(reason) {
		if w.streak++; w.streak > maxStreak {
			w.ops = append(w.ops, w.revert(it))
			it.p.settled = false
			it.body.close()
			return fmt.Errorf("the target refuses every message, %d in a row: %w", w.streak, refusal)
		}
	}
	return w.keep(it, manifest.Refusal{Reason: string(reason), Words: words, Limit: w.r.headroom})
}

// keep writes a message that has an intent to quarantine.
func (w *writer) keep(it *item, why manifest.Refusal) error {
	defer it.body.close()
	it.p.settled = true
	var err error
	if why.File, err = keepFile(w.r.e.o.StateDir, w.r.quarantine, it.body); err != nil {
		w.ops = append(w.ops, w.revert(it))
		return err
	}
	w.ops = append(w.ops, func(t *manifest.Tx) error { return t.Quarantine(it.row.ID, why, w.r.e.o.Clock.Now()) })
	w.gained++
	words := why.Words
	if words == "" {
		words = fmt.Sprintf("%d octets are over the limit of %d", it.row.Size, why.Limit)
	}
	w.r.refusedWith(words)
	return nil
}
