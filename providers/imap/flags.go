package imap

import (
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/providers/imap/wire"
)

// settable returns the flags that a client may set, each once: without
// \Recent (RFC 3501 §2.3.2: the server's own) and without what is no flag
// on the wire (spaces, octets above 127).
func settable(flags []string) []string {
	out := make([]string, 0, len(flags))
	for _, f := range flags {
		if !wire.IsFlag(f) || strings.EqualFold(f, `\Recent`) ||
			slices.ContainsFunc(out, func(o string) bool { return strings.EqualFold(o, f) }) {
			continue
		}
		out = append(out, f)
	}
	return out
}

// dateTime is how INTERNALDATE is written (RFC 3501 §9: date-time).
const dateTime = "_2-Jan-2006 15:04:05 -0700"

// parseDate reads an INTERNALDATE. Named zones of RFC 822 are taken too. A
// date that can't be is the zero time.
func parseDate(s string) time.Time {
	s = strings.TrimSpace(s)
	for _, layout := range []string{"2-Jan-2006 15:04:05 -0700", "2-Jan-2006 15:04:05 MST", "2-Jan-2006 15:04:05"} {
		t, err := time.ParseInLocation(layout, s, time.UTC) // never the machine's own zone
		if err != nil {
			continue
		}
		name, offset := t.Zone()
		if hours, ok := zones[strings.ToUpper(name)]; ok && offset == 0 {
			t = t.Add(-time.Duration(hours) * time.Hour).In(time.FixedZone("", hours*3600))
		}
		return t
	}
	return time.Time{}
}

// zones are the offsets of RFC 5322 §4.3 in hours; others count as UTC there.
var zones = map[string]int{"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7}

// formatDate writes t with its own zone, in UTC where that has seconds, and "" for
// the zero time or a year that IMAP can't write.
func formatDate(t time.Time) string {
	if _, offset := t.Zone(); offset%60 != 0 {
		t = t.UTC()
	}
	if t.IsZero() || t.Year() < 0 || t.Year() > 9999 {
		return ""
	}
	return t.Format(dateTime)
}
