// Package literal reads and writes HCL that is restricted to literals: blocks,
// and attributes whose values are strings, whole numbers, true, false, lists of
// strings or maps of strings to strings. There are no expressions, so reading
// such a file evaluates nothing and costs time in proportion to its length.
//
// What Writer writes is the one canonical form: the same values give the same
// bytes, and a fact has a line, which no other fact moves about. Files that a
// person has touched (other blanks, comments) are read all the same.
//
// Strings are kept octet by octet: nothing is normalised, because the name of
// a folder is an identity.
package literal

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Block is a block or, without a type, the body of a whole file.
type Block struct {
	Type   string
	Labels []string
	Line   int // from 1
	Attrs  []Attr
	Blocks []*Block
}

// Attr is one attribute.
type Attr struct {
	Name  string
	Line  int
	Value Value
}

// Kind tells the values apart.
type Kind int

// The kinds of value.
const (
	String Kind = iota
	Number
	Bool
	List // of strings
	Map  // of strings
)

var kindNames = [...]string{"a string", "a whole number", "true or false", "a list of strings", "a map of strings"}

func (k Kind) String() string { return kindNames[k] }

// Value is a literal. Which field holds it is told by Kind.
type Value struct {
	Kind    Kind
	Text    string
	Number  int64
	Bool    bool
	List    []string
	Entries []Entry
}

// Entry is one element of a map, in the order of the file.
type Entry struct {
	Key, Text string
	Line      int
}

// Error is what is wrong with a file, and where.
type Error struct {
	Line int
	Text string
}

func (e *Error) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Text) }

// Errorf is an *Error at line.
func Errorf(line int, format string, args ...any) error {
	return &Error{line, fmt.Sprintf(format, args...)}
}

// hidden are the characters that show nothing or turn text round. They are
// written as escapes, so that what a reviewer sees is what is there. The list is
// fixed here, and not taken from the Unicode tables of a Go version, because
// it decides about the bytes of a plan.
func hidden(r rune) bool {
	switch {
	case r < 0x20, r >= 0x7f && r <= 0x9f, r == 0xad, r == 0x034f, r == 0x061c, r == 0x115f, r == 0x1160,
		r == 0x180e, r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2060 && r <= 0x206f,
		r == 0x2800, r == 0x3164, r == 0xfeff, r >= 0xfff9 && r <= 0xfffb, r >= 0xe0000 && r <= 0xe0fff:
		return true
	}
	return false
}

// Quote writes s as a quoted template without interpolation. Octets that are
// no UTF-8 can't stand in HCL and come out as U+FFFD.
func Quote(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('"')
	for i, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case (r == '$' || r == '%') && strings.HasPrefix(s[i+1:], "{"):
			b.WriteRune(r)
			b.WriteRune(r)
		case hidden(r) && r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		case hidden(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// unquote reads a quoted template that begins at src[0] and returns what is
// behind it. Interpolation is refused, as are raw line ends and control
// characters.
func unquote(src string) (text, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(src); {
		switch c := src[i]; {
		case c == '"':
			return b.String(), src[i+1:], nil
		case c < 0x20 || c == 0x7f:
			return "", "", fmt.Errorf("a string ends on its own line and holds no control characters: is a quote missing?")
		case (c == '$' || c == '%') && strings.HasPrefix(src[i+1:], string(c)+"{"):
			b.WriteByte(c)
			b.WriteByte('{')
			i += 3
		case (c == '$' || c == '%') && strings.HasPrefix(src[i+1:], "{"):
			return "", "", fmt.Errorf("%c{ begins an expression, and only literals can stand here: write %c%c{ for the characters", c, c, c)
		case c == '\\':
			r, n, err := escape(src[i:])
			if err != nil {
				return "", "", err
			}
			b.WriteRune(r)
			i += n
		default:
			r, n := utf8.DecodeRuneInString(src[i:])
			if r == utf8.RuneError && n <= 1 {
				return "", "", fmt.Errorf("the octet %#02x is no UTF-8", c)
			}
			b.WriteString(src[i : i+n])
			i += n
		}
	}
	return "", "", fmt.Errorf("the string has no end")
}

func escape(src string) (r rune, n int, err error) {
	if len(src) < 2 {
		return 0, 0, fmt.Errorf("the string has no end")
	}
	digits := 0
	switch src[1] {
	case 'n':
		return '\n', 2, nil
	case 'r':
		return '\r', 2, nil
	case 't':
		return '\t', 2, nil
	case '"', '\\':
		return rune(src[1]), 2, nil
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	}
	if digits > 0 && len(src) >= 2+digits {
		v, err := strconv.ParseUint(src[2:2+digits], 16, 32)
		if err == nil && utf8.ValidRune(rune(v)) {
			return rune(v), 2 + digits, nil
		}
	}
	return 0, 0, fmt.Errorf("%.2q is no escape: there are \\n \\r \\t \\\" \\\\ \\uXXXX and \\UXXXXXXXX", src)
}

// identifier reads a name at the start of src; "" when there is none.
func identifier(src string) string {
	for i := range len(src) {
		c := src[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '-') {
			return src[:i]
		}
	}
	return src
}
