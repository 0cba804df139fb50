package plan

import "time"

// Action is what a step does.
type Action string

// The actions.
const (
	Create Action = "create"
	Change Action = "change"
	Delete Action = "delete"
	Copy   Action = "copy"
	Wait   Action = "wait"
	Check  Action = "check"
	Send   Action = "send"
	ByHand Action = "by-hand"
)

// Undo says how a step can be taken back.
type Undo string

// The kinds of undo.
const (
	Restore    Undo = "restore"
	Compensate Undo = "compensate"
	NoneNeeded Undo = "none-needed"
	Impossible Undo = "impossible"
)

// KnownAfterProvision stands in a plan (among a step's To, and in
// Record.Values) for a value that the target dictates and has not named yet.
// Such a step can't be done: once provisioning has made the target name it, a
// new plan says what it is, and is reviewed before anything is published.
const KnownAfterProvision = "known after provision"

// Fingerprint is the digest of the structural facts a step was planned
// against, as "sha256:<hex>". Empty where nothing is guarded.
type Fingerprint string

// FingerprintOf digests facts in the order given.
func FingerprintOf(facts ...string) Fingerprint { return Fingerprint(digest(facts)) }

// Step is one thing that apply does. Its address is stable: inserting a step
// renumbers nothing. The first element of the address says what executes it.
//
//	account/ADDRESS                the mailbox exists at the target
//	access/ADDRESS                 the mailbox can be copied to: IMAP, rights, size of message
//	application/KEY                the target KEY knows the application that copies
//	catchall/ADDRESS               the mailbox gets what nobody else gets
//	shared/, alias/, list/, forwarder/ADDRESS   likewise for those
//	domain/DOMAIN                  the target has the domain
//	domain/DOMAIN/verify           the target knows who owns it
//	domain/DOMAIN/keys             the target has made keys to sign its mail
//	domain/DOMAIN/dkim             the target signs its mail
//	dns/DOMAIN/TYPE/NAME/ttl       the TTL is lowered
//	dns/DOMAIN/TYPE/NAME           the RRset gets its final value
//	dns/DOMAIN/TYPE/NAME/restore   the TTL is raised again
//	dns/DOMAIN/TYPE/NAME/retire    what only the transition needed is removed
//	copy/ADDRESS                   full pass, then passes until the flip
//	delta/ADDRESS                  passes after the flip until converged
//	hold/ADDRESS                   straggler passes through the hold
//	carry_back/ADDRESS             in a rollback: the target's new mail is added at the source
//	notice/NAME                    mail to people
//	validate/mail/ADDRESS          counts and content compared
//	validate/autodiscover/DOMAIN   Outlook finds its settings at the target
//	validate/dns/DOMAIN            zone as planned on every server
//	validate/probe/NAME            mail from an outside account arrives by the new MX
//	validate/probe/NAME/old        mail to the old MX is carried over, exactly once
//	validate/probe/NAME/outbound/DOMAIN   mail to the outside passes SPF, DKIM and DMARC
//	archive/manifest               manifest exported and digested
//	retire/ADDRESS                 the mailbox at the source is closed by hand
//	retire/host/KEY                the contract is cancelled by hand
type Step struct {
	Address string
	Phase   Phase
	Action  Action
	From    []string
	To      []string
	After   []string // addresses, sorted
	Gate    string
	Start   Moment        // zero: the phase's start
	Settle  time.Duration // how long the outcome must have been seen before the step counts as done
	Repeat  time.Duration // passes are repeated this often ...
	Until   Until         // ... until then
	Expect  Fingerprint
	Undo    Undo
	Detail  []string // instructions of a by-hand step, one line each; folder names that change
}

// Header is what a plan says of itself.
type Header struct {
	Name      string
	Number    int
	Lineage   string
	Parent    string // digest of the plan before it, "" for the first
	Config    string
	Inventory string
	Cutover   time.Time
	Timezone  string
	Rollback  Phase // set in a rollback plan: the phase it goes back to
}

// Plan is a reviewed list of steps. Steps are in canonical order: by phase,
// then topological, then by address.
type Plan struct {
	Header
	Schedule []Window
	Gates    []Gate
	Steps    []Step
	Findings []Finding
	Digest   string // of the file; set by the reader and the writer
}

// Step returns the step at address.
func (p *Plan) Step(address string) (Step, bool) {
	for _, s := range p.Steps {
		if s.Address == address {
			return s, true
		}
	}
	return Step{}, false
}

// Gate returns the plan's gate of that name.
func (p *Plan) Gate(name string) (Gate, bool) {
	for _, g := range p.Gates {
		if g.Name == name {
			return g, true
		}
	}
	return Gate{}, false
}

// Window returns the plan's schedule of phase ph.
func (p *Plan) Window(ph Phase) Window {
	for _, w := range p.Schedule {
		if w.Phase == ph {
			return w
		}
	}
	return Window{Phase: ph}
}

// Severity is how much a finding weighs.
type Severity string

// The severities. A Blocks finding keeps its gate shut.
const (
	Blocks Severity = "blocks"
	Warns  Severity = "warns"
	Passes Severity = "passes"
)

// Finding is what a check found at plan time: what, why, what to do.
type Finding struct {
	Check    string
	Severity Severity
	Gate     string // the gate a Blocks finding keeps shut
	Subject  string
	Summary  string
	Detail   []string
	Remedy   string
	Pos      Pos `json:"-"`
}
