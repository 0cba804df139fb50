package config

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/mxodus/mxodus/plan"
)

// node is a block, or one attribute of locals, that expressions can depend
// on. It is evaluated once, when it is first asked for.
type node struct {
	addr  string // "mailbox.user", "local.people", "target.imap.lab"
	root  string // the block's type, "local" for an attribute of locals
	block *hclsyntax.Block
	expr  hclsyntax.Expression // of a local
	at    hcl.Range
	refs  []reference

	evaluated bool
	value     cty.Value // of any type; only when ok
	ok        bool
}

// reference is one name that an expression uses.
type reference struct {
	traversal hcl.Traversal
	dep       string // address of the node, "" for each, phase, check and cutover
}

// roots are the names that an expression can begin with.
var roots = []string{"alias", "check", "cutover", "distribution_list", "dns", "each", "forwarder", "gate", "local",
	"mailbox", "phase", "secret", "shared_mailbox", "smtp", "source", "target", "var"}

func (n *node) label(i int) string {
	if n.block == nil || i >= len(n.block.Labels) {
		return ""
	}
	return n.block.Labels[i]
}

func (n *node) pos() plan.Pos { return posOf(n.at) }

func posOf(r hcl.Range) plan.Pos { return plan.Pos{File: r.Filename, Line: r.Start.Line} }

// declare holds every block against the schema and makes a node of it.
func (l *loader) declare() {
	once := map[string]*hclsyntax.Block{}
	for _, name := range keysOf(l.files) {
		body := l.files[name].Body.(*hclsyntax.Body)
		for _, a := range attributes(body) {
			l.errorf(&a.NameRange, "Attribute outside of a block", "%q has to stand in a block, a value of your own in locals { … }.", a.Name)
		}
		for _, b := range body.Blocks {
			s, known := language[b.Type]
			if !known {
				l.errorf(&b.TypeRange, "Unknown block", "There is no block %q.%s", b.Type, suggest(b.Type, keysOf(language)))
				continue
			}
			l.checkBlock(b, s, once)
			l.declareBlock(b)
		}
	}
	if l.diags.HasErrors() {
		return
	}
	if !slices.ContainsFunc(l.blocks, func(n *node) bool { return n.root == "migration" }) {
		l.errorf(nil, "No migration block", "One file has to hold migration \"NAME\" { cutover = \"2027-01-15T18:00\" … }.")
	}
}

func (l *loader) declareBlock(b *hclsyntax.Block) {
	if b.Type == "locals" {
		for _, a := range attributes(b.Body) {
			n := &node{addr: "local." + a.Name, root: "local", expr: a.Expr, at: a.NameRange}
			if first := l.nodes[n.addr]; first != nil {
				l.errorf(&n.at, "Duplicate local", "%q is there already at %s.", a.Name, first.pos())
				continue
			}
			l.nodes[n.addr] = n
			l.blocks = append(l.blocks, n)
		}
		return
	}
	addr := b.Type
	if b.Type == "variable" {
		addr = "var"
	}
	for i, label := range b.Labels {
		addr += "." + label
		free := b.Type == "migration" || b.Type == "domain" || b.Type == "notify" || i == 0 && specKinds(b)
		if !free && !hclsyntax.ValidIdentifier(label) {
			l.errorf(&b.LabelRanges[i], "Name that can't be referred to",
				"%q is no identifier: write letters, digits, \"_\" and \"-\", a letter first.", label)
		}
	}
	if l.nodes[addr] != nil {
		return // reported as a duplicate
	}
	n := &node{addr: addr, root: b.Type, block: b, at: b.DefRange()}
	l.nodes[addr] = n
	l.blocks = append(l.blocks, n)
}

func specKinds(b *hclsyntax.Block) bool { return language[b.Type].kinds != nil }

// link finds what each node refers to and refuses undeclared names and cycles.
func (l *loader) link() {
	for _, n := range l.blocks {
		if n.expr != nil {
			l.linkExpr(n, n.expr, false)
		} else {
			_, forEach := n.block.Body.Attributes["for_each"]
			l.linkBody(n, n.block.Body, forEach)
		}
	}
	if l.diags.HasErrors() {
		return
	}
	done := map[string]bool{}
	for _, n := range l.blocks {
		l.cycle(n, nil, map[string]int{}, done)
	}
}

func (l *loader) linkBody(n *node, body *hclsyntax.Body, forEach bool) {
	for _, a := range attributes(body) {
		switch {
		case n.root == "variable" && a.Name == "type":
			continue // a type expression holds keywords, not references
		case a.Name == "for_each":
			l.linkExpr(n, a.Expr, false)
		default:
			l.linkExpr(n, a.Expr, forEach)
		}
	}
	for _, b := range body.Blocks {
		l.linkBody(n, b.Body, forEach)
	}
}

func (l *loader) linkExpr(n *node, e hclsyntax.Expression, each bool) {
	l.refuseComparison(e)
	for _, t := range hclsyntax.Variables(e) {
		if n.root == "variable" {
			at := t.SourceRange()
			l.errorf(&at, "Reference in a variable", "A variable block holds plain values: use locals for what depends on others.")
			continue
		}
		dep, d := l.resolve(t, each)
		if d != nil {
			l.diags = append(l.diags, d)
			continue
		}
		n.refs = append(n.refs, reference{traversal: t, dep: dep})
	}
	l.eval.meter(e)
}

// resolve finds the node that a traversal begins with.
func (l *loader) resolve(t hcl.Traversal, each bool) (string, *hcl.Diagnostic) {
	at := t.SourceRange()
	undeclared := func(format string, args ...any) (string, *hcl.Diagnostic) {
		return "", problem(&at, "Undeclared reference", format, args...)
	}
	root := t.RootName()
	second, third := step(t, 1), step(t, 2)
	switch root {
	case "cutover":
		return "", nil
	case "each":
		if !each {
			return undeclared("each.key and each.value exist only in a block with for_each, beside the for_each itself.")
		}
		if second != "key" && second != "value" {
			return undeclared("There is each.key and each.value, nothing else.%s", suggest(second, []string{"key", "value"}))
		}
		return "", nil
	case "phase":
		if !plan.Phase(second).Valid() {
			return undeclared("There is no phase %q.%s", second, suggest(second, phaseNames()))
		}
		if third != "" && third != "start" && third != "end" {
			return undeclared("A phase has .start and .end.%s", suggest(third, []string{"start", "end"}))
		}
		return "", nil
	case "check":
		return "", l.resolveCheck(t, second)
	case "var", "local", "secret", "smtp", "gate", "mailbox", "shared_mailbox", "alias", "distribution_list", "forwarder":
		if second == "" {
			return undeclared("%s needs a name behind it: %s.NAME.", root, root)
		}
		addr := root + "." + second
		if l.nodes[addr] == nil && (root != "gate" || !slices.Contains(defaultGateNames, second)) {
			return undeclared("There is no %s.%s", quoted(blockWord(root), second), suggest(second, l.names(root)))
		}
		if l.nodes[addr] == nil {
			return "", nil // a gate that is there by default
		}
		return addr, nil
	case "source", "target", "dns":
		if l.nodes[root+"."+second+"."+third] != nil {
			return root + "." + second + "." + third, nil
		}
		if l.nodes[root+"."+second] != nil {
			return root + "." + second, nil
		}
		known := l.names(root)
		if second == "" || !slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(k, second+".") }) {
			return undeclared("There is no %s.%s", quoted(root, second), suggest(second, known))
		}
		written := strings.TrimSuffix(second+"."+third, ".")
		return undeclared("There is no %s.%s", quoted(root, written), suggest(written, known))
	}
	return undeclared("Nothing is called %q.%s", root, suggest(root, roots))
}

func (l *loader) resolveCheck(t hcl.Traversal, name string) *hcl.Diagnostic {
	at := t.SourceRange()
	takes, known := checks[name]
	if !known {
		return problem(&at, "Undeclared reference", "There is no check %q.%s", name, suggest(name, keysOf(checks)))
	}
	switch arg := step(t, 2); {
	case takes && arg == "":
		return problem(&at, "Check without its argument", "check.%s needs how long, written out: check.%s[\"7d\"].", name, name)
	case takes:
		if d, err := plan.ParseDuration(arg); err != nil || d <= 0 {
			return problem(&at, "No duration", "check.%s[…] takes a duration of s, m, h, d or w, such as \"7d\"; %q is none.", name, arg)
		}
	case len(t) > 2:
		return problem(&at, "Check with an argument", "check.%s takes no argument.", name)
	}
	return nil
}

// step is the i-th name of a traversal, whether written .name or ["name"].
func step(t hcl.Traversal, i int) string {
	if i >= len(t) {
		return ""
	}
	switch s := t[i].(type) {
	case hcl.TraverseAttr:
		return s.Name
	case hcl.TraverseIndex:
		if s.Key.Type() == cty.String && s.Key.IsKnown() && !s.Key.IsNull() {
			return s.Key.AsString()
		}
	}
	return ""
}

// names are what stands behind root in the addresses of declared nodes.
func (l *loader) names(root string) []string {
	var out []string
	for addr := range l.nodes {
		if name, ok := strings.CutPrefix(addr, root+"."); ok {
			out = append(out, name)
		}
	}
	if root == "gate" {
		out = append(out, defaultGateNames...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func phaseNames() []string {
	var out []string
	for _, p := range plan.Phases() {
		out = append(out, string(p))
	}
	return out
}

func blockWord(root string) string {
	if root == "var" {
		return "variable"
	}
	return root
}

func quoted(word, name string) string { return word + " \"" + name + "\"" }

// cycle follows references depth first and reports a path that leads back.
// at is each node's place in path.
func (l *loader) cycle(n *node, path []string, at map[string]int, done map[string]bool) {
	if done[n.addr] {
		return
	}
	if i, again := at[n.addr]; again {
		l.errorf(&n.at, "Cycle", "These need each other, so none can be evaluated first: %s.",
			strings.Join(append(slices.Clone(path[i:]), n.addr), " → "))
		return
	}
	at[n.addr] = len(path)
	for _, dep := range n.deps() {
		l.cycle(l.nodes[dep], append(path, n.addr), at, done)
	}
	delete(at, n.addr)
	done[n.addr] = true
}

// deps are the addresses n refers to, each once, sorted.
func (n *node) deps() []string {
	var out []string
	for _, r := range n.refs {
		if r.dep != "" {
			out = append(out, r.dep)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// refuseComparison reports == and != on a secret where the source shows it.
func (l *loader) refuseComparison(e hclsyntax.Expression) {
	_ = hclsyntax.VisitAll(e, func(x hclsyntax.Node) hcl.Diagnostics {
		op, ok := x.(*hclsyntax.BinaryOpExpr)
		if !ok || op.Op != hclsyntax.OpEqual && op.Op != hclsyntax.OpNotEqual {
			return nil
		}
		for _, side := range []hclsyntax.Expression{op.LHS, op.RHS} {
			if t, ok := side.(*hclsyntax.ScopeTraversalExpr); ok && t.Traversal.RootName() == "secret" {
				l.errorf(&op.SrcRange, "Secret in a comparison", "A secret is a reference that only a credentials attribute can take.")
				return nil
			}
		}
		return nil
	})
}
