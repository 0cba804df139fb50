package dnstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// Daemon runs a server in dir until the test ends, its output in dir's file "log", and
// returns when ready reports true. One that ends before, or isn't ready within half a minute, fails
// the test with its log.
func Daemon(tb TB, dir string, ready func() bool, program string, args ...string) {
	tb.Helper()
	name := filepath.Base(program)
	logName := filepath.Join(dir, "log")
	log, err := os.Create(logName)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	ended := make(chan error, 1)
	started := make(chan error)
	go func() {
		// The kernel ends the child with the thread that started it, so that thread has to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		dieWithUs(cmd)
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		<-ended
		_ = log.Close() // the server wrote it, not we
	})
	for range 600 {
		if ready() {
			return
		}
		select {
		case err := <-ended:
			ended <- err
			tb.Fatalf("%s ended: %v\n%s", name, err, readLog(logName))
		case <-time.After(50 * time.Millisecond):
		}
	}
	tb.Fatalf("%s does not serve\n%s", name, readLog(logName))
}

// Find is a program's path; servers are not in the path of ordinary users everywhere. "" = not installed.
func Find(program string) string {
	for _, try := range []string{program, "/usr/sbin/" + program, "/usr/local/sbin/" + program} {
		if path, err := exec.LookPath(try); err == nil {
			return path
		}
	}
	return ""
}

// FreeAddr is a loopback host:port that is free over TCP and UDP.
func FreeAddr(tb TB) string {
	tb.Helper()
	return freeAddr(tb)
}
