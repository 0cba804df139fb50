package render

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/timeline"
	"github.com/mxodus/mxodus/providers/faults"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func berlin(t testing.TB, s string) time.Time {
	t.Helper()
	loc, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.ParseInLocation("2006-01-02 15:04", s, loc)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// hostile is a name that would repaint the screen, reorder the line, hide
// itself, break out of Markdown and HTML, and isn't UTF-8 at its end. TestPayloads puts others in its place.
var hostile = "evil\x1b]0;owned\a\x1b[2J\u202egnp.exe\u200b\ufe0f\r\nfake line `</code><script>alert(1)</script>|@everyone\xff"

func testPlan(t testing.TB) *plan.Plan {
	cutover := berlin(t, "2027-01-15 18:00")
	p := &plan.Plan{
		Header: plan.Header{
			Name: "acme", Number: 3, Lineage: "01JGW8Z4N6T5Q3R2", Parent: "sha256:41aa07c9", Config: "sha256:c0ffee5e",
			Inventory: "sha256:77b1d203", Cutover: cutover, Timezone: "Europe/Berlin",
		},
		Digest: "sha256:9f2c41d7aa0011223344556677889900aabbccddeeff00112233445566778899",
		Gates: []plan.Gate{
			{Name: "flip", Require: []plan.CheckRef{{Name: "every_address_exists_at_target"}, {Name: "bulk_copy_complete"}},
				Approve: plan.Approval{By: []string{"kerstin@acme.example", "ops@msp.example"}, Count: 1, Expires: 24 * time.Hour}},
			{Name: "decommission", Require: []plan.CheckRef{{Name: "no_stragglers_for", Arg: "7d"}}, Approve: plan.Approval{Count: 1}},
			{Name: "unused"},
		},
	}
	at := func(ph plan.Phase, start plan.Moment, gate string) {
		p.Schedule = append(p.Schedule, plan.Window{Phase: ph, Start: start, Gate: gate})
	}
	cut := plan.Moment{Anchor: plan.AnchorCutover}
	at(plan.Provision, cut.Add(-14*24*time.Hour), "")
	at(plan.LowerTTL, cut.Add(-7*24*time.Hour), "")
	at(plan.BulkCopy, plan.Moment{Anchor: plan.AnchorStart(plan.LowerTTL)}, "")
	at(plan.Notice, cut.Add(-48*time.Hour), "")
	at(plan.Flip, cut, "flip")
	at(plan.Delta, plan.Moment{Anchor: plan.AnchorEnd(plan.Flip)}, "")
	at(plan.Validate, plan.Moment{Anchor: plan.AnchorEnd(plan.Flip)}, "")
	at(plan.Hold, plan.Moment{Anchor: plan.AnchorEnd(plan.Validate)}, "")
	at(plan.Decommission, plan.Moment{Anchor: plan.AnchorEnd(plan.Hold)}, "decommission")

	copyOf := func(source, target string, detail ...string) {
		p.Steps = append(p.Steps, plan.Step{Address: "copy/" + source, Phase: plan.BulkCopy, Action: plan.Copy,
			From: []string{source + " at ionos"}, To: []string{target + " at imap.lab"}, Undo: plan.NoneNeeded, Detail: detail, Repeat: 24 * time.Hour})
	}
	p.Steps = append(p.Steps,
		plan.Step{Address: "account/info@acme.example", Phase: plan.Provision, Action: plan.ByHand, To: []string{"info@acme.example at imap.lab"},
			Undo: plan.NoneNeeded, Detail: []string{"Create the mailbox info@acme.example at mail.lab.example."}},
		plan.Step{Address: "account/anna@acme.example", Phase: plan.Provision, Action: plan.Create, Undo: plan.NoneNeeded,
			To: []string{"anna@acme.example at microsoft365", "mailbox: user", "license: O365_BUSINESS_PREMIUM"}},
		plan.Step{Address: "list/team@acme.example", Phase: plan.Provision, Action: plan.Change, Undo: plan.Restore,
			From: []string{"team@acme.example at microsoft365", "member: old@acme.example", "written to by: anybody"},
			To:   []string{"team@acme.example at microsoft365", "member: " + hostile, "written to by: the organisation"}},
		plan.Step{Address: "dns/acme.example/TXT/_dmarc", Phase: plan.Provision, Action: plan.Create,
			To: []string{`3600 TXT "v=DMARC1; p=none; rua=mailto:dmarc@acme.example"`}, Undo: plan.Restore},
		plan.Step{Address: "dns/acme.example/MX/@/ttl", Phase: plan.LowerTTL, Action: plan.Change,
			From: []string{"3600 MX 10 mx00.ionos.de.", "3600 MX 10 mx01.ionos.de."}, To: []string{"300 MX 10 mx00.ionos.de.", "300 MX 10 mx01.ionos.de."},
			Settle: time.Hour, Undo: plan.Restore},
	)
	copyOf("anna@acme.example", "anna@acme.example", "Gesendete Objekte → Sent")
	copyOf("info@acme.example", "office@acme.example")
	copyOf(hostile+"@acme.example", "x@acme.example", hostile+" → Junk")
	p.Steps = append(p.Steps,
		plan.Step{Address: "notice/users", Phase: plan.Notice, Action: plan.Send, To: []string{"anna@acme.example", "info@acme.example"}, Undo: plan.Impossible},
		plan.Step{Address: "dns/acme.example/CNAME/autodiscover", Phase: plan.Flip, Action: plan.Delete,
			From: []string{"3600 CNAME adsredir.ionos.info."}, Undo: plan.Restore},
		plan.Step{Address: "dns/acme.example/MX/@", Phase: plan.Flip, Action: plan.Change, Gate: "flip",
			From: []string{"300 MX 10 mx00.ionos.de.", "300 MX 10 mx01.ionos.de."},
			To:   []string{"300 MX 0 acme-example.mail.protection.outlook-with-a-long-name.example."}, Undo: plan.Restore},
		plan.Step{Address: "dns/acme.example/MX/@/restore", Phase: plan.Hold, Action: plan.Change,
			From:  []string{"300 MX 0 acme-example.mail.protection.outlook-with-a-long-name.example."},
			To:    []string{"3600 MX 0 acme-example.mail.protection.outlook-with-a-long-name.example."},
			Start: plan.Moment{Anchor: plan.AnchorEnd(plan.Validate), Offset: 7 * 24 * time.Hour}, Undo: plan.Restore},
		plan.Step{Address: "retire/anna@acme.example", Phase: plan.Decommission, Action: plan.ByHand, Undo: plan.Impossible, Detail: []string{"close anna@acme.example"}},
		plan.Step{Address: "retire/info@acme.example", Phase: plan.Decommission, Action: plan.ByHand, Undo: plan.Impossible, Detail: []string{"close info@acme.example"}},
		plan.Step{Address: "retire/host/ionos", Phase: plan.Decommission, Action: plan.ByHand, Undo: plan.Impossible, Detail: []string{"Cancel the contract."}},
	)
	p.Findings = []plan.Finding{
		{Check: "every_address_exists_at_target", Severity: plan.Blocks, Gate: "flip", Subject: "acme.example",
			Summary: "2 addresses of acme.example got mail and have no home at the target",
			Detail:  []string{"bewerbung@acme.example", hostile + "@acme.example"},
			Remedy:  "Add an alias for each, or name them in ignore_addresses.", Pos: plan.Pos{File: "acme.mx.hcl", Line: 84}},
		{Check: "spf", Severity: plan.Warns, Subject: "acme.example", Summary: "the SPF record needs 9 of 10 look-ups"},
		{Check: "null_mx", Severity: plan.Passes, Summary: "no null MX"},
		{Check: "others_stay", Severity: plan.Passes, Subject: "acme.example", Summary: "14 other record sets are not named here and stay as they are"},
	}
	return p
}

func testView(t testing.TB) PlanView {
	row := func(ph plan.Phase, start, end string) timeline.Row {
		r := timeline.Row{Phase: ph, Start: berlin(t, start)}
		if end != "" {
			r.End = berlin(t, end)
		}
		return r
	}
	return PlanView{
		Forecast: []timeline.Row{
			row(plan.Provision, "2027-01-01 18:00", "2027-01-01 19:00"),
			row(plan.LowerTTL, "2027-01-08 18:00", "2027-01-08 19:05"),
			row(plan.BulkCopy, "2027-01-08 18:00", "2027-01-10 03:36"),
			row(plan.Notice, "2027-01-13 18:00", "2027-01-13 18:00"),
			{Phase: plan.Flip, Start: berlin(t, "2027-01-15 18:00"), Earliest: berlin(t, "2027-01-10 03:36")},
		},
		Estimates: testEstimates(), Replaces: 2,
		Outlook: []plan.Finding{{Check: "oversize_messages", Severity: plan.Warns, Subject: "imap.lab", Summary: "in 1 mailbox messages are larger than the 35 MB that imap.lab takes"}},
	}
}

func testStatus(t testing.TB) Status {
	return Status{
		Migration: "acme", Plan: "sha256:9f2c41d7aa00", Number: 3, Timezone: "Europe/Berlin", At: berlin(t, "2027-01-15 18:01"),
		Phase: plan.Flip, Since: berlin(t, "2027-01-15 18:00"),
		Steps: StepCounts{Total: 14, Done: 8, Failed: 1, Waiting: 5, ByHand: 1},
		Phases: []PhaseStatus{
			{Phase: plan.Provision, Done: 2, Total: 2, Start: berlin(t, "2027-01-01 18:00"), End: berlin(t, "2027-01-01 19:00"), Complete: true},
			{Phase: plan.Flip, Done: 0, Total: 2, Start: berlin(t, "2027-01-15 18:00")},
			{Phase: plan.Delta},
		},
		Next:      &Next{Kind: "approval", Gate: "flip", Step: "dns/acme.example/MX/@", Until: berlin(t, "2027-01-15 22:00"), Who: "kerstin@acme.example or ops@msp.example"},
		BlockedBy: []Blocker{{Check: "target_accepts_mail", Gate: "flip", Words: []string{"mx.lab.example: \"451 come back\" " + hostile}, Remedy: "try again later"}},
		Mailboxes: []MailboxStatus{
			{Address: "anna@acme.example", Messages: 1310, Copied: 1204, Quarantined: 2, Octets: 1_234_567_890, Note: "throttled, 5 s"},
			{Address: hostile + "@acme.example", Messages: 10, Copied: 10, Doubt: 1},
			{Address: "empty@acme.example"},
		},
		Drift:    []Drift{{Step: "dns/acme.example/CNAME/autodiscover", Want: []string{"3600 CNAME a.example."}, Found: nil}},
		Failures: []Failure{{Step: "notice/users", Error: `send mail to anna@acme.example by 127.0.0.1:25: refused: "550 no"`, Remedy: "mend the address", At: berlin(t, "2027-01-13 18:00")}},
		ToDo:     []ToDo{{Step: "retire/host/ionos", Instructions: []string{"Cancel the contract."}}, {Step: "account/x@acme.example", Instructions: []string{"Create it."}, Proof: true}},
		Unsure:   []string{"jens@acme.example"},
		Servers: []RecordServers{
			{Step: "dns/acme.example/MX/@", Servers: []ServerStatus{
				{Server: "192.0.2.1:53", State: "converged", Since: berlin(t, "2027-01-15 18:00"), At: berlin(t, "2027-01-15 18:00"), Serves: []string{"300 MX 0 mx.new.example."}},
				{Server: "192.0.2.2:53", State: "lagging", At: berlin(t, "2027-01-15 18:01"), Serves: []string{"300 MX 10 " + hostile}},
				{Server: "9.9.9.9:53", Resolver: true, State: "silent", At: berlin(t, "2027-01-15 18:01"), Words: "no answer"},
			}},
			{Step: "dns/acme.example/TXT/@", Servers: []ServerStatus{
				{Server: "192.0.2.1:53", State: "slow", Since: berlin(t, "2027-01-15 18:02"), At: berlin(t, "2027-01-15 18:02"), Serves: []string{"300 TXT \"x\""}},
			}},
		},
		Late:    []LateSender{{Host: "mail." + hostile, IP: "192.0.2.7", Messages: 3, Last: berlin(t, "2027-01-15 19:10"), From: []string{"news@shop.example"}, Mailboxes: []string{"anna@acme.example", "jens@acme.example"}}},
		Running: "apply, pid 4711 on host.example",
	}
}

func testReport(t testing.TB) Report {
	return Report{
		Migration: "acme", Source: "ionos", Target: "imap.lab", Plan: "sha256:9f2c41d7aa00", Number: 3, Timezone: "Europe/Berlin", At: berlin(t, "2027-02-20 09:00"), Complete: true,
		Phases: []PhaseTime{{plan.Provision, berlin(t, "2027-01-01 18:00"), berlin(t, "2027-01-01 19:00")}, {plan.Flip, berlin(t, "2027-01-15 18:00"), berlin(t, "2027-01-15 18:05")}, {plan.Hold, berlin(t, "2027-01-16 18:00"), time.Time{}}, {Phase: plan.Decommission}},
		Mailboxes: []MailboxReport{
			{Source: "anna@acme.example", Target: "anna@acme.example", Messages: 1310, Copied: 1308, Quarantined: 2, Octets: 99_000_000,
				Folders: []FolderReport{{"INBOX", "INBOX", 1000, 1000}, {"Gesendete Objekte", "Sent", 310, 308}}, Manifest: "archive/anna.jsonl", SHA256: "ab12"},
			{Source: "info@acme.example", Target: "office@acme.example", Messages: 5, Copied: 4, LeftOut: 7, Folders: []FolderReport{{hostile, hostile, 5, 4}}},
		},
		DNS: []RecordReport{{Domain: "acme.example", Type: "MX", Name: "@", Before: []string{"3600 MX 10 mx00.ionos.de."}, After: []string{"3600 MX 0 mx.lab.example."}, At: berlin(t, "2027-01-15 18:02")},
			{Domain: "acme.example", Type: "CNAME", Name: "autodiscover", Before: []string{"3600 CNAME a.example."}}},
		Quarantine: []Quarantined{{"anna@acme.example", hostile, 42, 160_000_000, "NO [TOOBIG] " + hostile, "quarantine/abc.eml"}},
		ByHand:     []ByHandReport{{"retire/anna@acme.example", berlin(t, "2027-02-19 10:00"), "proven"}, {Step: "retire/host/ionos"}},
		Approvals: []ApprovalReport{{"flip", []string{"kerstin@acme.example " + hostile}, berlin(t, "2027-01-15 18:00"), []string{"bulk_copy_complete"},
			[]AgreedReport{{By: "kerstin@acme.example " + hostile, At: berlin(t, "2027-01-15 10:00"), Expires: berlin(t, "2027-01-16 10:00"), Number: 3, Plan: "sha256:9f2c41d7aa00"}}}, {Gate: "decommission"}},
		Flipped: berlin(t, "2027-01-15 18:01"), Digests: []Digest{{"configuration", "sha256:c0ffee5e"}},
		Checked: []CheckedReport{{"validate/mail/anna@acme.example", berlin(t, "2027-01-15 19:00"), "1308 of 1310 there, 2 in quarantine"}, {Step: "validate/dns/acme.example"}},
		Probes: []ProbeReport{
			{"trip", "in", "probe@outside.example", "anna@acme.example", "1.probe@outside.example", berlin(t, "2027-01-15 18:10"), berlin(t, "2027-01-15 18:11"), []string{"in " + hostile}, ""},
			{"trip", "old", "probe@outside.example", "anna@acme.example", "2.probe@outside.example", berlin(t, "2027-01-15 18:10"), time.Time{}, nil, ""},
			{"trip", "out", "anna@acme.example", "probe@outside.example", "3.probe@acme.example", berlin(t, "2027-01-15 18:10"), time.Time{}, nil, "its receiver says spf=fail " + hostile}},
		Late:    []LateSender{{Host: "shop." + hostile, IP: "192.0.2.7", Messages: 3, Last: berlin(t, "2027-01-17 09:00"), From: []string{"news@shop.example"}, Mailboxes: []string{"anna@acme.example"}}, {Messages: 1, Last: berlin(t, "2027-01-16 09:00"), Mailboxes: []string{"info@acme.example"}}},
		Notices: []NoticeReport{{"users", 2, berlin(t, "2027-01-13 18:00")}},
		Open:    []string{"retire/host/ionos is not done"},
	}
}

// golden compares with testdata/name; -update rewrites it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got); run go test -update and review:\n%s", name, diff)
	}
}

type view struct {
	name  string
	width int // 0: not a terminal view
	write func(*bytes.Buffer) error
}

func views(t *testing.T) []view {
	p, v, s, r := testPlan(t), testView(t), testStatus(t), testReport(t)
	var list []view
	for _, width := range []int{80, 160} {
		screen := Screen{Width: width}
		list = append(list,
			view{fmt.Sprintf("plan-%d.txt", width), width, func(b *bytes.Buffer) error { v := v; v.Screen = screen; return Plan(b, p, v) }},
			view{fmt.Sprintf("status-%d.txt", width), width, func(b *bytes.Buffer) error { return StatusText(b, s, screen) }},
			view{fmt.Sprintf("report-%d.txt", width), width, func(b *bytes.Buffer) error { return ReportText(b, r, screen) }},
		)
	}
	return append(list,
		view{"plan-ascii.txt", 80, func(b *bytes.Buffer) error { v := v; v.Screen = Screen{Width: 80, ASCII: true}; return Plan(b, p, v) }},
		view{"plan-bare.txt", 80, func(b *bytes.Buffer) error { return Plan(b, p, PlanView{}) }},
		view{"since-80.txt", 80, func(b *bytes.Buffer) error { return PlanSince(b, p, laterPlan(t), Screen{}) }},
		view{"since-ascii.txt", 120, func(b *bytes.Buffer) error { return PlanSince(b, p, laterPlan(t), Screen{Width: 120, ASCII: true}) }},
		view{"since-same.txt", 80, func(b *bytes.Buffer) error { return PlanSince(b, p, p, Screen{}) }},
		view{"since.md", 0, func(b *bytes.Buffer) error { return PlanSinceMarkdown(b, p, laterPlan(t), 0) }},
		view{"since.json", 0, func(b *bytes.Buffer) error { return PlanSinceJSON(b, p, laterPlan(t)) }},
		view{"simulate-80.txt", 80, func(b *bytes.Buffer) error { return SimulationText(b, testSimulation(t)) }},
		view{"simulate.json", 0, func(b *bytes.Buffer) error { return SimulationJSON(b, testSimulation(t)) }},
		view{"simulate.svg", 0, func(b *bytes.Buffer) error { return SimulationSVG(b, testSimulation(t)) }},
		view{"plan.md", 0, func(b *bytes.Buffer) error { return PlanMarkdown(b, p, v, 0) }},
		view{"plan-short.md", 0, func(b *bytes.Buffer) error { return PlanMarkdown(b, p, v, 1800) }},
		view{"plan.html", 0, func(b *bytes.Buffer) error { return PlanHTML(b, p, v) }},
		view{"plan.json", 0, func(b *bytes.Buffer) error { return PlanJSON(b, p, v) }},
		view{"status.json", 0, func(b *bytes.Buffer) error { return StatusJSON(b, s) }},
		view{"report.html", 0, func(b *bytes.Buffer) error { return ReportHTML(b, r) }},
		view{"report.json", 0, func(b *bytes.Buffer) error { return ReportJSON(b, r) }},
	)
}

func TestGolden(t *testing.T) {
	for _, v := range views(t) {
		t.Run(v.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := v.write(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, v.name, b.Bytes())
		})
	}
	files, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		used := f.Name() == "fuzz" // the corpora
		for _, v := range views(t) {
			used = used || v.name == f.Name()
		}
		if !used {
			t.Errorf("testdata/%s belongs to no view", f.Name())
		}
	}
}

// TestHarmless: no view lets a control, bidirectional or invisible character
// through, or a line beyond the screen's width.
func TestHarmless(t *testing.T) {
	for _, v := range views(t) {
		var b bytes.Buffer
		if err := v.write(&b); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		if strings.HasSuffix(v.name, ".json") {
			var any map[string]any
			if err := json.Unmarshal(b.Bytes(), &any); err != nil {
				t.Errorf("%s: %v", v.name, err)
			}
			continue
		}
		if !utf8.ValidString(text) {
			t.Errorf("%s: not UTF-8", v.name)
		}
		for _, r := range text {
			if r != '\n' && (!unicode.IsPrint(r) || unicode.Is(invisible, r)) && !(r == '\ufe0f' && strings.HasSuffix(v.name, ".md")) {
				t.Errorf("%s: %U", v.name, r)
			}
		}
		if strings.HasSuffix(v.name, ".html") && strings.Contains(text, "<script") {
			t.Errorf("%s: a script element", v.name)
		}
		for i, l := range strings.Split(text, "\n") {
			if v.width > 0 && columns(l) > v.width {
				t.Errorf("%s: line %d has %d columns: %q", v.name, i+1, columns(l), l)
			}
			if strings.HasPrefix(strings.TrimSpace(l), "fake line") && v.width == 0 {
				t.Errorf("%s: line %d begins with a forged text", v.name, i+1)
			}
		}
	}
}

// TestColor: colours change nothing but colours.
func TestColor(t *testing.T) {
	p, v, s, r := testPlan(t), testView(t), testStatus(t), testReport(t)
	for name, write := range map[string]func(*bytes.Buffer, Screen) error{
		"plan":   func(b *bytes.Buffer, screen Screen) error { v := v; v.Screen = screen; return Plan(b, p, v) },
		"status": func(b *bytes.Buffer, screen Screen) error { return StatusText(b, s, screen) },
		"report": func(b *bytes.Buffer, screen Screen) error { return ReportText(b, r, screen) },
	} {
		var plain, colored bytes.Buffer
		if err := write(&plain, Screen{Width: 100}); err != nil {
			t.Fatal(err)
		}
		if err := write(&colored, Screen{Width: 100, Color: true}); err != nil {
			t.Fatal(err)
		}
		var stripped []string
		for _, l := range strings.Split(stripColor(colored.String()), "\n") {
			stripped = append(stripped, strings.TrimRight(l, " "))
		}
		if diff := cmp.Diff(plain.String(), strings.Join(stripped, "\n")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if !strings.Contains(colored.String(), "\x1b[31m") {
			t.Errorf("%s: no red in it", name)
		}
	}
}

func TestMarkdownSize(t *testing.T) {
	p, v := testPlan(t), testView(t)
	for _, limit := range []int{1, 100, 500, 1000, 1500, 2000, 3000, 4000, 5000, 100000} {
		var b bytes.Buffer
		if err := PlanMarkdown(&b, p, v, limit); err != nil {
			t.Fatal(err)
		}
		if b.Len() > limit || !utf8.Valid(b.Bytes()) {
			t.Errorf("limit %d: %d bytes", limit, b.Len())
		}
	}
}

func TestNothingToDo(t *testing.T) {
	p := testPlan(t)
	p.Steps = nil
	var b bytes.Buffer
	if err := Plan(&b, p, PlanView{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "Nothing to do") || strings.Contains(b.String(), "Gates") || strings.Contains(b.String(), "Starts") {
		t.Error(b.String())
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"plain":               "plain",
		"Gesendete Übersicht": "Gesendete Übersicht",
		"日本語":                 "日本語",
		"a\x1b[31mred":        `a\x1b[31mred`,
		"a\tb\nc\r":           `a\x09b\x0ac\x0d`,
		"\u202eabc":           `\u202eabc`,
		"a\u200bb\u00adc":     `a\u200bb\u00adc`,
		"\ufeffx\u2066":       `\ufeffx\u2066`,
		"a\u00a0b":            `a\u00a0b`,
		"\x9b31m":             `\x9b31m`,
		"\u009b31m":           `\u009b31m`,
		"\U000e0041":          `\U000e0041`,
		"x\u2028y\u3164":      `x\u2028y\u3164`,
		"\x7f\x00":            `\x7f\x00`,
	} {
		if got := Escape(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add(hostile)
	faults.Fuzz(f, func(t *testing.T, s string) {
		got := Escape(s)
		for _, r := range got {
			if !visible(r) {
				t.Errorf("%q: %U", s, r)
			}
		}
		if Escape(got) != got {
			t.Errorf("%q: escaping twice differs", s)
		}
		for _, n := range []int{10, 20, 80} {
			var joined strings.Builder
			for _, l := range wrap(got, n) {
				if columns(l) > n {
					t.Errorf("wrap(%q, %d): %q", got, n, l)
				}
				joined.WriteString(strings.ReplaceAll(l, " ", ""))
			}
			if joined.String() != strings.ReplaceAll(got, " ", "") {
				t.Errorf("wrap(%q, %d) lost something", got, n)
			}
		}
	})
}

func TestUnits(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{Size(0), "0 B"}, {Size(999), "999 B"}, {Size(1000), "1.0 kB"}, {Size(999_949), "999.9 kB"}, {Size(999_950), "1.0 MB"},
		{Size(184_600_000_000), "184.6 GB"}, {Size(9_900_000_000_000_000), "9900.0 TB"}, {Rate(2_500_000), "2.5 MB/s"},
		{Count(0), "0"}, {Count(999), "999"}, {Count(1_214_880), "1,214,880"}, {Count(-1234), "-1,234"},
		{Span(0), "0 ms"}, {Span(300 * time.Second), "5 min"}, {Span(90 * time.Minute), "1 h 30 min"}, {Span(24*time.Hour + 5*time.Minute), "1 d"},
		{Span(7 * 24 * time.Hour), "7 d"}, {Span(2 * time.Second), "2 s"}, {percent(999, 1000), "99 %"}, {percent(1, 1), "100 %"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}
