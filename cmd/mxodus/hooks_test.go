package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/webhook"
	"github.com/mxodus/mxodus/state"
)

func TestHooksTellWhatWasAskedFor(t *testing.T) {
	var mu sync.Mutex
	var got []string
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m webhook.Message
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, m.Event+" "+m.Subject)
	}))
	defer srv.Close()
	var notes []string
	h := &hooks{migration: &plan.Migration{Name: "acme"}, clock: systemClock{}, note: func(s string) { notes = append(notes, s) }, notices: []plan.NoticeConfig{
		{Name: "team", On: []string{"gate.waiting", "step.failed", "phase.done"}, URL: srv.URL + "/token"},
		{Name: "mail", To: []string{"a@b.example"}, Via: "office"},
	}}
	for _, ev := range []apply.Event{
		{Type: "gate", State: "waiting", Gate: "flip"},
		{Type: "gate", State: "blocked", Gate: "flip"},
		{Type: "gate", State: "open", Gate: "flip"},
		{Type: "step", State: "failed", Step: "copy/a@b.example", Text: "no"},
		{Type: "step", State: "done", Step: "copy/a@b.example"},
		{Type: "phase", Phase: plan.Flip, State: "done"},
		{Type: "progress"},
	} {
		h.event(t.Context(), ev)
	}
	h.wait()
	slices.Sort(got)
	if want := []string{"gate.waiting flip", "phase.done flip", "step.failed copy/a@b.example"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	if len(notes) != 0 {
		t.Errorf("notes: %q", notes)
	}
	srv.Close()
	h.event(t.Context(), apply.Event{Type: "phase", Phase: plan.Hold})
	if h.wait(); len(notes) != 1 {
		t.Errorf("a hook that is gone gave the notes %q", notes)
	}
}

// memoryNotifier keeps what it is given.
type memoryNotifier struct {
	mu   sync.Mutex
	sent []providers.Mail
}

func (n *memoryNotifier) Check(context.Context) error { return nil }
func (n *memoryNotifier) Send(_ context.Context, m providers.Mail) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent = append(n.sent, m)
	return nil
}

// Mail on events says what happened, once for each change, over several runs.
func TestHooksByMail(t *testing.T) {
	db, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	post := &memoryNotifier{}
	m := &plan.Migration{Name: "acme", SMTP: []plan.SMTPServer{{Name: "office", From: "IT <it@acme.example>"}}, Notices: []plan.NoticeConfig{
		{Name: "team", On: []string{"gate.waiting", "gate.blocked"}, To: []string{"kerstin@acme.example"}, Via: "office", Subject: "{migration} needs you"},
	}}
	run := func(events ...apply.Event) {
		h := &hooks{migration: m, notices: m.Notices, clock: systemClock{}, journal: db,
			note: func(s string) { t.Error(s) }, notifier: func(string) (providers.Notifier, error) { return post, nil }}
		if err := h.remember(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, ev := range events {
			h.event(t.Context(), ev)
			h.wait()
		}
	}
	waiting := apply.Event{Type: "gate", State: "waiting", Gate: "flip", Lines: []string{"0 of 1 approvals"}}
	blocked := apply.Event{Type: "gate", State: "blocked", Gate: "flip", Lines: []string{"check says no"}}
	run(waiting, waiting, apply.Event{Type: "phase", Phase: plan.Flip})
	run(waiting)
	run(blocked, waiting)
	var got []string
	for _, s := range post.sent {
		got = append(got, strings.TrimSpace(strings.ReplaceAll(s.Text, "\n", "|")))
		if s.Subject != "acme needs you" || s.To != "kerstin@acme.example" || !strings.HasSuffix(s.ID, "@acme.example") {
			t.Errorf("%+v", s)
		}
	}
	want := []string{"gate.waiting flip|  0 of 1 approvals|", "gate.blocked flip|  check says no|", "gate.waiting flip|  0 of 1 approvals|"}
	if !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}
