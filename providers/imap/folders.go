package imap

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/mxodus/mxodus/plan"
)

// Mapping is where the messages of a source folder go.
type Mapping struct {
	Source   ListEntry
	Target   string // UTF-8, "/" between levels; "" when Excluded
	Raw      string // the target's own name on the wire, "" when it isn't there yet
	Create   bool   // it has to be made
	Excluded bool   // by the rules, or because nothing can be in it (Source.Selectable is false)
	Why      string // it is excluded although no rule says so: in words
}

// CollisionError says that several source folders would become one at the target, and
// their messages could not be told apart any more.
type CollisionError struct {
	Target  string
	Sources []string
	taken   map[string]bool // names that a proposal may not use
}

// Error is one line and ends with the map that mends it.
func (e *CollisionError) Error() string {
	var lines []string
	n := 2
	for _, s := range e.Sources[1:] {
		for e.taken[fold(fmt.Sprintf("%s (%d)", e.Target, n))] {
			n++
		}
		lines = append(lines, fmt.Sprintf("%q = \"%s (%d)\"", s, e.Target, n))
		n++
	}
	return fmt.Sprintf("the folders %q would become one folder %q at the target; set folders { map = { %s } }, or exclude one",
		e.Sources, e.Target, strings.Join(lines, ", "))
}

// MapFolders gives each source folder its name at the target, in the order of source. It is a pure function.
//
//  1. rules.Map names the folder, or the nearest one above it, whose new name the rest is put behind;
//  2. a folder of a special use (\Sent, \Drafts, \Trash, \Junk, \Archive) goes to the target's folder of that use,
//     and folders below it follow. The attribute counts first; where the
//     source has none for a use, names in many languages do;
//  3. others keep their names.
//
// Staging folders of ours are nobody's mail and are left out. So are, unless rules.Map or rules.Include names them,
// folders of Exchange that hold no mail, and Gmail's views of starred and important messages. Names that
// Exchange or Gmail doesn't take are changed as little as can be.
//
// INBOX is INBOX, however it is spelled. Exchange and Gmail take names that differ in case, in the
// Unicode form or in blanks at the end for the same: there they collide, too.
// The error is a *CollisionError.
func MapFolders(source, target []ListEntry, rules plan.FolderRules) ([]Mapping, error) {
	m := mapper{source: source, target: target, rules: rules, folds: isExchange(target) || isGmail(target),
		toExchange: isExchange(target), toGmail: isGmail(target), fromExchange: isExchange(source), fromGmail: isGmail(source), moved: map[string]string{}}
	m.there = make(map[string]ListEntry, len(target))
	for _, t := range target {
		if _, twice := m.there[m.key(t.Name)]; !twice {
			m.there[m.key(t.Name)] = t
		}
	}
	m.special()
	m.remainder()
	for from, to := range rules.Map {
		m.moved[canonical(from)] = to
	}
	mappings := make([]Mapping, 0, len(source))
	for _, s := range source {
		if !IsStaging(s.Name) {
			mappings = append(mappings, m.place(s))
		}
	}
	return mappings, m.collision(mappings)
}

// StagingPrefix begins the names of folders that the copy engine makes at a target for the time of a
// copy: messages are appended there and moved to their place. They are never source or
// target of anything else, whoever left them behind.
const StagingPrefix = "mxodus-staging-"

// IsStaging reports whether a folder is one of those.
func IsStaging(name string) bool { return strings.HasPrefix(name, StagingPrefix) }

type mapper struct {
	source, target                               []ListEntry
	rules                                        plan.FolderRules
	folds                                        bool
	toExchange, toGmail, fromExchange, fromGmail bool
	there                                        map[string]ListEntry // the target's folders by key
	moved                                        map[string]string    // source name -> target name, where they differ by rule
}

// canonical spells INBOX one way.
func canonical(name string) string {
	first, rest, below := strings.Cut(name, "/")
	if !strings.EqualFold(first, "INBOX") {
		return name
	}
	if below {
		return "INBOX/" + rest
	}
	return "INBOX"
}

// fold makes one spelling of the names that Exchange takes for the same.
func fold(name string) string {
	levels := strings.Split(name, "/")
	for i, l := range levels {
		levels[i] = strings.TrimSpace(cases.Fold().String(norm.NFC.String(l)))
	}
	return strings.Join(levels, "/")
}

func (m *mapper) key(name string) string {
	if m.folds {
		return fold(name)
	}
	return canonical(name)
}

// special finds, for each special use, the source folder that has it and the target folder it goes to.
func (m *mapper) special() {
	for _, use := range specialUses {
		if specialNames[use] == nil {
			continue // \All, \Flagged and \Important are views, not places
		}
		to, ok := find(m.target, use, "")
		if !ok {
			continue
		}
		from, ok := find(m.source, use, to.Name)
		if !ok || from.Name == "INBOX" || to.Name == "INBOX" {
			continue
		}
		m.moved[from.Name] = to.Name
	}
}

// remainder sends what Gmail has archived, and keeps under no label, to the target's archive.
func (m *mapper) remainder() {
	if !m.fromGmail || m.toGmail {
		return
	}
	all, _ := find(m.source, `\All`, "")
	to, ok := find(m.target, `\Archive`, "Archive")
	if !ok {
		to.Name = "Archive"
	}
	m.moved[all.Name] = to.Name
}

// find returns the folder of a special use: by attribute, else by name. Of
// several names, prefer wins, then the one that is first in the table.
func find(entries []ListEntry, use, prefer string) (ListEntry, bool) {
	for _, e := range entries {
		if e.SpecialUse == use {
			return e, true
		}
	}
	var best ListEntry
	rank := -1
	for _, e := range entries {
		// A folder that is marked for one use isn't for another, whatever its name.
		if e.SpecialUse != "" || !e.Selectable || useByName(e.Name) != use {
			continue
		}
		if e.Name == prefer {
			return e, true
		}
		base := strings.ToLower(strings.TrimSpace(e.Name[strings.LastIndexByte(e.Name, '/')+1:]))
		if r := slices.Index(specialNames[use], base); rank < 0 || r < rank {
			best, rank = e, r
		}
	}
	return best, rank >= 0
}

func (m *mapper) place(s ListEntry) Mapping {
	if !s.Selectable || !m.included(s.Name) {
		return Mapping{Source: s, Excluded: true}
	}
	if why := m.notMail(s); why != "" && len(m.rules.Include) == 0 && m.rules.Map[s.Name] == "" {
		return Mapping{Source: s, Excluded: true, Why: why}
	}
	to := m.fit(s.Name)
	for above := s.Name; ; {
		if t, ok := m.moved[canonical(above)]; ok {
			if to = t; len(s.Name) > len(above) {
				to += "/" + m.tidy(s.Name[len(above)+1:])
			}
			break
		}
		i := strings.LastIndexByte(above, '/')
		if i < 0 {
			break
		}
		above = above[:i]
	}
	mapping := Mapping{Source: s, Target: canonical(to), Create: true}
	if t, ok := m.there[m.key(mapping.Target)]; ok {
		mapping.Target, mapping.Raw, mapping.Create = t.Name, t.Raw, !t.Selectable
	}
	if mapping.Target == "INBOX" {
		mapping.Create = false
	}
	return mapping
}

func (m *mapper) included(name string) bool {
	matches := func(globs []string) bool {
		return slices.ContainsFunc(globs, func(g string) bool { return glob(canonical(g), canonical(name)) })
	}
	return (len(m.rules.Include) == 0 || matches(m.rules.Include)) && !matches(m.rules.Exclude)
}

// glob matches "*" with any characters, "/" among them, and "?" with one.
func glob(pattern, name string) bool {
	p, n := []rune(pattern), []rune(name)
	star, mark := -1, 0
	i, j := 0, 0
	for j < len(n) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == n[j]):
			i, j = i+1, j+1
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

func (m *mapper) collision(mappings []Mapping) error {
	sources := map[string][]string{}
	taken := map[string]bool{}
	for _, t := range m.target {
		taken[fold(t.Name)] = true
	}
	for _, mp := range mappings {
		if !mp.Excluded {
			sources[m.key(mp.Target)] = append(sources[m.key(mp.Target)], mp.Source.Name)
			taken[fold(mp.Target)] = true
		}
	}
	for _, mp := range mappings {
		if mp.Excluded {
			continue
		}
		if all := sources[m.key(mp.Target)]; len(all) > 1 {
			return &CollisionError{Target: mp.Target, Sources: all, taken: taken}
		}
	}
	return nil
}
