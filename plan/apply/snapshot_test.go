package apply

import (
	"context"
	"strings"
	"testing"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// dying is a zone whose write is the last thing that the machine does.
type dying struct {
	providers.Zone
	j *memoryJournal
}

func (z dying) Update(ctx context.Context, changes []plan.RRsetChange) error {
	err := z.Zone.Update(ctx, changes)
	z.j.mu.Lock()
	defer z.j.mu.Unlock()
	z.j.budget = 0
	return err
}

// TestOtherChangesAreSaid has the machine die right after the flip's write and somebody
// change another record meanwhile: the flip counts as made without another write, the
// other change is told, and it stays.
func TestOtherChangesAreSaid(t *testing.T) {
	t.Parallel()
	l := startFlipLab(t)
	l.prepare()
	real := l.zone
	l.zone = dying{real, l.j}
	if _, err := l.engine().Run(t.Context()); err == nil || l.updates() != 1 {
		t.Fatalf("the machine did not die at its write: %v, %d writes", err, l.updates())
	}
	l.zone, l.j = real, &memoryJournal{entries: l.j.entries, budget: -1}
	l.put(set("www.acme.example.", "A", 300, "192.0.2.77"))
	l.events = nil
	out := l.run()
	if l.updates() != 1 || len(out.Failed)+len(out.Drift)+len(out.Refused) > 0 {
		t.Errorf("%d writes, %+v", l.updates(), out)
	}
	if l.engine().Record.State("dns/acme.example/MX/@").Applied.IsZero() {
		t.Error("the flip that is in the zone is not known as made")
	}
	told := false
	for _, ev := range l.events {
		told = told || ev.Type == "note" && strings.Contains(strings.Join(ev.Lines, " "), "www.acme.example. A was 300 A 192.0.2.1")
	}
	if !told {
		t.Errorf("the change of another record is not told: %+v", l.events)
	}
	if got := l.master.Set("www.acme.example.", "A"); got.Data[0] != "192.0.2.77" {
		t.Errorf("somebody else's change was taken back: %v", got.Data)
	}
}
