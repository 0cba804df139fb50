package imaptest

import (
	"runtime"
	"sync/atomic"
	"time"
)

// WatchHeap looks at this process's heap every 25 ms until rose is called, which tells by how many octets it was at most above what
// it was at first. Tests that run beside are in it.
func WatchHeap() (rose func() uint64) {
	var peak atomic.Uint64
	end, ended := make(chan struct{}), make(chan struct{})
	runtime.GC()
	before := heap()
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case <-time.After(25 * time.Millisecond):
				peak.Store(max(peak.Load(), heap()))
			}
		}
	}()
	return func() uint64 {
		close(end)
		<-ended
		return max(peak.Load(), before) - before
	}
}

func heap() uint64 {
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	return now.HeapAlloc
}
