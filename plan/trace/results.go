package trace

import "strings"

// Result is what a server found by one method: spf, dkim, dmarc, ...
type Result struct {
	Method string // lower case, without a version
	Value  string // lower case: "pass", "fail", "softfail", "none", ...
	// Properties are "smtp.mailfrom", "header.d" and so on, in lower case; the first of a name counts.
	Properties map[string]string
}

// Authentication is one Authentication-Results field.
type Authentication struct {
	Server  string // who says so; "" where it doesn't name itself (Exchange Online doesn't)
	Results []Result
}

// ParseAuthentication reads the value of an Authentication-Results field. A
// result that can't be read is left out.
func ParseAuthentication(value string) Authentication {
	var a Authentication
	for i, part := range segments(tokens(value, ";=")) {
		r, ok := result(part)
		switch {
		case ok:
			a.Results = append(a.Results, r)
		case i == 0 && len(part) > 0:
			a.Server = strings.ToLower(part[0].text)
		}
	}
	return a
}

// segments are what stands between semicolons, without comments.
func segments(list []token) [][]token {
	parts := [][]token{nil}
	for _, t := range list {
		switch t.kind {
		case ';':
			parts = append(parts, nil)
		case 'c':
		default:
			parts[len(parts)-1] = append(parts[len(parts)-1], t)
		}
	}
	return parts
}

// result reads `method [/version] = value` and the `name = value` after it.
func result(part []token) (Result, bool) {
	var r Result
	for len(part) >= 3 {
		if part[1].kind != '=' || part[0].kind == '=' || part[2].kind == '=' {
			part = part[1:]
			continue
		}
		name, value := strings.ToLower(part[0].text), part[2].text
		switch {
		case r.Method == "":
			name, _, _ = strings.Cut(name, "/")
			r.Method, r.Value, r.Properties = name, strings.ToLower(value), map[string]string{}
		case r.Properties[name] == "":
			r.Properties[name] = value
		}
		part = part[3:]
	}
	return r, r.Method != ""
}

// Verdict is what the receiver of a message says of it: the results of the topmost
// Authentication-Results field and of those by the same server. What stands there in another
// server's name may have come with the message (RFC 8601 §5).
func Verdict(fields []Field) (a Authentication, found bool) {
	for _, v := range Values(fields, "Authentication-Results") {
		next := ParseAuthentication(v)
		switch {
		case !found:
			a, found = next, true
		case next.Server == a.Server:
			a.Results = append(a.Results, next.Results...)
		}
	}
	return a, found
}

// Says returns the values that were found by a method. A message with several DKIM
// signatures has several.
func (a Authentication) Says(method string) []string {
	var list []string
	for _, r := range a.Results {
		if r.Method == method {
			list = append(list, r.Value)
		}
	}
	return list
}
