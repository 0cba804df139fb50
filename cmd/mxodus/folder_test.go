package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/mxodus/mxodus/providers/canary"
	"github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/state"
)

// folder is a migration's folder, and everything that the program has printed there.
type folder struct {
	t    *testing.T
	dir  string
	env  []string
	open bool // the program runs with a umask that takes nothing away

	mu      sync.Mutex
	printed bytes.Buffer
}

// newFolder writes files, by path, into a fresh folder.
func newFolder(t *testing.T, files map[string]string, env ...string) *folder {
	t.Helper()
	f := &folder{t: t, dir: t.TempDir()}
	f.env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LANG=C.UTF-8", "COLUMNS=120"}, env...)
	for name, text := range files {
		f.write(name, text)
	}
	t.Cleanup(f.searched) // before the folder is removed
	return f
}

// searched looks for the mark of all worlds' secrets in what the test leaves: in each file but those of secrets, and in
// everything that the program has printed there.
func (f *folder) searched() {
	texts, err := canary.Folder(f.dir, "secrets")
	if err != nil {
		f.t.Errorf("%s: %v", f.dir, err)
	}
	f.mu.Lock()
	texts["what was printed"] = f.printed.String()
	f.mu.Unlock()
	all := map[string]string{"a password": canary.Mark}
	for _, line := range canary.Leaks(texts, all) {
		f.t.Error(line)
	}
	faults.Count(f.t, "secrets searched for", canary.Searched(all))
}

func (f *folder) path(name string) string { return filepath.Join(f.dir, filepath.FromSlash(name)) }

func (f *folder) write(name, text string) {
	f.t.Helper()
	if err := os.MkdirAll(filepath.Dir(f.path(name)), 0o700); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(f.path(name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *folder) read(name string) string {
	f.t.Helper()
	b, err := os.ReadFile(f.path(name))
	if err != nil {
		f.t.Fatal(err)
	}
	return string(b)
}

// edit replaces text in a file, which has to be there.
func (f *folder) edit(name, old, new string) {
	f.t.Helper()
	text := f.read(name)
	if !strings.Contains(text, old) {
		f.t.Fatalf("%s holds no %q", name, old)
	}
	f.write(name, strings.ReplaceAll(text, old, new))
}

// files are all files of the folder by path, but those below the folders named.
func (f *folder) files(but ...string) map[string]string {
	f.t.Helper()
	all, err := canary.Folder(f.dir, but...)
	if err != nil {
		f.t.Fatal(err)
	}
	return all
}

// child is the program at work.
type child struct {
	f      *folder
	cmd    *exec.Cmd
	events chan event // objects on stdout; closed at its end
	ended  chan struct{}
	stdout bytes.Buffer
	stderr bytes.Buffer
}

// event is a line of -json, with what the documentation promises and the
// fields that the played people go by.
type event struct {
	Type  string
	Phase string
	Step  string
	Gate  string
	State string
	Text  string
	Code  *int   // of the last line, "exit"
	URL   string // of serve

	Progress *struct{ Messages, Total int }

	Copied, Quarantined, Doubt int // of the line before it, "summary"
}

// start runs the program. Lines of JSON on its stdout become events.
func (f *folder) start(args ...string) *child {
	f.t.Helper()
	return f.startAs("mxodus", args, nil)
}

// startAs runs the program by way of another one, with something to read.
func (f *folder) startAs(name string, args []string, in io.Reader) *child {
	f.t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		f.t.Fatal(err)
	}
	c := &child{f: f, events: make(chan event, 100_000), ended: make(chan struct{})}
	c.cmd = exec.Command(program, args...)
	if f.open {
		all := openly(append([]string{program}, args...)...)
		c.cmd = exec.Command(all[0], all[1:]...)
	}
	c.cmd.Stdin = in
	c.cmd.Dir, c.cmd.Env, c.cmd.Stderr, c.cmd.SysProcAttr = f.dir, f.env, &c.stderr, withParent()
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	started := make(chan error)
	go func() {
		// The kernel ends the child with the thread that made it, so that thread has to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		defer close(c.ended)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			c.stdout.Write(append(lines.Bytes(), '\n'))
			var ev event
			if bytes.HasPrefix(lines.Bytes(), []byte("{")) && json.Unmarshal(lines.Bytes(), &ev) == nil {
				c.events <- ev
			}
		}
		close(c.events)
		_ = c.cmd.Wait() // the state tells how it ended
		f.mu.Lock()
		defer f.mu.Unlock()
		fmt.Fprintf(&f.printed, "$ %s %s\n%s%s", name, strings.Join(args, " "), c.stdout.Bytes(), c.stderr.Bytes())
	}()
	if err := <-started; err != nil {
		f.t.Fatal(err)
	}
	return c
}

// kill ends the program at once, as a power cut does, and reports whether it was
// still alive.
func (c *child) kill() bool {
	err := c.cmd.Process.Kill()
	<-c.ended
	return err == nil && c.code() < 0
}

// code is the exit code, -1 for one that was killed.
func (c *child) code() int {
	<-c.ended
	return c.cmd.ProcessState.ExitCode()
}

// memory is the most resident memory that the program had, in octets.
func (c *child) memory() int64 {
	<-c.ended
	if r, ok := c.cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		if runtime.GOOS == "linux" {
			return int64(r.Maxrss) * 1024
		}
		return int64(r.Maxrss)
	}
	return 0
}

func (c *child) output() string {
	<-c.ended
	return c.stdout.String() + c.stderr.String()
}

// run runs the program to its end and wants that exit code.
func (f *folder) run(want int, args ...string) string {
	f.t.Helper()
	c := f.start(args...)
	if got := c.code(); got != want {
		f.t.Fatalf("mxodus %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, want, c.output())
	}
	return c.output()
}

// journal is what apply has written down. It reads a copy: opening the file itself
// would mend what a killed program has left, and that is the next one's to do.
func (f *folder) journal() []state.Entry {
	f.t.Helper()
	if !state.Exists(f.dir) {
		return nil
	}
	dir := f.t.TempDir()
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(state.Path(f.dir) + suffix)
		if errors.Is(err, fs.ErrNotExist) && suffix != "" {
			continue
		}
		if err == nil {
			err = os.MkdirAll(filepath.Dir(state.Path(dir)), 0o700)
		}
		if err == nil {
			err = os.WriteFile(state.Path(dir)+suffix, b, 0o600)
		}
		if err != nil {
			f.t.Fatal(err)
		}
	}
	db, err := state.Open(dir)
	if err != nil {
		f.t.Fatal(err)
	}
	defer db.Close()
	entries, err := db.Entries(f.t.Context(), 0)
	if err != nil {
		f.t.Fatal(err)
	}
	return entries
}

// changed are the names of files that differ, are new or are gone.
func changed(before, after map[string]string) []string {
	var names []string
	for name, text := range before {
		if now, ok := after[name]; !ok || now != text {
			names = append(names, name)
		}
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// status is `status -json` by its field names.
func (f *folder) status() map[string]any {
	f.t.Helper()
	out := f.run(0, "status", "-json")
	var s map[string]any
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		f.t.Fatalf("status -json: %v\n%s", err, out)
	}
	for _, name := range []string{"migration", "plan", "phase", "complete", "steps", "next", "blocked_by", "mailboxes", "drift"} {
		if _, ok := s[name]; !ok {
			f.t.Errorf("status -json has no field %s, only %v", name, slices.Sorted(maps.Keys(s)))
		}
	}
	return s
}
