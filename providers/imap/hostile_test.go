package imap_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	inflicted "github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// attack is what a hostile server says in the place of an honest answer to the command with this tag.
type attack struct {
	name string
	says func(w *bufio.Writer, tag string)
	// harmless: the honest answer follows, and the call may succeed.
	harmless bool
	// leaves: at stages that read messages the client leaves before it has read 64 MiB.
	leaves bool
}

// counted counts what is written.
type counted struct {
	w io.Writer
	n *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// pump writes text until the client is gone.
func pump(w *bufio.Writer, text string) {
	for {
		if _, err := w.WriteString(text); err != nil {
			return
		}
	}
}

func says(text string) func(*bufio.Writer, string) {
	return func(w *bufio.Writer, tag string) { w.WriteString(strings.ReplaceAll(text, "TAG", tag)) }
}

func endless(begin, again string) func(*bufio.Writer, string) {
	return func(w *bufio.Writer, tag string) {
		w.WriteString(strings.ReplaceAll(begin, "TAG", tag))
		pump(w, strings.ReplaceAll(again, "TAG", tag))
	}
}

var attacks = []attack{
	{name: "a literal of 100 GB in what nobody asked for", says: endless("* X-THING {100000000000}\r\n", strings.Repeat("x", 4096))},
	{name: "a literal of 100 GB in a folder's name", says: endless("* LIST () \"/\" {100000000000}\r\n", strings.Repeat("x", 4096))},
	{name: "a literal of 100 GB in a body", says: endless("* 1 FETCH (UID 7 FLAGS () INTERNALDATE \" 1-Jan-2020 00:00:00 +0100\" RFC822.SIZE 5 BODY[] {100000000000}\r\n", strings.Repeat("x", 4096))},
	{name: "a literal of 100 GB in a body before its UID", says: endless("* 1 FETCH (BODY[] {100000000000}\r\n", strings.Repeat("x", 4096))},
	{name: "a body of 3 GB where 5 octets were announced", says: endless("* 1 FETCH (UID 7 FLAGS () INTERNALDATE \" 1-Jan-2020 00:00:00 +0100\" RFC822.SIZE 5 BODY[] {3000000000}\r\n", strings.Repeat("x", 4096)), leaves: true},
	{name: "a literal beyond 64 bits", says: endless("* 1 FETCH (BODY[] {99999999999999999999999999}\r\n", strings.Repeat("x", 4096))},
	{name: "a literal of less than nothing", says: endless("* 1 FETCH (BODY[] {-1}\r\n", strings.Repeat("x", 4096))},
	{name: "literals without end", says: endless("* X ", strings.Repeat("{30}\r\n"+strings.Repeat("a", 30), 100))},
	{name: "a line without end", says: endless("* X ", strings.Repeat("x", 4096))},
	{name: "a status text without end", says: endless("* OK ", strings.Repeat("x", 4096))},
	{name: "a status code without end", says: endless("* OK [", strings.Repeat("X ", 2048))},
	{name: "a tagged text without end", says: endless("TAG OK ", strings.Repeat("x", 4096))},
	{name: "a tag without end", says: endless("", strings.Repeat("A", 4096))},
	{name: "a quoted string without end", says: endless("* LIST () \"/\" \"", strings.Repeat("x", 4096))},
	{name: "backslashes without end", says: endless("* LIST () \"/\" \"", strings.Repeat(`\\`, 2048))},
	{name: "parentheses without end", says: endless("* 1 FETCH ", strings.Repeat("(", 4096))},
	{name: "a flag list without end", says: endless("* 1 FETCH (FLAGS (", strings.Repeat("a ", 2048))},
	{name: "100,000 parentheses", says: says("* 1 FETCH " + strings.Repeat("(", 100_000) + strings.Repeat(")", 100_000) + "\r\n"), harmless: true},
	{name: "untagged OK without end", says: endless("", strings.Repeat("* OK still here\r\n", 256))},
	{name: "EXISTS without end", says: endless("", strings.Repeat("* 7 EXISTS\r\n", 256))},
	{name: "folders without end", says: func(w *bufio.Writer, _ string) {
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(w, "* LIST () \"/\" \"%d%s\"\r\n", i, strings.Repeat("n", 800)); err != nil {
				return
			}
		}
	}},
	{name: "statuses without end", says: func(w *bufio.Writer, _ string) {
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(w, "* STATUS \"%d%s\" (MESSAGES 1)\r\n", i, strings.Repeat("n", 800)); err != nil {
				return
			}
		}
	}},
	{name: "go-aheads without end", says: endless("", strings.Repeat("+ go on\r\n", 256))},
	{name: "empty lines without end", says: endless("", strings.Repeat("\r\n", 2048))},
	{name: "carriage returns without end", says: endless("", strings.Repeat("\r", 4096))},
	{name: "NUL without end", says: endless("", strings.Repeat("\x00", 4096))},
	{name: "capabilities without end", says: endless("* CAPABILITY ", strings.Repeat("IDLE ", 1024))},
	{name: "a drip", says: func(w *bufio.Writer, _ string) {
		for {
			w.WriteString("x")
			if w.Flush() != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}},
	{name: "a drip of whole lines", says: func(w *bufio.Writer, _ string) {
		for {
			w.WriteString("\r\n")
			if w.Flush() != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}},
	{name: "silence", says: func(w *bufio.Writer, _ string) {}},
	{name: "half a line, then silence", says: says("* 1 FET")},
	{name: "half a literal, then silence", says: says("* 1 FETCH (UID 7 BODY[] {500}\r\nhello")},
	{name: "somebody else's tag", says: says("B17 OK done\r\n")},
	{name: "tags to come, guessed", says: says("A1 OK done\r\nA2 OK done\r\nA3 OK done\r\nA4 OK done\r\nA5 OK done\r\nA6 OK done\r\nA7 OK done\r\nA8 OK done\r\nA9 OK done\r\nA10 OK done\r\nA11 OK done\r\nA12 OK done\r\n")},
	{name: "the answer twice", says: says("TAG OK done\r\nTAG OK done\r\n"), harmless: true},
	{name: "BYE, and then silence", says: says("* BYE that's it\r\n")},
	{name: "HTTP", says: says("HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<html></html>\r\n")},
	{name: "a TLS alert", says: says("\x15\x03\x01\x00\x02\x02\x28\r\n")},
	{name: "numbers that are none", says: says("* 99999999999999999999 EXISTS\r\n* -1 EXISTS\r\n* 0 FETCH (UID 0)\r\n* 4294967296 EXPUNGE\r\n* OK [UIDVALIDITY 0] x\r\n* OK [UIDNEXT 99999999999] x\r\n"), harmless: true},
	{name: "a folder that shrinks", says: says(strings.Repeat("* 1 EXPUNGE\r\n", 1000) + "* 0 EXISTS\r\n"), harmless: true},
	{name: "messages that nobody asked for", says: says("* 3 FETCH (UID 99 FLAGS () INTERNALDATE \" 1-Jan-2020 00:00:00 +0100\" RFC822.SIZE 3 BODY[] {3}\r\nabc)\r\n* VANISHED (EARLIER) 1:4294967295\r\n* SEARCH 1 2 3\r\n* ESEARCH (TAG \"x\") UID ALL 1:4294967295\r\n"), harmless: true},
	{name: "control characters", says: says("* NO \x1b]0;owned\x07\x1b[2J\u202e\u200b\r\nTAG NO \x1b[31mred\x1b[0m\r\n")},
	{name: "90,000 lines of news", says: says(strings.Repeat("* OK still here\r\n", 90_000)), harmless: true},
}

// stages are the commands of a client's life, in order. at says whether a line is that command.
var stages = []struct {
	name string
	at   string
}{
	{"login", "AUTHENTICATE"}, {"listing", "LIST"}, {"opening a folder", "EXAMINE"}, {"reading flags", "UID FETCH 1:* "},
	{"reading a body", "UID FETCH 7 "}, {"appending", "APPEND"}, {"appending more", "APPEND2"}, {"changing flags", "UID STORE"}, {"moving", "UID MOVE"},
}

// hostile is a server that is honest until stage, and says attack there.
func hostile(t *testing.T, stage string, a attack, reached *atomic.Bool, written *atomic.Int64) *imap.Dialer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				converse(conn, stage, a, reached, written)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		serving.Wait()
	})
	host := plan.Host{Hostname: "127.0.0.1", Port: ln.Addr().(*net.TCPAddr).Port, TLS: plan.TLSNone}
	host.Credentials = plan.SecretRef{Name: "mail", Kind: "env", Ref: "X"}
	host.Limits.StallTimeout = 300 * time.Millisecond
	if strings.HasPrefix(a.name, "a drip") {
		host.Limits.StallTimeout = 50 * time.Millisecond
	}
	return &imap.Dialer{Host: host, Secrets: passwords("top-secret"), Spool: t.TempDir()}
}

func converse(conn net.Conn, stage string, a attack, reached *atomic.Bool, written *atomic.Int64) {
	r, w := bufio.NewReaderSize(conn, 64<<10), bufio.NewWriterSize(counted{conn, written}, 64<<10)
	strike := func(tag string) bool {
		reached.Store(true)
		a.says(w, tag)
		if w.Flush() != nil {
			return false
		}
		if !a.harmless {
			io.Copy(io.Discard, r) // until the client has had enough
			return false
		}
		return true
	}
	if stage == "greeting" && !strike("*") {
		return
	}
	w.WriteString("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n")
	appends := 0
	for {
		if w.Flush() != nil {
			return
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		tag, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		at := ""
		for _, s := range stages {
			if strings.HasPrefix(rest, s.at) {
				at = s.name
			}
		}
		if at == "appending" {
			if appends++; appends > 1 {
				at = "appending more"
			}
		}
		if at == stage && stage != "" && !strike(tag) {
			return
		}
		switch at {
		case "login":
			w.WriteString(tag + " OK [CAPABILITY IMAP4rev1 UIDPLUS MOVE] in\r\n")
		case "listing":
			w.WriteString("* LIST () \"/\" INBOX\r\n" + tag + " OK done\r\n")
		case "opening a folder":
			w.WriteString("* 9 EXISTS\r\n* FLAGS (\\Seen)\r\n* OK [UIDVALIDITY 5] ok\r\n* OK [UIDNEXT 50] ok\r\n" + tag + " OK [READ-ONLY] done\r\n")
		case "reading flags":
			w.WriteString("* 1 FETCH (UID 7 FLAGS ())\r\n" + tag + " OK done\r\n")
		case "reading a body":
			w.WriteString("* 1 FETCH (UID 7 FLAGS () INTERNALDATE \" 1-Jan-2020 00:00:00 +0100\" RFC822.SIZE 5 BODY[] {5}\r\nhello)\r\n" + tag + " OK done\r\n")
		case "appending", "appending more":
			w.WriteString("+ go on\r\n")
			if w.Flush() != nil {
				return
			}
			if _, err := io.CopyN(io.Discard, r, int64(len(letter))+2); err != nil {
				return
			}
			w.WriteString(tag + " OK [APPENDUID 5 50] done\r\n")
		default:
			if rest == "LOGOUT" {
				return
			}
			w.WriteString(tag + " OK done\r\n")
		}
	}
}

const letter = "Subject: hello\r\n\r\nhello\r\n"

// life does once what the engine does with a session.
func life(ctx context.Context, d *imap.Dialer) error {
	s, err := d.Connect(ctx, providers.Account{Address: "a@example.com"})
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := s.List(ctx); err != nil {
		return err
	}
	if _, err := s.Examine(ctx, "INBOX"); err != nil {
		return err
	}
	if err := s.FetchMeta(ctx, "1:*", imap.FetchItems{Flags: true}, func(imap.Meta) error { return nil }); err != nil {
		return err
	}
	if err := s.FetchBodies(ctx, []string{"7"}, func(_ imap.Meta, size int64, body io.Reader) error {
		n, err := io.Copy(io.Discard, body)
		if err == nil && n != size {
			err = fmt.Errorf("%d of %d octets and no error", n, size)
		}
		return err
	}); err != nil {
		return err
	}
	for range 2 {
		done, err := s.Append(ctx, "INBOX", []imap.Message{{Size: int64(len(letter)), Body: strings.NewReader(letter)}})
		if err == nil && done[0].Err != nil {
			err = done[0].Err
		}
		if err != nil {
			return err
		}
	}
	if _, err := s.Select(ctx, "INBOX"); err != nil {
		return err
	}
	if err := s.Store(ctx, "7", "+FLAGS", []string{`\Seen`}); err != nil {
		return err
	}
	_, err = s.Move(ctx, "7", "Archive")
	return err
}

// TestHonestServer: the stages are reached and pass where nobody is hostile.
func TestHonestServer(t *testing.T) {
	var reached atomic.Bool
	if err := life(t.Context(), hostile(t, "", attack{}, &reached, new(atomic.Int64))); err != nil {
		t.Fatal(err)
	}
}

// TestHostileServer: whatever a server says at whatever stage, the call ends
// in bounded time with an error that holds no secret and no control
// character, and memory stays bounded.
func TestHostileServer(t *testing.T) {
	rose := imaptest.WatchHeap()
	cases := 0
	names := []string{"greeting"}
	for _, s := range stages {
		names = append(names, s.name)
	}
	t.Run("all", func(t *testing.T) {
		for _, stage := range names {
			for _, a := range attacks {
				cases++
				t.Run(stage+"/"+a.name, func(t *testing.T) {
					t.Parallel()
					ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("no end in sight"))
					defer cancel()
					var reached atomic.Bool
					var written atomic.Int64
					d := hostile(t, stage, a, &reached, &written)
					err := life(ctx, d)
					if !reached.Load() {
						t.Fatalf("the server was never hostile: %v", err)
					}
					if n := written.Load(); a.leaves && strings.HasPrefix(stage, "reading") && n > 64<<20 {
						t.Errorf("the client took %d octets", n)
					}
					if ctx.Err() != nil {
						t.Fatalf("still going on after a minute: %v", err)
					}
					if err == nil {
						if !a.harmless {
							t.Error("no error")
						}
						return
					}
					text := err.Error()
					if strings.Contains(text, "top-secret") {
						t.Errorf("the error holds the password: %s", text)
					}
					if len(text) > 2000 {
						t.Errorf("an error of %d octets: %.200s", len(text), text)
					}
					if bytes.ContainsAny([]byte(text), "\x00\x07\x1b\r") || strings.Contains(text, "\u202e") {
						t.Errorf("control characters in %q", text)
					}
				})
			}
		}
	})
	most := rose()
	inflicted.Count(t, "hostile conversations", cases)
	t.Logf("%d cases, at most %d MiB more of memory", cases, most>>20)
	if most > 150<<20 {
		t.Errorf("memory rose by %d MiB", most>>20)
	}
}
