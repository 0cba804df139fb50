package apply

import "sync"

// occupied are the mailboxes that a pass is over: two over one mailbox may not run.
type occupied struct{ boxes sync.Map } // source address -> *sync.Mutex

func (o *occupied) of(address string) *sync.Mutex {
	mu, _ := o.boxes.LoadOrStore(address, &sync.Mutex{})
	return mu.(*sync.Mutex)
}

// occupy takes the mailbox for a pass where nobody has it.
func (e *Engine) occupy(address string) (free func(), ok bool) {
	mu := e.busy.of(address)
	return mu.Unlock, mu.TryLock()
}
