package planner_test

import (
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/plan/planfile"
	"github.com/mxodus/mxodus/plan/planner"
)

const day = 24 * time.Hour

func moment(t testing.TB, s string) plan.Moment {
	m, err := plan.ParseMoment(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// migration is a small organisation that moves between two IMAP hosts, with the
// timing of the language's defaults.
func migration(t testing.TB) *plan.Migration {
	cutover, err := time.Parse(time.RFC3339, "2027-01-15T17:00:00Z")
	if err != nil {
		t.Fatal(err)
	}
	m := &plan.Migration{
		Name: "lab", Timezone: "Europe/Berlin", Cutover: cutover,
		Sources: []plan.Host{{Kind: "imap", Name: "old", Hostname: "imap.old.example", Port: 993, Retire: "by_hand", Credentials: plan.SecretRef{Name: "mail", Kind: "csv", Ref: "secrets/old.csv"}}},
		Targets: []plan.Host{{Kind: "imap", Name: "new", Hostname: "imap.new.example", Port: 993, Credentials: plan.SecretRef{Name: "new", Kind: "csv", Ref: "secrets/new.csv"}}},
		Zones:   []plan.ZoneConfig{{Kind: "rfc2136", Name: "lab", MaxDeletes: -1, Unmanaged: "keep"}},
		SMTP:    []plan.SMTPServer{{Name: "office", From: "it@lab.example"}},
		Mailboxes: []plan.Mailbox{
			{Block: "user", Key: "anna", Kind: plan.UserMailbox, Source: "anna@lab.example", Target: "anna@lab.example", From: "imap.old", On: "imap.new", Deletes: "keep",
				Folders: plan.FolderRules{Exclude: []string{"Spam"}, Map: map[string]string{"Gesendete Objekte": "Sent"}}},
			{Block: "user", Key: "jens", Kind: plan.UserMailbox, Source: "jens@lab.example", Target: "jens@lab.example", From: "imap.old", On: "imap.new", Deletes: "keep", DisplayName: "Jens J.", License: "basic"},
			{Block: "info", Kind: plan.SharedMailbox, Source: "info@lab.example", Target: "info@lab.example", From: "imap.old", On: "imap.new", Deletes: "mirror", FullAccess: []string{"jens@lab.example", "anna@lab.example"}},
		},
		Aliases:    []plan.Alias{{Address: "sales@lab.example", Deliver: "anna@lab.example", On: "imap.new"}},
		Lists:      []plan.List{{Address: "team@lab.example", Members: []string{"jens@lab.example", "anna@lab.example"}, External: true, On: "imap.new"}},
		Forwarders: []plan.Forwarder{{Address: "bills@lab.example", Deliver: []string{"bills@elsewhere.example"}, KeepCopy: true, On: "imap.new"}},
		Domains: []plan.Domain{{
			Name: "lab.example", Zone: "rfc2136.lab", Mail: "imap.new", TTLDuring: 5 * time.Minute, TTLRestore: time.Hour, SPF: "replace",
			Records: []plan.Record{
				{Type: "CNAME", Name: "autodiscover", At: plan.Flip, Values: []string{"webmail.new.example"}},
				{Type: "MX", Name: "@", At: plan.Flip, Values: []string{"10 MX.new.example"}},
				{Type: "TXT", Name: "@", At: plan.Flip, Match: "v=spf1", Values: []string{"v=spf1 include:_spf.new.example -all"}},
				{Type: "TXT", Name: "_dmarc", At: plan.Provision, Keep: true, Values: []string{"v=DMARC1; p=none"}},
				{Type: "CNAME", Name: "sel._domainkey", At: plan.Provision, Values: []string{"sel.new.example."}},
			},
		}},
		Gates: []plan.Gate{
			{Name: "decommission", Require: []plan.CheckRef{{Name: "no_stragglers_for", Arg: "7d"}, {Name: "manifest_archived"}}, Approve: plan.Approval{Count: 1}},
			{Name: "flip", Require: []plan.CheckRef{{Name: "every_address_exists_at_target"}, {Name: "bulk_copy_complete"}, {Name: "old_ttl_expired_everywhere"}, {Name: "target_accepts_mail"}, {Name: "rollback_plan_fresh"}}, Approve: plan.Approval{By: []string{"ops@lab.example"}, Count: 1, Expires: day}},
		},
		Validation: plan.Validation{MaxDifference: 0.01},
		Notices: []plan.NoticeConfig{
			{Name: "users", At: moment(t, "notice.start"), To: []string{"jens@lab.example", "anna@lab.example"}, Via: "office", Subject: "We move", Body: "on {cutover}"},
			{Name: "done", At: moment(t, "flip.end+1h"), To: []string{"anna@lab.example"}, Via: "office", Subject: "Moved"},
			{Name: "hook", On: []string{"step.failed"}, URL: "https://hooks.example/x"},
		},
	}
	for _, w := range []struct {
		phase               plan.Phase
		start, until, hours string
		repeat              time.Duration
		gate                string
	}{
		{plan.Provision, "cutover-14d", "", "", 0, ""},
		{plan.LowerTTL, "cutover-7d", "", "", 0, ""},
		{plan.BulkCopy, "lower_ttl.start", "", "19:00-07:00", day, ""},
		{plan.Notice, "cutover-48h", "", "", 0, ""},
		{plan.Flip, "cutover", "cutover+4h", "", 0, "flip"},
		{plan.Delta, "flip.end", "converged(3)", "", 15 * time.Minute, ""},
		{plan.Validate, "flip.end", "", "", 0, ""},
		{plan.Hold, "validate.end", "validate.end+30d", "", 6 * time.Hour, ""},
		{plan.Decommission, "hold.end", "", "", 0, "decommission"},
	} {
		u, err := plan.ParseUntil(w.until)
		if err != nil {
			t.Fatal(err)
		}
		m.Schedule = append(m.Schedule, plan.Window{Phase: w.phase, Start: moment(t, w.start), Until: u, Hours: w.hours, Repeat: w.repeat, Gate: w.gate})
	}
	return m
}

func rrset(name, typ string, ttl uint32, data ...string) inventory.RRset {
	return inventory.RRset{RRset: plan.RRset{Name: name, Type: typ, TTL: ttl, Data: data}, OldTTL: ttl}
}

// observed is the organisation before anything was done.
func observed() *inventory.Inventory {
	return &inventory.Inventory{
		Lineage: "01jgw8z4n6t5q3r2",
		Sources: []inventory.Mailbox{
			{Host: "imap.old", Address: "anna@lab.example", Exists: true, Folders: []inventory.Folder{{Name: "INBOX", UIDValidity: 1}, {Name: "Gesendete Objekte", UIDValidity: 2}, {Name: "Spam", UIDValidity: 3}}},
			{Host: "imap.old", Address: "jens@lab.example", Exists: true, Folders: []inventory.Folder{{Name: "INBOX", UIDValidity: 1}}},
			{Host: "imap.old", Address: "info@lab.example", Exists: true, Folders: []inventory.Folder{{Name: "INBOX", UIDValidity: 1}}},
		},
		Targets: []inventory.Mailbox{
			{Host: "imap.new", Address: "anna@lab.example", Exists: true},
			{Host: "imap.new", Address: "jens@lab.example"},
			{Host: "imap.new", Address: "info@lab.example"},
		},
		Domains: []inventory.Domain{{
			Name: "lab.example", Servers: []string{"192.0.2.53:53", "192.0.2.54:53"}, Complete: true, NegativeTTL: 900,
			Sets: []inventory.RRset{
				rrset("lab.example.", "A", 3600, "192.0.2.80"),
				rrset("lab.example.", "MX", 3600, "10 mx00.old.example.", "10 mx01.old.example."),
				rrset("lab.example.", "TXT", 7200, `"google-site-verification=abc"`, `"v=spf1 include:_spf.old.example ~all"`),
				rrset("autodiscover.lab.example.", "A", 600, "192.0.2.81"),
				rrset("autodiscover.lab.example.", "AAAA", 300, "2001:db8::81"),
				rrset("_dmarc.lab.example.", "TXT", 3600, `"v=DMARC1; p=reject"`),
				rrset("www.lab.example.", "CNAME", 3600, "web.example."),
			},
		}},
		Recipients: []string{"anna@lab.example", "bills@lab.example", "sales@lab.example", "team@lab.example"},
	}
}

func make1(m *plan.Migration, inv *inventory.Inventory) *plan.Plan {
	return planner.Make(planner.Input{Migration: m, Inventory: inv, Number: 1})
}

func encode(t testing.TB, p *plan.Plan) string {
	t.Helper()
	data, err := planfile.Encode(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
