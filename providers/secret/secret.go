// Package secret resolves the references of a migration's secret blocks:
// environment, file, CSV table, command, the system's keyring and prompt.
//
// Values stay in memory. No error, warning or formatted value of this package
// holds one; what a command writes to its standard error is thrown away,
// since nobody knows what is in it.
package secret

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// Error says which secret can't be had, why, and what to do. It holds no value.
type Error struct {
	Ref     plan.SecretRef
	Address string // "" where the secret isn't looked up by one
	Problem string
	Remedy  string
	Err     error // the cause, such as a context's error; may be nil
}

// Error is one line: the reference, the problem, the remedy.
func (e *Error) Error() string {
	s := e.Ref.String()
	if e.Address != "" {
		s += " for " + e.Address
	}
	s += ": " + e.Problem
	if e.Remedy != "" {
		s += ": " + e.Remedy
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Options are a Resolver's ways to the world. What is nil is refused when a
// reference needs it.
type Options struct {
	// LookupEnv is os.LookupEnv.
	LookupEnv func(name string) (string, bool)
	// Prompt asks the person at the terminal, without an echo.
	Prompt func(ctx context.Context, text string) (string, error)
	// Keyring reads an entry of the system's keyring: SystemKeyring.
	Keyring func(ctx context.Context, service, user string) (string, error)
	// CommandTimeout bounds each command; 0 means a minute.
	CommandTimeout time.Duration
}

// Resolver implements providers.Secrets for the folder of one migration. It
// reads each file, asks each question and runs each command (for each
// address) once and keeps the outcome; failures are not kept. It is safe for
// concurrent use.
type Resolver struct {
	root    *os.Root
	options Options

	mu       sync.Mutex
	entries  map[string]*entry
	warnings map[string]bool
}

// entry is one look-up, under way until ready is closed.
type entry struct {
	ready chan struct{}
	value providers.Secret
	table table // of a CSV reference
	err   error
}

// New returns a Resolver whose files lie in root and nowhere else: neither
// ".." nor a symbolic link leads out of it. The caller closes root, after the
// last call.
func New(root *os.Root, o Options) *Resolver {
	if o.CommandTimeout == 0 {
		o.CommandTimeout = time.Minute
	}
	return &Resolver{root: root, options: o, entries: map[string]*entry{}, warnings: map[string]bool{}}
}

// addressTemplate stands for the address that logs in.
const addressTemplate = "{address}"

// Resolve returns the secret that ref names, for address where the reference
// is a table or holds {address}. Errors are *Error.
func (r *Resolver) Resolve(ctx context.Context, ref plan.SecretRef, address string) (providers.Secret, error) {
	none := providers.Secret{}
	if ref.IsZero() {
		return none, &Error{Ref: ref, Address: address, Problem: "no credentials are given", Remedy: "add credentials = secret.NAME to the block"}
	}
	key, perAddress := keyOf(ref, address)
	if perAddress && address == "" {
		return none, &Error{Ref: ref, Problem: "it holds {address}, and there is none here", Remedy: "use a secret without {address}"}
	}
	e, err := r.once(ctx, key, func(e *entry) { r.fetch(ctx, ref, address, e) })
	if err != nil {
		return none, &Error{Ref: ref, Address: address, Problem: err.Error(), Err: err}
	}
	if e.err != nil {
		return none, e.err
	}
	if ref.Kind == "csv" {
		return e.table.lookup(ref, address)
	}
	return e.value, nil
}

// Conceal takes every secret that was resolved out of a text which somebody else wrote: the last defence, for words
// whose origin nobody knows, such as a panic's.
func (r *Resolver) Conceal(words string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, e := range r.entries {
		select {
		case <-e.ready:
		default:
			continue // not known yet
		}
		all = append(all, e.value.Reveal())
		for _, rows := range e.table {
			for _, row := range rows {
				all = append(all, row.password.Reveal())
			}
		}
	}
	return providers.Conceal(words, all...)
}

// Addresses are those that a table has a password for, sorted, in lower case; none for other
// kinds of reference.
func (r *Resolver) Addresses(ctx context.Context, ref plan.SecretRef) ([]string, error) {
	if ref.Kind != "csv" {
		return nil, nil
	}
	key, _ := keyOf(ref, "")
	e, err := r.once(ctx, key, func(e *entry) { r.fetch(ctx, ref, "", e) })
	if err != nil {
		return nil, &Error{Ref: ref, Problem: err.Error(), Err: err}
	}
	if e.err != nil {
		return nil, e.err
	}
	var list []string
	for address, rows := range e.table {
		if rows[0].password.Reveal() != "" {
			list = append(list, address)
		}
	}
	slices.Sort(list)
	return list, nil
}

// keyOf is under which name a secret is kept.
func keyOf(ref plan.SecretRef, address string) (key string, perAddress bool) {
	key = fmt.Sprintf("%s\x00%s\x00%q", ref.Kind, ref.Ref, ref.Argv)
	perAddress = strings.Contains(ref.Ref, addressTemplate) && ref.Kind == "env" ||
		slices.ContainsFunc(ref.Argv, func(a string) bool { return strings.Contains(a, addressTemplate) })
	if perAddress {
		key += "\x00" + address
	}
	return key, perAddress
}

// Forget drops what is kept of a secret whose value has changed since, such as a token
// that a command prints. What a person was asked for is kept.
func (r *Resolver) Forget(ref plan.SecretRef, address string) {
	if ref.Kind == "prompt" {
		return
	}
	key, _ := keyOf(ref, address)
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entries[key]; e != nil {
		select {
		case <-e.ready:
			delete(r.entries, key)
		default: // it is being looked up right now
		}
	}
}

// once runs fetch for key unless it has been run with success; callers that
// come meanwhile wait for it.
func (r *Resolver) once(ctx context.Context, key string, fetch func(*entry)) (*entry, error) {
	for {
		r.mu.Lock()
		e := r.entries[key]
		if e == nil {
			e = &entry{ready: make(chan struct{})}
			r.entries[key] = e
			r.mu.Unlock()
			fetch(e)
			if e.err != nil {
				r.mu.Lock()
				delete(r.entries, key)
				r.mu.Unlock()
			}
			close(e.ready)
			return e, nil
		}
		r.mu.Unlock()
		select {
		case <-e.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		// Whoever asked first may have given up; that is no answer for us.
		if errors.Is(e.err, context.Canceled) || errors.Is(e.err, context.DeadlineExceeded) {
			if ctx.Err() == nil {
				continue
			}
		}
		return e, nil
	}
}

func (r *Resolver) fetch(ctx context.Context, ref plan.SecretRef, address string, e *entry) {
	fail := func(problem, remedy string, cause error) {
		e.err = &Error{Ref: ref, Problem: problem, Remedy: remedy, Err: cause}
	}
	var text string
	switch ref.Kind {
	case "env":
		name, value, ok := r.env(ref.Ref, address)
		if !ok {
			fail("the environment variable "+name+" is not set", "set it before you run mxodus", nil)
			return
		}
		text = value
	case "file", "csv":
		b, err := r.read(ref.Ref)
		if err != nil {
			fail(err.Error(), "put the file there; paths are relative to the migration's folder and don't leave it", nil)
			return
		}
		if ref.Kind == "csv" {
			if e.table, err = readTable(b); err != nil {
				fail(err.Error(), "the first line names the columns address and password", nil)
			}
			return
		}
		text = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	case "command":
		value, problem, err := r.run(ctx, ref.Argv, address)
		if problem != "" {
			fail(problem, "run the command by hand in the migration's folder and see what it says", err)
			return
		}
		text = value
	case "prompt":
		if r.options.Prompt == nil {
			fail("nobody can be asked here", "run mxodus on a terminal, or use env, file or command", nil)
			return
		}
		value, err := r.options.Prompt(ctx, ref.Ref)
		if err != nil {
			fail("the question was not answered", "run the command again and type it in", ctx.Err())
			return
		}
		text = value
	case "keyring":
		value, problem, remedy, err := r.keyring(ctx, ref.Ref)
		if problem != "" {
			fail(problem, remedy, err)
			return
		}
		text = value
	default:
		fail("no such kind of secret", "use env, file, csv, command, keyring or prompt", nil)
		return
	}
	if text == "" {
		fail("it is empty", "give it a value", nil)
		return
	}
	e.value = providers.Keep(text)
}

// env looks up a variable. A name with {address} is tried as it is, and then
// in the form that shells can set: upper case, with "_" for everything that
// is neither letter nor digit.
func (r *Resolver) env(template, address string) (name, value string, ok bool) {
	name = strings.ReplaceAll(template, addressTemplate, address)
	if r.options.LookupEnv == nil {
		return name, "", false
	}
	if value, ok = r.options.LookupEnv(name); ok || name == template {
		return name, value, ok
	}
	name = strings.ReplaceAll(template, addressTemplate, strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' {
			return c
		}
		return '_'
	}, strings.ToUpper(address)))
	value, ok = r.options.LookupEnv(name)
	return name, value, ok
}

// Warnings says which files of secrets others can read, one line each,
// sorted. They are complete once everything has been resolved.
func (r *Resolver) Warnings() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for w := range r.warnings {
		out = append(out, w)
	}
	slices.Sort(out)
	return out
}

func (r *Resolver) warn(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.warnings[text] = true
}
