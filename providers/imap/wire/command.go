package wire

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Part is a piece of a command: text that is sent as it is, then, when Body
// is set, a literal of Size octets. The octets that announce the literal
// ("{42}") are not in Text, because they depend on the server.
type Part struct {
	Text   []byte
	Size   int64
	Body   io.Reader
	Binary bool // announced as literal8, "~{42}" (RFC 3516 §4.4), which may hold NUL
}

// Command is one command without its tag and final CRLF. Each method adds one
// argument after a space. What could end the command early or begin another one (CR,
// LF, NUL, an atom that is none) makes Parts fail, so a folder name or flag
// from a hostile server can't become a command.
type Command struct {
	parts []Part
	text  []byte
	err   error
}

// NewCommand begins a command: "UID FETCH".
func NewCommand(name string) *Command {
	c := &Command{}
	for word := range strings.SplitSeq(name, " ") {
		if !isAtom(word) {
			c.fail("command", name)
		}
	}
	c.text = append(c.text, name...)
	return c
}

func (c *Command) fail(what, value string) {
	if c.err == nil {
		c.err = fmt.Errorf("%q can't be sent as %s", value, what)
	}
}

// Atom adds an atom or number.
func (c *Command) Atom(s string) *Command {
	if !isAtom(s) {
		c.fail("an atom", s)
	}
	c.text = append(append(c.text, ' '), s...)
	return c
}

// Set adds a sequence set: "1:*", "5,7:9".
func (c *Command) Set(s string) *Command {
	if s == "" || strings.Trim(s, "0123456789:,*") != "" {
		c.fail("a set of numbers", s)
	}
	c.text = append(append(c.text, ' '), s...)
	return c
}

// String adds an astring: quoted where it is printable ASCII, else as a
// literal, which keeps octets of any kind but NUL.
func (c *Command) String(s string) *Command {
	quotable := true
	for i := range len(s) {
		switch b := s[i]; {
		case b == 0:
			c.fail("a string", s)
		case b < 0x20 || b > 0x7e:
			quotable = false
		}
	}
	if !quotable {
		return c.Literal(int64(len(s)), strings.NewReader(s))
	}
	c.text = append(c.text, ' ', '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			c.text = append(c.text, '\\')
		}
		c.text = append(c.text, s[i])
	}
	c.text = append(c.text, '"')
	return c
}

// Flags adds a parenthesised list of flags; none make "()".
func (c *Command) Flags(flags []string) *Command {
	for _, f := range flags {
		if !IsFlag(f) {
			c.fail("a flag", f)
		}
	}
	return c.list(flags)
}

// Items adds a parenthesised list of words that the caller wrote itself, such as
// FETCH items with sections: "BODY.PEEK[HEADER.FIELDS (DATE)]".
func (c *Command) Items(items ...string) *Command {
	for _, it := range items {
		for i := range len(it) {
			if b := it[i]; b < 0x20 || b > 0x7e || b == '"' || b == '{' {
				c.fail("an item", it)
			}
		}
	}
	return c.list(items)
}

func (c *Command) list(words []string) *Command {
	c.text = append(c.text, " ("...)
	c.text = append(c.text, strings.Join(words, " ")...)
	c.text = append(c.text, ')')
	return c
}

// Literal adds size octets of r, none of which is NUL.
func (c *Command) Literal(size int64, r io.Reader) *Command { return c.literal(size, r, false) }

// Literal8 adds size octets of r of any kind. The server has to offer BINARY.
func (c *Command) Literal8(size int64, r io.Reader) *Command { return c.literal(size, r, true) }

func (c *Command) literal(size int64, r io.Reader, binary bool) *Command {
	if size < 0 || r == nil {
		c.fail("a literal", fmt.Sprint(size, " octets"))
	}
	c.parts = append(c.parts, Part{Text: append(c.text, ' '), Size: size, Body: r, Binary: binary})
	c.text = nil
	return c
}

// Quoted adds a quoted string that may not become a literal (a date-time).
func (c *Command) Quoted(s string) *Command {
	for i := range len(s) {
		if b := s[i]; b < 0x20 || b > 0x7e || b == '"' || b == '\\' {
			c.fail("a quoted string", s)
		}
	}
	c.text = append(append(append(c.text, ' ', '"'), s...), '"')
	return c
}

// Parts returns the command in pieces, or why it can't be sent.
func (c *Command) Parts() ([]Part, error) {
	if c.err != nil {
		return nil, c.err
	}
	if len(c.parts) == 0 && len(c.text) == 0 {
		return nil, errors.New("empty command")
	}
	return append(c.parts, Part{Text: c.text}), nil
}

// isAtom reports whether s is an atom (RFC 3501 §9: atom-specials).
func isAtom(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		if b := s[i]; b <= 0x20 || b >= 0x7f || strings.IndexByte(`(){%*"\]`, b) >= 0 {
			return false
		}
	}
	return true
}

// IsFlag reports whether s can be sent as a flag: a keyword or a backslash
// and an atom (RFC 3501 §9: flag).
func IsFlag(s string) bool {
	return isAtom(strings.TrimPrefix(s, `\`))
}
