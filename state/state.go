// Package state keeps what really happened: the journal of a migration and
// the lease that lets one apply run at a time. It is one SQLite file, without
// set-up, in the migration's .mxodus folder. The manifest of the messages is
// in files of its own (package manifest), so that one damaged file is one
// mailbox.
//
// Everything is committed with synchronous=FULL: an entry that Append has
// returned for survives a power cut.
package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mattn/go-sqlite3"
)

// schemaVersion is stored in PRAGMA user_version. A newer file is refused.
const schemaVersion = 1

const schema = `
CREATE TABLE journal (
	seq   INTEGER PRIMARY KEY AUTOINCREMENT,
	at    INTEGER NOT NULL,             -- nanoseconds since 1970, UTC
	plan  TEXT    NOT NULL,             -- digest of the plan that was applied
	step  TEXT    NOT NULL DEFAULT '',  -- address; '' = of the run as a whole
	event TEXT    NOT NULL,
	data  TEXT    NOT NULL DEFAULT '{}' -- JSON object
);
CREATE INDEX journal_step ON journal(step);
` + journalEvent + `
CREATE TABLE holder (
	one     INTEGER PRIMARY KEY CHECK (one = 1),
	pid     INTEGER NOT NULL,
	host    TEXT    NOT NULL,
	command TEXT    NOT NULL,
	since   INTEGER NOT NULL,
	beat    INTEGER NOT NULL
);
`

// journalEvent is what Recent goes by. Files that have it not yet get it when they are opened.
const journalEvent = `CREATE INDEX IF NOT EXISTS journal_event ON journal(event, step);`

// DamagedError says that the state file can't be trusted. Nothing was
// changed: the file is kept for a restore from a backup.
type DamagedError struct {
	Path string
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the state file %s is damaged: %v; restore it from a backup (mxodus state backup writes one), it is never rebuilt silently", e.Path, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// DB is an open state file. It is safe for concurrent use, also by several
// processes: status, approve and done read and append while apply runs.
type DB struct {
	db   *sql.DB
	path string
}

// Path returns where the state of the migration in dir is kept.
func Path(dir string) string { return filepath.Join(dir, ".mxodus", "state.db") }

// Exists reports whether the migration in dir has state yet.
func Exists(dir string) bool {
	_, err := os.Stat(Path(dir))
	return err == nil
}

// Open opens the state of the migration in dir and makes it when it is not
// there. Folders are 0700 and files 0600. A damaged file is a *DamagedError.
func Open(dir string) (*DB, error) {
	path := Path(dir)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the state file: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite3", "file:"+path+"?_journal_mode=WAL&_synchronous=FULL&_busy_timeout=10000&_txlock=immediate&_foreign_keys=1")
	if err != nil {
		return nil, fmt.Errorf("open the state file: %w", err)
	}
	db.SetMaxOpenConns(1)
	d := &DB{db: db, path: path}
	if err := d.migrate(); err != nil {
		db.Close()
		return nil, err
	}
	return d, nil
}

func (d *DB) migrate() error {
	tx, err := d.db.Begin()
	if err != nil {
		return d.wrap(err)
	}
	defer tx.Rollback()
	var version int
	if err := tx.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return d.wrap(err)
	}
	switch {
	case version == schemaVersion:
		if err := d.check(tx); err != nil {
			return err
		}
		if _, err := tx.Exec(journalEvent); err != nil {
			return d.wrap(err)
		}
		return d.wrap(tx.Commit())
	case version > schemaVersion:
		return fmt.Errorf("the state file %s was written by a newer mxodus (format %d, this one knows %d): use that version", d.path, version, schemaVersion)
	}
	if _, err := tx.Exec(schema); err != nil {
		return d.wrap(err)
	}
	if _, err := tx.Exec(fmt.Sprintf("PRAGMA user_version = %d", schemaVersion)); err != nil {
		return d.wrap(err)
	}
	return d.wrap(tx.Commit())
}

// check reads the file's structure, so that damage is found before the first
// entry is believed.
func (d *DB) check(tx *sql.Tx) error {
	var verdict string
	if err := tx.QueryRow("PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return d.wrap(err)
	}
	if verdict != "ok" {
		return &DamagedError{Path: d.path, Err: errors.New(verdict)}
	}
	return nil
}

// wrap turns SQLite's words for a broken file into a DamagedError.
func (d *DB) wrap(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[sqlite3.Error](err); ok && (e.Code == sqlite3.ErrCorrupt || e.Code == sqlite3.ErrNotADB) {
		return &DamagedError{Path: d.path, Err: err}
	}
	return fmt.Errorf("state file %s: %w", d.path, err)
}

// Close closes the file.
func (d *DB) Close() error { return d.db.Close() }

// Entry is one thing that happened. Seq is given by Append.
type Entry struct {
	Seq   int64
	At    time.Time
	Plan  string // digest of the plan
	Step  string // address, "" for the run as a whole
	Event string
	Data  json.RawMessage // an object; nil is {}
}

// Append writes entries in one commit: all of them are durable or none is.
func (d *DB) Append(ctx context.Context, entries ...Entry) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return d.wrap(err)
	}
	defer tx.Rollback()
	for _, e := range entries {
		data := string(e.Data)
		if data == "" {
			data = "{}"
		}
		if _, err := tx.Exec("INSERT INTO journal(at, plan, step, event, data) VALUES (?,?,?,?,?)",
			e.At.UnixNano(), e.Plan, e.Step, e.Event, data); err != nil {
			return d.wrap(err)
		}
	}
	return d.wrap(tx.Commit())
}

// Look opens the state of the migration in dir to read it. Unlike Open it makes nothing, and it
// doesn't look the whole file over first, which takes a second for a large one: damage is
// found where it is read, and is a *DamagedError then.
func Look(dir string) (*DB, error) {
	path := Path(dir)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open the state file: %w", err)
	}
	db, err := sql.Open("sqlite3", "file:"+path+"?_journal_mode=WAL&_synchronous=FULL&_busy_timeout=10000&_query_only=1")
	if err != nil {
		return nil, fmt.Errorf("open the state file: %w", err)
	}
	db.SetMaxOpenConns(1)
	d := &DB{db: db, path: path}
	var version int
	if err := db.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return nil, errors.Join(d.wrap(err), db.Close())
	}
	if version != schemaVersion {
		return nil, errors.Join(fmt.Errorf("the state file %s has format %d, this mxodus knows %d", path, version, schemaVersion), db.Close())
	}
	return d, nil
}

// Recent is Entries(ctx, 0) without most of those of one event, which comes again and again for
// each step: of these it has the last keep of each step.
func (d *DB) Recent(ctx context.Context, event string, keep int) ([]Entry, error) {
	return d.entries(ctx, `SELECT seq, at, plan, step, event, data FROM journal WHERE seq IN (
		SELECT seq FROM journal WHERE event < ?1 UNION ALL SELECT seq FROM journal WHERE event > ?1 UNION ALL
		SELECT seq FROM (SELECT seq, ROW_NUMBER() OVER (PARTITION BY step ORDER BY seq DESC) AS back FROM journal WHERE event = ?1) WHERE back <= ?2)
		ORDER BY seq`, event, keep)
}

// LastPlan is the plan of the newest entry that has one, "" when there is none.
func (d *DB) LastPlan(ctx context.Context) (string, error) {
	var digest string
	err := d.db.QueryRowContext(ctx, "SELECT plan FROM journal WHERE plan <> '' ORDER BY seq DESC LIMIT 1").Scan(&digest)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return digest, d.wrap(err)
}

// Entries returns what was appended after seq, oldest first.
func (d *DB) Entries(ctx context.Context, after int64) ([]Entry, error) {
	return d.entries(ctx, "SELECT seq, at, plan, step, event, data FROM journal WHERE seq > ? ORDER BY seq", after)
}

func (d *DB) entries(ctx context.Context, query string, args ...any) ([]Entry, error) {
	rows, err := d.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, d.wrap(err)
	}
	defer rows.Close()
	var list []Entry
	for rows.Next() {
		var e Entry
		var at int64
		var data string
		if err := rows.Scan(&e.Seq, &at, &e.Plan, &e.Step, &e.Event, &data); err != nil {
			return nil, d.wrap(err)
		}
		e.At, e.Data = time.Unix(0, at).UTC(), json.RawMessage(data)
		list = append(list, e)
	}
	return list, d.wrap(rows.Err())
}

// Backup writes a consistent copy of the file to path, also while apply runs.
// An existing file is not overwritten.
func (d *DB) Backup(ctx context.Context, path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s exists: name a new file", path)
	}
	if _, err := d.db.ExecContext(ctx, "VACUUM INTO ?", path); err != nil {
		return d.wrap(err)
	}
	return os.Chmod(path, 0o600)
}
