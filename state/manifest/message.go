package manifest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"
)

// State is where a message is on its way. A message without a row has not
// been read yet.
type State int

// The states. Allowed ways: (none) or Seen to Intent, Intent to Claimed,
// Applied, Seen or Quarantined, Applied to Claimed, Quarantined to Seen. A claimed message is never copied again, whatever its
// owner did with it at the target; only what we took away from there ourselves (Forget)
// is Seen again.
//
// A message may go by way of a staging folder (Message.Staging). There Intent means sent to that folder
// without an answer, and Applied means that it lies in there, or, with a Window, that its
// MOVE to its place was begun. Retire makes what is left of them Seen.
const (
	Seen        State = 1 // read once, not at the target: to copy
	Intent      State = 2 // about to be sent, or sent without an answer: in doubt
	Applied     State = 3 // the server took it and did not say where: to be found, never to be sent
	Claimed     State = 4 // at the target
	Quarantined State = 5 // refused by the target and kept as a file
)

// String is the word in exports.
func (s State) String() string {
	switch s {
	case Seen:
		return "seen"
	case Intent:
		return "intent"
	case Applied:
		return "applied"
	case Claimed:
		return "claimed"
	case Quarantined:
		return "quarantined"
	}
	return fmt.Sprintf("state(%d)", int(s))
}

// Message is one source message: (Folder, UIDValidity, UID) is its identity,
// never its Message-ID.
type Message struct {
	ID           int64
	Folder       int64
	UIDValidity  uint32
	UID          uint32
	Size         int64     // octets that were read
	InternalDate time.Time // zero = the source has none
	Flags        []string  // as last brought over
	MessageID    string
	Sender       string // address, lower case; "" = none
	Subject      []byte // the first octets of its digest, nil = none
	Digest       []byte // SHA-256 of the octets
	Canonical    []byte // digest of the canonical form; nil = the same as Digest
	State        State
	Vanished     int64 // number of the pass that found it gone at the source, 0 = there
	At           time.Time
	Target       int64  // target folder, 0 = none
	Window       uint32 // Intent and Applied: UIDs from here on may be this message
	TargetUIDValidity,
	TargetUID uint32 // Claimed: where it is; 0 = it was there and its place is not known any more
	Staging   int64  // Intent and Applied: the staging folder it was sent to, 0 = to its place at once
	StagedUID uint32 // where it is in there, 0 = not known
	Number    uint64 // its number at a source that shows a message in several folders; only written, see Occurrences
	Content   []byte // digest of the decoded content, nil = not computed
	Gist      []byte // digest of what identifies it when the content was changed, nil = not computed
	Tier      Tier
	Changed   []string // what the target changed: see the Changed... words
}

// Tier is how closely a message that was read back from the target is equal to its original.
type Tier int

// The tiers.
const (
	NotRead      Tier = 0 // the server's word: it took so many octets and gave a UID
	SameOctets   Tier = 1
	SameContent  Tier = 2 // rendered anew: line ends, folding, encodings, boundaries, fields added
	SameGist     Tier = 3 // Message-ID, date, sender, subject, attachments and decoded size
	OtherContent Tier = 4
)

// String is the word in exports, "" for what was not read back.
func (t Tier) String() string {
	return [...]string{"", "octets", "content", "gist", "other"}[t]
}

// What a target may change of a message without a word.
const (
	ChangedDate     = "date"     // INTERNALDATE, compared as an instant
	ChangedFlags    = "flags"    // a system flag is not as it was sent
	ChangedKeywords = "keywords" // a keyword is not there
	ChangedOctets   = "octets"   // the content is the same, its octets are not
	ChangedContent  = "content"
)

const columns = `id, folder, uidvalidity, uid, size, internaldate, flags, message_id, digest, canonical, state, vanished, at,
	COALESCE(target, 0), COALESCE(window, 0), COALESCE(target_uidvalidity, 0), COALESCE(target_uid, 0), COALESCE(staging, 0), COALESCE(staged_uid, 0),
	content, gist, tier, changed, sender, subject`

func scan(rows *sql.Rows) (Message, error) {
	var m Message
	var date sql.NullInt64
	var flags, changed string
	var at int64
	err := rows.Scan(&m.ID, &m.Folder, &m.UIDValidity, &m.UID, &m.Size, &date, &flags, &m.MessageID, &m.Digest, &m.Canonical, &m.State, &m.Vanished, &at,
		&m.Target, &m.Window, &m.TargetUIDValidity, &m.TargetUID, &m.Staging, &m.StagedUID, &m.Content, &m.Gist, &m.Tier, &changed, &m.Sender, &m.Subject)
	if date.Valid {
		m.InternalDate = time.Unix(date.Int64, 0).UTC()
	}
	m.Flags, m.Changed = strings.Fields(flags), strings.Fields(changed)
	m.At = time.Unix(0, at).UTC()
	return m, err
}

// each streams the rows of a query. fn may write to the manifest: readers
// see the state of the moment the query began.
func (d *DB) each(ctx context.Context, fn func(Message) error, where string, args ...any) error {
	rows, err := d.read.QueryContext(ctx, "SELECT "+columns+" FROM message WHERE "+where, args...)
	if err != nil {
		return d.wrap(err)
	}
	defer rows.Close()
	for rows.Next() {
		m, err := scan(rows)
		if err != nil {
			return d.wrap(err)
		}
		if err := fn(m); err != nil {
			return err
		}
	}
	return d.wrap(rows.Err())
}

func (d *DB) list(ctx context.Context, where string, args ...any) ([]Message, error) {
	var list []Message
	err := d.each(ctx, func(m Message) error { list = append(list, m); return nil }, where, args...)
	return list, err
}

// Messages calls fn for each message of a folder under one UIDVALIDITY from
// UID from on, in the order of their UIDs.
func (d *DB) Messages(ctx context.Context, folder int64, uidValidity, from uint32, fn func(Message) error) error {
	return d.each(ctx, fn, "folder=? AND uidvalidity=? AND uid>=? ORDER BY uid", folder, uidValidity, from)
}

// Known is what a pass needs of a message to hold it against the source's list.
type Known struct {
	ID       int64
	UID      uint32
	State    State
	Vanished int64
	Flags    string // separated by blanks
}

// Known calls fn for each message of a folder under one UIDVALIDITY from UID
// from on, in the order of their UIDs.
func (d *DB) Known(ctx context.Context, folder int64, uidValidity, from uint32, fn func(Known) error) error {
	rows, err := d.read.QueryContext(ctx, "SELECT id, uid, state, vanished, flags FROM message WHERE folder=? AND uidvalidity=? AND uid>=? ORDER BY uid", folder, uidValidity, from)
	if err != nil {
		return d.wrap(err)
	}
	defer rows.Close()
	for rows.Next() {
		var k Known
		if err := rows.Scan(&k.ID, &k.UID, &k.State, &k.Vanished, &k.Flags); err != nil {
			return d.wrap(err)
		}
		if err := fn(k); err != nil {
			return err
		}
	}
	return d.wrap(rows.Err())
}

// Of calls fn for each message of a folder whatever its UIDVALIDITY.
func (d *DB) Of(ctx context.Context, folder int64, fn func(Message) error) error {
	return d.each(ctx, fn, "folder=? ORDER BY uidvalidity, uid", folder)
}

// Doubts returns the messages in state Intent or Applied that are not in a staging folder, oldest first.
func (d *DB) Doubts(ctx context.Context) ([]Message, error) {
	return d.list(ctx, "state IN (2, 3) AND staging IS NULL ORDER BY at, id")
}

// FoldersWaiting returns the folders for which Waiting returns any.
func (d *DB) FoldersWaiting(ctx context.Context) (map[int64]bool, error) {
	return setOf[int64](ctx, d, "SELECT DISTINCT folder FROM message WHERE state=1 AND vanished=0")
}

// Waiting returns the messages of a folder in state Seen that the source
// still has.
func (d *DB) Waiting(ctx context.Context, folder int64) ([]Message, error) {
	return d.list(ctx, "state=1 AND folder=? AND vanished=0 ORDER BY uid", folder)
}

// ClaimedIn returns which of a target folder's UIDs from UID from on are claimed.
func (d *DB) ClaimedIn(ctx context.Context, target int64, uidValidity, from uint32) (map[uint32]bool, error) {
	return setOf[uint32](ctx, d, "SELECT target_uid FROM message WHERE target=? AND target_uidvalidity=? AND target_uid>=?", target, uidValidity, from)
}

// setOf are the values of a query's only column.
func setOf[T comparable](ctx context.Context, d *DB, query string, args ...any) (map[T]bool, error) {
	rows, err := d.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, d.wrap(err)
	}
	defer rows.Close()
	set := map[T]bool{}
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			return nil, d.wrap(err)
		}
		set[v] = true
	}
	return set, d.wrap(rows.Err())
}

// ClaimsOutside calls fn for each message that is claimed in target under
// another UIDVALIDITY than the given one.
func (d *DB) ClaimsOutside(ctx context.Context, target int64, uidValidity uint32, fn func(Message) error) error {
	return d.each(ctx, fn, "target=? AND target_uid IS NOT NULL AND target_uidvalidity<>? ORDER BY id", target, uidValidity)
}

// Moved returns claimed messages with that digest, and a known place, that a
// pass later than pass found gone at the source.
func (d *DB) Moved(ctx context.Context, digest []byte, pass int64) ([]Message, error) {
	return d.list(ctx, "digest=? AND vanished>0 AND vanished>? AND state=4 AND target_uid IS NOT NULL ORDER BY id", digest, pass)
}

// MovedLike is Moved for a target that renders messages anew, so that their octets tell nothing: m is
// known by its Message-ID, sender and subject. Without a Message-ID it is known by nothing.
func (d *DB) MovedLike(ctx context.Context, m Message, pass int64) ([]Message, error) {
	if m.MessageID == "" {
		return nil, nil
	}
	return d.list(ctx, "vanished>0 AND vanished>? AND message_id=? AND sender=? AND subject IS ? AND state=4 AND target_uid IS NOT NULL ORDER BY id",
		pass, m.MessageID, m.Sender, m.Subject)
}

// Gone returns claimed messages with a known place that the source no longer has.
func (d *DB) Gone(ctx context.Context) ([]Message, error) {
	return d.list(ctx, "vanished>0 AND state=4 AND target_uid IS NOT NULL ORDER BY target, target_uid")
}

// Counts is how many messages the source still has are in each state.
func (d *DB) Counts(ctx context.Context) (map[State]int, error) {
	rows, err := d.read.QueryContext(ctx, "SELECT state, COUNT(*) FROM message WHERE vanished=0 GROUP BY state")
	if err != nil {
		return nil, d.wrap(err)
	}
	defer rows.Close()
	m := map[State]int{}
	for rows.Next() {
		var s State
		var n int
		if err := rows.Scan(&s, &n); err != nil {
			return nil, d.wrap(err)
		}
		m[s] = n
	}
	return m, d.wrap(rows.Err())
}

// Intend writes that m is about to be sent to m.Target, where it may get any
// UID from m.Window on. m gets its ID. A message that has a row in any other
// state than Seen is refused: that is what keeps a message from being sent twice.
func (t *Tx) Intend(m *Message, at time.Time) error {
	var date sql.NullInt64
	if !m.InternalDate.IsZero() {
		date = sql.NullInt64{Int64: m.InternalDate.Unix(), Valid: true}
	}
	err := t.tx.QueryRow(`INSERT INTO message(folder, uidvalidity, uid, size, internaldate, flags, message_id, digest, canonical, content, gist, sender, subject, state, at, target, window, staging)
		VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,2,?,?,?,?)
		ON CONFLICT(folder, uidvalidity, uid) DO UPDATE SET size=excluded.size, internaldate=excluded.internaldate, flags=excluded.flags,
			message_id=excluded.message_id, digest=excluded.digest, canonical=excluded.canonical, content=excluded.content, gist=excluded.gist,
			sender=excluded.sender, subject=excluded.subject,
			state=2, vanished=0, at=excluded.at, target=excluded.target, window=excluded.window, staging=excluded.staging, staged_uid=NULL, tier=0, changed=''
		WHERE state=1 RETURNING id`,
		m.Folder, m.UIDValidity, m.UID, m.Size, date, strings.Join(m.Flags, " "), m.MessageID, m.Digest, m.Canonical, m.Content, m.Gist, m.Sender, m.Subject, at.UnixNano(), m.Target, m.Window,
		sql.NullInt64{Int64: m.Staging, Valid: m.Staging != 0}).Scan(&m.ID)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("manifest %s: message with UID %d of folder %d is not to be sent: it has been, or is in doubt", t.d.path, m.UID, m.Folder)
	}
	m.State, m.At = Intent, at
	if err == nil && m.Number != 0 {
		_, err = t.tx.Exec(`INSERT OR REPLACE INTO occurrence(number, message) VALUES (?,?)`, int64(m.Number), m.ID)
	}
	return t.d.wrap(err)
}

// Claim writes where a message in state Intent or Applied is. UID 0 is one
// that was taken and can't be found any more. ErrTaken: another message has that UID.
func (t *Tx) Claim(id int64, uidValidity, uid uint32, at time.Time) error {
	err := t.one("claim", `UPDATE message SET state=4, at=?, target_uidvalidity=?, target_uid=?, window=NULL, staging=NULL, staged_uid=NULL WHERE id=? AND state IN (2, 3)`,
		at.UnixNano(), null(uidValidity), null(uid), id)
	if e, ok := errors.AsType[sqlite3.Error](err); ok && e.ExtendedCode == sqlite3.ErrConstraintUnique {
		return fmt.Errorf("claim UID %d: %w", uid, ErrTaken)
	}
	return err
}

// Find is Claim for a message in state Intent that was looked for and found: the server has never said that it took it. Its window stays, which
// tells Withdraw.
func (t *Tx) Find(id int64, uidValidity, uid uint32, at time.Time) error {
	return t.one("claim what was found", `UPDATE message SET state=4, at=?, target_uidvalidity=?, target_uid=?, staging=NULL, staged_uid=NULL WHERE id=? AND state=2`,
		at.UnixNano(), null(uidValidity), null(uid), id)
}

// Applied writes that the server took a message and did not say where.
func (t *Tx) Applied(id int64, at time.Time) error {
	return t.one("note an APPEND without UID", `UPDATE message SET state=3, at=? WHERE id=? AND state=2`, at.UnixNano(), id)
}

// Withdraw takes back the claim on a UID of a target folder, if there is one: the server has named it for another message, too, or never gave it
// out. A message that the server said it took is at the target and has to be looked for, from where the folder's baseline ends; one that was only
// found there is in doubt as before, because what was found may have been another's copy.
func (t *Tx) Withdraw(target int64, uidValidity, uid uint32, at time.Time) error {
	_, err := t.tx.Exec(`UPDATE message SET state=CASE WHEN window IS NULL THEN 3 ELSE 2 END, at=?, target_uidvalidity=NULL, target_uid=NULL,
		window=(SELECT CASE WHEN base_uidvalidity=uidvalidity THEN MAX(base_uidnext, 1) ELSE 1 END FROM target WHERE target.id=message.target)
		WHERE target=? AND target_uidvalidity=? AND target_uid=? AND state=4`, at.UnixNano(), target, uidValidity, uid)
	return t.d.wrap(err)
}

// Revert writes that an intended message is certainly not at the target.
func (t *Tx) Revert(id int64, at time.Time) error {
	return t.one("take back an intent", `UPDATE message SET state=1, at=?, target=NULL, window=NULL, staging=NULL WHERE id=? AND state=2`, at.UnixNano(), id)
}

// Refusal is why a message is in quarantine.
type Refusal struct {
	Reason string
	Words  string // the server's, unescaped; "" where the limit is ours
	Limit  int64  // the size limit in force, octets; 0 = none
	File   string // name within the mailbox's quarantine folder
}

// Quarantine writes that the target refused an intended message.
func (t *Tx) Quarantine(id int64, r Refusal, at time.Time) error {
	if err := t.one("quarantine", `UPDATE message SET state=5, at=?, target=NULL, window=NULL, staging=NULL WHERE id=? AND state=2`, at.UnixNano(), id); err != nil {
		return err
	}
	_, err := t.tx.Exec(`INSERT OR REPLACE INTO quarantine(message, reason, words, max, file) VALUES (?,?,?,?,?)`, id, r.Reason, r.Words, r.Limit, r.File)
	return t.d.wrap(err)
}

// Requeue takes a message out of quarantine, to be tried again.
func (t *Tx) Requeue(id int64, at time.Time) error {
	if err := t.one("requeue", `UPDATE message SET state=1, at=? WHERE id=? AND state=5`, at.UnixNano(), id); err != nil {
		return err
	}
	_, err := t.tx.Exec(`DELETE FROM quarantine WHERE message=?`, id)
	return t.d.wrap(err)
}

// Vanish writes that pass found the message gone at the source.
func (t *Tx) Vanish(id, pass int64) error {
	return t.one("note a vanished message", `UPDATE message SET vanished=? WHERE id=? AND vanished=0`, pass, id)
}

// SetFlags saves the flags that were brought over last.
func (t *Tx) SetFlags(id int64, flags []string) error {
	return t.one("save flags", `UPDATE message SET flags=? WHERE id=?`, strings.Join(flags, " "), id)
}

// Rekey gives a message the identity it has after its folder's UIDVALIDITY changed.
func (t *Tx) Rekey(id int64, uidValidity, uid uint32) error {
	return t.one("rekey", `UPDATE message SET uidvalidity=?, uid=?, vanished=0 WHERE id=?`, uidValidity, uid, id)
}

// Replace writes where a claimed message is after the target folder's
// UIDVALIDITY changed. UID 0: it is not there any more; it keeps its claim.
func (t *Tx) Replace(id int64, uidValidity, uid uint32) error {
	return t.one("replace a claim", `UPDATE message SET target_uidvalidity=?, target_uid=? WHERE id=? AND state=4`, null(uidValidity), null(uid), id)
}

// Widen lets a message in doubt be any message of its target folder.
func (t *Tx) Widen(id int64) error {
	return t.one("widen a window", `UPDATE message SET window=1 WHERE id=? AND state IN (2, 3) AND staging IS NULL`, id)
}

// Inherit gives the claim of the message from to the intended message id: what was copied
// for one is the copy of the other (a message that moved between source folders).
// Where it is now is (uidValidity, uid) of id's target.
func (t *Tx) Inherit(id, from int64, uidValidity, uid uint32, at time.Time) error {
	if err := t.Forget(from); err != nil {
		return err
	}
	return t.Claim(id, uidValidity, uid, at)
}

// Forget writes that we have taken a vanished message away from the target. It is the one
// way out of Claimed: should the source show that message again, it is copied again.
func (t *Tx) Forget(id int64) error {
	return t.one("forget a place", `UPDATE message SET state=1, target=NULL, target_uidvalidity=NULL, target_uid=NULL WHERE id=? AND state=4 AND vanished>0`, id)
}

// Return writes that a message that had vanished is there again.
func (t *Tx) Return(id int64) error {
	return t.one("note a message that is back", `UPDATE message SET vanished=0 WHERE id=? AND vanished>0`, id)
}

func null(n uint32) sql.NullInt64 { return sql.NullInt64{Int64: int64(n), Valid: n != 0} }

// Quarantine returns why messages are in quarantine that the source still
// has, by message ID.
func (d *DB) Quarantine(ctx context.Context) (map[int64]Refusal, error) {
	rows, err := d.read.QueryContext(ctx, `SELECT q.message, q.reason, q.words, q.max, q.file FROM quarantine q JOIN message m ON m.id=q.message WHERE m.state=5 AND m.vanished=0`)
	if err != nil {
		return nil, d.wrap(err)
	}
	defer rows.Close()
	m := map[int64]Refusal{}
	for rows.Next() {
		var id int64
		var r Refusal
		if err := rows.Scan(&id, &r.Reason, &r.Words, &r.Limit, &r.File); err != nil {
			return nil, d.wrap(err)
		}
		m[id] = r
	}
	return m, d.wrap(rows.Err())
}

// Message returns one message by its ID.
func (d *DB) Message(ctx context.Context, id int64) (Message, error) {
	list, err := d.list(ctx, "id=?", id)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("manifest %s: no message %d", d.path, id)
	}
	if err != nil {
		return Message{}, err
	}
	return list[0], nil
}
