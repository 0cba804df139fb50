package imap

import (
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap/wire"
)

// Message is what is to be appended. Size octets are read from Body, which has to hold
// exactly as many: the server is told the number first, and a body that
// turns out shorter or longer costs the connection. A Body that is an io.Seeker
// (bytes.Reader, os.File) may go into a MULTIAPPEND, because it can be sent again.
type Message struct {
	Flags        []string  // \Recent and what is no flag are left out
	InternalDate time.Time // zero: none, the server takes its own time
	Size         int64
	Body         io.Reader
	Binary       bool // NUL is among the octets: sent as literal8 where the server offers BINARY (RFC 3516)
}

// Appended is what became of one message.
//
// Done: it is in the folder; UID is set when the server said so (UIDPLUS).
// Err: the server refused it, and it is not in the folder. Unsent: the server
// never got all octets of a message of the command, so it is not in the folder either.
// None of these: it is in doubt.
type Appended struct {
	UIDValidity, UID uint32 // 0: the server didn't say
	Done             bool   // tagged OK
	Unsent           bool
	Keywords         []string // Done, but without these keywords of it, which the server refused
	Err              error    // *providers.Error
}

// InDoubt reports whether the message may or may not be in the folder.
func (a Appended) InDoubt() bool { return !a.Done && !a.Unsent && a.Err == nil }

// Append appends batch to a folder and waits for the answers. See StartAppend.
func (s *Session) Append(ctx context.Context, raw string, batch []Message) ([]Appended, error) {
	wait, err := s.StartAppend(ctx, raw, batch)
	if wait == nil {
		return make([]Appended, len(batch)), err
	}
	return wait()
}

// StartAppend sends batch and returns without waiting for the answers, as far
// as the server lets it; wait returns them, one for each message, in order.
// Several batches may be on their way. Bodies are not needed any more when StartAppend
// returns, but those that are io.Seekers may be read again by wait.
//
// Messages of up to 1 MiB go together in one command where the server offers
// MULTIAPPEND (RFC 3502: all of them or none; when it refuses, they are sent again one by
// one, so that each gets its own answer), else each in its own command, one after
// the other without waiting. Larger ones wait for the server's go-ahead, so that
// a refusal comes before the octets.
//
// A message that is refused for none of its octets is sent again without its unusual keywords, and then without any, where it has some: servers
// bound their characters (Courier), their length (Dovecot) and their number.
//
// An error, of either, means that the connection is gone: a *LostError. wait is
// nil only when nothing at all was sent. ctx counts until wait returns.
func (s *Session) StartAppend(ctx context.Context, raw string, batch []Message) (wait func() ([]Appended, error), err error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { s.link.abort(context.Cause(ctx)) })
	b := &appending{s: s, raw: raw, batch: batch, results: make([]Appended, len(batch))}
	for i := range b.results {
		b.results[i].Unsent = true
	}
	for i := 0; i < len(batch) && s.lost == nil; {
		n := b.together(i)
		b.send(i, n)
		i += n
	}
	if s.lost == nil {
		s.flush() // a failure is told by wait
	}
	leave()
	return func() ([]Appended, error) {
		defer stop()
		return b.wait()
	}, nil
}

// appending is a batch on its way.
type appending struct {
	s       *Session
	raw     string
	batch   []Message
	results []Appended
	bare    map[int]func(keyword string) bool // keywords that are left out
	sent    []sentAppend
}

// sentAppend is one command with n messages from the first on.
type sentAppend struct {
	*pending
	first, n int
}

// together returns how many messages from i on go into one command.
func (b *appending) together(i int) int {
	if !b.s.caps["MULTIAPPEND"] {
		return 1
	}
	n := 0
	for i+n < len(b.batch) && b.fits(b.batch[i+n]) {
		n++
	}
	return max(n, 1)
}

// fits reports whether m may be one of several in a command: its literal needs no
// go-ahead, it can be sent again, and it isn't empty, which would cancel the
// whole command (RFC 3502 §6.3.11).
func (b *appending) fits(m Message) bool {
	_, again := m.Body.(io.Seeker)
	return again && m.Size > 0 && b.s.immediate(m.Size)
}

// send sends n messages from i on in one command. Failures are in b.results or s.lost.
func (b *appending) send(i, n int) {
	c := wire.NewCommand("APPEND").String(b.raw)
	for j, m := range b.batch[i : i+n] {
		flags := settable(m.Flags)
		if out := b.bare[i+j]; out != nil {
			flags = slices.DeleteFunc(flags, out)
		}
		if len(flags) > 0 {
			c.Flags(flags)
		}
		if date := formatDate(m.InternalDate); date != "" {
			c.Quoted(date)
		}
		if m.Binary && b.s.caps["BINARY"] {
			c.Literal8(m.Size, m.Body)
		} else {
			c.Literal(m.Size, m.Body)
		}
	}
	p, err := b.s.send(c, "append to folder", b.raw)
	if p == nil {
		// The command itself is at fault.
		for j := range n {
			b.results[i+j] = Appended{Err: err}
		}
		return
	}
	if err != nil && !p.done && !p.delivered {
		return // no message was written to its end, so the server can't have taken one
	}
	for j := range n {
		b.results[i+j].Unsent = false
	}
	sent := sentAppend{p, i, n}
	if p.done && n == 1 && sent.refused() != nil && b.keywordsAtFault(sent) {
		b.again(sent) // at once: Courier ends sessions with many refusals in a row
		return
	}
	b.sent = append(b.sent, sent)
}

func (b *appending) wait() ([]Appended, error) {
	leave, err := b.s.enter(context.Background()) // ctx is watched since StartAppend
	if err == nil {
		defer leave()
	}
	for k := 0; k < len(b.sent); k++ {
		c := b.sent[k]
		if !c.done && b.s.lost == nil {
			b.s.await(c.pending)
		}
		switch {
		case !c.done: // in doubt
		case c.status.Kind == "OK":
			b.done(c)
		case c.n > 1 || b.keywordsAtFault(c):
			b.again(c)
		default:
			b.results[c.first] = Appended{Err: c.refused()}
		}
	}
	return b.results, b.s.lost
}

// keywordsAtFault reports whether the refusal of a message may be about its keywords, and notes which of them it goes without from now on.
func (b *appending) keywordsAtFault(c sentAppend) bool {
	m := b.batch[c.first]
	if _, again := m.Body.(io.Seeker); !again {
		return false
	}
	switch providers.ReasonOf(c.refused()) {
	case providers.Refused, providers.BadMessage:
	default:
		return false
	}
	flags := settable(m.Flags)
	had := len(flags)
	if out := b.bare[c.first]; out != nil {
		had = len(slices.DeleteFunc(slices.Clone(flags), out))
	}
	for _, out := range []func(string) bool{isUnusual, isKeyword} {
		if len(slices.DeleteFunc(slices.Clone(flags), out)) < had {
			if b.bare == nil {
				b.bare = map[int]func(string) bool{}
			}
			b.bare[c.first] = out
			return true
		}
	}
	return false
}

func isKeyword(flag string) bool { return !strings.HasPrefix(flag, `\`) }

// isUnusual reports whether a keyword is longer, or of other characters, than those that mail programs make.
func isUnusual(flag string) bool {
	return isKeyword(flag) && (len(flag) > 48 || strings.Trim(flag, "0123456789") == "" || strings.Trim(flag, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789$_.-") != "")
}

// done gives the messages of a command their UIDs (RFC 4315 §3: in the order of
// the messages).
func (b *appending) done(c sentAppend) {
	var uids []uint32
	validity, set, _ := strings.Cut(c.status.Args, " ")
	if c.status.Code == "APPENDUID" {
		if all, err := expand(set); err == nil && len(all) == c.n {
			uids = all
		}
	}
	for j := range c.n {
		r := Appended{Done: true}
		if out := b.bare[c.first+j]; out != nil {
			r.Keywords = slices.DeleteFunc(settable(b.batch[c.first+j].Flags), func(f string) bool { return !out(f) })
		}
		if uids != nil {
			v, _ := strconv.ParseUint(validity, 10, 32)
			r.UIDValidity, r.UID = uint32(v), uids[j]
		}
		b.results[c.first+j] = r
	}
}

// again sends the messages of a refused command one by one. None of them is in the folder.
func (b *appending) again(c sentAppend) {
	for j := range c.n {
		i := c.first + j
		b.results[i] = Appended{Unsent: true}
		if b.s.lost != nil {
			continue
		}
		if _, err := b.batch[i].Body.(io.Seeker).Seek(0, io.SeekStart); err != nil {
			b.results[i] = Appended{Err: err}
			continue
		}
		b.send(i, 1)
	}
}
