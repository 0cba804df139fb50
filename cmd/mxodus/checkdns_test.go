package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mxodus/mxodus/providers/dns/dnstest"
	"github.com/mxodus/mxodus/providers/dns/mailcheck"
)

const checkedZone = `
@ 300 IN MX 0 mx
mx 300 IN A 192.0.2.1
@ 300 IN TXT "v=spf1 mx -all"
default._domainkey 300 IN TXT "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
_dmarc 300 IN TXT "v=DMARC1; p=none | <b>\027[31m"
`

// checkedWorld is a zone at two servers with a resolver, and a folder whose migration names them.
func checkedWorld(t *testing.T, zone string) (servers []string, resolver, dir string) {
	t.Helper()
	z, err := dnstest.NewZone("acme.example.", zone, systemClock{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s, err := dnstest.Listen("127.0.0.1:0", nil, z)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		servers = append(servers, s.Addr())
	}
	r, err := dnstest.ListenResolver("127.0.0.1:0", systemClock{}, servers...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	dir = t.TempDir()
	text := `migration "acme" { cutover = "2027-01-15T18:00:00Z" }
source "imap" {
  host        = "127.0.0.1"
  credentials = secret.x
}
target "imap" {
  host        = "127.0.0.1"
  credentials = secret.x
}
secret "x" { env = "X" }
dns "by_hand" {
  authoritative = ["` + strings.Join(servers, `", "`) + `"]
  resolver      = "` + r.Addr() + `"
}
domain "acme.example" {}
`
	if err := os.WriteFile(filepath.Join(dir, "acme.mx.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return servers, r.Addr(), dir
}

func runIn(t *testing.T, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, clock: systemClock{}, environ: []string{"LANG=C.UTF-8", "X=secret"}, dir: dir}
	code = a.main(t.Context(), args)
	return code, out.String(), errs.String()
}

func TestCheckDNS(t *testing.T) {
	broken := strings.Replace(checkedZone, `"v=spf1 mx -all"`, `"v=spf1 mx -all"`+"\n"+`@ 300 IN TXT "v=spf1 +all"`, 1)
	sound := strings.Replace(checkedZone, ` | <b>\027[31m`, "", 1)
	t.Run("sound", func(t *testing.T) {
		_, _, dir := checkedWorld(t, sound)
		code, out, errs := runIn(t, dir, "check", "dns", "-no-fetch")
		if code != 0 || !strings.Contains(out, "acme.example: nothing wrong") || !strings.Contains(out, "v=spf1 mx -all (1 of 10 look-ups)") {
			t.Errorf("exit %d\n%s%s", code, out, errs)
		}
	})
	t.Run("broken, as text", func(t *testing.T) {
		_, _, dir := checkedWorld(t, broken)
		code, out, errs := runIn(t, dir, "check", "dns", "acme.example")
		if code != exitGate || !strings.Contains(out, "2 wrong") || !strings.Contains(out, "there are 2 SPF records") {
			t.Errorf("exit %d\n%s%s", code, out, errs)
		}
		if strings.Contains(out, "\x1b") {
			t.Errorf("an escape sequence of the zone's reached the terminal:\n%q", out)
		}
	})
	t.Run("broken, as JSON", func(t *testing.T) {
		_, _, dir := checkedWorld(t, broken)
		code, out, errs := runIn(t, dir, "-json", "check", "dns")
		var r mailcheck.Report
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitGate || r.OK || r.Domain != "acme.example" || len(r.Servers) != 2 {
			t.Errorf("exit %d, %v\n%s%s", code, err, out, errs)
		}
		for _, f := range r.Findings {
			if f.Code == "spf_many" && (f.OK || f.Check != "spf" || f.Remedy == "" || f.Source == "") {
				t.Errorf("%+v", f)
			}
		}
	})
	t.Run("broken, as Markdown", func(t *testing.T) {
		_, _, dir := checkedWorld(t, broken)
		code, out, errs := runIn(t, dir, "check", "dns", "-markdown")
		if code != exitGate || !strings.Contains(out, "| WRONG | spf |") || strings.Contains(out, "<b>") || strings.Contains(out, "\x1b") {
			t.Errorf("exit %d\n%s%s", code, out, errs)
		}
		for _, line := range strings.Split(out, "\n") {
			if strings.HasPrefix(line, "| WRONG") && strings.Count(strings.ReplaceAll(line, `\|`, ""), "|") != 5 {
				t.Errorf("the row has other cells than the table: %s", line)
			}
		}
	})
	t.Run("a domain of nobody's folder", func(t *testing.T) {
		servers, resolver, _ := checkedWorld(t, sound)
		code, out, errs := runIn(t, t.TempDir(), "check", "dns", "-no-fetch", "-server", servers[0], "-server", servers[1], "-resolver", resolver, "ACME.example.")
		if code != 0 || !strings.Contains(out, "nothing wrong") {
			t.Errorf("exit %d\n%s%s", code, out, errs)
		}
	})
	t.Run("mistakes", func(t *testing.T) {
		_, _, dir := checkedWorld(t, sound)
		if code, _, errs := runIn(t, dir, "check", "dns", "not a domain"); code != exitUsage || !strings.Contains(errs, "no domain name") {
			t.Errorf("exit %d, %s", code, errs)
		}
		if code, _, errs := runIn(t, dir, "-json", "check", "dns", "-markdown"); code != exitUsage {
			t.Errorf("exit %d, %s", code, errs)
		}
		if code, _, errs := runIn(t, t.TempDir(), "check", "dns"); code != exitError1 {
			t.Errorf("no folder and no domain: exit %d, %s", code, errs)
		}
		if err := os.WriteFile(filepath.Join(dir, "bad.mx.hcl"), []byte("nonsense {}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, out, _ := runIn(t, dir, "check", "dns", "acme.example"); code != exitError1 || out != "" {
			t.Errorf("a folder with a mistake: exit %d, %s", code, out)
		}
	})
}
