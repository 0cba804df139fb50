package imap

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// strict is the server's end of a connection in memory. It reads what the client sends by the letter of RFC 3501 §9,
// independently of the client's own code, keeps every command, and answers at once: OK by itself, or nothing more than what says holds.
type strict struct {
	says     *bytes.Reader // all that the server ever says, nil = it answers each command with OK
	caps     string
	mu       sync.Mutex
	changed  *sync.Cond
	in       []byte // from the client, not yet understood
	out      []byte // to the client
	commands []command
	wrong    error // the first thing that is no command
	granted  int   // octets of in up to which literals were announced and let in
	closed   bool
	waits    bool        // a literal is announced and not let in yet
	goAhead  func() bool // with says: whether the client has read that it may send the literal
}

// command is one command of a client.
type command struct {
	tag, name string
	args      []string // strings as their value; atoms, numbers, lists as they stand
}

func newStrict(caps string, says []byte) *strict {
	s := &strict{caps: caps}
	if says != nil {
		s.says = bytes.NewReader(says)
	}
	s.changed = sync.NewCond(&s.mu)
	return s
}

func (s *strict) Read(p []byte) (int, error) {
	if s.says != nil {
		return s.says.Read(p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.out) == 0 {
		if s.closed {
			return 0, io.EOF
		}
		s.changed.Wait()
	}
	n := copy(p, s.out)
	s.out = s.out[n:]
	return n, nil
}

func (s *strict) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	if s.waits && s.says != nil && !s.goAhead() {
		s.abandoned() // refused instead: the command ended there
	}
	s.in, s.waits = append(s.in, p...), false
	for s.wrong == nil {
		c, n, err := readCommand(s.in)
		if asked, ok := err.(needLiteral); ok {
			if int(asked) > s.granted {
				s.granted = int(asked)
				s.out = append(s.out, "+ go on\r\n"...)
			}
			s.waits = true
			break
		}
		if err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			s.wrong, s.closed = err, true
			break
		}
		s.in, s.granted = s.in[n:], 0
		s.commands = append(s.commands, c)
		s.answer(c)
	}
	s.changed.Broadcast()
	return len(p), nil
}

func (s *strict) answer(c command) {
	switch {
	case c.name == "CAPABILITY":
		s.out = fmt.Appendf(s.out, "* CAPABILITY IMAP4rev1 %s\r\n", s.caps)
	case c.name == "AUTHENTICATE" && len(c.args) == 1:
		// The one line that is no command is what answers the challenge: it must come alone.
		s.out = append(s.out, "+ \r\n"...)
		return
	case c.name == "LIST" && len(c.args) == 2 && c.args[1] == "":
		s.out = append(s.out, "* LIST (\\Noselect) \"/\" \"\"\r\n"...)
	}
	s.out = fmt.Appendf(s.out, "%s OK done\r\n", c.tag)
}

// abandoned keeps the command of which the literal never came.
func (s *strict) abandoned() {
	words := strings.Fields(string(s.in))
	c := command{tag: words[0], name: words[1]}
	if c.name == "UID" {
		c.name += " " + words[2]
	}
	s.commands, s.in = append(s.commands, c), nil
}

func (s *strict) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.changed.Broadcast()
	return nil
}

func (s *strict) sent() ([]command, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commands, s.wrong
}

func (*strict) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*strict) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*strict) SetDeadline(time.Time) error      { return nil }
func (*strict) SetReadDeadline(time.Time) error  { return nil }
func (*strict) SetWriteDeadline(time.Time) error { return nil }

// needLiteral says that a literal is announced and the client waits: the octet at which it begins.
type needLiteral int

func (needLiteral) Error() string { return "a literal is to come" }

// readCommand reads one command with its CRLF and tells how many octets it took. io.ErrUnexpectedEOF: there is more to come.
func readCommand(b []byte) (c command, n int, err error) {
	p := &strictParser{b: b}
	c.tag = p.atom("tag")
	p.must(' ')
	c.name = p.atom("command")
	if c.name == "UID" {
		p.must(' ')
		c.name += " " + p.atom("command")
	}
	for p.err == nil && p.peek() == ' ' {
		p.i++
		arg, ok := p.argument(0)
		if ok {
			c.args = append(c.args, arg)
		}
	}
	p.must('\r')
	p.must('\n')
	return c, p.i, p.err
}

type strictParser struct {
	b   []byte
	i   int
	err error
}

func (p *strictParser) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// peek is the next octet, 0 where there is none, which is an error.
func (p *strictParser) peek() byte {
	if p.i >= len(p.b) {
		p.fail(io.ErrUnexpectedEOF)
		return 0
	}
	return p.b[p.i]
}

func (p *strictParser) must(c byte) {
	got := p.peek()
	if p.err == nil && got != c {
		p.fail(fmt.Errorf("%q where %q belongs, at octet %d of %q", got, c, p.i, p.b))
	}
	if p.err == nil {
		p.i++
	}
}

// atom reads what has neither specials nor anything outside of printable ASCII.
func (p *strictParser) atom(what string) string {
	begin := p.i
	for p.err == nil {
		c := p.peek()
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`(){"\`, c) >= 0 {
			break
		}
		p.i++
	}
	if p.err == nil && p.i == begin {
		p.fail(fmt.Errorf("no %s at octet %d of %q", what, p.i, p.b))
	}
	return string(p.b[begin:p.i])
}

func (p *strictParser) argument(depth int) (string, bool) {
	switch c := p.peek(); {
	case p.err != nil:
	case c == '"':
		return p.quoted(), true
	case c == '{':
		return p.literal(), true
	case c == '~' && p.i+1 < len(p.b) && p.b[p.i+1] == '{':
		p.i++
		return p.literal(), true
	case c == '(':
		if depth > 3 {
			p.fail(fmt.Errorf("lists in lists in %q", p.b))
		}
		p.i++
		var items []string
		for p.err == nil && p.peek() != ')' {
			item, _ := p.argument(depth + 1)
			items = append(items, item)
			if p.peek() == ' ' {
				p.i++
			} else {
				break
			}
		}
		p.must(')')
		return "(" + strings.Join(items, " ") + ")", true
	default:
		return p.word(depth), true
	}
	return "", false
}

// word is an atom, a flag, a set or an item with a section, which may hold a list and is followed by a partial.
func (p *strictParser) word(depth int) string {
	begin := p.i
	if p.peek() == '\\' {
		p.i++
	}
	p.atom("argument")
	if p.err == nil && p.peek() == '(' && bytes.IndexByte(p.b[begin:p.i], '[') >= 0 {
		p.argument(depth + 1)
		p.atom("end of the section")
	}
	return string(p.b[begin:p.i])
}

func (p *strictParser) quoted() string {
	var s []byte
	for p.i++; p.err == nil; p.i++ {
		switch c := p.peek(); {
		case c == '"':
			p.i++
			return string(s)
		case c == '\\':
			p.i++
			if c = p.peek(); c != '"' && c != '\\' {
				p.fail(fmt.Errorf("backslash before %q in %q", c, p.b))
			}
			s = append(s, c)
		case c == '\r' || c == '\n' || c == 0 || c >= 0x80: // RFC 3501 §9: TEXT-CHAR
			if p.err == nil {
				p.fail(fmt.Errorf("%q in a quoted string of %q", c, p.b))
			}
		default:
			s = append(s, c)
		}
	}
	return string(s)
}

func (p *strictParser) literal() string {
	begin := p.i
	end := bytes.IndexByte(p.b[p.i:], '}')
	if end < 0 {
		p.fail(io.ErrUnexpectedEOF)
		return ""
	}
	digits, waits := strings.CutSuffix(string(p.b[p.i+1:p.i+end]), "+")
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 || digits != strconv.Itoa(n) {
		p.fail(fmt.Errorf("the literal {%s} in %q", digits, p.b))
		return ""
	}
	p.i += end + 1
	p.must('\r')
	p.must('\n')
	if p.err != nil {
		return ""
	}
	if p.i == len(p.b) && !waits && n >= 0 {
		p.fail(needLiteral(p.i))
		return ""
	}
	if len(p.b)-p.i < n {
		p.fail(io.ErrUnexpectedEOF)
		return ""
	}
	s := string(p.b[p.i : p.i+n])
	if binary := begin > 0 && p.b[begin-1] == '~'; !binary && strings.Contains(s, "\x00") {
		p.fail(fmt.Errorf("NUL in the literal %q", s)) // RFC 3501 §9: CHAR8
	}
	p.i += n
	return s
}

// plainLogin are the name and password in the initial response of AUTHENTICATE PLAIN (RFC 4616, RFC 4959).
func plainLogin(response string) (name, password string, err error) {
	octets, err := base64.StdEncoding.DecodeString(response)
	if err != nil {
		return "", "", err
	}
	parts := strings.Split(string(octets), "\x00")
	if len(parts) != 3 || parts[0] != "" {
		return "", "", fmt.Errorf("%q is no PLAIN response", octets)
	}
	return parts[1], parts[2], nil
}
