package timeline

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestConverges(t *testing.T) {
	last := time.Date(2027, 1, 15, 20, 0, 0, 0, time.UTC)
	passes := func(quiet ...bool) Passes {
		return Passes{Quiet: quiet, Last: last, Repeat: 15 * time.Minute, Need: 3}
	}
	for _, c := range []struct {
		name string
		p    Passes
		over time.Time
		want time.Duration // after last; negative: not foreseeable
	}{
		{"all quiet so far", passes(true), time.Time{}, 30 * time.Minute},
		{"converged, caches have run out", passes(true, true, true), last.Add(-time.Hour), 0},
		{"converged, caches have not", passes(true, true, true), last.Add(time.Hour), time.Hour},
		// p = 2/4: (8-2)/(1/2) = 12 passes
		{"one of two", passes(false, true), time.Time{}, 12 * 15 * time.Minute},
		// p = 12/14, a run of 11: they are over already
		{"mail long ago", passes(append([]bool{false}, slices.Repeat([]bool{true}, 11)...)...), time.Time{}, 0},
		{"steady mail, a pass a day", Passes{Quiet: slices.Repeat([]bool{false}, 12), Last: last, Repeat: 24 * time.Hour, Need: 3}, time.Time{}, -1},
		{"no pass yet", Passes{Repeat: time.Minute, Need: 3}, last, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			at, ok := Converges(c.p, c.over)
			switch {
			case !ok && c.want >= 0, ok && c.want < 0:
				t.Errorf("%v %v, want %v", at, ok, c.want)
			case ok && at.Sub(last).Round(time.Second) != c.want:
				t.Errorf("%v after the last pass, want %v", at.Sub(last), c.want)
			}
		})
	}
}

// The formula is the mean of what really happens.
func TestPassesLeftIsTheMean(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		p         float64
		run, need int
	}{{0.5, 0, 3}, {0.8, 1, 3}, {0.9, 2, 5}} {
		const rounds = 40_000
		total := 0
		for range rounds {
			run := c.run
			for run < c.need {
				total++
				if run++; r.Float64() >= c.p {
					run = 0
				}
			}
		}
		if mean, want := float64(total)/rounds, passesLeft(c.p, c.run, c.need); math.Abs(mean-want) > want/20 {
			t.Errorf("p %v, run %d of %d: mean %v, formula %v", c.p, c.run, c.need, mean, want)
		}
	}
}

// One more quiet pass never makes the end come later than one more repeat; mail never makes it come sooner.
func TestConvergesProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Passes{
			Quiet: rapid.SliceOfN(rapid.Bool(), 0, 20).Draw(t, "quiet"), Last: time.Unix(1_800_000_000, 0),
			Repeat: 15 * time.Minute, Need: rapid.IntRange(1, 4).Draw(t, "need"),
		}
		over := time.Unix(1_800_000_000+rapid.Int64Range(-1e5, 1e5).Draw(t, "over"), 0)
		at, ok := Converges(p, over)
		if ok && (at.Before(p.Last) || at.Before(over)) {
			t.Fatalf("%v is before the last pass %v or the caches' end %v", at, p.Last, over)
		}
		quiet, loud := p, p
		quiet.Quiet = append(slices.Clone(p.Quiet), true)
		loud.Quiet = append(slices.Clone(p.Quiet), false)
		a, okA := Converges(quiet, over)
		b, okB := Converges(loud, over)
		if okB && (!okA || b.Before(a)) {
			t.Fatalf("mail makes the end come sooner: %v after mail, %v after none", b, a)
		}
	})
}
