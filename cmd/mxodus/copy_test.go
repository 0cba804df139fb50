package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// TestCopyOneMailbox runs `mxodus copy` twice and with what goes wrong.
func TestCopyOneMailbox(t *testing.T) {
	const user, password = "anna@acme.example", "canary-7f3a"
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
