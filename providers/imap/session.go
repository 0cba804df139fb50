package imap

import (
	"bufio"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/wire"
)

// Session is one connection that is logged in. It is not safe for concurrent
// use. Every call honours its context: when that ends, the connection is closed,
// because a command half sent can't be taken back.
//
// Errors: a *providers.Error is the server's refusal of that call, and the
// session goes on. A *LostError means that the connection is gone; every later
// call returns it again.
type Session struct {
	link    *link
	conn    net.Conn // link, or TLS over it
	br      *bufio.Reader
	r       *wire.Reader
	w       *bufio.Writer
	deflate *flate.Writer // behind w, nil = nothing is compressed
	release func()        // lets the client that opened the session end
	host    string        // host:port, for messages
	user    string
	spool   string
	room    []byte // for the body of a small message, used again and again

	caps      map[string]bool
	delimiter string   // "" = flat names
	prefix    string   // of the personal namespace
	foreign   []string // prefixes of other users' and shared namespaces
	serverID  string
	listAhead bool
	distance  time.Duration // the shortest wait for an answer while the session was opened
	qresync   bool          // the server tells what has vanished (RFC 7162)
	ahead     *listing      // whose questions are on their way, see ConnectListing
	greeting  string
	kind      string    // plan.Host.Kind
	renew     time.Time // when the token that logged in should be replaced, zero: never
	clock     providers.Clock
	refusals  int // NO and BAD that the server has answered
	traits    Traits

	tags     int
	pending  []*pending
	news     int                       // responses since the last tagged one that are not counted as asked for
	untagged func(wire.Response) error // of the call that is under way
	goAhead  bool                      // "+" has come
	exists   uint32                    // messages in the selected folder
	selected string                    // raw name, "" = none that calls may use
	opened   bool                      // the server may have a folder open, which selected need not say
	readOnly bool
	lost     error
}

// pending is a command that was sent and not yet answered.
type pending struct {
	tag, op, subject string
	status           wire.Status
	done             bool
	delivered        bool // a whole literal was written: the server may act on it
	octets           int  // of its text, for windows
}

// refused returns the server's refusal, nil after OK.
func (p *pending) refused() error {
	if p.status.Kind == "OK" {
		return nil
	}
	return refusal(p.op, p.subject, p.status)
}

// LostError says that the connection is gone, and what the server said before.
// When those words have a reason of their own (throttled, token expired),
// errors.As finds it as *providers.Error.
type LostError struct {
	Host string // host:port
	User string
	Err  error
	Bye  *providers.Error // nil: the server said nothing
}

// Error is one line.
func (e *LostError) Error() string {
	s := fmt.Sprintf("connection of %s to %s lost: %v", e.User, e.Host, e.Err)
	if e.Bye != nil {
		s += fmt.Sprintf("; the server said %q", e.Bye.Server)
	}
	return s
}

// Unwrap returns the cause and the server's last words.
func (e *LostError) Unwrap() []error {
	if e.Bye == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.Bye}
}

// errBye is the cause when the server took its leave.
var errBye = errors.New("the server ended the session")

func newSession(d *Dialer, l *link, conn net.Conn, br *bufio.Reader, user string) *Session {
	return &Session{
		link: l, conn: conn, br: br, r: wire.NewReader(br, wire.Limits{}), w: bufio.NewWriterSize(conn, buffered),
		host: d.Address(), user: user, kind: d.Host.Kind, clock: d.Clock, spool: d.Spool, prefix: d.Host.Namespace, listAhead: d.listAhead, release: func() {},
	}
}

// begin learns what the server can do. caps are those that came with the
// login's answer, "" when it named none. Answers to commands that the client
// which logged in has thought of by itself were waited for by then.
func (s *Session) begin(caps string) error {
	s.caps = parseCapabilities(caps)
	if caps == "" {
		if err := s.simple(wire.NewCommand("CAPABILITY"), "ask for capabilities", ""); err != nil {
			return err
		}
		if len(s.caps) == 0 {
			// Taken for "none", this would let folders be named without the prefix of their namespace.
			return s.fail(errors.New("the server did not say what it can do"))
		}
	}
	if err := s.namespaces(); err != nil {
		return err
	}
	s.distance = time.Duration(s.link.nearest.Load()) // later answers may have been on their way already
	s.traits = traitsOf(s.kind, s.greeting, s.serverID, s.caps)
	return nil
}

// Has reports whether the server advertised a capability, in any case of letters.
func (s *Session) Has(capability string) bool { return s.caps[strings.ToUpper(capability)] }

// capability returns the value of one like "APPENDLIMIT=1000".
func (s *Session) capability(name string) (string, bool) {
	for c := range s.caps {
		if v, ok := strings.CutPrefix(c, name+"="); ok {
			return v, true
		}
	}
	return "", false
}

// AppendLimit is the largest message in octets that the server takes (RFC
// 7889), 0 where it doesn't say.
func (s *Session) AppendLimit() int64 {
	v, _ := s.capability("APPENDLIMIT")
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// ServerID is the server's answer to ID (RFC 2971): "name Dovecot version 2.3", "" when it has none.
func (s *Session) ServerID() string { return s.serverID }

// Traffic returns how often an answer was waited for and the octets that passed the
// network, TLS included. It may be called at any time by anybody.
func (s *Session) Traffic() (turns int, in, out int64) {
	return int(s.link.turns.Load()), s.link.in.Load(), s.link.out.Load()
}

// Err returns why the session can't be used any more, nil while it can.
func (s *Session) Err() error { return s.lost }

// Close logs out as far as that costs no waiting, and closes the connection.
// Commands that are not answered yet are in doubt. It may be called more than once.
func (s *Session) Close() error {
	if s.lost == nil {
		s.lost = &LostError{Host: s.host, User: s.user, Err: net.ErrClosed}
		if len(s.pending) == 0 {
			s.tags++
			fmt.Fprintf(s.w, "A%d LOGOUT\r\n", s.tags)
			s.push()
		}
	}
	s.link.abort(net.ErrClosed)
	s.release()
	s.release = func() {}
	return nil
}

// enter begins a call: it fails when the connection is gone and ties it to ctx.
func (s *Session) enter(ctx context.Context) (leave func(), err error) {
	if s.lost != nil {
		return nil, s.lost
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	stop := context.AfterFunc(ctx, func() { s.link.abort(context.Cause(ctx)) })
	return func() {
		stop()
		s.untagged = nil
	}, nil
}

// fail ends the session for good.
func (s *Session) fail(cause error) error {
	if s.lost == nil {
		lost := &LostError{Host: s.host, User: s.user, Err: s.link.why(cause)}
		lost.Bye, _ = errors.AsType[*providers.Error](cause)
		if lost.Bye != nil {
			lost.Err = errBye
		}
		s.lost = lost
		s.link.abort(cause)
	}
	return s.lost
}

// send writes a command. A literal waits for the server's go-ahead where it has to
// (RFC 7888); when the server refuses the command instead, the rest of it is not sent
// and the pending command is done. The error is a *LostError, or the command's own
// fault, and then nothing was sent.
func (s *Session) send(c *wire.Command, op, subject string) (*pending, error) {
	parts, err := c.Parts()
	if err != nil {
		return nil, &providers.Error{Op: op, Subject: subject, Reason: providers.Refused, Err: err}
	}
	s.tags++
	p := &pending{tag: "A" + strconv.Itoa(s.tags), op: op, subject: subject}
	s.pending = append(s.pending, p)
	s.w.WriteString(p.tag)
	s.w.WriteByte(' ')
	for _, part := range parts {
		p.octets += len(part.Text)
		s.w.Write(part.Text)
		if part.Body == nil {
			break
		}
		if part.Binary {
			s.w.WriteByte('~')
		}
		if s.immediate(part.Size) {
			fmt.Fprintf(s.w, "{%d+}\r\n", part.Size)
		} else {
			fmt.Fprintf(s.w, "{%d}\r\n", part.Size)
			if err := s.awaitGoAhead(p); err != nil || p.done {
				return p, err
			}
		}
		if err := s.copyLiteral(p, part); err != nil {
			return p, err
		}
	}
	if _, err := s.w.WriteString("\r\n"); err != nil {
		return p, s.writeFailed(err)
	}
	return p, nil
}

// synchroniseAbove is the size from which a literal waits for the server's
// go-ahead although it needn't: a refusal then comes before the octets are sent.
const synchroniseAbove = 1 << 20

// immediate reports whether a literal may follow without a go-ahead
// (LITERAL+: any, LITERAL-: up to 4096 octets; RFC 7888 §4 and §5).
func (s *Session) immediate(size int64) bool {
	return size <= 4096 && (s.caps["LITERAL-"] || s.caps["IMAP4REV2"]) ||
		size <= synchroniseAbove && s.caps["LITERAL+"]
}

func (s *Session) copyLiteral(p *pending, part wire.Part) error {
	n, err := io.CopyN(s.w, part.Body, part.Size)
	if err != nil {
		if werr := s.push(); werr != nil {
			return s.writeFailed(werr)
		}
		// The server waits for octets that we don't have; nothing but the end of the
		// connection tells it not to.
		return s.fail(fmt.Errorf("the message ended after %d of %d octets: %w", n, part.Size, err))
	}
	p.delivered = true
	var one [1]byte
	if n, _ := part.Body.Read(one[:]); n > 0 {
		return s.fail(fmt.Errorf("the message is longer than the %d octets announced", part.Size))
	}
	return nil
}

// writeFailed reads what the server has still said before it hung up: answers to
// commands that it did carry out, and its reason.
func (s *Session) writeFailed(err error) error {
	for s.step() == nil {
	}
	return s.fail(err)
}

func (s *Session) flush() error {
	if s.lost != nil {
		return s.lost
	}
	if err := s.push(); err != nil {
		return s.writeFailed(err)
	}
	return nil
}

// asked says that the response was asked for: whoever says so bounds how many of them there can be.
func (s *Session) asked() { s.news-- }

// maxNews bounds what a server may say between two answers besides the data that was asked
// for. A server that works on something long says that it is still there each few seconds.
const maxNews = 100_000

// step reads one response and hands it to whom it belongs.
func (s *Session) step() error {
	if s.lost != nil {
		return s.lost
	}
	resp, err := s.r.Next()
	if err != nil {
		return s.fail(err)
	}
	if s.news++; s.news > maxNews {
		return s.fail(wire.ErrTooLong)
	}
	switch resp.Tag {
	case "+":
		s.goAhead = true
		return nil
	case "*":
		return s.data(resp)
	}
	s.news = 0
	for i, p := range s.pending {
		if p.tag == resp.Tag && resp.IsStatus() {
			p.status, p.done = resp.Status, true
			if resp.Status.Kind != "OK" {
				s.refusals++
			}
			s.pending = append(s.pending[:i], s.pending[i+1:]...)
			s.code(resp.Status)
			return nil
		}
	}
	return s.fail(fmt.Errorf("the server answered a command that was not sent: %.60q", resp.Tag+" "+resp.Type))
}

// data handles what came untagged. Malformed data fails the call it was for,
// not the connection.
func (s *Session) data(resp wire.Response) error {
	switch resp.Type {
	case "BYE":
		e := refusal("stay logged in", s.user+" at "+s.host, resp.Status)
		if e.Reason == providers.Refused {
			// Words that nobody knows: that this session ends says nothing against the next one.
			e.Reason, e.Remedy = providers.Unreachable, ""
		}
		return s.fail(e)
	case "EXISTS":
		s.exists = resp.Number
	case "EXPUNGE":
		if s.exists > 0 {
			s.exists--
			s.news--
		}
	case "CAPABILITY":
		if list, err := s.words(); err == nil {
			s.caps = parseCapabilities(list)
		}
		return nil
	}
	s.code(resp.Status)
	if s.untagged == nil {
		return nil
	}
	err := s.untagged(resp)
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*wire.SyntaxError](err); ok {
		return nil // the handler has taken note
	}
	return s.fail(err)
}

// words reads the rest of a response as atoms.
func (s *Session) words() (string, error) {
	var words []string
	for {
		v, err := s.r.Value()
		if _, ok := errors.AsType[*wire.SyntaxError](err); ok {
			return strings.Join(words, " "), nil
		}
		if err != nil {
			return "", err
		}
		words = append(words, v.Text)
	}
}

func (s *Session) code(st wire.Status) {
	if st.Code == "CAPABILITY" {
		s.caps = parseCapabilities(st.Args)
	}
}

// await reads until p is answered.
func (s *Session) await(p *pending) error {
	if err := s.flush(); err != nil && !p.done {
		return err
	}
	for !p.done {
		if err := s.step(); err != nil && !p.done {
			return err
		}
	}
	return nil
}

// awaitGoAhead reads until the server wants p's literal or has refused p.
func (s *Session) awaitGoAhead(p *pending) error {
	if err := s.flush(); err != nil {
		return err
	}
	for s.goAhead = false; !s.goAhead && !p.done; {
		if err := s.step(); err != nil {
			return err
		}
	}
	if p.done && p.status.Kind == "OK" {
		p.done = false // taken at its word, a message would be there of which no octet was sent
		return s.fail(errors.New("the server answered OK to a command before it had all of it"))
	}
	return nil
}

// simple sends a command and waits for its answer.
func (s *Session) simple(c *wire.Command, op, subject string) error {
	p, err := s.send(c, op, subject)
	if err != nil {
		return err
	}
	if err := s.await(p); err != nil {
		return err
	}
	return p.refused()
}

// window is how many octets of commands may be on their way at once. A
// server that can't write, because we don't read, must still have room to read them.
const window = 16 << 10

// pipeline sends the commands that next returns, until it returns nil, several at once,
// and calls answered for each in order.
func (s *Session) pipeline(next func() *wire.Command, op, subject string, answered func(i int, p *pending) error) error {
	var queue []*pending
	octets, first := 0, 0
	var failed error
	take := func() error {
		p := queue[0]
		if err := s.await(p); err != nil {
			return err
		}
		queue, octets = queue[1:], octets-p.octets
		if failed == nil {
			failed = answered(first, p)
		}
		first++
		return nil
	}
	for failed == nil {
		c := next()
		if c == nil {
			break
		}
		for len(queue) > 0 && octets >= window {
			if err := take(); err != nil {
				return err
			}
		}
		if failed != nil {
			break
		}
		p, err := s.send(c, op, subject)
		if err != nil {
			if s.lost != nil {
				return err
			}
			failed = err
			break
		}
		queue, octets = append(queue, p), octets+p.octets
	}
	for len(queue) > 0 {
		if err := take(); err != nil {
			return err
		}
	}
	return failed
}
