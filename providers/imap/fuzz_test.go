package imap

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/imap/wire"
)

// FuzzMapFolders: whatever folders there are, each one that is copied has a name at
// the target, no two have the same one, INBOX stays INBOX, and the order of the target's list
// decides nothing.
func FuzzMapFolders(f *testing.F) {
	f.Add("INBOX\nGesendete Objekte\nPapierkorb/Alt", "Inbox\nSent Items\nDeleted Items", "Papierkorb/Alt", "Archiv")
	f.Add("a\nA\na \n\u00fc\nu\u0308", "INBOX\nSent", "", "")
	f.Add("inbox\nINBOX/x\n/\n//\n\xff", "Inbox", "INBOX", "x")
	faults.Fuzz(f, func(t *testing.T, source, target, from, to string) {
		entries := func(names string) (all []ListEntry) {
			seen := map[string]bool{}
			for name := range strings.SplitSeq(names, "\n") {
				if name != "" && !seen[canonical(name)] && utf8.ValidString(name) && len(all) < 50 {
					seen[canonical(name)] = true
					all = append(all, ListEntry{Raw: name, Name: name, Selectable: true})
				}
			}
			return all
		}
		src, dst := entries(source), entries(target)
		var rules plan.FolderRules
		if from != "" && to != "" {
			rules.Map = map[string]string{from: to}
		}
		mappings, err := MapFolders(src, dst, rules)
		if err != nil {
			if _, ok := errors.AsType[*CollisionError](err); !ok || !strings.Contains(err.Error(), "map") {
				t.Fatalf("%v", err)
			}
			return
		}
		if len(mappings) != len(src) {
			t.Fatalf("%d folders, %d mappings", len(src), len(mappings))
		}
		taken := map[string]string{}
		for _, m := range mappings {
			if m.Excluded {
				t.Fatalf("%q is left out by no rule", m.Source.Name)
			}
			if other, ok := taken[canonical(m.Target)]; ok {
				t.Fatalf("%q and %q both go to %q", other, m.Source.Name, m.Target)
			}
			taken[canonical(m.Target)] = m.Source.Name
			if canonical(m.Source.Name) == "INBOX" && len(rules.Map) == 0 && canonical(m.Target) != "INBOX" {
				t.Fatalf("INBOX goes to %q", m.Target)
			}
		}
		slices.Reverse(dst)
		if again, err := MapFolders(src, dst, rules); err != nil || !slices.EqualFunc(again, mappings, func(a, b Mapping) bool { return a.Target == b.Target }) {
			// Two target folders may claim one use by their names; the first one has it.
			if !ambiguous(dst) {
				t.Fatalf("the target's order decides: %v", err)
			}
		}
	})
}

// ambiguous reports whether two names of a list stand for one use or fold together.
func ambiguous(entries []ListEntry) bool {
	seen := map[string]bool{}
	for _, e := range entries {
		for _, key := range []string{"=" + fold(e.Name), "use " + useByName(e.Name)} {
			if key == "use " {
				continue
			}
			if seen[key] {
				return true
			}
			seen[key] = true
		}
	}
	return false
}

// FuzzDates: a date that is read is written as the same instant, or not at all.
func FuzzDates(f *testing.F) {
	for _, s := range []string{" 2-Jan-2020 03:04:05 +0000", "29-Feb-2023 00:00:00 +0000", "31-Dec-9999 23:59:59 -1400", "1-Jan-0001 00:00:00 +2359", "1-Jan-2020 00:00:00 EST", "01-Jan-1601 00:00:00 +0000"} {
		f.Add(s)
	}
	faults.Fuzz(f, func(t *testing.T, s string) {
		date := parseDate(s)
		text := formatDate(date)
		if text == "" {
			return
		}
		if again := parseDate(text); !again.Equal(date) {
			t.Fatalf("%q is %v, sent as %q, which is %v", s, date, text, again)
		}
		if len(text) != len(" 2-Jan-2020 03:04:05 +0000") || strings.ContainsAny(text, "\"\\\r\n") {
			t.Fatalf("%q is sent as %q", s, text)
		}
	})
}

// FuzzRefusal: every refusal has a reason, keeps the server's words, and a wait that a
// server names is neither negative nor longer than the digits it may have.
func FuzzRefusal(f *testing.F) {
	for _, s := range []string{
		"[OVERQUOTA] Account exceeded command or bandwidth limits.", "Request is throttled. Suggested Backoff Time: 299609 milliseconds",
		"[AUTHENTICATIONFAILED] Suggested Backoff Time: 99999999999999999999 milliseconds", "[", "[X", "[LIMIT", "] x", "",
	} {
		f.Add("NO", "append", s)
		f.Add("BYE", "log in", s)
	}
	faults.Fuzz(f, func(t *testing.T, kind, op, text string) {
		e := refusal(op, "x", wire.ParseStatus(kind, text))
		if e.Reason == "" {
			t.Fatal("no reason")
		}
		if e.Wait < 0 || e.Wait > 116*24*time.Hour {
			t.Fatalf("a wait of %v", e.Wait)
		}
		if strings.ContainsAny(e.Error(), "\r\n\x1b") && !strings.ContainsAny(op, "\r\n\x1b") {
			t.Fatalf("control characters in %q", e.Error())
		}
	})
}

// FuzzOneCommand: whatever octets are in names, passwords, folders, flags, texts and messages, the server sees exactly the commands that were
// called, each with exactly those strings, or none. No octet of them begins another command.
func FuzzOneCommand(f *testing.F) {
	f.Add("anna@a.example", "secret", "Entw&APw-rfe", `\Seen $Forwarded`, "Subject", "From: a\r\n\r\nx", uint8(0))
	f.Add("a\r\nA2 DELETE INBOX", "b\r\nA3 DELETE INBOX", "INBOX\r\nA4 DELETE INBOX", "x) \"\r\nA5 DELETE INBOX", "\"\r\nA6 DELETE INBOX", "\r\nA7 DELETE INBOX\r\n", uint8(1))
	f.Add(`"a"`, `p\"`, `\"{3}`, `\Recent {5} a`, "{5}", "", uint8(6))
	f.Add("{3+}\r\n", "\x00", "a\x00b", "\x00", "\x00", "\x00", uint8(13))
	f.Add("ü", "pässwörter", "M\xfcll", "ümlaut", "日本語", "\xff", uint8(255))
	faults.Fuzz(f, func(t *testing.T, user, password, folder, flags, text, message string, how uint8) {
		caps := "SASL-IR UIDPLUS MOVE BINARY"
		for i, more := range []string{"LITERAL+", "LITERAL-", "MULTIAPPEND"} {
			if how&(1<<i) != 0 {
				caps += " " + more
			}
		}
		d := &Dialer{Host: plan.Host{Hostname: "a.example", Port: 993, Auth: "plain"}}
		if how&8 != 0 {
			d.Host.Auth = "login"
		} else {
			caps += " AUTH=PLAIN"
		}
		server := newStrict(caps, nil)
		l := newLink(server, 0)
		defer l.abort(errors.New("the test is over"))
		var want []command
		call := func(name string, args ...string) { want = append(want, command{name: name, args: args}) }

		s, err := d.login(l, l, "* OK [CAPABILITY IMAP4rev1 "+caps+"] hello\r\n", identity{name: user, password: providers.Keep(password)})
		if err == nil {
			ctx := t.Context()
			flagList := strings.Split(flags, " ")
			sendable := settable(flagList)
			if strings.Contains(folder, "\x00") {
				// Nothing can be sent.
			} else {
				call("CREATE", folder)
				call("SELECT", folder)
				call("SUBSCRIBE", folder)
				call("UID COPY", "1:3", folder)
				call("UID MOVE", "1:3", folder)
			}
			s.Create(ctx, folder, "")
			s.Select(ctx, folder)
			s.Subscribe(ctx, folder)
			s.Copy(ctx, "1:3", folder)
			s.Move(ctx, "1:3", folder)
			s.Store(ctx, "1:3", "+FLAGS", flagList)
			call("UID STORE", "1:3", "+FLAGS.SILENT", "("+strings.Join(sendable, " ")+")")
			s.Search(ctx, "HEADER Message-ID", text)
			if !strings.Contains(text, "\x00") {
				call("UID SEARCH", "HEADER", "Message-ID", text)
			}
			appended, _ := s.Append(ctx, folder, []Message{{Flags: flagList, Size: int64(len(message)), Body: strings.NewReader(message), Binary: strings.Contains(message, "\x00")}})
			if !strings.Contains(folder, "\x00") {
				args := []string{folder}
				if len(sendable) > 0 {
					args = append(args, "("+strings.Join(sendable, " ")+")")
				}
				call("APPEND", append(args, message)...)
				if !appended[0].Done {
					t.Fatalf("not appended: %+v", appended[0])
				}
			}
			s.Delete(ctx, folder)
			if !strings.Contains(folder, "\x00") {
				call("DELETE", folder)
			}
			if s.Err() != nil {
				t.Fatalf("the connection was lost: %v", s.Err())
			}
			s.Close()
			call("LOGOUT")
		}
		got, wrong := server.sent()
		if wrong != nil {
			t.Fatalf("the client sent what is no command: %v", wrong)
		}
		// What a session asks when it begins names nothing of the caller's.
		got = slices.DeleteFunc(got, func(c command) bool {
			return c.name == "CAPABILITY" || c.name == "LIST" && len(c.args) == 2 && c.args[1] == ""
		})
		if len(got) == 0 {
			if err == nil {
				t.Fatal("logged in without a login")
			}
			return // such a name or password can't be sent
		}
		name, pass := user, password
		switch got[0].name {
		case "LOGIN":
			name, pass = got[0].args[0], got[0].args[1]
		case "AUTHENTICATE":
			var perr error
			if name, pass, perr = plainLogin(got[0].args[1]); perr != nil {
				t.Fatal(perr)
			}
		default:
			t.Fatalf("the first command is %q", got[0])
		}
		if name != user || pass != password {
			t.Fatalf("logged in as %q with %q instead of %q with %q", name, pass, user, password)
		}
		got = got[1:]
		if !slices.EqualFunc(got, want, func(a, b command) bool { return a.name == b.name && slices.Equal(a.args, b.args) }) {
			t.Fatalf("the server saw\n%q\ninstead of\n%q", got, want)
		}
	})
}

// FuzzAnswers: whatever a server answers, reading calls come to an end, keep no more than was sent, send whole commands alone (names that the
// server made up are in them), each once, and none that changes anything.
func FuzzAnswers(f *testing.F) {
	for _, s := range []string{
		"A1 OK [CAPABILITY IMAP4rev1] x\r\n* LIST (\\Noselect) \"/\" \"\"\r\nA2 OK x\r\n* LIST () \"/\" a\r\n* LIST (\\Sent) \"/\" \"b \\\"c\"\r\nA3 OK x\r\nA4 OK x\r\n* STATUS a (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 5)\r\nA5 OK x\r\nA6 OK x\r\n" +
			"* 3 EXISTS\r\n* OK [UIDVALIDITY 5] x\r\n* OK [PERMANENTFLAGS (\\Seen \\*)] x\r\nA7 OK [READ-ONLY] x\r\n* 1 FETCH (UID 1 FLAGS (\\Seen) INTERNALDATE \" 1-Jan-2020 00:00:00 +0000\" RFC822.SIZE 3)\r\nA8 OK x\r\n" +
			"* 1 FETCH (UID 1 FLAGS () INTERNALDATE \" 1-Jan-2020 00:00:00 +0000\" RFC822.SIZE 3 BODY[] {3}\r\nabc)\r\nA9 OK x\r\n* SEARCH 1 2\r\nA10 OK x\r\nA11 OK x\r\n",
		"A1 OK [CAPABILITY IMAP4rev1 NAMESPACE ID QRESYNC ENABLE LIST-EXTENDED LIST-STATUS SPECIAL-USE STATUS=SIZE LITERAL+] x\r\n* ID (\"name\" \"x\")\r\n* ENABLED QRESYNC\r\n* NAMESPACE ((\"INBOX.\" \".\")) NIL ((\"shared.\" \".\"))\r\n" +
			"A2 OK x\r\nA3 OK x\r\nA4 OK x\r\n* LIST () \".\" \"\"\r\nA5 OK x\r\n* LIST (\\HasNoChildren) \".\" {20}\r\nINBOX.a\r\nA6 LOGOUT\r\nx\r\n* STATUS INBOX.b (MESSAGES 1)\r\nA6 OK x\r\nA7 OK x\r\n* VANISHED (EARLIER) 1:4294967295\r\nA8 OK x\r\nA9 OK x\r\n",
		"* BYE x\r\n", "A1 NO [UNAVAILABLE] x\r\n", "+ x\r\nA2 OK x\r\n", "A1 OK x\r\n* LIST () NIL {3}\r\na\x00b\r\nA2 OK x\r\n",
	} {
		f.Add([]byte(s), "")
	}
	f.Add([]byte("A1 OK x\r\nA2 OK x\r\n* LIST () \"/\" x\r\nA3 OK x\r\nA4 OK x\r\n"), "LITERAL+ LIST-EXTENDED LIST-STATUS CONDSTORE UNSELECT")
	faults.Fuzz(f, func(t *testing.T, says []byte, caps string) {
		server := newStrict("", says)
		l := newLink(server, 0)
		defer l.abort(errors.New("the test is over"))
		d := &Dialer{Host: plan.Host{Hostname: "a.example", Port: 993}, Spool: t.TempDir()}
		s := newSession(d, l, l, bufio.NewReader(l), "anna@a.example")
		server.goAhead = func() bool { return s.goAhead }
		ctx := t.Context()
		kept := 0
		if s.begin(caps) == nil {
			entries, _ := s.List(ctx)
			for i, e := range entries {
				if kept += len(e.Raw); !utf8.ValidString(e.Name) {
					t.Fatalf("folder %q is called %q", e.Raw, e.Name)
				}
				if i > 5 {
					continue
				}
				if _, err := s.Examine(ctx, e.Raw); err != nil {
					continue
				}
				s.FetchMeta(ctx, "1:*", FetchItems{}, func(m Meta) error {
					for _, flag := range m.Flags {
						kept += len(flag)
					}
					return nil
				})
				s.FetchBodies(ctx, []string{"1:10"}, func(_ Meta, size int64, body io.Reader) error {
					n, err := io.Copy(io.Discard, body)
					if kept += int(n); err == nil && n != size {
						t.Fatalf("%d octets of %d without an error", n, size)
					}
					return err
				})
				uids, _ := s.Search(ctx, "HEADER Message-ID", "<a@a.example>")
				kept += len(uids)
				s.Unselect(ctx)
			}
		}
		s.Close()
		if kept > len(says) {
			t.Fatalf("%d octets were kept of %d", kept, len(says))
		}
		sent, wrong := server.sent()
		if wrong != nil {
			t.Fatalf("the client sent what is no command: %v", wrong)
		}
		for i, c := range sent {
			if want := "A" + strconv.Itoa(i+1); c.tag != want {
				t.Fatalf("command %d is %q", i+1, c)
			}
			switch c.name {
			case "CAPABILITY", "ID", "ENABLE", "NAMESPACE", "LIST", "LSUB", "STATUS", "EXAMINE", "UID FETCH", "UID SEARCH", "CLOSE", "UNSELECT", "LOGOUT":
			default:
				t.Fatalf("reading sends %q", c)
			}
		}
	})
}

// FuzzNames: a name is UTF-8 whatever a server calls its folder, the name on the wire of any name is plain ASCII, and a folder that
// is made under it is listed by a name that leads to it again: no second one is made by the next pass.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"Entw&APw-rfe/a.b", "INBOX", "inbox/x", "R&D", "M\xfcll", "a\u2215b\u2024c", "INBOX.INBOX.x", "", "//", "a/", "\u2028", "&", "_"} {
		for how := range uint8(5) {
			f.Add(s, how)
		}
	}
	faults.Fuzz(f, func(t *testing.T, raw string, how uint8) {
		s := []*Session{{delimiter: "/"}, {delimiter: "."}, {delimiter: ".", prefix: "INBOX."}, {}, {delimiter: "\\"}}[how%5]
		if raw == "" {
			return // LIST "" "" alone speaks of such a one
		}
		name := s.decodeName(raw)
		if !utf8.ValidString(name) {
			t.Fatalf("%q is called %q", raw, name)
		}
		wire := s.WireName(name)
		for _, b := range []byte(wire) {
			if b < 0x20 || b > 0x7e {
				t.Fatalf("%q goes out as %q", name, wire)
			}
		}
		if again := s.decodeName(wire); s.WireName(again) != wire {
			t.Fatalf("%q is made as %q, listed as %q and sought as %q", name, wire, again, s.WireName(again))
		}
	})
}
