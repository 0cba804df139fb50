package config

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/mxodus/mxodus/plan"
)

// body reads the attributes of one block, or of one instance of a block with
// for_each. Its methods report what is wrong and return the default then, so
// that one run finds every mistake; the caller need not look at errors.
type body struct {
	l    *loader
	syn  *hclsyntax.Body
	ctx  *hcl.EvalContext
	at   hcl.Range
	each *instance // nil without for_each
}

// instance is one element of a for_each.
type instance struct {
	key   string
	value cty.Value
}

func (b *body) pos() plan.Pos { return posOf(b.at) }

// has reports whether the attribute is written, also as null.
func (b *body) has(name string) bool { return b.syn.Attributes[name] != nil }

// rangeOf is where attribute name stands, the block's header when it is not written.
func (b *body) rangeOf(name string) *hcl.Range {
	if a := b.syn.Attributes[name]; a != nil {
		r := a.Expr.Range()
		return &r
	}
	return &b.at
}

// errorf reports a bad attribute; with for_each it says which instance and,
// when the value came from a CSV file, which cell.
func (b *body) errorf(name, summary, format string, args ...any) {
	detail := fmt.Sprintf(format, args...)
	b.l.errorf(b.rangeOf(name), summary, "%s", detail+b.origin(name))
}

// redacted, as the Extra of a diagnostic, keeps its range out of excerpts.
type redacted struct{}

// redact says that the range of the last diagnostic may hold a secret.
func (b *body) redact() { b.l.diags[len(b.l.diags)-1].Extra = redacted{} }

// maxTraced bounds how many errors are traced back to their CSV row.
const maxTraced = 100

// origin is " (mailboxes.csv:4, column "address")", or which instance it is.
func (b *body) origin(name string) string {
	if b.each == nil {
		return ""
	}
	if b.l.traced < maxTraced {
		b.l.traced++
		if t, r := b.l.reader.trace(b.each.key, b.each.value); t != nil {
			column, text := "", ""
			if a := b.syn.Attributes[name]; a != nil {
				column, text = b.columnOf(a.Expr)
			}
			return " (" + t.place(r, column, text) + ")"
		}
	}
	return fmt.Sprintf(" (for each.key = %q)", b.each.key)
}

// columnOf finds which cell an expression takes from each: the column's name
// for each.value.NAME, else the text of each.key or each.value.
func (b *body) columnOf(e hclsyntax.Expression) (column, text string) {
	for _, t := range e.Variables() {
		if t.RootName() != "each" {
			continue
		}
		if step(t, 1) == "key" {
			return "", b.each.key
		}
		if column := step(t, 2); column != "" {
			return column, ""
		}
		if b.each.value.Type() == cty.String {
			return "", b.each.value.AsString()
		}
	}
	return "", b.each.key
}

// value evaluates an attribute. ok is false when it is absent, null, or wrong
// (then it has been reported).
func (b *body) value(name string) (cty.Value, bool) {
	a := b.syn.Attributes[name]
	if a == nil {
		return cty.NilVal, false
	}
	v, diags := a.Expr.Value(b.ctx)
	if diags.HasErrors() {
		b.l.report(diags, b.origin(name))
		return cty.NilVal, false
	}
	if t := v.Type(); t.IsObjectType() && t.HasAttribute(self) && v.IsKnown() && !v.IsNull() {
		v = v.GetAttr(self) // a block is meant, not what is known of it
	}
	if !v.IsWhollyKnown() {
		b.errorf(name, "Value that can't be known", "%q depends on something that has no value here, such as a fact that the target has not told yet (only values of a record can wait for one) or a comparison of secrets.", name)
		return cty.NilVal, false
	}
	return v, !v.IsNull()
}

// as evaluates an attribute and converts it.
func (b *body) as(name string, want cty.Type, words string) (cty.Value, bool) {
	v, ok := b.value(name)
	if !ok {
		return v, false
	}
	out, err := convert.Convert(v, want)
	if err != nil || out.IsNull() || !out.IsWhollyKnown() {
		b.errorf(name, "Wrong type", "%q wants %s, and this is %s.", name, words, describe(v.Type()))
		return cty.NilVal, false
	}
	return out, true
}

// str is a string without control characters.
func (b *body) str(name, otherwise string) string {
	v, ok := b.as(name, cty.String, "a string")
	if !ok {
		return otherwise
	}
	s := v.AsString()
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		b.errorf(name, "Control character", "%q holds a control character, such as a line break.", name)
		return otherwise
	}
	return s
}

// word is one of a few words.
func (b *body) word(name, otherwise string, allowed ...string) string {
	s := b.str(name, otherwise)
	if s != otherwise && !slices.Contains(allowed, s) {
		b.errorf(name, "Unknown word", "%q can't be %q.%s", name, s, suggest(s, allowed))
		return otherwise
	}
	return s
}

// strs is a sorted list of strings, each once.
func (b *body) strs(name string) []string {
	v, ok := b.as(name, cty.List(cty.String), "a list of strings")
	if !ok {
		return nil
	}
	var out []string
	for _, e := range v.AsValueSlice() {
		if e.IsNull() {
			b.errorf(name, "Wrong type", "%q holds null.", name)
			return nil
		}
		out = append(out, e.AsString())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// recordStrs is strs for values that may wait for what a target tells: those
// come out as plan.KnownAfterProvision.
func (b *body) recordStrs(name string) []string {
	a := b.syn.Attributes[name]
	if a == nil {
		return nil
	}
	v, diags := a.Expr.Value(b.ctx)
	t := v.Type()
	if diags.HasErrors() || !v.IsKnown() || v.IsNull() || v.IsWhollyKnown() || !t.IsTupleType() && !t.IsListType() {
		return b.strs(name) // which reports what is wrong
	}
	var out []string
	for _, e := range v.AsValueSlice() {
		s, err := convert.Convert(e, cty.String)
		switch {
		case err != nil || s.IsNull():
			b.errorf(name, "Wrong type", "%q wants a list of strings, and this holds %s.", name, describe(e.Type()))
			return nil
		case !s.IsKnown():
			out = append(out, plan.KnownAfterProvision)
		default:
			out = append(out, s.AsString())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// argv is a list of strings in the order it is written.
func (b *body) argv(name string) []string {
	v, ok := b.as(name, cty.List(cty.String), "a list of strings")
	if !ok {
		return nil
	}
	var out []string
	for _, e := range v.AsValueSlice() {
		if e.IsNull() || strings.ContainsRune(e.AsString(), 0) {
			b.errorf(name, "Wrong type", "%q holds null or a NUL octet.", name)
			return nil
		}
		out = append(out, e.AsString())
	}
	return out
}

// strMap is an object of strings.
func (b *body) strMap(name string) map[string]string {
	v, ok := b.as(name, cty.Map(cty.String), "an object of strings")
	if !ok || v.LengthInt() == 0 {
		return nil
	}
	out := map[string]string{}
	for k, e := range v.AsValueMap() {
		if e.IsNull() {
			b.errorf(name, "Wrong type", "%q holds null.", name)
			return nil
		}
		out[k] = e.AsString()
	}
	return out
}

func (b *body) boolean(name string, otherwise bool) bool {
	v, ok := b.as(name, cty.Bool, "true or false")
	if !ok {
		return otherwise
	}
	return v.True()
}

// integer is a whole number from least to most.
func (b *body) integer(name string, otherwise, least, most int) int {
	v, ok := b.as(name, cty.Number, "a number")
	if !ok {
		return otherwise
	}
	n, accuracy := v.AsBigFloat().Int64()
	if accuracy != big.Exact || n < int64(least) || n > int64(most) {
		b.errorf(name, "Number out of range", "%q wants a whole number from %d to %d.", name, least, most)
		return otherwise
	}
	return int(n)
}

// rate is a number from 0 to most.
func (b *body) rate(name string, most float64) float64 {
	v, ok := b.as(name, cty.Number, "a number")
	if !ok {
		return 0
	}
	f, _ := v.AsBigFloat().Float64()
	if f < 0 || f > most {
		b.errorf(name, "Number out of range", "%q wants a number from 0 to %g.", name, most)
		return 0
	}
	return f
}

// sizeUnits are powers of 1024, as mail servers count their limits.
var sizeUnits = []struct {
	name   string
	octets int64
}{{"KB", 1 << 10}, {"MB", 1 << 20}, {"GB", 1 << 30}, {"B", 1}}

// size is octets: a number, or a string with a unit such as "35MB".
func (b *body) size(name string) int64 {
	v, ok := b.as(name, cty.String, "a size such as \"35MB\"")
	if !ok {
		return 0
	}
	digits, unit := strings.ToUpper(strings.ReplaceAll(v.AsString(), " ", "")), int64(1)
	for _, u := range sizeUnits {
		if number, ok := strings.CutSuffix(digits, u.name); ok {
			digits, unit = number, u.octets
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > (1<<50)/unit {
		b.errorf(name, "No size", "%q wants a number of octets or a size such as \"35MB\" (KB, MB and GB are powers of 1024).", name)
		return 0
	}
	return n * unit
}

// duration is a string such as "15m", from least to most.
func (b *body) duration(name string, otherwise, least, most time.Duration) time.Duration {
	v, ok := b.as(name, cty.String, "a duration such as \"15m\"")
	if !ok {
		return otherwise
	}
	return b.durationOf(name, v.AsString(), otherwise, least, most)
}

func (b *body) durationOf(name, s string, otherwise, least, most time.Duration) time.Duration {
	d, err := plan.ParseDuration(s)
	switch {
	case err != nil:
		b.errorf(name, "No duration", "%v.", err)
	case d < least || d > most:
		b.errorf(name, "Duration out of range", "%q wants a duration from %s to %s.", name, plan.FormatDuration(least), plan.FormatDuration(most))
	default:
		return d
	}
	return otherwise
}

// maxTTL is a week: resolvers cut longer ones (RFC 8767 §4).
const maxTTL = 7 * 24 * time.Hour

// ttl is a number of seconds, or a duration.
func (b *body) ttl(name string, otherwise time.Duration) time.Duration {
	v, ok := b.as(name, cty.String, "a number of seconds")
	if !ok {
		return otherwise
	}
	s := v.AsString()
	if _, err := strconv.ParseUint(s, 10, 32); err == nil {
		s += "s"
	}
	d := b.durationOf(name, s, otherwise, time.Second, maxTTL)
	if d%time.Second != 0 {
		b.errorf(name, "No TTL", "A TTL is a whole number of seconds (RFC 1035 §3.2.1).")
		return otherwise
	}
	return d
}

// moment is a time, as an anchor or written out.
func (b *body) moment(name string, otherwise plan.Moment) plan.Moment {
	v, ok := b.value(name)
	if !ok {
		return otherwise
	}
	m, err := b.l.moment(v)
	if err != nil {
		b.errorf(name, "No time", "%q: %v.", name, err)
		return otherwise
	}
	return m
}

// credentials is a reference to a secret.
func (b *body) credentials(name string) plan.SecretRef {
	v, ok := b.value(name)
	if !ok {
		return plan.SecretRef{}
	}
	ref, ok := held[plan.SecretRef](v, secretType)
	if !ok {
		b.errorf(name, "No secret", "%q takes a reference such as secret.mail, never the secret itself: the files are committed.", name)
		if v.Type() == cty.String {
			b.redact()
		}
	}
	return ref
}

// host is the key of a source, target or zone, "" when the attribute is absent.
func (b *body) host(name, role string) string {
	v, ok := b.value(name)
	if !ok {
		return ""
	}
	ref, ok := held[hostRef](v, hostType)
	if !ok || ref.Role != role {
		b.errorf(name, "Wrong reference", "%q takes a reference to a %s block, such as %s.KIND or %s.KIND.NAME.", name, role, role, role)
		return ""
	}
	return ref.Key
}

// name is the label of an smtp or gate block, otherwise when it is absent.
func (b *body) name(attr, block, otherwise string) string {
	v, ok := b.value(attr)
	if !ok {
		return otherwise
	}
	ref, ok := held[nameRef](v, nameType)
	if !ok || ref.Block != block {
		b.errorf(attr, "Wrong reference", "%q takes a reference such as %s.NAME.", attr, block)
		return otherwise
	}
	return ref.Name
}

// elements are the values of a list, set or tuple attribute.
func (b *body) elements(name, words string) []cty.Value {
	v, ok := b.value(name)
	if !ok {
		return nil
	}
	if t := v.Type(); !t.IsListType() && !t.IsSetType() && !t.IsTupleType() {
		b.errorf(name, "Wrong type", "%q wants %s, and this is %s.", name, words, describe(t))
		return nil
	}
	return v.AsValueSlice()
}

// blocks are the nested blocks of a type.
func (b *body) blocks(typ string) []*body {
	var out []*body
	for _, n := range b.syn.Blocks {
		if n.Type == typ {
			out = append(out, &body{l: b.l, syn: n.Body, ctx: b.ctx, at: n.DefRange(), each: b.each})
		}
	}
	return out
}

// labels of nested blocks stand beside their bodies.
func (b *body) labelled(typ string) []*hclsyntax.Block {
	return slices.DeleteFunc(slices.Clone(b.syn.Blocks), func(n *hclsyntax.Block) bool { return n.Type != typ })
}

// nested is the one nested block of a type; absent, it reads as empty.
func (b *body) nested(typ string) *body {
	if all := b.blocks(typ); len(all) > 0 {
		return all[0]
	}
	return &body{l: b.l, syn: &hclsyntax.Body{}, ctx: b.ctx, at: b.at, each: b.each}
}

func (b *body) within(n *hclsyntax.Block) *body {
	return &body{l: b.l, syn: n.Body, ctx: b.ctx, at: n.DefRange(), each: b.each}
}
