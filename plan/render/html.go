package render

import (
	"bytes"
	"embed"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
)

// The pages hold their own style and load nothing, so that they can be mailed,
// archived and opened years later without a network. html/template escapes by
// context; Escape takes out what HTML would let through.
//
//go:embed *.html.tmpl
var pages embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"esc":   Escape,
	"count": func(n int) string { return Count(int64(n)) },
	"size":  Size,
	"title": phaseTitle,
	"upper": strings.ToUpper,
	"join":  func(l []string) string { return Escape(strings.Join(l, ", ")) },
}).ParseFS(pages, "*.html.tmpl"))

// PlanHTML writes the review as one self-contained page.
func PlanHTML(w io.Writer, p *plan.Plan, v PlanView) error {
	o := outlineOf(p)
	cal := planCalendar(p, v)
	type boxRow struct {
		box
		Messages, Size string
	}
	type changeRow struct {
		recordChange
		When string
	}
	type setRow struct {
		rrset
		Sign    string
		Now     []string
		TTL     uint32
		Changes []changeRow
	}
	type zoneRow struct {
		Domain, Rest string
		Sets         []setRow
	}
	type handRow struct {
		Title string
		Phase plan.Phase
		Rows  []struct {
			Subject string
			Detail  []string
		}
	}
	type gateRow struct {
		Name, Approvals string
		Phases          []plan.Phase
		Require         []plan.CheckRef
	}
	type phaseRow struct {
		Phase              plan.Phase
		Starts, Ends, What string
	}
	data := struct {
		Plan               *plan.Plan
		Number, Cutover    string
		From, To           string
		Facts              []string
		Phases             []phaseRow
		Earliest           string
		Boxes              []boxRow
		Zones              []zoneRow
		Entries            []entry
		Hands              []handRow
		Gates              []gateRow
		Findings           []plan.Finding
		Sentence, Rollback string
	}{
		Plan: p, Number: planNumber(p.Number), Cutover: cal.full(p.Cutover), From: hostTitles(o.From), To: hostTitles(o.To), Entries: o.Entries, Facts: planFacts(o, v.Estimates),
		Earliest: cal.brief(v.earliest()), Findings: slices.Concat(o.Blocks, o.Warns, v.with(plan.Warns), o.Passes, v.with(plan.Passes)), Sentence: o.sentence(), Rollback: o.rollback(p),
	}
	rows := forecastRows(p, v, cal, "…")
	if len(p.Steps) == 0 {
		rows = nil // nothing happens, so there is no when
	}
	for _, r := range rows {
		data.Phases = append(data.Phases, phaseRow{r.phase, r.starts, r.ends, r.what})
	}
	for _, b := range o.Boxes {
		row := boxRow{box: b}
		if e, ok := sizeOf(v.Estimates, b.Source); ok {
			row.Messages = Count(e.messages)
			if e.octets >= 0 {
				row.Size = Size(e.octets)
			}
		}
		data.Boxes = append(data.Boxes, row)
	}
	for _, z := range o.Zones {
		row := zoneRow{Domain: z.Domain, Rest: z.Rest}
		for _, r := range z.Sets {
			set := setRow{rrset: r, Sign: r.sign()}
			set.Now, set.TTL = r.data(r.Steps[0].From)
			for _, c := range r.changes() {
				when := "at " + phaseTitle(c.Phase)
				if c.ByHand {
					when += ", by hand"
				}
				set.Changes = append(set.Changes, changeRow{c, when})
			}
			row.Sets = append(row.Sets, set)
		}
		data.Zones = append(data.Zones, row)
	}
	for _, h := range o.Hands {
		row := handRow{Title: handTitle(h), Phase: h.Phase}
		for i, s := range h.Subjects {
			row.Rows = append(row.Rows, struct {
				Subject string
				Detail  []string
			}{s, h.Detail[i]})
		}
		data.Hands = append(data.Hands, row)
	}
	for _, g := range o.GatesUsed {
		if len(p.Steps) == 0 {
			break
		}
		data.Gates = append(data.Gates, gateRow{g.Name, g.approvals(), g.Phases, g.Require})
	}
	return writePage(w, "plan.html.tmpl", data)
}

// ReportHTML writes the report as one self-contained page.
func ReportHTML(w io.Writer, r Report) error {
	cal := r.calendar()
	type byHand struct{ Step, Outcome string }
	type approval struct {
		Gate, Outcome  string
		Agreed, Checks []string
	}
	type probe struct{ Probe, Route, Outcome, Class, ID string }
	data := struct {
		Report
		Short, Number4, Verdict string
		Totals                  MailboxReport
		Hands                   []byHand
		Gates                   []approval
		ProbeRows               []probe
		Drawn                   template.HTML
		When                    func(t time.Time) string
	}{Report: r, Drawn: r.drawn(cal), Short: short(r.Plan), Number4: planNumber(r.Number), Verdict: r.verdict(), Totals: r.totals(), When: cal.full}
	for _, b := range r.ByHand {
		data.Hands = append(data.Hands, byHand{b.Step, b.outcome(cal)})
	}
	for _, a := range r.Approvals {
		gate := approval{Gate: a.Gate, Outcome: a.outcome(cal), Checks: a.Checks}
		for _, g := range a.Agreed {
			gate.Agreed = append(gate.Agreed, g.agreement(cal))
		}
		data.Gates = append(data.Gates, gate)
	}
	for _, p := range r.Probes {
		class := "passes"
		if p.Failed != "" {
			class = "bad"
		} else if p.Done.IsZero() {
			class = "warns"
		}
		data.ProbeRows = append(data.ProbeRows, probe{p.Probe, p.route(), p.outcome(cal), class, p.ID})
	}
	return writePage(w, "report.html.tmpl", data)
}

func writePage(w io.Writer, name string, data any) error {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}
