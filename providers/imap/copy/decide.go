package copy

import (
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// look is how closely a source folder has to be looked at.
type look struct {
	open    bool // at all
	all     bool // every UID is listed: it was never finished, or what it holds has a new identity
	flags   bool // flags of known messages are compared
	changed uint64
}

// lookAt decides from the numbers of the last finished pass and those of now. Without
// mod-sequences a change of flags shows in no number, so such a folder is opened on
// every pass before the flip. After the flip only what is new counts.
func lookAt(f manifest.Folder, now manifest.Numbers, mode providers.PassMode) look {
	was := f.Numbers
	switch {
	case !f.Complete || was.UIDValidity != now.UIDValidity || was.UIDNext == 0 || now.UIDNext == 0:
		return look{open: true, all: true, flags: mode == providers.BeforeFlip}
	case mode == providers.AfterFlip:
		// Fewer messages: some may have been moved to another folder.
		return look{open: was.UIDNext != now.UIDNext || was.Messages != now.Messages}
	case was.HighestModSeq == 0 || now.HighestModSeq == 0:
		same := was == now
		return look{open: !same || now.Messages > 0, flags: true}
	case was != now:
		return look{open: true, flags: was.HighestModSeq != now.HighestModSeq, changed: was.HighestModSeq}
	}
	return look{}
}

// numbers are those of a STATUS.
func numbers(s *imap.Status) manifest.Numbers {
	if s == nil {
		return manifest.Numbers{}
	}
	return manifest.Numbers{UIDValidity: s.UIDValidity, UIDNext: s.UIDNext, Messages: s.Messages, HighestModSeq: s.HighestModSeq}
}

// systemFlags in the spelling of RFC 9051 §2.3.2. \Recent is not a property
// of the message and is never carried over.
var systemFlags = []string{`\Answered`, `\Deleted`, `\Draft`, `\Flagged`, `\Seen`}

// canonicalFlags sorts flags, brings system flags to one spelling and drops
// \Recent and doubles. Keywords keep their spelling and compare without case.
func canonicalFlags(flags []string) []string {
	var list []string
	for _, f := range flags {
		if i := slices.IndexFunc(systemFlags, func(s string) bool { return strings.EqualFold(s, f) }); i >= 0 {
			f = systemFlags[i]
		} else if strings.HasPrefix(f, `\`) || f == "" {
			continue // \Recent, or a system flag that no server takes from a client
		}
		if !hasFlag(list, f) {
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	return list
}

func hasFlag(list []string, flag string) bool {
	return slices.ContainsFunc(list, func(f string) bool { return strings.EqualFold(f, flag) })
}

// mergeFlags is the three-way merge: base is what was brought over last,
// source what the source has now. What comes out is added and removed at
// the target; flags that its users set there stay as they are.
func mergeFlags(base, source []string) (add, remove []string) {
	for _, f := range source {
		if !hasFlag(base, f) {
			add = append(add, f)
		}
	}
	for _, f := range base {
		if !hasFlag(source, f) {
			remove = append(remove, f)
		}
	}
	return add, remove
}

// storable splits flags into those that the selected folder keeps and those
// it doesn't (PERMANENTFLAGS, RFC 9051 §7.1). Where new keywords can be made, system
// flags that are not named are tried all the same: go-imap's server names only flags in use, and
// keeps them all; a server that doesn't ignores them.
func storable(flags []string, target imap.Selected) (kept, lost []string) {
	for _, f := range flags {
		if target.AnyKeyword || hasFlag(target.PermanentFlags, f) {
			kept = append(kept, f)
		} else {
			lost = append(lost, f)
		}
	}
	return kept, lost
}

// keywords counts those of flags that are not system flags.
func keywords(flags []string) int {
	n := 0
	for _, f := range flags {
		if !strings.HasPrefix(f, `\`) {
			n++
		}
	}
	return n
}

// limitOf is the largest message that is sent: the smallest of the limits that are set, 0 = none.
func limitOf(limits ...int64) int64 {
	var m int64
	for _, l := range limits {
		if l > 0 && (m == 0 || l < m) {
			m = l
		}
	}
	return m
}

// retryAfter is how long a message that the target refused in its own words is left alone by passes that nobody asked for: it may
// be large, and has to be read from the source for each attempt.
const retryAfter = 24 * time.Hour

// retry reports whether a quarantined message is tried again. One over a limit that is known to us is when that
// limit has changed. Others are on each pass that a person asks for, else a day after the last time: what the target
// refused it may take now, and a message that is not tried again is forgotten.
func retry(r manifest.Refusal, size, limit int64, asked bool, since time.Duration) bool {
	if r.Words == "" && providers.Reason(r.Reason) == providers.TooLarge {
		return r.Limit != limit && (limit == 0 || size <= limit)
	}
	if limit > 0 && size > limit {
		return false
	}
	switch providers.Reason(r.Reason) {
	case providers.OverQuota, providers.Refused: // there may be room now; nobody knows what the server meant
		return true
	}
	return asked || since >= retryAfter || r.Limit != limit
}
