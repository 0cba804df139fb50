package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/state"
)

// Event is what a run tells while it goes. Type is one of "run", "step",
// "progress", "pass", "wait", "gate", "check", "note".
type Event struct {
	Type     string                `json:"type"`
	At       time.Time             `json:"at"`
	Phase    plan.Phase            `json:"phase,omitempty"`
	Step     string                `json:"step,omitempty"`
	Gate     string                `json:"gate,omitempty"`
	State    string                `json:"state,omitempty"` // of a step: started, applied, seen, done, failed, drift, by_hand
	Text     string                `json:"text,omitempty"`
	Lines    []string              `json:"lines,omitempty"`
	Until    *time.Time            `json:"until,omitempty"`
	Progress *providers.Progress   `json:"progress,omitempty"`
	Result   *providers.PassResult `json:"result,omitempty"`
}

// note journals entries and makes them part of the record. Nothing that a
// person is told has not been written before.
func (e *Engine) note(ctx context.Context, entries ...state.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	now := e.Clock.Now()
	for i := range entries {
		entries[i].At, entries[i].Plan = now, e.Plan.Digest
		if key, ok := e.Record.keys[entries[i].Step]; ok {
			entries[i].Data = withKey(entries[i].Data, key)
		}
	}
	// An interrupted run still writes down what it did.
	if err := e.Journal.Append(context.WithoutCancel(ctx), entries...); err != nil {
		return &journalError{fmt.Errorf("write the journal: %w", err)}
	}
	if err := e.sync(ctx); err != nil {
		return err
	}
	for _, entry := range entries {
		e.announce(entry)
	}
	return nil
}

// sync makes part of the record what the journal holds since it was last read:
// our own entries and those of done, which runs beside apply.
func (e *Engine) sync(ctx context.Context) error {
	e.Record.mu.Lock()
	defer e.Record.mu.Unlock()
	entries, err := e.Journal.Entries(context.WithoutCancel(ctx), e.Record.lastSeq)
	if err != nil {
		return &journalError{fmt.Errorf("read the journal: %w", err)}
	}
	for _, entry := range entries {
		e.Record.fold(entry)
	}
	return nil
}

func withKey(data json.RawMessage, key string) json.RawMessage {
	m := map[string]any{}
	if len(data) > 0 {
		_ = json.Unmarshal(data, &m) // made by entryData or passEntry: an object
	}
	m["Key"] = key
	b, err := json.Marshal(m)
	if err != nil {
		return data
	}
	return b
}

func stepEntry(address, event string, d entryData) state.Entry {
	b, err := json.Marshal(d)
	if err != nil {
		b = nil
	}
	return state.Entry{Step: address, Event: event, Data: b}
}

func runEntry(event string, d entryData) state.Entry { return stepEntry("", event, d) }

func entriesFor(steps []plan.Step, event string, d entryData) []state.Entry {
	list := make([]state.Entry, len(steps))
	for i, s := range steps {
		list[i] = stepEntry(s.Address, event, d)
	}
	return list
}

// announce turns journal entries into events for the person who watches.
func (e *Engine) announce(entry state.Entry) {
	if entry.Step == "" {
		return
	}
	s, ok := e.Plan.Step(entry.Step)
	if !ok {
		return
	}
	ev := Event{Type: "step", At: entry.At, Phase: s.Phase, Step: s.Address, State: entry.Event}
	var d entryData
	_ = json.Unmarshal(entry.Data, &d)
	switch entry.Event {
	case evPass:
		var p passEntry
		_ = json.Unmarshal(entry.Data, &p)
		ev.Type, ev.State, ev.Result = "pass", "", &p.Result
	case evFailed:
		ev.Text = d.Error
	case evDrift:
		ev.Lines = append(append([]string{"planned against:"}, d.Want...), append([]string{"found:"}, d.Found...)...)
	case evApplied:
		ev.Text, ev.Lines = d.How, s.To
	case evDone:
		ev.Text = d.How
	case evSent:
		ev.Text = d.To
	case evProbe:
		var r ProbeResult
		if json.Unmarshal(entry.Data, &r) != nil || !r.OK() {
			return
		}
		ev.Type, ev.State, ev.Text = "note", "", fmt.Sprintf("%s: the probe from %s to %s arrived after %s", s.Address, r.From, r.To, plan.FormatDuration(r.Done.Sub(r.Sent).Round(time.Second)))
	case evSending, evUnsent, evTold:
		return
	}
	e.emit(ev)
}

func (e *Engine) emit(ev Event) {
	if e.Events == nil {
		return
	}
	if ev.At.IsZero() {
		ev.At = e.Clock.Now()
	}
	e.eventMu.Lock()
	defer e.eventMu.Unlock()
	e.Events(ev)
}

// journalError stops a run: without a journal nothing may be done.
type journalError struct{ err error }

func (e *journalError) Error() string { return e.err.Error() }
func (e *journalError) Unwrap() error { return e.err }
