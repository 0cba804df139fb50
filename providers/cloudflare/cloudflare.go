// Package cloudflare changes zones over the Cloudflare API, version 4
// (https://developers.cloudflare.com/api/resources/dns/).
package cloudflare

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns"
	"github.com/mxodus/mxodus/providers/dns/hosted"
)

// Endpoint is the base URL of the API.
const Endpoint = "https://api.cloudflare.com/client/v4"

const name = "Cloudflare"

// The API takes 1,200 requests in five minutes, for the whole account.
const (
	every = 250 * time.Millisecond
	burst = 40
)

// automatic is the TTL 1, which means 300 seconds; proxied records always have it.
const (
	automatic    = 1
	automaticTTL = 300
)

// NewZone makes the zone of that canonical name. It touches no network and resolves no
// secret. endpoint "" is Cloudflare's own. The secret is an API token that may read the zone and
// edit its DNS.
func NewZone(zone, endpoint string, ref plan.SecretRef, secrets providers.Secrets, clock providers.Clock) (*hosted.Zone, error) {
	zone, err := dns.Name(zone)
	if err != nil {
		return nil, err
	}
	if endpoint == "" {
		endpoint = Endpoint
	}
	a := &api{zone: zone, client: &hosted.Client{
		Base: strings.TrimRight(endpoint, "/"), At: name, Credentials: ref, Secrets: secrets, Clock: clock,
		Authorize: func(h http.Header, secret string) { h.Set("Authorization", "Bearer "+secret) },
		Words:     words, Reason: reason, Every: every, Burst: burst,
	}}
	return &hosted.Zone{Name: zone, At: name, Host: a, Clock: clock}, nil
}

type fault struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Chain   []struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error_chain"`
}

func faults(body []byte) []fault {
	var e struct {
		Errors []fault `json:"errors"`
	}
	if json.Unmarshal(body, &e) != nil {
		return nil
	}
	return e.Errors
}

func words(body []byte) string {
	var said []string
	for _, f := range faults(body) {
		said = append(said, fmt.Sprintf("%d: %s", f.Code, f.Message))
		for _, c := range f.Chain {
			said = append(said, fmt.Sprintf("%d: %s", c.Code, c.Message))
		}
	}
	return strings.Join(said, "; ")
}

// reason: a bad token comes as 400 or 403 with these codes.
func reason(_ int, body []byte) providers.Reason {
	if slices.ContainsFunc(faults(body), func(f fault) bool { return slices.Contains([]int{6003, 9103, 9106, 9109, 10000, 10001}, f.Code) }) {
		return providers.Authentication
	}
	return ""
}

// api is one zone at Cloudflare.
type api struct {
	zone   string // canonical
	client *hosted.Client
	id     hosted.ID
}

// Features: a batch is one transaction. Its propagation isn't: each record reaches the name servers by itself.
func (a *api) Features() providers.ZoneFeatures {
	return providers.ZoneFeatures{Atomic: true, MinimumTTL: 60, MaximumTTL: 86400}
}

// Skew implements providers.Timekeeper.
func (a *api) Skew() (time.Duration, bool) { return a.client.Skew() }

// Check implements hosted.Host.
func (a *api) Check(set plan.RRset) error {
	return hosted.OnlyTypes(set, "A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TLSA", "TXT")
}

type page struct {
	Result json.RawMessage `json:"result"`
	Info   struct {
		Page       int `json:"page"`
		TotalPages int `json:"total_pages"`
		Total      int `json:"total_count"`
	} `json:"result_info"`
}

func (a *api) find(ctx context.Context) (string, error) {
	return a.id.Get(func() (string, error) {
		var p page
		err := a.client.Do(ctx, "find zone", http.MethodGet, "/zones?name="+url.QueryEscape(hosted.Undotted(a.zone)), nil, &p)
		if err != nil {
			return "", err
		}
		var zones []struct{ ID, Name, Type string }
		if err := json.Unmarshal(p.Result, &zones); err != nil {
			return "", a.client.Unreadable(a.zone, err)
		}
		if zones == nil {
			return "", a.client.Unreadable(a.zone, hosted.ErrNoList)
		}
		for _, z := range zones {
			if n, err := dns.Name(z.Name); err == nil && n == a.zone && z.ID != "" {
				return z.ID, nil
			}
		}
		return "", hosted.NoZone(a.zone, name, nil)
	})
}

type record struct {
	ID       string          `json:"id,omitempty"`
	Name     string          `json:"name"`
	Type     string          `json:"type"`
	Content  string          `json:"content,omitempty"`
	Priority *uint16         `json:"priority,omitempty"`
	Data     json.RawMessage `json:"data,omitempty"`
	TTL      uint32          `json:"ttl"`
	Proxied  bool            `json:"proxied,omitempty"`
}

const perPage = 500

// List implements hosted.Host. The ID of a proxied record ends in " proxied", which Write knows.
func (a *api) List(ctx context.Context) ([]hosted.Record, error) {
	id, err := a.find(ctx)
	if err != nil {
		return nil, err
	}
	var list []hosted.Record
	seen := map[string]bool{} // a record that comes twice is one
	for n := 1; n <= hosted.MaxPages && len(list) <= hosted.MaxRecords; n++ {
		var p page
		path := fmt.Sprintf("/zones/%s/dns_records?per_page=%d&page=%d", url.PathEscape(id), perPage, n)
		if err := a.client.Do(ctx, "read zone", http.MethodGet, path, nil, &p); err != nil {
			a.id.Forget(err)
			return nil, err
		}
		var records []record
		if err := json.Unmarshal(p.Result, &records); err != nil {
			return nil, a.client.Unreadable(a.zone, err)
		}
		if records == nil {
			return nil, a.client.Unreadable(a.zone, hosted.ErrNoList)
		}
		for _, r := range records {
			h, err := read(r)
			if err != nil {
				return nil, a.client.Unreadable(a.zone, err)
			}
			if !seen[r.ID] {
				list = append(list, h)
			}
			seen[r.ID] = true
		}
		if n >= p.Info.TotalPages {
			return list, hosted.Whole(a.zone, name, len(list), p.Info.Total)
		}
	}
	return nil, a.client.Unreadable(a.zone, hosted.ErrEndless)
}

const proxied = " proxied"

// read turns Cloudflare's form into ours: MX has its preference apart, host names have no final dot, and
// SRV, CAA and TLSA come in parts as well as in one.
func read(r record) (hosted.Record, error) {
	out := hosted.Record{ID: r.ID, Type: r.Type, TTL: r.TTL}
	if r.TTL == automatic {
		out.TTL = automaticTTL
	}
	if r.Proxied {
		out.ID += proxied
	}
	var err error
	if out.Name, err = dns.Name(r.Name); err != nil {
		return out, err
	}
	data := r.Content
	switch r.Type {
	case "CNAME", "NS":
		data = hosted.Dotted(data)
	case "MX":
		if r.Priority == nil {
			return out, fmt.Errorf("the MX %q has no priority", data)
		}
		data = fmt.Sprintf("%d %s", *r.Priority, hosted.Dotted(data))
	case "SRV":
		var d struct {
			Priority, Weight, Port uint16
			Target                 string
		}
		if err := json.Unmarshal(r.Data, &d); err != nil {
			return out, fmt.Errorf("SRV %s: %w", r.Name, err)
		}
		data = fmt.Sprintf("%d %d %d %s", d.Priority, d.Weight, d.Port, hosted.Dotted(d.Target))
	case "CAA":
		var d struct {
			Flags      uint8
			Tag, Value string
		}
		if err := json.Unmarshal(r.Data, &d); err != nil {
			return out, fmt.Errorf("CAA %s: %w", r.Name, err)
		}
		data = fmt.Sprintf("%d %s %s", d.Flags, d.Tag, hosted.Quoted(d.Value))
	case "TXT":
		// Records from before quotes were shown come without them.
		if !strings.HasPrefix(data, `"`) {
			data = hosted.Quoted(data)
		}
	}
	if out.Data, err = dns.Canonical(r.Type, data); err != nil {
		out.Data = data // a type or spelling that isn't managed here stays as it is
	}
	return out, nil
}

// write is the way back.
func write(set plan.RRset, data string) (record, error) {
	r := record{Name: hosted.Undotted(set.Name), Type: set.Type, TTL: set.TTL, Content: data}
	f := strings.Fields(data)
	number := func(i int) uint16 {
		n, _ := strconv.ParseUint(f[i], 10, 16) // data is canonical
		return uint16(n)
	}
	parts := func(want int, v any) error {
		if len(f) < want {
			return fmt.Errorf("%q is no %s record", data, set.Type)
		}
		r.Content = ""
		var err error
		r.Data, err = json.Marshal(v)
		return err
	}
	var err error
	switch set.Type {
	case "CNAME", "NS":
		r.Content = hosted.Undotted(data)
	case "MX":
		if len(f) != 2 {
			return r, fmt.Errorf("%q is no MX record", data)
		}
		n := number(0)
		r.Priority, r.Content = &n, hosted.Undotted(f[1])
	case "SRV":
		if len(f) != 4 {
			return r, fmt.Errorf("%q is no SRV record", data)
		}
		n := number(0)
		r.Priority = &n
		err = parts(4, map[string]any{"priority": n, "weight": number(1), "port": number(2), "target": hosted.Undotted(f[3])})
	case "CAA":
		if len(f) < 3 {
			return r, fmt.Errorf("%q is no CAA record", data)
		}
		var value string
		if value, err = plan.TXTText(strings.SplitN(data, " ", 3)[2]); err == nil {
			err = parts(3, map[string]any{"flags": number(0), "tag": f[1], "value": value})
		}
	case "TLSA":
		if len(f) != 4 {
			return r, fmt.Errorf("%q is no TLSA record", data)
		}
		err = parts(4, map[string]any{"usage": number(0), "selector": number(1), "matching_type": number(2), "certificate": f[3]})
	}
	return r, err
}

type batch struct {
	Deletes []identified `json:"deletes,omitempty"`
	Patches []retimed    `json:"patches,omitempty"`
	Puts    []record     `json:"puts,omitempty"`
	Posts   []record     `json:"posts,omitempty"`
}

type identified struct {
	ID string `json:"id"`
}

type retimed struct {
	ID  string `json:"id"`
	TTL uint32 `json:"ttl"`
}

// Write implements hosted.Host with one batch. A record that takes another's place overwrites it, so
// that even server by server there is no moment without either.
func (a *api) Write(ctx context.Context, was []hosted.Record, changes []plan.RRsetChange) error {
	var b batch
	for _, c := range changes {
		stay, gone, come := hosted.Difference(was, c)
		for _, r := range stay {
			if r.TTL == c.New.TTL {
				continue
			}
			if strings.HasSuffix(r.ID, proxied) {
				return &providers.Error{
					Op: "update zone", Subject: dns.Readable(a.zone) + " at " + name, Reason: providers.Refused,
					Err:    fmt.Errorf("%s %s is proxied by Cloudflare, where the TTL is always %d", dns.Readable(r.Name), r.Type, automaticTTL),
					Remedy: "switch the record to \"DNS only\", or leave it out of the migration",
				}
			}
			b.Patches = append(b.Patches, retimed{r.ID, c.New.TTL})
		}
		pairs := min(len(gone), len(come))
		for i, data := range come {
			r, err := write(c.New, data)
			if err != nil {
				return err
			}
			if i < pairs {
				r.ID = strings.TrimSuffix(gone[i].ID, proxied)
				b.Puts = append(b.Puts, r)
			} else {
				b.Posts = append(b.Posts, r)
			}
		}
		for _, r := range gone[pairs:] {
			b.Deletes = append(b.Deletes, identified{strings.TrimSuffix(r.ID, proxied)})
		}
	}
	id, err := a.find(ctx)
	if err != nil {
		return err
	}
	err = a.client.Do(ctx, "update zone", http.MethodPost, "/zones/"+url.PathEscape(id)+"/dns_records/batch", b, nil)
	a.id.Forget(err)
	return err
}
