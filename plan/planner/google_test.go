package planner_test

import (
	"slices"
	"testing"

	"github.com/mxodus/mxodus/plan"
)

// TestGoogle: the records that Google asks for, once each, and a word about the key that nobody here can know.
func TestGoogle(t *testing.T) {
	finds := func(p *plan.Plan) bool {
		return slices.ContainsFunc(p.Findings, func(f plan.Finding) bool { return f.Check == "signing_key_missing" })
	}
	m, inv := migration(t), observed()
	m.Targets[0].Kind = "google_workspace"
	key := m.Targets[0].Key()
	for i := range m.Domains {
		m.Domains[i].Mail, m.Domains[i].Records = key, nil
	}
	for i := range m.Mailboxes {
		m.Mailboxes[i].On = key
	}
	for i := range inv.Targets {
		inv.Targets[i].Host = key
	}
	p := make1(m, inv)
	if s := step(t, p, "dns/lab.example/MX/@"); len(s.To) != 1 || s.To[0] != "300 MX 1 smtp.google.com." {
		t.Errorf("MX: %q", s.To)
	}
	if s := step(t, p, "dns/lab.example/TXT/@"); !slices.Contains(s.To, `300 TXT "v=spf1 include:_spf.google.com ~all"`) || !slices.Contains(s.To, `300 TXT "google-site-verification=abc"`) {
		t.Errorf("SPF: %q", s.To)
	}
	if !finds(p) {
		t.Errorf("nothing is said of the DKIM key: %+v", p.Findings)
	}
	if step := slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Address == "dns/lab.example/TXT/_dmarc" }); step >= 0 {
		t.Error("a DMARC policy that is there stays")
	}
	m.Domains[0].Records = []plan.Record{
		{Type: "TXT", Name: "google._domainkey", At: plan.Provision, Values: []string{"v=DKIM1; k=rsa; p=MIIB"}},
		{Type: "MX", Name: "@", At: plan.Flip, Values: []string{"1 aspmx.l.google.com."}},
	}
	p = make1(m, inv)
	if finds(p) {
		t.Error("the configuration names a key")
	}
	if s := step(t, p, "dns/lab.example/MX/@"); s.To[0] != "300 MX 1 aspmx.l.google.com." {
		t.Errorf("the configuration's own MX: %q", s.To)
	}
	if s := step(t, p, "dns/lab.example/TXT/google._domainkey"); s.Action != plan.Create {
		t.Errorf("%+v", s)
	}
}
