package imaptest

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bulkConn is one connection to a Bulk.
type bulkConn struct {
	b         *Bulk
	r         *bufio.Reader
	w         *bufio.Writer
	box       *bulkBox
	open      *bulkDrawer
	condstore bool
}

func newBulkConn(b *Bulk, conn net.Conn) *bulkConn {
	return &bulkConn{b: b, r: bufio.NewReaderSize(conn, 256<<10), w: bufio.NewWriterSize(conn, 64<<10), condstore: b.condstore.Load()}
}

func (c *bulkConn) capabilities() string {
	s := "CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR"
	if c.box != nil {
		s = "CAPABILITY IMAP4rev1 NAMESPACE LIST-EXTENDED LIST-STATUS LITERAL+ MULTIAPPEND UIDPLUS UNSELECT"
		if c.condstore {
			s += " CONDSTORE"
		}
	}
	return s
}

func (c *bulkConn) say(format string, args ...any) {
	fmt.Fprintf(c.w, format, args...)
	c.w.WriteString("\r\n")
}

func (c *bulkConn) serve() {
	c.say("* OK [%s] ready", c.capabilities())
	for {
		if c.r.Buffered() == 0 && c.w.Flush() != nil {
			return
		}
		tag, name, rest, err := c.line()
		if err != nil {
			return
		}
		answer := ""
		if name == "APPEND" {
			if answer, err = c.append(rest); err != nil {
				return
			}
		} else if answer, err = c.command(name, rest); err != nil {
			return
		}
		c.say("%s %s", tag, answer)
		if name == "LOGOUT" {
			c.w.Flush()
			return
		}
	}
}

// line reads the first line of a command, up to its first literal.
func (c *bulkConn) line() (tag, name, rest string, err error) {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return
	}
	tag, rest, _ = strings.Cut(strings.TrimRight(line, "\r\n"), " ")
	name, rest, _ = strings.Cut(rest, " ")
	if name = strings.ToUpper(name); name == "UID" {
		var second string
		second, rest, _ = strings.Cut(rest, " ")
		name += " " + strings.ToUpper(second)
	}
	return tag, name, rest, nil
}

// words reads what is left of a command; literals are names and passwords.
func (c *bulkConn) words(rest string) ([]word, error) {
	var literals [][]byte
	text := ""
	for {
		size, waits, is := literalAt(rest)
		if !is {
			break
		}
		if size > 4096 {
			return nil, errors.New("a literal that is no name")
		}
		text += rest[:strings.LastIndexByte(rest, '{')] + "\x00"
		if waits {
			c.say("+ go on")
			if err := c.w.Flush(); err != nil {
				return nil, err
			}
		}
		octets := make([]byte, size)
		if _, err := io.ReadFull(c.r, octets); err != nil {
			return nil, err
		}
		literals = append(literals, octets)
		next, err := c.r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		rest = strings.TrimRight(next, "\r\n")
	}
	p := &words{text: text + rest, literals: literals}
	return p.list(0), nil
}

const bulkUnknown = "BAD this server doesn't do that"

func (c *bulkConn) command(name, rest string) (string, error) {
	args, err := c.words(rest)
	if err != nil {
		return "", err
	}
	switch name {
	case "CAPABILITY":
		c.say("* %s", c.capabilities())
		return "OK", nil
	case "NOOP":
		return "OK", nil
	case "LOGOUT":
		c.say("* BYE")
		return "OK", nil
	case "AUTHENTICATE", "LOGIN":
		return c.enter(name, args)
	}
	if c.box == nil {
		return "BAD log in first", nil
	}
	switch name {
	case "NAMESPACE":
		c.say(`* NAMESPACE (("" "/")) NIL NIL`)
		return "OK", nil
	case "LIST":
		return c.list(args), nil
	case "STATUS":
		return c.status(args), nil
	case "EXAMINE", "SELECT":
		return c.examine(name, args), nil
	case "UNSELECT", "CLOSE":
		c.open = nil
		return "OK", nil
	case "CREATE", "SUBSCRIBE":
		return c.create(name, args), nil
	case "UID FETCH":
		return c.fetch(args)
	}
	return bulkUnknown, nil
}

func (c *bulkConn) enter(name string, args []word) (string, error) {
	user := ""
	switch {
	case c.box != nil || len(args) != 2:
		return bulkUnknown, nil
	case name == "LOGIN":
		user = args[0].text
	case strings.EqualFold(args[0].text, "PLAIN"):
		raw, err := base64.StdEncoding.DecodeString(args[1].text)
		if err != nil {
			return "BAD not base64", nil
		}
		parts := strings.Split(string(raw), "\x00")
		if len(parts) != 3 {
			return "BAD not PLAIN", nil
		}
		user = parts[1]
	default:
		return bulkUnknown, nil
	}
	c.box = c.b.box(user)
	c.b.logins.Add(1)
	return "OK [" + c.capabilities() + "] welcome", nil
}

func (c *bulkConn) list(args []word) string {
	if len(args) < 2 {
		return bulkUnknown
	}
	var items []word
	if len(args) == 4 {
		for i, o := range args[3].list {
			if strings.EqualFold(o.text, "STATUS") && i+1 < len(args[3].list) {
				items = args[3].list[i+1].list
			}
		}
	}
	pattern := decodeName(args[1].text)
	if pattern == "" {
		c.say(`* LIST (\Noselect) "/" ""`)
		return "OK"
	}
	c.box.mu.Lock()
	defer c.box.mu.Unlock()
	for _, d := range c.box.folders {
		if pattern != "*" && pattern != d.name {
			continue
		}
		attributes := ""
		if d.subscribed {
			attributes = `\Subscribed`
		}
		name := quote(encodeName(d.name))
		c.say(`* LIST (%s) "/" %s`, attributes, name)
		if items != nil {
			c.sayStatus(d, name, items)
		}
	}
	return "OK"
}

func (c *bulkConn) status(args []word) string {
	if len(args) != 2 {
		return bulkUnknown
	}
	d := c.box.find(args[0].text)
	if d == nil {
		return "NO [NONEXISTENT] no such folder"
	}
	c.box.mu.Lock()
	defer c.box.mu.Unlock()
	c.sayStatus(d, quote(args[0].text), args[1].list)
	return "OK"
}

// sayStatus is called with the box's lock held.
func (c *bulkConn) sayStatus(d *bulkDrawer, name string, items []word) {
	var parts []string
	for _, i := range items {
		k := strings.ToUpper(i.text)
		n := uint32(0)
		switch k {
		case "MESSAGES":
			n = d.count()
		case "UIDNEXT", "HIGHESTMODSEQ": // nothing ever changes but by coming
			n = d.count() + 1
		case "UIDVALIDITY":
			n = d.validity
		}
		parts = append(parts, k+" "+strconv.FormatUint(uint64(n), 10))
	}
	c.say("* STATUS %s (%s)", name, strings.Join(parts, " "))
}

func (c *bulkConn) examine(name string, args []word) string {
	c.open = nil
	if len(args) == 0 {
		return bulkUnknown
	}
	d := c.box.find(args[0].text)
	if d == nil {
		return "NO [NONEXISTENT] no such folder"
	}
	c.box.mu.Lock()
	defer c.box.mu.Unlock()
	c.open = d
	flags := strings.Join(bulkFlags, " ")
	c.say("* FLAGS (%s)", flags)
	c.say("* %d EXISTS", d.count())
	c.say("* 0 RECENT")
	c.say(`* OK [PERMANENTFLAGS (%s \*)]`, flags)
	c.say("* OK [UIDVALIDITY %d]", d.validity)
	c.say("* OK [UIDNEXT %d]", d.count()+1)
	if c.condstore {
		c.say("* OK [HIGHESTMODSEQ %d]", d.count()+1)
	}
	if name == "EXAMINE" {
		return "OK [READ-ONLY]"
	}
	return "OK [READ-WRITE]"
}

func (c *bulkConn) create(name string, args []word) string {
	if len(args) == 0 {
		return bulkUnknown
	}
	d := c.box.find(args[0].text)
	if name == "SUBSCRIBE" {
		if d == nil {
			return "NO [NONEXISTENT] no such folder"
		}
		c.box.mu.Lock()
		d.subscribed = true
		c.box.mu.Unlock()
		return "OK"
	}
	if d != nil {
		return "NO [ALREADYEXISTS] it is there"
	}
	c.box.mu.Lock()
	defer c.box.mu.Unlock()
	full := decodeName(args[0].text)
	for i := range len(full) {
		if above := full[:i]; full[i] == '/' && c.box.byName[above] == nil {
			c.box.add(above)
		}
	}
	c.box.add(full)
	return "OK"
}

func (c *bulkConn) fetch(args []word) (string, error) {
	if c.open == nil || len(args) < 2 {
		return bulkUnknown, nil
	}
	items := args[1].list
	if !args[1].open {
		items = args[1:2]
	}
	known := []string{"UID", "FLAGS", "INTERNALDATE", "RFC822.SIZE", "BODY.PEEK[]", "MODSEQ"}
	var want []string
	for _, i := range items {
		k := strings.ToUpper(i.text)
		if !slices.Contains(known, k) && !strings.HasPrefix(k, headerFields) {
			return bulkUnknown, nil
		}
		want = append(want, k)
	}
	since := uint64(0)
	if len(args) == 3 {
		if !c.condstore || len(args[2].list) != 2 || !strings.EqualFold(args[2].list[0].text, "CHANGEDSINCE") {
			return bulkUnknown, nil
		}
		since, _ = strconv.ParseUint(args[2].list[1].text, 10, 64)
	}
	c.box.mu.Lock()
	last := c.open.count()
	c.box.mu.Unlock()
	spans, err := uidSpans(args[0].text, last)
	if err != nil {
		return bulkUnknown, nil
	}
	for _, s := range spans {
		for uid := max(s.from, 1); uid <= min(s.to, last); uid++ {
			if since > uint64(uid) { // a message's MODSEQ is one more than its UID
				continue
			}
			if err := c.sayMessage(uid, want); err != nil {
				return "", err
			}
		}
	}
	return "OK", nil
}

func (c *bulkConn) sayMessage(uid uint32, want []string) error {
	c.box.mu.Lock()
	row := c.open.row(uid)
	c.box.mu.Unlock()
	line := append(make([]byte, 0, 256), "* "...)
	line = strconv.AppendUint(line, uint64(uid), 10)
	line = append(line, " FETCH ("...)
	for i, k := range want {
		if i > 0 {
			line = append(line, ' ')
		}
		switch k {
		case "UID":
			line = strconv.AppendUint(append(line, "UID "...), uint64(uid), 10)
		case "FLAGS":
			line = append(append(append(line, "FLAGS ("...), bulkFlagNames(row.flags)...), ')')
		case "INTERNALDATE":
			line = append(time.Unix(row.date, 0).UTC().AppendFormat(append(line, `INTERNALDATE "`...), bulkDateForm), '"')
		case "RFC822.SIZE":
			line = strconv.AppendInt(append(line, "RFC822.SIZE "...), max(c.b.mail.Size(row.uid), BulkLeast), 10)
		case "MODSEQ":
			line = fmt.Appendf(line, "MODSEQ (%d)", uid+1)
		default:
			line = c.header(line, row, k)
		case "BODY.PEEK[]":
			m := c.b.message(c.box.name, row.folder, row.uid)
			c.w.Write(fmt.Appendf(line, "BODY[] {%d}\r\n", m.size))
			line = line[:0]
			for off := int64(0); off < m.size; {
				n, err := c.w.Write(m.from(off))
				if err != nil {
					return err
				}
				off += int64(n)
			}
		}
	}
	_, err := c.w.Write(append(line, ")\r\n"...))
	return err
}

const headerFields = "BODY.PEEK[HEADER.FIELDS ("

// header adds the fields that an item of FETCH asks for.
func (c *bulkConn) header(line []byte, row bulkRow, item string) []byte {
	names := strings.Fields(strings.TrimSuffix(strings.TrimPrefix(item, headerFields), ")]"))
	var fields []byte
	for field := range strings.Lines(strings.TrimSuffix(string(c.b.message(c.box.name, row.folder, row.uid).head), "\r\n")) {
		if name, _, _ := strings.Cut(field, ":"); slices.Contains(names, strings.ToUpper(name)) {
			fields = append(fields, field...)
		}
	}
	fields = append(fields, "\r\n"...)
	return append(fmt.Appendf(line, "%s {%d}\r\n", strings.Replace(item, ".PEEK", "", 1), len(fields)), fields...)
}

const bulkDateForm = "_2-Jan-2006 15:04:05 -0700"

// append takes the messages of one command: all of them, or none.
func (c *bulkConn) append(rest string) (string, error) {
	p := &words{text: rest}
	var folder string
	refusal := ""
	var rows []bulkRow
	for first := true; ; first = false {
		size, waits, is := literalAt(p.text)
		if !is && first {
			return bulkUnknown, nil
		}
		if !is {
			break
		}
		p.text = p.text[:strings.LastIndexByte(p.text, '{')]
		args := p.list(0)
		if first {
			if c.box == nil || len(args) == 0 || c.b.source {
				return bulkUnknown, nil
			}
			folder, args = args[0].text, args[1:]
			if c.box.find(folder) == nil {
				refusal = "NO [TRYCREATE] no such folder"
			}
		}
		if waits {
			if refusal != "" {
				return refusal, nil
			}
			c.say("+ go on")
			if err := c.w.Flush(); err != nil {
				return "", err
			}
		}
		row, err := c.take(size, args)
		if err != nil {
			return "", err
		}
		rows = append(rows, row)
		next, err := c.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		p.text = strings.TrimRight(next, "\r\n")
	}
	if refusal != "" {
		return refusal, nil
	}
	d := c.box.find(folder)
	c.box.mu.Lock()
	defer c.box.mu.Unlock()
	from := len(d.rows) + 1
	d.rows = append(d.rows, rows...)
	if len(rows) == 1 {
		return fmt.Sprintf("OK [APPENDUID %d %d] taken", d.validity, from), nil
	}
	return fmt.Sprintf("OK [APPENDUID %d %d:%d] taken", d.validity, from, len(d.rows)), nil
}

// take reads the octets of a message and holds them against those of the one that it says it is.
func (c *bulkConn) take(size int64, args []word) (row bulkRow, err error) {
	for _, a := range args {
		if !a.open {
			at, err := time.Parse(bulkDateForm, a.text)
			if err != nil {
				c.b.complain("the date %q", a.text)
			}
			row.date = at.Unix()
			continue
		}
		for _, f := range a.list {
			if i := slices.Index(bulkFlags, f.text); i >= 0 {
				row.flags |= 1 << i
			} else {
				c.b.complain("the flag %q", f.text)
			}
		}
	}
	var m bulkMessage
	wrong := error(nil)
	for off := int64(0); off < size; {
		octets, err := c.r.Peek(int(min(size-off, 64<<10, max(int64(c.r.Buffered()), 1))))
		if off == 0 {
			octets, err = c.r.Peek(int(min(size, BulkLeast))) // the whole header
		}
		if err != nil {
			return row, err
		}
		if off == 0 {
			account := ""
			if _, wrong = fmt.Sscanf(string(octets), "X-Bulk: %s %d %d\r\n", &account, &row.folder, &row.uid); wrong == nil {
				if account != c.box.name || int(row.folder) >= len(c.box.mail) || row.uid == 0 || row.uid > c.box.mail[row.folder].Messages {
					wrong = fmt.Errorf("message %d of folder %d of %s is none of this account", row.uid, row.folder, account)
				} else if m = c.b.message(account, row.folder, row.uid); m.size != size {
					wrong = fmt.Errorf("it has %d octets instead of %d", size, m.size)
				}
			}
		}
		if wrong == nil {
			wrong = m.compare(octets, off)
		}
		n, _ := c.r.Discard(len(octets))
		off += int64(n)
	}
	if wrong != nil {
		c.b.complain("message %d of folder %d: %v", row.uid, row.folder, wrong)
		row = bulkRow{uid: 0}
	}
	return row, nil
}
