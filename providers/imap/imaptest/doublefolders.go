package imaptest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-imap/v2/imapserver"
)

// The functions of this file and the next carry out commands. The caller holds d.mu.

func (c *Visitor) named(raw string) *drawer { return c.d.find(c.box, decodeName(raw)) }

func (c *Visitor) list(args []word) string {
	if len(args) < 2 || args[0].open || len(args) > 2 && !c.offers("LIST-EXTENDED") {
		return c.unknown("LIST")
	}
	if args[1].text == "" {
		c.say(`* LIST (\Noselect) "/" ""`)
		return "OK LIST completed."
	}
	var items []word
	special, subscribed := false, false
	if len(args) == 4 && strings.EqualFold(args[2].text, "RETURN") {
		for i, o := range args[3].list {
			switch strings.ToUpper(o.text) {
			case "SUBSCRIBED":
				subscribed = true
			case "SPECIAL-USE":
				special = true
			case "STATUS":
				if !c.offers("LIST-STATUS") || i+1 >= len(args[3].list) {
					return c.unknown("LIST")
				}
				items = args[3].list[i+1].list
			}
		}
	}
	_ = special // the attributes are shown to all, as most servers do
	for _, f := range c.box.folders {
		if !imapserver.MatchList(f.name, '/', args[0].text, decodeName(args[1].text)) {
			continue
		}
		attributes := slices.Clone(f.attributes)
		if subscribed && f.subscribed {
			attributes = append(attributes, `\Subscribed`)
		}
		name := encodeName(f.name)
		c.say(fmt.Sprintf(`* LIST (%s) "/" %s`, strings.Join(attributes, " "), c.spell(name)))
		if items != nil && f.selectable() {
			c.sayStatus(f, c.spell(name), items)
		}
	}
	return "OK LIST completed."
}

// spell writes a name as an atom where it is one, as Exchange does.
func (c *Visitor) spell(name string) string {
	if name == "" || strings.ContainsAny(name, " ()\"\\{%*]") {
		return quote(name)
	}
	return name
}

func (f *drawer) selectable() bool {
	return !slices.ContainsFunc(f.attributes, func(a string) bool { return strings.EqualFold(a, `\Noselect`) })
}

func (c *Visitor) lsub(args []word) string {
	if len(args) != 2 {
		return c.unknown("LSUB")
	}
	for _, f := range c.box.folders {
		if f.subscribed && imapserver.MatchList(f.name, '/', args[0].text, decodeName(args[1].text)) {
			c.say(`* LSUB () "/" ` + c.spell(encodeName(f.name)))
		}
	}
	return "OK LSUB completed."
}

func (c *Visitor) status(args []word) string {
	if len(args) != 2 || !args[1].open {
		return c.unknown("STATUS")
	}
	f := c.named(args[0].text)
	if f == nil || !f.selectable() {
		return "NO STATUS failed. Folder doesn't exist."
	}
	for _, item := range args[1].list {
		if k := strings.ToUpper(item.text); k == "HIGHESTMODSEQ" && !c.d.manners.Condstore || !slices.Contains([]string{"MESSAGES", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "RECENT", "HIGHESTMODSEQ"}, k) {
			return c.unknown(item.text)
		}
	}
	c.sayStatus(f, c.spell(args[0].text), args[1].list)
	return "OK STATUS completed."
}

func (c *Visitor) sayStatus(f *drawer, name string, items []word) {
	var parts []string
	for _, item := range items {
		k := strings.ToUpper(item.text)
		n := uint64(0)
		switch k {
		case "MESSAGES":
			n = uint64(len(f.held))
		case "UIDNEXT":
			n = uint64(f.next)
		case "UIDVALIDITY":
			n = uint64(f.validity)
		case "HIGHESTMODSEQ":
			n = f.modseq
		case "UNSEEN":
			for _, h := range f.held {
				if !h.Flags[`\Seen`] {
					n++
				}
			}
		}
		parts = append(parts, k+" "+strconv.FormatUint(n, 10))
	}
	c.say(fmt.Sprintf("* STATUS %s (%s)", name, strings.Join(parts, " ")))
}

func (c *Visitor) open(args []word, readOnly bool) string {
	c.folder, c.seen = nil, nil
	verb := map[bool]string{true: "EXAMINE", false: "SELECT"}[readOnly]
	if len(args) == 0 || len(args) > 1 && !c.d.manners.Condstore {
		return c.unknown(verb)
	}
	f := c.named(args[0].text)
	if f == nil || !f.selectable() {
		return "NO " + args[0].text + " doesn't exist."
	}
	c.folder, c.readOnly = f, readOnly
	for _, h := range f.held {
		c.seen = append(c.seen, h.uid)
	}
	permanent := strings.Join(c.d.manners.Permanent, " ")
	shown := strings.TrimSpace(strings.ReplaceAll(permanent, `\*`, ""))
	c.say(fmt.Sprintf("* %d EXISTS", len(f.held)))
	c.say("* 0 RECENT")
	c.say("* FLAGS (" + shown + ")")
	c.say("* OK [PERMANENTFLAGS (" + permanent + ")] Permanent flags")
	c.say(fmt.Sprintf("* OK [UIDVALIDITY %d] UIDVALIDITY value", f.validity))
	c.say(fmt.Sprintf("* OK [UIDNEXT %d] The next unique identifier value", f.next))
	if c.d.manners.Condstore {
		c.say(fmt.Sprintf("* OK [HIGHESTMODSEQ %d] Highest", f.modseq))
	}
	if readOnly {
		return "OK [READ-ONLY] EXAMINE completed."
	}
	return "OK [READ-WRITE] SELECT completed."
}

func (c *Visitor) create(args []word) string {
	if len(args) != 1 {
		return c.unknown("CREATE")
	}
	name := strings.TrimSuffix(decodeName(args[0].text), "/")
	if c.d.find(c.box, name) != nil {
		return "NO Mailbox already exists."
	}
	if c.d.manners.RefuseName != nil {
		if words := c.d.manners.RefuseName(name); words != "" {
			return words
		}
	}
	// Folders above it are made, too (RFC 3501 §6.3.3).
	for i := range len(name) {
		if above := name[:i]; name[i] == '/' && c.d.find(c.box, above) == nil {
			c.box.folders = append(c.box.folders, c.d.newDrawer(above, `\HasChildren`))
		}
	}
	c.box.folders = append(c.box.folders, c.d.newDrawer(name, `\HasNoChildren`))
	return "OK CREATE completed."
}

func (c *Visitor) remove(args []word) string {
	if len(args) != 1 {
		return c.unknown("DELETE")
	}
	f := c.named(args[0].text)
	if f == nil {
		return "NO DELETE failed. Folder doesn't exist."
	}
	c.box.folders = slices.DeleteFunc(c.box.folders, func(x *drawer) bool { return x == f })
	return "OK DELETE completed."
}

func (c *Visitor) subscribe(args []word, on bool) string {
	if len(args) != 1 {
		return c.unknown("SUBSCRIBE")
	}
	f := c.named(args[0].text)
	if f == nil {
		return "NO SUBSCRIBE failed."
	}
	f.subscribed = on
	return "OK SUBSCRIBE completed."
}

func (c *Visitor) unselect([]word) string {
	if !c.offers("UNSELECT") || c.folder == nil {
		return c.unknown("UNSELECT")
	}
	c.folder = nil
	return "OK UNSELECT completed."
}

func (c *Visitor) close([]word) string {
	if c.folder == nil {
		return c.unknown("CLOSE")
	}
	if !c.readOnly {
		c.drop(func(h held) bool { return h.Flags[`\Deleted`] })
	}
	c.folder = nil
	return "OK CLOSE completed."
}
