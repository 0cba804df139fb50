package render

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
)

// PlanMarkdown writes the review as GitHub-flavoured Markdown, for the comment
// of a pull request. With maxBytes > 0 no more than that is written: whole
// sections give way, the least important first, and a last line says so.
func PlanMarkdown(w io.Writer, p *plan.Plan, v PlanView, maxBytes int) error {
	m := planMarkdown{plan: p, view: v, o: outlineOf(p), cal: planCalendar(p, v)}
	if m.view.Rows == 0 {
		m.view.Rows = 40
	}
	// In the order of their weight: the last gives way first. They are printed
	// in the order of their place.
	type section struct {
		place int
		text  string
	}
	sections := []section{{0, m.header()}, {4, m.checks()}}
	if len(p.Steps) > 0 {
		sections = append(sections, []section{{3, m.dns()}, {1, m.timeline()}, {2, m.directory()}, {5, m.byHand()}, {6, m.gates()}, {7, m.mailboxes()}}...)
	}
	sections = slices.DeleteFunc(sections, func(s section) bool { return s.text == "" })
	const left = "\n_%d of %d sections don't fit here: `mxodus show` prints them all._\n"
	all := len(sections)
	size := func() int {
		n := 0
		for _, s := range sections {
			n += len(s.text)
		}
		if len(sections) < all {
			n += len(fmt.Sprintf(left, all-len(sections), all))
		}
		return n
	}
	for maxBytes > 0 && len(sections) > 1 && size() > maxBytes {
		sections = sections[:len(sections)-1]
	}
	shown := len(sections)
	slices.SortFunc(sections, func(a, b section) int { return a.place - b.place })
	var b strings.Builder
	for _, s := range sections {
		b.WriteString(s.text)
	}
	if shown < all {
		fmt.Fprintf(&b, left, all-shown, all)
	}
	text := b.String()
	if maxBytes > 0 && len(text) > maxBytes {
		text = strings.ToValidUTF8(text[:maxBytes], "")
	}
	_, err := io.WriteString(w, text)
	return err
}

type planMarkdown struct {
	plan *plan.Plan
	view PlanView
	o    outline
	cal  calendar
}

// code is a name as a code span: nothing in it means anything to Markdown.
func code(s string) string {
	s = Escape(s)
	if s == "" {
		return ""
	}
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") || len(fence) > 1 {
		s = " " + s + " "
	}
	return fence + strings.ReplaceAll(s, "|", `\|`) + fence
}

// prose is text from outside in running Markdown. "@" is spelled out so that
// nobody is notified by name.
func prose(s string) string {
	var b strings.Builder
	for _, r := range Escape(s) {
		switch {
		case r == '@' || r == '<' || r == '>' || r == '&':
			fmt.Fprintf(&b, "&#%d;", r)
		case strings.ContainsRune("\\`*_{}[]()#+!|~", r):
			b.WriteRune('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func (m planMarkdown) header() string {
	var b strings.Builder
	title := "Plan"
	if m.plan.Rollback != "" {
		title = "Rollback plan"
	}
	fmt.Fprintf(&b, "## %s %s of %s\n\n", title, planNumber(m.plan.Number), code(m.plan.Name))
	facts := planFacts(m.o, m.view.Estimates)
	facts = append(facts, "cutover "+m.cal.full(m.plan.Cutover))
	if len(m.o.From) > 0 {
		facts = append([]string{prose(hostTitles(m.o.From)) + " → " + prose(hostTitles(m.o.To))}, facts...)
	}
	fmt.Fprintf(&b, "%s  \n%s\n\n", strings.Join(facts, " · "), code(m.plan.Digest))
	if len(m.plan.Steps) == 0 {
		b.WriteString("**Nothing to do:** the world is as the configuration wants it.\n")
		return b.String()
	}
	fmt.Fprintf(&b, "**%s**  \n%s\n", prose(m.o.sentence()), prose(m.o.rollback(m.plan)))
	if n := len(m.o.Blocks); n > 0 {
		fmt.Fprintf(&b, "\n❌ **%s.**\n", plural(n, "check blocks a gate", "checks block a gate"))
	}
	return b.String()
}

func (m planMarkdown) timeline() string {
	var b strings.Builder
	b.WriteString("\n### Timeline\n\n| Phase | Starts | Ends | What happens |\n|---|---|---|---|\n")
	for _, r := range forecastRows(m.plan, m.view, m.cal, "…") {
		phase := phaseTitle(r.phase)
		if r.phase == plan.Flip {
			phase = "**" + phase + "**"
			if !m.view.earliest().IsZero() {
				r.what += "; earliest possible " + m.cal.brief(m.view.earliest())
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", phase, prose(r.starts), prose(r.ends), prose(r.what))
	}
	return b.String()
}

func (m planMarkdown) dns() string {
	var b strings.Builder
	for _, z := range m.o.Zones {
		fmt.Fprintf(&b, "\n### DNS: %s\n\n```diff\n", code(z.Domain))
		for _, r := range z.Sets {
			now, ttl := r.data(r.Steps[0].From)
			fmt.Fprintf(&b, "@@ %s %s @@\n", fenced(r.Name), fenced(r.Type))
			for _, d := range now {
				fmt.Fprintf(&b, "- %s  TTL %d\n", fenced(d), ttl)
			}
			for _, c := range r.changes() {
				when := "at " + phaseTitle(c.Phase)
				if c.ByHand {
					when += ", by hand"
				}
				switch {
				case c.Gone:
					fmt.Fprintf(&b, "  removed  %s\n", when)
				case c.Data == nil:
					fmt.Fprintf(&b, "  TTL %d  %s\n", c.TTL, when)
				default:
					for _, d := range c.Data {
						fmt.Fprintf(&b, "+ %s  TTL %d  %s\n", fenced(d), c.TTL, when)
					}
				}
			}
		}
		if z.Rest != "" {
			fmt.Fprintf(&b, "# %s\n", fenced(z.Rest))
		}
		b.WriteString("```\n")
	}
	return b.String()
}

// fenced is text from outside in a code block: one line, and no fence.
func fenced(s string) string { return strings.ReplaceAll(Escape(s), "```", `\x60\x60\x60`) }

func (m planMarkdown) checks() string {
	if len(m.plan.Findings)+len(m.view.Outlook) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n### Checks\n\n")
	for _, group := range []struct {
		sign string
		list []plan.Finding
	}{{"❌", m.o.Blocks}, {"⚠️", append(m.o.Warns, m.view.with(plan.Warns)...)}} {
		for _, f := range group.list {
			weight := string(f.Severity)
			if f.Severity == plan.Blocks && f.Gate != "" {
				weight += " " + f.Gate
			}
			fmt.Fprintf(&b, "- %s **%s** %s", group.sign, prose(weight), prose(f.Summary))
			if f.Subject != "" && !strings.Contains(f.Summary, f.Subject) {
				fmt.Fprintf(&b, ": %s", code(f.Subject))
			}
			b.WriteByte('\n')
			n := len(f.Detail)
			if m.view.Rows > 0 {
				n = min(n, m.view.Rows)
			}
			for _, d := range f.Detail[:n] {
				fmt.Fprintf(&b, "  - %s\n", prose(d))
			}
			if more := len(f.Detail) - n; more > 0 {
				fmt.Fprintf(&b, "  - … and %s more\n", Count(int64(more)))
			}
			if remedy := strings.TrimSpace(prose(f.Remedy) + " " + code(f.Pos.String())); remedy != "" {
				fmt.Fprintf(&b, "  - _%s_\n", remedy)
			}
		}
	}
	if passes := append(m.o.Passes, m.view.with(plan.Passes)...); len(passes) > 0 {
		fmt.Fprintf(&b, "\n<details><summary>✅ %s</summary>\n\n", plural(len(passes), "check passes", "checks pass"))
		for _, f := range passes {
			fmt.Fprintf(&b, "- %s: %s\n", code(f.Check), prose(f.Summary))
		}
		b.WriteString("\n</details>\n")
	}
	return b.String()
}

func (m planMarkdown) directory() string {
	if len(m.o.Entries) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n### Directory\n\n| | | | |\n|---|---|---|---|\n")
	for _, e := range m.o.Entries {
		sign := "+"
		if e.Action == plan.Change {
			sign = "~"
		}
		var facts []string
		for _, l := range e.Lines() {
			facts = append(facts, prose(l))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", sign, e.Kind, code(e.Name), strings.Join(facts, "<br>"))
	}
	return b.String()
}

func (m planMarkdown) byHand() string {
	if len(m.o.Hands) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n### By hand\n\n")
	for _, h := range m.o.Hands {
		fmt.Fprintf(&b, "- %s, at %s", prose(handTitle(h)), phaseTitle(h.Phase))
		alike, same := h.alike()
		if same {
			fmt.Fprintf(&b, ": %s", prose(strings.Join(alike, "; ")))
		}
		b.WriteByte('\n')
		for i, s := range h.Subjects {
			fmt.Fprintf(&b, "  - %s", code(s))
			if !same && len(h.Detail[i]) > 0 {
				fmt.Fprintf(&b, ": %s", prose(strings.Join(h.Detail[i], "; ")))
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func (m planMarkdown) gates() string {
	if len(m.o.GatesUsed) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n### Gates\n\n")
	for _, g := range m.o.GatesUsed {
		var before, checks []string
		for _, p := range g.Phases {
			before = append(before, phaseTitle(p))
		}
		for _, c := range g.Require {
			checks = append(checks, code(c.String()))
		}
		fmt.Fprintf(&b, "- **%s**, before %s: %s", prose(g.Name), strings.Join(before, " and "), prose(g.approvals()))
		if len(checks) > 0 {
			fmt.Fprintf(&b, "; %s", strings.Join(checks, ", "))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (m planMarkdown) mailboxes() string {
	if len(m.o.Boxes) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n<details><summary>%s</summary>\n\n| Source | Target | Messages | Size | Folders that change |\n|---|---|---:|---:|---|\n",
		plural(len(m.o.Boxes), "mailbox", "mailboxes"))
	for _, x := range m.o.Boxes {
		messages, octets := "", ""
		if e, ok := sizeOf(m.view.Estimates, x.Source); ok {
			messages = Count(e.messages)
			if e.octets >= 0 {
				octets = Size(e.octets)
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", code(x.Source), code(x.Target), messages, octets, prose(strings.Join(x.Renamed, "; ")))
	}
	b.WriteString("\n</details>\n")
	return b.String()
}
