package copy

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"io/fs"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/canary"
	"github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
	"github.com/mxodus/mxodus/providers/leaks"
)

const (
	user     = "anna@acme.example"
	password = "a password, " + canary.Mark
)

type passwords string

func (p passwords) Resolve(context.Context, plan.SecretRef, string) (providers.Secret, error) {
	return providers.Keep(string(p)), nil
}

type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now() }
func (wallClock) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// server is one side of a test.
type server struct {
	address string
	config  *tls.Config
	account string // "" = user
	below   string // prefix of personal folders and separator: "INBOX." for Courier; "" = none and "/"
}

func (s server) name() string {
	if s.account == "" {
		return user
	}
	return s.account
}

// raw is how the server calls a folder.
func (s server) raw(name string) string {
	if s.below == "" || name == "INBOX" {
		return name
	}
	return s.below + strings.ReplaceAll(name, "/", s.below[len(s.below)-1:])
}

// canonical undoes raw.
func (s server) canonical(name string) string {
	if s.below == "" || name == "INBOX" {
		return name
	}
	return strings.ReplaceAll(strings.TrimPrefix(name, s.below), s.below[len(s.below)-1:], "/")
}

func (s server) read(t testing.TB) map[string][]imaptest.Mail {
	t.Helper()
	return imaptest.Read(t, s.address, s.config, s.name(), password)
}

func (s server) fill(t testing.TB, mails []imaptest.GeneratedMail) {
	t.Helper()
	separator := "/"
	if s.below != "" {
		separator = s.below[len(s.below)-1:]
	}
	imaptest.Fill(t, s.address, s.config, s.name(), password, separator, s.below, mails)
}

// client is an independent client, for what users do.
func (s server) client(t testing.TB) *imapclient.Client {
	t.Helper()
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	c := imapclient.New(conn, nil)
	if err := c.Login(s.name(), password).Wait(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (s server) selected(t testing.TB, folder string) *imapclient.Client {
	t.Helper()
	c := s.client(t)
	if _, err := c.Select(s.raw(folder), nil).Wait(); err != nil {
		t.Fatal(err)
	}
	return c
}

// dovecots starts a source and a target.
func dovecots(t testing.TB) (source, target server) {
	t.Helper()
	o := imaptest.DovecotOptions{Accounts: map[string]string{user: password}}
	a, b := imaptest.StartDovecot(t, o), imaptest.StartDovecot(t, o)
	return server{address: a.Address()}, server{address: b.Address()}
}

func memories(t testing.TB) (source, target server) {
	t.Helper()
	one := func() server {
		m, err := imaptest.NewMemory(imaptest.MemoryOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		m.AddAccount(user, password)
		return server{address: m.Address()}
	}
	return one(), one()
}

// traffic counts what the sessions of an end did.
type traffic struct {
	mu       sync.Mutex
	sessions []*imap.Session
	turns    int
}

func (x *traffic) take() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := -x.turns
	for _, s := range x.sessions {
		turns, _, _ := s.Traffic()
		n += turns
	}
	x.turns += n
	return n
}

// bench is an engine between two servers.
type bench struct {
	t          testing.TB
	engine     *Engine
	mailbox    plan.Mailbox
	src, dst   server
	source, to *end
	sourceTraffic,
	targetTraffic *traffic
	opened atomic.Int64
}

// withoutSecrets looks for the password in what the engine has left: manifests with their logs, spool files, quarantine.
func withoutSecrets(t testing.TB, dir string) {
	texts, err := canary.Folder(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return // the test has removed it
	}
	if err != nil {
		t.Error(err)
	}
	secrets := map[string]string{"the password": password}
	for _, line := range canary.Leaks(texts, secrets) {
		t.Error(line)
	}
	faults.Count(t, "secrets searched for", canary.Searched(secrets))
}

func newBench(t testing.TB, src, dst server, dir string, edit func(source, target *plan.Host)) *bench {
	t.Helper()
	t.Cleanup(func() { withoutSecrets(t, dir) }) // before it is removed
	host := func(s server, name string) plan.Host {
		h, p, _ := net.SplitHostPort(s.address)
		port, _ := net.LookupPort("tcp", p)
		return plan.Host{
			Kind: "imap", Name: name, Hostname: h, Port: port, TLS: plan.TLSNone, Auth: "plain",
			Credentials: plan.SecretRef{Name: "mail", Kind: "env", Ref: "X"},
			Limits:      plan.Limits{DoubtGrace: time.Second, StallTimeout: 20 * time.Second},
		}
	}
	from, to := host(src, "old"), host(dst, "new")
	if edit != nil {
		edit(&from, &to)
	}
	b := &bench{t: t, src: src, dst: dst, sourceTraffic: &traffic{}, targetTraffic: &traffic{}}
	dialer := func(h plan.Host) *imap.Dialer { return &imap.Dialer{Host: h, Secrets: passwords(password)} }
	b.mailbox = plan.Mailbox{Block: "user", Kind: plan.UserMailbox, Source: src.name(), Target: dst.name(), From: from.Key(), On: to.Key(), Deletes: "keep"}
	b.engine = New(Options{
		Source:   func(string) (*imap.Dialer, error) { return dialer(from), nil },
		Target:   func(string) (*imap.Dialer, error) { return dialer(to), nil },
		StateDir: dir, Clock: wallClock{},
	})
	var err error
	if b.source, b.to, err = b.engine.ends(b.mailbox); err != nil {
		t.Fatal(err)
	}
	count := func(e *end, x *traffic) {
		dial := e.dial
		e.dial = func(ctx context.Context) (session, error) {
			s, err := dial(ctx)
			if err == nil {
				x.mu.Lock()
				x.sessions = append(x.sessions, s.(*imap.Session))
				x.mu.Unlock()
				b.opened.Add(1)
			}
			return s, err
		}
	}
	count(b.source, b.sourceTraffic)
	count(b.to, b.targetTraffic)
	return b
}

// try makes a pass.
func (b *bench) try(mode providers.PassMode) (providers.PassResult, error) {
	return b.engine.pass(b.t.Context(), providers.PassSpec{Mailbox: b.mailbox, Mode: mode}, b.source, b.to)
}

// pass makes a pass that has to succeed.
func (b *bench) pass(mode providers.PassMode) providers.PassResult {
	b.t.Helper()
	r, err := b.try(mode)
	if err != nil {
		b.t.Fatalf("pass: %v", err)
	}
	return r
}

// idle makes a pass that must find nothing to do.
func (b *bench) idle(mode providers.PassMode) {
	b.t.Helper()
	if r := b.pass(mode); r.Changed() {
		b.t.Errorf("a pass with nothing to do reports %+v", r)
	}
}

// equal compares both sides by an independent read.
func (b *bench) equal() {
	b.t.Helper()
	lines := imaptest.Diff(b.src.read(b.t), b.dst.read(b.t), nil)
	if len(lines) > 0 {
		b.t.Fatalf("%d differences:\n%s", len(lines), strings.Join(lines[:min(len(lines), 20)], "\n"))
	}
}

func uidSet(uids ...uint32) goimap.UIDSet {
	var s goimap.UIDSet
	for _, u := range uids {
		s.AddNum(goimap.UID(u))
	}
	return s
}

func TestMain(m *testing.M) {
	if runChild() {
		return
	}
	// The tests that run side by side wait for servers and graces far more than they compute.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	leaks.Main(m, leaks.OfGoIMAP...)
}
