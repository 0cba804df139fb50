package ionos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns"
	"github.com/mxodus/mxodus/providers/dns/hosted"
)

// api is one zone at IONOS.
type api struct {
	zone   string // canonical
	client *hosted.Client

	mu sync.Mutex
	id string // of the zone, once it was found
}

// Features: the API refuses TTLs below a minute. One PATCH replaces several sets,
// but that it does all of them or none is promised nowhere.
func (a *api) Features() providers.ZoneFeatures { return providers.ZoneFeatures{MinimumTTL: 60} }

// Skew implements providers.Timekeeper.
func (a *api) Skew() (time.Duration, bool) { return a.client.Skew() }

// Check implements hosted.Host.
func (a *api) Check(set plan.RRset) error {
	if !slices.Contains(types, set.Type) {
		return unserved()
	}
	return nil
}

type zone struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Type    string   `json:"type"`
	Records []record `json:"records,omitempty"`
}

type record struct {
	ID       string `json:"id,omitempty"`
	Name     string `json:"name"` // absolute, without the final dot
	Type     string `json:"type"`
	Content  string `json:"content"`
	TTL      uint32 `json:"ttl"`
	Prio     uint16 `json:"prio"` // preference of MX, priority of SRV
	Disabled bool   `json:"disabled"`
}

// find lists the account's zones and takes the one of exactly that name: asking for
// a zone by name is documented nowhere, and an end that matches is another zone.
func (a *api) find(ctx context.Context) (string, error) {
	a.mu.Lock()
	id := a.id
	a.mu.Unlock()
	if id != "" {
		return id, nil
	}
	var zones []zone
	if err := a.client.Do(ctx, "list zones", http.MethodGet, "/zones", nil, &zones); err != nil {
		return "", err
	}
	if zones == nil {
		return "", a.client.Unreadable(a.zone, errors.New("the answer holds no list of zones"))
	}
	for _, z := range zones {
		if n, err := dns.Name(z.Name); err != nil || n != a.zone || z.ID == "" {
			continue
		}
		if strings.EqualFold(z.Type, "SLAVE") {
			return "", &providers.Error{
				Op: "find zone", Subject: dns.Readable(a.zone) + " at " + name, Reason: providers.Refused,
				Err: errors.New("IONOS serves the zone as a secondary"), Remedy: "change the records at the zone's primary",
			}
		}
		a.mu.Lock()
		a.id = z.ID
		a.mu.Unlock()
		return z.ID, nil
	}
	return "", &providers.Error{
		Op: "find zone", Subject: dns.Readable(a.zone) + " at " + name, Reason: providers.NotFound,
		Err:    fmt.Errorf("none of the account's %d zones has that name", len(zones)),
		Remedy: "see whether the key is of the account that holds the domain, and whether the domain uses IONOS' name servers",
	}
}

// do is a call on the zone. IONOS answers 401 for a zone that is not the account's or no longer
// on its name servers, where another host would say 404.
func (a *api) do(ctx context.Context, op, method, path string, in, out any) error {
	id, err := a.find(ctx)
	if err != nil {
		return err
	}
	err = a.client.Do(ctx, op, method, "/zones/"+url.PathEscape(id)+path, in, out)
	if status := hosted.StatusOf(err); status == http.StatusUnauthorized || status == http.StatusNotFound {
		a.mu.Lock()
		a.id = ""
		a.mu.Unlock()
		if e, ok := errors.AsType[*providers.Error](err); ok && status == http.StatusUnauthorized {
			e.Reason = providers.Refused
			e.Remedy = "the key has listed the zone, and may not use it: see whether the domain still uses IONOS' name servers and belongs to the key's account"
		}
	}
	return err
}

// List implements hosted.Host.
func (a *api) List(ctx context.Context) ([]hosted.Record, error) {
	const op = "read zone"
	var z zone
	if err := a.do(ctx, op, http.MethodGet, "", nil, &z); err != nil {
		return nil, err
	}
	if n, err := dns.Name(z.Name); err != nil || n != a.zone {
		return nil, &providers.Error{
			Op: op, Subject: dns.Readable(a.zone) + " at " + name, Reason: providers.Protocol,
			Err: fmt.Errorf("the answer is about the zone %q", z.Name), Remedy: "try again; nothing was changed",
		}
	}
	if z.Records == nil {
		return nil, a.client.Unreadable(a.zone, hosted.ErrNoList)
	}
	list := make([]hosted.Record, 0, len(z.Records))
	for _, r := range z.Records {
		h, err := read(r)
		if err != nil {
			return nil, &providers.Error{
				Op: op, Subject: dns.Readable(a.zone) + " at " + name, Reason: providers.Protocol, Err: err,
				Remedy: "see the record in IONOS' panel",
			}
		}
		list = append(list, h)
	}
	return list, nil
}

// Write implements hosted.Host. One PATCH replaces all sets that have records
// afterwards; sets that end have to be deleted record by record, before it, because they may
// make room for a CNAME or for what a CNAME kept away.
//
// PUT on a zone, which replaces everything in it, is never used.
func (a *api) Write(ctx context.Context, was []hosted.Record, changes []plan.RRsetChange) error {
	var patch []record
	for _, c := range changes {
		of := func(r hosted.Record) bool { return r.Name == c.New.Name && r.Type == c.New.Type }
		if !c.New.Exists() {
			for _, r := range was {
				if of(r) && !r.Disabled {
					if err := a.delete(ctx, r.ID); err != nil {
						return err
					}
				}
			}
			continue
		}
		for _, data := range c.New.Data {
			r, err := write(c.New, data)
			if err != nil {
				return err
			}
			patch = append(patch, r)
		}
		// Disabled records of the set are what somebody may want back: they stay, disabled.
		for _, r := range was {
			if of(r) && r.Disabled && !slices.Contains(c.New.Data, r.Data) {
				kept, err := write(plan.RRset{Name: r.Name, Type: r.Type, TTL: r.TTL}, r.Data)
				if err != nil {
					return err
				}
				kept.Disabled = true
				patch = append(patch, kept)
			}
		}
	}
	if len(patch) == 0 {
		return nil
	}
	return a.do(ctx, "update zone", http.MethodPatch, "", patch, nil)
}

func (a *api) delete(ctx context.Context, id string) error {
	err := a.do(ctx, "delete record", http.MethodDelete, "/records/"+url.PathEscape(id), nil, nil)
	if hosted.StatusOf(err) == http.StatusNotFound {
		return nil // gone already, which is what was wanted
	}
	return err
}

// read turns IONOS' form into ours: MX and SRV have their first number apart, host names have no
// final dot, and TXT comes in quotes.
func read(r record) (hosted.Record, error) {
	out := hosted.Record{ID: r.ID, Type: strings.ToUpper(r.Type), TTL: r.TTL, Disabled: r.Disabled}
	var err error
	if out.Name, err = dns.Name(r.Name); err != nil {
		return out, err
	}
	data := r.Content
	switch out.Type {
	case "MX", "SRV":
		data = fmt.Sprintf("%d %s", r.Prio, absolute(data))
	case "CNAME", "NS":
		data = absolute(data)
	}
	if out.Data, err = dns.Canonical(out.Type, data); err != nil {
		if slices.Contains(types, out.Type) {
			return out, fmt.Errorf("%s %s: %w", r.Name, r.Type, err)
		}
		out.Data = data // a type that isn't managed here stays as IONOS has it
	}
	return out, nil
}

// absolute adds the final dot that IONOS leaves out.
func absolute(host string) string {
	if strings.HasSuffix(host, ".") {
		return host
	}
	return host + "."
}

// write is the way back.
func write(set plan.RRset, data string) (record, error) {
	r := record{Name: strings.TrimSuffix(set.Name, "."), Type: set.Type, TTL: set.TTL, Content: data}
	switch set.Type {
	case "MX", "SRV":
		number, rest, _ := strings.Cut(data, " ")
		if _, err := fmt.Sscanf(number, "%d", &r.Prio); err != nil {
			return r, fmt.Errorf("%q is no %s record", data, set.Type)
		}
		r.Content = relative(rest)
	case "CNAME", "NS":
		r.Content = relative(data)
	case "TXT":
		// Short plain texts go as every client in the field sends them. The rest goes in
		// presentation form, so that the strings are cut here and nothing is left to guess.
		if text := dns.Display("TXT", data); text != data && len(text) <= 255 && !strings.ContainsAny(text, `"\`) && text == strings.TrimSpace(text) && text != "" {
			r.Content = text
		}
	}
	return r, nil
}

// relative takes the final dot off, but not off the root (the null MX, RFC 7505).
func relative(host string) string {
	if host == "." || strings.HasSuffix(host, " .") {
		return host
	}
	return strings.TrimSuffix(host, ".")
}
