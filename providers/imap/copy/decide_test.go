package copy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

func TestLookAt(t *testing.T) {
	n := manifest.Numbers{UIDValidity: 1, UIDNext: 10, Messages: 5, HighestModSeq: 100}
	plain := manifest.Numbers{UIDValidity: 1, UIDNext: 10, Messages: 5}
	with := func(n manifest.Numbers, edit func(*manifest.Numbers)) manifest.Numbers { edit(&n); return n }
	done := func(n manifest.Numbers) manifest.Folder { return manifest.Folder{Numbers: n, Complete: true} }
	const before, after = providers.BeforeFlip, providers.AfterFlip
	for name, c := range map[string]struct {
		folder manifest.Folder
		now    manifest.Numbers
		mode   providers.PassMode
		want   look
	}{
		"nothing new":                    {done(n), n, before, look{}},
		"never finished":                 {manifest.Folder{Numbers: n}, n, before, look{open: true, all: true, flags: true}},
		"new to us":                      {manifest.Folder{}, n, before, look{open: true, all: true, flags: true}},
		"new UIDVALIDITY":                {done(n), with(n, func(n *manifest.Numbers) { n.UIDValidity = 2 }), before, look{open: true, all: true, flags: true}},
		"no STATUS":                      {done(n), manifest.Numbers{}, before, look{open: true, all: true, flags: true}},
		"flags changed":                  {done(n), with(n, func(n *manifest.Numbers) { n.HighestModSeq = 101 }), before, look{open: true, flags: true, changed: 100}},
		"one vanished":                   {done(n), with(n, func(n *manifest.Numbers) { n.Messages = 4 }), before, look{open: true, changed: 100}},
		"flags show in no number":        {done(plain), plain, before, look{open: true, flags: true}},
		"empty, without mod-sequences":   {done(with(plain, func(n *manifest.Numbers) { n.Messages = 0 })), with(plain, func(n *manifest.Numbers) { n.Messages = 0 }), before, look{flags: true}},
		"after the flip, flags":          {done(n), with(n, func(n *manifest.Numbers) { n.HighestModSeq = 101 }), after, look{}},
		"after the flip, new mail":       {done(n), with(n, func(n *manifest.Numbers) { n.UIDNext = 11 }), after, look{open: true}},
		"after the flip, one vanished":   {done(n), with(n, func(n *manifest.Numbers) { n.Messages = 4 }), after, look{open: true}},
		"after the flip, not finished":   {manifest.Folder{Numbers: n}, n, after, look{open: true, all: true}},
		"after the flip, plain, nothing": {done(plain), plain, after, look{}},
	} {
		if got := lookAt(c.folder, c.now, c.mode); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestFlags(t *testing.T) {
	if got := canonicalFlags([]string{`\seen`, "Work", `\Recent`, "work", `\ANSWERED`, "$A"}); !slices.Equal(got, []string{"$A", `\Answered`, `\Seen`, "Work"}) {
		t.Errorf("canonicalFlags = %q", got)
	}
	add, remove := mergeFlags([]string{`\Seen`, "a"}, []string{"A", `\Flagged`})
	if !slices.Equal(add, []string{`\Flagged`}) || !slices.Equal(remove, []string{`\Seen`}) {
		t.Errorf("mergeFlags adds %q and removes %q", add, remove)
	}
	kept, lost := storable([]string{`\Seen`, `\Draft`, "work", "other"}, imap.Selected{PermanentFlags: []string{`\seen`, "WORK"}})
	if !slices.Equal(kept, []string{`\Seen`, "work"}) || !slices.Equal(lost, []string{`\Draft`, "other"}) || keywords(lost) != 1 {
		t.Errorf("kept %q, lost %q", kept, lost)
	}
}

// TestMergeOfFlagsIsThreeWay holds the merge against its definition, flag by flag.
func TestMergeOfFlagsIsThreeWay(t *testing.T) {
	all := []string{`\Seen`, `\Flagged`, "work", "home"}
	set := rapid.SliceOfDistinct(rapid.SampledFrom(all), rapid.ID)
	rapid.Check(t, func(t *rapid.T) {
		base, source, target := set.Draw(t, "base"), set.Draw(t, "source"), set.Draw(t, "target")
		add, remove := mergeFlags(base, source)
		for _, f := range all {
			got := (hasFlag(target, f) || hasFlag(add, f)) && !hasFlag(remove, f)
			want := hasFlag(target, f)
			if hasFlag(base, f) != hasFlag(source, f) { // the source changed it
				want = hasFlag(source, f)
			}
			if got != want {
				t.Fatalf("%s: %v, want %v", f, got, want)
			}
		}
	})
}

func TestRetryOfQuarantined(t *testing.T) {
	limited := manifest.Refusal{Reason: "too_large", Limit: 100}
	told := manifest.Refusal{Reason: "too_large", Words: "NO too large"}
	bad := manifest.Refusal{Reason: "bad_message", Words: "NO invalid", Limit: 100}
	for _, c := range []struct {
		r           manifest.Refusal
		size, limit int64
		asked       bool
		since       time.Duration
		want        bool
	}{
		{limited, 150, 100, true, 48 * time.Hour, false},
		{limited, 150, 120, true, 0, false},
		{limited, 150, 200, false, 0, true},
		{limited, 150, 0, false, 0, true},
		{told, 150, 0, false, time.Hour, false},
		{told, 150, 0, false, 24 * time.Hour, true},
		{told, 150, 0, true, 0, true},
		{told, 150, 100, true, 48 * time.Hour, false},
		{bad, 50, 100, false, time.Minute, false},
		{bad, 50, 100, true, time.Minute, true},
		{bad, 50, 200, false, time.Minute, true},
		{manifest.Refusal{Reason: "over_quota", Words: "NO full"}, 150, 0, false, 0, true},
	} {
		if got := retry(c.r, c.size, c.limit, c.asked, c.since); got != c.want {
			t.Errorf("retry(%+v, %d, %d, %v, %v) = %v", c.r, c.size, c.limit, c.asked, c.since, got)
		}
	}
}

func TestDigestTiers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		octets := rapid.SliceOf(rapid.SampledFrom([]byte("ab\r\n\x00\x80"))).Draw(t, "octets")
		h := newHasher(false)
		for rest := octets; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "part")
			h.Write(rest[:n])
			rest = rest[n:]
		}
		d := h.sum()
		var canonical []byte
		for i, c := range octets {
			switch {
			case c == 0:
				canonical = append(canonical, 0x80)
			case c == '\n' && (i == 0 || octets[i-1] != '\r'):
				canonical = append(canonical, '\r', '\n')
			default:
				canonical = append(canonical, c)
			}
		}
		if d.raw != sha256.Sum256(octets) || d.canonical != sha256.Sum256(canonical) {
			t.Fatalf("digests of %q are wrong", octets)
		}
		if (d.rewritten() == nil) != bytes.Equal(octets, canonical) {
			t.Fatalf("rewritten() of %q", octets)
		}
	})
}

func TestMessageID(t *testing.T) {
	for octets, want := range map[string]string{
		"Subject: x\r\nMessage-ID: <a@b>\r\n\r\n":             "a@b",
		"MESSAGE-ID:\r\n <a@b>\r\nMessage-ID: <c@d>\r\n\r\n":  "a@b",
		"Subject: x\r\n\r\nMessage-ID: <a@b>\r\n":             "",
		"message-id: <a@b>":                                   "a@b",
		"Subject: x\n\nMessage-ID: <a@b>":                     "",
		"":                                                    "",
		"X-Message-ID: <a@b>\nMessage-Id: c d <e@f>\nTo: x\n": "c d <e@f",
	} {
		if got := headerOf([]byte(octets)).messageID; got != want {
			t.Errorf("Message-ID of %q is %q, want %q", octets, got, want)
		}
	}
}

func TestFileNamesAreSafe(t *testing.T) {
	for source, want := range map[string]string{
		"anna@acme.example": "anna@acme.example",
		"../../etc/passwd":  "%2E.%2F..%2Fetc%2Fpasswd",
		"a\x00b":            "a%00b",
	} {
		if got := fileName(plan.Mailbox{Source: source, Target: source}); got != want {
			t.Errorf("fileName(%q) = %q, want %q", source, got, want)
		}
	}
	long := fileName(plan.Mailbox{Source: strings.Repeat("ü", 300), Target: "x"})
	if len(long) > 200 {
		t.Errorf("a name of %d octets", len(long))
	}
	if fileName(plan.Mailbox{Source: "a", Target: "b"}) == fileName(plan.Mailbox{Source: "a", Target: "c"}) {
		t.Error("two targets share a manifest")
	}
}

func TestBudgetNeverExceedsItsSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(10)
		ctx := t.Context()
		if err := b.take(ctx, 6); err != nil {
			t.Fatal(err)
		}
		got := make(chan int64, 2)
		for _, n := range []int64{20, 3} { // the first is more than all there is
			go func() {
				if b.take(ctx, n) == nil {
					got <- n
				}
			}()
			synctest.Wait()
		}
		if len(got) != 0 {
			t.Fatal("more was given out than there is, or a small one overtook a large one")
		}
		b.give(6)
		synctest.Wait()
		if n := <-got; n != 20 || len(got) != 0 {
			t.Fatalf("%d came first", n)
		}
		b.give(20)
		synctest.Wait()
		if n := <-got; n != 3 {
			t.Fatal("the small one never came")
		}
		b.give(3)
		cancelled, cancel := context.WithCancel(ctx)
		b.take(ctx, 10)
		go func() { time.Sleep(time.Second); cancel() }()
		if err := b.take(cancelled, 1); err == nil {
			t.Fatal("a cancelled wait was granted")
		}
		b.give(10)
		if b.used != 0 || len(b.waiting) != 0 {
			t.Errorf("%d in use, %d waiting at the end", b.used, len(b.waiting))
		}
	})
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pace{clock: wallClock{}, messages: 10, octets: 1000}
		began := time.Now()
		for range 5 {
			if err := p.wait(t.Context(), 5, 2000); err != nil { // half a second of messages, two of octets
				t.Fatal(err)
			}
		}
		if d := time.Since(began); d != 8*time.Second {
			t.Errorf("five batches began within %v, want the fifth after 8s", d)
		}
		var unlimited *pace
		if err := unlimited.wait(t.Context(), 1e6, 1e12); err != nil {
			t.Error(err)
		}
	})
}
