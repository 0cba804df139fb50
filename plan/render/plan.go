package render

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/plan/timeline"
)

// PlanView is what a plan is shown with: figures that are no part of it
// because they change from day to day, and the look of the screen.
type PlanView struct {
	Screen
	Forecast  []timeline.Row       // nil: the phases' own times are shown
	Estimates *inventory.Estimates // nil: no sizes
	Outlook   []plan.Finding       // what the estimates let expect; shown with the plan's own checks
	Replaces  int                  // number of the plan that this one supersedes, 0 = none
	Rows      int                  // how many mailboxes, subjects or records a list names; 0 = 40, < 0 = all
}

// earliest is the earliest possible flip; zero = not known.
func (v PlanView) earliest() time.Time {
	for _, r := range v.Forecast {
		if r.Phase == plan.Flip {
			return r.Earliest
		}
	}
	return time.Time{}
}

// Plan writes the review of a plan for a terminal: what is there, when it
// happens, what changes, what stands against it.
func Plan(w io.Writer, p *plan.Plan, v PlanView) error {
	pg := newPage(v.Screen)
	if v.Rows == 0 {
		v.Rows = 40
	}
	t := planText{page: pg, plan: p, view: v, o: outlineOf(p), cal: planCalendar(p, v)}
	t.header()
	if len(p.Steps) == 0 {
		// Nothing happens, so there is no when, no gate and no way back; what
		// stands against something is still worth reading.
		t.o.Passes = nil
		t.view.Outlook = nil
		t.checks()
		t.footer()
		return pg.flush(w)
	}
	t.timeline()
	t.mailboxes()
	t.directory()
	t.dns()
	t.byHand()
	t.notices()
	t.gates()
	t.checks()
	t.footer()
	return pg.flush(w)
}

// planCalendar shows seconds where the whole schedule fits a day.
func planCalendar(p *plan.Plan, v PlanView) calendar {
	times := []time.Time{p.Cutover}
	for _, r := range v.Forecast {
		times = append(times, r.Start, r.End)
	}
	if len(times) == 1 {
		return calendar{loc: location(p.Timezone)}
	}
	return newCalendar(p.Timezone, times...)
}

type planText struct {
	*page
	plan *plan.Plan
	view PlanView
	o    outline
	cal  calendar
}

func (t *planText) header() {
	left := t.esc(t.plan.Name)
	if len(t.o.From) > 0 {
		left += "   " + t.esc(hostTitles(t.o.From)) + " " + t.arrow + " " + t.esc(hostTitles(t.o.To))
	}
	right := "plan " + planNumber(t.plan.Number)
	if t.plan.Rollback != "" {
		right = "rollback " + right
	}
	if t.view.Replaces > 0 {
		right += ", replaces " + planNumber(t.view.Replaces)
	}
	t.sides(left, right)
	facts := planFacts(t.o, t.view.Estimates)
	facts = append(facts, "cutover "+t.cal.full(t.plan.Cutover))
	t.para(dim, "  ", strings.Join(facts, " "+t.dot+" "))
	if t.plan.Digest != "" {
		t.line("  ", t.paint(dim, t.plan.Digest))
	}
}

// planFacts are the figures of the first lines.
func planFacts(o outline, est *inventory.Estimates) []string {
	facts := []string{plural(len(o.Boxes), "mailbox", "mailboxes")}
	if est == nil {
		return facts
	}
	var octets, messages int64
	for _, b := range o.Boxes {
		if e, ok := sizeOf(est, b.Source); ok {
			octets, messages = octets+max(0, e.octets), messages+e.messages
		}
	}
	if messages > 0 {
		if octets > 0 || messages == 0 { // many hosts don't tell (no STATUS=SIZE)
			facts = append(facts, Size(octets))
		}
		facts = append(facts, plural(int(messages), "message", "messages"))
	}
	return facts
}

func (t *planText) timeline() {
	if len(t.view.Forecast) == 0 && len(t.plan.Schedule) == 0 {
		return // a rollback plan waits for nothing
	}
	t.blank()
	when := 17
	if t.cal.seconds {
		when = 20
	}
	rows := forecastRows(t.plan, t.view, t.cal, t.more)
	t.line("  ", t.paint(dim, pad("Phase", 14)+pad("Starts", when)+pad("Ends", when)+"What happens"))
	indent := 2 + 14 + 2*when
	for _, r := range rows {
		lead := "  "
		style := ""
		if r.phase == plan.Flip {
			lead, style = pad(t.flip, 2), bold
		}
		head := lead + t.paint(style, pad(phaseTitle(r.phase), 14)) + pad(r.starts, when) + pad(r.ends, when)
		for i, l := range wrap(t.esc(r.what), t.Width-indent) {
			if i > 0 {
				head = strings.Repeat(" ", indent)
			}
			t.line(head, l)
		}
		if r.phase == plan.Flip && !t.view.earliest().IsZero() {
			style := dim
			if t.view.earliest().After(t.plan.Cutover) {
				style = red
			}
			for _, l := range wrap("earliest possible "+t.cal.brief(t.view.earliest()), t.Width-indent) {
				t.line(strings.Repeat(" ", indent), t.paint(style, l))
			}
		}
	}
}

// forecastRow is a phase as every view prints it.
type forecastRow struct {
	phase              plan.Phase
	starts, ends, what string
}

func forecastRows(p *plan.Plan, v PlanView, cal calendar, unknown string) []forecastRow {
	var rows []forecastRow
	if len(v.Forecast) == 0 {
		for _, w := range p.Schedule {
			rows = append(rows, forecastRow{w.Phase, w.Start.String(), w.Until.String(), phaseWhat(p, w.Phase)})
		}
		return rows
	}
	for _, r := range v.Forecast {
		row := forecastRow{r.Phase, cal.brief(r.Start), cal.brief(r.End), r.What}
		if row.starts == "" {
			row.starts = unknown
		}
		if row.ends == "" {
			row.ends = unknown
		}
		if row.what == "" {
			row.what = phaseWhat(p, r.Phase)
		}
		rows = append(rows, row)
	}
	return rows
}

// phaseWhat counts a phase's steps: record sets with their types, the rest by
// what is done.
func phaseWhat(p *plan.Plan, ph plan.Phase) string {
	counts := map[plan.Action]int{}
	var types []string
	var settle time.Duration
	sets, byHand := 0, true
	for _, s := range p.Steps {
		if s.Phase != ph {
			continue
		}
		if parts := strings.SplitN(s.Address, "/", 4); parts[0] == "dns" && len(parts) > 2 {
			sets++
			settle, byHand = max(settle, s.Settle), byHand && s.Action == plan.ByHand
			if !slices.Contains(types, parts[2]) {
				types = append(types, parts[2])
			}
			continue
		}
		counts[s.Action]++
	}
	var parts []string
	if sets > 0 {
		text := plural(sets, "record set", "record sets") + " (" + strings.Join(types, ", ") + ")"
		if byHand {
			text += " by hand"
		}
		if ph == plan.LowerTTL && settle > 0 {
			text += ", wait out " + Span(settle)
		}
		parts = append(parts, text)
	}
	for _, a := range []struct {
		action    plan.Action
		one, many string
	}{
		{plan.Copy, "mailbox", "mailboxes"}, {plan.Create, "created", "created"}, {plan.Change, "changed", "changed"},
		{plan.Delete, "deleted", "deleted"}, {plan.ByHand, "step by hand", "steps by hand"}, {plan.Send, "notice", "notices"},
		{plan.Check, "check", "checks"}, {plan.Wait, "wait", "waits"},
	} {
		if n := counts[a.action]; n > 0 {
			parts = append(parts, plural(n, a.one, a.many))
		}
	}
	if len(parts) == 0 {
		return "nothing to do"
	}
	return strings.Join(parts, ", ")
}

func (t *planText) limit(n int) int {
	if t.view.Rows < 0 {
		return n
	}
	return min(n, t.view.Rows)
}

func (t *planText) dns() {
	for _, z := range t.o.Zones {
		t.heading("DNS", t.esc(z.Domain))
		typ, name := 6, 6
		for _, r := range z.Sets {
			typ, name = max(typ, columns(t.esc(r.Type))+2), max(name, columns(t.esc(r.Name))+2)
		}
		name = min(name, 24)
		for _, r := range z.Sets {
			t.record(r, typ, name)
		}
		if z.Rest != "" {
			t.para(dim, "  "+t.more+" ", t.esc(z.Rest))
		}
	}
}

// record writes one record set: what it is now, then a line for each change.
func (t *planText) record(r rrset, typ, name int) {
	style := map[string]string{"+": green, "-": red, "~": yellow}[r.sign()]
	indent := 4 + typ + name
	head := "  " + t.paint(style, r.sign()) + " " + pad(t.esc(r.Type), typ) + pad(t.esc(r.Name), name)
	if columns(t.esc(r.Name)) >= name {
		t.line(head)
		head = strings.Repeat(" ", indent)
	}
	now, ttl := r.data(r.Steps[0].From)
	if len(now) == 0 {
		now = []string{"not there now"}
	}
	tail := ""
	if ttl > 0 {
		tail = fmt.Sprintf("TTL %d", ttl)
	}
	t.values(head, "", now, tail)
	for _, c := range r.changes() {
		lead := strings.Repeat(" ", indent-3) + t.paint(style, t.arrow) + strings.Repeat(" ", 3-columns(t.arrow))
		when := "at " + phaseTitle(c.Phase)
		if t.plan.Rollback != "" {
			when = "at once"
		}
		if !c.Start.IsZero() {
			when += ", " + c.Start.String()
		}
		if c.ByHand {
			when += ", by hand"
		}
		switch {
		case c.Gone:
			t.values(lead, "", []string{"removed"}, when)
		case c.Data == nil:
			text := fmt.Sprintf("TTL %d", c.TTL)
			if c.Settle > 0 {
				text += ", wait out " + Span(c.Settle)
			}
			t.values(lead, "", []string{text}, when)
		default:
			if c.TTL > 0 {
				when = fmt.Sprintf("TTL %d  %s", c.TTL, when)
			}
			t.values(lead, style, c.Data, when)
		}
	}
}

// values writes data behind lead (whose cells are counted without colours) with
// tail at the right edge of the last line, or below it.
func (t *planText) values(lead, style string, data []string, tail string) {
	indent := columns(stripColor(lead))
	for i, d := range data {
		d = t.esc(d)
		lines := wrap(d, t.Width-indent)
		for j, l := range lines {
			end := i == len(data)-1 && j == len(lines)-1
			gap := t.Width - indent - columns(l) - columns(tail)
			switch {
			case !end || tail == "":
				t.line(lead, t.paint(style, l))
			case gap >= 2:
				t.line(lead, t.paint(style, l), strings.Repeat(" ", gap), t.paint(dim, tail))
			default:
				t.line(lead, t.paint(style, l))
				t.line(strings.Repeat(" ", max(indent, t.Width-columns(tail))), t.paint(dim, tail))
			}
			lead = strings.Repeat(" ", indent)
		}
	}
}

// stripColor takes out the sequences that paint puts in; nothing else of the
// kind is left in escaped text.
func stripColor(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "\x1b[")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		_, s, _ = strings.Cut(after, "m")
	}
}

func (t *planText) notices() {
	if len(t.o.Notices) == 0 {
		return
	}
	t.heading("Notices", "")
	for _, s := range t.o.Notices {
		_, name, _ := strings.Cut(s.Address, "/")
		t.para("", "    ", t.esc(name)+" to "+plural(len(s.To), "recipient", "recipients"))
		for _, d := range s.Detail {
			t.para(dim, "        ", t.esc(d))
		}
	}
}

func (t *planText) gates() {
	if len(t.o.GatesUsed) == 0 {
		return
	}
	t.heading("Gates", "")
	for _, g := range t.o.GatesUsed {
		var before []string
		for _, p := range g.Phases {
			before = append(before, phaseTitle(p))
		}
		t.para("", "    ", t.esc(g.Name)+", before "+strings.Join(before, " and ")+": "+t.esc(g.approvals()))
		for _, c := range g.Require {
			t.para(dim, "        ", t.esc(c.String()))
		}
	}
}

func (t *planText) checks() {
	o := t.o
	if len(o.Blocks)+len(o.Warns)+len(o.Passes)+len(t.view.Outlook) == 0 {
		return
	}
	t.heading("Checks", "")
	for _, f := range o.Blocks {
		t.finding(red, t.no, strings.TrimSpace("blocks "+t.esc(gateTitle(f.Gate))), f)
	}
	for _, f := range slices.Concat(o.Warns, t.view.with(plan.Warns)) {
		t.finding(yellow, "!", "warns", f)
	}
	passes := slices.Concat(o.Passes, t.view.with(plan.Passes))
	if t.view.Rows < 0 {
		for _, f := range passes {
			t.finding(green, t.yes, "passes", f)
		}
	} else if len(passes) > 0 {
		t.finding(green, t.yes, fmt.Sprintf("%d pass", len(passes)), plan.Finding{Summary: checkNames(passes)})
	}
}

// with are the findings of the day of that weight.
func (v PlanView) with(s plan.Severity) []plan.Finding {
	return slices.DeleteFunc(slices.Clone(v.Outlook), func(f plan.Finding) bool { return f.Severity != s })
}

// checkNames lists the checks of findings, each once.
func checkNames(list []plan.Finding) string {
	var names []string
	for _, f := range list {
		if !slices.Contains(names, f.Check) {
			names = append(names, f.Check)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func gateTitle(gate string) string {
	if p := plan.Phase(gate); p.Valid() {
		return phaseTitle(p)
	}
	return gate
}

func (t *planText) finding(style, sign, weight string, f plan.Finding) {
	text := t.esc(f.Summary)
	if f.Subject != "" && !strings.Contains(f.Summary, f.Subject) {
		text = t.esc(f.Subject) + ": " + text
	}
	lead := "  " + t.paint(style, pad(sign, 2)) + t.paint(style, pad(weight, 14)) + "  "
	indent := columns(stripColor(lead))
	for _, l := range wrap(text, t.Width-indent) {
		t.line(lead, l)
		lead = strings.Repeat(" ", indent)
	}
	for i, d := range f.Detail {
		if n := t.limit(len(f.Detail)); i == n {
			t.rest(lead+"  ", len(f.Detail)-n, "of them")
			break
		}
		t.para("", lead+"  ", t.esc(d))
	}
	remedy := t.esc(f.Remedy)
	if pos := f.Pos.String(); pos != "" {
		remedy = strings.TrimSpace(remedy + "  " + t.esc(pos))
	}
	if remedy != "" {
		t.para(dim, lead, remedy)
	}
}

func (t *planText) footer() {
	t.blank()
	if len(t.plan.Steps) == 0 {
		t.para(bold, "", "Nothing to do: the world is as the configuration wants it.")
		return
	}
	t.para(bold, "", t.o.sentence())
	t.para("", "", t.o.rollback(t.plan))
}
