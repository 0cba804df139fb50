package manifest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/mxodus/mxodus/state/database"
)

// Claims calls fn for each message that is at the target, also for those that
// the source no longer has.
func (d *DB) Claims(ctx context.Context, fn func(Message) error) error {
	return d.each(ctx, fn, "state=4 ORDER BY folder, uidvalidity, uid")
}

// LeftMirroring is when the first pass began that may only add at the target, because people work
// there; the zero time when all passes so far were allowed to mirror.
func (d *DB) LeftMirroring(ctx context.Context) (time.Time, error) {
	var began sql.NullInt64
	if err := d.read.QueryRowContext(ctx, "SELECT MIN(began) FROM pass WHERE mode <> 'before_flip'").Scan(&began); err != nil || !began.Valid {
		return time.Time{}, d.wrap(err)
	}
	return time.Unix(0, began.Int64).UTC(), nil
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

// Backup writes a consistent copy of the manifest at path to file, also while a pass is under
// way. An existing file is not overwritten.
func Backup(ctx context.Context, path, file string) (err error) {
	if _, err := os.Lstat(file); err == nil {
		return fmt.Errorf("%s exists: name a new one", file)
	}
	d, err := View(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	// Not by the View's handle: SQLite takes VACUUM INTO for a write.
	db, err := sql.Open("sqlite3", database.Writing(path))
	if err != nil {
		return fmt.Errorf("open the manifest: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", file); err != nil {
		return d.wrap(err)
	}
	return os.Chmod(file, 0o600)
}
