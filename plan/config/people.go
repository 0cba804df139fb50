package config

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/mxodus/mxodus/plan"
)

// people evaluates a block that declares addresses, once or for each element
// of its for_each, and returns what expressions see of it: an object, or with
// for_each a map of objects.
func (l *loader) people(n *node, ctx *hcl.EvalContext) cty.Value {
	typ := addressObject
	if n.root == "mailbox" || n.root == "shared_mailbox" {
		typ = mailboxObject
	}
	all, repeated, ok := l.instances(n, ctx)
	if !ok {
		return cty.DynamicVal
	}
	if !repeated {
		return l.person(n, ctx, nil)
	}
	if len(all) == 0 {
		return cty.MapValEmpty(typ)
	}
	out := make(map[string]cty.Value, len(all))
	for _, in := range all {
		child := ctx.NewChild()
		child.Variables = map[string]cty.Value{
			"each": cty.ObjectVal(map[string]cty.Value{"key": cty.StringVal(in.key), "value": in.value}),
		}
		out[in.key] = l.person(n, child, &in)
	}
	return cty.MapVal(out)
}

func (l *loader) person(n *node, ctx *hcl.EvalContext, each *instance) cty.Value {
	b := &body{l: l, syn: n.block.Body, ctx: ctx, at: n.at, each: each}
	switch n.root {
	case "alias":
		return b.alias(n)
	case "distribution_list":
		return b.list(n)
	case "forwarder":
		return b.forwarder(n)
	}
	return b.mailbox(n)
}

// instances evaluates for_each; repeated is false without one.
func (l *loader) instances(n *node, ctx *hcl.EvalContext) (all []instance, repeated, ok bool) {
	a := n.block.Body.Attributes["for_each"]
	if a == nil {
		return nil, false, true
	}
	at := a.Expr.Range()
	v, diags := a.Expr.Value(ctx)
	if diags.HasErrors() {
		l.report(diags, "")
		return nil, true, false
	}
	t := v.Type()
	switch {
	case !v.IsWhollyKnown() || v.IsNull():
		l.errorf(&at, "No for_each", "for_each has no value here: write {} for none.")
		return nil, true, false
	case t.IsListType() || t.IsTupleType():
		l.errorf(&at, "List in for_each", "for_each wants a key for each element, so that a new row in the middle renames nothing: write { for x in … : x.address => x }, or toset(…).")
		return nil, true, false
	case !t.IsMapType() && !t.IsObjectType() && !(t.IsSetType() && t.ElementType() == cty.String), t.IsObjectType() && t.HasAttribute(self):
		l.errorf(&at, "Wrong type", "for_each wants an object, a map or a set of strings, and this is %s.", describe(t))
		return nil, true, false
	case v.LengthInt() > maxInstances:
		l.errorf(&at, "Too many instances", "for_each has %d elements; at most %d are allowed.", v.LengthInt(), maxInstances)
		return nil, true, false
	}
	good := true
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		if t.IsSetType() {
			k = e
		}
		if k.IsNull() {
			l.errorf(&at, "Wrong type", "for_each holds null.")
			good = false
			continue
		}
		in := instance{key: k.AsString(), value: e}
		if strings.TrimSpace(in.key) == "" {
			b := &body{l: l, syn: &hclsyntax.Body{Attributes: hclsyntax.Attributes{"for_each": a}}, ctx: ctx, at: n.at, each: &in}
			b.errorf("for_each", "Empty key", "A key of for_each is empty: each row needs an address.")
			good = false
			continue
		}
		all = append(all, in)
	}
	return all, true, good
}

func (b *body) key() string {
	if b.each == nil {
		return ""
	}
	return b.each.key
}

func (b *body) mailbox(n *node) cty.Value {
	m := plan.Mailbox{
		Block: n.label(0), Key: b.key(), Kind: plan.UserMailbox,
		Source: b.address("source"), Target: b.address("target"),
		From: b.host("from", "source"), On: b.host("on", "target"),
		DisplayName: b.str("display_name", ""), License: b.str("license", ""),
		UsageLocation: strings.ToUpper(b.str("usage_location", "")),
		Wave:          b.integer("wave", 1, 1, 1000),
		Credentials:   b.credentials("credentials"),
		Deletes:       b.word("deletes", "keep", "keep", "mirror"),
		Folders:       b.folders(),
		Pos:           n.pos(),
	}
	if c := m.UsageLocation; c != "" && (len(c) != 2 || strings.Trim(c, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "") {
		b.errorf("usage_location", "No country", "%q wants two letters such as \"DE\" (ISO 3166-1).", "usage_location")
	}
	if n.root == "shared_mailbox" {
		m.Kind = plan.SharedMailbox
		m.FullAccess = b.recipients("full_access")
		m.SendAs = b.recipients("send_as")
	} else {
		m.Kind = plan.MailboxKind(b.word("kind", "user", "user", "catch_all"))
	}
	if m.Source != "" && m.Target != "" {
		b.l.mailboxes = append(b.l.mailboxes, declared[plan.Mailbox]{m, b})
	}
	return cty.ObjectVal(map[string]cty.Value{
		self:  cty.CapsuleVal(recipientType, &recipient{Block: n.root, Source: m.Source, Target: m.Target}),
		"key": cty.StringVal(m.Key), "source": cty.StringVal(m.Source), "target": cty.StringVal(m.Target),
		"address": cty.StringVal(m.Target), "display_name": cty.StringVal(m.DisplayName), "license": cty.StringVal(m.License),
		"usage_location": cty.StringVal(m.UsageLocation), "wave": cty.NumberIntVal(int64(m.Wave)),
	})
}

func (b *body) folders() plan.FolderRules {
	f := b.nested("folders")
	rules := plan.FolderRules{Include: f.strs("include"), Exclude: f.strs("exclude"), Map: f.strMap("map")}
	for _, list := range []struct {
		name  string
		globs []string
	}{{"include", rules.Include}, {"exclude", rules.Exclude}} {
		if slices.Contains(list.globs, "") {
			f.errorf(list.name, "Empty folder name", "%q holds an empty name, which matches nothing.", list.name)
		}
	}
	for from, to := range rules.Map {
		if from == "" || to == "" || strings.HasPrefix(to, "/") || strings.HasSuffix(to, "/") || strings.Contains(to, "//") {
			f.errorf("map", "Bad folder name", "%q to %q: write full names with \"/\" between levels and none at either end.", from, to)
		}
	}
	return rules
}

func (b *body) alias(n *node) cty.Value {
	a := plan.Alias{Address: b.address("address"), Pos: n.pos()}
	if v, ok := b.value("deliver"); ok {
		a.Deliver = b.recipient("deliver", v)
	}
	if a.Address != "" && a.Deliver != "" {
		b.l.aliases = append(b.l.aliases, declared[plan.Alias]{a, b})
	}
	return addressValue(n, b, a.Address)
}

func (b *body) list(n *node) cty.Value {
	a := plan.List{
		Address: b.address("address"), Members: b.recipients("members"),
		External: b.boolean("external", true), Pos: n.pos(),
	}
	if a.Address != "" {
		b.l.lists = append(b.l.lists, declared[plan.List]{a, b})
	}
	return addressValue(n, b, a.Address)
}

func (b *body) forwarder(n *node) cty.Value {
	a := plan.Forwarder{
		Address: b.address("address"), Deliver: b.recipients("deliver"),
		KeepCopy: b.boolean("keep_copy", false), Pos: n.pos(),
	}
	if len(a.Deliver) == 0 {
		b.errorf("deliver", "Forwarder to nobody", "%q is empty: mail to %s would be lost.", "deliver", a.Address)
	}
	if a.Address != "" {
		b.l.forwarders = append(b.l.forwarders, declared[plan.Forwarder]{a, b})
	}
	return addressValue(n, b, a.Address)
}

func addressValue(n *node, b *body, address string) cty.Value {
	return cty.ObjectVal(map[string]cty.Value{
		self:  cty.CapsuleVal(recipientType, &recipient{Block: n.root, Target: address}),
		"key": cty.StringVal(b.key()), "address": cty.StringVal(address),
	})
}

// address is a string with an address, "" when it is wrong.
func (b *body) address(name string) string {
	before := len(b.l.diags)
	v, ok := b.as(name, cty.String, "an address")
	if !ok {
		if len(b.l.diags) == before {
			b.errorf(name, "No address", "%q is null.", name)
		}
		return ""
	}
	out, err := parseAddress(v.AsString())
	if err != nil {
		b.errorf(name, "No address", "%q: %v.", name, err)
	}
	return out
}

// recipients is a list of addresses or of mailboxes, aliases and lists: their
// addresses at the target, sorted, each once.
func (b *body) recipients(name string) []string {
	var out []string
	for _, v := range b.elements(name, "a list of mailboxes or addresses") {
		if a := b.recipient(name, v); a != "" {
			out = append(out, a)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (b *body) recipient(name string, v cty.Value) string {
	if r, ok := held[recipient](v, recipientType); ok {
		return r.Target
	}
	if v.IsNull() || v.Type() != cty.String {
		what := describe(v.Type())
		if v.Type().IsMapType() {
			what = "all instances of a for_each: choose one by its key, or write [for m in … : m]"
		}
		b.errorf(name, "No recipient", "%q takes mailboxes such as mailbox.NAME, or addresses, and this is %s.", name, what)
		return ""
	}
	a, err := parseAddress(v.AsString())
	if err != nil {
		b.errorf(name, "No address", "%q: %v.", name, err)
	}
	return a
}
