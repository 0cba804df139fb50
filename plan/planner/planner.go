// Package planner turns what is wanted and what was observed into the steps
// between them. It is pure: the same configuration and inventory give the
// same plan, whatever the time, the machine or the order of its inputs.
//
// Only what differs becomes a step. An account that exists, a record that is
// as wanted, a mailbox whose copy is closed make none, so planning after the
// last step finds nothing to do.
package planner

import (
	"cmp"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
)

// Input is all that a plan depends on.
type Input struct {
	Migration *plan.Migration
	Inventory *inventory.Inventory
	Number    int    // of this plan, from 1
	Parent    string // digest of the plan before it, "" for the first
}

// Make returns the plan. What can't be planned, or would lose mail, is a
// finding of the plan that keeps its gate shut. The plan has no digest yet:
// package planfile sets it.
func Make(in Input) *plan.Plan {
	p := &planner{m: in.Migration, inv: in.Inventory}
	p.tenantDomains()
	p.domains()
	p.mailboxes()
	p.addresses()
	p.notices()
	p.validation()
	p.ending()
	p.checkAddresses()
	p.checkLicenses()
	p.checkCatchAll()
	p.checkLimits()
	p.checkFolders()
	p.checkSigning()
	p.checkTimes()
	m := in.Migration
	return &plan.Plan{
		Header: plan.Header{
			Name: m.Name, Number: in.Number, Lineage: in.Inventory.Lineage, Parent: in.Parent,
			Config: m.Digest(), Inventory: in.Inventory.Digest(), Cutover: m.Cutover, Timezone: m.Timezone,
		},
		Schedule: schedule(m),
		Gates:    gates(m),
		Steps:    order(p.steps),
		Findings: sortFindings(p.findings),
	}
}

type planner struct {
	m        *plan.Migration
	inv      *inventory.Inventory
	steps    []plan.Step
	findings []plan.Finding
}

// add takes a step over. The gate of its phase guards it.
func (p *planner) add(s plan.Step) {
	s.Gate = p.m.Window(s.Phase).Gate
	slices.Sort(s.After)
	s.After = slices.Compact(s.After)
	p.steps = append(p.steps, s)
}

func (p *planner) has(address string) bool {
	return slices.ContainsFunc(p.steps, func(s plan.Step) bool { return s.Address == address })
}

// starting returns the addresses of the steps so far that begin with prefix.
func (p *planner) starting(prefix string) []string {
	var list []string
	for _, s := range p.steps {
		if strings.HasPrefix(s.Address, prefix) {
			list = append(list, s.Address)
		}
	}
	return list
}

// flipGate is the name of the gate that the flip waits for.
func flipGate(m *plan.Migration) string { return cmp.Or(m.Window(plan.Flip).Gate, "flip") }

func schedule(m *plan.Migration) []plan.Window {
	list := make([]plan.Window, 0, len(plan.Phases()))
	for _, ph := range plan.Phases() {
		w := m.Window(ph)
		w.Pos = plan.Pos{}
		list = append(list, w)
	}
	return list
}

// needDomain are the checks that ask about a domain's mail. Without a domain
// there is nothing they could ask.
var needDomain = map[string]bool{
	"every_address_exists_at_target": true,
	"old_ttl_expired_everywhere":     true,
	"target_accepts_mail":            true,
}

func gates(m *plan.Migration) []plan.Gate {
	list := make([]plan.Gate, 0, len(m.Gates))
	for _, g := range m.Gates {
		g.Pos = plan.Pos{}
		if len(m.Domains) == 0 && g.Name == flipGate(m) {
			var require []plan.CheckRef
			for _, c := range g.Require {
				if !needDomain[c.Name] {
					require = append(require, c)
				}
			}
			g.Require = require
		}
		list = append(list, g)
	}
	slices.SortStableFunc(list, func(a, b plan.Gate) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// order sorts steps canonically: by phase; within a phase a step stands behind
// those of the same phase that it comes after; then by address.
func order(steps []plan.Step) []plan.Step {
	byAddress := map[string]plan.Step{}
	for _, s := range steps {
		byAddress[s.Address] = s
	}
	depth := map[string]int{}
	var depthOf func(s plan.Step) int
	depthOf = func(s plan.Step) int {
		if n, ok := depth[s.Address]; ok {
			return n
		}
		depth[s.Address] = 0 // ends a circle, which no rule of this package makes
		n := 0
		for _, a := range s.After {
			if before, ok := byAddress[a]; ok && before.Phase == s.Phase {
				n = max(n, depthOf(before)+1)
			}
		}
		depth[s.Address] = n
		return n
	}
	for _, s := range steps {
		depthOf(s)
	}
	return slices.SortedStableFunc(slices.Values(steps), func(a, b plan.Step) int {
		return cmp.Or(a.Phase.Index()-b.Phase.Index(), depth[a.Address]-depth[b.Address], strings.Compare(a.Address, b.Address))
	})
}

var weight = map[plan.Severity]int{plan.Blocks: 0, plan.Warns: 1, plan.Passes: 2}

func sortFindings(list []plan.Finding) []plan.Finding {
	return slices.SortedStableFunc(slices.Values(list), func(a, b plan.Finding) int {
		return cmp.Or(weight[a.Severity]-weight[b.Severity], strings.Compare(a.Check, b.Check), strings.Compare(a.Subject, b.Subject), strings.Compare(a.Summary, b.Summary))
	})
}

func (p *planner) find(f plan.Finding) {
	if f.Severity == plan.Blocks && f.Gate == "" {
		f.Gate = flipGate(p.m)
	}
	p.findings = append(p.findings, f)
}
