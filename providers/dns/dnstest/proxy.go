package dnstest

import (
	"encoding/binary"
	"io"
	"net"
	"sync"

	"github.com/miekg/dns"
)

// Proxy stands before a server's TCP side and meddles with updates, so that the
// faults of the way there can be had with a real server too. Messages pass octet
// by octet, signatures stay right. It is safe for concurrent use.
type Proxy struct {
	ln     net.Listener
	server string

	mu      sync.Mutex
	before  func()
	instead func()
	alter   func(request, answer []byte) []byte
	lose    int
	drop    int
	conns   map[net.Conn]bool
	wg      sync.WaitGroup
}

// ListenProxy starts a proxy before server on a free loopback port.
func ListenProxy(server string) (*Proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{ln: ln, server: server, conns: map[net.Conn]bool{}}
	p.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return // closed
			}
			p.wg.Go(func() { p.serve(conn) })
		}
	})
	return p, nil
}

// Addr is the proxy's host:port.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Close ends the proxy and its connections.
func (p *Proxy) Close() error {
	err := p.ln.Close()
	p.mu.Lock()
	for conn := range p.conns {
		_ = conn.Close() // to end its goroutine
	}
	p.mu.Unlock()
	p.wg.Wait()
	return err
}

// BeforeUpdate runs f once, when the next update is on its way.
func (p *Proxy) BeforeUpdate(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = f
}

// InsteadOfUpdate runs f once in the place of the next update, which is not passed on.
func (p *Proxy) InsteadOfUpdate(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.instead = f
}

// LoseAnswers closes the connection instead of passing on the answers to the next n
// updates, which the server carries out.
func (p *Proxy) LoseAnswers(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = n
}

// DropUpdates closes the connection instead of passing on the next n updates: to the
// sender it looks like a lost answer.
func (p *Proxy) DropUpdates(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop = n
}

// Alter has f change the first answer to each message, and all answers to updates; nil ends it. f gets both as they are on the
// wire, without their lengths, and returns what is passed on; nil closes the connection instead.
func (p *Proxy) Alter(f func(request, answer []byte) []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.alter = f
}

func (p *Proxy) hold(conn net.Conn) (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[conn] = true
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, conn)
		_ = conn.Close() // both ends are given up together
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer p.hold(client)()
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer p.hold(server)()
	for {
		m, err := message(client)
		if err != nil {
			return
		}
		update := len(m) > 4 && int(m[4]>>3)&0xF == dns.OpcodeUpdate
		if update {
			if p.spend(&p.drop) {
				return
			}
			p.mu.Lock()
			before, instead := p.before, p.instead
			p.before, p.instead = nil, nil
			p.mu.Unlock()
			if instead != nil {
				instead()
				return
			}
			if before != nil {
				before()
			}
		}
		if _, err := server.Write(m); err != nil {
			return
		}
		p.mu.Lock()
		alter := p.alter
		p.mu.Unlock()
		if update || alter != nil {
			r, err := message(server)
			if err != nil || update && p.spend(&p.lose) {
				return
			}
			if alter != nil {
				body := alter(m[2:], r[2:])
				if body == nil {
					return
				}
				r = append(binary.BigEndian.AppendUint16(nil, uint16(len(body))), body...)
			}
			if _, err := client.Write(r); err != nil {
				return
			}
		}
		if !update {
			// A transfer has many messages: from here on octets are octets.
			p.pass(client, server)
			return
		}
	}
}

// pass carries answers back until either end closes.
func (p *Proxy) pass(client, server net.Conn) {
	p.wg.Go(func() {
		_, _ = io.Copy(io.Discard, client) // ends when the client hangs up
		_ = server.Close()
	})
	_, _ = io.Copy(client, server) // either end may hang up
}

func (p *Proxy) spend(n *int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if *n == 0 {
		return false
	}
	*n--
	return true
}

// message reads one message with its length (RFC 1035 §4.2.2).
func message(conn net.Conn) ([]byte, error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(conn, head); err != nil {
		return nil, err
	}
	m := make([]byte, 2+int(binary.BigEndian.Uint16(head)))
	copy(m, head)
	_, err := io.ReadFull(conn, m[2:])
	return m, err
}
