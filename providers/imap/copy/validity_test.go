package copy

import (
	"testing"

	"github.com/mxodus/mxodus/providers"
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
