package render

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
)

// Report is the sign-off report of a migration: what was done, when, and what
// the proof is. It is filled in from the plan, the journal and the manifests.
type Report struct {
	Migration string
	Source    string // keys of the hosts
	Target    string
	Plan      string // digest
	Number    int
	Timezone  string
	At        time.Time // when the report was made
	Complete  bool      // the migration is over
	Flipped   time.Time // zero: not yet
	Digests   []Digest  // of what the plan was made from

	Phases     []PhaseTime // in order; phases without a start are still to come
	Mailboxes  []MailboxReport
	DNS        []RecordReport
	Quarantine []Quarantined
	ByHand     []ByHandReport
	Approvals  []ApprovalReport
	Notices    []NoticeReport
	Checked    []CheckedReport // what was compared after the flip
	Probes     []ProbeReport
	Late       []LateSender // hosts that sent mail to the old MX after the flip
	Open       []string     // what stands in the way of signing off: failed, drifted, not done
}

// PhaseTime is when a phase really happened.
type PhaseTime struct {
	Phase      plan.Phase
	Start, End time.Time
}

// MailboxReport counts one mailbox at both sides.
type MailboxReport struct {
	Source, Target string // addresses
	Messages       int    // at the source, without what was left out
	Copied         int    // of them at the target by manifest
	Quarantined    int
	LeftOut        int // in folders that the configuration excludes
	Octets         int64
	Folders        []FolderReport
	Manifest       string // file in archive/, "" = not archived yet
	SHA256         string // of that file, in hex
}

// FolderReport counts one folder at both sides.
type FolderReport struct {
	Source, Target   string
	Messages, Copied int
}

// RecordReport is a record set before and after. Before and After are lines
// as plan.RRset.Lines writes them.
type RecordReport struct {
	Domain, Type, Name string
	Before, After      []string
	At                 time.Time // when the new one was seen everywhere; zero = not yet
}

// Quarantined is a message that the target refused. Subjects stay out of reports.
type Quarantined struct {
	Mailbox, Folder string
	UID             uint32
	Octets          int64
	Reason          string // the target's words
	File            string // under .mxodus/quarantine
}

// ByHandReport is a step that a person did.
type ByHandReport struct {
	Step string
	Done time.Time // zero: not done
	How  string    // "proven", or whose word it was
}

// ApprovalReport is a gate and who agreed to open it.
type ApprovalReport struct {
	Gate   string
	By     []string
	Opened time.Time // zero: still shut
	Checks []string
	Agreed []AgreedReport
}

// AgreedReport is one person's approval of a gate.
type AgreedReport struct {
	By          string
	At, Expires time.Time // Expires zero: never
	Number      int       // of the plan that was agreed to
	Plan        string    // its digest
}

// Digest is a named one.
type Digest struct{ Name, Value string }

// CheckedReport is a comparison after the flip.
type CheckedReport struct {
	Step string
	Done time.Time // zero: not done
	How  string    // what was found
}

// ProbeReport is one message of a probe.
type ProbeReport struct {
	Probe, Way string // Way is "in", "old" or "out"
	From, To   string
	ID         string // Message-ID
	Sent, Done time.Time
	Words      []string // what was found
	Failed     string   // why it did not pass
}

// NoticeReport is a message to people.
type NoticeReport struct {
	Name       string
	Recipients int
	At         time.Time
}

// totals adds the mailboxes up.
func (r Report) totals() MailboxReport {
	sum := MailboxReport{Source: plural(len(r.Mailboxes), "mailbox", "mailboxes")}
	for _, m := range r.Mailboxes {
		sum.Messages += m.Messages
		sum.Copied += m.Copied
		sum.Quarantined += m.Quarantined
		sum.LeftOut += m.LeftOut
		sum.Octets += m.Octets
	}
	return sum
}

// Missing is how many messages are neither at the target nor accounted for.
func (m MailboxReport) Missing() int { return m.Messages - m.Copied - m.Quarantined }

// verdict is the report in one sentence.
func (r Report) verdict() string {
	sum := r.totals()
	s := fmt.Sprintf("%s of %s are at the target", Count(int64(sum.Copied)), plural(sum.Messages, "message", "messages"))
	if sum.Quarantined > 0 {
		s += fmt.Sprintf(", %s in quarantine", Count(int64(sum.Quarantined)))
	}
	if n := sum.Missing(); n > 0 {
		s += fmt.Sprintf(", %s missing", Count(int64(n)))
	} else {
		s += ", none missing"
	}
	if sum.LeftOut > 0 {
		s += fmt.Sprintf("; %s left out as configured", Count(int64(sum.LeftOut)))
	}
	return s + "."
}

func (r Report) calendar() calendar {
	var times []time.Time
	for _, p := range r.Phases {
		times = append(times, p.Start, p.End)
	}
	return newCalendar(r.Timezone, times...)
}

// ReportText writes the report for a terminal or a file.
func ReportText(w io.Writer, r Report, screen Screen) error {
	pg := newPage(screen)
	t := reportText{page: pg, r: r, cal: r.calendar()}
	t.header()
	t.phases()
	t.mailboxes()
	t.dns()
	t.people()
	return pg.flush(w)
}

type reportText struct {
	*page
	r   Report
	cal calendar
}

func (t *reportText) header() {
	title := t.esc(t.r.Migration)
	if t.r.Source != "" {
		title += "   " + t.esc(t.r.Source) + " " + t.arrow + " " + t.esc(t.r.Target)
	}
	t.sides(title, "report, plan "+planNumber(t.r.Number)+" "+t.esc(short(t.r.Plan)))
	state := "not complete"
	if t.r.Complete {
		state = "complete"
	}
	t.para(dim, "  ", state+" "+t.dot+" as of "+t.cal.full(t.r.At))
	t.blank()
	style := green
	if t.r.totals().Missing() > 0 {
		style = red
	}
	t.para(style, "  ", t.r.verdict())
	for _, o := range t.r.Open {
		t.para(red, "  "+pad(t.no, 2), t.esc(o))
	}
}

func (t *reportText) phases() {
	if len(t.r.Phases) == 0 {
		return
	}
	t.heading("Timeline", "")
	for _, p := range t.r.Phases {
		start, end := t.cal.full(p.Start), t.cal.full(p.End)
		if start == "" {
			start = "to come"
		} else if end == "" {
			end = "not over"
		}
		t.line("    ", pad(phaseTitle(p.Phase), 14), pad(start, 30), end)
	}
}

func (t *reportText) mailboxes() {
	if len(t.r.Mailboxes) == 0 {
		return
	}
	t.heading("Mailboxes", "")
	name := min(44, t.Width-4-43)
	t.line("    ", t.paint(dim, pad("", name)+fmt.Sprintf("%10s %10s %10s %10s", "messages", "copied", "quarant.", "left out")))
	for _, m := range t.r.Mailboxes {
		title := t.esc(m.Source)
		if m.Target != m.Source {
			title += " " + t.arrow + " " + t.esc(m.Target)
		}
		t.counts(title, name, 0, bold, m.Messages, m.Copied, m.Quarantined, m.LeftOut)
		for _, f := range m.Folders {
			title := t.esc(f.Source)
			if f.Target != f.Source {
				title += " " + t.arrow + " " + t.esc(f.Target)
			}
			t.counts(title, name, 2, "", f.Messages, f.Copied)
		}
		if m.Manifest != "" {
			t.para(dim, "      ", "manifest "+t.esc(m.Manifest)+" sha256 "+t.esc(m.SHA256))
		}
	}
	if len(t.r.Mailboxes) > 1 {
		sum := t.r.totals()
		t.counts(sum.Source, name, 0, bold, sum.Messages, sum.Copied, sum.Quarantined, sum.LeftOut)
	}
}

func (t *reportText) counts(title string, name, indent int, style string, figures ...int) {
	lead := strings.Repeat(" ", 4+indent)
	if columns(title) > name-indent-2 {
		t.para(style, lead, title)
		title = ""
	}
	line := pad(title, name-indent)
	for _, f := range figures {
		line += fmt.Sprintf("%10s ", Count(int64(f)))
	}
	t.line(lead, t.paint(style, strings.TrimRight(line, " ")))
}

func (t *reportText) dns() {
	if len(t.r.DNS) > 0 {
		t.heading("DNS", "")
	}
	for _, d := range t.r.DNS {
		at := "not seen everywhere yet"
		if !d.At.IsZero() {
			at = "seen everywhere " + t.cal.full(d.At)
		}
		t.para("", "    ", t.esc(d.Type+" "+d.Name)+" in "+t.esc(d.Domain)+", "+at)
		t.records("before", d.Before)
		t.records("after", d.After)
	}
}

func (t *reportText) records(title string, lines []string) {
	if len(lines) == 0 {
		lines = []string{"not there"}
	}
	for _, l := range lines {
		t.para(dim, "      "+pad(title, 8), t.esc(l))
		title = ""
	}
}

func (t *reportText) people() {
	if len(t.r.Quarantine) > 0 {
		t.heading("Quarantine", "")
		for _, q := range t.r.Quarantine {
			t.para("", "    ", fmt.Sprintf("%s, %s, UID %d, %s", t.esc(q.Mailbox), t.esc(q.Folder), q.UID, Size(q.Octets)))
			t.para(dim, "      ", t.esc(q.Reason))
			t.para(dim, "      ", t.esc(q.File))
		}
	}
	t.validation()
	t.lateSenders(t.r.Late, t.cal)
	if len(t.r.ByHand) > 0 {
		t.heading("By hand", "")
		for _, b := range t.r.ByHand {
			t.para("", "    ", t.esc(b.Step)+": "+t.esc(b.outcome(t.cal)))
		}
	}
	if len(t.r.Approvals) > 0 {
		t.heading("Gates", "")
		for _, a := range t.r.Approvals {
			t.para("", "    ", t.esc(a.Gate)+": "+t.esc(a.outcome(t.cal)))
			for _, g := range a.Agreed {
				t.para("", "      ", t.esc(g.agreement(t.cal)))
			}
			for _, c := range a.Checks {
				t.para(dim, "      ", t.esc(c))
			}
		}
	}
	if len(t.r.Notices) > 0 {
		t.heading("Notices", "")
		for _, n := range t.r.Notices {
			t.para("", "    ", t.esc(n.Name)+" to "+plural(n.Recipients, "recipient", "recipients")+", "+t.cal.full(n.At))
		}
	}
}

func (t *reportText) validation() {
	if len(t.r.Checked)+len(t.r.Probes) > 0 {
		t.heading("Validation", "")
	}
	for _, c := range t.r.Checked {
		how := "not done"
		if !c.Done.IsZero() {
			how = c.How
		}
		t.para("", "    ", t.esc(c.Step)+": "+t.esc(how))
	}
	for _, p := range t.r.Probes {
		style := ""
		if p.Failed != "" {
			style = red
		}
		t.para(style, "    ", "probe "+t.esc(p.Probe)+" "+t.esc(p.route())+": "+t.esc(p.outcome(t.cal)))
	}
}

func (b ByHandReport) outcome(cal calendar) string {
	if b.Done.IsZero() {
		return "not done"
	}
	return strings.TrimSuffix("done "+cal.full(b.Done)+", "+b.How, ", ")
}

func (a ApprovalReport) outcome(cal calendar) string {
	s := "still shut"
	if !a.Opened.IsZero() {
		s = "opened " + cal.full(a.Opened)
	}
	if len(a.By) > 0 {
		s += ", approved by " + strings.Join(a.By, " and ")
	}
	return s
}
