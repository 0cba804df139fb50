package imaptest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// CourierOptions choose how a Courier is set up.
type CourierOptions struct {
	Accounts map[string]string // address -> password
	Env      []string          // further settings of /etc/courier/imapd: "IMAP_KEYWORDS=2"
}

// Courier is a real Courier IMAP server on a random port of the loopback interface, without TLS. It ends
// with the test.
//
// Folders are below "INBOX." with "." between levels. It offers UIDPLUS and NAMESPACE, but neither LITERAL+ nor LIST-STATUS
// nor CONDSTORE nor SPECIAL-USE nor MOVE. The program imapd is Courier's own; the few commands before the login are served here in
// the place of imaplogin, whose way to the passwords is a socket of a fixed path below /run.
type Courier struct {
	dir, root string
	accounts  map[string]string
	env       []string
	uid, gid  int
	listener  net.Listener
	watcher   net.Listener // see serveWatcher

	mu       sync.Mutex
	sessions map[*child]bool // nil after the end
	conns    map[net.Conn]bool
	wg       sync.WaitGroup
}

// StartCourier starts a server, or skips the test where "make servers" has unpacked none.
func StartCourier(tb TB, o CourierOptions) *Courier {
	tb.Helper()
	root := Unpacked("courier-imap")
	if root == "" {
		tb.Skipf("courier-imap is not there (make servers unpacks it, on Debian)")
	}
	c := &Courier{root: root, accounts: o.Accounts, env: o.Env, sessions: map[*child]bool{}, conns: map[net.Conn]bool{}}
	var err error
	if c.dir, err = os.MkdirTemp("", "courier"); err == nil {
		err = c.prepare()
	}
	if err != nil {
		if c.watcher != nil {
			c.watcher.Close()
		}
		os.RemoveAll(c.dir)
		tb.Fatalf("start courier: %v", err)
	}
	c.wg.Go(c.serve)
	tb.Cleanup(func() {
		c.stop()
		os.RemoveAll(c.dir)
	})
	return c
}

// Address is host:port.
func (c *Courier) Address() string { return c.listener.Addr().String() }

// Port is that of Address.
func (c *Courier) Port() int { return c.listener.Addr().(*net.TCPAddr).Port }

func (c *Courier) prepare() (err error) {
	owner := ""
	if c.uid, c.gid, owner, err = mailOwner(); err != nil {
		return err
	}
	if err := os.Chmod(c.dir, 0o755); err != nil {
		return err
	}
	for account := range c.accounts {
		home := filepath.Join(c.dir, account)
		for _, name := range []string{"", "Maildir", "Maildir/cur", "Maildir/new", "Maildir/tmp"} {
			if err := ownFolder(filepath.Join(home, name), c.uid, c.gid); err != nil {
				return err
			}
		}
	}
	if err := c.serveWatcher(owner); err != nil {
		return err
	}
	c.listener, err = net.Listen("tcp", "127.0.0.1:0")
	return err
}

// serveWatcher stands where imapd looks for gam_server, which would tell it of changes of folders: without anybody there, each login waits for more
// than a second. Nothing is asked of it with the settings used here. The name is that of libgamin: an abstract
// socket for each user and GAM_CLIENT_ID, filled up with NUL.
func (c *Courier) serveWatcher(owner string) (err error) {
	name := "@/tmp/fam-" + owner + "-" + filepath.Base(c.dir)
	name += strings.Repeat("\x00", 108-len(name))
	if c.watcher, err = net.Listen("unix", name); err != nil {
		return err
	}
	c.wg.Go(func() {
		for {
			conn, err := c.watcher.Accept()
			if err != nil {
				return
			}
			c.wg.Go(func() {
				io.Copy(io.Discard, conn) // until imapd ends
				conn.Close()
			})
		}
	})
	return nil
}

func (c *Courier) serve() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.mu.Lock()
		if c.conns == nil {
			conn.Close()
		} else {
			c.conns[conn] = true
			c.wg.Go(func() {
				c.session(conn)
				conn.Close()
				c.mu.Lock()
				delete(c.conns, conn)
				c.mu.Unlock()
			})
		}
		c.mu.Unlock()
	}
}

func (c *Courier) stop() {
	c.listener.Close()
	c.watcher.Close()
	c.mu.Lock()
	for conn := range c.conns {
		conn.Close()
	}
	for s := range c.sessions {
		s.cmd.Process.Kill()
	}
	c.conns, c.sessions = nil, nil
	c.mu.Unlock()
	c.wg.Wait()
}

// courierCapability is what Debian's configuration offers.
const courierCapability = "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=ORDEREDSUBJECT THREAD=REFERENCES SORT QUOTA IDLE"

// session is one connection: what comes before the login here, the rest in a process of its own.
func (c *Courier) session(conn net.Conn) {
	say := func(format string, args ...any) { fmt.Fprintf(conn, format+"\r\n", args...) }
	say("* OK [CAPABILITY %s] Courier-IMAP ready.", courierCapability)
	for {
		line, err := readCommand(conn)
		if err != nil {
			return
		}
		words := commandWords(line)
		if len(words) < 2 {
			say("* BAD Invalid command.")
			continue
		}
		tag, name, args := words[0], strings.ToUpper(words[1]), words[2:]
		switch {
		case name == "CAPABILITY":
			say("* CAPABILITY %s", courierCapability)
			say("%s OK CAPABILITY completed", tag)
		case name == "NOOP":
			say("%s OK NOOP completed", tag)
		case name == "LOGOUT":
			say("* BYE Courier-IMAP server shutting down")
			say("%s OK LOGOUT completed", tag)
			return
		case name == "LOGIN" && len(args) == 2:
			if password, known := c.accounts[args[0]]; !known || password != args[1] {
				say("%s NO Login failed.", tag)
				continue
			}
			c.hand(conn, tag, args[0])
			return
		default:
			say("%s BAD Invalid command", tag)
		}
	}
}

// hand lets Courier's imapd go on with a connection that is logged in.
func (c *Courier) hand(conn net.Conn, tag, account string) {
	file, err := conn.(*net.TCPConn).File()
	if err != nil {
		return
	}
	defer file.Close()
	home := filepath.Join(c.dir, account)
	cmd := exec.Command(filepath.Join(c.root, "usr/bin/imapd"), "Maildir")
	cmd.Dir, cmd.Stdin, cmd.Stdout = home, file, file
	cmd.SysProcAttr = asMailOwner(c.uid, c.gid)
	port := strconv.Itoa(conn.RemoteAddr().(*net.TCPAddr).Port)
	cmd.Env = append(libraries(c.root), "AUTHENTICATED="+account, "PROTOCOL=IMAP", "IMAPLOGINTAG="+tag, "HOME="+home, "TCPREMOTEIP=127.0.0.1", "TCPREMOTEPORT="+port, "GAM_CLIENT_ID="+filepath.Base(c.dir),
		"IMAP_CAPABILITY="+courierCapability, "IMAP_KEYWORDS=1", "IMAP_ACL=0", "IMAP_USELOCKS=0", "IMAP_ENHANCEDIDLE=0", "IMAP_EMPTYTRASH=", "IMAP_MAILBOX_SANITY_CHECK=1")
	cmd.Env = append(cmd.Env, c.env...)
	s, err := startChild(cmd)
	if err != nil {
		return
	}
	c.mu.Lock()
	if c.sessions == nil {
		cmd.Process.Kill()
	} else {
		c.sessions[s] = true
	}
	c.mu.Unlock()
	<-s.ended
	c.mu.Lock()
	delete(c.sessions, s)
	c.mu.Unlock()
}

// readCommand reads a line octet by octet, because what follows the login is another process's to read.
func readCommand(r io.Reader) (string, error) {
	var line []byte
	var one [1]byte
	for len(line) < 8192 {
		if _, err := io.ReadFull(r, one[:]); err != nil {
			return "", err
		}
		if one[0] == '\n' {
			return strings.TrimRight(string(line), "\r"), nil
		}
		line = append(line, one[0])
	}
	return "", errors.New("a line without end")
}

// commandWords are the atoms and quoted strings of a command.
func commandWords(line string) (words []string) {
	for line = strings.TrimLeft(line, " "); line != ""; line = strings.TrimLeft(line, " ") {
		var w strings.Builder
		i, quoted := 0, line[0] == '"'
		if quoted {
			i = 1
		}
		for ; i < len(line); i++ {
			if quoted && line[i] == '"' || !quoted && line[i] == ' ' {
				break
			}
			if quoted && line[i] == '\\' && i+1 < len(line) {
				i++
			}
			w.WriteByte(line[i])
		}
		words = append(words, w.String())
		line = line[min(len(line), i+1):]
	}
	return words
}
