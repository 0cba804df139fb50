package dns

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
)

// instructions says what to type, one record a line. Where one record takes another's
// place it is one line, so that nobody deletes the last MX before the new one
// is there. Records that make room for another type at the same name (a CNAME
// stands alone) go first.
func instructions(zone string, changes []plan.RRsetChange) []string {
	makesRoom := func(c plan.RRsetChange) bool {
		return !c.New.Exists() && slices.ContainsFunc(changes, func(o plan.RRsetChange) bool {
			return o.New.Exists() && o.New.Name == c.New.Name && o.New.Type != c.New.Type
		})
	}
	var first, rest []string
	for _, c := range changes {
		if makesRoom(c) {
			first = append(first, instruct(zone, c)...)
		} else {
			rest = append(rest, instruct(zone, c)...)
		}
	}
	return append(first, rest...)
}

func instruct(zone string, c plan.RRsetChange) []string {
	typ := c.New.Type
	host := "host name " + relative(c.New.Name, zone)
	var gone, kept, added []string
	for _, data := range slices.Sorted(slices.Values(c.Old.Data)) {
		if slices.Contains(c.New.Data, data) {
			kept = append(kept, data)
		} else {
			gone = append(gone, data)
		}
	}
	for _, data := range slices.Sorted(slices.Values(c.New.Data)) {
		if !slices.Contains(c.Old.Data, data) {
			added = append(added, data)
		}
	}
	ttl := fmt.Sprintf("TTL %d", c.New.TTL)
	var list []string
	pairs := min(len(gone), len(added))
	for i := range pairs {
		list = append(list, fmt.Sprintf("change the %s record: %s, %s; it becomes: %s, %s", typ, host, fields(typ, gone[i]), fields(typ, added[i]), ttl))
	}
	for _, data := range added[pairs:] {
		list = append(list, fmt.Sprintf("add %s %s record: %s, %s, %s", article(typ), typ, host, fields(typ, data), ttl))
	}
	for _, data := range gone[pairs:] {
		list = append(list, fmt.Sprintf("delete the %s record: %s, %s", typ, host, fields(typ, data)))
	}
	if c.Old.TTL != c.New.TTL {
		for _, data := range kept {
			list = append(list, fmt.Sprintf("set the TTL of the %s record to %d (now %d): %s, %s", typ, c.New.TTL, c.Old.TTL, host, fields(typ, data)))
		}
	}
	return list
}

// article goes by how the letters are spoken: "an MX record", "a TXT record".
func article(typ string) string {
	if strings.ContainsRune("AMNSH", rune(typ[0])) {
		return "an"
	}
	return "a"
}

// fields are a record's parts, under the names that panels give them.
func fields(typ, data string) string {
	shown := Display(typ, data)
	f := strings.Fields(shown)
	switch {
	case typ == "MX" && len(f) == 2:
		return fmt.Sprintf("mail server %s, priority %s", f[1], f[0])
	case typ == "SRV" && len(f) == 4:
		return fmt.Sprintf("target %s, port %s, priority %s, weight %s", f[3], f[2], f[0], f[1])
	case typ == "CAA" && len(f) >= 3:
		return fmt.Sprintf("flags %s, tag %s, value %s", f[0], f[1], strings.Trim(strings.Join(f[2:], " "), `"`))
	case typ == "CNAME" || typ == "DNAME" || typ == "NS" || typ == "PTR" || typ == "A" || typ == "AAAA":
		return "points to " + shown
	case typ == "TXT" || typ == "SPF":
		return "value (one line, without quotes): " + shown
	}
	return "value " + shown
}
