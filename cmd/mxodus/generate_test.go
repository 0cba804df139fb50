package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers/dns/dnstest"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// TestGenerate begins with two hosts and passwords alone. The drafts make a configuration of them that is valid,
// that a second look has nothing to add to, and that can be planned.
func TestGenerate(t *testing.T) {
	old, err := imaptest.NewMemory(imaptest.MemoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { old.Close() })
	for _, a := range []string{"anna@acme.example", "jens.jansen@acme.example"} {
		old.AddAccount(a, "pass-"+a)
		for i := range 3 {
			octets := fmt.Appendf(nil, "From: x@other.example\r\nTo: %s, info@acme.example\r\nCc: chef@other.example\r\nSubject: %d\r\n\r\nx\r\n", a, i)
			if _, err := old.Deliver(a, "INBOX", octets, nil, time.Unix(1700000000, 0)); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"Spam", "Projekte ", "Notes"} {
			if err := old.AddFolder(a, name, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	zone, err := dnstest.NewZone("acme.example.", "$TTL 600\n@ MX 10 mx00.ionos.de.\n@ TXT \"v=spf1 include:_spf-eu.ionos.com include:shop.example ~all\"\n"+
		"_dmarc CNAME dmarc.ionos.de.\nautodiscover CNAME adsredir.ionos.info.\n", systemClock{})
	if err != nil {
		t.Fatal(err)
	}
	ns, err := dnstest.Listen("127.0.0.1:0", nil, zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })

	host, port, _ := strings.Cut(old.Address(), ":")
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	run := func(code int, args ...string) string {
		t.Helper()
		a, out, errOut := program(dir, "", false)
		a.clock = systemClock{}
		a.environ = append(a.environ, "KEY=x")
		if got := a.main(context.Background(), args); got != code {
			t.Fatalf("mxodus %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, out, errOut)
		}
		return out.String() + errOut.String()
	}
	write("acme.mx.hcl", fmt.Sprintf(`
migration "acme" { cutover = "2027-01-15T18:00Z" }
source "imap" {
  host = %q
  port = %s
  tls  = "none"
  credentials = secret.old
}
target "microsoft365" {
  tenant = "acme.onmicrosoft.com"
  client_id = "6f0c1e52-9d1b-4b53-8f0e-0c6d7c7b3a11"
  credentials = secret.key
}
secret "old" { csv = "secrets/old.csv" }
secret "key" { env = "KEY" }
dns "by_hand" { authoritative = [%q] }
`, host, port, ns.Addr()))
	write("secrets/old.csv", "address;password\nAnna@acme.example;pass-anna@acme.example\njens.jansen@acme.example;pass-jens.jansen@acme.example\nformer@acme.example;gone\nfilled.in@acme.example;\n")

	out := run(0, "discover", "-generate")
	for _, want := range []string{"former@acme.example at imap can't be looked into", "2 mailboxes log in that nothing declares yet.", "1 address without a home and named in mail:",
		"info@acme.example                        6 messages, most of them in anna@acme.example", "wrote drafts/mailboxes.csv", "mv drafts/acme-drafted.mx.hcl ."} {
		if !strings.Contains(out, want) {
			t.Errorf("discover -generate doesn't say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "pass-") || strings.Contains(out, "gone") {
		t.Errorf("a password is on the screen:\n%s", out)
	}
	if want := "address,target,name\nanna@acme.example,anna@acme.example,Anna\njens.jansen@acme.example,jens.jansen@acme.example,Jens Jansen\n"; read("drafts/mailboxes.csv") != want {
		t.Errorf("mailboxes:\n%s", read("drafts/mailboxes.csv"))
	}
	hcl := read("drafts/acme-drafted.mx.hcl")
	for _, want := range []string{`"Projekte " = "Projekte"`, `Notes       = "Notes (mail)"`, `# exclude = ["Spam"]`, `restore = 600`,
		"# Its DMARC policy is that of dmarc.ionos.de", `record "TXT" "_dmarc"`, "MX, SPF, autodiscover and DKIM come from the tenant", "mx00.ionos.de."} {
		if !strings.Contains(hcl, want) {
			t.Errorf("the draft holds no %q:\n%s", want, hcl)
		}
	}

	// As a person would: take it over.
	run(0, "import", "drafts/mailboxes.csv")
	run(0, "import", "drafts/aliases.csv")
	if err := os.Rename(filepath.Join(dir, "drafts/acme-drafted.mx.hcl"), filepath.Join(dir, "more.mx.hcl")); err != nil {
		t.Fatal(err)
	}
	write("aliases.mx.hcl", "alias \"all\" {\n  for_each = { for a in csvdecode(file(\"aliases.csv\")) : a.alias => a.address }\n  address = each.key\n  deliver = mailbox.user[each.value]\n}\n")
	if out := run(0, "validate"); !strings.Contains(out, "2 mailboxes, 1 domain") {
		t.Errorf("got %s", out)
	}

	// A draft that was changed is not overwritten; without them nothing is left to draft.
	if err := os.RemoveAll(filepath.Join(dir, "drafts")); err != nil {
		t.Fatal(err)
	}
	write("drafts/acme-drafted.mx.hcl", "# mine\n")
	write("more.mx.hcl", strings.ReplaceAll(hcl, "# exclude", "exclude"))
	a, _, errOut := program(dir, "", false)
	a.environ = append(a.environ, "KEY=x")
	loaded, err := a.load()
	if err != nil {
		t.Fatalf("%v\n%s", err, errOut)
	}
	g := generateJSON{}
	if err := a.generate(context.Background(), loaded); err == nil || !strings.Contains(err.Error(), "drafts/acme-drafted.mx.hcl is there already") {
		t.Errorf("got %v, %+v", err, g)
	}
}

// TestFormulasAreTold: addresses that are not drafted are named, ten at most, and are not called declared.
func TestFormulasAreTold(t *testing.T) {
	var out bytes.Buffer
	g := &generator{app: &app{stdout: &out}}
	for i := range 12 {
		g.out.Addresses = append(g.out.Addresses, draftAddress{fmt.Sprintf("=cmd%d@b.example", i), 1, "a@b.example"})
	}
	if err := g.show(); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"would run 12 addresses as a formula": true, "=cmd0@b.example, =cmd1@b.example": true, "=cmd9@b.example, …; -json": true,
		"=cmd10@b.example": false, "all that was seen is declared": false} {
		if strings.Contains(out.String(), text) != want {
			t.Errorf("%q: want %v in\n%s", text, want, &out)
		}
	}
}
