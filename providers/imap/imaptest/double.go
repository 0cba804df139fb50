package imaptest

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Double is an IMAP server in memory that has the manners of one vendor's: its greeting and
// capabilities, its words, the flags and names that it takes, and what it does with
// messages. It offers nothing that its Manners don't name. It is safe for concurrent use.
//
// It speaks the protocol by itself, because go-imap's server can't be made to misbehave.
type Double struct {
	manners   Manners
	listener  net.Listener
	authority *Authority
	running   sync.WaitGroup

	mu       sync.Mutex
	accounts map[string]*box // by name in lower case
	conns    map[net.Conn]bool
	modseq   uint64
	messages uint64 // numbers of messages given out
	clock    func() time.Time
	closed   int      // sessions that had too many errors
	commands []string // as received, without literals and secrets
}

// Manners is how a Double behaves. Nothing in it may change while the server runs, and its functions
// have to be safe for concurrent use.
type Manners struct {
	Greeting string   // after "* OK "
	Before   []string // capabilities before the login, without IMAP4rev1
	After    []string // and after it
	ID       string   // the answer's parameters; "" = NIL
	Inbox    string   // how LIST spells INBOX, "" = INBOX
	// Folders every account has besides INBOX.
	Folders []Standing
	// FoldNames: names are the same in any case of letters.
	FoldNames bool
	// RefuseName returns the words of a refusal to make a folder of that UTF-8 name, "" = it is made.
	RefuseName func(name string) string
	// Permanent are the flags that can be kept, `\*` for any keyword. RefuseFlag is the answer to
	// another one, "" = it is dropped without a word.
	Permanent  []string
	RefuseFlag string
	Condstore  bool
	Gmail      bool // X-GM-MSGID and X-GM-LABELS; a message may be in several folders

	// Login decides on a password; nil = no passwords. The refusal is the tagged answer, "" = welcome.
	Login func(user, password string) (refusal string)
	// Token decides on a bearer token. challenge, where it isn't "", is sent first, in base64.
	Token func(user, token string) (refusal, challenge string)
	// Command is asked before every command after the login, with the name in capitals ("UID FETCH"). An answer
	// takes the command's place; one that begins with "* BYE" ends the connection.
	Command func(c *Visitor, name string) (answer string)
	// Midway is asked before each message of a FETCH; an answer is said and ends the connection.
	Midway func(c *Visitor) (answer string)
	// Append is asked for each message; the folder's name is in UTF-8.
	Append func(c *Visitor, folder string, m *Stored) Fate
	// TooLarge refuses a literal by its size before it is taken, "" = it is taken.
	TooLarge func(size int64) (answer string)
	// Size is RFC822.SIZE, nil = the number of octets.
	Size func(octets []byte) int
	// MixItems: items of a FETCH come back in another order than they were asked for.
	MixItems bool
	// ErrorLimit ends a session with this many answers NO or BAD, 0 = never.
	ErrorLimit int
	// Bye is what is said then.
	Bye string
	// Appended, Selected and Done end the tagged OKs.
	Appended, Selected, Done string
	// Unknown is the answer to a command or an item that the server doesn't know.
	Unknown func(what string) string
}

// Standing is a folder that an account has from the beginning.
type Standing struct {
	Name       string // UTF-8
	Attributes []string
}

// Fate is what becomes of an APPEND.
type Fate struct {
	Answer string // instead of OK; the message is not stored
	Gone   bool   // it is thrown away after all, and answered as if it were stored
	Cut    bool   // the connection is cut without an answer
	Lost   bool   // and the message is not stored
	Late   time.Duration
	NoUID  bool // OK without APPENDUID
}

// Stored is a message of a Double. Octets and Flags may be changed by Manners.Append.
type Stored struct {
	Octets []byte
	Flags  map[string]bool // by canonical name; shared by all folders that hold the message
	Date   time.Time
	Number uint64 // X-GM-MSGID
	modseq uint64
	Setby  map[string]bool // flags that were set by STORE
}

type box struct {
	name    string
	folders []*drawer
}

type drawer struct {
	name       string // UTF-8
	attributes []string
	validity   uint32
	next       uint32
	subscribed bool
	modseq     uint64
	held       []held
}

type held struct {
	uid uint32
	*Stored
}

// NewDouble starts a server with TLS or without. Close ends it. clock is for messages without a date.
func NewDouble(m Manners, withTLS bool, clock func() time.Time) (*Double, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &Double{manners: m, listener: ln, accounts: map[string]*box{}, conns: map[net.Conn]bool{}, clock: clock, messages: 1_800_000_000_000_000_000}
	var config *tls.Config
	if withTLS {
		if d.authority, err = NewAuthority(); err != nil {
			ln.Close()
			return nil, err
		}
		certificate, err := d.authority.Server()
		if err != nil {
			ln.Close()
			return nil, err
		}
		config = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	}
	d.running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			d.mu.Lock()
			d.conns[conn] = true
			d.mu.Unlock()
			d.running.Go(func() {
				defer func() {
					conn.Close()
					d.mu.Lock()
					delete(d.conns, conn)
					d.mu.Unlock()
				}()
				served := conn
				if config != nil {
					served = tls.Server(conn, config)
				}
				(&Visitor{d: d, conn: served}).serve()
			})
		}
	})
	return d, nil
}

// Close ends the server and all its connections.
func (d *Double) Close() error {
	err := d.listener.Close()
	d.Cut()
	d.running.Wait()
	return err
}

// Cut ends all connections without a word.
func (d *Double) Cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.conns {
		c.Close()
	}
}

// Address is host:port.
func (d *Double) Address() string { return d.listener.Addr().String() }

// Port is the port of Address.
func (d *Double) Port() int { return d.listener.Addr().(*net.TCPAddr).Port } //nolint:forcetypeassert // of a TCP listener

// Authority signed the server's certificate; nil without TLS.
func (d *Double) Authority() *Authority { return d.authority }

// Commands are the commands received so far, without literals and secrets.
func (d *Double) Commands() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.commands)
}

// Closed is how many sessions were ended because of Manners.ErrorLimit.
func (d *Double) Closed() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

// AddAccount makes an account with the folders that every one has. One that exists stays as it is.
func (d *Double) AddAccount(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.accounts[strings.ToLower(name)] != nil {
		return
	}
	b := &box{name: name}
	inbox := d.manners.Inbox
	if inbox == "" {
		inbox = "INBOX"
	}
	b.folders = append(b.folders, d.newDrawer(inbox, `\HasNoChildren`))
	for _, s := range d.manners.Folders {
		b.folders = append(b.folders, d.newDrawer(s.Name, s.Attributes...))
	}
	for _, f := range b.folders {
		f.subscribed = true
	}
	d.accounts[strings.ToLower(name)] = b
}

func (d *Double) newDrawer(name string, attributes ...string) *drawer {
	d.modseq++
	return &drawer{name: name, attributes: attributes, validity: uint32(14 + d.modseq), next: 1, modseq: d.modseq}
}

// Has reports whether the account exists.
func (d *Double) Has(account string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.accounts[strings.ToLower(account)] != nil
}

// Deliver puts a message into folders of an account, which are made where they are missing, and
// returns its number. With Manners.Gmail it is one message in all of them.
func (d *Double) Deliver(account string, octets []byte, flags []string, date time.Time, folders ...string) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.accounts[strings.ToLower(account)]
	if b == nil {
		return 0, fmt.Errorf("no account %s", account)
	}
	m := &Stored{Octets: bytes.Clone(octets), Flags: map[string]bool{}, Date: date, Setby: map[string]bool{}}
	for _, f := range flags {
		m.Flags[canonicalFlag(f)] = true
	}
	for i, name := range folders {
		f := d.find(b, name)
		if f == nil {
			f = d.newDrawer(name, `\HasNoChildren`)
			f.subscribed = true
			b.folders = append(b.folders, f)
		}
		if i > 0 && !d.manners.Gmail {
			again := *m
			m = &again
		}
		d.put(f, m)
	}
	return m.Number, nil
}

// put files a message and returns its UID. The caller holds d.mu.
func (d *Double) put(f *drawer, m *Stored) uint32 {
	d.modseq++
	if m.Number == 0 || !d.manners.Gmail {
		d.messages++
		m.Number = d.messages
	}
	m.modseq, f.modseq = d.modseq, d.modseq
	uid := f.next
	f.next++
	f.held = append(f.held, held{uid, m})
	return uid
}

// File puts a message that is there already (Deliver's number) into another folder.
func (d *Double) File(account string, number uint64, folder string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.accounts[strings.ToLower(account)]
	if b == nil {
		return fmt.Errorf("no account %s", account)
	}
	for _, f := range b.folders {
		for _, h := range f.held {
			if h.Number != number {
				continue
			}
			to := d.find(b, folder)
			if to == nil {
				to = d.newDrawer(folder, `\HasNoChildren`)
				b.folders = append(b.folders, to)
			}
			d.put(to, h.Stored)
			return nil
		}
	}
	return fmt.Errorf("no message %d", number)
}

// Unfile takes a message out of a folder.
func (d *Double) Unfile(account string, number uint64, folder string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b := d.accounts[strings.ToLower(account)]; b != nil {
		if f := d.find(b, folder); f != nil {
			d.modseq++
			f.modseq = d.modseq
			f.held = slices.DeleteFunc(f.held, func(h held) bool { return h.Number == number })
		}
	}
}

// find is a folder by its UTF-8 name. The caller holds d.mu.
func (d *Double) find(b *box, name string) *drawer {
	for _, f := range b.folders {
		if f.name == name || strings.EqualFold(name, "INBOX") && strings.EqualFold(f.name, "INBOX") || d.manners.FoldNames && strings.EqualFold(f.name, name) {
			return f
		}
	}
	return nil
}

// Snapshot returns every message of an account by folder.
func (d *Double) Snapshot(account string) (map[string][]Mail, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.accounts[strings.ToLower(account)]
	if b == nil {
		return nil, fmt.Errorf("no account %s", account)
	}
	all := map[string][]Mail{}
	for _, f := range b.folders {
		name := f.name
		if strings.EqualFold(name, "INBOX") {
			name = "INBOX"
		}
		all[name] = []Mail{}
		for _, h := range f.held {
			sum := sha256.Sum256(h.Octets)
			all[name] = append(all[name], Mail{UID: h.uid, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(h.Octets)),
				Flags: normalFlags(h.flags()), Date: h.Date.UTC(), Octets: h.Octets})
		}
	}
	return all, nil
}

// SetByStore returns how many of an account's messages have the flag because of a STORE.
func (d *Double) SetByStore(account, flag string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	if b := d.accounts[strings.ToLower(account)]; b != nil {
		for _, f := range b.folders {
			for _, h := range f.held {
				if h.Setby[flag] && h.Flags[flag] {
					n++
				}
			}
		}
	}
	return n
}

// Mark changes a flag as the account's owner would.
func (d *Double) Mark(account, folder string, uid uint32, flag string, on bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.accounts[strings.ToLower(account)]
	if b == nil {
		return fmt.Errorf("no account %s", account)
	}
	if f := d.find(b, folder); f != nil {
		for _, h := range f.held {
			if h.uid == uid {
				d.mark(f, h.Stored, flag, on)
				return nil
			}
		}
	}
	return fmt.Errorf("no message %d in %s", uid, folder)
}

func (d *Double) mark(f *drawer, m *Stored, flag string, on bool) {
	d.modseq++
	m.modseq, f.modseq = d.modseq, d.modseq
	if on {
		m.Flags[canonicalFlag(flag)] = true
	} else {
		delete(m.Flags, canonicalFlag(flag))
	}
}

func (m *Stored) flags() []string {
	var list []string
	for f := range m.Flags {
		list = append(list, f)
	}
	slices.Sort(list)
	return list
}

// canonicalFlag spells system flags one way.
func canonicalFlag(f string) string {
	if !strings.HasPrefix(f, `\`) || len(f) < 3 {
		return f
	}
	return `\` + strings.ToUpper(f[1:2]) + strings.ToLower(f[2:])
}

// keeps reports whether a flag can be stored.
func (m *Manners) keeps(flag string) bool {
	return slices.ContainsFunc(m.Permanent, func(p string) bool { return p == `\*` && !strings.HasPrefix(flag, `\`) || strings.EqualFold(p, flag) })
}
