package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// RRset is all records of one name and type. Names are lower case FQDNs with
// a final dot; Data are presentation forms (RFC 1035 §5.1) without the
// name, class and TTL, sorted. TTL is in seconds. An RRset without data does
// not exist.
type RRset struct {
	Name string
	Type string
	TTL  uint32
	Data []string
}

// Exists reports whether the set holds a record.
func (r RRset) Exists() bool { return len(r.Data) > 0 }

// SameData reports whether both sets hold the same records, whatever the TTL.
func (r RRset) SameData(o RRset) bool {
	a, b := slices.Sorted(slices.Values(r.Data)), slices.Sorted(slices.Values(o.Data))
	return slices.Equal(a, b)
}

// Equal reports whether both sets hold the same records with the same TTL.
// Two sets that don't exist are equal.
func (r RRset) Equal(o RRset) bool {
	return r.SameData(o) && (r.TTL == o.TTL || !r.Exists())
}

// Lines are the set's records as a plan prints them: "300 MX 10 mx.example.".
func (r RRset) Lines() []string {
	lines := make([]string, 0, len(r.Data))
	for _, d := range slices.Sorted(slices.Values(r.Data)) {
		lines = append(lines, fmt.Sprintf("%d %s %s", r.TTL, r.Type, d))
	}
	return lines
}

// ParseRRset reads what Lines writes. No lines make a set that doesn't exist.
func ParseRRset(name, typ string, lines []string) (RRset, error) {
	set := RRset{Name: name, Type: typ}
	for _, line := range lines {
		ttl, rest, _ := strings.Cut(line, " ")
		t, data, ok := strings.Cut(rest, " ")
		n, err := strconv.ParseUint(ttl, 10, 31)
		if !ok || err != nil || t != typ {
			return RRset{}, fmt.Errorf("%q is no %s record: want \"TTL %s DATA\"", line, typ, typ)
		}
		if set.Exists() && uint32(n) != set.TTL {
			return RRset{}, fmt.Errorf("the records of %s %s have different TTLs (RFC 2181 §5.2)", name, typ)
		}
		set.TTL = uint32(n)
		set.Data = append(set.Data, data)
	}
	slices.Sort(set.Data)
	return set, nil
}

// RRsetChange is one change of a zone: Old must be there, New will be.
// Either may be a set without data.
type RRsetChange struct {
	Old, New RRset
}
