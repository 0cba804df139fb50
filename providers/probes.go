package providers

import (
	"context"
	"time"
)

// Query says which messages are looked for. Exactly one field is set.
type Query struct {
	MessageID string // without brackets
	Subject   string // a part of it
}

// Found is a message that was looked for and is there.
type Found struct {
	Folder     string // UTF-8, "/" between levels
	SpecialUse string // of the folder: "\\Junk", "" = none
	UID        uint32
	At         time.Time // when the server took it; zero where it doesn't say
	Octets     []byte    // at most MaxFound of them
}

// MaxFound bounds how much of a message that is looked for is read: those are
// our own probes and their answers.
const MaxFound = 1 << 20

// Finder is a MailHost that can look for a message.
type Finder interface {
	// Find returns every message of the account that fits, whatever its folder,
	// by EXAMINE and SEARCH: nothing is marked as read. Folders that show the messages
	// of other ones (\All, \Flagged) are left out. What can't be searched is an error.
	Find(ctx context.Context, a Account, q Query) ([]Found, error)
}

// Correspondent is a mail account outside of the migration, by which probes are
// sent and received.
type Correspondent interface {
	// Address is its mail address.
	Address() string
	// Check logs in to both of its servers and out again.
	Check(ctx context.Context) error
	// Send hands in mail from it. An Uncertain error means that it may have been taken.
	Send(ctx context.Context, m Mail) error
	// Find looks in all of its folders, as Finder does.
	Find(ctx context.Context, q Query) ([]Found, error)
}

// MailExchange hands mail directly to a mail exchanger, as another site would.
type MailExchange interface {
	// Deliver gives m to server (host:port) with the null sender. An Uncertain error means
	// that it may have been taken.
	Deliver(ctx context.Context, server string, m Mail) error
}

// Submission sends mail as a mailbox of a target, with that mailbox's own credentials.
type Submission interface {
	Send(ctx context.Context, a Account, m Mail) error
	// Check logs in as the mailbox and out again.
	Check(ctx context.Context, a Account) error
}

// Signature is one DKIM signature of a message and whether it holds.
type Signature struct {
	Domain string // d=, lower case
	Err    error  // nil: it holds
}

// Signatures verifies DKIM signatures (RFC 6376) with keys from the configured
// resolver. A message without one has none; an error means that it could not be read.
type Signatures interface {
	Verify(ctx context.Context, message []byte) ([]Signature, error)
}
