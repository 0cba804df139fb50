package imap

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// ErrStalled ends a connection on which nothing moved for the stall timeout.
var ErrStalled = errors.New("nothing came and nothing went for longer than the stall timeout")

// ErrDrip ends a connection whose server sends next to nothing but never stops.
var ErrDrip = errors.New("less than 1 KiB came in ten times the stall timeout")

// A server that works on something long says so in some 30 octets each 15 seconds (Dovecot);
// with the default of a minute that is more than leastDrip in dripWindow stall timeouts.
const (
	leastDrip  = 1 << 10
	dripWindow = 10
)

// link is the transport of a session: it counts what passes, ends reads and
// writes that make no progress, and remembers why it was closed.
//
// The stall timeout runs on real time, not on the clock that schedules are
// computed with: it measures the network.
type link struct {
	net.Conn
	stall   time.Duration // 0 = none
	in, out atomic.Int64
	turns   atomic.Int64
	wrote   atomic.Bool  // since the last read: the next one waits for an answer
	asked   atomic.Int64 // when it was written, unix nanoseconds
	nearest atomic.Int64 // the shortest wait for an answer, nanoseconds, 0 = none yet

	waited time.Duration // in reads since dripped was zero; of the one reader
	drip   int           // octets that came in that time

	mu    sync.Mutex
	cause error // why we closed it
}

func newLink(c net.Conn, stall time.Duration) *link {
	return &link{Conn: c, stall: stall}
}

// abort closes the connection. The first cause is what later errors say.
func (l *link) abort(cause error) {
	l.mu.Lock()
	if l.cause == nil {
		l.cause = cause
	}
	l.mu.Unlock()
	l.Conn.Close()
}

// why returns the cause of our own closing, or err.
func (l *link) why(err error) error {
	if err == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		return l.cause
	}
	return err
}

func (l *link) guard() func() {
	if l.stall <= 0 {
		return func() {}
	}
	t := time.AfterFunc(l.stall, func() { l.abort(ErrStalled) })
	return func() { t.Stop() }
}

func (l *link) Read(p []byte) (int, error) {
	answer := l.wrote.Swap(false)
	if answer {
		l.turns.Add(1)
		l.waited, l.drip = 0, 0 // an answer may be short
	}
	begin := time.Now()
	stop := l.guard()
	n, err := l.Conn.Read(p)
	stop()
	l.in.Add(int64(n))
	if waited := time.Now().UnixNano() - l.asked.Load(); answer && n > 0 && (l.nearest.Load() == 0 || waited < l.nearest.Load()) {
		l.nearest.Store(waited)
	}
	if l.drip += n; l.drip >= leastDrip {
		l.waited, l.drip = 0, 0
	} else if l.waited += time.Since(begin); err == nil && l.stall > 0 && l.waited > dripWindow*l.stall {
		l.abort(ErrDrip)
		return n, ErrDrip
	}
	return n, l.why(err)
}

// Write hands large buffers on in pieces, so that a slow line is progress and no stall.
func (l *link) Write(p []byte) (int, error) {
	const piece = 64 << 10
	total := 0
	for {
		stop := l.guard()
		n, err := l.Conn.Write(p[:min(piece, len(p))])
		stop()
		l.out.Add(int64(n))
		l.asked.Store(time.Now().UnixNano())
		l.wrote.Store(true)
		total += n
		if p = p[n:]; err != nil || len(p) == 0 {
			return total, l.why(err)
		}
	}
}

// Deadlines are the link's own business; go-imap would set five minutes for a literal.
func (*link) SetDeadline(time.Time) error      { return nil }
func (*link) SetReadDeadline(time.Time) error  { return nil }
func (*link) SetWriteDeadline(time.Time) error { return nil }
