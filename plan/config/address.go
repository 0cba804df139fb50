package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
)

// parseAddress checks the syntax of an address (RFC 5321 §4.1.2, with the
// dot-atom form alone, and RFC 6531 for letters outside of ASCII) and returns
// it with the domain in lower-case A-labels. The local part is kept: only its
// server knows whether case matters there.
func parseAddress(s string) (string, error) {
	switch {
	case s == "":
		return "", errors.New("the address is empty")
	case strings.TrimSpace(s) != s:
		return "", fmt.Errorf("%q has a space at its begin or end: mend the list, or use trimspace()", s)
	}
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return "", fmt.Errorf("%q has no \"@\"", s)
	}
	local, domain := s[:at], s[at+1:]
	if err := checkLocalPart(local); err != nil {
		return "", fmt.Errorf("%q is no address: %w", s, err)
	}
	ascii, err := parseDomain(domain)
	if err != nil {
		return "", fmt.Errorf("%q is no address: %w", s, err)
	}
	if len(local)+1+len(ascii) > 254 {
		return "", fmt.Errorf("%q is longer than 254 octets (RFC 5321 §4.5.3.1.3)", s)
	}
	return local + "@" + ascii, nil
}

func checkLocalPart(local string) error {
	switch {
	case local == "":
		return errors.New("nothing stands before the \"@\"")
	case len(local) > 64:
		return errors.New("more than 64 octets stand before the \"@\" (RFC 5321 §4.5.3.1.1)")
	case strings.HasPrefix(local, "."), strings.HasSuffix(local, "."), strings.Contains(local, ".."):
		return errors.New("a dot stands at the begin or end, or two in a row, before the \"@\"")
	}
	for _, r := range local {
		letter := r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if letter || r < 0x80 && strings.ContainsRune("!#$%&'*+-/=?^_`{|}~.", r) ||
			r >= 0x80 && r != unicode.ReplacementChar && (unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r)) {
			continue
		}
		return fmt.Errorf("%q can't stand before the \"@\"", r)
	}
	return nil
}

// parseDomain checks a domain name and returns it in lower-case A-labels,
// without a final dot.
func parseDomain(s string) (string, error) {
	ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(s, "."))
	if err != nil || ascii == "" {
		return "", fmt.Errorf("%q is no domain name", s)
	}
	if len(ascii) > 253 {
		return "", fmt.Errorf("%q is longer than 253 octets", s)
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return "", fmt.Errorf("%q is no domain name", s)
		}
	}
	return ascii, nil
}

// domainOf is the part behind the "@".
func domainOf(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }

// fold is the form in which two addresses are compared. No mail host in use
// tells local parts by case (RFC 5321 §2.4 would allow it).
func fold(address string) string { return strings.ToLower(address) }

// isLoopback reports whether a host name or address can't lead off the machine.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// parseHost checks a host name or IP address.
func parseHost(s string) (string, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return ip.String(), nil
	}
	d, err := parseDomain(s)
	if err != nil {
		return "", fmt.Errorf("%q is neither a host name nor an IP address", s)
	}
	return d, nil
}

// parseHostPort reads "host:port", or a host alone when port isn't 0.
func parseHostPort(s string, port int) (string, error) {
	host, p := s, strconv.Itoa(port)
	if _, err := netip.ParseAddr(s); err != nil && strings.Contains(s, ":") {
		if host, p, err = net.SplitHostPort(s); err != nil {
			return "", fmt.Errorf("%q is no host:port", s)
		}
	}
	host, err := parseHost(host)
	if err != nil {
		return "", err
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil || n == 0 {
		return "", fmt.Errorf("%q needs a port from 1 to 65535, as host:port", s)
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}
