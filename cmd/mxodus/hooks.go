package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/plan/notice"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/webhook"
	"github.com/mxodus/mxodus/state"
)

// hooks tell a team what a run meets, by webhook or by mail. They are told beside the run: a hook
// that doesn't answer holds nothing up, and its refusal is a note. What was told last of a gate, step
// or phase is in the journal, so that a run a quarter of an hour later doesn't tell it again.
type hooks struct {
	migration *plan.Migration
	notices   []plan.NoticeConfig
	clock     providers.Clock
	note      func(string)
	notifier  func(name string) (providers.Notifier, error)
	journal   apply.Journal // nil: nothing is remembered
	post      sync.WaitGroup

	mu   sync.Mutex
	told map[string]string // notice and subject -> digest of what was told
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

// evHook is the journal's event: somebody was told. data.to is the notice with its subject, data.of the digest.
const evHook = "hook.told"

type hookData struct{ To, Of string }

// remember reads what was told before from the journal.
func (h *hooks) remember(ctx context.Context) error {
	h.told = map[string]string{}
	if h.journal == nil {
		return nil
	}
	entries, err := h.journal.Entries(ctx, 0)
	for _, e := range entries {
		var d hookData
		if e.Event == evHook && json.Unmarshal(e.Data, &d) == nil {
			h.told[d.To] = d.Of
		}
	}
	return err
}

func (h *hooks) event(ctx context.Context, ev apply.Event) {
	name, subject := hookEvent(ev)
	if name == "" {
		return
	}
	detail := ev.Lines
	if ev.Text != "" {
		detail = append([]string{ev.Text}, detail...)
	}
	kind, _, _ := strings.Cut(name, ".")
	sum := sha256.Sum256([]byte(name + "\n" + strings.Join(detail, "\n")))
	digest := hex.EncodeToString(sum[:12])
	for _, n := range h.notices {
		if !slices.Contains(n.On, name) {
			continue
		}
		key := n.Name + " " + kind + " " + subject
		h.mu.Lock()
		again := h.told[key] == digest
		if h.told == nil {
			h.told = map[string]string{}
		}
		h.told[key] = digest
		h.mu.Unlock()
		if again {
			continue
		}
		h.post.Go(func() {
			// What began is told, also when the run is interrupted meanwhile.
			ctx := context.WithoutCancel(ctx)
			err := h.tell(ctx, n, name, subject, detail, digest)
			if err == nil && h.journal != nil {
				data, _ := json.Marshal(hookData{key, digest}) // two strings
				err = h.journal.Append(ctx, state.Entry{Event: evHook, Data: data, At: h.clock.Now()})
			}
			if err != nil {
				h.note("notify " + n.Name + ": " + err.Error())
			}
		})
	}
}

func (h *hooks) tell(ctx context.Context, n plan.NoticeConfig, name, subject string, detail []string, digest string) error {
	if n.URL != "" {
		return webhook.Post(ctx, http.DefaultClient, n.URL, webhook.Message{
			Text: h.migration.Name + ": " + name + " " + subject, Event: name, Migration: h.migration.Name, Subject: subject, Detail: detail, At: h.clock.Now(),
		})
	}
	notifier, err := h.notifier(n.Via)
	if err != nil {
		return err
	}
	from := ""
	for _, s := range h.migration.SMTP {
		if s.Name == n.Via {
			from = s.From
		}
	}
	_, domain, _ := strings.Cut(strings.TrimSuffix(from, ">"), "@")
	for _, to := range n.To {
		facts := notice.About(h.migration, to)
		title := facts.Fill(n.Subject)
		if title == "" {
			title = h.migration.Name + ": " + name + " " + subject
		}
		text := facts.Fill(n.Body)
		if text != "" {
			text += "\n"
		}
		text += name + " " + subject + "\n"
		for _, d := range detail {
			text += "  " + d + "\n"
		}
		sum := sha256.Sum256([]byte(h.migration.Name + "\n" + n.Name + "\n" + subject + "\n" + digest + "\n" + to + "\n" + h.clock.Now().UTC().Format("2006-01-02")))
		if err := notifier.Send(ctx, providers.Mail{ID: hex.EncodeToString(sum[:12]) + "@" + domain, From: from, To: to, Subject: title, Text: text, Date: h.clock.Now()}); err != nil {
			return err
		}
	}
	return nil
}

// wait returns when every message is handed in or refused.
func (h *hooks) wait() { h.post.Wait() }
