package imaptest

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// child is a server process that ends with this one.
type child struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// startChild starts cmd, whose SysProcAttr comes from withParent or asMailOwner.
func startChild(cmd *exec.Cmd) (*child, error) {
	c := &child{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel ties the child to the thread that made it, so the thread has to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
		close(c.ended)
	}()
	return c, <-started
}

// until polls ready for 20 seconds; it fails when the child ends before.
func (c *child) until(name string, ready func() bool) error {
	for range 1000 {
		select {
		case <-c.ended:
			return fmt.Errorf("%s ended at once: %v", name, c.cmd.ProcessState)
		default:
		}
		if ready() {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("%s doesn't answer", name)
}

// stop asks the process to end and kills it when it doesn't. A nil child has ended.
func (c *child) stop() {
	if c == nil {
		return
	}
	c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.ended:
	case <-time.After(10 * time.Second):
		c.cmd.Process.Kill()
		<-c.ended
	}
}

// Unpacked returns the folder of a server that "make servers" has unpacked beside the
// system's own, because Debian lets only one IMAP server be installed; "" where
// it isn't there. MXODUS_SERVERS names another place than the usual ones.
func Unpacked(server string) string {
	places := []string{"/var/cache/mxodus-servers"} // of root, whose home others may not read
	if cache, err := os.UserCacheDir(); err == nil {
		places = append(places, filepath.Join(cache, "mxodus-servers"))
	}
	if p := os.Getenv("MXODUS_SERVERS"); p != "" {
		places = []string{p}
	}
	for _, p := range places {
		dir := filepath.Join(p, server)
		if _, err := os.Stat(filepath.Join(dir, "complete")); err == nil {
			return dir
		}
	}
	return ""
}

// libraries is the environment in which a program under root finds the libraries that came with it.
func libraries(root string) (env []string) {
	var paths []string
	for _, pattern := range []string{"lib/*-linux-gnu", "usr/lib/*-linux-gnu", "usr/lib", "usr/lib/courier-authlib"} {
		found, _ := filepath.Glob(filepath.Join(root, pattern))
		paths = append(paths, found...)
	}
	return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LD_LIBRARY_PATH=" + strings.Join(paths, ":")}
}

// mailOwner is who owns mail: nobody when we are root, because servers refuse to work for root, else ourselves.
func mailOwner() (uid, gid int, name string, err error) {
	me, err := user.Current()
	if err == nil && os.Geteuid() == 0 {
		me, err = user.Lookup("nobody")
	}
	if err != nil {
		return 0, 0, "", err
	}
	uid, err1 := strconv.Atoi(me.Uid)
	gid, err2 := strconv.Atoi(me.Gid)
	if err1 != nil || err2 != nil {
		return 0, 0, "", fmt.Errorf("the user %s has no numbers", me.Username)
	}
	return uid, gid, me.Username, nil
}

// memoryFolder makes a folder for a server that waits for the disk with each message (Cyrus can't be told not to): in memory where the system
// has a place for that. It isn't the test's own, because paths of sockets may have 107 octets.
func memoryFolder(name string) (string, error) {
	if os.Getenv("TMPDIR") == "" {
		if dir, err := os.MkdirTemp("/dev/shm", name); err == nil {
			return dir, nil
		}
	}
	return os.MkdirTemp("", name)
}

// ownFolder makes a folder of the mail's owner.
func ownFolder(path string, uid, gid int) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	return os.Chown(path, uid, gid)
}
