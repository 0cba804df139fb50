package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/providers"
)

func newView(out *bytes.Buffer, live bool, width int) *applyView {
	return &applyView{out: out, live: live, screen: render.Screen{Width: width}, clock: systemClock{}, loc: time.UTC, plan: &plan.Plan{},
		at: map[string]progressAt{}, before: map[string]int{}, now: map[string]int{}, shown: map[string]bool{}}
}

func TestApplyViewEscapesAndFits(t *testing.T) {
	at := time.Date(2027, 1, 15, 18, 0, 0, 0, time.UTC)
	events := []apply.Event{
		{Type: "step", State: "failed", At: at, Step: "copy/evil\x1b[2J@acme.example", Text: "NO \x1b]0;owned\a and \u202eright to left"},
		{Type: "gate", State: "blocked", At: at, Gate: "flip", Lines: []string{strings.Repeat("a long reason ", 20)}},
		{Type: "progress", At: at, Progress: &providers.Progress{Mailbox: "anna@acme.example", Messages: 10, Total: 100, Octets: 1 << 20}},
		{Type: "progress", At: at.Add(time.Second), Progress: &providers.Progress{Mailbox: "jens\x1b[31m@acme.example", Messages: 10, Total: 100, Octets: 1 << 20, OctetsOf: 1 << 21, Note: "throttled, 5 s"}},
	}
	for _, live := range []bool{true, false} {
		var out bytes.Buffer
		v := newView(&out, live, 80)
		for _, ev := range events {
			v.event(ev)
		}
		text := out.String()
		if live {
			text = strings.ReplaceAll(strings.ReplaceAll(text, "\x1b[J", ""), "\x1b[1A", "")
			for line := range strings.SplitSeq(text, "\n") {
				if n := len([]rune(line)); n > 80 && !strings.Contains(line, "\\x1b") {
					t.Errorf("a line of %d columns on a terminal of 80: %q", n, line)
				}
			}
			if !strings.Contains(text, "throttled, 5 s") {
				t.Errorf("the note is not shown:\n%s", text)
			}
		}
		if strings.ContainsAny(text, "\x1b\a\u202e") {
			t.Errorf("live=%v: something from outside reached the terminal raw: %q", live, text)
		}
		if !strings.Contains(text, "gate flip stays shut") || !strings.Contains(text, "failed") {
			t.Errorf("live=%v:\n%s", live, text)
		}
	}
}

func TestQuarantineOfEarlierRunsIsNoNews(t *testing.T) {
	var out bytes.Buffer
	v := newView(&out, false, 80)
	v.before["anna@acme.example"] = 2
	pass := func(quarantined int) {
		v.event(apply.Event{Type: "pass", Step: "copy/anna@acme.example", Result: &providers.PassResult{Quarantined: quarantined}})
	}
	pass(2)
	if n := v.quarantined(); n != 0 {
		t.Errorf("%d new in quarantine, all are old", n)
	}
	pass(3)
	if n := v.quarantined(); n != 1 {
		t.Errorf("%d new in quarantine, want 1", n)
	}
}

func TestApplyCode(t *testing.T) {
	for _, tt := range []struct {
		name        string
		out         apply.Outcome
		quarantined bool
		detailed    bool
		want        int
	}{
		{"complete", apply.Outcome{Complete: true}, false, true, 0},
		{"parked", apply.Outcome{}, false, false, 0},
		{"parked, detailed", apply.Outcome{}, false, true, 3},
		{"check says no", apply.Outcome{Refused: []apply.Answer{{}}}, false, false, 5},
		{"drift", apply.Outcome{Drift: []string{"x"}}, false, false, 4},
		{"failed and drift", apply.Outcome{Drift: []string{"x"}, Failed: []string{"y"}}, false, false, 6},
		{"quarantined", apply.Outcome{Complete: true}, true, false, 6},
	} {
		if got := applyCode(tt.out, tt.quarantined, tt.detailed); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
