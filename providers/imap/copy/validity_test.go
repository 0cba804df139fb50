package copy

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// replace deletes a folder and makes it again with other content: it
// gets another UIDVALIDITY.
func replace(t *testing.T, s server, folder string, mails []imaptest.GeneratedMail) {
	t.Helper()
	c := s.client(t)
	if err := c.Delete(folder).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(folder, nil).Wait(); err != nil {
		t.Fatal(err)
	}
	s.fill(t, mails)
}

func TestNewUIDsAtTheSourceMakeNoSecondCopies(t *testing.T) {
	src, dst := dovecots(t)
	first := []imaptest.GeneratedMail{mail("A", "one"), mail("A", "twin"), mail("A", "twin"), mail("A", "two", `\Seen`)}
	src.fill(t, first)
	b := newBench(t, src, dst, t.TempDir(), nil)
	b.mailbox.Deletes = "mirror"
	b.pass(providers.BeforeFlip)
	// Another order, one twin more, one message less, one new.
	replace(t, src, "A", []imaptest.GeneratedMail{first[3], first[1], mail("A", "new"), first[1], first[2]})
	r := b.pass(providers.BeforeFlip)
	if r.Copied != 2 || r.Deleted != 1 || r.Unchanged != 3 {
		t.Errorf("%+v, want 2 copied, 1 deleted, 3 unchanged", r)
	}
	b.equal()
	b.idle(providers.BeforeFlip)
}

func TestNewUIDsAtTheTargetMakeNoSecondCopies(t *testing.T) {
	src, dst := dovecots(t)
	first := []imaptest.GeneratedMail{mail("A", "one"), mail("A", "twin"), mail("A", "twin"), mail("A", "two", `\Seen`)}
	src.fill(t, first)
	b := newBench(t, src, dst, t.TempDir(), nil)
	b.pass(providers.BeforeFlip)
	// Restored in another order, without "one": what is claimed is not copied again.
	replace(t, dst, "A", []imaptest.GeneratedMail{first[3], first[2], first[1]})
	src.fill(t, []imaptest.GeneratedMail{mail("A", "new")})
	if r := b.pass(providers.BeforeFlip); r.Copied != 1 {
		t.Errorf("%+v, want 1 copied", r)
	}
	if n := len(dst.read(t)["A"]); n != 4 {
		t.Errorf("the target's folder holds %d messages, want 4", n)
	}
	b.idle(providers.BeforeFlip)
	c, err := b.engine.compare(t.Context(), b.mailbox, b.source, b.to)
	if err != nil || c.Source != 5 || c.Target != 4 || len(c.Missing) != 1 {
		t.Errorf("compare: %+v, %v", c, err)
	}
}

// changing is a target session before whose first message something happens.
type changing struct {
	session
	once func()
}

func (x *changing) StartAppend(ctx context.Context, raw string, batch []imap.Message) (func() ([]imap.Appended, error), error) {
	if x.once != nil {
		x.once()
		x.once = nil
	}
	return x.session.StartAppend(ctx, raw, batch)
}

// later is a clock that can be put forward.
type later struct {
	wallClock
	ahead atomic.Int64
}

func (c *later) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// TestAFolderMadeAnewInALongPassLosesNothing: while a pass copies, the target's folder in which it is going to delete a message, and to change the flags of
// another, is made anew by its user. Its messages have the same UIDs as ours had.
func TestAFolderMadeAnewInALongPassLosesNothing(t *testing.T) {
	t.Run("a deletion", func(t *testing.T) { madeAnew(t, false, "two[]") })
	t.Run("a deletion and flags", func(t *testing.T) { madeAnew(t, true, `two[\flagged]`) })
}

func madeAnew(t *testing.T, flags bool, two string) {
	src, dst := dovecots(t)
	src.fill(t, []imaptest.GeneratedMail{mail("A", "one"), mail("A", "two"), mail("B", "three")})
	b := newBench(t, src, dst, t.TempDir(), nil)
	b.mailbox.Deletes = "mirror"
	clock := &later{}
	b.engine.o.Clock = clock
	b.pass(providers.BeforeFlip)
	expunge(t, src, "A", 1)
	if flags {
		store(t, src, "A", 2, goimap.StoreFlagsAdd, goimap.FlagFlagged)
	}
	src.fill(t, []imaptest.GeneratedMail{mail("B", "new")})
	dial := b.to.dial
	b.to.dial = func(ctx context.Context) (session, error) {
		s, err := dial(ctx)
		return &changing{s, func() {
			replace(t, dst, "A", []imaptest.GeneratedMail{mail("A", "theirs"), mail("A", "theirs, too"), mail("A", "two")})
			clock.ahead.Add(int64(time.Hour))
		}}, err
	}
	if _, err := b.try(providers.BeforeFlip); err != nil {
		t.Error(err)
	}
	names := map[string]string{}
	for _, subject := range []string{"one", "two", "theirs", "theirs, too"} {
		names[fmt.Sprintf("%x", sha256.Sum256(mail("A", subject).Octets))] = subject
	}
	var have []string
	for _, m := range dst.read(t)["A"] {
		have = append(have, fmt.Sprint(names[m.SHA256], m.Flags))
	}
	slices.Sort(have)
	if want := []string{"theirs, too[]", "theirs[]", two}; !slices.Equal(have, want) {
		t.Errorf("the target's folder holds %q, want %q", have, want)
	}
}

func TestARenamedFolderIsMovedNotCopied(t *testing.T) {
	src, dst := dovecots(t)
	src.fill(t, []imaptest.GeneratedMail{mail("Old", "one"), mail("Old", "two"), mail("INBOX", "three")})
	b := newBench(t, src, dst, t.TempDir(), nil)
	b.pass(providers.BeforeFlip)
	if err := src.client(t).Rename("Old", "New", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if r := b.pass(providers.BeforeFlip); r.Moved != 2 || r.Copied != 0 {
		t.Errorf("%+v, want 2 moved", r)
	}
	got := dst.read(t)
	if len(got["Old"]) != 0 || len(got["New"]) != 2 {
		t.Errorf("the target has %d in Old and %d in New", len(got["Old"]), len(got["New"]))
	}
	b.idle(providers.BeforeFlip)
}

func TestAnEmptiedSourceIsNotMirrored(t *testing.T) {
	src, dst := dovecots(t)
	src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one"), mail("INBOX", "two")})
	b := newBench(t, src, dst, t.TempDir(), nil)
	b.mailbox.Deletes = "mirror"
	b.pass(providers.BeforeFlip)
	expunge(t, src, "INBOX", 1, 2)
	if r, err := b.try(providers.BeforeFlip); providers.ReasonOf(err) != providers.Conflict || r.Deleted != 0 {
		t.Errorf("%+v, %v: want a refusal to delete everything", r, err)
	}
	if n := len(dst.read(t)["INBOX"]); n != 2 {
		t.Errorf("the target holds %d messages, want both", n)
	}
}
