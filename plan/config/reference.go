package config

import (
	"maps"
	"slices"
	"strings"
)

// Reference describes the language for people and editors: it is made from the
// same table that files are held against, so it can't say anything else.
type Reference struct {
	Blocks    []BlockReference    `json:"blocks"`
	Functions []FunctionReference `json:"functions"`
	Roots     []string            `json:"roots"`  // names that an expression can begin with
	Phases    []string            `json:"phases"` // of phase.NAME
	Checks    []CheckReference    `json:"checks"` // of check.NAME
	Facts     []string            `json:"facts"`  // of target.KIND.domain["…"].NAME
}

// BlockReference is one type of block. Where it has kinds, attributes and blocks
// are those of one kind.
type BlockReference struct {
	Type       string               `json:"type"`
	Kind       string               `json:"kind,omitempty"` // first label
	Labels     []string             `json:"labels"`
	Optional   int                  `json:"optional_labels"` // how many of the last labels may be left out
	Repeat     bool                 `json:"repeat"`          // may come more than once
	Free       bool                 `json:"free,omitempty"`  // any attribute (locals)
	Text       string               `json:"description"`
	Attributes []AttributeReference `json:"attributes"`
	Blocks     []BlockReference     `json:"blocks"`
}

// AttributeReference is one attribute. Default is an expression, "" where there is
// none or where words say more.
type AttributeReference struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Required bool   `json:"required"`
	Default  string `json:"default,omitempty"`
	Text     string `json:"description"`
}

// FunctionReference is one function.
type FunctionReference struct {
	Name      string `json:"name"`
	Signature string `json:"signature"`
	Text      string `json:"description"`
}

// CheckReference is one check that a gate can ask.
type CheckReference struct {
	Name     string `json:"name"`
	Argument bool   `json:"argument"` // is written check.NAME["7d"]
}

// Describe returns the language. Everything is in order of name, blocks in the
// order in which a file has them.
func Describe() Reference {
	r := Reference{Roots: roots, Phases: phaseNames(), Facts: append(slices.Clone(FactNames), "dkim.SELECTOR")}
	for _, typ := range blockOrder {
		s := language[typ]
		if s.kinds == nil {
			r.Blocks = append(r.Blocks, describeBlock(typ, "", typ, s))
			continue
		}
		for _, kind := range keysOf(s.kinds) {
			b := describeBlock(typ, kind, typ, s.kinds[kind])
			b.Labels, b.Optional, b.Repeat = s.labels, s.optional, s.repeat
			r.Blocks = append(r.Blocks, b)
		}
	}
	l := &loader{reader: newReader(nil)}
	functions := l.functions()
	for _, name := range keysOf(functions) {
		f := functions[name]
		var params []string
		for _, p := range f.Params() {
			params = append(params, p.Name)
		}
		if v := f.VarParam(); v != nil {
			params = append(params, v.Name+"…")
		}
		r.Functions = append(r.Functions, FunctionReference{name, name + "(" + strings.Join(params, ", ") + ")", functionTexts[name]})
	}
	for _, name := range keysOf(checks) {
		r.Checks = append(r.Checks, CheckReference{name, checks[name]})
	}
	return r
}

// describeBlock describes s, which stands at path.
func describeBlock(typ, kind, path string, s *blockSpec) BlockReference {
	key := docKey(path)
	b := BlockReference{Type: typ, Kind: kind, Labels: s.labels, Optional: s.optional, Repeat: s.repeat, Free: s.free, Text: blockTexts[key]}
	if kind != "" {
		b.Text = blockTexts[typ+" "+kind]
	}
	if b.Labels == nil {
		b.Labels = []string{}
	}
	b.Attributes = []AttributeReference{}
	for _, name := range slices.Sorted(maps.Keys(s.attrs)) {
		d := attributeTexts[key][name]
		b.Attributes = append(b.Attributes, AttributeReference{name, d.typ, s.attrs[name], d.def, d.text})
	}
	b.Blocks = []BlockReference{}
	for _, name := range slices.Sorted(maps.Keys(s.blocks)) {
		b.Blocks = append(b.Blocks, describeBlock(name, "", path+"."+name, s.blocks[name]))
	}
	return b
}

// docKey is under which name the attributes of blocks that are alike are described.
func docKey(path string) string {
	first, rest, nested := strings.Cut(path, ".")
	switch first {
	case "source", "target":
		first = "host"
	case "shared_mailbox":
		first = "mailbox"
	}
	if nested {
		return first + "." + rest
	}
	return first
}

// blockOrder is the order in which a file has blocks.
var blockOrder = []string{"migration", "variable", "locals", "secret", "source", "target", "dns", "smtp", "mailbox", "shared_mailbox",
	"alias", "distribution_list", "forwarder", "domain", "schedule", "gate", "validation", "notify"}
