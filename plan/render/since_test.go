package render

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/timeline"
)

// laterPlan is the plan of the tests after somebody has changed a bit of everything.
func laterPlan(t testing.TB) *plan.Plan {
	p := testPlan(t)
	p.Number, p.Parent, p.Digest = 4, p.Digest, "sha256:"+strings.Repeat("ab", 32)
	p.Cutover = p.Cutover.Add(2 * time.Hour)
	p.Schedule[0].Start = p.Schedule[0].Start.Add(-24 * time.Hour)
	p.Gates[0].Approve.Count = 2
	p.Gates[2].Name = "own"
	for i, s := range p.Steps {
		switch s.Address {
		case "dns/acme.example/MX/@/ttl":
			p.Steps[i].To = []string{"600 MX 10 mx00.ionos.de.", "600 MX 10 mx01.ionos.de."}
			p.Steps[i].Settle = 2 * time.Hour
		case "dns/acme.example/MX/@":
			p.Steps[i].To = []string{"300 MX 0 other.example."}
		case "copy/anna@acme.example":
			p.Steps[i].Expect = "sha256:1"
		case "notice/users":
			p.Steps[i].Address = "notice/" + hostile
		}
	}
	p.Findings = p.Findings[1:]
	p.Findings[0].Summary = "the SPF record needs 11 of 10 look-ups"
	return p
}

// Each way in which two plans can differ is told, and the other way round too.
func TestSinceFindsEveryChange(t *testing.T) {
	for name, change := range map[string]func(p *plan.Plan){
		"cutover":  func(p *plan.Plan) { p.Cutover = p.Cutover.Add(time.Minute) },
		"schedule": func(p *plan.Plan) { p.Schedule[3].Hours = "19:00-07:00" },
		"gate":     func(p *plan.Plan) { p.Gates[0].Require = p.Gates[0].Require[1:] },
		"no gate":  func(p *plan.Plan) { p.Gates = p.Gates[:2] },
		"lineage":  func(p *plan.Plan) { p.Lineage = "other" },
		"step":     func(p *plan.Plan) { p.Steps = p.Steps[1:] },
		"phase":    func(p *plan.Plan) { p.Steps[0].Phase = plan.Notice },
		"action":   func(p *plan.Plan) { p.Steps[0].Action = plan.Create },
		"to":       func(p *plan.Plan) { p.Steps[0].To = []string{"x"} },
		"from":     func(p *plan.Plan) { p.Steps[0].From = []string{"x"} },
		"after":    func(p *plan.Plan) { p.Steps[0].After = []string{"x"} },
		"undo":     func(p *plan.Plan) { p.Steps[0].Undo = plan.Impossible },
		"detail":   func(p *plan.Plan) { p.Steps[0].Detail = nil },
		"expect":   func(p *plan.Plan) { p.Steps[0].Expect = "sha256:2" },
		"settle":   func(p *plan.Plan) { p.Steps[0].Settle = time.Hour },
		"repeat":   func(p *plan.Plan) { p.Steps[0].Repeat = time.Hour },
		"start":    func(p *plan.Plan) { p.Steps[0].Start = plan.Moment{Anchor: plan.AnchorCutover} },
		"until":    func(p *plan.Plan) { p.Steps[0].Until.Converged = 3 },
		"stepgate": func(p *plan.Plan) { p.Steps[0].Gate = "flip" },
		"finding":  func(p *plan.Plan) { p.Findings = p.Findings[1:] },
		"detail2":  func(p *plan.Plan) { p.Findings[0].Detail = []string{"other@acme.example"} },
		"config":   func(p *plan.Plan) { p.Config = "sha256:3" },
		"facts":    func(p *plan.Plan) { p.Inventory = "sha256:3" },
	} {
		old, p := testPlan(t), testPlan(t)
		change(p)
		if changesSince(old, p).none() || changesSince(p, old).none() {
			t.Errorf("%s: no change is told", name)
		}
	}
	if c := changesSince(testPlan(t), testPlan(t)); !c.none() {
		t.Errorf("a plan differs from itself: %+v", c)
	}
}

func TestSinceMarkdownSize(t *testing.T) {
	old, p := testPlan(t), laterPlan(t)
	for _, limit := range []int{1, 50, 200, 400, 800, 1600, 100000} {
		var b bytes.Buffer
		if err := PlanSinceMarkdown(&b, old, p, limit); err != nil {
			t.Fatal(err)
		}
		if b.Len() > limit || !utf8.Valid(b.Bytes()) {
			t.Errorf("limit %d: %d bytes", limit, b.Len())
		}
		if cut := limit >= 200 && limit <= 800; cut != strings.Contains(b.String(), "more lines don't fit") && limit >= 200 {
			t.Errorf("limit %d: %s", limit, b.String())
		}
	}
}

func testSimulation(t testing.TB) Simulation {
	p := testPlan(t)
	p.Name = "acme " + hostile
	rows := testView(t).Forecast
	rows[4].Start, rows[4].Earliest = berlin(t, "2027-01-15 20:30"), berlin(t, "2027-01-15 20:30")
	for _, ph := range []plan.Phase{plan.Delta, plan.Validate, plan.Hold, plan.Decommission} {
		rows = append(rows, timeline.Row{Phase: ph})
	}
	rows[7].Start, rows[7].End = berlin(t, "2027-01-15 21:00"), berlin(t, "2027-02-14 21:00")
	return Simulation{Plan: p, Rows: rows, Assumed: []Assumption{{"rate", "800.0 kB/s", true}, {"converge", "5 min", false}}}
}

// The drawing is well-formed XML, whatever names stand in it, and keeps within its frame.
func TestSimulationSVG(t *testing.T) {
	var b bytes.Buffer
	if err := SimulationSVG(&b, testSimulation(t)); err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(&b)
	bars, texts := 0, 0
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		e, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		switch e.Name.Local {
		case "rect":
			bars++
		case "text":
			texts++
		case "svg", "line", "title":
		default:
			t.Errorf("an element <%s> is in it", e.Name.Local)
		}
	}
	if bars != 7 || texts < 12 { // the ground, five phases with times, the hold
		t.Errorf("%d bars, %d texts", bars, texts)
	}
	// Without any time there is a drawing all the same.
	if err := SimulationSVG(io.Discard, Simulation{Plan: testPlan(t), Rows: []timeline.Row{{Phase: plan.Flip}}}); err != nil {
		t.Error(err)
	}
}
