package planner

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/spf"
)

// Google names the same exchanger and senders for every workspace
// (https://support.google.com/a/answer/174125, https://support.google.com/a/answer/33786), and a DKIM key for each
// domain, which its admin console alone shows.
const (
	googleMX       = "1 smtp.google.com."
	googleSPF      = "v=spf1 include:_spf.google.com ~all"
	googleSelector = "google._domainkey"
)

func (p *planner) toGoogle(d plan.Domain) bool {
	host, _ := p.m.Target(d.Mail)
	return host.Kind == "google_workspace"
}

// googleRecords are what a domain needs whose mail goes to Google.
func googleRecords() []plan.Record {
	return []plan.Record{
		{Type: "MX", Name: "@", At: plan.Flip, Values: []string{googleMX}},
		{Type: "TXT", Name: "@", At: plan.Flip, Match: spf.Version, Values: []string{googleSPF}},
		{Type: "TXT", Name: "_dmarc", At: plan.Provision, Keep: true, Values: []string{"v=DMARC1; p=none"}},
	}
}

// checkSigning looks whether mail from Google will be signed: the key is a TXT record, no CNAME, that the
// configuration has to hold or the zone holds already.
func (p *planner) checkSigning() {
	for _, d := range p.m.Domains {
		if !p.toGoogle(d) || slices.ContainsFunc(d.Records, func(r plan.Record) bool {
			return r.Type == "TXT" && strings.HasSuffix(strings.ToLower(r.Name), "._domainkey")
		}) {
			continue
		}
		seen, _ := p.inv.Domain(d.Name)
		if seen.Set(googleSelector+"."+d.Name+".", "TXT").Exists() {
			continue
		}
		p.find(plan.Finding{
			Check: "signing_key_missing", Severity: plan.Warns, Subject: d.Name,
			Summary: fmt.Sprintf("mail that Google sends for %s will not be signed: nothing names its DKIM key", d.Name),
			Remedy:  fmt.Sprintf("in the admin console, under Apps, Google Workspace, Gmail, Authenticate email, generate a key of 2048 bits, and add record \"TXT\" %q { at = phase.provision  values = [\"v=DKIM1; k=rsa; p=…\"] }; start the authentication there when every name server serves it", googleSelector),
			Pos:     d.Pos,
		})
	}
}
