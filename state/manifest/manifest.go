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
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/gofrs/flock"

	"github.com/mxodus/mxodus/state/database"
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
	if fi, err := os.Lstat(path + ".lock"); err == nil && !fi.Mode().IsRegular() {
		return nil, &DamagedError{Path: path, Err: errors.New("its .lock is no file of its own")}
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
	d := &DB{path: path, requests: make(chan *request)}
	if err := d.examine(false); err != nil {
		return nil, err
	}
	var err error
	if d.read, err = sql.Open("sqlite3", database.Reading(path)+statements); err != nil {
		return nil, fmt.Errorf("open the manifest: %w", err)
	}
	return d, nil
}

// statements is how many prepared statements a connection keeps.
const statements = "&_stmt_cache_size=64"

// examine looks the file over before anything of it is believed or written. An error that is fs.ErrNotExist
// means that there is none.
func (d *DB) examine(whole bool) error {
	format, err := database.Examine(d.path, schemaVersion, schema, whole)
	if err == nil && format == 1 {
		_, err = database.Examine(d.path, 1, formerly, false)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("open the manifest: %w", err)
	case err != nil:
		return d.wrap(err)
	case format > schemaVersion:
		return fmt.Errorf("the manifest %s was written by a newer mxodus (format %d, this one knows %d): use that version", d.path, format, schemaVersion)
	case format < 1:
		return &DamagedError{Path: d.path, Err: errors.New("it holds no tables")}
	case format < schemaVersion && !whole:
		return fmt.Errorf("the manifest %s has format %d, this mxodus knows %d: the next pass over the mailbox brings it up", d.path, format, schemaVersion)
	}
	return nil
}

func (d *DB) open(target string) error {
	made, err := d.made()
	if err != nil {
		return err
	}
	if err := database.Writable(d.path); err != nil {
		return fmt.Errorf("open the manifest: %w", err)
	}
	err = d.examine(true)
	if errors.Is(err, fs.ErrNotExist) {
		if made {
			return &DamagedError{Path: d.path, Err: errors.New("the file is gone")}
		}
		row := "INSERT INTO mailbox(one, target) VALUES (1, '" + strings.ReplaceAll(target, "'", "''") + "');"
		if err := database.Make(d.path, schema+row, schemaVersion); err != nil {
			return fmt.Errorf("make the manifest: %w", err)
		}
		err = d.examine(true)
	}
	if err != nil {
		return err
	}
	if d.write, err = sql.Open("sqlite3", database.Writing(d.path)+"&_txlock=immediate"+statements); err != nil {
		return fmt.Errorf("open the manifest: %w", err)
	}
	d.write.SetMaxOpenConns(1)
	if err := d.migrate(target); err != nil {
		return err
	}
	if _, err := d.write.Exec(occurrences); err != nil {
		return d.wrap(err)
	}
	if d.read, err = sql.Open("sqlite3", database.Reading(d.path)+statements); err != nil {
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

// migrate wants the file to be of that target, and brings an older one up.
func (d *DB) migrate(target string) error {
	tx, err := d.write.Begin()
	if err != nil {
		return d.wrap(err)
	}
	defer tx.Rollback()
	var version int
	if err := tx.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return d.wrap(err)
	}
	var had string
	if err := tx.QueryRow("SELECT target FROM mailbox").Scan(&had); errors.Is(err, sql.ErrNoRows) {
		return &DamagedError{Path: d.path, Err: errors.New("it doesn't say of which mailbox it is")}
	} else if err != nil {
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
}

// stamp writes the format and commits.
func (d *DB) stamp(tx *sql.Tx) error {
	if _, err := tx.Exec(fmt.Sprintf("PRAGMA user_version = %d", schemaVersion)); err != nil {
		return d.wrap(err)
	}
	return d.wrap(tx.Commit())
}

// wrap turns SQLite's words for a broken file into a DamagedError.
func (d *DB) wrap(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if damage, ok := errors.AsType[*database.Damage](database.Judge(err)); ok {
		return &DamagedError{Path: d.path, Err: damage.Reason}
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
