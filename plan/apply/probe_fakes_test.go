package apply

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mxodus/mxodus/providers"
)

// post is the mail of the world: what probes find, and how it gets there.
type post struct {
	source, target map[string][]providers.Found // by address
	outside        []providers.Found
	sends          []string // "in anna", "old anna", "out anna"

	byOld    int           // of the next messages from outside, how many still go to the old MX
	delay    time.Duration // until what was sent is there
	twice    bool          // the pass carries everything over twice
	loses    bool          // what comes from outside is lost
	results  string        // Authentication-Results of the outside account; "" = none
	signed   []providers.Signature
	refusal  error // of the old MX
	submits  bool  // the target takes mail
	outError error // of the outside account's login
}

const outsideAddress = "probe@outside.example"

func found(m providers.Mail, extra string, at time.Time) providers.Found {
	return providers.Found{Folder: "INBOX", At: at, Octets: fmt.Appendf(nil, "%sFrom: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%s>\r\n\r\n%s", extra, m.From, m.To, m.Subject, m.ID, m.Text)}
}

func lookFor(list []providers.Found, q providers.Query) []providers.Found {
	var out []providers.Found
	for _, f := range list {
		text := string(f.Octets)
		if !f.At.After(time.Now()) && (q.MessageID != "" && strings.Contains(text, "<"+q.MessageID+">") || q.Subject != "" && strings.Contains(text, q.Subject)) {
			out = append(out, f)
		}
	}
	return out
}

func (w *world) Correspondent(string) (providers.Correspondent, error) { return correspondent{w}, nil }
func (w *world) MailExchange() providers.MailExchange                  { return exchange{w} }
func (w *world) Signatures(string) (providers.Signatures, error)       { return signatures{w}, nil }
func (w *world) Submission(string) (providers.Submission, error) {
	if !w.post.submits {
		return nil, nil
	}
	return submission{w}, nil
}

func (h host) Find(_ context.Context, a providers.Account, q providers.Query) ([]providers.Found, error) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	if h.source {
		return lookFor(h.w.post.source[a.Address], q), nil
	}
	return lookFor(h.w.post.target[a.Address], q), nil
}

// carry is what a pass does with the mail of the probes.
func (p *post) carry(address string) {
	for _, f := range p.source[address] {
		if f.At.After(time.Now()) {
			continue
		}
		there := false
		for _, t := range p.target[address] {
			there = there || string(t.Octets) == string(f.Octets)
		}
		if !there {
			p.target[address] = append(p.target[address], f)
			if p.twice {
				p.target[address] = append(p.target[address], f)
			}
		}
	}
}

type correspondent struct{ w *world }

func (c correspondent) Address() string             { return outsideAddress }
func (c correspondent) Check(context.Context) error { return c.w.post.outError }
func (c correspondent) Send(_ context.Context, m providers.Mail) error {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if c.w.dead {
		return errDied
	}
	p := &c.w.post
	p.sends = append(p.sends, "in "+m.To)
	f := found(m, "", time.Now().Add(p.delay))
	switch {
	case p.loses:
	case p.byOld > 0:
		p.byOld--
		p.source[m.To] = append(p.source[m.To], f)
		p.carry(m.To)
	default:
		p.target[m.To] = append(p.target[m.To], f)
	}
	return nil
}
func (c correspondent) Find(_ context.Context, q providers.Query) ([]providers.Found, error) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	return lookFor(c.w.post.outside, q), nil
}

type exchange struct{ w *world }

func (x exchange) Deliver(_ context.Context, server string, m providers.Mail) error {
	x.w.mu.Lock()
	defer x.w.mu.Unlock()
	if x.w.dead {
		return errDied
	}
	p := &x.w.post
	if p.refusal != nil {
		return p.refusal
	}
	p.sends = append(p.sends, "old "+m.To+" by "+server)
	p.source[m.To] = append(p.source[m.To], found(m, "", time.Now().Add(p.delay)))
	return nil
}

type submission struct{ w *world }

func (s submission) Check(context.Context, providers.Account) error { return nil }
func (s submission) Send(_ context.Context, a providers.Account, m providers.Mail) error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.w.dead {
		return errDied
	}
	p := &s.w.post
	p.sends = append(p.sends, "out "+a.Address)
	p.outside = append(p.outside, found(m, p.results, time.Now().Add(p.delay)))
	return nil
}

type signatures struct{ w *world }

func (s signatures) Verify(context.Context, []byte) ([]providers.Signature, error) {
	return s.w.post.signed, nil
}
