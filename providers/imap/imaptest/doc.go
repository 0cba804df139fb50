// Package imaptest has mail servers to test and show against: Memory, an
// embedded one, and real ones: Dovecot, Cyrus, Courier; a way to read an account that shares no code with
// package imap; and a corpus of mail as it is found.
//
// It imports no testing package, because the demo runs on it too: TB is what it needs
// of a *testing.T.
package imaptest

// TB is the part of testing.TB that this package calls.
type TB interface {
	Helper()
	Cleanup(func())
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}
