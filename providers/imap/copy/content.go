package copy

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"io"
	"mime"
	netmail "net/mail"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/transform"
)

// contentHasher computes what a message is known by at a server that renders messages anew
// (Exchange does: it folds and adds header fields, encodes parts otherwise, draws other boundaries, flattens
// multiparts). Two digests come of one reading:
//
//   - content: identifying header fields, decoded, and every leaf part, decoded, in order;
//   - gist: Message-ID, Date, From, Subject, the names of attachments, and the size of what was decoded.
//
// It never fails: what can't be read as MIME (RFC 2045) counts as the text that it is. Memory is
// bounded whatever the message holds.
type contentHasher struct {
	line     []byte // begin of a line that is not ended yet
	inLine   bool   // the begin of this line was handed on
	open     []string
	header   []byte
	inHeader bool
	first    bool // the header is the message's own
	skipping bool // between parts

	leaf    *leafHasher
	leaves  hash.Hash
	names   []string // of attachments
	decoded int64
	fields  [][]string // of the message: names and values that count
}

const (
	headerMost = 256 << 10 // octets of one header that are looked at
	lineMost   = 4 << 10   // octets of a line that are held to see whether it is a boundary
	depthMost  = 100
)

func newContentHasher() *contentHasher {
	return &contentHasher{inHeader: true, first: true, leaves: sha256.New()}
}

// Write takes the next octets. It never fails.
func (h *contentHasher) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			if h.line = append(h.line, p...); len(h.line) > lineMost {
				h.take(h.line, false)
				h.line = h.line[:0]
			}
			break
		}
		if len(h.line) > 0 {
			h.line = append(h.line, p[:i+1]...)
			h.take(h.line, true)
			h.line = h.line[:0]
		} else {
			h.take(p[:i+1], true)
		}
		p = p[i+1:]
	}
	return n, nil
}

// take handles a line, or with ended = false a piece of a long one.
func (h *contentHasher) take(line []byte, ended bool) {
	begins := !h.inLine
	h.inLine = !ended
	if begins && h.boundary(line) {
		return
	}
	switch {
	case h.inHeader:
		if begins && len(bytes.TrimRight(line, "\r\n")) == 0 {
			h.endHeader()
			return
		}
		if len(h.header)+len(line) <= headerMost {
			h.header = append(h.header, line...)
		}
	case h.skipping:
	case h.leaf != nil:
		h.leaf.write(line)
	}
}

// boundary reports whether a line delimits parts (RFC 2046 §5.1.1), and goes on to the next part.
func (h *contentHasher) boundary(line []byte) bool {
	if len(h.open) == 0 || !bytes.HasPrefix(line, []byte("--")) {
		return false
	}
	text := strings.TrimRight(string(line[2:min(len(line), 300)]), " \t\r\n")
	for i := len(h.open) - 1; i >= 0; i-- {
		last := text == h.open[i]+"--"
		if !last && text != h.open[i] {
			continue
		}
		if h.inHeader {
			h.endHeader()
		}
		h.endLeaf()
		if last {
			h.open = h.open[:i]
			h.skipping, h.inHeader = true, false
		} else {
			h.open = h.open[:i+1]
			h.inHeader, h.skipping, h.header = true, false, h.header[:0]
		}
		return true
	}
	return false
}

// endHeader reads a header and begins what it announces.
func (h *contentHasher) endHeader() {
	fields := readFields(h.header)
	h.header, h.inHeader = h.header[:0], false
	if h.first {
		h.first = false
		h.identify(fields)
	}
	kind, params := mediaType(fields["content-type"])
	if kind == "" {
		kind = "text/plain"
	}
	encoding := strings.ToLower(strings.TrimSpace(fields["content-transfer-encoding"]))
	identity := encoding == "" || encoding == "7bit" || encoding == "8bit" || encoding == "binary"
	switch {
	case strings.HasPrefix(kind, "multipart/") && params["boundary"] != "" && len(h.open) < depthMost:
		h.open = append(h.open, params["boundary"])
		h.skipping = true
		return
	case kind == "message/rfc822" && identity && len(h.open) < depthMost:
		h.inHeader = true
		return
	}
	disposition, more := mediaType(fields["content-disposition"])
	name := more["filename"]
	if name == "" {
		name = params["name"]
	}
	name = decodeWords(name)
	text := strings.HasPrefix(kind, "text/") && disposition != "attachment" && name == ""
	if !text {
		h.names = append(h.names, name)
	}
	h.leaf = newLeaf(kind, name, encoding, params["charset"], text)
}

// mediaType reads a value with parameters (RFC 2045 §5.1), also where a parameter holds what it may
// hold in quotes alone: "boundary=----=_Part_1", as some programs write it.
func mediaType(s string) (kind string, params map[string]string) {
	kind, params, err := mime.ParseMediaType(s)
	if err == nil {
		return kind, params
	}
	first, rest, _ := strings.Cut(s, ";")
	kind, params = strings.ToLower(strings.TrimSpace(first)), map[string]string{}
	for p := range strings.SplitSeq(rest, ";") {
		name, value, ok := strings.Cut(p, "=")
		if ok {
			params[strings.ToLower(strings.TrimSpace(name))] = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return kind, params
}

// identify keeps the fields that tell which message it is.
func (h *contentHasher) identify(f map[string]string) {
	date := strings.TrimSpace(f["date"])
	if t, err := netmail.ParseDate(date); err == nil {
		date = t.UTC().Format("20060102150405")
	}
	h.fields = [][]string{
		{"id", strings.Trim(strings.TrimSpace(f["message-id"]), "<>")},
		{"date", date},
		{"from", strings.Join(addresses(f["from"]), " ")},
		{"subject", strings.Join(strings.Fields(decodeWords(f["subject"])), " ")},
		{"to", strings.Join(addresses(f["to"]), " ")},
		{"cc", strings.Join(addresses(f["cc"]), " ")},
	}
}

func (h *contentHasher) endLeaf() {
	if h.leaf == nil {
		return
	}
	sum, n := h.leaf.sum()
	h.decoded += n
	put(h.leaves, h.leaf.kind, h.leaf.name, string(sum))
	h.leaf = nil
}

// sums ends the message. gist is nil when nothing in it tells one message from another.
func (h *contentHasher) sums() (content, gist []byte) {
	if len(h.line) > 0 {
		h.take(h.line, true)
		h.line = nil
	}
	if h.inHeader {
		h.endHeader()
	}
	h.endLeaf()
	c := sha256.New()
	for _, f := range h.fields {
		put(c, f...)
	}
	put(c, string(h.leaves.Sum(nil)))
	content = c.Sum(nil)
	known := false
	g := sha256.New()
	for _, f := range h.fields[:4] {
		put(g, f...)
		known = known || f[1] != ""
	}
	if !known {
		return content, nil
	}
	slices.Sort(h.names)
	put(g, h.names...)
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(h.decoded))
	put(g, string(size[:]))
	return content, g.Sum(nil)
}

// put hashes words so that no other words give the same octets.
func put(h hash.Hash, words ...string) {
	var n [8]byte
	for _, w := range words {
		binary.BigEndian.PutUint64(n[:], uint64(len(w)))
		h.Write(n[:])
		io.WriteString(h, w)
	}
}

// readFields are a header's fields by name in lower case, unfolded; of a name that is there twice the first.
func readFields(header []byte) map[string]string {
	fields := map[string]string{}
	name := ""
	repeated := false
	for line := range bytes.Lines(header) {
		text := strings.TrimRight(string(line), "\r\n")
		if name != "" && text != "" && (text[0] == ' ' || text[0] == '\t') {
			if !repeated {
				fields[name] += " " + strings.TrimSpace(text)
			}
			continue
		}
		n, value, ok := strings.Cut(text, ":")
		if !ok {
			name = ""
			continue
		}
		name = strings.ToLower(strings.TrimSpace(n))
		if _, repeated = fields[name]; !repeated {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields
}

var wordDecoder = mime.WordDecoder{CharsetReader: func(charset string, in io.Reader) (io.Reader, error) {
	e, err := htmlindex.Get(charset)
	if err != nil {
		return nil, err
	}
	return e.NewDecoder().Reader(in), nil
}}

// decodeWords decodes a field's encoded words (RFC 2047), as far as they can be.
func decodeWords(s string) string {
	if d, err := wordDecoder.DecodeHeader(s); err == nil {
		return d
	}
	return s
}

// addresses are the bare addresses of a field, in lower case; where it can't be read, its words.
func addresses(s string) []string {
	list, err := (&netmail.AddressParser{WordDecoder: &wordDecoder}).ParseList(s)
	if err != nil {
		return strings.Fields(strings.ToLower(decodeWords(s)))
	}
	var out []string
	for _, a := range list {
		out = append(out, strings.ToLower(a.Address))
	}
	return out
}

// leafHasher hashes one part that holds no others: decoded, and text in UTF-8 with one kind of line ends and without blanks at
// the ends of lines.
type leafHasher struct {
	kind, name string
	hash       hash.Hash
	text       *textHasher // nil = octets
	into       io.Writer
	decode     func(line []byte)
	size       int64
	held       []byte // a line end that belongs to the boundary if one follows
	quad       []byte // base64 that is not a whole group yet
	soft       []byte // quoted-printable that may go on
}

func newLeaf(kind, name, encoding, charset string, text bool) *leafHasher {
	l := &leafHasher{kind: kind, name: name, hash: sha256.New()}
	if text {
		l.text = &textHasher{hash: l.hash}
		l.into = l.text
		if e, err := htmlindex.Get(charset); err == nil && e != nil {
			if n, _ := htmlindex.Name(e); n != "utf-8" {
				l.into = transform.NewWriter(l.text, e.NewDecoder())
			}
		}
	} else {
		l.into = l
	}
	switch encoding {
	case "base64":
		l.decode = l.base64
	case "quoted-printable":
		l.decode = l.quoted
	default:
		l.decode = l.plain
	}
	return l
}

func (l *leafHasher) write(line []byte) { l.decode(line) }

// Write takes decoded octets of a part that is no text.
func (l *leafHasher) Write(p []byte) (int, error) {
	l.size += int64(len(p))
	return l.hash.Write(p)
}

func (l *leafHasher) plain(line []byte) {
	if len(l.held) > 0 {
		l.into.Write(l.held)
		l.held = l.held[:0]
	}
	body := bytes.TrimSuffix(line, []byte("\n"))
	if len(body) < len(line) {
		body = bytes.TrimSuffix(body, []byte("\r"))
		l.held = append(l.held, '\r', '\n') // however it was: line ends are no content
	}
	l.into.Write(body)
}

func (l *leafHasher) base64(line []byte) {
	for _, c := range line {
		if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' {
			l.quad = append(l.quad, c)
		}
	}
	whole := len(l.quad) / 4 * 4
	l.unbase(l.quad[:whole])
	l.quad = append(l.quad[:0], l.quad[whole:]...)
}

func (l *leafHasher) unbase(group []byte) {
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(group)))
	n, _ := base64.RawStdEncoding.Decode(out, group)
	l.into.Write(out[:n])
}

func (l *leafHasher) quoted(line []byte) {
	if len(l.held) > 0 {
		l.into.Write(l.held)
		l.held = l.held[:0]
	}
	line = append(l.soft, line...)
	l.soft = nil
	body := bytes.TrimSuffix(line, []byte("\n"))
	ended := len(body) < len(line)
	if ended {
		body = bytes.TrimRight(body, " \t\r")
		if bytes.HasSuffix(body, []byte("=")) {
			body = body[:len(body)-1]
		} else {
			l.held = append(l.held, '\r', '\n')
		}
	} else if i := bytes.LastIndexByte(body, '='); i >= 0 && len(body)-i < 3 {
		l.soft = bytes.Clone(body[i:])
		body = body[:i]
	}
	out := make([]byte, 0, len(body))
	for i := 0; i < len(body); i++ {
		if body[i] == '=' && i+2 < len(body)+0 {
			hi, lo := unhex(body[i+1]), unhex(body[i+2])
			if hi >= 0 && lo >= 0 {
				out = append(out, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		out = append(out, body[i])
	}
	l.into.Write(out)
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

// sum ends the part. n is its size: octets, of text the characters that are seen.
func (l *leafHasher) sum() (sum []byte, n int64) {
	l.unbase(l.quad)
	if len(l.soft) > 0 {
		l.into.Write(l.soft)
	}
	if c, ok := l.into.(io.Closer); ok {
		c.Close() // what the charset's decoder still holds
	}
	if l.text == nil {
		return l.hash.Sum(nil), l.size
	}
	l.text.end()
	return l.hash.Sum(nil), l.text.seen
}

// textHasher hashes text without what rendering changes: line ends are one octet, blanks at the ends of lines and
// empty lines at the end are left out.
type textHasher struct {
	hash  hash.Hash
	seen  int64
	blank []byte // blanks and line ends that count only if more text follows
	rest  []byte // a character that is not whole
}

const blankMost = 64 << 10

func (t *textHasher) Write(p []byte) (int, error) {
	n := len(p)
	if len(t.rest) > 0 {
		p = append(t.rest, p...)
		t.rest = nil
	}
	for len(p) > 0 {
		r, size := utf8.DecodeRune(p)
		if r == utf8.RuneError && size == 1 && !utf8.FullRune(p) {
			t.rest = bytes.Clone(p)
			break
		}
		switch {
		case r == '\r':
		case r == '\n':
			t.blank = append(bytes.TrimRight(t.blank, " \t"), '\n')
		case r == ' ' || r == '\t':
			t.blank = append(t.blank, byte(r))
		default:
			t.hash.Write(t.blank)
			t.blank = t.blank[:0]
			t.hash.Write(p[:size])
			if !unicode.IsSpace(r) {
				t.seen++
			}
		}
		if len(t.blank) > blankMost {
			t.hash.Write(t.blank)
			t.blank = t.blank[:0]
		}
		p = p[size:]
	}
	return n, nil
}

func (t *textHasher) end() {
	t.hash.Write(t.rest)
	t.seen += int64(len(t.rest))
}
