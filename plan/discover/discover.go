// Package discover observes a migration's systems and writes down what it
// finds as an inventory. It reads only: mailboxes are listed and examined,
// records are asked for, recipients are asked about by RCPT TO.
package discover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/providers"
)

// parallel is how many mailboxes are looked at together. Hosts bound their
// own connections besides.
const parallel = 8

// headers is how many of a folder's newest messages are searched for recipients.
const headers = 500

// Failure is a mailbox that could not be observed.
type Failure struct {
	Side    string // "source" or "target"
	Host    string // its key
	Address string
	Err     error
}

// FailedError names every mailbox and domain that could not be observed, so
// that a person mends them all at once.
type FailedError struct{ Failures []Failure }

func (e *FailedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d could not be observed", len(e.Failures))
	for _, f := range e.Failures {
		fmt.Fprintf(&b, "\n  %s %s at %s: %v", f.Side, f.Address, f.Host, f.Err)
		if refusal, ok := errors.AsType[*providers.Error](f.Err); ok && refusal.Remedy != "" {
			fmt.Fprintf(&b, " (%s)", refusal.Remedy)
		}
	}
	return b.String()
}

// Unwrap gives the causes, so that errors.As finds the first refusal.
func (e *FailedError) Unwrap() []error {
	list := make([]error, len(e.Failures))
	for i, f := range e.Failures {
		list[i] = f.Err
	}
	return list
}

// Observe looks at every mailbox, address and domain of m. prev is the
// inventory before, nil for the first: its lineage is kept, as are the TTLs that
// caches may still hold, and mailboxes it marks as closed are not asked. newLineage is
// called only when there is no lineage yet. progress, which may be nil, is told
// what happens in words, from one goroutine at a time.
//
// A source mailbox that can't be read is an error, a *FailedError that names
// all of them. A target that refuses the login means that the mailbox does not
// exist there yet; anything else that goes wrong at a target is an error too.
func Observe(ctx context.Context, m *plan.Migration, sys providers.Systems, prev *inventory.Inventory, newLineage func() string, progress func(string)) (*inventory.Inventory, *inventory.Estimates, error) {
	if prev == nil {
		prev = &inventory.Inventory{}
	}
	o := &observer{
		m: m, sys: sys, prev: prev, progress: progress,
		inv: &inventory.Inventory{Lineage: prev.Lineage}, asked: map[string]bool{},
		est: &inventory.Estimates{Mailboxes: map[string]inventory.MailboxEstimate{}, Recipients: map[string]int{}},
	}
	if o.inv.Lineage == "" {
		o.inv.Lineage = newLineage()
	}
	o.directories(ctx)
	o.mailboxes(ctx)
	o.accesses(ctx)
	for _, d := range m.Domains {
		if err := o.domain(ctx, d); err != nil {
			o.fail(Failure{"domain", d.Zone, d.Name, err})
		}
	}
	o.addresses(ctx)
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if len(o.failures) > 0 {
		slices.SortFunc(o.failures, func(a, b Failure) int {
			return slices.Compare([]string{a.Side, a.Host, a.Address}, []string{b.Side, b.Host, b.Address})
		})
		return nil, nil, &FailedError{o.failures}
	}
	for a := range o.est.Recipients {
		o.inv.Recipients = append(o.inv.Recipients, a)
	}
	// Encoding sorts; reading it back gives the inventory as the file will.
	inv, err := inventory.Parse(o.inv.Encode())
	if err != nil {
		return nil, nil, fmt.Errorf("what was observed can't be written down: %w", err)
	}
	return inv, o.est, nil
}

type observer struct {
	m        *plan.Migration
	sys      providers.Systems
	prev     *inventory.Inventory
	progress func(string)

	mu       sync.Mutex // guards what follows, and calls of progress
	inv      *inventory.Inventory
	est      *inventory.Estimates
	failures []Failure
	asked    map[string]bool // mailboxes at targets with a directory
	shut     []plan.Mailbox  // those that are there and can't be opened
}

func (o *observer) say(format string, args ...any) {
	if o.progress != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.progress(fmt.Sprintf(format, args...))
	}
}

func (o *observer) fail(f Failure) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failures = append(o.failures, f)
}

// mailboxes observes both sides of every mailbox.
func (o *observer) mailboxes(ctx context.Context) {
	var domains []string
	for _, d := range o.m.Domains {
		domains = append(domains, d.Name)
	}
	room := make(chan struct{}, parallel)
	var all sync.WaitGroup
	for _, m := range o.m.Mailboxes {
		if ctx.Err() != nil {
			break
		}
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			o.source(ctx, m, domains)
			o.target(ctx, m)
		})
	}
	all.Wait()
}

// source observes a mailbox where it is now.
func (o *observer) source(ctx context.Context, m plan.Mailbox, domains []string) {
	if was, ok := o.prev.Source(m.From, m.Source); ok && was.Closed {
		o.mu.Lock()
		o.inv.Sources = append(o.inv.Sources, was)
		o.mu.Unlock()
		o.say("%s is closed and not asked", m.Source)
		return
	}
	fail := func(err error) { o.fail(Failure{"source", m.From, m.Source, err}) }
	host, err := o.sys.Source(m.From)
	if err != nil {
		fail(err)
		return
	}
	account := providers.Account{Address: m.Source, Credentials: m.Credentials}
	folders, err := host.Folders(ctx, account)
	if err != nil {
		fail(err)
		return
	}
	counts := map[string]int{}
	if len(domains) > 0 {
		if counts, err = host.Recipients(ctx, account, domains, headers); err != nil {
			fail(fmt.Errorf("search for recipients: %w", err))
			return
		}
	}
	seen := inventory.Mailbox{Host: m.From, Address: m.Source, Exists: true, Folders: structure(folders)}
	est := estimate(folders)
	o.mu.Lock()
	o.inv.Sources = append(o.inv.Sources, seen)
	o.est.Mailboxes[m.Source] = est
	for a, n := range counts {
		o.est.Recipients[strings.ToLower(a)] += n
	}
	o.mu.Unlock()
	o.say("%s: %d messages in %d folders", m.Source, est.Messages, len(seen.Folders))
}

// target observes a mailbox where it will be.
func (o *observer) target(ctx context.Context, m plan.Mailbox) {
	fail := func(err error) { o.fail(Failure{"target", m.On, m.Target, err}) }
	if _, ok := o.sys.Directory(m.On); ok {
		host, err := o.sys.Target(m.On)
		if err != nil {
			fail(err)
			return
		}
		o.atDirectory(ctx, m, host)
		return
	}
	o.mu.Lock()
	_, twice := o.inv.Target(m.On, m.Target) // two sources may go into one mailbox
	o.mu.Unlock()
	if twice {
		return
	}
	host, err := o.sys.Target(m.On)
	if err != nil {
		fail(err)
		return
	}
	folders, err := host.Folders(ctx, providers.Account{Address: m.Target, Credentials: m.Credentials})
	switch {
	case err == nil:
	case providers.ReasonOf(err) == providers.Authentication:
		o.say("%s can't log in at %s: planned as a mailbox that does not exist there yet; if it does, its password is wrong", m.Target, m.On)
	default:
		fail(err)
		return
	}
	seen := inventory.Mailbox{Host: m.On, Address: m.Target, Exists: err == nil, Folders: structure(folders)}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, twice := o.inv.Target(m.On, m.Target); !twice {
		o.inv.Targets = append(o.inv.Targets, seen)
	}
}

// structure keeps what is a fact about folders. Those that hold no mail are
// only levels of the hierarchy.
func structure(folders []providers.Folder) []inventory.Folder {
	var list []inventory.Folder
	for _, f := range folders {
		if f.Selectable {
			list = append(list, inventory.Folder{Name: f.Name, UIDValidity: f.UIDValidity, SpecialUse: f.SpecialUse})
		}
	}
	return list
}

func estimate(folders []providers.Folder) inventory.MailboxEstimate {
	e := inventory.MailboxEstimate{Largest: -1}
	for _, f := range folders {
		if !f.Selectable {
			continue
		}
		e.Messages += int64(f.Messages)
		if f.Octets < 0 && f.Messages > 0 || e.Octets < 0 {
			e.Octets = -1
		} else {
			e.Octets += max(0, f.Octets)
		}
		e.Largest = max(e.Largest, f.Largest)
	}
	return e
}
