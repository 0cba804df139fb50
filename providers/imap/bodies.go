package imap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/wire"
)

// MissingError names messages that were asked for and didn't come: expunged
// meanwhile, or sent in a way that can't be read. Ask again before giving up.
type MissingError struct {
	UIDs   []uint32 // ascending
	Broken error    // of a response that could not be read, nil when there was none
}

// Error is one line.
func (e *MissingError) Error() string {
	s := fmt.Sprintf("the server did not send %d of the messages asked for (UIDs %.200s)", len(e.UIDs), FormatSet(e.UIDs))
	if e.Broken != nil {
		s += ": " + e.Broken.Error()
	}
	return s
}

// Unwrap returns what could not be read.
func (e *MissingError) Unwrap() error { return e.Broken }

// FetchBodies calls fn for each message of the sets, with its octets and how
// many they are (the literal's size). Each set is one command, several are on their way
// at once; the answers come in the server's order. Nothing is marked as read.
//
// A body is good until fn returns; what fn leaves unread is passed over. A body that ends early
// gives io.ErrUnexpectedEOF, and the call fails with a *LostError whatever fn makes of it.
// Each message is handed over once. Those that did not come are in a *MissingError; all
// others were handed over then.
//
// fn must not use the session. When fn fails, no further set is asked for, what is on its
// way is read and fn's error returned.
func (s *Session) FetchBodies(ctx context.Context, sets []string, fn func(m Meta, size int64, body io.Reader) error) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	b := newReading(s, s.selected, &Bodies{Sets: sets, Each: fn})
	defer b.drop()
	err = s.take(b, "fetch from folder")
	if err == nil || s.lost != nil || b.failed != nil || b.unsent {
		return err
	}
	if _, ok := errors.AsType[*MissingError](err); ok {
		return err
	}
	// A refusal: what else came was handed over all the same.
	b.finish()
	if b.failed != nil {
		return b.failed
	}
	if missing := b.missing(); missing != nil {
		return errors.Join(err, missing)
	}
	return err
}

// reading is the step of Bodies.
type reading struct {
	bodyReader
	sets   []string
	next   []string
	made   bool
	unsent bool // the sets can't be asked for
}

func newReading(s *Session, raw string, b *Bodies) *reading {
	return &reading{sets: b.Sets, bodyReader: bodyReader{s: s, raw: raw, fn: b.Each, want: map[uint32]bool{}, open: map[uint32]*partial{}}}
}

func (b *reading) command() (*wire.Command, error) {
	if !b.made {
		b.made = true
		for _, set := range b.sets {
			uids, err := expand(set)
			if err == nil && len(b.want)+len(uids) > maxUIDs {
				err = errors.New("too many messages for one call")
			}
			if err != nil {
				b.unsent = true
				return nil, &providers.Error{Op: "fetch from folder", Subject: b.raw, Reason: providers.Refused, Err: err}
			}
			for _, uid := range uids {
				b.want[uid] = true
			}
			b.next = append(b.next, splitSet(set)...)
		}
	}
	if len(b.next) == 0 || b.failed != nil {
		return nil, nil
	}
	items := []string{"UID", "FLAGS", "INTERNALDATE", "RFC822.SIZE", "BODY.PEEK[]"}
	if b.s.traits.Labels {
		items = slices.Insert(items, 4, "X-GM-LABELS")
	}
	c := wire.NewCommand("UID FETCH").Set(b.next[0]).Items(items...)
	b.next = b.next[1:]
	return c, nil
}

func (b *reading) answered(*pending) {}

func (b *reading) finish() error {
	if b.failed == nil {
		b.bodyReader.finish()
	}
	if b.failed != nil {
		return b.failed
	}
	return b.missing()
}

// bodyReader puts FETCH responses together for FetchBodies. A body is handed
// over as it comes when everything else of the message is there already;
// else it is kept until the rest has come.
type bodyReader struct {
	s      *Session
	raw    string // of the folder
	fn     func(Meta, int64, io.Reader) error
	want   map[uint32]bool     // still to come
	open   map[uint32]*partial // by sequence number: incomplete so far
	failed error               // of fn
	broken error               // a response that could not be read
}

// believable is the most octets that a body may have of which the server says that it has size. Servers are
// wrong by their own storage's line ends, at most by a factor of two.
func believable(size int64) int64 { return 1<<20 + 4*max(size, 0) }

// complete reports whether all of a message but its octets has come.
func (b *bodyReader) complete(p *partial) bool {
	needed := hasUID | hasFlags | hasDate
	if b.s.traits.Labels {
		needed |= hasLabels
	}
	return p.has&needed == needed
}

func (b *bodyReader) data(resp wire.Response) error {
	if resp.Type == "EXPUNGE" || resp.Type == "VANISHED" {
		b.drop() // the numbers mean other messages now; what is dropped is reported as missing
		return nil
	}
	if resp.Type != "FETCH" {
		return nil
	}
	p := b.open[resp.Number]
	if p == nil {
		p = newPartial()
	}
	handed := false
	err := b.s.readItems(p, func(body *wire.Body) error {
		if p.has&hasSize != 0 && body.Size > believable(p.Size) {
			return wire.ErrTooLong
		}
		if p.has&hasUID != 0 && !b.want[p.UID] {
			return nil
		}
		// A small one waits for the end of its response, which tells whether the announcement was right.
		if b.complete(p) && body.Size > keepInMemory {
			handed = true
			return b.hand(p, body.Size, &whole{body})
		}
		if p.body != nil {
			p.body.Close()
		}
		var room []byte
		if b.complete(p) {
			room = b.s.room // it is handed over before the next response is read
		}
		var err error
		if p.body, err = keep(&whole{body}, body.Size, b.s.spool, room); err == nil && b.complete(p) && p.body.file == nil {
			b.s.room = p.body.mem
		}
		return err
	})
	if err != nil {
		if _, ok := errors.AsType[*wire.SyntaxError](err); ok && p.body != nil && b.complete(p) && p.has&hasSize != 0 && p.body.size == p.Size {
			// The octets are as many as the server says in two places; only what is around them is not well made.
			delete(b.open, resp.Number)
			return b.handKept(p)
		}
		if b.broken == nil {
			b.broken = err
		}
		if p.body != nil {
			p.body.Close()
		}
		delete(b.open, resp.Number)
		return err
	}
	switch {
	case handed:
		delete(b.open, resp.Number)
	case p.body != nil && b.complete(p):
		delete(b.open, resp.Number)
		return b.handKept(p)
	case p.has&hasUID != 0 && !b.want[p.UID]:
		// News of flags of a message that was handed over or not asked for.
		delete(b.open, resp.Number)
	case len(b.open) < maxOpen:
		b.open[resp.Number] = p
	}
	return nil
}

// hand calls fn, and makes sure that a body which broke off is no success.
func (b *bodyReader) hand(p *partial, size int64, body io.Reader) error {
	if b.failed != nil || !b.want[p.UID] {
		return nil
	}
	delete(b.want, p.UID)
	b.s.asked()
	p.labelled(b.raw)
	watch := &watched{r: body}
	b.failed = b.fn(p.Meta, size, watch)
	if watch.err != nil {
		return watch.err
	}
	return nil
}

// errAnnounced ends a connection on which an announcement was wrong.
var errAnnounced = errors.New("the server announced more or fewer octets of a message than it sent")

// whole is a body that ends well only where a response goes on behind it.
type whole struct{ body *wire.Body }

func (w *whole) Read(p []byte) (int, error) {
	n, err := w.body.Read(p)
	if err != io.EOF {
		return n, err
	}
	followed, ferr := w.body.Followed()
	switch {
	case ferr != nil:
		return n, ferr
	case !followed:
		return n, errAnnounced
	}
	return n, io.EOF
}

// watched remembers the error of a body.
type watched struct {
	r   io.Reader
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}

func (b *bodyReader) handKept(p *partial) error {
	defer p.body.Close()
	body, err := p.body.reader()
	if err != nil {
		return err
	}
	return b.hand(p, p.body.size, body)
}

// finish hands over bodies whose flags or date never came: the octets count.
func (b *bodyReader) finish() {
	for _, p := range b.open {
		if p.body != nil && p.has&hasUID != 0 && b.broken == nil {
			if err := b.handKept(p); err != nil && b.failed == nil {
				b.failed = err
			}
			p.body = nil
		}
	}
}

// drop forgets what is incomplete.
func (b *bodyReader) drop() {
	for _, p := range b.open {
		if p.body != nil {
			p.body.Close()
		}
	}
	clear(b.open)
}

// missing is a *MissingError, or nil.
func (b *bodyReader) missing() error {
	if len(b.want) == 0 {
		return nil
	}
	e := &MissingError{Broken: b.broken}
	for uid := range b.want {
		e.UIDs = append(e.UIDs, uid)
	}
	FormatSet(e.UIDs) // sorts
	return e
}

// keepInMemory is the size up to which a body that came too early waits in memory.
const keepInMemory = 1 << 20

// spooled is a body that waits for the rest of its message.
type spooled struct {
	size int64
	mem  []byte
	file *os.File
}

// keep reads a body of size octets to its end, into room where it is small and room has the capacity.
func keep(body io.Reader, size int64, folder string, room []byte) (*spooled, error) {
	s := &spooled{size: size}
	if s.size <= keepInMemory {
		if int64(cap(room)) < size {
			room = make([]byte, size, max(size, min(2*int64(cap(room)), keepInMemory)))
		}
		s.mem = room[:size]
		if _, err := io.ReadFull(body, s.mem); err != nil {
			return s, err
		}
		_, err := io.Copy(io.Discard, body) // the end may be none
		return s, err
	}
	f, err := os.CreateTemp(folder, "message-*.eml")
	if err != nil {
		return nil, err
	}
	s.file = f
	// The name is not needed; without it, nothing is left behind whatever happens.
	if err := os.Remove(f.Name()); err != nil {
		s.Close()
		return nil, err
	}
	if _, err := io.Copy(f, body); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *spooled) reader() (io.Reader, error) {
	if s.file == nil {
		return bytes.NewReader(s.mem), nil
	}
	_, err := s.file.Seek(0, io.SeekStart)
	return s.file, err
}

func (s *spooled) Close() {
	if s.file != nil {
		s.file.Close()
	}
}
