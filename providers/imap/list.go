package imap

import (
	"context"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/wire"
)

// ListEntry is a folder as LIST shows it.
type ListEntry struct {
	Raw        string // the name as on the wire: the folder's identity
	Name       string // UTF-8, "/" between levels, without the prefix of the personal namespace
	SpecialUse string // "\\Sent", ... (RFC 6154), "" = none
	Selectable bool
	Subscribed bool
	Status     *Status // nil: not selectable, or the server refused to say
}

// Status is what STATUS says of a folder.
type Status struct {
	Messages      uint32
	UIDNext       uint32
	UIDValidity   uint32
	HighestModSeq uint64 // 0: no CONDSTORE
	Size          int64  // octets, -1: not known
}

// List returns every folder of the account, without those of other users and shared ones,
// in the server's order. It costs one round trip where the server offers
// LIST-STATUS (RFC 5819), else two or three, whatever the number of folders. Sizes
// are not asked for, because some servers open every message to tell.
func (s *Session) List(ctx context.Context) ([]ListEntry, error) { return s.listAll(ctx, false) }

// ListSizes is List with Status.Size, where the server offers STATUS=SIZE (RFC 8438).
func (s *Session) ListSizes(ctx context.Context) ([]ListEntry, error) { return s.listAll(ctx, true) }

// listing collects what LIST, LSUB and STATUS say.
type listing struct {
	s        *Session
	items    []string // of STATUS
	sent     []*pending
	entries  []ListEntry
	index    map[string]int // raw name -> entry
	lsub     map[string]bool
	statuses map[string]*Status
	octets   int   // of all names
	broken   error // a response that could not be read: a folder would be missing
}

// maxNames bounds the octets of all names of an account's folders.
const maxNames = 64 << 20

// listed reads attributes, separator and name, and fails for good when names have no end.
func (l *listing) listed() (attributes []string, delimiter, raw string, err error) {
	attributes, delimiter, raw, err = l.s.listed()
	return attributes, delimiter, raw, l.count(raw, err)
}

func (l *listing) count(raw string, err error) error {
	if l.octets += len(raw) + 100; l.octets > maxNames {
		return wire.ErrTooLong
	}
	l.s.asked()
	return err
}

func (s *Session) newListing(sizes bool) *listing {
	return &listing{s: s, items: s.statusItems(sizes), index: map[string]int{}, lsub: map[string]bool{}, statuses: map[string]*Status{}}
}

// ask sends what is asked of all folders at once.
func (l *listing) ask() error {
	caps := l.s.caps
	list := wire.NewCommand("LIST").String("").String("*")
	extended := caps["LIST-EXTENDED"] || caps["IMAP4REV2"]
	if extended {
		options := []string{"SUBSCRIBED"}
		if caps["SPECIAL-USE"] || caps["IMAP4REV2"] {
			options = append(options, "SPECIAL-USE")
		}
		if caps["LIST-STATUS"] || caps["IMAP4REV2"] {
			options = append(options, "STATUS ("+strings.Join(l.items, " ")+")")
		}
		list.Atom("RETURN").Items(options...)
	}
	sent := []*wire.Command{list}
	if !extended {
		sent = append(sent, wire.NewCommand("LSUB").String("").String("*"))
	}
	for _, c := range sent {
		p, err := l.s.send(c, "list the folders of", l.s.user)
		if err != nil {
			return err
		}
		l.sent = append(l.sent, p)
	}
	return nil
}

func (s *Session) listAll(ctx context.Context, sizes bool) ([]ListEntry, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	l := s.ahead
	if s.ahead = nil; l == nil || sizes {
		l = s.newListing(sizes)
	}
	s.untagged = l.data
	if l.sent == nil {
		if err := l.ask(); err != nil {
			return nil, err
		}
	}
	for _, p := range l.sent {
		if err := s.await(p); err != nil {
			return nil, err
		}
	}
	if err := l.sent[0].refused(); err != nil { // subscriptions are worth having, not worth failing for
		return nil, err
	}
	if err := l.complete(l.items); err != nil {
		return nil, err
	}
	if l.broken != nil {
		return nil, &providers.Error{Op: "list the folders of", Subject: s.user, Reason: providers.Protocol, Err: l.broken,
			Remedy: "report it: a folder would be left out without this error"}
	}
	return l.entries, nil
}

// feed is the next function of a pipeline over commands that are there.
func feed(commands []*wire.Command) func() *wire.Command {
	return func() *wire.Command {
		if len(commands) == 0 {
			return nil
		}
		c := commands[0]
		commands = commands[1:]
		return c
	}
}

func (s *Session) statusItems(sizes bool) []string {
	items := []string{"MESSAGES", "UIDNEXT", "UIDVALIDITY"}
	if s.condstore() {
		items = append(items, "HIGHESTMODSEQ")
	}
	if sizes && (s.caps["STATUS=SIZE"] || s.caps["IMAP4REV2"]) {
		items = append(items, "SIZE")
	}
	return items
}

func (s *Session) condstore() bool { return s.caps["CONDSTORE"] || s.caps["QRESYNC"] }

// complete asks for the status of those folders that have none yet.
func (l *listing) complete(items []string) error {
	var commands []*wire.Command
	for i := range l.entries {
		e := &l.entries[i]
		e.Subscribed = e.Subscribed || l.lsub[Identity(e.Raw)]
		if e.Status = l.statuses[Identity(e.Raw)]; e.Status == nil && e.Selectable {
			commands = append(commands, wire.NewCommand("STATUS").String(e.Raw).Items(items...))
		}
	}
	// A folder may be gone by now, or may not be read: Status stays nil.
	err := l.s.pipeline(feed(commands), "look at a folder of", l.s.user, func(int, *pending) error { return nil })
	if err != nil {
		return err
	}
	for i := range l.entries {
		l.entries[i].Status = l.statuses[Identity(l.entries[i].Raw)]
	}
	return nil
}

func (l *listing) data(resp wire.Response) error {
	var err error
	switch resp.Type {
	case "LIST":
		err = l.entry()
	case "LSUB":
		err = l.subscription()
	case "STATUS":
		err = l.status()
	}
	if err != nil && l.broken == nil {
		l.broken = err
	}
	return err
}

// entry reads one LIST response: attributes, separator, name. What follows
// (RFC 5258 extended data) is left.
func (l *listing) entry() error {
	attributes, delimiter, raw, err := l.listed()
	if err != nil {
		return err
	}
	if _, seen := l.index[raw]; seen || !l.s.personal(raw) {
		return nil
	}
	if delimiter != "" {
		l.s.delimiter = delimiter
	}
	e := ListEntry{Raw: raw, Name: l.s.decodeName(raw), Selectable: true}
	for _, a := range attributes {
		switch strings.ToLower(a) {
		case `\noselect`, `\nonexistent`:
			e.Selectable = false
		case `\subscribed`:
			e.Subscribed = true
		}
		if use := specialUse(a); use != "" && e.SpecialUse == "" {
			e.SpecialUse = use
		}
	}
	l.index[raw] = len(l.entries)
	l.entries = append(l.entries, e)
	return nil
}

// Identity makes one of the spellings of INBOX (RFC 3501 §5.1), which servers mix: LIST says
// "Inbox" and STATUS "INBOX". Other raw names are their own. What it returns may be sent.
func Identity(raw string) string {
	if strings.EqualFold(raw, "INBOX") {
		return "INBOX"
	}
	return raw
}

func (l *listing) subscription() error {
	_, _, raw, err := l.listed()
	if err == nil {
		l.lsub[Identity(raw)] = true
	}
	return err
}

func (s *Session) listed() (attributes []string, delimiter, raw string, err error) {
	v, err := s.r.Value()
	if err != nil {
		return nil, "", "", err
	}
	d, err := s.r.Value()
	if err != nil {
		return nil, "", "", err
	}
	raw, err = s.r.Name()
	return v.Texts(), d.Text, raw, err
}

func (l *listing) status() error {
	raw, err := l.s.r.Name()
	if err = l.count(raw, err); err != nil {
		return err
	}
	v, err := l.s.r.Value()
	if err != nil {
		return err
	}
	st := &Status{Size: -1}
	for i := 0; i+1 < len(v.List); i += 2 {
		n, ok := v.List[i+1].Number()
		if !ok {
			continue
		}
		switch strings.ToUpper(v.List[i].Text) {
		case "MESSAGES":
			st.Messages = uint32(n)
		case "UIDNEXT":
			st.UIDNext = uint32(n)
		case "UIDVALIDITY":
			st.UIDValidity = uint32(n)
		case "HIGHESTMODSEQ":
			st.HighestModSeq = n
		case "SIZE":
			st.Size = int64(n)
		}
	}
	l.statuses[Identity(raw)] = st
	return nil
}

var specialUses = []string{`\All`, `\Archive`, `\Drafts`, `\Flagged`, `\Important`, `\Junk`, `\Sent`, `\Trash`}

// specialUse returns the attribute in the spelling of RFC 6154, "" when it is none of them.
func specialUse(attribute string) string {
	i := slices.IndexFunc(specialUses, func(u string) bool { return strings.EqualFold(u, attribute) })
	if i < 0 {
		return ""
	}
	return specialUses[i]
}
