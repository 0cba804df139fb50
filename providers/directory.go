package providers

import (
	"context"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
)

// DirectoryQuery names what of a directory is asked about or changed.
type DirectoryQuery struct {
	Domains    []string
	Mailboxes  []plan.Mailbox
	Aliases    []plan.Alias
	Lists      []plan.List
	Forwarders []plan.Forwarder
	// Licenses also asks for licences, and Access for what a copy needs of the mailboxes:
	// IMAP and the application's right to open them, which costs requests for each.
	Licenses bool
	Access   bool
}

// DirectoryFacts are the answers to a query. What doesn't exist comes back as such; what
// can't be asked about (see DirectoryFeatures) is left out.
type DirectoryFacts struct {
	Directory inventory.Directory
	Mailboxes []inventory.Mailbox
	Addresses []inventory.Address // also a mailbox's, where somebody else has it
	// Pending says of mailboxes that are there why they can't be used yet: they are being made.
	Pending map[string]string
}

// DirectoryChange is what one step of a plan brings about. Of is about exactly one thing.
type DirectoryChange struct {
	// Kind is the first word of the step's address, with the part for a domain:
	// account, shared, access, application, catchall, alias, list, forwarder,
	// domain, domain/verify, domain/keys, domain/dkim.
	Kind string
	Of   DirectoryQuery
}

// Finding is what trying a permission, a setting or a service showed. Codes are a
// contract with scripts.
type Finding struct {
	Check   string // "graph_permission"
	Subject string
	OK      bool
	Code    string // "ok", "consent_missing", …
	Detail  string
	Remedy  string
}

// Directory is a target that knows its own domains, users and addresses. Nothing in it
// is ever deleted, and nothing is taken from anybody.
type Directory interface {
	// Observe reads. A refusal, a missing permission for instance, is an error; not to exist is an answer.
	Observe(ctx context.Context, q DirectoryQuery) (DirectoryFacts, error)
	// Apply brings one change about, from whatever part of it there is already: it may be
	// called again after it was interrupted, and when nothing is left to do it does nothing. A NotYet
	// error means that it was asked for and takes the other side its time: call it
	// again later. A Conflict means that what is there belongs to somebody else.
	Apply(ctx context.Context, c DirectoryChange) error
	// Check tries everything that changes of these kinds need, without changing anything,
	// and says what each finding means and who mends it how.
	Check(ctx context.Context, kinds []string) []Finding
}
