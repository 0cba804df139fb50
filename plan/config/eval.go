package config

import (
	"maps"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/mxodus/mxodus/plan"
)

// evaluator holds what all evaluations of one Load share.
type evaluator struct {
	functions map[string]function.Function
	steps     int // taken by for expressions and splats so far
	octets    int // of what they have made
}

// metered counts how often the body of a loop is evaluated: an expression of
// three nested loops is short to write and takes for ever.
type metered struct {
	hclsyntax.Expression
	eval *evaluator
}

const tooMuch = "Too much to evaluate"

// Value evaluates the wrapped expression while the budget lasts.
func (m *metered) Value(ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	if m.eval.steps++; m.eval.steps > maxSteps {
		at := m.Expression.Range()
		return cty.DynamicVal, hcl.Diagnostics{problem(&at, tooMuch,
			"The loops of this configuration take more than %d steps.", maxSteps)}
	}
	v, diags := m.Expression.Value(ctx)
	// A loop that names a large value a thousand times makes one that is a thousand times as large.
	if m.eval.octets += weight(v); m.eval.octets > maxLoops {
		at := m.Expression.Range()
		return cty.DynamicVal, hcl.Diagnostics{problem(&at, tooMuch,
			"The loops of this configuration make more than %d MB.", maxLoops>>20)}
	}
	return v, diags
}

// meter wraps the bodies of all loops in e. Call it after Variables: the
// wrapper hides the expression's own type from walkers.
func (ev *evaluator) meter(e hclsyntax.Expression) {
	var loops []func()
	_ = hclsyntax.VisitAll(e, func(n hclsyntax.Node) hcl.Diagnostics {
		switch x := n.(type) {
		case *hclsyntax.ForExpr:
			loops = append(loops, func() { x.ValExpr = &metered{x.ValExpr, ev} })
			if x.CondExpr != nil {
				loops = append(loops, func() { x.CondExpr = &metered{x.CondExpr, ev} })
			}
		case *hclsyntax.SplatExpr:
			loops = append(loops, func() { x.Each = &metered{x.Each, ev} })
		}
		return nil
	})
	for _, wrap := range loops {
		wrap()
	}
}

// value evaluates n at the first call. ok is false when it, or what it needs,
// has errors; they are reported once.
func (l *loader) value(n *node) (cty.Value, bool) {
	if n.evaluated {
		return n.value, n.ok
	}
	n.evaluated = true
	ctx, ok := l.context(n)
	if !ok {
		return cty.DynamicVal, false
	}
	before := len(l.diags)
	n.value = l.evaluate(n, ctx)
	n.ok = !l.diags[before:].HasErrors()
	if n.ok && weight(n.value) > maxValueSize {
		l.errorf(&n.at, "Value too large", "%s takes more than %d MB.", n.addr, maxValueSize>>20)
		n.ok = false
	}
	return n.value, n.ok
}

// context holds what n refers to and nothing else.
func (l *loader) context(n *node) (*hcl.EvalContext, bool) {
	ok := true
	ctx := &hcl.EvalContext{Variables: map[string]cty.Value{}, Functions: l.eval.functions}
	tree := map[string]map[string]cty.Value{}
	put := func(root, name string, v cty.Value) {
		if tree[root] == nil {
			tree[root] = map[string]cty.Value{}
		}
		tree[root][name] = v
	}
	for _, dep := range n.deps() {
		d := l.nodes[dep]
		v, good := l.value(d)
		if !good {
			ok = false
			continue
		}
		switch d.root {
		case "source", "target", "dns":
			continue // below: they share a level
		case "variable":
			put("var", d.label(0), v)
		case "local":
			put("local", d.addr[len("local."):], v)
		default:
			put(d.root, d.label(0), v)
		}
	}
	if !ok {
		return nil, false
	}
	for _, r := range n.refs {
		switch root := r.traversal.RootName(); root {
		case "phase":
			ctx.Variables["phase"] = phaseValues
		case "cutover":
			ctx.Variables["cutover"] = momentVal(plan.Moment{Anchor: plan.AnchorCutover})
		case "gate":
			if r.dep == "" {
				name := step(r.traversal, 1)
				put("gate", name, nameVal("gate", name))
			}
		case "check":
			name, arg := step(r.traversal, 1), step(r.traversal, 2)
			put("check", name, checkVal(name, arg, tree["check"][name]))
		case "source", "target", "dns":
			kind := l.nodes[r.dep].label(0)
			put(root, kind, l.hostValue(root, kind))
		}
	}
	for root, values := range tree {
		ctx.Variables[root] = cty.ObjectVal(values)
	}
	return ctx, true
}

// checkVal is check.NAME: a check, or with an argument an object of those
// arguments that are written out, added to what is there already.
func checkVal(name, arg string, there cty.Value) cty.Value {
	if arg == "" {
		return cty.CapsuleVal(checkType, &plan.CheckRef{Name: name})
	}
	args := map[string]cty.Value{}
	if there != cty.NilVal {
		maps.Copy(args, there.AsValueMap())
	}
	canonical := arg
	if d, err := plan.ParseDuration(arg); err == nil {
		canonical = plan.FormatDuration(d)
	}
	args[arg] = cty.CapsuleVal(checkType, &plan.CheckRef{Name: name, Arg: canonical})
	return cty.ObjectVal(args)
}

func nameVal(block, name string) cty.Value {
	return cty.CapsuleVal(nameType, &nameRef{Block: block, Name: name})
}

// hostValue is target.KIND: the host of that kind without a name, with its
// facts, and below it those with one.
func (l *loader) hostValue(root, kind string) cty.Value {
	one := func(key string) map[string]cty.Value {
		attrs := map[string]cty.Value{self: cty.CapsuleVal(hostType, &hostRef{Role: root, Key: key})}
		if root == "target" && directories[kind] {
			attrs["domain"] = l.domainFacts(key)
		}
		return attrs
	}
	attrs := map[string]cty.Value{}
	for _, n := range l.blocks {
		if n.root != root || n.label(0) != kind {
			continue
		}
		if name := n.label(1); name != "" {
			attrs[name] = cty.ObjectVal(one(plan.HostKey(kind, name)))
		} else {
			for k, v := range one(kind) {
				if _, taken := attrs[k]; !taken {
					attrs[k] = v
				}
			}
		}
	}
	return cty.ObjectVal(attrs)
}

// domainFacts is target.KIND.domain: each declared domain, and each that the
// target told of, with its facts. What it has not told yet is unknown.
func (l *loader) domainFacts(key string) cty.Value {
	told := l.options.Facts[key]
	names := keysOf(told)
	for _, n := range l.blocks {
		if n.root != "domain" {
			continue
		}
		if name, err := parseDomain(n.label(0)); err == nil {
			names = append(names, name)
		}
	}
	fact := func(domain, name string) cty.Value {
		if v := told[domain][name]; v != "" {
			return cty.StringVal(v)
		}
		return cty.UnknownVal(cty.String)
	}
	domains := map[string]cty.Value{}
	for _, d := range names {
		attrs := map[string]cty.Value{}
		for _, name := range FactNames {
			attrs[name] = fact(d, name)
		}
		dkim := map[string]cty.Value{}
		for _, s := range dkimSelectors {
			dkim[s] = fact(d, "dkim."+s)
		}
		for name := range told[d] {
			if s, ok := strings.CutPrefix(name, "dkim."); ok {
				dkim[s] = fact(d, name)
			}
		}
		attrs["dkim"] = cty.ObjectVal(dkim)
		domains[d] = cty.ObjectVal(attrs)
	}
	return cty.ObjectVal(domains)
}

// evaluate turns one node into its value and files what it declares.
func (l *loader) evaluate(n *node, ctx *hcl.EvalContext) cty.Value {
	switch n.root {
	case "migration":
		l.migration(n, ctx)
	case "variable":
		return l.variable(n)
	case "local":
		v, diags := n.expr.Value(ctx)
		l.report(diags, "")
		return v
	case "secret":
		return l.secret(n, ctx)
	case "source", "target":
		return l.host(n, ctx)
	case "dns":
		return l.zone(n, ctx)
	case "smtp":
		return l.smtp(n, ctx)
	case "mailbox", "shared_mailbox", "alias", "distribution_list", "forwarder":
		return l.people(n, ctx)
	case "domain":
		l.domain(n, ctx)
	case "schedule":
		l.schedule(n, ctx)
	case "gate":
		return l.gate(n, ctx)
	case "validation":
		l.validation(n, ctx)
	case "notify":
		l.notify(n, ctx)
	}
	return cty.True // nothing can refer to these
}
