package imaptest

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy passes TCP connections on to a server as a line of some length does: each octet
// arrives Delay later, in either direction, the making of a connection
// costs a round trip, and up to 4 MiB are on their way. There is no loss and no slow
// start. It counts what passes.
type Proxy struct {
	Delay time.Duration // each way
	Rate  int           // octets a second in each direction of a connection, 0 = as many as can be

	in, out, turns, opened atomic.Int64
	listener               net.Listener
	to                     string
	wg                     sync.WaitGroup
	mu                     sync.Mutex
	conns                  map[net.Conn]bool
}

// proxyWindow is how many octets may be on their way in one direction.
const proxyWindow = 4 << 20

// NewProxy listens on a random port of the loopback interface. It ends with the test.
func NewProxy(tb TB, to string, delay time.Duration) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("start a proxy: %v", err)
	}
	p := &Proxy{Delay: delay, listener: l, to: to, conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	tb.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		for c := range p.conns {
			c.Close()
		}
		p.conns = nil
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

// Port is where it listens.
func (p *Proxy) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// Address is host:port.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Traffic is what passed since the last call of Reset.
type Traffic struct {
	Connections int64
	Turns       int64 // how often the server began to speak after the client did
	In, Out     int64 // octets from and to the server
}

// Traffic returns the counters. They are those of the network: TLS counts.
func (p *Proxy) Traffic() Traffic {
	return Traffic{Connections: p.opened.Load(), Turns: p.turns.Load(), In: p.in.Load(), Out: p.out.Load()}
}

// Reset sets the counters to zero.
func (p *Proxy) Reset() {
	p.in.Store(0)
	p.out.Store(0)
	p.turns.Store(0)
	p.opened.Store(0)
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.to)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		if p.conns == nil {
			p.mu.Unlock()
			client.Close()
			server.Close()
			return
		}
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		p.opened.Add(1)
		p.turns.Add(1) // SYN
		asked := &atomic.Bool{}
		// The client believes to be connected at once; what it says waits for the handshake.
		begin := time.Now().Add(2 * p.Delay)
		p.wg.Go(func() {
			p.carry(server, client, begin, func(n int) { p.out.Add(int64(n)); asked.Store(true) })
		})
		p.wg.Go(func() {
			p.carry(client, server, begin, func(n int) {
				p.in.Add(int64(n))
				if asked.Swap(false) {
					p.turns.Add(1)
				}
			})
			p.forget(client, server)
		})
	}
}

func (p *Proxy) forget(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		c.Close()
		delete(p.conns, c)
	}
}

type parcel struct {
	at     time.Time
	octets []byte
}

// carry moves octets from one connection to the other, each Delay after it came.
func (p *Proxy) carry(to, from net.Conn, begin time.Time, count func(int)) {
	const piece = 32 << 10
	way := make(chan parcel, 2*proxyWindow/piece)
	done := make(chan struct{})
	go func() {
		defer close(done)
		failed := false
		for x := range way {
			if failed {
				continue
			}
			if d := time.Until(x.at); d > 0 {
				time.Sleep(d)
			}
			if _, err := to.Write(x.octets); err != nil {
				failed = true
				from.Close()
			}
		}
		if t, ok := to.(*net.TCPConn); ok {
			t.CloseWrite()
		}
	}()
	var free time.Time // when the line has nothing more to send
	for {
		b := make([]byte, piece)
		n, err := from.Read(b)
		if n > 0 {
			count(n)
			at := time.Now()
			if at.Before(begin) {
				at = begin
			}
			if p.Rate > 0 { // it waits until what is before it has left, and takes its time itself
				if at.Before(free) {
					at = free
				}
				at = at.Add(time.Duration(n) * time.Second / time.Duration(p.Rate))
				free = at
			}
			way <- parcel{at.Add(p.Delay), b[:n]}
		}
		if err != nil {
			if err != io.EOF {
				p.forget(to)
			}
			break
		}
	}
	close(way)
	<-done
}
