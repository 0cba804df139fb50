package wire

import "strings"

// Status is a status response (RFC 3501 §7.1): its kind, the response code
// with what follows it, and the text for people.
type Status struct {
	Kind string // "OK", "NO", "BAD", "BYE", "PREAUTH"
	Code string // upper case, "" = none: "UIDVALIDITY"
	Args string // what follows the code inside the brackets
	Text string
}

// Words are the server's words as it sent them, code included.
func (s Status) Words() string {
	if s.Code == "" {
		return s.Text
	}
	code := s.Code
	if s.Args != "" {
		code += " " + s.Args
	}
	return strings.TrimSuffix("["+code+"] "+s.Text, " ")
}

// ParseStatus splits what follows the kind. A code that isn't closed counts as text.
func ParseStatus(kind, rest string) Status {
	st := Status{Kind: kind, Text: rest}
	if !strings.HasPrefix(rest, "[") {
		return st
	}
	end := closing(rest)
	if end < 0 {
		return st
	}
	code, args, _ := strings.Cut(rest[1:end], " ")
	st.Code, st.Args = strings.ToUpper(code), strings.TrimSpace(args)
	st.Text = strings.TrimPrefix(rest[end+1:], " ")
	return st
}

// closing finds the bracket that ends a response code. Flags may hold "]" at
// servers that don't keep to the grammar, so brackets inside parentheses
// are passed over, unless that leaves none.
func closing(s string) int {
	depth, quoted := 0, false
	for i := 1; i < len(s); i++ {
		switch {
		case quoted:
			if s[i] == '\\' {
				i++
			} else if s[i] == '"' {
				quoted = false
			}
		case s[i] == '"':
			quoted = true
		case s[i] == '(':
			depth++
		case s[i] == ')':
			depth--
		case s[i] == ']' && depth <= 0:
			return i
		}
	}
	return strings.IndexByte(s, ']')
}
