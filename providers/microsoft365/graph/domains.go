package graph

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/providers"
)

// Domain is a domain of the tenant.
type Domain struct {
	ID       string   `json:"id"`
	Verified bool     `json:"isVerified"`
	Root     bool     `json:"isRoot"`
	Services []string `json:"supportedServices"`
}

// Record is one that the tenant asks the zone for. Kind is the @odata.type's last word.
type Record struct {
	Type      string `json:"@odata.type"`
	Kind      string `json:"recordType"`
	Label     string `json:"label"` // FQDN without a final dot
	Service   string `json:"supportedService"`
	TTL       int    `json:"ttl"`
	Text      string `json:"text"`
	Exchanger string `json:"mailExchange"`
	Prefer    int    `json:"preference"`
	Canonical string `json:"canonicalName"`
}

// Is reports whether it is a record of that type: "Txt", "Mx", "CName".
func (r Record) Is(kind string) bool {
	return strings.EqualFold(r.Kind, kind) || r.Kind == "" && strings.EqualFold(r.Type, "#microsoft.graph.domainDns"+kind+"Record")
}

// Domain reads a domain; ok is false when the tenant doesn't have it.
func (g *Client) Domain(ctx context.Context, name string) (d Domain, ok bool, err error) {
	err = g.do(ctx, "read the domain", name, http.MethodGet, "/domains/"+seg(name), nil, &d)
	if providers.ReasonOf(err) == providers.NotFound {
		return Domain{}, false, nil
	}
	if err == nil && d.ID == "" {
		err = g.empty("read the domain", name, "a domain")
	}
	return d, err == nil, err
}

// CreateDomain adds a domain, not verified yet. One that the tenant has already is
// none of CreateDomain's errors; one that another tenant holds is a Conflict.
func (g *Client) CreateDomain(ctx context.Context, name string) error {
	err := g.create(ctx, "add the domain", name, "/domains", map[string]string{"id": name}, nil)
	if err == nil {
		return nil
	}
	if reason := providers.ReasonOf(err); reason != providers.Refused && reason != providers.Conflict || CodeOf(err) == "Authorization_RequestDenied" {
		return err
	}
	// The text that would tell apart changes; whether it is there doesn't.
	if _, ok, readErr := g.Domain(ctx, name); readErr == nil && ok {
		return nil
	}
	if e, ok := asError(err); ok {
		e.Reason = providers.Conflict
		e.Remedy = "if another tenant holds " + name + ", it has to be taken out there first: https://admin.microsoft.com, Settings, Domains; in a tenant that nobody manages, take it over: https://learn.microsoft.com/entra/identity/users/domains-admin-takeover"
	}
	return err
}

// VerificationText is the TXT value that proves who owns the domain, "" when it isn't
// named yet. The other way, an MX record, is never used on a domain that gets mail.
func (g *Client) VerificationText(ctx context.Context, name string) (string, error) {
	records, err := list[Record](ctx, g, "read how to verify "+name, "/domains/"+seg(name)+"/verificationDnsRecords")
	if err != nil {
		return "", err
	}
	for _, r := range records {
		if r.Is("Txt") && r.Text != "" {
			return r.Text, nil
		}
	}
	return "", nil
}

// Verify asks Microsoft to look for the record. A domain whose record it doesn't find
// yet is refused, which may go on for hours: the error is a NotYet. It is for domains that
// aren't verified alone.
func (g *Client) Verify(ctx context.Context, name string) error {
	err := g.do(ctx, "verify the domain", name, http.MethodPost, "/domains/"+seg(name)+"/verify", nil, nil)
	if err == nil {
		return nil
	}
	if d, ok, readErr := g.Domain(ctx, name); readErr == nil && ok && d.Verified {
		return nil // an answer that was lost
	}
	if e, ok := asError(err); ok && (e.Reason == providers.Refused || e.Reason == providers.Conflict || e.Reason == providers.NotFound) && CodeOf(err) != "Authorization_RequestDenied" {
		e.Reason = providers.NotYet
		e.Remedy = "Microsoft doesn't see the TXT record yet; it is asked again. If this goes on for hours, compare the record at your name servers with https://admin.microsoft.com, Settings, Domains"
	}
	return err
}

// ServiceRecords are what the tenant asks the zone for so that mail works. They may be
// missing just after a domain was verified.
func (g *Client) ServiceRecords(ctx context.Context, name string) ([]Record, error) {
	records, err := list[Record](ctx, g, "read the records of "+name, "/domains/"+seg(name)+"/serviceConfigurationRecords")
	if providers.ReasonOf(err) == providers.NotFound {
		return nil, nil
	}
	return slices.DeleteFunc(records, func(r Record) bool { return !strings.EqualFold(r.Service, "Email") }), err
}

// UseForMail lets the domain be used for mail, where it isn't yet.
func (g *Client) UseForMail(ctx context.Context, d Domain) error {
	services := append(slices.Clone(d.Services), "Email")
	return g.do(ctx, "use the domain for mail", d.ID, http.MethodPatch, "/domains/"+seg(d.ID), map[string]any{"supportedServices": services}, nil)
}
