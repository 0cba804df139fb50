package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers/faults"
)

// bomb is input that would take a machine down, or that nobody means so. It is file, beside what
// is a whole migration without it.
type bomb struct {
	name string
	file string
	text string
	make func(f *folder) error // what is no text
	args []string              // "validate" when there are none
	at   string                // the line that has to be named; "any", "base" = one of base.mx.hcl, "" = the file is enough
	says string
	slow bool // it takes seconds of work: only with -all-bombs
	own  bool // in a process of its own, whose work and memory are measured
}

const (
	bombHCL  = "x.mx.hcl"
	bombCSV  = "mailboxes.csv"
	bombList = "list.csv"
)

// bombBase is a migration that is right with mailboxes.csv beside it.
const bombBase = `migration "acme" {
  cutover  = "2027-01-15T18:00"
  timezone = "Europe/Berlin"
}
source "imap" {
  host        = "imap.old.example"
  credentials = secret.mail
}
target "imap" {
  host        = "imap.new.example"
  credentials = secret.mail
}
secret "mail" {
  csv = "secrets/mail.csv"
}
mailbox "user" {
  for_each     = { for m in csvdecode(file("mailboxes.csv")) : m.address => m }
  source       = each.value.address
  target       = each.value.target
  display_name = each.value.name
}
`

const goodRows = "address,target,name\nanna@acme.example,anna@acme.example,Anna\n"

func local(value string) string { return "locals {\n  x = " + value + "\n}\n" }

// chain are n locals, each made of the one before.
func chain(n int, first, next string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "locals {\n  s0 = %s\n", first)
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, "  s%d = %s\n", i, strings.ReplaceAll(next, "PREV", fmt.Sprintf("local.s%d", i-1)))
	}
	return b.String() + "}\n"
}

// The bombs are functions: as variables, every process of these tests, the program itself among them, would make 300 MB of them at its
// start.
func hclBombs() []bomb {
	return []bomb{
		{slow: true, name: "a product of ranges of 10^9", text: local("[for a in range(1000) : [for b in range(1000) : [for c in range(1000) : 1]]]"), at: "2", says: "more than 2000000 steps"},
		{name: "a range of 10^9", text: local("range(1000000000)"), at: "2"},
		{name: "setproduct of 10^6", text: local("setproduct(range(1000), range(1000))"), at: "2"},
		{name: "for_each of 10^9", text: "mailbox \"many\" {\n  for_each = toset([for a in range(1000) : [for b in range(1000) : [for c in range(1000) : \"x\"]]])\n  source = each.key\n  target = each.key\n}\n", at: "2"},
		{name: "a string doubled 60 times", text: chain(60, `"0123456789"`, `"${PREV}${PREV}"`), at: "any", says: "64 MB"},
		{own: true, slow: true, name: "a list doubled 60 times", text: chain(60, `["a", "b"]`, "concat(PREV, PREV)"), at: "any"},
		{slow: true, name: "an object doubled 60 times", text: chain(60, `{ a = 1 }`, "{ a = PREV, b = PREV }"), at: "any"},
		{own: true, name: "a template doubled by a loop", text: chain(30, `"0123456789"`, `join("", [for i in range(1000) : PREV])`), at: "any"},
		{slow: true, name: "jsonencode again and again", text: chain(40, `"\"\"\""`, `jsonencode([PREV, PREV])`), at: "any"},
		{name: "a JSON text nested 900 times", text: local(`jsondecode(join("", [for x in range(900) : "["]))`), at: "2"},
		{name: "a local of itself", text: local("local.x"), at: "2"},
		{name: "a circle of 2,000 locals", text: strings.Replace(chain(2000, "local.s2000", "PREV"), "s0 = ", "s0 = ", 1), at: "2"},
		{name: "100,000 parentheses", text: local(strings.Repeat("(", 100_000) + "1" + strings.Repeat(")", 100_000)), at: "2"},
		{own: true, name: "100,000 brackets", text: local(strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)), at: "2"},
		{name: "100,000 brackets that aren't closed", text: local(strings.Repeat("[", 100_000)), at: "2"},
		{name: "50,000 objects within each other", text: local(strings.Repeat("{ a = ", 50_000) + "1" + strings.Repeat(" }", 50_000)), at: "2"},
		{name: "30,000 templates within each other", text: local(strings.Repeat(`"${`, 30_000) + "1" + strings.Repeat(`}"`, 30_000)), at: "2"},
		{name: "30,000 blocks within each other", text: strings.Repeat("a {\n", 30_000) + strings.Repeat("}\n", 30_000), at: "201"},
		{name: "100,000 signs", text: local(strings.Repeat("-", 100_000) + "1"), at: "2"},
		{name: "100,000 negations", text: local(strings.Repeat("!", 100_000) + "true"), at: "2"},
		{name: "a sum of 100,000", text: local(strings.Repeat("1+", 100_000) + "x"), at: "2"},
		{name: "100,000 choices", text: local(strings.Repeat("true ? 1 : ", 50_000) + "x"), at: "2"},
		{name: "100,000 indexes", text: local("y" + strings.Repeat("[0]", 100_000)), at: "2"},
		{name: "100,000 attributes of each other", text: local("y" + strings.Repeat(".a", 100_000)), at: "2"},
		{name: "20,000 functions within each other", text: local(strings.Repeat("upper(", 20_000) + `"a"` + strings.Repeat(")", 20_000)), at: "2"},
		{own: true, slow: true, name: "30,000 unknown blocks", text: strings.Repeat("bomb {\n}\n", 30_000), at: "1"},
		{name: "20,000 mistakes", text: "locals {\n" + strings.Repeat("  x = nothing.at.all\n", 20_000) + "}\n", at: "3"},
		{name: "a name of a million letters", text: "locals {\n  " + strings.Repeat("a", 1_000_000) + " = nothing\n}\n", at: "2"},
		{slow: true, name: "a number of a million digits", text: local(strings.Repeat("9", 1_000_000) + " + nothing"), at: "2"},
		{name: "a width of a billion", text: local(`format("%999999999d", 1)`), at: "2"},
		{name: "a file of 3 MB", text: "# " + strings.Repeat("x", 3<<20) + "\n", at: ""},
		{name: "a string without end", text: local("\"" + strings.Repeat("x", 1<<20)), at: "2"},
		{own: true, name: "a here-document without end", text: "locals {\n  x = <<END\n" + strings.Repeat("line\n", 20_000), at: "any"},
		{name: "a comment without end", text: "/*" + strings.Repeat("x\n", 100_000), at: "1"},
		{name: "NUL", text: "mailbox \"nul\" {\n  source = \"a\x00b@a.example\"\n  target = \"b@a.example\"\n}\n", at: "2"},
		{name: "no UTF-8", text: local("\"\xff\xfe\xfd\""), at: "2"},
		{name: "UTF-16", text: "\xff\xfel\x00o\x00c\x00a\x00l\x00s\x00 \x00{\x00\n\x00}\x00\n\x00", at: "1"},
		{name: "5,000 escapes for terminals", text: local(strings.Repeat("\x1b[31m\x1b]0;x\x07", 5_000)), at: "2"},
		{own: true, name: "a file that has no end", make: func(f *folder) error { return os.Symlink("/dev/zero", f.path(bombHCL)) }, at: ""},
		{name: "a pipe that nobody writes to", make: func(f *folder) error { return syscall.Mkfifo(f.path(bombHCL), 0o600) }, at: ""},
		{name: "a file of 40 MB in an expression", text: local(`file("large.txt")`), make: func(f *folder) error {
			return os.WriteFile(f.path("large.txt"), make([]byte, 40<<20), 0o600)
		}, at: "2"},
		{name: "a pipe in an expression", text: local(`file("pipe.txt")`), make: func(f *folder) error { return syscall.Mkfifo(f.path("pipe.txt"), 0o600) }, at: "2"},
		{name: "a file without end in an expression", text: local(`file("zero.txt")`), make: func(f *folder) error { return os.Symlink("/dev/zero", f.path("zero.txt")) }, at: "2"},
		{name: "100,000 signs, for fmt", args: []string{"fmt"}, text: local(strings.Repeat("[", 100_000)), at: "2"},
	}
}

func rows(n int, row string) string {
	var b strings.Builder
	b.WriteString("address,target,name\n")
	for i := range n {
		b.WriteString(strings.ReplaceAll(row, "N", fmt.Sprint(i)))
	}
	return b.String()
}

func csvBombs() []bomb {
	return []bomb{
		{name: "150,000 rows", file: bombCSV, text: rows(150_000, "uN@a.example,uN@a.example,N\n"), at: "base"},
		{name: "a row of a million fields", file: bombCSV, text: goodRows + strings.Repeat(",", 1_000_000) + "\n", at: "3"},
		{name: "a million columns", file: bombCSV, text: strings.Repeat("a,", 1_000_000) + "a\n", at: "1"},
		{name: "100,000 columns", file: bombCSV, text: rows(0, "") + strings.Repeat("x", 100_000) + "\n", at: "2"},
		{name: "a cell of 20 MB", file: bombCSV, text: "address,target,name\n" + strings.Repeat("x", 20<<20) + ",a@a.example,A\n", at: "2"},
		{name: "a file of 40 MB", file: bombCSV, text: rows(1, strings.Repeat("x", 40<<20)), at: "base"},
		{name: "a quote without end", file: bombCSV, text: goodRows + "\"" + strings.Repeat("x\n", 50_000), at: "50002"},
		{name: "a quote in a cell", file: bombCSV, text: goodRows + "a\"b@a.example,c@a.example,C\n", at: "3"},
		{name: "a million quotes", file: bombCSV, text: goodRows + strings.Repeat("\"", 1_000_001) + "\n", at: "3"},
		{name: "NUL in a cell", file: bombCSV, text: goodRows + "a\x00b@a.example,c@a.example,C\n", at: "3"},
		{name: "no UTF-8", file: bombCSV, text: goodRows + "m\xfcller@a.example,c@a.example,C\n", at: "3"},
		{name: "UTF-16 with a mark", file: bombCSV, text: "\xff\xfea\x00,\x00b\x00\n\x00", at: ""},
		{name: "UTF-16 without a mark", file: bombCSV, text: "a\x00,\x00b\x00\n\x00c\x00,\x00d\x00\n\x00", at: ""},
		{name: "nothing", file: bombCSV, text: "", at: ""},
		{name: "blanks alone", file: bombCSV, text: strings.Repeat(" \n", 1_000_000), at: ""},
		{name: "no column of that name", file: bombCSV, text: "adress,target,name\na@a.example,a@a.example,A\n", at: "base"},
		{name: "two columns of one name", file: bombCSV, text: "address,address,target,name\na,b,c,d\n", at: "1"},
		{name: "a column without a name", file: bombCSV, text: "address,,target,name\na,b,c,d\n", at: "1"},
		{name: "a row that is too short", file: bombCSV, text: goodRows + "b@a.example\n", at: "3"},
		{name: "a row that is too long", file: bombCSV, text: goodRows + "b@a.example,b@a.example,B,more\n", at: "3"},
		{name: "an address twice", file: bombCSV, text: goodRows + "anna@acme.example,b@a.example,B\n", at: "3"},
		{own: true, name: "an address 50,000 times", file: bombCSV, text: rows(50_000, "a@a.example,bN@a.example,B\n"), at: "3"},
		{name: "a target 5,000 times", file: bombCSV, text: rows(5_000, "aN@a.example,b@a.example,B\n"), at: "any"},
		{name: "5,000 addresses that are none", file: bombCSV, text: rows(5_000, "aN,bN,B\n"), at: "2"},
		{name: "an empty address", file: bombCSV, text: goodRows + ",b@a.example,B\n", at: "3"},
		{name: "an address that goes on in the next line", file: bombCSV, text: goodRows + "\"b@a.example\r\nA1 DELETE INBOX\",b@a.example,B\n", at: "3"},
		{name: "an address of a million letters", file: bombCSV, text: goodRows + strings.Repeat("b", 1_000_000) + "@a.example,b@a.example,B\n", at: "3"},
		{name: "escapes for terminals in an address", file: bombCSV, text: goodRows + "\x1b]0;owned\x07b@a.example,b@a.example,B\n", at: "3"},
		{name: "an address with a mark for right-to-left", file: bombCSV, text: goodRows + "b\u202e@a.example,b@a.example,B\n", at: "3"},
		{name: "a mark in the middle", file: bombCSV, text: goodRows + "\ufeffb@a.example,b@a.example,B\n", at: "3"},
		{name: "a folder in its place", file: "", make: func(f *folder) error { return os.Mkdir(f.path(bombCSV), 0o700) }, at: "base"},
		{name: "a link that leads out", file: "", make: func(f *folder) error { return os.Symlink("/etc/passwd", f.path(bombCSV)) }, at: "base"},
		{name: "a pipe in its place", file: "", make: func(f *folder) error { return syscall.Mkfifo(f.path(bombCSV), 0o600) }, at: "base"},

		{name: "import: a million rows", args: []string{"import", bombList}, file: bombList, text: "E-Mail;Name\n" + strings.Repeat("a@a.example;A\n", 1_000_000), at: ""},
		{name: "import: a million columns", args: []string{"import", bombList}, file: bombList, text: strings.Repeat("E-Mail;", 1_000_000) + "\na\n", at: ""},
		{name: "import: a file of 40 MB", args: []string{"import", bombList}, file: bombList, text: "E-Mail;Name\n" + strings.Repeat("x", 40<<20), at: ""},
		{name: "import: a quote without end", args: []string{"import", bombList}, file: bombList, text: "E-Mail;Name\n\"" + strings.Repeat("x\n", 100_000), at: "100001"},
		{name: "import: NUL", args: []string{"import", bombList}, file: bombList, text: "E-Mail;Name\na\x00@a.example;A\n", at: ""},
		{name: "import: an address twice, with other names", args: []string{"import", bombList}, file: bombList, text: "E-Mail;Name\na@a.example;A\na@a.example;B\n", at: "3"},
		{name: "import: half a UTF-16 character", args: []string{"import", bombList}, file: bombList, text: "\xff\xfeE\x00-\x00M\x00a\x00i\x00l\x00\n\x00a", at: ""},
		{name: "import: 100,000 addresses that are none", args: []string{"import", bombList}, file: bombList, text: "E-Mail;Name\n" + strings.Repeat("nobody;A\n", 99_999), at: "2"},
	}
}

var allBombs = flag.Bool("all-bombs", false, "also those that take seconds of work")

// TestBombs: each is answered by an error that names the file and, where there is one, the line, within a few seconds of work, with
// bounded memory, and without a control character.
func TestBombs(t *testing.T) {
	t.Parallel()
	list := hclBombs()
	inHCL := len(list)
	list = append(list, csvBombs()...)
	exploded := 0
	t.Run("all", func(t *testing.T) {
		for i, b := range list {
			kind := "HCL"
			if i >= inHCL {
				kind = "CSV"
			} else if b.text != "" {
				b.file = bombHCL
			}
			if b.slow && !*allBombs {
				continue
			}
			exploded++
			t.Run(kind+"/"+b.name, func(t *testing.T) {
				t.Parallel()
				b.explode(t)
			})
		}
	})
	t.Logf("%d of %d; the others with -all-bombs", exploded, len(list))
	faults.Count(t, "bombs", exploded)
}

var placed = regexp.MustCompile(`(?m)(x\.mx\.hcl line (\d+)|(mailboxes|list)\.csv:(\d+)|base\.mx\.hcl line \d+)`)

func (b bomb) explode(t *testing.T) {
	f := newFolder(t, map[string]string{"base.mx.hcl": bombBase})
	if b.file != bombCSV && !strings.HasPrefix(b.at, "base") {
		f.write(bombCSV, goodRows)
	}
	if b.file != "" {
		f.write(b.file, b.text)
	}
	if b.make != nil {
		if err := b.make(f); err != nil {
			t.Fatal(err)
		}
	}
	args := b.args
	if args == nil {
		args = []string{"validate"}
	}
	out, code := "", 0
	if b.own {
		c := f.start(args...)
		select {
		case <-c.ended:
		case <-time.After(2 * time.Minute):
			c.kill()
			t.Fatalf("still at work after two minutes:\n%.2000s", c.output())
		}
		out, code = c.output(), c.code()
		if work := c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime(); work > 15*time.Second {
			t.Errorf("it took %v of work", work)
		}
		if m := c.memory(); m > 1200<<20 {
			t.Errorf("it took %d MB of memory", m>>20)
		}
	} else {
		a, stdout, stderr := program(f.dir, "", false)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			code = a.main(t.Context(), args)
		}()
		select {
		case <-ended:
		case <-time.After(2 * time.Minute):
			t.Fatal("still at work after two minutes")
		}
		out = stdout.String() + stderr.String()
	}
	if code != 1 {
		t.Errorf("exit code %d, want 1:\n%.2000s", code, out)
	}
	if len(out) > 64<<10 {
		t.Errorf("%d octets are shown", len(out))
	}
	control(t, out, "")
	file := map[string]string{bombCSV: "mailboxes.csv", bombList: "list.csv"}[b.file]
	if file == "" && !strings.HasPrefix(b.at, "base") {
		file = bombHCL
	}
	if !strings.Contains(out, file) || !strings.Contains(out, b.says) {
		t.Errorf("it names neither %q nor says %q:\n%.2000s", file, b.says, out)
	}
	where, right := placed.FindAllStringSubmatch(out, -1), b.at == "any" || b.at == "base"
	for _, w := range where {
		right = right || w[2]+w[4] == b.at
	}
	if b.at != "" && (len(where) == 0 || !right) {
		t.Errorf("it is not told at line %s:\n%.2000s", b.at, out)
	}
	for _, never := range []string{"goroutine", "panic"} {
		if strings.Contains(out, never) {
			t.Errorf("it says %q:\n%.2000s", never, out)
		}
	}
}
