package imap

import (
	"net/mail"
	"slices"
	"strings"
	"unicode"
)

// recipientFields are where a delivery leaves the address it was for: the first
// three are written by mail servers, the last two by the sender.
var recipientFields = []string{"Delivered-To", "X-Original-To", "Envelope-To", "To", "Cc"}

// recipients returns the addresses of a header, each once, in lower case. What one forgets bounces after the
// flip, so a line that is malformed costs no other line, and an address that is malformed no other address.
func recipients(header []byte) []string {
	var out []string
	add := func(address string) {
		address = strings.ToLower(strings.Trim(strings.TrimSpace(address), "<>"))
		if strings.Count(address, "@") == 1 && !strings.ContainsAny(address, " \t\"(),;<>") && !strings.ContainsFunc(address, hidden) && !slices.Contains(out, address) {
			out = append(out, address)
		}
	}
	for name, value := range fields(header) {
		if !slices.ContainsFunc(recipientFields, func(f string) bool { return strings.EqualFold(f, name) }) {
			continue
		}
		if list, err := mail.ParseAddressList(value); err == nil {
			for _, a := range list {
				add(a.Address)
			}
			continue
		}
		for _, part := range addressParts(value) {
			add(part)
		}
	}
	return out
}

// hidden is a character that no address holds and no person would see.
func hidden(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }

// fields yields the fields of a header by name, unfolded (RFC 5322 §2.2.3), as far as lines are any.
func fields(header []byte) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		name, value := "", ""
		for line := range strings.Lines(string(header)) {
			line = strings.TrimRight(line, "\r\n")
			if line != "" && (line[0] == ' ' || line[0] == '\t') {
				value += line
				continue
			}
			if name != "" && !yield(name, value) {
				return
			}
			name, value, _ = strings.Cut(line, ":")
			name = strings.TrimRight(name, " \t")
		}
		if name != "" {
			yield(name, value)
		}
	}
}

// addressParts are what stands between the commas and semicolons of a list that RFC 5322 doesn't know. Those within
// quotes and comments part nothing, but where one has no end all of them do.
func addressParts(value string) (parts []string) {
	var quoted, escaped bool
	depth, start := 0, 0
	for i := range len(value) {
		switch c := value[i]; {
		case escaped:
			escaped = false
		case c == '\\' && (quoted || depth > 0):
			escaped = true
		case c == '"' && depth == 0:
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth == 0 && (c == ',' || c == ';'):
			parts = append(parts, bareAddress(value[start:i]))
			start = i + 1
		}
	}
	if !quoted && depth == 0 {
		return append(parts, bareAddress(value[start:]))
	}
	for _, part := range strings.FieldsFunc(value[start:], func(r rune) bool { return r == ',' || r == ';' }) {
		parts = append(parts, bareAddress(part))
	}
	return parts
}

// bareAddress is a member of a list without what stands before and behind its angle brackets; where it has none, the
// word of it that has an @, without the name of a group. "" when there is none.
func bareAddress(part string) string {
	if i := strings.LastIndexByte(part, '<'); i >= 0 {
		address, _, _ := strings.Cut(part[i+1:], ">")
		return address
	}
	for word := range strings.FieldsSeq(part[strings.LastIndexByte(part, ':')+1:]) {
		if strings.Contains(word, "@") {
			return word
		}
	}
	return ""
}
