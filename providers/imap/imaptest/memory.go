package imaptest

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"
)

// Memory is an IMAP server that keeps all mail in memory and listens on a
// random port of the loopback interface. It is safe for concurrent use. It
// offers UIDPLUS, MOVE, LITERAL+, LIST-STATUS, SPECIAL-USE and NAMESPACE, but neither CONDSTORE nor
// MULTIAPPEND. It ends a header that has no empty line with one when the message is
// read, and counts the size without it (imapserver.ExtractBodySection).
type Memory struct {
	server    *imapserver.Server
	listener  net.Listener
	authority *Authority
	master    string // a password for Snapshot, also of accounts that are disabled

	mu       sync.Mutex
	accounts map[string]*account
}

type account struct {
	name     string
	password string
	disabled bool
	user     *imapmemserver.User
	folders  map[string]*folder // by name, "/" between levels
}

// folder is what imapmemserver doesn't keep, or doesn't tell.
type folder struct {
	use        imap.MailboxAttr
	subscribed bool
}

// MemoryOptions choose how a Memory listens.
type MemoryOptions struct {
	TLS bool // implicit TLS with a certificate of its own authority; else none
	// Listen is where the server listens, "" = a random port of 127.0.0.1.
	Listen string
	// Wrap, when set, is put around the listener (connection faults).
	Wrap func(net.Listener) net.Listener
}

// NewMemory starts a server. Close ends it.
func NewMemory(o MemoryOptions) (*Memory, error) {
	m := &Memory{accounts: map[string]*account{}, master: rand.Text()}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, err
	}
	m.listener = ln
	var serve net.Listener = ln
	if o.Wrap != nil {
		serve = o.Wrap(serve)
	}
	if o.TLS {
		if m.authority, err = NewAuthority(); err != nil {
			ln.Close()
			return nil, err
		}
		certificate, err := m.authority.Server()
		if err != nil {
			ln.Close()
			return nil, err
		}
		serve = tls.NewListener(serve, &tls.Config{Certificates: []tls.Certificate{certificate}})
	}
	m.server = imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return &memorySession{memory: m}, nil, nil
		},
		Caps: imap.CapSet{
			imap.CapIMAP4rev1: {}, imap.CapNamespace: {}, imap.CapUIDPlus: {}, imap.CapESearch: {},
			imap.CapListExtended: {}, imap.CapListStatus: {}, imap.CapMove: {}, imap.CapStatusSize: {},
			imap.CapLiteralPlus: {}, imap.CapSpecialUse: {}, imap.CapCreateSpecialUse: {},
		},
		InsecureAuth: true,
		Logger:       log.New(io.Discard, "", 0),
	})
	go m.server.Serve(serve) // ends with Close
	return m, nil
}

// Address is host:port.
func (m *Memory) Address() string { return m.listener.Addr().String() }

// Port is the port of Address.
func (m *Memory) Port() int { return m.listener.Addr().(*net.TCPAddr).Port }

// Authority signed the server's certificate; nil without TLS.
func (m *Memory) Authority() *Authority { return m.authority }

// Close ends the server and all its connections.
func (m *Memory) Close() error { return m.server.Close() }

// AddAccount makes an account with an INBOX.
func (m *Memory) AddAccount(name, password string) {
	a := &account{name: name, password: password, user: imapmemserver.NewUser(name, ""), folders: map[string]*folder{}}
	a.user.Create("INBOX", nil)
	a.folders["INBOX"] = &folder{subscribed: true}
	m.mu.Lock()
	m.accounts[name] = a
	m.mu.Unlock()
}

func (m *Memory) account(name string) (*account, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.accounts[name]; a != nil {
		return a, nil
	}
	return nil, fmt.Errorf("no account %s", name)
}

// AddFolder makes a folder with a special use (`\Sent`, "" = none) and subscribes to
// it. One that exists is given the use.
func (m *Memory) AddFolder(accountName, name, specialUse string) error {
	a, err := m.account(accountName)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if a.folders[name] == nil {
		if err := a.user.Create(name, nil); err != nil {
			return err
		}
		a.folders[name] = &folder{}
	}
	*a.folders[name] = folder{use: imap.MailboxAttr(specialUse), subscribed: true}
	return nil
}

// Deliver puts a message into a folder, which is made where it is missing, and
// returns its UID.
func (m *Memory) Deliver(accountName, name string, message []byte, flags []string, date time.Time) (uint32, error) {
	a, err := m.account(accountName)
	if err != nil {
		return 0, err
	}
	m.mu.Lock()
	known := a.folders[name] != nil
	m.mu.Unlock()
	if !known {
		if err := m.AddFolder(accountName, name, ""); err != nil {
			return 0, err
		}
	}
	o := &imap.AppendOptions{Time: date}
	for _, f := range flags {
		o.Flags = append(o.Flags, imap.Flag(f))
	}
	data, err := a.user.Append(name, literal{bytes.NewReader(message)}, o)
	if err != nil {
		return 0, err
	}
	return uint32(data.UID), nil
}

// literal makes an imap.LiteralReader of octets in memory.
type literal struct{ *bytes.Reader }

func (l literal) Size() int64 { return l.Reader.Size() }

// Disable makes the server refuse the account's logins from now on. Sessions that are
// open stay open.
func (m *Memory) Disable(accountName string) error {
	a, err := m.account(accountName)
	if err != nil {
		return err
	}
	m.mu.Lock()
	a.disabled = true
	m.mu.Unlock()
	return nil
}

// SetPassword changes the account's password and lets it log in again.
func (m *Memory) SetPassword(accountName, password string) error {
	a, err := m.account(accountName)
	if err != nil {
		return err
	}
	m.mu.Lock()
	a.password, a.disabled = password, false
	m.mu.Unlock()
	return nil
}

// Snapshot returns every message of an account by folder, octets included, also of one that
// is disabled.
func (m *Memory) Snapshot(accountName string) (map[string][]Mail, error) {
	if _, err := m.account(accountName); err != nil {
		return nil, err
	}
	var config *tls.Config
	if m.authority != nil {
		config = m.authority.Client()
	}
	return readAccount(m.Address(), config, accountName, m.master, true)
}

// memorySession adds to imapmemserver what it lacks: special use, logins that are
// refused, names in LIST for folders that were renamed with their children.
type memorySession struct {
	*imapmemserver.UserSession // nil before the login
	memory                     *Memory
	account                    *account
}

var _ imapserver.SessionIMAP4rev2 = (*memorySession)(nil)

func (s *memorySession) Login(username, password string) error {
	a, err := s.memory.account(username)
	if err != nil {
		return imapserver.ErrAuthFailed
	}
	s.memory.mu.Lock()
	ok := !a.disabled && password == a.password || password == s.memory.master
	s.memory.mu.Unlock()
	if !ok {
		return imapserver.ErrAuthFailed
	}
	s.account, s.UserSession = a, imapmemserver.NewUserSession(a.user)
	return nil
}

func (s *memorySession) Create(name string, o *imap.CreateOptions) error {
	name = strings.TrimRight(name, "/")
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	if strings.EqualFold(name, "INBOX") {
		name = "INBOX"
	}
	if err := s.account.user.Create(name, o); err != nil {
		return err
	}
	f := &folder{}
	if o != nil && len(o.SpecialUse) > 0 {
		f.use = o.SpecialUse[0]
	}
	s.account.folders[name] = f
	return nil
}

func (s *memorySession) Delete(name string) error {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	if err := s.account.user.Delete(name); err != nil {
		return err
	}
	delete(s.account.folders, name)
	return nil
}

// Rename takes the folders below along (RFC 3501 §6.3.5).
func (s *memorySession) Rename(from, to string, o *imap.RenameOptions) error {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	if s.account.folders[from] == nil {
		return s.account.user.Rename(from, to, o)
	}
	var names []string
	for name := range s.account.folders {
		if name == from || strings.HasPrefix(name, from+"/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		renamed := to + strings.TrimPrefix(name, from)
		if err := s.account.user.Rename(name, renamed, o); err != nil {
			return err
		}
		s.account.folders[renamed] = s.account.folders[name]
		delete(s.account.folders, name)
	}
	return nil
}

func (s *memorySession) Subscribe(name string) error   { return s.subscribe(name, true) }
func (s *memorySession) Unsubscribe(name string) error { return s.subscribe(name, false) }

func (s *memorySession) subscribe(name string, on bool) error {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	f := s.account.folders[name]
	if f == nil {
		return &imap.Error{Type: imap.StatusResponseTypeNo, Code: imap.ResponseCodeNonExistent, Text: "No such mailbox"}
	}
	f.subscribed = on
	return nil
}

func (s *memorySession) List(w *imapserver.ListWriter, ref string, patterns []string, o *imap.ListOptions) error {
	if len(patterns) == 0 {
		return w.WriteList(&imap.ListData{Attrs: []imap.MailboxAttr{imap.MailboxAttrNoSelect}, Delim: '/'})
	}
	for _, data := range s.matching(ref, patterns, o) {
		if o.ReturnStatus != nil {
			st, err := s.account.user.Status(data.Mailbox, o.ReturnStatus)
			if err != nil {
				continue // deleted meanwhile
			}
			data.Status = st
		}
		if err := w.WriteList(&data); err != nil {
			return err
		}
	}
	return nil
}

func (s *memorySession) matching(ref string, patterns []string, o *imap.ListOptions) []imap.ListData {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	var list []imap.ListData
	for name, f := range s.account.folders {
		if o.SelectSubscribed && !f.subscribed || o.SelectSpecialUse && f.use == "" ||
			!slices.ContainsFunc(patterns, func(p string) bool { return imapserver.MatchList(name, '/', ref, p) }) {
			continue
		}
		data := imap.ListData{Mailbox: name, Delim: '/'}
		if f.use != "" {
			data.Attrs = append(data.Attrs, f.use)
		}
		if f.subscribed && (o.ReturnSubscribed || o.SelectSubscribed) {
			data.Attrs = append(data.Attrs, imap.MailboxAttrSubscribed)
		}
		list = append(list, data)
	}
	slices.SortFunc(list, func(a, b imap.ListData) int { return strings.Compare(a.Mailbox, b.Mailbox) })
	return list
}

// Append reads the whole message before it stores it, and stores nothing of one that broke off.
func (s *memorySession) Append(name string, r imap.LiteralReader, o *imap.AppendOptions) (*imap.AppendData, error) {
	octets := make([]byte, 0, min(r.Size(), 1<<20))
	buf := bytes.NewBuffer(octets)
	if n, err := io.Copy(buf, r); err != nil || n != r.Size() {
		return nil, errors.Join(io.ErrUnexpectedEOF, err)
	}
	if strings.EqualFold(name, "INBOX") {
		name = "INBOX"
	}
	return s.account.user.Append(name, literal{bytes.NewReader(buf.Bytes())}, o)
}
