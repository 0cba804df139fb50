package manifest

import (
	"context"
	"database/sql"
	"strings"
)

// Claims calls fn for each message that is at the target, also for those that
// the source no longer has.
func (d *DB) Claims(ctx context.Context, fn func(Message) error) error {
	return d.each(ctx, fn, "state=4 ORDER BY folder, uidvalidity, uid")
}

// Learn writes that m is at m.TargetUID of m.Target without any of our doing: the
// manifest of the other direction knows both places. A message that has a row already, or
// whose place another one has, is left as it is. made says whether a row was written.
func (t *Tx) Learn(m Message) (made bool, err error) {
	var date sql.NullInt64
	if !m.InternalDate.IsZero() {
		date = sql.NullInt64{Int64: m.InternalDate.Unix(), Valid: true}
	}
	res, err := t.tx.Exec(`INSERT OR IGNORE INTO message(folder, uidvalidity, uid, size, internaldate, flags, message_id, digest, canonical, content, gist, sender, subject, state, vanished, at, target, target_uidvalidity, target_uid)
		VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,4,?,?,?,?,?)`,
		m.Folder, m.UIDValidity, m.UID, m.Size, date, strings.Join(m.Flags, " "), m.MessageID, m.Digest, m.Canonical, m.Content, m.Gist, m.Sender, m.Subject, m.Vanished, m.At.UnixNano(),
		m.Target, null(m.TargetUIDValidity), null(m.TargetUID))
	if err != nil {
		return false, t.d.wrap(err)
	}
	n, err := res.RowsAffected()
	return n > 0, t.d.wrap(err)
}
