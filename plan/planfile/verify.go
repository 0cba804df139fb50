package planfile

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/plan/planner"
)

// Verify makes the plan again from the configuration and the inventory, and
// returns what differs from p in words; nothing when both have the same bytes.
// parent is the digest that the plan before it has, "" for the first plan.
//
// A rollback plan is made from a journal and can't be made again here: its
// lineage, its configuration and its parent are compared, and nothing else.
func Verify(p *plan.Plan, m *plan.Migration, inv *inventory.Inventory, parent string) ([]string, error) {
	want := planner.Make(planner.Input{Migration: m, Inventory: inv, Number: p.Number, Parent: parent})
	facts := headerFacts(p, want)
	if p.Rollback != "" {
		return facts, nil
	}
	// Encode sets digests; both are worked on as copies.
	mine, other := *p, *want
	a, err := Encode(&mine)
	if err != nil {
		return nil, err
	}
	b, err := Encode(&other)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(a, b) {
		return nil, nil
	}
	facts = append(facts, stepFacts(p, want)...)
	for _, part := range []struct {
		name      string
		have, new any
	}{{"schedule", p.Schedule, want.Schedule}, {"gates", p.Gates, want.Gates}} {
		if fmt.Sprint(part.have) != fmt.Sprint(part.new) {
			facts = append(facts, fmt.Sprintf("the %s differ from the configuration's", strings.TrimSuffix(part.name, "s")+"s"))
		}
	}
	for _, f := range want.Findings {
		if !slices.ContainsFunc(p.Findings, sameFinding(f)) {
			facts = append(facts, fmt.Sprintf("the plan leaves out that %s: %s", f.Check, f.Summary))
		}
	}
	for _, f := range p.Findings {
		if !slices.ContainsFunc(want.Findings, sameFinding(f)) {
			facts = append(facts, fmt.Sprintf("the plan says that %s: %s; now nothing says so", f.Check, f.Summary))
		}
	}
	if len(facts) == 0 {
		facts = append(facts, fmt.Sprintf("line %d is not what a new plan has there", firstDifference(a, b)))
	}
	return facts, nil
}

// Edits returns in words what an edited plan (whose digest doesn't fit) says that
// the committed configuration and inventory don't give. It is nothing where the
// edit can't be read, or touches no content; the file is refused all the same.
func Edits(data []byte, m *plan.Migration, inv *inventory.Inventory) []string {
	lines := bytes.SplitN(data, []byte("\n"), 3)
	if len(lines) < 3 {
		return nil
	}
	first := []byte(firstLine + strconv.Itoa(Format) + "\n")
	body := lines[2]
	p, err := Decode(bytes.Join([][]byte{first, []byte("# " + digest(first, body) + "\n"), body}, nil))
	if err != nil {
		return []string{err.Error()}
	}
	facts, err := Verify(p, m, inv, p.Parent)
	if err != nil {
		return nil
	}
	return facts
}

func headerFacts(p, want *plan.Plan) []string {
	var facts []string
	for _, h := range []struct{ what, have, want string }{
		{"name", p.Name, want.Name},
		{"lineage", p.Lineage, want.Lineage},
		{"parent", p.Parent, want.Parent},
		{"configuration", p.Config, want.Config},
		{"inventory", p.Inventory, want.Inventory},
		{"time zone", p.Timezone, want.Timezone},
	} {
		if p.Rollback != "" && h.what == "inventory" {
			continue // the world goes on between a plan and its rollback
		}
		if h.have != h.want {
			facts = append(facts, fmt.Sprintf("the %s is %s in the plan and %s here", h.what, orNone(h.have), orNone(h.want)))
		}
	}
	if !p.Cutover.Equal(want.Cutover) {
		facts = append(facts, fmt.Sprintf("the cutover is %s in the plan and %s here", p.Cutover, want.Cutover))
	}
	return facts
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func stepFacts(p, want *plan.Plan) []string {
	var facts []string
	for _, s := range want.Steps {
		have, ok := p.Step(s.Address)
		if !ok {
			facts = append(facts, fmt.Sprintf("the plan lacks the step %s", s.Address))
			continue
		}
		a, b := describe(have), describe(s)
		for i := range a {
			if a[i].value != b[i].value {
				facts = append(facts, fmt.Sprintf("the step %s: its %s is %s in the plan and %s here", s.Address, a[i].name, orNone(a[i].value), orNone(b[i].value)))
			}
		}
	}
	for _, s := range p.Steps {
		if _, ok := want.Step(s.Address); !ok {
			facts = append(facts, fmt.Sprintf("the step %s has no cause in configuration and inventory", s.Address))
		}
	}
	return facts
}

type field struct{ name, value string }

// describe is a step's content, always in the same fields.
func describe(s plan.Step) []field {
	list := func(l []string) string {
		if len(l) == 0 {
			return ""
		}
		return fmt.Sprintf("%q", l)
	}
	return []field{
		{"action", string(s.Action)}, {"phase", string(s.Phase)}, {"from", list(s.From)}, {"to", list(s.To)}, {"after", list(s.After)},
		{"gate", s.Gate}, {"start", s.Start.String()}, {"settle", duration(s.Settle)}, {"repeat", duration(s.Repeat)}, {"until", s.Until.String()},
		{"expect", string(s.Expect)}, {"undo", string(s.Undo)}, {"detail", list(s.Detail)},
	}
}

func sameFinding(f plan.Finding) func(plan.Finding) bool {
	return func(o plan.Finding) bool {
		return o.Check == f.Check && o.Severity == f.Severity && o.Gate == f.Gate && o.Subject == f.Subject &&
			o.Summary == f.Summary && o.Remedy == f.Remedy && slices.Equal(o.Detail, f.Detail)
	}
}
