//go:build !linux

package imaptest

import "syscall"

// withParent does nothing: only Linux can end a child with its parent.
func withParent() *syscall.SysProcAttr { return nil }

// asMailOwner is for servers that are unpacked from Debian packages.
func asMailOwner(int, int) *syscall.SysProcAttr { return nil }
