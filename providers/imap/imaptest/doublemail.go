package imaptest

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (c *Visitor) last() uint32 {
	if n := len(c.folder.held); n > 0 {
		return c.folder.held[n-1].uid
	}
	return 0
}

// news tells what has come or gone in the open folder since the client looked.
func (c *Visitor) news() {
	if c.folder == nil {
		return
	}
	for i := len(c.seen) - 1; i >= 0; i-- {
		if !slices.ContainsFunc(c.folder.held, func(h held) bool { return h.uid == c.seen[i] }) {
			c.say(fmt.Sprintf("* %d EXPUNGE", i+1))
			c.seen = slices.Delete(c.seen, i, i+1)
		}
	}
	if len(c.seen) == len(c.folder.held) {
		return
	}
	c.seen = c.seen[:0]
	for _, h := range c.folder.held {
		c.seen = append(c.seen, h.uid)
	}
	c.say(fmt.Sprintf("* %d EXISTS", len(c.seen)))
}

func (c *Visitor) sequence(uid uint32) int { return slices.Index(c.seen, uid) + 1 }

// itemsKnown are those of every server, and of some.
func (c *Visitor) itemKnown(k string) bool {
	switch {
	case k == "MODSEQ":
		return c.d.manners.Condstore
	case k == "X-GM-MSGID", k == "X-GM-LABELS":
		return c.d.manners.Gmail
	case k == "UID", k == "FLAGS", k == "INTERNALDATE", k == "RFC822.SIZE", k == "BODY.PEEK[]", k == "BODY[]", k == "BODY.PEEK[HEADER]":
		return true
	}
	return strings.HasPrefix(k, "BODY.PEEK[HEADER.FIELDS ")
}

func (c *Visitor) fetch(args []word) string {
	if c.folder == nil || len(args) < 2 {
		return c.unknown("FETCH")
	}
	items := args[1].list
	if !args[1].open {
		items = args[1:2]
	}
	since := uint64(0)
	if len(args) == 3 {
		if !c.d.manners.Condstore || len(args[2].list) != 2 || !strings.EqualFold(args[2].list[0].text, "CHANGEDSINCE") {
			return c.unknown("CHANGEDSINCE")
		}
		since, _ = strconv.ParseUint(args[2].list[1].text, 10, 64)
	}
	for _, i := range items {
		if k := strings.ToUpper(i.text); i.open || !c.itemKnown(k) {
			return c.unknown(i.text)
		}
	}
	in, err := parseUIDs(args[0].text, c.last())
	if err != nil {
		return c.unknown(args[0].text)
	}
	c.news()
	for _, h := range slices.Clone(c.folder.held) {
		if !in(h.uid) || since > 0 && h.modseq <= since {
			continue
		}
		if c.d.manners.Midway != nil {
			if answer := c.d.manners.Midway(c); answer != "" {
				return answer
			}
		}
		var parts [][]byte
		for _, i := range items {
			parts = append(parts, c.item(h, strings.ToUpper(i.text)))
		}
		if since > 0 && !slices.ContainsFunc(items, func(i word) bool { return strings.EqualFold(i.text, "MODSEQ") }) {
			parts = append(parts, c.item(h, "MODSEQ"))
		}
		if c.d.manners.MixItems {
			slices.Reverse(parts)
		}
		fmt.Fprintf(c.w, "* %d FETCH (%s)\r\n", c.sequence(h.uid), bytes.Join(parts, []byte(" ")))
		if c.w.Buffered() > 32<<10 {
			// A client that reads slowly holds up itself alone.
			c.d.mu.Unlock()
			c.flush()
			c.d.mu.Lock()
		}
	}
	return "OK FETCH completed."
}

func (c *Visitor) item(h held, k string) []byte {
	literal := func(name string, octets []byte) []byte {
		return append(fmt.Appendf(nil, "%s {%d}\r\n", name, len(octets)), octets...)
	}
	header, _, _ := bytes.Cut(h.Octets, []byte("\r\n\r\n"))
	switch {
	case k == "UID":
		return fmt.Appendf(nil, "UID %d", h.uid)
	case k == "FLAGS":
		return fmt.Appendf(nil, "FLAGS (%s)", strings.Join(h.flags(), " "))
	case k == "INTERNALDATE":
		return fmt.Appendf(nil, "INTERNALDATE %q", h.Date.Format("_2-Jan-2006 15:04:05 -0700"))
	case k == "RFC822.SIZE":
		n := len(h.Octets)
		if c.d.manners.Size != nil {
			n = c.d.manners.Size(h.Octets)
		}
		return fmt.Appendf(nil, "RFC822.SIZE %d", n)
	case k == "MODSEQ":
		return fmt.Appendf(nil, "MODSEQ (%d)", h.modseq)
	case k == "X-GM-MSGID":
		return fmt.Appendf(nil, "X-GM-MSGID %d", h.Number)
	case k == "X-GM-LABELS":
		return fmt.Appendf(nil, "X-GM-LABELS (%s)", strings.Join(c.labels(h.Stored), " "))
	case k == "BODY.PEEK[]", k == "BODY[]":
		return literal("BODY[]", h.Octets)
	case k == "BODY.PEEK[HEADER]":
		return literal("BODY[HEADER]", append(bytes.Clone(header), "\r\n\r\n"...))
	}
	fields := strings.TrimSuffix(strings.TrimPrefix(k, "BODY.PEEK[HEADER.FIELDS ("), ")]")
	var picked bytes.Buffer
	taken := false
	for line := range bytes.SplitSeq(header, []byte("\r\n")) {
		if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
			if taken {
				picked.Write(append(bytes.Clone(line), "\r\n"...))
			}
			continue
		}
		name, _, _ := bytes.Cut(line, []byte(":"))
		if taken = slices.Contains(strings.Fields(fields), strings.ToUpper(string(name))); taken {
			picked.Write(append(bytes.Clone(line), "\r\n"...))
		}
	}
	picked.WriteString("\r\n")
	return literal(strings.Replace(k, ".PEEK", "", 1), picked.Bytes())
}

// labels are the folders that hold a message besides the open one, as Gmail names them.
func (c *Visitor) labels(m *Stored) []string {
	var list []string
	for _, f := range c.box.folders {
		if f == c.folder || !slices.ContainsFunc(f.held, func(h held) bool { return h.Stored == m }) {
			continue
		}
		label := quote(encodeName(f.name))
		switch {
		case f.has(`\All`):
			continue
		case strings.EqualFold(f.name, "INBOX"):
			label = `"\\Inbox"`
		case f.has(`\Sent`):
			label = `"\\Sent"`
		case f.has(`\Drafts`):
			label = `"\\Draft"`
		case f.has(`\Important`):
			label = `"\\Important"`
		case f.has(`\Flagged`):
			label = `"\\Starred"`
		}
		list = append(list, label)
	}
	return list
}

func (f *drawer) has(attribute string) bool { return slices.Contains(f.attributes, attribute) }

func (c *Visitor) store(args []word) string {
	if c.folder == nil || c.readOnly || len(args) < 3 {
		return c.unknown("STORE")
	}
	in, err := parseUIDs(args[0].text, c.last())
	if err != nil {
		return c.unknown(args[0].text)
	}
	mode := strings.TrimSuffix(strings.ToUpper(args[1].text), ".SILENT")
	flags := args[2].list
	if !args[2].open {
		flags = args[2:]
	}
	var kept []string
	for _, f := range flags {
		switch {
		case c.d.manners.keeps(f.text):
			kept = append(kept, f.text)
		case c.d.manners.RefuseFlag != "":
			return c.d.manners.RefuseFlag
		}
	}
	for _, h := range c.folder.held {
		if !in(h.uid) {
			continue
		}
		if mode == "FLAGS" {
			clear(h.Flags)
		}
		for _, f := range kept {
			on := mode != "-FLAGS"
			c.d.mark(c.folder, h.Stored, f, on)
			h.Setby[canonicalFlag(f)] = on
		}
	}
	return "OK STORE completed."
}

func (c *Visitor) append(args []word) string {
	m := &c.d.manners
	if len(args) < 2 {
		return c.unknown("APPEND")
	}
	f := c.named(args[0].text)
	if f == nil || !f.selectable() {
		return "NO [TRYCREATE] Folder doesn't exist."
	}
	s := &Stored{Flags: map[string]bool{}, Setby: map[string]bool{}, Date: c.d.clock()}
	for _, a := range args[1 : len(args)-1] {
		if !a.open {
			at, err := time.Parse("_2-Jan-2006 15:04:05 -0700", a.text)
			if err != nil {
				return c.unknown(a.text)
			}
			s.Date = at
			continue
		}
		for _, flag := range a.list {
			switch {
			case m.keeps(flag.text):
				s.Flags[canonicalFlag(flag.text)] = true
			case m.RefuseFlag != "":
				return m.RefuseFlag
			}
		}
	}
	s.Octets = []byte(args[len(args)-1].text)
	var fate Fate
	if m.Append != nil {
		c.d.mu.Unlock()
		fate = m.Append(c, f.name, s)
		c.d.mu.Lock()
	}
	switch {
	case fate.Answer != "":
		return fate.Answer
	case fate.Lost:
		c.cut = true
		return ""
	case fate.Late > 0:
		// A server that has lost its client may still carry out what it was told.
		c.cut = true
		d := c.d
		d.running.Go(func() {
			time.Sleep(fate.Late)
			d.mu.Lock()
			defer d.mu.Unlock()
			d.put(f, s)
		})
		return ""
	}
	uid := f.next
	switch {
	case fate.Gone:
		f.next++
	case m.Gmail && c.merge(f, s):
		f.next = uid + 1
	default:
		uid = c.d.put(f, s)
		if all := c.allMail(); m.Gmail && all != nil && all != f && !f.has(`\Trash`) && !f.has(`\Junk`) {
			c.d.put(all, s)
		}
	}
	if fate.Cut {
		c.cut = true
		return ""
	}
	if fate.NoUID {
		return "OK APPEND completed."
	}
	words := m.Appended
	if words == "" {
		words = "APPEND completed."
	}
	return fmt.Sprintf("OK [APPENDUID %d %d] %s", f.validity, uid, words)
}

func (c *Visitor) allMail() *drawer {
	for _, f := range c.box.folders {
		if f.has(`\All`) {
			return f
		}
	}
	return nil
}

// merge gives a message that is there already one more folder, and reports whether it was there.
// The UID that its APPEND is answered with holds nothing then, where that folder had it.
func (c *Visitor) merge(f *drawer, s *Stored) bool {
	for _, x := range c.box.folders {
		for _, h := range x.held {
			if !bytes.Equal(h.Octets, s.Octets) {
				continue
			}
			if !slices.ContainsFunc(f.held, func(o held) bool { return o.Stored == h.Stored }) {
				c.d.put(f, h.Stored)
			}
			return true
		}
	}
	return false
}

func (c *Visitor) transfer(args []word, move bool) string {
	name := map[bool]string{true: "MOVE", false: "COPY"}[move]
	if c.folder == nil || len(args) != 2 || move && (!c.offers("MOVE") || c.readOnly) {
		return c.unknown(name)
	}
	to := c.named(args[1].text)
	if to == nil {
		return "NO [TRYCREATE] Folder doesn't exist."
	}
	in, err := parseUIDs(args[0].text, c.last())
	if err != nil {
		return c.unknown(args[0].text)
	}
	var from, placed []string
	var gone []uint32
	for _, h := range slices.Clone(c.folder.held) {
		if !in(h.uid) {
			continue
		}
		m := h.Stored
		if !c.d.manners.Gmail && !move {
			twin := *m
			twin.Flags, twin.Setby = map[string]bool{}, map[string]bool{}
			for f := range m.Flags {
				twin.Flags[f] = true
			}
			m = &twin
		}
		from = append(from, strconv.Itoa(int(h.uid)))
		placed = append(placed, strconv.Itoa(int(c.d.put(to, m))))
		gone = append(gone, h.uid)
	}
	code := ""
	if len(from) > 0 && c.offers("UIDPLUS") {
		code = fmt.Sprintf("[COPYUID %d %s %s] ", to.validity, strings.Join(from, ","), strings.Join(placed, ","))
	}
	if move {
		if code != "" {
			c.say("* OK " + code)
		}
		c.drop(func(h held) bool { return slices.Contains(gone, h.uid) })
		code = ""
	}
	return "OK " + code + name + " completed."
}

func (c *Visitor) expunge(args []word) string {
	if c.folder == nil || c.readOnly || args != nil && !c.offers("UIDPLUS") {
		return c.unknown("EXPUNGE")
	}
	in := func(uint32) bool { return true }
	if len(args) > 0 {
		var err error
		if in, err = parseUIDs(args[0].text, c.last()); err != nil {
			return c.unknown(args[0].text)
		}
	}
	c.drop(func(h held) bool { return h.Flags[`\Deleted`] && in(h.uid) })
	return "OK EXPUNGE completed."
}

// drop takes messages out of the open folder.
func (c *Visitor) drop(which func(held) bool) {
	c.d.modseq++
	c.folder.modseq = c.d.modseq
	c.folder.held = slices.DeleteFunc(c.folder.held, which)
	c.news()
}

func (c *Visitor) search(args []word) string {
	if c.folder == nil {
		return c.unknown("SEARCH")
	}
	in := func(uint32) bool { return true }
	switch {
	case len(args) == 1 && strings.EqualFold(args[0].text, "ALL"):
	case len(args) == 2 && strings.EqualFold(args[0].text, "UID"):
		var err error
		if in, err = parseUIDs(args[1].text, c.last()); err != nil {
			return c.unknown(args[1].text)
		}
	default:
		return c.unknown("SEARCH")
	}
	line := "* SEARCH"
	for _, h := range c.folder.held {
		if in(h.uid) {
			line += " " + strconv.Itoa(int(h.uid))
		}
	}
	c.say(line)
	return "OK SEARCH completed."
}
