package apply

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/state"
)

// Arrivals are what the world's source has got, some of it before the flip.
func (c copier) Arrivals(_ context.Context, m plan.Mailbox, after time.Time, limit int, known func(string, uint32, uint32) bool, fn func(providers.Arrival) error) error {
	c.w.mu.Lock()
	list := slices.Clone(c.w.arrivals[m.Source])
	c.w.mu.Unlock()
	for _, a := range list {
		if a.At.Before(after) || limit == 0 || known(a.Folder, a.UIDValidity, a.UID) {
			continue
		}
		limit--
		if err := fn(a); err != nil {
			return err
		}
	}
	return nil
}

func TestStragglersAreRecordedWithTheirSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cutover := time.Now().Add(3 * time.Hour)
		m, p := fixture(cutover)
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		const anna, jens = "anna@acme.example", "jens@acme.example"
		late := func(address string, uid uint32, after time.Duration, host, ip string) {
			time.Sleep(time.Until(cutover.Add(after)))
			w.mu.Lock()
			defer w.mu.Unlock()
			w.arrivals[address] = append(w.arrivals[address], providers.Arrival{Folder: "INBOX", UIDValidity: 7, UID: uid, MessageID: fmt.Sprintf("<%d@x>", uid), At: time.Now(),
				Header: fmt.Appendf(nil, "Received: from %s (%s [%s]) by mx.old.example with ESMTP id 1; Fri, 15 Jan 2027 17:00:01 +0000\r\nReceived: from innocent.example (innocent.example [198.51.100.9]) by %s with SMTP id 1; Fri, 15 Jan 2027 17:00:00 +0000\r\nFrom: Shop <News%d@%s>\r\n\r\n", host, host, ip, host, uid, host)})
			w.pending[address] = append(w.pending[address], 1)
		}
		// Our own message by the old MX is nobody to tell.
		j.entries = append(j.entries, state.Entry{Seq: 1, Step: "validate/probe/trip/old", Event: evProbe, Data: []byte(`{"Way":"old","ID":"5@x"}`)})
		go func() {
			late(anna, 1, -time.Hour, "early.example", "192.0.2.1") // before the flip: no straggler
			late(anna, 2, 10*time.Minute, "shop.example", "192.0.2.2")
			late(jens, 3, 11*time.Minute, "shop.example", "192.0.2.3")
			late(anna, 4, 40*time.Minute, "bank.example", "192.0.2.4")
			late(anna, 5, 41*time.Minute, "outside.example", "192.0.2.5")
		}()
		e := engine(m, p, w, j, dir)
		upToHold(t, e, 5*time.Hour)
		list := e.Record.Stragglers()
		if len(list) != 3 {
			t.Fatalf("%d stragglers: %+v", len(list), list)
		}
		if s := list[0]; s.Mailbox != anna || s.Host != "shop.example" || s.IP != "192.0.2.2" || s.From != "news2@shop.example" || s.UID != 2 {
			t.Errorf("%+v", s)
		}
		// Another run, and another record of the same journal, know them and tell none twice.
		upToHold(t, engine(m, p, w, j, dir), 7*time.Hour)
		st, err := engine(m, p, w, j, dir).Status()
		if err != nil {
			t.Fatal(err)
		}
		if len(st.Late) != 2 || st.Late[0].Host != "bank.example" || st.Late[1].Host != "shop.example" || st.Late[1].Messages != 2 || st.Late[1].IP != "192.0.2.3" || !slices.Equal(st.Late[1].Mailboxes, []string{anna, jens}) {
			t.Errorf("%+v", st.Late)
		}
	})
}

// While mail still comes to the old host, status says when that will probably end.
func TestStatusForeseesConvergence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cutover := time.Now().Add(3 * time.Hour)
		m, p := fixture(cutover)
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		for _, a := range []string{"anna@acme.example", "jens@acme.example"} {
			w.pending[a] = []int{50, 3}
		}
		upToHold(t, engine(m, p, w, j, dir), 5*time.Minute)
		st, err := engine(m, p, w, j, dir).Status()
		if err != nil {
			t.Fatal(err)
		}
		// One pass that found something: chance 1/3, 39 passes more of 15 minutes.
		if d := st.Converges.Sub(cutover); d < 9*time.Hour || d > 11*time.Hour {
			t.Errorf("converges %v after the cutover: %+v", d, engine(m, p, w, j, dir).Record.State("delta/anna@acme.example").Recent)
		}
		upToHold(t, engine(m, p, w, j, dir), 3*time.Hour)
		if st, err = engine(m, p, w, j, dir).Status(); err != nil || !st.Converges.IsZero() {
			t.Errorf("after the delta: %v, %v", st.Converges, err)
		}
	})
}
