package main

import (
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/secret"
)

// app is everything of the outside that a command may use. Nothing in this
// package but main reads the process's environment, clock or terminal.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	clock          providers.Clock
	random         io.Reader
	environ        []string
	dir            string // working directory; after the flags are read, the migration's folder

	stdinTTY, stdoutTTY bool
	columns             func() int             // width of the terminal, 0 = none
	hidden              func() (string, error) // reads a line of the terminal without an echo

	// Global flags.
	chdir    string
	json     bool
	noColor  bool
	vars     []string
	varFiles []string

	// What apply shows, while it runs, and who else is told its events: the
	// demo plays people who react to them.
	view  atomic.Pointer[applyView]
	watch func(apply.Event)

	secrets atomic.Pointer[secret.Resolver] // nil until a configuration was wired

	// A command that ends in order when stop is closed sets graceful; for all
	// others the first interrupt cancels the context.
	graceful    atomic.Bool
	interrupted atomic.Bool
	stop        chan struct{}
	stopOnce    sync.Once
}

// env is the value of an environment variable, "" when it isn't set.
func (a *app) env(name string) string {
	v, _ := a.lookupEnv(name)
	return v
}

// lookupEnv is os.LookupEnv on the app's environment.
func (a *app) lookupEnv(name string) (string, bool) {
	for _, kv := range slices.Backward(a.environ) {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			return v, true
		}
	}
	return "", false
}

// screen says how text looks: colours only on a terminal that wants them
// (https://no-color.org), ASCII where the locale says that it knows no UTF-8.
func (a *app) screen() render.Screen {
	s := render.Screen{Width: 80}
	if n, err := strconv.Atoi(a.env("COLUMNS")); err == nil && n > 0 {
		s.Width = n
	} else if a.stdoutTTY && a.columns != nil {
		if w := a.columns(); w > 0 {
			s.Width = w
		}
	}
	s.Color = a.stdoutTTY && !a.noColor && a.env("NO_COLOR") == "" && a.env("TERM") != "dumb"
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToUpper(a.env(name)); v != "" {
			s.ASCII = v == "C" || v == "POSIX" || !strings.Contains(v, "UTF") && strings.Contains(v, ".")
			break
		}
	}
	return s
}

// path is where a name from the command line is: relative to the migration's
// folder, as all of a migration's files are.
func (a *app) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(a.dir, name)
}

// name is a path as messages print it: relative to the migration's folder
// where it lies in it.
func (a *app) name(path string) string {
	if rel, err := filepath.Rel(a.dir, path); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return path
}
