// Package wire reads and writes the syntax of IMAP (RFC 3501 §9, RFC 9051 §9):
// commands that can't be anything but one command, and responses read token by
// token with bounds on everything a server can send.
//
// It knows the grammar and no semantics. Reading is tolerant: what is not
// understood can be skipped to the end of its response, literals included, and
// the connection goes on.
package wire
