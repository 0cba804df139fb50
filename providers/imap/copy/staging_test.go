package copy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
	"github.com/mxodus/mxodus/state/manifest"
)

// folders lists the folders of an account.
func (s server) folders(t testing.TB) []string {
	t.Helper()
	list, err := s.client(t).List("", "*", nil).Collect()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range list {
		names = append(names, l.Mailbox)
	}
	slices.Sort(names)
	return names
}

// noStaging holds that no staging folder is left.
func (s server) noStaging(t testing.TB) {
	t.Helper()
	for _, name := range s.folders(t) {
		if imap.IsStaging(name) {
			t.Errorf("the folder %s is left over", name)
		}
	}
}

// interrupted is a target session that ends its connection around one command.
type interrupted struct {
	session
	at *interruption
}

// interruption is when a connection ends, and what happens then.
type interruption struct {
	lost   bool
	visit  func(*imap.Visit) bool // of which visit
	before bool                   // it isn't sent at all
	then   func()
}

func (x *interrupted) Err() error {
	if x.at.lost {
		return lostHere
	}
	return x.session.Err()
}

var lostHere = &imap.LostError{Host: "target", User: user, Err: errors.New("cut by the test")}

func (x *interrupted) Visit(ctx context.Context, next func() *imap.Visit) error {
	cut := false
	err := x.session.Visit(ctx, func() *imap.Visit {
		if cut {
			return nil
		}
		v := next()
		if v != nil && x.at.visit != nil && x.at.visit(v) {
			cut = true
			x.at.visit = nil
			if x.at.before {
				return nil
			}
			v.Done, v.Opened = nil, nil
			if v.Change != nil {
				v.Change.Moved = nil
			}
		}
		return v
	})
	if cut {
		if x.at.then != nil {
			x.at.then()
		}
		x.at.lost = true
		x.session.Close()
		return lostHere
	}
	return err
}

func (b *bench) interrupt(at *interruption) {
	dial := b.to.dial
	b.to.dial = func(ctx context.Context) (session, error) {
		s, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		at.lost = false
		return &interrupted{session: s, at: at}, nil
	}
}

// staging reports whether a visit moves messages out of a staging folder.
func fromStaging(v *imap.Visit) bool {
	return strings.Contains(v.Raw, imap.StagingPrefix) && v.Change != nil
}

// TestAfterTheFlipADoubtIsNoSecondCopy loses the connection in the very moment in which new mail gets to its
// place, and lets the target's owner move or delete it at once: nothing is copied a second time, and nothing is lost.
func TestAfterTheFlipADoubtIsNoSecondCopy(t *testing.T) {
	for _, before := range []bool{false, true} {
		for name, owner := range map[string]func(*imapclient.Client) error{
			"leaves it":   func(*imapclient.Client) error { return nil },
			"moves it":    func(c *imapclient.Client) error { _, err := c.Move(uidSet(2, 3), "Keep").Wait(); return err },
			"deletes one": func(c *imapclient.Client) error { return c.UIDExpunge(uidSet(2)).Close() },
		} {
			for kind, start := range kinds {
				t.Run(kind+"/"+name, func(t *testing.T) {
					t.Parallel()
					src, dst := start(t)
					src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one")})
					b := newBench(t, src, dst, t.TempDir(), func(_, d *plan.Host) { d.Limits.DoubtGrace = 50 * time.Millisecond })
					b.pass(providers.BeforeFlip)
					if err := dst.client(t).Create("Keep", nil).Wait(); err != nil {
						t.Fatal(err)
					}
					src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "two"), mail("INBOX", "two"), mail("A", "three", `\Flagged`)})
					deleted := 0
					b.interrupt(&interruption{visit: fromStaging, before: before, then: func() {
						if before {
							return
						}
						if name == "deletes one" {
							store(t, dst, "INBOX", 2, 1, `\Deleted`)
							deleted = 1
						}
						if err := owner(dst.selected(t, "INBOX")); err != nil {
							t.Error(err)
						}
					}})
					r := b.pass(providers.AfterFlip)
					if r.Doubt != 0 {
						t.Errorf("%+v", r)
					}
					got := dst.read(t)
					if n := len(got["INBOX"]) + len(got["Keep"]); n != 3-deleted || len(got["A"]) != 1 || got["A"][0].Flags[0] != `\flagged` {
						t.Errorf("at the target are %d, %d and %d messages in INBOX, Keep and A", len(got["INBOX"]), len(got["Keep"]), len(got["A"]))
					}
					dst.noStaging(t)
					b.idle(providers.AfterFlip)
				})
			}
		}
	}
}

// TestATargetInUseIsCopiedByWayOfStaging delivers mail to the target while the copy is still before the flip.
func TestATargetInUseIsCopiedByWayOfStaging(t *testing.T) {
	src, dst := memories(t)
	src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one"), mail("A", "two")})
	b := newBench(t, src, dst, t.TempDir(), nil)
	made := 0
	dial := b.to.dial
	b.to.dial = func(ctx context.Context) (session, error) {
		s, err := dial(ctx)
		return &counting{session: s, made: &made}, err
	}
	b.pass(providers.BeforeFlip)
	if made != 0 {
		t.Errorf("a target that is ours alone got %d staging folders", made)
	}
	dst.fill(t, []imaptest.GeneratedMail{mail("INBOX", "somebody else's")})
	src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "three"), mail("A", "four")})
	if r := b.pass(providers.BeforeFlip); r.Copied != 2 || made != 1 {
		t.Errorf("%+v by %d staging folders, want 2 by one", r, made)
	}
	if got := dst.read(t); len(got["INBOX"]) != 3 || len(got["A"]) != 2 {
		t.Errorf("at the target: %d and %d messages", len(got["INBOX"]), len(got["A"]))
	}
	dst.noStaging(t)
	b.idle(providers.BeforeFlip)
}

// counting counts the staging folders that are made.
type counting struct {
	session
	made *int
}

func (c *counting) CreateAll(ctx context.Context, raws []string, done func(int, error)) error {
	for _, raw := range raws {
		if strings.HasPrefix(raw, imap.StagingPrefix) {
			*c.made++
		}
	}
	return c.session.CreateAll(ctx, raws, done)
}

// lacking is a session of a server that doesn't offer everything.
type lacking struct {
	session
	not    []string
	create error // of a staging folder
}

func (l *lacking) Has(c string) bool { return !slices.Contains(l.not, c) && l.session.Has(c) }

func (l *lacking) CreateAll(ctx context.Context, raws []string, done func(int, error)) error {
	if l.create != nil && len(raws) == 1 && imap.IsStaging(raws[0]) {
		done(0, l.create)
		return nil
	}
	return l.session.CreateAll(ctx, raws, done)
}

// TestStagingWhereMuchIsMissing goes by way of staging where the server knows no MOVE or tells no UIDs, and without staging
// where it lets no folder be made.
func TestStagingWhereMuchIsMissing(t *testing.T) {
	for name, edit := range map[string]func(*lacking) session{
		"no MOVE": func(l *lacking) session { l.not = []string{"MOVE"}; return l },
		"no APPENDUID": func(l *lacking) session {
			return &decorated{session: l, after: func(imap.Appended) imap.Appended { return imap.Appended{Done: true} }}
		},
		"one APPENDUID": func(l *lacking) session {
			return &decorated{session: l, after: func(a imap.Appended) imap.Appended { a.UID = 1; return a }}
		},
		"the next one's APPENDUID": func(l *lacking) session {
			return &decorated{session: l, after: func(a imap.Appended) imap.Appended { a.UID++; return a }}
		},
		"no COPYUID": func(l *lacking) session { return &silent{l} },
		"no folder":  func(l *lacking) session { l.create = refused(providers.Refused, "no more folders"); return l },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src, dst := memories(t)
			src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one"), mail("INBOX", "twin"), mail("INBOX", "twin"), mail("A", "two")})
			b := newBench(t, src, dst, t.TempDir(), func(_, d *plan.Host) { d.Limits.DoubtGrace = 20 * time.Millisecond })
			dial := b.to.dial
			b.to.dial = func(ctx context.Context) (session, error) {
				s, err := dial(ctx)
				if err != nil {
					return nil, err
				}
				return edit(&lacking{session: s}), nil
			}
			if r := b.pass(providers.AfterFlip); r.Copied != 4 || r.Doubt != 0 {
				t.Errorf("%+v", r)
			}
			b.equal()
			dst.noStaging(t)
			b.idle(providers.AfterFlip)
			c, err := b.engine.compare(t.Context(), b.mailbox, b.source, b.to)
			if err != nil || c.Target != 4 {
				t.Errorf("compare: %+v, %v", c, err)
			}
		})
	}
}

// silent doesn't say where moved messages are.
type silent struct{ session }

func (s *silent) Visit(ctx context.Context, next func() *imap.Visit) error {
	return s.session.Visit(ctx, func() *imap.Visit {
		v := next()
		if v != nil && v.Change != nil {
			v.Change.Moved = nil
		}
		return v
	})
}

// TestLeftoverStagingFolders ends a pass while messages lie in a staging folder. They are nobody's mail until the next pass brings
// them to their place; a folder that another copy left behind is told, and not touched.
func TestLeftoverStagingFolders(t *testing.T) {
	src, dst := memories(t)
	src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one"), mail("INBOX", "two"), mail("A", "three")})
	dst.fill(t, []imaptest.GeneratedMail{mail(imap.StagingPrefix+"of-another", "not ours")})
	b := newBench(t, src, dst, t.TempDir(), func(_, d *plan.Host) { d.Limits.DoubtGrace = 20 * time.Millisecond })
	ctx, cancel := context.WithCancel(t.Context())
	at := &interruption{visit: fromStaging, before: true, then: cancel}
	dial := b.to.dial
	b.interrupt(at)
	if r, err := b.engine.pass(ctx, providers.PassSpec{Mailbox: b.mailbox, Mode: providers.AfterFlip}, b.source, b.to); err == nil || r.Doubt != 3 {
		t.Fatalf("%+v, %v: want a pass that ends in the middle", r, err)
	}
	b.to.dial = dial
	if n := len(dst.folders(t)); n != 4 { // INBOX, A, ours, the other one
		t.Errorf("the target has %v", dst.folders(t))
	}
	host := imap.Host{Dialer: &imap.Dialer{Host: b.to.host, Secrets: passwords(password)}}
	list, err := host.Folders(t.Context(), providers.Account{Address: user})
	if err != nil || len(list) != 2 {
		t.Errorf("discovery sees %v, %v: want INBOX and A", list, err)
	}
	c, err := b.engine.compare(t.Context(), b.mailbox, b.source, b.to)
	if err != nil || c.Source != 3 || c.Target != 0 {
		t.Errorf("compare: %+v, %v", c, err)
	}
	r := b.pass(providers.AfterFlip)
	if r.Copied != 3 || len(r.Refusals) != 1 || !strings.Contains(r.Refusals[0], "another state folder") {
		t.Errorf("%+v", r)
	}
	got := dst.read(t)
	if len(got["INBOX"]) != 2 || len(got["A"]) != 1 || len(got[imap.StagingPrefix+"of-another"]) != 1 || len(got) != 3 {
		t.Errorf("the target holds %v", dst.folders(t))
	}
	// As a source it has no such folder either.
	back := newBench(t, dst, src, t.TempDir(), nil)
	back.pass(providers.BeforeFlip)
	src.noStaging(t)
}

// TestAMessageThatMayBeGoneStaysInDoubt can't stage and loses the answer of an APPEND; somebody deletes what was stored. Sent again it
// may be a second copy, and given up it may be lost: it is told until a person has looked.
func TestAMessageThatMayBeGoneStaysInDoubt(t *testing.T) {
	src, dst := memories(t)
	src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one")})
	b := newBench(t, src, dst, t.TempDir(), func(_, d *plan.Host) { d.Limits.DoubtGrace = 20 * time.Millisecond })
	b.pass(providers.BeforeFlip)
	src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "two")})
	dial, first := b.to.dial, true
	b.to.dial = func(ctx context.Context) (session, error) {
		s, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		l := &lacking{session: s, create: refused(providers.Refused, "no more folders")}
		if !first {
			return l, nil
		}
		first = false
		return &cutoff{session: l, after: func(string, []imap.Message) {
			dst.fill(t, []imaptest.GeneratedMail{mail("INBOX", "two")})
			expunge(t, dst, "INBOX", 2)
		}}, nil
	}
	for range 2 {
		if r := b.pass(providers.AfterFlip); r.Copied != 0 || r.Doubt != 1 {
			t.Errorf("%+v, want one in doubt", r)
		}
	}
	if n := len(dst.read(t)["INBOX"]); n != 1 {
		t.Errorf("%d messages at the target, want one", n)
	}
	found := 0
	if err := b.engine.Rows(t.Context(), b.mailbox, func(r Row) error {
		if r.State == manifest.Intent.String() {
			found++
		}
		return nil
	}); err != nil || found != 1 {
		t.Errorf("the manifest names %d in doubt, %v", found, err)
	}
}
