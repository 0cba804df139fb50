package config

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// setting is a value given for a variable from outside, and by what.
type setting struct {
	from  string
	text  string     // as typed, for -var and the environment
	value cty.Value  // as evaluated, from a file
	at    *hcl.Range // in that file
}

const environPrefix = "MXODUS_VAR_"

// collectSettings gathers what was given for variables, weakest first:
// environment, files in their order, -var.
func (l *loader) collectSettings() {
	l.settings = map[string]setting{}
	declared := l.names("var")
	for _, e := range l.options.Environ {
		name, value, ok := strings.Cut(e, "=")
		name, ours := strings.CutPrefix(name, environPrefix)
		switch {
		case !ok || !ours:
		case !slices.Contains(declared, name):
			l.warnf(nil, "Unused variable", "%s%s is set, and no variable %q is declared.%s", environPrefix, name, name, suggest(name, declared))
		default:
			l.settings[name] = setting{from: environPrefix + name, text: value}
		}
	}
	for _, f := range l.options.VarFiles {
		l.varFile(cleanPath(f), declared)
	}
	for _, name := range keysOf(l.options.Vars) {
		if !slices.Contains(declared, name) {
			l.errorf(nil, "Undeclared variable", "-var %s=… is given, and no variable %q is declared.%s", name, name, suggest(name, declared))
			continue
		}
		l.settings[name] = setting{from: "-var", text: l.options.Vars[name]}
	}
}

func (l *loader) varFile(name string, declared []string) {
	src, err := readBounded(l.fsys, name, MaxFileSize)
	if err != nil {
		l.errorf(nil, "File can't be read", "-var-file: %v.", err)
		return
	}
	f, diags := parseSource(name, src)
	l.files[name] = f
	l.diags = append(l.diags, diags...)
	syn := f.Body.(*hclsyntax.Body)
	for _, b := range syn.Blocks {
		at := b.DefRange()
		l.errorf(&at, "Block in a file of variables", "A -var-file holds NAME = VALUE and no blocks.")
	}
	for _, a := range attributes(syn) {
		if !slices.Contains(declared, a.Name) {
			l.errorf(&a.NameRange, "Undeclared variable", "No variable %q is declared.%s", a.Name, suggest(a.Name, declared))
			continue
		}
		l.eval.meter(a.Expr)
		v, diags := a.Expr.Value(nil)
		l.report(diags, "")
		if !diags.HasErrors() {
			at := a.Expr.Range()
			l.settings[a.Name] = setting{from: name, value: v, at: &at}
		}
	}
}

// variable is what var.NAME is: the strongest setting, else the default.
func (l *loader) variable(n *node) cty.Value {
	name := n.label(0)
	typ, defaults := cty.DynamicPseudoType, (*typeexpr.Defaults)(nil)
	attrs := n.block.Body.Attributes
	if a := attrs["type"]; a != nil {
		var diags hcl.Diagnostics
		if typ, defaults, diags = typeexpr.TypeConstraintWithDefaults(a.Expr); diags.HasErrors() {
			l.report(diags, "")
			return cty.DynamicVal
		}
	}
	var v cty.Value
	var from string
	at := &n.at
	s, given := l.settings[name]
	switch {
	case given && s.value != cty.NilVal:
		v, from, at = s.value, s.from, s.at
	case given:
		from = s.from
		// As in Terraform: text is taken as it stands unless the type has parts.
		if typ.IsPrimitiveType() || typ == cty.DynamicPseudoType {
			v = cty.StringVal(s.text)
			break
		}
		f, diags := hclsyntax.ParseExpression([]byte(s.text), from, hcl.InitialPos)
		if !diags.HasErrors() {
			v, diags = f.Value(nil)
		}
		if diags.HasErrors() {
			l.errorf(at, "Bad value for a variable", "What %s gives for %q is no expression of its type.", from, name)
			return cty.DynamicVal
		}
	case attrs["default"] != nil:
		var diags hcl.Diagnostics
		if v, diags = attrs["default"].Expr.Value(nil); diags.HasErrors() {
			l.report(diags, "")
			return cty.DynamicVal
		}
		r := attrs["default"].Expr.Range()
		from, at = "the default", &r
	default:
		l.errorf(at, "Variable without a value", "Variable %q has no default: give -var %s=…, or set %s%s.", name, name, environPrefix, name)
		return cty.DynamicVal
	}
	if defaults != nil && !v.IsNull() {
		v = defaults.Apply(v)
	}
	out, err := convert.Convert(v, typ)
	if err != nil {
		l.errorf(at, "Bad value for a variable", "Variable %q is of type %s, and %s gives %s.", name, typeexpr.TypeString(typ), from, describe(v.Type()))
		return cty.DynamicVal
	}
	return out
}
