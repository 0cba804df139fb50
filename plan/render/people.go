package render

import (
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
)

// products are how the systems call themselves.
var products = map[string]string{"ionos": "IONOS", "microsoft365": "Microsoft 365", "google_workspace": "Google Workspace"}

// hostTitle is the key of a host as people know it: "Microsoft 365", "imap.old".
func hostTitle(key string) string {
	kind, name, named := strings.Cut(key, ".")
	title, known := products[kind]
	switch {
	case !known:
		return key
	case named:
		return title + " (" + name + ")"
	}
	return title
}

func hostTitles(keys []string) string {
	var list []string
	for _, k := range keys {
		list = append(list, hostTitle(k))
	}
	return strings.Join(list, ", ")
}

// mailboxes lists what moves. Mailboxes with the same folder rules stand together,
// so that the rules are read once.
func (t *planText) mailboxes() {
	if len(t.o.Boxes) == 0 {
		return
	}
	title := "Mailboxes"
	if t.plan.Rollback != "" {
		title = "Mail that goes back"
	}
	t.heading(title, "")
	shown := t.o.Boxes[:t.limit(len(t.o.Boxes))]
	right := 0
	figures := map[string]string{}
	for _, b := range shown {
		e, ok := sizeOf(t.view.Estimates, b.Source)
		if !ok {
			continue
		}
		size := t.dash
		if e.octets >= 0 {
			size = Size(e.octets)
		}
		f := plural(int(e.messages), "message", "messages")
		figures[b.Source] = f + strings.Repeat(" ", max(2, 10-columns(size))) + size
		right = max(right, columns(figures[b.Source]))
	}
	for _, group := range t.o.byRules(shown) {
		for _, b := range group {
			t.mailbox(b, figures[b.Source], right)
		}
		for _, d := range group[0].Renamed {
			t.para(dim, "        ", t.esc(d))
		}
	}
	t.rest("    ", len(t.o.Boxes)-len(shown), "mailboxes")
}

func (t *planText) mailbox(b box, figures string, right int) {
	name := t.esc(b.Source)
	if b.Target != b.Source {
		name += " " + t.arrow + " " + t.esc(b.Target)
	}
	gap := t.Width - 4 - right - columns(name)
	switch {
	case right == 0:
		t.para("", "    ", name)
	case gap >= 2:
		t.line("    ", name, strings.Repeat(" ", gap+right-columns(figures)), t.paint(dim, figures))
	default:
		t.para("", "    ", name)
		if figures != "" {
			t.line(strings.Repeat(" ", t.Width-columns(figures)), t.paint(dim, figures))
		}
	}
}

// byRules puts mailboxes whose folders change alike into one group, in the order
// of the first of each.
func (o outline) byRules(boxes []box) [][]box {
	var groups [][]box
	for _, b := range boxes {
		i := slices.IndexFunc(groups, func(g []box) bool { return slices.Equal(g[0].Renamed, b.Renamed) })
		if i < 0 {
			groups = append(groups, []box{b})
		} else {
			groups[i] = append(groups[i], b)
		}
	}
	return groups
}

// entry is something that a directory shall hold.
type entry struct {
	Kind, Name string // "user", "anna@acme.example"
	Host       string // key of the target
	Action     plan.Action
	Facts      []fact
}

// fact is one line of an entry: what it is now and what it becomes.
type fact struct{ Name, Old, New string }

var entryOrder = []string{"domain", "application", "user", "shared mailbox", "access", "catch-all", "list", "alias", "forwarder"}

var entryKinds = map[string]string{"account": "user", "shared": "shared mailbox", "access": "access", "application": "application", "catchall": "catch-all",
	"alias": "alias", "list": "list", "forwarder": "forwarder", "domain": "domain"}

// single are facts that have one value: a new one takes the place of the old.
var single = map[string]bool{"display name": true, "license": true, "usage location": true, "mailbox": true, "written to by": true, "delivers to": true,
	"IMAP": true, "application": true, "largest message": true, "mail that nobody else gets": true}

// entryOf reads a step that changes a target's directory.
func entryOf(s plan.Step, kind, rest string) (entry, bool) {
	word, ok := entryKinds[kind]
	if !ok || s.Action == plan.ByHand {
		return entry{}, false
	}
	e := entry{Kind: word, Name: rest, Action: s.Action}
	if kind == "domain" {
		e.Name, _, _ = strings.Cut(rest, "/")
	}
	old := map[string][]string{}
	for _, line := range s.From {
		if name, v, ok := strings.Cut(line, ": "); ok {
			old[name] = append(old[name], v)
		}
	}
	for i, line := range s.To {
		name, v, ok := strings.Cut(line, ": ")
		if _, host, at := strings.Cut(line, rest+" at "); i == 0 && at {
			e.Host = host
			continue
		}
		f := fact{New: line}
		if ok {
			f = fact{Name: name, New: v}
		}
		was := old[f.Name]
		switch {
		case slices.Contains(was, v) && ok, slices.Contains(s.From, line):
			continue // stays
		case f.Name == "mailbox" && s.Action == plan.Create:
			continue // its kind says so
		case single[f.Name] && len(was) > 0 && was[0] != "none":
			f.Old = was[0]
		case kind == "domain" && i < len(s.From):
			f.Old = s.From[i]
		}
		e.Facts = append(e.Facts, f)
	}
	// What only the old state has goes.
	for _, line := range s.From {
		name, v, ok := strings.Cut(line, ": ")
		replaced := slices.ContainsFunc(e.Facts, func(f fact) bool { return f.Old == v })
		if ok && v != "none" && !replaced && !slices.Contains(s.To, line) {
			e.Facts = append(e.Facts, fact{Name: name, Old: v})
		}
	}
	return e, true
}

// text is "license: none → O365_BUSINESS_PREMIUM".
func (f fact) text(arrow string) string {
	s := f.New
	switch {
	case f.New == "":
		s = f.Old + " is taken out"
	case f.Old != "":
		s = f.Old + " " + arrow + " " + f.New
	}
	if f.Name != "" {
		s = f.Name + ": " + s
	}
	return s
}

// lines are the entry's facts; values that are added under one name stand
// together: "member: a, b".
func (e entry) lines(arrow string) []string {
	var out []string
	last := ""
	for _, f := range e.Facts {
		if adds := f.Old == "" && f.New != "" && f.Name != ""; adds && f.Name == last {
			out[len(out)-1] += ", " + f.New
			continue
		}
		last = ""
		if f.Old == "" {
			last = f.Name
		}
		out = append(out, f.text(arrow))
	}
	return out
}

// Lines are the entry's facts as pages print them.
func (e entry) Lines() []string { return e.lines("→") }

// directory lists what comes and changes in the target's directory. What all
// entries of a kind have in common is said once.
func (t *planText) directory() {
	if len(t.o.Entries) == 0 {
		return
	}
	var hosts []string
	slices.SortStableFunc(t.o.Entries, func(a, b entry) int {
		return slices.Index(entryOrder, a.Kind) - slices.Index(entryOrder, b.Kind)
	})
	for _, e := range t.o.Entries {
		if e.Host != "" && !slices.Contains(hosts, e.Host) {
			hosts = append(hosts, e.Host)
		}
	}
	t.heading("Directory", t.esc(hostTitles(hosts)))
	width := 0
	for _, e := range t.o.Entries {
		width = max(width, len(e.Kind)+2)
	}
	n := t.limit(len(t.o.Entries))
	for _, e := range t.o.Entries[:n] {
		sign, style := "+", green
		if e.Action == plan.Change {
			sign, style = "~", yellow
		}
		text, indent := t.esc(strings.Join(e.lines(t.arrow), "; ")), 4+width
		name := t.esc(e.Name)
		lead := "  " + t.paint(style, sign) + " " + pad(e.Kind, width)
		if len(text) > 0 && indent+columns(name)+2+columns(text) <= t.Width {
			t.line(lead, name, "  ", t.paint(dim, text))
			continue
		}
		t.line(lead, name)
		if len(text) > 0 {
			t.para(dim, strings.Repeat(" ", indent+2), text)
		}
	}
	t.rest("    ", len(t.o.Entries)-n, "entries")
}

// byHand lists what people do. What is the same for all but for the name is
// said once.
func (t *planText) byHand() {
	if len(t.o.Hands) == 0 {
		return
	}
	t.heading("By hand", "")
	for _, h := range t.o.Hands {
		t.line("    ", t.esc(handTitle(h)), t.paint(dim, ", at "+phaseTitle(h.Phase)))
		n := t.limit(len(h.Subjects))
		alike, ok := h.alike()
		for i, s := range h.Subjects[:n] {
			t.para("", "      ", t.esc(s))
			if !ok {
				for _, d := range h.Detail[i] {
					t.para(dim, "        ", t.esc(d))
				}
			}
		}
		t.rest("      ", len(h.Subjects)-n, "of the same kind")
		if ok {
			for _, d := range alike {
				t.para(dim, "        ", t.esc(d))
			}
		}
	}
}

// alike is the instruction for all subjects, with "…" in the place of the
// subject; false where they differ or there is one only.
func (h hand) alike() ([]string, bool) {
	if len(h.Subjects) < 2 {
		return nil, false
	}
	form := func(i int) []string {
		var lines []string
		for _, d := range h.Detail[i] {
			lines = append(lines, strings.ReplaceAll(d, h.Subjects[i], "…"))
		}
		return lines
	}
	first := form(0)
	for i := range h.Subjects[1:] {
		if !slices.Equal(form(i+1), first) {
			return nil, false
		}
	}
	return first, true
}
