// Package trace reads what mail servers write into the headers of the mail that
// they take: where it came from (Received, RFC 5321 §4.4) and what they think of its
// sender (Authentication-Results, RFC 8601). It is pure, and it never fails on what
// strangers have put there: what can't be read is left out.
package trace

import (
	"bytes"
	"strings"
)

// Field is one field of a header, unfolded.
type Field struct {
	Name  string // as written
	Value string // without line ends
}

// maxFields bounds what is read of one header: real ones have less than a hundred.
const maxFields = 1000

// Fields reads the header of a message, from its begin to the first empty
// line, in the order in which the fields stand. Lines that are no field are passed over.
func Fields(message []byte) []Field {
	var list []Field
	for len(message) > 0 && len(list) < maxFields {
		line, rest, _ := bytes.Cut(message, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		message = rest
		if len(line) == 0 {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			if n := len(list); n > 0 {
				list[n-1].Value += " " + strings.TrimSpace(string(line))
			}
			continue
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if name = bytes.TrimRight(name, " \t"); !ok || len(name) == 0 || bytes.ContainsAny(name, " \t") {
			continue
		}
		list = append(list, Field{string(name), strings.TrimSpace(string(value))})
	}
	return list
}

// Values are those of every field of that name, from the top.
func Values(fields []Field, name string) []string {
	var list []string
	for _, f := range fields {
		if strings.EqualFold(f.Name, name) {
			list = append(list, f.Value)
		}
	}
	return list
}

// token is a word of a structured field, a quoted string, a comment, or one of the separators.
type token struct {
	kind byte // 'w' word, 'q' quoted string, 'c' comment, else the separator itself
	text string
}

// tokens splits a structured field (RFC 5322 §3.2). A comment or quoted string that has no
// end goes on to the end of the field. Nested comments are one.
func tokens(s, separators string) []token {
	var list []token
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			i++
		case c == '"':
			text, n := delimited(s[i:], '"', '"')
			list, i = append(list, token{'q', text}), i+n
		case c == '(':
			text, n := delimited(s[i:], '(', ')')
			list, i = append(list, token{'c', text}), i+n
		case strings.IndexByte(separators, c) >= 0:
			list, i = append(list, token{c, string(c)}), i+1
		default:
			end := i
			for end < len(s) && !strings.ContainsRune(" \t\r\n\"(", rune(s[end])) && strings.IndexByte(separators, s[end]) < 0 {
				end++
			}
			list, i = append(list, token{'w', s[i:end]}), end
		}
	}
	return list
}

// delimited reads from an opening character to its closing one, and how many octets that was.
func delimited(s string, open, shut byte) (text string, n int) {
	var b strings.Builder
	depth := 1
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
			continue
		case c == shut:
			if depth--; depth == 0 {
				return b.String(), i + 1
			}
		case c == open:
			depth++
		}
		b.WriteByte(s[i])
	}
	return b.String(), len(s)
}
