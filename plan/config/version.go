package config

import (
	"fmt"
	"strconv"
	"strings"
)

// satisfies holds a version against constraints such as ">= 0.1, < 2".
// "~> 1.2" means at least 1.2 and below 2; "~> 1.2.3" at least that and below
// 1.3. Builds and pre-releases count as their version; one without a number
// ("", "devel") satisfies everything that is well formed.
func satisfies(version, constraints string) (bool, error) {
	have, unknown := parseVersion(version)
	all := true
	for c := range strings.SplitSeq(constraints, ",") {
		c = strings.TrimSpace(c)
		digits := strings.TrimLeft(c, "<>=!~")
		op := c[:len(c)-len(digits)]
		want, err := parseVersion(strings.TrimSpace(digits))
		if err != nil {
			return false, fmt.Errorf("%q is no version constraint: want one such as \">= 0.1\"", c)
		}
		order := compareVersions(have, want)
		var ok bool
		switch op {
		case "", "=":
			ok = order == 0
		case "!=":
			ok = order != 0
		case ">":
			ok = order > 0
		case ">=":
			ok = order >= 0
		case "<":
			ok = order < 0
		case "<=":
			ok = order <= 0
		case "~>":
			next := append([]int(nil), want[:max(1, len(want)-1)]...)
			next[len(next)-1]++
			ok = order >= 0 && compareVersions(have, next) < 0
		default:
			return false, fmt.Errorf("%q is no version constraint: %q is none of = != > >= < <= ~>", c, op)
		}
		all = all && ok
	}
	return all || unknown != nil, nil
}

func parseVersion(s string) ([]int, error) {
	s = strings.TrimPrefix(s, "v")
	if i := strings.IndexAny(s, "-+"); i >= 0 {
		s = s[:i]
	}
	var out []int
	for part := range strings.SplitSeq(s, ".") {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil || len(out) == 3 {
			return nil, fmt.Errorf("%q is no version", s)
		}
		out = append(out, int(n))
	}
	return out, nil
}

// compareVersions treats missing parts as 0.
func compareVersions(a, b []int) int {
	for i := range max(len(a), len(b)) {
		x, y := 0, 0
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return x - y
		}
	}
	return 0
}
