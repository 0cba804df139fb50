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
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/mxodus/mxodus/state/database"
)

// schemaVersion is stored in PRAGMA user_version. A newer file is refused.
const schemaVersion = 1

const schema = required + journalEvent

// required is what a file of this format has to have.
const required = `
CREATE TABLE journal (
	seq   INTEGER PRIMARY KEY AUTOINCREMENT,
	at    INTEGER NOT NULL,             -- nanoseconds since 1970, UTC
	plan  TEXT    NOT NULL,             -- digest of the plan that was applied
	step  TEXT    NOT NULL DEFAULT '',  -- address; '' = of the run as a whole
	event TEXT    NOT NULL,
	data  TEXT    NOT NULL DEFAULT '{}' -- JSON object
);
CREATE INDEX journal_step ON journal(step);
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
	_, err := os.Lstat(Path(dir)) // a link that leads nowhere is there, and is refused
	return err == nil
}

// Open opens the state of the migration in dir and makes it when it is not
// there. Folders are 0700 and files 0600. The file is looked over before anything of it is written:
// a damaged one, or one that is no state file, is a *DamagedError and stays as it is, octet by octet.
func Open(dir string) (*DB, error) {
	path := Path(dir)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	// SQLite would open a file that it may not write to, and say so at the first entry.
	if err := database.Writable(path); err != nil {
		return nil, fmt.Errorf("open the state file: %w", err)
	}
	err := examine(path, true)
	if errors.Is(err, fs.ErrNotExist) {
		if err := database.Make(path, schema, schemaVersion); err != nil {
			return nil, fmt.Errorf("make the state file: %w", err)
		}
		err = examine(path, true)
	}
	if err != nil {
		return nil, err
	}
	d, err := open(path, database.Writing(path)+"&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	if _, err := d.db.Exec(journalEvent); err != nil {
		return nil, errors.Join(d.wrap(err), d.Close())
	}
	return d, nil
}

func open(path, name string) (*DB, error) {
	db, err := sql.Open("sqlite3", name)
	if err != nil {
		return nil, fmt.Errorf("open the state file: %w", err)
	}
	db.SetMaxOpenConns(1)
	return &DB{db: db, path: path}, nil
}

// examine looks a state file over; an error that is fs.ErrNotExist means that there is none.
func examine(path string, whole bool) error {
	d := &DB{path: path}
	format, err := database.Examine(path, schemaVersion, required, whole)
	switch {
	case err != nil:
		return d.wrap(err)
	case format > schemaVersion:
		return fmt.Errorf("the state file %s was written by a newer mxodus (format %d, this one knows %d): use that version", path, format, schemaVersion)
	case format < schemaVersion:
		return &DamagedError{Path: path, Err: errors.New("it holds no tables")}
	}
	return nil
}

// wrap turns SQLite's words for a broken file into a DamagedError.
func (d *DB) wrap(err error) error {
	if err == nil {
		return nil
	}
	if damage, ok := errors.AsType[*database.Damage](database.Judge(err)); ok {
		return &DamagedError{Path: d.path, Err: damage.Reason}
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
	if err := examine(path, false); err != nil {
		return nil, err
	}
	return open(path, database.Reading(path))
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
			return nil, &DamagedError{Path: d.path, Err: err} // a value that nobody can have written
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
