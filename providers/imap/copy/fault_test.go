package copy

import (
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	inflicted "github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// cutter is a TCP proxy that resets connections after so many octets, in
// one direction or the other.
type cutter struct {
	listener net.Listener
	to       string
	wg       sync.WaitGroup

	mu    sync.Mutex
	plan  func() (up, down int64) // octets until the cut; -1 = never
	cuts  int
	conns map[net.Conn]bool
}

func newCutter(t testing.TB, to string, plan func() (up, down int64)) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: l, to: to, plan: plan, conns: map[net.Conn]bool{}}
	c.wg.Go(c.accept)
	t.Cleanup(func() {
		l.Close()
		c.mu.Lock()
		for conn := range c.conns {
			conn.Close()
		}
		c.mu.Unlock()
		c.wg.Wait()
	})
	return c
}

func (c *cutter) port() int { return c.listener.Addr().(*net.TCPAddr).Port }

// count is how often it has cut.
func (c *cutter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cuts
}

func (c *cutter) accept() {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		backend, err := net.Dial("tcp", c.to)
		if err != nil {
			client.Close()
			continue
		}
		c.mu.Lock()
		up, down := c.plan()
		c.conns[client], c.conns[backend] = true, true
		c.mu.Unlock()
		var once sync.Once
		end := func(cut bool) {
			once.Do(func() {
				c.mu.Lock()
				if cut {
					c.cuts++
				}
				delete(c.conns, client)
				delete(c.conns, backend)
				c.mu.Unlock()
				for _, conn := range []net.Conn{client, backend} {
					if cut {
						conn.(*net.TCPConn).SetLinger(0) // a reset, and what is under way is lost
					}
					conn.Close()
				}
			})
		}
		pipe := func(a, b net.Conn, limit int64) {
			// Not as sockets: between those the system copies through pipes, which stay open in a pool until garbage is collected.
			to, from := struct{ io.Writer }{a}, struct{ io.Reader }{b}
			if limit < 0 {
				io.Copy(to, from)
				end(false)
				return
			}
			n, _ := io.CopyN(to, from, limit)
			end(n == limit)
		}
		c.wg.Go(func() { pipe(backend, client, up) })
		c.wg.Go(func() { pipe(client, backend, down) })
	}
}

// TestCutConnectionsLoseAndDoubleNothing cuts both sides' connections after
// random numbers of octets until the copy is through.
func TestCutConnectionsLoseAndDoubleNothing(t *testing.T) {
	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	for round := range rounds {
		t.Run(strconv.Itoa(round), func(t *testing.T) {
			t.Parallel()
			src, dst := dovecots(t)
			mails := imaptest.Generate(uint64(round), 300)
			src.fill(t, mails)
			// Commands and answers are small and messages are large: each direction has a scale of its own.
			cut := func(seed uint64, upScale, downScale int64) func() (int64, int64) {
				random := rand.New(rand.NewPCG(uint64(round), seed))
				left := 15
				return func() (up, down int64) {
					if left == 0 {
						return -1, -1
					}
					left--
					if random.IntN(2) == 0 {
						return 200 + random.Int64N(upScale), -1
					}
					return -1, 400 + random.Int64N(downScale)
				}
			}
			source := newCutter(t, src.address, cut(1, 2500, 400_000))
			target := newCutter(t, dst.address, cut(2, 400_000, 6000))
			b := newBench(t, src, dst, t.TempDir(), func(s, d *plan.Host) { s.Port, d.Port = source.port(), target.port() })
			for try := 0; ; try++ {
				r, err := b.try(providers.BeforeFlip)
				if err == nil {
					defer inflicted.Count(t, "faults", source.count()+target.count())
					t.Logf("%d cuts at the source, %d at the target: %+v", source.count(), target.count(), r)
					break
				}
				t.Logf("try %d: %v", try, err)
				if try > 12 {
					t.Fatal("no pass came to its end")
				}
			}
			b.equal()
			for _, c := range []*cutter{source, target} {
				c.mu.Lock()
				c.plan = func() (int64, int64) { return -1, -1 }
				c.mu.Unlock()
			}
			b.idle(providers.BeforeFlip)
		})
	}
}
