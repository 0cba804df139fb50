package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan/render"
)

// showFindings puts doctor's findings on one screen: what went well in one line for
// each group, then each failure with what to do. Failures that have one
// cause stand together. With -json each is an object of its own.
func (a *app) showFindings(list []findingJSON) error {
	if a.json {
		for _, f := range list {
			if err := a.writeJSON(f); err != nil {
				return err
			}
		}
		return nil
	}
	v := doctorView{screen: a.screen()}
	v.good(list)
	bad := v.bad(list)
	switch {
	case len(list) == 0:
		v.b.WriteString("There is nothing to try yet: the configuration names no mailbox and no domain.\n")
	case bad == 0:
		fmt.Fprintf(&v.b, "\nAll %d things work. Next: mxodus plan -out plans/0001.plan\n", len(list))
	default:
		fmt.Fprintf(&v.b, "\n%d of %d things don't work. mxodus explain CODE says more about a code.\nNext: mend them, and run mxodus doctor again.\n", bad, len(list))
	}
	_, err := a.stdout.Write([]byte(v.b.String()))
	return err
}

type doctorView struct {
	screen render.Screen
	b      strings.Builder
}

func (v *doctorView) paint(code, s string) string {
	if !v.screen.Color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// good writes what works, several logins at one host in one line.
func (v *doctorView) good(list []findingJSON) {
	groups := map[string]int{}
	for _, f := range list {
		if f.OK {
			groups[f.Check+f.group]++
		}
	}
	done := map[string]bool{}
	for _, f := range list {
		if !f.OK || done[f.Check+f.group] && f.group != "" {
			continue
		}
		done[f.Check+f.group] = true
		if n := groups[f.Check+f.group]; f.group != "" && n > 1 {
			v.line("ok", "32", f.Check, fmt.Sprintf("%d mailboxes %s", n, f.group))
			continue
		}
		text := f.Subject
		if f.Detail != "" {
			text += ": " + f.Detail
		}
		v.line("ok", "32", f.Check, text)
		if f.Remedy != "" { // a warning
			v.hang("what to do", f.Remedy)
		}
	}
}

// bad writes what doesn't work and returns how many trials that are.
func (v *doctorView) bad(list []findingJSON) (n int) {
	const shown = 5
	cause := func(f findingJSON) string { return f.Check + "\n" + f.Code + "\n" + f.Remedy + "\n" + f.group }
	for i, f := range list {
		if f.OK {
			continue
		}
		n++
		same := slices.DeleteFunc(slices.Clone(list), func(o findingJSON) bool { return o.OK || cause(o) != cause(f) })
		if f.group != "" && slices.IndexFunc(list, func(o findingJSON) bool { return !o.OK && cause(o) == cause(f) }) < i {
			continue // it stands with the first of them
		}
		if f.group == "" {
			same = []findingJSON{f}
		}
		subjects := make([]string, 0, shown)
		for _, o := range same[:min(len(same), shown)] {
			subjects = append(subjects, o.Subject)
		}
		text := strings.Join(subjects, ", ")
		if more := len(same) - shown; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		v.line("FAIL", "31", f.Check, text+": "+f.Detail+"  ["+f.Code+"]")
		if f.Remedy != "" {
			v.hang("what to do", f.Remedy)
		}
		if f.Source != "" {
			v.hang("configured", f.Source)
		}
	}
	return n
}

// line is one fact: a sign, the check's name, what was found, folded to the screen.
func (v *doctorView) line(sign, color, check, text string) {
	v.fold(v.paint(color, fmt.Sprintf("%-5s", sign))+fmt.Sprintf("%-13s ", check), 19, text)
}

func (v *doctorView) hang(what, text string) {
	v.fold("     "+v.paint("1", fmt.Sprintf("%-13s", what))+" ", 19, text)
}

// mostOfText bounds one fact on the screen; -json has it whole.
const mostOfText = 300

// fold writes text in the columns from indent on, after a head that fills those before.
func (v *doctorView) fold(head string, indent int, text string) {
	width := max(30, v.screen.Width-indent)
	line := ""
	text = strings.ReplaceAll(text, "\n", "; ") // errors that hold several
	if r := []rune(text); len(r) > mostOfText {
		text = string(r[:mostOfText]) + "…"
		if at := strings.LastIndex(string(r), "  ["); at >= 0 {
			text += string(r)[at:] // the code is what is looked up
		}
	}
	for _, word := range strings.Fields(render.Escape(text)) {
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) <= width:
			line += " " + word
		default:
			v.b.WriteString(head + line + "\n")
			head, line = strings.Repeat(" ", indent), word
		}
	}
	v.b.WriteString(strings.TrimRight(head+line, " ") + "\n")
}
