package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// report takes over diagnostics of an evaluation. Where it can it adds what a
// person needs and HCL can't know: which key was missing, which CSV file lacks
// a column. origin is where the instance comes from.
func (l *loader) report(diags hcl.Diagnostics, origin string) {
	for _, d := range diags {
		if d.Summary == tooMuch {
			if l.exhausted {
				continue // every loop of the file says so now
			}
			l.exhausted = true
		}
		out := *d
		out.Detail += l.explain(d)
		if origin != "" && !strings.Contains(out.Detail, origin) {
			out.Detail += origin
		}
		// Expression and context would let a writer print values.
		out.Expression, out.EvalContext = nil, nil
		l.diags = append(l.diags, &out)
	}
}

func (l *loader) explain(d *hcl.Diagnostic) string {
	if d.Expression == nil || d.EvalContext == nil {
		return ""
	}
	if d.Summary == "Duplicate object key" {
		if l.traced++; l.traced > maxTraced {
			return ""
		}
		return l.duplicateRows(d.Expression, d.EvalContext)
	}
	switch e := d.Expression.(type) {
	case *hclsyntax.IndexExpr:
		return missingKey(e, d.EvalContext)
	case *hclsyntax.ScopeTraversalExpr:
		return l.missingName(e.Traversal, d.EvalContext)
	}
	return ""
}

// duplicateRows names the lines of a CSV file whose column makes the same key.
func (l *loader) duplicateRows(key hcl.Expression, ctx *hcl.EvalContext) string {
	k, diags := key.Value(ctx)
	if diags.HasErrors() || k.Type() != cty.String || !k.IsKnown() || k.IsNull() {
		return ""
	}
	for _, v := range ctx.Variables {
		t := l.reader.tableOf(v)
		if t == nil {
			continue
		}
		var lines []string
		for _, r := range t.rows {
			if slices.Contains(r.cells, k.AsString()) {
				if len(lines) == maxAlike {
					lines = append(lines, "others")
					break
				}
				lines = append(lines, fmt.Sprintf("%s:%d", t.file, r.line))
			}
		}
		return " It is in " + strings.Join(lines, " and ") + "."
	}
	return ""
}

// missingKey says which key an index asked for, and the nearest there is.
func missingKey(e *hclsyntax.IndexExpr, ctx *hcl.EvalContext) string {
	key, diags := e.Key.Value(ctx)
	if diags.HasErrors() || key.IsMarked() || key.Type() != cty.String || !key.IsKnown() || key.IsNull() {
		return ""
	}
	coll, diags := e.Collection.Value(ctx)
	if diags.HasErrors() || coll.IsMarked() {
		return ""
	}
	return noSuchKey(key.AsString(), coll)
}

func noSuchKey(key string, coll cty.Value) string {
	if !coll.IsKnown() || coll.IsNull() || !coll.CanIterateElements() || coll.Type().IsTupleType() || coll.Type().IsListType() || coll.Type().IsSetType() {
		return ""
	}
	known := coll.AsValueMap()
	if _, there := known[key]; there {
		return ""
	}
	delete(known, self)
	return fmt.Sprintf(" There is no %q.%s", key, suggest(key, keysOf(known)))
}

// missingName follows a traversal as far as it goes and says what is missing
// behind it.
func (l *loader) missingName(t hcl.Traversal, ctx *hcl.EvalContext) string {
	for c := ctx; c != nil; c = c.Parent() {
		v, ok := c.Variables[t.RootName()]
		if !ok {
			continue
		}
		for i := 1; i < len(t); i++ {
			if !v.IsKnown() || v.IsNull() || v.IsMarked() {
				return ""
			}
			next, diags := t[i].TraversalStep(v)
			if !diags.HasErrors() {
				v = next
				continue
			}
			name := step(t, i)
			if ref, ok := held[hostRef](v, hostType); ok && ref.Role == "target" {
				return fmt.Sprintf(" %q is no fact that target %q has told so far: \"mxodus discover\" asks it.", name, ref.Key)
			}
			if table := l.reader.tableOf(v); table != nil {
				return fmt.Sprintf(" %s has no column %q.%s", table.file, name, suggest(name, table.columns))
			}
			if name != "" {
				return noSuchKey(name, v)
			}
			return ""
		}
	}
	return ""
}

// tableOf finds the CSV file that an object is a row of.
func (r *reader) tableOf(v cty.Value) *table {
	if !v.Type().IsObjectType() {
		return nil
	}
	t, _ := r.trace("", v)
	return t
}
