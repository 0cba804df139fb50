package render

import (
	"strings"
	"time"
)

// LateSender is a host that has sent mail to the old MX after the flip: somebody to tell.
type LateSender struct {
	Host      string // "" = no header tells
	IP        string // "" = not known
	Messages  int
	Last      time.Time
	From      []string // addresses that it sent for
	Mailboxes []string // whom it reached
}

func (l LateSender) name() string {
	switch {
	case l.Host == "":
		return "sender not known"
	case l.IP != "" && l.IP != l.Host:
		return l.Host + " [" + l.IP + "]"
	}
	return l.Host
}

// listed names some, and how many more there are.
func listed(list []string, most int) string {
	if n := len(list) - most; n > 0 {
		return strings.Join(list[:most], ", ") + " and " + Count(int64(n)) + " more"
	}
	return strings.Join(list, ", ")
}

// lateShown is how many senders a terminal shows; JSON has all of them.
const lateShown = 10

// lateSenders are told on the terminal.
func (pg *page) lateSenders(list []LateSender, cal calendar) {
	if len(list) == 0 {
		return
	}
	pg.heading("Still sent to the old MX since the flip", "")
	for _, l := range list[:min(len(list), lateShown)] {
		line := pg.esc(l.name()) + ": " + plural(l.Messages, "message", "messages") + ", the last " + cal.full(l.Last)
		pg.para("", "    ", line)
		if len(l.From) > 0 {
			pg.para(dim, "      ", "for "+pg.esc(listed(l.From, 5)))
		}
		pg.para(dim, "      ", "to "+pg.esc(listed(l.Mailboxes, 5)))
	}
	if n := len(list) - lateShown; n > 0 {
		pg.para(dim, "    ", "and "+plural(n, "sender", "senders")+" more: -json has all of them")
	}
}

type lateSenderJSON struct {
	Host      string     `json:"host"` // "" where no header tells
	IP        string     `json:"ip,omitempty"`
	Messages  int        `json:"messages"`
	Last      *time.Time `json:"last"`
	From      []string   `json:"from"`
	Mailboxes []string   `json:"mailboxes"`
}

func lateSendersJSON(senders []LateSender) []lateSenderJSON {
	out := make([]lateSenderJSON, len(senders))
	for i, l := range senders {
		out[i] = lateSenderJSON{l.Host, l.IP, l.Messages, known(l.Last), list(l.From), list(l.Mailboxes)}
	}
	return out
}
