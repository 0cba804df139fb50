package literal

import (
	"slices"
	"strings"
)

// Decoder takes the attributes out of a block one by one. The first thing that
// is wrong stays in Err, and everything after it is a no-op.
type Decoder struct {
	block *Block
	taken map[string]bool
	Err   error
}

// Decode begins to read b, which must have that many labels.
func Decode(b *Block, labels int) *Decoder {
	d := &Decoder{block: b, taken: map[string]bool{}}
	if len(b.Labels) != labels {
		d.Err = Errorf(b.Line, "%q has %d labels, want %d", b.Type, len(b.Labels), labels)
	}
	return d
}

func (d *Decoder) take(name string, kind Kind) (Attr, bool) {
	d.taken[name] = true
	if d.Err != nil {
		return Attr{}, false
	}
	i := slices.IndexFunc(d.block.Attrs, func(a Attr) bool { return a.Name == name })
	if i < 0 {
		return Attr{}, false
	}
	a := d.block.Attrs[i]
	if a.Value.Kind != kind {
		d.Err = Errorf(a.Line, "%s is %s, want %s", name, a.Value.Kind, kind)
		return Attr{}, false
	}
	return a, true
}

// String is the attribute's text, "" when it is not there.
func (d *Decoder) String(name string) string {
	a, _ := d.take(name, String)
	return a.Value.Text
}

// Int is the attribute's number, 0 when it is not there. Numbers beyond low
// and high are an error.
func (d *Decoder) Int(name string, low, high int64) int64 {
	a, ok := d.take(name, Number)
	if ok && (a.Value.Number < low || a.Value.Number > high) {
		d.Err = Errorf(a.Line, "%s is %d, want a number from %d to %d", name, a.Value.Number, low, high)
	}
	return a.Value.Number
}

// Bool is the attribute's truth, false when it is not there.
func (d *Decoder) Bool(name string) bool {
	a, _ := d.take(name, Bool)
	return a.Value.Bool
}

// Strings is the attribute's list, nil when it is not there.
func (d *Decoder) Strings(name string) []string {
	a, _ := d.take(name, List)
	return a.Value.List
}

// Map is the attribute's entries, nil when it is not there.
func (d *Decoder) Map(name string) []Entry {
	a, _ := d.take(name, Map)
	return a.Value.Entries
}

// Parse hands the attribute's text to parse, whose error is put at its line.
// It is not called when the attribute is not there.
func (d *Decoder) Parse(name string, parse func(string) error) {
	a, ok := d.take(name, String)
	if !ok {
		return
	}
	if err := parse(a.Value.Text); err != nil {
		d.Err = Errorf(a.Line, "%s: %v", name, err)
	}
}

// Label is the nth label of the block.
func (d *Decoder) Label(n int) string {
	if n < len(d.block.Labels) {
		return d.block.Labels[n]
	}
	return ""
}

// Blocks are the nested blocks of that type.
func (d *Decoder) Blocks(typ string) []*Block {
	d.taken[typ+" {"] = true
	var list []*Block
	for _, b := range d.block.Blocks {
		if b.Type == typ {
			list = append(list, b)
		}
	}
	return list
}

// End returns the first thing that was wrong: also an attribute or block that
// nothing asked for, because a file with a word we don't know says something
// that we would leave undone.
func (d *Decoder) End() error {
	if d.Err != nil {
		return d.Err
	}
	for _, a := range d.block.Attrs {
		if !d.taken[a.Name] {
			return Errorf(a.Line, "%s is unknown here: there are %s", a.Name, d.known())
		}
	}
	for _, b := range d.block.Blocks {
		if !d.taken[b.Type+" {"] {
			return Errorf(b.Line, "a %q block is unknown here: there are %s", b.Type, d.known())
		}
	}
	return nil
}

func (d *Decoder) known() string {
	var names []string
	for name := range d.taken {
		names = append(names, strings.TrimSuffix(name, " {"))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
