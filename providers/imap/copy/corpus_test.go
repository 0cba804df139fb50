package copy

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// oddMail is a message of a kind that has a name, for people who read a failure.
type oddMail struct {
	imaptest.GeneratedMail
	kind string
}

// odd are messages as old mailboxes have them, with what no grammar allows: each kind several times, identical octets with other
// flags and dates, and the same ones again.
func odd() (list []oddMail) {
	bodies := map[string]string{
		"empty body":            "Subject: empty\r\n\r\n",
		"no header":             "\r\nonly a body\r\n",
		"no empty line":         "Subject: no empty line\r\nX: y\r\n",
		"no line end":           "Subject: x\r\n\r\nno line end",
		"one octet":             "x",
		"line ends only":        "\r\n\r\n\r\n",
		"NUL":                   "Subject: nul\r\n\r\nbefore\x00after\r\n",
		"bare LF":               "Subject: lf\n\nline\nline\n",
		"bare CR":               "Subject: cr\r\n\r\na\rb\rc\r\n",
		"mixed line ends":       "Subject: mixed\r\nX: y\n\r\na\r\nb\nc\r",
		"8-bit header":          "Subject: Gr\xfc\xdfe\r\nFrom: M\xfcller <a@b>\r\n\r\n\xe4\xf6\xfc\r\n",
		"UTF-8 header":          "Subject: Grüße 日本 📬\r\n\r\nGrüße\r\n",
		"all octets":            "Subject: all\r\n\r\n" + every() + "\r\n",
		"line of 1 MB":          "Subject: long\r\n\r\n" + strings.Repeat("0123456789", 100_000) + "\r\n",
		"header of 100 KB":      "Subject: " + strings.Repeat("word ", 20_000) + "\r\n\r\nbody\r\n",
		"folded Message-ID":     "Message-ID:\r\n <folded@example.net>\r\n\r\nbody\r\n",
		"two Message-IDs":       "Message-ID: <a@example.net>\r\nMessage-ID: <b@example.net>\r\n\r\nbody\r\n",
		"shared Message-ID":     "Message-ID: <same@example.net>\r\n\r\none body\r\n",
		"shared, another body":  "Message-ID: <same@example.net>\r\n\r\nanother body\r\n",
		"shared, same size":     "Message-ID: <same@example.net>\r\n\r\nzwo body\r\n",
		"From line":             "From somebody Thu Jan  1 00:00:00 1970\r\nSubject: mbox\r\n\r\nFrom here\r\n.\r\n..\r\n",
		"looks like IMAP":       "Subject: ) {10}\r\n\r\n* 1 FETCH (BODY[] {5}\r\nA1 OK\r\n+ go on\r\n",
		"date of 1601":          "Date: Mon, 01 Jan 1601 00:00:00 +0000\r\n\r\nbody\r\n",
		"nested rfc822":         nested(30),
		"5,000 levels":          nested(5000),
		"boundary never closed": "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nopen\r\n",
		"winmail.dat":           "Content-Type: application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: base64\r\n\r\neJ8+IgAA\r\n",
		"nothing but a header":  "Subject: only a header\r\n",
		"header of blanks":      " \r\n\r\nbody\r\n",
		"8-bit Message-ID":      "Message-ID: <\xfc\xe4@example.net>\r\n\r\nbody\r\n",
		"empty Message-ID":      "Message-ID:\r\nSubject:\r\n\r\nbody\r\n",
		"date of 2999":          "Date: Fri, 31 Dec 2999 23:59:59 +1400\r\n\r\nbody\r\n",
		"ISO-2022-JP":           "Subject: =?iso-2022-jp?B?GyRCRnxLXBsoQg==?=\r\nContent-Type: text/plain; charset=iso-2022-jp\r\n\r\n\x1b$BF|K\\\x1b(B\r\n",
		"format=flowed":         "Content-Type: text/plain; format=flowed; delsp=yes\r\n\r\nquoted \r\n> text \r\n-- \r\n",
		"field without a name":  "Subject: x\r\n: nothing\r\nX-Y z: bad\r\n\r\nbody\r\n",
		"tabs and form feeds":   "Subject:\ttabs\r\n\t and\x0c feeds\r\n\r\n\tbody\x0c\r\n",
		"blank lines first":     "\r\n\r\nSubject: late\r\n\r\nbody\r\n",
		"line of 10,000 blanks": "Subject: blanks\r\n\r\n" + strings.Repeat(" ", 10_000) + "\r\n",
		"signed":                "Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=s\r\n\r\n--s\r\n\r\n trailing blanks  \r\n--s--\r\n",
	}
	flags := [][]string{{}, {`\Seen`}, {`\Deleted`, `\Draft`}, {`\Answered`, `\Flagged`, `\Seen`}, {"$MDNSent", "$Forwarded"}, {"NonJunk", "a", "A-1_2.3", "x+y&z", "key:word"},
		{"$Junk", "$NotJunk", "$Phishing", "$label1", "0", "~!@#$^&=|;<>?/'`"}, {strings.Repeat("long", 15), `\Flagged`}}
	dates := []time.Time{
		time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC), time.Date(2038, 1, 19, 3, 14, 6, 0, time.UTC), time.Date(2024, 2, 29, 23, 59, 60, 0, time.FixedZone("", -12600)),
		time.Date(2021, 3, 28, 2, 30, 0, 0, time.FixedZone("", 3600)), time.Date(1999, 12, 31, 23, 59, 59, 0, time.FixedZone("", 50400)),
	}
	// Dovecot keeps these as other dates, and not the same ones on each way: the messages have to arrive all the same.
	beyond := []time.Time{time.Date(1904, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC),
		time.Date(2106, 2, 7, 6, 28, 16, 0, time.UTC), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)}
	names := make([]string, 0, len(bodies))
	for name := range bodies {
		names = append(names, name)
	}
	slices.Sort(names)
	for round := range 10 {
		for i, name := range names {
			if round > 1 && len(bodies[name]) > 50_000 {
				continue
			}
			list = append(list, oddMail{imaptest.GeneratedMail{
				Folder: []string{"INBOX", "Odd/Ünd so", "Odd/twins"}[(round+i)%3], Octets: []byte(bodies[name]),
				Flags: flags[(round+i*5)%len(flags)], Date: dates[(round*4+i)%len(dates)],
			}, name})
		}
	}
	for i, date := range beyond {
		list = append(list, oddMail{imaptest.GeneratedMail{Folder: beyondFolder, Date: date, Octets: fmt.Appendf(nil, "Subject: date %d\r\n\r\nbody\r\n", i)},
			date.Format("INTERNALDATE of 2006")})
	}
	return list
}

// beyondFolder has messages with dates that servers don't keep.
const beyondFolder = "Odd/dates"

func every() string {
	b := make([]byte, 0, 256)
	for i := range 256 {
		if i != '\r' && i != '\n' {
			b = append(b, byte(i))
		}
	}
	return string(b)
}

func nested(depth int) string {
	return strings.Repeat("Content-Type: message/rfc822\r\n\r\n", depth) + "Subject: inside\r\n\r\nbody\r\n"
}

// delivered tells what was delivered where: the kind of a message by its folder and UID.
type delivered map[string]string

func place(folder string, uid uint32) string { return fmt.Sprintf("%s %d", folder, uid) }

// deliver appends mails as they are, which go-imap's client would not let us do with all of them. What the server doesn't take is
// counted by kind.
func deliver(t *testing.T, e *end, mails []oddMail) (taken delivered, refused map[string]int) {
	t.Helper()
	s, err := e.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	taken, refused = delivered{}, map[string]int{}
	made := map[string]bool{"INBOX": true}
	for _, m := range mails {
		raw := s.WireName(m.Folder)
		if !made[raw] {
			made[raw] = true
			if err := s.Create(t.Context(), raw, ""); err != nil {
				t.Fatal(err)
			}
		}
		wait, err := s.StartAppend(t.Context(), raw, []imap.Message{{Flags: m.Flags, InternalDate: m.Date, Size: int64(len(m.Octets)), Body: bytes.NewReader(m.Octets)}})
		if err != nil {
			t.Fatal(err)
		}
		a, err := wait()
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case !a[0].Done:
			refused[m.kind]++
		case a[0].UID == 0:
			t.Fatal("the server doesn't tell where it put a message")
		default:
			taken[place(m.Folder, a[0].UID)] = m.kind
		}
	}
	return taken, refused
}
