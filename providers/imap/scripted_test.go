package imap_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
)

// scripted is a server that says what a test wants it to say.
type scripted struct {
	net.Conn
	br *bufio.Reader
}

// line reads a command line: its tag and the rest.
func (c *scripted) line() (tag, rest string) {
	line, err := c.br.ReadString('\n')
	if err != nil {
		return "", ""
	}
	tag, rest, _ = strings.Cut(strings.TrimRight(line, "\r\n"), " ")
	return tag, rest
}

// expect reads a line that has to begin like this and returns its tag.
func (c *scripted) expect(t *testing.T, prefix string) string {
	tag, rest := c.line()
	if !strings.HasPrefix(rest, prefix) {
		t.Errorf("the client sent %q where %q was expected", rest, prefix)
	}
	return tag
}

func (c *scripted) say(lines ...string) { io.WriteString(c, strings.Join(lines, "\r\n")+"\r\n") }

// open plays everything up to the end of Connect.
func (c *scripted) open(t *testing.T, caps string) {
	c.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready")
	tag := c.expect(t, "AUTHENTICATE PLAIN ")
	c.say("* VENDOR nobody knows", "", "* 3 EXISTS", tag+" OK [CAPABILITY IMAP4rev1 "+caps+"] in")
	tag = c.expect(t, "LIST ")
	c.say(`* LIST (\Noselect) "/" ""`, tag+" OK done")
}

// examine plays EXAMINE.
func (c *scripted) examine(t *testing.T) {
	tag := c.expect(t, "EXAMINE ")
	c.say("* 9 EXISTS", "* FLAGS ()", "* OK [UIDVALIDITY 5] ok", "* OK [UIDNEXT 50] ok", tag+" OK [READ-ONLY] done")
}

// script runs play for each connection.
func script(t *testing.T, play func(c *scripted)) *imap.Dialer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			play(&scripted{conn, bufio.NewReader(conn)})
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	host := plan.Host{Hostname: "127.0.0.1", Port: ln.Addr().(*net.TCPAddr).Port, TLS: plan.TLSNone}
	host.Credentials = plan.SecretRef{Name: "mail", Kind: "env", Ref: "X"}
	host.Limits.StallTimeout = 10 * time.Second
	return &imap.Dialer{Host: host, Secrets: passwords("top-secret"), Spool: t.TempDir()}
}

func connect(t *testing.T, d *imap.Dialer) *imap.Session {
	t.Helper()
	s, err := d.Connect(t.Context(), providers.Account{Address: "a@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestOddFetches: whatever way a server tells of a message, it comes once and
// whole, or it is missing by name.
func TestOddFetches(t *testing.T) {
	const rest = `FLAGS (\Seen) INTERNALDATE " 1-Jan-2020 00:00:00 +0100" RFC822.SIZE 5`
	large := strings.Repeat("x", 2<<20)
	for _, test := range []struct {
		name    string
		answer  string
		want    string // UID and octets
		missing []uint32
		lost    bool
	}{
		{"in order", "* 1 FETCH (UID 7 " + rest + " BODY[] {5}\r\nhello)\r\n", "7 hello", nil, false},
		{"UID after the octets", "* 1 FETCH (BODY[] {5}\r\nhello " + rest + " UID 7)\r\n", "7 hello", nil, false},
		{"large, UID after the octets", fmt.Sprintf("* 1 FETCH (BODY[] {%d}\r\n%s %s UID 7)\r\n", len(large), large, rest), "7 " + large, nil, false},
		{"split, octets last", "* 1 FETCH (UID 7 " + rest + ")\r\n* 1 FETCH (UID 7 BODY[] {5}\r\nhello)\r\n", "7 hello", nil, false},
		{"split, octets first", "* 1 FETCH (BODY[] {5}\r\nhello)\r\n* 1 FETCH (UID 7 " + rest + ")\r\n", "7 hello", nil, false},
		{"split by somebody's flags", "* 1 FETCH (FLAGS ())\r\n* 1 FETCH (UID 7 " + rest + " BODY[] {5}\r\nhello)\r\n* 1 FETCH (FLAGS (\\Deleted))\r\n", "7 hello", nil, false},
		{"quoted", "* 1 FETCH (UID 7 " + rest + ` BODY[] "he\"lo")` + "\r\n", `7 he"lo`, nil, false},
		{"empty", "* 1 FETCH (UID 7 " + rest + " BODY[] {0}\r\n)\r\n", "7 ", nil, false},
		{"NIL", "* 1 FETCH (UID 7 " + rest + " BODY[] NIL)\r\n", "", []uint32{7}, false},
		{"not at all", "", "", []uint32{7}, false},
		{"twice", "* 1 FETCH (UID 7 " + rest + " BODY[] {5}\r\nhello)\r\n* 1 FETCH (UID 7 " + rest + " BODY[] {5}\r\nhello)\r\n", "7 hello", nil, false},
		{"another one", "* 2 FETCH (UID 8 " + rest + " BODY[] {5}\r\nother)\r\n", "", []uint32{7}, false},
		{"lower case and unknown items", "* 1 fetch (uid 7 x-gm-labels (\"a\" {1}\r\nb) " + rest + " body[] {5}\r\nhello modseq (9))\r\n", "7 hello", nil, false},
		{"dates that can't be", "* 1 FETCH (UID 7 FLAGS NIL INTERNALDATE NIL RFC822.SIZE NIL BODY[] {5}\r\nhello)\r\n", "7 hello", nil, false},
		{"no flags at all", "* 1 FETCH (UID 7 BODY[] {5}\r\nhello)\r\n", "7 hello", nil, false},
		{"unknown data between", "* X-THING {3}\r\n)\r\n (\r\n* 1 FETCH (UID 7 " + rest + " BODY[] {5}\r\nhello)\r\n", "7 hello", nil, false},
		{"malformed", "* 1 FETCH (UID 7 " + rest + " BODY[] hello)\r\n", "", []uint32{7}, false},
		{"no closing parenthesis", "* 1 FETCH (UID 7 " + rest + " BODY[] {5}\r\nhello\r\n", "7 hello", nil, false},
		{"expunged between the halves", "* 1 FETCH (BODY[] {5}\r\nhello)\r\n* 1 EXPUNGE\r\n* 1 FETCH (UID 7 " + rest + ")\r\n", "", []uint32{7}, false},
		{"cut in the octets", "* 1 FETCH (UID 7 " + rest + " BODY[] {500}\r\nhello", "", nil, true},
		{"cut in kept octets", "* 1 FETCH (BODY[] {500}\r\nhello", "", nil, true},
		{"BYE", "* BYE Session invalidated - AccessTokenExpired\r\n", "", nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := script(t, func(c *scripted) {
				c.open(t, "")
				c.examine(t)
				tag := c.expect(t, "UID FETCH 7 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])")
				io.WriteString(c, test.answer)
				if !test.lost {
					c.say(tag + " OK done")
					c.say(c.expect(t, "NOOP") + " OK done")
				}
			})
			s := connect(t, d)
			if _, err := s.Examine(t.Context(), "INBOX"); err != nil {
				t.Fatal(err)
			}
			var got []string
			err := s.FetchBodies(t.Context(), []string{"7"}, func(m imap.Meta, size int64, body io.Reader) error {
				octets, err := io.ReadAll(body)
				if err == nil && int64(len(octets)) == size {
					got = append(got, fmt.Sprint(m.UID, " ", string(octets)))
				}
				return nil // a callback that doesn't look at errors
			})
			if test.lost {
				lost, ok := errors.AsType[*imap.LostError](err)
				if !ok || len(got) > 0 {
					t.Fatalf("%v, got %v", err, got)
				}
				if test.name == "BYE" && (providers.ReasonOf(err) != providers.Authentication || !strings.Contains(lost.Error(), "AccessTokenExpired")) {
					t.Errorf("the server's words are lost: %v", err)
				}
				if err := s.Noop(t.Context()); err == nil {
					t.Error("a lost session goes on")
				}
				return
			}
			missing, _ := errors.AsType[*imap.MissingError](err)
			if test.missing == nil && err != nil || test.missing != nil && (missing == nil || !slices.Equal(missing.UIDs, test.missing)) {
				t.Errorf("error %v, want missing %v", err, test.missing)
			}
			if strings.Join(got, "|") != test.want {
				t.Errorf("got %.60q, want %.60q", got, test.want)
			}
			if err := s.Noop(t.Context()); err != nil {
				t.Errorf("the session is out of step: %v", err)
			}
		})
	}
}

func TestFetchMetaMissesNothing(t *testing.T) {
	for _, test := range []struct {
		name, answer, want string
		broken             bool
	}{
		{"plain", "* 1 FETCH (UID 1 FLAGS (a) RFC822.SIZE 9)\r\n* 2 FETCH (RFC822.SIZE 9 FLAGS (b) UID 2)\r\n", "1[a] 2[b]", false},
		{"split", "* 1 FETCH (UID 1 FLAGS (a))\r\n* 1 FETCH (RFC822.SIZE 9)\r\n", "1[a]", false},
		{"flags by somebody else", "* 1 FETCH (UID 1 FLAGS (a) RFC822.SIZE 9)\r\n* 1 FETCH (UID 1 FLAGS (z))\r\n", "1[a]", false},
		{"not asked for", "* 1 FETCH (UID 99 FLAGS (a) RFC822.SIZE 9)\r\n", "", false},
		{"malformed", "* 1 FETCH (UID 1 FLAGS (a\r\n* 2 FETCH (UID 2 FLAGS (b) RFC822.SIZE 9)\r\n", "2[b]", true},
		{"half", "* 1 FETCH (UID 1 RFC822.SIZE 9)\r\n", "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := script(t, func(c *scripted) {
				c.open(t, "")
				c.examine(t)
				tag := c.expect(t, "UID FETCH 1:9 (UID FLAGS RFC822.SIZE)")
				io.WriteString(c, test.answer)
				c.say(tag + " OK done")
			})
			s := connect(t, d)
			if _, err := s.Examine(t.Context(), "INBOX"); err != nil {
				t.Fatal(err)
			}
			var got []string
			err := s.FetchMeta(t.Context(), "1:9", imap.FetchItems{Flags: true, Size: true, ModSeq: true}, func(m imap.Meta) error {
				got = append(got, fmt.Sprintf("%d%v", m.UID, m.Flags))
				return nil
			})
			if strings.Join(got, " ") != test.want || (providers.ReasonOf(err) == providers.Protocol) != test.broken {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

// TestRefusedLiteral: NO instead of the go-ahead costs that message and no more.
func TestRefusedLiteral(t *testing.T) {
	d := script(t, func(c *scripted) {
		c.open(t, "UIDPLUS LITERAL-")
		small := c.expect(t, `APPEND "X" (\Seen) " 2-Jan-2020 03:04:05 +0530" {5+}`)
		c.br.Discard(5 + 2)
		large := c.expect(t, `APPEND "X" {5000}`)
		c.say(small+" OK [APPENDUID 9 4] done", large+" NO [TOOBIG] message too large")
		last := c.expect(t, `APPEND "X" {6000}`)
		c.say("+ go on")
		c.br.Discard(6000 + 2)
		c.say(last + " NO Request is throttled. Suggested Backoff Time: 1500 milliseconds")
		c.say(c.expect(t, "NOOP") + " OK done")
	})
	s := connect(t, d)
	date := time.Date(2020, 1, 2, 3, 4, 5, 0, time.FixedZone("", 19800))
	results, err := s.Append(t.Context(), "X", []imap.Message{
		{Flags: []string{`\Seen`, `\seen`, `\Recent`, "no flag"}, InternalDate: date, Size: 5, Body: strings.NewReader("hello")},
		message(strings.Repeat("y", 5000)), message(strings.Repeat("z", 6000)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if !results[0].Done || results[0].UID != 4 || results[0].UIDValidity != 9 {
		t.Errorf("%+v", results[0])
	}
	if providers.ReasonOf(results[1].Err) != providers.TooLarge || results[1].InDoubt() {
		t.Errorf("%+v", results[1])
	}
	e, _ := errors.AsType[*providers.Error](results[2].Err)
	if e == nil || e.Reason != providers.Throttled || e.Wait != 1500*time.Millisecond {
		t.Errorf("%+v", results[2])
	}
	if err := s.Noop(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestMultiAppendRefused: all are sent again one by one, those that were fine arrive once.
func TestMultiAppendRefused(t *testing.T) {
	d := script(t, func(c *scripted) {
		c.open(t, "UIDPLUS LITERAL+ MULTIAPPEND")
		tag := c.expect(t, `APPEND "X" {2+}`)
		for range 2 {
			c.line() // the rest: each literal ends in the middle of a line
		}
		c.line()
		c.say(tag + " NO one of them is bad")
		for _, answer := range []string{"OK [APPENDUID 9 1] done", "NO Message contains NUL characters", "OK [APPENDUID 9 2] done"} {
			tag := c.expect(t, `APPEND "X" {2+}`)
			c.br.Discard(2 + 2)
			c.say(tag + " " + answer)
		}
	})
	s := connect(t, d)
	results, err := s.Append(t.Context(), "X", []imap.Message{message("aa"), message("bb"), message("cc")})
	if err != nil {
		t.Fatal(err)
	}
	if results[0].UID != 1 || results[2].UID != 2 || providers.ReasonOf(results[1].Err) != providers.BadMessage {
		t.Errorf("%+v", results)
	}
}

// TestEmptyMessage: among others it would cancel all of them (RFC 3502 §6.3.11).
func TestEmptyMessage(t *testing.T) {
	d := script(t, func(c *scripted) {
		c.open(t, "LITERAL+ MULTIAPPEND")
		for _, n := range []int{2, 0, 2} {
			tag := c.expect(t, fmt.Sprintf(`APPEND "X" {%d+}`, n))
			c.br.Discard(n + 2)
			c.say(tag + " OK done")
		}
	})
	results, err := connect(t, d).Append(t.Context(), "X", []imap.Message{message("aa"), message(""), message("bb")})
	if err != nil || !results[0].Done || !results[1].Done || !results[2].Done || results[0].UID != 0 {
		t.Errorf("%+v, %v", results, err)
	}
}

// TestDoubt: what is known of each message when the connection goes.
func TestDoubt(t *testing.T) {
	d := script(t, func(c *scripted) {
		c.open(t, "UIDPLUS LITERAL-")
		first := c.expect(t, `APPEND "X" {2+}`)
		c.br.Discard(4)
		c.expect(t, `APPEND "X" {2+}`)
		c.br.Discard(4)
		c.expect(t, `APPEND "X" {5000}`)
		c.say(first + " OK [APPENDUID 9 1] done")
	})
	s := connect(t, d)
	results, err := s.Append(t.Context(), "X", []imap.Message{message("aa"), message("bb"), message(strings.Repeat("c", 5000)), message("dd")})
	if _, ok := errors.AsType[*imap.LostError](err); !ok {
		t.Fatal(err)
	}
	if !results[0].Done || !results[1].InDoubt() || !results[2].Unsent || !results[3].Unsent {
		t.Errorf("%+v", results)
	}
}

// TestBodyOfAnotherSize: the server is never left with a message that isn't the source's.
func TestBodyOfAnotherSize(t *testing.T) {
	for name, m := range map[string]imap.Message{
		"shorter": {Size: 10, Body: strings.NewReader("short")},
		"longer":  {Size: 3, Body: strings.NewReader("longer")},
	} {
		t.Run(name, func(t *testing.T) {
			answered := make(chan string, 1)
			d := script(t, func(c *scripted) {
				c.open(t, "LITERAL+")
				all, _ := io.ReadAll(c.br)
				answered <- string(all)
			})
			s := connect(t, d)
			results, err := s.Append(t.Context(), "X", []imap.Message{m})
			if _, ok := errors.AsType[*imap.LostError](err); !ok {
				t.Fatal(err)
			}
			// Some servers store a message as soon as its octets are there.
			if results[0].InDoubt() != (name == "longer") || results[0].Unsent != (name == "shorter") {
				t.Errorf("%+v", results[0])
			}
			if all := <-answered; strings.Count(all, "\r\n") > 1 {
				t.Errorf("the command was finished: %q", all)
			}
		})
	}
}

// TestBadNames: a folder whose name is not valid is listed, opened and kept apart.
func TestBadNames(t *testing.T) {
	d := script(t, func(c *scripted) {
		c.open(t, "SPECIAL-USE")
		list := c.expect(t, "LIST ")
		lsub := c.expect(t, "LSUB ")
		c.say(`* LIST (\HasNoChildren) "/" "R&D"`, `* LIST () "/" "M`+"\xfc"+`ll"`, `* LIST (\Sent\HasNoChildren) "/" Gesendet`,
			`* LIST () "/" {3}`, `a"b`, `* LIST (\Noselect) "/" up`, `* LIST () "/" Entw&APw-rfe/A&-B`, `* LIST () "/" Inbox`, list+" OK done",
			`* LSUB () "/" Gesendet`, lsub+" OK done")
		for range 6 {
			tag, rest := c.line()
			if n := strings.LastIndex(rest, "{"); n >= 0 && strings.HasSuffix(rest, "}") {
				c.say("+ ok")
				more, _ := c.br.ReadString('\n')
				rest = rest[:n] + strings.TrimRight(more, "\r\n")
			}
			name, _, _ := strings.Cut(strings.TrimPrefix(rest, "STATUS "), " (")
			if strings.Contains(name, "Inbox") {
				c.say("* STATUS INBOX (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 5)")
			} else if !strings.Contains(name, "R&D") {
				c.say("* STATUS " + `{` + fmt.Sprint(len(unquote(name))) + "}\r\n" + unquote(name) + " (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 5)")
			}
			c.say(tag + " OK done")
		}
		c.examine(t)
	})
	s := connect(t, d)
	entries, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []imap.ListEntry{
		{Raw: "R&D", Name: "R&D", Selectable: true},
		{Raw: "M\xfcll", Name: "Müll", Selectable: true},
		{Raw: "Gesendet", Name: "Gesendet", Selectable: true, Subscribed: true, SpecialUse: `\Sent`},
		{Raw: `a"b`, Name: `a"b`, Selectable: true},
		{Raw: "up", Name: "up"},
		{Raw: "Entw&APw-rfe/A&-B", Name: "Entwürfe/A&B", Selectable: true},
		{Raw: "Inbox", Name: "INBOX", Selectable: true},
	}
	if len(entries) != len(want) {
		t.Fatalf("%+v", entries)
	}
	for i, e := range entries {
		if e.Selectable && e.Name != "R&D" && (e.Status == nil || e.Status.Messages != 3 || e.Status.Size != -1) {
			t.Errorf("%s: status %+v", e.Name, e.Status)
		}
		e.Status = nil
		if e != want[i] {
			t.Errorf("%+v, want %+v", e, want[i])
		}
	}
	if _, err := s.Examine(t.Context(), "R&D"); err != nil {
		t.Error(err)
	}
}

func unquote(s string) string {
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(strings.Trim(s, `"`))
}
