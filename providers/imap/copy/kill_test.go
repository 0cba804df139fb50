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
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
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
	mailbox, engine := Single{
		Source: dialer(os.Getenv(childSource)), Target: dialer(os.Getenv(childTarget)),
		SourceAddress: user, TargetAddress: user, StateDir: os.Getenv(childState), Clock: wallClock{}, Deletes: "mirror",
	}.Mailbox()
	_, err := engine.Pass(context.Background(), providers.PassSpec{Mailbox: mailbox, Mode: providers.PassMode(os.Getenv(childMode))})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
	return true
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
	t.Logf("%d kills, %d passes came to their end between them, %d messages", kills, finished, sent)
}
