package dnstest

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/providers"
)

// Resolver stands for a caching recursive resolver: it asks its authoritative
// servers and keeps what they say, also that there is nothing, for the TTL, by
// the clock that it is given.
type Resolver struct {
	addr    string
	clock   providers.Clock
	servers []string
	udp     *dns.Server
	tcp     *dns.Server

	mu     sync.Mutex
	cache  map[dns.Question]cached
	valid  bool
	broken bool
}

type cached struct {
	answer *dns.Msg
	at     time.Time
	ttl    time.Duration
}

// ListenResolver starts a resolver. It asks the servers in their order; the first that answers with
// authority has the say.
func ListenResolver(addr string, clock providers.Clock, servers ...string) (*Resolver, error) {
	tcp, udp, err := listen(addr)
	if err != nil {
		return nil, err
	}
	r := &Resolver{addr: tcp.Addr().String(), clock: clock, servers: servers, cache: map[dns.Question]cached{}}
	r.udp = serve(&dns.Server{PacketConn: udp, Handler: dns.HandlerFunc(r.handle)})
	r.tcp = serve(&dns.Server{Listener: tcp, Handler: dns.HandlerFunc(r.handle)})
	return r, nil
}

// Addr is the resolver's host:port.
func (r *Resolver) Addr() string { return r.addr }

// Close ends the resolver.
func (r *Resolver) Close() error { return errors.Join(r.udp.Shutdown(), r.tcp.Shutdown()) }

// Validate makes the resolver take every answer for authentic (AD) where it is asked to say so, as
// one that validates does in a signed domain.
func (r *Resolver) Validate(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.valid = on
}

// Break makes the resolver refuse every answer whose signatures it is asked to check, as one that
// validates does where a chain is broken.
func (r *Resolver) Break(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = on
}

// Flush forgets everything.
func (r *Resolver) Flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.cache)
}

// Knows reports whether an answer for name and type, be it that there is none, is kept at this
// moment. Asking so leaves nothing behind.
func (r *Resolver) Knows(name, typ string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.cache[dns.Question{Name: dns.CanonicalName(name), Qtype: dns.StringToType[typ], Qclass: dns.ClassINET}]
	return ok && r.clock.Now().Sub(c.at) < c.ttl
}

func (r *Resolver) handle(w dns.ResponseWriter, m *dns.Msg) {
	q := m.Question[0]
	q.Name = dns.CanonicalName(q.Name)
	reply := new(dns.Msg)
	reply.SetReply(m)
	reply.RecursionAvailable = true
	r.mu.Lock()
	valid, broken := r.valid, r.broken
	r.mu.Unlock()
	if a := r.answer(q, m.RecursionDesired); a != nil && (!broken || m.CheckingDisabled) {
		reply.AuthenticatedData = valid && m.AuthenticatedData
		reply.Rcode, reply.Answer, reply.Ns = a.Rcode, a.Answer, a.Ns
	} else {
		reply.Rcode = dns.RcodeServerFailure
	}
	if strings.HasPrefix(w.LocalAddr().Network(), "udp") {
		size := dns.MinMsgSize
		if opt := m.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
			reply.SetEdns0(opt.UDPSize(), false)
		}
		reply.Truncate(size)
	}
	_ = w.WriteMsg(reply) // a client that is gone needs no answer
}

// answer is from the cache, with counted-down TTLs, or from the servers; nil
// when none of them knows, or when recursion isn't desired and nothing is kept.
func (r *Resolver) answer(q dns.Question, recurse bool) *dns.Msg {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	c, ok := r.cache[q]
	if !ok || now.Sub(c.at) >= c.ttl {
		if !recurse {
			return nil
		}
		a := r.recurse(q, 8)
		if a == nil {
			return nil
		}
		c = cached{a, now, shortest(a)}
		r.cache[q] = c
	}
	age := uint32(now.Sub(c.at) / time.Second)
	a := c.answer.Copy()
	for _, rr := range slices.Concat(a.Answer, a.Ns) {
		rr.Header().Ttl -= min(age, rr.Header().Ttl)
	}
	return a
}

func (r *Resolver) recurse(q dns.Question, aliases int) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(q.Name, q.Qtype)
	m.RecursionDesired = false
	client := &dns.Client{Net: "tcp"}
	for _, server := range r.servers {
		a, _, err := client.Exchange(m, server)
		if err == nil && a.Authoritative && (a.Rcode == dns.RcodeSuccess || a.Rcode == dns.RcodeNameError) {
			a.Extra = nil
			return r.follow(q, a, aliases)
		}
	}
	return nil
}

// follow adds what is at the end of an alias that leads to another zone, over so
// many zones at most.
func (r *Resolver) follow(q dns.Question, a *dns.Msg, aliases int) *dns.Msg {
	if aliases == 0 || len(a.Answer) == 0 || len(a.Ns) > 0 || q.Qtype == dns.TypeCNAME {
		return a
	}
	last, ok := a.Answer[len(a.Answer)-1].(*dns.CNAME)
	if !ok {
		return a
	}
	q.Name = dns.CanonicalName(last.Target)
	if end := r.recurse(q, aliases-1); end != nil {
		a.Answer, a.Ns, a.Rcode = append(a.Answer, end.Answer...), end.Ns, end.Rcode
	}
	return a
}

// shortest is how long an answer is kept: the shortest TTL in it, which for denials is
// that of the SOA or its minimum (RFC 2308 §5).
func shortest(a *dns.Msg) time.Duration {
	ttl := ^uint32(0)
	for _, rr := range slices.Concat(a.Answer, a.Ns) {
		ttl = min(ttl, rr.Header().Ttl)
		if soa, ok := rr.(*dns.SOA); ok {
			ttl = min(ttl, soa.Minttl)
		}
	}
	if ttl == ^uint32(0) {
		return 0
	}
	return time.Duration(ttl) * time.Second
}
