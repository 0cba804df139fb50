package mailrecords

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

type tag struct{ name, value string }

// tags reads "name=value; name=value" (RFC 6376 §3.2, RFC 7489 §6.4, RFC 8461 §3.1). A
// tag that stands there twice is an error.
func tags(text string) ([]tag, error) {
	var list []tag
	seen := map[string]bool{}
	parts := strings.Split(text, ";")
	for i, part := range parts {
		if strings.TrimSpace(part) == "" {
			if i == len(parts)-1 {
				break // a final ";"
			}
			return nil, errors.New("an empty tag stands between two \";\"")
		}
		name, value, ok := strings.Cut(part, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || name == "" {
			return nil, fmt.Errorf("%q is no name=value", strings.TrimSpace(part))
		}
		if seen[name] {
			return nil, fmt.Errorf("%s stands there twice", name)
		}
		seen[name] = true
		list = append(list, tag{name, value})
	}
	return list, nil
}

// versioned reads tags of which the first must be v=version exactly.
func versioned(text, version string) ([]tag, error) {
	list, err := tags(text)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 || list[0] != (tag{"v", version}) {
		return nil, fmt.Errorf("it doesn't begin with \"v=%s\"", version)
	}
	return list[1:], nil
}

// hasVersion tells the records of a name apart: a record of another protocol is passed over.
func hasVersion(text, version string) bool {
	first, _, _ := strings.Cut(text, ";")
	name, value, _ := strings.Cut(first, "=")
	return strings.TrimSpace(name) == "v" && strings.TrimSpace(value) == version
}

// DMARC is a policy (RFC 7489 §6.3).
type DMARC struct {
	Policy     string // "none", "quarantine", "reject"
	Subdomains string // sp; "" = as Policy
	Percent    int    // 100 unless said
	DKIM, SPF  string // alignment: "r" or "s"
	Aggregate  []string
	Forensic   []string
}

// IsDMARC reports whether a TXT record is meant as DMARC.
func IsDMARC(text string) bool { return hasVersion(text, "DMARC1") }

// ParseDMARC reads a policy. Unknown tags are passed over.
func ParseDMARC(text string) (DMARC, error) {
	d := DMARC{Percent: 100, DKIM: "r", SPF: "r"}
	list, err := versioned(text, "DMARC1")
	if err != nil {
		return d, err
	}
	for i, t := range list {
		value := strings.ToLower(t.value)
		oneOf := func(words ...string) error {
			for _, w := range words {
				if value == w {
					return nil
				}
			}
			return fmt.Errorf("%s=%s: want one of %s", t.name, t.value, strings.Join(words, ", "))
		}
		var err error
		switch t.name {
		case "p":
			if i != 0 {
				return d, errors.New("p has to follow v=DMARC1 (RFC 7489 §6.3)")
			}
			d.Policy, err = value, oneOf("none", "quarantine", "reject")
		case "sp":
			d.Subdomains, err = value, oneOf("none", "quarantine", "reject")
		case "adkim":
			d.DKIM, err = value, oneOf("r", "s")
		case "aspf":
			d.SPF, err = value, oneOf("r", "s")
		case "pct":
			if d.Percent, err = strconv.Atoi(t.value); err != nil || d.Percent < 0 || d.Percent > 100 {
				err = fmt.Errorf("pct=%s: want a number from 0 to 100", t.value)
			}
		case "rua":
			d.Aggregate, err = reportURIs(t.value, "mailto")
		case "ruf":
			d.Forensic, err = reportURIs(t.value, "mailto")
		}
		if err != nil {
			return d, err
		}
	}
	if d.Policy == "" {
		return d, errors.New("there is no p, and without it receivers take no notice of the record (RFC 7489 §6.3)")
	}
	return d, nil
}

// reportURIs reads a list of URIs. DMARC may add "!10m" to each, a limit.
func reportURIs(value string, schemes ...string) ([]string, error) {
	var list []string
	for _, part := range strings.Split(value, ",") {
		part = strings.TrimSpace(part)
		bare, _, _ := strings.Cut(part, "!")
		u, err := url.Parse(bare)
		if err != nil {
			return nil, fmt.Errorf("%q is no URI", part)
		}
		known := false
		for _, s := range schemes {
			known = known || strings.EqualFold(u.Scheme, s)
		}
		if !known {
			return nil, fmt.Errorf("%q: reports go to %s: alone", part, strings.Join(schemes, ": or "))
		}
		if strings.EqualFold(u.Scheme, "mailto") && !strings.Contains(u.Opaque, "@") || strings.EqualFold(u.Scheme, "https") && u.Host == "" {
			return nil, fmt.Errorf("%q names no address", part)
		}
		list = append(list, bare)
	}
	return list, nil
}

// ReportDomain is the domain of a mailto: URI, lower case; "" for others.
func ReportDomain(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || !strings.EqualFold(u.Scheme, "mailto") {
		return ""
	}
	_, domain, _ := strings.Cut(u.Opaque, "@")
	return strings.ToLower(strings.TrimSuffix(domain, "."))
}

// IsTLSRPT reports whether a TXT record is meant as TLS reporting.
func IsTLSRPT(text string) bool { return hasVersion(text, "TLSRPTv1") }

// ParseTLSRPT returns where reports go (RFC 8460 §3).
func ParseTLSRPT(text string) ([]string, error) {
	list, err := versioned(text, "TLSRPTv1")
	if err != nil {
		return nil, err
	}
	for _, t := range list {
		if t.name == "rua" {
			return reportURIs(t.value, "mailto", "https")
		}
	}
	return nil, errors.New("there is no rua (RFC 8460 §3)")
}

// DKIM is a key record (RFC 6376 §3.6.1).
type DKIM struct {
	Type    string // "rsa", "ed25519"
	Octets  int    // of the key as published
	Revoked bool   // an empty key
	Testing bool   // t=y
}

// ParseDKIM reads a key record. The version may be left out.
func ParseDKIM(text string) (DKIM, error) {
	k := DKIM{Type: "rsa"}
	list, err := tags(text)
	if err != nil {
		return k, err
	}
	key := false
	for i, t := range list {
		switch t.name {
		case "v":
			if i != 0 || t.value != "DKIM1" {
				return k, errors.New("v has to come first, as v=DKIM1")
			}
		case "k":
			k.Type = strings.ToLower(t.value)
		case "t":
			for _, flag := range strings.Split(t.value, ":") {
				k.Testing = k.Testing || strings.TrimSpace(flag) == "y"
			}
		case "p":
			key = true
			raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(t.value), ""))
			if err != nil {
				return k, errors.New("the key in p is no base64")
			}
			k.Octets, k.Revoked = len(raw), len(raw) == 0
		}
	}
	if !key {
		return k, errors.New("there is no p (RFC 6376 §3.6.1)")
	}
	return k, nil
}
