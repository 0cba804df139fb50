package literal

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"github.com/mxodus/mxodus/providers/faults"
)

// write makes a file that uses everything, out of the given texts.
func write(texts []string) []byte {
	at := func(i int) string { return texts[i%len(texts)] }
	w := &Writer{}
	w.Comment("first line")
	w.String("name", at(0))
	w.Int("number", -12)
	w.Strings("many", texts)
	w.Block("outer", []string{at(0), at(1)}, func() {
		w.Bool("yes", true)
		w.Int("a_longer_name", 7)
		w.Strings("one", texts[:1])
		w.Map("map", []Entry{{Key: "a" + at(0), Text: at(1)}, {Key: "bcd" + at(1), Text: at(2)}})
		w.String("last", at(2))
		w.Block("inner", nil, func() { w.String("text", at(1)) })
		w.Block("empty", []string{"x"}, func() {})
	})
	w.Block("outer", nil, func() { w.Bool("no", false) })
	return w.Bytes()
}

func TestCanonicalLayout(t *testing.T) {
	got := string(write([]string{"plain", "with \"quotes\" and ${dollars}", "tab\tand\u202ebidi"}))
	want := `# first line
name   = "plain"
number = -12
many = [
  "plain",
  "with \"quotes\" and $${dollars}",
  "tab\tand\u202ebidi",
]

outer "plain" "with \"quotes\" and $${dollars}" {
  yes           = true
  a_longer_name = 7
  one           = ["plain"]
  map = {
    "aplain" = "with \"quotes\" and $${dollars}"
    "bcdwith \"quotes\" and $${dollars}" = "tab\tand\u202ebidi"
  }
  last = "tab\tand\u202ebidi"

  inner {
    text = "with \"quotes\" and $${dollars}"
  }

  empty "x" {}
}

outer {
  no = false
}
`
	if got != want {
		t.Errorf("not the canonical layout:\n%s", cmp.Diff(want, got))
	}
	// Only maps differ from what HCL's own formatter makes: there a longer key
	// would move every other line.
	begin, end := strings.Index(got, "  map = {"), strings.Index(got, "  last =")
	got = got[:begin] + "  list = [\n    \"x\",\n    \"y\",\n  ]\n" + got[end:]
	if formatted := string(hclwrite.Format([]byte(got))); formatted != got {
		t.Errorf("HCL's own formatter changes it:\n%s", cmp.Diff(got, formatted))
	}
}

// Whatever the texts are, what is written reads back the same, here and by HCL.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOfN(rapid.String(), 1, 5).Draw(t, "texts")
		for i := range texts {
			texts[i] = strings.ToValidUTF8(texts[i], "?")
		}
		data := write(texts)
		file, err := Parse(data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		d := Decode(file, 0)
		if got := d.Strings("many"); len(texts) > 1 && !cmp.Equal(got, texts) {
			t.Fatalf("read back %q, wrote %q", got, texts)
		}
		f, diags := hclsyntax.ParseConfig(data, "x.hcl", hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatalf("HCL refuses it: %v\n%s", diags, data)
		}
		if texts[0] == "" {
			return
		}
		v, diags := f.Body.(*hclsyntax.Body).Attributes["name"].Expr.Value(nil)
		if diags.HasErrors() || v.AsString() != norm.NFC.String(texts[0]) {
			t.Fatalf("HCL reads %q as %q: %v", texts[0], v.AsString(), diags)
		}
	})
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ name, src, want string }{
		{"no value", "a =\n", `line 1: found "\n" where a value`},
		{"expression", "a = 1\nb = var.x\n", `line 2: found "v" where a value`},
		{"interpolation", "a = \"${x}\"\n", "line 1: ${ begins an expression"},
		{"function", "a = file(\"x\")\n", "line 1: found"},
		{"open string", "a = \"x\nb = 2\n", "line 1: a string ends on its own line"},
		{"end in string", `a = "x`, "line 1: the string has no end"},
		{"open block", "a {\n  b = 1\n", "line 3: the block that begins in line 1 has no end"},
		{"twice", "a = 1\na = 2\n", `line 2: "a" stands twice`},
		{"key twice", "a = {\n\"x\" = \"1\"\n\"x\" = \"2\"\n}\n", `line 3: "x" stands twice`},
		{"two on a line", "a = 1 b = 2\n", `line 1: found "b" where the line should end`},
		{"number in list", "a = [1]\n", `line 1: found "1" in a list`},
		{"too large", "a = 99999999999999999999\n", "line 1: found"},
		{"surrogate", `a = "\ud800"` + "\n", "is no escape"},
		{"not UTF-8", "a = \"\xff\"\n", "is no UTF-8"},
		{"nested", strings.Repeat("a {\n", 20), "nested too deeply"},
		{"no name", "= 1\n", `line 1: found "=" where a name`},
		{"nul", "a = \"\x00\"\n", "holds no control characters"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.src))
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestDecoder(t *testing.T) {
	read := func(src string) *Decoder {
		b, err := Parse([]byte(src))
		if err != nil {
			t.Fatal(err)
		}
		return Decode(b, 0)
	}
	for _, c := range []struct {
		name, src, want string
		use             func(*Decoder)
	}{
		{"unknown attribute", "a = 1\nnope = 2\n", "line 2: nope is unknown here: there are a", func(d *Decoder) { d.Int("a", 0, 9) }},
		{"unknown block", "a = 1\nnope {\n}\n", `line 2: a "nope" block is unknown`, func(d *Decoder) { d.Int("a", 0, 9) }},
		{"wrong kind", "a = \"1\"\n", "line 1: a is a string, want a whole number", func(d *Decoder) { d.Int("a", 0, 9) }},
		{"out of range", "\na = 10\n", "line 2: a is 10, want a number from 0 to 9", func(d *Decoder) { d.Int("a", 0, 9) }},
		{"own parser", "a = \"x\"\n", "line 1: a: no good", func(d *Decoder) { d.Parse("a", func(string) error { return errors.New("no good") }) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := read(c.src)
			c.use(d)
			if err := d.End(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// What a person may do to a file: comments, blanks, CRLF, one line.
func TestParseIsForgiving(t *testing.T) {
	b, err := Parse([]byte("// c\r\na=1 # d\r\n\r\nb \"l\" { c = [\"x\" , # y\n\n \"z\",] }\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if b.Attrs[0].Value.Number != 1 || !cmp.Equal(b.Blocks[0].Attrs[0].Value.List, []string{"x", "z"}) {
		t.Errorf("read %+v", b)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(write([]string{"a", "b${c}", "\u200b"}))
	f.Add([]byte("a = {\n\"x\" = \"1\", \"y\" = \"2\"}\n"))
	faults.Fuzz(f, func(t *testing.T, data []byte) {
		b, err := Parse(data)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Line < 1 || !utf8.ValidString(e.Text) {
				t.Fatalf("error without a line, or not printable: %#v", err)
			}
			return
		}
		for _, a := range b.Attrs {
			if a.Value.Kind == String {
				again, err := Parse([]byte("x = " + Quote(a.Value.Text) + "\n"))
				if err != nil || again.Attrs[0].Value.Text != a.Value.Text {
					t.Fatalf("%q does not read back: %v", a.Value.Text, err)
				}
			}
		}
	})
}
