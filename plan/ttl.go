package plan

import (
	"fmt"
	"time"
)

// TTLLimits are the TTLs that a zone's host takes, in seconds; 0 = no limit of its own.
type TTLLimits struct{ Minimum, Maximum uint32 }

// TTLRefusal is a TTL of the configuration that the host would refuse.
type TTLRefusal struct {
	Subject string // "ttl.during of acme.example"
	Words   string
	Pos     Pos
}

// Refuse returns every TTL of d that the host does not take.
func (l TTLLimits) Refuse(d Domain) []TTLRefusal {
	var list []TTLRefusal
	hold := func(subject string, ttl time.Duration, pos Pos) {
		for _, words := range []string{l.tooLow(ttl), l.tooHigh(ttl)} {
			if words != "" {
				list = append(list, TTLRefusal{subject, words, pos})
			}
		}
	}
	hold("ttl.during of "+d.Name, d.TTLDuring, d.Pos)
	hold("ttl.restore of "+d.Name, d.TTLRestore, d.Pos)
	for _, r := range d.Records {
		if r.TTL > 0 {
			hold(fmt.Sprintf("the ttl of record %s %s of %s", r.Type, r.Name, d.Name), r.TTL, r.Pos)
		}
	}
	return list
}

// tooLow says that the host takes no TTL as low, "" when it does.
func (l TTLLimits) tooLow(ttl time.Duration) string {
	if l.Minimum == 0 || ttl >= time.Duration(l.Minimum)*time.Second {
		return ""
	}
	return fmt.Sprintf("%s is below the %d seconds that the zone's host takes at least", FormatDuration(ttl), l.Minimum)
}

// tooHigh says that the host takes no TTL as high, "" when it does.
func (l TTLLimits) tooHigh(ttl time.Duration) string {
	if l.Maximum == 0 || ttl <= time.Duration(l.Maximum)*time.Second {
		return ""
	}
	return fmt.Sprintf("%s is above the %d seconds that the zone's host takes at most", FormatDuration(ttl), l.Maximum)
}
