// Package database has what the SQLite files of mxodus have in common: how they are named to SQLite, how a
// new one comes to be, and how one is looked over before an octet of it is believed or written.
//
// SQLite mends what it opens: it rolls back a journal that lies beside a file, takes over a log that was
// put there, and makes tables where a file is empty. What is for the record of a migration
// would be a rebuilt record, so Examine looks first, and writes nothing.
package database

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/mattn/go-sqlite3"
)

// application is the application_id of files made by mxodus: "mxod". Older ones have none, which is 0.
const application = 0x6d786f64

// Damage says why a file can't be trusted. Nothing was changed.
type Damage struct{ Reason error }

func (d *Damage) Error() string { return d.Reason.Error() }
func (d *Damage) Unwrap() error { return d.Reason }

func damaged(format string, args ...any) error { return &Damage{fmt.Errorf(format, args...)} }

// Writing names the file at path to SQLite for a connection that may write, with every commit durable (WAL,
// synchronous=FULL). The name goes into a URI: characters such as ? and % must not end it. More parameters may
// be added, each with "&" before it.
func Writing(path string) string {
	return name(path) + "?_journal_mode=WAL&_synchronous=FULL&_busy_timeout=10000&_foreign_keys=1"
}

// Reading names the file at path to SQLite for a connection that neither writes nor mends, also while
// others write.
func Reading(path string) string {
	return name(path) + "?mode=ro&_query_only=1&_busy_timeout=10000&_foreign_keys=1"
}

func name(path string) string { return "file:" + (&url.URL{Path: path}).EscapedPath() }

// object is a table with one of its columns, or an index.
type object struct{ kind, name, column string }

// objects are the tables, columns and indexes of a database.
func objects(db *sql.DB) ([]object, error) {
	rows, err := db.Query(`SELECT m.type, m.name, COALESCE(c.name, '') FROM sqlite_schema m LEFT JOIN pragma_table_info(m.name) c ORDER BY 1, 2, 3`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []object
	for rows.Next() {
		var o object
		if err := rows.Scan(&o.kind, &o.name, &o.column); err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	return list, rows.Err()
}

// Examine looks over the file at path. It returns its format (user_version), and a *Damage when the file is no database of
// mxodus's, or one that can't be trusted: cut, overwritten, replaced by a link or a folder, with the log of another
// one beside it, or, where it has the given format, without a table, column or index of schema. whole reads all of the
// file's structure, which takes a second for a large one. A file that isn't there is fs.ErrNotExist.
//
// Neither the file nor what lies beside it is written to; only SQLite's -shm, which is memory that processes
// share, and an empty -wal may come.
func Examine(path string, format int, schema string, whole bool) (int, error) {
	if err := look(path); err != nil {
		return 0, err
	}
	at := path
	if fi, err := os.Lstat(path + "-journal"); err == nil && fi.Size() > 0 {
		// SQLite rolls it back as soon as it reads. What comes of that is seen on a copy.
		dir, err := os.MkdirTemp("", "mxodus-*")
		if err != nil {
			return 0, err
		}
		defer os.RemoveAll(dir)
		at = filepath.Join(dir, "db")
		for _, suffix := range []string{"", "-wal", "-journal"} {
			if err := duplicate(path+suffix, at+suffix); err != nil {
				return 0, err
			}
		}
	}
	mode := Reading(at)
	if at != path {
		mode = name(at) + "?_busy_timeout=10000"
	}
	db, err := sql.Open("sqlite3", mode)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	found, err := examine(db, format, schema, whole)
	return found, Judge(err)
}

// look judges a file by what it is.
func look(path string) error {
	for _, suffix := range []string{"", "-wal", "-journal", "-shm"} {
		fi, err := os.Lstat(path + suffix)
		switch {
		case errors.Is(err, os.ErrNotExist) && suffix != "":
		case err != nil:
			return err
		case fi.Mode()&os.ModeSymlink != 0:
			return damaged("%s is a symbolic link", filepath.Base(path+suffix))
		case fi.IsDir():
			return damaged("%s is a folder", filepath.Base(path+suffix))
		case !fi.Mode().IsRegular():
			return damaged("%s is no file", filepath.Base(path+suffix))
		case suffix == "" && fi.Size() == 0:
			return damaged("the file is empty")
		}
	}
	return nil
}

func examine(db *sql.DB, format int, schema string, whole bool) (int, error) {
	var found, app int
	if err := db.QueryRow("PRAGMA user_version").Scan(&found); err != nil {
		return 0, err
	}
	if err := db.QueryRow("PRAGMA application_id").Scan(&app); err != nil {
		return 0, err
	}
	if app != 0 && app != application {
		return found, damaged("it belongs to another program (application_id %#x)", app)
	}
	if whole {
		var verdict string
		if err := db.QueryRow("PRAGMA quick_check(1)").Scan(&verdict); err != nil {
			return found, err
		}
		if verdict != "ok" {
			return found, damaged("%s", strings.Join(strings.Fields(verdict), " "))
		}
	}
	if found != format {
		return found, nil
	}
	has, err := objects(db)
	if err != nil {
		return found, err
	}
	want, err := objectsOf(schema)
	if err != nil {
		return found, err
	}
	for _, o := range want {
		if !slices.Contains(has, o) {
			what := o.kind + " " + o.name
			if o.column != "" && slices.ContainsFunc(has, func(h object) bool { return h.kind == o.kind && h.name == o.name }) {
				what = "column " + o.column + " of " + what
			}
			return found, damaged("it has no %s", what)
		}
	}
	return found, nil
}

// known are the objects of schemas that were asked for: there are two or three, and thousands of files.
var known sync.Map

// objectsOf are those that a schema makes.
func objectsOf(schema string) ([]object, error) {
	if list, ok := known.Load(schema); ok {
		return list.([]object), nil
	}
	db, err := sql.Open("sqlite3", ":memory:")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // each connection has a memory of its own
	if _, err := db.Exec(schema); err != nil {
		return nil, fmt.Errorf("the schema: %w", err)
	}
	list, err := objects(db)
	if err == nil {
		known.Store(schema, list)
	}
	return list, err
}

// Writable reports a file that is there and that this process may not write to, with what to do about it.
func Writable(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w: the file and its folder have to belong to whoever runs mxodus (chown), and to be writable (chmod u+w)", err)
	}
	if err != nil {
		return nil // what else it is, Examine tells
	}
	return f.Close()
}

// Judge turns SQLite's words for a broken file into a *Damage; other errors stay as they are.
func Judge(err error) error {
	if e, ok := errors.AsType[sqlite3.Error](err); ok && (e.Code == sqlite3.ErrCorrupt || e.Code == sqlite3.ErrNotADB) {
		return &Damage{err}
	}
	return err
}

// duplicate copies a file, if it is there.
func duplicate(from, to string) error {
	in, err := os.Open(from)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// Make makes the file at path with the schema and the format, 0600. It has its name once it is whole and on the
// disk, so a file without tables under that name is never one that was about to be made. Where another process has made
// it meanwhile, that one stays.
func Make(path, schema string, format int) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	part := f.Name()
	defer func() {
		for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
			if rerr := os.Remove(part + suffix); rerr != nil && !errors.Is(rerr, os.ErrNotExist) && err == nil {
				err = rerr
			}
		}
	}()
	if err := f.Close(); err != nil {
		return err
	}
	if err := fill(part, schema, format); err != nil {
		return err
	}
	// Closing a connection tells nothing of what it could not write.
	if _, err := Examine(part, format, schema, true); err != nil {
		return err
	}
	if err := os.Link(part, path); err != nil && !errors.Is(err, os.ErrExist) {
		if _, serr := os.Lstat(path); serr == nil {
			return nil
		}
		// A file system without links; two processes would have to begin in the same instant.
		if err := os.Rename(part, path); err != nil {
			return err
		}
	}
	return syncFolder(filepath.Dir(path))
}

// fill makes the tables with a journal, so that all is in the file itself when this returns, and changes to a log only then.
func fill(path, schema string, format int) (err error) {
	db, err := sql.Open("sqlite3", name(path)+"?_journal_mode=DELETE&_synchronous=FULL")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(fmt.Sprintf("BEGIN; %s PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT;", schema, application, format)); err != nil {
		return err
	}
	var mode string
	if err := db.QueryRow("PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("this file system lets no database have a log (%s): keep the folder on a local disk", mode)
	}
	return nil
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
