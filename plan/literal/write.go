package literal

import (
	"bytes"
	"strconv"
	"strings"
)

// Writer collects a file in canonical form. The zero value is ready to use.
// Attributes with an empty value are left out: absent and empty mean the same.
type Writer struct {
	b      bytes.Buffer
	indent string
	run    []line // attributes of one line each, whose = stand below each other
	first  bool   // nothing stands in this body yet
	any    bool
}

type line struct{ name, value string }

// Bytes ends the file and returns it.
func (w *Writer) Bytes() []byte {
	w.flush()
	return w.b.Bytes()
}

// Comment writes a line that begins with "# ".
func (w *Writer) Comment(text string) {
	w.flush()
	w.b.WriteString(w.indent + "# " + text + "\n")
	w.any = true
}

// Block writes a block whose body fill writes. Blocks are set apart by an
// empty line, but for the first one in a body.
func (w *Writer) Block(typ string, labels []string, fill func()) {
	w.flush()
	if w.any && !w.first {
		w.b.WriteByte('\n')
	}
	w.b.WriteString(w.indent + typ)
	for _, l := range labels {
		w.b.WriteString(" " + Quote(l))
	}
	w.b.WriteString(" {")
	empty := w.b.Len()
	w.b.WriteByte('\n')
	w.indent += "  "
	w.first = true
	fill()
	w.flush()
	w.indent = w.indent[2:]
	if w.b.Len() == empty+1 {
		w.b.Truncate(empty)
		w.b.WriteString("}\n")
	} else {
		w.b.WriteString(w.indent + "}\n")
	}
	w.first, w.any = false, true
}

// String writes a string; an empty one is left out.
func (w *Writer) String(name, value string) {
	if value != "" {
		w.run = append(w.run, line{name, Quote(value)})
	}
}

// Int writes a number, also 0.
func (w *Writer) Int(name string, n int64) {
	w.run = append(w.run, line{name, strconv.FormatInt(n, 10)})
}

// Bool writes true or false.
func (w *Writer) Bool(name string, v bool) {
	w.run = append(w.run, line{name, strconv.FormatBool(v)})
}

// Strings writes a list: one element stays on the line, more get a line each.
func (w *Writer) Strings(name string, list []string) {
	switch len(list) {
	case 0:
	case 1:
		w.run = append(w.run, line{name, "[" + Quote(list[0]) + "]"})
	default:
		w.flush()
		w.b.WriteString(w.indent + name + " = [\n")
		for _, s := range list {
			w.b.WriteString(w.indent + "  " + Quote(s) + ",\n")
		}
		w.b.WriteString(w.indent + "]\n")
		w.first, w.any = false, true
	}
}

// Map writes a map in the order given, a line each.
func (w *Writer) Map(name string, entries []Entry) {
	if len(entries) == 0 {
		return
	}
	w.flush()
	w.b.WriteString(w.indent + name + " = {\n")
	for _, e := range entries {
		w.b.WriteString(w.indent + "  " + Quote(e.Key) + " = " + Quote(e.Text) + "\n")
	}
	w.b.WriteString(w.indent + "}\n")
	w.first, w.any = false, true
}

// flush writes the attributes that wait for the longest name among them.
func (w *Writer) flush() {
	longest := 0
	for _, l := range w.run {
		longest = max(longest, len(l.name))
	}
	for _, l := range w.run {
		w.b.WriteString(w.indent + l.name + strings.Repeat(" ", longest-len(l.name)) + " = " + l.value + "\n")
		w.first, w.any = false, true
	}
	w.run = w.run[:0]
}
