package providers_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"log"
	"log/slog"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"text/template"

	"github.com/zclconf/go-cty/cty"

	"github.com/mxodus/mxodus/providers"
)

const text = `Kan4rie+/&="ß\7`

// forms are those in which a printed secret would be found.
func forms() []string {
	octets := fmt.Sprint([]byte(text))
	return []string{
		text, text[:8], hex.EncodeToString([]byte(text))[:12], strings.ToUpper(hex.EncodeToString([]byte(text)))[:12],
		base64.StdEncoding.EncodeToString([]byte(text))[:12], url.QueryEscape(text), octets[1 : len(octets)-1], "0x4b, 0x61, 0x6e",
	}
}

// walk gathers every string and number that reflection finds below v, as dumps do: in unexported fields,
// behind pointers and in maps.
func walk(v reflect.Value, depth int, out *strings.Builder) {
	if depth > 12 || !v.IsValid() {
		return
	}
	switch v.Kind() {
	case reflect.String:
		out.WriteString(v.String() + "\n")
	case reflect.Pointer, reflect.Interface:
		walk(v.Elem(), depth+1, out)
	case reflect.Struct:
		for i := range v.NumField() {
			walk(v.Field(i), depth+1, out)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			walk(v.Index(i), depth+1, out)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			walk(k, depth+1, out)
			walk(v.MapIndex(k), depth+1, out)
		}
	case reflect.Uint8:
		out.WriteByte(byte(v.Uint()))
	}
}

// TestSecretCantBePrinted tries everything that makes text of a value.
func TestSecretCantBePrinted(t *testing.T) {
	type holder struct {
		Name   string
		Pass   providers.Secret
		Point  *providers.Secret
		hidden providers.Secret
	}
	s := providers.Keep(text)
	h := holder{"anna", s, &s, s}
	shown := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%c", "%U", "%t", "%T", "%b", "%o", "%e", "%p", "%10.5s", "%w", "%!"} {
		for name, v := range map[string]any{"itself": s, "a pointer": &s, "a struct": h, "a pointer to one": &h, "a slice": []providers.Secret{s}, "a map": map[string]providers.Secret{"x": s},
			"an array": [1]providers.Secret{s}, "an interface": []any{s, h}} {
			shown[verb+" of "+name] = fmt.Sprintf(verb, v)
		}
	}
	shown["print"] = fmt.Sprint(s, &s, h) + fmt.Sprintln(h, s)
	shown["String"] = s.String() + s.GoString()
	encoded := func(name string, octets []byte, err error) { shown[name] = string(octets) + fmt.Sprint(err) }
	j, err := json.Marshal(map[string]any{"secret": s, "pointer": &s, "struct": h})
	encoded("JSON", j, err)
	j, err = json.Marshal(map[string]any{"key": map[*providers.Secret]int{}, "list": []providers.Secret{s}})
	encoded("JSON of a key", j, err)
	x, err := xml.Marshal(h)
	encoded("XML", x, err)
	var buf bytes.Buffer
	err = gob.NewEncoder(&buf).Encode(h)
	if err == nil {
		t.Error("gob stores a secret")
	}
	encoded("gob", buf.Bytes(), err)
	m, err := s.MarshalText()
	encoded("text", m, err)
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"slog text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(handler(&b)).With("with", s).Info("login", "secret", s, "struct", h, slog.Group("g", "p", &s))
		shown[name] = b.String()
	}
	var lines bytes.Buffer
	log.New(&lines, "", 0).Printf("%v %s %+v", s, &s, h)
	shown["log"] = lines.String()
	for name, execute := range map[string]func(*bytes.Buffer) error{
		"a template": func(b *bytes.Buffer) error {
			return template.Must(template.New("").Parse(`{{.}} {{.Pass}} {{printf "%q" .Point}} {{html .Pass}}`)).Execute(b, h)
		},
		"an HTML page": func(b *bytes.Buffer) error {
			return htmltemplate.Must(htmltemplate.New("").Parse(`<a href="?x={{.Pass}}" title="{{.}}">{{.Pass}}</a><script>var x = {{.Pass}}</script>`)).Execute(b, h)
		},
		"a URL": func(b *bytes.Buffer) error {
			_, err := b.WriteString(url.Values{"p": {fmt.Sprint(s)}}.Encode())
			return err
		},
		"a wrapped error": func(b *bytes.Buffer) error {
			_, err := fmt.Fprintf(b, "%v %+v", fmt.Errorf("log in with %v: %w", s, errors.Join(fmt.Errorf("%+v", h))), fmt.Errorf("%s", &s))
			return err
		},
		"a provider's error": func(b *bytes.Buffer) error {
			_, err := fmt.Fprintf(b, "%v %+v %#v", &providers.Error{Op: "log in", Err: fmt.Errorf("%v", h)}, providers.Error{Server: fmt.Sprint(s)}, h)
			return err
		},
	} {
		var b bytes.Buffer
		if err := execute(&b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		shown[name] = b.String()
	}
	func() {
		defer func() { shown["a panic"] = fmt.Sprintf("%v %#v", recover(), h) }()
		panic(h)
	}()
	capsule := cty.CapsuleVal(cty.Capsule("secret", reflect.TypeFor[providers.Secret]()), &s)
	shown["go-cty"] = fmt.Sprintf("%#v %v", capsule, capsule)
	var dump strings.Builder
	walk(reflect.ValueOf(&h), 0, &dump)
	walk(reflect.ValueOf(&s), 0, &dump)
	walk(reflect.ValueOf(capsule), 0, &dump)
	shown["a dump by reflection"] = dump.String()
	for name, got := range shown {
		for _, form := range forms() {
			if strings.Contains(got, form) {
				t.Errorf("%s shows %s", name, got)
			}
		}
	}
	if h.hidden.Reveal() != text || (providers.Secret{}).Reveal() != "" {
		t.Error("the text is gone")
	}
	if len(shown) < 150 {
		t.Errorf("only %d ways were tried", len(shown))
	}
	// A string in the same places is found: the search isn't blind.
	var control strings.Builder
	walk(reflect.ValueOf(struct{ hidden string }{text}), 0, &control)
	if !strings.Contains(control.String(), text) {
		t.Error("walk doesn't see unexported strings")
	}
}

// TestConceal: servers quote what was sent in many forms; none is left, and other words stay.
func TestConceal(t *testing.T) {
	const password = "C4nary+/&=pw%7"
	encoded, err := json.Marshal(password)
	if err != nil {
		t.Fatal(err)
	}
	jwt := "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwcyJ9.c2lnbmF0dXJl"
	for name, words := range map[string]string{
		"raw":        "NO wrong password " + password + ", sorry",
		"twice":      password + " is not " + password,
		"SASL PLAIN": "535 AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00anna@acme.example\x00"+password)),
		"SASL, 2":    base64.StdEncoding.EncodeToString([]byte("jo\x00jo\x00" + password)),
		"AUTH LOGIN": base64.StdEncoding.EncodeToString([]byte(password)) + " refused",
		"XOAUTH2":    base64.StdEncoding.EncodeToString([]byte("user=a\x01auth=Bearer " + password + "\x01\x01")),
		"header":     "Authorization: Bearer " + password,
		"query":      "https://x/?p=" + url.QueryEscape(password),
		"path":       "https://x/" + url.PathEscape(password) + "/y",
		"JSON":       `{"password":` + string(encoded) + "}",
		"IMAP":       `LOGIN anna "C4nary+/&=pw%7"`,
		"hex":        hex.EncodeToString([]byte("x" + password)),
		"base64url":  base64.URLEncoding.EncodeToString([]byte("ab" + password + "; and more")),
		"JWT":        "invalid assertion " + jwt + " refused",
	} {
		got := providers.Conceal(words, password)
		for _, form := range []string{password, "C4nary", "QzRuYXJ5", "M0bmFyeS", "NG5hcnk", url.QueryEscape(password), "43346e617279", `\u0026`, "eyJhdWQi", "c2lnbmF0dXJl"} {
			if strings.Contains(got, form) {
				t.Errorf("%s: %q is left in %q", name, form, got)
			}
		}
	}
	if got := providers.Conceal("NO [AUTHENTICATIONFAILED] wrong password, sorry", password, "", "ab", providers.Keep("x").Reveal()); got != "NO [AUTHENTICATIONFAILED] wrong password, sorry" {
		t.Errorf("other words became %q", got)
	}
	if got := providers.Conceal("NO bad password hunter2", "hunter2"); got != "NO bad password …" {
		t.Errorf("%q", got)
	}
}
