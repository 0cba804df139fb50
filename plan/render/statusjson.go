package render

import (
	"io"
	"time"

	"github.com/mxodus/mxodus/plan"
)

// statusJSON is the object of `status -json`. The fields up to Drift are the
// documented ones; those behind it say more about them.
type statusJSON struct {
	Migration string            `json:"migration"`
	Plan      string            `json:"plan"`
	Phase     plan.Phase        `json:"phase"`
	Complete  bool              `json:"complete"`
	Steps     stepCountsJSON    `json:"steps"`
	Next      *nextJSON         `json:"next"`
	BlockedBy []string          `json:"blocked_by"`
	Mailboxes []mailboxJSON     `json:"mailboxes"`
	Drift     []string          `json:"drift"`
	Number    int               `json:"number"`
	At        time.Time         `json:"at"`
	Rollback  plan.Phase        `json:"rollback,omitempty"`
	NextDelta *nextDeltaJSON    `json:"next_delta,omitempty"`
	Since     *time.Time        `json:"since"`
	Running   string            `json:"running,omitempty"`
	Phases    []phaseStatusJSON `json:"phases"`
	Blockers  []blockerJSON     `json:"blockers"`
	Drifted   []driftJSON       `json:"drifted"`
	Failures  []failureJSON     `json:"failures"`
	ToDo      []toDoJSON        `json:"to_do"`
	Unsure    []string          `json:"unsure"`     // recipients whose notice may or may not have arrived
	Late      []lateSenderJSON  `json:"stragglers"` // hosts that sent mail to the old MX after the flip, the newest first
	Servers   []serverJSON      `json:"servers"`
}

type stepCountsJSON struct {
	Total   int `json:"total"`
	Done    int `json:"done"`
	Failed  int `json:"failed"`
	Waiting int `json:"waiting"`
	ByHand  int `json:"by_hand"`
}

type nextJSON struct {
	Kind  string     `json:"kind"`
	Gate  string     `json:"gate,omitempty"`
	Step  string     `json:"step,omitempty"`
	Until *time.Time `json:"until"`
	Who   string     `json:"who,omitempty"`
}

// nextDeltaJSON forecasts the next round of passes; the sums are over the mailboxes that are known.
type nextDeltaJSON struct {
	At        time.Time `json:"at"`
	Mailboxes int       `json:"mailboxes"`
	Known     int       `json:"known"`
	Messages  int       `json:"messages"`
	Octets    int64     `json:"octets"`
	Seconds   float64   `json:"seconds"`
}

type mailboxJSON struct {
	Address     string     `json:"address"`
	Messages    int        `json:"messages"`
	Copied      int        `json:"copied"`
	Quarantined int        `json:"quarantined"`
	Doubt       int        `json:"doubt"`
	Octets      int64      `json:"octets"`
	LastPass    *time.Time `json:"last_pass"`
	Note        string     `json:"note,omitempty"`
}

type phaseStatusJSON struct {
	Phase    plan.Phase `json:"phase"`
	Done     int        `json:"done"`
	Total    int        `json:"total"`
	Starts   *time.Time `json:"starts"`
	Ends     *time.Time `json:"ends"`
	Complete bool       `json:"complete"`
}

type blockerJSON struct {
	Check  string   `json:"check"`
	Gate   string   `json:"gate,omitempty"`
	Detail []string `json:"detail"`
	Remedy string   `json:"remedy,omitempty"`
}

type driftJSON struct {
	Step  string   `json:"step"`
	Want  []string `json:"want"`
	Found []string `json:"found"`
}

type failureJSON struct {
	Step   string     `json:"step"`
	Error  string     `json:"error"`
	Remedy string     `json:"remedy,omitempty"`
	At     *time.Time `json:"at"`
}

type toDoJSON struct {
	Step         string   `json:"step"`
	Instructions []string `json:"instructions"`
	Proof        bool     `json:"proof"`
}

// StatusJSON writes the status as one JSON object.
func StatusJSON(w io.Writer, s Status) error {
	out := statusJSON{
		Migration: s.Migration, Plan: s.Plan, Phase: s.Phase, Complete: s.Complete,
		Steps:     stepCountsJSON{s.Steps.Total, s.Steps.Done, s.Steps.Failed, s.Steps.Waiting, s.Steps.ByHand},
		BlockedBy: []string{}, Mailboxes: []mailboxJSON{}, Drift: []string{}, Number: s.Number, At: s.At, Rollback: s.Rollback, Since: known(s.Since),
		Running: s.Running, Phases: []phaseStatusJSON{}, Blockers: []blockerJSON{}, Drifted: []driftJSON{}, Failures: []failureJSON{},
		ToDo: []toDoJSON{}, Unsure: list(s.Unsure), Late: lateSendersJSON(s.Late), Servers: serversJSON(s.Servers),
	}
	if s.Next != nil {
		out.Next = &nextJSON{s.Next.Kind, s.Next.Gate, s.Next.Step, known(s.Next.Until), s.Next.Who}
	}
	if d := s.NextDelta; d != nil {
		out.NextDelta = &nextDeltaJSON{d.At, d.Mailboxes, d.Known, d.Messages, d.Octets, d.Takes.Seconds()}
	}
	for _, b := range s.BlockedBy {
		out.BlockedBy = append(out.BlockedBy, b.Check)
		out.Blockers = append(out.Blockers, blockerJSON{b.Check, b.Gate, list(b.Words), b.Remedy})
	}
	for _, m := range s.Mailboxes {
		out.Mailboxes = append(out.Mailboxes, mailboxJSON{m.Address, m.Messages, m.Copied, m.Quarantined, m.Doubt, m.Octets, known(m.LastPass), m.Note})
	}
	for _, d := range s.Drift {
		out.Drift = append(out.Drift, d.Step)
		out.Drifted = append(out.Drifted, driftJSON{d.Step, list(d.Want), list(d.Found)})
	}
	for _, p := range s.Phases {
		out.Phases = append(out.Phases, phaseStatusJSON{p.Phase, p.Done, p.Total, known(p.Start), known(p.End), p.Complete})
	}
	for _, f := range s.Failures {
		out.Failures = append(out.Failures, failureJSON{f.Step, f.Error, f.Remedy, known(f.At)})
	}
	for _, d := range s.ToDo {
		out.ToDo = append(out.ToDo, toDoJSON{d.Step, list(d.Instructions), d.Proof})
	}
	return writeJSON(w, out)
}
