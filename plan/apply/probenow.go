package apply

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// ProbeAnswer is what one message of a probe, sent because somebody asked, showed.
type ProbeAnswer struct {
	ProbeResult
	OK      bool
	Skipped bool   // nothing was sent, and why
	Why     string // when it is not OK, or was skipped
	Remedy  string
}

// ProbeNow sends the mail of a probe and follows it until it is where it has to be or has had its
// time. It journals nothing and runs no pass: mail by the old MX is followed to the source. Before the flip
// nothing can be sent by the new MX.
func (e *Engine) ProbeNow(ctx context.Context, name string) ([]ProbeAnswer, error) {
	var answers []ProbeAnswer
	for _, s := range e.Plan.Steps {
		rest, ok := strings.CutPrefix(s.Address, "validate/probe/")
		probe, way, _ := strings.Cut(rest, "/")
		if !ok || probe != name {
			continue
		}
		list, err := e.probeStepNow(ctx, s, way)
		if err != nil {
			return answers, err
		}
		answers = append(answers, list...)
	}
	return answers, nil
}

func (e *Engine) probeStepNow(ctx context.Context, s plan.Step, way string) ([]ProbeAnswer, error) {
	domain, outbound := strings.CutPrefix(way, "outbound/")
	short := map[string]string{"": wayIn, wayOld: wayOld}[way]
	if outbound {
		short = wayOut
	}
	at := ProbeResult{Probe: strings.Split(s.Address, "/")[2], Way: short, Mailbox: domain}
	switch {
	case s.Action == plan.ByHand:
		pr := e.Prove(ctx, s)
		return []ProbeAnswer{{ProbeResult: at, OK: pr.Proven, Skipped: !pr.Proven, Why: pr.Words, Remedy: strings.Join(s.Detail, "; ")}}, nil
	case way == "" && e.Record.Flipped().IsZero():
		return []ProbeAnswer{{ProbeResult: at, OK: true, Skipped: true, Why: "the MX has not moved yet"}}, nil
	}
	var mu sync.Mutex
	seen := map[string]ProbeResult{}
	p := &probing{
		e: e, reading: true,
		known: func(key string) ProbeResult {
			mu.Lock()
			defer mu.Unlock()
			return seen[key]
		},
		save: func(_ context.Context, r ProbeResult) error {
			mu.Lock()
			defer mu.Unlock()
			seen[r.key()] = r
			return nil
		},
		fresh: func(ProbeResult) bool { return false }, // one attempt
	}
	for {
		results, err := p.look(ctx, s.Address)
		later, pending := errors.AsType[*pendingError](err)
		if !pending {
			var list []ProbeAnswer
			for _, r := range results {
				list = append(list, ProbeAnswer{ProbeResult: r, OK: r.OK(), Why: r.Failed})
			}
			if len(list) == 0 && err != nil {
				list = append(list, ProbeAnswer{ProbeResult: at, Why: err.Error()})
			}
			if e, ok := errors.AsType[*providers.Error](err); ok {
				for i := range list {
					if !list[i].OK {
						list[i].Remedy = e.Remedy
					}
				}
			}
			return list, ctx.Err()
		}
		if err := e.Clock.Sleep(ctx, max(pollMin, later.next.Sub(e.Clock.Now()))); err != nil {
			return nil, err
		}
	}
}
