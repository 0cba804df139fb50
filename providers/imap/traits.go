package imap

import (
	"math"
	"strings"
)

// Traits are what a server does that no capability tells. Those of an unknown server are zero.
type Traits struct {
	// ErrorLimit is with how many refusals the server ends a session, 0 = not known.
	ErrorLimit int
	// NoDeleted: a message that is marked \Deleted is taken away, or shown as deleted
	// for good, so that such messages are better left out.
	NoDeleted bool
	// FlaggedLater: \Flagged of an APPEND shows in IMAP alone; set by STORE it shows everywhere.
	FlaggedLater bool
	// MDNSentShows: $MDNSent is shown to people, as a category.
	MDNSentShows bool
	// Rewrites: the server keeps what a message says and not its octets: it renders it anew when it is read
	// (Exchange: headers folded otherwise, parts encoded otherwise, other boundaries).
	Rewrites bool
	// Merges: the server keeps messages with the same content once, and throws the others away.
	Merges bool
	// Labels: a message may be in several folders at once (X-GM-EXT-1), and is told by X-GM-MSGID.
	Labels bool
}

// exchangeErrors is after how many errors Exchange Online closes a connection
// (imapsync FAQ.Exchange).
const exchangeErrors = 10

// traitsOf recognises a server by the configuration, by how it greets, by what it answers to
// ID, and by capabilities that only it has. It is a pure function.
func traitsOf(kind, greeting, id string, caps map[string]bool) Traits {
	switch {
	case caps["X-GM-EXT-1"]:
		// https://developers.google.com/workspace/gmail/imap/imap-extensions; auto-expunge is
		// on by default there.
		return Traits{NoDeleted: true, Merges: true, Labels: true}
	case kind == "microsoft365", strings.Contains(greeting, "Microsoft Exchange"), strings.Contains(id, "Microsoft.Exchange"):
		return Traits{ErrorLimit: exchangeErrors, NoDeleted: true, FlaggedLater: true, MDNSentShows: true, Rewrites: true}
	}
	return Traits{}
}

// Traits returns what is known of the server besides its capabilities.
func (s *Session) Traits() Traits { return s.traits }

// Tolerance is how many refusals the server may still answer before the one with which it
// ends the session; a large number where none is known. No more commands that
// may be refused should be on their way at once.
func (s *Session) Tolerance() int {
	if s.traits.ErrorLimit == 0 {
		return math.MaxInt
	}
	return max(0, s.traits.ErrorLimit-1-s.refusals)
}

// Worn reports that a new session should take this one's place, while nothing is outstanding:
// its token ends before long, or it stands one refusal before the server closes it.
func (s *Session) Worn() bool {
	return s.Tolerance() == 0 || s.clock != nil && due(s.renew, s.clock.Now())
}
