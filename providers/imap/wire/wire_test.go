package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/mxodus/mxodus/providers/faults"
)

func reader(input string, lim Limits) *Reader {
	return NewReader(bufio.NewReaderSize(strings.NewReader(input), 64), lim)
}

func TestResponses(t *testing.T) {
	for _, test := range []struct {
		in   string
		want Response
	}{
		{"* OK [UIDVALIDITY 5] fine\r\n", Response{Tag: "*", Type: "OK", Status: Status{"OK", "UIDVALIDITY", "5", "fine"}}},
		{"* ok [PERMANENTFLAGS (\\Seen a]b \\*)] limited\r\n", Response{Tag: "*", Type: "OK", Status: Status{"OK", "PERMANENTFLAGS", `(\Seen a]b \*)`, "limited"}}},
		{"A1 NO\r\n", Response{Tag: "A1", Type: "NO", Status: Status{Kind: "NO"}}},
		{"A1 NO [trycreate] no {5}\r\n", Response{Tag: "A1", Type: "NO", Status: Status{"NO", "TRYCREATE", "", "no {5}"}}},
		{"A1 BAD [broken\r\n", Response{Tag: "A1", Type: "BAD", Status: Status{Kind: "BAD", Text: "[broken"}}},
		{"+ go on\r\n", Response{Tag: "+", Status: Status{Text: "go on"}}},
		{"+\r\n", Response{Tag: "+"}},
		{"\r\n\r\n* 17 eXiSTS\r\n", Response{Tag: "*", Number: 17, Type: "EXISTS"}},
		{"* BYE\n", Response{Tag: "*", Type: "BYE", Status: Status{Kind: "BYE"}}},
	} {
		r := reader(test.in+"* 1 LAST\r\n", Limits{})
		got, err := r.Next()
		if err != nil || got != test.want {
			t.Errorf("%q: %+v, %v", test.in, got, err)
		}
		if next, err := r.Next(); err != nil || next.Type != "LAST" {
			t.Errorf("%q: then %+v, %v", test.in, next, err)
		}
	}
}

func (v Value) String() string {
	switch v.Kind {
	case Nil:
		return "NIL"
	case List:
		return fmt.Sprint(v.List)
	case String:
		return fmt.Sprintf("%q", v.Text)
	}
	return v.Text
}

func TestValues(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{`(a "b c" nil (NIL) {3}` + "\r\nx\r\n 5)", `[a "b c" NIL [NIL] "x\r\n" 5]`},
		{`(\Sent\HasNoChildren)`, `[\Sent \HasNoChildren]`},
		{`~{2}` + "\r\nab", `"ab"`},
		{`~tilde`, `~tilde`},
		{`{5 }`, `{5`},
		{`"a\"b\\c"`, `"a\"b\\c"`},
		{"\"\xfc\t\"", `"\xfc\t"`},
		{`a(b)`, `a`},
	} {
		r := reader("* X "+test.in+"\r\n* 1 LAST\r\n", Limits{})
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		v, err := r.Value()
		if err != nil || v.String() != test.want {
			t.Errorf("%q: %v, %v; want %s", test.in, v, err, test.want)
		}
		if next, err := r.Next(); err != nil || next.Type != "LAST" {
			t.Errorf("%q: then %+v, %v", test.in, next, err)
		}
	}
}

// TestMalformed: a response that can't be read costs itself and nothing else.
func TestMalformed(t *testing.T) {
	for _, in := range []string{
		"", ")", "(a", `"no end`, "(a (b)", strings.Repeat("(", 40), "{2000}\r\n" + strings.Repeat("x", 2000),
		"(a {4}\r\n\r\n\r\n", "( \"", "(a b {9}\r\n(((((\r\n)) c",
	} {
		r := reader("* X "+in+"\r\n* 1 LAST\r\n", Limits{Literal: 1000})
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		_, err := r.Value()
		if _, ok := errors.AsType[*SyntaxError](err); !ok {
			t.Errorf("%.20q: %v", in, err)
		}
		if next, err := r.Next(); err != nil || next.Type != "LAST" {
			t.Errorf("%.20q: then %+v, %v", in, next, err)
		}
	}
}

func TestBounds(t *testing.T) {
	for name, in := range map[string]string{
		"status without end": "* OK " + strings.Repeat("x", 500),
		"atom without end":   "* X " + strings.Repeat("x", 500),
		"word without end":   strings.Repeat("x", 500),
		"flat list":          "* X (" + strings.Repeat("x ", 500) + ")\r\n",
		"quoted":             `* X "` + strings.Repeat("x", 500) + "\"\r\n",
		"skipped line":       "* X " + strings.Repeat("x", 20*200),
	} {
		r := reader(in, Limits{Line: 200})
		_, err := r.Next()
		if err == nil && name == "skipped line" {
			err = r.Skip()
		} else if err == nil {
			_, err = r.Value()
		}
		if !errors.Is(err, ErrTooLong) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBody(t *testing.T) {
	r := reader("* 1 FETCH (BODY[HEADER.FIELDS (\"a b\" C)]<0> {5}\r\nhello BODY[] NIL UID 3)\r\n* 2 FETCH (BODY[] {9}\r\nhe", Limits{})
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	if err := r.Open(); err != nil {
		t.Fatal(err)
	}
	name, err := r.ItemName()
	if err != nil || name != `BODY[HEADER.FIELDS ("A B" C)]<0>` {
		t.Fatalf("%q, %v", name, err)
	}
	b, err := r.Body()
	if err != nil || b.Size != 5 {
		t.Fatal(b, err)
	}
	var two [2]byte
	io.ReadFull(b, two[:]) // the rest is left
	if name, err = r.ItemName(); err != nil || name != "BODY[]" {
		t.Fatalf("%q, %v", name, err)
	}
	if n, err := b.Read(two[:]); n != 0 || err != io.EOF {
		t.Errorf("a body that is over gives %d octets, %v", n, err)
	}
	if b, err := r.Body(); err != nil || !b.Absent {
		t.Fatal(b, err)
	}
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	r.Open()
	r.ItemName()
	if b, err = r.Body(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(b); !errors.Is(err, io.ErrUnexpectedEOF) || string(got) != "he" {
		t.Errorf("a body that was cut: %q, %v", got, err)
	}
}

func text(t *testing.T, c *Command) string {
	t.Helper()
	parts, err := c.Parts()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, p := range parts {
		b.Write(p.Text)
		if p.Body != nil {
			fmt.Fprintf(&b, "{%d}", p.Size)
			io.Copy(&b, p.Body)
		}
	}
	return b.String()
}

func TestCommands(t *testing.T) {
	c := NewCommand("UID FETCH").Set("1:*,7").Items("UID", "BODY.PEEK[HEADER.FIELDS (DATE)]").Flags([]string{`\Seen`, "$x"}).Flags(nil)
	if got := text(t, c); got != `UID FETCH 1:*,7 (UID BODY.PEEK[HEADER.FIELDS (DATE)]) (\Seen $x) ()` {
		t.Error(got)
	}
	c = NewCommand("X").String(`a "b" \c`).String("").String("ü\r\nA2 DELETE INBOX").Quoted(" 1-Jan")
	if got := text(t, c); got != `X "a \"b\" \\c" "" {19}ü`+"\r\n"+`A2 DELETE INBOX " 1-Jan"` {
		t.Errorf("%q", got)
	}
}

// TestOneCommandOnly: nothing makes a line end outside a literal.
func TestOneCommandOnly(t *testing.T) {
	const evil = "x\r\nA2 DELETE INBOX"
	for name, c := range map[string]*Command{
		"name":    NewCommand(evil),
		"empty":   NewCommand(""),
		"atom":    NewCommand("X").Atom(evil),
		"space":   NewCommand("X").Atom("a b"),
		"set":     NewCommand("X").Set(evil),
		"no set":  NewCommand("X").Set(""),
		"flag":    NewCommand("X").Flags([]string{evil}),
		"flags":   NewCommand("X").Flags([]string{"a b"}),
		"item":    NewCommand("X").Items(evil),
		"literal": NewCommand("X").Items("BODY {5}"),
		"quoted":  NewCommand("X").Quoted(evil),
		"NUL":     NewCommand("X").String("a\x00"),
		"size":    NewCommand("X").Literal(-1, strings.NewReader("")),
	} {
		if parts, err := c.Parts(); err == nil {
			t.Errorf("%s: %q", name, parts[0].Text)
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, s := range []string{
		"* 1 FETCH (UID 5 BODY[] {3}\r\nabc)\r\n", "* LIST (\\Sent) \"/\" a&-b\r\n", "A1 OK [COPYUID 1 2 3] x\r\n", "+ \r\n", "* X ((((((\r\n",
		"* {9}\r\n", "~{3}\r\n* \"\\", "\r\n\n\r",
	} {
		f.Add(s)
	}
	faults.Fuzz(f, func(t *testing.T, in string) {
		r := reader(in, Limits{Line: 500, Literal: 100, Depth: 5})
		for range len(in) + 2 { // each response takes an octet at least
			resp, err := r.Next()
			if err != nil {
				return
			}
			if resp.Type != "FETCH" {
				r.Value()
				r.Name()
				continue
			}
			r.Open()
			for {
				more, err := r.More()
				if err != nil || !more {
					break
				}
				if name, err := r.ItemName(); err != nil || name == "" {
					break
				}
				b, err := r.Body()
				if err != nil {
					break
				}
				if n, err := io.Copy(io.Discard, b); err == nil && n != b.Size {
					t.Fatalf("%d octets of %d without an error", n, b.Size)
				}
			}
		}
		t.Fatal("the reader doesn't come to an end")
	})
}

func FuzzString(f *testing.F) {
	f.Add("INBOX\r\nA2 LOGOUT")
	faults.Fuzz(f, func(t *testing.T, s string) {
		parts, err := NewCommand("CREATE").String(s).Flags(nil).Parts()
		if err != nil {
			if !strings.Contains(s, "\x00") {
				t.Fatal(err)
			}
			return
		}
		for _, p := range parts {
			if strings.ContainsAny(string(p.Text), "\r\n\x00") {
				t.Fatalf("%q", p.Text)
			}
		}
	})
}

func TestRanges(t *testing.T) {
	for text, want := range map[string]string{
		"5": "5:5", "1:3,7": "1:3 7:7", "9:4 more": "4:9", "1,2,3": "1:1 2:2 3:3", "4294967295": "4294967295:4294967295",
		"": "!", "0": "!", "1:": "!", ":1": "!", "1,": "1:1 !", "1:2:3": "!", "4294967296": "!", "1:*": "!", "a": "!",
	} {
		r := NewReader(bufio.NewReader(strings.NewReader("* VANISHED "+text+"\r\n* OK next\r\n")), Limits{})
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		var got []string
		if err := r.Ranges(func(from, to uint32) error { got = append(got, fmt.Sprintf("%d:%d", from, to)); return nil }); err != nil {
			if _, ok := errors.AsType[*SyntaxError](err); !ok {
				t.Fatal(err)
			}
			got = append(got, "!")
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%q: %s, want %s", text, s, want)
		}
		if resp, err := r.Next(); err != nil || resp.Status.Text != "next" {
			t.Errorf("%q: out of step: %+v, %v", text, resp, err)
		}
	}
}
