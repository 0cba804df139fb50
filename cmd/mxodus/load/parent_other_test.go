//go:build !linux

package load

import "syscall"

// withParent can't tie a child to its parent here.
func withParent() *syscall.SysProcAttr { return nil }
