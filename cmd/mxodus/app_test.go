package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/plan/planfile"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/canary"
	"github.com/mxodus/mxodus/providers/secret"
	"github.com/mxodus/mxodus/state"
)

func TestExitCode(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("unreachable"), 1},
		{usage("no"), 64},
		{fmt.Errorf("wrapped: %w", usage("no")), 64},
		{exit(exitChanges), 2},
		{exit(exitOK), 0},
		{exitWith(exitGate, errors.New("a check says no")), 5},
		{&state.LockedError{}, 7},
		{fmt.Errorf("apply: %w", &state.LockedError{}), 7},
		{&apply.StaleError{}, 4},
		{fmt.Errorf("x: %w", planfile.ErrDigest), 4},
		{fmt.Errorf("x: %w", context.Canceled), 130},
		{&providers.Error{Reason: providers.Authentication}, 1},
		{&configError{}, 1},
	} {
		if got := new(app).exitCode(tc.err); got != tc.want {
			t.Errorf("%v: %d, want %d", tc.err, got, tc.want)
		}
	}
	a := new(app)
	a.interrupted.Store(true)
	if got := a.exitCode(errors.New("any")); got != 130 {
		t.Errorf("interrupted: %d", got)
	}
}

// TestReport: errors come out escaped, with the remedy once, and as an object
// with -json.
func TestReport(t *testing.T) {
	err := fmt.Errorf("discover: %w", &providers.Error{Op: "log in to", Subject: "imap.old.example:993", Reason: providers.Authentication,
		Server: "NO \x1b[2Jwrong\r\npassword", Remedy: "make an app password"})
	var out, errOut bytes.Buffer
	a := &app{stdout: &out, stderr: &errOut}
	a.report(err)
	if got := errOut.String(); strings.Contains(got, "\x1b") || !strings.Contains(got, `wrong`) || strings.Count(got, "make an app password") != 1 {
		t.Errorf("got %q", got)
	}
	a.json = true
	a.report(err)
	var j errorJSON
	if err := json.Unmarshal(out.Bytes(), &j); err != nil || j.Type != "error" || j.Code != 1 || j.Remedy != "make an app password" {
		t.Errorf("%q: %v", out.String(), err)
	}
}

// TestPanic: a panic ends as one sentence and exit code 70, without a stack.
func TestPanic(t *testing.T) {
	var errOut bytes.Buffer
	a := &app{stderr: &errOut}
	code := func() (code int) {
		defer func() {
			if r := recover(); r != nil {
				code = a.bug(r)
			}
		}()
		var m map[string]int
		m["x"] = 1
		return 0
	}()
	got := errOut.String()
	if code != 70 || !strings.Contains(got, "this is a bug in mxodus") || strings.Contains(got, "goroutine") || strings.Count(got, "\n") != 1 {
		t.Errorf("%d: %q", code, got)
	}
	if !strings.Contains(got, "TestPanic") {
		t.Errorf("the sentence doesn't say where: %q", got)
	}
}

// TestPanicWithASecret: what somebody else's code panics with is shown without the secrets that were resolved.
func TestPanicWithASecret(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pw"), []byte(keep("panic")), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var errOut bytes.Buffer
	a := &app{stderr: &errOut}
	secrets := secret.New(root, secret.Options{LookupEnv: func(string) (string, bool) { return keep("panic env"), true }})
	a.secrets.Store(secrets)
	for _, ref := range []plan.SecretRef{{Kind: "file", Ref: "pw"}, {Kind: "env", Ref: "PW"}} {
		if _, err := secrets.Resolve(t.Context(), ref, "anna@acme.example"); err != nil {
			t.Fatal(err)
		}
	}
	func() {
		defer func() { a.bug(recover()) }()
		panic(keep("panic") + ": " + quoted("anna", keep("panic env")))
	}()
	got := errOut.String()
	for _, line := range canary.Leaks(map[string]string{"the sentence": got}, map[string]string{"a file": keep("panic"), "a variable": keep("panic env")}) {
		t.Error(line)
	}
	if !strings.Contains(got, "this is a bug in mxodus") {
		t.Errorf("got %q", got)
	}
}

func TestScreen(t *testing.T) {
	for _, tc := range []struct {
		env          string
		tty, noColor bool
		width        int
		color, ascii bool
	}{
		{"LANG=de_DE.UTF-8", true, false, 132, true, false},
		{"LANG=de_DE.UTF-8", true, true, 132, false, false},
		{"LANG=de_DE.UTF-8", false, false, 80, false, false},
		{"NO_COLOR=1", true, false, 132, false, false},
		{"TERM=dumb", true, false, 132, false, false},
		{"COLUMNS=100", true, false, 100, true, false},
		{"LC_ALL=C", true, false, 132, true, true},
		{"LANG=en_US.ISO-8859-1", true, false, 132, true, true},
	} {
		a := &app{environ: []string{tc.env}, stdoutTTY: tc.tty, noColor: tc.noColor, columns: func() int { return 132 }}
		if got := a.screen(); got.Width != tc.width || got.Color != tc.color || got.ASCII != tc.ascii {
			t.Errorf("%+v: got %+v", tc, got)
		}
	}
}

func TestFriday(t *testing.T) {
	for now := time.Date(2026, 11, 1, 23, 0, 0, 0, time.UTC); now.Month() == time.November; now = now.AddDate(0, 0, 1) {
		got := friday(now)
		if days := got.Sub(now).Hours() / 24; got.Weekday() != time.Friday || got.Hour() != 18 || days < 27 || days > 35 {
			t.Errorf("%s: %s", now, got)
		}
	}
}

// TestInterrupt: the first Ctrl-C cancels a command, unless it has said that
// it ends in order by itself; the second cancels in any case.
func TestInterrupt(t *testing.T) {
	for _, graceful := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		a := &app{stop: make(chan struct{})}
		a.graceful.Store(graceful)
		release := a.onInterrupt(cancel)
		signalSelf(t)
		<-a.stop
		if graceful {
			if ctx.Err() != nil {
				t.Error("the first interrupt cancelled a graceful command")
			}
			signalSelf(t)
		}
		<-ctx.Done()
		if got := a.exitCode(nil); got != exitInterrupted {
			t.Errorf("exit code %d", got)
		}
		release()
		cancel()
	}
}

func signalSelf(t *testing.T) {
	t.Helper()
	p, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = p.Signal(os.Interrupt)
	}
	if err != nil {
		t.Fatal(err)
	}
}
