package dns

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"
)

// lookup maps internationalised names as RFC 5895 has it and checks the rest by
// IDNA 2008 (RFC 5891), but lets underscores through: _dmarc is a name too.
var lookup = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(false))

// Name is a domain name as this package speaks it: ASCII (internationalised
// labels as xn--…, RFC 5890), lower case, with a final dot. "." stays.
func Name(name string) (string, error) {
	ascii := strings.TrimSpace(name)
	if strings.IndexFunc(ascii, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 {
		var err error
		if ascii, err = lookup.ToASCII(ascii); err != nil {
			return "", fmt.Errorf("%q is no domain name: %w", name, err)
		}
	}
	if _, ok := dns.IsDomainName(ascii); !ok || ascii == "" || strings.ContainsAny(ascii, "\"();$") || strings.ContainsFunc(ascii, unprintable) {
		return "", fmt.Errorf("%q is no domain name (RFC 1035 §2.3.1)", name)
	}
	return dns.CanonicalName(ascii), nil
}

func unprintable(r rune) bool { return r <= ' ' || r >= 0x7f }

// display is the name as people read it: without the final dot, and with the
// internationalised form before the ASCII form where the two differ.
func display(name string) string {
	short := strings.TrimSuffix(name, ".")
	if short == "" {
		return "."
	}
	if wide, err := lookup.ToUnicode(short); err == nil && wide != short {
		return wide + " (" + short + ")"
	}
	return short
}

// within reports whether name is zone or below it; both are canonical.
func within(name, zone string) bool { return dns.IsSubDomain(zone, name) }

// relative is the owner name as a panel wants it: without the zone, "@" for the
// zone itself.
func relative(name, zone string) string {
	switch {
	case name == zone:
		return "@"
	case zone == ".":
		return strings.TrimSuffix(name, ".")
	case within(name, zone):
		return strings.TrimSuffix(name, "."+zone)
	}
	return name
}
