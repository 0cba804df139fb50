package load

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// program is the path of the real one, built once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "mxodus-load")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "mxodus")
	out, err := exec.Command("go", "build", "-o", path, "github.com/mxodus/mxodus/cmd/mxodus").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := program(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// ended is how the program ran.
type ended struct {
	code   int
	output string
	wall   time.Duration
	cpu    time.Duration
	peak   int64 // resident octets at most
	files  int   // descriptors at most

	resident []int64 // octets, at even intervals
}

// quarters are the most that was resident in the second and in the last quarter of the run.
func (e ended) quarters() (second, last int64) {
	for i, n := range e.resident {
		switch 4 * i / len(e.resident) {
		case 1:
			second = max(second, n)
		case 3:
			last = max(last, n)
		}
	}
	return second, last
}

// run runs the program in a folder to its end.
func run(t *testing.T, dir string, env []string, args ...string) ended {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Env = dir, append([]string{"HOME=" + dir, "LANG=C.UTF-8", "PATH=" + os.Getenv("PATH")}, env...)
	cmd.SysProcAttr = withParent()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	e := ended{}
	began := time.Now()
	started, done := make(chan error), make(chan struct{})
	go func() {
		// The kernel ends the child with the thread that made it, so that thread has to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the state tells how it ended
			close(done)
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	// The usage that wait4 reports begins with what the parent had resident (getrusage(2), ru_maxrss over execve), so the kernel's own figure is
	// read while the program runs.
	for look := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case <-look.C:
			if now, most := resident(cmd.Process.Pid); now > 0 {
				e.peak, e.resident = max(e.peak, most), append(e.resident, now)
			}
			e.files = max(e.files, descriptors(cmd.Process.Pid))
			continue
		case <-done:
		}
		look.Stop()
		break
	}
	e.wall = time.Since(began)
	s := cmd.ProcessState
	e.code, e.cpu, e.output = s.ExitCode(), s.UserTime()+s.SystemTime(), out.String()
	if u, ok := s.SysUsage().(*syscall.Rusage); ok && runtime.GOOS == "darwin" {
		e.peak = u.Maxrss
	}
	return e
}

// want fails unless the program ended with that code.
func (e ended) want(t *testing.T, code int) {
	t.Helper()
	if e.code != code {
		t.Fatalf("exit code %d, want %d\n%s", e.code, code, e.output[max(0, len(e.output)-4000):])
	}
}

// resident is what a process has in memory, and the most it had, in octets; 0 where the system doesn't say.
func resident(pid int) (now, most int64) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(status)) {
		for name, to := range map[string]*int64{"VmRSS:": &now, "VmHWM:": &most} {
			if rest, ok := strings.CutPrefix(line, name); ok {
				kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				*to = kb * 1024
			}
		}
	}
	return now, most
}

func descriptors(pid int) int {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0
	}
	return len(list)
}

// hosts are a source and a target.
type hosts struct {
	source, target *imaptest.Bulk
	ca             string // certificates of both, PEM; "" without TLS
}

func newHosts(t *testing.T, mail imaptest.BulkMail, withTLS bool) *hosts {
	t.Helper()
	h := &hosts{}
	for _, side := range []**imaptest.Bulk{&h.source, &h.target} {
		b, err := imaptest.NewBulk(mail, side == &h.source, withTLS)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		if *side = b; withTLS {
			h.ca += string(b.Authority().PEM())
		}
	}
	return h
}

const password = "pw"

// copyMailbox runs `mxodus copy` for an account.
func (h *hosts) copyMailbox(t *testing.T, dir, account string) ended {
	t.Helper()
	args := []string{"copy", "-source-password", "env:PW", "-target-password", "env:PW"}
	scheme := "imap+none"
	if h.ca != "" {
		scheme = "imaps"
		if err := os.WriteFile(filepath.Join(dir, "ca.pem"), []byte(h.ca), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-ca-file", "ca.pem")
	}
	for _, b := range []*imaptest.Bulk{h.source, h.target} {
		args = append(args, scheme+"://"+strings.ReplaceAll(account, "@", "%40")+"@"+b.Address())
	}
	return run(t, dir, []string{"PW=" + password}, args...)
}
