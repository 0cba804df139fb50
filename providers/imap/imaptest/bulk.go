package imaptest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// BulkFolder is a folder with messages that have the UIDs from 1 to Messages.
type BulkFolder struct {
	Name     string // UTF-8, "/" between levels
	Messages uint32
}

// BulkMail is mail that is made when it is read: the octets, flags and dates of a message follow from its account, folder and UID.
// Its functions have to be safe for concurrent use.
type BulkMail struct {
	// Folders are those of an account; the same at each call.
	Folders func(account string) []BulkFolder
	// Size is how many octets a message has, at least BulkLeast.
	Size func(uid uint32) int64
}

// BulkLeast is room for every header of BulkMail.
const BulkLeast = 400

// Bulk is an IMAP server for more mail than there is room for. A source makes its messages when they are read. A target compares what is
// appended with what was made, octet by octet while it comes, forgets it, and remembers which message it was: some 16 octets
// each. Every login is welcome. It offers what a fast server does (CONDSTORE where it is switched on, LIST-STATUS, LITERAL+, MULTIAPPEND, UIDPLUS),
// but neither MOVE, STORE nor SEARCH. It is safe for concurrent use.
type Bulk struct {
	mail      BulkMail
	source    bool
	condstore atomic.Bool
	logins    atomic.Int64
	listener  net.Listener
	authority *Authority
	running   sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]bool
	accounts map[string]*bulkBox
	wrong    []string // messages that were not as they were made
}

type bulkBox struct {
	name string
	mail []BulkFolder // what the account has at the source

	mu      sync.Mutex
	folders []*bulkDrawer
	byName  map[string]*bulkDrawer
}

type bulkDrawer struct {
	name       string
	subscribed bool
	validity   uint32
	index      int    // in mail; of a source
	made       uint32 // messages; of a source
	rows       []bulkRow
}

// bulkRow is a message that has arrived; its UID is its place in the folder.
type bulkRow struct {
	date   int64
	uid    uint32 // at the source
	folder uint16 // index in mail
	flags  uint8  // bits of bulkFlags
}

// bulkFlags are all flags that there are.
var bulkFlags = []string{`\Seen`, `\Answered`, `\Flagged`, `\Draft`, `$Forwarded`, `Work`}

// NewBulk starts a server: one that holds mail, or one that takes it. Close ends it.
func NewBulk(mail BulkMail, source, withTLS bool) (*Bulk, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &Bulk{mail: mail, source: source, listener: ln, conns: map[net.Conn]bool{}, accounts: map[string]*bulkBox{}}
	b.condstore.Store(true)
	var config *tls.Config
	if withTLS {
		var certificate tls.Certificate
		if b.authority, err = NewAuthority(); err == nil {
			certificate, err = b.authority.Server()
		}
		if err != nil {
			ln.Close()
			return nil, err
		}
		config = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	}
	b.running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.conns[conn] = true
			b.mu.Unlock()
			b.running.Go(func() {
				defer func() {
					conn.Close()
					b.mu.Lock()
					delete(b.conns, conn)
					b.mu.Unlock()
				}()
				served := conn
				if config != nil {
					served = tls.Server(conn, config)
				}
				newBulkConn(b, served).serve()
			})
		}
	})
	return b, nil
}

// Close ends the server and all its connections.
func (b *Bulk) Close() error {
	err := b.listener.Close()
	b.mu.Lock()
	for c := range b.conns {
		c.Close()
	}
	b.mu.Unlock()
	b.running.Wait()
	return err
}

// Address is host:port.
func (b *Bulk) Address() string { return b.listener.Addr().String() }

// Authority signed the server's certificate; nil without TLS.
func (b *Bulk) Authority() *Authority { return b.authority }

// SetCondstore says whether sessions that begin from now on are offered CONDSTORE. It is offered at first.
func (b *Bulk) SetCondstore(on bool) { b.condstore.Store(on) }

// Logins is how many there have been.
func (b *Bulk) Logins() int64 { return b.logins.Load() }

func (b *Bulk) box(account string) *bulkBox {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := strings.ToLower(account)
	x := b.accounts[key]
	if x != nil {
		return x
	}
	x = &bulkBox{name: key, mail: b.mail.Folders(key), byName: map[string]*bulkDrawer{}}
	if b.source {
		for i, f := range x.mail {
			d := x.add(f.Name)
			d.index, d.made, d.subscribed = i, f.Messages, true
		}
	}
	if x.byName["INBOX"] == nil {
		x.add("INBOX").subscribed = true
	}
	b.accounts[key] = x
	return x
}

func (x *bulkBox) add(name string) *bulkDrawer {
	d := &bulkDrawer{name: name, validity: uint32(1000 + len(x.folders))}
	x.folders = append(x.folders, d)
	x.byName[name] = d
	return d
}

func (x *bulkBox) find(raw string) *bulkDrawer {
	name := decodeName(raw)
	if strings.EqualFold(name, "INBOX") {
		name = "INBOX"
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.byName[name]
}

// count is how many messages a folder holds. The caller holds x.mu.
func (d *bulkDrawer) count() uint32 { return d.made + uint32(len(d.rows)) }

// row is the message with that UID, which is there. The caller holds x.mu.
func (d *bulkDrawer) row(uid uint32) bulkRow {
	if d.made > 0 {
		return bulkRow{date: bulkDate(uid), uid: uid, folder: uint16(d.index), flags: bulkMask(uid)}
	}
	return d.rows[uid-1]
}

func bulkDate(uid uint32) int64 { return 946684800 + int64(uid)*211%800_000_000 }

func bulkMask(uid uint32) (m uint8) {
	for i, every := range []uint32{0: 2, 1: 5, 2: 11, 3: 97, 4: 17, 5: 23} {
		if uid%every == 0 {
			m |= 1 << i
		}
	}
	return m
}

func bulkFlagNames(m uint8) string {
	var list []string
	for i, f := range bulkFlags {
		if m&(1<<i) != 0 {
			list = append(list, f)
		}
	}
	return strings.Join(list, " ")
}

func (b *Bulk) complain(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.wrong) < 20 {
		b.wrong = append(b.wrong, fmt.Sprintf(format, args...))
	}
}

// Arrived is how many messages of an account a target holds.
func (b *Bulk) Arrived(account string) (n int) {
	x := b.box(account)
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, d := range x.folders {
		n += len(d.rows)
	}
	return n
}

// Check holds what has arrived for an account against its mail: each message once, in its folder, with its octets, flags and date, and nothing
// else. It returns how many messages and octets there are.
func (b *Bulk) Check(account string) (messages int, octets int64, err error) {
	b.mu.Lock()
	wrong := slices.Clone(b.wrong)
	b.mu.Unlock()
	x := b.box(account)
	x.mu.Lock()
	defer x.mu.Unlock()
	seen := make([][]bool, len(x.mail))
	for i, f := range x.mail {
		seen[i] = make([]bool, f.Messages+1)
		if x.byName[f.Name] == nil {
			wrong = append(wrong, fmt.Sprintf("the folder %q is missing", f.Name))
		}
	}
	for _, d := range x.folders {
		for _, r := range d.rows {
			f := x.mail[r.folder]
			switch {
			case f.Name != d.name:
				wrong = append(wrong, fmt.Sprintf("message %d of %q is in %q", r.uid, f.Name, d.name))
			case seen[r.folder][r.uid]:
				wrong = append(wrong, fmt.Sprintf("message %d of %q is there twice", r.uid, f.Name))
			case r.flags != bulkMask(r.uid) || r.date != bulkDate(r.uid):
				wrong = append(wrong, fmt.Sprintf("message %d of %q has the flags %q and the date %d, want %q and %d",
					r.uid, f.Name, bulkFlagNames(r.flags), r.date, bulkFlagNames(bulkMask(r.uid)), bulkDate(r.uid)))
			}
			seen[r.folder][r.uid] = true
			messages++
			octets += b.mail.Size(r.uid)
		}
	}
	for i, f := range x.mail {
		for uid, there := range seen[i] {
			if uid > 0 && !there {
				wrong = append(wrong, fmt.Sprintf("message %d of %q is missing", uid, f.Name))
			}
		}
	}
	if len(wrong) > 0 {
		return messages, octets, fmt.Errorf("%s: %d faults: %s", account, len(wrong), strings.Join(wrong[:min(len(wrong), 5)], "; "))
	}
	return messages, octets, nil
}

// bulkMessage is a message that exists as far as one looks at it.
type bulkMessage struct {
	head  []byte
	start int64 // of the body in bulkText
	size  int64
}

func (b *Bulk) message(account string, folder uint16, uid uint32) bulkMessage {
	size := max(b.mail.Size(uid), BulkLeast)
	m := bulkMessage{size: size, start: int64((uint64(folder)*2654435761 + uint64(uid)*40503) % bulkLines * bulkLine)}
	m.head = fmt.Appendf(m.head, "X-Bulk: %s %d %d\r\nFrom: sender%d@other.example\r\nTo: %s\r\nDate: %s\r\nSubject: message %d\r\nMessage-ID: <%d.%d@bulk.example>\r\n\r\n",
		account, folder, uid, uid%50, account, time.Unix(bulkDate(uid), 0).UTC().Format(time.RFC1123Z), uid, folder, uid)
	return m
}

const (
	bulkLine  = 78
	bulkLines = 53_777
)

// bulkText is what bodies are cut from: 4 MiB of lines.
var bulkText = sync.OnceValue(func() []byte {
	random := rand.New(rand.NewPCG(1, 9))
	text := make([]byte, bulkLine*bulkLines)
	for i := range text {
		switch i % bulkLine {
		case bulkLine - 2:
			text[i] = '\r'
		case bulkLine - 1:
			text[i] = '\n'
		default:
			text[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[random.IntN(64)]
		}
	}
	return text
})

// from returns octets of the message from off on: as many as lie together.
func (m bulkMessage) from(off int64) []byte {
	head, end := int64(len(m.head)), m.size-2
	switch {
	case off < head:
		return m.head[off:]
	case off >= end:
		return []byte("\r\n")[off-end:]
	}
	text := bulkText()
	at := (m.start + off - head) % int64(len(text))
	return text[at:min(int64(len(text)), at+end-off)]
}

var errBulkUnlike = errors.New("it is not the message that was made")

// compare holds octets, which come from off on, against the message.
func (m bulkMessage) compare(octets []byte, off int64) error {
	for len(octets) > 0 {
		if off >= m.size {
			return errBulkUnlike
		}
		want := m.from(off)
		n := min(len(want), len(octets))
		if !bytes.Equal(want[:n], octets[:n]) {
			return errBulkUnlike
		}
		octets, off = octets[n:], off+int64(n)
	}
	return nil
}
