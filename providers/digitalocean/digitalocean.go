// Package digitalocean changes zones over the DigitalOcean API, version 2
// (https://docs.digitalocean.com/reference/api/reference/domain-records/).
package digitalocean

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns"
	"github.com/mxodus/mxodus/providers/dns/hosted"
)

// Endpoint is the base URL of the API.
const Endpoint = "https://api.digitalocean.com/v2"

const name = "DigitalOcean"

// The API takes 5,000 requests an hour and 250 a minute.
const (
	every = 720 * time.Millisecond
	burst = 100
)

// NewZone makes the zone of that canonical name. It touches no network and resolves no
// secret. endpoint "" is DigitalOcean's own. The secret is a token that may read and write domains.
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
		Words:     words, Every: every, Burst: burst,
	}}
	return &hosted.Zone{Name: zone, At: name, Host: a, Clock: clock}, nil
}

// words are those of {"id", "message"}.
func words(body []byte) string {
	var e struct{ ID, Message string }
	if json.Unmarshal(body, &e) != nil || e.Message == "" {
		return ""
	}
	return strings.TrimPrefix(e.ID+": "+e.Message, ": ")
}

// api is one zone at DigitalOcean.
type api struct {
	zone   string // canonical
	client *hosted.Client
}

// Features: records are changed one by one.
func (a *api) Features() providers.ZoneFeatures { return providers.ZoneFeatures{MinimumTTL: 30} }

// Skew implements providers.Timekeeper.
func (a *api) Skew() (time.Duration, bool) { return a.client.Skew() }

// Check implements hosted.Host. What a TXT can hold was found by others with the live service.
func (a *api) Check(set plan.RRset) error {
	if err := hosted.OnlyTypes(set, "A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TXT"); err != nil {
		return err
	}
	for _, data := range set.Data {
		if err := checkData(set.Type, data); err != nil {
			return err
		}
	}
	return nil
}

func checkData(typ, data string) error {
	switch typ {
	case "MX":
		if strings.HasSuffix(data, " .") {
			return errors.New("the host takes no null MX")
		}
	case "CAA":
		if strings.Contains(data, ";") {
			return errors.New("the host takes no CAA value with a semicolon")
		}
	case "TXT":
		text, err := plan.TXTText(data)
		if err != nil {
			return err
		}
		switch {
		case text == "":
			return errors.New("the host takes no TXT without text")
		case len(text) > 512:
			return fmt.Errorf("the host takes texts of 512 octets, and this has %d", len(text))
		case strings.ContainsAny(text, `"\`) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7f }):
			return errors.New("the host takes no quotes, backslashes or characters beyond ASCII in texts")
		case text != strings.TrimSpace(text):
			return errors.New("the host takes no blanks at the ends of texts")
		}
	}
	return nil
}

type record struct {
	ID       int64   `json:"id,omitempty"`
	Type     string  `json:"type"`
	Name     string  `json:"name"` // relative, "@" for the zone itself
	Data     string  `json:"data"`
	Priority *uint16 `json:"priority,omitempty"`
	Port     *uint16 `json:"port,omitempty"`
	Weight   *uint16 `json:"weight,omitempty"`
	TTL      uint32  `json:"ttl"`
	Flags    *uint8  `json:"flags,omitempty"`
	Tag      *string `json:"tag,omitempty"`
}

func (a *api) path() string {
	return "/domains/" + url.PathEscape(hosted.Undotted(a.zone)) + "/records"
}

// List implements hosted.Host. Pages are counted here: the address of the next page that the API
// gives is not followed, since it could lead elsewhere with the token.
func (a *api) List(ctx context.Context) ([]hosted.Record, error) {
	var list []hosted.Record
	seen := map[int64]bool{} // a record that comes twice is one
	for page := 1; page <= hosted.MaxPages && len(list) <= hosted.MaxRecords; page++ {
		var p struct {
			Records []record `json:"domain_records"`
			Links   struct {
				Pages struct {
					Next string `json:"next"`
				} `json:"pages"`
			} `json:"links"`
			Meta struct {
				Total int `json:"total"`
			} `json:"meta"`
		}
		if err := a.client.Do(ctx, "read zone", http.MethodGet, fmt.Sprintf("%s?per_page=200&page=%d", a.path(), page), nil, &p); err != nil {
			if hosted.StatusOf(err) == http.StatusNotFound {
				return nil, hosted.NoZone(a.zone, name, err)
			}
			return nil, err
		}
		if p.Records == nil {
			return nil, a.client.Unreadable(a.zone, hosted.ErrNoList)
		}
		for _, r := range p.Records {
			h, err := a.read(r)
			if err != nil {
				return nil, a.client.Unreadable(a.zone, err)
			}
			if !seen[r.ID] {
				list = append(list, h)
			}
			seen[r.ID] = true
		}
		if p.Links.Pages.Next == "" {
			return list, hosted.Whole(a.zone, name, len(list), p.Meta.Total)
		}
	}
	return nil, a.client.Unreadable(a.zone, hosted.ErrEndless)
}

// host is a host name as the API gives it: without a final dot, "@" for the zone itself.
func (a *api) host(data string) string {
	if data == "@" {
		return a.zone
	}
	return hosted.Dotted(data)
}

func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func (a *api) read(r record) (hosted.Record, error) {
	out := hosted.Record{ID: strconv.FormatInt(r.ID, 10), Type: r.Type, TTL: r.TTL}
	var err error
	if out.Name, err = hosted.Absolute(r.Name, a.zone); err != nil {
		return out, err
	}
	data := r.Data
	switch r.Type {
	case "CNAME", "NS":
		data = a.host(data)
	case "MX":
		data = fmt.Sprintf("%d %s", orZero(r.Priority), a.host(data))
	case "SRV":
		data = fmt.Sprintf("%d %d %d %s", orZero(r.Priority), orZero(r.Weight), orZero(r.Port), a.host(data))
	case "CAA":
		data = fmt.Sprintf("%d %s %s", orZero(r.Flags), orZero(r.Tag), hosted.Quoted(data))
	case "TXT":
		data = hosted.Quoted(data)
	}
	if out.Data, err = dns.Canonical(r.Type, data); err != nil {
		out.Data = data // a type or spelling that isn't managed here stays as it is
	}
	return out, nil
}

func (a *api) write(set plan.RRset, data string) (record, error) {
	r := record{Type: set.Type, Name: dns.Relative(set.Name, a.zone), Data: data, TTL: set.TTL}
	f := strings.Fields(data)
	number := func(i int) *uint16 {
		n, _ := strconv.ParseUint(f[i], 10, 16) // data is canonical
		v := uint16(n)
		return &v
	}
	var err error
	switch {
	case set.Type == "MX" && len(f) == 2:
		r.Priority, r.Data = number(0), f[1]
	case set.Type == "SRV" && len(f) == 4:
		r.Priority, r.Weight, r.Port, r.Data = number(0), number(1), number(2), f[3]
	case set.Type == "CAA" && len(f) >= 3:
		flags := uint8(*number(0))
		r.Flags, r.Tag = &flags, &f[1]
		r.Data, err = plan.TXTText(strings.SplitN(data, " ", 3)[2])
	case set.Type == "TXT":
		r.Data, err = plan.TXTText(data)
	case set.Type == "MX" || set.Type == "SRV" || set.Type == "CAA":
		err = fmt.Errorf("%q is no %s record", data, set.Type)
	}
	return r, err
}

// Write implements hosted.Host, record by record. Sets that end go first, since they may make room for others. Within a
// set new records come or take another's place before old ones go, so that there is always one.
func (a *api) Write(ctx context.Context, was []hosted.Record, changes []plan.RRsetChange) error {
	for _, c := range changes {
		if !c.New.Exists() {
			_, gone, _ := hosted.Difference(was, c)
			if err := a.delete(ctx, gone); err != nil {
				return err
			}
		}
	}
	for _, c := range changes {
		if c.New.Exists() {
			if err := a.writeSet(ctx, was, c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *api) writeSet(ctx context.Context, was []hosted.Record, c plan.RRsetChange) error {
	stay, gone, come := hosted.Difference(was, c)
	for _, r := range stay {
		if r.TTL != c.New.TTL {
			if err := a.client.Do(ctx, "update record", http.MethodPatch, a.path()+"/"+r.ID, map[string]any{"type": r.Type, "ttl": c.New.TTL}, nil); err != nil {
				return err
			}
		}
	}
	pairs := min(len(gone), len(come))
	for i, data := range come {
		r, err := a.write(c.New, data)
		if err != nil {
			return err
		}
		if i < pairs {
			err = a.client.Do(ctx, "update record", http.MethodPut, a.path()+"/"+gone[i].ID, r, nil)
		} else {
			err = a.client.Do(ctx, "create record", http.MethodPost, a.path(), r, nil)
		}
		if err != nil {
			return err
		}
	}
	return a.delete(ctx, gone[pairs:])
}

func (a *api) delete(ctx context.Context, list []hosted.Record) error {
	for _, r := range list {
		err := a.client.Do(ctx, "delete record", http.MethodDelete, a.path()+"/"+r.ID, nil, nil)
		if err != nil && hosted.StatusOf(err) != http.StatusNotFound { // gone already is what was wanted
			return err
		}
	}
	return nil
}
