package copy

import (
	"context"
	"sync"
	"time"

	"github.com/mxodus/mxodus/providers"
)

// slots bound how many connections exist at a host at the same time.
type slots struct{ free chan struct{} } // nil channel = no limit

func newSlots(n int) *slots {
	if n <= 0 {
		return &slots{}
	}
	return &slots{free: make(chan struct{}, n)}
}

// take waits for a slot.
func (s *slots) take(ctx context.Context) error {
	if s.free == nil {
		return ctx.Err()
	}
	select {
	case s.free <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tryTake takes a slot if one is free.
func (s *slots) tryTake() bool {
	if s.free == nil {
		return true
	}
	select {
	case s.free <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s *slots) give() {
	if s.free != nil {
		<-s.free
	}
}

// pace keeps a host's messages_per_second and bytes_per_second over all
// mailboxes. A nil pace is unlimited.
type pace struct {
	clock            providers.Clock
	messages, octets float64 // a second, 0 = unlimited

	mu   sync.Mutex
	next time.Time
}

// wait returns when n more messages of together so many octets may begin.
func (p *pace) wait(ctx context.Context, n int, octets int64) error {
	if p == nil {
		return nil
	}
	var cost float64 // seconds
	if p.messages > 0 {
		cost = float64(n) / p.messages
	}
	if p.octets > 0 {
		cost = max(cost, float64(octets)/p.octets)
	}
	p.mu.Lock()
	now := p.clock.Now()
	if p.next.Before(now) {
		p.next = now
	}
	d := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(cost * float64(time.Second)))
	p.mu.Unlock()
	if d <= 0 {
		return nil
	}
	return p.clock.Sleep(ctx, d)
}

// budget bounds the octets of messages in memory, over all passes. A request
// larger than all of it waits until nothing else is held.
type budget struct {
	size int64

	mu      sync.Mutex
	used    int64
	waiting []*claimant // in the order they came, so that no large one starves
}

type claimant struct {
	n     int64
	ready chan struct{}
}

func newBudget(size int64) *budget { return &budget{size: size} }

func (b *budget) take(ctx context.Context, n int64) error {
	n = min(n, b.size)
	b.mu.Lock()
	if len(b.waiting) == 0 && b.used+n <= b.size {
		b.used += n
		b.mu.Unlock()
		return nil
	}
	c := &claimant{n: n, ready: make(chan struct{})}
	b.waiting = append(b.waiting, c)
	b.mu.Unlock()
	select {
	case <-c.ready:
		return nil
	case <-ctx.Done():
		b.mu.Lock()
		defer b.mu.Unlock()
		select {
		case <-c.ready: // granted in the same instant
			b.used -= n
		default:
			for i, w := range b.waiting {
				if w == c {
					b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
					break
				}
			}
		}
		b.grant()
		return context.Cause(ctx)
	}
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= min(n, b.size)
	b.grant()
}

func (b *budget) grant() {
	for len(b.waiting) > 0 && b.used+b.waiting[0].n <= b.size {
		b.used += b.waiting[0].n
		close(b.waiting[0].ready)
		b.waiting = b.waiting[1:]
	}
}
