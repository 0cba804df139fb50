package timeline

import (
	"math"
	"time"
)

// Passes is what is known of the delta passes over one mailbox.
type Passes struct {
	Quiet  []bool        // of the newest passes, oldest first: did it find nothing?
	Last   time.Time     // end of the newest one; zero: there was none yet
	Repeat time.Duration // from one pass to the next
	Need   int           // quiet passes in a row that end them
}

// window is how many of the newest passes count: what was an hour ago says
// more of the next one than yesterday does.
const window = 12

// foreseeable bounds a forecast: what is further away is not known.
const foreseeable = 90 * 24 * time.Hour

// Converges says when the passes over a mailbox will probably have found nothing
// Need times in a row. over is when no cache leads to the old MX any more, which has to have passed too; zero
// where that is not known yet. The share of quiet passes among the newest ones
// is taken for the chance of the next, with one of either kind added where mail still comes, so that neither a single
// message nor a single quiet hour decides. ok is false when it can't be foreseen: before the first pass, or
// where mail comes so steadily that it would take months.
func Converges(p Passes, over time.Time) (at time.Time, ok bool) {
	if p.Last.IsZero() || p.Need <= 0 {
		return time.Time{}, false
	}
	recent := p.Quiet[max(0, len(p.Quiet)-window):]
	quiet, run := 0, 0
	for _, q := range recent {
		if q {
			quiet, run = quiet+1, run+1
		} else {
			run = 0
		}
	}
	left := passesLeft(chance(quiet, len(recent)), min(run, p.Need), p.Need)
	wait := left * float64(max(p.Repeat, 0))
	if wait > float64(foreseeable) {
		return time.Time{}, false
	}
	return later(p.Last.Add(time.Duration(wait)), over), true
}

// chance is that of the next pass to be quiet. Where all were, nothing speaks against it.
func chance(quiet, of int) float64 {
	if quiet == of {
		return 1
	}
	return float64(quiet+1) / float64(of+2)
}

// passesLeft is the mean number of passes until need of them in a row are quiet, when run
// are already and each is with chance p.
func passesLeft(p float64, run, need int) float64 {
	if p >= 1 {
		return float64(need - run)
	}
	return (math.Pow(p, -float64(need)) - math.Pow(p, -float64(run))) / (1 - p)
}
