package config

import (
	"strings"
	"testing"
)

// What a target has told stands in records; what it hasn't is known after
// provision, and can stand nowhere else.
func TestFacts(t *testing.T) {
	const tenant = `
migration "a" {
  cutover = "2027-01-15T18:00Z"
}
secret "s" {
  env = "S"
}
source "ionos" {
  credentials = secret.s
}
target "microsoft365" {
  tenant      = "acme.onmicrosoft.com"
  client_id   = "6f0c1e52-9d1b-4b53-8f0e-0c6d7c7b3a11"
  credentials = secret.s
}
dns "by_hand" {}
`
	const domain = `
domain "Acme.example" {
  record "MX" "@" {
    values = ["0 ${target.microsoft365.domain["acme.example"].mx}."]
  }
  record "TXT" "@" {
    match  = "v=spf1"
    values = [target.microsoft365.domain["acme.example"].spf]
  }
  record "CNAME" "s1._domainkey" {
    values = [target.microsoft365.domain["acme.example"].dkim.selector1]
  }
}
`
	records := func(f Facts) string {
		var out []string
		for _, r := range load(t, files("a.mx.hcl", tenant+domain), Options{Facts: f}).Domains[0].Records {
			out = append(out, strings.Join(r.Values, ","))
		}
		return strings.Join(out, " | ")
	}
	if got, want := records(nil), "known after provision | known after provision | known after provision"; got != want {
		t.Errorf("unknown: %s", got)
	}
	facts := Facts{"microsoft365": {"acme.example": {"mx": "acme-example.mail.protection.outlook.com", "spf": "v=spf1 -all", "dkim.selector1": "k1.acme.onmicrosoft.com."}}}
	if got, want := records(facts), "k1.acme.onmicrosoft.com. | 0 acme-example.mail.protection.outlook.com. | v=spf1 -all"; got != want {
		t.Errorf("known: %s", got)
	}
	for _, c := range []struct{ src, want string }{
		{`mailbox "u" {
  source       = "a@acme.example"
  target       = "a@acme.example"
  display_name = target.microsoft365.domain["acme.example"].mx
}`, "only values of a record can wait"},
		{`locals {
  x = target.microsoft365.domain["acme.example"].mxx
}`, "mxx"},
		{`locals {
  x = target.microsoft365.domain["other.example"].mx
}`, "other.example"},
	} {
		_, errs := Load(files("a.mx.hcl", tenant+domain, "b.mx.hcl", c.src), Options{})
		if !errs.HasErrors() || !strings.Contains(errs.Error(), c.want) {
			t.Errorf("%s\ngives %v, want %q", c.src, errs, c.want)
		}
	}
}
