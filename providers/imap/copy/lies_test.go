package copy

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	inflicted "github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// lie is something that a server says and that isn't so. It is said each time, for two passes.
type lie struct {
	name string
	work string // what the passes have to do, by its name in works
	side string // which server lies
	tell func(verb string, response []byte) []byte
	// named are words that the passes tell of it, as their error or as a refusal; "" = they aren't taken in, and do their
	// work as if nothing were.
	named string
	// What stays of the lie, because nothing says later that it was one: dates and flags, which were brought over as they
	// were told, or the place that a copy has at the target. Then the copy's octets are compared alone.
	marks, misplaced bool
	// later: nobody can know that something is hidden; it comes with the first honest pass.
	later bool
}

// instead tells a lie in the place of what a pattern finds in responses to a command.
func instead(verb, pattern, lie string) func(string, []byte) []byte {
	re := regexp.MustCompile("(?s)" + pattern)
	return func(v string, r []byte) []byte {
		if v != verb {
			return r
		}
		return re.ReplaceAll(r, []byte(lie))
	}
}

// besides says more before the tagged answers to a command. TAG in it is the command's tag.
func besides(verb, more string) func(string, []byte) []byte {
	return func(v string, r []byte) []byte {
		if v != verb || strings.HasPrefix(string(r), "*") || strings.HasPrefix(string(r), "+") {
			return r
		}
		tag, _, _ := strings.Cut(string(r), " ")
		return append([]byte(strings.ReplaceAll(more, "TAG", tag)), r...)
	}
}

// counts is another lie at each telling.
func counts(verb, pattern, lie string) func(string, []byte) []byte {
	re := regexp.MustCompile(pattern)
	var n atomic.Int64
	return func(v string, r []byte) []byte {
		if v != verb || !re.Match(r) {
			return r
		}
		return re.ReplaceAll(r, fmt.Appendf(nil, lie, 1000+n.Add(1)))
	}
}

func all(tell ...func(string, []byte) []byte) func(string, []byte) []byte {
	return func(v string, r []byte) []byte {
		for _, t := range tell {
			r = t(v, r)
		}
		return r
	}
}

const (
	first   = "a first pass"
	news    = "new mail"
	marks   = "flags"
	moved   = "moves and deletions"
	after   = "stragglers"
	fetches = "UID FETCH"
)

var ghost = "* 9 FETCH (UID 999 FLAGS () INTERNALDATE \" 1-Jan-2020 00:00:00 +0000\" RFC822.SIZE 3 BODY[] {3}\r\nabc)\r\n"

var lies = []lie{
	// UIDs of messages.
	{name: "UID 0", work: first, side: "source", named: "left out what was asked for of a message", tell: instead(fetches, `UID \d+`, "UID 0")},
	{name: "a UID beyond 32 bits", work: first, side: "source", named: "left out what was asked for of a message", tell: instead(fetches, `UID \d+`, "UID 4294967297")},
	{name: "a negative UID", work: first, side: "source", named: "left out what was asked for of a message", tell: instead(fetches, `UID \d+`, "UID -1")},
	{name: "a UID that is a list", work: first, side: "source", named: "left out what was asked for of a message", tell: instead(fetches, `UID \d+`, "UID (1 2)")},
	{name: "no UID", work: first, side: "source", named: "left out what was asked for of a message", tell: instead(fetches, `UID \d+ `, "")},
	{name: "the same UID for all", work: first, side: "source", named: "holds 6 messages, and lists 1", tell: instead(fetches, `UID \d+`, "UID 2")},
	{name: "two UIDs for each", work: first, side: "source", named: "holds 6 messages, and lists 1", tell: instead(fetches, `UID (\d+)`, "UID $1 UID 3")},
	{name: "UIDs that nobody asked for", work: first, side: "source", named: "holds 6 messages, and lists 0", tell: instead(fetches, `UID (\d+)`, "UID 70$1")},

	// Bodies.
	{name: "a message that nobody asked for", work: first, side: "source", tell: besides(fetches, ghost)},
	{name: "octets of another message first", work: first, side: "source", tell: instead(fetches, `^(\* \d+ FETCH \(UID (\d+) .*BODY\[\].*)$`, "* 1 FETCH (UID 998 BODY[] {5}\r\nother)\r\n$1")},
	{name: "two bodies for one message", work: first, side: "source", tell: instead(fetches, `^(\* \d+ FETCH \((UID \d+).*BODY\[\].*)$`, "$1* 1 FETCH ($2 FLAGS () INTERNALDATE \" 1-Jan-2020 00:00:00 +0000\" RFC822.SIZE 5 BODY[] {5}\r\nother)\r\n")},
	{name: "more octets than announced", work: first, side: "source", tell: instead(fetches, `(BODY\[\] \{\d+\}\r\n.*)\)\r\n$`, "$1 and more\r\n)\r\n")},
	{name: "less octets than announced", work: first, side: "source", named: "announced more or fewer octets of a message than it sent", tell: instead(fetches, `(BODY\[\] \{\d+)\}`, "${1}7}")},
	{name: "an announcement that is too small", work: first, side: "source", named: "announced more or fewer octets of a message than it sent", tell: instead(fetches, `BODY\[\] \{\d+\}`, "BODY[] {7}")},
	{name: "a body that is NIL", work: first, side: "source", named: "lists message UID 1 of INBOX and does not deliver it", tell: instead(fetches, `BODY\[\] \{\d+\}\r\n.*\)\r\n$`, "BODY[] NIL)\r\n")},
	{name: "a body that is an atom", work: first, side: "source", named: "lists message UID 1 of INBOX and does not deliver it", tell: instead(fetches, `BODY\[\] \{\d+\}\r\n.*\)\r\n$`, "BODY[] hello)\r\n")},
	{name: "a body that is a list", work: first, side: "source", named: "lists message UID 1 of INBOX and does not deliver it", tell: instead(fetches, `BODY\[\] \{\d+\}\r\n.*\)\r\n$`, "BODY[] (\"a\" \"b\"))\r\n")},
	{name: "a part instead of the message", work: first, side: "source", named: "lists message UID 1 of INBOX and does not deliver it", tell: instead(fetches, `BODY\[\] \{`, "BODY[1] {")},
	{name: "a header instead of the message", work: first, side: "source", named: "lists message UID 1 of INBOX and does not deliver it", tell: instead(fetches, `BODY\[\] \{`, "BODY[HEADER] {")},
	{name: "no body", work: first, side: "source", named: "lists message UID 1 of INBOX and does not deliver it", tell: instead(fetches, ` BODY\[\] \{\d+\}\r\n.*\)\r\n$`, ")\r\n")},
	{name: "no response at all", work: first, side: "source", named: "holds 6 messages, and lists 0", tell: instead(fetches, `^\* \d+ FETCH .*$`, "")},
	{name: "no closing parenthesis", work: first, side: "source", named: "a list has no end", tell: instead(fetches, `\)\r\n$`, "\r\n")},
	{name: "an announcement beyond 64 bits", work: first, side: "source", named: "answered a command that was not sent", tell: instead(fetches, `BODY\[\] \{\d+\}`, "BODY[] {99999999999999999999}")},
	{name: "a negative announcement", work: first, side: "source", named: "answered a command that was not sent", tell: instead(fetches, `BODY\[\] \{\d+\}`, "BODY[] {-5}")},

	// What is said of messages.
	{name: "sizes that are too small", work: first, side: "source", tell: instead(fetches, `RFC822.SIZE \d+`, "RFC822.SIZE 1")},
	{name: "sizes of 4 GB", work: first, side: "source", tell: instead(fetches, `RFC822.SIZE \d+`, "RFC822.SIZE 4294967295")},
	{name: "sizes beyond 64 bits", work: first, side: "source", tell: instead(fetches, `RFC822.SIZE \d+`, "RFC822.SIZE 99999999999999999999")},
	{name: "sizes that are no numbers", work: first, side: "source", tell: instead(fetches, `RFC822.SIZE \d+`, "RFC822.SIZE large")},
	{name: "a date that is nonsense", work: first, side: "source", marks: true, tell: instead(fetches, `INTERNALDATE "[^"]*"`, `INTERNALDATE "99-Foo-2020 25:61:61 +9999"`)},
	{name: "a day that never was", work: first, side: "source", marks: true, tell: instead(fetches, `INTERNALDATE "[^"]*"`, `INTERNALDATE "31-Feb-2023 00:00:00 +0000"`)},
	{name: "a date that is NIL", work: first, side: "source", marks: true, tell: instead(fetches, `INTERNALDATE "[^"]*"`, "INTERNALDATE NIL")},
	{name: "a year of seven digits", work: first, side: "source", marks: true, tell: instead(fetches, `INTERNALDATE "[^"]*"`, `INTERNALDATE "01-Jan-9999999 00:00:00 +0000"`)},
	{name: "a date that holds a command", work: first, side: "source", marks: true, tell: instead(fetches, `INTERNALDATE "[^"]*"`, "INTERNALDATE {24}\r\n\"\r\nA1 DELETE INBOX\r\nA2 N")},
	{name: "flags that hold a command", work: first, side: "source", named: "answered a command that was not sent", tell: instead(fetches, `FLAGS \([^)]*\)`, "FLAGS ({24}\r\n\\Seen)\r\nA1 DELETE INBOX\r\n)")},
	{name: "flags with quotes and parentheses", work: first, side: "source", marks: true, tell: instead(fetches, `FLAGS \([^)]*\)`, `FLAGS ("a\"b" "c)" "(d" "")`)},
	{name: "flags that nobody has: \\Recent, \\Forged", work: first, side: "source", tell: instead(fetches, `FLAGS \(`, `FLAGS (\Recent \Forged `)},
	{name: "10,000 flags", work: first, side: "source", marks: true, tell: instead(fetches, `FLAGS \([^)]*\)`, "FLAGS ("+strings.Repeat("k ", 10_000)+"k)")},
	{name: "flags nested 100,000 times", work: first, side: "source", named: "lists nested more than 32 deep", tell: instead(fetches, `FLAGS \([^)]*\)`, "FLAGS "+strings.Repeat("(", 100_000)+strings.Repeat(")", 100_000))},
	{name: "flags that are NIL", work: first, side: "source", marks: true, tell: instead(fetches, `FLAGS \([^)]*\)`, "FLAGS NIL")},
	{name: "flags of all messages, each time others", work: marks, side: "source", marks: true, tell: counts(fetches, `FLAGS \([^)]*\)`, "FLAGS (k%d)")},
	{name: "a sequence number of 0", work: first, side: "source", tell: instead(fetches, `^\* \d+ FETCH`, "* 0 FETCH")},
	{name: "a sequence number beyond 32 bits", work: first, side: "source", named: "holds 6 messages, and lists 0", tell: instead(fetches, `^\* \d+ FETCH`, "* 4294967299 FETCH")},
	{name: "the same sequence number for all", work: first, side: "source", tell: instead(fetches, `^\* \d+ FETCH`, "* 1 FETCH")},

	// What is said of folders.
	{name: "EXISTS 0 of a folder that has messages", work: first, side: "source", tell: instead("EXAMINE", `\* \d+ EXISTS`, "* 0 EXISTS")},
	{name: "EXISTS of 4 billion", work: first, side: "source", named: "holds 4294967295 messages, and lists 6", tell: instead("EXAMINE", `\* \d+ EXISTS`, "* 4294967295 EXISTS")},
	{name: "EXISTS that shrinks", work: first, side: "source", tell: besides(fetches, "* 1 EXISTS\r\n* 0 EXISTS\r\n")},
	{name: "EXPUNGE of what was never there", work: first, side: "source", tell: besides(fetches, strings.Repeat("* 9 EXPUNGE\r\n", 300))},
	{name: "VANISHED of what was never there", work: news, side: "source", tell: besides(fetches, "* VANISHED 1:4294967295\r\n* VANISHED (EARLIER) 4000:4294967295\r\n")},
	{name: "VANISHED of all there is", work: news, side: "source", tell: besides(fetches, "* VANISHED (EARLIER) 1:4294967295\r\n")},
	{name: "UIDVALIDITY 0", work: first, side: "source", named: "no lasting UIDs", tell: all(instead("EXAMINE", `UIDVALIDITY \d+`, "UIDVALIDITY 0"), instead("LIST", `UIDVALIDITY \d+`, "UIDVALIDITY 0"))},
	{name: "no UIDVALIDITY", work: first, side: "source", named: "no lasting UIDs", tell: instead("EXAMINE", `\* OK \[UIDVALIDITY[^\r]*\r\n`, "")},
	{name: "EXAMINE answered for another folder", work: first, side: "source", tell: instead("EXAMINE", `UIDVALIDITY (\d+)`, "UIDVALIDITY 9$1")},
	{name: "EXAMINE answered for another folder, later", work: news, side: "source", tell: instead("EXAMINE", `UIDVALIDITY (\d+)`, "UIDVALIDITY 9$1")},
	{name: "another UIDVALIDITY at each look", work: news, side: "source", named: "gave its messages new UIDs during the pass", tell: all(counts("EXAMINE", `UIDVALIDITY \d+`, "UIDVALIDITY %d"), counts("LIST", `UIDVALIDITY \d+`, "UIDVALIDITY %d"))},
	{name: "a UIDVALIDITY beyond 32 bits", work: first, side: "source", tell: instead("EXAMINE", `UIDVALIDITY \d+`, "UIDVALIDITY 99999999999")},
	{name: "UIDNEXT below what is there", work: news, side: "source", named: "and lists 0", tell: all(instead("EXAMINE", `UIDNEXT \d+`, "UIDNEXT 1"), instead("LIST", `UIDNEXT \d+`, "UIDNEXT 1"))},
	{name: "UIDNEXT of 4 billion", work: first, side: "source", tell: all(instead("EXAMINE", `UIDNEXT \d+`, "UIDNEXT 4294967295"), instead("LIST", `UIDNEXT \d+`, "UIDNEXT 4294967295"))},
	{name: "mod-sequences that go backwards", work: marks, side: "source", tell: all(instead("EXAMINE", `HIGHESTMODSEQ \d+`, "HIGHESTMODSEQ 1"), instead("LIST", `HIGHESTMODSEQ \d+`, "HIGHESTMODSEQ 1"), instead(fetches, `MODSEQ \(\d+\)`, "MODSEQ (1)"))},
	{name: "mod-sequences of 2^63", work: first, side: "source", tell: all(instead("EXAMINE", `HIGHESTMODSEQ \d+`, "HIGHESTMODSEQ 9223372036854775807"), instead("LIST", `HIGHESTMODSEQ \d+`, "HIGHESTMODSEQ 9223372036854775807"))},
	{name: "mod-sequences beyond 64 bits", work: marks, side: "source", tell: all(instead("EXAMINE", `HIGHESTMODSEQ \d+`, "HIGHESTMODSEQ 99999999999999999999"), instead("LIST", `HIGHESTMODSEQ \d+`, "HIGHESTMODSEQ 99999999999999999999"))},
	{name: "READ-WRITE after EXAMINE", work: first, side: "source", tell: instead("EXAMINE", `READ-ONLY`, "READ-WRITE")},

	// Folders and their names.
	{name: "a folder whose name is NIL", work: first, side: "source", named: "open folder NIL: refused", tell: besides("LIST", "* LIST () \"/\" NIL\r\n")},
	{name: "a folder without a name", work: first, side: "source", named: "open folder: refused", tell: besides("LIST", "* LIST () \"/\" \"\"\r\n")},
	{name: "three INBOXes", work: first, side: "source", named: "would become one folder", tell: besides("LIST", "* LIST () \"/\" inbox\r\n* LIST () \"/\" Inbox\r\n")},
	{name: "a folder twice", work: first, side: "source", tell: besides("LIST", "* LIST () \"/\" Work\r\n* LIST (\\Sent) \"/\" Work\r\n")},
	{name: "a folder that isn't there", work: first, side: "source", named: "open folder Ghost: refused", tell: besides("LIST", "* LIST () \"/\" Ghost\r\n* STATUS Ghost (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 5)\r\n")},
	{name: "a folder left out", work: first, side: "source", later: true, tell: instead("LIST", `^\* (LIST|STATUS) [^\r]*Work\b[^\r]*\r\n`, "")},
	{name: "a folder of 100,000 levels", work: first, side: "source", tell: besides("LIST", "* LIST (\\Noselect) \"/\" \""+strings.Repeat("a/", 100_000)+"a\"\r\n")},
	{name: "100,000 folders", work: first, side: "source", named: "beyond all bounds", tell: besides("LIST", manyFolders())},
	{name: "a name that holds a command", work: first, side: "source", tell: besides("LIST", "* LIST (\\Noselect) \"/\" {26}\r\na\"\r\nA1 DELETE INBOX\r\nA2 \"\r\n")},
	{name: "a name with NUL", work: first, side: "source", tell: besides("LIST", "* LIST (\\Noselect) \"/\" {3}\r\na\x00b\r\n")},
	{name: "names in malformed UTF-7", work: first, side: "source", tell: besides("LIST", "* LIST (\\Noselect) \"/\" \"&\"\r\n* LIST (\\Noselect) \"/\" \"&A-\"\r\n* LIST (\\Noselect) \"/\" \"&====-\"\r\n* LIST (\\Noselect) \"/\" \"&2AA-\"\r\n* LIST (\\Noselect) \"/\" \"&AGE-\"\r\n")},
	{name: "names that are no UTF-8", work: first, side: "source", tell: besides("LIST", "* LIST (\\Noselect) \"/\" \"M\xfcll\"\r\n* LIST (\\Noselect) \"/\" \"\xff\xfe\"\r\n")},
	{name: "names that lead out", work: first, side: "source", tell: besides("LIST", "* LIST (\\Noselect) \"/\" \"../../etc/passwd\"\r\n* LIST (\\Noselect) \"/\" \"/etc/passwd\"\r\n* LIST (\\Noselect) \"/\" \"..\"\r\n")},
	{name: "another separator for each folder", work: first, side: "source", tell: besides("LIST", "* LIST (\\Noselect) \".\" \"a.b\"\r\n* LIST (\\Noselect) NIL \"c\"\r\n* LIST (\\Noselect) \"\\\\\" \"d\"\r\n* LIST (\\Noselect) \"long\" \"e\"\r\n")},
	{name: "attributes that are no list", work: first, side: "source", named: "open folder Odd: refused", tell: besides("LIST", "* LIST NIL \"/\" Odd\r\n* LIST \\Noselect \"/\" Odd2\r\n")},
	{name: "numbers of another folder", work: first, side: "source", tell: instead("LIST", `\* STATUS Work `, "* STATUS INBOX ")},
	{name: "negative numbers of messages", work: first, side: "source", tell: instead("LIST", `MESSAGES \d+`, "MESSAGES -1")},
	{name: "numbers twice, others", work: first, side: "source", tell: instead("LIST", `\(MESSAGES (\d+)`, "(MESSAGES 0 MESSAGES 77")},
	{name: "numbers left out", work: first, side: "source", tell: instead("LIST", `(\* STATUS \S+) \([^)]*\)`, "$1 ()")},
	{name: "numbers as of an untouched folder", work: news, side: "source", tell: instead("LIST", `\(MESSAGES[^)]*\)`, "(MESSAGES 0 UIDNEXT 1 UIDVALIDITY 1)")},

	// What the server can do, and whom it answers.
	{name: "a million capabilities", work: first, side: "source", named: "beyond all bounds", tell: instead("CAPABILITY", `^\* CAPABILITY `, "* CAPABILITY "+strings.Repeat("X=1 ", 1_000_000))},
	{name: "capabilities that it hasn't", work: first, side: "source", named: "not known here", tell: instead("CAPABILITY", `^\* CAPABILITY `, "* CAPABILITY QRESYNC BINARY MULTIAPPEND COMPRESS=DEFLATE IMAP4rev2 X-GM-EXT-1 ")},
	{name: "capabilities that it hasn't, at the target", work: first, side: "target", tell: instead("CAPABILITY", `^\* CAPABILITY `, "* CAPABILITY MULTIAPPEND BINARY QRESYNC ")},
	{name: "no capability", work: first, side: "source", named: "did not say what it can do", tell: instead("CAPABILITY", `^\* CAPABILITY .*$`, "* CAPABILITY\r\n")},
	{name: "capabilities taken back", work: first, side: "source", tell: besides("EXAMINE", "* CAPABILITY IMAP4rev1\r\n")},
	{name: "a tag that was never sent", work: first, side: "source", named: "answered a command that was not sent", tell: besides(fetches, "Z99 OK done\r\n")},
	{name: "tags guessed ahead", work: first, side: "source", named: "answered a command that was not sent", tell: besides("EXAMINE", "A8 OK done\r\nA9 OK done\r\nA10 OK done\r\nA11 OK done\r\nA12 OK done\r\n")},
	{name: "each answer twice", work: first, side: "source", named: "answered a command that was not sent", tell: func(_ string, r []byte) []byte {
		if !strings.HasPrefix(string(r), "A") {
			return r
		}
		return append(append([]byte(nil), r...), r...)
	}},
	{name: "answers before the data", work: first, side: "source", tell: besides(fetches, "TAG OK done already\r\n")},
	{name: "go-aheads that nobody waits for", work: first, side: "source", tell: besides(fetches, strings.Repeat("+ go on\r\n", 50))},
	{name: "control characters in its words", work: first, side: "source", named: `\x1b]0;owned`, tell: instead(fetches, `^(A\d+) OK .*$`, "$1 NO \x1b]0;owned\x07\x1b[2J\u202e\u200b\r\n")},
	{name: "searches that nobody asked for", work: first, side: "source", tell: besides(fetches, "* SEARCH 1 2 3\r\n* ESEARCH (TAG \"TAG\") UID ALL 1:4294967295\r\n* SORT 3 2 1\r\n")},
	{name: "a namespace that leads elsewhere", work: first, side: "source", later: true, tell: instead("NAMESPACE", `^\* NAMESPACE .*$`, "* NAMESPACE ((\"../\" \"/\")) ((\"INBOX\" \"/\")) ((\"\" \"/\"))\r\n")},
	{name: "a namespace that is none", work: first, side: "source", named: "has not answered NAMESPACE", tell: instead("NAMESPACE", `^\* NAMESPACE .*$`, "* NAMESPACE 1 2 (3\r\n")},

	// The target.
	{name: "APPENDUID for another UIDVALIDITY", work: first, side: "target", tell: instead("APPEND", `APPENDUID (\d+)`, "APPENDUID 9$1")},
	{name: "APPENDUID 0", work: first, side: "target", tell: instead("APPEND", `APPENDUID (\d+) \d+`, "APPENDUID $1 0")},
	{name: "the same APPENDUID for all", work: first, side: "target", tell: instead("APPEND", `APPENDUID (\d+) \d+`, "APPENDUID $1 1")},
	{name: "APPENDUIDs that are not there", work: first, side: "target", misplaced: true, tell: instead("APPEND", `APPENDUID (\d+) (\d+)`, "APPENDUID $1 77$2")},
	{name: "APPENDUID of the next message", work: news, side: "target", misplaced: true, tell: func(v string, r []byte) []byte {
		return regexp.MustCompile(`APPENDUID (\d+) (\d+)`).ReplaceAllFunc(r, func(m []byte) []byte {
			var validity, uid int
			fmt.Sscanf(string(m), "APPENDUID %d %d", &validity, &uid)
			return fmt.Appendf(nil, "APPENDUID %d %d", validity, uid+1)
		})
	}},
	{name: "APPENDUID of a message that was there", work: news, side: "target", misplaced: true, tell: instead("APPEND", `APPENDUID (\d+) \d+`, "APPENDUID $1 2")},
	{name: "APPENDUID of several for one", work: first, side: "target", tell: instead("APPEND", `APPENDUID (\d+) (\d+)`, "APPENDUID $1 $2:9$2")},
	{name: "APPENDUID of 4 billion for one", work: first, side: "target", tell: instead("APPEND", `APPENDUID (\d+) \d+`, "APPENDUID $1 1:4294967295")},
	{name: "APPENDUID that is nonsense", work: first, side: "target", tell: instead("APPEND", `APPENDUID \d+ \d+`, "APPENDUID x (y")},
	{name: "no APPENDUID", work: first, side: "target", tell: instead("APPEND", `\[APPENDUID \d+ \d+\] `, "")},
	{name: "COPYUID of unequal sets", work: moved, side: "target", tell: instead("UID MOVE", `COPYUID (\d+) (\S+) `, "COPYUID $1 $2,88:99 ")},
	{name: "COPYUID of unequal sets, after the flip", work: after, side: "target", tell: instead("UID MOVE", `COPYUID (\d+) (\S+) `, "COPYUID $1 $2,88:99 ")},
	{name: "COPYUID for another UIDVALIDITY", work: moved, side: "target", tell: instead("UID MOVE", `COPYUID (\d+)`, "COPYUID 9$1")},
	{name: "COPYUID for another UIDVALIDITY, after the flip", work: after, side: "target", tell: instead("UID MOVE", `COPYUID (\d+)`, "COPYUID 9$1")},
	{name: "COPYUID of messages that nobody moved", work: after, side: "target", tell: instead("UID MOVE", `COPYUID (\d+) (\S+) (\S+)\]`, "COPYUID $1 500 1]")},
	{name: "COPYUID of 4 billion", work: after, side: "target", tell: instead("UID MOVE", `COPYUID (\d+) (\S+) (\S+)\]`, "COPYUID $1 1:4294967295 1:4294967295]")},
	{name: "COPYUID to the same place for all", work: after, side: "target", tell: instead("UID MOVE", `COPYUID (\d+) (\S+) (\S+)\]`, "COPYUID $1 $2 1]")},
	{name: "no COPYUID", work: after, side: "target", tell: instead("UID MOVE", `\[COPYUID [^]]*\] ?`, "")},
	{name: "READ-ONLY on SELECT", work: marks, side: "target", named: "opens it for reading only", tell: instead("SELECT", `READ-WRITE`, "READ-ONLY")},
	{name: "no flag can be kept", work: marks, side: "target", marks: true, tell: instead("SELECT", `PERMANENTFLAGS \([^)]*\)`, "PERMANENTFLAGS ()")},
	{name: "flags that can be kept and hold a command", work: first, side: "target", tell: instead("EXAMINE", `PERMANENTFLAGS \([^)]*\)`, `PERMANENTFLAGS (\Seen "a b" a\"b \* A1) `)},
	{name: "INBOX left out at the target", work: first, side: "target", tell: instead("LIST", `^\* (LIST|STATUS) [^\r]*INBOX\b[^\r]*\r\n`, "")},
	{name: "CREATE refused for a folder that is made", work: first, side: "target", tell: instead("CREATE", `^(A\d+) OK .*$`, "$1 NO Mailbox already exists.\r\n")},
	{name: "EXISTS of 4 billion at the target", work: first, side: "target", tell: all(instead("EXAMINE", `\* \d+ EXISTS`, "* 4294967295 EXISTS"), instead("SELECT", `\* \d+ EXISTS`, "* 4294967295 EXISTS"))},
	{name: "dates and flags of others when copies are looked at", work: first, side: "target", tell: all(instead(fetches, `INTERNALDATE "[^"]*"`, `INTERNALDATE " 1-Jan-1980 00:00:00 +0000"`), instead(fetches, `FLAGS \([^)]*\)`, `FLAGS (\Draft)`))},
	{name: "copies that are not there when they are looked at", work: first, side: "target", tell: instead(fetches, `^\* \d+ FETCH .*$`, "")},
	{name: "another UIDVALIDITY at each look at the target", work: news, side: "target", tell: all(counts("EXAMINE", `UIDVALIDITY \d+`, "UIDVALIDITY %d"), counts("SELECT", `UIDVALIDITY \d+`, "UIDVALIDITY %d"), counts("LIST", `UIDVALIDITY \d+`, "UIDVALIDITY %d"))},
	{name: "UIDNEXT 1 at the target", work: news, side: "target", tell: all(instead("LIST", `UIDNEXT \d+`, "UIDNEXT 1"), instead("EXAMINE", `UIDNEXT \d+`, "UIDNEXT 1"), instead("SELECT", `UIDNEXT \d+`, "UIDNEXT 1"))},
	{name: "UIDNEXT of 4 billion at the target", work: news, side: "target", misplaced: true, tell: all(instead("LIST", `UIDNEXT \d+`, "UIDNEXT 4294967295"), instead("EXAMINE", `UIDNEXT \d+`, "UIDNEXT 4294967295"), instead("SELECT", `UIDNEXT \d+`, "UIDNEXT 4294967295"))},
	{name: "a folder at the target that isn't there", work: first, side: "target", tell: besides("LIST", "* LIST () \"/\" Work\r\n* STATUS Work (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 5)\r\n")},
	{name: "go-aheads that come late and twice", work: first, side: "target", tell: instead("APPEND", `^(\+ [^\r]*\r\n)`, "$1$1")},
}

func manyFolders() string {
	var b strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&b, "* LIST (\\Noselect) \"/\" \"f%d\"\r\n", i)
	}
	return b.String()
}

// TestLies: a server says what isn't so, each time for two passes, through the engine with what it has to do. Each pass ends,
// in time and with memory that is bounded; it ends well or with an error that has no control character in it. When the
// server is honest again, every message is at the target once, with its octets, flags and dates, the source is as it
// was, and the manifest agrees.
func TestLies(t *testing.T) {
	t.Parallel()
	rose := imaptest.WatchHeap()
	p := profile{separator: "/", start: double("AUTH=PLAIN SASL-IR",
		"CONDSTORE ENABLE ID IDLE LIST-EXTENDED LIST-STATUS LITERAL- MOVE NAMESPACE SASL-IR SPECIAL-USE UIDPLUS UNSELECT", func(m *imaptest.Manners) { m.Condstore = true })}
	address, add := p.start(t)
	t.Run("all", func(t *testing.T) {
		for i, l := range lies {
			t.Run(l.name, func(t *testing.T) {
				t.Parallel()
				l.told(t, p, address, add, i)
			})
		}
	})
	most := rose()
	t.Logf("%d lies, at most %d MiB more of memory", len(lies), most>>20)
	if most > 400<<20 { // what runs beside it is in it
		t.Errorf("memory rose by %d MiB", most>>20)
	}
	inflicted.Count(t, "protocol lies", len(lies))
}

// hasty waits hardly at all.
type hasty struct{ wallClock }

func (hasty) Sleep(ctx context.Context, d time.Duration) error { return wallClock{}.Sleep(ctx, d/200) }

func (l lie) told(t *testing.T, p profile, address string, add func(string), number int) {
	var w task
	for _, x := range works {
		if x.name == l.work {
			w = x
		}
	}
	src := server{address: address, account: fmt.Sprintf("u%d@acme.example", 2*number)}
	dst := server{address: address, account: fmt.Sprintf("u%d@acme.example", 2*number+1)}
	add(src.account)
	add(dst.account)
	c := &changes{t: t, p: p, src: src, dst: dst}
	c.fill(src, startMails()...)
	meddlers := map[string]*imaptest.Meddler{"source": imaptest.NewMeddler(t, address), "target": imaptest.NewMeddler(t, address)}
	b := newBench(t, src, dst, t.TempDir(), func(s, d *plan.Host) {
		s.Port, d.Port = meddlers["source"].Port(), meddlers["target"].Port()
		s.Limits.ConnectionsPerMailbox, d.Limits.ConnectionsPerMailbox = 2, 2
		d.Limits.DoubtGrace = 20 * time.Millisecond
		s.Limits.StallTimeout, d.Limits.StallTimeout = time.Second, time.Second
	})
	b.engine.o.Clock = hasty{}
	if l.work == moved {
		b.mailbox.Deletes = "mirror"
	}
	if w.before != nil {
		b.pass(providers.BeforeFlip)
		w.before(c)
	}
	before := src.read(t)
	var told atomic.Int64
	meddlers[l.side].Lie(func(verb string, response []byte) []byte {
		said := l.tell(verb, response)
		if string(said) != string(response) {
			told.Add(1)
		}
		return said
	})
	var words []string
	for range 2 {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("no end in sight"))
		r, err := b.engine.pass(ctx, providers.PassSpec{Mailbox: b.mailbox, Mode: w.mode}, b.source, b.to)
		if ctx.Err() != nil {
			t.Fatalf("still at work after a minute: %v", err)
		}
		cancel()
		words = append(words, r.Refusals...) // unescaped
		if err != nil {
			text := err.Error()
			words = append(words, text)
			if len(text) > 4000 || strings.ContainsAny(text, "\x00\x07\x1b\r") || strings.Contains(text, "\u202e") || strings.Contains(text, password) {
				t.Errorf("an error of %d octets: %.2000q", len(text), text)
			}
		}
	}
	meddlers[l.side].Lie(nil)
	if told.Load() == 0 {
		t.Fatal("the server never lied")
	}
	c.unmarked = l.marks
	if all := strings.Join(words, "\n"); l.named == "" {
		if all != "" {
			t.Errorf("the passes told %.400q", all)
		}
		if !l.later {
			c.compare(b, w)
		}
	} else if !strings.Contains(all, l.named) {
		t.Errorf("the passes told %.400q, want %q", all, l.named)
	}
	for range 2 {
		if _, err := b.engine.pass(t.Context(), providers.PassSpec{Mailbox: b.mailbox, Mode: w.mode, Asked: true}, b.source, b.to); err != nil {
			t.Fatalf("an honest server: %v", err)
		}
	}
	b.idle(w.mode)
	if lines := imaptest.Diff(before, src.read(t), nil); len(lines) > 0 {
		t.Errorf("the source is another one: %q", lines)
	}
	c.compare(b, w)
	comparison, err := b.engine.compare(t.Context(), b.mailbox, b.source, b.to)
	if err != nil {
		t.Fatal(err)
	}
	if len(comparison.Missing) != c.gone && !l.misplaced {
		t.Errorf("the manifest misses %q", comparison.Missing)
	}
}
