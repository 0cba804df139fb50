package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mxodus/mxodus/providers/canary"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
	"github.com/mxodus/mxodus/providers/smtp/smtptest"
)

// mailHost is a mail server of a test, a real one or the embedded one. What the test
// does there goes by go-imap's client, past the program's own.
type mailHost struct {
	address string
	client  *tls.Config // nil: without TLS
	ca      string      // for ca_file, PEM
	pass    func(account string) string

	open   func(account string) // makes the account, or lets it in again
	shut   func(account string) // refuses its logins
	finish func()
	whole  bool // keeps messages whose header has no end as they are
}

func (h *mailHost) port() int {
	_, port, _ := net.SplitHostPort(h.address)
	n, _ := net.LookupPort("tcp", port)
	return n
}

// deliver puts a message into the INBOX.
func (h *mailHost) deliver(account string, octets []byte, date time.Time) error {
	conn, err := net.Dial("tcp", h.address)
	if err != nil {
		return err
	}
	if h.client != nil {
		conn = tls.Client(conn, h.client)
	}
	c := imapclient.New(conn, nil)
	defer c.Close()
	if err := c.Login(account, h.pass(account)).Wait(); err != nil {
		return err
	}
	cmd := c.Append("INBOX", int64(len(octets)), &imap.AppendOptions{Time: date})
	if _, err := cmd.Write(octets); err != nil {
		return err
	}
	if err := cmd.Close(); err != nil {
		return err
	}
	_, err = cmd.Wait()
	return err
}

func (h *mailHost) read(t *testing.T, account string) map[string][]imaptest.Mail {
	t.Helper()
	return imaptest.Read(t, h.address, h.client, account, h.pass(account))
}

func (h *mailHost) fill(t *testing.T, account string, mails []imaptest.GeneratedMail) {
	t.Helper()
	imaptest.Fill(t, h.address, h.client, account, h.pass(account), "/", "", mails)
}

// dovecotHost is a real server with TLS from the first octet.
func dovecotHost(t *testing.T, o imaptest.DovecotOptions, pass func(string) string) *mailHost {
	t.Helper()
	d := imaptest.StartDovecot(t, o)
	return &mailHost{
		address: d.TLSAddress(), client: d.Client(), ca: string(d.Authority.PEM()), pass: pass, whole: true,
		open: func(a string) { d.SetPassword(a, pass(a)) }, shut: d.Disable, finish: d.Stop,
	}
}

// embeddedHost is the same without a process of its own.
func embeddedHost(t *testing.T, use map[string]string, pass func(string) string, latency time.Duration) *mailHost {
	t.Helper()
	m, err := imaptest.NewMemory(imaptest.MemoryOptions{TLS: true, Wrap: func(l net.Listener) net.Listener { return slowListener{l, latency} }})
	if err != nil {
		t.Fatal(err)
	}
	h := memoryHost(t, m, use, pass)
	h.client, h.ca = m.Authority().Client(), string(m.Authority().PEM())
	return h
}

// memoryHost is a mail server in this process.
func memoryHost(t *testing.T, m *imaptest.Memory, use map[string]string, pass func(string) string) *mailHost {
	t.Helper()
	t.Cleanup(func() { m.Close() })
	made := map[string]bool{}
	h := &mailHost{address: m.Address(), pass: pass, finish: func() { m.Close() }}
	h.open = func(a string) {
		if made[a] {
			if err := m.SetPassword(a, h.pass(a)); err != nil {
				t.Error(err)
			}
			return
		}
		made[a] = true
		m.AddAccount(a, h.pass(a))
		for name, attribute := range use {
			if err := m.AddFolder(a, name, attribute); err != nil {
				t.Error(err)
			}
		}
	}
	h.shut = func(a string) {
		if err := m.Disable(a); err != nil {
			t.Error(err)
		}
	}
	return h
}

// slowListener makes a server slow to answer: what a client has sent has long been carried
// out when it learns of it.
type slowListener struct {
	net.Listener
	latency time.Duration
}

func (l slowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return slowConn{c, l.latency}, err
}

type slowConn struct {
	net.Conn
	latency time.Duration
}

func (c slowConn) Write(b []byte) (int, error) {
	time.Sleep(c.latency)
	return c.Conn.Write(b)
}

// world is a company with its old host, its new host and its zone.
type world struct {
	t              *testing.T
	people         []string // the last one has no mailbox at the new host yet
	source, target *mailHost
	dns            *nameServers
	oldMX, newMX   *smtptest.Server
	smtpCA         string
	latency        time.Duration
	planted        int
	before         map[string][]string // the zone

	direct map[string][]imaptest.Mail // by account: mail that came to the new host by itself
	played map[string]bool
	late   int
}

const smtpPassword = "Sm7p+" + canary.Mark + "/&=post"

// Each account has passwords of its own at both hosts, with characters that other forms write otherwise.
func sourcePassword(account string) string { return "Old+" + canary.Mark + "/&=" + account[:4] }
func targetPassword(account string) string { return "New+" + canary.Mark + "/%3D" + account[:4] + "?" }

// The special folders have German names at the old host.
var (
	germanFolders  = map[string]string{"Gesendete Objekte": `\Sent`, "Entwürfe": `\Drafts`, "Papierkorb": `\Trash`}
	englishFolders = map[string]string{"Sent": `\Sent`, "Drafts": `\Drafts`, "Trash": `\Trash`, "Junk": `\Junk`, "Archive": `\Archive`}
)

func german(folder string) string {
	switch folder {
	case "Sent":
		return "Gesendete Objekte"
	case "Drafts":
		return "Entwürfe"
	case "Trash":
		return "Papierkorb"
	}
	return folder
}

func english(folder string) string {
	if use, ok := germanFolders[folder]; ok {
		return strings.TrimPrefix(use, `\`)
	}
	return folder
}

// oldZone has records that the plan changes and more that it doesn't name.
const oldZone = `$TTL 4
@             MX    10 mx.old.example.
@             MX    20 mx2.old.example.
@             TXT   "v=spf1 include:spf.old.example ~all"
@             TXT   "site-verification=8f2c1"
@             A     192.0.2.80
@             CAA   0 issue "ca.example"
www           CNAME @
autodiscover  CNAME autodiscover.old.example.
mail          A     192.0.2.25
shop      300 A     192.0.2.81
shop      300 AAAA  2001:db8::81
_dmarc        TXT   "v=DMARC1; p=none"
sel1._domainkey TXT "v=DKIM1; p=` + "MIIBIjANBgkq" + `"
_sip._tcp     SRV   10 5 5060 shop
lists         MX    10 lists.other.example.
`

// servers choose those of a world: real ones, or the embedded ones.
type servers struct {
	dovecot, bind bool
	record        *recorder // of the embedded mail servers, which then do without TLS
	people        int
	latency       time.Duration // of the embedded mail servers; a hundred times it of the old MX
}

func startWorld(t *testing.T, s servers) *world {
	t.Helper()
	return startWorldOn(t, s, oldZone)
}

// startWorldOn is startWorld with another zone to begin with.
func startWorldOn(t *testing.T, s servers, zone string) *world {
	t.Helper()
	w := &world{t: t, latency: s.latency, direct: map[string][]imaptest.Mail{}, played: map[string]bool{}}
	for i := range s.people {
		w.people = append(w.people, []string{"anna", "jens", "ines", "olaf", "rita", "kasse"}[i%6]+strings.Repeat("x", i/6)+"@acme.example")
	}
	if s.dovecot {
		w.source = dovecotHost(t, imaptest.DovecotOptions{Store: "maildir", SpecialUse: germanFolders}, sourcePassword)
		w.target = dovecotHost(t, imaptest.DovecotOptions{Store: "mdbox", SpecialUse: englishFolders}, targetPassword)
	} else if s.record != nil {
		w.source = s.record.host(t, "source", germanFolders, sourcePassword)
		w.target = s.record.host(t, "target", englishFolders, targetPassword)
	} else {
		w.source = embeddedHost(t, germanFolders, sourcePassword, s.latency)
		w.target = embeddedHost(t, englishFolders, targetPassword, s.latency)
	}
	if s.bind {
		w.dns = bindServers(t, zone)
	} else {
		w.dns = embeddedServers(t, zone, systemClock{})
	}
	for i, p := range w.people {
		w.source.open(p)
		if i < len(w.people)-1 {
			w.target.open(p)
		}
	}
	authority, err := imaptest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := authority.Server()
	if err != nil {
		t.Fatal(err)
	}
	w.smtpCA = string(authority.PEM())
	if w.oldMX, err = smtptest.Start(smtptest.Config{
		Addresses: w.people, Deliver: w.arrive, TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}, Implicit: true,
		Username: "it@acme.example", Password: smtpPassword,
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.oldMX.Close() })
	if w.newMX, err = smtptest.Start(smtptest.Config{Addresses: w.people[:len(w.people)-1]}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.newMX.Close() })
	w.before = w.dns.records(t)
	return w
}

// arrive is mail by the old MX: it goes to the old host.
func (w *world) arrive(m smtptest.Message) error {
	time.Sleep(100 * w.latency)
	for _, to := range m.To {
		if err := w.source.deliver(to, m.Data, time.Now().Truncate(time.Second)); err != nil {
			return err
		}
	}
	return nil
}

// plant shares out mails over the old host's mailboxes.
func (w *world) plant(mails []imaptest.GeneratedMail) {
	w.t.Helper()
	each := make([][]imaptest.GeneratedMail, len(w.people))
	for i, m := range mails {
		// The embedded server completes a header that has no end when the
		// message is read; real servers don't.
		if !w.source.whole && !bytes.Contains(m.Octets, []byte("\r\n\r\n")) {
			continue
		}
		m.Folder = german(m.Folder)
		each[i%len(each)] = append(each[i%len(each)], m)
		w.planted++
	}
	for i, p := range w.people {
		w.source.fill(w.t, p, each[i])
	}
}

// send is mail that comes while the migration runs: to the old host, or directly to the new one.
func (w *world) send(host *mailHost, to, what string) {
	w.t.Helper()
	w.late++
	octets := fmt.Appendf(nil, "From: partner@other.example\r\nTo: %s\r\nSubject: %s %d\r\nMessage-ID: <late%d@other.example>\r\n\r\nsent meanwhile\r\n", to, what, w.late, w.late)
	at := time.Now().Truncate(time.Second)
	if err := host.deliver(to, octets, at); err != nil {
		w.t.Errorf("deliver to %s: %v", to, err)
		return
	}
	if host == w.target {
		w.direct[to] = append(w.direct[to], imaptest.GeneratedMail{Octets: octets, Date: at}.Mail())
	}
}

// act is what the administrator does by hand when apply asks for a step. It may be asked again.
func (w *world) act(f *folder, step string) {
	kind, rest, _ := strings.Cut(step, "/")
	if w.played[step] {
		return
	}
	w.played[step] = true
	switch {
	case kind == "account":
		w.target.open(rest)
		w.newMX.Accept(rest)
	case kind == "alias" || kind == "list":
		w.newMX.Accept(rest)
	case strings.HasPrefix(step, "retire/host/"):
		f.run(0, "done", step)
	case kind == "retire":
		w.source.shut(rest)
	default:
		w.t.Errorf("apply asks for the step %s, which nobody expected", step)
	}
}

// compare reads both hosts and counts the messages at the new one.
func (w *world) compare() (n int) {
	w.t.Helper()
	for _, p := range w.people {
		w.source.open(p)
		old, new := w.source.read(w.t, p), w.target.read(w.t, p)
		old["INBOX"] = append(old["INBOX"], w.direct[p]...)
		lines := imaptest.Diff(old, new, english)
		for _, l := range lines[:min(len(lines), 10)] {
			w.t.Errorf("%s: %s", p, l)
		}
		for _, mails := range new {
			n += len(mails)
		}
	}
	return n
}

// flipped is the zone that the plan ends with.
func (w *world) flipped() map[string][]string {
	return with(w.t, w.before,
		"acme.example. 4 IN MX 10 mail.acme.example.",
		`acme.example. 4 IN TXT "v=spf1 mx -all"`, `acme.example. 4 IN TXT "site-verification=8f2c1"`,
		"autodiscover.acme.example. 4 IN CNAME mail.acme.example.")
}

// notices counts the notices that each person got.
func (w *world) notices() map[string]int {
	count := map[string]int{}
	for _, m := range w.oldMX.Messages() {
		for _, to := range m.To {
			count[to]++
		}
	}
	return count
}
