package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/plan/planfile"
	"github.com/mxodus/mxodus/state"
)

// Exit codes. They are a contract with scripts: docs list them.
const (
	exitOK          = 0
	exitError1      = 1   // error before anything was attempted
	exitChanges     = 2   // plan -detailed-exitcode: there are changes; fmt -check: a file would change
	exitParked      = 3   // apply, status -detailed-exitcode: parked
	exitRefused     = 4   // the plan is edited, superseded or stale, or a step drifted
	exitGate        = 5   // a check or a gate says no
	exitFailed      = 6   // a step failed while running
	exitLocked      = 7   // another run holds the lease
	exitUsage       = 64  // wrong flags or arguments
	exitBug         = 70  // a bug of ours
	exitInterrupted = 130 // Ctrl-C
)

// exitError carries the exit code of an error. Without err the command has
// said everything already and only the code is left to set.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// exit ends a command with code and no further words.
func exit(code int) error {
	if code == exitOK {
		return nil
	}
	return &exitError{code: code}
}

// exitWith ends a command with code and an error.
func exitWith(code int, err error) error { return &exitError{code: code, err: err} }

// usage is a mistake on the command line.
func usage(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// exitCode maps the error of a command to its exit code. A code that the
// command chose counts most; known kinds of errors have theirs; the rest is 1.
func (a *app) exitCode(err error) int {
	if a.interrupted.Load() {
		return exitInterrupted
	}
	if err == nil {
		return exitOK
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if _, ok := errors.AsType[*state.LockedError](err); ok {
		return exitLocked
	}
	if _, ok := errors.AsType[*apply.StaleError](err); ok || errors.Is(err, planfile.ErrDigest) {
		return exitRefused
	}
	if errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	return exitError1
}
