package imap

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/imap/wire"
)

func TestUTF7(t *testing.T) {
	for name, encoded := range map[string]string{
		"Gelöscht":           "Gel&APY-scht",
		"Éléments envoyés":   "&AMk-l&AOk-ments envoy&AOk-s",
		"Entwürfe":           "Entw&APw-rfe",
		"A & B":              "A &- B",
		"日本語":                "&ZeVnLIqe-",
		"~peter/mail/台北/日本語": "~peter/mail/&U,BTFw-/&ZeVnLIqe-",
		"📬":                  "&2D3c7A-",
		"":                   "",
		"tab\t":              "tab&AAk-",
	} {
		if got := encodeUTF7(name); got != encoded {
			t.Errorf("encode %q: %q, want %q", name, got, encoded)
		}
		if got, err := decodeUTF7(encoded); got != name || err != nil {
			t.Errorf("decode %q: %q, %v", encoded, got, err)
		}
	}
	for _, bad := range []string{"R&D", "&", "&A-", "&AP-", "&AMk", "&2D0-", "&3Kw2PQ-", "M\xfcll", "&AM\n k-", "&AMk/-"} {
		if got, err := decodeUTF7(bad); err == nil {
			t.Errorf("decode %q: %q", bad, got)
		}
	}
	for odd, want := range map[string]string{"&AGE-": "a", "&AOQ-&AOQ-": "ää", "Müll": "Müll"} {
		if got, err := decodeUTF7(odd); err != nil || got != want {
			t.Errorf("decode %q: %q, %v", odd, got, err)
		}
	}
}

func FuzzUTF7(f *testing.F) {
	for _, s := range []string{"a&b", "ü", "日本語📬", "&AMk-", "&-", "\ufffd"} {
		f.Add(s)
	}
	faults.Fuzz(f, func(t *testing.T, s string) {
		if utf8.ValidString(s) {
			encoded := encodeUTF7(s)
			if got, err := decodeUTF7(encoded); err != nil || got != s {
				t.Fatalf("%q becomes %q becomes %q, %v", s, encoded, got, err)
			}
			for _, b := range []byte(encoded) {
				if b < 0x20 || b > 0x7e {
					t.Fatalf("%q is not ASCII", encoded)
				}
			}
		}
		if name, err := decodeUTF7(s); err == nil && !utf8.ValidString(name) {
			t.Fatalf("%q decodes to %q", s, name)
		}
	})
}

func TestNames(t *testing.T) {
	slash := &Session{delimiter: "/"}
	courier := &Session{delimiter: ".", prefix: "INBOX."}
	flat := &Session{}
	for _, test := range []struct {
		s         *Session
		raw, name string
	}{
		{slash, "INBOX", "INBOX"},
		{slash, "a/b", "a/b"},
		{slash, "INBOX/b", "INBOX/b"},
		{slash, "v1.2", "v1.2"},
		{slash, "Entw&APw-rfe/A &- B", "Entwürfe/A & B"},
		{slash, "either&IhU-or", "either∕or"},
		{courier, "INBOX", "INBOX"},
		{courier, "INBOX.Sent", "Sent"},
		{courier, "INBOX.a.b", "a/b"},
		{courier, "INBOX.either/or", "either∕or"},
		{courier, "INBOX.v1&ICQ-2", "v1.2"},
		{courier, "INBOX.INBOX.x", "INBOX/x"},
		{flat, "a.b", "a.b"},
	} {
		if got := test.s.decodeName(test.raw); got != test.name {
			t.Errorf("%q is named %q, want %q", test.raw, got, test.name)
		}
		if got := test.s.WireName(test.name); got != test.raw {
			t.Errorf("%q goes as %q, want %q", test.name, got, test.raw)
		}
	}
	for raw, want := range map[string]string{"Inbox": "INBOX", "inbox/x": "INBOX/x", "R&D": "R&D", "M\xfcll": "Müll"} {
		if got := slash.decodeName(raw); got != want {
			t.Errorf("%q is named %q, want %q", raw, got, want)
		}
	}
	if got := flat.WireName("a/b"); got != "a_b" {
		t.Errorf("flat: %q", got)
	}
}

func TestDates(t *testing.T) {
	want := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, s := range []string{
		" 2-Jan-2020 03:04:05 +0000", "02-JAN-2020 04:04:05 +0100", "2-Jan-2020 03:04:05 GMT", "1-Jan-2020 22:04:05 EST",
		"02-Jan-2020 08:34:05 +0530", "2-Jan-2020 03:04:05",
	} {
		if got := parseDate(s); !got.Equal(want) {
			t.Errorf("%q is %v", s, got)
		}
	}
	for _, s := range []string{"", "NIL", "32-Jan-2020 03:04:05 +0000", "2-Jan-2020 03:04:77 +0000", "yesterday"} {
		if got := parseDate(s); !got.IsZero() {
			t.Errorf("%q is %v", s, got)
		}
	}
	for want, in := range map[string]time.Time{
		" 2-Jan-2020 08:34:05 +0530": want.In(time.FixedZone("", 19800)),
		"12-Jan-2020 03:04:05 +0000": want.AddDate(0, 0, 10),
		" 2-Jan-2020 03:04:05 +0000": want.In(time.FixedZone("", 3601)),
		"":                           {},
	} {
		if got := formatDate(in); got != want {
			t.Errorf("%v is sent as %q, want %q", in, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		op, kind, text string
		want           providers.Reason
		wait           time.Duration
	}{
		{"append", "NO", "[OVERQUOTA] Quota exceeded (mailbox for user is full)", providers.OverQuota, 0},
		{"append", "NO", "[OVERQUOTA] Account exceeded command or bandwidth limits.", providers.Throttled, time.Hour},
		{"append", "NO", "Request is throttled. Suggested Backoff Time: 299609 milliseconds", providers.Throttled, 299609 * time.Millisecond},
		{"fetch", "BAD", "Request is throttled. Suggested Backoff Time: 5 milliseconds", providers.Throttled, 5 * time.Millisecond},
		{"log in", "NO", "[AUTHENTICATIONFAILED] Request is throttled. Suggested Backoff Time: 5 milliseconds", providers.Throttled, 5 * time.Millisecond},
		{"log in", "NO", "[AUTHENTICATIONFAILED] Invalid credentials (Failure)", providers.Authentication, 0},
		{"log in", "NO", "AUTHENTICATE failed.", providers.Authentication, 0},
		{"log in", "NO", "something else", providers.Authentication, 0},
		{"log in", "BAD", "Command Argument Error. 12", providers.Authentication, 0},
		{"log in", "NO", "[UNAVAILABLE] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)", providers.TooMany, 0},
		{"log in", "NO", "[UNAVAILABLE] Temporary authentication failure. [host:2020]", providers.Throttled, 0},
		{"log in", "NO", "[LIMIT] Too many simultaneous connections", providers.TooMany, 0},
		{"log in", "NO", "[ALERT] Too many simultaneous connections. (Failure)", providers.TooMany, 0},
		{"log in", "NO", "[ALERT] Please log in via your web browser: https://support.google.com/", providers.Authentication, 0},
		{"append", "NO", "[TOOBIG] x", providers.TooLarge, 0},
		{"append", "NO", "Maximum size of appendable message has been exceeded", providers.TooLarge, 0},
		{"append", "NO", "Server Unavailable. 15", providers.OverQuota, 0},
		{"append", "BAD", "Command Argument Error. 11", providers.BadMessage, 0},
		{"append", "NO", "Message contains NUL characters", providers.BadMessage, 0},
		{"append", "NO", "Message contains invalid header", providers.BadMessage, 0},
		{"append", "NO", "Unexpected exception (took 3548 ms)", providers.Throttled, 0},
		{"append", "NO", "[SERVERBUG] Internal error occurred.", providers.Throttled, 0},
		{"append", "NO", "[TRYCREATE] Mailbox doesn't exist: x", providers.NotFound, 0},
		{"append", "NO", "some text", providers.Refused, 0},
		{"create", "NO", "Mailbox already exists.", providers.Conflict, 0},
		{"select", "BAD", "User is authenticated but not connected.", providers.Authentication, 0},
		{"stay", "BYE", "Session invalidated - AccessTokenExpired", providers.Authentication, 0},
	} {
		e := refusal(test.op, "x", wire.ParseStatus(test.kind, test.text))
		if e.Reason != test.want || e.Wait != test.wait || e.Server != test.text {
			t.Errorf("%s %s: %s, wait %v, %q; want %s", test.op, test.text, e.Reason, e.Wait, e.Server, test.want)
		}
	}
}

func TestSets(t *testing.T) {
	if got := FormatSet([]uint32{9, 1, 3, 2, 2, 7}); got != "1:3,7,9" {
		t.Error(got)
	}
	for _, bad := range []string{"", "0", "a", "1:", "1,,2", "99999999999"} {
		if _, err := parseSet(bad); err == nil {
			t.Errorf("%q is taken for a set", bad)
		}
	}
	if spans, _ := parseSet("5:*"); contains(spans, 4) || !contains(spans, 5) {
		t.Error("5:* begins at 5")
	}
	if _, err := expand("1:4000000000"); err == nil {
		t.Error("a set of four thousand million is listed one by one")
	}
	var uids []uint32
	for i := range uint32(20000) {
		uids = append(uids, 3*i+1)
	}
	long := FormatSet(uids)
	parts := splitSet(long)
	for _, p := range parts {
		if len(p) > commandLine {
			t.Errorf("a set of %d octets", len(p))
		}
	}
	if strings.Join(parts, ",") != long || len(parts) < 10 {
		t.Errorf("%d parts that are not the whole", len(parts))
	}
}

func entries(names ...string) (list []ListEntry) {
	for _, n := range names {
		name, use, _ := strings.Cut(n, "=")
		list = append(list, ListEntry{Raw: name, Name: canonical(name), SpecialUse: use, Selectable: use != "none"})
	}
	return list
}

func TestMapFolders(t *testing.T) {
	dovecot := entries("INBOX", `Sent=\Sent`, `Drafts=\Drafts`, `Trash=\Trash`, `Junk=\Junk`)
	exchange := entries("Inbox", `Sent Items=\Sent`, `Drafts=\Drafts`, `Deleted Items=\Trash`, `Junk Email=\Junk`, "Archive")
	for _, test := range []struct {
		name           string
		source, target []ListEntry
		rules          plan.FolderRules
		want           string // source>target, + = has to be made
		fails          string
	}{
		{"by attribute, with what is below", entries("INBOX", `Gesendete Objekte=\Sent`, "Gesendete Objekte/2020", `Papierkorb=\Trash`), exchange, plan.FolderRules{},
			"INBOX>INBOX Gesendete Objekte>Sent Items Gesendete Objekte/2020>+Sent Items/2020 Papierkorb>Deleted Items", ""},
		{"by name", entries("inbox", "Éléments envoyés", "Brouillons", "Corbeille", "Courrier indésirable", "Vacances"), dovecot, plan.FolderRules{},
			"INBOX>INBOX Éléments envoyés>Sent Brouillons>Drafts Corbeille>Trash Courrier indésirable>Junk Vacances>+Vacances", ""},
		{"by name at both", entries("Posta inviata"), entries("INBOX", "Verzonden items"), plan.FolderRules{}, "Posta inviata>Verzonden items", ""},
		{"below INBOX", entries("INBOX/Enviados"), dovecot, plan.FolderRules{}, "INBOX/Enviados>Sent", ""},
		{"an attribute beats a name", entries("Sent", `Wysłane=\Sent`), exchange, plan.FolderRules{}, "Sent>+Sent Wysłane>Sent Items", ""},
		{"the same name beats another one", entries("Sent", "Sent Items"), exchange, plan.FolderRules{}, "Sent>+Sent Sent Items>Sent Items", ""},
		{"deeper ones are ordinary", entries("Kunden/Gesendet"), dovecot, plan.FolderRules{}, "Kunden/Gesendet>+Kunden/Gesendet", ""},
		{"nothing there yet", entries(`Gesendet=\Sent`), entries("INBOX"), plan.FolderRules{}, "Gesendet>+Gesendet", ""},
		{"views are ordinary", entries(`All Mail=\All`), entries("INBOX", `Everything=\All`), plan.FolderRules{}, "All Mail>+All Mail", ""},
		{"map", entries(`Gesendet=\Sent`, "Gesendet/Alt", "Gesendet/Alt/x", "Alt"), dovecot,
			plan.FolderRules{Map: map[string]string{"Gesendet/Alt": "Archiv/Gesendet", "Alt": "Sent"}}, "", "Alt"},
		{"map, subfolders follow", entries(`Gesendet=\Sent`, "Gesendet/Alt", "Gesendet/Alt/x", "Altes"), dovecot,
			plan.FolderRules{Map: map[string]string{"Gesendet/Alt": "Archiv/Gesendet"}},
			"Gesendet>Sent Gesendet/Alt>+Archiv/Gesendet Gesendet/Alt/x>+Archiv/Gesendet/x Altes>+Altes", ""},
		{"include and exclude", entries("INBOX", "a", "a/b", "c"), dovecot, plan.FolderRules{Include: []string{"inbox", "a*"}, Exclude: []string{"*/b"}},
			"INBOX>INBOX a>+a a/b>- c>-", ""},
		{"not selectable", entries("up=none", "up/x"), dovecot, plan.FolderRules{}, "up>- up/x>+up/x", ""},
		{"not selectable at the target", entries("up"), entries("up=none"), plan.FolderRules{}, "up>+up", ""},
		{"case, kept apart", entries("a", "A"), dovecot, plan.FolderRules{}, "a>+a A>+A", ""},
		{"case, folded", entries("a", "A"), exchange, plan.FolderRules{}, "", `"A" = "a (2)"`},
		{"Unicode form, folded", entries("\u00fc", "u\u0308"), exchange, plan.FolderRules{}, "", "become one folder"},
		{"blanks, folded", entries("a", "a "), exchange, plan.FolderRules{}, "", "become one folder"},
		{"the target's spelling", entries("archive"), exchange, plan.FolderRules{}, "archive>Archive", ""},
		{"a special folder and a name", entries(`Entwürfe=\Drafts`, "Drafts"), dovecot, plan.FolderRules{}, "", `"Drafts" = "Drafts (2)"`},
		{"excluded ones don't collide", entries("a", "A"), exchange, plan.FolderRules{Exclude: []string{"A"}}, "a>+a A>-", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			mappings, err := MapFolders(test.source, test.target, test.rules)
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Fatalf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range mappings {
				to := m.Target
				if m.Create {
					to = "+" + to
				}
				if m.Excluded {
					to = "-"
				}
				got = append(got, m.Source.Name+">"+to)
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("\n got %s\nwant %s", strings.Join(got, " "), test.want)
			}
		})
	}
}

func TestGlob(t *testing.T) {
	for pattern, names := range map[string]string{"*": "a a/b", "a*": "a a/b ab", "*/b": "a/b", "a?b": "a/b axb", "a": "a", "*a*b*": "axxb cab", "ü?": "üö"} {
		for name := range strings.FieldsSeq(names) {
			if !glob(pattern, name) {
				t.Errorf("%q doesn't match %q", pattern, name)
			}
		}
	}
	for pattern, name := range map[string]string{"a": "ab", "a*b": "ac", "?": "", "a/b*": "a", "": "a"} {
		if glob(pattern, name) {
			t.Errorf("%q matches %q", pattern, name)
		}
	}
}
