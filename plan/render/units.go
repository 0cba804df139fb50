package render

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
)

// Count writes a number with commas between thousands.
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// Size writes octets in decimal units: "184.6 GB", "512 B".
func Size(octets int64) string {
	if octets < 1000 {
		return fmt.Sprintf("%d B", octets)
	}
	f := float64(octets)
	for _, unit := range []string{"kB", "MB", "GB", "TB"} {
		f /= 1000
		if f < 999.95 || unit == "TB" {
			return fmt.Sprintf("%.1f %s", f, unit)
		}
	}
	return "" // not reached: TB ends the loop
}

// Rate writes octets a second.
func Rate(octetsPerSecond float64) string { return Size(int64(octetsPerSecond)) + "/s" }

// Span writes a duration for people: "45 s", "1 h 30 min", "7 d".
func Span(d time.Duration) string {
	if d < 0 {
		return "-" + Span(-d)
	}
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	d = d.Round(time.Second)
	var parts []string
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"min", time.Minute}, {"s", time.Second}} {
		if n := d / u.unit; n > 0 && len(parts) < 2 {
			parts = append(parts, fmt.Sprintf("%d %s", n, u.name))
			d -= n * u.unit
		} else if len(parts) > 0 {
			break
		}
	}
	return strings.Join(parts, " ")
}

// Number of a plan as file names spell it: "0003".
func planNumber(n int) string { return fmt.Sprintf("%04d", n) }

// short is the beginning of a digest that people compare.
func short(digest string) string {
	digest = strings.TrimPrefix(digest, "sha256:")
	return digest[:min(8, len(digest))]
}

// phaseTitle is a phase as screens print it. What everything turns around is in capitals.
func phaseTitle(p plan.Phase) string {
	switch p {
	case plan.Flip:
		return "FLIP"
	case plan.LowerTTL:
		return "lower TTL"
	}
	return strings.ReplaceAll(string(p), "_", " ")
}

// location is the migration's time zone; a name that this machine doesn't
// know shows as UTC, which the zone's abbreviation says.
func location(name string) *time.Location {
	loc, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC
	}
	return loc
}

// calendar writes times in one zone, with seconds where a schedule is so short
// that they matter.
type calendar struct {
	loc     *time.Location
	seconds bool
}

func newCalendar(zone string, times ...time.Time) calendar {
	c := calendar{loc: location(zone)}
	var first, last time.Time
	for _, t := range times {
		if t.IsZero() {
			continue
		}
		if first.IsZero() || t.Before(first) {
			first = t
		}
		if last.IsZero() || t.After(last) {
			last = t
		}
	}
	c.seconds = !first.IsZero() && last.Sub(first) < 24*time.Hour
	return c
}

// full is "Fri 15 Jan 2027 18:00 CET".
func (c calendar) full(t time.Time) string { return c.format(t, "Mon 2 Jan 2006 ", " MST") }

// brief is "Fri 15 Jan 18:00".
func (c calendar) brief(t time.Time) string { return c.format(t, "Mon _2 Jan ", "") }

func (c calendar) format(t time.Time, before, after string) string {
	if t.IsZero() {
		return ""
	}
	hours := "15:04"
	if c.seconds {
		hours = "15:04:05"
	}
	return t.In(c.loc).Format(before + hours + after)
}

// plural is "1 mailbox", "25 mailboxes".
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(int64(n)) + " " + many
}
