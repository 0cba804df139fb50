// Package spf reads SPF records (RFC 7208) as far as a plan needs to: which
// other records they lead to, and how many look-ups they cost a receiver. It is
// pure; who follows an include and keeps what it found is discover.
package spf

import "strings"

// Limit is how many terms that ask DNS a receiver follows (RFC 7208 §4.6.4).
const Limit = 10

// Version is what every record begins with.
const Version = "v=spf1"

// Is reports whether text is an SPF record: the version stands alone or before
// a blank (RFC 7208 §4.5).
func Is(text string) bool {
	return len(text) >= len(Version) && strings.EqualFold(text[:len(Version)], Version) &&
		(len(text) == len(Version) || text[len(Version)] == ' ')
}

// term is a mechanism or modifier: its lower-case name without qualifier, and
// what stands behind ":" or "=".
type term struct{ name, target string }

func terms(text string) []term {
	if !Is(text) {
		return nil
	}
	var list []term
	for _, t := range strings.Fields(text)[1:] {
		t = strings.ToLower(strings.TrimLeft(t, "+-~?"))
		name, target := t, ""
		if i := strings.IndexAny(t, ":=/"); i >= 0 {
			name = t[:i]
			if t[i] != '/' {
				target = t[i+1:]
			}
		}
		list = append(list, term{name, target})
	}
	return list
}

// asks reports whether the term makes a receiver ask DNS.
func (t term) asks() bool {
	switch t.name {
	case "include", "a", "mx", "ptr", "exists", "redirect":
		return true
	}
	return false
}

// Included are the domains whose records text leads to by include: or
// redirect=, without a final dot. Targets with macros are left out: they have
// no answer before a message arrives.
func Included(text string) []string {
	var list []string
	for _, t := range terms(text) {
		name := strings.TrimSuffix(t.target, ".")
		if (t.name == "include" || t.name == "redirect") && name != "" && !strings.Contains(name, "%") {
			list = append(list, name)
		}
	}
	return list
}

// Lookups counts the terms that make a receiver ask DNS, in text and in every
// record it leads to. record gives the SPF record of a domain, "" where it is
// not known: then whole is false, and n is what can be said at least. Counting
// ends a little beyond Limit, so that circles end too.
func Lookups(text string, record func(domain string) string) (n int, whole bool) {
	whole = true
	for queue := []string{text}; len(queue) > 0 && n <= 2*Limit; queue = queue[1:] {
		for _, t := range terms(queue[0]) {
			if t.asks() {
				n++
			}
		}
		for _, name := range Included(queue[0]) {
			if next := record(name); next != "" {
				queue = append(queue, next)
			} else {
				whole = false
			}
		}
	}
	return n, whole
}
