package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
)

// Endpoint is a server as a URL such as smtps://anna%40acme.example@mail.example:465 names it.
type Endpoint struct {
	User string // "" where the URL has none
	Host string
	Port int // 0: the standard one
	TLS  TLSMode
}

// ParseEndpoint reads a URL whose scheme is imap(s) or smtp(s) in one of its
// three ways: imaps, imap+starttls, imap+none. The last "@" ends the user, who may be
// percent-encoded. ok is false for anything else; the configuration has refused that already.
func ParseEndpoint(s string) (e Endpoint, ok bool) {
	scheme, rest, found := strings.Cut(s, "://")
	kind, mode, plus := strings.Cut(scheme, "+")
	switch {
	case !found:
		return e, false
	case kind == "imaps" && !plus, kind == "smtps" && !plus:
		e.TLS = TLSImplicit
	case (kind == "imap" || kind == "smtp") && mode == "starttls":
		e.TLS = TLSStart
	case (kind == "imap" || kind == "smtp") && mode == "none":
		e.TLS = TLSNone
	default:
		return e, false
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, err := url.PathUnescape(rest[:at])
		if err != nil {
			return e, false
		}
		e.User, rest = user, rest[at+1:]
	}
	u, err := url.Parse("//" + rest)
	if err != nil || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" {
		return e, false
	}
	e.Host = u.Hostname()
	for _, c := range u.Port() {
		e.Port = e.Port*10 + int(c-'0')
	}
	return e, e.Port < 1<<16
}

// Address is the mail address of the probe's outside account: who logs in to receive,
// at the host's name where that is no address.
func (p Probe) Address() string {
	for _, s := range []string{p.IMAP, p.SMTP} {
		if e, ok := ParseEndpoint(s); ok && strings.Contains(e.User, "@") {
			return e.User
		}
	}
	e, _ := ParseEndpoint(p.IMAP)
	return e.User + "@" + e.Host
}

// Sampled says which mailboxes are looked at more closely: what the configuration says, else
// the heaviest, the lightest, those that catch all, and three more.
func (v Validation) Sampled() []string {
	if len(v.Sample) == 0 {
		return []string{"catch_all", "heaviest", "lightest", "random:3"}
	}
	return slices.Compact(slices.Sorted(slices.Values(v.Sample)))
}

// ProbeToken marks the message that a person sends for a probe. It is the same in every plan of a migration.
func ProbeToken(lineage, probe, domain string) string {
	sum := sha256.Sum256([]byte("probe\n" + lineage + "\n" + probe + "\n" + domain))
	return hex.EncodeToString(sum[:5])
}
