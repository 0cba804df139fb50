package copy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	inflicted "github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// The child of the SIGKILL test is this test binary, told what to do by
// these variables.
const (
	childSource = "MXODUS_TEST_COPY_SOURCE"
	childTarget = "MXODUS_TEST_COPY_TARGET"
	childState  = "MXODUS_TEST_COPY_STATE"
	childMode   = "MXODUS_TEST_COPY_MODE"
	childUser   = "MXODUS_TEST_COPY_USER"  // at the target
	childDies   = "MXODUS_TEST_COPY_DIES"  // at which commit: "5 before", "5 after"
	childBoxes  = "MXODUS_TEST_COPY_BOXES" // so many mailboxes at the same time
)

// runChild makes one pass and ends the process, when this is a child.
func runChild() bool {
	if os.Getenv(childState) == "" {
		return false
	}
	dialer := func(address string) *imap.Dialer {
		h, p, _ := net.SplitHostPort(address)
		port, _ := net.LookupPort("tcp", p)
		return &imap.Dialer{Secrets: passwords(password), Host: plan.Host{
			Kind: "imap", Hostname: h, Port: port, TLS: plan.TLSNone,
			Credentials: plan.SecretRef{Name: "mail", Kind: "env", Ref: "X"},
			Limits:      plan.Limits{DoubtGrace: time.Second, StallTimeout: 20 * time.Second},
		}}
	}
	to := os.Getenv(childUser)
	if to == "" {
		to = user
	}
	mailbox, engine := Single{
		Source: dialer(os.Getenv(childSource)), Target: dialer(os.Getenv(childTarget)),
		SourceAddress: user, TargetAddress: to, StateDir: os.Getenv(childState), Clock: wallClock{}, Deletes: "mirror",
	}.Mailbox()
	engine.around = dies(os.Getenv(childDies))
	if n, _ := strconv.Atoi(os.Getenv(childBoxes)); n > 0 {
		copyMany(engine, mailbox, n)
	}
	_, err := engine.Pass(context.Background(), providers.PassSpec{Mailbox: mailbox, Mode: providers.PassMode(os.Getenv(childMode))})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
	return true
}

// dies ends the process with SIGKILL at one commit, before or after it. Without a commit it counts them.
func dies(at string) func(done bool) {
	var n int
	var when string
	fmt.Sscan(at, &n, &when)
	i := 0
	var one sync.Mutex // several mailboxes may commit at the same time
	return func(done bool) {
		one.Lock()
		defer one.Unlock()
		if !done {
			i++
		}
		if i == n && done == (when == "after") {
			self, _ := os.FindProcess(os.Getpid())
			self.Kill()
			select {}
		}
		if done && at == "count" {
			fmt.Println("commit", i)
		}
	}
}

// child runs this binary as a child and returns what it printed, and whether it came to its end.
func child(t *testing.T, src, dst server, state string, mode providers.PassMode, env ...string) (out string, finished bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), childSource+"="+src.address, childTarget+"="+dst.address, childUser+"="+dst.name(), childState+"="+state, childMode+"="+string(mode)), env...)
	cmd.SysProcAttr = withParent()
	var text strings.Builder
	cmd.Stdout, cmd.Stderr = &text, &text
	err := cmd.Run()
	if exit, failed := errors.AsType[*exec.ExitError](err); failed && exit.Exited() {
		t.Fatalf("the pass failed by itself: %v: %s", err, text.String())
	}
	return text.String(), err == nil
}

// TestKilledAtEachCommit ends the process with SIGKILL right before and right after each commit of a copy of two hundred messages, before the flip
// and after it, when all goes by way of staging folders. Another process goes on; in the end each message is there once.
func TestKilledAtEachCommit(t *testing.T) {
	for _, mode := range []providers.PassMode{providers.BeforeFlip, providers.AfterFlip} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			pair := pairs["memory"](t)
			pair.src.fill(t, twoHundred())
			out, _ := child(t, pair.src, pair.fresh(), t.TempDir(), mode, childDies+"=count")
			commits := strings.Count(out, "commit ")
			kills := 0
			for _, p := range draw(t, 2*commits, 6) {
				at := fmt.Sprintf("%d %s", p/2+1, []string{"before", "after"}[p%2])
				t.Run(at, func(t *testing.T) {
					dst, state := pair.fresh(), t.TempDir()
					if _, finished := child(t, pair.src, dst, state, mode, childDies+"="+at); !finished {
						kills++
					}
					if _, finished := child(t, pair.src, dst, state, mode); !finished {
						t.Fatal("the second process did not finish")
					}
					b := newBench(t, pair.src, dst, state, nil)
					b.equal()
					dst.noStaging(t)
					b.idle(mode)
				})
			}
			if kills == 0 {
				t.Error("nothing was killed")
			}
			inflicted.Count(t, "kills", kills)
			t.Logf("%d kills of 2 × %d commits", kills, commits)
		})
	}
}

// TestKilledAtAnyPointCopiesEachMessageOnce kills a process that copies, with
// SIGKILL and at random, again and again, also while it recovers, and then
// lets one finish.
func TestKilledAtAnyPointCopiesEachMessageOnce(t *testing.T) {
	t.Parallel()
	kills := 50
	if testing.Short() {
		kills = 12
	}
	src, dst := dovecots(t)
	state := t.TempDir()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	src.fill(t, imaptest.Generate(seed, 600))
	sent := 600

	run := func(limit time.Duration) (finished bool) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childSource+"="+src.address, childTarget+"="+dst.address, childState+"="+state, childMode+"="+string(providers.BeforeFlip))
		cmd.SysProcAttr = withParent()
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
		defer timer.Stop()
		err := cmd.Wait()
		exit, failed := errors.AsType[*exec.ExitError](err)
		if failed && exit.Exited() {
			t.Fatalf("the pass failed by itself: %v", err)
		}
		return err == nil
	}
	finished := 0
	for killed := 0; killed < kills; {
		// Short ones end in the middle of copying, long ones in the middle of recovery.
		limit := 20 + random.IntN(350)
		if random.IntN(2) == 0 {
			limit = 300 + random.IntN(2700)
		}
		if run(time.Duration(limit) * time.Millisecond) {
			finished++
			// Everything is there: more to do, so that the next kill hits work again.
			src.fill(t, imaptest.Generate(random.Uint64(), 150))
			sent += 150
			continue
		}
		killed++
	}
	if !run(2 * time.Minute) {
		t.Fatal("the last pass did not finish")
	}
	lines := imaptest.Diff(src.read(t), dst.read(t), nil)
	if len(lines) > 0 {
		t.Errorf("%d differences after %d kills: %v", len(lines), kills, lines[:min(10, len(lines))])
	}
	b := newBench(t, src, dst, state, nil)
	b.idle(providers.BeforeFlip)
	c, err := b.engine.compare(t.Context(), b.mailbox, b.source, b.to)
	if err != nil || c.Target != sent || c.Source != sent {
		t.Errorf("the manifest has %d of %d messages at the target, %v", c.Target, c.Source, err)
	}
	left, _ := filepath.Glob(filepath.Join(state, "spool", "*"))
	if len(left) > 0 {
		t.Errorf("spool files are left over: %v", left)
	}
	inflicted.Count(t, "kills", kills)
	t.Logf("%d kills, %d passes came to their end between them, %d messages", kills, finished, sent)
}
