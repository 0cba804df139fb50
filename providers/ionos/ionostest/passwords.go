package ionostest

import (
	"strings"
	"sync"
	"time"
)

// passwords decides on logins.
type passwords struct {
	options MailOptions

	mu     sync.Mutex
	of     map[string]string // by address; "" = closed
	recent []time.Time
}

func (p *passwords) set(name, password string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of[strings.ToLower(name)] = password
}

// check returns the tagged refusal of a login, "" = welcome. None of them has a code.
func (p *passwords) check(user, password string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.options.MaxLogins > 0 {
		now := p.options.Clock()
		recent := p.recent[:0]
		for _, at := range p.recent {
			if now.Sub(at) < time.Minute {
				recent = append(recent, at)
			}
		}
		if p.recent = append(recent, now); len(p.recent) > p.options.MaxLogins {
			return "NO Too many login attempts, please try again later"
		}
	}
	switch known := p.of[strings.ToLower(user)]; {
	case p.options.SwitchedOff[strings.ToLower(user)], known == "", known != password:
		return "NO authentication failed"
	}
	return ""
}
