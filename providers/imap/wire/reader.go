package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Limits bound what one response may cost. Zero values mean the defaults.
type Limits struct {
	Line    int   // octets of one response outside literals, default 1 MiB
	Literal int64 // octets of a literal that is kept in memory, default 1 MiB
	Passed  int64 // octets of literals that are passed over in one response, default 256 MiB
	Depth   int   // nesting of parentheses, default 32
}

func (l Limits) withDefaults() Limits {
	if l.Line == 0 {
		l.Line = 1 << 20
	}
	if l.Literal == 0 {
		l.Literal = 1 << 20
	}
	if l.Passed == 0 {
		l.Passed = 256 << 20
	}
	if l.Depth == 0 {
		l.Depth = 32
	}
	return l
}

// SyntaxError says that a response is not as the grammar wants it. The reader is
// still in step: Skip goes to the response's end and reading goes on.
type SyntaxError struct {
	What string
}

func (e *SyntaxError) Error() string { return "malformed response: " + e.What }

func syntax(format string, args ...any) error {
	return &SyntaxError{What: fmt.Sprintf(format, args...)}
}

// ErrTooLong ends a connection whose server sends a response without end.
var ErrTooLong = errors.New("the server sent a response beyond all bounds")

// Response is the beginning of a response. The rest of it is read with
// Value, Name, Open, ... and left with Skip.
type Response struct {
	Tag    string // "*", "+" or the command's tag
	Number uint32 // of "* 5 EXISTS"
	Type   string // upper case: "FETCH", "OK"; "" after "+"
	Status Status // of status responses; Text also of "+"
}

// IsStatus reports whether the response is a status response and thus read to its end.
func (r Response) IsStatus() bool { return r.Status.Kind != "" }

// Reader reads responses. It is not safe for concurrent use. Errors that
// aren't a *SyntaxError end the connection.
type Reader struct {
	br    *bufio.Reader
	lim   Limits
	used  int   // octets of this response outside literals
	past  int64 // octets of its literals that were passed over
	open  bool  // the response's end has not been read
	body  *Body // a string that is being streamed
	depth int
}

// NewReader reads from br, which must hold lines of its buffer's size at least.
func NewReader(br *bufio.Reader, lim Limits) *Reader {
	return &Reader{br: br, lim: lim.withDefaults()}
}

// maxEmpty is how many empty lines may stand between two responses.
const maxEmpty = 1000

// Next leaves what is left of the response before and reads the beginning of
// the next one. Empty lines are passed over.
func (r *Reader) Next() (Response, error) {
	if err := r.Skip(); err != nil {
		return Response{}, err
	}
	for empty := 0; ; empty++ {
		r.used, r.past, r.depth, r.open = 0, 0, 0, true
		eol, err := r.atEOL()
		if err != nil {
			return Response{}, err
		}
		if !eol {
			break
		}
		if empty == maxEmpty {
			return Response{}, ErrTooLong
		}
		if err := r.Skip(); err != nil {
			return Response{}, err
		}
	}
	var resp Response
	var err error
	if resp.Tag, err = r.word(); err != nil {
		return resp, err
	}
	if resp.Tag == "+" {
		resp.Status.Text, err = r.line()
		return resp, err
	}
	if resp.Type, err = r.word(); err != nil {
		return resp, err
	}
	if n, err := strconv.ParseUint(resp.Type, 10, 32); err == nil && resp.Tag == "*" {
		resp.Number = uint32(n)
		if resp.Type, err = r.word(); err != nil {
			return resp, err
		}
	}
	resp.Type = strings.ToUpper(resp.Type)
	switch resp.Type {
	case "OK", "NO", "BAD", "BYE", "PREAUTH":
		rest, err := r.line()
		resp.Status = ParseStatus(resp.Type, rest)
		return resp, err
	}
	return resp, nil
}

// Skip goes to the end of the response, over literals too.
func (r *Reader) Skip() error {
	if err := r.drain(); err != nil {
		return err
	}
	if !r.open {
		return nil
	}
	// What may be the end of a literal's announcement is all that is kept.
	var tail []byte
	for total := 0; ; {
		chunk, err := r.br.ReadSlice('\n')
		if total += len(chunk); total > 16*r.lim.Line {
			return ErrTooLong
		}
		tail = append(tail, chunk[max(0, len(chunk)-32):]...)
		tail = tail[max(0, len(tail)-32):]
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return unexpected(err)
		}
		n, ok := announced(tail)
		if !ok {
			r.open = false
			return nil
		}
		if err := r.pass(n); err != nil {
			return err
		}
		tail = tail[:0]
	}
}

// announced reads the size of a literal off the end of a line.
func announced(line []byte) (int64, bool) {
	s := strings.TrimRight(string(line), "\r\n")
	i := strings.LastIndexByte(s, '{')
	if i < 0 || !strings.HasSuffix(s, "}") {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(s[i+1:len(s)-1], "+"), 10, 62)
	return int64(n), err == nil
}

// line reads the rest of the response as text.
func (r *Reader) line() (string, error) {
	var text []byte
	for {
		chunk, err := r.br.ReadSlice('\n')
		text = append(text, chunk...)
		if r.used+len(text) > r.lim.Line {
			return "", ErrTooLong
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return "", unexpected(err)
		}
		r.open = false
		return strings.Trim(string(text), " \r\n"), nil
	}
}

// word reads up to a space or the end of the line and passes over the spaces after it.
func (r *Reader) word() (string, error) {
	var w []byte
	for {
		eol, err := r.atEOL()
		if err != nil {
			return "", err
		}
		b, _ := r.peek()
		if eol || b == ' ' {
			break
		}
		w = append(w, b)
		if err := r.take(); err != nil {
			return "", err
		}
	}
	return string(w), r.spaces()
}

func (r *Reader) spaces() error {
	for {
		b, err := r.peek()
		if err != nil || b != ' ' {
			return err
		}
		if err := r.take(); err != nil {
			return err
		}
	}
}

// peek returns the next octet without taking it. What is left of a streamed
// string is passed over first.
func (r *Reader) peek() (byte, error) {
	if err := r.drain(); err != nil {
		return 0, err
	}
	b, err := r.br.Peek(1)
	if err != nil {
		return 0, unexpected(err)
	}
	return b[0], nil
}

func (r *Reader) take() error {
	if r.used++; r.used > r.lim.Line {
		return ErrTooLong
	}
	_, err := r.br.Discard(1)
	return err
}

// atEOL reports whether the response ends here. A line feed alone counts too.
func (r *Reader) atEOL() (bool, error) {
	b, err := r.peek()
	if err != nil || b == '\n' {
		return true, err
	}
	if b != '\r' {
		return false, nil
	}
	two, err := r.br.Peek(2)
	if err != nil {
		return true, unexpected(err)
	}
	return two[1] == '\n', nil
}

// pass passes over a literal that nobody reads.
func (r *Reader) pass(n int64) error {
	if n > r.lim.Passed-r.past {
		return ErrTooLong
	}
	r.past += n
	return r.discard(n)
}

func (r *Reader) discard(n int64) error {
	_, err := io.CopyN(io.Discard, r.br, n)
	return unexpected(err)
}

// drain passes over what the caller left of a streamed string.
func (r *Reader) drain() error {
	b := r.body
	if b == nil {
		return nil
	}
	r.body = nil
	b.closed = true
	if b.left == 0 {
		return nil
	}
	return r.discard(b.left)
}

// unexpected is how an end of stream inside a response is reported.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
