package googletest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	google "github.com/mxodus/mxodus/providers/google_workspace"
	"github.com/mxodus/mxodus/providers/google_workspace/googletest"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/copy"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

const (
	anna     = "anna@acme.example"
	password = "a password"
)

type secrets map[string]string

func (s secrets) Resolve(_ context.Context, ref plan.SecretRef, _ string) (providers.Secret, error) {
	return providers.Keep(s[ref.Name]), nil
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

// world is a workspace and another host, and what is copied between them.
type world struct {
	t     *testing.T
	gmail *googletest.Workspace
	other *imaptest.Memory
	dir   string
}

func newWorld(t *testing.T, trouble googletest.Trouble) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	var err error
	if w.gmail, err = googletest.New(trouble, time.Now); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.gmail.Close() })
	if w.other, err = imaptest.NewMemory(imaptest.MemoryOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.other.Close() })
	w.gmail.AddAccount(anna)
	w.other.AddAccount(anna, password)
	if err := os.WriteFile(filepath.Join(w.dir, "ca.pem"), w.gmail.Authority().PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) workspace() (*google.Workspace, plan.Host) {
	w.t.Helper()
	h := plan.Host{Kind: "google_workspace", Auth: "xoauth2", CAFile: "ca.pem", Credentials: plan.SecretRef{Name: "key", Kind: "file", Ref: "key.json"},
		Settings: map[string]string{"endpoints.token": w.gmail.TokenURL(), "endpoints.imap": fmt.Sprintf("localhost:%d", w.gmail.Port())},
		Limits:   plan.Limits{DoubtGrace: 300 * time.Millisecond, StallTimeout: 20 * time.Second}}
	ws, err := google.New(h, google.Options{Secrets: secrets{"key": w.gmail.Key()}, Root: w.dir})
	if err != nil {
		w.t.Fatal(err)
	}
	h.Hostname, h.Port = ws.IMAP()
	return ws, h
}

// copier copies from Gmail, or to it.
func (w *world) copier(toGmail bool) copy.Single {
	ws, h := w.workspace()
	gmail := &imap.Dialer{Host: h, Clock: wallClock{}, Root: w.dir, Tokens: &imap.SharedTokens{Clock: wallClock{}, Fetch: func(ctx context.Context, address string) (imap.Token, error) {
		token, ends, err := ws.Token(ctx, address)
		return imap.Token{Value: providers.Keep(token), Expiry: ends}, err
	}}}
	other := &imap.Dialer{Clock: wallClock{}, Secrets: secrets{"mail": password}, Host: plan.Host{Kind: "imap", Name: "other", Hostname: "127.0.0.1", Port: w.other.Port(), TLS: plan.TLSNone,
		Credentials: plan.SecretRef{Name: "mail", Kind: "env", Ref: "X"}, Limits: plan.Limits{DoubtGrace: 300 * time.Millisecond, StallTimeout: 20 * time.Second}}}
	s := copy.Single{Source: gmail, Target: other, SourceAddress: anna, TargetAddress: anna, StateDir: filepath.Join(w.dir, "state"), Clock: wallClock{}}
	if toGmail {
		s.Source, s.Target, gmail.Canary = other, gmail, true
	}
	return s
}

func (w *world) pass(toGmail bool) providers.PassResult {
	w.t.Helper()
	r, err := w.copier(toGmail).Run(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) whole(toGmail bool, messages int) {
	w.t.Helper()
	box, engine := w.copier(toGmail).Mailbox()
	c, err := engine.Compare(w.t.Context(), box)
	if err != nil || len(c.Missing) != 0 || c.Target != messages || c.Source != messages {
		w.t.Errorf("compare: %+v, %v; want %d messages", c, err, messages)
	}
}

func message(n int) []byte {
	return fmt.Appendf(nil, "From: a@partner.example\r\nTo: anna@acme.example\r\nSubject: message %d\r\nMessage-ID: <%d@partner.example>\r\n\r\nbody %d\r\n", n, n, n)
}

var date = time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)

func (w *world) deliver(n int, flags []string, folders ...string) uint64 {
	w.t.Helper()
	number, err := w.gmail.Deliver(anna, message(n), flags, date, folders...)
	if err != nil {
		w.t.Fatal(err)
	}
	return number
}

// at is where each message is: "folder flags".
func at(t *testing.T, all map[string][]imaptest.Mail, err error) map[string]string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for folder, mails := range all {
		for _, m := range mails {
			_, rest, _ := bytes.Cut(m.Octets, []byte("Subject: message "))
			n, _, _ := bytes.Cut(rest, []byte("\r\n"))
			if found[string(n)] != "" {
				found[string(n)] += " AND "
			}
			found[string(n)] += strings.TrimSpace(folder + " " + strings.Join(m.Flags, " "))
		}
	}
	return found
}

const all = "[Gmail]/All Mail"

// TestLabelsAreCopiedOnce: a message in four folders arrives once, where its owner would look first.
func TestLabelsAreCopiedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, googletest.Trouble{})
	w.deliver(1, []string{`\Seen`}, "INBOX", all, "Kunden/Müller & Co", "[Gmail]/Important")
	w.deliver(2, nil, "Kunden/Müller & Co", "Alt", all)
	archived := w.deliver(3, []string{`\Flagged`}, all, "[Gmail]/Starred")
	w.deliver(4, nil, "[Gmail]/Sent Mail", all, "Alt")
	w.deliver(5, nil, "[Gmail]/Trash")
	moving := w.deliver(6, nil, "INBOX", all)
	r := w.pass(false)
	if r.Copied != 6 {
		t.Errorf("%+v", r)
	}
	want := map[string]string{
		"1": `INBOX $important \seen kunden/m&apw-ller_&-_co`, "2": `Alt kunden/m&apw-ller_&-_co`, "3": `Archive \flagged`,
		"4": "[Gmail]/Sent Mail alt", "5": "[Gmail]/Trash", "6": "INBOX",
	}
	check := func() {
		t.Helper()
		snapshot, err := w.other.Snapshot(anna)
		got := at(t, snapshot, err)
		for n, place := range want {
			if got[n] != place {
				t.Errorf("message %s is at %q, want %q", n, got[n], place)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d messages: %v", len(got), got)
		}
	}
	check()
	w.whole(false, 6)
	if r := w.pass(false); r.Changed() {
		t.Errorf("second pass: %+v", r)
	}

	// A label that a message gets later is no second copy; one that leaves INBOX for another takes its copy along.
	if err := w.gmail.File(anna, archived, "Alt"); err != nil {
		t.Fatal(err)
	}
	if err := w.gmail.File(anna, moving, "Neu"); err != nil {
		t.Fatal(err)
	}
	w.gmail.Unfile(anna, moving, "INBOX")
	w.deliver(7, nil, "INBOX", all, "Neu")
	if r := w.pass(false); r.Copied != 1 || r.Moved != 1 {
		t.Errorf("delta: %+v", r)
	}
	want["3"], want["6"], want["7"] = `Archive \flagged alt`, "Neu", "INBOX neu"
	check()
	w.whole(false, 7)
	if r := w.pass(false); r.Changed() {
		t.Errorf("last pass: %+v", r)
	}
}

// TestGmailMerges: what Gmail has already it takes and throws away; nothing is missed because of it.
func TestGmailMerges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, googletest.Trouble{CutAppends: 7})
	for i := range 20 {
		for _, folder := range []string{"INBOX", "INBOX", "Ablage  alt"}[:1+i%3] {
			if _, err := w.other.Deliver(anna, folder, message(i), []string{`\Seen`}, date); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := w.other.Deliver(anna, "INBOX", message(99), []string{`\Deleted`}, date); err != nil {
		t.Fatal(err)
	}
	for pass := 1; ; pass++ {
		r, err := w.copier(true).Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !r.Changed() && r.Doubt == 0 {
			break
		}
		if pass == 5 {
			t.Fatalf("%+v", r)
		}
	}
	snapshot, err := w.gmail.Snapshot(anna)
	delete(snapshot, all)
	got := at(t, snapshot, err)
	for i := range 20 {
		want := `INBOX \seen`
		if i%3 == 2 {
			want = `Ablage alt \seen AND INBOX \seen`
		}
		if g := got[fmt.Sprint(i)]; g != want && g != `INBOX \seen AND Ablage alt \seen` {
			t.Errorf("message %d is at %q, want %q", i, g, want)
		}
	}
	if got["99"] != "" {
		t.Error("a message marked \\Deleted was copied; Gmail expunges it at once")
	}
	w.whole(true, 39)
}

// TestADaysBandwidth: the account is over its limits, which ends the pass with a time and is no
// failure of any message.
func TestADaysBandwidth(t *testing.T) {
	t.Parallel()
	for _, toGmail := range []bool{false, true} {
		w := newWorld(t, googletest.Trouble{Bandwidth: 3_000})
		for i := range 40 {
			if toGmail {
				if _, err := w.other.Deliver(anna, "INBOX", message(i), nil, date); err != nil {
					t.Fatal(err)
				}
			} else {
				w.deliver(i, nil, "INBOX", all)
			}
		}
		if !toGmail {
			w.gmail.Use(5_000)
		}
		r, err := w.copier(toGmail).Run(t.Context())
		e, ok := errors.AsType[*providers.Error](err)
		if !ok || e.Reason != providers.Throttled || e.Wait < 10*time.Minute || r.Quarantined != 0 {
			t.Fatalf("to Gmail %v: %+v, %v", toGmail, r, err)
		}
		w.gmail.Lift()
		for range 3 {
			r = w.pass(toGmail)
		}
		if r.Changed() || r.Quarantined != 0 {
			t.Errorf("to Gmail %v: %+v", toGmail, r)
		}
		w.whole(toGmail, 40)
	}
}

// TestTokensOfAPerson: the service account asks in each person's name, and refusals say what to do.
func TestTokensOfAPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t, googletest.Trouble{Localized: true, TooMany: 3})
	ws, _ := w.workspace()
	if token, ends, err := ws.Token(t.Context(), anna); err != nil || token == "" || time.Until(ends) < 50*time.Minute {
		t.Errorf("%q, %v, %v", token, ends, err)
	}
	_, _, err := ws.Token(t.Context(), "nobody@acme.example")
	if e, ok := errors.AsType[*providers.Error](err); !ok || e.Reason != providers.Authentication || !strings.Contains(e.Server, "Invalid email") || !strings.Contains(e.Remedy, "alias") {
		t.Errorf("nobody: %v", err)
	}
	if _, err := w.gmail.Deliver(anna, message(1), nil, date, "INBOX", "[Google Mail]/Alle Nachrichten"); err != nil {
		t.Fatal(err)
	}
	if r := w.pass(false); r.Copied != 1 {
		t.Errorf("with German names: %+v", r)
	}

	refusing := newWorld(t, googletest.Trouble{NotDelegated: true})
	_, err = refusing.copier(false).Run(t.Context())
	e, ok := errors.AsType[*providers.Error](err)
	if !ok || e.Reason != providers.Authentication || !strings.Contains(e.Remedy, "Domain-wide delegation") || !strings.Contains(e.Remedy, googletest.Account) {
		t.Errorf("not delegated: %v (%+v)", err, e)
	}
	for name, key := range map[string]string{"no JSON": "PK", "another type": `{"type":"authorized_user"}`, "no key": `{"type":"service_account"}`,
		"no PEM": `{"type":"service_account","client_email":"a@b","private_key":"canary-secret"}`} {
		_, h := w.workspace()
		ws, err := google.New(h, google.Options{Secrets: secrets{"key": key}, Root: w.dir})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = ws.Token(t.Context(), anna)
		if providers.ReasonOf(err) != providers.Authentication || strings.Contains(fmt.Sprintf("%v %+v", err, errors.Unwrap(err)), "canary-secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
