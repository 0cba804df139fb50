package config

import (
	"bytes"
	"fmt"
	"io/fs"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
)

// reader reads the files that expressions ask for and remembers which text
// came from which file, so that later errors can name it.
type reader struct {
	fsys    fs.FS
	cache   map[string]string // by path
	origin  map[string]string // path, by content
	secrets map[string]bool   // paths that a secret block names
	tables  []*table          // what csvdecode has read
}

func newReader(fsys fs.FS) *reader {
	return &reader{fsys: fsys, cache: map[string]string{}, origin: map[string]string{}, secrets: map[string]bool{}}
}

// text returns the content of a UTF-8 file. Files of secrets are refused:
// their content would end up in a plan.
func (r *reader) text(name string) (string, error) {
	name = cleanPath(name)
	if r.secrets[name] {
		return "", fmt.Errorf("%q belongs to a secret block: its content stays out of expressions", name)
	}
	if s, ok := r.cache[name]; ok {
		return s, nil
	}
	b, err := readBounded(r.fsys, name, maxDataSize)
	if err != nil {
		return "", err
	}
	if at, bad := invalidUTF8(b); bad {
		line := 1 + bytes.Count(b[:at], []byte("\n"))
		return "", fmt.Errorf("%s:%d is not UTF-8 (octet 0x%02X): save the file as UTF-8, in a spreadsheet \"CSV UTF-8\"", name, line, b[at])
	}
	// The text of a value is normalised (NFC); the origin is found by that form.
	s := cty.StringVal(string(b)).AsString()
	r.cache[name], r.origin[s] = s, name
	return s, nil
}

func invalidUTF8(b []byte) (at int, bad bool) {
	for i := 0; i < len(b); {
		c, n := utf8.DecodeRune(b[i:])
		if c == utf8.RuneError && n == 1 {
			return i, true
		}
		i += n
	}
	return 0, false
}
