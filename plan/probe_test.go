package plan

import "testing"

func TestParseEndpoint(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Endpoint
		ok   bool
	}{
		{"imaps://probe@gmail.example@imap.gmail.com", Endpoint{"probe@gmail.example", "imap.gmail.com", 0, TLSImplicit}, true},
		{"smtps://probe%40gmail.example@smtp.gmail.com:465", Endpoint{"probe@gmail.example", "smtp.gmail.com", 465, TLSImplicit}, true},
		{"smtp+starttls://probe@h.example:587", Endpoint{"probe", "h.example", 587, TLSStart}, true},
		{"imap+none://a@[::1]:143", Endpoint{"a", "::1", 143, TLSNone}, true},
		{"smtp+none://127.0.0.1:25", Endpoint{"", "127.0.0.1", 25, TLSNone}, true},
		{"imaps+none://a@h", Endpoint{}, false},
		{"http://a@h", Endpoint{}, false},
		{"imaps://%zz@h", Endpoint{TLS: TLSImplicit}, false},
		{"imaps://a@", Endpoint{User: "a", TLS: TLSImplicit}, false},
		{"imaps://a@h:99999", Endpoint{"a", "h", 99999, TLSImplicit}, false},
		{"nothing", Endpoint{}, false},
	} {
		if got, ok := ParseEndpoint(c.in); got != c.want || ok != c.ok {
			t.Errorf("%s: %+v %v", c.in, got, ok)
		}
	}
}

func TestProbeAddress(t *testing.T) {
	for want, p := range map[string]Probe{
		"probe@gmail.example":   {IMAP: "imaps://probe%40gmail.example@imap.gmail.com", SMTP: "smtps://x@y"},
		"probe@outside.example": {IMAP: "imaps://probe@h.example", SMTP: "smtps://probe@outside.example@h.example"},
		"probe@h.example":       {IMAP: "imaps://probe@h.example", SMTP: "smtps://probe@h.example"},
	} {
		if got := p.Address(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
