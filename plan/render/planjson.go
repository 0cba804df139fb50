package render

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/timeline"
)

// planJSON is the object that PlanJSON writes. Its names are a contract with
// scripts: fields are added, never renamed.
type planJSON struct {
	Name         string         `json:"name"`
	Number       int            `json:"number"`
	Lineage      string         `json:"lineage"`
	Parent       string         `json:"parent"`
	Digest       string         `json:"digest"`
	Config       string         `json:"config"`
	Inventory    string         `json:"inventory"`
	Cutover      time.Time      `json:"cutover"`
	Timezone     string         `json:"timezone"`
	Rollback     plan.Phase     `json:"rollback,omitempty"`
	Schedule     []windowJSON   `json:"schedule"`
	Gates        []gateJSON     `json:"gates"`
	Steps        []stepJSON     `json:"steps"`
	Checks       []findingJSON  `json:"checks"`
	Warnings     []findingJSON  `json:"warnings"`
	EarliestFlip *time.Time     `json:"earliest_flip"`
	Timeline     []timelineJSON `json:"timeline"`
	Summary      map[string]int `json:"summary"`
}

type windowJSON struct {
	Phase  plan.Phase `json:"phase"`
	Start  string     `json:"start"`
	Until  string     `json:"until"`
	Hours  string     `json:"hours,omitempty"`
	Repeat string     `json:"repeat,omitempty"`
	Gate   string     `json:"gate,omitempty"`
}

type gateJSON struct {
	Name    string   `json:"name"`
	Require []string `json:"require"`
	By      []string `json:"by"`
	Count   int      `json:"count"`
	Expires string   `json:"expires,omitempty"`
}

type stepJSON struct {
	Address string           `json:"address"`
	Phase   plan.Phase       `json:"phase"`
	Action  plan.Action      `json:"action"`
	From    []string         `json:"from"`
	To      []string         `json:"to"`
	After   []string         `json:"after"`
	Gate    string           `json:"gate,omitempty"`
	Start   string           `json:"start,omitempty"`
	Settle  string           `json:"settle,omitempty"`
	Repeat  string           `json:"repeat,omitempty"`
	Until   string           `json:"until,omitempty"`
	Expect  plan.Fingerprint `json:"expect,omitempty"`
	Undo    plan.Undo        `json:"undo"`
	Detail  []string         `json:"detail"`
}

type findingJSON struct {
	Check    string        `json:"check"`
	Severity plan.Severity `json:"severity"`
	Gate     string        `json:"gate,omitempty"`
	Subject  string        `json:"subject,omitempty"`
	Summary  string        `json:"summary"`
	Detail   []string      `json:"detail"`
	Remedy   string        `json:"remedy,omitempty"`
	Position string        `json:"position,omitempty"`
}

type timelineJSON struct {
	Phase  plan.Phase `json:"phase"`
	Starts *time.Time `json:"starts"`
	Ends   *time.Time `json:"ends"`
	What   string     `json:"what"`
}

// PlanJSON writes the plan as one JSON object: the steps as in the file, all
// findings and the day's outlook as checks, those that warn once more as warnings, and the forecast.
// Strings are the raw ones; JSON's own escaping is what makes them safe.
func PlanJSON(w io.Writer, p *plan.Plan, v PlanView) error {
	out := planJSON{
		Name: p.Name, Number: p.Number, Lineage: p.Lineage, Parent: p.Parent, Digest: p.Digest, Config: p.Config,
		Inventory: p.Inventory, Cutover: p.Cutover, Timezone: p.Timezone, Rollback: p.Rollback,
		Schedule: []windowJSON{}, Gates: []gateJSON{}, Steps: []stepJSON{}, Checks: []findingJSON{},
		Warnings: []findingJSON{}, EarliestFlip: known(v.earliest()), Timeline: []timelineJSON{}, Summary: map[string]int{},
	}
	for _, x := range p.Schedule {
		out.Schedule = append(out.Schedule, windowJSON{x.Phase, x.Start.String(), x.Until.String(), x.Hours, span(x.Repeat), x.Gate})
	}
	for _, g := range p.Gates {
		j := gateJSON{Name: g.Name, Require: []string{}, By: list(g.Approve.By), Count: g.Approve.Count, Expires: span(g.Approve.Expires)}
		for _, c := range g.Require {
			j.Require = append(j.Require, c.String())
		}
		out.Gates = append(out.Gates, j)
	}
	for _, s := range p.Steps {
		out.Steps = append(out.Steps, stepJSON{
			Address: s.Address, Phase: s.Phase, Action: s.Action, From: list(s.From), To: list(s.To), After: list(s.After), Gate: s.Gate,
			Start: s.Start.String(), Settle: span(s.Settle), Repeat: span(s.Repeat), Until: s.Until.String(), Expect: s.Expect, Undo: s.Undo,
			Detail: list(s.Detail),
		})
		out.Summary[string(s.Action)]++
	}
	for _, f := range slices.Concat(p.Findings, v.Outlook) {
		j := findingOf(f)
		out.Checks = append(out.Checks, j)
		if f.Severity == plan.Warns {
			out.Warnings = append(out.Warnings, j)
		}
	}
	out.Timeline = timelineRows(p, v.Forecast)
	return writeJSON(w, out)
}

func findingOf(f plan.Finding) findingJSON {
	return findingJSON{f.Check, f.Severity, f.Gate, f.Subject, f.Summary, list(f.Detail), f.Remedy, f.Pos.String()}
}

func timelineRows(p *plan.Plan, rows []timeline.Row) []timelineJSON {
	out := []timelineJSON{}
	for _, r := range rows {
		what := r.What
		if what == "" {
			what = phaseWhat(p, r.Phase)
		}
		out = append(out, timelineJSON{r.Phase, known(r.Start), known(r.End), what})
	}
	return out
}

// writeJSON writes one indented object. "<" and "&" stay readable.
func writeJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(SafeJSON(b.Bytes()))
	return err
}

// list is never null.
func list(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func span(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return plan.FormatDuration(d)
}
