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
// again. removed says that somebody may have taken away what was stored since the intent: then
// one that is not there may have been, and stays in doubt.
func resolved(s manifest.State, found, removed bool) verdict {
	switch {
	case found:
		return claim
	case s == manifest.Applied:
		return applied
	case removed:
		return doubt
	}
	return again
}

// direct reports whether messages are appended to a target folder at once, and not by way of a staging
// folder: only as long as nobody but us is known to write there. Then what is not found
// after a lost answer was not stored, since nobody else can have taken it away. exists is
// what the folder holds, before its baseline, claimed and doubts are ours.
func direct(mode providers.PassMode, exists, before uint32, claimed, doubts int) bool {
	foreign := int64(exists) - int64(before) - int64(claimed)
	return mode == providers.BeforeFlip && foreign >= 0 && foreign <= int64(doubts)
}

// seen is what a look into a staging folder means for a message that was sent there. Nobody but us
// writes there, so what is in there is ours. moves says that the server moves in one step: then a message is
// in one place or in the other, and what its owner does there afterwards makes no difference.
//
//	claim    it lies there and is to be moved
//	again    its move was not carried out: it is moved again
//	applied  it was moved
//	doubt    it may be in its place and has to be looked for there
//	stop     it is not there: the end of the folder decides (ended)
func seen(m manifest.Message, there, moves bool) verdict {
	begun := m.Window != 0
	switch {
	case begun && !moves:
		return doubt
	case begun && there:
		return again
	case begun:
		return applied
	case there:
		return claim
	}
	return stop
}

// ended is what the confirmed end of a staging folder means for a message that was sent there and
// is not known to have been moved: it is nowhere, and what of it is still under way
// finds no folder any more. A move that was begun has to be settled before the folder may end.
func ended(m manifest.Message) verdict {
	if m.Window != 0 {
		return doubt
	}
	return again
}
