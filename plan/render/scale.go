package render

import (
	"math"
	"slices"
	"time"

	"github.com/mxodus/mxodus/plan/timeline"
)

// scale maps instants to the drawing's axis. The spans between the borders of
// phases are drawn by the square root of their length: an hour beside a month
// can still be seen, and longer stays longer.
type scale struct {
	times []time.Time
	x     []float64
}

func newScale(rows []timeline.Row, more ...time.Time) scale {
	var s scale
	for _, r := range rows {
		more = append(more, r.Start, r.End, r.Earliest)
	}
	for _, t := range more {
		if !t.IsZero() {
			s.times = append(s.times, t)
		}
	}
	slices.SortFunc(s.times, time.Time.Compare)
	s.times = slices.CompactFunc(s.times, time.Time.Equal)
	total := 0.0
	weights := []float64{0}
	for i := 1; i < len(s.times); i++ {
		total += math.Sqrt(s.times[i].Sub(s.times[i-1]).Seconds())
		weights = append(weights, total)
	}
	for _, w := range weights[:len(s.times)] {
		x := float64(svgLeft)
		if total > 0 {
			x += w / total * (svgWidth - svgLeft - svgRight)
		}
		s.x = append(s.x, x)
	}
	return s
}

// at is the place of a time that newScale was given.
func (s scale) at(t time.Time) float64 {
	i := slices.IndexFunc(s.times, t.Equal)
	if i < 0 {
		return svgLeft
	}
	return s.x[i]
}
