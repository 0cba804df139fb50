package manifest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Tx is a change of the manifest: all of it is made durable or none is. It is
// valid only within the function that Update calls.
type Tx struct {
	tx *sql.Tx
	d  *DB
}

type request struct {
	fn   func(*Tx) error
	done chan error
}

// maxGroup bounds how many callers share one commit.
const maxGroup = 64

// Update runs fn and returns when its changes are durable. When fn returns an
// error, nothing of it remains. Calls that come while a commit is under way
// share the next one, so that a commit costs one fsync however many
// connections write.
func (d *DB) Update(ctx context.Context, fn func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.closing.RLock()
	if d.closed || d.write == nil {
		d.closing.RUnlock()
		return fmt.Errorf("manifest %s: %w", d.path, sql.ErrConnDone)
	}
	r := &request{fn: fn, done: make(chan error, 1)}
	d.requests <- r
	d.closing.RUnlock()
	return <-r.done
}

// Around lets fn be called right before each commit, and with done right after it: tests end the process there. It is called before the first Update.
func (d *DB) Around(fn func(done bool)) { d.around = fn }

func (d *DB) commitLoop() {
	for r := range d.requests {
		group := []*request{r}
	more:
		for len(group) < maxGroup {
			select {
			case r, ok := <-d.requests:
				if !ok {
					break more
				}
				group = append(group, r)
			default:
				break more
			}
		}
		d.commit(group)
	}
}

func (d *DB) commit(group []*request) {
	results := make([]error, len(group))
	err := func() error {
		tx, err := d.write.Begin()
		if err != nil {
			return d.wrap(err)
		}
		defer tx.Rollback()
		for i, r := range group {
			if _, err := tx.Exec("SAVEPOINT one"); err != nil {
				return d.wrap(err)
			}
			if results[i] = r.fn(&Tx{tx: tx, d: d}); results[i] != nil {
				if _, err := tx.Exec("ROLLBACK TO one"); err != nil {
					return d.wrap(err)
				}
			}
			if _, err := tx.Exec("RELEASE one"); err != nil {
				return d.wrap(err)
			}
		}
		if d.around == nil {
			return d.wrap(tx.Commit())
		}
		d.around(false)
		err = tx.Commit()
		d.around(true)
		return d.wrap(err)
	}()
	for i, r := range group {
		r.done <- errors.Join(results[i], err)
	}
}

// exec runs a statement that has to change exactly one row; another number
// means that a message was not in the state its caller believed.
func (t *Tx) one(what, query string, args ...any) error {
	res, err := t.tx.Exec(query, args...)
	if err != nil {
		return t.d.wrap(err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return t.d.wrap(err)
	}
	if n != 1 {
		return fmt.Errorf("manifest %s: %s: %d rows changed instead of one: the message is not in the state for it", t.d.path, what, n)
	}
	return nil
}
