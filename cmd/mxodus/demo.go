package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/plan/render"
)

func newDemo(a *app) *cobra.Command {
	var dir string
	var messages, ports int
	var servers bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "A whole migration on embedded servers, in about a minute",
		Long: "demo starts a mail host as IONOS has it, a Microsoft 365 tenant, two name servers and two\n" +
			"mail exchangers in this process, on random ports of the loopback interface, and migrates a\n" +
			"small company from one to the other: plan, apply, flip, delta, validation, hold,\n" +
			"decommission. The doubles behave as the vendors' hosts are known to: throttling, lost\n" +
			"answers, messages rendered anew. A colleague who approves and a late sender are played by\n" +
			"the program. It ends with exit code 6 when a message is missing, doubled or altered.\n\n" +
			"With -servers it only starts two plain hosts and waits: the tutorial migrates them by hand.",
		Example: "  mxodus demo\n  mxodus demo -dir demo-files\n  mxodus demo -servers -dir lab",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if servers {
				if dir == "" {
					return usage("-servers needs -dir: a folder for the hosts' panels")
				}
				return a.runLab(cmd.Context(), a.path(dir), ports, messages)
			}
			return a.demo(cmd.Context(), dir, messages)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "keep the migration's files in this `folder` (default: a temporary one)")
	cmd.Flags().BoolVar(&servers, "servers", false, "only run the servers, until Ctrl-C")
	cmd.Flags().IntVar(&ports, "ports", labBase, "with -servers: the `number` that their ports are counted from; 0: random ones")
	cmd.Flags().IntVar(&messages, "messages", 600, "how many messages the company has")
	return cmd
}

func (a *app) demo(ctx context.Context, dir string, messages int) error {
	a.graceful.Store(true)
	if messages < 3 || messages > 100_000 {
		return usage("-messages wants a number from 3 to 100000")
	}
	if dir == "" {
		tmp, err := os.MkdirTemp("", "mxodus-demo-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		dir = tmp
	} else if err := emptyFolder(a.path(dir)); err != nil {
		return err
	}
	world, err := newDemoWorld(a.clock, messages)
	if err != nil {
		return err
	}
	defer world.close()
	d := &demo{app: a, world: world, dir: a.path(dir)}
	if err := world.files(d.dir, a.clock.Now()); err != nil {
		return err
	}
	return d.run(ctx)
}

// emptyFolder makes a folder, or refuses one that holds something.
func emptyFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		return usage("-dir %s: the folder is not empty", render.Escape(dir))
	}
	return os.MkdirAll(dir, 0o700)
}

// demo plays a migration by the program's own commands.
type demo struct {
	app     *app
	world   *demoWorld
	dir     string
	current *app // the command that runs
}

func (d *demo) run(ctx context.Context) error {
	d.say("A company moves its mail. Everything here runs in this process, on 127.0.0.1.")
	d.say("")
	for _, l := range d.world.about() {
		d.say("  " + l)
	}
	d.say("")
	d.say("The migration is declared in acme.mx.hcl; the end of it:")
	d.say("")
	if err := d.excerpt(); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"discover"},
		{"plan", "-offline", "-out", "plans/0001.plan"},
		{"verify", "plans/0001.plan"},
		{"apply", "-wait", "plans/0001.plan"},
		{"status"},
		{"report"},
		{"plan", "-detailed-exitcode"},
	} {
		if err := d.command(ctx, args...); err != nil {
			return err
		}
	}
	return d.verdict()
}

// say prints a line of the demo itself.
func (d *demo) say(line string) { fmt.Fprintln(d.app.stdout, line) }

// excerpt shows the declaration from the first mailbox on.
func (d *demo) excerpt() error {
	src, err := os.ReadFile(filepath.Join(d.dir, "acme.mx.hcl"))
	if err != nil {
		return err
	}
	_, tail, _ := strings.Cut(string(src), "# --- who")
	for _, l := range strings.Split(strings.TrimSpace("# --- who"+tail), "\n") {
		d.say("    " + l)
	}
	return nil
}

// errDemo ends a demo whose commands said everything.
var errDemo = errors.New("the demo did not come to its end")

// command runs one command of the program in the demo's folder, as a person would.
func (d *demo) command(ctx context.Context, args ...string) error {
	d.say("")
	d.say(d.paint("1", "$ mxodus "+strings.Join(args, " ")))
	sub := d.sub(d.app.stdout)
	if args[0] == "apply" {
		sub.watch = func(ev apply.Event) { d.world.people(ctx, d, ev) }
	}
	code := sub.main(ctx, args)
	if d.app.interrupted.Load() {
		return exit(exitInterrupted)
	}
	if code != exitOK {
		return exitWith(exitFailed, fmt.Errorf("%w: mxodus %s ended with exit code %d", errDemo, args[0], code))
	}
	return nil
}

// sub is the program in the demo's folder.
func (d *demo) sub(out io.Writer) *app {
	sub := &app{
		stdin: strings.NewReader(""), stdout: out, stderr: out, clock: d.app.clock, random: d.app.random,
		environ: append(d.app.environ, d.world.environ()...), dir: d.dir, stdoutTTY: d.app.stdoutTTY, columns: d.app.columns,
		noColor: d.app.noColor, stop: d.app.stop,
	}
	d.current = sub
	return sub
}

// quietly runs a command of somebody else while apply is running.
func (d *demo) quietly(ctx context.Context, args ...string) {
	sub := &app{
		stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard, clock: d.app.clock, random: d.app.random,
		environ: append(d.app.environ, d.world.environ()...), dir: d.dir, stop: d.app.stop,
	}
	if code := sub.main(ctx, args); code != exitOK {
		d.note(fmt.Sprintf("mxodus %s ended with exit code %d", strings.Join(args, " "), code))
	}
}

// note shows what the played people do, between the lines of apply.
func (d *demo) note(text string) {
	if v := d.current.view.Load(); v != nil {
		v.event(apply.Event{Type: "note", At: d.app.clock.Now(), Text: text})
	}
}

func (d *demo) paint(code, s string) string {
	if !d.app.screen().Color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// verdict reads both servers past everything that mxodus wrote and counts.
func (d *demo) verdict() error {
	d.say("")
	n, problems, err := d.world.compare()
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		for _, p := range problems[:min(len(problems), 20)] {
			d.say("  " + render.Escape(p))
		}
		return exitWith(exitFailed, fmt.Errorf("%d differences between the old server and the new one", len(problems)))
	}
	d.say(d.paint("32", fmt.Sprintf("Both servers were read once more, past mxodus: %s messages, each at the new server exactly", render.Count(int64(n)))))
	d.say(d.paint("32", "once, with the same content, date and folder and the flags that Exchange keeps; the zone is as planned."))
	return nil
}

// pause is how long a played person takes.
const pause = 700 * time.Millisecond
