package copy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
	"github.com/mxodus/mxodus/state/manifest"
)

// decorated is a session of a target that answers as the test wants.
type decorated struct {
	session
	// before may refuse a message, which is then not sent.
	before func(octets []byte) error
	// after may change an answer.
	after func(a imap.Appended) imap.Appended
}

func (d *decorated) StartAppend(ctx context.Context, raw string, batch []imap.Message) (func() ([]imap.Appended, error), error) {
	results := make([]imap.Appended, len(batch))
	var sent []imap.Message
	var at []int
	for i, m := range batch {
		octets, err := io.ReadAll(m.Body)
		if err != nil {
			return nil, err
		}
		m.Body = bytes.NewReader(octets)
		if d.before != nil {
			if err := d.before(octets); err != nil {
				results[i].Err = err
				continue
			}
		}
		sent, at = append(sent, m), append(at, i)
	}
	if len(sent) == 0 {
		return func() ([]imap.Appended, error) { return results, nil }, nil
	}
	wait, err := d.session.StartAppend(ctx, raw, sent)
	if wait == nil {
		return nil, err
	}
	return func() ([]imap.Appended, error) {
		got, err := wait()
		for i, a := range got {
			if d.after != nil && a.Done {
				a = d.after(a)
			}
			results[at[i]] = a
		}
		return results, err
	}, err
}

func (b *bench) decorate(d decorated) {
	dial := b.to.dial
	b.to.dial = func(ctx context.Context) (session, error) {
		s, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return &decorated{session: s, before: d.before, after: d.after}, nil
	}
}

func refused(reason providers.Reason, words string) error {
	return &providers.Error{Op: "append to folder", Subject: "INBOX", Reason: reason, Server: words}
}

func TestRefusedMessagesGoToQuarantineAndThePassGoesOn(t *testing.T) {
	src, dst := memories(t)
	src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one"), mail("INBOX", "poison"), mail("INBOX", "two")})
	b := newBench(t, src, dst, t.TempDir(), nil)
	b.decorate(decorated{before: func(octets []byte) error {
		if bytes.Contains(octets, []byte("poison")) {
			return refused(providers.BadMessage, "that \x1b[31mone not")
		}
		return nil
	}})
	r := b.pass(providers.BeforeFlip)
	if r.Copied != 2 || r.Quarantined != 1 || len(r.Refusals) != 1 || r.Refusals[0] != "that \x1b[31mone not" {
		t.Fatalf("%+v", r)
	}
	dir := b.engine.QuarantinePath(b.mailbox)
	files, _ := os.ReadDir(dir)
	if len(files) != 1 || !strings.HasSuffix(files[0].Name(), ".eml") || len(files[0].Name()) != 64+4 {
		t.Fatalf("quarantine holds %v", files)
	}
	got, err := os.ReadFile(filepath.Join(dir, files[0].Name()))
	if err != nil || !bytes.Equal(got, mail("", "poison").Octets) {
		t.Errorf("the file holds %q, %v", got, err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, files[0].Name()): 0o600} {
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, fi.Mode(), want)
		}
	}
	r = b.pass(providers.BeforeFlip)
	if r.Changed() || r.Quarantined != 1 || r.Unchanged != 2 {
		t.Errorf("second pass: %+v", r)
	}
	c, err := b.engine.compare(t.Context(), b.mailbox, b.source, b.to)
	if err != nil || c.Quarantined != 1 || c.Target != 2 || len(c.Missing) != 1 || strings.Contains(c.Missing[0], "Subject") {
		t.Errorf("compare: %+v, %v", c, err)
	}
}

func TestSizeLimitKeepsAMessageUntilItIsRaised(t *testing.T) {
	src, dst := memories(t)
	large := mail("INBOX", "large")
	large.Octets = append(large.Octets, bytes.Repeat([]byte("0123456789abcdef\r\n"), 200_000)...) // 3.6 MB: through a spool file
	src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one"), large})
	dir := t.TempDir()
	limit := func(n int64) func(_, d *plan.Host) {
		return func(_, d *plan.Host) { d.Limits.MaxMessageSize = n }
	}
	b := newBench(t, src, dst, dir, limit(1<<20))
	if r := b.pass(providers.BeforeFlip); r.Copied != 1 || r.Quarantined != 1 {
		t.Fatalf("%+v", r)
	}
	b.idle(providers.BeforeFlip)
	b = newBench(t, src, dst, dir, limit(2<<20))
	if r := b.pass(providers.BeforeFlip); r.Changed() || r.Quarantined != 1 {
		t.Errorf("another limit that is too low: %+v", r)
	}
	b = newBench(t, src, dst, dir, limit(10<<20))
	if r := b.pass(providers.BeforeFlip); r.Copied != 1 || r.Quarantined != 0 {
		t.Errorf("the limit is raised: %+v", r)
	}
	b.equal()
	b.idle(providers.BeforeFlip)
	if left, _ := os.ReadDir(filepath.Join(dir, "spool")); len(left) > 0 {
		t.Errorf("spool files are left over: %v", left)
	}
}

func TestThrottlingIsObeyed(t *testing.T) {
	src, dst := memories(t)
	src.fill(t, imaptest.Generate(3, 50))
	b := newBench(t, src, dst, t.TempDir(), nil)
	var mu sync.Mutex
	n := 0
	b.decorate(decorated{before: func([]byte) error {
		mu.Lock()
		defer mu.Unlock()
		if n++; n%7 == 0 {
			return &providers.Error{Op: "append", Reason: providers.Throttled, Wait: 5 * time.Millisecond, Server: "slow down"}
		}
		return nil
	}})
	if r := b.pass(providers.BeforeFlip); r.Copied != 50 || r.Quarantined != 0 {
		t.Errorf("%+v", r)
	}
	b.equal()
	b.idle(providers.BeforeFlip)
}

// TestATargetThatRefusesEverythingIsLeft holds that a target that takes nothing at all
// doesn't send the whole mailbox to quarantine.
func TestATargetThatRefusesEverythingIsLeft(t *testing.T) {
	src, dst := memories(t)
	var mails []imaptest.GeneratedMail
	for range 100 {
		mails = append(mails, mail("INBOX", "m"))
	}
	src.fill(t, mails)
	b := newBench(t, src, dst, t.TempDir(), nil)
	full := true
	b.decorate(decorated{before: func([]byte) error {
		if full {
			return refused(providers.OverQuota, "mailbox is full")
		}
		return nil
	}})
	r, err := b.try(providers.BeforeFlip)
	if providers.ReasonOf(err) != providers.OverQuota || r.Copied != 0 || r.Quarantined > maxStreak {
		t.Fatalf("%+v, %v", r, err)
	}
	full = false
	if r := b.pass(providers.BeforeFlip); r.Copied != 100 || r.Quarantined != 0 {
		t.Errorf("with room again: %+v", r)
	}
	b.equal()
}

// TestAnswersWithoutUIDAreFound takes the UIDs out of all answers, or gives wrong ones.
func TestAnswersWithoutUIDAreFound(t *testing.T) {
	for name, after := range map[string]func(imap.Appended) imap.Appended{
		"no APPENDUID":    func(a imap.Appended) imap.Appended { return imap.Appended{Done: true} },
		"always the same": func(a imap.Appended) imap.Appended { a.UID = 1; return a },
		"the next one's":  func(a imap.Appended) imap.Appended { a.UID++; return a },
		"the second's for the first": func(a imap.Appended) imap.Appended {
			if a.UID == 1 {
				a.UID = 2
			}
			return a
		},
		"far beyond":         func(a imap.Appended) imap.Appended { a.UID += 1000; return a },
		"another validity":   func(a imap.Appended) imap.Appended { a.UIDValidity++; return a },
		"no answer whatever": func(a imap.Appended) imap.Appended { return imap.Appended{} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src, dst := memories(t)
			src.fill(t, imaptest.Generate(4, 60))
			b := newBench(t, src, dst, t.TempDir(), func(_, d *plan.Host) { d.Limits.DoubtGrace = 50 * time.Millisecond })
			b.decorate(decorated{after: after})
			if r := b.pass(providers.BeforeFlip); r.Copied != 60 || r.Doubt != 0 {
				t.Errorf("%+v", r)
			}
			b.equal()
			b.idle(providers.BeforeFlip)
			c, err := b.engine.compare(t.Context(), b.mailbox, b.source, b.to)
			if err != nil || c.Target != 60 {
				t.Errorf("compare: %+v, %v", c, err)
			}
			// Each claim is that of its own message.
			if c, err = b.engine.compare(t.Context(), b.mailbox, b.source, b.to, (*run).auditAll); err != nil || c.Tiers.Octets != 60 {
				t.Errorf("read back: %+v, %v", c, err)
			}
		})
	}
}

func TestStopEndsAPassInOrder(t *testing.T) {
	src, dst := memories(t)
	// More than goes over the line before the first answer.
	const all = 1500
	src.fill(t, imaptest.Generate(5, all))
	b := newBench(t, src, dst, t.TempDir(), nil)
	stop := make(chan struct{})
	var once sync.Once
	b.decorate(decorated{after: func(a imap.Appended) imap.Appended { once.Do(func() { close(stop) }); return a }})
	r, err := b.engine.pass(t.Context(), providers.PassSpec{Mailbox: b.mailbox, Mode: providers.BeforeFlip, Stop: stop}, b.source, b.to)
	if !errors.Is(err, providers.ErrStopped) || r.Doubt != 0 || r.Copied == 0 || r.Copied == all {
		t.Errorf("stopped: %+v, %v", r, err)
	}
	rest := b.pass(providers.BeforeFlip)
	if rest.Copied+r.Copied != all {
		t.Errorf("then: %+v", rest)
	}
	b.equal()
}

func TestAnotherTargetIsRefused(t *testing.T) {
	src, dst := memories(t)
	dir := t.TempDir()
	newBench(t, src, dst, dir, nil).pass(providers.BeforeFlip)
	b := newBench(t, src, dst, dir, func(_, d *plan.Host) { d.Hostname = "localhost" })
	_, err := b.try(providers.BeforeFlip)
	if _, ok := errors.AsType[*manifest.OtherTargetError](err); !ok {
		t.Errorf("err = %v, want an OtherTargetError", err)
	}
}
