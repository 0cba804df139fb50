package mailrecords

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// IsSTS reports whether a TXT record is meant as MTA-STS.
func IsSTS(text string) bool { return hasVersion(text, "STSv1") }

// ParseSTS returns the id of the policy (RFC 8461 §3.1).
func ParseSTS(text string) (id string, err error) {
	list, err := versioned(text, "STSv1")
	if err != nil {
		return "", err
	}
	for _, t := range list {
		if t.name == "id" {
			id = t.value
		}
	}
	if id == "" || len(id) > 32 || strings.ContainsFunc(id, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		return "", fmt.Errorf("id=%q: want 1 to 32 letters and digits (RFC 8461 §3.1)", id)
	}
	return id, nil
}

// Policy is what https://mta-sts.DOMAIN/.well-known/mta-sts.txt says (RFC 8461 §3.2).
type Policy struct {
	Mode   string // "enforce", "testing", "none"
	MX     []string
	MaxAge time.Duration
}

// longestAge is the upper limit of max_age: about a year.
const longestAge = 31557600

// ParsePolicy reads a policy. Unknown fields are passed over; of a field that may
// come once the first counts.
func ParsePolicy(body string) (Policy, error) {
	var p Policy
	seen := map[string]bool{}
	age := ""
	for _, line := range strings.Split(strings.TrimRight(body, "\r\n"), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if strings.TrimSpace(line) == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if name, value = strings.TrimSpace(name), strings.TrimSpace(value); !ok || name == "" {
			return p, fmt.Errorf("%q is no \"field: value\"", line)
		}
		first := !seen[name]
		seen[name] = true
		switch {
		case name == "mx":
			if value = strings.ToLower(strings.TrimSuffix(value, ".")); value == "" || strings.Contains(strings.TrimPrefix(value, "*."), "*") {
				return p, fmt.Errorf("mx: %q is no host and no *.domain", value)
			}
			p.MX = append(p.MX, value)
		case !first:
		case name == "version" && value != "STSv1":
			return p, fmt.Errorf("version: %q instead of STSv1", value)
		case name == "mode":
			if p.Mode = value; !slices.Contains([]string{"enforce", "testing", "none"}, value) {
				return p, fmt.Errorf("mode: %q: want enforce, testing or none", value)
			}
		case name == "max_age":
			age = value
		}
	}
	n, err := strconv.ParseUint(age, 10, 32)
	switch {
	case !seen["version"]:
		return p, errors.New("there is no version")
	case p.Mode == "":
		return p, errors.New("there is no mode")
	case err != nil || n > longestAge:
		return p, fmt.Errorf("max_age: %q: want seconds, at most %d", age, longestAge)
	case len(p.MX) == 0 && p.Mode != "none":
		return p, errors.New("it names no mx")
	}
	p.MaxAge = time.Duration(n) * time.Second
	return p, nil
}

// Allows reports whether a sender that holds the policy delivers to host. "*." stands for exactly one label
// (RFC 8461 §4.1).
func (p Policy) Allows(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return slices.ContainsFunc(p.MX, func(pattern string) bool {
		if domain, wild := strings.CutPrefix(pattern, "*."); wild {
			label, rest, ok := strings.Cut(host, ".")
			return ok && label != "" && rest == domain
		}
		return pattern == host
	})
}
