package copy

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// depot is a model of copying by way of staging folders, around the engine's own decisions (settle, certain, seen, ended, match,
// resolved). The target's owner may take away whatever is in its place at any time; the process may die and
// connections may end at any point; what was sent may be carried out late.
type depot struct {
	content []byte // of each source message
	rows    []manifest.Message
	server  []found // in its place
	nextUID uint32
	arrived map[byte]int // of ours, in their place, ever
	folders []stagingModel
	now     int // staging folder of the connection, from 1 on; 0 = none
	late    []lateModel
	noMove  bool
	naive   bool // every connection uses the same name
}

type stagingModel struct {
	there, retired bool
	ending         bool
	messages       []found
	nextUID        uint32
}

// lateModel is a command whose connection is gone: an APPEND of content to a staging folder, a MOVE of a UID from there, or its DELETE.
type lateModel struct {
	folder  int
	content byte
	uid     uint32
	delete  bool
}

func newDepot(content string) *depot {
	return &depot{content: []byte(content), rows: make([]manifest.Message, len(content)), nextUID: 1, arrived: map[byte]int{}}
}

func (w *depot) clone() *depot {
	c := *w
	c.rows, c.server, c.late, c.arrived = slices.Clone(w.rows), slices.Clone(w.server), slices.Clone(w.late), maps.Clone(w.arrived)
	c.folders = slices.Clone(w.folders)
	for i := range c.folders {
		c.folders[i].messages = slices.Clone(c.folders[i].messages)
	}
	return &c
}

func (w *depot) key() string {
	var b []byte
	for _, r := range w.rows {
		b = append(b, byte(r.State), byte(r.Window), byte(r.TargetUID), byte(r.Staging), byte(r.StagedUID))
	}
	for _, f := range w.server {
		b = append(b, byte(f.UID), f.Digest.raw[0])
	}
	b = append(b, 0xff, byte(w.nextUID), byte(w.now))
	for _, s := range w.folders {
		b = append(b, 0xfe, byte(s.nextUID))
		if s.there {
			b = append(b, 1)
		}
		if s.retired {
			b = append(b, 2)
		}
		if s.ending {
			b = append(b, 3)
		}
		for _, m := range s.messages {
			b = append(b, byte(m.UID), m.Digest.raw[0])
		}
	}
	for _, l := range w.late {
		b = append(b, 0xfd, byte(l.folder), l.content, byte(l.uid))
		if l.delete {
			b = append(b, 1)
		}
	}
	for _, c := range w.content {
		b = append(b, byte(w.arrived[c]))
	}
	return string(b)
}

func (w *depot) arrive(c byte) uint32 {
	uid := w.nextUID
	w.nextUID++
	w.server = append(w.server, found{UID: uid, Digest: contentDigest(c)})
	w.arrived[c]++
	return uid
}

// put stores a message in a staging folder, 0 = there is none any more.
func (w *depot) put(folder int, c byte) uint32 {
	s := &w.folders[folder-1]
	if !s.there {
		return 0
	}
	uid := s.nextUID
	s.nextUID++
	s.messages = append(s.messages, found{UID: uid, Digest: contentDigest(c)})
	return uid
}

// take moves, or copies, a message from a staging folder to its place.
func (w *depot) take(folder int, uid uint32) uint32 {
	s := &w.folders[folder-1]
	i := slices.IndexFunc(s.messages, func(f found) bool { return f.UID == uid })
	if !s.there || i < 0 {
		return 0
	}
	at := w.arrive(s.messages[i].Digest.raw[0])
	if !w.noMove {
		s.messages = slices.Delete(s.messages, i, i+1)
	}
	return at
}

func (w *depot) happen(l lateModel) {
	switch {
	case l.delete:
		s := &w.folders[l.folder-1]
		s.there, s.messages = false, nil
	case l.uid != 0:
		w.take(l.folder, l.uid)
	default:
		w.put(l.folder, l.content)
	}
}

// send takes one message through an APPEND to the connection's staging folder.
func (w *depot) send(i int, outcome string) {
	row := &w.rows[i]
	if row.State != 0 && row.State != manifest.Seen {
		return
	}
	if w.now == 0 {
		if w.naive && len(w.folders) > 0 {
			if !w.folders[0].there {
				w.folders[0] = stagingModel{there: true, nextUID: 1}
			}
			w.folders[0].retired = false
			w.now = 1
		} else {
			w.folders = append(w.folders, stagingModel{there: true, nextUID: 1})
			w.now = len(w.folders)
		}
	}
	*row = manifest.Message{State: manifest.Intent, Staging: int64(w.now)}
	var answer imap.Appended
	switch outcome {
	case "taken":
		answer = imap.Appended{Done: true, UIDValidity: 1, UID: w.put(w.now, w.content[i])}
	case "taken without UID":
		w.put(w.now, w.content[i])
		answer.Done = true
	case "refused for now":
		answer.Err = refused(providers.Throttled, "")
	case "taken, answer lost":
		w.put(w.now, w.content[i])
		w.now = 0
	case "on its way":
		w.late = append(w.late, lateModel{folder: w.now, content: w.content[i]})
		w.now = 0
	case "dropped":
		w.now = 0
	case "killed before recording":
		w.put(w.now, w.content[i])
		w.now = 0
		return
	}
	switch v := settle(answer); v {
	case claim, applied:
		row.State, row.StagedUID = manifest.Applied, answer.UID
	case again:
		*row = manifest.Message{State: manifest.Seen}
	}
}

// empty is what the engine's empty does with a staging folder. outcome says how its MOVE and its DELETE go.
func (w *depot) empty(folder int, outcome string, arrives bool) {
	s := &w.folders[folder-1]
	if s.retired {
		return
	}
	if w.now == folder {
		w.now = 0
	}
	for look := range 4 {
		if s.ending {
			break
		}
		var rows []int
		for i, r := range w.rows {
			if r.Staging == int64(folder) {
				rows = append(rows, i)
			}
		}
		if len(rows) == 0 {
			break
		}
		rows = w.lookInto(folder, rows, look > 0, arrives)
		rows = slices.DeleteFunc(rows, func(i int) bool { return w.rows[i].StagedUID == 0 || w.rows[i].Staging == 0 })
		if len(rows) == 0 || !s.there {
			break
		}
		for _, i := range rows {
			w.rows[i].Window = w.nextUID
		}
		confirmed := true
		switch outcome {
		case "killed before moving", "move dropped":
			return
		case "move on its way":
			for _, i := range rows {
				w.late = append(w.late, lateModel{folder: folder, uid: w.rows[i].StagedUID})
			}
			return
		}
		for n, i := range rows {
			if outcome == "half moved, answer lost" && n > 0 {
				return
			}
			at := w.take(folder, w.rows[i].StagedUID)
			switch {
			case outcome == "moved, answer lost" || outcome == "half moved, answer lost" || outcome == "killed before recording":
			case outcome == "moved, no COPYUID" || at == 0:
				confirmed = false
			default:
				w.rows[i] = manifest.Message{State: manifest.Claimed, TargetUID: at}
			}
		}
		if outcome == "moved, answer lost" || outcome == "half moved, answer lost" || outcome == "killed before recording" {
			return
		}
		if confirmed {
			break
		}
	}
	for i := range w.rows {
		if w.rows[i].Staging == int64(folder) && ended(w.rows[i]) != again {
			return
		}
	}
	s.ending = !w.naive
	switch outcome {
	case "delete dropped":
		return
	case "delete on its way":
		w.late = append(w.late, lateModel{folder: folder, delete: true})
		return
	case "deleted, answer lost":
		s.there, s.messages = false, nil
		return
	}
	s.there, s.messages, s.retired = false, nil, true
	for i := range w.rows {
		if w.rows[i].Staging == int64(folder) {
			w.rows[i] = manifest.Message{State: manifest.Seen}
		}
	}
}

func (w *depot) lookInto(folder int, rows []int, answered, arrives bool) (left []int) {
	s := &w.folders[folder-1]
	begun := slices.ContainsFunc(rows, func(i int) bool { return w.rows[i].Window != 0 })
	if begun && !answered { // the grace
		for _, l := range w.late {
			if arrives {
				w.happen(l)
			}
		}
		w.late = nil
	}
	there := map[uint32]bool{}
	taken := map[uint32]bool{}
	var want []wanted
	for _, i := range rows {
		if u := w.rows[i].StagedUID; u != 0 && !taken[u] {
			taken[u] = true
		} else {
			want = append(want, wanted{ID: int64(i), Digest: contentDigest(w.content[i]), Applied: w.rows[i].State == manifest.Applied})
		}
	}
	var have []found
	for _, f := range s.messages {
		there[f.UID] = true
		if !taken[f.UID] {
			have = append(have, f)
		}
	}
	at := match(want, have)
	for _, i := range rows {
		row := &w.rows[i]
		if uid := at[int64(i)]; uid != 0 {
			row.StagedUID = uid
		}
		switch seen(*row, row.StagedUID != 0 && there[row.StagedUID], !w.noMove && s.there) {
		case claim, again:
			row.State, row.Window = manifest.Applied, 0
			left = append(left, i)
		case applied:
			*row = manifest.Message{State: manifest.Applied, Window: row.Window}
		case doubt:
			*row = manifest.Message{State: manifest.Intent, Window: row.Window}
		}
	}
	return left
}

// resolve looks for what was moved without saying where.
func (w *depot) resolve(arrives bool) {
	for _, l := range w.late {
		if arrives {
			w.happen(l)
		}
	}
	w.late = nil
	claimed, there := map[uint32]bool{}, map[uint32]bool{}
	var want []wanted
	for i, row := range w.rows {
		claimed[row.TargetUID] = true
		if row.Staging == 0 && (row.State == manifest.Intent || row.State == manifest.Applied) {
			want = append(want, wanted{ID: int64(i), Digest: contentDigest(w.content[i]), Applied: row.State == manifest.Applied, Window: row.Window})
		}
	}
	var have []found
	for _, f := range w.server {
		there[f.UID] = true
		if !claimed[f.UID] {
			have = append(have, f)
		}
	}
	var gap gaps
	for u := uint32(1); u < w.nextUID; u++ {
		if !there[u] && !claimed[u] {
			gap = gaps(u)
		}
	}
	at := match(want, have)
	for _, x := range want {
		row := &w.rows[x.ID]
		switch resolved(row.State, at[x.ID] != 0, gap.from(row.Window)) {
		case claim:
			*row = manifest.Message{State: manifest.Claimed, TargetUID: at[x.ID]}
		case applied:
			*row = manifest.Message{State: manifest.Claimed}
		case again:
			*row = manifest.Message{State: manifest.Seen}
		}
	}
}

func (w *depot) following() []*depot {
	var list []*depot
	then := func(do func(*depot)) {
		c := w.clone()
		do(c)
		list = append(list, c)
	}
	for i, row := range w.rows {
		if (row.State == 0 || row.State == manifest.Seen) && len(w.folders) < 4 {
			for _, o := range []string{"taken", "taken without UID", "refused for now", "taken, answer lost", "on its way", "dropped", "killed before recording"} {
				then(func(c *depot) { c.send(i, o) })
			}
		}
	}
	for i, s := range w.folders {
		if s.retired {
			continue
		}
		for _, o := range []string{"", "moved, no COPYUID", "killed before moving", "move on its way", "half moved, answer lost", "moved, answer lost", "delete dropped", "delete on its way", "deleted, answer lost"} {
			then(func(c *depot) { c.empty(i+1, o, true) })
		}
		then(func(c *depot) { c.empty(i+1, "", false) })
	}
	if w.now != 0 {
		then(func(c *depot) { c.now = 0 }) // the connection ends, or the process
	}
	if len(w.late) > 0 {
		then(func(c *depot) { l := c.late[0]; c.late = c.late[1:]; c.happen(l) })
	}
	for _, f := range w.server { // its owner moves it elsewhere, or deletes it
		then(func(c *depot) { c.server = slices.DeleteFunc(c.server, func(g found) bool { return g.UID == f.UID }) })
	}
	if len(w.server) < 3 { // somebody else's, and it looks like one of ours
		then(func(c *depot) {
			content := c.content[0]
			if c.noMove {
				content = 'z' // a copy without an answer is known by its content alone
			}
			c.server = append(c.server, found{UID: c.nextUID, Digest: contentDigest(content)})
			c.nextUID++
		})
	}
	then(func(c *depot) { c.resolve(true) })
	return list
}

// end lets everything go well from here on, and returns what is wrong then.
func (w *depot) end() error {
	for range 4 {
		for i := range w.folders {
			w.empty(i+1, "", true)
		}
		w.resolve(true)
		for i := range w.rows {
			w.send(i, "taken")
		}
	}
	want, doubts := map[byte]int{}, map[byte]int{}
	for i, c := range w.content {
		want[c]++
		switch {
		case w.rows[i].State == manifest.Claimed:
		case w.noMove && w.rows[i].State == manifest.Intent:
			doubts[c]++ // and a person is told
		default:
			return fmt.Errorf("message %d ends %v", i, w.rows[i].State)
		}
	}
	for c, n := range want {
		if got := w.arrived[c]; got > n || got+doubts[c] < n {
			return fmt.Errorf("%d times %q in its place, want %d", got, c, n)
		}
	}
	for i, s := range w.folders {
		if s.there {
			return fmt.Errorf("staging folder %d is left over", i+1)
		}
	}
	places := map[uint32]bool{}
	for i, row := range w.rows {
		if row.TargetUID != 0 && places[row.TargetUID] {
			return fmt.Errorf("message %d claims the UID of another one", i)
		}
		places[row.TargetUID] = true
	}
	return nil
}

// explore goes through at most so many states and returns how many there were and what went wrong in how many.
func explore(first *depot, most int) (states, bad int, example error) {
	visited := map[string]bool{first.key(): true}
	queue := []*depot{first}
	for n := 0; n < len(queue); n++ {
		w := queue[n]
		queue[n] = nil
		if len(visited) < most {
			for _, next := range w.following() {
				if k := next.key(); !visited[k] {
					visited[k] = true
					queue = append(queue, next)
				}
			}
		}
		states++
		before := w.clone()
		if err := w.end(); err != nil {
			bad++
			if example == nil {
				example = fmt.Errorf("from %q, rows %+v, in place %v, staging %+v, late %v: %w", before.content, before.rows, before.server, before.folders, before.late, err)
			}
		}
	}
	return states, bad, example
}

// TestStagingModelExhaustively is TestModelExhaustively for a target in use: its owner may move or delete anything at any time.
func TestStagingModelExhaustively(t *testing.T) {
	total := 0
	for _, c := range []struct {
		content string
		noMove  bool
		most    int
	}{{"aa", false, 50_000}, {"ab", false, 40_000}, {"ab", true, 12_000}, {"aa", true, 12_000}} {
		first := newDepot(c.content)
		first.noMove = c.noMove
		states, bad, example := explore(first, c.most)
		if bad > 0 {
			t.Errorf("%d of %d end states are wrong: %v", bad, states, example)
		}
		total += states
	}
	if total < 100_000 {
		t.Errorf("only %d states were gone through", total)
	}
	t.Logf("%d end states: nothing lost, nothing double", total)
}

// TestSimplerWaysFail holds that the models can tell: what is left out of the design loses or doubles mail.
func TestSimplerWaysFail(t *testing.T) {
	stale := newDepot("ab")
	stale.naive = true
	states, bad, _ := explore(stale, 5000)
	t.Logf("staging under one name for all connections: %d of %d end states are wrong", bad, states)
	if bad == 0 {
		t.Error("staging without a fresh name for each connection fails nowhere")
	}
	for name, edit := range map[string]func(*world){
		"sending again at once":    func(w *world) { w.hasty = true },
		"looking once and at once": func(w *world) { w.impatient = true },
	} {
		first := newWorld("aab", 1)
		edit(first)
		states, bad := 0, 0
		first.explore(5000, func(w *world, err error) {
			states++
			if err != nil {
				bad++
			}
		})
		t.Logf("%s: %d of %d end states are wrong", name, bad, states)
		if bad == 0 {
			t.Errorf("%s fails nowhere", name)
		}
	}
}
