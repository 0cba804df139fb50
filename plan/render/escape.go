package render

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// Escape makes a string from outside safe to show on one line: control
// characters (so also ANSI and OSC sequences), bidirectional overrides, zero-width
// and otherwise invisible characters, and octets that are no UTF-8 come out
// as \x1b, \u202e, \xff. Everything that has a shape of its own stays.
func Escape(s string) string { return escape(s, false) }

// escape does Escape; with ascii everything beyond ASCII is spelled out too.
func escape(s string, ascii bool) string {
	clean := true
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case visible(r) && (!ascii || r < 0x80):
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += n
	}
	return b.String()
}

// invisible are the characters that unicode.IsPrint takes for letters or marks
// and that show nothing (Default_Ignorable_Code_Point), plus the Braille blank.
var invisible = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x034f, Hi: 0x034f, Stride: 1}, // combining grapheme joiner
		{Lo: 0x115f, Hi: 0x1160, Stride: 1}, // Hangul fillers
		{Lo: 0x17b4, Hi: 0x17b5, Stride: 1}, // Khmer inherent vowels
		{Lo: 0x180b, Hi: 0x180f, Stride: 1}, // Mongolian variation selectors
		{Lo: 0x2800, Hi: 0x2800, Stride: 1}, // Braille blank
		{Lo: 0x3164, Hi: 0x3164, Stride: 1}, // Hangul filler
		{Lo: 0xfe00, Hi: 0xfe0f, Stride: 1}, // variation selectors
		{Lo: 0xffa0, Hi: 0xffa0, Stride: 1}, // half-width Hangul filler
	},
	R32: []unicode.Range32{{Lo: 0xe0100, Hi: 0xe01ef, Stride: 1}}, // variation selectors
}

func visible(r rune) bool { return unicode.IsPrint(r) && !unicode.Is(invisible, r) }

// columns is how many terminal cells an escaped string takes.
func columns(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r):
		case wide(r):
			n += 2
		default:
			n++
		}
	}
	return n
}

func wide(r rune) bool {
	if r < 0x1100 {
		return false
	}
	k := width.LookupRune(r).Kind()
	return k == width.EastAsianWide || k == width.EastAsianFullwidth
}

// head is the length of the longest beginning of s that takes no more than n cells. What comes after it is not looked at.
func head(s string, n int) int {
	used := 0
	for i, r := range s {
		if used += columns(string(r)); used > n {
			return i
		}
	}
	return len(s)
}

// cut shortens s to n cells, with more at its end when something was cut off.
func cut(s string, n int, more string) string {
	if head(s, n) == len(s) {
		return s
	}
	return s[:head(s, n-columns(more))] + more
}

// pad fills s up to n cells.
func pad(s string, n int) string {
	return s + strings.Repeat(" ", max(0, n-columns(s)))
}

// wrap breaks text between words into lines of at most n cells. A word that is
// longer than a line is broken inside: nothing is lost.
func wrap(text string, n int) []string {
	n = max(n, 10)
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && columns(line)+1+columns(word) <= n {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for end := head(word, n); end < len(word); end = head(word, n) {
			lines, word = append(lines, word[:end]), word[end:]
		}
		line = word
	}
	if line != "" || len(lines) == 0 {
		lines = append(lines, line)
	}
	return lines
}

// SafeJSON is a JSON text in which characters that a terminal acts on, or that hide or reorder text, are written as escapes. It
// means the same. encoding/json escapes only the controls of ASCII.
func SafeJSON(text []byte) []byte {
	if !bytes.ContainsFunc(text, hidden) {
		return text
	}
	var b bytes.Buffer
	for _, r := range string(text) {
		switch {
		case !hidden(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		}
	}
	return b.Bytes()
}

// hidden reports whether a character of a JSON text, which stands in a string, would not be seen as what it is.
func hidden(r rune) bool {
	return r >= 0x7f && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp))
}
