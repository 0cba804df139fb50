package imap

import (
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// base64IMAP is the alphabet of modified UTF-7: "," instead of "/", no padding
// (RFC 3501 §5.1.3). Bits that are left over are not looked at.
var base64IMAP = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

var errUTF7 = errors.New("not modified UTF-7")

// encodeUTF7 writes a name in modified UTF-7 (RFC 3501 §5.1.3). Octets that are no UTF-8
// become U+FFFD.
func encodeUTF7(s string) string {
	var out strings.Builder
	var shifted []rune
	flush := func() {
		if len(shifted) == 0 {
			return
		}
		units := utf16.Encode(shifted)
		octets := make([]byte, 0, 2*len(units))
		for _, u := range units {
			octets = append(octets, byte(u>>8), byte(u))
		}
		out.WriteByte('&')
		out.WriteString(base64IMAP.EncodeToString(octets))
		out.WriteByte('-')
		shifted = shifted[:0]
	}
	for _, r := range s {
		if r < 0x20 || r > 0x7e {
			shifted = append(shifted, r)
			continue
		}
		flush()
		if out.WriteByte(byte(r)); r == '&' {
			out.WriteByte('-')
		}
	}
	flush()
	return out.String()
}

// decodeUTF7 reads modified UTF-7. It takes what the grammar forbids but can
// mean one thing only (printable ASCII that was encoded, a shift right after another), and
// UTF-8, which servers with UTF8=ACCEPT on by default send. What can't be read is an error.
func decodeUTF7(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", errUTF7
	}
	var out strings.Builder
	for {
		plain, rest, found := strings.Cut(s, "&")
		out.WriteString(plain)
		if !found {
			return out.String(), nil
		}
		code, after, closed := strings.Cut(rest, "-")
		if !closed {
			return "", errUTF7
		}
		s = after
		if code == "" {
			out.WriteByte('&')
			continue
		}
		octets, err := base64IMAP.DecodeString(code)
		// The decoder passes over line breaks; a name holds none.
		if err != nil || len(octets) == 0 || len(octets)%2 != 0 || strings.ContainsAny(code, "\r\n") {
			return "", errUTF7
		}
		units := make([]uint16, len(octets)/2)
		for i := range units {
			units[i] = uint16(octets[2*i])<<8 | uint16(octets[2*i+1])
		}
		for i := 0; i < len(units); i++ {
			r := rune(units[i])
			if utf16.IsSurrogate(r) {
				if i+1 == len(units) {
					return "", errUTF7
				}
				if r = utf16.DecodeRune(r, rune(units[i+1])); r == utf8.RuneError {
					return "", errUTF7
				}
				i++
			}
			out.WriteRune(r)
		}
	}
}
