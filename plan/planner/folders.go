package planner

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
)

// foldsCase are the target kinds that take "Sent" and "sent" for one folder.
var foldsCase = map[string]bool{"microsoft365": true, "google_workspace": true}

// checkFolders looks for folders that would fall together at the target, and
// for rules that match nothing.
func (p *planner) checkFolders() {
	idle := map[string]plan.Pos{} // rule -> where; those that matched nothing so far
	used := map[string]bool{}
	for _, m := range p.open() {
		seen, ok := p.inv.Source(m.From, m.Source)
		if !ok {
			continue
		}
		var names []string
		for _, f := range seen.Folders {
			names = append(names, f.Name)
		}
		p.checkCollisions(m, names)
		// Mailboxes of one block share their rules: a rule that serves one of them is right.
		rule := func(kind, glob string, matches bool) {
			k := m.Block + "\n" + kind + "\n" + glob
			if matches {
				used[k] = true
			} else if _, ok := idle[k]; !ok {
				idle[k] = m.Pos
			}
		}
		for _, g := range m.Folders.Include {
			rule("include", g, slices.ContainsFunc(names, func(n string) bool { return match(g, n) }))
		}
		for _, g := range m.Folders.Exclude {
			rule("exclude", g, slices.ContainsFunc(names, func(n string) bool { return match(g, n) }))
		}
		for from := range m.Folders.Map {
			rule("map", from, slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(foldInbox(n)+"/", foldInbox(from)+"/") }))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(idle)) {
		if used[k] {
			continue
		}
		parts := strings.SplitN(k, "\n", 3)
		p.find(plan.Finding{
			Check: "folder_rule_idle", Severity: plan.Warns, Subject: parts[0],
			Summary: fmt.Sprintf("the folder rule %s %q matches no folder of any mailbox %q", parts[1], parts[2], parts[0]),
			Remedy:  "see how the folder is spelled: names have / between levels, and * matches across them", Pos: idle[k],
		})
	}
}

func (p *planner) checkCollisions(m plan.Mailbox, names []string) {
	host, _ := p.m.Target(m.On)
	at := map[string][]string{}
	for _, n := range names {
		if !chosen(m.Folders, n) {
			continue
		}
		to := mapped(m.Folders, n)
		if foldsCase[host.Kind] {
			to = strings.ToLower(strings.TrimRight(to, " "))
		}
		at[to] = append(at[to], n)
	}
	for _, to := range slices.Sorted(maps.Keys(at)) {
		from := sorted(at[to])
		if len(from) < 2 {
			continue
		}
		p.find(plan.Finding{
			Check: "folder_collision", Severity: plan.Blocks, Subject: m.Source,
			Summary: fmt.Sprintf("%d folders of %s would become one folder at the target", len(from), m.Source), Detail: from,
			Remedy: fmt.Sprintf("give one of them a name of its own: map = { %q = %q }", from[len(from)-1], from[len(from)-1]+" (2)"), Pos: m.Pos,
		})
	}
}

// chosen reports whether the rules let a folder be copied.
func chosen(r plan.FolderRules, name string) bool {
	in := len(r.Include) == 0 || slices.ContainsFunc(r.Include, func(g string) bool { return match(g, name) })
	return in && !slices.ContainsFunc(r.Exclude, func(g string) bool { return match(g, name) })
}

// mapped is the folder's name at the target by the map alone. A mapped folder
// takes what is below it along, unless that is mapped itself.
func mapped(r plan.FolderRules, name string) string {
	byName := map[string]string{}
	for from, to := range r.Map {
		byName[foldInbox(from)] = to
	}
	for head := name; ; {
		if to, ok := byName[foldInbox(head)]; ok {
			return to + name[len(head):]
		}
		i := strings.LastIndexByte(head, '/')
		if i < 0 {
			return name
		}
		head = head[:i]
	}
}

// match reports whether glob matches the folder's name. "*" stands for any
// characters, "/" too; "?" for one. INBOX is matched without regard to case
// (RFC 3501 §5.1).
func match(glob, name string) bool {
	g, n := []rune(foldInbox(glob)), []rune(foldInbox(name))
	star, mark := -1, 0
	i, j := 0, 0
	for j < len(n) {
		switch {
		case i < len(g) && g[i] == '*':
			star, mark = i, j
			i++
		case i < len(g) && (g[i] == '?' || g[i] == n[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(g) && g[i] == '*' {
		i++
	}
	return i == len(g)
}

func foldInbox(s string) string {
	if len(s) >= 5 && strings.EqualFold(s[:5], "INBOX") && (len(s) == 5 || s[5] == '/') {
		return "INBOX" + s[5:]
	}
	return s
}
