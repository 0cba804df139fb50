package smtptest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mxodus/mxodus/providers/dns/dnstest"
)

// PostfixOptions choose what a Postfix takes. The zero value takes nothing.
type PostfixOptions struct {
	Domains   []string            // mail for these is taken, as a mail exchanger does,
	Addresses []string            // for these recipients; others get 550 5.1.1
	Deliver   func(Message) error // as in Config: each message as Postfix hands it on, headers of its own in front
	TLS       *tls.Certificate    // STARTTLS, or TLS from the first octet with Implicit
	Implicit  bool
	// Username and Password, when set, make it a submission server: who logs in (AUTH
	// PLAIN) may send to anybody, nobody else may send. All of it ends in Deliver and Messages.
	Username, Password string
	Settings           string // further lines of main.cf
}

// Postfix is a real mail server, a child of this process on a random port of the loopback
// interface with queues of its own; it needs root and shares nothing with the system's instance.
// What it takes it hands on over LMTP to a Server of this package.
type Postfix struct {
	Addr string // host:port
	Host string
	Port int

	sink *Server
	dir  string
}

const postfixMain = `compatibility_level = 3.6
queue_directory = {dir}/spool
data_directory = {dir}/data
maillog_file = {dir}/maillog
maillog_file_prefixes = {dir}
mail_owner = postfix
setgid_group = postdrop
syslog_name = postfix
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks =
myhostname = postfix.invalid
mydestination =
local_recipient_maps =
local_transport = error:there are no local users
alias_maps =
virtual_mailbox_domains = {domains}
virtual_mailbox_maps = socketmap:inet:{known}:recipients
virtual_transport = lmtp:inet:{sink}
default_transport = lmtp:inet:{sink}
smtpd_relay_restrictions = {relay}
smtpd_recipient_restrictions =
minimal_backoff_time = 1s
queue_run_delay = 1s
`

const postfixMaster = `{addr} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
`

// StartPostfix starts a server that ends with the test, or skips the test where
// Postfix is not installed or we are not root, which its master process has to be.
func StartPostfix(tb dnstest.TB, o PostfixOptions) *Postfix {
	tb.Helper()
	postfix := dnstest.Find("postfix")
	if postfix == "" {
		tb.Skipf("postfix is not installed (Debian: apt-get install postfix)")
	}
	if os.Geteuid() != 0 {
		tb.Skipf("postfix runs as root alone")
	}
	fail := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatalf("start postfix: %v", err)
		}
	}
	// Not the test's own folder: paths of sockets may have 107 octets.
	dir, err := os.MkdirTemp("", "postfix")
	fail(err)
	tb.Cleanup(func() { removeSoon(dir) })
	sink, err := start(Config{AcceptAll: true, Addresses: o.Addresses, Deliver: o.Deliver}, true)
	fail(err)
	tb.Cleanup(func() { sink.Close() })
	known, err := serveLookups(sink)
	fail(err)
	tb.Cleanup(func() { known.Close() })

	main, relay := postfixMain+o.Settings+"\n", "reject_unauth_destination"
	if o.Username != "" {
		relay = "permit_sasl_authenticated, reject"
		login, err := serveLogins(o.Username, o.Password)
		fail(err)
		tb.Cleanup(func() { login.Close() })
		main += "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = inet:" + login.Addr().String() + "\n"
	}
	if o.TLS != nil {
		fail(writeChain(filepath.Join(dir, "tls.pem"), *o.TLS))
		main += "smtpd_tls_chain_files = {dir}/tls.pem\nsmtpd_tls_security_level = may\n"
		if o.Implicit {
			main += "smtpd_tls_wrappermode = yes\n"
		}
	}
	addr := dnstest.FreeAddr(tb)
	p := &Postfix{Addr: addr, sink: sink, dir: dir}
	host, port, err := net.SplitHostPort(addr)
	fail(err)
	p.Host = host
	p.Port, err = strconv.Atoi(port)
	fail(err)
	fill := strings.NewReplacer("{dir}", dir, "{addr}", addr, "{domains}", strings.Join(o.Domains, " "),
		"{known}", known.Addr().String(), "{sink}", sink.Addr, "{relay}", relay)
	fail(os.WriteFile(filepath.Join(dir, "main.cf"), []byte(fill.Replace(main)), 0o644))
	fail(os.WriteFile(filepath.Join(dir, "master.cf"), []byte(fill.Replace(postfixMaster)), 0o644))
	fail(os.Chmod(dir, 0o755))
	fail(os.Mkdir(filepath.Join(dir, "spool"), 0o755))
	fail(ownedByPostfix(filepath.Join(dir, "data")))
	// This makes the queues with the owners that the daemons want.
	if out, err := exec.Command(postfix, "-c", dir, "check").CombinedOutput(); err != nil {
		tb.Fatalf("postfix check: %v\n%s", err, out)
	}
	out, err := exec.Command(dnstest.Find("postconf"), "-c", dir, "-h", "daemon_directory").Output()
	fail(err)
	greets := func() bool {
		if o.Implicit {
			c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}) // it only says that it is there
			return greeted(c, err)
		}
		c, err := net.Dial("tcp", addr)
		return greeted(c, err)
	}
	dnstest.Daemon(tb, dir, greets, filepath.Join(strings.TrimSpace(string(out)), "master"), "-c", dir, "-s")
	return p
}

func greeted(c net.Conn, err error) bool {
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	var b [3]byte
	_, err = c.Read(b[:])
	return err == nil && string(b[:]) == "220"
}

// removeSoon removes the folder of a server whose master was ended: the other
// processes notice that by themselves, a moment later.
func removeSoon(dir string) {
	for range 50 {
		if os.RemoveAll(dir) == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func ownedByPostfix(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	u, err := user.Lookup("postfix")
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	return os.Chown(dir, uid, -1)
}

// writeChain writes key and certificates in the order of smtpd_tls_chain_files: the key first.
func writeChain(path string, c tls.Certificate) error {
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return fmt.Errorf("the key of the certificate: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	for _, der := range c.Certificate {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return os.WriteFile(path, text, 0o600)
}

// Accept adds recipients that are taken, Refuse takes them out again.
func (p *Postfix) Accept(addresses ...string) { p.sink.Accept(addresses...) }

// Refuse takes recipients out again.
func (p *Postfix) Refuse(addresses ...string) { p.sink.Refuse(addresses...) }

// Messages returns what was handed on so far, oldest first.
func (p *Postfix) Messages() []Message { return p.sink.Messages() }

// Log is what the server has written to its log.
func (p *Postfix) Log() string {
	log, _ := os.ReadFile(filepath.Join(p.dir, "maillog"))
	return string(log)
}
