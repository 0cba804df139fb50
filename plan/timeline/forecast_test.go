package timeline

import (
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
)

func moment(t testing.TB, s string) plan.Moment {
	m, err := plan.ParseMoment(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// weekAhead is the timing of the language's defaults.
func weekAhead(t testing.TB) *plan.Plan {
	p := &plan.Plan{Header: plan.Header{Cutover: at(t, "2027-01-15T18:00:00+01:00"), Timezone: "Europe/Berlin"}}
	for _, w := range []struct{ phase, start, until string }{
		{"provision", "cutover-14d", ""}, {"lower_ttl", "cutover-7d", ""}, {"bulk_copy", "lower_ttl.start", ""},
		{"notice", "cutover-48h", ""}, {"flip", "cutover", "cutover+4h"}, {"delta", "flip.end", "converged(3)"},
		{"validate", "flip.end", ""}, {"hold", "validate.end", "validate.end+30d"}, {"decommission", "hold.end", ""},
	} {
		u, err := plan.ParseUntil(w.until)
		if err != nil {
			t.Fatal(err)
		}
		p.Schedule = append(p.Schedule, plan.Window{Phase: plan.Phase(w.phase), Start: moment(t, w.start), Until: u, Repeat: 15 * time.Minute})
	}
	p.Steps = []plan.Step{
		{Address: "account/a@x", Phase: plan.Provision, Action: plan.ByHand},
		{Address: "dns/x/MX/@/ttl", Phase: plan.LowerTTL, Action: plan.Change, Settle: time.Hour},
		{Address: "copy/a@x", Phase: plan.BulkCopy, Action: plan.Copy},
		{Address: "dns/x/MX/@", Phase: plan.Flip, Action: plan.Change, From: []string{"300 MX 10 old."}},
		{Address: "delta/a@x", Phase: plan.Delta, Action: plan.Copy},
		{Address: "validate/mail/a@x", Phase: plan.Validate, Action: plan.Check},
		{Address: "hold/a@x", Phase: plan.Hold, Action: plan.Copy},
		{Address: "retire/a@x", Phase: plan.Decommission, Action: plan.ByHand},
	}
	return p
}

func TestForecast(t *testing.T) {
	zone(t, "Europe/Berlin")
	p := weekAhead(t)
	est := &inventory.Estimates{Mailboxes: map[string]inventory.MailboxEstimate{"a@x": {Messages: 100, Octets: 36e9}, "other@x": {Octets: 1e15}}, Rate: 1e6}
	// 36 GB at 1 MB/s are 10 h; every record takes 5 min to be everywhere.
	want := []struct{ phase, start, end string }{
		{"provision", "2027-01-01T18:00:00+01:00", "2027-01-01T19:00:00+01:00"},
		{"lower_ttl", "2027-01-08T18:00:00+01:00", "2027-01-08T19:05:00+01:00"},
		{"bulk_copy", "2027-01-08T18:00:00+01:00", "2027-01-09T04:00:00+01:00"},
		{"notice", "2027-01-13T18:00:00+01:00", "2027-01-13T18:00:00+01:00"},
		{"flip", "2027-01-15T18:00:00+01:00", "2027-01-15T18:05:00+01:00"},
		{"delta", "2027-01-15T18:05:00+01:00", "2027-01-15T18:50:00+01:00"},
		{"validate", "2027-01-15T18:05:00+01:00", "2027-01-15T18:10:00+01:00"},
		{"hold", "2027-01-15T18:10:00+01:00", "2027-02-14T18:10:00+01:00"},
		{"decommission", "2027-02-14T18:10:00+01:00", "2027-02-14T18:10:00+01:00"},
	}
	check := func(rows []Row, want []struct{ phase, start, end string }) {
		t.Helper()
		if len(rows) != len(want) {
			t.Fatalf("%d rows", len(rows))
		}
		for i, w := range want {
			if string(rows[i].Phase) != w.phase || !rows[i].Start.Equal(at(t, w.start)) || !rows[i].End.Equal(at(t, w.end)) {
				t.Errorf("got %s %s – %s, want %v", rows[i].Phase, rows[i].Start, rows[i].End, w)
			}
		}
	}
	rows := Forecast(p, est, Assume{})
	check(rows, want)
	if got := rows[plan.Flip.Index()].Earliest; !got.Equal(at(t, "2027-01-09T04:00:00+01:00")) {
		t.Errorf("the earliest flip is %s, want the end of the bulk copy", got)
	}

	// Copying at night only: 19:00-23:00 are 4 h a day.
	p.Schedule[plan.BulkCopy.Index()].Hours = "19:00-23:00"
	rows = Forecast(p, est, Assume{})
	if got, want := rows[plan.BulkCopy.Index()].End, at(t, "2027-01-10T21:00:00+01:00"); !got.Equal(want) {
		t.Errorf("the bulk copy ends %s, want %s", got, want)
	}

	// A copy that takes longer than the week moves the flip and all behind it.
	p.Schedule[plan.BulkCopy.Index()].Hours = ""
	rows = Forecast(p, est, Assume{Rate: 0.5e5}) // 200 h
	if got, want := rows[plan.Flip.Index()].Start, at(t, "2027-01-17T02:00:00+01:00"); !got.Equal(want) {
		t.Errorf("the flip starts %s, want %s", got, want)
	}
	if got := rows[plan.Delta.Index()].Start; got.Before(rows[plan.Flip.Index()].End) {
		t.Errorf("delta starts %s, before the flip has ended", got)
	}

	// An old TTL of ten days.
	p.Steps[1].Settle = 10 * day
	rows = Forecast(p, est, Assume{})
	if got, want := rows[plan.Flip.Index()].Start, at(t, "2027-01-18T18:05:00+01:00"); !got.Equal(want) {
		t.Errorf("the flip starts %s, want %s", got, want)
	}
}

// What has happened counts from when it really happened.
func TestForecastGoesOnFromWhatHappened(t *testing.T) {
	zone(t, "Europe/Berlin")
	p := weekAhead(t)
	end := func(s string) time.Time { return at(t, s) }
	rows := Forecast(p, nil, Assume{
		Now: end("2027-01-16T01:00:00+01:00"),
		Ended: map[plan.Phase]time.Time{
			plan.Provision: end("2027-01-02T00:00:00+01:00"), plan.LowerTTL: end("2027-01-08T20:00:00+01:00"),
			plan.BulkCopy: end("2027-01-09T00:00:00+01:00"), plan.Notice: end("2027-01-13T18:00:00+01:00"), plan.Flip: end("2027-01-15T19:30:00+01:00"),
		},
	})
	if got := rows[plan.Flip.Index()].End; !got.Equal(end("2027-01-15T19:30:00+01:00")) {
		t.Errorf("the flip ended %s", got)
	}
	if got := rows[plan.Validate.Index()].Start; !got.Equal(end("2027-01-16T01:00:00+01:00")) {
		t.Errorf("validation starts %s, want now", got)
	}
	if got := rows[plan.Hold.Index()].End; !got.Equal(end("2027-02-15T01:05:00+01:00")) {
		t.Errorf("the hold ends %s", got)
	}
}

// A migration of seconds is not thought to wait for minutes.
func TestDefaultsScaleWithTheSchedule(t *testing.T) {
	p := weekAhead(t)
	if a := (Assume{}).Defaults(p, nil); a.Converge != 5*time.Minute || a.Pass != 5*time.Minute || a.ByHand != time.Hour || a.Rate != 2.5e6 {
		t.Errorf("a careful week: %+v", a)
	}
	for i, w := range []struct{ start, until string }{
		{"cutover-20s", ""}, {"cutover-15s", ""}, {"lower_ttl.start", ""}, {"cutover-5s", ""}, {"cutover", "cutover+10s"},
		{"flip.end", "converged(2)"}, {"flip.end", ""}, {"validate.end", "validate.end+20s"}, {"hold.end", ""},
	} {
		u, err := plan.ParseUntil(w.until)
		if err != nil {
			t.Fatal(err)
		}
		p.Schedule[i].Start, p.Schedule[i].Until, p.Schedule[i].Repeat = moment(t, w.start), u, time.Second
	}
	p.Steps[1].Settle = 4 * time.Second
	p.Steps[3].From = []string{"2 MX 10 old."}
	if a := (Assume{Pass: time.Second}).Defaults(p, nil); a.Converge != 400*time.Millisecond || a.ByHand != 4*time.Second || a.Pass != time.Second {
		t.Errorf("40 seconds: %+v", a)
	}
	rows := Forecast(p, nil, Assume{})
	for _, r := range rows {
		if r.Phase == plan.Flip && r.Earliest.After(p.Cutover) {
			t.Errorf("the earliest flip is %s after the cutover", r.Earliest.Sub(p.Cutover))
		}
	}
	if total := rows[len(rows)-1].End.Sub(rows[0].Start); total > time.Minute {
		t.Errorf("the forecast takes %s", total)
	}
}

// A copy that would take for ever makes a flip that is never, not one that is now:
// 1 TB at 1 MB/s is 10^6 s, and with a minute a night 16,667 nights.
func TestForecastOfACopyThatNeverEnds(t *testing.T) {
	p := weekAhead(t)
	p.Schedule[2].Hours = "19:00-19:01"
	est := &inventory.Estimates{Mailboxes: map[string]inventory.MailboxEstimate{"a@x": {Octets: 1e12}}}
	for _, r := range Forecast(p, est, Assume{Rate: 1e6}) {
		if r.Phase == plan.Flip && (r.Earliest.Year() < 2036 || r.Start.Before(r.Earliest)) {
			t.Errorf("the flip is at %s, the earliest %s", r.Start, r.Earliest)
		}
	}
}
