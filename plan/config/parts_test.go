package config

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"

	"github.com/mxodus/mxodus/providers/faults"
)

func TestReadTable(t *testing.T) {
	tests := []struct {
		name, text, want string
	}{
		{"plain", "a,b\n1,2\n", "[a b] 2:[1 2]"},
		{"BOM, CRLF and semicolons", "\ufeffa;b\r\n1;2,5\r\n", "[a b] 2:[1 2,5]"},
		{"tabs", "a\tb\n1\t2;3\n", "[a b] 2:[1 2;3]"},
		{"quoted", "a,b\n\"x, \"\"y\"\"\",\"two\nlines\"\nz,w\n", "[a b] 2:[x, \"y\" two\nlines] 4:[z w]"},
		{"separator within quotes of the header", "\"a;b;c\",d\n1,2\n", "[a;b;c d] 2:[1 2]"},
		{"one column", "a\nx\ny\n", "[a] 2:[x] 3:[y]"},
		{"no last newline", "a,b\n1,2", "[a b] 2:[1 2]"},
		{"blank lines", "a,b\n\n1,2\n\n", "[a b] 3:[1 2]"},
		{"old Mac line ends", "a,b\r1,2\r", "[a b] 2:[1 2]"},
		{"spaces around column names", " a , b\n1, 2\n", "[a b] 2:[1  2]"},
		{"empty", "", "f is empty"},
		{"BOM alone", "\ufeff\r\n", "f is empty"},
		{"column without a name", "a,,c\n", "f:1: column 2 has no name"},
		{"column twice", "a,b, a\n", "f:1: two columns are called \"a\""},
		{"too few", "a,b\n1,2\n1\n", "f:3 has 1 fields"},
		{"stray quote", "a,b\n1,x\"y\n", "f:2:4: bare"},
		{"unfinished quote", "a,b\n1,\"y\n", "f:2:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table, err := readTable("f", tt.text)
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %q, want %q", err, tt.want)
				}
				return
			}
			got := fmt.Sprint(table.columns)
			for _, r := range table.rows {
				got += fmt.Sprintf(" %d:%s", r.line, r.cells)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSatisfies(t *testing.T) {
	tests := []struct {
		version, want string
		ok            bool
	}{
		{"0.1.0", ">= 0.1", true},
		{"v0.1.0-dev", ">= 0.1", true},
		{"0.0.9", ">= 0.1", false},
		{"1.10.0", "> 1.9", true},
		{"1.2.9", "~> 1.2.3", true},
		{"1.3.0", "~> 1.2.3", false},
		{"1.9", "~> 1.2", true},
		{"2.0", "~> 1.2", false},
		{"1.5", ">= 1, < 2", true},
		{"2.0", ">= 1, < 2", false},
		{"1.5", "1.5.0", true},
		{"1.5", "!= 1.5", false},
		{"devel", ">= 99", true},
		{"", ">= 99", true},
	}
	for _, tt := range tests {
		if ok, err := satisfies(tt.version, tt.want); err != nil || ok != tt.ok {
			t.Errorf("satisfies(%q, %q) = %v, %v", tt.version, tt.want, ok, err)
		}
	}
	for _, bad := range []string{"", "newest", ">= x", "=> 1", ">= 1,", "1.2.3.4"} {
		if _, err := satisfies("", bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestParseAddress(t *testing.T) {
	good := map[string]string{
		"anna@acme.example":       "anna@acme.example",
		"Anna.B+x@ACME.Example":   "Anna.B+x@acme.example",
		"jörg@müller.example":     "jörg@xn--mller-kva.example",
		"anna@localhost":          "anna@localhost",
		"o'brien_{x}@a-b.example": "o'brien_{x}@a-b.example",
	}
	for in, want := range good {
		if got, err := parseAddress(in); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "anna", "@acme.example", "anna@", ".a@x.example", "a.@x.example", "a..b@x.example", "a b@x.example",
		" a@x.example", "a@x.example ", "a@x..example", "a@-x.example", "\"a\"@x.example", "a@b@x.example", "a@x.example\n", "a\x00@x.example",
		"a\u202eb@x.example", strings.Repeat("a", 65) + "@x.example", "a@" + strings.Repeat("a", 64) + ".example"} {
		if got, err := parseAddress(in); err == nil {
			t.Errorf("%q is accepted as %q", in, got)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"license", "display_name", "wave", "mail"}
	for in, want := range map[string]string{"licence": "license", "lisence": "license", "displayname": "display_name", "mial": "mail", "Wave": "wave", "x": "", "completely": ""} {
		if got := nearest(in, known); got != want {
			t.Errorf("nearest(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestFormat(t *testing.T) {
	in := "\ufeff\n\n# head\r\nmailbox   \"a\"  {\r\nsource=\"a@x.example\" # note\n\n\n\ntarget   =   \"b@x.example\"\n  folders {\nexclude=[\"a\",\n\"b\"]\n}\n}\n\n\n\nlocals {\n  text = <<EOT\nkeep\n\n\n\n  this\nEOT\n}\n\n\n"
	want := "# head\nmailbox \"a\" {\n  source = \"a@x.example\" # note\n\n  target = \"b@x.example\"\n  folders {\n    exclude = [\"a\",\n    \"b\"]\n  }\n}\n\nlocals {\n  text = <<EOT\nkeep\n\n\n\n  this\nEOT\n}\n"
	got, diags := Format("a.mx.hcl", []byte(in))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	again, _ := Format("a.mx.hcl", got)
	if !bytes.Equal(again, got) {
		t.Errorf("a second time it gives\n%s", again)
	}
	if out, diags := Format("a.mx.hcl", []byte("mailbox {")); !diags.HasErrors() || out != nil {
		t.Errorf("a broken file gave %q", out)
	}
	if out, diags := Format("a.mx.hcl", nil); diags.HasErrors() || len(out) != 0 {
		t.Errorf("an empty file gave %q, %v", out, diags)
	}
}

func TestWriteDiagnostics(t *testing.T) {
	src := []byte("a = 1\nb = \"\x1b]0;owned\x07\xff" + strings.Repeat("x", 200) + "\" + c\n")
	from := bytes.IndexByte(src, 'b')
	d := &hcl.Diagnostic{
		Severity: hcl.DiagWarning, Summary: "Odd\x1b[2J", Detail: "A \u202edetail with " + strings.Repeat("words ", 30),
		Subject: &hcl.Range{Filename: "x\x07.hcl", Start: hcl.Pos{Line: 2, Column: 1, Byte: from}, End: hcl.Pos{Line: 2, Column: 2, Byte: from + 1}},
	}
	files := map[string]*hcl.File{"x\x07.hcl": {Bytes: src}}
	for _, width := range []int{0, 40, 80, 200} {
		var plain, colored bytes.Buffer
		if err := WriteDiagnostics(&plain, files, hcl.Diagnostics{d, d}, width, false); err != nil {
			t.Fatal(err)
		}
		if err := WriteDiagnostics(&colored, files, hcl.Diagnostics{d, d}, width, true); err != nil {
			t.Fatal(err)
		}
		out := plain.String()
		if !utf8.ValidString(out) || strings.ContainsAny(out, "\x1b\x07\u202e") {
			t.Errorf("width %d: not escaped: %q", width, out)
		}
		if !strings.Contains(out, `Warning: Odd\x1b[2J`) || !strings.Contains(out, `on x\x07.hcl line 2:`) || !strings.Contains(out, "│ b = ") {
			t.Errorf("width %d: %s", width, out)
		}
		limit := max(width, 40)
		if width == 0 {
			limit = 80
		}
		for line := range strings.SplitSeq(out, "\n") {
			if utf8.RuneCountInString(line) > limit {
				t.Errorf("width %d: this line is wider: %s", width, line)
			}
		}
		if stripped := stripSGR(colored.String()); stripped != out {
			t.Errorf("width %d: colour changes the text", width)
		}
	}
}

func stripSGR(s string) string {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(s, "\x1b[")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		_, s, _ = strings.Cut(after, "m")
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(hosts, "address,target\na@x.example,b@x.example\n")
	f.Add(hosts+"mailbox \"m\" {\n for_each = { for m in csvdecode(file(\"f.csv\")) : m.address => m }\n source = each.key\n target = each.value.target\n}\n", "address;target\r\n\"a@x.example\";b@x.example\r\n")
	f.Add(hosts+"locals {\n a = local.b\n b = [for x in local.a : x...]\n}\n", "\ufeff")
	f.Add(hosts+"schedule {\n phase \"flip\" {\n start = before(cutover, \"1d\")\n}\n}\ngate \"flip\" {\n require = [check.no_stragglers_for[\"7d\"]]\n}\n", "a\n")
	f.Add(hosts+"locals {\n x = templatefile(\"f.csv\", { a = jsondecode(\"{}\"), b = secret.mail == null })\n}\n", "${a}%{ for x in [b] }${x}%{ endfor }")
	faults.Fuzz(f, func(t *testing.T, text, csv string) {
		fsys := files("a.mx.hcl", text, "f.csv", csv)
		loaded, errs := Load(fsys, Options{Version: "1.0"})
		if (loaded.Migration == nil) != errs.HasErrors() {
			t.Fatalf("migration %v, errors %v", loaded.Migration, errs)
		}
		var b bytes.Buffer
		if err := WriteDiagnostics(&b, loaded.Files, append(errs, loaded.Warnings...), 60, false); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsRune(b.String(), '\x1b') {
			t.Fatal("an escape reached the terminal")
		}
		if m := loaded.Migration; m != nil {
			again, _ := Load(fsys, Options{Version: "1.0"})
			if again.Migration == nil || again.Migration.Digest() != m.Digest() {
				t.Fatal("the same files have two digests")
			}
		}
		out, diags := Format("a.mx.hcl", []byte(text))
		if diags.HasErrors() {
			return
		}
		twice, diags := Format("a.mx.hcl", out)
		if diags.HasErrors() || !bytes.Equal(out, twice) {
			t.Fatalf("formatting twice differs:\n%q\n%q\n%v", out, twice, diags)
		}
	})
}

func FuzzReadTable(f *testing.F) {
	for _, s := range []string{"a,b\n1,2\n", "\ufeffa;b\r\n\"x\";\r\n", "a\tb\n", "\"a\n", "a\r1\r"} {
		f.Add(s)
	}
	faults.Fuzz(f, func(t *testing.T, s string) {
		table, err := readTable("f", s)
		if err != nil {
			return
		}
		for _, r := range table.rows {
			if len(r.cells) != len(table.columns) || r.line < 2 {
				t.Fatalf("row %+v of columns %q", r, table.columns)
			}
		}
		v := table.value()
		if got := v.LengthInt(); got != len(table.rows) {
			t.Fatalf("%d values of %d rows", got, len(table.rows))
		}
	})
}
