package ionostest_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/copy"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
	"github.com/mxodus/mxodus/providers/ionos/ionostest"
)

const anna, password = "anna@acme.example", "a password"

type secrets string

func (s secrets) Resolve(context.Context, plan.SecretRef, string) (providers.Secret, error) {
	return providers.Keep(string(s)), nil
}

type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now() }
func (wallClock) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(min(d, time.Second)):
		return nil
	}
}

// TestMailLeavesIONOS: without mod-sequences and response codes, with literals of 4096 octets, and with German names.
func TestMailLeavesIONOS(t *testing.T) {
	m, err := ionostest.NewMail(ionostest.MailOptions{Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	m.AddAccount(anna, password)
	target, err := imaptest.NewMemory(imaptest.MemoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	target.AddAccount(anna, password)
	if err := target.AddFolder(anna, "Sent", `\Sent`); err != nil {
		t.Fatal(err)
	}
	const n = 120
	for _, g := range imaptest.Generate(3, n) {
		folder := g.Folder
		if folder == "Sent" {
			folder = ionostest.Sent
		}
		if _, err := m.Deliver(anna, append(g.Octets, "\r\n\r\n"...), g.Flags, g.Date, folder); err != nil {
			t.Fatal(err)
		}
	}
	host := func(kind string, port int) plan.Host {
		return plan.Host{Kind: kind, Name: kind, Hostname: "127.0.0.1", Port: port, TLS: plan.TLSNone, Credentials: plan.SecretRef{Name: "mail", Kind: "env", Ref: "X"},
			Limits: plan.Limits{DoubtGrace: time.Second, StallTimeout: 10 * time.Second}}
	}
	source := &imap.Dialer{Host: host("ionos", m.Port()), Secrets: secrets(password), Clock: wallClock{}}
	s := copy.Single{Source: source, Target: &imap.Dialer{Host: host("imap", target.Port()), Secrets: secrets(password), Clock: wallClock{}},
		SourceAddress: anna, TargetAddress: anna, StateDir: filepath.Join(t.TempDir(), "state"), Clock: wallClock{}}
	r, err := s.Run(t.Context())
	if err != nil || r.Copied != n {
		t.Fatalf("%+v, %v", r, err)
	}
	if uid, err := m.Snapshot(anna); err != nil {
		t.Fatal(err)
	} else if err := m.Mark(anna, "INBOX", uid["INBOX"][0].UID, `\Flagged`, true); err != nil {
		t.Fatal(err)
	}
	if r, err = s.Run(t.Context()); err != nil || r.Copied != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	before, _ := m.Snapshot(anna)
	after, err := target.Snapshot(anna)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{ionostest.Sent: "Sent"}
	for _, line := range imaptest.Diff(before, after, func(folder string) string {
		if to := names[folder]; to != "" {
			return to
		}
		return folder
	}) {
		t.Error(line)
	}
	for _, c := range m.Commands() {
		if len(c) > 6 && c[:6] == "SELECT" {
			t.Errorf("the source was opened for writing: %s", c)
		}
	}
	m.Disable(anna)
	if err := (imap.Host{Dialer: source}).Login(t.Context(), providers.Account{Address: anna}); providers.ReasonOf(err) != providers.Authentication {
		t.Errorf("a closed account: %v", err)
	}
	busy, err := ionostest.NewMail(ionostest.MailOptions{Clock: time.Now, MaxLogins: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	busy.AddAccount(anna, password)
	d := imap.Host{Dialer: &imap.Dialer{Host: host("ionos", busy.Port()), Secrets: secrets(password)}}
	for i, want := range []providers.Reason{"", providers.TooMany} {
		if err := d.Login(t.Context(), providers.Account{Address: anna}); providers.ReasonOf(err) != want {
			t.Errorf("login %d: %v", i+1, err)
		}
	}
}
