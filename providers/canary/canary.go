// Package canary finds secrets in what a run has left where none may be. Each secret of a test has a text of its own, the canary, and
// afterwards every file and every screen is searched for it in all the forms that a program might have written it in. Only tests import it.
package canary

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"
)

// Mark is in the canaries of tests that share a folder or a screen, so that one search finds them all.
const Mark = "Can4ry"

// part is how many octets of a secret's begin or end give it away: what was cut off in the middle is found.
const part = 12

// Forms are the texts under which a secret would be found, by what that form is called: as it is and in part, in hex, as URLs, JSON, HTML, quoted
// strings of IMAP and UTF-16 write it, and in base64 at any place of what was encoded, as SASL PLAIN and XOAUTH2 have it.
func Forms(secret string) map[string]string {
	encoded, _ := json.Marshal(secret) // of a string
	wide := strings.Builder{}
	for _, u := range utf16.Encode([]rune(secret)) {
		wide.Write([]byte{byte(u), byte(u >> 8)})
	}
	all := map[string]string{
		"as it is":         secret,
		"in hex":           hex.EncodeToString([]byte(secret)),
		"in capital hex":   strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"as octets":        strings.Trim(fmt.Sprint([]byte(secret)), "[]"),
		"as a query":       url.QueryEscape(secret),
		"as a path":        url.PathEscape(secret),
		"in Go or HCL":     strings.Trim(fmt.Sprintf("%q", secret), `"`),
		"in JSON":          string(encoded[1 : len(encoded)-1]),
		"in IMAP's quotes": strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(secret),
		"in HTML":          strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace(secret),
		"in UTF-16":        wide.String(),
		"reversed":         reversed(secret),
	}
	if len(secret) > part {
		all["its begin"], all["its end"] = secret[:part], secret[len(secret)-part:]
	}
	// Base64 spells octets by their place in groups of three. What hangs on the octets
	// before and behind is cut off.
	for before := range 3 {
		for form, code := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			text := code.EncodeToString([]byte(strings.Repeat("\x00", before) + secret))
			all[fmt.Sprintf("in %s behind %d octets", form, before)] = text[[]int{0, 2, 3}[before] : (before+len(secret))*8/6]
		}
	}
	if raw, err := base64.StdEncoding.DecodeString(secret); err == nil && len(raw) >= 8 {
		all["decoded"] = string(raw)
		all["decoded, in hex"] = hex.EncodeToString(raw)
	}
	return all
}

func reversed(s string) string {
	r := []rune(s)
	slices.Reverse(r)
	return string(r)
}

// Leaks returns where secrets, by what they are called, show up in texts, by their names, and in the names themselves; sorted.
func Leaks(texts, secrets map[string]string) []string {
	var found []string
	for what, secret := range secrets {
		for form, needle := range Forms(secret) {
			for name, text := range texts {
				if at := strings.Index(text, needle); at >= 0 {
					found = append(found, fmt.Sprintf("%s holds %s, %s, behind %q", name, what, form, text[max(0, at-80):at]))
				}
				if strings.Contains(name, needle) {
					found = append(found, fmt.Sprintf("the name %q holds %s, %s", name, what, form))
				}
			}
		}
	}
	slices.Sort(found)
	return found
}

// Searched is how many texts Leaks looks for: the forms of all secrets.
func Searched(secrets map[string]string) (n int) {
	for _, s := range secrets {
		n += len(Forms(s))
	}
	return n
}

// Folder is every file below dir by its path, but those below the folders and the files named: databases with what follows them, locks and parts of files too. What
// vanishes meanwhile is passed over.
func Folder(dir string, but ...string) (map[string]string, error) {
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != dir {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if slices.Contains(but, filepath.ToSlash(name)) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		switch {
		case d.Type().IsRegular():
			octets, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			all[filepath.ToSlash(name)] = string(octets)
		case d.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			all[filepath.ToSlash(name)] = to
		}
		return nil
	})
	return all, err
}
