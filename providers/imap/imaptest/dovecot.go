package imaptest

import (
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DovecotOptions choose how a Dovecot is set up. The zero value is a maildir server with
// "/" between levels and English names for the special folders.
type DovecotOptions struct {
	Accounts   map[string]string // address -> password
	Store      string            // "maildir" (default), "mdbox", "sdbox"
	Separator  string            // default "/"
	Prefix     string            // of the personal namespace: "INBOX."
	SpecialUse map[string]string // folder -> attribute; nil: Drafts, Sent, Trash, Junk, Archive
	Settings   string            // further lines of dovecot.conf
}

// Dovecot is a real server, a child of this process, on random ports of the loopback
// interface. It ends with the test, and with the process if that is killed.
type Dovecot struct {
	Authority *Authority

	tb         TB
	dir        string
	plain, tls int
	accounts   map[string]string
	version    int // of the password file
	binary     string
	master     *child
}

// StartDovecot starts a server, or skips the test where Dovecot is not installed.
func StartDovecot(tb TB, o DovecotOptions) *Dovecot {
	tb.Helper()
	binary, err := exec.LookPath("dovecot")
	if err != nil {
		for _, p := range []string{"/usr/sbin/dovecot", "/usr/local/sbin/dovecot", "/opt/homebrew/sbin/dovecot"} {
			if _, err := os.Stat(p); err == nil {
				binary = p
			}
		}
	}
	if binary == "" {
		tb.Skipf("dovecot is not installed (Debian: apt-get install dovecot-imapd)")
	}
	// Not the test's own folder: paths of sockets may have 107 octets.
	dir, err := os.MkdirTemp("", "dovecot")
	if err != nil {
		tb.Fatalf("start dovecot: %v", err)
	}
	d := &Dovecot{tb: tb, dir: dir, binary: binary, accounts: maps.Clone(o.Accounts)}
	if d.accounts == nil {
		d.accounts = map[string]string{}
	}
	tb.Cleanup(func() {
		d.stop()
		os.RemoveAll(dir)
	})
	if d.Authority, err = NewAuthority(); err != nil {
		tb.Fatalf("start dovecot: %v", err)
	}
	// The ports are free when we look; somebody may be quicker.
	for attempt := 1; ; attempt++ {
		if err = d.configure(o); err == nil {
			err = d.start()
		}
		if err == nil {
			return d
		}
		d.stop()
		if attempt == 4 {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			tb.Fatalf("start dovecot: %v\n%s", err, log)
		}
	}
}

// Address is host:port of the listener without TLS.
func (d *Dovecot) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(d.plain)) }

// TLSAddress is host:port of the listener with implicit TLS.
func (d *Dovecot) TLSAddress() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(d.tls)) }

// Port is that of Address; STARTTLS is offered there too.
func (d *Dovecot) Port() int { return d.plain }

// TLSPort is that of TLSAddress.
func (d *Dovecot) TLSPort() int { return d.tls }

// CAFile is the authority's certificate as a file.
func (d *Dovecot) CAFile() string { return filepath.Join(d.dir, "ca.pem") }

// Client trusts the server.
func (d *Dovecot) Client() *tls.Config { return d.Authority.Client() }

// PID is the master process.
func (d *Dovecot) PID() int { return d.master.cmd.Process.Pid }

// Doveadm is a command of the server's own administration, not started yet; nil where doveadm isn't installed.
func (d *Dovecot) Doveadm(args ...string) *exec.Cmd {
	path, err := exec.LookPath("doveadm")
	if err != nil {
		return nil
	}
	return exec.Command(path, append([]string{"-c", filepath.Join(d.dir, "dovecot.conf")}, args...)...)
}

// Log is what the server has written to its log.
func (d *Dovecot) Log() string {
	log, _ := os.ReadFile(filepath.Join(d.dir, "log"))
	return string(log)
}

const dovecotConf = `
base_dir = {dir}/run
state_dir = {dir}/state
log_path = {dir}/log
instance_name = {dir}
protocols = imap
listen = 127.0.0.1
default_login_user = {login}
default_internal_user = {internal}
default_internal_group = {group}
default_process_limit = 500
default_client_limit = 2000
first_valid_uid = 1
first_valid_gid = 1
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
auth_username_chars =
ssl = yes
ssl_cert = <{dir}/cert.pem
ssl_key = <{dir}/key.pem
mail_location = {location}
mail_max_userip_connections = 1000
# Tests kill the client, never the power.
mail_fsync = never
service anvil {
  chroot =
  # No growing delays after refused logins.
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
# Tests log in thousands of times: a process serves one session after the other.
service imap {
  service_count = 200
}
service imap-login {
  chroot =
  process_min_avail = 1
  service_count = 0
  inet_listener imap {
    port = {plain}
  }
  inet_listener imaps {
    port = {tls}
    ssl = yes
  }
}
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {dir}/passwd
}
userdb {
  driver = static
  args = uid={uid} gid={gid} home={dir}/mail/%u
}
namespace inbox {
  inbox = yes
  separator = {separator}
  prefix = {prefix}
{mailboxes}}
{settings}
`

var englishFolders = map[string]string{"Drafts": `\Drafts`, "Sent": `\Sent`, "Trash": `\Trash`, "Junk": `\Junk`, "Archive": `\Archive`}

// configure writes all files. It runs again when the ports were taken.
func (d *Dovecot) configure(o DovecotOptions) error {
	var err error
	if d.plain, d.tls, err = freePorts(); err != nil {
		return err
	}
	me, err := user.Current()
	if err != nil {
		return err
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		return err
	}
	values := map[string]string{"uid": me.Uid, "gid": me.Gid, "login": me.Username, "internal": me.Username, "group": group.Name}
	if os.Geteuid() == 0 {
		// Mail may not be root's.
		nobody, err := user.Lookup("nobody")
		if err != nil {
			return err
		}
		values["uid"], values["gid"] = nobody.Uid, nobody.Gid
		values["login"], values["internal"], values["group"] = "dovenull", "dovecot", "dovecot"
	}
	use := o.SpecialUse
	if use == nil {
		use = englishFolders
	}
	mailboxes := ""
	for _, name := range slices.Sorted(maps.Keys(use)) {
		mailboxes += fmt.Sprintf("  mailbox %q {\n    auto = subscribe\n    special_use = %s\n  }\n", name, use[name])
	}
	location := map[string]string{"": "maildir:~/Maildir", "maildir": "maildir:~/Maildir", "mdbox": "mdbox:~/mdbox", "sdbox": "sdbox:~/sdbox"}[o.Store]
	if location == "" {
		return fmt.Errorf("%q is no store", o.Store)
	}
	separator := o.Separator
	if separator == "" {
		separator = "/"
	}
	maps.Copy(values, map[string]string{
		"dir": d.dir, "plain": strconv.Itoa(d.plain), "tls": strconv.Itoa(d.tls), "location": location,
		"separator": separator, "prefix": o.Prefix, "mailboxes": mailboxes, "settings": o.Settings,
	})
	conf := dovecotConf
	for k, v := range values {
		conf = strings.ReplaceAll(conf, "{"+k+"}", v)
	}
	if err := os.Chmod(d.dir, 0o755); err != nil {
		return err
	}
	mail := filepath.Join(d.dir, "mail")
	if err := os.MkdirAll(mail, 0o755); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		uid, _ := strconv.Atoi(values["uid"])
		gid, _ := strconv.Atoi(values["gid"])
		if err := os.Chown(mail, uid, gid); err != nil {
			return err
		}
	}
	if err := d.Authority.writeServer(filepath.Join(d.dir, "cert.pem"), filepath.Join(d.dir, "key.pem")); err != nil {
		return err
	}
	if err := os.WriteFile(d.CAFile(), d.Authority.PEM(), 0o644); err != nil {
		return err
	}
	if err := d.writePasswords(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.dir, "dovecot.conf"), []byte(conf), 0o644)
}

func freePorts() (a, b int, err error) {
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, 0, err
	}
	defer first.Close()
	second, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, 0, err
	}
	defer second.Close()
	return first.Addr().(*net.TCPAddr).Port, second.Addr().(*net.TCPAddr).Port, nil
}

// start runs the master process and waits until it greets.
func (d *Dovecot) start() error {
	cmd := exec.Command(d.binary, "-F", "-c", filepath.Join(d.dir, "dovecot.conf"))
	cmd.SysProcAttr = withParent()
	master, err := startChild(cmd)
	if err != nil {
		return err
	}
	d.master = master
	return master.until("dovecot", func() bool {
		return greets(d.Address()) && greetsTLS(d.TLSAddress(), d.Client())
	})
}

func greets(address string) bool {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	defer c.Close()
	return readGreeting(c)
}

func greetsTLS(address string, config *tls.Config) bool {
	c, err := tls.Dial("tcp", address, config)
	if err != nil {
		return false
	}
	defer c.Close()
	return readGreeting(c)
}

func readGreeting(c net.Conn) bool {
	defer time.AfterFunc(2*time.Second, func() { c.Close() }).Stop()
	var b [4]byte
	_, err := c.Read(b[:])
	return err == nil && string(b[:]) == "* OK"
}

// stop ends the master process, which ends the others.
func (d *Dovecot) stop() {
	d.master.stop()
	d.master = nil
}

// Stop ends the server; Restart brings it back with the same mail and ports.
func (d *Dovecot) Stop() { d.stop() }

// Restart ends the server with all its connections and starts it again.
func (d *Dovecot) Restart() {
	d.tb.Helper()
	d.stop()
	if err := d.start(); err != nil {
		d.tb.Fatalf("restart dovecot: %v\n%s", err, d.Log())
	}
}

// SetPassword gives an account a password; one that doesn't exist is made. It returns when logins
// with the new password are granted.
func (d *Dovecot) SetPassword(account, password string) {
	d.tb.Helper()
	d.accounts[account] = password
	d.rewrite(account, password, true)
}

// Disable makes the server refuse the account's logins. It returns when it does.
func (d *Dovecot) Disable(account string) {
	d.tb.Helper()
	password := d.accounts[account]
	delete(d.accounts, account)
	d.rewrite(account, password, false)
}

func (d *Dovecot) rewrite(account, password string, granted bool) {
	d.tb.Helper()
	if err := d.writePasswords(); err != nil {
		d.tb.Fatalf("write the password file: %v", err)
	}
	for range 500 {
		c, err := connect(d.Address(), nil, account, password)
		if err == nil {
			c.Close()
		}
		if (err == nil) == granted {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	d.tb.Fatalf("dovecot doesn't take note of the password file")
}

// writePasswords writes a file of another size each time: Dovecot looks at
// the size and the whole seconds of the time to see that it has changed.
func (d *Dovecot) writePasswords() error {
	d.version++
	var b strings.Builder
	b.WriteString("#" + strings.Repeat("-", 100+d.version%900) + "\n")
	for _, a := range slices.Sorted(maps.Keys(d.accounts)) {
		fmt.Fprintf(&b, "%s:{PLAIN}%s\n", a, d.accounts[a])
	}
	path := filepath.Join(d.dir, "passwd")
	if err := os.WriteFile(path+".new", []byte(b.String()), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
