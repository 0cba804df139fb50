package config

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mxodus/mxodus/plan"
)

// load fails the test when fsys has errors.
func load(t testing.TB, fsys fs.FS, o Options) *plan.Migration {
	t.Helper()
	loaded, errs := Load(fsys, o)
	if errs.HasErrors() {
		var b strings.Builder
		_ = WriteDiagnostics(&b, loaded.Files, errs, 100, false)
		t.Fatalf("errors:\n%s", b.String())
	}
	if loaded.Migration == nil {
		t.Fatal("neither errors nor a migration")
	}
	return loaded.Migration
}

func files(kv ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i < len(kv); i += 2 {
		fsys[kv[i]] = &fstest.MapFile{Data: []byte(kv[i+1])}
	}
	return fsys
}

const hosts = `
migration "acme" {
  timezone = "Europe/Berlin"
  cutover  = "2027-01-15T18:00"
}
secret "mail" { env = "PW_{address}" }
source "imap" {
  host        = "127.0.0.1"
  tls         = "none"
  credentials = secret.mail
}
target "imap" {
  host        = "localhost"
  tls         = "starttls"
  credentials = secret.mail
}
`

func TestExample(t *testing.T) {
	fsys := os.DirFS("testdata/example")
	loaded, _ := Load(fsys, Options{Version: "0.1.0"})
	if len(loaded.Warnings) > 0 {
		t.Errorf("warnings: %v", loaded.Warnings)
	}
	m := load(t, fsys, Options{Version: "0.1.0"})
	var got []string
	for _, b := range m.Mailboxes {
		got = append(got, fmt.Sprintf("%s %s %s→%s %s→%s %q %s wave %d", b.Kind, b.Block, b.Source, b.Target, b.From, b.On, b.DisplayName, b.License, b.Wave))
	}
	for _, a := range m.Aliases {
		got = append(got, fmt.Sprintf("alias %s→%s at %s", a.Address, a.Deliver, a.On))
	}
	for _, a := range m.Lists {
		got = append(got, fmt.Sprintf("list %s %v external %v at %s", a.Address, a.Members, a.External, a.On))
	}
	for _, a := range m.Forwarders {
		got = append(got, fmt.Sprintf("forwarder %s %v at %s", a.Address, a.Deliver, a.On))
	}
	for _, d := range m.Domains {
		for _, r := range d.Records {
			got = append(got, fmt.Sprintf("%s %s: %s %s at %s %q match %q keep %v", d.Name, d.Zone, r.Type, r.Name, r.At, r.Values, r.Match, r.Keep))
		}
	}
	for _, n := range m.Notices {
		got = append(got, fmt.Sprintf("notice %s at %s on %v to %v via %s %d+%d octets", n.Name, n.At, n.On, n.To, n.Via, len(n.Body), len(n.HTML)))
	}
	want := []string{
		`user user anna@acme.example→anna@acme.example ionos→microsoft365 "Berg; Anna" O365_BUSINESS_PREMIUM wave 1`,
		`catch_all catchall catchall@acme.example→catchall@acme.example ionos→microsoft365 ""  wave 1`,
		`shared info info@acme.example→info@acme.example ionos→microsoft365 ""  wave 1`,
		`user user jens@acme.example→jens@acme.example ionos→microsoft365 "Jens Maß" O365_BUSINESS_PREMIUM wave 2`,
		`alias versand@acme.example→jens@acme.example at microsoft365`,
		`alias vertrieb@acme.example→anna@acme.example at microsoft365`,
		`list team@acme.example [anna@acme.example jens@acme.example] external false at microsoft365`,
		`forwarder rechnung@acme.example [belege@steuerberater.example] at microsoft365`,
		`acme.example ionos: TXT _dmarc at provision ["v=DMARC1; p=none; rua=mailto:dmarc@acme.example"] match "" keep true`,
		`lab.example rfc2136.lab: CNAME autodiscover at flip ["webmail.lab.example."] match "" keep false`,
		`lab.example rfc2136.lab: MX @ at flip ["10 mx.lab.example."] match "" keep false`,
		`lab.example rfc2136.lab: TXT @ at flip ["v=spf1 ip4:192.0.2.10 -all"] match "v=spf1" keep false`,
		`notice team at  on [gate.blocked gate.waiting phase.done step.failed] to [] via  0+0 octets`,
		`notice users at notice.start on [] to [anna@acme.example jens@acme.example] via office 62+21 octets`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if tenant := m.Targets[1].Settings["tenant"]; tenant != "acme.onmicrosoft.com" {
		t.Errorf("tenant %q", tenant)
	}
	src, err := os.ReadFile("testdata/example/example.mx.hcl")
	if err != nil {
		t.Fatal(err)
	}
	if out, diags := Format("example.mx.hcl", src); diags.HasErrors() || string(out) != string(src) {
		t.Errorf("the example is not in canonical form: %s", cmp.Diff(string(src), string(out)))
	}
}

func TestDefaults(t *testing.T) {
	m := load(t, files("a.mx.hcl", hosts+`
dns "by_hand" {}
domain "Acme.Example" {}
mailbox "anna" {
  source = "Anna@Acme.Example"
  target = "anna@acme.example"
}
`), Options{})
	if got := m.Cutover.Format(time.RFC3339); got != "2027-01-15T18:00:00+01:00" {
		t.Errorf("cutover %s", got)
	}
	var schedule []string
	for _, w := range m.Schedule {
		schedule = append(schedule, strings.TrimSpace(fmt.Sprintf("%s %s until %s repeat %s %s", w.Phase, w.Start, w.Until, plan.FormatDuration(w.Repeat), w.Gate)))
	}
	want := []string{
		"provision cutover-14d until  repeat 0s",
		"lower_ttl cutover-7d until  repeat 0s",
		"bulk_copy lower_ttl.start until  repeat 1d",
		"notice cutover-2d until  repeat 0s",
		"flip cutover until  repeat 0s flip",
		"delta flip.end until converged(3) repeat 15m",
		"validate flip.end until  repeat 0s",
		"hold validate.end until validate.end+30d repeat 6h",
		"decommission hold.end until  repeat 0s decommission",
	}
	if diff := cmp.Diff(want, schedule); diff != "" {
		t.Errorf("schedule -want +got:\n%s", diff)
	}
	var gates []string
	for _, g := range m.Gates {
		gates = append(gates, fmt.Sprint(g.Name, g.Require, g.Approve.Count))
	}
	if diff := cmp.Diff([]string{
		`decommission[manifest_archived no_stragglers_for["7d"]] 1`,
		"flip[bulk_copy_complete every_address_exists_at_target old_ttl_expired_everywhere rollback_plan_fresh target_accepts_mail] 1",
	}, gates); diff != "" {
		t.Errorf("gates -want +got:\n%s", diff)
	}
	wantHost := plan.Host{
		Kind: "imap", Hostname: "127.0.0.1", Port: 143, TLS: plan.TLSNone, Username: "{address}", Auth: "plain", Retire: "by_hand",
		Credentials: plan.SecretRef{Name: "mail", Kind: "env", Ref: "PW_{address}", Pos: plan.Pos{File: "a.mx.hcl", Line: 6}},
		Limits:      plan.Limits{ConnectionsPerMailbox: 5, ConnectionsTotal: 50, DoubtGrace: 2 * time.Minute, StallTimeout: time.Minute},
		Oversize:    plan.Oversize{Action: "quarantine"}, Pos: plan.Pos{File: "a.mx.hcl", Line: 7},
	}
	if diff := cmp.Diff(wantHost, m.Sources[0]); diff != "" {
		t.Errorf("source -want +got:\n%s", diff)
	}
	d := m.Domains[0]
	if d.Name != "acme.example" || d.Zone != "by_hand" || d.Mail != "imap" || d.TTLDuring != 5*time.Minute || d.TTLRestore != time.Hour || d.SPF != "replace" {
		t.Errorf("domain %+v", d)
	}
	if z := m.Zones[0]; z.MaxDeletes != -1 || z.Unmanaged != "keep" {
		t.Errorf("zone %+v", z)
	}
	if b := m.Mailboxes[0]; b.Source != "Anna@acme.example" || b.From != "imap" || b.On != "imap" || b.Deletes != "keep" || b.Kind != plan.UserMailbox || b.Wave != 1 {
		t.Errorf("mailbox %+v", b)
	}
	if m.Validation.MaxDifference != 0.01 {
		t.Errorf("validation %+v", m.Validation)
	}
}

// What a migration of seconds against test servers writes.
func TestShortSchedule(t *testing.T) {
	m := load(t, files("a.mx.hcl", strings.Replace(hosts, "2027-01-15T18:00", "2027-01-15T17:00:10Z", 1)+`
dns "rfc2136" {
  server   = "127.0.0.1:5301"
  resolver = "[::1]:5353"
  key {
    name   = "Mxodus"
    secret = secret.mail
  }
}
schedule {
  phase "hold" {
    start  = after(phase.validate.end, "2s")
    repeat = "500ms"
  }
  phase "delta" {
    start = "2027-01-15T18:00:30"
    until = converged(2)
  }
  phase "decommission" {
    gate = gate.mine
  }
}
gate "mine" {
  require = [check.no_stragglers_for["168h"], check.no_stragglers_for["1s"]]
}
`), Options{})
	if m.Cutover.Unix() != 1800032410 {
		t.Errorf("cutover %v", m.Cutover)
	}
	hold := m.Window(plan.Hold)
	if hold.Start.String() != "validate.end+2s" || hold.Until.String() != "validate.end+30d2s" || hold.Repeat != 500*time.Millisecond {
		t.Errorf("hold %v until %v", hold.Start, hold.Until)
	}
	if s := m.Window(plan.Delta).Start.String(); s != "2027-01-15T18:00:30+01:00" {
		t.Errorf("delta %s", s)
	}
	g, _ := m.Gate(m.Window(plan.Decommission).Gate)
	if fmt.Sprint(g.Require) != `[no_stragglers_for["1s"] no_stragglers_for["7d"]]` || len(m.Gates) != 3 {
		t.Errorf("gates %v", m.Gates)
	}
	z := m.Zones[0]
	if fmt.Sprintf("%v %s %s %s", z.Authoritative, z.Resolver, z.KeyName, z.KeyAlgorithm) != "[127.0.0.1:5301] [::1]:5353 mxodus. hmac-sha256" {
		t.Errorf("zone %+v", z)
	}
}

func TestReferences(t *testing.T) {
	m := load(t, files("a.mx.hcl", hosts+`
target "imap" "lab" {
  host        = "lab.example"
  credentials = secret.mail
}
dns "by_hand" "x" {}
dns "by_hand" {}
domain "acme.example" {
  mail = target.imap
  dns  = dns.by_hand.x
  record "MX" "@" {
    values = ["10 MX.new.example.", "0 mx.lab.example."]
  }
}
mailbox "named" {
  for_each     = toset(["a@acme.example", "b@acme.example"])
  source       = each.key
  target       = each.value
  display_name = title(split("@", each.value)[0])
}
mailbox "one" {
  source      = "c@acme.example"
  target      = mailbox.named["b@acme.example"].key == "" ? "x@acme.example" : "c@lab.example"
  on          = target.imap.lab
  credentials = secret.mail
}
distribution_list "all" {
  address = "all@other.example"
  members = [for m in merge(mailbox.named, {}) : m]
}
distribution_list "again" {
  address = "again@acme.example"
  members = [distribution_list.all, "outside@elsewhere.example", mailbox.one.target]
}
`), Options{})
	if got := fmt.Sprintf("%v %s", m.Domains[0].Records[0].Values, m.Domains[0].Zone); got != "[0 mx.lab.example. 10 mx.new.example.] by_hand.x" {
		t.Errorf("records %s", got)
	}
	var got []string
	for _, b := range m.Mailboxes {
		got = append(got, b.Target+" "+b.On+" "+b.DisplayName+" "+b.Key)
	}
	for _, a := range m.Lists {
		got = append(got, fmt.Sprint(a.Address, " ", a.On, a.Members))
	}
	if diff := cmp.Diff([]string{
		"a@acme.example imap A a@acme.example", "b@acme.example imap B b@acme.example", "c@lab.example imap.lab  ",
		"again@acme.example imap[all@other.example c@lab.example outside@elsewhere.example]",
		"all@other.example imap[a@acme.example b@acme.example]",
	}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestVariables(t *testing.T) {
	fsys := files("a.mx.hcl", hosts+`
variable "who" {
  type    = string
  default = "default"
}
variable "list" {
  type    = list(object({ a = string, b = optional(number, 7) }))
  default = []
}
mailbox "m" {
  source       = "a@acme.example"
  target       = "a@acme.example"
  display_name = var.who
  license      = join(",", [for x in var.list : "${x.a}${x.b}"])
}
`, "one.vars", "who = \"file one\"\nlist = [{ a = \"x\" }]\n", "two.vars", "who = upper(\"x\")\n", "three.vars", "who = \"file three\"\n")
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"default", Options{}, "default/"},
		{"environment", Options{Environ: []string{"HOME=/x", "MXODUS_VAR_who=env", "NOVALUE"}}, "env/"},
		{"file over environment", Options{Environ: []string{"MXODUS_VAR_who=env"}, VarFiles: []string{"./one.vars"}}, "file one/x7"},
		{"later file", Options{VarFiles: []string{"one.vars", "three.vars"}}, "file three/x7"},
		{"-var over file", Options{VarFiles: []string{"one.vars"}, Vars: map[string]string{"who": "typed ${x}", "list": `[{a="y",b=1}]`}}, "typed ${x}/y1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := load(t, fsys, tt.o).Mailboxes[0]
			if got := b.DisplayName + "/" + b.License; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if _, errs := Load(fsys, Options{VarFiles: []string{"two.vars"}}); !errs.HasErrors() {
		t.Error("a function in a file of variables was accepted")
	}
}

// The digest depends on the meaning and on nothing else.
func TestDigestIsStable(t *testing.T) {
	example, err := os.ReadFile("testdata/example/example.mx.hcl")
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join("testdata/example", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	base := load(t, os.DirFS("testdata/example"), Options{}).Digest()
	blocks := strings.SplitAfter(string(example), "\n}\n")
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		r.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
		fsys := fstest.MapFS{}
		for i, b := range blocks {
			name := fmt.Sprintf("%c%d.mx.hcl", 'a'+rune(r.IntN(26)), i%(1+int(seed)))
			old := ""
			if f := fsys[name]; f != nil {
				old = string(f.Data)
			}
			fsys[name] = &fstest.MapFile{Data: []byte(old + "# a comment\n" + b)}
		}
		for _, name := range []string{"mailboxes.csv", "aliases.csv"} {
			lines := strings.SplitAfter(read(name), "\n")
			rows := lines[1 : len(lines)-1]
			r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
			fsys[name] = &fstest.MapFile{Data: []byte(strings.Join(lines, ""))}
		}
		for _, name := range []string{"notices/cutover.de.txt", "notices/cutover.de.html"} {
			fsys[name] = &fstest.MapFile{Data: []byte(read(name))}
		}
		if got := load(t, fsys, Options{}).Digest(); got != base {
			t.Fatalf("seed %d: another digest", seed)
		}
	}
	changed := files("example.mx.hcl", strings.Replace(string(example), `"24h"
  }
}

gate`, `"25h"
  }
}

gate`, 1), "mailboxes.csv", read("mailboxes.csv"), "aliases.csv", read("aliases.csv"), "notices/cutover.de.txt", read("notices/cutover.de.txt"))
	if load(t, changed, Options{}).Digest() == base {
		t.Error("another approval and a missing template give the same digest")
	}
}

// Two thousand mailboxes with two aliases each load.
func TestManyMailboxes(t *testing.T) {
	var people, aliases strings.Builder
	people.WriteString("address,target,name\n")
	aliases.WriteString("alias,address\n")
	for i := range 2000 {
		fmt.Fprintf(&people, "user%d@acme.example,user%d@acme.example,User %d\n", i, i, i)
		fmt.Fprintf(&aliases, "a%d@acme.example,user%d@acme.example\nb%d@acme.example,user%d@acme.example\n", i, i, i, i)
	}
	m := load(t, files("a.mx.hcl", hosts+`
mailbox "user" {
  for_each     = { for p in csvdecode(file("people.csv")) : p.address => p }
  source       = each.key
  target       = each.value.target
  display_name = each.value.name
}
alias "a" {
  for_each = { for a in csvdecode(file("aliases.csv")) : a.alias => a.address }
  address  = each.key
  deliver  = mailbox.user[each.value]
}
distribution_list "all" {
  address = "all@acme.example"
  members = values(mailbox.user)[*].address
}
`, "people.csv", people.String(), "aliases.csv", aliases.String()), Options{})
	if len(m.Mailboxes) != 2000 || len(m.Aliases) != 4000 || len(m.Lists[0].Members) != 2000 {
		t.Errorf("%d mailboxes, %d aliases, %d members", len(m.Mailboxes), len(m.Aliases), len(m.Lists[0].Members))
	}
}

// A symbolic link out of the folder is not followed where the caller gives
// the folder as an os.Root.
func TestSymlinkOutIsRefused(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside.csv")
	if err := os.WriteFile(outside, []byte("address,target\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := hosts + "locals {\n  x = csvdecode(file(\"link.csv\"))\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "a.mx.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link.csv")); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if _, errs := Load(root.FS(), Options{}); !errs.HasErrors() || !strings.Contains(errs[0].Detail, "link.csv") {
		t.Errorf("the link was followed: %v", errs)
	}
}
