package imap

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/wire"
)

// Meta is what a server says of a message besides its octets.
type Meta struct {
	UID             uint32
	Flags           []string // as sent; \Recent may be among them
	InternalDate    time.Time
	InternalDateRaw string // as sent; InternalDate is zero where it can't be read
	Size            int64  // RFC822.SIZE, -1 = not said; a hint, the literal is the truth
	ModSeq          uint64
	Header          []byte // the header fields asked for, as sent
	Number          uint64 // X-GM-MSGID: the same in all folders that hold the message; 0 = not said
	labels          []string
}

// FetchItems chooses what FetchMeta asks for, besides the UID.
type FetchItems struct {
	Flags, InternalDate, Size bool
	ModSeq                    bool     // only with CONDSTORE; left out elsewhere
	ChangedSince              uint64   // only with CONDSTORE; an error elsewhere. 0 = all
	HeaderFields              []string // "MESSAGE-ID"; read without marking the message as read

	number, labels bool // where a message may be in several folders (Traits.Labels)
}

// items of a message, as bits.
const (
	hasUID = 1 << iota
	hasFlags
	hasDate
	hasSize
	hasModSeq
	hasHeader
	hasBody
	hasNumber
	hasLabels
)

// partial is a message whose items have come so far.
type partial struct {
	Meta
	has  int
	body *spooled // of messages whose body came before their UID
}

func newPartial() *partial { return &partial{Meta: Meta{Size: -1}} }

// FetchMeta calls fn for each message of set that exists, in the server's order. set is
// of UIDs: "1:*", "5,7:9". Nothing is kept: memory doesn't grow with the
// folder. A message whose flags change meanwhile may come twice; the later one is newer.
//
// fn must not use the session. When fn fails, the rest of the answer is read and fn's error
// returned. A response that can't be read is an error in the end, because a message
// would be missed without it.
func (s *Session) FetchMeta(ctx context.Context, set string, items FetchItems, fn func(Meta) error) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if s.exists == 0 {
		return nil // some servers refuse "1:*" in an empty folder
	}
	l := newListing(s, s.selected, &List{Queries: []Query{{set, items.ChangedSince}}, Items: items, Each: fn})
	return s.take(l, "read folder")
}

// take runs one step in the folder that is open.
func (s *Session) take(x step, op string) error {
	s.untagged = x.data
	var unsent error
	err := s.pipeline(func() *wire.Command {
		c, err := x.command()
		if err != nil {
			unsent = err
			return nil
		}
		return c
	}, op, s.selected, func(_ int, p *pending) error { return p.refused() })
	if s.lost != nil {
		return s.lost
	}
	if unsent != nil {
		return unsent
	}
	if err == nil {
		return x.finish()
	}
	return err
}

// metaListing is the step of a List.
type metaListing struct {
	metaReader
	list *List
	next []Query
	made bool
}

func newListing(s *Session, raw string, l *List) *metaListing {
	items := l.Items
	items.ModSeq = items.ModSeq && s.condstore()
	items.number, items.labels = s.traits.Labels && (items.Flags || items.Size), s.traits.Labels && items.Flags
	return &metaListing{list: l, metaReader: metaReader{s: s, raw: raw, items: items, want: items.wants(), fn: l.Each, vanished: l.Vanished, open: map[uint32]*partial{}}}
}

func (l *metaListing) command() (*wire.Command, error) {
	if !l.made {
		l.made = true
		for _, q := range l.list.Queries {
			spans, err := parseSet(q.Set)
			if err != nil {
				return nil, &providers.Error{Op: "read folder", Subject: l.raw, Reason: providers.Refused, Err: err}
			}
			if q.ChangedSince > 0 && !l.s.condstore() {
				return nil, l.s.lacksCondstore(l.raw)
			}
			l.spans = append(l.spans, spans...)
			for _, set := range splitSet(q.Set) {
				l.next = append(l.next, Query{set, q.ChangedSince})
			}
		}
	}
	if len(l.next) == 0 || l.failed != nil {
		return nil, nil
	}
	q := l.next[0]
	l.next = l.next[1:]
	c := wire.NewCommand("UID FETCH").Set(q.Set).Items(l.items.words()...)
	if q.ChangedSince > 0 {
		since := fmt.Sprintf("CHANGEDSINCE %d", q.ChangedSince) // RFC 7162 §3.1.4.1
		if l.s.qresync && l.vanished != nil {
			since += " VANISHED"
		}
		c.Items(since)
	}
	return c, nil
}

func (l *metaListing) answered(*pending) {}

func (f FetchItems) wants() int {
	want := hasUID
	for bit, on := range map[int]bool{hasFlags: f.Flags, hasDate: f.InternalDate, hasSize: f.Size,
		hasModSeq: f.ModSeq, hasHeader: len(f.HeaderFields) > 0, hasNumber: f.number, hasLabels: f.labels} {
		if on {
			want |= bit
		}
	}
	return want
}

func (f FetchItems) words() []string {
	words := []string{"UID"}
	if f.Flags {
		words = append(words, "FLAGS")
	}
	if f.InternalDate {
		words = append(words, "INTERNALDATE")
	}
	if f.Size {
		words = append(words, "RFC822.SIZE")
	}
	if f.ModSeq {
		words = append(words, "MODSEQ")
	}
	if f.number {
		words = append(words, "X-GM-MSGID")
	}
	if f.labels {
		words = append(words, "X-GM-LABELS")
	}
	if len(f.HeaderFields) > 0 {
		words = append(words, "BODY.PEEK[HEADER.FIELDS ("+strings.Join(f.HeaderFields, " ")+")]")
	}
	return words
}

// metaReader puts FETCH responses together for FetchMeta.
type metaReader struct {
	s        *Session
	raw      string
	items    FetchItems
	spans    []span
	want     int
	fn       func(Meta) error
	vanished func(from, to uint32) error // nil = nobody asks
	open     map[uint32]*partial         // by sequence number: incomplete so far
	count    int                         // of messages that came
	failed   error                       // of fn
	broken   error                       // a response that could not be read
}

// maxMessages is the largest folder that a server is believed to have.
const maxMessages = 1 << 24

// maxOpen bounds how many incomplete messages are kept. Servers that spread one
// message over several responses send them next to each other.
const maxOpen = 4096

func (m *metaReader) data(resp wire.Response) error {
	if resp.Type == "VANISHED" {
		if earlier, err := m.readVanished(); err != nil || earlier {
			return err
		}
	}
	if resp.Type == "EXPUNGE" || resp.Type == "VANISHED" {
		clear(m.open) // the numbers mean other messages now
		return nil
	}
	if resp.Type != "FETCH" {
		return nil
	}
	p := m.open[resp.Number]
	if p == nil {
		p = newPartial()
	}
	if err := m.s.readItems(p, nil); err != nil {
		if m.broken == nil {
			m.broken = err
		}
		return err
	}
	if p.has&m.want == m.want {
		delete(m.open, resp.Number)
		if m.count++; m.count <= 2*min(int(m.s.exists), maxMessages) {
			m.s.asked()
		}
		m.emit(p)
	} else if m.open[resp.Number] = p; len(m.open) > maxOpen {
		// Mostly news of flags that nobody asked for; what is more is an error.
		m.check()
		clear(m.open)
	}
	return nil
}

// readVanished reads "(EARLIER) set" and reports whether it was of that kind: the answer to a question, and no news (RFC 7162 §3.2.10).
func (m *metaReader) readVanished() (earlier bool, err error) {
	if b, err := m.s.r.Begins('('); err != nil || !b {
		return false, err
	}
	if _, err := m.s.r.Value(); err != nil {
		return false, err
	}
	m.s.asked()
	if m.vanished == nil {
		return true, nil
	}
	return true, m.s.r.Ranges(func(from, to uint32) error {
		if m.failed == nil {
			m.failed = m.vanished(from, to)
		}
		return nil
	})
}

func (m *metaReader) emit(p *partial) {
	if m.failed == nil && contains(m.spans, p.UID) {
		p.labelled(m.raw)
		m.failed = m.fn(p.Meta)
	}
}

// check looks at what is incomplete. Flags alone are news of a change by
// somebody else; anything more is a message that the server has half shown.
func (m *metaReader) check() {
	for _, p := range m.open {
		if m.broken == nil && p.has&^(hasUID|hasFlags|hasModSeq) != 0 {
			m.broken = fmt.Errorf("the server left out what was asked for of a message (UID %d)", p.UID)
		}
	}
}

func (m *metaReader) finish() error {
	m.check()
	if m.failed != nil {
		return m.failed
	}
	if m.broken != nil {
		return &providers.Error{Op: "read folder", Subject: m.raw, Reason: providers.Protocol, Err: m.broken,
			Remedy: "report it with the name of the host; messages would be missed without this error"}
	}
	return nil
}

// mostUnasked is how many octets of a message are passed over where none were asked for.
const mostUnasked = 1 << 20

// readItems reads "(UID 5 FLAGS () ...)" into p. Items that nobody asked for
// are passed over. A body goes to body, which reads it or doesn't; nil passes over it, up to mostUnasked.
func (s *Session) readItems(p *partial, body func(*wire.Body) error) error {
	if err := s.r.Open(); err != nil {
		return err
	}
	for {
		more, err := s.r.More()
		if err != nil || !more {
			return err
		}
		name, err := s.r.ItemName()
		if err != nil {
			return err
		}
		switch {
		case name == "BODY[]" || name == "RFC822":
			b, err := s.r.Body()
			if err != nil {
				return err
			}
			switch {
			case b.Absent:
			case body != nil:
				if err := body(b); err != nil {
					return err
				}
			case b.Size > mostUnasked:
				return wire.ErrTooLong
			}
			continue
		case strings.HasPrefix(name, "BODY[HEADER"):
			v, err := s.r.Value()
			if err != nil {
				return err
			}
			p.Header, p.has = []byte(v.Text), p.has|hasHeader
			continue
		}
		v, err := s.r.Value()
		if err != nil {
			return err
		}
		p.take(name, v)
	}
}

func (p *partial) take(name string, v wire.Value) {
	switch name {
	case "UID":
		if n, ok := v.Number(); ok && n > 0 && n <= 1<<32-1 {
			p.UID, p.has = uint32(n), p.has|hasUID
		}
	case "FLAGS":
		p.Flags, p.has = v.Texts(), p.has|hasFlags
	case "INTERNALDATE":
		p.InternalDateRaw, p.InternalDate, p.has = v.Text, parseDate(v.Text), p.has|hasDate
	case "RFC822.SIZE":
		if n, ok := v.Number(); ok {
			p.Size = int64(n)
		}
		p.has |= hasSize
	case "X-GM-MSGID":
		p.Number, _ = v.Number()
		p.has |= hasNumber
	case "X-GM-LABELS":
		p.labels, p.has = v.Texts(), p.has|hasLabels
	case "MODSEQ": // RFC 7162 §3.1.4.1: in parentheses
		if len(v.List) == 1 {
			v = v.List[0]
		}
		p.ModSeq, _ = v.Number()
		p.has |= hasModSeq
	}
}
