package render

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
)

// StatusMetrics writes the status in the text format of Prometheus, version 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats/): for a file that node_exporter's
// textfile collector reads. Names and labels are a contract.
func StatusMetrics(w io.Writer, s Status) error {
	m := &metrics{migration: s.Migration}
	m.family("mxodus_status_timestamp_seconds", "When the status was taken.")
	m.at(s.At)
	m.family("mxodus_complete", "1 when everything is done.")
	m.flag(s.Complete)
	m.family("mxodus_running", "1 while an apply is at work.")
	m.flag(s.Running != "")
	m.family("mxodus_phase", "1 for the phase that the migration is in.")
	for _, p := range plan.Phases() {
		m.flag(p == s.Phase, "phase", string(p))
	}
	m.family("mxodus_steps", "Steps of the plan by state; by_hand are those of the waiting ones that wait for a person.")
	m.number(s.Steps.Done, "state", "done")
	m.number(s.Steps.Failed, "state", "failed")
	m.number(s.Steps.Waiting, "state", "waiting")
	m.number(s.Steps.ByHand, "state", "by_hand")
	m.family("mxodus_drift", "Steps that met neither what they want nor what they were planned against.")
	m.number(len(s.Drift))
	m.family("mxodus_blocked", "1 for each check that keeps a gate shut.")
	for _, b := range s.BlockedBy {
		m.flag(true, "check", b.Check, "gate", b.Gate)
	}
	m.family("mxodus_waiting", "1 for what the migration waits for.")
	if n := s.Next; n != nil {
		m.flag(true, "kind", n.Kind, "gate", n.Gate, "step", n.Step)
	}
	m.family("mxodus_waiting_until_timestamp_seconds", "When that ends, where it is known.")
	if n := s.Next; n != nil && !n.Until.IsZero() {
		m.at(n.Until, "kind", n.Kind)
	}
	if d := s.NextDelta; d != nil {
		m.family("mxodus_next_delta_timestamp_seconds", "When the next round of passes begins.")
		m.at(d.At)
		m.family("mxodus_next_delta_messages", "Messages that it is expected to bring.")
		m.number(d.Messages)
		m.family("mxodus_next_delta_octets", "Octets that it is expected to bring.")
		m.number(int(d.Octets))
		m.family("mxodus_next_delta_seconds", "How long it is expected to take.")
		m.value(d.Takes.Seconds())
	}
	for _, f := range []struct {
		name, help string
		of         func(MailboxStatus) int
	}{
		{"mxodus_mailbox_messages", "Messages at the source.", func(b MailboxStatus) int { return b.Messages }},
		{"mxodus_mailbox_copied_messages", "Of them, those at the target.", func(b MailboxStatus) int { return b.Copied }},
		{"mxodus_mailbox_quarantined_messages", "Messages that the target refused.", func(b MailboxStatus) int { return b.Quarantined }},
		{"mxodus_mailbox_doubtful_messages", "Messages sent without an answer and not looked for yet.", func(b MailboxStatus) int { return b.Doubt }},
	} {
		m.family(f.name, f.help)
		for _, b := range s.Mailboxes {
			m.number(f.of(b), "address", b.Address)
		}
	}
	m.family("mxodus_mailbox_last_pass_timestamp_seconds", "When the last pass over the mailbox ended.")
	for _, b := range s.Mailboxes {
		if !b.LastPass.IsZero() {
			m.at(b.LastPass, "address", b.Address)
		}
	}
	_, err := io.WriteString(w, m.text.String())
	return err
}

// metrics is a text that grows by one family of gauges after the other.
type metrics struct {
	migration string
	name      string
	text      strings.Builder
}

func (m *metrics) family(name, help string) {
	m.name = name
	fmt.Fprintf(&m.text, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name)
}

// value writes one sample. labels are names and values in turn.
func (m *metrics) value(v float64, labels ...string) {
	fmt.Fprintf(&m.text, "%s{migration=\"%s\"", m.name, labelValue(m.migration))
	for i := 0; i+1 < len(labels); i += 2 {
		fmt.Fprintf(&m.text, ",%s=\"%s\"", labels[i], labelValue(labels[i+1]))
	}
	m.text.WriteString("} " + strconv.FormatFloat(v, 'f', -1, 64) + "\n")
}

func (m *metrics) number(n int, labels ...string) { m.value(float64(n), labels...) }

func (m *metrics) flag(on bool, labels ...string) {
	v := 0.0
	if on {
		v = 1
	}
	m.value(v, labels...)
}

func (m *metrics) at(t time.Time, labels ...string) { m.value(float64(t.UnixMilli())/1000, labels...) }

// labelValue escapes what the format wants escaped.
var labelValue = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`).Replace
