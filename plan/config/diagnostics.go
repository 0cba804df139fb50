package config

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
)

// WriteDiagnostics writes diagnostics for people, one after the other:
//
//	Error: Unknown attribute
//	  on acme.mx.hcl line 7:
//	     7 │   licence = "x"
//	       │   ^^^^^^^
//	  A mailbox block has no attribute "licence". Did you mean "license"?
//
// files are those of Loaded. Details are wrapped at width columns (80 when
// less than 20). Values of expressions are never printed, and control
// characters, from whatever file they came, are written as escapes.
func WriteDiagnostics(w io.Writer, files map[string]*hcl.File, diags hcl.Diagnostics, width int, color bool) error {
	if width < 20 {
		width = 80
	}
	p := &printer{files: files, width: width, color: color}
	for i, d := range diags {
		if i > 0 {
			p.out.WriteByte('\n')
		}
		p.diagnostic(d)
	}
	_, err := w.Write(p.out.Bytes())
	return err
}

type printer struct {
	files map[string]*hcl.File
	width int
	color bool
	out   bytes.Buffer
}

// SGR codes (ECMA-48 §8.3.117).
const (
	bold   = "1"
	red    = "1;31"
	yellow = "1;33"
	dim    = "2"
)

func (p *printer) paint(code, s string) string {
	if !p.color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p *printer) diagnostic(d *hcl.Diagnostic) {
	word := p.paint(red, "Error:")
	if d.Severity == hcl.DiagWarning {
		word = p.paint(yellow, "Warning:")
	}
	fmt.Fprintf(&p.out, "%s %s\n", word, p.paint(bold, escape(d.Summary)))
	if d.Subject != nil && d.Subject.Filename != "" {
		fmt.Fprintf(&p.out, "  on %s line %d:\n", escape(d.Subject.Filename), d.Subject.Start.Line)
		_, secret := d.Extra.(redacted)
		p.excerpt(*d.Subject, secret)
	}
	for _, line := range wrap(escape(d.Detail), p.width-2) {
		fmt.Fprintf(&p.out, "  %s\n", line)
	}
}

// excerpt prints the first line of a range and marks the range below it; of
// a range that may hold a secret it shows only the place.
func (p *printer) excerpt(at hcl.Range, secret bool) {
	f := p.files[at.Filename]
	if f == nil || at.Start.Line < 1 {
		return
	}
	lines := bytes.Split(f.Bytes, []byte("\n"))
	if at.Start.Line > len(lines) {
		return
	}
	line := strings.TrimSuffix(string(lines[at.Start.Line-1]), "\r")
	if strings.TrimSpace(line) == "" {
		return
	}
	// Columns count grapheme clusters; bytes within the line are exact.
	begin := 0
	for _, l := range lines[:at.Start.Line-1] {
		begin += len(l) + 1
	}
	from := min(max(at.Start.Byte-begin, 0), len(line))
	to := len(line)
	if at.End.Line == at.Start.Line {
		to = min(max(at.End.Byte-begin, from), len(line))
	}
	if at.Start.Byte == 0 && at.Start.Line > 1 { // a range without bytes: the whole line
		from, to = len(line)-len(strings.TrimLeft(line, " \t")), len(line)
	}
	if secret && to > from {
		line = line[:from] + "…" + line[to:]
		to = from + len("…")
	}
	before, marked, after := escape(line[:from]), escape(line[from:to]), escape(line[to:])
	before, marked, after, cut := p.fit(before, marked, after)
	number := fmt.Sprintf("%5d", at.Start.Line)
	fmt.Fprintf(&p.out, "  %s %s %s%s%s\n", p.paint(dim, number), p.paint(dim, "│"), before, p.paint(bold, marked), after)
	fmt.Fprintf(&p.out, "  %s %s %s%s\n", strings.Repeat(" ", len(number)), p.paint(dim, "│"),
		strings.Repeat(" ", utf8.RuneCountInString(before)), p.paint(red, strings.Repeat("^", max(1, utf8.RuneCountInString(marked)-cut))))
}

// fit shortens a line that is wider than the screen. cut is how many runes of
// marked are a sign of that.
func (p *printer) fit(before, marked, after string) (string, string, string, int) {
	room := p.width - 10
	b, m, a := []rune(before), []rune(marked), []rune(after)
	if len(b)+len(m)+len(a) <= room {
		return before, marked, after, 0
	}
	if len(b) > room/2 {
		b = append([]rune("… "), b[len(b)-room/3:]...)
	}
	if left := max(4, room-len(b)-1); len(m) > left {
		return string(b), string(m[:left]) + "…", "", 1
	}
	if left := room - len(b) - len(m) - 1; left < len(a) {
		a = append(a[:max(0, left)], '…')
	}
	return string(b), string(m), string(a), 0
}

// escape makes control characters, and those that turn the direction of
// text, visible: a file must not write to the terminal in their name.
func escape(s string) string {
	if !strings.ContainsFunc(s, hidden) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\t':
			b.WriteString("    ")
		case hidden(r) && r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case hidden(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

func hidden(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029'
}

// wrap breaks text at spaces into lines of at most width runes; longer words
// stand alone.
func wrap(text string, width int) []string {
	var lines []string
	line, length := "", 0
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		if length > 0 && length+1+n > width {
			lines = append(lines, line)
			line, length = "", 0
		}
		if length > 0 {
			line, length = line+" ", length+1
		}
		line, length = line+word, length+n
	}
	if length > 0 {
		lines = append(lines, line)
	}
	return lines
}
