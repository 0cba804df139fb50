// Package copy is the copy engine: it moves every message of a mailbox from
// one IMAP host to another exactly once, with its octets, flags, INTERNALDATE
// and folder, and costs next to nothing when there is nothing to do.
//
// A pass over a mailbox goes through these stages:
//
//  1. both sides are listed; folders whose numbers are those of the last
//     finished pass are not opened (pass.go, decide.go);
//  2. changed folders are enumerated at the source: what is new, what has
//     vanished, whose flags changed (survey.go for all of them at
//     once, enumerate.go for one that is out of the ordinary);
//  3. new messages are read, hashed and appended at the target, with a
//     durable intent before each APPEND and a claim after it (reader.go, writer.go);
//     at once, or where others may work with the folder by way of a staging folder (staging.go);
//  4. messages in doubt, sent without an answer, are looked for at the target
//     and claimed or sent again (doubt.go);
//  5. flags are merged, messages that moved between folders are moved, and
//     deletions mirrored where that is wanted (followup.go).
//
// What decides is pure and in files of its own: decide.go, lifecycle.go,
// match.go. What was decided is in the manifest (package manifest) before it
// is done. The source is only ever EXAMINEd.
package copy
