package spreadsheet

import (
	"strings"
	"unicode"
)

// Guarded is a cell for files that people open in a spreadsheet: an apostrophe stands before what one would run as a formula.
// These are cells that begin with = + - @, also in full width, which Japanese editions take for the same; a tab, a carriage return or
// a line feed, which some pass over; and these signs behind blanks and characters that don't show.
func Guarded(cell string) string {
	rest := strings.TrimLeftFunc(cell, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '"'
	})
	if strings.IndexAny(cell, "\t\r\n") == 0 || strings.IndexAny(rest, "=+-@\uff1d\uff0b\uff0d\uff20\u2212") == 0 {
		return "'" + cell
	}
	return cell
}
