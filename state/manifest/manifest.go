// Package manifest is the record of every message of one mailbox: where it
// came from, what it holds, where it is now and since when. It is what makes
// a copy exactly-once: an APPEND is preceded by a durable intent, and a
// message with a claim is never copied again.
//
// One SQLite file is one mailbox, so mailboxes never wait for each other and
// a damaged file is one mailbox. Every commit is durable (WAL with
// synchronous=FULL). A file that is damaged or missing where one has been is
// refused with a remedy and never rebuilt silently: an empty manifest over a
// filled target would mean every message twice.
package manifest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/gofrs/flock"
	"github.com/mattn/go-sqlite3"
)

// DamagedError says that a manifest can't be trusted. Nothing was changed.
type DamagedError struct {
	Path string
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the manifest %s is damaged: %v; restore it from a backup of the state folder: it is never rebuilt silently, "+
		"because without it every message would be copied a second time", e.Path, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// LockedError says that another process works on the mailbox.
type LockedError struct{ Path string }

func (e *LockedError) Error() string {
	return fmt.Sprintf("the manifest %s is in use by another mxodus: wait for it to end", e.Path)
}

// OtherTargetError says that the manifest records copies on another host.
type OtherTargetError struct{ Path, Had, Want string }

func (e *OtherTargetError) Error() string {
	return fmt.Sprintf("the manifest %s records what was copied to %s, not to %s: use another state folder for another target", e.Path, e.Had, e.Want)
}

// ErrTaken is what Claim returns when another message has that target UID already.
var ErrTaken = errors.New("the target UID is claimed by another message")

// DB is the open manifest of one mailbox. It is safe for concurrent use
// within the process that opened it; an OS lock keeps other processes out.
type DB struct {
	write *sql.DB // nil in a View
	read  *sql.DB
	lock  *flock.Flock
	path  string

	around   func(done bool) // nil, or called before and after each commit
	requests chan *request
	writer   sync.WaitGroup
	closing  sync.RWMutex
	closed   bool
}

// marker stands in the lock file from the moment the manifest exists.
const marker = "mxodus manifest\n"

// Open opens the manifest at path, for copies to target (a host and account,
// without any secret), and makes it when there was none. The folder is 0700,
// files are 0600. Errors: *LockedError, *DamagedError, *OtherTargetError.
func Open(path, target string) (*DB, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the manifest folder: %w", err)
	}
	lock := flock.New(path+".lock", flock.SetPermissions(0o600))
	got, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock the manifest: %w", err)
	}
	if !got {
		return nil, &LockedError{Path: path}
	}
	d := &DB{path: path, lock: lock, requests: make(chan *request)}
	if err := d.open(target); err != nil {
		d.shut()
		return nil, err
	}
	d.writer.Go(d.commitLoop)
	return d, nil
}

// View opens the manifest at path for reading, also while another process works on it. An
// error that is fs.ErrNotExist means that nothing was copied yet.
func View(path string) (*DB, error) {
	if fi, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open the manifest: %w", err)
	} else if fi.Size() == 0 {
		return nil, &DamagedError{Path: path, Err: errors.New("the file is empty")}
	}
	d := &DB{path: path, requests: make(chan *request)}
	var err error
	if d.read, err = sql.Open("sqlite3", dsn(path)+"&_query_only=1"); err != nil {
		return nil, fmt.Errorf("open the manifest: %w", err)
	}
	var version int
	if err := d.read.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return nil, errors.Join(d.wrap(err), d.shut())
	}
	if version != schemaVersion {
		return nil, errors.Join(fmt.Errorf("the manifest %s has format %d, this mxodus knows %d", path, version, schemaVersion), d.shut())
	}
	return d, nil
}

// dsn names a database file for SQLite. The name goes into a URI: characters
// such as ? and % must not end it.
func dsn(path string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?_journal_mode=WAL&_synchronous=FULL&_busy_timeout=10000&_foreign_keys=1&_stmt_cache_size=64"
}

func (d *DB) open(target string) error {
	made, err := d.made()
	if err != nil {
		return err
	}
	if made {
		fi, err := os.Stat(d.path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return &DamagedError{Path: d.path, Err: errors.New("the file is gone")}
		case err != nil:
			return fmt.Errorf("open the manifest: %w", err)
		case fi.Size() == 0:
			return &DamagedError{Path: d.path, Err: errors.New("the file is empty")}
		}
	}
	f, err := os.OpenFile(d.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open the manifest: %w", err)
	}
	if err := f.Close(); err != nil {
		return err
	}
	if d.write, err = sql.Open("sqlite3", dsn(d.path)+"&_txlock=immediate"); err != nil {
		return fmt.Errorf("open the manifest: %w", err)
	}
	d.write.SetMaxOpenConns(1)
	if err := d.migrate(made, target); err != nil {
		return err
	}
	if _, err := d.write.Exec(occurrences); err != nil {
		return d.wrap(err)
	}
	if d.read, err = sql.Open("sqlite3", dsn(d.path)+"&_query_only=1"); err != nil {
		return fmt.Errorf("open the manifest: %w", err)
	}
	d.read.SetMaxOpenConns(8)
	if made {
		return nil
	}
	return d.markMade()
}

// made reports whether the lock file says that a manifest has been here.
func (d *DB) made() (bool, error) {
	b, err := os.ReadFile(d.path + ".lock")
	if err != nil {
		return false, fmt.Errorf("read the manifest's lock file: %w", err)
	}
	return strings.HasPrefix(string(b), marker), nil
}

func (d *DB) markMade() error {
	f, err := os.OpenFile(d.path+".lock", os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("mark the manifest as made: %w", err)
	}
	_, werr := f.WriteAt([]byte(marker), 0)
	return errors.Join(werr, f.Sync(), f.Close())
}

func (d *DB) migrate(made bool, target string) error {
	tx, err := d.write.Begin()
	if err != nil {
		return d.wrap(err)
	}
	defer tx.Rollback()
	var version int
	if err := tx.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return d.wrap(err)
	}
	switch {
	case version > schemaVersion:
		return fmt.Errorf("the manifest %s was written by a newer mxodus (format %d, this one knows %d): use that version", d.path, version, schemaVersion)
	case version >= 1:
		if err := d.check(tx); err != nil {
			return err
		}
		var had string
		if err := tx.QueryRow("SELECT target FROM mailbox").Scan(&had); err != nil {
			return d.wrap(err)
		}
		if had != target {
			return &OtherTargetError{Path: d.path, Had: had, Want: target}
		}
		if version == schemaVersion {
			return nil
		}
		if _, err := tx.Exec(upgrade); err != nil {
			return d.wrap(err)
		}
		return d.stamp(tx)
	case made:
		return &DamagedError{Path: d.path, Err: errors.New("it holds no tables")}
	}
	if _, err := tx.Exec(schema); err != nil {
		return d.wrap(err)
	}
	if _, err := tx.Exec("INSERT INTO mailbox(one, target) VALUES (1, ?)", target); err != nil {
		return d.wrap(err)
	}
	return d.stamp(tx)
}

// stamp writes the format and commits.
func (d *DB) stamp(tx *sql.Tx) error {
	if _, err := tx.Exec(fmt.Sprintf("PRAGMA user_version = %d", schemaVersion)); err != nil {
		return d.wrap(err)
	}
	return d.wrap(tx.Commit())
}

// check reads the whole file's structure before the first row is believed.
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
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if e, ok := errors.AsType[sqlite3.Error](err); ok && (e.Code == sqlite3.ErrCorrupt || e.Code == sqlite3.ErrNotADB) {
		return &DamagedError{Path: d.path, Err: err}
	}
	return fmt.Errorf("manifest %s: %w", d.path, err)
}

// Close commits what is under way, closes the file and gives the lock back.
func (d *DB) Close() error {
	d.closing.Lock()
	if d.closed {
		d.closing.Unlock()
		return nil
	}
	d.closed = true
	close(d.requests)
	d.closing.Unlock()
	d.writer.Wait()
	return d.shut()
}

func (d *DB) shut() error {
	var errs []error
	if d.read != nil {
		errs = append(errs, d.read.Close())
	}
	if d.write != nil {
		errs = append(errs, d.write.Close())
	}
	if d.lock != nil {
		errs = append(errs, d.lock.Unlock())
	}
	return errors.Join(errs...)
}
