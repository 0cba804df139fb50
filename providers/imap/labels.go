package imap

import (
	"slices"
	"strings"
)

// At Gmail a message is kept once and shows in each folder whose label it has
// (https://developers.google.com/workspace/gmail/imap/imap-extensions). Where mail is in folders, it is in one:
// what else X-GM-LABELS says of a message becomes keywords of it.

// labelled adds a message's further labels to its flags. raw is the folder that is open.
func (p *partial) labelled(raw string) {
	for _, l := range p.labels {
		if k := labelKeyword(l); k != "" && l != raw && !slices.Contains(p.Flags, k) {
			p.Flags = append(slices.Clip(p.Flags), k)
		}
	}
	p.labels = nil
}

// labelKeyword is the keyword for a label as on the wire, "" for one that says nothing that
// folder and flags don't: a label of Gmail's own begins with a backslash.
func labelKeyword(label string) string {
	if strings.EqualFold(label, `\Important`) {
		return "$Important" // RFC 8457 §2
	}
	if strings.HasPrefix(label, `\`) {
		return ""
	}
	// What is no atom (RFC 3501 §9) becomes "_"; modified UTF-7 is one.
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\]`, r) {
			return '_'
		}
		return r
	}, label)
}
