package config

import (
	"fmt"
	"reflect"

	"github.com/zclconf/go-cty/cty"

	"github.com/mxodus/mxodus/plan"
)

// The types of values that are more than text and numbers. None converts to
// a string, so none can be interpolated.
var (
	momentType    = capsule[plan.Moment]("time")
	untilType     = capsule[plan.Until]("end of a phase")
	phaseRefType  = capsule[plan.Phase]("phase")
	checkType     = capsule[plan.CheckRef]("check")
	hostType      = capsule[hostRef]("host")
	recipientType = capsule[recipient]("recipient")
	nameType      = capsule[nameRef]("name")
)

// secretType holds the reference of a secret. Comparing two is an error when
// it is written out; where it hides in a function the outcome is unknown, and
// nothing unknown is accepted anywhere.
var secretType = cty.CapsuleWithOps("secret", reflect.TypeFor[plan.SecretRef](), &cty.CapsuleOps{
	Equals:       func(_, _ any) cty.Value { return cty.UnknownVal(cty.Bool) },
	RawEquals:    func(a, b any) bool { return a.(*plan.SecretRef).Name == b.(*plan.SecretRef).Name },
	HashKey:      func(v any) string { return v.(*plan.SecretRef).Name },
	GoString:     func(any) string { return "secret" },
	TypeGoString: func(reflect.Type) string { return "secret" },
})

// capsule is a type whose values are equal when what they hold is.
func capsule[T comparable](name string) cty.Type {
	return cty.CapsuleWithOps(name, reflect.TypeFor[T](), &cty.CapsuleOps{
		RawEquals:    func(a, b any) bool { return *a.(*T) == *b.(*T) },
		HashKey:      func(v any) string { return fmt.Sprint(*v.(*T)) },
		GoString:     func(any) string { return name },
		TypeGoString: func(reflect.Type) string { return name },
	})
}

func momentVal(m plan.Moment) cty.Value { return cty.CapsuleVal(momentType, &m) }

// hostRef is what source.…, target.… and dns.… refer to.
type hostRef struct{ Role, Key string }

// nameRef is what smtp.… and gate.… refer to.
type nameRef struct{ Block, Name string }

// recipient is what mailbox.…, alias.… and the other blocks with addresses refer to.
type recipient struct {
	Block  string // "mailbox", "distribution_list", ...
	Source string // "" where there is none
	Target string
}

// self is the attribute of an object that says what the object is. It is no
// identifier, so no expression can name it.
const self = "@"

// mailboxObject is the type of mailbox.NAME, or of its elements with for_each.
var mailboxObject = cty.Object(map[string]cty.Type{
	self: recipientType, "key": cty.String, "source": cty.String, "target": cty.String, "address": cty.String,
	"display_name": cty.String, "license": cty.String, "usage_location": cty.String, "wave": cty.Number,
})

// addressObject is the type of alias.NAME, distribution_list.NAME and forwarder.NAME.
var addressObject = cty.Object(map[string]cty.Type{
	self: recipientType, "key": cty.String, "address": cty.String,
})

// phaseValues is the object behind phase.
var phaseValues = func() cty.Value {
	all := map[string]cty.Value{}
	for _, p := range plan.Phases() {
		all[string(p)] = cty.ObjectVal(map[string]cty.Value{
			self:    cty.CapsuleVal(phaseRefType, &p),
			"start": momentVal(plan.Moment{Anchor: plan.AnchorStart(p)}),
			"end":   momentVal(plan.Moment{Anchor: plan.AnchorEnd(p)}),
		})
	}
	return cty.ObjectVal(all)
}()

// held returns what a capsule of type want holds, also when it is the self of
// an object.
func held[T any](v cty.Value, want cty.Type) (T, bool) {
	var zero T
	if v == cty.NilVal || v.IsMarked() || !v.IsKnown() || v.IsNull() {
		return zero, false
	}
	if t := v.Type(); t.IsObjectType() && t.HasAttribute(self) {
		v = v.GetAttr(self)
	}
	if !v.Type().Equals(want) || !v.IsKnown() || v.IsNull() {
		return zero, false
	}
	return *v.EncapsulatedValue().(*T), true
}

// holdsCapsule reports whether a value of type t could hold a capsule.
func holdsCapsule(t cty.Type) bool {
	switch {
	case t.IsCapsuleType():
		return true
	case t.IsCollectionType():
		return holdsCapsule(t.ElementType())
	case t.IsTupleType():
		for _, e := range t.TupleElementTypes() {
			if holdsCapsule(e) {
				return true
			}
		}
	case t.IsObjectType():
		for _, a := range t.AttributeTypes() {
			if holdsCapsule(a) {
				return true
			}
		}
	}
	return false
}

// describe names a value's type for people.
func describe(t cty.Type) string {
	switch {
	case t.IsObjectType() && t.HasAttribute(self):
		return describe(t.AttributeType(self))
	case t == cty.DynamicPseudoType:
		return "a value of no known type"
	case t.Equals(nameType):
		return "an smtp or gate block"
	case t.Equals(untilType), t.Equals(hostType), t.IsCapsuleType(), t.IsPrimitiveType():
		return article(t.FriendlyName())
	case t.IsListType(), t.IsTupleType(), t.IsSetType():
		return "a list"
	}
	return "an object"
}

// weight estimates the octets a value takes, to stop values that grow without bound.
func weight(v cty.Value) int {
	total := 0
	_ = cty.Walk(v, func(_ cty.Path, e cty.Value) (bool, error) {
		e, _ = e.Unmark()
		total += 32
		if e.Type() == cty.String && e.IsKnown() && !e.IsNull() {
			total += len(e.AsString())
		}
		return total <= maxValueSize, nil
	})
	return total
}
