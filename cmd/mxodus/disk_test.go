package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers/canary"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// TestDiskThatFails lets the nth write, and all after it, fail as on a disk that is full, and fsync as on one that is
// broken, while a mailbox is copied: the program says so and ends with an error, and the
// next run on a disk that works has every message there exactly once.
func TestDiskThatFails(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("SKIPPED: strace is not installed")
	}
	if out, err := exec.Command("strace", "-f", "-o", os.DevNull, "-e", "inject=pwrite64:error=ENOSPC:when=60000", "true").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: strace can't inject errors here: %v %s", err, out)
	}
	t.Parallel()
	const password = "3b+" + canary.Mark
	source, err := imaptest.NewMemory(imaptest.MemoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	target, err := imaptest.NewMemory(imaptest.MemoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	source.AddAccount("a@x.example", password)
	for i := range 60 {
		body := strings.Repeat("0123456789\r\n", 1+i%7*400)
		if i == 30 {
			body = strings.Repeat("0123456789\r\n", 150_000) // goes through a spool file
		}
		if _, err := source.Deliver("a@x.example", []string{"INBOX", "Work"}[i%2], fmt.Appendf(nil, "Subject: %d\r\n\r\n%s", i, body), nil, time.Unix(1_700_000_000, 0)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := source.Snapshot("a@x.example")
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(uint64(time.Now().Unix()/86400), 8))
	failed := 0
	for i := range 12 {
		call, errno := "pwrite64", "ENOSPC"
		if i%3 == 2 {
			call, errno = "fdatasync,fsync", "EIO"
		}
		when := 1 + r.IntN(40)
		t.Run(fmt.Sprintf("%s from call %d on: %s", call, when, errno), func(t *testing.T) {
			user := fmt.Sprintf("a%d@x.example", i)
			target.AddAccount(user, password)
			dir := t.TempDir()
			run := func(wrap ...string) (string, int) {
				args := append(wrap, "mxodus", "copy", "-state", "state", "-source-password", "env:PW", "-target-password", "env:PW", "-doubt-grace", "100ms",
					"imap+none://a%40x.example@"+source.Address(), "imap+none://"+strings.Replace(user, "@", "%40", 1)+"@"+target.Address())
				cmd := exec.Command(args[0], args[1:]...)
				cmd.Dir, cmd.Env = dir, append(os.Environ(), "PW="+password)
				out, _ := cmd.CombinedOutput()
				return string(out), cmd.ProcessState.ExitCode()
			}
			out, code := run("strace", "-f", "-o", os.DevNull, "-e", fmt.Sprintf("inject=%s:error=%s:when=%d+", call, errno, when))
			if code != 0 {
				failed++
			}
			if code == 70 || strings.Contains(out, "goroutine ") || strings.Contains(out, password) {
				t.Errorf("exit code %d:\n%s", code, out)
			}
			if code != 0 && !strings.Contains(out, "disk") && !strings.Contains(out, "space") && !strings.Contains(out, "I/O") && !strings.Contains(out, "input/output") {
				t.Errorf("exit code %d, and nothing says why:\n%s", code, out)
			}
			if out, code := run(); code != 0 {
				t.Fatalf("on a disk that works: exit code %d\n%s", code, out)
			}
			got, err := target.Snapshot(user)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range imaptest.Diff(want, got, nil) {
				t.Error(d)
			}
			if out, code := run(); code != 0 || !strings.Contains(out, "0 copied") {
				t.Errorf("once more: exit code %d\n%s", code, out)
			}
		})
	}
	if failed == 0 {
		t.Error("no call failed")
	}
	t.Logf("%d of 12 runs failed", failed)
}
