package copy

import (
	"bytes"
	"crypto/sha256"
	"mime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mxodus/mxodus/providers/faults"
)

// FuzzDigest: the digests of a message are those of its octets and of its canonical form, worked out in the plainest way, however the
// octets arrive; and what keeps content and not octets (line ends, NUL) keeps the canonical one.
func FuzzDigest(f *testing.F) {
	for _, s := range []string{"", "\n", "\r\n", "a\rb\n\nc\r\n", "\x00\r\x00\n\x00", "\r", "\r\r\n\n", strings.Repeat("a\n\x00", 50)} {
		f.Add([]byte(s), uint16(1), uint16(3))
	}
	faults.Fuzz(f, func(t *testing.T, octets []byte, first, second uint16) {
		plainest := func(b []byte) []byte {
			var canonical []byte
			for i, c := range b {
				switch {
				case c == 0:
					canonical = append(canonical, 0x80)
				case c == '\n' && (i == 0 || b[i-1] != '\r'):
					canonical = append(canonical, '\r', '\n')
				default:
					canonical = append(canonical, c)
				}
			}
			return canonical
		}
		a := min(int(first), len(octets))
		b := min(a+int(second), len(octets))
		h := newHasher(false)
		for _, piece := range [][]byte{octets[:a], octets[a:b], nil, octets[b:]} {
			h.Write(piece)
		}
		d := h.sum()
		if canonical := plainest(octets); d.raw != sha256.Sum256(octets) || d.canonical != sha256.Sum256(canonical) {
			t.Fatalf("cut at %d and %d: %x and %x", a, b, d.raw, d.canonical)
		} else if again := digestOf(string(canonical)); again.canonical != d.canonical || again.rewritten() != nil {
			t.Fatal("the canonical form has another canonical form")
		}
		if h.nul != bytes.Contains(octets, []byte{0}) {
			t.Fatal("NUL is told wrongly: it would go out without BINARY, or not at all")
		}
	})
}

// FuzzContent: what a message is known by at servers that render messages anew depends neither on how its octets arrive nor on its kind of line
// ends, memory stays bounded, and another Message-ID is another message.
func FuzzContent(f *testing.F) {
	f.Add([]byte(rendering{boundary: "b", textEncoding: "base64", width: 76, charset: "utf-8"}.message()), uint16(100))
	f.Add([]byte(rendering{boundary: "b", textEncoding: "quoted-printable", width: 76, charset: "iso-8859-1"}.message()), uint16(9))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n--x--\r\n--x\r\n"), uint16(7))
	f.Add([]byte("Content-Type: message/rfc822\n\nContent-Transfer-Encoding: quoted-printable\n\na=\n b=3\nD"), uint16(1))
	faults.Fuzz(f, func(t *testing.T, octets []byte, cut uint16) {
		sums := func(pieces ...[]byte) (content, gist []byte) {
			h := newContentHasher()
			for _, p := range pieces {
				h.Write(p)
				if len(h.open) > depthMost || len(h.header) > headerMost || len(h.line) > 2*lineMost+len(p) {
					t.Fatalf("%d open parts, %d octets of header, %d of a line", len(h.open), len(h.header), len(h.line))
				}
			}
			return h.sums()
		}
		content, gist := sums(octets)
		at := min(int(cut), len(octets))
		if c, g := sums(octets[:at], octets[at:]); len(octets) < lineMost && (!bytes.Equal(c, content) || !bytes.Equal(g, gist)) {
			t.Fatalf("cut at %d it is another message", at)
		}
		if !bytes.Contains(octets, []byte("\r")) {
			if c, _ := sums(bytes.ReplaceAll(octets, []byte("\n"), []byte("\r\n"))); len(octets) < lineMost && !bytes.Equal(c, content) {
				t.Fatal("with CRLF it is another message")
			}
		}
		one, g1 := sums([]byte("Message-ID: <1@a.example>\r\n"), octets)
		two, g2 := sums([]byte("Message-ID: <2@a.example>\r\n"), octets)
		if bytes.Equal(one, two) || g1 == nil || bytes.Equal(g1, g2) {
			t.Fatal("two messages are one")
		}
	})
}

// FuzzHeader: what a message is looked up by is one line of UTF-8 and bounded, is found whatever stands in the fields around it, and a subject has one
// digest however it is folded, encoded or spaced.
func FuzzHeader(f *testing.F) {
	f.Add([]byte("From: \"A\" <A@a.example>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n a\r\nMessage-ID: <1@a.example>\r\n\r\nSubject: no"), "Grüße aus Köln")
	f.Add([]byte("subject :x\nSUBJECT:\n\ty\nFrom: a@b, c@d\n\nFrom: e"), "ſtraße ŐŰ  x\u00a0y")
	f.Add([]byte("\n\nMessage-ID: x"), "İ \x00 \r\n =?utf-8?q?x?=")
	f.Add([]byte("From: =?x?q?=?= <@>\r\nMessage-ID: \xff<\r\n"), "")
	faults.Fuzz(f, func(t *testing.T, message []byte, subject string) {
		h := headerOf(message)
		for _, s := range []string{h.messageID, h.sender} {
			if !utf8.ValidString(s) || strings.ContainsAny(s, "\r\n") || len(s) > 3*998 {
				t.Fatalf("%q is no line", s)
			}
		}
		if h.sender != "" && !strings.Contains(h.sender, "@") {
			t.Fatalf("sender %q", h.sender)
		}
		if len(h.subject) != 0 && len(h.subject) != 8 {
			t.Fatalf("%d octets of digest", len(h.subject))
		}
		if !utf8.ValidString(subject) || strings.ContainsAny(subject, "\x00\r\n") {
			return
		}
		words := strings.Join(strings.Fields(subject), " ")
		plain := words
		if decoded, err := wordDecoder.DecodeHeader(words); err == nil {
			plain = decoded
		}
		if encoded := mime.QEncoding.Encode("utf-8", plain); plain != "" && strings.Join(strings.Fields(plain), " ") == plain && SubjectHash(encoded) != SubjectHash(words) {
			t.Fatalf("%q and %q differ", encoded, words)
		}
		folded := "X: y\r\nSubject: " + strings.ReplaceAll(words, " ", "\r\n\t ") + "\r\nTo: z\r\n\r\nSubject: another"
		if words != "" && !bytes.Equal(headerOf([]byte(folded)).subject, subjectDigest(words)) {
			t.Fatalf("folded, %q has another digest", words)
		}
	})
}
