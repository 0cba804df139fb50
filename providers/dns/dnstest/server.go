package dnstest

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
)

// Server is an authoritative name server on one address, over UDP and TCP. Its
// switches can be turned while it runs; it is safe for concurrent use.
type Server struct {
	addr string
	key  *Key
	zone []*Zone
	udp  *dns.Server
	tcp  *dns.Server

	mu       sync.Mutex
	lag      time.Duration
	lies     map[string]plan.RRset
	rcode    int // of queries; 0 = answer them
	lame     bool
	silent   bool
	truncate bool
	oldEDNS  bool
	refuse   bool
	lose     int
	noAXFR   bool
	endless  bool
	inflict  func(m *dns.Msg, tcp bool) Fault
	queries  int
	updates  int
}

// Listen starts a server of the zones. addr is host:port; port 0 takes a free one.
// With a key it is a primary: updates and transfers need that key's signature. With
// none it refuses both.
func Listen(addr string, key *Key, zones ...*Zone) (*Server, error) {
	s := &Server{key: key, zone: zones, lies: map[string]plan.RRset{}}
	var secrets map[string]string
	if key != nil {
		if dns.CanonicalName(key.Name) != key.Name {
			return nil, fmt.Errorf("the key's name %q has to be in lower case, with a final dot", key.Name)
		}
		secrets = map[string]string{key.Name: key.Secret}
	}
	tcp, udp, err := listen(addr)
	if err != nil {
		return nil, err
	}
	s.addr = tcp.Addr().String()
	s.udp = serve(&dns.Server{PacketConn: udp, Handler: dns.HandlerFunc(s.handle), TsigSecret: secrets, MsgAcceptFunc: accept})
	s.tcp = serve(&dns.Server{Listener: cutListener{tcp}, Handler: dns.HandlerFunc(s.handle), TsigSecret: secrets, MsgAcceptFunc: accept})
	return s, nil
}

// listen takes the same port for TCP and UDP.
func listen(addr string) (net.Listener, net.PacketConn, error) {
	for try := 0; ; try++ {
		tcp, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, nil, err
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			return tcp, udp, nil
		}
		if closeErr := tcp.Close(); closeErr != nil || try == 20 {
			return nil, nil, errors.Join(err, closeErr)
		}
	}
}

// serve returns when the server takes questions.
func serve(s *dns.Server) *dns.Server {
	started := make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	go func() { _ = s.ActivateAndServe() }() // ends with Shutdown, whose error Close returns
	<-started
	return s
}

// accept lets updates through, which the library refuses by default.
func accept(h dns.Header) dns.MsgAcceptAction {
	switch {
	case h.Bits&(1<<15) != 0: // QR: an answer
		return dns.MsgIgnore
	case h.Qdcount != 1:
		return dns.MsgReject
	}
	return dns.MsgAccept
}

// Addr is the server's host:port.
func (s *Server) Addr() string { return s.addr }

// Close ends the server.
func (s *Server) Close() error { return errors.Join(s.udp.Shutdown(), s.tcp.Shutdown()) }

func (s *Server) turn(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// Lag makes the server a secondary that shows a change of its zones only d after it was made.
func (s *Server) Lag(d time.Duration) { s.turn(func() { s.lag = d }) }

// Lie makes the server answer lie to questions for its name and type, whatever
// the zone holds. A lie without data denies the set.
func (s *Server) Lie(lie plan.RRset) {
	s.turn(func() { s.lies[dns.CanonicalName(lie.Name)+" "+lie.Type] = lie })
}

// Honest takes back all lies.
func (s *Server) Honest() { s.turn(func() { s.lies = map[string]plan.RRset{} }) }

// Fail makes the server answer queries with a response code such as dns.RcodeServerFailure; 0 ends it.
func (s *Server) Fail(rcode int) { s.turn(func() { s.rcode = rcode }) }

// Lame makes the server answer without authority, as one that knows nothing of
// its zones and refers upwards.
func (s *Server) Lame(on bool) { s.turn(func() { s.lame = on }) }

// Silent makes the server answer nothing at all.
func (s *Server) Silent(on bool) { s.turn(func() { s.silent = on }) }

// Truncate makes the server truncate every answer over UDP.
func (s *Server) Truncate(on bool) { s.turn(func() { s.truncate = on }) }

// NoEDNS makes the server refuse messages with EDNS0 as one from before RFC 2671 does.
func (s *Server) NoEDNS(on bool) { s.turn(func() { s.oldEDNS = on }) }

// RefuseUpdates makes the server refuse updates although they are signed.
func (s *Server) RefuseUpdates(on bool) { s.turn(func() { s.refuse = on }) }

// RefuseTransfers makes the server refuse transfers although they are signed.
func (s *Server) RefuseTransfers(on bool) { s.turn(func() { s.noAXFR = on }) }

// EndlessTransfers makes the server send a transfer's records again and again, and never its end.
func (s *Server) EndlessTransfers(on bool) { s.turn(func() { s.endless = on }) }

// LoseAnswers makes the server carry out the next n updates and close the connection
// instead of answering.
func (s *Server) LoseAnswers(n int) { s.turn(func() { s.lose = n }) }

// Counts are the queries and updates that reached the server so far.
func (s *Server) Counts() (queries, updates int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queries, s.updates
}

// zoneOf is the zone nearest to name.
func (s *Server) zoneOf(name string) *Zone {
	var best *Zone
	for _, z := range s.zone {
		if dns.IsSubDomain(z.origin, name) && (best == nil || dns.IsSubDomain(best.origin, z.origin)) {
			best = z
		}
	}
	return best
}

func (s *Server) handle(w dns.ResponseWriter, m *dns.Msg) {
	s.mu.Lock()
	silent, old := s.silent, s.oldEDNS
	if m.Opcode == dns.OpcodeUpdate {
		s.updates++
	} else {
		s.queries++
	}
	s.mu.Unlock()
	way, done := s.inflicted(w, m)
	if done {
		return
	}
	w = way
	r := new(dns.Msg)
	r.SetReply(m)
	switch {
	case silent:
		return
	case old && m.IsEdns0() != nil:
		r.Rcode = dns.RcodeFormatError
		s.write(w, m, r)
	case m.IsTsig() != nil && (s.key == nil || w.TsigStatus() != nil || dns.CanonicalName(m.IsTsig().Algorithm) != s.key.algorithm()):
		s.badSignature(w, m, r)
	case m.Opcode == dns.OpcodeUpdate:
		s.handleUpdate(w, m, r)
	case m.Opcode != dns.OpcodeQuery:
		r.Rcode = dns.RcodeNotImplemented
		s.write(w, m, r)
	case m.Question[0].Qtype == dns.TypeAXFR:
		s.handleTransfer(w, m, r)
	default:
		s.answer(r, m.Question[0])
		s.write(w, m, r)
	}
}

func (s *Server) handleUpdate(w dns.ResponseWriter, m, r *dns.Msg) {
	s.mu.Lock()
	refuse, failing := s.refuse, s.rcode
	s.mu.Unlock()
	z := s.zoneOf(dns.CanonicalName(m.Question[0].Name))
	switch {
	case s.key == nil || m.IsTsig() == nil || refuse:
		r.Rcode = dns.RcodeRefused
	case failing != 0:
		r.Rcode = failing
	case z == nil || z.origin != dns.CanonicalName(m.Question[0].Name):
		r.Rcode = dns.RcodeNotAuth
	default:
		r.Rcode = z.update(m)
		if s.lost() {
			_ = w.Close() // losing the answer is the point
			return
		}
	}
	s.write(w, m, r)
}

func (s *Server) lost() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lose == 0 {
		return false
	}
	s.lose--
	return true
}

func (s *Server) handleTransfer(w dns.ResponseWriter, m, r *dns.Msg) {
	s.mu.Lock()
	refuse, lag, endless := s.noAXFR, s.lag, s.endless
	s.mu.Unlock()
	z := s.zoneOf(dns.CanonicalName(m.Question[0].Name))
	if refuse || s.key == nil || m.IsTsig() == nil || z == nil || z.origin != dns.CanonicalName(m.Question[0].Name) {
		r.Rcode = dns.RcodeRefused
		s.write(w, m, r)
		return
	}
	all := z.at(lag)
	soa := all.soa(z.origin)
	rrs := []dns.RR{soa}
	for _, types := range all {
		for typ, list := range types {
			if typ != dns.TypeSOA {
				rrs = append(rrs, list...)
			}
		}
	}
	if !endless {
		rrs = append(rrs, soa)
	}
	parts, ended := make(chan *dns.Envelope), make(chan struct{})
	go func() {
		defer close(parts)
		const step = 20 // several messages, as large zones need
		for i := 0; i < len(rrs); i += step {
			parts <- &dns.Envelope{RR: rrs[i:min(i+step, len(rrs))]}
		}
		for endless {
			select {
			case parts <- &dns.Envelope{RR: rrs[1:min(100, len(rrs))]}:
			case <-ended:
				return
			}
		}
	}()
	err := new(dns.Transfer).Out(w, m, parts)
	close(ended)
	if err != nil {
		_ = w.Close() // the client sees a transfer that broke off
		for range parts {
			continue
		}
	}
}

// badSignature is RFC 8945 §5.2: NOTAUTH with the reason in the TSIG record,
// unsigned unless the clocks alone are apart.
func (s *Server) badSignature(w dns.ResponseWriter, m, r *dns.Msg) {
	r.Rcode = dns.RcodeNotAuth
	t := dns.Copy(m.IsTsig()).(*dns.TSIG)
	t.MAC, t.MACSize, t.OtherData, t.OtherLen, t.OrigId = "", 0, "", 0, m.Id
	switch status := w.TsigStatus(); {
	case errors.Is(status, dns.ErrTime):
		t.Error = dns.RcodeBadTime
	case errors.Is(status, dns.ErrSig):
		t.Error = dns.RcodeBadSig
	default:
		t.Error = dns.RcodeBadKey
	}
	r.Extra = append(r.Extra, t)
	if raw, err := r.Pack(); err == nil {
		_, _ = w.Write(raw) // a client that is gone needs no answer
	}
}

func (s *Server) write(w dns.ResponseWriter, m, r *dns.Msg) {
	s.mu.Lock()
	truncate, old := s.truncate, s.oldEDNS
	s.mu.Unlock()
	if !overTCP(w) {
		size := dns.MinMsgSize
		if opt := m.IsEdns0(); opt != nil && !old {
			size = int(opt.UDPSize())
			r.SetEdns0(opt.UDPSize(), false)
		}
		if truncate {
			r.Answer, r.Ns, r.Truncated = nil, nil, true
		}
		r.Truncate(size)
	}
	if t := m.IsTsig(); t != nil && s.key != nil {
		r.SetTsig(s.key.Name, s.key.algorithm(), 300, int64(t.TimeSigned))
	}
	_ = w.WriteMsg(r) // a client that is gone needs no answer
}
