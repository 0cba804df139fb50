package imap_test

import (
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
)

// TestVisitSendsAheadAndKeepsFoldersApart has a server that answers nothing before it has read all commands, refuses
// one folder in the middle and shows messages of the same numbers in each: every one of them belongs to the
// folder that was opened last.
func TestVisitSendsAheadAndKeepsFoldersApart(t *testing.T) {
	d := script(t, func(c *scripted) {
		c.open(t, "UNSELECT MOVE UIDPLUS")
		var tags []string
		for _, want := range []string{`EXAMINE "a"`, "UID FETCH 1:2 ", `EXAMINE "b"`, "UID FETCH 1:2 ", "UNSELECT", `SELECT "c"`, "UID STORE 7 +FLAGS.SILENT (\\Seen)", `UID MOVE 8 "d"`, `EXAMINE "e"`, "UID FETCH 1:* "} {
			tags = append(tags, c.expect(t, want))
		}
		body := func(n int, text string) string {
			return fmt.Sprintf("* %d FETCH (UID %d FLAGS () INTERNALDATE \" 1-Jan-2020 00:00:00 +0000\" BODY[] {%d}\r\n%s)", n, n, len(text), text)
		}
		c.say("* 2 EXISTS", "* OK [UIDVALIDITY 1] x", "* OK [UIDNEXT 3] x", tags[0]+" OK [READ-ONLY] x")
		c.say(body(1, "a one"), body(2, "a two"), tags[1]+" OK x")
		c.say(tags[2]+" NO [NONEXISTENT] no such folder", body(1, "of no folder"), tags[3]+" BAD nothing is selected", tags[4]+" BAD nothing is selected")
		c.say("* 9 EXISTS", "* OK [UIDVALIDITY 3] x", "* OK [UIDNEXT 9] x", "* OK [PERMANENTFLAGS (\\Seen \\*)] x", tags[5]+" OK [READ-WRITE] x")
		c.say(tags[6]+" OK x", "* OK [COPYUID 4 8 77] x", "* 8 EXPUNGE", tags[7]+" OK x")
		c.say("* 1 EXISTS", "* OK [UIDVALIDITY 5] x", "* OK [UIDNEXT 2] x", tags[8]+" OK x", "* 1 FETCH (UID 1 FLAGS (\\Seen))", tags[9]+" OK x")
		c.line()
	})
	s := connect(t, d)
	var log []string
	note := func(format string, args ...any) { log = append(log, fmt.Sprintf(format, args...)) }
	visit := func(v imap.Visit) *imap.Visit {
		v.Opened = func(sel imap.Selected) error {
			note("%s open %d %d %d %v %v", v.Raw, sel.UIDValidity, sel.UIDNext, sel.Exists, sel.ReadOnly, sel.AnyKeyword)
			return nil
		}
		v.Done = func(err error) { note("%s done %v", v.Raw, providers.ReasonOf(err)) }
		return &v
	}
	bodies := func(raw string) *imap.Bodies {
		return &imap.Bodies{Sets: []string{"1:2"}, Each: func(m imap.Meta, _ int64, body io.Reader) error {
			text, err := io.ReadAll(body)
			note("%s %d %s", raw, m.UID, text)
			return err
		}}
	}
	visits := []*imap.Visit{
		visit(imap.Visit{Raw: "a", Bodies: bodies("a")}),
		visit(imap.Visit{Raw: "b", Bodies: bodies("b")}),
		visit(imap.Visit{Raw: "c", Write: true, Change: &imap.Change{
			Stores: []imap.FlagStore{{Set: "7", Mode: "+FLAGS", Flags: []string{`\Seen`}}},
			Move:   []imap.Transfer{{Set: "8", To: "d"}},
			Moved:  func(to string, _ uint32, uids map[uint32]uint32) { note("c moved to %s %v", to, uids) },
		}}),
		visit(imap.Visit{Raw: "e", List: &imap.List{Queries: []imap.Query{{Set: "1:*"}}, Items: imap.FetchItems{Flags: true},
			Each: func(m imap.Meta) error { note("e %d %v", m.UID, m.Flags); return nil }}}),
	}
	if err := s.Visit(t.Context(), func() *imap.Visit {
		if len(visits) == 0 {
			return nil
		}
		v := visits[0]
		visits = visits[1:]
		return v
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"a open 1 3 2 true false", "a 1 a one", "a 2 a two", "a done ",
		"b done " + string(providers.NotFound),
		"c open 3 9 9 false true", "c moved to d map[8:77]", "c done ",
		"e open 5 2 1 true false", `e 1 [\Seen]`, "e done ",
	}
	if !slices.Equal(log, want) {
		t.Errorf("got  %q\nwant %q", log, want)
	}
}
