package render

import (
	"fmt"
	"html"
	"io"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/timeline"
)

// Simulation is a timeline under assumptions.
type Simulation struct {
	Screen
	Plan    *plan.Plan
	Rows    []timeline.Row
	Assumed []Assumption // in the order in which they are shown
}

// Assumption is one figure that the timeline rests on.
type Assumption struct {
	Name, Value string
	Given       bool // by the person who asks, not by default
}

func (s Simulation) view() PlanView { return PlanView{Screen: s.Screen, Forecast: s.Rows} }

// SimulationText writes the timeline and what it supposes for a terminal.
func SimulationText(w io.Writer, s Simulation) error {
	pg := newPage(s.Screen)
	t := planText{page: pg, plan: s.Plan, view: s.view(), o: outlineOf(s.Plan), cal: planCalendar(s.Plan, s.view())}
	t.sides(t.esc(s.Plan.Name)+"   what if", "cutover "+t.cal.full(s.Plan.Cutover))
	t.timeline()
	if late, ok := s.late(); ok {
		t.blank()
		t.para(red, "  ", "The flip can't be at the cutover: it would be "+Span(late)+" late.")
	}
	t.heading("Supposed", "")
	for _, a := range s.Assumed {
		mark := " "
		if a.Given {
			mark = "*"
		}
		t.line("  ", mark, " ", pad(t.esc(a.Name), 14), t.esc(a.Value))
	}
	t.para(dim, "  ", "* as asked; the rest is measured or usual")
	return pg.flush(w)
}

// late is how much later than the cutover the earliest possible flip is.
func (s Simulation) late() (time.Duration, bool) {
	d := s.view().earliest().Sub(s.Plan.Cutover)
	return d, !s.view().earliest().IsZero() && d > 0
}

type simulationJSON struct {
	Name         string            `json:"name"`
	Cutover      time.Time         `json:"cutover"`
	EarliestFlip *time.Time        `json:"earliest_flip"`
	Late         string            `json:"late,omitempty"` // how much the flip is behind the cutover
	Timeline     []timelineJSON    `json:"timeline"`
	Assumed      map[string]string `json:"assumed"`
}

// SimulationJSON writes one object.
func SimulationJSON(w io.Writer, s Simulation) error {
	out := simulationJSON{Name: s.Plan.Name, Cutover: s.Plan.Cutover, EarliestFlip: known(s.view().earliest()), Timeline: timelineRows(s.Plan, s.Rows), Assumed: map[string]string{}}
	if d, ok := s.late(); ok {
		out.Late = plan.FormatDuration(d.Round(time.Millisecond))
	}
	for _, a := range s.Assumed {
		out.Assumed[a.Name] = a.Value
	}
	return writeJSON(w, out)
}

// Measures of the drawing, in user units.
const (
	svgWidth, svgLeft, svgRight = 960, 120, 30
	svgTop, svgRow, svgBottom   = 84, 34, 46
)

// SimulationSVG draws the timeline as one self-contained SVG 1.1 document: a bar
// for each phase over an axis of time. Long spans in which nothing changes
// (the weeks of the hold) are drawn shorter, so that the days around the flip
// can be read; the axis names every border.
func SimulationSVG(w io.Writer, s Simulation) error {
	cal := planCalendar(s.Plan, s.view())
	height := svgTop + svgRow*len(s.Rows) + svgBottom
	scale := newScale(s.Rows, s.Plan.Cutover)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="12">`+"\n", svgWidth, height, svgWidth, height)
	text := func(x float64, y int, anchor, style, words string) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="%s" %s>%s</text>`+"\n", x, y, anchor, style, html.EscapeString(Escape(words)))
	}
	fmt.Fprintf(&b, `<title>%s: timeline</title><rect width="100%%" height="100%%" fill="#fff"/>`+"\n", html.EscapeString(Escape(s.Plan.Name)))
	text(16, 26, "start", `font-size="16" font-weight="bold"`, s.Plan.Name+", cutover "+cal.full(s.Plan.Cutover))
	var given []string
	for _, a := range s.Assumed {
		if a.Given {
			given = append(given, a.Name+" = "+a.Value)
		}
	}
	if len(given) > 0 {
		text(16, 46, "start", `fill="#555"`, "supposed: "+strings.Join(given, ", "))
	}
	bottom := svgTop + svgRow*len(s.Rows)
	lastX := -1000.0
	for i, at := range scale.times {
		x := scale.x[i]
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#e4e4e4"/>`+"\n", x, svgTop-8, x, bottom)
		if x-lastX < 104 {
			continue // its label would stand in the one before
		}
		lastX = x
		text(min(x, svgWidth-svgRight-40), bottom+18, "middle", `fill="#555" font-size="10"`, cal.brief(at))
	}
	for i, r := range s.Rows {
		y := svgTop + svgRow*i
		style, fill := `fill="#222"`, "#7aa6d8"
		if r.Phase == plan.Flip {
			style, fill = `fill="#222" font-weight="bold"`, "#d9534f"
		}
		text(svgLeft-12, y+17, "end", style, phaseTitle(r.Phase))
		if r.Start.IsZero() {
			text(svgLeft, y+17, "start", `fill="#999"`, "not known")
			continue
		}
		from, to := scale.at(r.Start), scale.at(later(r.End, r.Start))
		fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="18" rx="3" fill="%s"><title>%s</title></rect>`+"\n",
			from, y+4, max(to-from, 3), fill, html.EscapeString(Escape(cal.brief(r.Start)+" to "+cal.brief(r.End)+": "+phaseWhat(s.Plan, r.Phase))))
	}
	if e := s.view().earliest(); !e.IsZero() {
		x := scale.at(e)
		color := "#2e8540"
		if e.After(s.Plan.Cutover) {
			color = "#a3121f"
		}
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s" stroke-width="1.5" stroke-dasharray="4 3"/>`+"\n", x, svgTop-8, x, bottom, color)
		text(min(max(x, 160), svgWidth-160), svgTop-14, "middle", fmt.Sprintf(`fill="%s"`, color), "earliest flip "+cal.brief(e))
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
