package wire

import (
	"bytes"
	"io"
	"math"
	"strconv"
	"strings"
)

// Kind is what a Value is.
type Kind uint8

// The kinds.
const (
	Nil Kind = iota
	Atom
	String // quoted or literal
	List
)

// Value is one value of a response, in memory.
type Value struct {
	Kind Kind
	Text string
	List []Value
}

// Value reads the next value: NIL, atom, string or a list of values.
func (r *Reader) Value() (Value, error) {
	if err := r.spaces(); err != nil {
		return Value{}, err
	}
	eol, err := r.atEOL()
	if err != nil {
		return Value{}, err
	}
	if eol {
		return Value{}, syntax("a value is missing")
	}
	b, err := r.peek()
	if err != nil {
		return Value{}, err
	}
	switch b {
	case '(':
		return r.list()
	case ')':
		return Value{}, syntax("a parenthesis too many")
	case '"':
		s, err := r.quoted()
		return Value{Kind: String, Text: s}, err
	}
	n, ok, err := r.literal()
	if err != nil {
		return Value{}, err
	}
	if ok {
		s, err := r.memory(n)
		return Value{Kind: String, Text: s}, err
	}
	s, err := r.atom()
	if err != nil {
		return Value{}, err
	}
	if strings.EqualFold(s, "NIL") {
		return Value{}, nil
	}
	return Value{Kind: Atom, Text: s}, nil
}

func (r *Reader) list() (Value, error) {
	v := Value{Kind: List}
	if err := r.Open(); err != nil {
		return v, err
	}
	for {
		more, err := r.More()
		if err != nil || !more {
			return v, err
		}
		item, err := r.Value()
		if err != nil {
			return v, err
		}
		v.List = append(v.List, item)
	}
}

// Open reads the parenthesis that begins a list.
func (r *Reader) Open() error {
	if err := r.spaces(); err != nil {
		return err
	}
	b, err := r.peek()
	if err != nil {
		return err
	}
	if b != '(' {
		return syntax("%q where a list has to begin", b)
	}
	if r.depth++; r.depth > r.lim.Depth {
		return syntax("lists nested more than %d deep", r.lim.Depth)
	}
	return r.take()
}

// More reports whether the list goes on; at its end it reads the parenthesis.
func (r *Reader) More() (bool, error) {
	if err := r.spaces(); err != nil {
		return false, err
	}
	eol, err := r.atEOL()
	if err != nil {
		return false, err
	}
	if eol {
		return false, syntax("a list has no end")
	}
	if b, _ := r.peek(); b != ')' {
		return true, nil
	}
	r.depth--
	return false, r.take()
}

// Name reads a mailbox name: a string, or everything up to the next space.
// Servers send names that are no atoms without quotes (octets above 127,
// "]", "(") and nothing else can stand there.
func (r *Reader) Name() (string, error) {
	if err := r.spaces(); err != nil {
		return "", err
	}
	if b, err := r.peek(); err != nil {
		return "", err
	} else if b == '"' {
		return r.quoted()
	}
	n, ok, err := r.literal()
	if err != nil {
		return "", err
	}
	if ok {
		return r.memory(n)
	}
	s, err := r.word()
	if err == nil && s == "" {
		err = syntax("a name is missing")
	}
	return s, err
}

// Begins reports whether the next value begins with b, and reads nothing of it.
func (r *Reader) Begins(b byte) (bool, error) {
	if err := r.spaces(); err != nil {
		return false, err
	}
	next, err := r.peek()
	return next == b, err
}

// Ranges reads a sequence set and hands it on range by range, without keeping it: that of a VANISHED (RFC 7162 §3.2.10) may be as long as a folder is large.
func (r *Reader) Ranges(fn func(from, to uint32) error) error {
	if err := r.spaces(); err != nil {
		return err
	}
	var n [2]uint64
	digits, end := 0, 0
	for total := 0; ; total++ {
		if total > 64*r.lim.Line {
			return ErrTooLong
		}
		eol, err := r.atEOL()
		if err != nil {
			return err
		}
		b, _ := r.peek()
		switch {
		case !eol && b >= '0' && b <= '9':
			n[end] = n[end]*10 + uint64(b-'0')
			if digits++; n[end] > 1<<32-1 {
				return syntax("a number beyond 32 bits in a set")
			}
		case !eol && b == ':' && end == 0 && digits > 0:
			end, digits = 1, 0
		case digits > 0 && (eol || b == ',' || b == ' '):
			if end == 0 {
				n[1] = n[0]
			}
			if n[0] == 0 || n[1] == 0 {
				return syntax("0 in a set")
			}
			if err := fn(uint32(min(n[0], n[1])), uint32(max(n[0], n[1]))); err != nil {
				return err
			}
			if eol || b == ' ' {
				return nil
			}
			n, digits, end = [2]uint64{}, 0, 0
		default:
			return syntax("%q in a set", b)
		}
		if _, err := r.br.Discard(1); err != nil {
			return unexpected(err)
		}
	}
}

// ItemName reads the name of a FETCH item in upper case, section included:
// "UID", "BODY[HEADER.FIELDS (DATE)]", "BODY[]<0>".
func (r *Reader) ItemName() (string, error) {
	if err := r.spaces(); err != nil {
		return "", err
	}
	var name []byte
	inside := false
	for {
		eol, err := r.atEOL()
		if err != nil {
			return "", err
		}
		b, _ := r.peek()
		if eol || !inside && (b == ' ' || b == '(' || b == ')') {
			break
		}
		switch b {
		case '[':
			inside = true
		case ']':
			inside = false
		}
		name = append(name, b)
		if err := r.take(); err != nil {
			return "", err
		}
	}
	if len(name) == 0 || inside {
		return "", syntax("%q is no name of an item", name)
	}
	return strings.ToUpper(string(name)), nil
}

// Body is a string that is read as a stream. It is good until the Reader's next call.
type Body struct {
	Absent bool  // NIL
	Size   int64 // octets announced
	r      *Reader
	text   io.Reader // of quoted strings
	left   int64
	closed bool
}

// Read returns io.ErrUnexpectedEOF when the connection ends before Size octets.
func (b *Body) Read(p []byte) (int, error) {
	if b.text != nil {
		return b.text.Read(p)
	}
	if b.closed || b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.r.br.Read(p[:min(int64(len(p)), b.left)])
	if b.left -= int64(n); b.left > 0 && err != nil {
		err = unexpected(err)
	} else if b.left == 0 {
		err = nil
	}
	return n, err
}

// Followed reports whether what comes after the octets can come there: a blank, a parenthesis or the end of the line. It can't where
// the server announced more or less than it sent; then nothing that comes on the connection means what it seems to.
// All octets have to be read.
func (b *Body) Followed() (bool, error) {
	if b.text != nil || b.closed || b.left > 0 {
		return true, nil
	}
	next, err := b.r.peek()
	return next == ' ' || next == ')' || next == '\r' || next == '\n', err
}

// Body begins a string of any size. Quoted ones are in memory.
func (r *Reader) Body() (*Body, error) {
	if err := r.spaces(); err != nil {
		return nil, err
	}
	b, err := r.peek()
	if err != nil {
		return nil, err
	}
	if b == '"' {
		s, err := r.quoted()
		return &Body{Size: int64(len(s)), text: strings.NewReader(s)}, err
	}
	n, ok, err := r.literal()
	if err != nil {
		return nil, err
	}
	if ok && n > math.MaxUint32 {
		return nil, ErrTooLong // a number has 32 bits (RFC 3501 §9)
	}
	if ok {
		r.body = &Body{Size: n, left: n, r: r}
		return r.body, nil
	}
	s, err := r.atom()
	if err == nil && !strings.EqualFold(s, "NIL") {
		err = syntax("%q where a string has to be", s)
	}
	return &Body{Absent: true}, err
}

// literal reads the announcement of a literal ("{5}", "{5+}", "~{5}" of RFC 3516) and
// the end of its line. When ok is false nothing has been read.
func (r *Reader) literal() (size int64, ok bool, err error) {
	b, err := r.peek()
	if err != nil || b != '{' && b != '~' {
		return 0, false, err
	}
	// Longer announcements than this hold no number that could be meant. Look
	// no further than there is something, or a short line would wait for ever.
	var head []byte
	for n := 1; n <= 26; n++ {
		if head, err = r.br.Peek(n); err != nil {
			return 0, false, unexpected(err)
		}
		if head[n-1] == '\n' {
			break
		}
	}
	i := 0
	if head[0] == '~' {
		i = 1
	}
	if head[len(head)-1] != '\n' || head[i] != '{' || bytes.LastIndexByte(head, '{') != i {
		return 0, false, nil
	}
	if size, ok = announced(head[i:]); !ok {
		return 0, false, nil
	}
	r.used += len(head)
	_, err = r.br.Discard(len(head))
	return size, true, err
}

// memory reads a literal's octets.
func (r *Reader) memory(n int64) (string, error) {
	if n > r.lim.Literal {
		if err := r.pass(n); err != nil {
			return "", err
		}
		return "", syntax("a literal of %d octets where at most %d are taken", n, r.lim.Literal)
	}
	buf := make([]byte, n)
	_, err := io.ReadFull(r.br, buf)
	return string(buf), unexpected(err)
}

// quoted reads a quoted string. Any octet but the end of the line is taken (RFC 3501 wants 7-bit).
func (r *Reader) quoted() (string, error) {
	if err := r.take(); err != nil {
		return "", err
	}
	var s []byte
	for {
		eol, err := r.atEOL()
		if err != nil {
			return "", err
		}
		if eol {
			return "", syntax("a quoted string has no end: %q", s)
		}
		b, _ := r.peek()
		if err := r.take(); err != nil {
			return "", err
		}
		if b == '"' {
			return string(s), nil
		}
		if b == '\\' {
			if b, err = r.peek(); err != nil {
				return "", err
			}
			if err := r.take(); err != nil {
				return "", err
			}
		}
		s = append(s, b)
	}
}

// atom reads up to a delimiter. A backslash begins a new one, because home.pl
// sends attributes without spaces between them: (\Sent\HasNoChildren).
func (r *Reader) atom() (string, error) {
	var s []byte
	for {
		eol, err := r.atEOL()
		if err != nil {
			return "", err
		}
		b, _ := r.peek()
		if eol || b == ' ' || b == '(' || b == ')' || b == '"' || b == '\\' && len(s) > 0 {
			break
		}
		s = append(s, b)
		if err := r.take(); err != nil {
			return "", err
		}
	}
	if len(s) == 0 {
		return "", syntax("an atom is missing")
	}
	return string(s), nil
}

// Number reads a number of up to 64 bits; ok is false for NIL and what is none.
func (v Value) Number() (n uint64, ok bool) {
	if v.Kind == Nil || v.Kind == List {
		return 0, false
	}
	n, err := strconv.ParseUint(v.Text, 10, 64)
	return n, err == nil
}

// Texts are the texts of a list's atoms and strings. A value that is no list has none.
func (v Value) Texts() []string {
	texts := make([]string, 0, len(v.List))
	for _, item := range v.List {
		if item.Kind == Atom || item.Kind == String {
			texts = append(texts, item.Text)
		}
	}
	return texts
}
