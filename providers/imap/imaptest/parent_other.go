//go:build !linux

package imaptest

import "syscall"

// withParent does nothing: only Linux can end a child with its parent.
func withParent() *syscall.SysProcAttr { return nil }
