package imaptest

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// Mail is a message as a server shows it.
type Mail struct {
	UID    uint32
	SHA256 string // of the octets, hex
	Size   int64
	Flags  []string  // lower case, sorted, without \recent
	Date   time.Time // INTERNALDATE in UTC
	Octets []byte    // of Memory.Snapshot alone
}

// Read reads all folders of an account. It uses go-imap's client and nothing of package imap, so
// that a fault there can't hide itself. Folders are in UTF-8 with the server's separator;
// those without messages have an empty list. config nil means no TLS.
func Read(tb TB, address string, config *tls.Config, user, password string) map[string][]Mail {
	tb.Helper()
	all, err := readAccount(address, config, user, password, false)
	if err != nil {
		tb.Fatalf("read %s at %s: %v", user, address, err)
	}
	return all
}

// connect logs in with go-imap's client.
func connect(address string, config *tls.Config, user, password string) (*imapclient.Client, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	if config != nil {
		conn = tls.Client(conn, config)
	}
	c := imapclient.New(&plainLiterals{Conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}, nil)
	if err := c.Login(user, password).Wait(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func readAccount(address string, config *tls.Config, user, password string, octets bool) (map[string][]Mail, error) {
	c, err := connect(address, config, user, password)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	folders, err := c.List("", "*", nil).Collect()
	if err != nil {
		return nil, err
	}
	all := map[string][]Mail{}
	for _, f := range folders {
		if slices.Contains(f.Attrs, imap.MailboxAttrNoSelect) || slices.Contains(f.Attrs, imap.MailboxAttrNonExistent) {
			continue
		}
		if all[f.Mailbox], err = readFolder(c, f.Mailbox, octets); err != nil {
			return nil, fmt.Errorf("folder %s: %w", f.Mailbox, err)
		}
	}
	return all, nil
}

func readFolder(c *imapclient.Client, name string, octets bool) ([]Mail, error) {
	sel, err := c.Select(name, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		return nil, err
	}
	mails := []Mail{}
	if sel.NumMessages == 0 {
		return mails, nil
	}
	fetch := c.Fetch(imap.UIDSet{imap.UIDRange{Start: 1, Stop: 0}}, &imap.FetchOptions{
		UID: true, Flags: true, InternalDate: true,
		BodySection: []*imap.FetchItemBodySection{{Peek: true}},
	})
	for msg := fetch.Next(); msg != nil; msg = fetch.Next() {
		var m Mail
		for item := msg.Next(); item != nil; item = msg.Next() {
			switch item := item.(type) {
			case imapclient.FetchItemDataUID:
				m.UID = uint32(item.UID)
			case imapclient.FetchItemDataFlags:
				for _, f := range item.Flags {
					m.Flags = append(m.Flags, string(f))
				}
				m.Flags = normalFlags(m.Flags)
			case imapclient.FetchItemDataInternalDate:
				m.Date = item.Time.UTC()
			case imapclient.FetchItemDataBodySection:
				if item.Literal == nil {
					return nil, fmt.Errorf("UID %d has no octets", m.UID)
				}
				h, kept := sha256.New(), &bytes.Buffer{}
				var w io.Writer = h
				if octets {
					w = io.MultiWriter(h, kept)
				}
				// go-imap ends a literal that broke off without an error.
				if m.Size, err = io.Copy(w, item.Literal); err != nil || m.Size != item.Literal.Size() {
					return nil, fmt.Errorf("UID %d broke off after %d octets: %v", m.UID, m.Size, err)
				}
				m.SHA256, m.Octets = hex.EncodeToString(h.Sum(nil)), kept.Bytes()
			}
		}
		mails = append(mails, m)
	}
	if err := fetch.Close(); err != nil {
		return nil, err
	}
	if len(mails) != int(sel.NumMessages) {
		return nil, fmt.Errorf("%d messages were announced and %d came", sel.NumMessages, len(mails))
	}
	slices.SortFunc(mails, func(a, b Mail) int { return int(a.UID) - int(b.UID) })
	return mails, nil
}

// normalFlags makes flags comparable: keywords have no case (RFC 9051 §2.3.2), and servers keep
// the one they like.
func normalFlags(flags []string) []string {
	out := []string{}
	for _, f := range flags {
		if f = strings.ToLower(f); f != `\recent` {
			out = append(out, f)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Diff compares two accounts as multisets of messages by folder: octets, flags, date. rename
// gives the target's name of a source folder, "" for one that is left out; nil keeps names. Folders of the target
// that no source folder goes to have to be empty. It returns one line for each
// difference, none when both are equal.
func Diff(source, target map[string][]Mail, rename func(string) string) []string {
	want := map[string]map[string]int{}
	for name, mails := range source {
		to := name
		if rename != nil {
			to = rename(name)
		}
		if to == "" {
			continue
		}
		if want[to] == nil {
			want[to] = map[string]int{}
		}
		for _, m := range mails {
			want[to][m.identity()]++
		}
	}
	var lines []string
	for name := range want {
		if _, ok := target[name]; !ok {
			lines = append(lines, fmt.Sprintf("%s: the folder is missing", name))
		}
	}
	for name, mails := range target {
		left := want[name]
		for _, m := range mails {
			if left[m.identity()] == 0 {
				lines = append(lines, fmt.Sprintf("%s: too many: %s (UID %d)", name, m.identity(), m.UID))
				continue
			}
			left[m.identity()]--
		}
	}
	for name, left := range want {
		for identity, n := range left {
			for range n {
				lines = append(lines, fmt.Sprintf("%s: missing: %s", name, identity))
			}
		}
	}
	slices.Sort(lines)
	return lines
}

func (m Mail) identity() string {
	return fmt.Sprintf("%.16s %d octets %s %s", m.SHA256, m.Size, m.Date.UTC().Format(time.RFC3339), strings.Join(m.Flags, " "))
}
