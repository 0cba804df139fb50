package hostedtest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
)

// Faults stands before a double and breaks what it is told to. It is safe for concurrent use.
type Faults struct {
	next http.Handler

	mu       sync.Mutex
	lose     int // at which write from now on the answer is lost; 0 = none
	drop     int // likewise, before the write is carried out
	before   func()
	throttle int    // requests that are still to be answered 429
	after    string // Retry-After of those
	status   map[bool][]answer
	refuse   int // at which write from now on; 0 = none
	refusal  answer
	requests []string
}

type answer struct {
	code int
	body string
}

// NewFaults puts faults before a double.
func NewFaults(next http.Handler) *Faults {
	return &Faults{next: next, status: map[bool][]answer{}}
}

func (f *Faults) set(turn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	turn()
}

// LoseAnswer carries out the nth write from now on and loses its answer.
func (f *Faults) LoseAnswer(n int) { f.set(func() { f.lose = n }) }

// DropWrite loses the nth write from now on before it is carried out.
func (f *Faults) DropWrite(n int) { f.set(func() { f.drop = n }) }

// BeforeWrite runs before the next write is carried out.
func (f *Faults) BeforeWrite(run func()) { f.set(func() { f.before = run }) }

// Throttle answers the next n requests with 429 and that Retry-After ("" = none).
func (f *Faults) Throttle(n int, after string) { f.set(func() { f.throttle, f.after = n, after }) }

// Answer gives the next write, or the next reading, this answer instead of carrying it out. Several
// calls queue up.
func (f *Faults) Answer(write bool, code int, body string) {
	f.set(func() { f.status[write] = append(f.status[write], answer{code, body}) })
}

// Refuse gives the nth write from now on this answer instead of carrying it out.
func (f *Faults) Refuse(n, code int, body string) {
	f.set(func() { f.refuse, f.refusal = n, answer{code, body} })
}

// Requests are "METHOD /path" of all requests that came since the last call.
func (f *Faults) Requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.requests
	f.requests = nil
	return list
}

// ServeHTTP implements http.Handler.
func (f *Faults) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	write := r.Method != http.MethodGet
	f.mu.Lock()
	f.requests = append(f.requests, r.Method+" "+r.URL.RequestURI())
	if f.throttle > 0 {
		f.throttle--
		after := f.after
		f.mu.Unlock()
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		http.Error(w, "slow down", http.StatusTooManyRequests)
		return
	}
	if list := f.status[write]; len(list) > 0 {
		f.status[write] = list[1:]
		f.mu.Unlock()
		w.WriteHeader(list[0].code)
		fmt.Fprint(w, list[0].body)
		return
	}
	var lose, drop, refuse bool
	var before func()
	if write {
		lose, f.lose = f.lose == 1, max(f.lose-1, 0)
		drop, f.drop = f.drop == 1, max(f.drop-1, 0)
		refuse, f.refuse = f.refuse == 1, max(f.refuse-1, 0)
		before, f.before = f.before, nil
	}
	f.mu.Unlock()
	if refuse {
		w.WriteHeader(f.refusal.code)
		fmt.Fprint(w, f.refusal.body)
		return
	}
	if drop {
		_, _ = io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	}
	if before != nil {
		before()
	}
	if lose {
		f.next.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
	f.next.ServeHTTP(w, r)
}
