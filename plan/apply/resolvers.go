package apply

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// resolverPace is how often a resolver is asked at most, and resolverEnd how long
// after the flip its caches are of interest: serve-stale keeps answers for days (RFC
// 8767), and the hold watches what still goes to the source.
const (
	resolverPace = 5 * time.Second
	resolverEnd  = 48 * time.Hour
)

// watchResolvers asks the resolvers that the configuration names for the records of the
// flip, until each has the new ones, and journals what changes in what they say. They are
// asked only for what every authoritative server serves already: asking earlier would
// leave the old answer, or that there is none, in their caches (RFC 2308).
func (e *Engine) watchResolvers(ctx context.Context, now time.Time) error {
	if e.Plan.Rollback != "" || now.Before(e.resolversAt) {
		return nil
	}
	for _, s := range e.Plan.Steps {
		st := e.Record.State(s.Address)
		if !flipsRecord(s) || len(s.To) == 0 || st.Seen.IsZero() || now.Sub(st.Seen) > resolverEnd || len(st.Resolvers) > 0 && len(st.ResolverFits) == len(st.Resolvers) {
			continue
		}
		e.resolversAt = now.Add(resolverPace)
		views, err := e.askResolvers(ctx, s)
		if err != nil || len(views) == 0 || sameViews(st.Resolvers, views) {
			continue // what can't be asked holds nothing up
		}
		if err := e.note(ctx, stepEntry(s.Address, evResolvers, entryData{Views: views})); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) askResolvers(ctx context.Context, s plan.Step) ([]ServerView, error) {
	at, err := parseDNS(s.Address)
	if err != nil {
		return nil, err
	}
	r, err := planned(s, at)
	if err != nil {
		return nil, err
	}
	ns, err := e.Systems.NameServers(at.domain)
	if err != nil {
		return nil, err
	}
	resolvers := ns.Observed()
	list := make([]ServerView, len(resolvers))
	var asked sync.WaitGroup
	for i, server := range resolvers {
		asked.Go(func() {
			ans, err := ns.Ask(ctx, server, at.fqdn(), at.typ)
			list[i] = resolverView(server, e.Clock.Now(), ans, err, r.want)
		})
	}
	asked.Wait()
	return list, ctx.Err()
}

// resolverView judges one answer. TTLs count down in a cache and take no part.
func resolverView(server string, at time.Time, ans providers.Answer, err error, want plan.RRset) ServerView {
	v := ServerView{Server: server, At: at}
	switch {
	case err != nil:
		v.Kind, v.Words = Silent, "no answer"
	case ans.Rcode != "NOERROR" && ans.Rcode != "NXDOMAIN":
		v.Kind, v.Words = Failing, ans.Rcode
	case ans.Set.SameData(want):
		v.Kind = Converged
	default:
		v.Kind = Lagging
	}
	for _, data := range ans.Set.Data {
		v.Lines = append(v.Lines, fmt.Sprintf("%s %s", ans.Set.Type, data))
	}
	return v
}

// RecordServers is how far one record of the flip has come into the world.
type RecordServers struct {
	Step    string
	Servers []SeenServer // authoritative ones, then the observed resolvers
}

// SeenServer is what one server said last. Since is when it began to serve what is
// wanted, zero while it doesn't.
type SeenServer struct {
	ServerView
	Resolver bool
	Since    time.Time
}

// Convergence is what each server says of each record of the flip that was written.
func (e *Engine) Convergence() []RecordServers {
	var list []RecordServers
	for _, s := range e.Plan.Steps {
		st := e.Record.State(s.Address)
		if !flipsRecord(s) || st.Applied.IsZero() || len(st.Servers) == 0 {
			continue
		}
		r := RecordServers{Step: s.Address}
		for _, v := range st.Servers {
			r.Servers = append(r.Servers, SeenServer{ServerView: v, Since: st.Fits[v.Server]})
		}
		for _, v := range st.Resolvers {
			r.Servers = append(r.Servers, SeenServer{ServerView: v, Resolver: true, Since: st.ResolverFits[v.Server]})
		}
		list = append(list, r)
	}
	return list
}
