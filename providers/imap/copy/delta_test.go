package copy

import (
	"context"
	"fmt"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

func mail(folder, subject string, flags ...string) imaptest.GeneratedMail {
	return imaptest.GeneratedMail{
		Folder: folder, Flags: flags, Date: time.Date(2024, 2, 29, 23, 59, 59, 0, time.FixedZone("", 3600)),
		Octets: []byte("From: a@acme.example\r\nSubject: " + subject + "\r\nMessage-ID: <" + subject + "@acme.example>\r\n\r\n" + subject + "\r\n"),
	}
}

func store(t *testing.T, s server, folder string, uid uint32, op goimap.StoreFlagsOp, flags ...goimap.Flag) {
	t.Helper()
	c := s.selected(t, folder)
	if err := c.Store(uidSet(uid), &goimap.StoreFlags{Op: op, Flags: flags, Silent: true}, nil).Close(); err != nil {
		t.Fatal(err)
	}
}

func expunge(t *testing.T, s server, folder string, uids ...uint32) {
	t.Helper()
	c := s.selected(t, folder)
	if err := c.Store(uidSet(uids...), &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Flags: []goimap.Flag{goimap.FlagDeleted}, Silent: true}, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.UIDExpunge(uidSet(uids...)).Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDeltaPasses changes the source as people do and looks at what the
// next pass does, and that the one after it does nothing.
func TestDeltaPasses(t *testing.T) {
	for name, start := range kinds {
		t.Run(name, func(t *testing.T) {
			src, dst := start(t)
			src.fill(t, []imaptest.GeneratedMail{
				mail("INBOX", "one"), mail("INBOX", "two", `\Seen`), mail("INBOX", "three"), mail("INBOX", "four"),
				mail("INBOX", "twin"), mail("INBOX", "twin"), mail("A/B", "five"), mail("C", "six", "$Work"),
			})
			b := newBench(t, src, dst, t.TempDir(), nil)
			b.mailbox.Deletes = "mirror"
			if r := b.pass(providers.BeforeFlip); r.Copied != 8 {
				t.Fatalf("first pass: %+v", r)
			}
			b.equal()
			b.idle(providers.BeforeFlip)

			check := func(what string, want providers.PassResult) {
				t.Helper()
				got := b.pass(providers.BeforeFlip)
				if got.Copied != want.Copied || got.Flags != want.Flags || got.Moved != want.Moved || got.Deleted != want.Deleted {
					t.Errorf("%s: %+v, want %+v", what, got, want)
				}
				b.equal()
				b.idle(providers.BeforeFlip)
			}
			src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "seven"), mail("New", "eight"), mail("INBOX", "twin")})
			check("new mail", providers.PassResult{Copied: 3})

			store(t, src, "INBOX", 1, goimap.StoreFlagsAdd, goimap.FlagSeen, "$Label")
			store(t, src, "INBOX", 2, goimap.StoreFlagsDel, goimap.FlagSeen)
			check("flags", providers.PassResult{Flags: 2})

			expunge(t, src, "INBOX", 3)
			check("a deletion", providers.PassResult{Deleted: 1})

			c := src.selected(t, "INBOX")
			if _, err := c.Move(uidSet(4, 5), "A/B").Wait(); err != nil {
				t.Fatal(err)
			}
			check("a move", providers.PassResult{Moved: 2})

			// All at once.
			store(t, src, "C", 1, goimap.StoreFlagsAdd, goimap.FlagFlagged)
			expunge(t, src, "A/B", 1)
			src.fill(t, []imaptest.GeneratedMail{mail("C", "nine")})
			if _, err := src.selected(t, "INBOX").Move(uidSet(1), "C").Wait(); err != nil {
				t.Fatal(err)
			}
			check("everything", providers.PassResult{Copied: 1, Flags: 1, Moved: 1, Deleted: 1})
		})
	}
}

// TestCostsDoNotGrowWithFolders counts durable commits, and waits for the target's answers, of a pass that finds one new message and one change of flags in each
// of many folders.
func TestCostsDoNotGrowWithFolders(t *testing.T) {
	const folders = 60
	src, dst := memories(t)
	some := func(subject string) (list []imaptest.GeneratedMail) {
		for i := range folders {
			list = append(list, mail(fmt.Sprintf("F%02d", i), fmt.Sprint(subject, i)))
		}
		return list
	}
	src.fill(t, some("old"))
	// The target is far: while it has the first, all others come.
	far := imaptest.NewProxy(t, dst.address, 50*time.Millisecond)
	b := newBench(t, src, server{address: fmt.Sprintf("127.0.0.1:%d", far.Port())}, t.TempDir(), nil)
	b.dst = dst
	commits := 0
	b.engine.around = func(done bool) {
		if done {
			commits++
		}
	}
	if r := b.pass(providers.BeforeFlip); r.Copied != folders {
		t.Fatalf("first pass: %+v", r)
	}
	src.fill(t, some("new"))
	for i := range folders {
		store(t, src, fmt.Sprintf("F%02d", i), 1, goimap.StoreFlagsAdd, goimap.FlagFlagged)
	}
	commits = 0
	b.targetTraffic.take()
	if r := b.pass(providers.BeforeFlip); r.Copied != folders || r.Flags != folders {
		t.Fatalf("second pass: %+v", r)
	}
	if turns := b.targetTraffic.take(); commits > folders/2 || turns > folders {
		t.Errorf("%d commits and %d waits for the target, for %d folders with something new in each", commits, turns, folders)
	} else {
		t.Logf("%d commits, %d waits for the target", commits, turns)
	}
	b.equal()
}

// TestThreeWayMergeKeepsTheTargetsOwnFlags changes different flags on both sides.
func TestThreeWayMergeKeepsTheTargetsOwnFlags(t *testing.T) {
	src, dst := dovecots(t)
	src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one", `\Seen`)})
	b := newBench(t, src, dst, t.TempDir(), nil)
	b.pass(providers.BeforeFlip)
	store(t, src, "INBOX", 1, goimap.StoreFlagsSet, goimap.FlagAnswered)
	store(t, dst, "INBOX", 1, goimap.StoreFlagsAdd, goimap.FlagFlagged)
	b.pass(providers.BeforeFlip)
	got := dst.read(t)["INBOX"][0].Flags
	if want := []string{`\answered`, `\flagged`}; len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("flags at the target are %v, want %v", got, want)
	}
	b.idle(providers.BeforeFlip)
}

// TestAfterTheFlipOnlyAdds deletes and changes at both sides: the target keeps what its
// users did, and new mail comes over.
func TestAfterTheFlipOnlyAdds(t *testing.T) {
	src, dst := dovecots(t)
	src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one"), mail("INBOX", "two"), mail("INBOX", "three"), mail("INBOX", "four")})
	b := newBench(t, src, dst, t.TempDir(), nil)
	b.mailbox.Deletes = "mirror"
	b.pass(providers.BeforeFlip)
	expunge(t, dst, "INBOX", 1)                                                         // its owner deleted it
	if _, err := dst.selected(t, "INBOX").Move(uidSet(2), "Trash").Wait(); err != nil { // and moved another
		t.Fatal(err)
	}
	store(t, src, "INBOX", 3, goimap.StoreFlagsAdd, goimap.FlagSeen)
	expunge(t, src, "INBOX", 4)
	src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "straggler", `\Seen`)})
	r := b.pass(providers.AfterFlip)
	if r.Copied != 1 || r.Flags+r.Moved+r.Deleted > 0 {
		t.Errorf("after the flip: %+v, want one message copied", r)
	}
	inbox := dst.read(t)["INBOX"]
	if len(inbox) != 3 || len(inbox[0].Flags) != 0 {
		t.Errorf("the target's INBOX is %+v, want three, four and the straggler", inbox)
	}
	b.idle(providers.AfterFlip)
	c, err := b.engine.compare(t.Context(), b.mailbox, b.source, b.to)
	if err != nil || c.Source != 4 || c.Target != 2 || len(c.Missing) != 2 {
		t.Errorf("compare: %+v, %v: want two of four where we put them", c, err)
	}
}

// TestMovesAfterTheFlipAreNotCopiedAgain moves messages at the source: one stays where it was
// put at the target, and one is where its owner has moved it.
func TestMovesAfterTheFlipAreNotCopiedAgain(t *testing.T) {
	src, dst := dovecots(t)
	src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one"), mail("INBOX", "two"), mail("INBOX", "three"), mail("A", "four")})
	b := newBench(t, src, dst, t.TempDir(), nil)
	b.pass(providers.BeforeFlip)
	if _, err := dst.selected(t, "INBOX").Move(uidSet(2), "Trash").Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := src.selected(t, "INBOX").Move(uidSet(1, 2), "A").Wait(); err != nil {
		t.Fatal(err)
	}
	src.fill(t, []imaptest.GeneratedMail{mail("A", "straggler")})
	if r := b.pass(providers.AfterFlip); r.Copied != 1 || r.Moved+r.Deleted+r.Flags != 0 {
		t.Errorf("%+v, want the straggler alone", r)
	}
	got := dst.read(t)
	if len(got["INBOX"]) != 2 || len(got["A"]) != 2 || len(got["Trash"]) != 1 {
		t.Errorf("at the target: %d, %d and %d messages, want one and three in INBOX, four and the straggler in A, two in Trash",
			len(got["INBOX"]), len(got["A"]), len(got["Trash"]))
	}
	b.idle(providers.AfterFlip)
}

// TestWhatWasThereStays copies into a mailbox that holds mail, also the same message.
func TestWhatWasThereStays(t *testing.T) {
	src, dst := dovecots(t)
	dst.fill(t, []imaptest.GeneratedMail{mail("INBOX", "before"), mail("INBOX", "one")})
	src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one"), mail("INBOX", "two")})
	b := newBench(t, src, dst, t.TempDir(), nil)
	b.mailbox.Deletes = "mirror"
	if r := b.pass(providers.BeforeFlip); r.Copied != 2 {
		t.Errorf("first pass: %+v", r)
	}
	expunge(t, src, "INBOX", 1)
	if r := b.pass(providers.BeforeFlip); r.Deleted != 1 {
		t.Errorf("second pass: %+v", r)
	}
	var uids []uint32
	for _, m := range dst.read(t)["INBOX"] {
		uids = append(uids, m.UID)
	}
	if len(uids) != 3 || uids[0] != 1 || uids[1] != 2 || uids[2] != 4 {
		t.Errorf("UIDs at the target are %v, want 1 and 2, which were there, and 4", uids)
	}
}

// TestVanishedMessagesAreTold: a server with QRESYNC says which messages have vanished, and their folder isn't listed.
func TestVanishedMessagesAreTold(t *testing.T) {
	for _, h := range hosts[:2] { // Courier doesn't
		t.Run(h.name, func(t *testing.T) {
			src, dst := h.start(t), hosts[0].start(t)
			src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one"), mail("INBOX", "two"), mail("INBOX", "three"), mail("INBOX", "four"), mail("A", "five")})
			b := newBench(t, src, dst, t.TempDir(), nil)
			b.mailbox.Deletes = "mirror"
			b.pass(providers.BeforeFlip)
			expunge(t, src, "INBOX", 2, 4)
			src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "six")})
			store(t, src, "INBOX", 1, goimap.StoreFlagsAdd, goimap.FlagSeen)
			lists := 0
			dial := b.source.dial
			b.source.dial = func(ctx context.Context) (session, error) {
				s, err := dial(ctx)
				if err != nil {
					return nil, err
				}
				return &listCounter{s, &lists}, nil
			}
			if r := b.pass(providers.BeforeFlip); r.Copied != 1 || r.Deleted != 2 || r.Flags != 1 {
				t.Errorf("%+v", r)
			}
			if lists > 0 {
				t.Errorf("%d folders were listed as a whole", lists)
			}
			b.equal()
			b.idle(providers.BeforeFlip)
		})
	}
}

// listCounter counts the folders that are listed as a whole.
type listCounter struct {
	session
	n *int
}

func (c *listCounter) Visit(ctx context.Context, next func() *imap.Visit) error {
	return c.session.Visit(ctx, func() *imap.Visit {
		v := next()
		if v != nil && v.List != nil {
			for _, q := range v.List.Queries {
				if q.Set == "1:*" {
					*c.n++
				}
			}
		}
		return v
	})
}
