package apply

import (
	"fmt"
	"time"
)

// Sighting is one piece of evidence: who said what, asked what, and when.
type Sighting struct {
	At     time.Time
	Server string
	Asked  string
	Said   string
}

// maxSightings bounds what one answer keeps; the first ones tell.
const maxSightings = 60

// saw adds evidence. Like no and warn it is for the goroutine that answers.
func (a *Answer) saw(e *Engine, server, asked, said string) {
	if len(a.Evidence) < maxSightings {
		a.Evidence = append(a.Evidence, Sighting{e.Clock.Now(), server, asked, said})
	}
}

// String is the evidence as one line.
func (s Sighting) String() string {
	return fmt.Sprintf("%s %s: %s: %s", s.At.UTC().Format("15:04:05Z"), s.Server, s.Asked, s.Said)
}

func count(n, of int) string { return fmt.Sprintf("%d of %d", n, of) }
