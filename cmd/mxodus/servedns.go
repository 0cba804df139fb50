package main

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns"
)

// viewRecord is a record set that the plan changes, and how far each name server is.
type viewRecord struct {
	Domain, Name, Type string
	Before, After      []string
	Cells              []viewServer
}

// viewServer is what one server says of a record set.
type viewServer struct {
	Server string
	State  string // "old", "new", "other", "silent"
	Words  string
	TTL    uint32
}

// watchEvery is how often the name servers are asked while somebody looks.
const watchEvery = 10 * time.Second

// nameServerWatch asks the authoritative servers and the resolvers to watch. It is used from one
// goroutine at a time.
type nameServerWatch struct {
	at      time.Time
	records []viewRecord
	servers []string
}

// look returns what the servers serve, at most watchEvery old, and when it was asked.
func (w *nameServerWatch) look(ctx context.Context, a *app, m *plan.Migration, p *plan.Plan, loc *time.Location) ([]viewRecord, []string, string) {
	now := a.clock.Now()
	if w.at.IsZero() || now.Sub(w.at) >= watchEvery || now.Before(w.at) {
		ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
		defer cancel()
		w.records, w.servers = observeRecords(ctx, a.clock, m, p)
		w.at = now
	}
	return w.records, w.servers, w.at.In(loc).Format("15:04:05")
}

// changedRecords are the record sets that the plan's flip changes, from what to what.
func changedRecords(p *plan.Plan) []viewRecord {
	var list []viewRecord
	for _, s := range p.Steps {
		parts := strings.Split(s.Address, "/")
		if parts[0] == "dns" && len(parts) == 4 {
			list = append(list, viewRecord{Domain: parts[1], Type: parts[2], Name: parts[3], Before: s.From, After: s.To})
		}
	}
	return list
}

func observeRecords(ctx context.Context, clock providers.Clock, m *plan.Migration, p *plan.Plan) ([]viewRecord, []string) {
	list := changedRecords(p)
	servers := map[string][]string{} // by domain
	var all []string
	observers := map[string]*dns.NameServers{}
	for _, d := range m.Domains {
		cfg, ok := m.Zone(d.Zone)
		if !ok {
			continue
		}
		ns := dns.NewNameServers(cfg, clock)
		found, err := ns.Authoritative(ctx, d.Name)
		if err != nil {
			continue
		}
		observers[d.Name], servers[d.Name] = ns, append(found, ns.Observed()...)
		all = append(all, servers[d.Name]...)
	}
	var asking sync.WaitGroup
	for i := range list {
		r := &list[i]
		r.Cells = make([]viewServer, len(servers[r.Domain]))
		for j, server := range servers[r.Domain] {
			asking.Go(func() { r.Cells[j] = serverSays(ctx, observers[r.Domain], server, *r) })
		}
	}
	asking.Wait()
	slices.Sort(all)
	return list, slices.Compact(all)
}

func serverSays(ctx context.Context, ns *dns.NameServers, server string, r viewRecord) viewServer {
	name := r.Domain + "."
	if r.Name != "@" {
		name = r.Name + "." + name
	}
	ans, err := ns.Ask(ctx, server, name, r.Type)
	cell := viewServer{Server: server, TTL: ans.Set.TTL, State: "silent", Words: "no answer"}
	if err != nil {
		return cell
	}
	now := bare(ans.Set.Lines())
	switch {
	case slices.Equal(now, bare(r.After)):
		cell.State, cell.Words = "new", "new"
	case slices.Equal(now, bare(r.Before)):
		cell.State, cell.Words = "old", "as before"
	default:
		cell.State, cell.Words = "other", strings.Join(ans.Set.Data, ", ")
		if !ans.Set.Exists() {
			cell.Words = "nothing"
		}
	}
	return cell
}

// bare are lines of a plan without their TTL, sorted: only the data tell old from new.
func bare(lines []string) []string {
	out := make([]string, 0, len(lines))
	for _, l := range lines {
		_, rest, _ := strings.Cut(l, " ")
		out = append(out, rest)
	}
	slices.Sort(out)
	return out
}
