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

// drawing is a timeline: a bar for each phase over an axis of time. Long spans in
// which nothing changes (the weeks of the hold) are drawn shorter, so that the days around
// the flip can be read; the axis names every border.
type drawing struct {
	strings.Builder
	scale scale
	cal   calendar
	ink   string // of words; lines and bars have colours of their own
	top   int
	rows  int
}

func (d *drawing) bottom() int { return d.top + svgRow*d.rows }

// open begins a document of its own, or an element of a page.
func (d *drawing) open(title, attributes string) {
	height := d.bottom() + svgBottom
	fmt.Fprintf(d, `<svg xmlns="http://www.w3.org/2000/svg" %sviewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="12">`+"\n", attributes, svgWidth, height)
	fmt.Fprintf(d, `<title>%s</title>`, html.EscapeString(Escape(title)))
}

func (d *drawing) text(x float64, y int, anchor, style, words string) {
	fmt.Fprintf(d, `<text x="%.1f" y="%d" text-anchor="%s" %s>%s</text>`+"\n", x, y, anchor, style, html.EscapeString(Escape(words)))
}

// axis draws the borders and names them where there is room.
func (d *drawing) axis(line, faint string) {
	lastX, room := -1000.0, 104.0
	if d.cal.seconds {
		room = 124
	}
	for i, at := range d.scale.times {
		x := d.scale.x[i]
		fmt.Fprintf(d, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s"/>`+"\n", x, d.top-8, x, d.bottom(), line)
		if x-lastX < room {
			continue // its label would stand in the one before
		}
		lastX = x
		d.text(min(x, svgWidth-svgRight-40), d.bottom()+18, "middle", `fill="`+faint+`" font-size="10"`, d.cal.brief(at))
	}
}

// bar is row i. A zero start is not known; words say so, else what happened.
func (d *drawing) bar(i int, p plan.Phase, start, end time.Time, words string) {
	y := d.top + svgRow*i
	style, fill := `fill="`+d.ink+`"`, "#7aa6d8"
	if p == plan.Flip {
		style, fill = style+` font-weight="bold"`, "#d9534f"
	}
	d.text(svgLeft-12, y+17, "end", style, phaseTitle(p))
	if start.IsZero() {
		d.text(svgLeft, y+17, "start", `fill="#999"`, words)
		return
	}
	from, to := d.scale.at(start), d.scale.at(later(end, start))
	fmt.Fprintf(d, `<rect x="%.1f" y="%d" width="%.1f" height="18" rx="3" fill="%s"><title>%s</title></rect>`+"\n",
		from, y+4, max(to-from, 3), fill, html.EscapeString(Escape(words)))
}

// SimulationSVG draws the timeline as one self-contained SVG 1.1 document.
func SimulationSVG(w io.Writer, s Simulation) error {
	d := &drawing{scale: newScale(s.Rows, s.Plan.Cutover), cal: planCalendar(s.Plan, s.view()), ink: "#222", top: svgTop, rows: len(s.Rows)}
	d.open(s.Plan.Name+": timeline", fmt.Sprintf(`width="%d" height="%d" `, svgWidth, d.bottom()+svgBottom))
	d.WriteString(`<rect width="100%" height="100%" fill="#fff"/>` + "\n")
	d.text(16, 26, "start", `font-size="16" font-weight="bold"`, s.Plan.Name+", cutover "+d.cal.full(s.Plan.Cutover))
	var given []string
	for _, a := range s.Assumed {
		if a.Given {
			given = append(given, a.Name+" = "+a.Value)
		}
	}
	if len(given) > 0 {
		d.text(16, 46, "start", `fill="#555"`, "supposed: "+strings.Join(given, ", "))
	}
	d.axis("#e4e4e4", "#555")
	for i, r := range s.Rows {
		words := "not known"
		if !r.Start.IsZero() {
			words = d.cal.brief(r.Start) + " to " + d.cal.brief(r.End) + ": " + phaseWhat(s.Plan, r.Phase)
		}
		d.bar(i, r.Phase, r.Start, r.End, words)
	}
	if e := s.view().earliest(); !e.IsZero() {
		x := d.scale.at(e)
		color := "#2e8540"
		if e.After(s.Plan.Cutover) {
			color = "#a3121f"
		}
		fmt.Fprintf(d, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s" stroke-width="1.5" stroke-dasharray="4 3"/>`+"\n", x, svgTop-8, x, d.bottom(), color)
		d.text(min(max(x, 160), svgWidth-160), svgTop-14, "middle", fmt.Sprintf(`fill="%s"`, color), "earliest flip "+d.cal.brief(e))
	}
	d.WriteString("</svg>\n")
	_, err := io.WriteString(w, d.String())
	return err
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
