package copy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// The canary is one message of our own, in a folder of our own, that is sent ahead of a
// mailbox's first: at some hosts an administrator's setting, or a protocol that the host has
// only half, costs every message its date or its flags, and that is better known before a hundred
// thousand have gone. Message and folder are removed again; nothing else is touched.

// canaryFolder is the folder's name. It begins as staging folders do, so that one which a
// crash has left behind is never taken for mail.
const canaryFolder = imap.StagingPrefix + "canary"

// canaryID marks the message, so that nothing but it is removed.
const canaryID = "<mxodus-canary@mxodus.invalid>"

// canaryDate is neither today nor in UTC, and its minute and second aren't zero.
var canaryDate = time.Date(2011, 2, 3, 4, 5, 6, 0, time.FixedZone("", 2*3600))

var canaryMessage = []byte("From: mxodus <mxodus@mxodus.invalid>\r\nTo: mxodus <mxodus@mxodus.invalid>\r\nSubject: mxodus looks whether dates and flags are kept\r\n" +
	"Date: Thu, 03 Feb 2011 04:05:06 +0200\r\nMessage-ID: " + canaryID + "\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n" +
	"mxodus removes this message within seconds. It may be deleted at any time.\r\n")

// sendCanary sends the canary where the target wants one, before the first message of a mailbox.
// What the target did to it other than keeping it is a Refused error, and nothing is copied.
func (r *run) sendCanary(ctx context.Context) error {
	if !r.target.canary || !slices.ContainsFunc(r.folders, func(f *folder) bool { return len(f.fetch) > 0 }) {
		return nil
	}
	counts, err := r.m.Counts(ctx)
	if err != nil || counts[manifest.Claimed]+counts[manifest.Intent]+counts[manifest.Applied] > 0 {
		return err
	}
	r.report("", "looking whether the target keeps dates and flags")
	return r.crew[0].attempt(ctx, r.canaryJob) // not by do: a refusal ends the pass
}

func (r *run) canaryJob(ctx context.Context, w *worker) error {
	dst, err := w.target(ctx)
	if err != nil {
		return err
	}
	raw := dst.WireName(canaryFolder)
	if err := dst.Create(ctx, raw, ""); err != nil {
		return err
	}
	// One that an earlier run has left behind goes first.
	if err := removeCanary(ctx, dst, raw, false); err != nil {
		return err
	}
	wait, err := dst.StartAppend(ctx, raw, []imap.Message{{Flags: []string{`\Seen`, `\Answered`}, InternalDate: canaryDate, Size: int64(len(canaryMessage)), Body: bytes.NewReader(canaryMessage)}})
	if wait == nil {
		return err
	}
	answers, err := wait()
	if err != nil {
		return err // whether it has arrived or not, the next attempt removes it
	}
	if answers[0].Err != nil {
		return answers[0].Err
	}
	verdict, err := judgeCanary(ctx, dst, raw)
	if err != nil {
		return err
	}
	if err := removeCanary(ctx, dst, raw, true); err != nil {
		return err
	}
	if len(verdict) == 0 {
		return nil
	}
	return &providers.Error{Op: "send a first message of our own to", Subject: r.spec.Mailbox.Target, Reason: providers.Refused,
		Err:    fmt.Errorf("the target doesn't keep what every message has: %s; nothing was copied", strings.Join(verdict, ", ")),
		Remedy: "look at the target's settings for IMAP; every message would have lost the same"}
}

// judgeCanary lists what the target did not keep.
func judgeCanary(ctx context.Context, dst session, raw string) (verdict []string, err error) {
	sel, err := dst.Examine(ctx, raw)
	if err != nil {
		return nil, err
	}
	found := 0
	if err := dst.FetchMeta(ctx, "1:*", imap.FetchItems{Flags: true, InternalDate: true, HeaderFields: []string{"MESSAGE-ID"}}, func(m imap.Meta) error {
		if !bytes.Contains(m.Header, []byte(canaryID)) {
			return nil
		}
		if found++; !m.InternalDate.Equal(canaryDate) {
			verdict = append(verdict, fmt.Sprintf("the date became %s", m.InternalDateRaw))
		}
		for _, f := range []string{`\Seen`, `\Answered`} {
			if kept, _ := storable([]string{f}, sel); len(kept) > 0 && !hasFlag(m.Flags, f) {
				verdict = append(verdict, "the flag "+f+" is gone")
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if found == 0 { // two are no fault: one of an attempt without an answer may come late
		verdict = append(verdict, "the message is not in its folder")
	}
	return verdict, nil
}

// removeCanary removes canaries, and with end their folder when nothing else is in there.
func removeCanary(ctx context.Context, dst session, raw string, end bool) error {
	sel, err := dst.Examine(ctx, raw)
	if err != nil {
		return err
	}
	var ours []uint32
	others := 0
	if sel.Exists > 0 {
		if err := dst.FetchMeta(ctx, "1:*", imap.FetchItems{HeaderFields: []string{"MESSAGE-ID"}}, func(m imap.Meta) error {
			if bytes.Contains(m.Header, []byte(canaryID)) {
				ours = append(ours, m.UID)
			} else {
				others++
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if len(ours) > 0 && dst.Has("UIDPLUS") {
		set := imap.FormatSet(ours)
		var refused error
		sent := false
		if err := dst.Visit(ctx, func() *imap.Visit {
			if sent {
				return nil
			}
			sent = true
			return &imap.Visit{Raw: raw, Write: true, Done: func(err error) { refused = err },
				Opened: func(now imap.Selected) error {
					if now.UIDValidity != sel.UIDValidity {
						return errors.New("the folder was replaced")
					}
					return nil
				},
				Change: &imap.Change{Stores: []imap.FlagStore{{Set: set, Mode: "+FLAGS", Flags: []string{deleted}}}, Expunge: set}}
		}); err != nil {
			return err
		}
		if refused != nil {
			return refused
		}
	}
	if !end || others > 0 {
		return nil
	}
	return dst.Delete(ctx, raw)
}
