package timeline

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
)

// Whatever is supposed: phases end after they start, nothing begins before now, the
// flip is never before what it waits for, and what makes things slower makes
// nothing earlier.
func TestForecastOfAnything(t *testing.T) {
	zone(t, "Europe/Berlin")
	rapid.Check(t, func(rt *rapid.T) {
		p := weekAhead(t)
		// Cutovers all over the year, so that both changes of the clocks are met.
		p.Cutover = p.Cutover.Add(time.Duration(rapid.IntRange(0, 365*24*60).Draw(rt, "cutover")) * time.Minute)
		p.Schedule[2].Hours = rapid.SampledFrom([]string{"", "19:00-07:00", "01:30-02:30", "02:15-02:45", "00:00-24:00"}).Draw(rt, "hours")
		p.Steps[1].Settle = time.Duration(rapid.IntRange(0, 14*86400).Draw(rt, "old ttl")) * time.Second
		est := &inventory.Estimates{Mailboxes: map[string]inventory.MailboxEstimate{"a@x": {Octets: int64(rapid.IntRange(0, 1<<42).Draw(rt, "octets"))}}}
		a := Assume{Rate: float64(rapid.IntRange(1_000_000, 50_000_000).Draw(rt, "rate")), Converge: time.Duration(rapid.IntRange(0, 3600).Draw(rt, "converge")) * time.Second}
		if rapid.Bool().Draw(rt, "late") {
			a.Now = p.Cutover.Add(time.Duration(rapid.IntRange(-20*24, 20*24).Draw(rt, "now")) * time.Hour)
		}
		rows := Forecast(p, est, a)
		by := map[plan.Phase]Row{}
		for _, r := range rows {
			by[r.Phase] = r
			if r.End.Before(r.Start) {
				rt.Errorf("%s ends %s before it starts", r.Phase, r.Start.Sub(r.End))
			}
			if !r.Start.IsZero() && r.Start.Before(a.Now) {
				rt.Errorf("%s starts before now", r.Phase)
			}
		}
		flip := by[plan.Flip]
		for _, before := range []plan.Phase{plan.Provision, plan.BulkCopy} {
			if flip.Start.Before(by[before].End) {
				rt.Errorf("the flip is before the end of %s", before)
			}
		}
		if at := by[plan.LowerTTL].Start.Add(p.Steps[1].Settle); flip.Start.Before(at) {
			rt.Errorf("the flip is %s before the old TTL has run out", at.Sub(flip.Start))
		}
		if flip.Start.Before(p.Cutover) || flip.Start.Before(flip.Earliest) {
			rt.Errorf("the flip is at %s, cutover %s, earliest %s", flip.Start, p.Cutover, flip.Earliest)
		}
		for _, after := range []plan.Phase{plan.Delta, plan.Validate, plan.Hold, plan.Decommission} {
			if by[after].Start.Before(flip.End) {
				rt.Errorf("%s is before the end of the flip", after)
			}
		}
		if hold := by[plan.Hold]; hold.End.Sub(hold.Start) < 29*24*time.Hour {
			rt.Errorf("the hold takes %s", hold.End.Sub(hold.Start))
		}
		// Copying happens within the hours: the time it takes is at least what the rate says.
		if need := time.Duration(float64(est.Mailboxes["a@x"].Octets) / a.Rate * float64(time.Second)); by[plan.BulkCopy].End.Sub(by[plan.BulkCopy].Start) < need-time.Second {
			rt.Errorf("%s of copying are over after %s", need, by[plan.BulkCopy].End.Sub(by[plan.BulkCopy].Start))
		}
		slow := a
		slow.Rate /= 2
		p2 := weekAhead(t)
		p2.Cutover, p2.Schedule[2].Hours = p.Cutover, p.Schedule[2].Hours
		p2.Steps[1].Settle = p.Steps[1].Settle + time.Hour
		for i, r := range Forecast(p2, est, slow) {
			if r.Start.Before(rows[i].Start) || r.Earliest.Before(rows[i].Earliest) {
				rt.Errorf("slower, and %s is earlier: %s instead of %s", r.Phase, r.Start, rows[i].Start)
			}
		}
	})
}
