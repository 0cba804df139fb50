// Command mxodus plans and applies e-mail migrations: mailboxes over IMAP,
// addresses, records in DNS. See docs/ and `mxodus -help`.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
	_ "time/tzdata" // plans name time zones; not every machine knows them

	"golang.org/x/term"
)

func main() { os.Exit(run()) }

// run is main with an exit code. It is the only place that reads the system's
// clock, environment and terminal; everything else gets them from the app.
func run() (code int) {
	dir, err := os.Getwd()
	if err != nil {
		fmt.Fprintf(os.Stderr, "mxodus: the working directory can't be read: %v\n", err)
		return exitError1
	}
	a := &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		clock: systemClock{}, random: rand.Reader, environ: os.Environ(), dir: dir,
		stdinTTY: term.IsTerminal(int(os.Stdin.Fd())), stdoutTTY: term.IsTerminal(int(os.Stdout.Fd())),
		columns: func() int { w, _, _ := term.GetSize(int(os.Stdout.Fd())); return w },
		hidden:  func() (string, error) { b, err := term.ReadPassword(int(os.Stdin.Fd())); return string(b), err },
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	a.stop = make(chan struct{})
	release := a.onInterrupt(cancel)
	defer release()
	defer func() {
		if r := recover(); r != nil {
			code = a.bug(r)
		}
	}()
	return a.main(ctx, os.Args[1:])
}

// onInterrupt makes the first Ctrl-C (or SIGTERM) end a command in order: it
// closes a.stop, and cancels the context too unless the command has said that
// it looks after a.stop itself. The second one cancels in any case.
func (a *app) onInterrupt(cancel context.CancelFunc) (release func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-signals:
				if a.interrupted.Swap(true) || !a.graceful.Load() {
					cancel()
				}
				a.stopOnce.Do(func() { close(a.stop) })
			}
		}
	}()
	return func() { signal.Stop(signals); close(done) }
}

// bug says in a plain sentence that mxodus itself failed.
func (a *app) bug(r any) int {
	where := "an unknown place"
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "runtime.") && f.Function != "" {
			where = fmt.Sprintf("%s, line %d", f.Function, f.Line)
			break
		}
		if !more {
			break
		}
	}
	words := fmt.Sprint(r)
	if s := a.secrets.Load(); s != nil {
		words = s.Conceal(words)
	}
	a.report(&exitError{code: exitBug, err: fmt.Errorf("this is a bug in mxodus, in %s: %s; what was done is journalled and running again is safe; please report it", where, words)})
	return exitBug
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
