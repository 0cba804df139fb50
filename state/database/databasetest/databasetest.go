// Package databasetest damages SQLite files in the ways that disks, people and other programs do, so that
// whoever keeps something in one can show that such a file is refused and kept.
package databasetest

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "github.com/mattn/go-sqlite3" // the driver
)

// page is the size of SQLite's pages, as it is by default.
const page = 4096

// Damage is one way in which a file can be damaged.
type Damage struct {
	Name string
	// Do damages the file at path, which nobody has open and which has a dozen pages at least.
	Do func(path string) error
	// Newer: the file is sound, and of a later version.
	Newer bool
}

// octets is a damage to the file's octets.
func octets(name string, do func([]byte) []byte) Damage {
	return Damage{Name: name, Do: func(path string) error {
		b, err := os.ReadFile(path)
		if err == nil && len(b) < 12*page {
			err = fmt.Errorf("%s has only %d octets", path, len(b))
		}
		if err != nil {
			return err
		}
		return os.WriteFile(path, do(b), 0o600)
	}}
}

// statement is a change by somebody who knows SQLite.
func statement(name, sql string) Damage {
	return Damage{Name: name, Do: func(path string) error { return exec(path, "", sql) }}
}

func exec(path, parameters string, statements ...string) error {
	db, err := sql.Open("sqlite3", "file:"+path+parameters)
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	for _, s := range statements {
		if _, err = db.Exec(s); err != nil {
			break
		}
	}
	return errors.Join(err, db.Close())
}

// filled makes another database beside path, with one transaction open that has reached the disk.
func filled(path, mode string, use func(other string) error) error {
	dir, err := os.MkdirTemp(filepath.Dir(path), "other-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	other := filepath.Join(dir, "other.db")
	db, err := sql.Open("sqlite3", "file:"+other+"?_journal_mode="+mode+"&_cache_size=2")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	rows := "INSERT INTO other(text) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 2000) SELECT printf('%060d', i) FROM n"
	for _, s := range []string{"CREATE TABLE other(text)", rows, "BEGIN", "UPDATE other SET text = text || 'another'", rows} {
		if _, err := db.Exec(s); err != nil {
			return err
		}
	}
	return use(other)
}

// beside copies a file of another database to where SQLite looks for that of path.
func beside(suffix, mode string) func(string) error {
	return func(path string) error {
		return filled(path, mode, func(other string) error {
			b, err := os.ReadFile(other + suffix)
			if err == nil && len(b) < page {
				err = fmt.Errorf("%s has only %d octets", suffix, len(b))
			}
			if err != nil {
				return err
			}
			return os.WriteFile(path+suffix, b, 0o600)
		})
	}
}

// Damages are the ways. table, index and column are names of some that a sound file has; the index has to be
// one that CREATE INDEX made, and the column one that no index needs.
func Damages(table, index, column string) []Damage {
	random := rand.New(rand.NewPCG(8, 15))
	freelist := func(b []byte) []byte {
		binary.BigEndian.PutUint32(b[32:], uint32(len(b)/page))   // first page of the list: one that is in use
		binary.BigEndian.PutUint32(b[36:], uint32(len(b)/page)-1) // and how many there are
		return b
	}
	return []Damage{
		octets("cut to a half", func(b []byte) []byte { return b[:len(b)/page/2*page] }),
		octets("cut within a page", func(b []byte) []byte { return b[:len(b)-page/2] }),
		octets("cut after the first page", func(b []byte) []byte { return b[:page] }),
		octets("cut within the head", func(b []byte) []byte { return b[:50] }),
		octets("cut to nothing", func([]byte) []byte { return nil }),
		octets("zeroes after the first page", func(b []byte) []byte { clear(b[page:]); return b }),
		octets("zeroes in the first page", func(b []byte) []byte { clear(b[:page]); return b }),
		octets("zeroes all over", func(b []byte) []byte { clear(b); return b }),
		octets("another magic number", func(b []byte) []byte { copy(b, "SQLite format 4"); return b }),
		octets("another file", func([]byte) []byte { return []byte(strings.Repeat("Dear Sir or Madam,\r\n", 5000)) }),
		octets("a page of random octets", func(b []byte) []byte {
			for i := page; i < 2*page; i++ {
				b[i] = byte(random.Uint32())
			}
			return b
		}),
		octets("random octets after the head", func(b []byte) []byte {
			for i := page; i < len(b); i++ {
				b[i] = byte(random.Uint32())
			}
			return b
		}),
		octets("pages of an unknown kind", func(b []byte) []byte {
			for at := page; at < len(b); at += page {
				b[at] = 7
			}
			return b
		}),
		octets("two pages swapped", func(b []byte) []byte {
			return slices.Concat(b[:page], b[2*page:3*page], b[page:2*page], b[3*page:])
		}),
		octets("a page size that is none", func(b []byte) []byte { binary.BigEndian.PutUint16(b[16:], 4097); return b }),
		octets("a page count of 16 TB", func(b []byte) []byte { binary.BigEndian.PutUint32(b[28:], 1<<32-2); return b }),
		octets("a free list of pages in use", freelist),
		octets("a free list that is endless", func(b []byte) []byte {
			n := len(b) / page
			b = append(b, make([]byte, page)...)
			binary.BigEndian.PutUint32(b[28:], uint32(n+1))
			binary.BigEndian.PutUint32(b[32:], uint32(n+1))
			binary.BigEndian.PutUint32(b[36:], 1<<30)
			binary.BigEndian.PutUint32(b[n*page:], uint32(n+1)) // itself
			return b
		}),
		statement("application_id of another program", "PRAGMA application_id = 252006675"),
		statement("no table", "PRAGMA foreign_keys = 0; DROP TABLE "+table),
		statement("no index", "DROP INDEX "+index),
		statement("no column", "ALTER TABLE "+table+" DROP COLUMN "+column),
		statement("another name of a table", "ALTER TABLE "+table+" RENAME TO old_"+table),
		{Name: "a later format", Newer: true, Do: func(path string) error { return exec(path, "", "PRAGMA user_version = 99") }},
		{Name: "a database without tables", Do: func(path string) error {
			return errors.Join(os.Remove(path), exec(path, "?_journal_mode=WAL", "CREATE TABLE x(y)", "DROP TABLE x"))
		}},
		{Name: "a database of another program", Do: func(path string) error {
			return errors.Join(os.Remove(path), exec(path, "", "CREATE TABLE moz_places(id INTEGER PRIMARY KEY, url TEXT)", "PRAGMA user_version = 1"))
		}},
		{Name: "the log of another database beside it", Do: beside("-wal", "WAL")},
		{Name: "the journal of another database beside it", Do: beside("-journal", "DELETE")},
		{Name: "a folder in its place", Do: func(path string) error {
			return errors.Join(os.Remove(path), os.Mkdir(path, 0o700), os.WriteFile(filepath.Join(path, "kept"), []byte("kept"), 0o600))
		}},
		{Name: "a link to it in its place", Do: func(path string) error {
			return errors.Join(os.Rename(path, path+".moved"), os.Symlink(filepath.Base(path)+".moved", path))
		}},
		{Name: "a link to nowhere in its place", Do: func(path string) error {
			return errors.Join(os.Remove(path), os.Symlink(filepath.Join(filepath.Dir(path), "nowhere"), path))
		}},
		{Name: "a link as its log", Do: func(path string) error {
			return errors.Join(os.WriteFile(path+".victim", []byte("kept"), 0o600), os.Symlink(filepath.Base(path)+".victim", path+"-wal"))
		}},
	}
}

// Snapshot is everything in the folder of the file at path, by name, so that two can be compared: kinds, links and
// octets. SQLite's shared memory and an empty log, which hold nothing, are left out.
func Snapshot(tb testing.TB, path string) map[string]string {
	tb.Helper()
	all := map[string]string{}
	dir := filepath.Dir(path)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir || strings.HasSuffix(p, "-shm") {
			return err
		}
		text := d.Type().String()
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			text += " " + to
		case d.Type().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			if len(b) == 0 && strings.HasSuffix(p, "-wal") {
				return nil
			}
			text += " " + string(b)
		}
		all[p] = text
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return all
}
