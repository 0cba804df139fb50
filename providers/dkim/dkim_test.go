package dkim

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

type zone map[string]string

func (z zone) Resolve(_ context.Context, name, typ string) (providers.Answer, error) {
	data, ok := z[name+" "+typ]
	if !ok {
		return providers.Answer{Rcode: "NXDOMAIN"}, nil
	}
	return providers.Answer{Rcode: "NOERROR", Set: plan.RRset{Name: name, Type: typ, Data: []string{data}}}, nil
}

func TestVerify(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	message := "From: anna@acme.example\r\nSubject: probe\r\n\r\nHello.\r\n"
	var b bytes.Buffer
	if err := dkim.Sign(&b, strings.NewReader(message), &dkim.SignOptions{Domain: "acme.example", Selector: "sel1", Signer: private}); err != nil {
		t.Fatal(err)
	}
	signed := b.String()
	// A key of more than 255 octets stands in several strings; so may a short one.
	key := base64.StdEncoding.EncodeToString(public)
	sound := zone{"sel1._domainkey.acme.example. TXT": `"v=DKIM1; k=ed25519; p=` + key[:10] + `" "` + key[10:] + `"`}
	for _, c := range []struct {
		name, message string
		zone          zone
		want          string
	}{
		{"holds", signed, sound, "acme.example <nil>"},
		{"the body was changed", strings.Replace(signed, "Hello", "Hallo", 1), sound, "acme.example dkim: body hash did not verify"},
		{"the subject was changed", strings.Replace(signed, "probe", "prose", 1), sound, "acme.example dkim: signature did not verify"},
		{"no key", signed, zone{}, "acme.example dkim: no valid key found"},
		{"not signed", message, sound, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			list, err := Verifier{c.zone}.Verify(context.Background(), []byte(c.message))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, s := range list {
				words := "<nil>"
				if s.Err != nil {
					words = s.Err.Error()
				}
				got += s.Domain + " " + words
			}
			if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
