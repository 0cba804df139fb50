package imaptest

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// GeneratedMail is a message of the corpus.
type GeneratedMail struct {
	Folder string // UTF-8, "/" between levels
	Octets []byte
	Flags  []string
	Date   time.Time
}

// Folders are those of the corpus: nested, with special use, and with characters that
// modified UTF-7 and quoting are for.
var Folders = []string{
	"INBOX", "Sent", "Drafts", "Trash", "Archive", "Archive/2024", "Archive/2024/Q1",
	"Projekte/Müller & Söhne", "Éléments/été", "日本語/メール", "Emoji 📬", "100% sure", `Quote " and \ back`, "Ünï/A & B",
	"[brackets] (parens) {braces}", " leading", "UPPER/lower", "upper/LOWER",
}

// Generate makes n messages from a seed, the same ones each time: ordinary
// mail, and the odd kinds that are in every old mailbox (8-bit headers, no
// header, no body, no empty line, long lines, nested parts, twins, Message-IDs that are missing
// or shared, attachments up to 300 KB). All lines end in CRLF and none holds
// NUL, which servers change on arrival.
func Generate(seed uint64, n int) []GeneratedMail {
	g := &generator{rand.New(rand.NewPCG(seed, 2)), seed}
	mails := make([]GeneratedMail, 0, n)
	for i := range n {
		m := GeneratedMail{Folder: Folders[g.skewed(len(Folders))], Flags: g.flags(), Date: g.date()}
		kind := g.IntN(100)
		switch {
		case i > 0 && kind < 4: // an identical twin, in the same folder
			twin := mails[g.IntN(i)]
			m.Folder, m.Octets = twin.Folder, twin.Octets
			if g.IntN(2) == 0 {
				m.Flags, m.Date = twin.Flags, twin.Date
			}
		case i > 0 && kind < 7: // another body under the same header
			head, _, _ := bytes.Cut(mails[g.IntN(i)].Octets, []byte("\r\n\r\n"))
			m.Octets = slices.Concat(head, []byte("\r\n\r\n"), g.text(3))
		default:
			m.Octets = g.message(i, kind)
		}
		mails = append(mails, m)
	}
	return mails
}

type generator struct {
	*rand.Rand
	seed uint64
}

// skewed prefers small numbers, as folders are of very different sizes.
func (g *generator) skewed(n int) int { return min(g.IntN(n), g.IntN(n)) }

func (g *generator) flags() []string {
	all := []string{`\Seen`, `\Answered`, `\Flagged`, `\Draft`, `\Deleted`, "$Forwarded", "$Label1", "$MDNSent", "Work", "NonJunk"}
	odds := []int{70, 20, 8, 3, 1, 5, 5, 3, 4, 10}
	flags := []string{}
	for i, f := range all {
		if g.IntN(100) < odds[i] {
			flags = append(flags, f)
		}
	}
	return flags
}

// date is between 1996 and 2026, in whole seconds, in zones with half and quarter hours too.
func (g *generator) date() time.Time {
	zones := []int{0, 3600, 7200, -18000, 19800, 20700, -12600, 46800}
	zone := time.FixedZone("", zones[g.IntN(len(zones))])
	return time.Unix(820454400+g.Int64N(967_000_000), 0).In(zone)
}

func (g *generator) message(i, kind int) []byte {
	head := g.head(i)
	switch {
	case kind < 8:
		return slices.Concat([]byte("\r\n"), g.text(4)) // no header at all
	case kind < 10:
		return []byte(head + "\r\n") // no body
	case kind < 12:
		return []byte("Subject: no empty line\r\nX-Number: " + fmt.Sprint(i) + "\r\n")
	case kind < 15:
		return []byte(head + "Subject: Gr\xfc\xdfe aus M\xfcnchen\r\nX-Raw: \xff\xfe\r\n\r\n8-bit: \xe4\xf6\xfc\xdf\r\n")
	case kind < 18:
		return []byte(head + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße, 日本語, 📬\r\n" + string(g.text(5)))
	case kind < 21:
		return []byte(head + "Subject: long line\r\n\r\n" + strings.Repeat("0123456789", 100+g.IntN(2000)) + "\r\n")
	case kind < 24:
		return g.nested(head, 1+g.IntN(4))
	case kind < 34:
		return g.attachment(head, 2_000+g.IntN(40_000))
	case kind < 36:
		return g.attachment(head, 100_000+g.IntN(200_000))
	case kind < 40:
		// Looks like IMAP: nothing of this may reach a command line.
		return []byte(head + "Subject: * OK [ALERT] {10}\r\n\r\n* 1 FETCH (UID 1 BODY[] {5}\r\nA1 OK done\r\n)\r\n+ go on\r\n")
	}
	return []byte(head + "Subject: =?utf-8?q?Nachricht_" + fmt.Sprint(i) + "?=\r\n" +
		"Content-Type: text/plain\r\n\r\n" + string(g.text(1+g.IntN(60))))
}

// head is a header without its empty line. One in twelve has no Message-ID, one in fifteen shares one.
func (g *generator) head(i int) string {
	h := fmt.Sprintf("Received: from mx%d.example.net by mail.example.com with ESMTPS;\r\n\t%s\r\n", g.IntN(9), g.date().Format(time.RFC1123Z))
	h += fmt.Sprintf("From: =?utf-8?q?S=C3=B6nke?= <sender%d@example.net>\r\nTo: person%d@example.com, list@example.com\r\n", g.IntN(50), g.IntN(9))
	if g.IntN(3) == 0 {
		h += fmt.Sprintf("Delivered-To: alias%d@example.com\r\n", g.IntN(4))
	}
	h += "Date: " + g.date().Format(time.RFC1123Z) + "\r\n"
	switch n := g.IntN(60); {
	case n < 5:
	case n < 9:
		h += "Message-ID: <same@example.net>\r\n"
	default:
		h += fmt.Sprintf("Message-ID: <%d.%d@example.net>\r\n", g.seed, i)
	}
	return h
}

func (g *generator) text(lines int) []byte {
	words := strings.Fields("lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore magna aliqua From .")
	var b bytes.Buffer
	for range lines {
		for range 1 + g.IntN(12) {
			b.WriteString(words[g.IntN(len(words))] + " ")
		}
		fmt.Fprintf(&b, "%d\r\n", g.IntN(1e9))
	}
	return b.Bytes()
}

func (g *generator) nested(head string, depth int) []byte {
	body := "Content-Type: text/plain\r\n\r\n" + string(g.text(3))
	for i := range depth {
		body = fmt.Sprintf("Content-Type: multipart/mixed; boundary=\"b%d\"\r\n\r\n--b%d\r\n%s\r\n--b%d\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\n%s\r\n--b%d--\r\n", i, i, body, i, g.text(1), i)
	}
	return []byte(head + "MIME-Version: 1.0\r\n" + body)
}

func (g *generator) attachment(head string, size int) []byte {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(g.Uint32())
	}
	code := base64.StdEncoding.EncodeToString(data)
	var b bytes.Buffer
	b.WriteString(head + "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nsee below\r\n--x\r\n" +
		"Content-Type: application/octet-stream; name=\"=?utf-8?q?Rechnung_=C3=BC.pdf?=\"\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	for len(code) > 0 {
		n := min(76, len(code))
		b.WriteString(code[:n] + "\r\n")
		code = code[n:]
	}
	b.WriteString("--x--\r\n")
	return b.Bytes()
}

// Fill appends mails to an account by go-imap's client and makes their folders. separator
// and prefix are those of the server's names.
func Fill(tb TB, address string, config *tls.Config, user, password, separator, prefix string, mails []GeneratedMail) {
	tb.Helper()
	c, err := connect(address, config, user, password)
	if err != nil {
		tb.Fatalf("fill %s: %v", user, err)
	}
	defer c.Close()
	made := map[string]bool{"INBOX": true}
	var sent []*imapclient.AppendCommand
	var first error
	wait := func() {
		for _, cmd := range sent {
			if _, err := cmd.Wait(); err != nil && first == nil {
				first = err
			}
		}
		sent = sent[:0]
	}
	for _, m := range mails {
		name := m.Folder
		if name != "INBOX" {
			name = prefix + strings.ReplaceAll(name, "/", separator)
		}
		if !made[name] {
			made[name] = true
			wait()
			c.Create(name, nil).Wait() // it may be there already; if it isn't, APPEND says so
		}
		flags := make([]imap.Flag, len(m.Flags))
		for i, f := range m.Flags {
			flags[i] = imap.Flag(f)
		}
		cmd := c.Append(name, int64(len(m.Octets)), &imap.AppendOptions{Flags: flags, Time: m.Date})
		if _, err := cmd.Write(m.Octets); err != nil {
			tb.Fatalf("fill %s: %v", name, err)
		}
		if err := cmd.Close(); err != nil {
			tb.Fatalf("fill %s: %v", name, err)
		}
		if sent = append(sent, cmd); len(sent) >= 50 {
			wait()
		}
	}
	if wait(); first != nil {
		tb.Fatalf("fill %s: %v", user, first)
	}
}

// Mail is how the message looks after it was read back.
func (g GeneratedMail) Mail() Mail {
	sum := sha256.Sum256(g.Octets)
	return Mail{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(g.Octets)), Flags: normalFlags(g.Flags), Date: g.Date.UTC()}
}
