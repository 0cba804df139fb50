package imap

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mxodus/mxodus/plan"
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
