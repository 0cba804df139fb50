package planner_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
)

// finding returns the plan's finding of that check, "passes" left out.
func finding(p *plan.Plan, check string) (plan.Finding, bool) {
	i := slices.IndexFunc(p.Findings, func(f plan.Finding) bool { return f.Check == check && f.Severity != plan.Passes })
	if i < 0 {
		return plan.Finding{}, false
	}
	return p.Findings[i], true
}

func TestFindings(t *testing.T) {
	record := func(m *plan.Migration, typ, name string) *plan.Record {
		for i, r := range m.Domains[0].Records {
			if r.Type == typ && r.Name == name {
				return &m.Domains[0].Records[i]
			}
		}
		t.Fatalf("no record %s %s", typ, name)
		return nil
	}
	for _, c := range []struct {
		name     string
		change   func(m *plan.Migration, inv *inventory.Inventory)
		check    string // "" : no finding but passes
		severity plan.Severity
		words    string // in summary, detail or remedy
	}{
		{"nothing", func(*plan.Migration, *inventory.Inventory) {}, "", "", ""},
		{"homeless address", func(_ *plan.Migration, inv *inventory.Inventory) {
			inv.Recipients = append(inv.Recipients, "Bewerbung@lab.example", "x@elsewhere.example")
		}, "every_address_exists_at_target", plan.Blocks, "bewerbung@lab.example"},
		{"ignored address", func(m *plan.Migration, inv *inventory.Inventory) {
			inv.Recipients = append(inv.Recipients, "Alt@lab.example")
			m.Domains[0].IgnoreAddresses = []string{"alt@lab.example"}
		}, "", "", ""},
		{"catch-all", func(m *plan.Migration, inv *inventory.Inventory) {
			inv.Recipients = append(inv.Recipients, "any@lab.example")
			m.Mailboxes[0].Kind = plan.CatchAllMailbox
		}, "", "", ""},
		{"a mailbox under another address", func(m *plan.Migration, _ *inventory.Inventory) { m.Mailboxes[1].Target = "jj@new.example" },
			"every_address_exists_at_target", plan.Blocks, "jens@lab.example"},
		{"no mx", func(m *plan.Migration, _ *inventory.Inventory) {
			m.Domains[0].Records = slices.DeleteFunc(m.Domains[0].Records, func(r plan.Record) bool { return r.Type == "MX" })
		}, "mx_not_planned", plan.Warns, "goes where it goes today"},
		{"ttl below the host's minimum", func(m *plan.Migration, inv *inventory.Inventory) {
			inv.Domains[0].TTL.Minimum = 3601
			m.Domains[0].Pos = plan.Pos{File: "acme.mx.hcl", Line: 84}
		}, "ttl_limits", plan.Blocks, "3601 seconds that the zone's host takes at least"},
		{"ttl above the host's maximum", func(m *plan.Migration, inv *inventory.Inventory) {
			inv.Domains[0].TTL.Maximum = 600
		}, "ttl_limits", plan.Blocks, "above the 600 seconds"},
		{"mta-sts keeps senders from the new mx", func(m *plan.Migration, inv *inventory.Inventory) {
			inv.Domains[0].STS = inventory.STSPolicy{ID: "7", Mode: "enforce", MX: []string{"mx00.old.example"}, MaxAge: 7 * 24 * time.Hour}
		}, "mta_sts", plan.Warns, "the old one has run out, 7d later"},
		{"mta-sts lists the new mx", func(m *plan.Migration, inv *inventory.Inventory) {
			inv.Domains[0].STS = inventory.STSPolicy{ID: "7", Mode: "enforce", MX: []string{"*.lab.example", "*.new.example", "mx.lab.example"}, MaxAge: time.Hour}
		}, "", "", ""},
		{"a ds without a key", func(m *plan.Migration, inv *inventory.Inventory) {
			inv.Domains[0].Chain = inventory.ChainOrphan
		}, "dnssec", plan.Warns, "the domain does not exist"},
		{"a broken chain", func(m *plan.Migration, inv *inventory.Inventory) {
			inv.Domains[0].Signed, inv.Domains[0].Chain = true, inventory.ChainBroken
		}, "dnssec", plan.Warns, "does not hold"},
		{"signed without a ds", func(m *plan.Migration, inv *inventory.Inventory) {
			inv.Domains[0].Signed, inv.Domains[0].Chain = true, inventory.ChainNone
		}, "", "", ""},
		{"old mx beside", func(m *plan.Migration, _ *inventory.Inventory) {
			r := record(m, "MX", "@")
			r.Values = append(r.Values, "20 mx01.OLD.example.")
		}, "mx_left_beside", plan.Blocks, "mx01.old.example."},
		{"same hosts, other preference", func(m *plan.Migration, _ *inventory.Inventory) {
			record(m, "MX", "@").Values = []string{"10 mx01.old.example.", "20 mx00.old.example."}
		}, "", "", ""},
		{"null mx", func(m *plan.Migration, _ *inventory.Inventory) { record(m, "MX", "@").Values = []string{"0 ."} },
			"null_mx", plan.Blocks, "RFC 7505"},
		{"null mx beside", func(m *plan.Migration, _ *inventory.Inventory) {
			record(m, "MX", "@").Values = []string{"0 .", "10 mx.new.example."}
		}, "null_mx", plan.Blocks, "§3"},
		{"two spf", func(m *plan.Migration, _ *inventory.Inventory) {
			record(m, "TXT", "@").Match = "v=spf1 include:_spf.new"
		},
			"spf_single", plan.Blocks, "2 SPF records"},
		{"spf look-ups", func(m *plan.Migration, _ *inventory.Inventory) {
			record(m, "TXT", "@").Values = []string{"v=spf1 mx a:x.example " + strings.Repeat("include:a.example ", 7) + "exists:%{i}.example redirect=b.example"}
		}, "spf_lookups", plan.Blocks, "11 look-ups"},
		{"spf look-ups of an include", func(m *plan.Migration, inv *inventory.Inventory) {
			record(m, "TXT", "@").Values = []string{"v=spf1 include:a.example -all"}
			inv.Domains[0].SPF = []inventory.SPFRecord{{Domain: "a.example", Text: "v=spf1 include:b.example mx -all"}, {Domain: "b.example", Text: "v=spf1 " + strings.Repeat("a:x.example ", 8) + "-all"}}
		}, "spf_lookups", plan.Blocks, "11 look-ups"},
		{"spf at the limit", func(m *plan.Migration, _ *inventory.Inventory) {
			record(m, "TXT", "@").Values = []string{"v=spf1 " + strings.Repeat("include:a.example ", 10) + "ip4:192.0.2.1 -all"}
		}, "", "", ""},
		{"unmanaged two spf", func(m *plan.Migration, inv *inventory.Inventory) {
			m.Domains[0].Records = slices.DeleteFunc(m.Domains[0].Records, func(r plan.Record) bool { return r.Type == "TXT" && r.Name == "@" })
			inv.Domains[0].Sets[2].Data = append(inv.Domains[0].Sets[2].Data, `"v=spf1 -all"`)
		}, "spf_single", plan.Warns, "2 SPF records"},
		{"subdomain with mx", func(_ *plan.Migration, inv *inventory.Inventory) {
			inv.Domains[0].Sets = append(inv.Domains[0].Sets, rrset("lists.lab.example.", "MX", 300, "10 lists.example."))
		}, "unmanaged_mx", plan.Warns, "lists.lab.example"},
		{"ttl not lower", func(m *plan.Migration, _ *inventory.Inventory) { m.Domains[0].TTLDuring = time.Hour },
			"ttl_not_lower", plan.Warns, "ttl.during"},
		{"lowered too late", func(m *plan.Migration, _ *inventory.Inventory) {
			m.Schedule[1].Start = moment(t, "cutover-1h")
		}, "old_ttl_outlasts_cutover", plan.Warns, "2h"},
		{"max deletes", func(m *plan.Migration, _ *inventory.Inventory) { m.Zones[0].MaxDeletes = 1 },
			"max_deletes", plan.Blocks, "deletes 2 record sets"},
		{"max deletes kept", func(m *plan.Migration, _ *inventory.Inventory) { m.Zones[0].MaxDeletes = 2 }, "", "", ""},
		{"bad value", func(m *plan.Migration, _ *inventory.Inventory) {
			record(m, "MX", "@").Values = []string{"mx.new.example"}
		},
			"record_value", plan.Blocks, "PREFERENCE HOST"},
		{"cname at the apex", func(m *plan.Migration, _ *inventory.Inventory) { m.Domains[0].Records[0].Name = "@" },
			"cname_at_apex", plan.Blocks, "RFC 1034"},
		{"cname beside", func(m *plan.Migration, _ *inventory.Inventory) {
			m.Domains[0].Records = append(m.Domains[0].Records, plan.Record{Type: "A", Name: "autodiscover", At: plan.Flip, Values: []string{"192.0.2.81"}})
		}, "cname_beside", plan.Blocks, "at one name"},
		{"kept cname", func(_ *plan.Migration, inv *inventory.Inventory) {
			inv.Domains[0].Sets[5] = rrset("_dmarc.lab.example.", "CNAME", 3600, "dmarc.old.example.")
		}, "dmarc_cname", plan.Warns, "somebody else's"},
		{"folders fall together", func(_ *plan.Migration, inv *inventory.Inventory) {
			inv.Sources[0].Folders = append(inv.Sources[0].Folders, inventory.Folder{Name: "Sent"})
		}, "folder_collision", plan.Blocks, "Gesendete Objekte"},
		{"excluded folders don't", func(m *plan.Migration, inv *inventory.Inventory) {
			inv.Sources[0].Folders = append(inv.Sources[0].Folders, inventory.Folder{Name: "Sent"})
			m.Mailboxes[0].Folders.Exclude = []string{"Spam", "Sent"}
		}, "", "", ""},
		{"case is kept apart over IMAP", func(_ *plan.Migration, inv *inventory.Inventory) {
			inv.Sources[0].Folders = append(inv.Sources[0].Folders, inventory.Folder{Name: "sent"})
		}, "", "", ""},
		{"case falls together at Exchange", func(m *plan.Migration, inv *inventory.Inventory) {
			m.Targets[0].Kind = "microsoft365"
			m.Mailboxes[0].On = "microsoft365.new"
			inv.Sources[0].Folders = append(inv.Sources[0].Folders, inventory.Folder{Name: "sent"})
		}, "folder_collision", plan.Blocks, "sent"},
		{"idle rule", func(m *plan.Migration, _ *inventory.Inventory) {
			m.Mailboxes[0].Folders.Exclude = []string{"Spam", "Spaam/*"}
		}, "folder_rule_idle", plan.Warns, `exclude "Spaam/*"`},
		{"notice without server", func(m *plan.Migration, _ *inventory.Inventory) { m.Notices[0].Via = "" }, "notice_via", plan.Warns, "not sent"},
		{"notice too late", func(m *plan.Migration, _ *inventory.Inventory) { m.Notices[0].At = moment(t, "decommission.end") },
			"notice_time", plan.Warns, "not sent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, inv := migration(t), observed()
			c.change(m, inv)
			p := make1(m, inv)
			encode(t, p)
			if c.check == "" {
				for _, f := range p.Findings {
					if f.Severity != plan.Passes {
						t.Errorf("unexpected: %+v", f)
					}
				}
				return
			}
			f, ok := finding(p, c.check)
			if !ok {
				t.Fatalf("no finding %s among %+v", c.check, p.Findings)
			}
			text := strings.Join(append(slices.Clone(f.Detail), f.Summary, f.Remedy), "\n")
			if f.Severity != c.severity || !strings.Contains(text, c.words) || f.Remedy == "" || f.Subject == "" {
				t.Errorf("got %+v", f)
			}
			if (f.Gate == "flip") != (f.Severity == plan.Blocks) {
				t.Errorf("the gate is %q", f.Gate)
			}
		})
	}
}

// A notice never waits for a phase that waits for the notice.
func TestNoticePhases(t *testing.T) {
	for at, want := range map[string]plan.Phase{
		"cutover-48h": plan.Notice, "cutover": plan.Notice, "cutover+1h": plan.Delta,
		"notice.start": plan.Notice, "notice.end": plan.Delta, "provision.end": plan.Notice, "bulk_copy.end": plan.Notice,
		"flip.start": plan.Notice, "flip.start+5m": plan.Delta, "flip.end": plan.Delta, "delta.end": plan.Validate,
		"validate.end+1d": plan.Hold, "hold.start": plan.Hold, "hold.end": plan.Decommission,
		"2027-01-15T16:59:59Z": plan.Notice, "2027-01-15T17:00:01Z": plan.Delta,
	} {
		m := migration(t)
		m.Notices = m.Notices[:1]
		m.Notices[0].At = moment(t, at)
		s, ok := make1(m, observed()).Step("notice/users")
		if !ok || s.Phase != want {
			t.Errorf("%s: in %q, want %q", at, s.Phase, want)
		}
	}
}
