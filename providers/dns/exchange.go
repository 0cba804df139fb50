package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/providers"
)

// payload is the EDNS0 buffer size that no path fragments (RFC 9715 §3.2, DNS
// Flag Day 2020).
const payload = 1232

// tries is how often a query is sent over UDP before TCP is tried.
const tries = 3

// exchange sends one message and reads its answer. sent tells whether the
// server may have got the message although err is set. The answer can be there
// beside an error, when its signature is wrong.
func exchange(ctx context.Context, network, server string, m *dns.Msg, key *tsigKey, timeout time.Duration) (r *dns.Msg, sent bool, err error) {
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	fail := func(sent bool, err error) (*dns.Msg, bool, error) {
		if caller.Err() != nil {
			return nil, sent, context.Cause(caller)
		}
		return nil, sent, plainly(err)
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, server)
	if err != nil {
		return fail(false, err)
	}
	defer func() { _ = conn.Close() }() // nothing is buffered, so nothing can be lost
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	co := &dns.Conn{Conn: conn, UDPSize: payload}
	if key != nil {
		co.TsigSecret = key.secrets()
	}
	if err := co.WriteMsg(m); err != nil {
		return fail(true, err)
	}
	for {
		r, err = co.ReadMsg()
		switch {
		case r != nil && (r.Id != m.Id || !r.Response):
			if network == "udp" {
				continue // an answer to an earlier try, or not for us
			}
			return fail(true, errOther)
		case err != nil && (r == nil || r.IsTsig() == nil):
			return fail(true, err)
		case r.Truncated && network == "tcp":
			return fail(true, errTruncated) // an answer with nothing in it is not "there is nothing"
		}
		return r, true, err
	}
}

// plainly takes the addresses off a network error: the caller names the server.
func plainly(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		return errTimeout
	}
	if call, ok := errors.AsType[syscall.Errno](err); ok {
		return call
	}
	return err
}

var errTruncated = errors.New("the answer is truncated over TCP, too")

var errTimeout = errors.New("no answer in time")

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// ask sends a query over UDP with EDNS0, several times, and goes over to TCP when the
// answer is truncated (RFC 7766 §5) or none comes. Its errors are
// Unreachable, or the context's.
func ask(ctx context.Context, server, name string, typ uint16, recurse bool, timeout time.Duration) (*dns.Msg, error) {
	m := new(dns.Msg)
	m.SetQuestion(name, typ)
	m.RecursionDesired = recurse
	m.SetEdns0(payload, false)

	var last error
udp:
	for range tries {
		r, _, err := exchange(ctx, "udp", server, m, nil, timeout)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
			last = err
			break udp // trying again changes nothing
		case err != nil:
			last = err
		case noEDNS(m, r):
			m.Extra = nil
			last = errors.New(rcode(r))
		case !answers(r, name, typ):
			last = errOther
		case r.Truncated:
			last = errors.New("the answer is truncated over UDP and does not come over TCP")
			break udp
		default:
			return r, nil
		}
		m.Id = dns.Id()
	}
	r, _, err := exchange(ctx, "tcp", server, m, nil, 2*timeout)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err == nil && answers(r, name, typ):
		return r, nil
	}
	return nil, &providers.Error{
		Op: "ask name server", Subject: server, Reason: providers.Unreachable, Err: last,
		Remedy: "see whether the server runs and whether port 53 is open from here, over UDP and TCP",
	}
}

// noEDNS reports whether r refuses m because of its OPT record: a server from
// before EDNS0 (RFC 6891 §7), or of another version of it.
func noEDNS(m, r *dns.Msg) bool {
	if m.IsEdns0() == nil {
		return false
	}
	return r.Rcode == dns.RcodeBadVers ||
		r.IsEdns0() == nil && (r.Rcode == dns.RcodeFormatError || r.Rcode == dns.RcodeNotImplemented)
}

var errOther = errors.New("the answer belongs to another question")

// answers reports whether r answers that question. Refusals may come
// without one.
func answers(r *dns.Msg, name string, typ uint16) bool {
	if len(r.Question) == 0 {
		return r.Rcode != dns.RcodeSuccess
	}
	q := r.Question[0]
	return q.Qtype == typ && strings.EqualFold(q.Name, name)
}

// rcode is the response code in the words of the RFCs.
func rcode(r *dns.Msg) string {
	if s, ok := dns.RcodeToString[r.Rcode]; ok {
		return s
	}
	return fmt.Sprintf("RCODE%d", r.Rcode)
}
