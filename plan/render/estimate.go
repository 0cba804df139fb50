package render

import "github.com/mxodus/mxodus/plan/inventory"

// figures are what is known of a mailbox's size.
type figures struct {
	messages int64
	octets   int64 // -1 = not known
}

// sizeOf finds the figures of the mailbox with that source address.
func sizeOf(est *inventory.Estimates, source string) (figures, bool) {
	if est == nil {
		return figures{}, false
	}
	e, ok := est.Mailboxes[source]
	return figures{e.Messages, e.Octets}, ok
}
