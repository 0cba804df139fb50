package timeline

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mxodus/mxodus/plan"
)

func zone(t testing.TB, name string) *time.Location {
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Skipf("this machine has no time zone data: %v", err)
	}
	return loc
}

func at(t testing.TB, s string) time.Time {
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestResolve(t *testing.T) {
	times := Times{
		Cutover: at(t, "2027-03-30T18:00:00+02:00"), Loc: zone(t, "Europe/Berlin"), // summer time began on 28 March
		Start: map[plan.Phase]time.Time{plan.Flip: at(t, "2027-03-30T18:00:00+02:00")},
		End:   map[plan.Phase]time.Time{plan.Validate: at(t, "2027-10-25T12:00:00+02:00")}, // it ends on 31 October
	}
	for _, c := range []struct{ moment, want string }{
		{"cutover", "2027-03-30T18:00:00+02:00"},
		{"cutover-7d", "2027-03-23T18:00:00+01:00"},   // calendar days: 18:00 stays 18:00
		{"cutover-2d", "2027-03-28T18:00:00+02:00"},   // behind the change
		{"cutover-7d1h", "2027-03-23T16:00:00+01:00"}, // elapsed time
		{"cutover-90m", "2027-03-30T16:30:00+02:00"},
		{"flip.start+4h", "2027-03-30T22:00:00+02:00"},
		{"validate.end+30d", "2027-11-24T12:00:00+01:00"},
		{"2027-01-15T18:00:00+01:00+1h", "2027-01-15T19:00:00+01:00"},
		{"flip.end", ""},
		{"hold.start+1h", ""},
		{"", ""},
	} {
		m, err := plan.ParseMoment(c.moment)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := times.Resolve(m)
		if ok != (c.want != "") || ok && !got.Equal(at(t, c.want)) {
			t.Errorf("%s: got %s, %v; want %s", c.moment, got, ok, c.want)
		}
	}
	// 02:30 does not exist on 28 March; the time is never lost, and never on another day.
	gap := Times{Cutover: at(t, "2027-03-29T02:30:00+02:00"), Loc: times.Loc}
	if got, ok := gap.Resolve(plan.Moment{Anchor: plan.AnchorCutover, Offset: -day}); !ok || got.In(times.Loc).Day() != 28 {
		t.Errorf("in the gap: %s, %v", got, ok)
	}
}

func TestNextOpen(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	for _, c := range []struct{ name, hours, from, want string }{
		{"always", "", "2027-01-15T12:00:00+01:00", "2027-01-15T12:00:00+01:00"},
		{"open now", "19:00-07:00", "2027-01-15T23:15:07+01:00", "2027-01-15T23:15:07+01:00"},
		{"open after midnight", "19:00-07:00", "2027-01-15T06:59:59+01:00", "2027-01-15T06:59:59+01:00"},
		{"just closed", "19:00-07:00", "2027-01-15T07:00:00+01:00", "2027-01-15T19:00:00+01:00"},
		{"by day", "08:00-12:00", "2027-01-15T12:00:00+01:00", "2027-01-16T08:00:00+01:00"},
		{"before opening", "08:00-12:00", "2027-01-15T00:00:00+01:00", "2027-01-15T08:00:00+01:00"},
		{"to midnight", "20:00-24:00", "2027-01-15T23:59:59+01:00", "2027-01-15T23:59:59+01:00"},
		{"from midnight", "00:00-01:00", "2027-01-15T22:00:00+01:00", "2027-01-16T00:00:00+01:00"},
		{"asked in UTC", "08:00-12:00", "2027-01-15T06:30:00Z", "2027-01-15T08:00:00+01:00"},
		{"end of year", "08:00-09:00", "2027-12-31T10:00:00+01:00", "2028-01-01T08:00:00+01:00"},
		{"opening in the gap", "02:30-05:00", "2027-03-28T00:00:00+01:00", "2027-03-28T03:00:00+02:00"},
		{"all in the gap", "02:10-02:50", "2027-03-28T00:00:00+01:00", "2027-03-29T02:10:00+02:00"},
		{"over the gap", "01:00-05:00", "2027-03-28T01:30:00+01:00", "2027-03-28T01:30:00+01:00"},
		{"hour twice: the first", "02:00-02:45", "2027-10-31T00:00:00+02:00", "2027-10-31T02:00:00+02:00"},
		{"hour twice: closed between", "02:00-02:45", "2027-10-31T02:50:00+02:00", "2027-10-31T02:00:00+01:00"},
		{"hour twice: the second", "02:00-02:45", "2027-10-31T02:10:00+01:00", "2027-10-31T02:10:00+01:00"},
		{"long night", "22:00-06:00", "2027-10-30T22:00:00+02:00", "2027-10-30T22:00:00+02:00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := NextOpen(c.hours, berlin, at(t, c.from)); !got.Equal(at(t, c.want)) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	// In São Paulo summer time began at midnight: 00:00 to 01:00 did not exist.
	paulo := zone(t, "America/Sao_Paulo")
	if got := NextOpen("00:00-06:00", paulo, at(t, "2018-11-03T12:00:00-03:00")); !got.Equal(at(t, "2018-11-04T01:00:00-02:00")) {
		t.Errorf("midnight gap: %s", got)
	}
}

// Whatever hours, zone and instant: the answer is open, not before, and nothing
// between is open.
func TestNextOpenIsTheFirst(t *testing.T) {
	names := []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"}
	rapid.Check(t, func(rt *rapid.T) {
		loc := zone(t, rapid.SampledFrom(names).Draw(rt, "zone"))
		from := rapid.IntRange(0, 1439).Draw(rt, "from")
		to := rapid.IntRange(0, 1440).Filter(func(n int) bool { return n != from }).Draw(rt, "to")
		// Around the nights when clocks change as often as at any time.
		base := rapid.SampledFrom([]string{"2027-03-28T00:00:00Z", "2027-10-31T00:00:00Z", "2027-03-14T06:00:00Z", "2027-11-07T05:00:00Z", "2027-04-03T15:00:00Z", "2027-10-02T15:30:00Z", "2027-06-01T00:00:00Z"}).Draw(rt, "night")
		now := at(t, base).Add(time.Duration(rapid.IntRange(-24*60, 24*60).Draw(rt, "minutes")) * time.Minute)
		hours := time.Date(2000, 1, 1, from/60, from%60, 0, 0, time.UTC).Format("15:04") + "-" + time.Date(2000, 1, 1, to/60, to%60, 0, 0, time.UTC).Format("15:04")
		if to == 1440 {
			hours = hours[:6] + "24:00"
		}
		got := NextOpen(hours, loc, now)
		if got.Before(now) {
			rt.Fatalf("%s in %s at %s: %s is before", hours, loc, now, got)
		}
		for t := now; t.Before(got); t = t.Add(time.Minute) {
			if open(from, to, t.In(loc)) {
				rt.Fatalf("%s in %s at %s: %s, and %s is open before", hours, loc, now, got, t.In(loc))
			}
		}
		if !open(from, to, got.In(loc)) {
			rt.Fatalf("%s in %s at %s: %s is not open", hours, loc, now, got.In(loc))
		}
	})
}

func TestParseHours(t *testing.T) {
	for _, bad := range []string{"19-07", "19:00-19:00", "24:00-07:00", "25:00-07:00", "19:60-07:00", "1900:-07:00", "19:00-07:00 ", "a9:00-07:00", "19:00-24:01", "::::::::::-"} {
		if _, _, err := ParseHours(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if from, to, err := ParseHours("19:30-07:05"); from != 1170 || to != 425 || err != nil {
		t.Errorf("got %d, %d, %v", from, to, err)
	}
}

func TestEarliestFlip(t *testing.T) {
	now := at(t, "2027-01-08T18:00:00Z")
	h := func(n float64) time.Time { return now.Add(time.Duration(n * float64(time.Hour))) }
	for _, c := range []struct {
		name string
		in   FlipInput
		want time.Time
		ok   bool
	}{
		{"the window", FlipInput{Window: h(168), BulkEnd: h(33), Lowered: []Lowering{{h(0), time.Hour}}}, h(168), true},
		{"the copy", FlipInput{Window: h(1), BulkEnd: h(33)}, h(33), true},
		{"provisioning settles", FlipInput{Window: h(1), Provision: h(2), Settle: 3 * time.Hour}, h(5), true},
		{"the old TTL of the last server", FlipInput{Window: h(1), Lowered: []Lowering{{h(0), time.Hour}, {h(0.5), time.Hour}, {h(0), 20 * time.Minute}}, Margin: 6 * time.Minute}, h(1.6), true},
		{"no settling without provisioning", FlipInput{Window: h(1), Settle: 9 * time.Hour}, h(1), true},
		{"not seen yet", FlipInput{Window: h(1), Lowered: []Lowering{{h(0), time.Hour}, {Old: time.Hour}}}, time.Time{}, false},
	} {
		if got, ok := EarliestFlip(c.in); ok != c.ok || !got.Equal(c.want) {
			t.Errorf("%s: got %s, %v; want %s, %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

func TestStragglersUntil(t *testing.T) {
	flip := at(t, "2027-01-15T18:00:00Z")
	low := 5 * time.Minute
	for _, c := range []struct {
		name string
		sets []Flipped
		want time.Time
		ok   bool
	}{
		{"the low TTL", []Flipped{{Seen: flip, Low: low, Lowering: Lowering{flip.Add(-7 * day), time.Hour}}}, flip.Add(low), true},
		{"lowered an hour before, old TTL a day", []Flipped{{Seen: flip, Low: low, Lowering: Lowering{flip.Add(-time.Hour), day}}}, flip.Add(23 * time.Hour), true},
		{"the slowest set", []Flipped{{Seen: flip, Low: low}, {Seen: flip.Add(time.Minute), Low: time.Hour}}, flip.Add(61 * time.Minute), true},
		{"one not seen", []Flipped{{Seen: flip, Low: low}, {Low: low}}, time.Time{}, false},
		{"none", nil, time.Time{}, false},
	} {
		if got, ok := StragglersUntil(c.sets); ok != c.ok || !got.Equal(c.want) {
			t.Errorf("%s: got %s, %v; want %s", c.name, got, ok, c.want)
		}
	}
}
