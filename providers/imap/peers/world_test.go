package peers

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

const (
	sourceUser = "anna@acme.example"
	password   = "wonderland"
)

// corpus is how much mail there is.
type corpus struct {
	messages, folders int
	octets            int64
	capabilities      string // that the servers show, "" = all of theirs
	alone             bool   // too much for the floor and the peers
	rate              int    // octets a second of the lines, 0 = as many as can be
	deflate           bool   // the servers offer COMPRESS=DEFLATE
}

// The corpora of the table.
var (
	small       = corpus{messages: 2000, folders: 12, octets: 125 << 20}
	manyFolders = corpus{messages: 1993, folders: 229, octets: 57 << 20}
	bulk        = corpus{messages: 20000, folders: 4, octets: 484 << 20}
	huge        = corpus{messages: 500_000, folders: 1, octets: 500_000 * 600, alone: true}
	million     = corpus{messages: 1_000_000, folders: 1, octets: 1_000_000 * 600, alone: true}
	line        = corpus{messages: 2000, folders: 12, octets: 125 << 20, rate: 100_000_000 / 8}
	deflated    = corpus{messages: 2000, folders: 12, octets: 125 << 20, rate: 100_000_000 / 8, deflate: true}
	slow        = corpus{messages: 400, folders: 12, octets: 25 << 20, rate: 16_000_000 / 8}
	slowPacked  = corpus{messages: 400, folders: 12, octets: 25 << 20, rate: 16_000_000 / 8, deflate: true}
	smallPacked = corpus{messages: 2000, folders: 12, octets: 125 << 20, deflate: true}
	// What Exchange Online offers: neither mod-sequences nor LIST-STATUS nor MULTIAPPEND.
	exchange = corpus{messages: 1993, folders: 229, octets: 57 << 20, capabilities: "IMAP4rev1 SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+"}
)

// world is two Dovecots with a line between them and us.
type world struct {
	source, target           *imaptest.Dovecot
	sourceProxy, targetProxy *imaptest.Proxy
	accounts                 []string // at the target, empty
	folders                  []string
	state                    string // a folder on a real disk
	random                   *rand.Rand
}

type secret struct{}

func (secret) Resolve(context.Context, plan.SecretRef, string) (providers.Secret, error) {
	return providers.Keep(password), nil
}

func newWorld(t testing.TB, c corpus, accounts int, delay time.Duration) *world {
	t.Helper()
	w := &world{state: t.TempDir(), random: rand.New(rand.NewPCG(7, uint64(c.messages)))}
	// The servers' mail is in memory where that is possible, so that the copiers are measured and not a
	// disk; what mxodus has to make durable is not.
	if _, err := os.Stat("/dev/shm"); err == nil {
		t.Setenv("TMPDIR", "/dev/shm")
	}
	passwords := map[string]string{}
	for i := range accounts {
		w.accounts = append(w.accounts, fmt.Sprintf("u%d@acme.example", i))
		passwords[w.accounts[i]] = password
	}
	none := map[string]string{}
	settings := ""
	if c.capabilities != "" {
		settings = "imap_capability = " + c.capabilities
	}
	if c.deflate {
		settings += "\nmail_plugins = zlib\nprotocol imap {\n mail_plugins = zlib imap_zlib\n}"
	}
	w.source = imaptest.StartDovecot(t, imaptest.DovecotOptions{Accounts: map[string]string{sourceUser: password}, Store: "mdbox", SpecialUse: none, Settings: settings})
	w.target = imaptest.StartDovecot(t, imaptest.DovecotOptions{Accounts: passwords, Store: "mdbox", SpecialUse: none, Settings: settings})
	w.sourceProxy = imaptest.NewProxy(t, w.source.TLSAddress(), delay)
	w.targetProxy = imaptest.NewProxy(t, w.target.TLSAddress(), delay)
	w.sourceProxy.Rate, w.targetProxy.Rate = c.rate, c.rate
	t.Setenv("TMPDIR", "")
	w.fill(t, c)
	return w
}

// trust accepts both servers.
func (w *world) trust() *tls.Config {
	c := w.source.Client()
	c.RootCAs.AddCert(w.target.Authority.Certificate())
	c.ServerName = "localhost"
	return c
}

func (w *world) session(t testing.TB) *imap.Session {
	t.Helper()
	d := &imap.Dialer{Secrets: secret{}, Host: plan.Host{Kind: "imap", Hostname: "localhost", Port: w.source.TLSPort(), TLS: plan.TLSImplicit,
		CAFile: w.source.CAFile(), Credentials: plan.SecretRef{Name: "x", Kind: "env", Ref: "X"}}}
	s, err := d.Connect(t.Context(), providers.Account{Address: sourceUser})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var names = []string{"Projekte", "Müller & Söhne", "été", "日本", "📬", "a b", "100% sure", "(x)", "Quote ' it"}

func (w *world) fill(t testing.TB, c corpus) {
	t.Helper()
	s := w.session(t)
	defer s.Close()
	w.folders = []string{"INBOX"}
	for i := 1; i < c.folders; i++ {
		name := fmt.Sprintf("%s %d", names[i%len(names)], i)
		if i > 20 && i%3 == 0 {
			name = w.folders[i/3] + "/" + name
			if strings.HasPrefix(name, "INBOX/") || strings.Count(name, "/") > 4 {
				name = fmt.Sprintf("flat %d", i)
			}
		}
		w.folders = append(w.folders, name)
		if err := s.Create(t.Context(), s.WireName(name), ""); err != nil {
			t.Fatal(err)
		}
	}
	for f := range c.folders {
		var list []imap.Message
		for i := f; i < c.messages; i += c.folders {
			list = append(list, w.message(i, c.octets/int64(c.messages)))
			if len(list) < 500 && i+c.folders < c.messages {
				continue
			}
			results, err := s.Append(t.Context(), s.WireName(w.folders[f]), list)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range results {
				if r.UID == 0 {
					t.Fatal(r.Err)
				}
			}
			list = list[:0]
		}
	}
}

// count is how many messages an account of the target holds.
func (w *world) count(t testing.TB, account string) (n int) {
	t.Helper()
	d := &imap.Dialer{Secrets: secret{}, Host: plan.Host{Kind: "imap", Hostname: "localhost", Port: w.target.TLSPort(), TLS: plan.TLSImplicit,
		CAFile: w.target.CAFile(), Credentials: plan.SecretRef{Name: "x", Kind: "env", Ref: "X"}}}
	s, err := d.Connect(t.Context(), providers.Account{Address: account})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	list, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range list {
		if l.Status != nil {
			n += int(l.Status.Messages)
		}
	}
	return n
}

// message makes one of an ordinary mix of sizes: most are small, a few carry an attachment.
func (w *world) message(i int, mean int64) imap.Message {
	size := mean / 5
	switch n := w.random.IntN(100); {
	case n < 4:
		size = mean * 12
	case n < 14:
		size = mean * 3
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: Sender %d <sender%d@example.net>\r\nTo: %s\r\nSubject: number %d\r\nMessage-ID: <%d.%d@example.net>\r\n\r\n", i, i%50, sourceUser, i, i, w.random.Uint64())
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	line := make([]byte, 78)
	line[76], line[77] = '\r', '\n'
	for int64(b.Len()) < size {
		for j := 0; j < 76; j += 4 {
			x := w.random.Uint32()
			line[j], line[j+1], line[j+2], line[j+3] = letters[x&63], letters[x>>6&63], letters[x>>12&63], letters[x>>18&63]
		}
		b.Write(line)
	}
	flags := [][]string{{`\Seen`}, {`\Seen`, `\Answered`}, {}, {`\Flagged`, "Work"}, {`\Seen`, "$Forwarded", "NonJunk"}}[w.random.IntN(5)]
	return imap.Message{Flags: flags, InternalDate: time.Unix(1_200_000_000+int64(w.random.IntN(500_000_000)), 0).UTC(), Size: int64(b.Len()), Body: bytes.NewReader(b.Bytes())}
}

// change does at the source what happens there between two passes: 100 new messages, 200 changes of flags, 20
// deletions, 20 moves.
func (w *world) change(t testing.TB) {
	t.Helper()
	s := w.session(t)
	defer s.Close()
	ctx := t.Context()
	pick := func() string { return s.WireName(w.folders[w.random.IntN(len(w.folders))]) }
	some := func(n int, do func(set string) error) {
		for done := 0; done < n; {
			sel, err := s.Select(ctx, pick())
			if err != nil {
				t.Fatal(err)
			}
			var uids []uint32
			if err := s.FetchMeta(ctx, "1:*", imap.FetchItems{}, func(m imap.Meta) error { uids = append(uids, m.UID); return nil }); err != nil {
				t.Fatal(err)
			}
			if sel.Exists < 2 {
				continue
			}
			for range min(4, n-done, len(uids)/2) {
				i := w.random.IntN(len(uids))
				if err := do(fmt.Sprint(uids[i])); err != nil {
					t.Fatal(err)
				}
				uids = append(uids[:i], uids[i+1:]...)
				done++
			}
		}
	}
	for i := range 100 {
		if r, err := s.Append(ctx, pick(), []imap.Message{w.message(i, 23_000)}); err != nil || r[0].UID == 0 {
			t.Fatal(err, r)
		}
	}
	some(150, func(set string) error { return s.Store(ctx, set, "+FLAGS", []string{`\Flagged`, "Later"}) })
	some(50, func(set string) error { return s.Store(ctx, set, "-FLAGS", []string{`\Seen`}) })
	some(20, func(set string) error {
		if err := s.Store(ctx, set, "+FLAGS", []string{`\Deleted`}); err != nil {
			return err
		}
		return s.Expunge(ctx, set)
	})
	some(20, func(set string) error { _, err := s.Move(ctx, set, pick()); return err })
}

// port of a listener's address.
func port(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}
