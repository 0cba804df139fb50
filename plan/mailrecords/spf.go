// Package mailrecords reads the policies that domains publish about their mail:
// SPF (RFC 7208), DKIM keys (RFC 6376), DMARC (RFC 7489), MTA-STS (RFC 8461)
// and TLS reporting (RFC 8460). It is pure: text in, values out.
package mailrecords

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// SPF is one SPF record.
type SPF struct {
	Terms []Term // in their order; modifiers among them
}

// Term is a mechanism or a modifier.
type Term struct {
	Qualifier byte   // '+', '-', '~', '?'; 0 for modifiers
	Name      string // lower case: "include", "all", "redirect", …
	Value     string // domain-spec or network as written, without the CIDR lengths of a and mx
	Modifier  bool
}

// Asks reports whether the term makes receivers ask the DNS; ten such are the limit (RFC 7208 §4.6.4).
func (t Term) Asks() bool {
	switch t.Name {
	case "include", "a", "mx", "ptr", "exists":
		return !t.Modifier
	case "redirect":
		return t.Modifier
	}
	return false
}

// Macro reports whether the value depends on the message (RFC 7208 §7), so that nobody can follow it beforehand.
func (t Term) Macro() bool { return strings.Contains(t.Value, "%") }

// String is the term as a record spells it, without the prefix lengths of a and mx.
func (t Term) String() string {
	s := t.Name
	if t.Modifier {
		return s + "=" + t.Value
	}
	if t.Qualifier != '+' {
		s = string(t.Qualifier) + s
	}
	if t.Value != "" {
		s += ":" + t.Value
	}
	return s
}

// Find is the first term of that name, false when there is none.
func (s SPF) Find(name string) (Term, bool) {
	for _, t := range s.Terms {
		if t.Name == name {
			return t, true
		}
	}
	return Term{}, false
}

// IsSPF reports whether a TXT record is an SPF record: its first word is exactly that version
// (RFC 7208 §4.5).
func IsSPF(text string) bool {
	return len(text) >= 6 && strings.EqualFold(text[:6], "v=spf1") && (len(text) == 6 || text[6] == ' ')
}

// ParseSPF reads a record. What receivers take as a permanent error is an error here (RFC 7208 §4.6).
func ParseSPF(text string) (SPF, error) {
	if !IsSPF(text) {
		return SPF{}, errors.New("it doesn't begin with \"v=spf1\"")
	}
	var s SPF
	for _, word := range strings.Fields(text[6:]) {
		t, err := parseTerm(word)
		if err != nil {
			return SPF{}, fmt.Errorf("%q: %w", word, err)
		}
		if t.Name == "redirect" || t.Name == "exp" {
			if _, twice := s.Find(t.Name); twice {
				return SPF{}, fmt.Errorf("%q: %s stands there twice (RFC 7208 §6)", word, t.Name)
			}
		}
		s.Terms = append(s.Terms, t)
	}
	return s, nil
}

func parseTerm(word string) (Term, error) {
	for i := range len(word) {
		if word[i] < 0x21 || word[i] > 0x7e {
			return Term{}, errors.New("holds a character that isn't printable ASCII")
		}
	}
	// A modifier is a name, "=" and a value; a mechanism's name ends before ":" or "/".
	if i := strings.IndexAny(word, "=:/"); i >= 0 && word[i] == '=' {
		t := Term{Name: strings.ToLower(word[:i]), Value: word[i+1:], Modifier: true}
		if !isName(t.Name) {
			return t, errors.New("is no modifier (RFC 7208 §12)")
		}
		if t.Name == "redirect" || t.Name == "exp" {
			return t, domainSpec(t.Value)
		}
		return t, macros(t.Value) // unknown ones are passed over
	}
	t := Term{Qualifier: '+'}
	if strings.IndexByte("+-~?", word[0]) >= 0 {
		t.Qualifier, word = word[0], word[1:]
	}
	name, rest := word, ""
	if i := strings.IndexAny(word, ":/"); i >= 0 {
		name, rest = word[:i], word[i:]
	}
	t.Name = strings.ToLower(name)
	value, hasValue := strings.CutPrefix(rest, ":")
	switch t.Name {
	case "all":
		if rest != "" {
			return t, errors.New("all takes no value")
		}
		return t, nil
	case "include", "exists":
		t.Value = value
		if !hasValue {
			return t, fmt.Errorf("%s needs a domain", t.Name)
		}
		return t, domainSpec(value)
	case "ptr":
		t.Value = value
		if rest == "" {
			return t, nil
		}
		return t, domainSpec(value)
	case "a", "mx":
		domain, lengths, hasLengths := cutLengths(rest)
		if hasLengths {
			if err := dualLength(lengths); err != nil {
				return t, err
			}
		}
		if domain == "" {
			return t, nil
		}
		t.Value = strings.TrimPrefix(domain, ":")
		return t, domainSpec(t.Value)
	case "ip4", "ip6":
		t.Value = value
		return t, network(t.Name, value)
	}
	return t, errors.New("no such mechanism (RFC 7208 §5)")
}

// isName is RFC 7208 §12: a letter, then letters, digits, "-", "_" and ".".
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			continue
		}
		return false
	}
	return s != ""
}

// cutLengths takes "/24", "//64" or "/24//64" off the end. A "/" inside of a macro is none.
func cutLengths(s string) (domain, lengths string, ok bool) {
	from := strings.LastIndexByte(s, '}') + 1
	if i := strings.IndexByte(s[from:], '/'); i >= 0 {
		return s[:from+i], s[from+i:], true
	}
	return s, "", false
}

func dualLength(s string) error {
	v4, v6, has6 := strings.Cut(s, "//")
	if v4 != "" {
		if n, err := strconv.Atoi(strings.TrimPrefix(v4, "/")); err != nil || n < 0 || n > 32 || !strings.HasPrefix(v4, "/") {
			return fmt.Errorf("%q is no prefix length", v4)
		}
	}
	if has6 {
		if n, err := strconv.Atoi(v6); err != nil || n < 0 || n > 128 {
			return fmt.Errorf("%q is no prefix length", v6)
		}
	}
	return nil
}

func network(name, value string) error {
	bad := fmt.Errorf("%q is no %s network", value, name)
	var addr netip.Addr
	if strings.Contains(value, "/") {
		p, err := netip.ParsePrefix(value)
		if err != nil {
			return bad
		}
		addr = p.Addr()
	} else {
		a, err := netip.ParseAddr(value)
		if err != nil || a.Zone() != "" {
			return bad
		}
		addr = a
	}
	if addr.Is4() != (name == "ip4") {
		return bad
	}
	return nil
}

func domainSpec(s string) error {
	if s == "" {
		return errors.New("a domain is missing")
	}
	if err := macros(s); err != nil || strings.Contains(s, "%") {
		return err
	}
	s = strings.TrimSuffix(s, ".")
	if len(s) > 253 || !strings.Contains(s, ".") {
		return fmt.Errorf("%q is no domain (RFC 7208 §4.8)", s)
	}
	for _, label := range strings.Split(s, ".") {
		if label == "" || len(label) > 63 {
			return fmt.Errorf("%q is no domain (RFC 7208 §4.8)", s)
		}
	}
	return nil
}

// macros checks RFC 7208 §7.1: %%, %_, %- and %{letter digits r delimiters}.
func macros(s string) error {
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		bad := fmt.Errorf("%q holds no right macro (RFC 7208 §7.1)", s)
		i++
		switch {
		case i < len(s) && (s[i] == '%' || s[i] == '_' || s[i] == '-'):
		case i < len(s) && s[i] == '{':
			end := strings.IndexByte(s[i:], '}')
			if end < 2 || strings.IndexByte("slodiphcrtvSLODIPHCRTV", s[i+1]) < 0 {
				return bad
			}
			rest := strings.TrimLeft(s[i+2:i+end], "0123456789")
			if rest != "" && (rest[0] == 'r' || rest[0] == 'R') {
				rest = rest[1:]
			}
			if strings.Trim(rest, ".-+,/_=") != "" {
				return bad
			}
			i += end
		default:
			return bad
		}
	}
	return nil
}
