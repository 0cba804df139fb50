package imaptest

import (
	"bufio"
	"compress/flate"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Visitor is one connection to a Double.
type Visitor struct {
	User  string // who is logged in
	Token string // with which token, "" = a password

	d        *Double
	conn     net.Conn
	r        *bufio.Reader
	w        *bufio.Writer
	squeeze  bool // compression begins with the next octet
	squeezed *flate.Writer
	box      *box
	folder   *drawer
	readOnly bool
	seen     []uint32 // UIDs by sequence number, as the client knows them
	errors   int
	ended    bool
	cut      bool
}

// word is an argument: a string, or a list in parentheses.
type word struct {
	text string
	list []word
	open bool // a list
}

func (c *Visitor) serve() {
	c.r, c.w = bufio.NewReaderSize(c.conn, 64<<10), bufio.NewWriterSize(c.conn, 64<<10)
	defer c.conn.Close()
	c.say("* OK " + c.d.manners.Greeting)
	for !c.ended {
		if c.r.Buffered() == 0 {
			c.flush()
		}
		tag, name, args, answer, ok := c.read()
		if !ok {
			return
		}
		if answer == "" {
			answer = c.answer(tag, name, args)
		}
		switch {
		case c.cut:
			return
		case answer == "":
			continue
		case strings.HasPrefix(answer, "* BYE"):
			c.say(answer)
			c.flush()
			return
		}
		c.say(tag + " " + answer)
		if c.squeeze {
			c.squeeze = false
			c.w.Flush()
			c.squeezed, _ = flate.NewWriter(c.conn, flate.DefaultCompression) // the level is a valid one
			c.r, c.w = bufio.NewReaderSize(flate.NewReader(c.r), 64<<10), bufio.NewWriterSize(c.squeezed, 64<<10)
		}
		if !strings.HasPrefix(answer, "OK") {
			if c.errors++; c.d.manners.ErrorLimit > 0 && c.errors >= c.d.manners.ErrorLimit {
				c.say("* BYE " + c.d.manners.Bye)
				c.d.mu.Lock()
				c.d.closed++
				c.d.mu.Unlock()
				break
			}
		}
	}
	c.flush()
}

func (c *Visitor) say(line string) { c.w.WriteString(line + "\r\n") }

func (c *Visitor) flush() {
	c.w.Flush()
	if c.squeezed != nil {
		c.squeezed.Flush()
	}
}

// read reads one command with its literals. answer is what it is refused with before it is
// complete; ok is false when the connection is at its end.
func (c *Visitor) read() (tag, name string, args []word, answer string, ok bool) {
	var text strings.Builder
	var literals [][]byte
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		size, waits, is := literalAt(line)
		if !is {
			text.WriteString(line)
			break
		}
		text.WriteString(line[:strings.LastIndexByte(line, '{')] + "\x00")
		refused := ""
		if c.d.manners.TooLarge != nil && c.box != nil && strings.Contains(strings.ToUpper(text.String()), " APPEND ") {
			refused = c.d.manners.TooLarge(size)
		}
		if waits {
			if refused != "" {
				tag, _, _ = strings.Cut(text.String(), " ")
				c.note(text.String())
				return tag, "APPEND", nil, refused, true
			}
			c.say("+ Ready for additional command text.")
			c.flush()
		}
		octets := make([]byte, size)
		if _, err := io.ReadFull(c.r, octets); err != nil {
			return
		}
		if refused != "" {
			answer = refused // the rest of the line is still to come
		}
		literals = append(literals, octets)
	}
	c.note(text.String())
	tag, rest, _ := strings.Cut(text.String(), " ")
	name, rest, _ = strings.Cut(rest, " ")
	if name = strings.ToUpper(name); name == "UID" {
		var second string
		second, rest, _ = strings.Cut(rest, " ")
		name += " " + strings.ToUpper(second)
	}
	p := &words{text: rest, literals: literals}
	args = p.list(0)
	return tag, name, args, answer, true
}

// note keeps a command for Commands, without what follows AUTHENTICATE and LOGIN.
func (c *Visitor) note(line string) {
	_, rest, _ := strings.Cut(line, " ")
	first, _, _ := strings.Cut(rest, " ")
	switch strings.ToUpper(first) {
	case "LOGIN", "AUTHENTICATE":
		rest = strings.ToUpper(first)
	}
	c.d.mu.Lock()
	c.d.commands = append(c.d.commands, rest)
	c.d.mu.Unlock()
}

func literalAt(line string) (size int64, waits, is bool) {
	at := strings.LastIndexByte(line, '{')
	if at < 0 || !strings.HasSuffix(line, "}") {
		return 0, false, false
	}
	digits, immediate := strings.CutSuffix(line[at+1:len(line)-1], "+")
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, !immediate, err == nil
}

// words reads arguments.
type words struct {
	text     string
	literals [][]byte
}

func (p *words) list(depth int) []word {
	var list []word
	for p.text != "" {
		switch p.text[0] {
		case ' ':
			p.text = p.text[1:]
		case ')':
			p.text = p.text[1:]
			if depth > 0 {
				return list
			}
		case '(':
			p.text = p.text[1:]
			list = append(list, word{list: p.list(depth + 1), open: true})
		case '"':
			list = append(list, word{text: p.quoted()})
		case 0:
			p.text = p.text[1:]
			list = append(list, word{text: string(p.literals[0])})
			p.literals = p.literals[1:]
		default:
			list = append(list, word{text: p.atom()})
		}
	}
	return list
}

func (p *words) quoted() string {
	var out strings.Builder
	i := 1
	for ; i < len(p.text) && p.text[i] != '"'; i++ {
		if p.text[i] == '\\' && i+1 < len(p.text) {
			i++
		}
		out.WriteByte(p.text[i])
	}
	p.text = p.text[min(i+1, len(p.text)):]
	return out.String()
}

// atom reads to the next space or parenthesis; brackets hold both ("BODY.PEEK[HEADER.FIELDS (DATE)]").
func (p *words) atom() string {
	depth, i := 0, 0
	for ; i < len(p.text); i++ {
		switch b := p.text[i]; {
		case b == '[':
			depth++
		case b == ']':
			depth--
		case depth == 0 && (b == ' ' || b == '(' || b == ')' || b == 0):
			a := p.text[:i]
			p.text = p.text[i:]
			return a
		}
	}
	a := p.text
	p.text = ""
	return a
}

func (c *Visitor) capabilities() []string {
	if c.box == nil {
		return append([]string{"IMAP4rev1"}, c.d.manners.Before...)
	}
	return append([]string{"IMAP4rev1"}, c.d.manners.After...)
}

func (c *Visitor) offers(capability string) bool {
	return slices.ContainsFunc(c.capabilities(), func(o string) bool { return strings.EqualFold(o, capability) })
}

func (c *Visitor) unknown(what string) string {
	if c.d.manners.Unknown != nil {
		return c.d.manners.Unknown(what)
	}
	return "BAD Command Error. 10"
}

// answer carries a command out and returns its tagged answer without the tag.
func (c *Visitor) answer(tag, name string, args []word) string {
	m := &c.d.manners
	switch name {
	case "CAPABILITY":
		if c.box != nil && m.Command != nil {
			if a := m.Command(c, name); a != "" {
				return a
			}
		}
		c.say("* CAPABILITY " + strings.Join(c.capabilities(), " "))
		return "OK CAPABILITY completed."
	case "LOGOUT":
		c.say("* BYE logging out")
		c.ended = true
		return "OK LOGOUT completed."
	case "AUTHENTICATE":
		return c.authenticate(args)
	case "LOGIN":
		if m.Login == nil || len(args) != 2 || c.box != nil {
			return "NO LOGIN failed."
		}
		return c.enter(args[0].text, m.Login(args[0].text, args[1].text), "LOGIN")
	}
	if c.box == nil {
		return "BAD Command received in Invalid state."
	}
	if m.Command != nil {
		if a := m.Command(c, name); a != "" {
			return a
		}
	}
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	do, ok := doubleCommands[name]
	if !ok {
		return c.unknown(name)
	}
	return do(c, args)
}

var doubleCommands map[string]func(c *Visitor, args []word) string

func init() { // the functions refer to the table
	doubleCommands = map[string]func(c *Visitor, args []word) string{
		"NOOP":        func(c *Visitor, _ []word) string { return "OK NOOP completed." },
		"CHECK":       func(c *Visitor, _ []word) string { return "OK CHECK completed." },
		"ID":          (*Visitor).id,
		"NAMESPACE":   (*Visitor).namespace,
		"COMPRESS":    (*Visitor).compress,
		"LIST":        (*Visitor).list,
		"LSUB":        (*Visitor).lsub,
		"STATUS":      (*Visitor).status,
		"SELECT":      func(c *Visitor, args []word) string { return c.open(args, false) },
		"EXAMINE":     func(c *Visitor, args []word) string { return c.open(args, true) },
		"CREATE":      (*Visitor).create,
		"DELETE":      (*Visitor).remove,
		"SUBSCRIBE":   func(c *Visitor, args []word) string { return c.subscribe(args, true) },
		"UNSUBSCRIBE": func(c *Visitor, args []word) string { return c.subscribe(args, false) },
		"UNSELECT":    (*Visitor).unselect,
		"CLOSE":       (*Visitor).close,
		"EXPUNGE":     func(c *Visitor, _ []word) string { return c.expunge(nil) },
		"UID EXPUNGE": (*Visitor).expunge,
		"UID FETCH":   (*Visitor).fetch,
		"UID STORE":   (*Visitor).store,
		"UID COPY":    func(c *Visitor, args []word) string { return c.transfer(args, false) },
		"UID MOVE":    func(c *Visitor, args []word) string { return c.transfer(args, true) },
		"UID SEARCH":  (*Visitor).search,
		"APPEND":      (*Visitor).append,
	}
}

func (c *Visitor) authenticate(args []word) string {
	m := &c.d.manners
	if len(args) == 0 || !c.offers("AUTH="+args[0].text) || c.box != nil {
		return "BAD Command Argument Error. 12"
	}
	response := ""
	if len(args) > 1 {
		if !c.offers("SASL-IR") {
			return c.unknown("AUTHENTICATE")
		}
		response = args[1].text
	} else {
		response = c.ask("")
	}
	raw, err := base64.StdEncoding.DecodeString(response)
	if err != nil {
		return "BAD Command Argument Error. 12"
	}
	switch strings.ToUpper(args[0].text) {
	case "PLAIN":
		if parts := strings.Split(string(raw), "\x00"); len(parts) == 3 && m.Login != nil {
			return c.enter(parts[1], m.Login(parts[1], parts[2]), "AUTHENTICATE")
		}
	case "XOAUTH2":
		user, rest, _ := strings.Cut(string(raw), "\x01")
		user, named := strings.CutPrefix(user, "user=")
		token, bearer := strings.CutPrefix(rest, "auth=Bearer ")
		token, ended := strings.CutSuffix(token, "\x01\x01")
		if !named || !bearer || !ended || m.Token == nil {
			return "BAD Command Argument Error. 12"
		}
		refusal, challenge := m.Token(user, token)
		if refusal != "" && challenge != "" {
			// An empty line is what the documents ask for; "=" is no answer.
			if got := c.ask(base64.StdEncoding.EncodeToString([]byte(challenge))); got != "" {
				return "BAD Invalid SASL argument"
			}
		}
		c.Token = token
		return c.enter(user, refusal, "AUTHENTICATE")
	}
	return "NO AUTHENTICATE failed."
}

func (c *Visitor) ask(challenge string) string {
	c.say("+ " + challenge)
	c.flush()
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.ended = true
	}
	return strings.TrimRight(line, "\r\n")
}

func (c *Visitor) enter(user, refusal, name string) string {
	if refusal != "" {
		return refusal
	}
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	b := c.d.accounts[strings.ToLower(user)]
	if b == nil {
		// Logged in to nothing: Manners.Command says what that means.
		b = &box{name: user}
	}
	c.User, c.box = user, b
	return "OK " + name + " completed."
}

func (c *Visitor) id([]word) string {
	if !c.offers("ID") {
		return c.unknown("ID")
	}
	if c.d.manners.ID == "" {
		c.say("* ID NIL")
	} else {
		c.say("* ID (" + c.d.manners.ID + ")")
	}
	return "OK ID completed"
}

func (c *Visitor) namespace([]word) string {
	if !c.offers("NAMESPACE") {
		return c.unknown("NAMESPACE")
	}
	c.say(`* NAMESPACE (("" "/")) NIL NIL`)
	return "OK NAMESPACE completed."
}

// compress turns the connection to DEFLATE (RFC 4978).
func (c *Visitor) compress(args []word) string {
	if !c.offers("COMPRESS=DEFLATE") || len(args) != 1 || !strings.EqualFold(args[0].text, "DEFLATE") || c.squeezed != nil {
		return c.unknown("COMPRESS")
	}
	c.squeeze = true // after the answer
	return "OK DEFLATE active"
}

// decodeName and encodeName are modified UTF-7 (RFC 3501 §5.1.3).
func decodeName(raw string) string {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(raw, "&")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		shifted, after, _ := strings.Cut(rest, "-")
		if shifted == "" {
			out.WriteByte('&')
		} else {
			octets, _ := base64Names.DecodeString(shifted)
			var units []uint16
			for i := 0; i+1 < len(octets); i += 2 {
				units = append(units, uint16(octets[i])<<8|uint16(octets[i+1]))
			}
			out.WriteString(string(utf16.Decode(units)))
		}
		raw = after
	}
}

var base64Names = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

func encodeName(name string) string {
	var out strings.Builder
	for i := 0; i < len(name); {
		if b := name[i]; b < 0x80 {
			if out.WriteByte(b); b == '&' {
				out.WriteByte('-')
			}
			i++
			continue
		}
		j := i
		for j < len(name) && name[j] >= 0x80 {
			j++
		}
		var octets []byte
		for _, u := range utf16.Encode([]rune(name[i:j])) {
			octets = append(octets, byte(u>>8), byte(u))
		}
		out.WriteString("&" + base64Names.EncodeToString(octets) + "-")
		i = j
	}
	return out.String()
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// uidSpan is a range of UIDs, both ends included.
type uidSpan struct{ from, to uint32 }

// uidSpans reads "1:3,7,9:*"; last is what "*" stands for.
func uidSpans(set string, last uint32) ([]uidSpan, error) {
	var spans []uidSpan
	number := func(s string) (uint32, error) {
		if s == "*" {
			return last, nil
		}
		n, err := strconv.ParseUint(s, 10, 32)
		if err == nil && n == 0 {
			err = fmt.Errorf("0 is no UID")
		}
		return uint32(n), err
	}
	for part := range strings.SplitSeq(set, ",") {
		a, b, ranged := strings.Cut(part, ":")
		from, err := number(a)
		if err != nil {
			return nil, err
		}
		to := from
		if ranged {
			if to, err = number(b); err != nil {
				return nil, err
			}
		}
		spans = append(spans, uidSpan{min(from, to), max(from, to)})
	}
	return spans, nil
}

// parseUIDs returns whether a UID is in a set, as uidSpans reads it.
func parseUIDs(set string, last uint32) (func(uint32) bool, error) {
	spans, err := uidSpans(set, last)
	if err != nil {
		return nil, err
	}
	return func(uid uint32) bool {
		return slices.ContainsFunc(spans, func(s uidSpan) bool { return uid >= s.from && uid <= s.to })
	}, nil
}
