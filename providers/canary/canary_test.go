package canary

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLeaks: a secret is found in whatever form it lies there.
func TestLeaks(t *testing.T) {
	const secret = `C4nary+/&="pw%7`
	j, err := json.Marshal(map[string]string{"p": secret})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"raw":         "password " + secret + " refused",
		"cut":         "password " + secret[:13],
		"cut before":  secret[3:],
		"query":       "https://x/?p=" + url.QueryEscape(secret),
		"SASL PLAIN":  "AUTHENTICATE PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00anna@acme.example\x00"+secret)),
		"SASL PLAIN2": "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("jo\x00jo\x00"+secret)),
		"XOAUTH2":     base64.StdEncoding.EncodeToString([]byte("user=a@b.example\x01auth=Bearer " + secret + "\x01\x01")),
		"AUTH LOGIN":  base64.StdEncoding.EncodeToString([]byte(secret)),
		"in a header": base64.URLEncoding.EncodeToString([]byte("ab" + secret + "; and more")),
		"hex":         hex.EncodeToString([]byte("x" + secret)),
		"JSON":        string(j),
		"octets":      fmt.Sprint([]byte("x" + secret)),
		"LOGIN":       `a1 LOGIN anna "` + strings.ReplaceAll(secret, `"`, `\"`) + `"`,
	} {
		if got := Leaks(map[string]string{name: text}, map[string]string{"it": secret}); len(got) == 0 {
			t.Errorf("%s: not found in %q", name, text)
		}
		if got := Leaks(map[string]string{text: ""}, map[string]string{"it": secret}); len(got) == 0 {
			t.Errorf("%s: not found in the name %q", name, text)
		}
	}
	if got := Leaks(map[string]string{"clean": "nothing to see: C4nary"}, map[string]string{"it": secret}); len(got) != 0 {
		t.Errorf("found in a clean text: %v", got)
	}
	if n := Searched(map[string]string{"a": secret, "b": secret}); n != 2*len(Forms(secret)) || n < 36 {
		t.Errorf("%d texts are looked for", n)
	}
}

// TestFolder: no file is passed over, and what is left out is left out by name.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".mxodus/state.db-wal", "secrets/a.csv", "plans/0001.plan", "a"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Folder(dir, "secrets", "a")
	if err != nil || len(got) != 2 || got[".mxodus/state.db-wal"] == "" || got["plans/0001.plan"] == "" {
		t.Errorf("%v, %v", got, err)
	}
}
