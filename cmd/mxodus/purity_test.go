package main

import (
	"bytes"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// recorder keeps the command lines that mail servers of a test are sent.
type recorder struct {
	mu    sync.Mutex
	lines []string // "source UID FETCH 1:* (UID FLAGS)"
}

// host is an embedded mail server without TLS whose connections are listened to.
func (r *recorder) host(t *testing.T, name string, use map[string]string, pass func(string) string) *mailHost {
	t.Helper()
	m, err := imaptest.NewMemory(imaptest.MemoryOptions{Wrap: func(l net.Listener) net.Listener { return recordedListener{l, name, r} }})
	if err != nil {
		t.Fatal(err)
	}
	return memoryHost(t, m, use, pass)
}

// take returns the commands since the last call.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.lines
	r.lines = nil
	return lines
}

type recordedListener struct {
	net.Listener
	name string
	to   *recorder
}

func (l recordedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &recordedConn{Conn: c, name: l.name, to: l.to}, err
}

type recordedConn struct {
	net.Conn
	name string
	to   *recorder
	rest []byte
}

// tagged is a command line; octets of literals look otherwise, or are no verb.
var tagged = regexp.MustCompile(`^[A-Za-z]+[0-9]+ ([A-Z].*)$`)

func (c *recordedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.rest = append(c.rest, p[:n]...)
	for {
		line, rest, ok := bytes.Cut(c.rest, []byte("\r\n"))
		if !ok {
			return n, err
		}
		c.rest = rest
		if m := tagged.FindSubmatch(line); m != nil {
			c.to.mu.Lock()
			c.to.lines = append(c.to.lines, c.name+" "+string(m[1]))
			c.to.mu.Unlock()
		}
	}
}

// mutating are the verbs that change something, and SELECT, which takes \Recent away. A
// body that is fetched without PEEK is marked as read.
var mutating = regexp.MustCompile(`(?i)^\w+ (UID )?(APPEND|CREATE|DELETE|RENAME|STORE|COPY|MOVE|EXPUNGE|CLOSE|SUBSCRIBE|UNSUBSCRIBE|SELECT|SETACL|DELETEACL|SETMETADATA|SETQUOTA|REPLACE)\b|(BODY|BINARY)\[|RFC822( |\)|\.TEXT)`)

// TestMutatingVerbs: the expression finds what it has to, or the test below finds nothing.
func TestMutatingVerbs(t *testing.T) {
	for _, line := range []string{"source SELECT INBOX", "target UID STORE 1 +FLAGS (\\Seen)", "source UID FETCH 1 (UID BODY[])", "target APPEND x {3}", "target UID MOVE 1 x", "source FETCH 1 RFC822 "} {
		if !mutating.MatchString(line) {
			t.Errorf("%q passes", line)
		}
	}
	for _, line := range []string{"source EXAMINE INBOX", "source UID FETCH 1:* (UID FLAGS RFC822.SIZE)", "source UID FETCH 7 (UID BODY.PEEK[])", "target LIST \"\" \"*\" RETURN (SUBSCRIBED)", "source STATUS x (MESSAGES)"} {
		if mutating.MatchString(line) {
			t.Errorf("%q is taken for a change", line)
		}
	}
}

// TestReadingCommandsOnlyRead: what plan-and-cli calls reading sends no verb that changes
// anything, sends no mail and leaves the zone's serial alone.
func TestReadingCommandsOnlyRead(t *testing.T) {
	rec := &recorder{}
	w := startWorld(t, servers{people: 3, record: rec})
	w.plant(imaptest.Generate(5, 60))
	f := w.migration(pace{lead: time.Hour, provision: 2 * time.Hour, notice: time.Minute, repeat: time.Hour, delta: time.Minute, hold: time.Minute})
	for _, p := range w.people {
		w.target.open(p)
		w.newMX.Accept(p)
	}
	serial := w.dns.ask(t, w.dns.primary, "acme.example.", 6)
	rec.take()

	seen := 0
	pure := func(code int, args ...string) {
		t.Helper()
		f.run(code, args...)
		for _, line := range rec.take() {
			seen++
			if mutating.MatchString(line) {
				t.Errorf("mxodus %s sent %q", strings.Join(args, " "), line)
			}
		}
		if now := w.dns.ask(t, w.dns.primary, "acme.example.", 6); !slices.Equal(now, serial) {
			t.Fatalf("mxodus %s changed the zone: %v", strings.Join(args, " "), now)
		}
		if n := len(w.oldMX.Messages()) + len(w.newMX.Messages()); n > 0 {
			t.Fatalf("mxodus %s sent %d messages", strings.Join(args, " "), n)
		}
	}
	reading := func() {
		t.Helper()
		for _, args := range [][]string{
			{"validate"}, {"fmt", "-check"}, {"show", "plans/0001.plan"}, {"show", "-json", "plans/0001.plan"},
			{"show", "-markdown", "plans/0001.plan"}, {"show", "-html", "plans/0001.plan"},
			{"status"}, {"status", "-json"}, {"simulate", "-assume", "mx_ttl=86400"}, {"report"}, {"manifest", "export"}, {"state", "list"}, {"providers"}, {"version"},
		} {
			pure(0, args...)
		}
	}
	pure(0, "doctor")
	pure(0, "plan", "-out", "plans/0001.plan")
	pure(0, "discover")
	pure(0, "verify", "plans/0001.plan")
	pure(5, "check")
	reading()

	// Once mail has been copied there is more to look at.
	f.run(0, "apply", "-wait", "-max-runtime", "8s", "plans/0001.plan")
	changed := 0
	for _, line := range rec.take() {
		if mutating.MatchString(line) {
			changed++
			if strings.HasPrefix(line, "source") {
				t.Errorf("apply sent %q", line)
			}
		}
	}
	if changed == 0 {
		t.Error("apply copied nothing, or the recorder sees nothing")
	}
	serial = w.dns.ask(t, w.dns.primary, "acme.example.", 6)
	reading()
	pure(0, "manifest", "verify")
	pure(0, "rollback", "-to", "provision", "-out", "plans/back.plan")
	pure(0, "plan", "-out", "plans/0002.plan")
	if seen < 100 {
		t.Errorf("only %d commands were recorded", seen)
	}
	t.Logf("%d commands of reading", seen)
}
