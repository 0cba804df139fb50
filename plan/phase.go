package plan

import "slices"

// Phase is one of the nine parts of a migration. The order is fixed.
type Phase string

// The nine phases in the order in which they happen.
const (
	Provision    Phase = "provision"
	LowerTTL     Phase = "lower_ttl"
	BulkCopy     Phase = "bulk_copy"
	Notice       Phase = "notice"
	Flip         Phase = "flip"
	Delta        Phase = "delta"
	Validate     Phase = "validate"
	Hold         Phase = "hold"
	Decommission Phase = "decommission"
)

var phases = []Phase{Provision, LowerTTL, BulkCopy, Notice, Flip, Delta, Validate, Hold, Decommission}

// Phases returns the nine phases in order. The caller owns the slice.
func Phases() []Phase { return slices.Clone(phases) }

// Index is the phase's place in the order, 0 for Provision; -1 for a name
// that is no phase.
func (p Phase) Index() int { return slices.Index(phases, p) }

// Valid reports whether p is one of the nine.
func (p Phase) Valid() bool { return p.Index() >= 0 }

// Before reports whether p comes earlier in a migration than q.
func (p Phase) Before(q Phase) bool { return p.Index() < q.Index() }
