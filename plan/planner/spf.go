package planner

import (
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/spf"
)

func isSPFRecord(r plan.Record) bool {
	return r.Type == "TXT" && slices.ContainsFunc(r.Values, func(v string) bool {
		c, err := plan.CanonicalRdata("TXT", v)
		if err != nil {
			return false
		}
		text, err := plan.TXTText(c)
		return err == nil && spf.Is(text)
	})
}

// spfTexts are the SPF records among TXT data.
func spfTexts(data []string) []string {
	var list []string
	for _, d := range data {
		if text, err := plan.TXTText(d); err == nil && spf.Is(text) {
			list = append(list, text)
		}
	}
	return list
}

// overlapSPF replaces the SPF record of data by one that also lets the hosts of
// the records in old send.
func overlapSPF(old, data []string) []string {
	olds := spfTexts(old)
	if len(olds) == 0 {
		return data
	}
	out := make([]string, 0, len(data))
	for _, d := range data {
		text, err := plan.TXTText(d)
		if err != nil || !spf.Is(text) {
			out = append(out, d)
			continue
		}
		merged, err := plan.CanonicalRdata("TXT", mergeSPF(text, olds))
		if err != nil {
			merged = d
		}
		out = append(out, merged)
	}
	return out
}

// mergeSPF puts the mechanisms of the old records behind the new one's and
// before its "all", so that the new record's verdict on everybody else holds.
// An old redirect= becomes the include: that passes the same hosts; other
// modifiers of the old records go. Merging its own result again changes nothing.
func mergeSPF(text string, olds []string) string {
	var terms, tail []string
	for _, t := range strings.Fields(text)[1:] {
		if isAll(t) || strings.Contains(t, "=") {
			tail = append(tail, t)
		} else {
			terms = append(terms, t)
		}
	}
	for _, old := range olds {
		for _, t := range strings.Fields(old)[1:] {
			if target, ok := cutFold(t, "redirect="); ok {
				if slices.ContainsFunc(tail, func(x string) bool { return strings.EqualFold(x, t) }) {
					continue
				}
				t = "include:" + target
			}
			same := func(x string) bool { return strings.EqualFold(strings.TrimPrefix(x, "+"), strings.TrimPrefix(t, "+")) }
			if isAll(t) || strings.Contains(t, "=") || slices.ContainsFunc(terms, same) {
				continue
			}
			terms = append(terms, t)
		}
	}
	return strings.Join(slices.Concat([]string{spf.Version}, terms, tail), " ")
}

func cutFold(s, prefix string) (string, bool) {
	if len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
		return s[len(prefix):], true
	}
	return s, false
}

func isAll(term string) bool { return strings.EqualFold(strings.TrimLeft(term, "+-~?"), "all") }
