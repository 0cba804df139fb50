package imap

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mxodus/mxodus/providers/imap/wire"
)

// opening is the net.Conn that go-imap's client is given while a session is opened. It
// hands the client whole lines, and reads one from the server only while an
// answer is due (the greeting, or a command that the client has sent). So when
// takeOver returns, the client's reader waits in here, not on the network,
// and not one octet of what follows is in its buffers.
//
// What the client would die of (untagged data it has not asked for, codes and capabilities that are
// not quite in the grammar) is kept from it.
type opening struct {
	net.Conn // the transport: writes go through
	br       *bufio.Reader

	mu      sync.Mutex
	changed *sync.Cond
	due     int    // answers that are still to come
	lines   int    // that came
	tag     int    // number of the last tag the client used
	sending []byte // the client's line so far
	inside  bool   // the client's next line belongs to a literal
	reading bool
	parked  bool
	closed  bool
	rest    []byte // of the line that is being handed over

	caps  string // the last list of capabilities seen
	bye   *wire.Status
	last  wire.Status // the last tagged answer
	greet wire.Status
}

// maxOpening is how many lines a server may say until a session is open.
const maxOpening = 10_000

// newOpening wraps c. With greeting, that line is what the client reads first;
// without, it is the server's.
func newOpening(c net.Conn, br *bufio.Reader, greeting string) *opening {
	o := &opening{Conn: c, br: br, due: 1, rest: []byte(greeting)}
	if greeting != "" {
		o.due = 0
		o.greet = wire.Status{Kind: "OK"}
	}
	o.changed = sync.NewCond(&o.mu)
	return o
}

// Read serves the client's reader goroutine.
func (o *opening) Read(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.rest) == 0 {
		for !o.closed && (o.parked || o.due == 0) {
			o.changed.Wait()
		}
		if o.closed || o.bye != nil { // some servers say BYE and leave the connection open
			return 0, io.EOF
		}
		o.reading = true
		o.mu.Unlock()
		line, err := readLine(o.br)
		if o.lines++; err == nil && o.lines > maxOpening {
			err = wire.ErrTooLong
		}
		o.mu.Lock()
		o.reading = false
		o.changed.Broadcast()
		if err != nil {
			return 0, err
		}
		if line, ok := o.seen(line); ok {
			o.rest = []byte(line + "\r\n")
		}
	}
	n := copy(p, o.rest)
	o.rest = o.rest[n:]
	return n, nil
}

// readLine reads a line without its end. Those of the opening are short.
func readLine(br *bufio.Reader) (string, error) {
	line, err := br.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		err = wire.ErrTooLong
	}
	if err == io.EOF && len(line) > 0 {
		err = io.ErrUnexpectedEOF
	}
	return strings.TrimRight(string(line), "\r\n"), err
}

// seen takes note of a line and returns what the client may have of it.
func (o *opening) seen(line string) (cleaned string, ok bool) {
	tag, rest, _ := strings.Cut(line, " ")
	kind, text, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	kind = strings.ToUpper(kind)
	switch {
	case tag == "+":
		return line, true
	case tag == "*" && kind == "CAPABILITY":
		o.caps = text
		return "* CAPABILITY" + atoms(text), true
	case kind != "OK" && kind != "NO" && kind != "BAD" && kind != "BYE" && kind != "PREAUTH":
		return "", false
	}
	st := wire.ParseStatus(kind, text)
	cleaned = tag + " " + kind + " ."
	if st.Code == "CAPABILITY" {
		o.caps = st.Args
		cleaned = tag + " " + kind + " [CAPABILITY" + atoms(st.Args) + "] ."
	}
	if tag != "*" {
		o.last, o.due = st, o.due-1
		if kind == "OK" && st.Code != "CAPABILITY" && o.caps != "" {
			// Without a list the client would ask for one in a goroutine of its own,
			// which never ends when the session is closed first. We ask ourselves.
			cleaned = tag + " OK [CAPABILITY" + atoms(o.caps) + "] ."
		}
		return cleaned, true
	}
	if kind == "BYE" {
		o.bye = &st
	}
	if o.greet.Kind == "" {
		o.greet, o.due = st, o.due-1
		if kind == "OK" && st.Code != "CAPABILITY" {
			cleaned = "* OK [CAPABILITY IMAP4rev1] ." // as above: login asks
		}
		return cleaned, true
	}
	return cleaned, kind == "OK" || kind == "BYE"
}

// atoms are the words of a list that are atoms, each after a space.
func atoms(list string) string {
	var b strings.Builder
	for word := range strings.FieldsSeq(list) {
		if wire.IsFlag(word) && word[0] != '\\' {
			b.WriteString(" " + word)
		}
	}
	return b.String()
}

// errOver is what the client gets that goes on with a login which is over.
var errOver = errors.New("the server has answered, or hung up, before it was told who logs in")

// Write passes the client's octets on and counts the commands among them. It fails where no answer will come any more: the
// client's Authenticate may still answer a challenge when its command is done or its reader has ended, and would then wait for
// good (beta.8; the connection, on which nothing is read, can't stall).
func (o *opening) Write(p []byte) (int, error) {
	o.mu.Lock()
	switch {
	case o.parked:
		// A command that the client thought of by itself, too late.
		o.mu.Unlock()
		return len(p), nil
	case o.closed:
		o.mu.Unlock()
		return 0, errOver
	}
	o.sending = append(o.sending, p...)
	for {
		line, rest, ok := strings.Cut(string(o.sending), "\r\n")
		// AUTHENTICATE is flushed before its line's end only by CRLF, so whole lines suffice.
		if !ok {
			break
		}
		o.sending = []byte(rest)
		if next := "T" + strconv.Itoa(o.tag+1) + " "; !o.inside && strings.HasPrefix(line, next) {
			o.tag++
			o.due++
		}
		o.inside = strings.HasSuffix(line, "}")
	}
	over := o.due == 0 && len(o.sending) == 0
	o.changed.Broadcast()
	o.mu.Unlock()
	if over {
		return 0, errOver
	}
	if string(p) == "=\r\n" {
		// go-imap writes an empty answer to a SASL challenge as "=", which is for an empty
		// initial response alone (RFC 4959 §3); elsewhere it is an empty line (RFC 3501 §6.2.2).
		if _, err := o.Conn.Write([]byte("\r\n")); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	return o.Conn.Write(p)
}

// takeOver waits until every command of the client is answered and parks its
// reader for good.
func (o *opening) takeOver() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.closed && (o.due > 0 || o.reading) {
		o.changed.Wait()
	}
	o.parked = true
}

// release lets the client's reader end. The connection itself is the session's.
func (o *opening) release() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.changed.Broadcast()
}

// Close is the client's: before the take-over it ends the connection, after it nothing.
func (o *opening) Close() error {
	o.mu.Lock()
	parked := o.parked
	o.closed = true
	o.mu.Unlock()
	o.changed.Broadcast()
	if parked {
		return nil
	}
	return o.Conn.Close()
}

func (*opening) SetDeadline(time.Time) error      { return nil }
func (*opening) SetReadDeadline(time.Time) error  { return nil }
func (*opening) SetWriteDeadline(time.Time) error { return nil }
