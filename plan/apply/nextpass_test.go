package apply

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/state"
)

// TestNextDeltaGoesByTheLastTwoPasses: a rate needs two passes, and the first one, which brings the whole mailbox, is none.
func TestNextDeltaGoesByTheLastTwoPasses(t *testing.T) {
	begin := time.Date(2027, 1, 10, 3, 0, 0, 0, time.UTC)
	_, p := fixture(begin.Add(5 * day))
	j := &memoryJournal{budget: -1}
	pass := func(address string, at time.Time, copied int, took time.Duration) {
		s, _ := p.Step("copy/" + address)
		b, err := json.Marshal(passEntry{Key: stepKey(p, s), Mode: providers.BeforeFlip, Began: at.Add(-took), Result: providers.PassResult{Copied: copied, Octets: int64(copied) * 1000}})
		if err != nil {
			t.Fatal(err)
		}
		j.Append(t.Context(), state.Entry{At: at, Plan: p.Digest, Step: s.Address, Event: evPass, Data: b})
	}
	look := func(now time.Time) *NextDelta {
		m, _ := fixture(begin.Add(5 * day))
		e := engine(m, p, newWorld(), j, t.TempDir())
		e.Clock = fixedClock(now)
		s, err := e.Status()
		if err != nil {
			t.Fatal(err)
		}
		return s.NextDelta
	}
	pass("anna@acme.example", begin, 5000, time.Hour)
	pass("jens@acme.example", begin, 3000, time.Hour)
	if d := look(begin.Add(time.Hour)); d == nil || d.Mailboxes != 2 || d.Known != 0 || d.Messages != 0 {
		t.Errorf("after the first passes: %+v, want two mailboxes and no figures", d)
	}
	pass("anna@acme.example", begin.Add(12*time.Hour), 30, 20*time.Second)
	d := look(begin.Add(13 * time.Hour))
	if d == nil || d.Mailboxes != 2 || d.Known != 1 || d.Messages != 60 || d.Octets != 60_000 || d.Takes != 20*time.Second {
		t.Errorf("30 messages came in half a day, and the next pass is a day later: %+v", d)
	}
	if d != nil && !d.At.Equal(begin.Add(day)) {
		t.Errorf("due %v, want a day after jens's pass", d.At)
	}
}

// fixedClock shows one time.
type fixedClock time.Time

func (c fixedClock) Now() time.Time { return time.Time(c) }
func (c fixedClock) Sleep(ctx context.Context, _ time.Duration) error {
	<-ctx.Done()
	return ctx.Err()
}
