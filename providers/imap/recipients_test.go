package imap

import (
	"slices"
	"testing"
)

func TestRecipientsOfMalformedHeaders(t *testing.T) {
	for _, c := range []struct {
		name, header string
		want         []string
	}{
		{"as RFC 5322 has it", "To: \"Weber, Anna\" <Anna@acme.example>, jens@acme.example (Jens, J.)\r\nCc: Team: a@acme.example, b@acme.example;\r\n\r\n",
			[]string{"anna@acme.example", "jens@acme.example", "a@acme.example", "b@acme.example"}},
		{"folded", "To:\r\n anna@acme.example,\r\n\tjens@acme.example\r\n", []string{"anna@acme.example", "jens@acme.example"}},
		{"other fields", "Subject: anna@acme.example\r\nX-To: jens@acme.example\r\n\r\n", nil},
		{"what servers write", "Delivered-To: info@acme.example\r\nX-Original-To: <buero@acme.example>\r\nEnvelope-To: shop@acme.example\r\n\r\n",
			[]string{"info@acme.example", "buero@acme.example", "shop@acme.example"}},
		{"one malformed among others", "To: nobody\x1b[2J@acme.example, info@acme.example\r\n\r\n", []string{"info@acme.example"}},
		{"undisclosed", "To: undisclosed-recipients:;\r\n\r\n", nil},
		{"semicolons, as some programs write", "To: anna@acme.example; Jens <jens@acme.example>; \"a; b\" <c@acme.example>\r\n\r\n",
			[]string{"anna@acme.example", "jens@acme.example", "c@acme.example"}},
		{"a name without quotes", "To: Weber, Anna [Sales] <anna@acme.example>\r\n\r\n", []string{"anna@acme.example"}},
		{"a quote without an end", "To: \"Anna <anna@acme.example>, jens@acme.example\r\n\r\n", []string{"anna@acme.example", "jens@acme.example"}},
		{"a comment without an end", "To: anna@acme.example (Anna, jens@acme.example\r\n\r\n", []string{"anna@acme.example", "jens@acme.example"}},
		{"8 bits in a name", "To: M\xfcller <m@acme.example>\r\n\r\n", []string{"m@acme.example"}},
		{"a malformed line before", "no field at all\r\nTo : anna@acme.example\r\n\x00: x\r\nCc: jens@acme.example\n\n", []string{"anna@acme.example", "jens@acme.example"}},
		{"twice", "To: a@acme.example\r\nCc: A@ACME.example\r\n", []string{"a@acme.example"}},
		{"hidden characters", "To: a\u202e@acme.example, b\u200b@acme.example\r\n", nil},
	} {
		if got := recipients([]byte(c.header)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
