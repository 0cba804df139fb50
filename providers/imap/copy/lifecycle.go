package copy

import (
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/state/manifest"
)

// verdict is what an answer, or the lack of one, means for a message whose
// intent is durable and whose APPEND was begun.
type verdict int

const (
	doubt   verdict = iota // it may be at the target, now or soon: look, never send again on this path
	claim                  // it is at the target, and where is known
	applied                // it is at the target, and where has to be found
	again                  // it is certainly not there: may be sent again
	refuse                 // it is certainly not there and won't be taken: quarantine
	stop                   // it is certainly not there, and nothing else will go either
)

// settle reads one answer to an APPEND. One that says nothing leaves the message in
// doubt, because the server may have taken it and may even do so later.
func settle(a imap.Appended) verdict {
	switch {
	case a.Err != nil:
		return refusal(providers.ReasonOf(a.Err))
	case a.UID != 0:
		return claim
	case a.Done:
		return applied
	case a.Unsent:
		return again
	}
	return doubt
}

// refusal tells what becomes of a message whose APPEND was answered NO or
// BAD: it was not stored (RFC 9051 §6.3.12).
func refusal(r providers.Reason) verdict {
	switch r {
	case providers.Throttled, providers.TooMany, providers.NotFound:
		// NotFound is [TRYCREATE]: the folder was deleted under us and is made again.
		return again
	case providers.Authentication, providers.Certificate, providers.Unreachable:
		return stop
	case providers.Uncertain:
		return doubt
	}
	return refuse
}

// next is the state after a verdict on a message in state Intent.
func next(v verdict) manifest.State {
	switch v {
	case claim:
		return manifest.Claimed
	case applied:
		return manifest.Applied
	case again, stop:
		return manifest.Seen
	case refuse:
		return manifest.Quarantined
	}
	return manifest.Intent
}

// aboutTheMessage reports whether a refusal is a property of the one
// message. Others in a row mean that the target takes nothing at all.
func aboutTheMessage(r providers.Reason) bool {
	return r == providers.TooLarge || r == providers.BadMessage
}

// resolved is what a finished search means for a message in doubt. One that the server
// said it took and that is not there was removed by somebody: it is not sent
// again.
func resolved(s manifest.State, found bool) verdict {
	switch {
	case found:
		return claim
	case s == manifest.Applied:
		return applied
	}
	return again
}
