package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers/canary"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// TestCopyOneMailbox runs `mxodus copy` twice and with what goes wrong.
func TestCopyOneMailbox(t *testing.T) {
	const user, password = "anna@acme.example", "7f3a+" + canary.Mark
	var side [2]*imaptest.Memory
	for i := range side {
		m, err := imaptest.NewMemory(imaptest.MemoryOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		m.AddAccount(user, password)
		side[i] = m
	}
	date := time.Date(2020, 2, 29, 12, 0, 0, 0, time.UTC)
	for i := range 20 {
		body := strings.Repeat("line\r\n", i+1)
		if _, err := side[0].Deliver(user, []string{"INBOX", "Projekte/Müller"}[i%2], []byte("Subject: x\r\n\r\n"+body), []string{`\Seen`}, date); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	run := func(want int, args ...string) string {
		t.Helper()
		cmd := exec.Command("mxodus", append([]string{"copy", "-source-password", "env:PW", "-target-password", "env:PW", "-doubt-grace", "1s"}, args...)...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "PW="+password, "WRONG=nope")
		out, err := cmd.CombinedOutput()
		code := cmd.ProcessState.ExitCode()
		if code != want {
			t.Errorf("mxodus copy %v: exit code %d, want %d (%v)\n%s", args, code, want, err, out)
		}
		if strings.Contains(string(out), password) {
			t.Errorf("the password is on the screen:\n%s", out)
		}
		return string(out)
	}
	at := func(m *imaptest.Memory) string { return "imap+none://anna%40acme.example@" + m.Address() }

	run(64, "imaps://nobody", at(side[1]))
	run(64, "imap+none://a@198.51.100.1:143", at(side[1]))
	run(64, "imaps://a:secret@localhost", at(side[1]))
	if out := run(1, "-target-password", "env:WRONG", at(side[0]), at(side[1])); !strings.Contains(out, "log in") {
		t.Errorf("a wrong password: %s", out)
	}
	if got, _ := side[1].Snapshot(user); len(got["INBOX"]) != 0 || len(got) > 1 {
		t.Errorf("after a refused login the target holds %d folders", len(got))
	}
	if out := run(0, at(side[0]), at(side[1])); !strings.Contains(out, "20 copied") {
		t.Errorf("first run: %s", out)
	}
	if out := run(0, at(side[0]), at(side[1])); !strings.Contains(out, "0 copied") || !strings.Contains(out, "20 unchanged") {
		t.Errorf("second run: %s", out)
	}
	before, err := side[0].Snapshot(user)
	if err != nil {
		t.Fatal(err)
	}
	after, err := side[1].Snapshot(user)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range imaptest.Diff(before, after, nil) {
		t.Error(d)
	}
	side[0].Close()
	run(1, at(side[0]), at(side[1]))
}

// TestCopyExitCodes copies to a target that refuses a message, then takes it changed, then takes it: the exit code says so on every run,
// also when nothing else is new.
func TestCopyExitCodes(t *testing.T) {
	const user = "anna@acme.example"
	src, err := imaptest.NewMemory(imaptest.MemoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	src.AddAccount(user, "pw")
	for _, subject := range []string{"one", "poison"} {
		if _, err := src.Deliver(user, "INBOX", []byte("Subject: "+subject+"\r\nMessage-ID: <"+subject+"@acme.example>\r\n\r\nbody\r\n"), nil, time.Unix(1e9, 0)); err != nil {
			t.Fatal(err)
		}
	}
	var refuses, garbles atomic.Bool
	refuses.Store(true)
	dst, err := imaptest.NewDouble(imaptest.Manners{
		Before: []string{"AUTH=PLAIN", "SASL-IR"}, After: []string{"UIDPLUS", "LITERAL+", "MOVE", "NAMESPACE", "UNSELECT"},
		Permanent: []string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`},
		Login:     func(_, _ string) string { return "" },
		Append: func(_ *imaptest.Visitor, _ string, m *imaptest.Stored) imaptest.Fate {
			if bytes.Contains(m.Octets, []byte("poison")) && refuses.Load() {
				return imaptest.Fate{Answer: "NO Message contains invalid header"}
			}
			if garbles.Load() {
				m.Octets = []byte("Subject: something else\r\n\r\nentirely\r\n")
			}
			return imaptest.Fate{}
		},
	}, false, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	dst.AddAccount(user)
	dir := t.TempDir()
	run := func(want int, says string) {
		t.Helper()
		args := openly("mxodus", "copy", "-source-password", "env:PW", "-target-password", "env:PW",
			"imap+none://anna%40acme.example@"+src.Address(), "imap+none://anna%40acme.example@"+dst.Address())
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "PW=pw")
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != want || !strings.Contains(string(out), says) {
			t.Errorf("exit code %d, want %d and %q:\n%s", code, want, says, out)
		}
	}
	run(6, "1 in quarantine")
	private(t, dir, nil)
	run(6, "1 in quarantine")
	run(6, "refused: Message contains invalid header")
	refuses.Store(false)
	run(0, "1 copied")
	run(0, "0 copied")
	garbles.Store(true)
	if _, err := src.Deliver(user, "INBOX", []byte("Subject: three\r\n\r\nbody\r\n"), nil, time.Unix(1e9, 0)); err != nil {
		t.Fatal(err)
	}
	run(6, "1 of them came back as another message")
	run(6, "the target changed 1")
	private(t, dir, nil)
}
