package imaptest

import (
	"os"
	"syscall"
)

// withParent makes the child end when this process is killed.
func withParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}

// asMailOwner is withParent, as another user where we are root, and in a process group of its own: Cyrus' master ends its whole
// group when it ends.
func asMailOwner(uid, gid int) *syscall.SysProcAttr {
	a := withParent()
	a.Setpgid = true
	if os.Geteuid() == 0 {
		a.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return a
}
