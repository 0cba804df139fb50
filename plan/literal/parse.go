package literal

import (
	"strconv"
	"strings"
)

// maxDepth bounds the nesting of blocks; the files of a migration need two.
const maxDepth = 8

// Parse reads a file. Errors are *Error and name the line.
func Parse(data []byte) (*Block, error) {
	p := &parser{src: string(data), line: 1}
	file := &Block{Line: 1}
	if err := p.body(file, 0); err != nil {
		return nil, err
	}
	return file, nil
}

type parser struct {
	src  string // what is left
	line int
}

func (p *parser) errorf(format string, args ...any) error { return Errorf(p.line, format, args...) }

func (p *parser) advance(n int) {
	p.line += strings.Count(p.src[:n], "\n")
	p.src = p.src[n:]
}

// blanks passes over blanks and comments, and over line ends where lines is set.
func (p *parser) blanks(lines bool) {
	for p.src != "" {
		switch c := p.src[0]; {
		case c == ' ' || c == '\t' || c == '\r' && strings.HasPrefix(p.src, "\r\n"):
			p.advance(1)
		case c == '\n' && lines:
			p.advance(1)
		case c == '#' || strings.HasPrefix(p.src, "//"):
			i := strings.IndexByte(p.src, '\n')
			if i < 0 {
				i = len(p.src)
			}
			p.advance(i)
		default:
			return
		}
	}
}

// take passes over token if it is next.
func (p *parser) take(token byte) bool {
	if p.src == "" || p.src[0] != token {
		return false
	}
	p.advance(1)
	return true
}

func (p *parser) next() string {
	if p.src == "" {
		return "the end of the file"
	}
	return strconv.QuoteToASCII(string([]rune(p.src[:min(4, len(p.src))])[0]))
}

func (p *parser) body(b *Block, depth int) error {
	seen := map[string]bool{}
	for {
		p.blanks(true)
		if p.src == "" {
			if depth > 0 {
				return p.errorf("the block that begins in line %d has no end: } is missing", b.Line)
			}
			return nil
		}
		if depth > 0 && p.take('}') {
			return nil
		}
		name := identifier(p.src)
		if name == "" {
			return p.errorf("found %s where a name should be", p.next())
		}
		line := p.line
		p.advance(len(name))
		p.blanks(false)
		if p.take('=') {
			if seen[name] {
				return Errorf(line, "%q stands twice in one block", name)
			}
			seen[name] = true
			v, err := p.value()
			if err != nil {
				return err
			}
			b.Attrs = append(b.Attrs, Attr{Name: name, Line: line, Value: v})
		} else {
			sub := &Block{Type: name, Line: line}
			if err := p.block(sub, depth+1); err != nil {
				return err
			}
			b.Blocks = append(b.Blocks, sub)
		}
		p.blanks(false)
		if p.src != "" && p.src[0] != '\n' && (depth == 0 || p.src[0] != '}') {
			return p.errorf("found %s where the line should end", p.next())
		}
	}
}

func (p *parser) block(b *Block, depth int) error {
	if depth > maxDepth {
		return p.errorf("blocks are nested too deeply")
	}
	for p.src != "" && p.src[0] == '"' {
		label, err := p.text()
		if err != nil {
			return err
		}
		b.Labels = append(b.Labels, label)
		p.blanks(false)
	}
	if !p.take('{') {
		return p.errorf("found %s after %q: an attribute has = there, a block has {", p.next(), b.Type)
	}
	return p.body(b, depth)
}

func (p *parser) text() (string, error) {
	text, rest, err := unquote(p.src)
	if err != nil {
		return "", p.errorf("%v", err)
	}
	p.advance(len(p.src) - len(rest))
	return text, nil
}

func (p *parser) value() (Value, error) {
	p.blanks(false)
	switch {
	case p.src == "":
	case p.src[0] == '"':
		text, err := p.text()
		return Value{Kind: String, Text: text}, err
	case p.take('['):
		return p.list()
	case p.take('{'):
		return p.entries()
	}
	if word := identifier(p.src); word == "true" || word == "false" {
		p.advance(len(word))
		return Value{Kind: Bool, Bool: word == "true"}, nil
	}
	digits := 0
	for digits < len(p.src) && (p.src[digits] >= '0' && p.src[digits] <= '9' || digits == 0 && p.src[0] == '-') {
		digits++
	}
	n, err := strconv.ParseInt(p.src[:digits], 10, 64)
	if err != nil {
		return Value{}, p.errorf("found %s where a value should be: a string, a whole number, true, false, a list or a map of strings", p.next())
	}
	p.advance(digits)
	return Value{Kind: Number, Number: n}, nil
}

func (p *parser) list() (Value, error) {
	v := Value{Kind: List}
	for {
		p.blanks(true)
		if p.take(']') {
			return v, nil
		}
		if p.src == "" || p.src[0] != '"' {
			return Value{}, p.errorf("found %s in a list: want a string or ]", p.next())
		}
		text, err := p.text()
		if err != nil {
			return Value{}, err
		}
		v.List = append(v.List, text)
		p.blanks(true)
		if !p.take(',') && !strings.HasPrefix(p.src, "]") {
			return Value{}, p.errorf("found %s in a list: want , or ]", p.next())
		}
	}
}

func (p *parser) entries() (Value, error) {
	v := Value{Kind: Map}
	seen := map[string]bool{}
	for {
		p.blanks(true)
		if p.take('}') {
			return v, nil
		}
		if p.src == "" || p.src[0] != '"' {
			return Value{}, p.errorf("found %s in a map: want a string or }", p.next())
		}
		e := Entry{Line: p.line}
		var err error
		if e.Key, err = p.text(); err != nil {
			return Value{}, err
		}
		if seen[e.Key] {
			return Value{}, Errorf(e.Line, "%q stands twice in one map", e.Key)
		}
		seen[e.Key] = true
		p.blanks(false)
		if !p.take('=') {
			return Value{}, p.errorf("found %s in a map: want =", p.next())
		}
		p.blanks(false)
		if p.src == "" || p.src[0] != '"' {
			return Value{}, p.errorf("found %s in a map: want a string", p.next())
		}
		if e.Text, err = p.text(); err != nil {
			return Value{}, err
		}
		v.Entries = append(v.Entries, e)
		p.blanks(false)
		if !p.take(',') && !strings.HasPrefix(p.src, "\n") && !strings.HasPrefix(p.src, "}") {
			return Value{}, p.errorf("found %s in a map: want a new line or }", p.next())
		}
	}
}
