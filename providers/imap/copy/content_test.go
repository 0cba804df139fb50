package copy

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mxodus/mxodus/state/manifest"
)

func digestOf(octets string) digest {
	h := newHasher(true)
	io.WriteString(h, octets)
	return h.sum()
}

func inBase64(s string, width int) string {
	e := base64.StdEncoding.EncodeToString([]byte(s))
	var b strings.Builder
	for len(e) > width {
		b.WriteString(e[:width] + "\r\n")
		e = e[width:]
	}
	return b.String() + e + "\r\n"
}

func inQuotedPrintable(s string) string {
	var b bytes.Buffer
	w := quotedprintable.NewWriter(&b)
	io.WriteString(w, s)
	w.Close()
	return b.String()
}

// rendering is one way to write the same message.
type rendering struct {
	boundary, textEncoding string
	width                  int
	flat, folded, received bool
	charset                string
}

const pdf = "%PDF-1.4 \x00\x01\x02\xff\r\nno text\r\n"

func (r rendering) message() string {
	text := "Grüße aus Köln\r\n\r\nbis morgen  \r\n"
	if r.charset == "iso-8859-1" {
		text = strings.NewReplacer("ü", "\xfc", "ß", "\xdf", "ö", "\xf6").Replace(text)
	}
	body := map[string]string{"base64": inBase64(text, r.width), "quoted-printable": inQuotedPrintable(text), "8bit": text}[r.textEncoding]
	plain := fmt.Sprintf("Content-Type: text/plain; charset=%s\r\nContent-Transfer-Encoding: %s\r\n\r\n%s", r.charset, r.textEncoding, body)
	html := "Content-Type: text/html; charset=us-ascii\r\n\r\n<p>Hello</p>\r\n"
	file := "Content-Type: application/pdf;\r\n\tname=\"=?utf-8?q?Angebot_M=C3=BCller.pdf?=\"\r\nContent-Disposition: attachment; filename=\"=?utf-8?q?Angebot_M=C3=BCller.pdf?=\"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + inBase64(pdf, r.width)
	b := r.boundary
	var head strings.Builder
	if r.received {
		head.WriteString("Received: from a by b; Mon, 1 Jan 2024 10:00:00 +0000\r\nX-MS-Exchange-Organization-SCL: -1\r\n")
	}
	head.WriteString("From: =?utf-8?q?J=C3=BCrgen?= <Juergen@Acme.example>\r\nMessage-ID: <1@acme.example>\r\n")
	if r.folded {
		head.WriteString("Date: Mon, 1 Jan 2024 11:00:00 +0100\r\nSubject: =?utf-8?b?QW5nZWJvdCBmw7xyIE3DvGxsZXI=?=\r\n and\r\n\tmore\r\nTo: anna@acme.example,\r\n bernd@acme.example\r\n")
	} else {
		head.WriteString("Date: Mon, 01 Jan 2024 10:00:00 +0000\r\nSubject: =?iso-8859-1?q?Angebot_f=FCr_M=FCller?= and more\r\nTo: Anna <anna@acme.example>, bernd@acme.example\r\n")
	}
	head.WriteString("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"" + b + "\"\r\n\r\nnot for you\r\n")
	if r.flat {
		return head.String() + "--" + b + "\r\n" + plain + "\r\n--" + b + "\r\n" + html + "\r\n--" + b + "\r\n" + file + "\r\n--" + b + "--\r\n"
	}
	return head.String() + "--" + b + "\r\nContent-Type: multipart/alternative; boundary=" + b + "in\r\n\r\n--" + b + "in\r\n" + plain + "\r\n--" + b + "in\r\n" + html +
		"\r\n--" + b + "in--\r\n\r\n--" + b + "\r\n" + file + "\r\n--" + b + "--\r\nepilogue\r\n"
}

// TestTheSameMessageRenderedAnew writes one message in many ways, as servers do that keep no octets.
func TestTheSameMessageRenderedAnew(t *testing.T) {
	first := digestOf(rendering{boundary: "b", textEncoding: "8bit", width: 76, charset: "utf-8"}.message())
	for _, enc := range []string{"8bit", "base64", "quoted-printable"} {
		for _, cs := range []string{"utf-8", "iso-8859-1"} {
			for _, flag := range []int{0, 1, 2, 4, 7} {
				r := rendering{boundary: "=_" + enc, textEncoding: enc, width: 60 + flag, charset: cs, flat: flag&1 != 0, folded: flag&2 != 0, received: flag&4 != 0}
				for _, ends := range []string{"\r\n", "\n"} {
					d := digestOf(strings.ReplaceAll(r.message(), "\r\n", ends))
					if tier := tierOf(first, d); tier > manifest.SameContent {
						t.Errorf("%+v, lines end with %q: tier %d", r, ends, tier)
					}
				}
			}
		}
	}
}

// TestOtherMessagesAreOthers changes something that counts.
func TestOtherMessagesAreOthers(t *testing.T) {
	m := rendering{boundary: "b", textEncoding: "8bit", width: 76, charset: "utf-8"}.message()
	first := digestOf(m)
	for what, c := range map[string]struct {
		from, to string
		want     manifest.Tier
	}{
		"the text":           {"morgen", "gestern", manifest.OtherContent},
		"a letter":           {"morgen", "morgan", manifest.SameGist},
		"the attachment":     {inBase64(pdf, 76), inBase64("%PDF-1.5 \x00\x01\x02\xff\r\nno text\r\n", 76), manifest.SameGist},
		"its size":           {inBase64(pdf, 76), inBase64("%PDF", 76), manifest.OtherContent},
		"its name":           {"M=C3=BCller.pdf", "Meier.pdf", manifest.OtherContent},
		"a recipient":        {"bernd@", "carla@", manifest.SameGist},
		"the sender":         {"Juergen@", "Hans@", manifest.OtherContent},
		"the subject":        {"and more", "and less", manifest.OtherContent},
		"the Message-ID":     {"<1@", "<2@", manifest.OtherContent},
		"the date":           {"10:00:00", "10:00:01", manifest.OtherContent},
		"the html":           {"Hello", "Hullo", manifest.SameGist},
		"nothing that shows": {"not for you", "", manifest.SameContent},
	} {
		changed := strings.ReplaceAll(m, c.from, c.to)
		if changed == m {
			t.Fatalf("%s: nothing was changed", what)
		}
		if got := tierOf(first, digestOf(changed)); got != c.want {
			t.Errorf("%s: tier %d, want %d", what, got, c.want)
		}
	}
	if d := digestOf("\r\nno header\r\n"); d.gist != nil || d.content == nil {
		t.Error("a message of which nothing is known has a gist")
	}
}

// TestContentDoesNotDependOnHowItArrives hashes octets in pieces.
func TestContentDoesNotDependOnHowItArrives(t *testing.T) {
	whole := rendering{boundary: "b", textEncoding: "quoted-printable", width: 76, charset: "iso-8859-1"}.message() + strings.Repeat("0123456789=\r\n", 2000)
	rapid.Check(t, func(t *rapid.T) {
		octets := []byte(whole)
		if rapid.Bool().Draw(t, "any") {
			octets = rapid.SliceOfN(rapid.SampledFrom([]byte("ab=3D\r\n \t-\xc3\xbc:")), 0, 400).Draw(t, "octets")
			octets = append([]byte("Content-Transfer-Encoding: quoted-printable\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"), octets...)
		}
		want := digestOf(string(octets))
		h := newHasher(true)
		for rest := octets; len(rest) > 0; {
			n := rapid.IntRange(1, min(len(rest), 5000)).Draw(t, "part")
			h.Write(rest[:n])
			rest = rest[n:]
		}
		got := h.sum()
		if !bytes.Equal(got.content, want.content) || !bytes.Equal(got.gist, want.gist) {
			t.Fatal("the digest depends on how the octets are cut")
		}
	})
}

func BenchmarkContentHasher(b *testing.B) {
	m := []byte(rendering{boundary: "b", textEncoding: "8bit", width: 76, charset: "utf-8"}.message())
	m = append(m, bytes.Repeat([]byte("text and more text, line after line of it\r\n"), 20_000)...)
	b.SetBytes(int64(len(m)))
	for b.Loop() {
		h := newContentHasher()
		h.Write(m)
		h.sums()
	}
}
