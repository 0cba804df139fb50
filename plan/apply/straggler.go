package apply

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/timeline"
	"github.com/mxodus/mxodus/plan/trace"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/state"
)

// Straggler is a message that reached the source after the flip began, and who sent
// it there: so that the last senders that use the old MX can be told. Subjects are not kept.
type Straggler struct {
	Mailbox     string    `json:"mailbox"` // source address
	Folder      string    `json:"folder"`
	UIDValidity uint32    `json:"uidvalidity"`
	UID         uint32    `json:"uid"`
	MessageID   string    `json:"message_id,omitempty"`
	At          time.Time `json:"at"`             // when the source took it
	Host        string    `json:"host"`           // the sending host, as the source's exchanger wrote it; "" = no Received field tells
	IP          string    `json:"ip,omitempty"`   // its address
	From        string    `json:"from,omitempty"` // the address in the From field
}

func (s Straggler) key() string {
	return fmt.Sprintf("%s\n%s\n%d\n%d", s.Mailbox, s.Folder, s.UIDValidity, s.UID)
}

// stragglerLimit bounds how many stragglers of a mailbox one pass looks at; the next goes on.
const stragglerLimit = 500

// noteStragglers journals who has sent what a pass has just carried over. That it can't be
// found out is told, and is no failure of the pass: the mail is there.
func (e *Engine) noteStragglers(ctx context.Context, m plan.Mailbox) error {
	reader, ok := e.Systems.Copier().(providers.ArrivalReader)
	flipped := e.Record.Flipped()
	if !ok || flipped.IsZero() {
		return nil
	}
	known := e.Record.stragglerKeys(m.Source)
	probes := e.Record.probeIDs()
	var entries []state.Entry
	err := reader.Arrivals(ctx, m, flipped, stragglerLimit,
		func(folder string, uidValidity, uid uint32) bool {
			return known[Straggler{Mailbox: m.Source, Folder: folder, UIDValidity: uidValidity, UID: uid}.key()]
		},
		func(a providers.Arrival) error {
			if probes[strings.Trim(a.MessageID, "<>")] {
				return nil
			}
			b, err := json.Marshal(e.straggler(m, a))
			if err != nil {
				return err
			}
			entries = append(entries, state.Entry{Event: evStraggler, Data: b})
			return nil
		})
	if err != nil && ctx.Err() == nil {
		e.emit(Event{Type: "note", Text: "who sent late mail to " + m.Source + " could not be read: " + err.Error()})
	}
	return e.note(ctx, entries...)
}

// straggler reads from a message's header who brought it.
func (e *Engine) straggler(m plan.Mailbox, a providers.Arrival) Straggler {
	fields := trace.Fields(a.Header)
	s := Straggler{Mailbox: m.Source, Folder: a.Folder, UIDValidity: a.UIDValidity, UID: a.UID, MessageID: a.MessageID, At: a.At.UTC()}
	if hop, ok := trace.Border(trace.Hops(fields), e.oldMX(m)); ok {
		s.Host = hop.Sender()
		if hop.IP.IsValid() {
			s.IP = hop.IP.String()
		}
	}
	for _, v := range trace.Values(fields, "From") {
		if from, err := mail.ParseAddress(v); err == nil && s.From == "" {
			s.From = strings.ToLower(from.Address)
		}
	}
	return s
}

// oldMX are the names of the exchangers that the mailbox's domain had before the flip.
func (e *Engine) oldMX(m plan.Mailbox) []string {
	_, domain, _ := strings.Cut(m.Source, "@")
	step, ok := e.Plan.Step("dns/" + strings.ToLower(domain) + "/MX/@")
	if !ok {
		return nil
	}
	set, err := plan.ParseRRset(domain+".", "MX", step.From)
	if err != nil {
		return nil
	}
	hosts := mxHosts(set)
	for i, h := range hosts {
		hosts[i] = strings.TrimSuffix(h, ":25")
	}
	return hosts
}

// stragglerKeys are the stragglers of a mailbox that the journal has.
func (r *Record) stragglerKeys(address string) map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys := map[string]bool{}
	for k, s := range r.stragglers {
		if s.Mailbox == address {
			keys[k] = true
		}
	}
	return keys
}

// probeIDs are the Message-IDs of our own messages.
func (r *Record) probeIDs() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := map[string]bool{}
	for id := range r.probes {
		ids[id] = true
	}
	return ids
}

// Stragglers are all that reached the source after the flip, oldest first.
func (r *Record) Stragglers() []Straggler {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.stragglers), func(a, b Straggler) int {
		return cmp.Or(a.At.Compare(b.At), strings.Compare(a.key(), b.key()))
	})
}

// LateSender is a host that has sent mail to the old MX after the flip.
type LateSender struct {
	Host      string // "" = no Received field tells
	IP        string
	Messages  int
	Last      time.Time
	From      []string // addresses that it sent for, sorted
	Mailboxes []string // whom it reached, sorted
}

// LateSenders groups stragglers by the host that sent them, the newest first.
func LateSenders(list []Straggler) []LateSender {
	by := map[string]*LateSender{}
	for _, s := range list {
		l := by[s.Host]
		if l == nil {
			l = &LateSender{Host: s.Host}
			by[s.Host] = l
		}
		l.Messages++
		if !s.At.Before(l.Last) {
			l.Last, l.IP = s.At, s.IP
		}
		if s.From != "" {
			l.From = append(l.From, s.From)
		}
		l.Mailboxes = append(l.Mailboxes, s.Mailbox)
	}
	var out []LateSender
	for _, l := range by {
		slices.Sort(l.From)
		slices.Sort(l.Mailboxes)
		l.From, l.Mailboxes = slices.Compact(l.From), slices.Compact(l.Mailboxes)
		out = append(out, *l)
	}
	slices.SortFunc(out, func(a, b LateSender) int { return cmp.Or(b.Last.Compare(a.Last), strings.Compare(a.Host, b.Host)) })
	return out
}

// converges is when the last of the delta passes that are under way will probably be over.
func (o outlook) converges() time.Time {
	var at time.Time
	over, _ := o.stragglersUntil()
	for _, s := range o.steps(plan.Delta) {
		st := o.record.State(s.Address)
		if kindOf(s) != "delta" || s.Until.Converged == 0 || !st.Done.IsZero() {
			continue
		}
		end, ok := timeline.Converges(timeline.Passes{Quiet: st.Recent, Last: st.LastPass, Repeat: s.Repeat, Need: s.Until.Converged}, over)
		if !ok {
			return time.Time{}
		}
		at = later(at, end)
	}
	return at
}
