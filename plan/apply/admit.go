package apply

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/state"
)

// StaleError says which facts of a plan don't match what is there. Nothing was changed.
type StaleError struct{ Facts []string }

func (e *StaleError) Error() string {
	return "this plan is not applied:\n  " + strings.Join(e.Facts, "\n  ") + "\nwhat to do: plan again, review the new plan and apply that one"
}

// runData is what the journal keeps of a run's plan.
type runData struct {
	Number   int
	Parent   string
	Rollback plan.Phase
}

// Admit reports whether plan p may be applied: it was made for this
// configuration and this migration, and no other plan has taken its place.
// ancestors are the digests of the plans that p descends from, as far as
// their files are there. The error is a *StaleError.
func Admit(p *plan.Plan, m *plan.Migration, inv *inventory.Inventory, entries []state.Entry, ancestors []string) error {
	var facts []string
	if got := m.Digest(); got != p.Config {
		facts = append(facts, fmt.Sprintf("the configuration has changed since: it is %s now, the plan was made for %s", short(got), short(p.Config)))
	}
	if inv.Lineage != p.Lineage {
		facts = append(facts, fmt.Sprintf("it belongs to another migration: lineage %q, here it is %q", p.Lineage, inv.Lineage))
	}
	var newest *state.Entry
	var data runData
	for i, e := range entries {
		if e.Step != "" || e.Event != evRun {
			continue
		}
		var d runData
		_ = json.Unmarshal(e.Data, &d) // a run that an older version wrote has no number
		newest, data = &entries[i], d
	}
	if newest != nil && newest.Plan != p.Digest && newest.Plan != p.Parent && !slices.Contains(ancestors, newest.Plan) {
		facts = append(facts, fmt.Sprintf("it is superseded: plan %04d (%s) was applied, and this one was not made after it", data.Number, short(newest.Plan)))
	}
	if len(facts) > 0 {
		return &StaleError{Facts: facts}
	}
	return nil
}

func short(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return hex[:min(8, len(hex))]
}
