package render

import (
	"fmt"
	"html"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/timeline"
)

// drawn is the report's timeline as an element of its page: when each phase really was,
// and when each gate opened. "" when nothing has begun.
func (r Report) drawn(cal calendar) template.HTML {
	var rows []timeline.Row
	var opened []time.Time
	now := r.At
	for _, p := range r.Phases {
		row := timeline.Row{Phase: p.Phase, Start: p.Start, End: p.End}
		if p.Start.After(now) {
			row = timeline.Row{Phase: p.Phase}
		} else if !p.Start.IsZero() && p.End.IsZero() {
			row.End = now
		}
		rows = append(rows, row)
	}
	if !slices.ContainsFunc(rows, func(row timeline.Row) bool { return !row.Start.IsZero() }) {
		return ""
	}
	for _, a := range r.Approvals {
		opened = append(opened, a.Opened)
	}
	d := &drawing{scale: newScale(rows, append(opened, r.Flipped)...), cal: cal, ink: "currentColor", top: 34, rows: len(rows)}
	d.open(r.Migration+": timeline", `role="img" class="timeline" `)
	d.axis("#9aa3af55", "#7a828c")
	for i, row := range rows {
		words := "to come"
		if !row.Start.IsZero() {
			words = cal.full(row.Start) + " to " + cal.full(row.End)
		}
		if r.Phases[i].End.IsZero() && !row.Start.IsZero() {
			words = cal.full(row.Start) + ", not over"
		}
		d.bar(i, row.Phase, row.Start, row.End, words)
	}
	for _, a := range r.Approvals {
		if i := r.behind(a.Gate); !a.Opened.IsZero() && i >= 0 {
			x, y := d.scale.at(a.Opened), d.top+svgRow*i+13
			fmt.Fprintf(d, `<path d="M%.1f %d l6 6 l-6 6 l-6 -6 z" fill="#2e8540"><title>%s</title></path>`+"\n", x, y-6, html.EscapeString(Escape("gate "+a.Gate+" "+a.outcome(cal))))
		}
	}
	if !r.Flipped.IsZero() {
		x := d.scale.at(r.Flipped)
		fmt.Fprintf(d, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#d9534f" stroke-width="1.5" stroke-dasharray="4 3"/>`+"\n", x, d.top-8, x, d.bottom())
		d.text(min(max(x, 160), svgWidth-160), d.top-14, "middle", `fill="#d9534f" font-weight="bold"`, "flip "+cal.full(r.Flipped))
	}
	d.WriteString("</svg>")
	return template.HTML(d.String()) //nolint:gosec // everything from outside went through EscapeString
}

// behind is the row of the phase that a gate guards: the phase of its name, -1 for another one.
func (r Report) behind(gate string) int {
	return slices.IndexFunc(r.Phases, func(p PhaseTime) bool { return string(p.Phase) == gate })
}

// route is the way of a probe in words.
func (p ProbeReport) route() string {
	way := map[string]string{"in": "by the new MX", "old": "by the old MX", "out": "to the outside"}[p.Way]
	return strings.TrimSpace(way + " from " + p.From + " to " + p.To)
}

func (p ProbeReport) outcome(cal calendar) string {
	switch {
	case p.Failed != "":
		return "failed: " + p.Failed
	case p.Done.IsZero():
		return "on its way since " + cal.full(p.Sent)
	}
	after := "at once"
	if d := p.Done.Sub(p.Sent).Round(100 * time.Millisecond); d > 0 {
		after = "after " + plan.FormatDuration(d)
	}
	return strings.Join(append([]string{"arrived " + after + ", " + cal.full(p.Done)}, p.Words...), "; ")
}

// agreement is one approval in words.
func (a AgreedReport) agreement(cal calendar) string {
	s := a.By + " agreed " + cal.full(a.At)
	if !a.Expires.IsZero() {
		s += ", until " + cal.full(a.Expires)
	}
	return s + ", to plan " + planNumber(a.Number) + " " + short(a.Plan)
}
