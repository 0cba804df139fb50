package imap

import (
	"slices"
	"strings"
)

// Which folders of a host hold no mail, and which names it doesn't take, is in no capability. Hosts are
// recognised by what LIST shows: Exchange spells INBOX "Inbox", Gmail keeps its own folders
// below "[Gmail]" ("[Google Mail]" in some countries) and marks one of them \All.

func isExchange(entries []ListEntry) bool {
	return slices.ContainsFunc(entries, func(e ListEntry) bool { return e.Raw == "Inbox" })
}

func isGmail(entries []ListEntry) bool {
	return slices.ContainsFunc(entries, func(e ListEntry) bool {
		return e.SpecialUse == `\All` && (strings.HasPrefix(e.Raw, "[Gmail]/") || strings.HasPrefix(e.Raw, "[Google Mail]/"))
	})
}

var (
	// itemsOnly are Exchange's folders of things that are no messages; what IMAP shows of them are renderings,
	// those in Files without any header. Notes, Outbox and Conversation History hold messages, and are read.
	itemsOnly = []string{"calendar", "contacts", "files", "journal", "sync issues", "tasks"}
	// taken are the names at Exchange that stand for something else than a folder of mail.
	taken = append([]string{"conversation history", "notes", "outbox"}, itemsOnly...)
)

// notMail says why a source folder is left out that nobody has named, "" for one that isn't.
func (m *mapper) notMail(s ListEntry) string {
	switch first := topLevel(s.Name); {
	case m.fromExchange && s.SpecialUse == "" && slices.Contains(itemsOnly, first):
		return "it holds no mail at Exchange"
	case m.fromGmail && (s.SpecialUse == `\Flagged` || s.SpecialUse == `\Important`):
		return "it shows messages of other folders"
	}
	return ""
}

func topLevel(name string) string {
	first, _, _ := strings.Cut(name, "/")
	return strings.ToLower(strings.TrimSpace(first))
}

// fit makes a name that the target takes, as near as can be, of one that the rules don't give.
func (m *mapper) fit(name string) string {
	name = m.tidy(name)
	if !m.toExchange || !slices.Contains(taken, topLevel(name)) {
		return name
	}
	first, rest, below := strings.Cut(name, "/")
	if below {
		return first + " (mail)/" + rest
	}
	return first + " (mail)"
}

// tidy takes blanks away that Exchange and Gmail refuse around a level, and what Gmail refuses within one.
func (m *mapper) tidy(name string) string {
	if !m.toExchange && !m.toGmail {
		return name
	}
	levels := strings.Split(name, "/")
	for i, l := range levels {
		if l = strings.TrimSpace(l); m.toGmail {
			l = strings.ReplaceAll(strings.Join(strings.Fields(l), " "), "^", "_") // NO [CANNOT] Folder contains excess whitespace
		}
		if levels[i] = l; l == "" {
			levels[i] = "_"
		}
	}
	return strings.Join(levels, "/")
}
