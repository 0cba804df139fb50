package config

import (
	"slices"
	"strings"
)

// suggest ends a message about an unknown name: the nearest known one, or
// all of them where none is near and the list is short.
func suggest(name string, known []string) string {
	if best := nearest(name, known); best != "" {
		return " Did you mean \"" + best + "\"?"
	}
	const few = 12
	if len(known) == 0 || len(known) > few {
		return ""
	}
	return " Known: " + strings.Join(slices.Sorted(slices.Values(known)), ", ") + "."
}

// nearest is the known name with the smallest edit distance, "" when none is
// within a third of the name's length (at least one edit).
func nearest(name string, known []string) string {
	best, least := "", max(1, len(name)/3)+1
	for _, k := range slices.Sorted(slices.Values(known)) {
		if d := distance(strings.ToLower(name), strings.ToLower(k), least); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours (optimal string alignment) that make b out of a; anything from
// limit up is reported as limit.
func distance(a, b string, limit int) int {
	x, y := []rune(a), []rune(b)
	if len(x)-len(y) >= limit || len(y)-len(x) >= limit {
		return limit
	}
	before, last := make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row := make([]int, len(y)+1)
		row[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return min(last[len(y)], limit)
}
