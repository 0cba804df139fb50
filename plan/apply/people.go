package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/notice"
	"github.com/mxodus/mxodus/providers"
)

// errTold ends a task that waits for a person.
var errTold = errors.New("a person has been told")

// tell says once a run what a person has to do for steps. The journal keeps
// the first time; a run that died before anybody could read it tells again.
func (e *Engine) tell(ctx context.Context, steps []plan.Step, lines []string) error {
	address := steps[0].Address
	if e.Record.State(address).Told.IsZero() {
		if err := e.note(ctx, entriesFor(steps, evTold, entryData{})...); err != nil {
			return err
		}
	}
	if _, again := e.told.LoadOrStore(address, true); !again {
		e.emit(Event{Type: "step", Phase: steps[0].Phase, Step: address, State: "by_hand", Lines: lines})
	}
	return nil
}

// Proof is what a probe says of a by-hand step.
type Proof struct {
	Proven   bool
	Possible bool // false: no probe can tell; a person's word decides
	Words    string
}

// Prove asks the world whether the by-hand step s was done. It reads only.
func (e *Engine) Prove(ctx context.Context, s plan.Step) Proof {
	if p, ok := e.proveByDirectory(ctx, s); ok {
		return p
	}
	kind, address, _ := strings.Cut(s.Address, "/")
	switch kind {
	case "account", "shared":
		for _, m := range e.Migration.Mailboxes {
			if m.Target == address {
				err := e.targetLogin(ctx, m)
				return Proof{Proven: err == nil, Possible: true, Words: words(err, "the login works")}
			}
		}
	case "alias", "list", "forwarder":
		return e.proveRecipient(ctx, address)
	case "validate":
		return e.proveOutbound(ctx, s)
	case "retire":
		m, ok := e.Migration.MailboxAt(address)
		if !ok {
			return Proof{} // a host: its contract can't be probed
		}
		err := e.sourceLogin(ctx, m)
		refused := providers.ReasonOf(err) == providers.Authentication
		return Proof{Proven: refused, Possible: true, Words: words(err, "the login at the source still works")}
	}
	return Proof{}
}

func words(err error, without string) string {
	if err == nil {
		return without
	}
	return err.Error()
}

// proveRecipient asks the target's mail exchanger whether it takes mail for address.
func (e *Engine) proveRecipient(ctx context.Context, address string) Proof {
	_, domain, _ := strings.Cut(address, "@")
	d, ok := e.Migration.Domain(domain)
	if !ok {
		return Proof{}
	}
	host, ok := e.Migration.Target(d.Mail)
	if !ok {
		return Proof{}
	}
	server, telling, why := e.exchanger(ctx, host, address)
	if !telling {
		return Proof{Words: why}
	}
	ok, said, err := e.accepts(ctx, server, address)
	if err != nil {
		return Proof{Possible: true, Words: err.Error()}
	}
	return Proof{Proven: ok, Possible: true, Words: said}
}

// byHand looks whether a person has done step s, tells what to do when not,
// and returns what is waited for.
func (e *Engine) byHand(ctx context.Context, s plan.Step) (*Waiting, error) {
	now := e.Clock.Now()
	st := e.Record.State(s.Address)
	w := &Waiting{Kind: WaitByHand, Step: s.Address}
	p := e.Prove(ctx, s)
	switch {
	case p.Proven:
		delete(e.retry, s.Address)
		return &Waiting{Kind: WaitTime, Step: s.Address, Until: now}, e.byHandDone(ctx, s, "proven")
	case !p.Possible && !st.Word.IsZero():
		return &Waiting{Kind: WaitTime, Step: s.Address, Until: now}, e.byHandDone(ctx, s, "word")
	}
	lines := append([]string{}, s.Detail...)
	if !p.Possible {
		lines = append(lines, "then say so: mxodus done "+s.Address)
	}
	if err := e.tell(ctx, []plan.Step{s}, lines); err != nil {
		return nil, err
	}
	w.Until = now.Add(e.pollPause(*w, now))
	e.retry[s.Address] = retry{next: w.Until, kind: WaitByHand}
	return w, nil
}

// byHandDone journals a finished by-hand step. With the last word on a mailbox
// its copy is closed.
func (e *Engine) byHandDone(ctx context.Context, s plan.Step, how string) error {
	entries := entriesFor([]plan.Step{s}, evDone, entryData{How: how})
	if kind, address, _ := strings.Cut(s.Address, "/"); kind == "retire" {
		if _, ok := e.Migration.MailboxAt(address); ok {
			entries = append(entries, runEntry(evClosed, entryData{Address: address}))
		}
	}
	return e.note(ctx, entries...)
}

// ErrNotDone is returned by Done when a probe says otherwise.
var ErrNotDone = errors.New("the probe says that it is not done")

// Done takes a person's word that the by-hand step at address is done. A probe
// that can tell decides; where it says otherwise the word is refused.
func (e *Engine) Done(ctx context.Context, address string) (Proof, error) {
	s, ok := e.Plan.Step(address)
	if !ok {
		return Proof{}, fmt.Errorf("the plan has no step %s", address)
	}
	if dnsRole(address) != roleOther {
		lag, err := e.converge(ctx, s)
		if err != nil || lag != "" {
			return Proof{Possible: true, Words: lag}, errors.Join(ErrNotDone, err)
		}
		return Proof{Proven: true, Possible: true}, nil
	}
	if strings.HasPrefix(address, "validate/probe/") && strings.HasSuffix(address, "/"+wayOld) && s.Action != plan.ByHand {
		// Where no mail can be sent to the old MX from here, no probe can tell.
		for _, r := range e.Record.State(address).Probes {
			if r.Source.IsZero() && r.Failed != "" {
				return Proof{}, e.note(ctx, stepEntry(address, evWord, entryData{}))
			}
		}
		return Proof{Possible: true}, fmt.Errorf("%w: the old MX took every probe so far, so mxodus apply finds out", ErrNotDone)
	}
	if s.Action != plan.ByHand {
		return Proof{}, fmt.Errorf("%s is not done by hand: mxodus apply does it", address)
	}
	p := e.Prove(ctx, s)
	switch {
	case p.Proven:
		return p, e.byHandDone(ctx, s, "proven")
	case p.Possible:
		return p, fmt.Errorf("%w: %s", ErrNotDone, p.Words)
	}
	return p, e.note(ctx, stepEntry(address, evWord, entryData{}))
}

// byHandAddress is the by-hand step that gives address its home, "" if none.
func byHandAddress(p *plan.Plan, address string) string {
	for _, kind := range []string{"alias/", "list/", "forwarder/", "account/", "shared/"} {
		if _, ok := p.Step(kind + address); ok {
			return kind + address
		}
	}
	return ""
}

// sendNotice hands in a notice, once for each recipient. A message whose
// hand-in was interrupted is not sent a second time: it may have arrived, and
// status names it.
func (e *Engine) sendNotice(ctx context.Context, steps []plan.Step) error {
	s := steps[0]
	name := strings.TrimPrefix(s.Address, "notice/")
	for _, n := range e.Migration.Notices {
		if n.Name == name {
			return e.sendTo(ctx, s, n)
		}
	}
	return fmt.Errorf("%s: the configuration holds no such notice any more: plan again", s.Address)
}

func (e *Engine) sendTo(ctx context.Context, s plan.Step, n plan.NoticeConfig) error {
	notifier, err := e.Systems.Notifier(n.Via)
	if err != nil {
		return err
	}
	from := ""
	for _, srv := range e.Migration.SMTP {
		if srv.Name == n.Via {
			from = srv.From
		}
	}
	st := e.Record.State(s.Address)
	var failures []error
	unsure := 0
	for _, to := range n.To {
		if !st.Sent[to].IsZero() {
			continue
		}
		if !st.Sending[to].IsZero() {
			unsure++
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		mail := e.compose(n, from, to)
		if err := e.note(ctx, stepEntry(s.Address, evSending, entryData{To: to})); err != nil {
			return err
		}
		receipt, err := handIn(ctx, notifier, mail)
		switch {
		case err == nil:
			if err := e.note(ctx, stepEntry(s.Address, evSent, entryData{To: to, How: receipt})); err != nil {
				return err
			}
		case providers.ReasonOf(err) == providers.Uncertain:
			unsure++
		default:
			// Refused before it was taken: it may be tried again.
			if jerr := e.note(ctx, stepEntry(s.Address, evUnsent, entryData{To: to})); jerr != nil {
				return jerr
			}
			failures = append(failures, fmt.Errorf("%s: %w", to, err))
		}
	}
	if len(failures) > 0 {
		return errors.Join(failures...)
	}
	how := fmt.Sprintf("%d sent", len(n.To)-unsure)
	if unsure > 0 {
		how += fmt.Sprintf(", %d perhaps (the hand-in was interrupted and is not repeated)", unsure)
	}
	return e.note(ctx, stepEntry(s.Address, evDone, entryData{How: how}))
}

// handIn sends a message and returns what the server said, where the notifier tells.
func handIn(ctx context.Context, n providers.Notifier, m providers.Mail) (receipt string, err error) {
	if r, ok := n.(providers.Receipter); ok {
		receipt, err = r.SendReceipt(ctx, m)
		return strings.ReplaceAll(receipt, "\n", " / "), err
	}
	return "", n.Send(ctx, m)
}

// compose fills the notice's template for one recipient.
func (e *Engine) compose(n plan.NoticeConfig, from, to string) providers.Mail {
	facts := notice.About(e.Migration, to)
	sum := sha256.Sum256([]byte(e.Plan.Lineage + "\n" + n.Name + "\n" + to))
	_, domain, _ := strings.Cut(strings.TrimSuffix(from, ">"), "@")
	return providers.Mail{
		ID: hex.EncodeToString(sum[:12]) + "@" + domain, From: from, To: to, Subject: facts.Fill(n.Subject),
		Text: facts.Fill(n.Body), HTML: facts.FillHTML(n.HTML), Date: e.Clock.Now(),
	}
}
