package dns_test

import (
	"fmt"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mxodus/mxodus/providers/dns"
	"github.com/mxodus/mxodus/providers/dns/dnstest"
)

// TestThreeServers: each of three servers is in one of four states, in all 64 ways, and the zone by hand says the newest that
// anybody serves, a conflict where two say different things at one serial, or that nobody answers.
func TestThreeServers(t *testing.T) {
	const (
		fresh = iota
		lagging
		lying
		failing
	)
	names := []string{"fresh", "lagging", "lying", "failing"}
	for n := range 64 {
		states := []int{n % 4, n / 4 % 4, n / 16}
		t.Run(fmt.Sprintf("%s %s %s", names[states[0]], names[states[1]], names[states[2]]), func(t *testing.T) {
			clock := newHandClock()
			z := newZone(t, zoneName, "@ 300 IN MX 10 old.example.\n", clock)
			clock.advance(time.Hour)
			put(t, z, mx(300, "10 new.example."))
			var addrs []string
			count := map[int]int{}
			for _, state := range states {
				s := listen(t, "127.0.0.1:0", nil, z)
				addrs = append(addrs, s.Addr())
				count[state]++
				turn(s, state)
			}
			set, err := (&dns.ByHand{Zone: zoneName, Domain: zoneName, Servers: observer(clock, addrs...)}).Lookup(t.Context(), zoneName, "MX")
			switch {
			case count[failing] == 3, count[fresh] > 0 && count[lying] > 0:
				if err == nil {
					t.Errorf("%v, want an error", set)
				}
			case count[lying] > 0:
				if err != nil || !set.Equal(mx(300, "1 lie.example.")) {
					t.Errorf("%v, %v; want what stands at the highest serial", set, err)
				}
			case count[fresh] > 0:
				if err != nil || !set.Equal(mx(300, "10 new.example.")) {
					t.Errorf("%v, %v; want the newest", set, err)
				}
			default:
				if err != nil || !set.Equal(mx(300, "10 old.example.")) {
					t.Errorf("%v, %v; want what all serve", set, err)
				}
			}
		})
	}
}

func turn(s *dnstest.Server, state int) {
	switch state {
	case 1:
		s.Lag(time.Minute)
	case 2:
		s.Lie(mx(300, "1 lie.example."))
	case 3:
		s.Fail(mdns.RcodeServerFailure)
	}
}
