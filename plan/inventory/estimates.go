package inventory

import (
	"encoding/json"
	"fmt"
)

// Estimates are figures that change while a migration runs. They feed
// forecasts and screens only; no plan and no digest depends on them.
type Estimates struct {
	Mailboxes  map[string]MailboxEstimate // by source address
	Recipients map[string]int             // how many of the newest messages name the address
	Rate       float64                    // octets a second that copying was seen to reach, 0 = not measured
}

// MailboxEstimate is how much there was in a mailbox when discover looked.
type MailboxEstimate struct {
	Messages int64
	Octets   int64 // -1 = not known
	Largest  int64 // octets of the largest message, -1 = not known
}

// Encode writes .mxodus/estimates.json.
func (e *Estimates) Encode() []byte {
	b, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		// Maps of numbers can fail only by a rate that is no number.
		c := *e
		c.Rate = 0
		b, _ = json.MarshalIndent(&c, "", "  ")
	}
	return append(b, '\n')
}

// ParseEstimates reads .mxodus/estimates.json.
func ParseEstimates(data []byte) (*Estimates, error) {
	var e Estimates
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("estimates.json can't be read: %w; remove it, mxodus discover writes it anew", err)
	}
	return &e, nil
}

// Total adds up the mailboxes. Octets are those that are known.
func (e *Estimates) Total() (messages, octets int64) {
	for _, m := range e.Mailboxes {
		messages += m.Messages
		octets += max(0, m.Octets)
	}
	return messages, octets
}
