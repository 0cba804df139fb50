package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/state"
)

// ProbeResult is one message of a probe and what became of it. It is the evidence that
// the journal keeps: the newest one for each key.
type ProbeResult struct {
	Probe   string // name of the block
	Way     string // "in", "old", "out"
	Mailbox string // source address; of "out" the domain
	From    string
	To      string
	Server  string `json:",omitempty"` // of "old": the exchanger it was given to
	ID      string // Message-ID
	Attempt int
	Sent    time.Time
	Source  time.Time // of "old": when it was seen at the source
	Done    time.Time // when it was found where it has to be
	Words   []string  `json:",omitempty"` // what was found there
	Failed  string    `json:",omitempty"` // why this attempt is over
}

// The ways of a probe.
const (
	wayIn  = "in"
	wayOld = "old"
	wayOut = "out"
)

func (r ProbeResult) key() string { return r.Way + "/" + r.Mailbox }

// OK reports whether the message arrived as it has to.
func (r ProbeResult) OK() bool { return !r.Done.IsZero() && r.Failed == "" }

// pendingError says that a message is on its way and when to look again.
type pendingError struct {
	next time.Time
	what string
}

func (e *pendingError) Error() string { return e.what }

// probing is a look at the messages of one step, for the journal or for a command that asks.
type probing struct {
	e     *Engine
	probe plan.Probe
	// known is the newest result of a key.
	known func(key string) ProbeResult
	// save keeps a result before and after the world is touched.
	save func(context.Context, ProbeResult) error
	// fresh reports whether a new message may be sent now for one that failed.
	fresh func(ProbeResult) bool
	// reading: no pass is run; what a pass would carry over is left where it is.
	reading bool
}

// probeStep looks at the messages of the step once: it sends those that are not out, and looks
// for those that are.
func (e *Engine) probeStep(ctx context.Context, steps []plan.Step) error {
	s := steps[0]
	p := &probing{
		e:     e,
		known: func(key string) ProbeResult { return e.Record.State(s.Address).Probes[key] },
		save: func(ctx context.Context, r ProbeResult) error {
			b, err := json.Marshal(r)
			if err != nil {
				return err
			}
			return e.note(ctx, state.Entry{Step: s.Address, Event: evProbe, Data: b})
		},
		fresh: func(r ProbeResult) bool { return e.freshProbe(s.Address, r) },
	}
	results, err := p.look(ctx, s.Address)
	if err != nil {
		if st := e.Record.State(s.Address); !st.Word.IsZero() && strings.HasSuffix(s.Address, "/old") {
			return e.note(ctx, stepEntry(s.Address, evDone, entryData{How: "word"}))
		}
		return err
	}
	return e.note(ctx, stepEntry(s.Address, evDone, entryData{How: summary(results)}))
}

// freshProbe lets a run send one message anew at once, because whoever started it may have mended
// something. From then on the pauses grow, so that nobody's mailbox fills with probes.
func (e *Engine) freshProbe(step string, r ProbeResult) bool {
	if _, again := e.told.LoadOrStore(step+"\n"+r.key(), true); !again {
		return true
	}
	pause := min(time.Duration(max(1, r.Attempt))*e.probeTimeout(r.Probe), 6*time.Hour)
	return !e.Clock.Now().Before(r.Sent.Add(pause))
}

func (e *Engine) probeTimeout(name string) time.Duration {
	for _, p := range e.Migration.Validation.Probes {
		if p.Name == name {
			return p.Timeout
		}
	}
	return 0
}

// summary says how many messages arrived and what is worth knowing of them.
func summary(results []ProbeResult) string {
	var slowest time.Duration
	var words []string
	for _, r := range results {
		slowest = max(slowest, r.Done.Sub(r.Sent))
		for _, w := range r.Words {
			words = append(words, r.Mailbox+": "+w)
		}
	}
	messages := fmt.Sprintf("%d messages arrived", len(results))
	if len(results) == 1 {
		messages = "1 message arrived"
	}
	return strings.Join(append([]string{fmt.Sprintf("%s, the slowest after %s", messages, plan.FormatDuration(slowest.Round(time.Second)))}, words...), "; ")
}

// look works on every message of the step at address. The error is that of the first that is not
// there: a *pendingError while it may still come.
func (p *probing) look(ctx context.Context, address string) ([]ProbeResult, error) {
	name, way, _ := strings.Cut(strings.TrimPrefix(address, "validate/probe/"), "/")
	for _, probe := range p.e.Migration.Validation.Probes {
		if probe.Name == name {
			p.probe = probe
		}
	}
	if p.probe.Name == "" {
		return nil, fmt.Errorf("%s: the configuration holds no such probe any more: plan again", address)
	}
	outside, err := p.e.Systems.Correspondent(name)
	if err != nil {
		return nil, err
	}
	var works []func() (ProbeResult, error)
	domain, outbound := strings.CutPrefix(way, "outbound/")
	switch {
	case outbound:
		works = append(works, func() (ProbeResult, error) { return p.outbound(ctx, outside, domain) })
	case way == "":
		for _, m := range p.e.sample() {
			works = append(works, func() (ProbeResult, error) { return p.inbound(ctx, outside, m) })
		}
	case way == wayOld:
		for _, m := range p.e.sample() {
			if servers := p.e.oldExchangers(m); len(servers) > 0 {
				works = append(works, func() (ProbeResult, error) { return p.byOldMX(ctx, outside, m, servers) })
			}
		}
	default:
		return nil, fmt.Errorf("%s: this mxodus can't run probes of that kind", address)
	}
	var results []ProbeResult
	var pending *pendingError
	var failed error
	for _, work := range works {
		r, err := work()
		if later, ok := errors.AsType[*pendingError](err); ok {
			if pending == nil || later.next.Before(pending.next) {
				pending = later
			}
		} else if err != nil && failed == nil {
			failed = err
		}
		if _, dead := errors.AsType[*journalError](err); dead {
			return results, err
		}
		results = append(results, r)
	}
	switch {
	case pending != nil: // the others are told when all have had their time
		return results, pending
	default:
		return results, failed
	}
}

// attempt makes sure that a message is out for r: the one that is, or a new one.
func (p *probing) attempt(ctx context.Context, r ProbeResult, send func(providers.Mail) error) (ProbeResult, error) {
	old := p.known(r.key())
	switch {
	case old.OK(), old.Failed == "" && !old.Sent.IsZero():
		return old, nil
	case old.Failed != "" && !p.fresh(old):
		return old, fmt.Errorf("%w: %s", errValidation, old.Failed)
	}
	now := p.e.Clock.Now()
	token := p.e.Random()
	r.ID = token + ".probe@" + r.From[strings.LastIndexByte(r.From, '@')+1:]
	r.Attempt, r.Sent = old.Attempt+1, now
	if err := p.save(ctx, r); err != nil {
		return r, err
	}
	err := send(providers.Mail{
		ID: r.ID, From: r.From, To: r.To, Date: now,
		Subject: "mxodus probe " + token + " (nothing to do)",
		Text: "This message checks that mail finds its way while " + p.e.Migration.Name + " moves to another mail server.\n" +
			"Nobody has to do anything, and it may be deleted.\n\n" +
			"Diese Nachricht prüft den Weg der Post während des Umzugs von " + p.e.Migration.Name + ".\n" +
			"Es ist nichts zu tun; sie kann gelöscht werden.\n\n" +
			"mxodus, probe \"" + r.Probe + "\"\n",
	})
	if err == nil || providers.ReasonOf(err) == providers.Uncertain {
		return r, nil
	}
	r.Failed = "it could not be sent: " + err.Error()
	if jerr := p.save(ctx, r); jerr != nil {
		return r, jerr
	}
	return r, fmt.Errorf("probe from %s to %s: %w", r.From, r.To, err)
}

// over ends an attempt that failed.
func (p *probing) over(ctx context.Context, r ProbeResult, format string, args ...any) (ProbeResult, error) {
	r.Failed = fmt.Sprintf(format, args...)
	if err := p.save(ctx, r); err != nil {
		return r, err
	}
	return r, fmt.Errorf("%w: %s", errValidation, r.Failed)
}

// waiting is the error of a message that isn't there yet, or its end when it has had
// its time since since.
func (p *probing) waiting(ctx context.Context, r ProbeResult, since time.Time, where string) (ProbeResult, error) {
	now := p.e.Clock.Now()
	if now.Sub(since) >= p.probe.Timeout {
		return p.over(ctx, r, "the probe from %s to %s has not come %s within %s", r.From, r.To, where, plan.FormatDuration(p.probe.Timeout))
	}
	pause := min(max(now.Sub(since)/10, pollMin), pollMax)
	return r, &pendingError{next: now.Add(pause), what: fmt.Sprintf("the probe from %s to %s is on its way %s", r.From, r.To, where)}
}

func (p *probing) arrived(ctx context.Context, r ProbeResult, words ...string) (ProbeResult, error) {
	r.Done, r.Words = p.e.Clock.Now(), append(r.Words, words...)
	return r, p.save(ctx, r)
}

// inbound follows a message from the outside account to a mailbox, through the new MX.
func (p *probing) inbound(ctx context.Context, outside providers.Correspondent, m plan.Mailbox) (ProbeResult, error) {
	if until, known := p.e.outlook().stragglersUntil(); known && p.e.Clock.Now().Before(until) {
		return ProbeResult{}, &pendingError{next: until, what: "the probes by the new MX wait until no cache leads to the old one any more"}
	}
	r, err := p.attempt(ctx, ProbeResult{Probe: p.probe.Name, Way: wayIn, Mailbox: m.Source, From: outside.Address(), To: p.e.addressOf(m)},
		func(mail providers.Mail) error { return outside.Send(ctx, mail) })
	if err != nil || r.OK() {
		return r, err
	}
	found, err := p.e.findAt(ctx, p.e.Systems.Target, m.On, m.Target, m.Credentials, r.ID)
	switch {
	case err != nil:
		return r, err
	case len(found) > 1:
		return p.over(ctx, r, "the probe to %s is at the target %d times", r.To, len(found))
	case len(found) == 0 && p.e.Clock.Now().Sub(r.Sent) < p.probe.Timeout:
		return p.waiting(ctx, r, r.Sent, "to the target")
	}
	// Where it is at the source too, or there alone, the sender still has the old record, and
	// nothing is proven of the new one.
	old, err := p.e.findAt(ctx, p.e.Systems.Source, m.From, m.Source, m.Credentials, r.ID)
	switch {
	case len(found) == 0 && len(old) == 0:
		return p.waiting(ctx, r, r.Sent, "to the target")
	case err != nil:
		r.Words = append(r.Words, "the source could not be asked whether it has it: "+err.Error())
	case len(old) > 0:
		return p.over(ctx, r, "the probe to %s came by the old MX: the server of %s has not seen the new one yet", r.To, r.From)
	}
	return p.arrived(ctx, r, place(found[0])...)
}

// byOldMX follows a message that is given to an old exchanger: to the source, and by one
// pass from there to the target.
func (p *probing) byOldMX(ctx context.Context, outside providers.Correspondent, m plan.Mailbox, servers []string) (ProbeResult, error) {
	r := ProbeResult{Probe: p.probe.Name, Way: wayOld, Mailbox: m.Source, From: outside.Address(), To: m.Source}
	r, err := p.attempt(ctx, r, func(mail providers.Mail) error {
		var err error
		for _, server := range servers {
			if err = p.e.Systems.MailExchange().Deliver(ctx, server, mail); err == nil || providers.ReasonOf(err) == providers.Uncertain {
				return err
			}
		}
		return remedied(err)
	})
	if err != nil || r.OK() {
		return r, err
	}
	if r.Source.IsZero() {
		found, err := p.e.findAt(ctx, p.e.Systems.Source, m.From, m.Source, m.Credentials, r.ID)
		if err != nil {
			return r, err
		}
		if len(found) == 0 {
			return p.waiting(ctx, r, r.Sent, "to the source")
		}
		r.Source = p.e.Clock.Now()
		if err := p.save(ctx, r); err != nil {
			return r, err
		}
	}
	if p.reading {
		return p.arrived(ctx, r, "it is at the source, and the next pass carries it over")
	}
	if ran, err := p.e.carry(ctx, m); err != nil || !ran {
		if err == nil {
			return p.waiting(ctx, r, r.Source, "to the target: a pass is running")
		}
		return r, err
	}
	found, err := p.e.findAt(ctx, p.e.Systems.Target, m.On, m.Target, m.Credentials, r.ID)
	switch {
	case err != nil:
		return r, err
	case len(found) == 0:
		return p.waiting(ctx, r, r.Source, "to the target, where a pass has to carry it")
	case len(found) > 1:
		return p.over(ctx, r, "the probe to %s by the old MX is at the target %d times", r.To, len(found))
	}
	return p.arrived(ctx, r, append(place(found[0]), "carried over once")...)
}

// remedied says what a person can do where no old exchanger takes mail from here.
func remedied(err error) error {
	if e, ok := errors.AsType[*providers.Error](err); ok {
		c := *e
		c.Remedy = "let this machine connect to port 25 of the old MX; where it can't, set smtp_probe = \"off\" at the source and plan again, or take it on your word: mxodus done"
		return &c
	}
	return err
}

// carry runs a pass over a mailbox that no other pass is over, and journals it with the delta's.
func (e *Engine) carry(ctx context.Context, m plan.Mailbox) (ran bool, err error) {
	step, ok := e.Plan.Step("delta/" + m.Source)
	if !ok {
		return false, fmt.Errorf("the plan has no delta passes over %s", m.Source)
	}
	free, ok := e.occupy(m.Source)
	if !ok {
		return false, nil
	}
	defer free()
	return true, e.onePass(ctx, step, m)
}

// findAt looks for a message by its ID in a mailbox of a host.
func (e *Engine) findAt(ctx context.Context, side func(string) (providers.MailHost, error), key, address string, credentials plan.SecretRef, id string) ([]providers.Found, error) {
	host, err := side(key)
	if err != nil {
		return nil, err
	}
	finder, ok := host.(providers.Finder)
	if !ok {
		return nil, fmt.Errorf("mail can't be searched at %s", key)
	}
	return finder.Find(ctx, providers.Account{Address: address, Credentials: credentials}, providers.Query{MessageID: id})
}

// place says where a message was found, where that is worth saying.
func place(f providers.Found) []string {
	if f.SpecialUse == `\Junk` {
		return []string{"it was put into the folder " + f.Folder + ", as spam"}
	}
	return nil
}

// addressOf is the address of a mailbox that mail is sent to after the flip: the
// target's where its domain is one that moves, else the source's.
func (e *Engine) addressOf(m plan.Mailbox) string {
	if _, domain, _ := strings.Cut(m.Target, "@"); domain != "" {
		if _, ok := e.Migration.Domain(strings.ToLower(domain)); ok {
			return m.Target
		}
	}
	return m.Source
}

// oldExchangers are the hosts that took the mailbox's mail before the flip, as the plan
// recorded them, best first. There are none where no record of ours moved its mail.
func (e *Engine) oldExchangers(m plan.Mailbox) []string {
	host, ok := e.Migration.Source(m.From)
	_, domain, _ := strings.Cut(m.Source, "@")
	s, flips := e.Plan.Step("dns/" + strings.ToLower(domain) + "/MX/@")
	if !ok || !flips || host.SMTPProbe == "off" {
		return nil
	}
	if host.SMTPProbe != "" {
		return []string{host.SMTPProbe}
	}
	set, err := plan.ParseRRset(domain+".", "MX", s.From)
	if err != nil {
		return nil
	}
	return mxHosts(set)
}
