package imaptest

import (
	"bufio"
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Profile is what a kind of server offers.
type Profile struct {
	Name          string
	Before, After string // capabilities before and after the login
	// Flags that can be kept, as in PERMANENTFLAGS; "" = those of the server behind.
	Permanent string
}

// Profiles are kinds of servers by what they offer: that of United Internet's platform (IONOS, GMX), Exchange Online,
// Gmail, and a server of 2003 with nothing but RFC 3501.
var Profiles = []Profile{
	{
		Name:   "ionos",
		Before: "IMAP4rev1 CHILDREN ENABLE ID IDLE LIST-EXTENDED LIST-STATUS LITERAL- MOVE NAMESPACE QUOTA SASL-IR SORT SPECIAL-USE THREAD=ORDEREDSUBJECT UIDPLUS UNSELECT WITHIN AUTH=LOGIN AUTH=PLAIN",
		After:  "IMAP4rev1 CHILDREN ENABLE ID IDLE LIST-EXTENDED LIST-STATUS LITERAL- MOVE NAMESPACE QUOTA SASL-IR SORT SPECIAL-USE THREAD=ORDEREDSUBJECT UIDPLUS UNSELECT WITHIN",
	},
	{
		Name:      "exchange",
		Before:    "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+",
		After:     "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CLIENTACCESSRULES CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE CHILDREN IDLE NAMESPACE LITERAL+",
		Permanent: `\Seen \Answered \Flagged \Deleted \Draft $MDNSent`,
	},
	{
		Name:   "gmail", // without X-GM-EXT-1, whose labels nobody stands behind here
		Before: "IMAP4rev1 UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN XYZZY SASL-IR AUTH=XOAUTH2 AUTH=PLAIN AUTH=PLAIN-CLIENTTOKEN AUTH=OAUTHBEARER",
		After:  "IMAP4rev1 UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN UIDPLUS COMPRESS=DEFLATE ENABLE MOVE CONDSTORE ESEARCH UTF8=ACCEPT LIST-EXTENDED LIST-STATUS LITERAL- SPECIAL-USE APPENDLIMIT=35651584",
	},
	{Name: "rfc3501", Before: "IMAP4rev1", After: "IMAP4rev1"},
}

// Filter stands before a real server and shows it as a Profile: of the server's capabilities only those of the profile, and a
// command that needs another one is answered BAD, never passed on, and remembered.
type Filter struct {
	profile  Profile
	to       string
	listener net.Listener
	wg       sync.WaitGroup

	mu         sync.Mutex
	conns      map[net.Conn]bool
	violations []string
	compressed int
}

// NewFilter listens on a random port of the loopback interface before the server at to, which is reached without TLS. It ends with
// the test.
func NewFilter(tb TB, to string, p Profile) *Filter {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("start a filter: %v", err)
	}
	f := &Filter{profile: p, to: to, listener: l, conns: map[net.Conn]bool{}}
	f.wg.Go(f.accept)
	tb.Cleanup(func() {
		l.Close()
		f.mu.Lock()
		for c := range f.conns {
			c.Close()
		}
		f.conns = nil
		f.mu.Unlock()
		f.wg.Wait()
	})
	return f
}

// Address is host:port.
func (f *Filter) Address() string { return f.listener.Addr().String() }

// Violations are the commands that were sent although nothing offered them.
func (f *Filter) Violations() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.violations)
}

// Compressed is how many sessions have switched COMPRESS on.
func (f *Filter) Compressed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.compressed
}

func (f *Filter) accept() {
	for {
		client, err := f.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", f.to)
		if err != nil {
			client.Close()
			continue
		}
		f.mu.Lock()
		if f.conns == nil {
			client.Close()
			server.Close()
		} else {
			f.conns[client], f.conns[server] = true, true
			s := &filtered{f: f, client: client, server: server, in: bufio.NewReaderSize(client, 64<<10), out: client, caps: f.profile.Before, wants: make(chan bool, 1)}
			f.wg.Go(s.commands)
			f.wg.Go(s.responses)
		}
		f.mu.Unlock()
	}
}

// filtered is one connection.
type filtered struct {
	f              *Filter
	client, server net.Conn
	in             *bufio.Reader // from the client
	out            io.Writer     // to the client: it, or deflated
	wants          chan bool     // whether the server wants the literal that was announced

	mu      sync.Mutex
	caps    string
	literal string // tag of the command that waits for a go-ahead
	login   string // tag of the command that logs in
}

func (s *filtered) close() {
	s.client.Close()
	s.server.Close()
	s.f.mu.Lock()
	delete(s.f.conns, s.client)
	delete(s.f.conns, s.server)
	s.f.mu.Unlock()
}

var (
	literalEnd = regexp.MustCompile(`(~?)\{(\d+)(\+?)\}\r\n$`)
	capCode    = regexp.MustCompile(`(?i)\[CAPABILITY [^\]]*\] ?`)
	uidCode    = regexp.MustCompile(`(?i)\[(APPENDUID|COPYUID) [^\]]*\] ?`)
	modseqCode = regexp.MustCompile(`(?i)^\* OK \[(HIGHESTMODSEQ|NOMODSEQ)`)
	permanent  = regexp.MustCompile(`(?i)\[PERMANENTFLAGS \([^)]*\)\]`)
)

// needs are what commands need, besides literals: a pattern of the command without its tag, and one of these capabilities.
var needs = []struct {
	command *regexp.Regexp
	any     []string
}{
	{regexp.MustCompile(`(?i)^(SELECT|EXAMINE) .*\(QRESYNC`), []string{"QRESYNC"}},
	{regexp.MustCompile(`(?i)^(SELECT|EXAMINE) .*\(CONDSTORE`), []string{"CONDSTORE", "QRESYNC"}},
	{regexp.MustCompile(`(?i)^(UID )?FETCH .*\bVANISHED\b`), []string{"QRESYNC"}},
	{regexp.MustCompile(`(?i)^(UID )?(FETCH|STORE|SEARCH) .*\b(MODSEQ|CHANGEDSINCE|UNCHANGEDSINCE)\b`), []string{"CONDSTORE", "QRESYNC"}},
	{regexp.MustCompile(`(?i)^(UID )?FETCH .*\bBINARY`), []string{"BINARY"}},
	{regexp.MustCompile(`(?i)^(STATUS|LIST) .*\bHIGHESTMODSEQ\b`), []string{"CONDSTORE", "QRESYNC"}},
	{regexp.MustCompile(`(?i)^(STATUS|LIST) .*[ (]SIZE\b`), []string{"STATUS=SIZE"}},
	{regexp.MustCompile(`(?i)^LIST .*\bRETURN \(`), []string{"LIST-EXTENDED"}},
	{regexp.MustCompile(`(?i)^LIST \(`), []string{"LIST-EXTENDED"}},
	{regexp.MustCompile(`(?i)^LIST .*\bRETURN \(.*STATUS \(`), []string{"LIST-STATUS"}},
	{regexp.MustCompile(`(?i)^LIST .*\bSPECIAL-USE\b`), []string{"SPECIAL-USE"}},
	{regexp.MustCompile(`(?i)^CREATE .*\(USE `), []string{"CREATE-SPECIAL-USE"}},
	{regexp.MustCompile(`(?i)^(UID )?MOVE `), []string{"MOVE"}},
	{regexp.MustCompile(`(?i)^UID EXPUNGE`), []string{"UIDPLUS"}},
	{regexp.MustCompile(`(?i)^NAMESPACE`), []string{"NAMESPACE"}},
	{regexp.MustCompile(`(?i)^ID `), []string{"ID"}},
	{regexp.MustCompile(`(?i)^IDLE`), []string{"IDLE"}},
	{regexp.MustCompile(`(?i)^UNSELECT`), []string{"UNSELECT"}},
	{regexp.MustCompile(`(?i)^ENABLE `), []string{"ENABLE"}},
	{regexp.MustCompile(`(?i)^ENABLE .*\bQRESYNC\b`), []string{"QRESYNC"}},
	{regexp.MustCompile(`(?i)^ENABLE .*\bUTF8=ACCEPT\b`), []string{"UTF8=ACCEPT"}},
	{regexp.MustCompile(`(?i)^ENABLE .*\bIMAP4rev2\b`), []string{"IMAP4REV2"}},
	{regexp.MustCompile(`(?i)^COMPRESS `), []string{"COMPRESS=DEFLATE"}},
	{regexp.MustCompile(`(?i)^STARTTLS`), []string{"STARTTLS"}},
	{regexp.MustCompile(`(?i)^(UID )?SEARCH RETURN`), []string{"ESEARCH"}},
	{regexp.MustCompile(`(?i)^(GETQUOTA|GETQUOTAROOT) `), []string{"QUOTA"}},
	{regexp.MustCompile(`(?i)^AUTHENTICATE \S+ \S`), []string{"SASL-IR"}},
	{regexp.MustCompile(`(?i)^AUTHENTICATE PLAIN`), []string{"AUTH=PLAIN"}},
	{regexp.MustCompile(`(?i)^AUTHENTICATE XOAUTH2`), []string{"AUTH=XOAUTH2"}},
	{regexp.MustCompile(`(?i)^APPEND .*\{\}.*\{\}`), []string{"MULTIAPPEND"}},
}

func (s *filtered) has(any ...string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range strings.FieldsSeq(strings.ToUpper(s.caps)) {
		if slices.Contains(any, c) {
			return true
		}
	}
	return false
}

// lacks names what a command needs and nobody offers, "" when all is well. Literals are "{}" in it.
func (s *filtered) lacks(command string) string {
	_, rest, _ := strings.Cut(command, " ")
	for _, n := range needs {
		if n.command.MatchString(rest) && !s.has(n.any...) {
			return n.any[0]
		}
	}
	return ""
}

// commands passes the client's commands on.
func (s *filtered) commands() {
	defer s.close()
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return
		}
		if err := s.command(s.in, line); err != nil {
			return
		}
	}
}

// command reads the rest of a command and passes it on, or answers BAD.
func (s *filtered) command(r *bufio.Reader, line string) error {
	tag, rest, _ := strings.Cut(line, " ")
	if name := strings.ToUpper(rest); strings.HasPrefix(name, "LOGIN ") || strings.HasPrefix(name, "AUTHENTICATE ") {
		s.mu.Lock()
		s.login = tag
		s.mu.Unlock()
	}
	text := "" // so far, literals as "{}"
	for {
		m := literalEnd.FindStringSubmatch(line)
		if m == nil {
			text += strings.TrimRight(line, "\r\n")
			if lacks := s.lacks(text); lacks != "" {
				return s.refuse(tag, text, lacks)
			}
			if _, command, _ := strings.Cut(text, " "); strings.EqualFold(command, "COMPRESS DEFLATE") {
				return s.compress(tag)
			}
			_, err := io.WriteString(s.server, line)
			return err
		}
		size, _ := strconv.ParseInt(m[2], 10, 64)
		text += strings.TrimSuffix(line, m[0]) + m[1] + "{}"
		lacks := s.lacks(text)
		switch {
		case lacks != "":
		case m[1] != "" && !s.has("BINARY"):
			lacks = "BINARY"
		case m[3] != "" && !s.has("LITERAL+") && (size > 4096 || !s.has("LITERAL-")):
			lacks = "LITERAL+"
		}
		if m[3] != "" { // the octets come whatever we say
			if lacks == "" {
				if _, err := io.WriteString(s.server, line); err != nil {
					return err
				}
				if _, err := io.CopyN(s.server, r, size); err != nil {
					return err
				}
			} else if _, err := io.CopyN(io.Discard, r, size); err != nil {
				return err
			} else if _, err := r.ReadString('\n'); err != nil {
				return err
			}
		}
		if lacks != "" {
			return s.refuse(tag, text, lacks)
		}
		if m[3] == "" {
			s.mu.Lock()
			s.literal = tag
			s.mu.Unlock()
			if _, err := io.WriteString(s.server, line); err != nil {
				return err
			}
			if wanted, ok := <-s.wants; !ok || !wanted {
				return nil // refused: what comes next is another command
			}
			if _, err := io.CopyN(s.server, r, size); err != nil {
				return err
			}
		}
		next, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		line = next
	}
}

// compress does what the server behind may not offer (RFC 4978).
func (s *filtered) compress(tag string) error {
	s.f.mu.Lock()
	s.f.compressed++
	s.f.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := fmt.Fprintf(s.out, "%s OK DEFLATE active\r\n", tag); err != nil {
		return err
	}
	w, err := flate.NewWriter(s.client, flate.BestSpeed)
	if err != nil {
		return err
	}
	s.in, s.out = bufio.NewReaderSize(flate.NewReader(s.in), 64<<10), &flushed{w}
	return nil
}

// flushed sends at once what is written.
type flushed struct{ *flate.Writer }

func (f *flushed) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.Flush()
	}
	return n, err
}

func (s *filtered) refuse(tag, text, lacks string) error {
	s.f.mu.Lock()
	s.f.violations = append(s.f.violations, fmt.Sprintf("%s is not offered: %.120s", lacks, text))
	s.f.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := fmt.Fprintf(s.out, "%s BAD expected something else (%s)\r\n", tag, lacks)
	return err
}

// responses passes the server's responses on.
func (s *filtered) responses() {
	defer s.close()
	defer close(s.wants)
	r := bufio.NewReaderSize(s.server, 64<<10)
	greeted := false
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		out := s.response(line, &greeted)
		// No refusal of ours may come into the middle of one of these.
		s.mu.Lock()
		_, err = s.out.Write(out)
		for m := literalEnd.FindSubmatch(line); m != nil && err == nil; m = literalEnd.FindSubmatch(line) {
			size, _ := strconv.ParseInt(string(m[2]), 10, 64)
			if _, err = io.CopyN(s.out, r, size); err != nil {
				break
			}
			if line, err = r.ReadBytes('\n'); err == nil {
				_, err = s.out.Write(line)
			}
		}
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// response is a line of the server as the profile's server would say it.
func (s *filtered) response(line []byte, greeted *bool) []byte {
	tag, rest, _ := bytes.Cut(line, []byte(" "))
	s.mu.Lock()
	if s.literal != "" && (string(tag) == "+" || string(tag) == s.literal) {
		s.literal = ""
		s.wants <- string(tag) == "+"
	}
	if s.login != "" && string(tag) == s.login {
		if bytes.HasPrefix(rest, []byte("OK")) {
			s.caps = s.f.profile.After
		}
		s.login = ""
	}
	caps := s.caps
	s.mu.Unlock()
	if !*greeted {
		*greeted = true
		return []byte("* OK [CAPABILITY " + caps + "] ready\r\n")
	}
	if bytes.HasPrefix(bytes.ToUpper(rest), []byte("CAPABILITY ")) {
		return []byte("* CAPABILITY " + caps + "\r\n")
	}
	if modseqCode.Match(line) && !s.has("CONDSTORE", "QRESYNC") {
		return nil
	}
	line = capCode.ReplaceAll(line, nil)
	if !s.has("UIDPLUS") {
		line = uidCode.ReplaceAll(line, nil)
	}
	if p := s.f.profile.Permanent; p != "" {
		line = permanent.ReplaceAllLiteral(line, []byte("[PERMANENTFLAGS ("+p+")]"))
	}
	return line
}
