package imaptest

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
)

// Cutter is a proxy before an IMAP server, without TLS, that knows where answers begin and end. It
// counts the tagged ones over all its connections and cuts the connection at one of them. It is safe for concurrent use.
type Cutter struct {
	listener net.Listener
	to       string
	wg       sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	verbs  []string // of the commands that were answered, in the order of their answers
	at     int      // number of the answer at which to cut, from 1 on; 0 = never
	passes bool     // that answer still reaches the client
	closed bool
	cuts   int
}

// NewCutter listens on a random port of the loopback interface. It ends with the test.
func NewCutter(tb TB, to string) *Cutter {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("start a proxy: %v", err)
	}
	c := &Cutter{listener: l, to: to, conns: map[net.Conn]bool{}}
	c.wg.Go(c.accept)
	tb.Cleanup(func() {
		l.Close()
		c.mu.Lock()
		c.closed = true
		for conn := range c.conns {
			conn.Close()
		}
		c.mu.Unlock()
		c.wg.Wait()
	})
	return c
}

// Port is where it listens.
func (c *Cutter) Port() int { return c.listener.Addr().(*net.TCPAddr).Port }

// CutAt lets the connection end at the nth tagged answer from now on: before it reaches the client, which then doesn't
// know what the server has done, or right after it. It begins to count anew.
func (c *Cutter) CutAt(n int, after bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.passes, c.verbs = n, after, nil
}

// Answered returns the commands that were answered since CutAt, in the order of their answers.
func (c *Cutter) Answered() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.verbs...)
}

// Cuts is how often a connection was cut.
func (c *Cutter) Cuts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cuts
}

func (c *Cutter) accept() {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", c.to)
		if err != nil {
			client.Close()
			continue
		}
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			client.Close()
			server.Close()
			return
		}
		c.conns[client], c.conns[server] = true, true
		c.mu.Unlock()
		x := &cutterConn{c: c, client: client, server: server, verbs: map[string]string{}}
		c.wg.Go(func() { carryIMAP(server, client, x.asked); x.end() })
		c.wg.Go(func() { carryIMAP(client, server, x.answered); x.end() })
	}
}

type cutterConn struct {
	c              *Cutter
	client, server net.Conn
	mu             sync.Mutex
	verbs          map[string]string // of commands on their way, by tag
}

func (x *cutterConn) end() {
	x.client.Close()
	x.server.Close()
	x.c.mu.Lock()
	delete(x.c.conns, x.client)
	delete(x.c.conns, x.server)
	x.c.mu.Unlock()
}

// asked takes note of a command.
func (x *cutterConn) asked(line []byte) (pass, cut bool) {
	f := strings.Fields(string(line))
	if len(f) > 1 {
		verb := strings.ToUpper(f[1])
		if verb == "UID" && len(f) > 2 {
			verb += " " + strings.ToUpper(f[2])
		}
		x.mu.Lock()
		x.verbs[f[0]] = verb
		x.mu.Unlock()
	}
	return true, false
}

// answered decides what becomes of a line from the server.
func (x *cutterConn) answered(line []byte) (pass, cut bool) {
	tag, _, _ := bytes.Cut(line, []byte(" "))
	if len(tag) == 0 || tag[0] == '*' || tag[0] == '+' {
		return true, false
	}
	x.mu.Lock()
	verb, known := x.verbs[string(tag)]
	delete(x.verbs, string(tag))
	x.mu.Unlock()
	if !known {
		return true, false
	}
	c := x.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.verbs = append(c.verbs, verb)
	if c.at == 0 || len(c.verbs) != c.at {
		return true, false
	}
	c.cuts++
	c.at = 0
	if t, ok := x.server.(*net.TCPConn); ok {
		t.SetLinger(0) // a reset
	}
	return c.passes, true
}

// carryIMAP passes lines and literals on. Each begin of a response or command is shown to look, which says whether it
// is passed on and whether the connection ends there.
func carryIMAP(to io.Writer, from io.Reader, look func(line []byte) (pass, cut bool)) {
	r := bufio.NewReaderSize(from, 64<<10)
	begin := true
	for {
		line, err := r.ReadSlice('\n')
		whole := err == nil
		if err != nil && err != bufio.ErrBufferFull {
			to.Write(line)
			return
		}
		if begin {
			pass, cut := look(line)
			if pass {
				if _, err := to.Write(line); err != nil {
					return
				}
			}
			if cut {
				return
			}
		} else if _, err := to.Write(line); err != nil {
			return
		}
		n := int64(-1)
		if whole {
			if size, _, is := literalAt(strings.TrimRight(string(line), "\r\n")); is {
				n = size
			}
		}
		begin = whole && n < 0
		if n > 0 {
			if _, err := io.CopyN(to, r, n); err != nil {
				return
			}
		}
	}
}
