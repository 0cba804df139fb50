// Package timeline answers when: it turns moments into instants, finds the
// next open hour, and does the arithmetic of TTLs. Everything here is a pure
// function of its arguments.
package timeline

import (
	"fmt"
	"time"

	"github.com/mxodus/mxodus/plan"
)

// Times are the instants that moments are counted from, as far as they are
// known. A phase's start is known when its schedule can be resolved; its end
// when its last step is done (or, in a forecast, is thought to be).
type Times struct {
	Cutover    time.Time
	Loc        *time.Location // nil = UTC
	Start, End map[plan.Phase]time.Time
}

// Resolve returns the instant of m. It is false while the anchor is unknown,
// and for the zero Moment. An offset of whole days moves the calendar date in
// Loc and keeps the hour; where that hour doesn't exist (the night summer time
// begins), it is the hour behind the gap, as time.Date has it.
func (t Times) Resolve(m plan.Moment) (time.Time, bool) {
	var base time.Time
	switch phase, end, ok := m.Anchor.Phase(); {
	case m.Anchor == plan.AnchorCutover:
		base = t.Cutover
	case m.Anchor == plan.AnchorAbsolute:
		base = m.At
	case ok && end:
		base = t.End[phase]
	case ok:
		base = t.Start[phase]
	}
	if base.IsZero() {
		return time.Time{}, false
	}
	return shift(base, m.Offset, t.loc()), true
}

func (t Times) loc() *time.Location {
	if t.Loc == nil {
		return time.UTC
	}
	return t.Loc
}

const day = 24 * time.Hour

func shift(base time.Time, offset time.Duration, loc *time.Location) time.Time {
	if offset%day != 0 || offset == 0 {
		return base.Add(offset)
	}
	return base.In(loc).AddDate(0, 0, int(offset/day))
}

// ParseHours reads "HH:MM-HH:MM" as minutes after midnight. The end may be
// before the start: then the hours cross midnight. "24:00" is an end. Equal
// ends are an error, because nobody can tell "always" from "never".
func ParseHours(hours string) (from, to int, err error) {
	bad := fmt.Errorf("%q are no hours: want HH:MM-HH:MM, such as 19:00-07:00", hours)
	if len(hours) != 11 || hours[5] != '-' {
		return 0, 0, bad
	}
	minutes := func(s string) (int, bool) {
		for i, c := range []byte(s) {
			if (i == 2) != (c == ':') || i != 2 && (c < '0' || c > '9') {
				return 0, false
			}
		}
		h, m := int(s[0]-'0')*10+int(s[1]-'0'), int(s[3]-'0')*10+int(s[4]-'0')
		return h*60 + m, m < 60 && h*60+m <= 24*60
	}
	from, ok := minutes(hours[:5])
	to, ok2 := minutes(hours[6:])
	if !ok || !ok2 || from == 24*60 || from == to {
		return 0, 0, bad
	}
	return from, to, nil
}

// NextOpen returns the first instant, t or later, that lies within hours on
// the clock in loc. "" is always open, as is a text that ParseHours refuses:
// configurations and plans with such hours are refused before.
//
// It goes by the clock on the wall: in the night when an hour comes twice both
// are open, and an opening that falls into the hour that doesn't exist is at
// its end.
func NextOpen(hours string, loc *time.Location, t time.Time) time.Time {
	if hours == "" {
		return t
	}
	from, to, err := ParseHours(hours)
	if err != nil {
		return t
	}
	if loc == nil {
		loc = time.UTC
	}
	local := t.In(loc)
	if open(from, to, local) {
		return t
	}
	y, m, d := local.Date()
	_, change := local.ZoneBounds()
	for n := 0; ; n++ {
		for _, at := range openings(y, m, d+n, from, loc) {
			if !change.IsZero() && change.Before(at) && open(from, to, change.In(loc)) {
				return change // the clock jumps into the hours, forward or back
			}
			// Hours that lie whole within a gap don't come on that day.
			if at.After(t) && open(from, to, at) {
				return at
			}
		}
	}
}

func open(from, to int, local time.Time) bool {
	now := local.Hour()*60 + local.Minute()
	if from < to {
		return from <= now && now < to
	}
	return now >= from || now < to
}

// openings are the instants of that date at which the clock in loc shows the
// minute from: one, two where the hour comes twice, or the end of the gap that
// swallows it.
func openings(y int, m time.Month, d, from int, loc *time.Location) []time.Time {
	at := time.Date(y, m, d, from/60, from%60, 0, 0, loc)
	start, end := at.ZoneBounds()
	want := time.Date(y, m, d, from/60, from%60, 0, 0, time.UTC)
	switch got := onTheWall(at); { // time.Date may answer with either side
	case got.Before(want):
		return []time.Time{end}
	case got.After(want):
		return []time.Time{start}
	}
	list := []time.Time{at}
	_, offset := at.Zone()
	if !start.IsZero() {
		_, before := start.Add(-time.Second).Zone()
		if first := at.Add(time.Duration(offset-before) * time.Second); first.Before(start) && onTheWall(first).Equal(want) {
			list = []time.Time{first, at}
		}
	}
	if !end.IsZero() {
		_, after := end.Zone()
		if second := at.Add(time.Duration(offset-after) * time.Second); !second.Before(end) && onTheWall(second).Equal(want) {
			list = append(list, second)
		}
	}
	return list
}

// onTheWall is what the clock shows at t, as if it were UTC.
func onTheWall(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}
