package render

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
)

// Status is where a migration is. Whoever fills it in reads the plan, the
// journal and the clock, nothing else.
type Status struct {
	Migration string
	Plan      string // digest
	Number    int
	Timezone  string
	At        time.Time  // when the status was taken
	Rollback  plan.Phase // of a rollback plan: the phase whose end it goes back to

	Phase    plan.Phase // the first that isn't done; the last one when all are
	Since    time.Time  // zero: it hasn't begun
	Complete bool
	Steps    StepCounts
	Phases   []PhaseStatus // in order

	Next      *Next // nil: something is due now, or nothing is left
	BlockedBy []Blocker
	Mailboxes []MailboxStatus
	Drift     []Drift
	Failures  []Failure
	ToDo      []ToDo   // by-hand steps that are due and not done
	Unsure    []string // recipients whose notice may or may not have arrived
	Late      []LateSender
	Servers   []RecordServers // of the records of the flip that were written
	Running   string          // who holds the lease, in words; "" = nobody
	NextDelta *NextDelta      // nil: no further pass is planned
}

// StepCounts add up to the plan's steps. ByHand are those of the waiting ones
// that wait for a person.
type StepCounts struct{ Total, Done, Failed, Waiting, ByHand int }

// PhaseStatus is one phase. Start and End are forecasts until they are past.
type PhaseStatus struct {
	Phase       plan.Phase
	Done, Total int // steps
	Start, End  time.Time
	Complete    bool
}

// Next is what the migration waits for.
type Next struct {
	Kind  string // "time", "ttl", "approval", "by_hand", "check"
	Gate  string
	Step  string
	Until time.Time // zero: not known
	Who   string    // who is needed, in words; "" = nobody
}

// NextDelta is what the next round of passes is expected to bring.
type NextDelta struct {
	At               time.Time
	Mailboxes, Known int // Known: those whose figures are in the sums
	Messages         int
	Octets           int64
	Takes            time.Duration
}

// Blocker is a check that says no.
type Blocker struct {
	Check  string
	Gate   string
	Words  []string
	Remedy string
}

// MailboxStatus is how far one mailbox is.
type MailboxStatus struct {
	Address     string // at the source
	Messages    int    // at the source
	Copied      int    // of them, at the target
	Quarantined int
	Doubt       int
	Octets      int64     // copied
	LastPass    time.Time // end of the last one; zero = none yet
	Note        string    // what it waits for, in words
}

// Drift is a step that met neither what it wants nor what it was planned against.
type Drift struct {
	Step        string
	Want, Found []string
}

// Failure is a step that failed when it last ran.
type Failure struct {
	Step, Error, Remedy string
	At                  time.Time
}

// ToDo is a step that a person does.
type ToDo struct {
	Step         string
	Instructions []string
	Proof        bool // a probe proves it; otherwise `mxodus done STEP` does
}

// StatusText writes the status for a terminal.
func StatusText(w io.Writer, s Status, screen Screen) error {
	pg := newPage(screen)
	t := statusText{page: pg, s: s, cal: statusCalendar(s)}
	t.header()
	t.phases()
	t.next()
	t.delta()
	t.toDo()
	t.servers()
	t.trouble()
	t.mailboxes()
	return pg.flush(w)
}

func statusCalendar(s Status) calendar {
	var times []time.Time
	for _, p := range s.Phases {
		times = append(times, p.Start, p.End)
	}
	if s.Next != nil {
		times = append(times, s.Next.Until)
	}
	return newCalendar(s.Timezone, times...)
}

type statusText struct {
	*page
	s   Status
	cal calendar
}

func (t *statusText) header() {
	where := "in " + phaseTitle(t.s.Phase)
	switch {
	case t.s.Rollback != "" && t.s.Complete:
		where = "rolled back to the end of " + phaseTitle(t.s.Rollback) + "; to go on: mxodus plan"
	case t.s.Rollback != "":
		where = "going back to the end of " + phaseTitle(t.s.Rollback)
	case t.s.Complete:
		where = "complete"
	case !t.s.Since.IsZero():
		where += " since " + t.cal.full(t.s.Since)
	default:
		where = phaseTitle(t.s.Phase) + " has not begun"
	}
	t.sides(t.esc(t.s.Migration)+"   "+where, "plan "+planNumber(t.s.Number)+" "+t.esc(short(t.s.Plan)))
	c := t.s.Steps
	facts := []string{fmt.Sprintf("%d of %s done", c.Done, plural(c.Total, "step", "steps"))}
	if c.Failed > 0 {
		facts = append(facts, fmt.Sprintf("%d failed", c.Failed))
	}
	if c.Waiting > 0 {
		facts = append(facts, fmt.Sprintf("%d waiting", c.Waiting))
	}
	if c.ByHand > 0 {
		facts = append(facts, fmt.Sprintf("%d by hand", c.ByHand))
	}
	if len(t.s.Drift) > 0 {
		facts = append(facts, fmt.Sprintf("%d drifted", len(t.s.Drift)))
	}
	facts = append(facts, "as of "+t.cal.full(t.s.At))
	t.para(dim, "  ", strings.Join(facts, " "+t.dot+" "))
	if t.s.Running != "" {
		t.para(dim, "  ", "running now: "+t.esc(t.s.Running))
	}
}

func (t *statusText) phases() {
	if len(t.s.Phases) == 0 || t.s.Rollback != "" {
		return // a rollback waits for no phase
	}
	t.blank()
	when := 17
	if t.cal.seconds {
		when = 20
	}
	t.line("    ", t.paint(dim, pad("Phase", 14)+pad("Starts", when)+pad("Ends", when)+"Steps"))
	for _, p := range t.s.Phases {
		sign, style := " ", ""
		switch {
		case p.Complete:
			sign, style = t.yes, green
		case p.Phase == t.s.Phase:
			sign, style = t.flip, bold
		}
		steps := t.dash
		if p.Total > 0 {
			steps = fmt.Sprintf("%d of %d", p.Done, p.Total)
		}
		start, end := t.cal.brief(p.Start), t.cal.brief(p.End)
		if start == "" {
			start = t.more
		}
		if end == "" {
			end = t.more
		}
		t.line("  ", t.paint(style, pad(sign, 2)), t.paint(style, pad(phaseTitle(p.Phase), 14)), pad(start, when), pad(end, when), steps)
	}
}

func (t *statusText) next() {
	if t.s.Complete {
		return
	}
	n := t.s.Next
	if n == nil {
		t.heading("Next", "")
		t.para("", "    ", "something is due now: run mxodus apply")
		return
	}
	t.heading("Next", "")
	text := map[string]string{
		"time": "waits for its time", "ttl": "waits for old records to expire from caches",
		"approval": "waits for an approval", "by_hand": "waits for a person", "check": "waits for a check that says no",
	}[n.Kind]
	if text == "" {
		text = "waits for " + t.esc(n.Kind)
	}
	if n.Step != "" {
		text = t.esc(n.Step) + " " + text
	}
	if n.Gate != "" {
		text += ", gate " + t.esc(n.Gate)
	}
	if !n.Until.IsZero() {
		text += ", until " + t.cal.full(n.Until)
		if d := n.Until.Sub(t.s.At); d > 0 {
			text += " (in " + Span(d) + ")"
		}
	}
	t.para("", "    ", text)
	if n.Who != "" {
		t.para("", "    ", "needed: "+t.esc(n.Who))
	}
	if n.Kind == "approval" && n.Gate != "" {
		t.para(cyan, "    ", "mxodus approve "+t.esc(n.Gate))
	}
}

// delta forecasts the next round of passes.
func (t *statusText) delta() {
	d := t.s.NextDelta
	if d == nil || t.s.Complete {
		return
	}
	t.heading("Next passes", "")
	text := "over " + plural(d.Mailboxes, "mailbox", "mailboxes") + ", from " + t.cal.full(d.At)
	if d.Known == 0 {
		t.para("", "    ", text+"; what they bring is known after the second pass over a mailbox")
		return
	}
	text += fmt.Sprintf(": about %s, %s, %s", plural(d.Messages, "message", "messages"), Size(d.Octets), Span(d.Takes))
	if d.Known < d.Mailboxes {
		text += fmt.Sprintf(" for %d of them, by their last two passes", d.Known)
	} else {
		text += ", by the last two passes"
	}
	t.para("", "    ", text)
}

func (t *statusText) toDo() {
	if len(t.s.ToDo) == 0 {
		return
	}
	t.heading("To do by hand", "")
	for _, d := range t.s.ToDo {
		t.para("", "    ", t.esc(d.Step))
		for _, l := range d.Instructions {
			t.para(dim, "        ", t.esc(l))
		}
		if !d.Proof {
			t.para(cyan, "        ", "then: mxodus done "+t.esc(d.Step))
		}
	}
}

func (t *statusText) trouble() {
	if len(t.s.BlockedBy) > 0 {
		t.heading("Blocked by", "")
		for _, b := range t.s.BlockedBy {
			gate := ""
			if b.Gate != "" {
				gate = "  (gate " + t.esc(b.Gate) + ")"
			}
			t.para(red, "  "+pad(t.no, 2), t.esc(b.Check)+gate)
			for _, l := range b.Words {
				t.para("", "        ", t.esc(l))
			}
			if b.Remedy != "" {
				t.para(dim, "        ", t.esc(b.Remedy))
			}
		}
	}
	if len(t.s.Failures) > 0 {
		t.heading("Failed", "")
		for _, f := range t.s.Failures {
			t.para("", "    ", t.esc(f.Step))
			t.para(red, "        ", t.esc(f.Error))
			if f.Remedy != "" {
				t.para(dim, "        ", t.esc(f.Remedy))
			}
		}
	}
	if len(t.s.Unsure) > 0 {
		t.heading("Sent or not", "")
		t.para("", "    ", "The server took the connection down before it answered: ask whether the notice arrived.")
		for _, u := range t.s.Unsure {
			t.para("", "      ", t.esc(u))
		}
	}
	t.lateSenders(t.s.Late, t.cal)
	if len(t.s.Drift) > 0 {
		t.heading("Drift", "")
		for _, d := range t.s.Drift {
			t.para("", "    ", t.esc(d.Step))
			t.both("planned against", d.Want)
			t.both("found", d.Found)
		}
	}
}

func (t *statusText) both(title string, lines []string) {
	if len(lines) == 0 {
		lines = []string{"nothing"}
	}
	for i, l := range lines {
		lead := "        " + pad(title, 17)
		if i > 0 {
			lead = strings.Repeat(" ", 8+17)
		}
		t.para(yellow, lead, t.esc(l))
	}
}

func (t *statusText) mailboxes() {
	if len(t.s.Mailboxes) == 0 {
		return
	}
	var sum MailboxStatus
	for _, m := range t.s.Mailboxes {
		sum.Messages += m.Messages
		sum.Copied += m.Copied
		sum.Quarantined += m.Quarantined
		sum.Doubt += m.Doubt
		sum.Octets += m.Octets
	}
	sum.Address = plural(len(t.s.Mailboxes), "mailbox", "mailboxes")
	t.heading("Mailboxes", "")
	name := columns(sum.Address)
	for _, m := range t.s.Mailboxes {
		name = max(name, columns(t.esc(m.Address)))
	}
	// Three columns of figures, the rest is for names and notes.
	name = min(name+2, max(20, t.Width-4-34))
	t.line("    ", t.paint(dim, pad("", name)+fmt.Sprintf("%11s %11s %6s", "messages", "copied", "")))
	for _, m := range t.s.Mailboxes {
		t.mailbox(m, name, "")
	}
	if len(t.s.Mailboxes) > 1 {
		t.mailbox(sum, name, bold)
	}
}

func (t *statusText) mailbox(m MailboxStatus, name int, style string) {
	address := t.esc(m.Address)
	if columns(address) >= name {
		t.para(style, "    ", address)
		address = ""
	}
	share := ""
	if m.Messages > 0 {
		share = percent(m.Copied, m.Messages)
	}
	line := pad(address, name) + fmt.Sprintf("%11s %11s %6s", Count(int64(m.Messages)), Count(int64(m.Copied)), share)
	var notes []string
	if m.Octets > 0 {
		notes = append(notes, Size(m.Octets))
	}
	if m.Quarantined > 0 {
		notes = append(notes, fmt.Sprintf("%d quarantined", m.Quarantined))
	}
	if m.Doubt > 0 {
		notes = append(notes, fmt.Sprintf("%d in doubt", m.Doubt))
	}
	if m.Note != "" {
		notes = append(notes, t.esc(m.Note))
	}
	note := strings.Join(notes, ", ")
	if 4+columns(line)+2+columns(note) <= t.Width {
		t.line("    ", t.paint(style, line), "  ", t.paint(dim, note))
		return
	}
	t.line("    ", t.paint(style, line))
	t.para(dim, "        ", note)
}

// percent rounds down, so that 100 % means all of them.
func percent(part, whole int) string {
	if whole <= 0 {
		return ""
	}
	return fmt.Sprintf("%d %%", part*100/whole)
}
