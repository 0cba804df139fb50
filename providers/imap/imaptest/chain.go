package imaptest

import (
	"strings"
	"sync"
)

// Chain is a row of faults at one meddler or several, of which the later ones strike while the client recovers from those before.
//
// Only the first is armed at the beginning. When it has struck, all others are, and whichever has its occasion first strikes next. After each strike occasions
// are counted anew; where the fault has ended its connection, at that meddler only those of connections opened since. It
// is safe for concurrent use.
type Chain struct {
	mu     sync.Mutex
	links  []Link
	count  map[chained]int
	struck []Link
	lines  []string
	pairs  int
}

// Link is a fault of a chain, and where it strikes.
type Link struct {
	Meddler *Meddler
	Fault
}

// chained is what a chain counts: occasions of one meddler, of all commands (verb "") or one.
type chained struct {
	m              *Meddler
	occasion, verb string
}

// NewChain arms the first of links. What was planned at its meddlers before is no more.
func NewChain(links ...Link) *Chain {
	c := &Chain{links: links, count: map[chained]int{}}
	for _, l := range links {
		l.Meddler.Plan()
		l.Meddler.mu.Lock()
		l.Meddler.chain = c
		l.Meddler.mu.Unlock()
	}
	return c
}

// Struck are the faults that have happened, each with the line it happened to.
func (c *Chain) Struck() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.lines...)
}

// Pairs is how many faults have struck during the recovery from the one before: that one ended its connection or refused a
// command or a login, so that there was something to make good, and this one came at the Fault.At-th occasion after it, on a
// connection opened after it if it ended one of the same meddler.
func (c *Chain) Pairs() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pairs
}

func (c *Chain) strikes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.struck)
}

// at is Meddler.at for the chain.
func (c *Chain) at(x *meddled, occasion, verb string, line []byte) (Fault, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var last *Link
	if n := len(c.struck); n > 0 {
		last = &c.struck[n-1]
		if last.Meddler == x.m && last.Kind.ends() && x.born < n {
			return Fault{}, false
		}
	}
	c.count[chained{x.m, occasion, ""}]++
	c.count[chained{x.m, occasion, verb}]++
	for i, l := range c.links {
		if l.Meddler == x.m && l.Kind.occasion() == occasion && (l.Verb == "" || l.Verb == verb) && c.count[chained{x.m, occasion, l.Verb}] == l.At {
			c.links = append(append([]Link(nil), c.links[:i]...), c.links[i+1:]...)
			c.struck = append(c.struck, l)
			c.lines = append(c.lines, string(l.Kind)+": "+strings.TrimRight(string(line), "\r\n"))
			c.count = map[chained]int{}
			if last != nil && last.Kind.hurts() {
				c.pairs++
			}
			return l.Fault, true
		}
		if last == nil {
			break // the others are not armed yet
		}
	}
	return Fault{}, false
}
