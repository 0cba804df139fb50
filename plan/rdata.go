package plan

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// CanonicalRdata turns what a person writes as a record's value into the one
// presentation form (RFC 1035 §5.1) that RRset.Data holds, so that comparing
// strings compares records.
//
// Host names come out in lower case with a final dot; a name without one that
// holds a dot is taken as absolute, as people write them, and a single label is
// an error. TXT is plain text, quoted and split into strings of 255 octets
// (RFC 1035 §3.3); a value that is quoted already is read as presentation form.
// Addresses come out in their shortest form (RFC 5952). Other types have their
// blanks folded and are left alone otherwise. Doing it twice changes nothing.
func CanonicalRdata(typ, value string) (string, error) {
	value = strings.TrimSpace(value)
	if value == "" && typ != "TXT" {
		return "", fmt.Errorf("a %s record needs a value", typ)
	}
	f := strings.Fields(value)
	switch typ {
	case "TXT", "SPF":
		return canonicalTXT(value)
	case "A", "AAAA":
		addr, err := netip.ParseAddr(value)
		if err != nil || addr.Is4() != (typ == "A") || addr.Zone() != "" {
			return "", fmt.Errorf("%q is no %s record: want an IP%s address", value, typ, map[string]string{"A": "v4", "AAAA": "v6"}[typ])
		}
		return addr.String(), nil
	case "MX":
		return numbersAndHost(typ, f, 1, "PREFERENCE HOST, such as \"10 mx.example.\"")
	case "SRV":
		return numbersAndHost(typ, f, 3, "PRIORITY WEIGHT PORT HOST, such as \"0 1 443 mail.example.\"")
	case "CNAME", "NS", "DNAME", "PTR":
		return numbersAndHost(typ, f, 0, "one host name, such as \"mail.example.\"")
	case "CAA":
		if len(f) < 3 {
			return "", fmt.Errorf("%q is no CAA record: want FLAGS TAG VALUE, such as \"0 issue ca.example\"", value)
		}
		if _, err := strconv.ParseUint(f[0], 10, 8); err != nil {
			return "", fmt.Errorf("%q is no CAA record: the flags are a number from 0 to 255", value)
		}
		text, err := TXTText(quoteIfPlain(strings.Join(f[2:], " ")))
		if err != nil {
			return "", err
		}
		return trimZeros(f[0]) + " " + strings.ToLower(f[1]) + " " + quoteTXT(text), nil
	}
	return strings.Join(f, " "), nil
}

func numbersAndHost(typ string, f []string, numbers int, want string) (string, error) {
	if len(f) != numbers+1 {
		return "", fmt.Errorf("%q is no %s record: want %s", strings.Join(f, " "), typ, want)
	}
	for i := range numbers {
		if _, err := strconv.ParseUint(f[i], 10, 16); err != nil {
			return "", fmt.Errorf("%q is no %s record: %q is no number from 0 to 65535; want %s", strings.Join(f, " "), typ, f[i], want)
		}
		f[i] = trimZeros(f[i])
	}
	host, err := CanonicalHost(f[numbers])
	if err != nil {
		return "", err
	}
	f[numbers] = host
	return strings.Join(f, " "), nil
}

func trimZeros(digits string) string {
	if s := strings.TrimLeft(digits, "0"); s != "" {
		return s
	}
	return "0"
}

// CanonicalHost is a host name in lower case with a final dot. "." stays (the
// null MX of RFC 7505). A single label without a final dot is an error, because
// nobody can tell whether the zone's name was meant to follow.
func CanonicalHost(name string) (string, error) {
	if name == "." {
		return name, nil
	}
	host := strings.TrimSuffix(name, ".")
	if host == name && !strings.Contains(host, ".") {
		return "", fmt.Errorf("%q is no full host name: write it out with its domain, or with a final dot", name)
	}
	if len(host) > 253 {
		return "", fmt.Errorf("the host name %.40q... is longer than 253 octets (RFC 1035 §2.3.4)", name)
	}
	for _, label := range strings.Split(host, ".") {
		if label == "" || len(label) > 63 {
			return "", fmt.Errorf("%q is no host name: each part between dots has 1 to 63 octets (RFC 1035 §2.3.4)", name)
		}
		for i := range len(label) {
			if c := label[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"();@$\`, c) >= 0 {
				return "", fmt.Errorf("%q is no host name: the character %q can't stand there (write internationalised names as xn--…)", name, string(rune(c)))
			}
		}
	}
	return strings.ToLower(host) + ".", nil
}

func quoteIfPlain(value string) string {
	if strings.HasPrefix(value, `"`) {
		return value
	}
	return quoteTXT(value)
}

// canonicalTXT reads a value that begins with a quote as presentation form,
// anything else as plain text.
func canonicalTXT(value string) (string, error) {
	text, err := TXTText(quoteIfPlain(value))
	if err != nil {
		return "", err
	}
	if len(text) > 65535-257 {
		return "", fmt.Errorf("a TXT record of %d octets is longer than a record can be", len(text))
	}
	return quoteTXT(text), nil
}

// quoteTXT writes text as character-strings of 255 octets, quoted. What is not
// printable ASCII is written \DDD (RFC 1035 §5.1).
func quoteTXT(text string) string {
	var b strings.Builder
	for n := 0; n == 0 || n < len(text); n += 255 {
		if n > 0 {
			b.WriteByte(' ')
		}
		b.WriteByte('"')
		for i := n; i < min(n+255, len(text)); i++ {
			switch c := text[i]; {
			case c == '"' || c == '\\':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c < ' ' || c >= 0x7f:
				fmt.Fprintf(&b, "\\%03d", c)
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('"')
	}
	return b.String()
}

// TXTText is the text of a TXT record's presentation form: its strings put
// together without anything between them (RFC 7208 §3.3 reads them so).
func TXTText(rdata string) (string, error) {
	var b strings.Builder
	bad := fmt.Errorf("%q is no TXT record: want strings in double quotes", rdata)
	strs := 0
	for i := 0; i < len(rdata); {
		switch {
		case rdata[i] == ' ' || rdata[i] == '\t':
			i++
			continue
		case rdata[i] != '"':
			return "", bad
		}
		closed := false
		for i++; i < len(rdata) && !closed; i++ {
			switch c := rdata[i]; {
			case c == '"':
				closed = true
			case c != '\\':
				b.WriteByte(c)
			case i+1 >= len(rdata):
				return "", bad
			case rdata[i+1] < '0' || rdata[i+1] > '9':
				i++
				b.WriteByte(rdata[i])
			default:
				if i+3 >= len(rdata) {
					return "", bad
				}
				n, err := strconv.ParseUint(rdata[i+1:i+4], 10, 8)
				if err != nil {
					return "", bad
				}
				b.WriteByte(byte(n))
				i += 3
			}
		}
		if !closed {
			return "", bad
		}
		strs++
	}
	if strs == 0 {
		return "", bad
	}
	return b.String(), nil
}
