package render

import (
	"bytes"
	"io"
	"strings"
)

// Screen says how text for a terminal looks.
type Screen struct {
	Width int  // columns; 0 = 80, bounded to 60..200
	Color bool // ANSI colours (the caller has looked at NO_COLOR and the terminal)
	ASCII bool // no character beyond ASCII
}

// Colours, as SGR parameters (ECMA-48 §8.3.117).
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// page collects lines of text. Nothing reaches the writer before flush, so a
// view is written whole or not at all.
type page struct {
	Screen
	b bytes.Buffer
	glyphs
}

// glyphs are the characters beyond ASCII that the views themselves use.
type glyphs struct{ arrow, dot, flip, no, yes, more, dash string }

func newPage(s Screen) *page {
	if s.Width == 0 {
		s.Width = 80
	}
	s.Width = min(max(s.Width, 60), 200)
	p := &page{Screen: s, glyphs: glyphs{"→", "·", "◆", "✗", "✓", "…", "–"}}
	if s.ASCII {
		p.glyphs = glyphs{"->", "|", "*", "x", "+", "...", "-"}
	}
	return p
}

func (p *page) flush(w io.Writer) error {
	_, err := w.Write(p.b.Bytes())
	return err
}

// esc escapes what came from outside for this screen.
func (p *page) esc(s string) string { return escape(s, p.ASCII) }

func (p *page) escAll(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = p.esc(s)
	}
	return out
}

func (p *page) paint(style, s string) string {
	if !p.Color || s == "" {
		return s
	}
	return "\x1b[" + style + "m" + s + "\x1b[0m"
}

// line writes one line; its parts are already escaped, padded and painted.
func (p *page) line(parts ...string) {
	p.b.WriteString(strings.TrimRight(strings.Join(parts, ""), " "))
	p.b.WriteByte('\n')
}

func (p *page) blank() { p.b.WriteByte('\n') }

// para writes text wrapped at the screen's width: lead before its first line,
// as many blanks before the others.
func (p *page) para(style, lead, text string) {
	indent := columns(stripColor(lead))
	for i, l := range wrap(text, p.Width-indent) {
		if i > 0 {
			lead = strings.Repeat(" ", indent)
		}
		p.line(lead, p.paint(style, l))
	}
}

// heading writes a section's title after a blank line.
func (p *page) heading(title, rest string) {
	p.blank()
	line := p.paint(bold, title)
	if rest != "" {
		line += "  " + rest
	}
	p.line(line)
}

// sides writes left and right at the two ends of a line, or below each other
// where they don't fit.
func (p *page) sides(left, right string) {
	gap := p.Width - columns(left) - columns(right)
	if right == "" {
		p.para("", "", left)
		return
	}
	if gap < 2 {
		p.para("", "", left)
		p.line(strings.Repeat(" ", max(0, p.Width-columns(right))), p.paint(dim, right))
		return
	}
	p.line(p.paint(bold, left), strings.Repeat(" ", gap), p.paint(dim, right))
}

// rest says how many rows of a list were left out.
func (p *page) rest(indent string, n int, what string) {
	if n > 0 {
		p.line(indent, p.paint(dim, p.more+" and "+Count(int64(n))+" more "+what))
	}
}
