package copy

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

func TestTempo(t *testing.T) {
	x := &tempo{}
	if x.room(0) != batchMessages || x.room(5000) != batchMessages {
		t.Error("who never throttled is held back")
	}
	x.throttled(200)
	if x.room(0) != 100 || x.room(60) != 40 || x.room(100) != 0 {
		t.Errorf("after the first time: %d, %d, %d", x.room(0), x.room(60), x.room(100))
	}
	for range 20 {
		x.throttled(10)
	}
	if x.room(0) != 1 {
		t.Errorf("at the least %d", x.room(0))
	}
	grown := 0
	for x.room(0) < 50 {
		x.taken(10)
		if grown++; grown > 1000 {
			t.Fatal("it never grows again")
		}
	}
	if grown < 10 {
		t.Errorf("grown after %d batches", grown)
	}
}

// crowded refuses what is sent while more than so many messages of a batch came at once, and names a wait.
type crowded struct {
	session
	most int
	wait time.Duration

	mu      *sync.Mutex
	refused *int
	largest *[]int
}

func (c *crowded) StartAppend(ctx context.Context, raw string, batch []imap.Message) (func() ([]imap.Appended, error), error) {
	c.mu.Lock()
	*c.largest = append(*c.largest, len(batch))
	c.mu.Unlock()
	results := make([]imap.Appended, len(batch))
	n := min(len(batch), c.most)
	for i := n; i < len(batch); i++ {
		results[i].Err = &providers.Error{Op: "append", Reason: providers.Throttled, Wait: c.wait, Server: "Request is throttled. Suggested Backoff Time: 299609 milliseconds"}
	}
	c.mu.Lock()
	*c.refused += len(batch) - n
	c.mu.Unlock()
	wait, err := c.session.StartAppend(ctx, raw, batch[:n])
	if wait == nil {
		return nil, err
	}
	return func() ([]imap.Appended, error) {
		got, err := wait()
		copy(results, got)
		return results, err
	}, err
}

// TestAThrottlingHostGetsLessAndWhatItNamesIsWaited holds that a named wait is kept to the millisecond, in fake time, and that
// less is sent at once afterwards: the host has to ask a few times and not with each batch.
func TestAThrottlingHostGetsLessAndWhatItNamesIsWaited(t *testing.T) {
	src, dst := memories(t)
	var mails []imaptest.GeneratedMail
	for range 600 {
		mails = append(mails, mail("INBOX", "m"))
	}
	src.fill(t, mails)
	b := newBench(t, src, dst, t.TempDir(), nil)
	began := time.Date(2027, 1, 15, 18, 0, 0, 0, time.UTC)
	clock := &slowClock{now: began, events: map[time.Time]func(){}}
	b.engine.o.Clock = clock
	const named = 299609 * time.Millisecond
	var mu sync.Mutex
	var sizes []int
	refused := 0
	dial := b.to.dial
	b.to.dial = func(ctx context.Context) (session, error) {
		s, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return &crowded{session: s, most: 20, wait: named, mu: &mu, refused: &refused, largest: &sizes}, nil
	}
	if r := b.pass(providers.BeforeFlip); r.Copied != 600 || r.Quarantined+r.Doubt != 0 {
		t.Errorf("%+v", r)
	}
	b.equal()
	late := 0
	for _, n := range sizes[len(sizes)/2:] {
		if n > 40 {
			late++
		}
	}
	if late > 0 || refused > 600 {
		t.Errorf("batches of %v, %d refusals: it was not slower", sizes, refused)
	}
	waited := clock.Now().Sub(began)
	if waited < named || waited%named != 0 {
		t.Errorf("waited %v, which is no multiple of the %v that the host named", waited, named)
	}
	t.Logf("%d batches, %d refusals, waited %v", len(sizes), refused, waited)
}

// TestAConnectionLimitThatLooksLikeAPassword lets logins fail as hosts do that have too many connections open, and not as those
// with a wrong password.
func TestAConnectionLimitThatLooksLikeAPassword(t *testing.T) {
	src, _ := memories(t)
	src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one"), mail("A", "two")})
	var mu sync.Mutex
	logins := 0
	dst := mannered(t, imaptest.Manners{Login: func(_, _ string) string {
		mu.Lock()
		defer mu.Unlock()
		if logins++; logins <= 3 {
			return "NO [AUTHENTICATIONFAILED] Too many simultaneous connections"
		}
		return ""
	}})
	b := newBench(t, src, dst, t.TempDir(), nil)
	clock := &slowClock{now: time.Date(2027, 1, 15, 18, 0, 0, 0, time.UTC), events: map[time.Time]func(){}}
	b.engine.o.Clock = clock
	if r := b.pass(providers.BeforeFlip); r.Copied != 2 || logins < 4 {
		t.Errorf("%+v after %d logins", r, logins)
	}
	wrong := mannered(t, imaptest.Manners{Login: func(_, _ string) string {
		mu.Lock()
		defer mu.Unlock()
		logins++
		return "NO [AUTHENTICATIONFAILED] Authentication failed."
	}})
	logins = 0
	b = newBench(t, src, wrong, t.TempDir(), nil)
	if _, err := b.try(providers.BeforeFlip); providers.ReasonOf(err) != providers.Authentication || logins != 1 {
		t.Errorf("a wrong password: %v after %d logins", err, logins)
	}
}
