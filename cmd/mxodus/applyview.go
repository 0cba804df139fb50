package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/providers"
)

// applyView shows a run: on a terminal a line for each change of state above
// the progress of the mailboxes that are being copied; elsewhere one line a
// change and one a minute; with -json the events themselves.
type applyView struct {
	out    io.Writer
	json   bool
	live   bool // a terminal: progress is drawn in place
	screen render.Screen
	clock  providers.Clock
	loc    *time.Location
	plan   *plan.Plan

	mu     sync.Mutex
	at     map[string]progressAt // passes under way, by mailbox
	drawn  int                   // lines of progress on the screen
	last   time.Time             // when progress was last shown
	total  providers.PassResult  // over all passes of this run
	before map[string]int        // quarantined before this run, by mailbox
	now    map[string]int
	shown  map[string]bool // steps whose first pass was shown
	ended  map[string]bool // mailboxes whose pass of this round is over
	err    error
}

type progressAt struct {
	began time.Time
	providers.Progress
}

// Pauses between two showings of progress.
const (
	redraw    = 120 * time.Millisecond
	oneMinute = time.Minute
)

// briefPass is how long a pass may take without a line of its own off a terminal.
const briefPass = 10 * time.Second

// event shows one event. It may be called from several goroutines.
func (v *applyView) event(ev apply.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if ev.Type == "pass" {
		v.count(ev)
	}
	if v.json {
		v.encode(ev)
		return
	}
	if ev.Type == "progress" {
		v.progress(ev)
		return
	}
	text := v.text(ev)
	if len(text) == 0 {
		return
	}
	v.erase()
	for i, line := range text {
		lead, rest := "            ", "            "
		if i == 0 {
			lead = v.dim(ev.At.In(v.loc).Format("15:04:05")) + "  "
		}
		for _, l := range v.fold(line, len(rest)) {
			v.print(lead + l)
			lead = rest
		}
	}
	v.draw()
}

// fold breaks a line at blanks, so that it fits the terminal behind a lead of
// that many columns. Off a terminal lines stay whole, for grep.
func (v *applyView) fold(line string, lead int) []string {
	room := v.screen.Width - lead
	if !v.live || room < 20 {
		return []string{line}
	}
	var lines []string
	for len([]rune(line)) > room {
		r := []rune(line)
		cut := strings.LastIndexByte(string(r[:room]), ' ')
		if cut <= 0 {
			break
		}
		lines = append(lines, line[:cut])
		line = strings.TrimLeft(line[cut:], " ")
	}
	return append(lines, line)
}

func (v *applyView) encode(x any) {
	b, err := json.Marshal(x)
	if err == nil {
		_, err = fmt.Fprintf(v.out, "%s\n", render.SafeJSON(b))
	}
	if err != nil && v.err == nil {
		v.err = err
	}
}

func (v *applyView) print(line string) {
	if _, err := fmt.Fprintln(v.out, line); err != nil && v.err == nil {
		v.err = err
	}
}

func (v *applyView) count(ev apply.Event) {
	address := mailboxIn(ev.Step)
	delete(v.at, address)
	if v.ended == nil || len(v.at) == 0 {
		v.ended = map[string]bool{} // the round is over
	}
	v.ended[address] = true
	r := ev.Result
	v.total.Copied += r.Copied
	v.total.Flags += r.Flags
	v.total.Moved += r.Moved
	v.total.Deleted += r.Deleted
	v.total.Octets += r.Octets
	v.total.KeywordsLost += r.KeywordsLost
	v.now[address] = max(v.now[address], r.Quarantined)
}

// quarantined is how many messages this run has put into quarantine.
func (v *applyView) quarantined() int {
	n := 0
	for address, now := range v.now {
		n += max(0, now-v.before[address])
	}
	return n
}

func mailboxIn(step string) string {
	_, address, _ := strings.Cut(step, "/")
	return address
}

// text is what an event says, the first line with the time before it. Server
// texts and names are escaped here and nowhere else.
func (v *applyView) text(ev apply.Event) []string {
	esc := render.Escape
	var lines []string
	for _, l := range ev.Lines {
		lines = append(lines, esc(l))
	}
	step := esc(ev.Step)
	switch ev.Type {
	case "phase":
		return []string{v.bold("phase " + string(ev.Phase) + " done")}
	case "gate":
		head := map[string]string{"open": v.green("gate " + ev.Gate + " is open"), "blocked": v.red("gate " + ev.Gate + " stays shut"), "waiting": v.yellow("gate " + ev.Gate + " waits for approval")}[ev.State]
		return append([]string{head}, lines...)
	case "note":
		return []string{v.paint("36", esc(ev.Text))}
	case "wait":
		return []string{v.dim(esc(ev.Text))}
	case "pass":
		return v.pass(ev, step)
	case "step":
		switch ev.State {
		case "started":
			return nil
		case "applied":
			if ev.Text == "already" {
				return []string{step + ": as wanted already"}
			}
			return []string{step + ": " + strings.Join(lines, ", ")}
		case "seen":
			return []string{step + ": seen at every name server"}
		case "done":
			if strings.HasPrefix(ev.Step, "dns/") || ev.Text == "copied" {
				return nil
			}
			return []string{step + ": " + v.green("done") + ", " + esc(ev.Text)}
		case "sent":
			return []string{step + ": sent to " + esc(ev.Text)}
		case "failed":
			return []string{step + ": " + v.red("failed") + ": " + esc(ev.Text)}
		case "drift":
			return append([]string{step + ": " + v.red("drifted")}, lines...)
		case "by_hand":
			return append([]string{step + ": " + v.yellow("to do by hand")}, lines...)
		}
	}
	return nil
}

// pass is a line for a pass that found something, or the first over a mailbox.
func (v *applyView) pass(ev apply.Event, step string) []string {
	r := ev.Result
	first := strings.HasPrefix(ev.Step, "copy/") && !v.shown[ev.Step]
	v.shown[ev.Step] = true
	if !r.Changed() && r.Quarantined == v.before[mailboxIn(ev.Step)] && !first {
		return nil
	}
	parts := []string{render.Count(int64(r.Copied)) + " copied"}
	add := func(n int, what string) {
		if n > 0 {
			parts = append(parts, render.Count(int64(n))+" "+what)
		}
	}
	add(r.Flags, "flags")
	add(r.Moved, "moved")
	add(r.Deleted, "deleted")
	add(r.Unchanged, "unchanged")
	add(r.Quarantined, "in quarantine")
	add(r.Doubt, "in doubt")
	add(r.KeywordsLost, "keywords the target does not keep")
	add(r.Skipped, "marked as deleted and left out")
	if r.Octets > 0 {
		parts = append(parts, render.Size(r.Octets))
	}
	lines := []string{step + ": " + strings.Join(parts, ", ")}
	for _, w := range r.Refusals {
		lines = append(lines, "refused: "+render.Escape(w))
	}
	return lines
}

// progress takes note of how far a pass is and shows it when it is time to.
func (v *applyView) progress(ev apply.Event) {
	p := *ev.Progress
	at, known := v.at[p.Mailbox]
	if !known {
		at.began = ev.At
	}
	at.Progress = p
	v.at[p.Mailbox] = at
	pause := oneMinute
	if v.live {
		pause = redraw
	}
	if v.last.IsZero() && !v.live {
		v.last = ev.At
	}
	if ev.At.Sub(v.last) < pause {
		return
	}
	v.last = ev.At
	if v.live {
		v.erase()
		v.draw()
		return
	}
	for _, a := range slices.Sorted(maps.Keys(v.at)) {
		if ev.At.Sub(v.at[a].began) < briefPass {
			continue // most of them are over before anybody has read the line
		}
		v.print(ev.At.In(v.loc).Format("15:04:05") + "  " + v.bar(v.at[a], ev.At))
	}
}

func (v *applyView) erase() {
	if v.live && v.drawn > 0 {
		fmt.Fprintf(v.out, "\x1b[%dA\x1b[J", v.drawn)
		v.drawn = 0
	}
}

// mostBars bounds the progress block on small terminals.
const mostBars = 8

func (v *applyView) draw() {
	if !v.live {
		return
	}
	now := v.clock.Now()
	addresses := slices.Sorted(maps.Keys(v.at))
	for _, a := range addresses[:min(len(addresses), mostBars)] {
		v.print(v.bar(v.at[a], now))
		v.drawn++
	}
	if len(addresses) > 1 {
		v.print(v.bar(v.sum(addresses), now))
		v.drawn++
	}
}

// sum is the progress of all mailboxes that are being copied.
func (v *applyView) sum(addresses []string) progressAt {
	all := progressAt{began: v.clock.Now()}
	all.Mailbox = fmt.Sprintf("%d under way, %d ended", len(addresses), len(v.ended))
	for _, a := range addresses {
		p := v.at[a]
		if p.began.Before(all.began) {
			all.began = p.began
		}
		all.Messages += p.Messages
		all.Total += p.Total
		all.Octets += p.Octets
		all.OctetsOf += p.OctetsOf
	}
	return all
}

// bar is one mailbox's progress on one line: messages, octets, rate, time left.
func (v *applyView) bar(at progressAt, now time.Time) string {
	p := at.Progress
	name := clip(render.Escape(p.Mailbox), 28)
	done := fmt.Sprintf("%s of %s", render.Count(int64(p.Messages)), render.Count(int64(max(p.Total, p.Messages))))
	line := fmt.Sprintf("  %-28s %5s  %-15s", name, share(p.Messages, p.Total), done)
	if p.Note != "" {
		line += "  " + render.Escape(p.Note)
	} else {
		line += fmt.Sprintf(" %9s", render.Size(p.Octets)) + rateAndRest(p, now.Sub(at.began))
	}
	width := v.screen.Width
	if width == 0 {
		width = 80
	}
	return clip(line, width-1)
}

// rateAndRest is the rate so far and the time that is left at it.
func rateAndRest(p providers.Progress, took time.Duration) string {
	if took < time.Second || p.Octets == 0 {
		return ""
	}
	rate := float64(p.Octets) / took.Seconds()
	text := "  " + render.Rate(rate)
	if p.OctetsOf > p.Octets {
		text += "  " + render.Span(time.Duration(float64(p.OctetsOf-p.Octets)/rate*float64(time.Second))) + " left"
	}
	return text
}

// clip cuts s to n characters.
func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "~"
}

func share(n, of int) string {
	if of <= 0 {
		return ""
	}
	return fmt.Sprintf("%d %%", min(100, 100*n/of))
}

// end shows how the run ended; out is nil when an error says it.
func (v *applyView) end(out *apply.Outcome) {
	if v.json {
		return
	}
	v.erase()
	v.at = map[string]progressAt{}
	if out == nil {
		return
	}
	v.print("")
	if t := v.total; t.Changed() {
		v.print(fmt.Sprintf("%s messages copied (%s), %s flags, %s moved in this run.", render.Count(int64(t.Copied)), render.Size(t.Octets), render.Count(int64(t.Flags)), render.Count(int64(t.Moved))))
	}
	if n := v.quarantined(); n > 0 {
		v.print(v.yellow(fmt.Sprintf("%s messages were refused by the target and lie in .mxodus/quarantine.", render.Count(int64(n)))))
	}
	for _, l := range outcomeLines(*out, v.plan, v.loc) {
		v.print(render.Escape(l))
	}
}

// summaryJSON and exitJSON are the last two lines of -json.
type summaryJSON struct {
	Type        string `json:"type"`
	Copied      int    `json:"copied"`
	Unchanged   int    `json:"unchanged"`
	Flags       int    `json:"flags"`
	Moved       int    `json:"moved"`
	Deleted     int    `json:"deleted"`
	Quarantined int    `json:"quarantined"`
	Doubt       int    `json:"doubt"`
	Octets      int64  `json:"octets"`
}

type exitJSON struct {
	Type string `json:"type"`
	Code int    `json:"code"`
}

// appliedJSON is the exit of apply: what is done, what failed, what was not begun.
type appliedJSON struct {
	exitJSON
	Done       int      `json:"done"` // steps
	Failed     []string `json:"failed"`
	Drift      []string `json:"drift"`
	NotStarted int      `json:"not_started"`
}

func (v *applyView) summary(out apply.Outcome, code int) error {
	t := v.total
	v.encode(summaryJSON{"summary", t.Copied, t.Unchanged, t.Flags, t.Moved, t.Deleted, v.quarantined(), t.Doubt, t.Octets})
	v.encode(appliedJSON{exitJSON{"exit", code}, out.Done, append([]string{}, out.Failed...), append([]string{}, out.Drift...), out.NotStarted})
	return v.err
}

func (v *applyView) paint(code, s string) string {
	if !v.screen.Color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (v *applyView) bold(s string) string   { return v.paint("1", s) }
func (v *applyView) dim(s string) string    { return v.paint("2", s) }
func (v *applyView) red(s string) string    { return v.paint("31", s) }
func (v *applyView) green(s string) string  { return v.paint("32", s) }
func (v *applyView) yellow(s string) string { return v.paint("33", s) }
