package main

import (
	"context"
	"net/http"
	"slices"
	"sync"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/webhook"
)

// hooks tell a team's webhooks what a run meets. They are told beside the run:
// a hook that doesn't answer holds nothing up, and its refusal is a note.
type hooks struct {
	migration string
	notices   []plan.NoticeConfig
	clock     providers.Clock
	note      func(string)
	post      sync.WaitGroup
}

// hookEvent is the name under which the configuration asks for an event, ""
// for those that nobody can ask for.
func hookEvent(ev apply.Event) (name, subject string) {
	switch {
	case ev.Type == "gate" && (ev.State == "waiting" || ev.State == "blocked"):
		return "gate." + ev.State, ev.Gate
	case ev.Type == "step" && (ev.State == "failed" || ev.State == "drift"):
		return "step.failed", ev.Step
	case ev.Type == "phase":
		return "phase.done", string(ev.Phase)
	}
	return "", ""
}

func (h *hooks) event(ctx context.Context, ev apply.Event) {
	name, subject := hookEvent(ev)
	if name == "" {
		return
	}
	for _, n := range h.notices {
		if n.URL == "" || !slices.Contains(n.On, name) {
			continue
		}
		detail := ev.Lines
		if ev.Text != "" {
			detail = append([]string{ev.Text}, detail...)
		}
		m := webhook.Message{Text: h.migration + ": " + name + " " + subject, Event: name, Migration: h.migration, Subject: subject, Detail: detail, At: h.clock.Now()}
		h.post.Go(func() {
			if err := webhook.Post(context.WithoutCancel(ctx), http.DefaultClient, n.URL, m); err != nil {
				h.note("notify " + n.Name + ": " + err.Error())
			}
		})
	}
}

// wait returns when every message is handed in or refused.
func (h *hooks) wait() { h.post.Wait() }
