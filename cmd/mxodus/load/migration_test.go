package load

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers/dns/dnstest"
)

const migrationHCL = `migration "acme" {
  timezone = "Europe/Berlin"
  cutover  = "{cutover}"
}

secret "mail" {
  env = "PW"
}

secret "tsig" {
  env = "TSIG"
}

source "imap" "old" {
  host        = "127.0.0.1"
  port        = {source}
  tls         = "none"
  credentials = secret.mail
}

target "imap" "new" {
  host        = "127.0.0.1"
  port        = {target}
  tls         = "none"
  credentials = secret.mail
  smtp_probe  = "off"
}

dns "rfc2136" {
  server = "{dns}"

  key {
    name   = "mxodus."
    secret = secret.tsig
  }
}

domain "acme.example" {
  record "MX" "@" {
    at     = phase.flip
    values = ["10 mail.acme.example."]
  }
}

mailbox "user" {
  for_each = { for m in csvdecode(file("mailboxes.csv")) : m.address => m }
  source   = each.key
  target   = each.key
}

schedule {
  phase "bulk_copy" {
    start = before(cutover, "60d")
  }
}
`

const tsigSecret = "bXhvZHVzIGVtYmVkZGVkIG5hbWUgc2VydmVyIGtleSE="

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// migration is a folder with a migration of these mailboxes from h.source to h.target. Its bulk copy is due, its flip a month ahead.
type migration struct {
	t   *testing.T
	dir string
}

func newMigration(t *testing.T, h *hosts, mailboxes []string) *migration {
	t.Helper()
	key := dnstest.Key{Name: "mxodus.", Secret: tsigSecret}
	zone, err := dnstest.NewZone("acme.example.", "$TTL 3600\n@ MX 10 mail.old.example.\nmail A 192.0.2.25\n", systemClock{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := dnstest.Listen("127.0.0.1:0", &key, zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	port := func(address string) string { _, p, _ := net.SplitHostPort(address); return p }
	m := &migration{t: t, dir: t.TempDir()}
	for name, text := range map[string]string{
		"acme.mx.hcl": strings.NewReplacer("{cutover}", time.Now().Add(30*24*time.Hour).UTC().Format("2006-01-02T15:04Z"),
			"{source}", port(h.source.Address()), "{target}", port(h.target.Address()), "{dns}", server.Addr()).Replace(migrationHCL),
		"mailboxes.csv": "address\n" + strings.Join(mailboxes, "\n") + "\n",
	} {
		if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// run runs the program in the folder and wants that exit code.
func (m *migration) run(code int, args ...string) ended {
	m.t.Helper()
	e := run(m.t, m.dir, []string{"PW=" + password, "TSIG=" + tsigSecret}, args...)
	if e.code != code {
		m.t.Fatalf("mxodus %s: exit code %d, want %d\n%s", strings.Join(args, " "), e.code, code, e.output[max(0, len(e.output)-4000):])
	}
	return e
}

// counted are the figures of `status -json`.
func (m *migration) counted(e ended) (mailboxes, copied int) {
	m.t.Helper()
	var s struct {
		Mailboxes []struct{ Copied, Quarantined, Doubt int }
	}
	if err := json.Unmarshal([]byte(e.output[strings.Index(e.output, "{"):]), &s); err != nil {
		m.t.Fatalf("status -json: %v\n%s", err, e.output)
	}
	for _, b := range s.Mailboxes {
		copied += b.Copied
		if b.Quarantined+b.Doubt > 0 {
			m.t.Errorf("a mailbox has %d in quarantine, %d in doubt", b.Quarantined, b.Doubt)
		}
	}
	return len(s.Mailboxes), copied
}

func addresses(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("user%04d@acme.example", i))
	}
	return list
}
