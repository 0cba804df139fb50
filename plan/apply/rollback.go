package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/planfile"
	"github.com/mxodus/mxodus/state"
)

// Done is what the journal knows of a plan that is to be taken back.
type Done struct {
	Made    func(plan.Step) bool // the step's change was begun, and may have been accepted
	Flipped bool                 // mail may have come to the target by the new records
}

// Rollback is the plan that takes p back to the end of phase to: the records that were
// changed later get the value again that they had then, all of a domain together, and mail
// that has come to the target meanwhile is carried back to the source. What can't be taken
// back is said in its findings.
func Rollback(p *plan.Plan, to plan.Phase, number int, done Done) *plan.Plan {
	back := &plan.Plan{Header: p.Header}
	back.Number, back.Parent, back.Rollback = number, p.Digest, to
	back.Steps = restored(p, to, done.Made)
	var after []string
	for _, s := range back.Steps {
		if d, err := parseDNS(s.Address); err == nil && d.typ == "MX" {
			after = append(after, s.Address)
		}
	}
	carried := 0
	for _, s := range p.Steps {
		if kindOf(s) != "copy" || !done.Flipped || !to.Before(plan.Flip) {
			continue
		}
		carried++
		back.Steps = append(back.Steps, carryBack(p, s, after))
	}
	back.Findings = lasting(p, to, done, carried)
	return back
}

// restored are the steps that give each record the value it had at the end of phase to. A
// record that was changed several times since goes back in one step.
func restored(p *plan.Plan, to plan.Phase, made func(plan.Step) bool) []plan.Step {
	var steps []plan.Step
	at := map[string]int{}
	for _, s := range p.Steps {
		d, err := parseDNS(s.Address)
		if err != nil || !to.Before(s.Phase) || s.Undo != plan.Restore || !made(s) {
			continue
		}
		address := "dns/" + d.domain + "/" + d.typ + "/" + d.name
		i, known := at[address]
		if !known {
			i = len(steps)
			at[address] = i
			steps = append(steps, plan.Step{Address: address, Phase: plan.Flip, To: s.From, Undo: plan.Restore})
		}
		u := &steps[i]
		u.From, u.Expect = s.To, plan.FingerprintOf(s.To...)
	}
	for i := range steps {
		switch u := &steps[i]; {
		case len(u.To) == 0:
			u.Action = plan.Delete
		case len(u.From) == 0:
			u.Action = plan.Create
		default:
			u.Action = plan.Change
		}
	}
	slices.SortFunc(steps, func(a, b plan.Step) int { return strings.Compare(a.Address, b.Address) })
	return steps
}

// carryBack is the step that brings to the source what has come to the target of the
// mailbox that copy is about. It is the one kind of step that writes to a source: it adds
// messages, and touches none that are there.
func carryBack(p *plan.Plan, copy plan.Step, after []string) plan.Step {
	s := plan.Step{
		Address: "carry_back/" + mailboxOf(copy), Phase: plan.Delta, Action: plan.Copy, From: copy.To, To: copy.From, After: after,
		Repeat: 15 * time.Minute, Until: plan.Until{Converged: 3}, Expect: copy.Expect, Undo: plan.NoneNeeded,
		Detail: []string{"add to the source what came to the target and did not come from the source, by way of a folder that goes again; no message there is changed or deleted"},
	}
	if delta, ok := p.Step("delta/" + mailboxOf(copy)); ok {
		s.Repeat = delta.Repeat
		if delta.Until.Converged > 0 {
			s.Until = delta.Until
		}
	}
	return s
}

// lasting are findings that tell what a rollback leaves as it is.
func lasting(p *plan.Plan, to plan.Phase, done Done, carried int) []plan.Finding {
	var list []plan.Finding
	say := func(check, summary, remedy string, detail ...string) {
		list = append(list, plan.Finding{Check: check, Severity: plan.Warns, Subject: p.Name, Summary: summary, Detail: detail, Remedy: remedy})
	}
	var sent, hands []string
	for _, s := range p.Steps {
		switch kind := kindOf(s); {
		case !to.Before(s.Phase) || dnsRole(s.Address) != roleOther:
		case kind == "notice":
			sent = append(sent, strings.TrimPrefix(s.Address, "notice/"))
		case s.Action == plan.ByHand && done.Made(s):
			hands = append(hands, s.Address)
		}
	}
	if carried > 0 {
		say("work_at_target", "What people did at the target with mail that was copied there stays there: read marks, moves between folders, deletions",
			"The source has that mail as it was when it was last read there")
		say("mail_before_migration", "Mail that was at the target before the migration stays there", "Copy it by hand where somebody needs it at the source")
		say("caches", "Senders whose resolvers still know the new records deliver to the target until these have run out; passes go on until then and until nothing new comes",
			"Keep the target's mailboxes open until the plan is complete")
	}
	if len(sent) > 0 {
		say("notices_sent", "Notices can't be called back, if they were sent: tell their readers that the move is off", "", sent...)
	}
	if len(hands) > 0 {
		say("done_by_hand", "What people did by hand is theirs to take back", "", hands...)
	}
	say("target_stays", "Accounts, addresses and mail at the target stay as they are: the next attempt goes on from there", "")
	return list
}

// Done tells a Rollback what the journal knows. A write that was begun, and a person who was
// told, count: a record that turned out to be as before is left alone.
func (r *Record) Done() Done {
	return Done{
		Made: func(s plan.Step) bool {
			st := r.State(s.Address)
			return !st.Started.IsZero() || !st.Applied.IsZero() || !st.Told.IsZero() || !st.Done.IsZero()
		},
		Flipped: !r.Flipped().IsZero(),
	}
}

// refreshRollback writes plans/NNNN-back.plan: the way back from the flip,
// made before the flip, so that nobody has to think of it afterwards.
func (e *Engine) refreshRollback(ctx context.Context) error {
	if e.Record.freshRollback(e.Dir) {
		return nil
	}
	back := Rollback(e.Plan, plan.Notice, e.Plan.Number, Done{Made: func(s plan.Step) bool { return s.Phase == plan.Flip }, Flipped: true})
	data, err := planfile.Encode(back)
	if err != nil {
		return err
	}
	name := filepath.Join("plans", fmt.Sprintf("%04d-back.plan", e.Plan.Number))
	if err := state.WriteFile(filepath.Join(e.Dir, name), data, 0o644); err != nil {
		return err
	}
	return e.note(ctx, runEntry(evBackPlan, entryData{File: name, Of: e.Plan.Digest}))
}

// freshRollback reports whether the rollback plan on disk takes back this plan.
func (r *Record) freshRollback(dir string) bool {
	r.mu.Lock()
	file, of := r.backFile, r.backPlan
	r.mu.Unlock()
	if file == "" || of != r.plan.Digest {
		return false
	}
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return false
	}
	back, err := planfile.Decode(data)
	return err == nil && back.Parent == r.plan.Digest
}

func rollbackPlanFresh(_ context.Context, e *Engine, a *Answer) {
	a.Remedy = "run apply: it writes plans/NNNN-back.plan when it reaches the gate"
	if !e.Record.freshRollback(e.Dir) {
		a.no("there is no rollback plan for this plan")
	}
}

// beginRollback journals, once for a rollback plan, that what came after its
// phase is being taken back.
func (e *Engine) beginRollback(ctx context.Context) error {
	e.Record.mu.Lock()
	begun := e.Record.rolling
	e.Record.mu.Unlock()
	if begun {
		return nil
	}
	i := e.Plan.Rollback.Index() + 1
	if i >= len(plan.Phases()) {
		return fmt.Errorf("a rollback to %s takes nothing back", e.Plan.Rollback)
	}
	return e.note(ctx, runEntry(evBack, entryData{Phase: plan.Phases()[i]}))
}

// runEntryOf is the entry that begins a run of plan p.
func runEntryOf(p *plan.Plan) state.Entry {
	b, err := json.Marshal(runData{Number: p.Number, Parent: p.Parent, Rollback: p.Rollback})
	if err != nil {
		b = nil
	}
	return state.Entry{Event: evRun, Data: b}
}
