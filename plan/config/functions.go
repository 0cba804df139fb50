package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"

	"github.com/mxodus/mxodus/plan"
)

// functions is all that expressions can call. What would make a plan depend
// on anything but the files is missing on purpose: timestamp, uuid, env,
// bcrypt and their like.
func (l *loader) functions() map[string]function.Function {
	f := map[string]function.Function{
		"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "max": stdlib.MaxFunc,
		"min": stdlib.MinFunc, "parseint": parseIntFunc, "signum": stdlib.SignumFunc,

		"chomp": stdlib.ChompFunc, "format": textOnly(stdlib.FormatFunc), "formatlist": textOnly(stdlib.FormatListFunc),
		"indent": stdlib.IndentFunc, "join": stdlib.JoinFunc, "lower": stdlib.LowerFunc, "regex": stdlib.RegexFunc,
		"regexall": stdlib.RegexAllFunc, "replace": stdlib.ReplaceFunc, "regexreplace": stdlib.RegexReplaceFunc,
		"split": stdlib.SplitFunc, "strlen": stdlib.StrlenFunc, "strrev": stdlib.ReverseFunc, "substr": stdlib.SubstrFunc,
		"title": stdlib.TitleFunc, "trim": stdlib.TrimFunc, "trimprefix": stdlib.TrimPrefixFunc, "trimspace": stdlib.TrimSpaceFunc,
		"trimsuffix": stdlib.TrimSuffixFunc, "upper": stdlib.UpperFunc,
		"startswith": affix(strings.HasPrefix), "endswith": affix(strings.HasSuffix), "strcontains": affix(strings.Contains),

		"chunklist": stdlib.ChunklistFunc, "coalesce": stdlib.CoalesceFunc, "coalescelist": stdlib.CoalesceListFunc,
		"compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc, "distinct": stdlib.DistinctFunc,
		"element": stdlib.ElementFunc, "flatten": stdlib.FlattenFunc, "keys": stdlib.KeysFunc, "length": lengthFunc,
		"lookup": stdlib.LookupFunc, "merge": stdlib.MergeFunc, "range": stdlib.RangeFunc, "reverse": stdlib.ReverseListFunc,
		"setintersection": stdlib.SetIntersectionFunc, "setproduct": productFunc, "setsubtract": stdlib.SetSubtractFunc,
		"setunion": stdlib.SetUnionFunc, "slice": stdlib.SliceFunc, "sort": stdlib.SortFunc, "values": stdlib.ValuesFunc,
		"zipmap": stdlib.ZipmapFunc,

		"tobool": to(cty.Bool), "tonumber": to(cty.Number), "tostring": to(cty.String), "tolist": to(cty.List(cty.DynamicPseudoType)),
		"tomap": to(cty.Map(cty.DynamicPseudoType)), "toset": to(cty.Set(cty.DynamicPseudoType)),
		"try": tryfunc.TryFunc, "can": tryfunc.CanFunc,

		"jsondecode": jsonDecodeFunc, "jsonencode": textOnly(stdlib.JSONEncodeFunc), "csvdecode": l.csvDecode(),
		"file": l.fileFunc(), "fileexists": l.fileExists(), "fileset": l.fileSet(),

		"before": l.shift(-1), "after": l.shift(1), "converged": convergedFunc,
	}
	f["templatefile"] = l.templateFile(f)
	return f
}

// parseIntFunc is stdlib.ParseIntFunc with an error that doesn't repeat the text:
// what a variable is given for is not printed.
var parseIntFunc = function.New(&function.Spec{
	Params: stdlib.ParseIntFunc.Params(),
	Type:   stdlib.ParseIntFunc.ReturnTypeForValues,
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		v, err := stdlib.ParseIntFunc.Call(args)
		if err != nil {
			return cty.NullVal(cty.Number), function.NewArgErrorf(0, "this is no whole number in the base that is given, or the base is not from 2 to 62")
		}
		return v, nil
	},
})

// wideVerb is a format verb that would pad to a width of 10,000 or more.
var wideVerb = regexp.MustCompile(`%[^a-zA-Z%]*\d{5,}`)

// textOnly keeps capsules out of a function that would print them: format
// and jsonencode would write out what a secret refers to.
func textOnly(f function.Function) function.Function {
	check := func(args []cty.Value) error {
		for i, a := range args {
			if holdsCapsule(a.Type()) {
				return function.NewArgErrorf(i, "%s can't be turned into text", describe(capsuleIn(a.Type())))
			}
		}
		if len(args) > 1 && args[0].Type() == cty.String && args[0].IsKnown() && !args[0].IsNull() && wideVerb.MatchString(args[0].AsString()) {
			return function.NewArgErrorf(0, "this width is too large")
		}
		return nil
	}
	return function.New(&function.Spec{
		Params:   f.Params(),
		VarParam: f.VarParam(),
		Type: func(args []cty.Value) (cty.Type, error) {
			if err := check(args); err != nil {
				return cty.NilType, err
			}
			return f.ReturnTypeForValues(args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f.Call(args) },
	})
}

// capsuleIn is the first capsule type within t.
func capsuleIn(t cty.Type) cty.Type {
	switch {
	case t.IsCollectionType():
		return capsuleIn(t.ElementType())
	case t.IsTupleType():
		for _, e := range t.TupleElementTypes() {
			if holdsCapsule(e) {
				return capsuleIn(e)
			}
		}
	case t.IsObjectType():
		for _, name := range keysOf(t.AttributeTypes()) {
			if a := t.AttributeType(name); holdsCapsule(a) {
				return capsuleIn(a)
			}
		}
	}
	return t
}

func affix(test func(s, part string) bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "str", Type: cty.String}, {Name: "part", Type: cty.String}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.BoolVal(test(args[0].AsString(), args[1].AsString())), nil
		},
	})
}

var lengthFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowUnknown: true}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if args[0].Type() == cty.String {
			return stdlib.Strlen(args[0])
		}
		return stdlib.Length(args[0])
	},
})

var productFunc = function.New(&function.Spec{
	VarParam: stdlib.SetProductFunc.VarParam(),
	Type: func(args []cty.Value) (cty.Type, error) {
		total := 1
		for _, a := range args {
			if a.CanIterateElements() {
				total *= a.LengthInt()
			}
			if total > maxInstances {
				return cty.NilType, fmt.Errorf("the product has more than %d elements", maxInstances)
			}
		}
		return stdlib.SetProductFunc.ReturnTypeForValues(args)
	},
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return stdlib.SetProductFunc.Call(args) },
})

func to(want cty.Type) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowNull: true}},
		Type: func(args []cty.Value) (cty.Type, error) {
			v, err := convertTo(args[0], want)
			return v.Type(), err
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return convertTo(args[0], want) },
	})
}

// convertTo is convert.Convert with an error that doesn't repeat the value.
func convertTo(v cty.Value, want cty.Type) (cty.Value, error) {
	out, err := convert.Convert(v, want)
	if err != nil {
		return cty.NullVal(want), function.NewArgErrorf(0, "%s can't be turned into %s", describe(v.Type()), want.FriendlyNameForConstraint())
	}
	return out, nil
}

var jsonDecodeFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "text", Type: cty.String}},
	Type: func(args []cty.Value) (cty.Type, error) {
		if !args[0].IsKnown() {
			return cty.DynamicPseudoType, nil
		}
		depth := 0
		for _, c := range args[0].AsString() {
			switch c {
			case '[', '{':
				depth++
			case ']', '}':
				depth--
			}
			if depth > maxNesting {
				return cty.NilType, errors.New("the JSON is nested too deeply")
			}
		}
		return stdlib.JSONDecodeFunc.ReturnTypeForValues(args)
	},
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return stdlib.JSONDecode(args[0]) },
})

// shift is before (-1) and after (1).
func (l *loader) shift(sign int) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "time", Type: cty.DynamicPseudoType}, {Name: "duration", Type: cty.String}},
		Type:   function.StaticReturnType(momentType),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			m, err := l.moment(args[0])
			if err != nil {
				return cty.NullVal(momentType), function.NewArgError(0, err)
			}
			d, err := plan.ParseDuration(args[1].AsString())
			if err != nil {
				return cty.NullVal(momentType), function.NewArgError(1, err)
			}
			if sign < 0 {
				d = -d
			}
			return momentVal(m.Add(d)), nil
		},
	})
}

var convergedFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "passes", Type: cty.Number}},
	Type:   function.StaticReturnType(untilType),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		n, accuracy := args[0].AsBigFloat().Int64()
		if accuracy != 0 || n < 1 || n > 1000 {
			return cty.NullVal(untilType), function.NewArgErrorf(0, "want a whole number of passes from 1 to 1000")
		}
		return cty.CapsuleVal(untilType, &plan.Until{Converged: int(n)}), nil
	},
})
