package main

import (
	"regexp"
	"testing"
	"unicode"
	"unicode/utf8"
)

// ownColour are the sequences that the program itself writes where colour is on.
var ownColour = regexp.MustCompile("\x1b\\[[0-9;]*m")

// control wants that text holds no octet that a terminal would act on but line feeds: no escape, no other control character, C0 or
// C1, nothing that reorders or hides text, and no broken UTF-8.
func control(t *testing.T, text, what string) {
	t.Helper()
	for i, r := range text {
		bad := r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r))
		if r == utf8.RuneError {
			_, n := utf8.DecodeRuneInString(text[i:])
			bad = n == 1
		}
		if bad {
			t.Errorf("%s: %U is shown: %q", what, r, text[max(0, i-60):min(len(text), i+60)])
			return
		}
	}
}
