package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// PreflightError lists what the plan will need and can't have now. Nothing was changed.
type PreflightError struct{ Problems []error }

func (e *PreflightError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = "  " + p.Error()
		if pe, ok := errors.AsType[*providers.Error](p); ok && pe.Remedy != "" {
			lines[i] += "\n    what to do: " + pe.Remedy
		}
	}
	return "before its first write apply tries everything that the plan needs; nothing was changed, because this does not work:\n" + strings.Join(lines, "\n")
}

// preflightLogins bounds how many logins are tried at the same time.
const preflightLogins = 8

// preflight tries every login and service that the plan's open steps need,
// once for a plan. Accounts that a step of the plan creates are not expected yet.
func (e *Engine) preflight(ctx context.Context) error {
	e.Record.mu.Lock()
	done := e.Record.preflight
	e.Record.mu.Unlock()
	if done {
		return nil
	}
	var tries []func(context.Context) error
	seen := map[string]bool{}
	for _, s := range e.Plan.Steps {
		if !e.Record.State(s.Address).Done.IsZero() {
			continue
		}
		key, try := e.need(s)
		if try != nil && !seen[key] {
			seen[key] = true
			tries = append(tries, try...)
		}
	}
	var mu sync.Mutex
	var problems []error
	var wg sync.WaitGroup
	slots := make(chan struct{}, preflightLogins)
	for _, try := range tries {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := try(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				problems = append(problems, err)
			}
		})
	}
	wg.Wait()
	problems = append(problems, e.directoryProblems(ctx)...)
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(problems) > 0 {
		slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
		return &PreflightError{Problems: problems}
	}
	return e.note(ctx, runEntry(evPreflight, entryData{}))
}

// need is what a step needs, under a key that tells equal needs.
func (e *Engine) need(s plan.Step) (key string, tries []func(context.Context) error) {
	kind, rest, _ := strings.Cut(s.Address, "/")
	switch {
	case isPass(s):
		m, ok := e.Migration.MailboxAt(rest)
		if !ok {
			return "", nil
		}
		tries = append(tries, func(ctx context.Context) error {
			return about("source mailbox "+m.Source, e.sourceLogin(ctx, m))
		})
		if !e.comes(m) {
			tries = append(tries, func(ctx context.Context) error {
				return about("target mailbox "+m.Target, e.targetLogin(ctx, m))
			})
		}
		return "mailbox/" + rest, tries
	case kind == "dns":
		d, err := parseDNS(s.Address)
		if err != nil {
			return "", nil
		}
		return "zone/" + d.domain, []func(context.Context) error{func(ctx context.Context) error {
			zone, err := e.Systems.Zone(d.domain)
			if err == nil {
				_, err = zone.Lookup(ctx, d.fqdn(), d.typ)
			}
			return about("zone "+d.domain, err)
		}}
	case kind == "validate" && strings.HasPrefix(rest, "probe/"):
		return e.needProbe(s)
	case kind == "notice":
		for _, n := range e.Migration.Notices {
			if n.Name == rest {
				return "smtp/" + n.Via, []func(context.Context) error{func(ctx context.Context) error {
					smtp, err := e.Systems.Notifier(n.Via)
					if err == nil {
						err = smtp.Check(ctx)
					}
					return about("smtp "+n.Via, err)
				}}
			}
		}
	}
	return "", nil
}

// comes reports whether a step that is not done yet brings the target account about.
func (e *Engine) comes(m plan.Mailbox) bool {
	for _, address := range []string{"account/" + m.Target, "shared/" + m.Target, "access/" + m.Target} {
		if _, ok := e.Plan.Step(address); ok && e.Record.State(address).Done.IsZero() {
			return true
		}
	}
	return false
}

func about(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// needProbe tries the outside account, once for all of a probe's steps, and where mail goes out by itself the
// login of the mailbox that it goes out from.
func (e *Engine) needProbe(s plan.Step) (key string, tries []func(context.Context) error) {
	name, way, _ := strings.Cut(strings.TrimPrefix(s.Address, "validate/probe/"), "/")
	if domain, out := strings.CutPrefix(way, "outbound/"); out && s.Action == plan.Check {
		m, ok := e.sender(domain)
		if !ok || e.comes(m) {
			return "", nil
		}
		return s.Address, []func(context.Context) error{func(ctx context.Context) error {
			submission, err := e.Systems.Submission(m.On)
			if err == nil && submission != nil {
				err = submission.Check(ctx, providers.Account{Address: m.Target, Credentials: m.Credentials})
			}
			return about("sending as "+m.Target, err)
		}}
	}
	return "probe/" + name, []func(context.Context) error{func(ctx context.Context) error {
		outside, err := e.Systems.Correspondent(name)
		if err == nil {
			err = outside.Check(ctx)
		}
		return about("probe "+name, err)
	}}
}
