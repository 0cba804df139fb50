package manifest

import (
	"context"
	"time"
)

// Staging is a folder of our own at the target: messages are appended there and moved to
// their place, and it is deleted. Its name is never used again.
type Staging struct {
	ID   int64
	Raw  string // the name on the wire
	Made time.Time
	// Ending: its DELETE was begun and may be carried out any time.
	Ending bool
}

// Stagings returns the staging folders that may still be there.
func (d *DB) Stagings(ctx context.Context) ([]Staging, error) {
	rows, err := d.read.QueryContext(ctx, `SELECT id, raw, made, ending FROM staging WHERE retired IS NULL ORDER BY id`)
	if err != nil {
		return nil, d.wrap(err)
	}
	defer rows.Close()
	var list []Staging
	for rows.Next() {
		var s Staging
		var made int64
		if err := rows.Scan(&s.ID, &s.Raw, &made, &s.Ending); err != nil {
			return nil, d.wrap(err)
		}
		s.Made = time.Unix(0, made).UTC()
		list = append(list, s)
	}
	return list, d.wrap(rows.Err())
}

// Staged returns the messages that were sent to a staging folder and are not known to be in their
// place, in the order they were sent.
func (d *DB) Staged(ctx context.Context, staging int64) ([]Message, error) {
	return d.list(ctx, "state IN (2, 3) AND staging=? ORDER BY id", staging)
}

// PutStaging writes that a staging folder is about to be made. It gets its ID. A name that was
// used before is refused.
func (t *Tx) PutStaging(s *Staging) error {
	res, err := t.tx.Exec(`INSERT INTO staging(raw, made) VALUES (?, ?)`, s.Raw, s.Made.UnixNano())
	if err != nil {
		return t.d.wrap(err)
	}
	s.ID, err = res.LastInsertId()
	return t.d.wrap(err)
}

// Stage writes that a message lies in its staging folder; uid 0: where is not known.
func (t *Tx) Stage(id int64, uid uint32, at time.Time) error {
	return t.one("stage", `UPDATE message SET state=3, at=?, staged_uid=?, window=NULL WHERE id=? AND state IN (2, 3) AND staging IS NOT NULL`, at.UnixNano(), null(uid), id)
}

// Move writes that a message is about to be moved from its staging folder to its
// place, where it may get any UID from window on.
func (t *Tx) Move(id int64, window uint32, at time.Time) error {
	return t.one("note a move", `UPDATE message SET at=?, window=? WHERE id=? AND state=3 AND staging IS NOT NULL`, at.UnixNano(), window, id)
}

// Left writes that a message is to be looked for in its place and no longer in its staging folder.
// certain: it is no longer in the folder, so it was moved; else it may have been.
func (t *Tx) Left(id int64, certain bool, at time.Time) error {
	state := Intent
	if certain {
		state = Applied
	}
	return t.one("note that a message was moved", `UPDATE message SET state=?, at=?, staging=NULL, staged_uid=NULL WHERE id=? AND state=3 AND staging IS NOT NULL AND window IS NOT NULL`,
		state, at.UnixNano(), id)
}

// EndStaging writes that a staging folder is about to be deleted. Nothing is moved out of it after that. A
// message whose move was begun and not settled is an error.
func (t *Tx) EndStaging(staging int64) error {
	return t.one("end a staging folder", `UPDATE staging SET ending=1 WHERE id=? AND retired IS NULL
		AND NOT EXISTS (SELECT 1 FROM message WHERE staging=? AND state=3 AND window IS NOT NULL)`, staging, staging)
}

// Retire writes that a staging folder is certainly gone. What was still in there, or on its
// way there, is at the target nowhere and never will be: it is Seen again. A message whose
// move was begun and not settled is an error.
func (t *Tx) Retire(staging int64, at time.Time) (left int, err error) {
	if err := t.one("retire a staging folder", `UPDATE staging SET retired=? WHERE id=? AND retired IS NULL
		AND NOT EXISTS (SELECT 1 FROM message WHERE staging=? AND state=3 AND window IS NOT NULL)`, at.UnixNano(), staging, staging); err != nil {
		return 0, err
	}
	res, err := t.tx.Exec(`UPDATE message SET state=1, at=?, target=NULL, window=NULL, staging=NULL, staged_uid=NULL WHERE staging=? AND state IN (2, 3)`, at.UnixNano(), staging)
	if err != nil {
		return 0, t.d.wrap(err)
	}
	n, err := res.RowsAffected()
	return int(n), t.d.wrap(err)
}

// Rewrites reports whether the target is known to keep the content of messages and not their octets.
func (d *DB) Rewrites(ctx context.Context) (bool, error) {
	var yes bool
	err := d.read.QueryRowContext(ctx, `SELECT rewrites FROM mailbox`).Scan(&yes)
	return yes, d.wrap(err)
}

// SetRewrites writes that it does.
func (t *Tx) SetRewrites() error {
	return t.one("note what the target does with messages", `UPDATE mailbox SET rewrites=1`)
}

// Placed is how many messages are claimed in each target folder, at a UID that is known.
func (d *DB) Placed(ctx context.Context, target int64, uidValidity uint32) (claimed, doubts int, err error) {
	err = d.read.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM message WHERE target=? AND target_uidvalidity=? AND target_uid IS NOT NULL),
		(SELECT COUNT(*) FROM message WHERE state IN (2, 3) AND target=? AND staging IS NULL)`, target, uidValidity, target).Scan(&claimed, &doubts)
	return claimed, doubts, d.wrap(err)
}
