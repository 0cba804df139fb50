package imaptest

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// CyrusOptions choose how a Cyrus is set up. Separator is "/", personal folders stand beside INBOX, and there are folders with special use
// of English names.
type CyrusOptions struct {
	Accounts map[string]string // address -> password
	Settings string            // further lines of imapd.conf
}

// Cyrus is a real Cyrus IMAP server, a child of this process, on random ports of the loopback
// interface. It ends with the test, and with the process if that is killed.
//
// Its differences from Dovecot matter: it refuses messages with NUL, with bare line feeds and without a
// readable header; it offers QRESYNC, BINARY, MULTIAPPEND and COMPRESS=DEFLATE.
type Cyrus struct {
	Authority *Authority

	dir        string
	root       string // of the unpacked packages
	plain, tls int
	master     *child
	logins     net.Listener

	mu       sync.Mutex
	accounts map[string]string
}

// StartCyrus starts a server, or skips the test where "make servers" has unpacked none.
func StartCyrus(tb TB, o CyrusOptions) *Cyrus {
	tb.Helper()
	root := Unpacked("cyrus-imapd")
	if root == "" {
		tb.Skipf("cyrus-imapd is not there (make servers unpacks it, on Debian)")
	}
	dir, err := memoryFolder("cyrus")
	if err != nil {
		tb.Fatalf("start cyrus: %v", err)
	}
	c := &Cyrus{dir: dir, root: root, accounts: maps.Clone(o.Accounts)}
	tb.Cleanup(func() {
		c.master.stop()
		if c.logins != nil {
			c.logins.Close()
		}
		os.RemoveAll(dir)
	})
	if c.Authority, err = NewAuthority(); err != nil {
		tb.Fatalf("start cyrus: %v", err)
	}
	// The ports are free when we look; somebody may be quicker.
	for attempt := 1; ; attempt++ {
		if err = c.start(o); err == nil {
			return c
		}
		c.master.stop()
		c.master = nil
		if attempt == 4 {
			tb.Fatalf("start cyrus: %v", err)
		}
	}
}

// Address is host:port of the listener without TLS; STARTTLS is offered there too.
func (c *Cyrus) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.plain)) }

// Port is that of Address.
func (c *Cyrus) Port() int { return c.plain }

// TLSAddress is host:port of the listener with implicit TLS.
func (c *Cyrus) TLSAddress() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.tls)) }

// TLSPort is that of TLSAddress.
func (c *Cyrus) TLSPort() int { return c.tls }

// Client trusts the server.
func (c *Cyrus) Client() *tls.Config { return c.Authority.Client() }

const cyrusConf = `
configdirectory: {dir}/conf
partition-default: {dir}/spool
defaultpartition: default
cyrus_user: {owner}
servername: localhost
sasl_pwcheck_method: saslauthd
sasl_mech_list: PLAIN
sasl_saslauthd_path: {dir}/logins
allowplaintext: yes
tls_server_cert: {dir}/cert.pem
tls_server_key: {dir}/key.pem
virtdomains: userid
unixhierarchysep: yes
altnamespace: yes
autocreate_quota: 0
autocreate_inbox_folders: Drafts|Sent|Trash|Junk|Archive
autocreate_subscribe_folders: Drafts|Sent|Trash|Junk|Archive
xlist-drafts: Drafts
xlist-sent: Sent
xlist-trash: Trash
xlist-junk: Junk
xlist-archive: Archive
failedloginpause: 0
# Octets are kept as they come, or the message is refused.
munge8bit: no
reject8bit: no
# Tests kill the client, never the power.
skiplist_unsafe: yes
{settings}
`

const cyrusServices = `
START {
  recover cmd="{bin}/ctl_cyrusdb -C {dir}/imapd.conf -r"
}
SERVICES {
  imap cmd="{bin}/imapd -C {dir}/imapd.conf -U 1000" listen="127.0.0.1:{plain}" proto="tcp4" prefork=0
  imaps cmd="{bin}/imapd -C {dir}/imapd.conf -s -U 1000" listen="127.0.0.1:{tls}" proto="tcp4" prefork=0
}
`

// start writes all files and runs the master process until it greets.
func (c *Cyrus) start(o CyrusOptions) error {
	uid, gid, owner, err := mailOwner()
	if err != nil {
		return err
	}
	if c.plain, c.tls, err = freePorts(); err != nil {
		return err
	}
	if err := os.Chmod(c.dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"spool", "conf", "conf/db", "conf/socket", "conf/proc", "conf/log", "conf/msg", "conf/ptclient", "conf/quota", "conf/user", "conf/lock"} {
		if err := ownFolder(filepath.Join(c.dir, name), uid, gid); err != nil {
			return err
		}
	}
	bin := filepath.Join(c.root, "usr/lib/cyrus/bin")
	values := strings.NewReplacer("{dir}", c.dir, "{bin}", bin, "{owner}", owner, "{settings}", o.Settings,
		"{plain}", strconv.Itoa(c.plain), "{tls}", strconv.Itoa(c.tls))
	if err := c.Authority.writeServer(filepath.Join(c.dir, "cert.pem"), filepath.Join(c.dir, "key.pem")); err != nil {
		return err
	}
	if err := os.Chown(filepath.Join(c.dir, "key.pem"), uid, gid); err != nil {
		return err
	}
	for name, text := range map[string]string{"imapd.conf": cyrusConf, "cyrus.conf": cyrusServices} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(values.Replace(text)), 0o644); err != nil {
			return err
		}
	}
	if c.logins == nil {
		if err := c.serveLogins(); err != nil {
			return err
		}
	}
	cmd := exec.Command(filepath.Join(bin, "master"), "-D", "-C", filepath.Join(c.dir, "imapd.conf"), "-M", filepath.Join(c.dir, "cyrus.conf"),
		"-p", filepath.Join(c.dir, "conf", "master.pid"))
	cmd.Env = libraries(c.root)
	cmd.Dir = c.dir
	cmd.SysProcAttr = asMailOwner(uid, gid)
	if c.master, err = startChild(cmd); err != nil {
		c.master = nil
		return err
	}
	return c.master.until("cyrus", func() bool { return greets(c.Address()) && greetsTLS(c.TLSAddress(), c.Client()) })
}

// serveLogins answers Cyrus' questions about passwords as saslauthd does: four strings in, one out, each behind its length in
// two octets.
func (c *Cyrus) serveLogins() error {
	path := filepath.Join(c.dir, "logins")
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	c.logins = l
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go c.login(conn)
		}
	}()
	return os.Chmod(path, 0o666)
}

func (c *Cyrus) login(conn net.Conn) {
	defer conn.Close()
	var fields [4]string // login, password, service, realm
	for i := range fields {
		var n uint16
		if binary.Read(conn, binary.BigEndian, &n) != nil {
			return
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(conn, b); err != nil {
			return
		}
		fields[i] = string(b)
	}
	account := fields[0]
	if fields[3] != "" {
		account += "@" + fields[3]
	}
	c.mu.Lock()
	password, known := c.accounts[account]
	c.mu.Unlock()
	answer := "NO"
	if known && password == fields[1] {
		answer = "OK"
	}
	fmt.Fprintf(conn, "\x00%c%s", len(answer), answer)
}
