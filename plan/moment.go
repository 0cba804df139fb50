package plan

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Anchor is what a Moment is counted from.
type Anchor string

// AnchorCutover is the migration's cutover; AnchorAbsolute a fixed instant.
// A phase's start and end are written "flip.start" and "flip.end".
const (
	AnchorCutover  Anchor = "cutover"
	AnchorAbsolute Anchor = "at"
)

// AnchorStart is the start of phase p.
func AnchorStart(p Phase) Anchor { return Anchor(string(p) + ".start") }

// AnchorEnd is the moment the last step of phase p was done.
func AnchorEnd(p Phase) Anchor { return Anchor(string(p) + ".end") }

// Phase returns the phase an anchor refers to and whether it is its end.
// ok is false for the cutover and for absolute anchors.
func (a Anchor) Phase() (p Phase, end, ok bool) {
	name, edge, found := strings.Cut(string(a), ".")
	p = Phase(name)
	if !found || !p.Valid() || (edge != "start" && edge != "end") {
		return "", false, false
	}
	return p, edge == "end", true
}

// Moment is a point in the migration's time: an anchor and an offset from it.
// The zero Moment means "not said".
//
// An offset of whole days is counted in calendar days of the migration's
// time zone, so that "7d before 18:00" is 18:00 also across a change to
// summer time; any other offset is elapsed time.
type Moment struct {
	Anchor Anchor
	At     time.Time     // only for AnchorAbsolute
	Offset time.Duration // negative before the anchor
}

// IsZero reports whether the moment was not said.
func (m Moment) IsZero() bool { return m.Anchor == "" }

// Add returns the moment d later (earlier when d is negative).
func (m Moment) Add(d time.Duration) Moment { m.Offset += d; return m }

// String is the form in plan files: "cutover-7d", "flip.end+60m",
// "2027-01-15T18:00:00+01:00". ParseMoment reads it back.
func (m Moment) String() string {
	if m.IsZero() {
		return ""
	}
	base := string(m.Anchor)
	if m.Anchor == AnchorAbsolute {
		base = m.At.Format(time.RFC3339)
	}
	switch {
	case m.Offset > 0:
		return base + "+" + FormatDuration(m.Offset)
	case m.Offset < 0:
		return base + "-" + FormatDuration(-m.Offset)
	}
	return base
}

// ParseMoment reads what String writes. The empty string is the zero Moment.
func ParseMoment(s string) (Moment, error) {
	if s == "" {
		return Moment{}, nil
	}
	if s[0] >= '0' && s[0] <= '9' {
		text, offset, err := splitOffset(s, len("2006-01-02T15:04:05"))
		if err != nil {
			return Moment{}, err
		}
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return Moment{}, fmt.Errorf("%q is no time: want RFC 3339, such as 2027-01-15T18:00:00+01:00", s)
		}
		return Moment{Anchor: AnchorAbsolute, At: t, Offset: offset}, nil
	}
	text, offset, err := splitOffset(s, 0)
	if err != nil {
		return Moment{}, err
	}
	a := Anchor(text)
	if _, _, ok := a.Phase(); !ok && a != AnchorCutover {
		return Moment{}, fmt.Errorf("%q is no moment: want cutover, or a phase's start or end such as flip.end", s)
	}
	return Moment{Anchor: a, Offset: offset}, nil
}

// splitOffset cuts "base+1h" behind base. An RFC 3339 zone ("+01:00") is told
// from an offset by its colon.
func splitOffset(s string, from int) (string, time.Duration, error) {
	i := strings.LastIndexAny(s, "+-")
	if i < max(from, 1) || strings.Contains(s[i:], ":") {
		return s, 0, nil
	}
	d, err := ParseDuration(s[i+1:])
	if err != nil {
		return "", 0, err
	}
	if s[i] == '-' {
		d = -d
	}
	return s[:i], d, nil
}

var durationUnits = []struct {
	name string
	unit time.Duration
}{
	{"w", 7 * 24 * time.Hour},
	{"d", 24 * time.Hour},
	{"h", time.Hour},
	{"m", time.Minute},
	{"s", time.Second},
}

// ParseDuration reads durations as the language writes them: one or more
// whole numbers with a unit of s, m, h, d or w, such as "7d" or "1h30m".
// A "ms" unit is accepted for tests that run a schedule in real time.
func ParseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is no duration: want a whole number with s, m, h, d or w, such as \"30s\" or \"7d\"", s)
	if s == "" {
		return 0, bad
	}
	var total time.Duration
	for rest := s; rest != ""; {
		i := 0
		for i < len(rest) && rest[i] >= '0' && rest[i] <= '9' {
			i++
		}
		n, err := strconv.ParseInt(rest[:i], 10, 32)
		if err != nil {
			return 0, bad
		}
		rest = rest[i:]
		if after, ok := strings.CutPrefix(rest, "ms"); ok {
			total, rest = total+time.Duration(n)*time.Millisecond, after
			continue
		}
		unit := time.Duration(0)
		for _, u := range durationUnits {
			if after, ok := strings.CutPrefix(rest, u.name); ok {
				unit, rest = u.unit, after
				break
			}
		}
		if unit == 0 || n > int64(100*365*24*time.Hour/unit) {
			return 0, bad
		}
		total += time.Duration(n) * unit
	}
	return total, nil
}

// FormatDuration writes a duration of at least a millisecond in the largest
// units that fit, days at most: "7d", "1h30m", "90s" as "1m30s".
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	var b strings.Builder
	b.WriteString(sign)
	for _, u := range durationUnits[1:] {
		if n := d / u.unit; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.unit
		}
	}
	if ms := d / time.Millisecond; ms > 0 {
		fmt.Fprintf(&b, "%dms", ms)
	}
	return b.String()
}
