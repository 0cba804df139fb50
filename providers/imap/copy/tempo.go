package copy

import "sync"

// tempo is how many messages may be on their way to one mailbox at one host without an answer, over all of
// its connections and passes: half as many after the host has asked for less, and one batch's worth of answers
// adds one batch's share again (additive increase, multiplicative decrease). A host that never
// throttles is never held back.
type tempo struct {
	mu   sync.Mutex
	most int // 0 = as many as go
	gain int // messages taken since most grew last
}

// leastSteps is how many times a full batch the tempo grows to before it is given up.
const leastSteps = maxFlights

// room is how many more messages may be sent while so many are on their way; at least one when none is.
func (t *tempo) room(flying int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.most == 0 {
		return batchMessages
	}
	if flying == 0 {
		return t.most
	}
	return max(0, t.most-flying)
}

// throttled notes that the host wants less than so many at once.
func (t *tempo) throttled(flying int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.most == 0 {
		t.most = max(flying, 2)
	}
	t.most, t.gain = max(1, t.most/2), 0
}

// taken notes n messages that the host took.
func (t *tempo) taken(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.most == 0 {
		return
	}
	if t.gain += n; t.gain >= t.most {
		t.most, t.gain = t.most+max(1, batchMessages/20), 0
	}
	if t.most >= leastSteps*batchMessages {
		t.most = 0
	}
}

// tempoOf returns the shared tempo of an end's host and account.
func (e *Engine) tempoOf(x *end) *tempo {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := x.key + "\x00" + x.account.Address
	t := e.tempos[key]
	if t == nil {
		t = &tempo{}
		e.tempos[key] = t
	}
	return t
}
