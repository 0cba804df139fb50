package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
)

// The functions of this file read from the migration's folder and from
// nowhere else: fs.FS knows neither ".." nor absolute paths.

var pathParam = function.Parameter{Name: "path", Type: cty.String}

func (l *loader) fileFunc() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{pathParam},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			text, err := l.reader.text(args[0].AsString())
			if err != nil {
				return cty.NullVal(cty.String), err
			}
			return cty.StringVal(text), nil
		},
	})
}

func (l *loader) fileExists() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{pathParam},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			name := cleanPath(args[0].AsString())
			if !fs.ValidPath(name) {
				return cty.NullVal(cty.Bool), fmt.Errorf("%q is no path within the migration's folder", name)
			}
			info, err := fs.Stat(l.fsys, name)
			if errors.Is(err, fs.ErrNotExist) {
				return cty.False, nil
			}
			if err != nil {
				return cty.NullVal(cty.Bool), readError(name, err)
			}
			return cty.BoolVal(info.Mode().IsRegular()), nil
		},
	})
}

const maxFileSet = 10_000

// fileSet is fileset(folder, pattern): the files whose path below the folder
// matches, as path.Match has it.
func (l *loader) fileSet() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{pathParam, {Name: "pattern", Type: cty.String}},
		Type:   function.StaticReturnType(cty.Set(cty.String)),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			none := cty.SetValEmpty(cty.String)
			folder, pattern := cleanPath(args[0].AsString()), args[1].AsString()
			if !fs.ValidPath(folder) || !fs.ValidPath(path.Clean(pattern)) {
				return none, errors.New("write folder and pattern relative to the migration's folder, without \"..\"")
			}
			sub, err := fs.Sub(l.fsys, folder)
			if err != nil {
				return none, readError(folder, err)
			}
			names, err := fs.Glob(sub, pattern)
			if err != nil {
				return none, function.NewArgErrorf(1, "%q is no pattern: %v", pattern, err)
			}
			if len(names) > maxFileSet {
				return none, fmt.Errorf("%q matches more than %d files", pattern, maxFileSet)
			}
			var out []cty.Value
			for _, name := range names {
				if info, err := fs.Stat(sub, name); err == nil && info.Mode().IsRegular() {
					out = append(out, cty.StringVal(name))
				}
			}
			if len(out) == 0 {
				return none, nil
			}
			return cty.SetVal(out), nil
		},
	})
}

// templateFile evaluates a file as a template whose names are vars and
// nothing else. A template can't include another one.
func (l *loader) templateFile(all map[string]function.Function) function.Function {
	inner := maps.Clone(all)
	return function.New(&function.Spec{
		Params: []function.Parameter{pathParam, {Name: "vars", Type: cty.DynamicPseudoType}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			null := cty.NullVal(cty.String)
			name := cleanPath(args[0].AsString())
			text, err := l.reader.text(name)
			if err != nil {
				return null, err
			}
			if !args[1].CanIterateElements() || !args[1].Type().IsObjectType() && !args[1].Type().IsMapType() {
				return null, function.NewArgErrorf(1, "want an object of the template's values")
			}
			tokens, _ := hclsyntax.LexTemplate([]byte(text), name, hcl.InitialPos)
			if at := tooDeep(tokens); at != nil {
				return null, fmt.Errorf("%s:%d is nested too deeply", name, at.Start.Line)
			}
			if at := tooLong(tokens); at != nil {
				return null, fmt.Errorf("%s:%d: the template has more than %d lines and ${ }", name, at.Start.Line, maxParts)
			}
			expr, diags := hclsyntax.ParseTemplate([]byte(text), name, hcl.InitialPos)
			if diags.HasErrors() {
				return null, templateError(diags)
			}
			vars := args[1].AsValueMap()
			for _, t := range hclsyntax.Variables(expr) {
				if _, ok := vars[t.RootName()]; !ok {
					return null, fmt.Errorf("%s:%d uses %q, which the call doesn't pass (it passes %s)", name, t.SourceRange().Start.Line,
						t.RootName(), strings.Join(keysOf(vars), ", "))
				}
			}
			l.eval.meter(expr)
			v, diags := expr.Value(&hcl.EvalContext{Variables: vars, Functions: inner})
			if diags.HasErrors() {
				return null, templateError(diags)
			}
			out, err := convert.Convert(v, cty.String)
			if err != nil {
				return null, fmt.Errorf("%s doesn't make text", name)
			}
			return out, nil
		},
	})
}

func templateError(diags hcl.Diagnostics) error {
	for _, d := range diags {
		if d.Severity == hcl.DiagError && d.Subject != nil {
			return fmt.Errorf("%s:%d: %s: %s", d.Subject.Filename, d.Subject.Start.Line, strings.ToLower(d.Summary), strings.TrimSuffix(d.Detail, "."))
		}
	}
	return diags
}

// csvDecode reads CSV text into a list of objects. When the text is that of a
// file, errors name the file, and the table is kept to trace values back.
func (l *loader) csvDecode() function.Function {
	read := func(text string) (*table, error) {
		file := l.reader.origin[text]
		if file != "" {
			if i := slices.IndexFunc(l.reader.tables, func(t *table) bool { return t.file == file }); i >= 0 {
				return l.reader.tables[i], nil
			}
		}
		name := file
		if name == "" {
			name = "the text"
		}
		t, err := readTable(name, text)
		if err == nil && file != "" {
			l.reader.tables = append(l.reader.tables, t)
		}
		return t, err
	}
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}},
		Type: func(args []cty.Value) (cty.Type, error) {
			if !args[0].IsKnown() {
				return cty.DynamicPseudoType, nil
			}
			t, err := read(args[0].AsString())
			if err != nil {
				return cty.NilType, err
			}
			return t.value().Type(), nil
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			t, err := read(args[0].AsString())
			if err != nil {
				return cty.NilVal, err
			}
			return t.value(), nil
		},
	})
}
