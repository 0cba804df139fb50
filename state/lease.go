package state

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// Holder is the process that has the lease.
type Holder struct {
	PID     int
	Host    string
	Command string
	Since   time.Time
	Beat    time.Time // last sign of life
}

// LockedError says who runs already.
type LockedError struct{ Holder Holder }

func (e *LockedError) Error() string {
	if e.Holder.PID == 0 {
		return "another mxodus is at work in this folder: wait for it to end"
	}
	return fmt.Sprintf("another mxodus is at work in this folder: process %d on %s (%s), since %s: wait for it to end or stop it with Ctrl-C there",
		e.Holder.PID, e.Holder.Host, e.Holder.Command, e.Holder.Since.Format(time.RFC3339))
}

// Lease is the right to apply. The operating system's lock on .mxodus/lock is
// the truth and ends with the process, however it dies; the row with the
// heartbeat only says who holds it.
type Lease struct {
	lock *flock.Flock
	stop context.CancelFunc
	done sync.WaitGroup
}

// sleeper is the part of a clock that the heartbeat needs.
type sleeper interface {
	Now() time.Time
	Sleep(ctx context.Context, d time.Duration) error
}

const heartbeat = 10 * time.Second

// Acquire takes the lease or returns a *LockedError at once. Release gives it back.
func (d *DB) Acquire(ctx context.Context, h Holder, clock sleeper) (*Lease, error) {
	lock := flock.New(filepath.Join(filepath.Dir(d.path), "lock"), flock.SetPermissions(0o600))
	// status looks at the lock for an instant (Held): a few tries tell that
	// from an apply that runs.
	tryCtx, cancel := context.WithTimeout(ctx, 250*time.Millisecond)
	defer cancel()
	got, err := lock.TryLockContext(tryCtx, 25*time.Millisecond)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("take the lease: %w", err)
	}
	if !got {
		holder, err := d.Holder(ctx)
		if err != nil {
			return nil, err
		}
		return nil, &LockedError{Holder: holder}
	}
	now := clock.Now().UnixNano()
	if _, err := d.db.ExecContext(ctx, `INSERT INTO holder(one, pid, host, command, since, beat) VALUES (1,?,?,?,?,?)
		ON CONFLICT(one) DO UPDATE SET pid=excluded.pid, host=excluded.host, command=excluded.command, since=excluded.since, beat=excluded.beat`,
		h.PID, h.Host, h.Command, now, now); err != nil {
		lock.Unlock()
		return nil, d.wrap(err)
	}
	beatCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &Lease{lock: lock, stop: stop}
	l.done.Go(func() {
		for clock.Sleep(beatCtx, heartbeat) == nil {
			// A missed beat costs nothing but a stale line in status: the lock is the truth.
			_, _ = d.db.ExecContext(beatCtx, "UPDATE holder SET beat = ? WHERE one = 1", clock.Now().UnixNano())
		}
	})
	return l, nil
}

// Release gives the lease back.
func (l *Lease) Release() error {
	l.stop()
	l.done.Wait()
	return l.lock.Unlock()
}

// Holder returns who took the lease last; the zero Holder when nobody did.
func (d *DB) Holder(ctx context.Context) (Holder, error) {
	rows, err := d.db.QueryContext(ctx, "SELECT pid, host, command, since, beat FROM holder WHERE one = 1")
	if err != nil {
		return Holder{}, d.wrap(err)
	}
	defer rows.Close()
	var h Holder
	var since, beat int64
	if rows.Next() {
		if err := rows.Scan(&h.PID, &h.Host, &h.Command, &since, &beat); err != nil {
			return Holder{}, d.wrap(err)
		}
		h.Since, h.Beat = time.Unix(0, since).UTC(), time.Unix(0, beat).UTC()
	}
	return h, d.wrap(rows.Err())
}

// Held reports whether a live process has the lease now.
func (d *DB) Held() (bool, error) {
	lock := flock.New(filepath.Join(filepath.Dir(d.path), "lock"), flock.SetPermissions(0o600))
	free, err := lock.TryRLock()
	if err != nil || !free {
		return true, err
	}
	return false, lock.Unlock()
}
