// Package hetzner changes zones over the Hetzner Cloud API, which holds Hetzner's DNS since
// 2025 (https://docs.hetzner.cloud/reference/cloud#zones). The DNS Console's own API is
// another one, and closed.
package hetzner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns"
	"github.com/mxodus/mxodus/providers/dns/hosted"
)

// Endpoint is the base URL of the API.
const Endpoint = "https://api.hetzner.cloud/v1"

const name = "Hetzner"

// The API takes 3,600 requests an hour and project.
const (
	every = time.Second
	burst = 60
)

// NewZone makes the zone of that canonical name. It touches no network and resolves no
// secret. endpoint "" is Hetzner's own. The secret is a token of the project that holds the zone,
// with read and write access.
func NewZone(zone, endpoint string, ref plan.SecretRef, secrets providers.Secrets, clock providers.Clock) (*hosted.Zone, error) {
	zone, err := dns.Name(zone)
	if err != nil {
		return nil, err
	}
	if endpoint == "" {
		endpoint = Endpoint
	}
	a := &api{zone: zone, clock: clock, client: &hosted.Client{
		Base: strings.TrimRight(endpoint, "/"), At: name, Credentials: ref, Secrets: secrets, Clock: clock,
		Authorize: func(h http.Header, secret string) { h.Set("Authorization", "Bearer "+secret) },
		Words:     words, Every: every, Burst: burst,
	}}
	return &hosted.Zone{Name: zone, At: name, Host: a, Clock: clock}, nil
}

// words are those of {"error": {"code", "message"}}.
func words(body []byte) string {
	var e struct {
		Error struct{ Code, Message string }
	}
	if json.Unmarshal(body, &e) != nil || e.Error.Code == "" {
		return ""
	}
	return e.Error.Code + ": " + e.Error.Message
}

// api is one zone at Hetzner.
type api struct {
	zone   string // canonical
	client *hosted.Client
	clock  providers.Clock
}

// Features: sets are changed one by one.
func (a *api) Features() providers.ZoneFeatures { return providers.ZoneFeatures{MinimumTTL: 60} }

// Skew implements providers.Timekeeper.
func (a *api) Skew() (time.Duration, bool) { return a.client.Skew() }

// Check implements hosted.Host.
func (a *api) Check(set plan.RRset) error {
	return hosted.OnlyTypes(set, "A", "AAAA", "CAA", "CNAME", "DS", "HINFO", "HTTPS", "MX", "NS", "PTR", "RP", "SRV", "SVCB", "TLSA", "TXT")
}

// path begins at the zone, which the API takes by name as well as by number.
func (a *api) path() string { return "/zones/" + url.PathEscape(hosted.Undotted(a.zone)) }

func (a *api) setPath(set plan.RRset) string {
	return a.path() + "/rrsets/" + url.PathEscape(dns.Relative(set.Name, a.zone)) + "/" + set.Type
}

type rrset struct {
	Name       string  `json:"name"` // relative, "@" for the zone itself
	Type       string  `json:"type"`
	TTL        *uint32 `json:"ttl"` // null = the zone's
	Records    []value `json:"records"`
	Protection struct {
		Change bool `json:"change"`
	} `json:"protection"`
}

type value struct {
	Value string `json:"value"`
}

// List implements hosted.Host.
func (a *api) List(ctx context.Context) ([]hosted.Record, error) {
	var z struct {
		Zone struct {
			Name string
			Mode string
			TTL  uint32
		}
	}
	const op = "read zone"
	if err := a.client.Do(ctx, op, http.MethodGet, a.path(), nil, &z); err != nil {
		if hosted.StatusOf(err) == http.StatusNotFound {
			return nil, hosted.NoZone(a.zone, name, err)
		}
		return nil, err
	}
	if n, err := dns.Name(z.Zone.Name); err != nil || n != a.zone {
		return nil, a.client.Unreadable(a.zone, fmt.Errorf("the answer is about the zone %q", z.Zone.Name))
	}
	if z.Zone.Mode == "secondary" {
		return nil, &providers.Error{
			Op: op, Subject: dns.Readable(a.zone) + " at " + name, Reason: providers.Refused,
			Err: errors.New("Hetzner is a secondary of the zone"), Remedy: "change the records at the zone's primary",
		}
	}
	var list []hosted.Record
	seen := map[string]bool{} // a set that comes twice is one
	page := 1
	for n := 1; n <= hosted.MaxPages && len(list) <= hosted.MaxRecords; n++ {
		var p struct {
			RRsets []rrset `json:"rrsets"`
			Meta   struct {
				Pagination struct {
					Next  *int `json:"next_page"`
					Total int  `json:"total_entries"`
				}
			}
		}
		if err := a.client.Do(ctx, op, http.MethodGet, fmt.Sprintf("%s/rrsets?page=%d&per_page=50", a.path(), page), nil, &p); err != nil {
			return nil, err
		}
		if p.RRsets == nil {
			return nil, a.client.Unreadable(a.zone, hosted.ErrNoList)
		}
		for _, s := range p.RRsets {
			if seen[s.Name+" "+s.Type] {
				continue
			}
			seen[s.Name+" "+s.Type] = true
			if s.Records == nil {
				return nil, a.client.Unreadable(a.zone, hosted.ErrNoList)
			}
			n, err := hosted.Absolute(s.Name, a.zone)
			if err != nil {
				return nil, a.client.Unreadable(a.zone, err)
			}
			ttl := z.Zone.TTL
			if s.TTL != nil {
				ttl = *s.TTL
			}
			for _, v := range s.Records {
				h := hosted.Record{Name: n, Type: s.Type, TTL: ttl}
				if s.Protection.Change {
					h.ID = protected
				}
				if h.Data, err = a.read(s.Type, v.Value); err != nil {
					h.Data = v.Value // a type or spelling that isn't managed here stays as it is
				}
				list = append(list, h)
			}
		}
		next := p.Meta.Pagination.Next
		if next == nil {
			return list, hosted.Whole(a.zone, name, len(seen), p.Meta.Pagination.Total)
		}
		if *next <= page {
			return nil, a.client.Unreadable(a.zone, hosted.ErrCircle)
		}
		page = *next
	}
	return nil, a.client.Unreadable(a.zone, hosted.ErrEndless)
}

const protected = "protected"

// read: a host name without a final dot is relative to the zone, as in zone files.
func (a *api) read(typ, v string) (string, error) {
	switch typ {
	case "CNAME", "MX", "NS", "PTR", "SRV":
		if f := strings.Fields(v); len(f) > 0 {
			last := f[len(f)-1]
			if last == "@" {
				f[len(f)-1] = a.zone
			} else if !strings.HasSuffix(last, ".") {
				f[len(f)-1] = last + "." + a.zone
			}
			v = strings.Join(f, " ")
		}
	}
	return dns.Canonical(typ, v)
}

// action is how the API tells about work that it has only begun.
type action struct {
	Action struct {
		ID     int64
		Status string // "running", "success", "error"
		Error  struct{ Code, Message string }
	}
}

// Write implements hosted.Host: sets that go first, since they may make room for others, then one set after the other. Data
// and TTL of a set are two calls; the flip lowers no TTL any more, so there it is one.
func (a *api) Write(ctx context.Context, was []hosted.Record, changes []plan.RRsetChange) error {
	for _, c := range changes {
		for _, r := range was {
			if r.ID == protected && r.Name == c.New.Name && r.Type == c.New.Type {
				return &providers.Error{
					Op: "update zone", Subject: dns.Readable(a.zone) + " at " + name, Reason: providers.Refused,
					Err: fmt.Errorf("%s %s is protected against changes", dns.Readable(r.Name), r.Type), Remedy: "take the protection off in Hetzner's console",
				}
			}
		}
	}
	for _, c := range changes {
		if !c.New.Exists() {
			if err := a.act(ctx, http.MethodDelete, a.setPath(c.New), nil); err != nil {
				return err
			}
		}
	}
	for _, c := range changes {
		if c.New.Exists() {
			if err := a.writeSet(ctx, was, c.New); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *api) writeSet(ctx context.Context, was []hosted.Record, set plan.RRset) error {
	values := make([]value, 0, len(set.Data))
	for _, data := range set.Data {
		values = append(values, value{data})
	}
	stay, gone, come := hosted.Difference(was, plan.RRsetChange{New: set})
	if len(stay)+len(gone) == 0 {
		ttl := set.TTL
		body := map[string]any{"name": dns.Relative(set.Name, a.zone), "type": set.Type, "ttl": ttl, "records": values}
		return a.act(ctx, http.MethodPost, a.path()+"/rrsets", body)
	}
	if len(gone)+len(come) > 0 {
		if err := a.act(ctx, http.MethodPost, a.setPath(set)+"/actions/set_records", map[string]any{"records": values}); err != nil {
			return err
		}
	}
	for _, r := range append(stay, gone...) {
		if r.TTL != set.TTL {
			return a.act(ctx, http.MethodPost, a.setPath(set)+"/actions/change_ttl", map[string]any{"ttl": set.TTL})
		}
	}
	return nil
}

// act calls and waits until the work is done.
func (a *api) act(ctx context.Context, method, path string, body any) error {
	const op = "update zone"
	var w action
	if err := a.client.Do(ctx, op, method, path, body, &w); err != nil {
		return err
	}
	for range 60 {
		switch w.Action.Status {
		case "error":
			return &providers.Error{
				Op: op, Subject: dns.Readable(a.zone) + " at " + name, Reason: providers.Refused,
				Server: w.Action.Error.Code + ": " + w.Action.Error.Message, Remedy: "see what the host says, and its console",
			}
		case "running":
		default:
			return nil
		}
		if err := a.clock.Sleep(ctx, time.Second); err != nil {
			return a.unfinished(err)
		}
		var next action
		if err := a.client.Do(ctx, op, http.MethodGet, fmt.Sprintf("/zones/actions/%d", w.Action.ID), nil, &next); err != nil {
			return a.unfinished(err)
		}
		w = next
	}
	return a.unfinished(errors.New("the work isn't done after a minute"))
}

func (a *api) unfinished(err error) error {
	return &providers.Error{
		Op: "update zone", Subject: dns.Readable(a.zone) + " at " + name, Reason: providers.Uncertain, Err: err,
		Remedy: "read the zone before doing anything else: the update may have been made",
	}
}
