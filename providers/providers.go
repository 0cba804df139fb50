// Package providers holds the contracts that outside systems implement: mail
// hosts, zones, name servers, notifiers. The engine knows these interfaces
// and never a provider; a provider knows its system and never the engine.
//
// Errors: every method returns errors that errors.As finds an *Error in when
// the remote side refused; anything else is a local or network failure that
// may be tried again. Every method honours its context and is safe for
// concurrent use unless it says otherwise.
package providers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mxodus/mxodus/plan"
)

// Reason classifies a refusal, so that callers decide by kind and people read
// the server's own words.
type Reason string

// The reasons.
const (
	Authentication Reason = "authentication" // wrong name, password or token
	Unreachable    Reason = "unreachable"    // no connection
	Certificate    Reason = "certificate"    // TLS failed
	Throttled      Reason = "throttled"      // try again, after Error.Wait where it is set
	TooMany        Reason = "connections"    // connection limit
	NotFound       Reason = "not_found"
	Refused        Reason = "refused"  // understood and denied
	Conflict       Reason = "conflict" // the world is not as planned
	Protocol       Reason = "protocol" // the server broke its protocol
	TooLarge       Reason = "too_large"
	OverQuota      Reason = "over_quota"
	BadMessage     Reason = "bad_message"
	NotYet         Reason = "not_yet"   // asked for, and it takes the other side its time: look again later
	Uncertain      Reason = "uncertain" // sent, and no answer came: read before doing it again
)

// Error is a refusal by a remote system.
type Error struct {
	Op      string // what was tried: "log in", "update zone"
	Subject string // where or for whom: "imap.example.net:993", an address, a zone
	Reason  Reason
	Server  string        // the server's own words, unescaped; "" when there are none
	Remedy  string        // what a person can do
	Wait    time.Duration // for Throttled: how long the server asked to wait, 0 = not said
	Err     error
}

// Error is one line: what was tried, where, what the server said. It holds no secret.
func (e *Error) Error() string {
	s := e.Op
	if e.Subject != "" {
		s += " " + e.Subject
	}
	s += ": " + string(e.Reason)
	switch {
	case e.Server != "":
		s += fmt.Sprintf(": %q", e.Server)
	case e.Err != nil:
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ReasonOf returns the Reason of the first *Error in err's chain, "" when there is none.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

// Clock is how time reaches everything that waits. Only main makes one that
// reads the system clock.
type Clock interface {
	Now() time.Time
	// Sleep returns nil after d, or the context's error before.
	Sleep(ctx context.Context, d time.Duration) error
}

// Secrets resolves references. The value lives in memory only, and is revealed where it is sent.
type Secrets interface {
	// Resolve returns the secret for address, which is looked up where the
	// reference is a table and replaces {address} where it holds one.
	// A secret that can't be had is an error that names the reference and what to do.
	Resolve(ctx context.Context, ref plan.SecretRef, address string) (Secret, error)
}

// Account is one mailbox at a host: the address that logs in, and whose secret.
type Account struct {
	Address     string
	Credentials plan.SecretRef // zero: the host's
}

// Folder is an IMAP mailbox as observed.
type Folder struct {
	Name        string // UTF-8, "/" between levels
	UIDValidity uint32
	UIDNext     uint32
	Messages    uint32
	Octets      int64  // -1 = not known
	Largest     int64  // octets of the largest message, -1 = not known
	SpecialUse  string // "\\Sent", "" = none
	Subscribed  bool
	Selectable  bool
}

// MailHost is where mailboxes are.
type MailHost interface {
	// Login logs in and out. It is the proof that an account exists and that
	// its secret is right. Refused logins are Authentication errors.
	Login(ctx context.Context, a Account) error
	// Folders lists the account's folders. It changes nothing (no SELECT).
	Folders(ctx context.Context, a Account) ([]Folder, error)
	// Recipients returns the addresses of the given domains that the newest
	// messages of the account's folders name as recipients, with how often.
	// It reads headers of at most limit messages a folder, by EXAMINE.
	Recipients(ctx context.Context, a Account, domains []string, limit int) (map[string]int, error)
}

// PassMode is what a pass may do at the target.
type PassMode string

// The modes. Before the flip the target may mirror the source; after it the
// pass adds only: no flag overwrite, no delete. CarryBack is a rollback's: the roles
// change, and what is at the target and did not come from the source is added there.
const (
	BeforeFlip PassMode = "before_flip"
	AfterFlip  PassMode = "after_flip"
	CarryBack  PassMode = "carry_back"
)

// PassSpec says which mailbox a pass is over and what it may do.
type PassSpec struct {
	Mailbox  plan.Mailbox
	Mode     PassMode
	Progress func(Progress) // may be nil; called from one goroutine at a time
	// Asked: a person asked for this very pass, so messages that the target refused before are tried again now and not
	// a day after the last time.
	Asked bool
	// Stop, when it is closed, ends the pass early and in order: messages in
	// flight are finished, nothing new is begun, and Pass returns ErrStopped.
	// nil means never.
	Stop <-chan struct{}
}

// ErrStopped ends a pass that was asked to stop; the next one goes on there.
var ErrStopped = errors.New("stopped before the end of the pass")

// Progress is how far a pass is. Totals grow while folders are enumerated.
type Progress struct {
	Mailbox  string
	Folder   string
	Messages int    // copied or found unchanged so far
	Total    int    // messages in the source, as far as known
	Octets   int64  // copied so far
	OctetsOf int64  // to copy, as far as known; 0 = unknown
	Note     string // what is being waited for, in words: "throttled, 5 s"
}

// PassResult counts what a pass did. A second pass over unchanged mailboxes
// reports only Unchanged.
type PassResult struct {
	Copied       int
	Unchanged    int
	Flags        int // messages whose flags were brought over
	Moved        int
	Deleted      int
	Quarantined  int // refused by the target, kept as .eml; over all passes
	Doubt        int // in doubt at the end of the pass; they are settled by the next one
	Octets       int64
	Folders      int
	KeywordsLost int
	Skipped      int      // marked \Deleted at the source, where the target can't keep that: left out
	Altered      int      // messages that the target changed without a word (date, flags, octets); over all passes
	Different    int      // of those, read back as another message: its content is not there
	Refusals     []string // the distinct words of refusals, unescaped
}

// Changed reports whether the pass had anything to do.
func (r PassResult) Changed() bool {
	return r.Copied+r.Flags+r.Moved+r.Deleted+r.Doubt > 0
}

// Comparison is both sides of one mailbox compared by manifest and counts.
type Comparison struct {
	Source      int // messages that should be at the target
	Target      int // of those, how many are there by claim
	Quarantined int
	LeftOut     int      // in excluded folders, or marked \Deleted where the target can't keep that
	Missing     []string // what is not there, described without subjects
	Tiers       Tiers
	Changed     map[string]int // how many messages the target changed, by what: "date", "flags", "keywords", "octets", "content"
	Folders     []FolderComparison
}

// Tiers counts messages by how closely their copies are known to be equal to them.
type Tiers struct {
	Octets  int // read back, octet by octet
	Content int // read back, rendered anew: line ends, folding, encodings, boundaries
	Gist    int // read back: Message-ID, date, sender, subject, attachments and decoded size
	Other   int // read back, and another message
	Unread  int // by the target's word: it took so many octets and gave a UID
}

// FolderComparison is one folder of a Comparison.
type FolderComparison struct {
	Source, Target   string
	Messages, Copied int
}

// Copier moves mail exactly once. Passes over different mailboxes may run at
// the same time; two over one mailbox may not.
type Copier interface {
	// Pass brings the target up to date. Messages that were refused are
	// counted in the result; an error means the pass could not be finished
	// and may be run again.
	Pass(ctx context.Context, spec PassSpec) (PassResult, error)
	// Compare reads both sides (EXAMINE only) and holds them against the manifest.
	Compare(ctx context.Context, m plan.Mailbox) (Comparison, error)
	// Export writes the mailbox's manifest rows to dir as JSON lines and returns
	// the file's name and its SHA-256 in hex.
	Export(ctx context.Context, m plan.Mailbox, dir string) (name, sum string, err error)
}

// ZoneFeatures is what a zone provider can do; the planner refuses what it can't.
type ZoneFeatures struct {
	ByHand     bool // changes are made by a person
	Atomic     bool // several RRsets change together or not at all
	MinimumTTL uint32
	MaximumTTL uint32 // 0 = none of its own
}

// Zone is a DNS zone at whoever serves it.
type Zone interface {
	Features() ZoneFeatures
	// Lookup reads one RRset from the provider itself (the primary, the API).
	// A set that doesn't exist comes back without data and without error.
	Lookup(ctx context.Context, name, typ string) (plan.RRset, error)
	// Records reads the whole zone but SOA, DNSSEC records and the apex NS, sorted by
	// name and type. complete is false where the provider can't list (no AXFR): then
	// it holds nothing.
	Records(ctx context.Context) (sets []plan.RRset, complete bool, err error)
	// Update makes all changes or none. Each Old must be what the zone holds;
	// where it is not, nothing is changed and the error is a Conflict. Changes
	// whose New is there already are not written. When no answer came the error is
	// Uncertain and the caller looks before it does anything else.
	// With Features().ByHand it is a Refused error; Instructions says what to do.
	Update(ctx context.Context, changes []plan.RRsetChange) error
	// Instructions says in words what a person has to enter, one line each.
	Instructions(changes []plan.RRsetChange) []string
}

// Answer is what one name server said about one RRset.
type Answer struct {
	Server        string // host:port
	Set           plan.RRset
	Authoritative bool
	Rcode         string // "NOERROR", "NXDOMAIN", "SERVFAIL", ...
	NegativeTTL   uint32 // seconds, for answers without data (RFC 2308)
	Serial        uint32 // of the SOA that came with it, 0 = none did
	At            time.Time
}

// NameServers observes a domain as the rest of the world sees it.
type NameServers interface {
	// Authoritative returns host:port of every server the domain is delegated
	// to, or the configured ones.
	Authoritative(ctx context.Context, domain string) ([]string, error)
	// Ask sends one query to one server, over UDP with fallback to TCP.
	// Errors are Unreachable; an Rcode other than NOERROR is an answer.
	Ask(ctx context.Context, server, name, typ string) (Answer, error)
	// Resolve asks the configured resolver. Only for names that exist: asking
	// early for one that doesn't leaves a negative answer in caches.
	Resolve(ctx context.Context, name, typ string) (Answer, error)
	// Serial returns the SOA serial of domain at server.
	Serial(ctx context.Context, server, domain string) (uint32, error)
	// Observed returns the resolvers to watch besides the authoritative servers.
	Observed() []string
}

// RecipientProbe asks a mail exchanger whether it takes mail for an address.
type RecipientProbe interface {
	// Accepts sends MAIL FROM:<> and RCPT TO:<address> and then RSET. ok is the
	// answer; words are the server's. TooMany, Throttled and Unreachable come back as errors.
	Accepts(ctx context.Context, server, address string) (ok bool, words string, err error)
}

// Mail is a message to people.
type Mail struct {
	ID      string // Message-ID without brackets: stable, so that a copy can be told
	From    string
	To      string
	Subject string
	Text    string
	HTML    string
	Date    time.Time
}

// Receipter is a Notifier that returns what the server answered when it took a
// message: with that its operator finds the message in a log.
type Receipter interface {
	SendReceipt(ctx context.Context, m Mail) (words string, err error)
}

// Notifier hands in mail.
type Notifier interface {
	// Send hands in one message. An Uncertain error means that it may have been taken.
	Send(ctx context.Context, m Mail) error
	// Check logs in and out, so that doctor and apply know before the first notice.
	Check(ctx context.Context) error
}
