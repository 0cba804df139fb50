package load

import "testing"

// The small forms of the loads look at memory and mail, never at time.

func (e ended) bounded(t *testing.T) {
	t.Helper()
	if e.peak == 0 {
		t.Skip("this system doesn't say what a process has in memory")
	}
	t.Logf("%s, %s of CPU, %s resident at most, %d descriptors", seconds(e.wall), seconds(e.cpu), mb(e.peak), e.files)
	if e.peak >= residentLimit {
		t.Errorf("%s were resident", mb(e.peak))
	}
}

func TestManyMessages(t *testing.T) {
	t.Parallel()
	copied(t, 20_000).bounded(t)
}

func TestNothingNew(t *testing.T) {
	t.Parallel()
	with, without := twice(t, 8_000)
	with.bounded(t)
	without.bounded(t)
}

func TestLargeMessagesAtOnce(t *testing.T) {
	t.Parallel()
	largeAtOnce(t, 40e6).bounded(t)
}

func TestManyOctets(t *testing.T) {
	t.Parallel()
	e, _ := through(t, 4e8)
	e.bounded(t)
}

func TestManyMailboxesAndFolders(t *testing.T) {
	t.Parallel()
	p := manyMailboxes(t, 40, 600)
	for _, e := range []ended{p.discover, p.plan, p.offline, p.apply, p.status} {
		e.bounded(t)
	}
}
