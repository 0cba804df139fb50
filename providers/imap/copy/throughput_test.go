package copy

import (
	"testing"
	"time"
)

func TestALineIsSlowByWhatItCarried(t *testing.T) {
	at := func(seconds float64) time.Time {
		return time.Unix(1e9, 0).Add(time.Duration(seconds * float64(time.Second)))
	}
	l := &throughput{}
	if l.slow(at(0)) {
		t.Error("slow before anything was carried")
	}
	// Two streams at a time share the line: the time counts once.
	l.begin(at(0))
	l.begin(at(1))
	l.passed(4 << 20)
	if l.slow(at(100)) {
		t.Error("slow after too little to say so")
	}
	l.passed(16 << 20)
	l.end(at(4))
	l.end(at(5))
	if l.slow(at(1000)) {
		t.Error("20 MiB in 5 s are not slow, however long nothing is carried since")
	}
	l.begin(at(1000))
	if l.slow(at(1001)) || !l.slow(at(1010)) {
		t.Error("20 MiB in 15 s are slow, in 6 s they aren't")
	}
}
