package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/providers/webhook"
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
	h := &hooks{migration: "acme", clock: systemClock{}, note: func(s string) { notes = append(notes, s) }, notices: []plan.NoticeConfig{
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
