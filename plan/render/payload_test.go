package render

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"

	"github.com/mxodus/mxodus/providers/faults"
)

// htmlPayloads are texts that become elements, attributes or scripts where they aren't escaped for their place.
var htmlPayloads = []string{
	`<script>alert(1)</script>`, `</title><script>alert(1)</script>`, `</style><script>alert(1)</script>`, `</textarea><img src=x onerror=alert(1)>`, `<img src=x onerror=alert(1)>`,
	`"><img src=x onerror=alert(1)>`, `'><svg onload=alert(1)>`, `" onmouseover="alert(1)`, `' onfocus='alert(1)' autofocus='`, "` onload=alert(1)", `<svg/onload=alert(1)>`, `<svg><script>alert(1)</script></svg>`,
	`<iframe src=javascript:alert(1)>`, `<a href="javascript:alert(1)">x</a>`, `javascript:alert(1)`, `data:text/html,<script>alert(1)</script>`, `<meta http-equiv=refresh content="0;url=//evil.example">`,
	`<link rel=stylesheet href=//evil.example/x.css>`, `<base href=//evil.example/>`, `<object data=//evil.example/x>`, `<embed src=//evil.example/x>`, `<form action=//evil.example><input name=x>`, `<style>*{background:url(//evil.example)}</style>`,
	`<!--`, `-->`, `<!-- --><script>alert(1)</script>`, `<![CDATA[<script>alert(1)</script>]]>`, `<?xml version="1.0"?>`, `<!DOCTYPE html>`, `]]><script>alert(1)</script>`,
	`&lt;script&gt;alert(1)&lt;/script&gt;`, `&#60;script&#62;alert(1)&#60;/script&#62;`, `&#x3c;img src=x&#x3e;`, `{{.}}{{printf "%s" .}}`, `${alert(1)}`, `<scr<script>ipt>alert(1)</script>`, "<scr\x00ipt>alert(1)</script>", "<img src=x\x0bonerror=alert(1)>",
	"+ADw-script+AD4-alert(1)+ADw-/script+AD4-", "\xf0<script>alert(1)</script>", "\xc0\xbcscript\xc0\xbe", "＜script＞alert(1)＜/script＞", `<math><mtext></mtext><mglyph><style><img src=x onerror=alert(1)></style></mglyph></math>`,
	`<noscript><p title="</noscript><img src=x onerror=alert(1)>">`, `</td></tr></table><script>alert(1)</script>`, `</svg><script>alert(1)</script>`, `</text><a xlink:href="javascript:alert(1)"><text>x`,
}

// terminalPayloads are texts that a terminal acts on, or that show something else than they are.
var terminalPayloads = []string{
	"\x1b[2J\x1b[H", "\x1b[31mred", "\x1b]0;title\x07", "\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "\x1b]52;c;cm0gLXJmIC8=\x07", "\x1bP$q\"p\x1b\\", "\x1b_apc\x1b\\", "\x1b^pm\x1b\\", "\x1bc", "\x1b[?1049h", "\x1b[6n", "\x1b[5i", "\x1b(0", "\x1b#8",
	"\u009b31m", "\u009d0;title\u009c", "\u0090q\u009c", "\u0085next", "\x9b31m", "\x07\x08\x7f", "a\rforged", "a\nforged", "a\vb\fc", "\x00", "\x0e\x0f",
	"\u202egnp.exe", "\u202a\u202b\u202c\u202d", "\u2066\u2067\u2068\u2069", "\u200e\u200f\u061c", "\u200b\u200c\u200d\u2060\ufeff", "\u00ad", "\u2028\u2029", "\u034f\u115f\u1160\u3164\uffa0", "\ufe0f\U000e0100", "\U000e0041\U000e0001", "\ufff9\ufffa\ufffb", "\xff\xfe\xc0\xaf", "\xed\xa0\x80",
}

// skeleton is a page's elements with the names of their attributes, and the values of those that load or run something.
func skeleton(t *testing.T, page []byte) (list []string) {
	t.Helper()
	for z := html.NewTokenizer(bytes.NewReader(page)); ; {
		switch z.Next() {
		case html.ErrorToken:
			return list
		case html.StartTagToken, html.SelfClosingTagToken:
			tok := z.Token()
			names := []string{}
			for _, a := range tok.Attr {
				name := a.Key
				if slices.Contains([]string{"href", "src", "action", "style", "xlink:href"}, name) || strings.HasPrefix(name, "on") {
					name += "=" + strings.Map(func(r rune) rune {
						if unicode.IsDigit(r) {
							return '0'
						}
						return r
					}, a.Val)
				}
				names = append(names, name)
			}
			list = append(list, tok.Data+" "+strings.Join(names, " "))
		case html.EndTagToken:
			list = append(list, "/"+z.Token().Data)
		case html.CommentToken, html.DoctypeToken:
			list = append(list, z.Token().String())
		}
	}
}

// parsed is the tree that a browser makes of a page, elements alone.
func parsed(t *testing.T, page []byte) (list []string) {
	t.Helper()
	root, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			list = append(list, n.Parent.Data+">"+n.Data)
		}
	}
	return list
}

// TestPayloads puts texts of attackers in the place of names, subjects and servers' words in every view. In pages no element and
// no attribute comes of them: they have those that the page has with a harmless name. On screens, and in JSON, no octet is left
// that a terminal acts on but the line feed.
func TestPayloads(t *testing.T) {
	was := hostile
	defer func() { hostile = was }()
	pages := func(v view) bool { return strings.HasSuffix(v.name, ".html") || strings.HasSuffix(v.name, ".svg") }
	write := func(v view) []byte {
		var b bytes.Buffer
		if err := v.write(&b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	hostile = "harmless"
	bones, trees := map[string][]string{}, map[string][]string{}
	for _, v := range views(t) {
		if pages(v) {
			page := write(v)
			bones[v.name], trees[v.name] = skeleton(t, page), parsed(t, page)
		}
	}
	if len(bones) < 3 {
		t.Fatalf("only %d pages", len(bones))
	}
	for _, payload := range htmlPayloads {
		hostile = payload
		for _, v := range views(t) {
			if !pages(v) {
				continue
			}
			page := write(v)
			if got := skeleton(t, page); !slices.Equal(got, bones[v.name]) {
				t.Errorf("%s has other elements with %q: %v", v.name, payload, firstOther(got, bones[v.name]))
			}
			if got := parsed(t, page); !slices.Equal(got, trees[v.name]) {
				t.Errorf("%s has another tree with %q: %v", v.name, payload, firstOther(got, trees[v.name]))
			}
		}
	}
	escapes := 0
	for _, payload := range terminalPayloads {
		hostile = payload
		for _, v := range views(t) {
			escapes++
			text := string(write(v))
			for i, r := range text {
				_, n := utf8.DecodeRuneInString(text[i:])
				own := r == '\ufe0f' && strings.HasSuffix(v.name, ".md") // behind an emoji of ours
				if r != '\n' && !own && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) || r == utf8.RuneError && n == 1) {
					t.Errorf("%s shows %U of %q: %q", v.name, r, payload, text[max(0, i-40):min(len(text), i+40)])
					break
				}
			}
		}
	}
	faults.Count(t, "HTML payloads", len(htmlPayloads)*len(bones))
	faults.Count(t, "terminal escapes", escapes)
}

func firstOther(a, b []string) string {
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			return fmt.Sprintf("%d: %q", i, a[i])
		}
	}
	return fmt.Sprintf("%d elements, not %d", len(a), len(b))
}
