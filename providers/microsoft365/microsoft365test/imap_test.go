package microsoft365test_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/copy"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
	"github.com/mxodus/mxodus/providers/microsoft365/microsoft365test"
)

const (
	anna     = "anna@acme.example"
	password = "a password"
)

// wallClock remembers how long it was asked to wait, and doesn't wait longer than a second.
type wallClock struct {
	mu    sync.Mutex
	waits []time.Duration
}

func (*wallClock) Now() time.Time { return time.Now() }
func (c *wallClock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	c.waits = append(c.waits, d)
	c.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(min(d, time.Second)):
		return nil
	}
}

func (c *wallClock) waited(d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.waits, d)
}

type passwords string

func (p passwords) Resolve(context.Context, plan.SecretRef, string) (providers.Secret, error) {
	return providers.Keep(string(p)), nil
}

// tenancy is an old host, Exchange, and the engine between them.
type tenancy struct {
	t         *testing.T
	old       *imaptest.Memory
	mailboxes *microsoft365test.Mailboxes
	clock     *wallClock
	dir       string
	issued    int
	alive     map[string]bool
	mu        sync.Mutex
	opens     bool
}

func newTenancy(t *testing.T, trouble microsoft365test.IMAPTrouble) *tenancy {
	t.Helper()
	w := &tenancy{t: t, clock: &wallClock{}, dir: t.TempDir(), alive: map[string]bool{}, opens: true}
	var err error
	if w.old, err = imaptest.NewMemory(imaptest.MemoryOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.old.Close() })
	w.old.AddAccount(anna, password)
	if w.mailboxes, err = microsoft365test.NewMailboxes(microsoft365test.IMAPOptions{
		Clock: time.Now, Trouble: trouble,
		Token: func(_, token string) bool { w.mu.Lock(); defer w.mu.Unlock(); return w.alive[token] },
		Opens: func(string, string) bool { w.mu.Lock(); defer w.mu.Unlock(); return w.opens },
		Limit: func(string) int64 { return 300_000 },
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.mailboxes.Close() })
	w.mailboxes.AddAccount(anna)
	if err := os.WriteFile(filepath.Join(w.dir, "ca.pem"), w.mailboxes.Authority().PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// copier is a fresh engine with the same state.
func (w *tenancy) copier() copy.Single {
	limits := plan.Limits{DoubtGrace: 600 * time.Millisecond, StallTimeout: 20 * time.Second, ConnectionsPerMailbox: 3}
	from := plan.Host{Kind: "imap", Name: "old", Hostname: "127.0.0.1", Port: w.old.Port(), TLS: plan.TLSNone,
		Credentials: plan.SecretRef{Name: "mail", Kind: "env", Ref: "X"}, Limits: limits}
	to := plan.Host{Kind: "microsoft365", Hostname: "localhost", Port: w.mailboxes.Port(), Auth: "xoauth2", CAFile: "ca.pem", Limits: limits}
	return copy.Single{
		Source:        &imap.Dialer{Host: from, Secrets: passwords(password), Clock: w.clock},
		Target:        &imap.Dialer{Host: to, Clock: w.clock, Root: w.dir, Tokens: &imap.SharedTokens{Clock: w.clock, One: true, Fetch: w.token}, Canary: true},
		SourceAddress: anna, TargetAddress: anna, StateDir: filepath.Join(w.dir, "state"), Clock: w.clock,
	}
}

func (w *tenancy) token(context.Context, string) (imap.Token, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.issued++
	token := fmt.Sprintf("token-%d", w.issued)
	w.alive[token] = true
	return imap.Token{Value: providers.Keep(token), Expiry: time.Now().Add(time.Hour)}, nil
}

func (w *tenancy) deliver(folder string, octets []byte, flags ...string) {
	w.t.Helper()
	if _, err := w.old.Deliver(anna, folder, octets, flags, time.Date(2019, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600))); err != nil {
		w.t.Fatal(err)
	}
}

func message(n int) []byte {
	return fmt.Appendf(nil, "From: a@partner.example\r\nTo: anna@acme.example\r\nSubject: message %d\r\nMessage-ID: <%d@partner.example>\r\nDate: Mon, 4 Mar 2019 05:06:07 +0100\r\n\r\nbody %d\r\n", n, n, n)
}

// subjects are how often each subject is at the target, by folder.
func (w *tenancy) subjects() map[string]map[string]int {
	w.t.Helper()
	all, err := w.mailboxes.Snapshot(anna)
	if err != nil {
		w.t.Fatal(err)
	}
	found := map[string]map[string]int{}
	for folder, mails := range all {
		found[folder] = map[string]int{}
		for _, m := range mails {
			_, rest, _ := bytes.Cut(m.Octets, []byte("Subject: "))
			subject, _, _ := bytes.Cut(rest, []byte("\r\n"))
			found[folder][string(subject)]++
			if !m.Date.Equal(time.Date(2019, 3, 4, 4, 6, 7, 0, time.UTC)) {
				w.t.Errorf("%s: %s has the date %v", folder, subject, m.Date)
			}
		}
	}
	return found
}

// TestFlagsAndFoldersAtExchange: what can't be kept there is left out and counted, and the rest is as it was.
func TestFlagsAndFoldersAtExchange(t *testing.T) {
	t.Parallel()
	w := newTenancy(t, microsoft365test.IMAPTrouble{})
	w.deliver("INBOX", message(1), `\Seen`, `\Flagged`)
	w.deliver("INBOX", message(2), `\Seen`, "$Forwarded", "$MDNSent")
	w.deliver("INBOX", message(3), `\Deleted`)
	w.deliver("Gesendete Objekte", message(4), `\Answered`)
	r, err := w.copier().Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Copied != 3 || r.KeywordsLost != 2 || r.Skipped != 1 || r.Quarantined != 0 {
		t.Errorf("%+v", r)
	}
	all, _ := w.mailboxes.Snapshot(anna)
	for want, mails := range map[string][]imaptest.Mail{`\flagged \seen`: all["INBOX"][:1], `\seen`: all["INBOX"][1:], `\answered`: all["Sent Items"]} {
		if len(mails) != 1 || strings.Join(mails[0].Flags, " ") != want {
			t.Errorf("want one message with %s: %+v", want, mails)
		}
	}
	if n := w.mailboxes.SetByStore(anna, `\Flagged`); n != 1 {
		t.Errorf("%d messages have \\Flagged by STORE, which alone shows in Outlook; want 1", n)
	}
	if w.mailboxes.Received("ENABLE") || w.mailboxes.Received("LOGIN") {
		t.Errorf("sent: %q", w.mailboxes.Commands())
	}
	second, err := w.copier().Run(t.Context())
	if err != nil || second.Changed() || second.Skipped != 1 {
		t.Errorf("second pass: %+v, %v", second, err)
	}
	c := w.copier()
	box, engine := c.Mailbox()
	if c, err := engine.Compare(t.Context(), box); err != nil || len(c.Missing) != 0 || c.LeftOut != 1 || c.Source != 3 || c.Target != 3 {
		t.Errorf("compare: %+v, %v", c, err)
	}
}

// TestTheCanary: dates and flags are tried with a message of our own first, which is removed again.
func TestTheCanary(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		trouble microsoft365test.IMAPTrouble
		words   string
	}{
		"kept":       {},
		"date lost":  {microsoft365test.IMAPTrouble{LoseDates: true}, "the date became"},
		"flags lost": {microsoft365test.IMAPTrouble{LoseFlags: true}, "the flag \\Seen is gone"},
		"no answer":  {microsoft365test.IMAPTrouble{CutAppends: 2}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTenancy(t, test.trouble)
			w.deliver("INBOX", message(1), `\Seen`)
			r, err := w.copier().Run(t.Context())
			all, serr := w.mailboxes.Snapshot(anna)
			if serr != nil {
				t.Fatal(serr)
			}
			for folder := range all {
				if strings.HasPrefix(folder, imap.StagingPrefix) {
					t.Errorf("%s is left over", folder)
				}
			}
			if test.words == "" {
				if err != nil || r.Copied != 1 || !w.mailboxes.Received(`CREATE "MXODUS-STAGING-CANARY`) {
					t.Errorf("%+v, %v", r, err)
				}
				return
			}
			if providers.ReasonOf(err) != providers.Refused || !strings.Contains(err.Error(), test.words) || len(all["INBOX"]) != 0 {
				t.Errorf("%d messages were copied, %v", len(all["INBOX"]), err)
			}
		})
	}
}

// TestRefusedSizes: both texts put a message into quarantine, and the pass goes on.
func TestRefusedSizes(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]microsoft365test.IMAPTrouble{
		"Maximum size of appendable message": {}, "Command Argument Error. 11": {SizeAsBAD: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTenancy(t, trouble)
			w.deliver("INBOX", append(message(1), bytes.Repeat([]byte("0123456789abcdef\r\n"), 20_000)...))
			w.deliver("INBOX", append(message(2), bytes.Repeat([]byte("x"), 20_000)...)) // one line
			w.deliver("INBOX", append(message(3), bytes.Repeat([]byte("0123456789abcdef\r\n"), 80_000)...))
			w.deliver("INBOX", message(4))
			r, err := w.copier().Run(t.Context())
			if err != nil || r.Copied != 1 || r.Quarantined != 3 || !slices.ContainsFunc(r.Refusals, func(words string) bool { return strings.Contains(words, name) }) {
				t.Fatalf("%+v, %v", r, err)
			}
			if again, err := w.copier().Run(t.Context()); err != nil || again.Changed() || again.Quarantined != 3 {
				t.Errorf("second pass: %+v, %v", again, err)
			}
		})
	}
}

// TestTheSessionIsLeftBeforeTheTenthRefusal: 25 messages that are refused, and no session that Exchange had to close.
func TestTheSessionIsLeftBeforeTheTenthRefusal(t *testing.T) {
	t.Parallel()
	w := newTenancy(t, microsoft365test.IMAPTrouble{ErrorLimit: true})
	for i := range 60 {
		m := message(i)
		if i%2 == 0 {
			m = append(m, bytes.Repeat([]byte("x"), 20_000)...)
		}
		w.deliver("INBOX", m)
	}
	r, err := w.copier().Run(t.Context())
	if err != nil || r.Copied != 30 || r.Quarantined != 30 || r.Doubt != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if n := w.mailboxes.Closed(); n != 0 {
		t.Errorf("Exchange closed %d sessions for their errors", n)
	}
	if n := w.mailboxes.Logins(); n < 4 || n > 12 {
		t.Errorf("%d logins for 30 refusals", n)
	}
}

// TestAMailboxThatIsNotReady: the token is good, the mailbox isn't there yet.
func TestAMailboxThatIsNotReady(t *testing.T) {
	t.Parallel()
	w := newTenancy(t, microsoft365test.IMAPTrouble{})
	w.opens = false
	_, err := w.copier().Run(t.Context())
	if providers.ReasonOf(err) != providers.Authentication || !strings.Contains(err.Error(), "authenticated but not connected") {
		t.Errorf("err = %v", err)
	}
}

// TestObservingWaits: a question that the host wants asked later is asked later.
func TestObservingWaits(t *testing.T) {
	t.Parallel()
	w := newTenancy(t, microsoft365test.IMAPTrouble{ThrottleLogins: 2, ThrottleFetches: 3, Backoff: 41 * time.Millisecond})
	h := imap.Host{Dialer: w.copier().Target}
	for range 4 {
		if err := h.Login(t.Context(), providers.Account{Address: anna}); err != nil {
			t.Fatal(err)
		}
		if folders, err := h.Folders(t.Context(), providers.Account{Address: anna}); err != nil || len(folders) != 6 {
			t.Fatalf("%d folders, %v", len(folders), err)
		}
	}
	if !w.clock.waited(41 * time.Millisecond) {
		t.Error("the wait that the server named was not kept")
	}
}

// TestTokensEndMidSession: whatever the session does when its token ends, nothing is lost and
// nothing is there twice, and another token is fetched for all at once.
func TestTokensEndMidSession(t *testing.T) {
	t.Parallel()
	w := newTenancy(t, microsoft365test.IMAPTrouble{ExpireMidway: 20, RefuseLogins: 3})
	const n = 120
	for i := range n {
		w.deliver("INBOX", message(i))
	}
	stop := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		// A token ends when it has got somebody in, and after the refusals of good ones: the engine bears three in a row. It gives up after
		// eight attempts without progress, so that these three and those of ExpireMidway are fewer.
		last := ""
		for ended := 0; ended < 3; {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				w.mu.Lock()
				issued := fmt.Sprintf("token-%d", w.issued)
				w.mu.Unlock()
				if issued != last && w.mailboxes.Logins() > 4 && w.mailboxes.Used(issued) {
					w.mailboxes.Expire(issued)
					last = issued
					ended++
				}
			}
		}
	})
	r, err := w.copier().Run(t.Context())
	close(stop)
	killer.Wait()
	if err != nil || r.Quarantined != 0 || r.Doubt != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	w.once("INBOX", n)
	c := w.copier()
	box, engine := c.Mailbox()
	if c, err := engine.Compare(t.Context(), box); err != nil || len(c.Missing) != 0 {
		t.Errorf("compare: %+v, %v", c, err)
	}
}

// once checks that messages 0 to n-1 are in the folder, each once.
func (w *tenancy) once(folder string, n int) {
	w.t.Helper()
	found := w.subjects()[folder]
	for i := range n {
		if k := found[fmt.Sprintf("message %d", i)]; k != 1 {
			w.t.Errorf("message %d is there %d times", i, k)
		}
	}
	if len(found) != n {
		w.t.Errorf("%d messages in %s, want %d", len(found), folder, n)
	}
}

// TestEverythingAtOnce turns every switch on.
func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	w := newTenancy(t, microsoft365test.IMAPTrouble{
		ThrottleAppends: 11, ThrottleFetches: 13, ThrottleLogins: 5, RefuseLogins: 3, Backoff: 37 * time.Millisecond,
		ErrorLimit: true, LoseAppends: 23, CutAppends: 29, LateAppends: 31, NoUID: 7,
		StoredSize: true, MixItems: true, Rev2: true, NonMail: true, Hidden: true, ExpireMidway: 50, Render: microsoft365test.Renders,
	})
	const n = 100
	for i := range n {
		w.deliver("INBOX", message(i), `\Seen`)
		w.deliver("Ablage/2019", message(i))
	}
	for pass := 1; ; pass++ {
		r, err := w.copier().Run(t.Context())
		if err == nil && r.Doubt == 0 && !r.Changed() {
			break
		}
		if pass == 8 {
			t.Fatalf("after %d passes: %+v, %v", pass, r, err)
		}
	}
	w.once("INBOX", n)
	w.once("Ablage/2019", n)
	if !w.clock.waited(37 * time.Millisecond) {
		t.Error("the wait that the server named was not kept")
	}
	if w.mailboxes.Received("ENABLE") {
		t.Error("IMAP4rev2 was switched on")
	}
}

// TestRenderKeepsContent: what the double does to octets leaves what mail programs show.
func TestRenderKeepsContent(t *testing.T) {
	t.Parallel()
	for _, g := range imaptest.Generate(11, 60) {
		out := microsoft365test.Render(g.Octets)
		if again := microsoft365test.Render(out); len(again) == 0 {
			t.Error("a rendered message can't be rendered again")
		}
		_, before, _ := bytes.Cut(g.Octets, []byte("\r\n\r\n"))
		_, after, _ := bytes.Cut(out, []byte("\r\n\r\n"))
		strip := func(b []byte) string { return strings.Join(strings.Fields(string(b)), "") }
		if !strings.Contains(string(g.Octets), "multipart") && strip(before) != strip(after) {
			t.Errorf("the body changed:\n%.300q\n%.300q", before, after)
		}
	}
}

// TestAFirstLoginThatIsRefused: a good token may be refused before any was taken, as for a while after permissions were given. It is tried
// again, and a token that is refused for good still ends in its refusal.
func TestAFirstLoginThatIsRefused(t *testing.T) {
	t.Parallel()
	w := newTenancy(t, microsoft365test.IMAPTrouble{RefuseFirst: 3})
	w.deliver("INBOX", message(0))
	if r, err := w.copier().Run(t.Context()); err != nil || r.Copied != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	w.once("INBOX", 1)

	w = newTenancy(t, microsoft365test.IMAPTrouble{RefuseFirst: 1000})
	if _, err := w.copier().Run(t.Context()); providers.ReasonOf(err) != providers.Authentication {
		t.Errorf("err = %v", err)
	}
	if n := w.mailboxes.Logins(); n > 10 {
		t.Errorf("%d logins", n)
	}
}
