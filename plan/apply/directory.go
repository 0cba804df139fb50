package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/plan/planner"
	"github.com/mxodus/mxodus/providers"
)

// directoryKinds are the steps that a target's directory carries out.
var directoryKinds = map[string]bool{
	"account": true, "shared": true, "access": true, "application": true, "catchall": true, "domain": true, "alias": true, "list": true, "forwarder": true,
}

// directoryWorkers bounds how many changes of directories are under way together.
const directoryWorkers = 8

// directoryStep is what step s is about: the directory, what is asked of it, and the change.
type directoryStep struct {
	at     providers.Directory
	change providers.DirectoryChange
}

// directoryOf finds the directory of a step; ok is false where the target has none or the
// configuration no longer names what the step is about.
func (e *Engine) directoryOf(s plan.Step) (directoryStep, bool) {
	if !directoryKinds[kindOf(s)] {
		return directoryStep{}, false
	}
	f, ok := planner.Observed(e.Migration, &inventory.Inventory{}, s)
	if !ok {
		return directoryStep{}, false
	}
	at, ok := e.Systems.Directory(f.Host)
	if !ok {
		return directoryStep{}, false
	}
	kind, rest, _ := strings.Cut(s.Address, "/")
	d := directoryStep{at: at, change: providers.DirectoryChange{Kind: kind}}
	q := &d.change.Of
	switch kind {
	case "domain":
		name, part, _ := strings.Cut(rest, "/")
		q.Domains = []string{name}
		if part != "" {
			d.change.Kind += "/" + part
		}
	case "application":
	case "alias":
		q.Aliases = only(e.Migration.Aliases, func(a plan.Alias) bool { return a.Address == rest })
	case "list":
		q.Lists = only(e.Migration.Lists, func(l plan.List) bool { return l.Address == rest })
	case "forwarder":
		q.Forwarders = only(e.Migration.Forwarders, func(f plan.Forwarder) bool { return f.Address == rest })
	default:
		q.Mailboxes = only(e.Migration.Mailboxes, func(m plan.Mailbox) bool { return m.Target == rest })
		q.Access = kind == "access"
		if kind == "catchall" {
			q.Domains = []string{rest[strings.LastIndexByte(rest, '@')+1:]}
		}
	}
	return d, true
}

// only is the first element that is meant, alone.
func only[T any](list []T, is func(T) bool) []T {
	if i := slices.IndexFunc(list, is); i >= 0 {
		return list[i : i+1 : i+1]
	}
	return nil
}

// inDirectory asks the directory what step s is about is like now.
func (e *Engine) inDirectory(ctx context.Context, s plan.Step, d directoryStep) (now planner.Facts, pending string, err error) {
	seen, err := d.at.Observe(ctx, d.change.Of)
	if err != nil {
		return planner.Facts{}, "", err
	}
	inv := &inventory.Inventory{Targets: seen.Mailboxes, Addresses: seen.Addresses, Directories: []inventory.Directory{seen.Directory}}
	f, ok := planner.Observed(e.Migration, inv, s)
	if !ok {
		return planner.Facts{}, "", fmt.Errorf("%s: the configuration no longer names it: plan again", s.Address)
	}
	for _, m := range d.change.Of.Mailboxes {
		pending = seen.Pending[m.Target]
	}
	return f, pending, nil
}

// changeDirectory brings a step about in the target's directory: it looks, changes only
// what is as it was planned against, and looks again.
func (e *Engine) changeDirectory(ctx context.Context, steps []plan.Step) error {
	s := steps[0]
	d, ok := e.directoryOf(s)
	if !ok {
		return fmt.Errorf("%s: the target has no directory that could do it, or the configuration no longer names it: plan again", s.Address)
	}
	now, pending, err := e.inDirectory(ctx, s, d)
	if err != nil {
		return patient(err)
	}
	how := "already"
	if !e.Record.State(s.Address).Started.IsZero() {
		how = "changed"
	}
	if !now.Reached() {
		if drift := now.Drift(s); len(drift) > 0 {
			if err := e.note(ctx, stepEntry(s.Address, evDrift, entryData{Want: plannedAgainst(s), Found: drift})); err != nil {
				return err
			}
			return fmt.Errorf("%s: %w", s.Address, errDrift)
		}
		how = "changed"
		if e.Record.State(s.Address).Started.IsZero() {
			if err := e.note(ctx, stepEntry(s.Address, evStarted, entryData{})); err != nil {
				return err
			}
		}
		if err := d.at.Apply(ctx, d.change); err != nil {
			return patient(err)
		}
		if now, pending, err = e.inDirectory(ctx, s, d); err != nil {
			return err
		}
	}
	switch {
	case !now.Reached():
		pending = "it was asked for and isn't seen yet"
	case pending == "" && kindOf(s) == "access":
		// Only a login proves that a copy can begin.
		m := d.change.Of.Mailboxes[0]
		if err := e.targetLogin(ctx, m); err != nil {
			switch providers.ReasonOf(err) {
			case providers.Authentication, providers.Refused, providers.NotFound, providers.NotYet:
				return &providers.Error{Op: "open by IMAP", Subject: m.Target, Reason: providers.NotYet, Err: err,
					Remedy: "rights take up to an hour to be seen everywhere; if it stays, mxodus doctor says what is missing"}
			}
			return err
		}
	}
	if pending != "" {
		return &providers.Error{Op: "wait for", Subject: s.Address, Reason: providers.NotYet, Err: errors.New(pending), Remedy: "it is looked at again"}
	}
	return e.note(ctx, stepEntry(s.Address, evDone, entryData{How: how}))
}

// patient makes a wait of a service that asks for one: it is no failure of the step.
func patient(err error) error {
	if e, ok := errors.AsType[*providers.Error](err); ok && e.Reason == providers.Throttled {
		later := *e
		later.Reason = providers.NotYet
		return &later
	}
	return err
}

// plannedAgainst is what a step expects to find, in words.
func plannedAgainst(s plan.Step) []string {
	if len(s.From) == 0 {
		return []string{"nothing is there"}
	}
	return s.From
}

// proveByDirectory asks the directory whether a by-hand step was done; ok is false
// where it can't tell.
func (e *Engine) proveByDirectory(ctx context.Context, s plan.Step) (p Proof, ok bool) {
	d, ok := e.directoryOf(s)
	if !ok {
		return Proof{}, false
	}
	switch kindOf(s) {
	case "access":
		err := e.targetLogin(ctx, d.change.Of.Mailboxes[0])
		return Proof{Proven: err == nil, Possible: true, Words: words(err, "the login works")}, true
	case "domain", "catchall", "application":
		return Proof{}, true // nobody outside can tell: a person's word decides
	}
	now, _, err := e.inDirectory(ctx, s, d)
	switch {
	case err != nil:
		return Proof{Possible: true, Words: err.Error()}, true
	case now.Reached():
		return Proof{Proven: true, Possible: true, Words: "the directory shows it"}, true
	case !now.There:
		return Proof{Possible: true, Words: "the directory doesn't have it yet"}, true
	}
	return Proof{Possible: true, Words: "the directory shows " + strings.Join(now.Have, "; ")}, true
}

// directoryNeeds are the kinds of change that the plan's open steps ask of each directory.
func (e *Engine) directoryNeeds() map[string][]string {
	kinds := map[string]map[string]bool{}
	for _, s := range e.Plan.Steps {
		d, ok := e.directoryOf(s)
		if !ok || !e.Record.State(s.Address).Done.IsZero() {
			continue
		}
		f, _ := planner.Observed(e.Migration, &inventory.Inventory{}, s)
		if kinds[f.Host] == nil {
			kinds[f.Host] = map[string]bool{}
		}
		kinds[f.Host][d.change.Kind] = true
	}
	needs := map[string][]string{}
	for host, set := range kinds {
		needs[host] = slices.Sorted(maps.Keys(set))
	}
	return needs
}

// directoryProblems tries what the plan's steps need of directories. Nothing is changed.
func (e *Engine) directoryProblems(ctx context.Context) []error {
	var problems []error
	for host, kinds := range e.directoryNeeds() {
		at, _ := e.Systems.Directory(host)
		for _, f := range at.Check(ctx, kinds) {
			if !f.OK {
				problems = append(problems, &providers.Error{Op: f.Check, Subject: f.Subject, Reason: providers.Refused, Err: errors.New(f.Code + ": " + f.Detail), Remedy: f.Remedy})
			}
		}
	}
	return problems
}

// knownByDirectory answers from the target's directory whether the alias, list or forwarder is
// there; false where it has none that could tell.
func (e *Engine) knownByDirectory(ctx context.Context, address string, a *Answer) bool {
	for _, kind := range []string{"alias", "list", "forwarder"} {
		s := plan.Step{Address: kind + "/" + address}
		d, ok := e.directoryOf(s)
		if !ok {
			continue
		}
		now, _, err := e.inDirectory(ctx, s, d)
		switch {
		case err != nil:
			a.no("%s: the directory could not be asked: %v", address, err)
		case !now.There:
			a.no("%s is not in the directory", address)
		}
		return true
	}
	return false
}
