package providers

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Secret is a password, key or token in memory. However it is printed, encoded or logged, it shows as
// "(secret)", or not at all; the text is behind a function because fmt and dumps by reflection read unexported fields of
// structs without asking their methods.
type Secret struct{ reveal func() string }

// hidden is what a Secret shows.
const hidden = "(secret)"

// Keep makes a Secret of text.
func Keep(text string) Secret { return Secret{func() string { return text }} }

// Reveal returns the text itself, "" for the zero Secret. It is called where the text goes out to the
// system that asks for it, and nowhere else.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// Format implements fmt.Formatter for all verbs.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// String is for what asks no Formatter, such as templates.
func (Secret) String() string { return hidden }

// GoString is String.
func (Secret) GoString() string { return hidden }

// MarshalText keeps the text out of JSON, XML and their like.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue keeps it out of logs.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// GobEncode refuses: a secret that has been put away as octets couldn't be read again.
func (Secret) GobEncode() ([]byte, error) { return nil, errors.New("a secret is not stored") }

// shortest is how long a secret has to be to be looked for in the words of others: shorter ones are in many
// of them by chance, and taking them out would tell where.
const shortest = 4

// bearer is a token that names its form: a JWT (RFC 7519), which a server may put together itself.
var bearer = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]*)?`)

// Conceal takes secrets out of words that somebody else wrote, such as a server's answer to a login, which sometimes
// quote what was sent: as it is, in hex, as URLs and JSON write it, and in base64 at any place, as SASL
// has it. Tokens that can be told by their form go too. Cut long words after it, not before.
func Conceal(words string, secrets ...string) string {
	const gap = "…"
	var forms []string
	for _, s := range secrets {
		if s = strings.TrimSpace(s); len(s) < shortest {
			continue
		}
		// Answers in JSON quote requests in JSON, which hold what was escaped already.
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s)} {
			for range 3 {
				forms = append(forms, form, strings.Trim(fmt.Sprintf("%q", form), `"`), strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(form))
				encoded, _ := json.Marshal(form) // a string
				form = string(encoded[1 : len(encoded)-1])
			}
		}
		forms = append(forms, hex.EncodeToString([]byte(s)), strings.ToUpper(hex.EncodeToString([]byte(s))))
		// Base64 spells octets by their place in groups of three; what hangs on those before and behind is cut off.
		for before := range 3 {
			for _, code := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				text := code.EncodeToString([]byte(strings.Repeat("\x00", before) + s))
				forms = append(forms, text[[]int{0, 2, 3}[before]:(before+len(s))*8/6])
			}
		}
	}
	// The longest first, so that none leaves a rest of another.
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	for _, f := range forms {
		if len(f) >= shortest {
			words = strings.ReplaceAll(words, f, gap)
		}
	}
	return bearer.ReplaceAllString(words, gap)
}

// ConcealError is Conceal for an error that may quote what somebody else wrote: err itself when its text holds no secret, else an
// error of the concealed text alone, without err's chain. nil stays nil.
func ConcealError(err error, secrets ...string) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if concealed := Conceal(text, secrets...); concealed != text {
		return errors.New(concealed)
	}
	return err
}
