package imap

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// span is a range of UIDs, both ends included.
type span struct{ from, to uint32 }

// parseSet reads a sequence set. "*" stands for no upper bound: RFC 3501 lets
// "100:*" mean the last message also where its UID is below 100, which nobody
// asks for.
func parseSet(set string) ([]span, error) {
	var spans []span
	for part := range strings.SplitSeq(set, ",") {
		a, b, isRange := strings.Cut(part, ":")
		from, err := parseUID(a)
		if err != nil {
			return nil, fmt.Errorf("%q is no set of UIDs", set)
		}
		to := from
		if isRange {
			if to, err = parseUID(b); err != nil {
				return nil, fmt.Errorf("%q is no set of UIDs", set)
			}
		} else if a == "*" {
			from = 1 // the last one, whichever that is
		}
		spans = append(spans, span{min(from, to), max(from, to)})
	}
	return spans, nil
}

func parseUID(s string) (uint32, error) {
	if s == "*" {
		return math.MaxUint32, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err == nil && n == 0 {
		err = strconv.ErrRange
	}
	return uint32(n), err
}

func contains(spans []span, uid uint32) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return s.from <= uid && uid <= s.to })
}

// maxUIDs bounds what one call may name message by message.
const maxUIDs = 1 << 20

// expand lists the UIDs of a set in the order given.
func expand(set string) ([]uint32, error) {
	spans, err := parseSet(set)
	if err != nil {
		return nil, err
	}
	var uids []uint32
	for _, s := range spans {
		if s.to == math.MaxUint32 || uint64(len(uids))+uint64(s.to-s.from) >= maxUIDs {
			return nil, fmt.Errorf("the set %.60q names too many messages", set)
		}
		for uid := s.from; uid <= s.to; uid++ {
			uids = append(uids, uid)
		}
	}
	return uids, nil
}

// FormatSet writes UIDs as a set, runs as ranges: "5,7:9". It sorts uids.
func FormatSet(uids []uint32) string {
	slices.Sort(uids)
	var b strings.Builder
	for i := 0; i < len(uids); {
		j := i
		for j+1 < len(uids) && uids[j+1] <= uids[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatUint(uint64(uids[i]), 10))
		if uids[j] > uids[i] {
			b.WriteByte(':')
			b.WriteString(strconv.FormatUint(uint64(uids[j]), 10))
		}
		i = j + 1
	}
	return b.String()
}

// commandLine is how long a set may make a command: RFC 2683 §3.2.1.5 asks
// servers to take 8000 octets, Exchange takes 10,240.
const commandLine = 7000

// splitSet cuts a long set into several.
func splitSet(set string) []string {
	var sets []string
	for len(set) > commandLine {
		i := strings.LastIndexByte(set[:commandLine], ',')
		if i < 0 {
			break
		}
		sets = append(sets, set[:i])
		set = set[i+1:]
	}
	return append(sets, set)
}
