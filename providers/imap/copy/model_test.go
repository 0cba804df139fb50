package copy

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/mxodus/mxodus/state/manifest"
)

// clone is a world that goes its own way from here.
func (w *world) clone() *world {
	c := *w
	c.rows, c.server, c.late, c.stored = slices.Clone(w.rows), slices.Clone(w.server), slices.Clone(w.late), maps.Clone(w.stored)
	return &c
}

// key tells worlds apart.
func (w *world) key() string {
	b := []byte(w.content)
	for _, r := range w.rows {
		b = append(b, byte(r.State), byte(r.Window), byte(r.TargetUID))
	}
	for _, f := range w.server {
		b = append(b, byte(f.UID), f.Digest.raw[0])
	}
	late := slices.Clone(w.late)
	slices.Sort(late)
	return string(append(append(b, 0xff, byte(w.nextUID)), late...))
}

// forget lets a target's owner delete what is there with that UID.
func (w *world) forget(uid uint32) {
	w.server = slices.DeleteFunc(w.server, func(f found) bool { return f.UID == uid })
}

// following are all worlds that can come next.
func (w *world) following(outcomes []string) []*world {
	var list []*world
	then := func(do func(*world)) {
		c := w.clone()
		do(c)
		list = append(list, c)
	}
	for i, row := range w.rows {
		if row.State == 0 || row.State == manifest.Seen {
			for _, o := range outcomes {
				then(func(c *world) { c.send(i, o) })
			}
		}
		if row.TargetUID != 0 && slices.ContainsFunc(w.server, func(f found) bool { return f.UID == row.TargetUID }) {
			then(func(c *world) { c.forget(row.TargetUID) })
		}
	}
	if len(w.late) > 0 {
		then(func(c *world) { c.store(c.late[0]); c.late = c.late[1:] })
	}
	if len(w.server) < 8 {
		then(func(c *world) {
			c.server = append(c.server, found{UID: c.nextUID, Digest: contentDigest('z')})
			c.nextUID++
		})
	}
	for _, killed := range []bool{false, true} {
		for _, arrives := range []bool{false, true} {
			then(func(c *world) { c.resolve(func() bool { return arrives }, killed) })
		}
	}
	return list
}

// end lets everything go well from here on, and returns what is wrong then.
func (w *world) end() error {
	for range 3 {
		w.resolve(func() bool { return true }, false)
		for i := range w.rows {
			w.send(i, "taken")
		}
	}
	want := map[byte]int{}
	for _, c := range w.content {
		want[c]++
	}
	if !maps.Equal(w.stored, want) {
		return fmt.Errorf("stored %v, want %v", w.stored, want)
	}
	places := map[uint32]int{}
	for i, row := range w.rows {
		if row.State != manifest.Claimed {
			return fmt.Errorf("message %d ends %v", i, row.State)
		}
		if j, twice := places[row.TargetUID]; twice && row.TargetUID != 0 {
			return fmt.Errorf("messages %d and %d claim UID %d", i, j, row.TargetUID)
		}
		places[row.TargetUID] = i
	}
	return nil
}

func newWorld(content string, before int) *world {
	w := &world{content: []byte(content), nextUID: 1, stored: map[byte]int{}}
	w.rows = make([]manifest.Message, len(content))
	for range before {
		w.server = append(w.server, found{UID: w.nextUID, Digest: contentDigest('a')})
		w.nextUID++
	}
	return w
}

// explore calls fn for at most so many worlds that can come of w, with what is wrong in the end.
func (w *world) explore(most int, fn func(*world, error)) {
	outcomes := []string{"taken", "taken without UID", "refused for now", "never sent", "taken, answer lost", "on its way", "dropped",
		"killed before sending", "killed before recording"}
	seen := map[string]bool{w.key(): true}
	queue := []*world{w}
	for n := 0; n < len(queue); n++ {
		w := queue[n]
		queue[n] = nil
		if len(seen) < most {
			for _, next := range w.following(outcomes) {
				if k := next.key(); !seen[k] {
					seen[k] = true
					queue = append(queue, next)
				}
			}
		}
		before := w.clone()
		fn(before, w.end())
	}
}

// TestModelExhaustively goes through everything that can happen to a few messages, two of them alike, in every
// order: crashes, lost answers, messages stored late, strangers' mail, deletions by the
// target's owner. From each state that can be reached, with the engine's own decisions, the end has to
// be each message once.
func TestModelExhaustively(t *testing.T) {
	states := 0
	for _, start := range []struct {
		content string
		before  int // messages alike that were there
		most    int
	}{{"aab", 1, 60_000}, {"aaab", 0, 30_000}, {"abc", 0, 15_000}} {
		newWorld(start.content, start.before).explore(start.most, func(before *world, err error) {
			states++
			if err != nil {
				t.Fatalf("from %q, rows %+v, at the target %v, on the way %q: %v", before.content, before.rows, before.server, before.late, err)
			}
		})
	}
	if states < 100_000 {
		t.Errorf("only %d states were gone through", states)
	}
	t.Logf("%d end states: nothing lost, nothing double", states)
}
