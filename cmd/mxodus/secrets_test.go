package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// leaks returns where a secret shows up in texts, by name: as it is, in hex, as URLs
// write it, and in base64 at any place of what was encoded, as SASL PLAIN has it.
func leaks(texts map[string]string, secrets map[string]string) []string {
	var found []string
	for what, secret := range secrets {
		for form, needle := range forms(secret) {
			for name, text := range texts {
				if strings.Contains(text, needle) {
					found = append(found, fmt.Sprintf("%s holds %s, %s", name, what, form))
				}
			}
		}
	}
	slices.Sort(found)
	return found
}

func forms(secret string) map[string]string {
	all := map[string]string{
		"as it is":       secret,
		"in hex":         hex.EncodeToString([]byte(secret)),
		"as a query":     url.QueryEscape(secret),
		"as a path":      url.PathEscape(secret),
		"in JSON or HCL": strings.Trim(fmt.Sprintf("%q", secret), `"`),
	}
	// Base64 spells octets by their place in groups of three. What hangs on the octets
	// before and behind is cut off.
	for before := range 3 {
		for form, code := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			text := code.EncodeToString([]byte(strings.Repeat("\x00", before) + secret))
			text = text[[]int{0, 2, 3}[before] : (before+len(secret))*8/6]
			all[fmt.Sprintf("in %s behind %d octets", form, before)] = text
		}
	}
	if raw, err := base64.StdEncoding.DecodeString(secret); err == nil && len(raw) >= 8 {
		all["decoded"] = string(raw)
		all["decoded, in hex"] = hex.EncodeToString(raw)
	}
	return all
}

// TestLeaks: a secret is found in whatever form it lies there.
func TestLeaks(t *testing.T) {
	const secret = "C4nary+/&=pw%7"
	for name, text := range map[string]string{
		"raw":         "password " + secret + " refused",
		"query":       "https://x/?p=" + url.QueryEscape(secret),
		"SASL PLAIN":  "AUTHENTICATE PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00anna@acme.example\x00"+secret)),
		"SASL PLAIN2": "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("jo\x00jo\x00"+secret)),
		"AUTH LOGIN":  base64.StdEncoding.EncodeToString([]byte(secret)),
		"in a header": base64.URLEncoding.EncodeToString([]byte("ab" + secret + "; and more")),
		"hex":         hex.EncodeToString([]byte("x" + secret)),
	} {
		if got := leaks(map[string]string{name: text}, map[string]string{"it": secret}); len(got) == 0 {
			t.Errorf("%s: not found in %q", name, text)
		}
	}
	if got := leaks(map[string]string{"clean": "nothing to see: C4nary"}, map[string]string{"it": secret}); len(got) != 0 {
		t.Errorf("found in a clean text: %v", got)
	}
}
