package imaptest

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// FaultKind is what goes wrong between a client and a server. Each kind has occasions: commands, literals of
// commands, bodies, untagged responses or tagged answers that pass.
type FaultKind string

// The kinds. A cut is a reset: what is under way in either direction is lost. Those from LateAnswer on leave the connection as it is.
const (
	CutBeforeCommand FaultKind = "cut before a command"     // the server never sees it
	CutAfterCommand  FaultKind = "cut after a command"      // the server carries it out, the client learns nothing
	CutInLiteral     FaultKind = "cut in a literal"         // of the client; half of it passes
	CutInBody        FaultKind = "cut in a body"            // literal of the server; half of it passes
	CutBeforeData    FaultKind = "cut before a response"    // untagged
	CutBeforeAnswer  FaultKind = "cut before an answer"     // tagged
	CutAfterAnswer   FaultKind = "cut after an answer"      // tagged
	RefuseCommand    FaultKind = "a refused command"        // the server never sees it; Text is the answer behind the tag
	ByeForCommand    FaultKind = "BYE for a command"        // the server never sees it; Text follows "* BYE"
	HalfClose        FaultKind = "half a connection"        // after an answer the client hears no more; what it says still reaches the server
	BlackHole        FaultKind = "a black hole"             // from an answer on nothing passes, and the connection stays open
	RefuseLogin      FaultKind = "a refused login"          // the server never sees it; Text is the answer behind the tag
	LateAnswer       FaultKind = "a late answer"            // 50 ms
	SlowLine         FaultKind = "a slow line"              // from an answer on each response comes 3 ms late, at 256 KiB a second
	DripData         FaultKind = "a response in drips"      // untagged
	LoseData         FaultKind = "a lost response"          // untagged
	RepeatData       FaultKind = "a response twice"         // untagged
	SwapData         FaultKind = "two responses swapped"    // untagged, if the next one is too
	UnaskedData      FaultKind = "a response not asked for" // Text comes before an untagged one
	WrongValidity    FaultKind = "another UIDVALIDITY"      // where a folder is opened or its status told, once
	WrongUID         FaultKind = "a wrong APPENDUID"        // Text is one of WrongUIDs
	WrongSize        FaultKind = "a wrong RFC822.SIZE"      // Text is the size
)

// FaultKinds are all kinds.
var FaultKinds = []FaultKind{CutBeforeCommand, CutAfterCommand, CutInLiteral, CutInBody, CutBeforeData, CutBeforeAnswer, CutAfterAnswer,
	HalfClose, BlackHole, RefuseCommand, RefuseLogin, ByeForCommand, LateAnswer, SlowLine, DripData, LoseData, RepeatData, SwapData, UnaskedData,
	WrongValidity, WrongUID, WrongSize}

// occasion is what a kind counts.
func (k FaultKind) occasion() string {
	switch k {
	case CutBeforeCommand, CutAfterCommand, RefuseCommand, ByeForCommand:
		return "command"
	case CutInLiteral:
		return "literal"
	case CutInBody:
		return "body"
	case CutBeforeAnswer, CutAfterAnswer, HalfClose, BlackHole, LateAnswer, SlowLine:
		return "answer"
	case RefuseLogin:
		return "login"
	case WrongValidity:
		return "validity"
	case WrongUID:
		return "appended"
	case WrongSize:
		return "size"
	}
	return "data"
}

// ends reports whether the connection is of no use any more.
func (k FaultKind) ends() bool {
	switch k {
	case CutBeforeCommand, CutAfterCommand, CutInLiteral, CutInBody, CutBeforeData, CutBeforeAnswer, CutAfterAnswer, HalfClose, BlackHole, ByeForCommand:
		return true
	}
	return false
}

// hurts reports whether no client can overlook it: there is something to be made good.
func (k FaultKind) hurts() bool { return k.ends() || k == RefuseCommand || k == RefuseLogin }

// Fault is one thing that goes wrong, once.
type Fault struct {
	Kind FaultKind
	At   int    // its occasion, from 1 on, over all connections
	Verb string // "", or the only command whose occasions count: "SELECT", "UID STORE"; for kinds of commands
	Text string // for RefuseCommand, RefuseLogin, ByeForCommand, UnaskedData, WrongUID and WrongSize
}

// Meddler is a proxy before an IMAP server, without TLS, that knows where commands and responses begin
// and end and lets things go wrong. It is safe for concurrent use.
type Meddler struct {
	listener net.Listener
	to       string
	wg       sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
	faults []Fault
	chain  *Chain
	count  map[string]int
	struck []string
	verbs  []string // of the commands that were answered
	lie    func(verb string, response []byte) []byte
}

// NewMeddler listens on a random port of the loopback interface. It ends with the test.
func NewMeddler(tb TB, to string) *Meddler {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("start a proxy: %v", err)
	}
	m := &Meddler{listener: l, to: to, conns: map[net.Conn]bool{}, count: map[string]int{}}
	m.wg.Go(m.accept)
	tb.Cleanup(func() {
		l.Close()
		m.mu.Lock()
		m.closed = true
		for conn := range m.conns {
			conn.Close()
		}
		m.mu.Unlock()
		m.wg.Wait()
	})
	return m
}

// Port is where it listens.
func (m *Meddler) Port() int { return m.listener.Addr().(*net.TCPAddr).Port }

// Plan says what goes wrong from now on; occasions are counted anew.
func (m *Meddler) Plan(faults ...Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults, m.chain, m.count, m.struck, m.verbs = faults, nil, map[string]int{}, nil, nil
}

// Lie has every response go through fn, whole and with its literals: what fn returns is passed on in its place. verb is that
// of the command which the response answers; for untagged ones it is that of the oldest one without an answer, "" when there is
// none. fn may be called by several connections at once. nil ends it.
func (m *Meddler) Lie(fn func(verb string, response []byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lie = fn
}

// Occasions is how many occasions for a kind of fault have passed since Plan.
func (m *Meddler) Occasions(k FaultKind) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count[k.occasion()]
}

// Struck are the faults that have happened since Plan, each with the line it happened to.
func (m *Meddler) Struck() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.struck...)
}

// Answered returns the commands that were answered since Plan, in the order of their answers: "APPEND", "UID FETCH".
func (m *Meddler) Answered() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.verbs...)
}

// at counts an occasion, which line is, and returns the fault that happens there, if one does.
func (x *meddled) at(occasion string, line []byte) (Fault, bool) {
	m := x.m
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count[occasion]++
	verb := verbOf(line)
	m.count[occasion+" "+verb]++
	for i, f := range m.faults {
		seen := m.count[occasion]
		if f.Verb != "" {
			seen = m.count[occasion+" "+f.Verb]
		}
		if f.Kind.occasion() == occasion && f.At == seen && (f.Verb == "" || f.Verb == verb) {
			m.faults = append(append([]Fault(nil), m.faults[:i]...), m.faults[i+1:]...)
			m.struck = append(m.struck, string(f.Kind)+": "+strings.TrimRight(string(line), "\r\n"))
			return f, true
		}
	}
	if m.chain != nil {
		return m.chain.at(x, occasion, verb, line)
	}
	return Fault{}, false
}

func (m *Meddler) accept() {
	for {
		client, err := m.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", m.to)
		if err != nil {
			client.Close()
			continue
		}
		m.mu.Lock()
		if m.closed {
			m.mu.Unlock()
			client.Close()
			server.Close()
			return
		}
		m.conns[client], m.conns[server] = true, true
		x := &meddled{m: m, client: client, server: server, verbs: map[string]string{}, ended: make(chan struct{})}
		if m.chain != nil {
			x.born = m.chain.strikes()
		}
		m.mu.Unlock()
		m.wg.Go(func() { x.upwards(); x.end(false) })
		m.wg.Go(func() { x.downwards(); x.end(false) })
	}
}

// meddled is one connection.
type meddled struct {
	m              *Meddler
	client, server net.Conn
	down           sync.Mutex // of writes to the client
	once           sync.Once
	ended          chan struct{}
	born           int         // faults of the chain that had struck when it was opened
	dark           atomic.Bool // nothing passes any more
	slow           bool        // of the goroutine that passes responses on

	mu    sync.Mutex
	verbs map[string]string // of commands on their way, by tag
	order []string          // their tags, oldest first
}

// verbOf is the verb of a command line, "UID FETCH" for one.
func verbOf(line []byte) string {
	f := strings.Fields(strings.ToUpper(string(line[:min(len(line), 200)])))
	switch {
	case len(f) < 2:
		return ""
	case f[1] == "UID" && len(f) > 2:
		return "UID " + f[2]
	}
	return f[1]
}

// asked takes note of a command.
func (x *meddled) asked(line []byte) {
	tag, _, _ := strings.Cut(strings.ToUpper(string(line)), " ")
	x.mu.Lock()
	defer x.mu.Unlock()
	x.verbs[tag] = verbOf(line)
	x.order = append(x.order, tag)
}

// oldest is the verb of the oldest command without an answer.
func (x *meddled) oldest() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.order) == 0 {
		return ""
	}
	return x.verbs[x.order[0]]
}

// answered takes note of a tagged answer and returns the command's verb.
func (x *meddled) answered(line []byte) string {
	tag, _, _ := strings.Cut(strings.ToUpper(string(line)), " ")
	x.mu.Lock()
	verb := x.verbs[tag]
	delete(x.verbs, tag)
	x.order = slices.DeleteFunc(x.order, func(t string) bool { return t == tag })
	x.mu.Unlock()
	x.m.mu.Lock()
	defer x.m.mu.Unlock()
	x.m.verbs = append(x.m.verbs, verb)
	return verb
}

func (x *meddled) end(reset bool) {
	x.once.Do(func() {
		for _, c := range []net.Conn{x.client, x.server} {
			if t, ok := c.(*net.TCPConn); ok && reset {
				t.SetLinger(0)
			}
			c.Close()
		}
		x.m.mu.Lock()
		delete(x.m.conns, x.client)
		delete(x.m.conns, x.server)
		x.m.mu.Unlock()
		close(x.ended)
	})
}

func (x *meddled) tell(text string) {
	x.down.Lock()
	defer x.down.Unlock()
	io.WriteString(x.client, text)
}

// piece reads a line, and says how many octets of a literal follow it (-1: none) and whether the client waits for a go-ahead.
func piece(r *bufio.Reader) (line []byte, literal int64, waits bool, err error) {
	line, err = r.ReadBytes('\n')
	if err != nil {
		return line, -1, false, err
	}
	size, waits, is := literalAt(strings.TrimRight(string(line), "\r\n"))
	if !is {
		return line, -1, false, nil
	}
	return line, size, waits, nil
}

// upwards passes commands on.
func (x *meddled) upwards() {
	r := bufio.NewReaderSize(x.client, 64<<10)
	for {
		line, literal, waits, err := piece(r)
		if err != nil {
			return
		}
		tag, rest, _ := bytes.Cut(line, []byte(" "))
		f, hit := Fault{}, false
		if len(rest) > 0 && len(tag) > 0 { // answers to challenges and DONE are no commands
			f, hit = x.at("command", line)
			if verb := verbOf(line); !hit && (verb == "LOGIN" || verb == "AUTHENTICATE") {
				f, hit = x.at("login", line)
			}
			x.asked(line)
		}
		if x.dark.Load() {
			io.Copy(io.Discard, r) // until the client has had enough
			return
		}
		if hit && f.Kind == CutBeforeCommand {
			x.end(true)
			return
		}
		dropped := hit && (f.Kind == RefuseCommand || f.Kind == RefuseLogin || f.Kind == ByeForCommand)
		if dropped {
			if f.Kind == ByeForCommand {
				x.tell("* BYE " + f.Text + "\r\n")
				x.end(false)
				return
			}
			x.tell(string(tag) + " " + f.Text + "\r\n")
			if literal >= 0 && waits {
				continue // the client doesn't send it any more
			}
		} else if _, err := x.server.Write(line); err != nil {
			return
		}
		for literal >= 0 {
			to := io.Writer(x.server)
			if dropped {
				to = io.Discard
			} else if g, hit := x.at("literal", line); hit && g.Kind == CutInLiteral {
				io.CopyN(to, r, literal/2)
				x.end(true)
				return
			}
			if _, err := io.CopyN(to, r, literal); err != nil {
				return
			}
			if line, literal, _, err = piece(r); err != nil {
				return
			}
			if _, err := to.Write(line); err != nil {
				return
			}
		}
		if hit && f.Kind == CutAfterCommand {
			time.Sleep(5 * time.Millisecond) // the server has read it by then
			x.end(true)
			return
		}
	}
}

// downwards passes responses on.
func (x *meddled) downwards() {
	r := bufio.NewReaderSize(x.server, 64<<10)
	var held []byte // a response that waits to be swapped with the next
	for {
		line, literal, _, err := piece(r)
		if err != nil {
			x.tell(string(held) + string(line))
			return
		}
		untagged := bytes.HasPrefix(line, []byte("* "))
		occasion := "answer"
		if untagged {
			occasion = "data"
		}
		f, hit := Fault{}, false
		verb := x.oldest()
		if !bytes.HasPrefix(line, []byte("+")) {
			f, hit = x.at(occasion, line)
			if !untagged {
				verb = x.answered(line)
			}
			if !hit {
				line = x.lie(line, untagged)
			}
		}
		x.m.mu.Lock()
		lie := x.m.lie
		x.m.mu.Unlock()
		if lie != nil {
			var whole bytes.Buffer
			if !x.pass(&whole, r, line, literal) {
				return
			}
			x.tell(string(lie(verb, whole.Bytes())))
			continue
		}
		if hit && (f.Kind == CutBeforeData || f.Kind == CutBeforeAnswer) {
			x.end(true)
			return
		}
		switch {
		case hit && f.Kind == BlackHole:
			x.dark.Store(true)
			x.drain(r)
			return
		case hit && f.Kind == SlowLine:
			x.slow = true
		case hit && f.Kind == LateAnswer:
			time.Sleep(50 * time.Millisecond)
		}
		if hit && f.Kind == UnaskedData {
			x.tell(f.Text + "\r\n")
		}
		// What is kept, doubled or dropped is read whole; the rest passes as it comes.
		whole := hit && (f.Kind == LoseData || f.Kind == RepeatData || f.Kind == SwapData) || held != nil
		var kept bytes.Buffer
		to := io.Writer(&kept)
		if !whole {
			x.down.Lock()
			to = x.client
			if x.slow {
				to = slowly{to, 3 * time.Millisecond, 4 * time.Second / (1 << 20)}
			}
			if hit && f.Kind == DripData {
				to = drips{to}
			}
		}
		ok := x.pass(to, r, line, literal)
		if !whole {
			x.down.Unlock()
		}
		if !ok {
			return
		}
		switch {
		case hit && f.Kind == SwapData && held == nil:
			held = bytes.Clone(kept.Bytes())
			continue
		case hit && f.Kind == RepeatData:
			x.tell(kept.String() + kept.String())
		case hit && f.Kind == LoseData:
		case whole && untagged:
			x.tell(kept.String() + string(held))
			held = nil
			continue
		case whole:
			x.tell(string(held) + kept.String())
		}
		if held != nil {
			held = nil
		}
		if hit && f.Kind == HalfClose {
			if t, ok := x.client.(*net.TCPConn); ok {
				t.CloseWrite()
			}
			x.drain(r)
			return
		}
		if hit && f.Kind == CutAfterAnswer {
			// A reset towards the client could overtake the answer.
			if t, ok := x.server.(*net.TCPConn); ok {
				t.SetLinger(0)
			}
			x.end(false)
			return
		}
	}
}

// drain lets nothing of the server pass any more, until the client ends the connection.
func (x *meddled) drain(r io.Reader) {
	io.Copy(io.Discard, r)
	<-x.ended
}

// pass writes a response to its end. It reports whether the connection lives.
func (x *meddled) pass(to io.Writer, r *bufio.Reader, line []byte, literal int64) bool {
	for {
		if _, err := to.Write(line); err != nil {
			return false
		}
		if literal < 0 {
			return true
		}
		if f, hit := x.at("body", line); hit && f.Kind == CutInBody {
			io.CopyN(to, r, literal/2)
			x.end(true)
			return false
		}
		if _, err := io.CopyN(to, r, literal); err != nil {
			return false
		}
		var err error
		if line, literal, _, err = piece(r); err != nil {
			return false
		}
	}
}
