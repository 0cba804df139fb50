package render

import (
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
)

// outline is a plan sorted into what a reader looks for. Every view is written
// from it, so that they say the same.
type outline struct {
	From, To  []string // keys of the hosts
	Boxes     []box
	Zones     []zone
	Entries   []entry // of targets' directories
	Hands     []hand  // by-hand steps
	Notices   []plan.Step
	Blocks    []plan.Finding
	Warns     []plan.Finding
	Passes    []plan.Finding
	Counts    map[plan.Action]int
	Stuck     []plan.Step   // steps that can't be undone
	LastBack  plan.Phase    // the first phase that can't be taken back; "" = none
	FlipTTL   time.Duration // longest TTL of the records that the flip writes
	HasFlip   bool
	GatesUsed []gateUse
}

// box is one mailbox that moves.
type box struct {
	Source, Target string // addresses
	From, On       string // keys of the hosts
	Renamed        []string
}

type zone struct {
	Domain string
	Sets   []rrset
	Rest   string // what is said of all other record sets
}

// rrset is every step of one record set, in the order in which they happen.
type rrset struct {
	Type, Name string
	Steps      []plan.Step
}

// hand is what a person does in one phase, for several subjects alike.
type hand struct {
	Phase    plan.Phase
	Kind     string // first element of the address
	Subjects []string
	Detail   [][]string // of each subject
}

type gateUse struct {
	plan.Gate
	Phases []plan.Phase
}

func outlineOf(p *plan.Plan) outline {
	o := outline{Counts: map[plan.Action]int{}}
	for _, s := range p.Steps {
		kind, rest, _ := strings.Cut(s.Address, "/")
		if s.Action != plan.Copy || kind == "copy" || kind == "carry_back" {
			o.Counts[s.Action]++ // later passes over a mailbox don't count again
		}
		if s.Undo == plan.Impossible {
			o.Stuck = append(o.Stuck, s)
			// What was sent can't be called back, and the mail flows as before.
			if s.Action != plan.Send && (o.LastBack == "" || s.Phase.Before(o.LastBack)) {
				o.LastBack = s.Phase
			}
		}
		switch {
		case kind == "dns":
			o.addRecord(s, rest)
		case kind == "copy", kind == "carry_back":
			o.addBox(s, rest)
		case s.Action == plan.Send:
			o.Notices = append(o.Notices, s)
		}
		if e, ok := entryOf(s, kind, rest); ok {
			o.Entries = append(o.Entries, e)
		}
		if s.Action == plan.ByHand {
			o.addHand(s, kind, rest)
		}
	}
	for _, f := range p.Findings {
		if i := slices.IndexFunc(o.Zones, func(z zone) bool { return z.Domain == f.Subject }); f.Check == "others_stay" && i >= 0 {
			o.Zones[i].Rest = f.Summary
			continue
		}
		switch f.Severity {
		case plan.Blocks:
			o.Blocks = append(o.Blocks, f)
		case plan.Warns:
			o.Warns = append(o.Warns, f)
		default:
			o.Passes = append(o.Passes, f)
		}
	}
	for _, g := range p.Gates {
		use := gateUse{Gate: g}
		for _, w := range p.Schedule {
			if w.Gate == g.Name {
				use.Phases = append(use.Phases, w.Phase)
			}
		}
		for _, s := range p.Steps {
			if s.Gate == g.Name && !slices.Contains(use.Phases, s.Phase) {
				use.Phases = append(use.Phases, s.Phase)
			}
		}
		if len(use.Phases) > 0 {
			o.GatesUsed = append(o.GatesUsed, use)
		}
	}
	slices.SortStableFunc(o.GatesUsed, func(x, y gateUse) int { return x.Phases[0].Index() - y.Phases[0].Index() })
	return o
}

// addRecord sorts a dns step in: DOMAIN/TYPE/NAME, with what the step does behind it.
func (o *outline) addRecord(s plan.Step, rest string) {
	parts := strings.SplitN(rest, "/", 4)
	if len(parts) < 3 {
		return
	}
	i := slices.IndexFunc(o.Zones, func(z zone) bool { return z.Domain == parts[0] })
	if i < 0 {
		o.Zones, i = append(o.Zones, zone{Domain: parts[0]}), len(o.Zones)
	}
	z := &o.Zones[i]
	j := slices.IndexFunc(z.Sets, func(r rrset) bool { return r.Type == parts[1] && r.Name == parts[2] })
	if j < 0 {
		z.Sets, j = append(z.Sets, rrset{Type: parts[1], Name: parts[2]}), len(z.Sets)
	}
	z.Sets[j].Steps = append(z.Sets[j].Steps, s)
	if s.Phase == plan.Flip {
		o.HasFlip = true
		if to, err := plan.ParseRRset("", parts[1], s.To); err == nil {
			o.FlipTTL = max(o.FlipTTL, time.Duration(to.TTL)*time.Second)
		}
	}
}

func (o *outline) addBox(s plan.Step, source string) {
	b := box{Source: source, Target: source, Renamed: s.Detail}
	if len(s.From) > 0 {
		b.Source, b.From, _ = strings.Cut(s.From[0], " at ")
	}
	if len(s.To) > 0 {
		b.Target, b.On, _ = strings.Cut(s.To[0], " at ")
	}
	if b.From != "" && !slices.Contains(o.From, b.From) {
		o.From = append(o.From, b.From)
	}
	if b.On != "" && !slices.Contains(o.To, b.On) {
		o.To = append(o.To, b.On)
	}
	o.Boxes = append(o.Boxes, b)
}

func (o *outline) addHand(s plan.Step, kind, subject string) {
	if kind == "dns" {
		parts := strings.SplitN(subject, "/", 4)
		if len(parts) >= 3 {
			subject = parts[1] + " " + parts[2] + " in " + parts[0]
		}
	}
	if kind == "retire" && strings.HasPrefix(subject, "host/") {
		kind, subject = "host", strings.TrimPrefix(subject, "host/")
	}
	i := slices.IndexFunc(o.Hands, func(h hand) bool { return h.Phase == s.Phase && h.Kind == kind })
	if i < 0 {
		o.Hands, i = append(o.Hands, hand{Phase: s.Phase, Kind: kind}), len(o.Hands)
	}
	o.Hands[i].Subjects = append(o.Hands[i].Subjects, subject)
	o.Hands[i].Detail = append(o.Hands[i].Detail, s.Detail)
}

// handTitle is what a person does, as a heading.
func handTitle(h hand) string {
	n := len(h.Subjects)
	switch h.Kind {
	case "account":
		return plural(n, "mailbox to create", "mailboxes to create")
	case "shared":
		return plural(n, "shared mailbox to create", "shared mailboxes to create")
	case "access":
		return plural(n, "mailbox to open for the copy", "mailboxes to open for the copy")
	case "domain":
		return plural(n, "domain to sign for", "parts of signing for a domain")
	case "catchall":
		return plural(n, "catch-all to make", "catch-alls to make")
	case "alias":
		return plural(n, "alias to create", "aliases to create")
	case "list":
		return plural(n, "list to create", "lists to create")
	case "forwarder":
		return plural(n, "forwarder to create", "forwarders to create")
	case "dns":
		return plural(n, "record set to enter", "record sets to enter")
	case "retire":
		return plural(n, "mailbox to close", "mailboxes to close")
	case "host":
		return plural(n, "contract to end", "contracts to end")
	}
	return plural(n, h.Kind+" step", h.Kind+" steps")
}

// sign is + for what comes, - for what goes, ~ for what changes.
func (r rrset) sign() string {
	first, last := r.Steps[0], r.Steps[len(r.Steps)-1]
	switch {
	case len(first.From) == 0:
		return "+"
	case len(last.To) == 0:
		return "-"
	}
	return "~"
}

// data are the records of lines without TTL and type, and their TTL.
func (r rrset) data(lines []string) (data []string, ttl uint32) {
	set, err := plan.ParseRRset("", r.Type, lines)
	if err != nil {
		return lines, 0 // a text that isn't a record: "known after provision"
	}
	return set.Data, set.TTL
}

// kinds of change that a step makes to a record set.
type recordChange struct {
	Phase    plan.Phase
	Data     []string // nil: the data stay
	Gone     bool
	TTL, Old uint32
	Settle   time.Duration
	ByHand   bool
	Later    bool // only after an offset into the phase
	Start    plan.Moment
}

func (r rrset) changes() []recordChange {
	var list []recordChange
	for _, s := range r.Steps {
		from, old := r.data(s.From)
		to, ttl := r.data(s.To)
		c := recordChange{Phase: s.Phase, TTL: ttl, Old: old, Settle: s.Settle, ByHand: s.Action == plan.ByHand, Start: s.Start}
		switch {
		case len(to) == 0:
			c.Gone = true
		case !slices.Equal(from, to):
			c.Data = to
		}
		list = append(list, c)
	}
	return list
}

// sentence counts the plan's actions: "Plan: 68 to create, 9 to change, …".
func (o outline) sentence() string {
	c := o.Counts
	parts := []string{
		Count(int64(c[plan.Create])) + " to create", Count(int64(c[plan.Change])) + " to change",
		Count(int64(c[plan.Copy])) + " to copy", Count(int64(c[plan.Delete])) + " to delete",
	}
	for _, a := range []struct {
		action plan.Action
		words  string
	}{{plan.ByHand, " by hand"}, {plan.Send, " to send"}, {plan.Check, " to check"}, {plan.Wait, " to wait for"}} {
		if n := c[a.action]; n > 0 {
			parts = append(parts, Count(int64(n))+a.words)
		}
	}
	s := "Plan: " + strings.Join(parts, ", ") + "."
	if n := len(o.GatesUsed); n > 0 {
		s += " " + plural(n, "gate", "gates") + "."
	}
	switch n := len(o.Stuck); n {
	case 0:
		s += " Every step can be undone."
	default:
		s += " " + plural(n, "step", "steps") + " cannot be undone."
	}
	return s
}

// rollback says until when the way back is open.
func (o outline) rollback(p *plan.Plan) string {
	if p.Rollback != "" {
		return "This plan takes the migration back to the end of " + strings.ToUpper(phaseTitle(p.Rollback)) + "."
	}
	s := "Rollback: possible to the end."
	if o.LastBack != "" {
		s = "Rollback: possible until " + strings.ToUpper(phaseTitle(o.LastBack)) + "."
	}
	if o.HasFlip && o.FlipTTL > 0 {
		s = strings.TrimSuffix(s, ".") + "; after FLIP the old records are back within " + Span(o.FlipTTL) + "."
	}
	return s
}

// approvals says who has to agree at a gate.
func (g gateUse) approvals() string {
	a := g.Approve
	if a.Count == 0 {
		return "nobody has to approve"
	}
	s := plural(a.Count, "approval", "approvals")
	if len(a.By) > 0 {
		s += " by " + strings.Join(a.By, " or ")
	}
	if a.Expires > 0 {
		s += ", good for " + Span(a.Expires)
	}
	return s
}
