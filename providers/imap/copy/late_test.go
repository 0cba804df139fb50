package copy

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// slowClock is a clock whose time passes only in Sleep; what was to happen until then happens
// before Sleep returns.
type slowClock struct {
	mu     sync.Mutex
	now    time.Time
	events map[time.Time]func()
}

func (c *slowClock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *slowClock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	c.now = c.now.Add(d)
	var due []func()
	for at, fn := range c.events {
		if !at.After(c.now) {
			due = append(due, fn)
			delete(c.events, at)
		}
	}
	c.mu.Unlock()
	for _, fn := range due {
		fn()
	}
	return ctx.Err()
}

// cutoff is a session that loses its connection in the first APPEND. The server
// has everything by then and stores it later.
type cutoff struct {
	session
	after func(raw string, batch []imap.Message)
	lost  error
}

func (c *cutoff) Err() error { return errors.Join(c.lost, c.session.Err()) }

func (c *cutoff) StartAppend(ctx context.Context, raw string, batch []imap.Message) (func() ([]imap.Appended, error), error) {
	if c.after == nil {
		return c.session.StartAppend(ctx, raw, batch)
	}
	c.after(raw, batch)
	c.lost = &imap.LostError{Host: "target", User: user, Err: io.ErrUnexpectedEOF}
	return func() ([]imap.Appended, error) { return make([]imap.Appended, len(batch)), c.lost }, nil
}

// TestLateAppendsAreWaitedFor holds that a message which appears long after
// its connection was cut is not sent a second time, and that one which never
// appears is sent again.
func TestLateAppendsAreWaitedFor(t *testing.T) {
	for name, delay := range map[string]time.Duration{"stored late": 119 * time.Second, "never stored": 0} {
		t.Run(name, func(t *testing.T) {
			src, dst := memories(t)
			src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one"), mail("INBOX", "twin"), mail("INBOX", "twin")})
			clock := &slowClock{now: time.Date(2027, 1, 15, 18, 0, 0, 0, time.UTC), events: map[time.Time]func(){}}
			b := newBench(t, src, dst, t.TempDir(), func(_, d *plan.Host) { d.Limits.DoubtGrace = 0 }) // the default: 120 s
			b.engine.o.Clock = clock
			dial, first := b.to.dial, true
			b.to.dial = func(ctx context.Context) (session, error) {
				s, err := dial(ctx)
				if err != nil || !first {
					return s, err
				}
				first = false
				return &cutoff{session: s, after: func(_ string, batch []imap.Message) {
					var late []imaptest.GeneratedMail
					for _, m := range batch {
						octets, _ := io.ReadAll(m.Body)
						late = append(late, imaptest.GeneratedMail{Folder: "INBOX", Octets: octets, Flags: m.Flags, Date: m.InternalDate})
					}
					if delay > 0 {
						clock.events[clock.Now().Add(delay)] = func() { dst.fill(t, late) }
					}
				}}, nil
			}
			if r := b.pass(providers.BeforeFlip); r.Copied != 3 || r.Doubt != 0 {
				t.Errorf("%+v", r)
			}
			clock.Sleep(t.Context(), time.Hour) // what is still to come comes now
			b.equal()
			b.idle(providers.BeforeFlip)
		})
	}
}

// misnamed is a target session that names UIDs which it never gave out.
type misnamed struct{ session }

func (x misnamed) StartAppend(ctx context.Context, raw string, batch []imap.Message) (func() ([]imap.Appended, error), error) {
	wait, err := x.session.StartAppend(ctx, raw, batch)
	return func() ([]imap.Appended, error) {
		results, err := wait()
		for i := range results {
			results[i].UID += 1000
		}
		return results, err
	}, err
}

// TestADoubtBesideAWrongUIDIsNotLost: one message never arrives, and its connection is lost. Of another one, of the same folder, a wrong UID is told, so that
// its copy is equal to nothing that is known when the first is looked for there.
func TestADoubtBesideAWrongUIDIsNotLost(t *testing.T) {
	for name, second := range map[string]string{"another": "two", "the same": "one"} {
		t.Run(name, func(t *testing.T) {
			src, dst := memories(t)
			src.fill(t, []imaptest.GeneratedMail{mail("Work", "one"), mail("Work", second)})
			b := newBench(t, src, dst, t.TempDir(), nil)
			b.engine.o.Clock = hurried{}
			dial, sessions := b.to.dial, 0
			b.to.dial = func(ctx context.Context) (session, error) {
				s, err := dial(ctx)
				if sessions++; err != nil || sessions > 2 {
					return s, err
				}
				if sessions == 2 {
					return misnamed{s}, nil
				}
				return &unheard{session: s}, nil
			}
			b.pass(providers.BeforeFlip)
			b.pass(providers.BeforeFlip)
			b.equal()
			b.idle(providers.BeforeFlip)
		})
	}
}

// unheard is a target session that is lost in the middle of the first message.
type unheard struct {
	session
	lost error
}

func (x *unheard) Err() error { return errors.Join(x.lost, x.session.Err()) }

func (x *unheard) StartAppend(_ context.Context, _ string, batch []imap.Message) (func() ([]imap.Appended, error), error) {
	x.lost = &imap.LostError{Host: "target", User: user, Err: io.ErrUnexpectedEOF}
	results := make([]imap.Appended, len(batch))
	for i := range results {
		results[i].Unsent = i > 0
	}
	return func() ([]imap.Appended, error) { return results, x.lost }, nil
}
