// Package powerdns changes zones over the HTTP interface of the PowerDNS
// Authoritative Server, version 4 and later
// (https://doc.powerdns.com/authoritative/http-api/).
package powerdns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns"
	"github.com/mxodus/mxodus/providers/dns/hosted"
)

const name = "PowerDNS"

// NewZone makes the zone of that canonical name. It touches no network and resolves no
// secret. endpoint is the server's base URL ("https://ns.example:8081"); one that ends in
// /servers/ID names another server than "localhost", as proxies before several do.
func NewZone(zone, endpoint string, ref plan.SecretRef, secrets providers.Secrets, clock providers.Clock) (*hosted.Zone, error) {
	zone, err := dns.Name(zone)
	if err != nil {
		return nil, err
	}
	if endpoint == "" {
		return nil, errors.New("dns powerdns: no endpoint is named: give endpoint = \"https://host:8081\" of the server's webserver")
	}
	base := strings.TrimRight(endpoint, "/")
	if !strings.Contains(base, "/servers/") {
		base = strings.TrimSuffix(base, "/api/v1") + "/api/v1/servers/localhost"
	}
	a := &api{zone: zone, client: &hosted.Client{
		Base: base, At: name, Credentials: ref, Secrets: secrets, Clock: clock,
		Authorize: func(h http.Header, secret string) { h.Set("X-API-Key", secret) },
		Words:     words,
	}}
	return &hosted.Zone{Name: zone, At: name, Host: a, Clock: clock}, nil
}

// words are those of {"error": "…"} or {"errors": […]}.
func words(body []byte) string {
	var e struct {
		Error  string   `json:"error"`
		Errors []string `json:"errors"`
	}
	if json.Unmarshal(body, &e) != nil {
		return ""
	}
	if e.Error != "" {
		e.Errors = append([]string{e.Error}, e.Errors...)
	}
	return strings.Join(e.Errors, "; ")
}

// api is one zone at the server.
type api struct {
	zone   string // canonical
	client *hosted.Client
}

// Features: all sets of one PATCH are written in one transaction.
func (a *api) Features() providers.ZoneFeatures { return providers.ZoneFeatures{Atomic: true} }

// Skew implements providers.Timekeeper.
func (a *api) Skew() (time.Duration, bool) { return a.client.Skew() }

// Check implements hosted.Host: the server takes every type that it can parse.
func (a *api) Check(plan.RRset) error { return nil }

type rrset struct {
	Name       string   `json:"name"`
	Type       string   `json:"type"`
	TTL        *uint32  `json:"ttl,omitempty"`
	ChangeType string   `json:"changetype,omitempty"`
	Records    []record `json:"records"`
}

type record struct {
	Content  string `json:"content"`
	Disabled bool   `json:"disabled"`
}

func (a *api) path() string { return "/zones/" + url.PathEscape(a.zone) }

// List implements hosted.Host.
func (a *api) List(ctx context.Context) ([]hosted.Record, error) {
	var z struct {
		Name   string  `json:"name"`
		Kind   string  `json:"kind"`
		RRsets []rrset `json:"rrsets"`
	}
	if err := a.client.Do(ctx, "read zone", http.MethodGet, a.path(), nil, &z); err != nil {
		// Old servers say 422 "Could not find domain" where newer ones say 404.
		if s := hosted.StatusOf(err); s == http.StatusNotFound || s == http.StatusUnprocessableEntity {
			return nil, hosted.NoZone(a.zone, name, err)
		}
		return nil, err
	}
	if n, err := dns.Name(z.Name); err != nil || n != a.zone {
		return nil, a.client.Unreadable(a.zone, fmt.Errorf("the answer is about the zone %q", z.Name))
	}
	if slices.Contains([]string{"slave", "secondary", "consumer"}, strings.ToLower(z.Kind)) {
		return nil, &providers.Error{
			Op: "read zone", Subject: dns.Readable(a.zone) + " at " + name, Reason: providers.Refused,
			Err: errors.New("the server is a secondary of the zone"), Remedy: "name the primary's endpoint",
		}
	}
	if z.RRsets == nil {
		return nil, a.client.Unreadable(a.zone, hosted.ErrNoList)
	}
	var list []hosted.Record
	for _, s := range z.RRsets {
		if s.Records == nil {
			return nil, a.client.Unreadable(a.zone, hosted.ErrNoList)
		}
		n, err := dns.Name(s.Name)
		if err != nil {
			return nil, a.client.Unreadable(a.zone, err)
		}
		for _, r := range s.Records {
			h := hosted.Record{Name: n, Type: s.Type, Data: r.Content, Disabled: r.Disabled}
			if s.TTL != nil {
				h.TTL = *s.TTL
			}
			if c, err := dns.Canonical(s.Type, r.Content); err == nil {
				h.Data = c // types of PowerDNS' own, such as ALIAS and LUA, stay as they are
			}
			list = append(list, h)
		}
	}
	return list, nil
}

// Write implements hosted.Host with one PATCH. Sets that go stand first, because the server
// looks for what stands beside a CNAME set by set. Disabled records of a set stay.
func (a *api) Write(ctx context.Context, was []hosted.Record, changes []plan.RRsetChange) error {
	var first, rest []rrset
	for _, c := range changes {
		s := rrset{Name: c.New.Name, Type: c.New.Type, ChangeType: "REPLACE", TTL: &c.New.TTL, Records: []record{}}
		for _, data := range c.New.Data {
			s.Records = append(s.Records, record{Content: data})
		}
		for _, r := range was {
			if r.Disabled && r.Name == s.Name && r.Type == s.Type && !slices.Contains(c.New.Data, r.Data) {
				s.Records = append(s.Records, record{Content: r.Data, Disabled: true})
				if !c.New.Exists() {
					s.TTL = &r.TTL
				}
			}
		}
		switch {
		case len(s.Records) == 0:
			s.ChangeType, s.TTL = "DELETE", nil
			first = append(first, s)
		case !c.New.Exists():
			first = append(first, s)
		default:
			rest = append(rest, s)
		}
	}
	body := struct {
		RRsets []rrset `json:"rrsets"`
	}{append(first, rest...)}
	return a.client.Do(ctx, "update zone", http.MethodPatch, a.path(), body, nil)
}
