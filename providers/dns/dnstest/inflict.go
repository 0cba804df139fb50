package dnstest

import (
	"net"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// Fault is what a server does with one message in place of answering it as it should. Signatures are right all the same:
// these are the faults of the zone's own servers and of the way there, not of a forger.
type Fault string

// The faults. Of the first ones nothing is carried out; of the others an update is.
const (
	Unharmed Fault = ""

	Silence        Fault = "keeps silent"
	Hangup         Fault = "hangs up"
	ServerFailure  Fault = "answers SERVFAIL"
	Refusal        Fault = "answers REFUSED"
	NotAuth        Fault = "answers NOTAUTH"
	NotImplemented Fault = "answers NOTIMP"
	FormatError    Fault = "answers FORMERR"

	LostAnswer    Fault = "loses its answer"
	CutAnswer     Fault = "breaks off in its answer"
	FailedAfter   Fault = "answers SERVFAIL afterwards"
	OtherID       Fault = "answers with another id"
	OtherQuestion Fault = "answers another question"
	NoResponse    Fault = "answers with a query"
	Garbage       Fault = "answers with garbage"
	FromCache     Fault = "answers without authority"
	Referral      Fault = "refers upwards"
	Truncated     Fault = "truncates"
	Doubled       Fault = "answers twice"
	OtherCase     Fault = "answers in other letters"
)

// Faults are all of them.
var Faults = []Fault{
	Silence, Hangup, ServerFailure, Refusal, NotAuth, NotImplemented, FormatError,
	LostAnswer, CutAnswer, FailedAfter, OtherID, OtherQuestion, NoResponse, Garbage, FromCache, Referral, Truncated, Doubled, OtherCase,
}

// Inflict has f say what becomes of each message before it is carried out; nil ends it. tcp tells how it came. f may be
// called by several goroutines at once.
func (s *Server) Inflict(f func(m *dns.Msg, tcp bool) Fault) { s.turn(func() { s.inflict = f }) }

// inflicted carries out what can be had without answering, and else returns the way in which the answer goes. done: there is nothing
// more to do.
func (s *Server) inflicted(w dns.ResponseWriter, m *dns.Msg) (way dns.ResponseWriter, done bool) {
	s.mu.Lock()
	f := s.inflict
	s.mu.Unlock()
	if f == nil {
		return w, false
	}
	r := new(dns.Msg)
	switch fault := f(m, overTCP(w)); fault {
	case Unharmed:
		return w, false
	case Silence:
		return nil, true
	case Hangup:
		_ = w.Close() // the point of it
		return nil, true
	case ServerFailure:
		r.SetRcode(m, dns.RcodeServerFailure)
	case Refusal:
		r.SetRcode(m, dns.RcodeRefused)
	case NotAuth:
		r.SetRcode(m, dns.RcodeNotAuth)
	case NotImplemented:
		r.SetRcode(m, dns.RcodeNotImplemented)
	case FormatError:
		r.SetRcode(m, dns.RcodeFormatError)
	default:
		return &faulty{ResponseWriter: w, fault: fault}, false
	}
	s.write(w, m, r)
	return nil, true
}

func overTCP(w dns.ResponseWriter) bool { return strings.HasPrefix(w.LocalAddr().Network(), "tcp") }

// faulty spoils the first answer that goes by it.
type faulty struct {
	dns.ResponseWriter
	fault Fault
	spent bool
}

// WriteMsg implements dns.ResponseWriter.
func (f *faulty) WriteMsg(r *dns.Msg) error {
	if f.spent {
		return f.ResponseWriter.WriteMsg(r)
	}
	f.spent = true
	switch f.fault {
	case LostAnswer:
		return f.Close()
	case CutAnswer:
		if !overTCP(f) {
			return nil // half a datagram doesn't arrive
		}
		cuts.arm(f.RemoteAddr())
	case FailedAfter:
		r.Rcode, r.Answer, r.Ns = dns.RcodeServerFailure, nil, nil
	case OtherID:
		r.Id ^= 0x5555
	case OtherQuestion:
		if len(r.Question) > 0 {
			q := r.Question[0]
			q.Name = "another." + q.Name
			r.Question = []dns.Question{q}
		}
	case OtherCase:
		if len(r.Question) > 0 {
			q := r.Question[0]
			q.Name = strings.ToUpper(q.Name)
			r.Question = []dns.Question{q}
		}
	case NoResponse:
		r.Response = false
	case Garbage:
		_, err := f.Write([]byte(strings.Repeat("\xa5", 40)))
		return err
	case FromCache:
		r.Authoritative = false
	case Referral:
		r.Authoritative, r.Answer = false, nil
		r.Ns = []dns.RR{&dns.NS{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 518400}, Ns: "a.root-servers.net."}}
	case Truncated:
		r.Truncated, r.Answer, r.Ns = true, nil, nil
	case Doubled:
		if err := f.ResponseWriter.WriteMsg(r.Copy()); err != nil {
			return err
		}
	}
	return f.ResponseWriter.WriteMsg(r)
}

// Write implements dns.ResponseWriter.
func (f *faulty) Write(p []byte) (int, error) { return f.ResponseWriter.Write(p) }

// cuts are the connections whose next write breaks off, by the client's address: the library hands out no connection.
var cuts = cutter{armed: map[string]bool{}}

type cutter struct {
	mu    sync.Mutex
	armed map[string]bool
}

func (c *cutter) arm(client net.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed[client.String()] = true
}

func (c *cutter) take(client net.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	armed := c.armed[client.String()]
	delete(c.armed, client.String())
	return armed
}

// cutListener's connections can be cut in the middle of a write.
type cutListener struct{ net.Listener }

func (l cutListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return cutConn{conn}, nil
}

type cutConn struct{ net.Conn }

func (c cutConn) Write(p []byte) (int, error) {
	if !cuts.take(c.RemoteAddr()) {
		return c.Conn.Write(p)
	}
	n, err := c.Conn.Write(p[:len(p)/2])
	if err == nil {
		err = net.ErrClosed
	}
	_ = c.Conn.Close() // the point of it
	return n, err
}
