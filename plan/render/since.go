package render

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
)

// changes are what a plan has that an earlier one had not, and the other way
// round. Step by step, not line by line: a step that moved in the file is no
// change.
type changes struct {
	Facts         []string // header, schedule, gates: in words
	Added, Gone   []plan.Step
	Changed       []stepChange
	NewFindings   []plan.Finding
	NoMoreFinding []plan.Finding
}

// stepChange is a step that both plans have.
type stepChange struct {
	Address string   `json:"address"`
	Facts   []string `json:"facts"`
}

func (c changes) none() bool {
	return len(c.Facts)+len(c.Added)+len(c.Gone)+len(c.Changed)+len(c.NewFindings)+len(c.NoMoreFinding) == 0
}

// changesSince compares a plan with an earlier one of the same migration.
func changesSince(old, p *plan.Plan) changes {
	var c changes
	fact := func(what, a, b string) {
		if a != b {
			c.Facts = append(c.Facts, what+": "+was(a)+" → "+was(b))
		}
	}
	cal := calendar{loc: location(p.Timezone)}
	if old.Lineage != p.Lineage {
		c.Facts = append(c.Facts, "the plans belong to different migrations: lineage "+old.Lineage+" and "+p.Lineage)
	}
	if !old.Cutover.Equal(p.Cutover) {
		fact("cutover", cal.full(old.Cutover), cal.full(p.Cutover))
	}
	fact("time zone", old.Timezone, p.Timezone)
	for _, ph := range plan.Phases() {
		a, b := old.Window(ph), p.Window(ph)
		at := phaseTitle(ph)
		fact(at+" starts", a.Start.String(), b.Start.String())
		fact(at+" ends", a.Until.String(), b.Until.String())
		fact(at+" hours", a.Hours, b.Hours)
		fact(at+" repeats after", span(a.Repeat), span(b.Repeat))
		fact(at+" gate", a.Gate, b.Gate)
	}
	var names []string
	for _, g := range slices.Concat(old.Gates, p.Gates) {
		if !slices.Contains(names, g.Name) {
			names = append(names, g.Name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		a, had := old.Gate(name)
		b, has := p.Gate(name)
		switch {
		case !had:
			c.Facts = append(c.Facts, "gate "+name+" is new")
		case !has:
			c.Facts = append(c.Facts, "gate "+name+" is gone")
		default:
			fact("gate "+name+" asks", refs(a.Require), refs(b.Require))
			fact("gate "+name+" approval", gateUse{Gate: a}.approvals(), gateUse{Gate: b}.approvals())
		}
	}
	for _, s := range p.Steps {
		before, ok := old.Step(s.Address)
		if !ok {
			c.Added = append(c.Added, s)
		} else if facts := stepFacts(before, s); len(facts) > 0 {
			c.Changed = append(c.Changed, stepChange{s.Address, facts})
		}
	}
	for _, s := range old.Steps {
		if _, ok := p.Step(s.Address); !ok {
			c.Gone = append(c.Gone, s)
		}
	}
	c.NewFindings = findingsOnlyIn(p, old)
	c.NoMoreFinding = findingsOnlyIn(old, p)
	if c.none() {
		// Nothing that a reader would see, and yet not the same.
		for _, h := range []struct{ what, a, b string }{{"configuration", old.Config, p.Config}, {"inventory", old.Inventory, p.Inventory}} {
			if h.a != h.b {
				c.Facts = append(c.Facts, "the "+h.what+" is another, without an effect on any step")
			}
		}
	}
	return c
}

func was(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func refs(list []plan.CheckRef) string {
	var out []string
	for _, r := range list {
		out = append(out, r.String())
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// stepFacts are what differs between two steps of one address.
func stepFacts(a, b plan.Step) []string {
	var facts []string
	fact := func(what, x, y string) {
		if x != y {
			facts = append(facts, what+": "+was(x)+" → "+was(y))
		}
	}
	lines := func(what string, x, y []string) {
		for _, l := range x {
			if !slices.Contains(y, l) {
				facts = append(facts, what+": - "+l)
			}
		}
		for _, l := range y {
			if !slices.Contains(x, l) {
				facts = append(facts, what+": + "+l)
			}
		}
	}
	fact("phase", phaseTitle(a.Phase), phaseTitle(b.Phase))
	fact("action", string(a.Action), string(b.Action))
	for _, side := range []struct {
		name string
		a, b []string
	}{{"from", a.From, b.From}, {"to", a.To, b.To}} {
		if x, y, ok := onlyTTL(a.Address, side.a, side.b); ok {
			fact(side.name+" TTL", x, y)
		} else {
			lines(side.name, side.a, side.b)
		}
	}
	lines("after", a.After, b.After)
	fact("gate", a.Gate, b.Gate)
	fact("start", a.Start.String(), b.Start.String())
	fact("waits", settle(a.Settle), settle(b.Settle))
	fact("repeats after", span(a.Repeat), span(b.Repeat))
	fact("until", a.Until.String(), b.Until.String())
	fact("undo", string(a.Undo), string(b.Undo))
	lines("detail", a.Detail, b.Detail)
	if len(facts) == 0 && a.Expect != b.Expect {
		facts = append(facts, "planned against other facts")
	}
	return facts
}

// onlyTTL tells the TTLs of two record sets that hold the same records.
func onlyTTL(address string, a, b []string) (x, y string, ok bool) {
	parts := strings.Split(address, "/")
	if parts[0] != "dns" || len(parts) < 4 {
		return "", "", false
	}
	old, err := plan.ParseRRset("", parts[2], a)
	set, err2 := plan.ParseRRset("", parts[2], b)
	if err != nil || err2 != nil || !old.Exists() || !old.SameData(set) {
		return "", "", false
	}
	return fmt.Sprint(old.TTL), fmt.Sprint(set.TTL), true
}

func settle(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return Span(d)
}

// findingsOnlyIn are what p's checks found, passes left out, and other's didn't.
func findingsOnlyIn(p, other *plan.Plan) []plan.Finding {
	var list []plan.Finding
	for _, f := range p.Findings {
		same := func(o plan.Finding) bool {
			return o.Check == f.Check && o.Severity == f.Severity && o.Subject == f.Subject && o.Summary == f.Summary && slices.Equal(o.Detail, f.Detail)
		}
		if f.Severity != plan.Passes && !slices.ContainsFunc(other.Findings, same) {
			list = append(list, f)
		}
	}
	return list
}

// brief is a step on one line: what comes of it.
func brief(s plan.Step) string {
	text := string(s.Action) + " at " + phaseTitle(s.Phase)
	if len(s.To) > 0 && strings.HasPrefix(s.Address, "dns/") {
		text += ": " + strings.Join(s.To, ", ")
	}
	return text
}

// PlanSince writes for a terminal what plan p has changed since old.
func PlanSince(w io.Writer, old, p *plan.Plan, s Screen) error {
	pg := newPage(s)
	c := changesSince(old, p)
	pg.sides(pg.esc(p.Name)+"   plan "+planNumber(p.Number)+" since "+planNumber(old.Number), short(old.Digest)+" "+pg.arrow+" "+short(p.Digest))
	if c.none() {
		pg.line("  The plans do the same.")
		return pg.flush(w)
	}
	for _, f := range c.Facts {
		pg.para("", "  "+pg.paint(yellow, "~")+" ", pg.esc(f))
	}
	step := func(style, sign string, s plan.Step) {
		pg.para("", "  "+pg.paint(style, sign)+" ", pg.esc(s.Address))
		pg.para(dim, "      ", pg.esc(brief(s)))
	}
	if len(c.Added)+len(c.Gone)+len(c.Changed) > 0 {
		pg.heading("Steps", "")
	}
	for _, s := range c.Added {
		step(green, "+", s)
	}
	for _, s := range c.Gone {
		step(red, "-", s)
	}
	for _, x := range c.Changed {
		pg.para("", "  "+pg.paint(yellow, "~")+" ", pg.esc(x.Address))
		for _, f := range x.Facts {
			pg.para(dim, "      ", pg.esc(f))
		}
	}
	if len(c.NewFindings)+len(c.NoMoreFinding) > 0 {
		pg.heading("Checks", "")
	}
	for _, f := range c.NewFindings {
		pg.para("", "  "+pg.paint(red, "+")+" ", pg.esc(string(f.Severity)+": "+f.Summary))
		for _, d := range f.Detail {
			pg.para(dim, "      ", pg.esc(d))
		}
	}
	for _, f := range c.NoMoreFinding {
		pg.para("", "  "+pg.paint(green, "-")+" ", pg.esc("no more "+string(f.Severity)+": "+f.Summary))
	}
	pg.blank()
	pg.line(pg.paint(bold, c.sentence()))
	return pg.flush(w)
}

func (c changes) sentence() string {
	return fmt.Sprintf("%s new, %s gone, %s changed.", plural(len(c.Added), "step", "steps"), Count(int64(len(c.Gone))), Count(int64(len(c.Changed))))
}

// PlanSinceMarkdown writes the same as Markdown, in at most maxBytes where that
// is more than 0: the lines at the end give way, and the last one says so.
func PlanSinceMarkdown(w io.Writer, old, p *plan.Plan, maxBytes int) error {
	c := changesSince(old, p)
	lines := []string{fmt.Sprintf("## Plan %s of %s since %s\n\n", planNumber(p.Number), code(p.Name), planNumber(old.Number))}
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format+"\n", args...)) }
	if c.none() {
		add("The plans do the same.")
	} else {
		add("**%s**\n", prose(c.sentence()))
	}
	for _, f := range c.NewFindings {
		add("- ❗ **%s** %s", prose(string(f.Severity)), prose(f.Summary))
		for _, d := range f.Detail {
			add("  - %s", prose(d))
		}
	}
	for _, f := range c.NoMoreFinding {
		add("- no more **%s** %s", prose(string(f.Severity)), prose(f.Summary))
	}
	for _, f := range c.Facts {
		add("- %s", prose(f))
	}
	for _, s := range c.Added {
		add("- **+** %s %s", code(s.Address), prose(brief(s)))
	}
	for _, s := range c.Gone {
		add("- **−** %s %s", code(s.Address), prose(brief(s)))
	}
	for _, x := range c.Changed {
		add("- **~** %s", code(x.Address))
		for _, f := range x.Facts {
			add("  - %s", prose(f))
		}
	}
	_, err := io.WriteString(w, cutLines(lines, maxBytes, "\n_%d more lines don't fit here: `mxodus show -since` prints them all._\n"))
	return err
}

// cutLines joins lines, leaving out those at the end that make the whole longer than
// limit octets; note, which has one %d, then says how many.
func cutLines(lines []string, limit int, note string) string {
	all := strings.Join(lines, "")
	if limit <= 0 || len(all) <= limit {
		return all
	}
	for n := len(lines) - 1; n > 0; n-- {
		text := strings.Join(lines[:n], "") + fmt.Sprintf(note, len(lines)-n)
		if len(text) <= limit {
			return text
		}
	}
	return strings.ToValidUTF8(all[:min(limit, len(all))], "")
}

type sinceJSON struct {
	Name     string        `json:"name"`
	Old      string        `json:"old"` // digests
	New      string        `json:"new"`
	Same     bool          `json:"same"`
	Facts    []string      `json:"facts"`
	Added    []string      `json:"added"` // addresses of steps
	Removed  []string      `json:"removed"`
	Changed  []stepChange  `json:"changed"`
	Appeared []findingJSON `json:"appeared"` // findings
	Resolved []findingJSON `json:"resolved"`
}

// PlanSinceJSON writes the same as one object.
func PlanSinceJSON(w io.Writer, old, p *plan.Plan) error {
	c := changesSince(old, p)
	out := sinceJSON{Name: p.Name, Old: old.Digest, New: p.Digest, Same: c.none(), Facts: list(c.Facts), Added: []string{}, Removed: []string{},
		Changed: append([]stepChange{}, c.Changed...), Appeared: []findingJSON{}, Resolved: []findingJSON{}}
	for _, s := range c.Added {
		out.Added = append(out.Added, s.Address)
	}
	for _, s := range c.Gone {
		out.Removed = append(out.Removed, s.Address)
	}
	for _, f := range c.NewFindings {
		out.Appeared = append(out.Appeared, findingOf(f))
	}
	for _, f := range c.NoMoreFinding {
		out.Resolved = append(out.Resolved, findingOf(f))
	}
	return writeJSON(w, out)
}
