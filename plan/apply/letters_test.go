package apply

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// letters are the messages of all mailboxes at both hosts, each with a number of its own, and
// a copier that moves them as the contract says: each pass looks at every message, and may end
// in the middle of its work.
type letters struct {
	copier

	mu     sync.Mutex
	next   int
	source map[string][]int // by source address
	target map[string][]int
	known  map[string]map[int]bool // what is at both sides by our doing
	modes  map[string][]providers.PassMode

	// meets is asked before each message and at the start of a pass (message 0).
	meets func(mailbox string, message int) error
}

func newLetters(w *world) *letters {
	return &letters{copier: copier{w}, source: map[string][]int{}, target: map[string][]int{}, known: map[string]map[int]bool{}, modes: map[string][]providers.PassMode{}}
}

// come delivers n messages to a mailbox at one side.
func (l *letters) come(side map[string][]int, mailbox string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range n {
		l.next++
		side[mailbox] = append(side[mailbox], l.next)
	}
}

func (l *letters) Pass(ctx context.Context, spec providers.PassSpec) (r providers.PassResult, err error) {
	a := spec.Mailbox.Source
	from, to := l.source, l.target
	if spec.Mode == providers.CarryBack {
		from, to = l.target, l.source
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known[a] == nil {
		l.known[a] = map[int]bool{}
	}
	l.modes[a] = append(l.modes[a], spec.Mode)
	for _, id := range append([]int{0}, from[a]...) {
		if id != 0 && l.known[a][id] {
			r.Unchanged++
			continue
		}
		if err := ctx.Err(); err != nil {
			return r, err
		}
		select {
		case <-spec.Stop:
			return r, providers.ErrStopped
		default:
		}
		if l.meets != nil {
			if err := l.meets(a, id); err != nil {
				return r, err
			}
		}
		if id != 0 {
			to[a] = append(to[a], id)
			l.known[a][id] = true
			r.Copied++
		}
	}
	return r, nil
}

func (l *letters) Compare(_ context.Context, m plan.Mailbox) (c providers.Comparison, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range l.source[m.Source] {
		c.Source++
		if slices.Contains(l.target[m.Source], id) {
			c.Target++
		}
	}
	return c, nil
}

// check holds that a side has each message that ever came, once.
func (l *letters) check(t *testing.T, what string, side map[string][]int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for a := range l.known {
		all := map[int]bool{}
		for _, id := range slices.Concat(l.source[a], l.target[a]) {
			all[id] = true
		}
		seen := map[int]int{}
		for _, id := range side[a] {
			seen[id]++
		}
		for id := range all {
			if seen[id] != 1 {
				t.Errorf("%s: message %d of %s is there %d times", what, id, a, seen[id])
			}
		}
		n += len(all)
	}
	if n != l.next {
		t.Errorf("%s: %d messages came, %d are anywhere", what, l.next, n)
	}
}

// lettersWorld is a world whose mail is letters.
type lettersWorld struct {
	*world
	mail *letters
}

func (w lettersWorld) Copier() providers.Copier { return w.mail }

func newLettersWorld() lettersWorld {
	w := newWorld()
	return lettersWorld{w, newLetters(w)}
}

func (w lettersWorld) both(n int, side map[string][]int) {
	for _, a := range []string{"anna@acme.example", "jens@acme.example"} {
		w.mail.come(side, a, n)
	}
}

func lettersEngine(m *plan.Migration, p *plan.Plan, w lettersWorld, j *memoryJournal, dir string) *Engine {
	e := engine(m, p, w.world, j, dir)
	e.Systems = w
	return e
}

func throttled(what string) error {
	return &providers.Error{Op: what, Reason: providers.Throttled, Server: fmt.Sprint("NO [UNAVAILABLE] later")}
}
