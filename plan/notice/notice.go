// Package notice fills the texts of notices with what one recipient has to know. It is
// pure: the same migration and recipient give the same message.
//
// A text holds {name}, where name is a fact, and passages that are for some recipients only:
// {for microsoft365} … {end} is for those whose target is of that kind, {for submission} … {end}
// for those of whom that fact is known. Passages don't nest. Anything else in braces is
// left as it stands.
package notice

import (
	"embed"
	"fmt"
	"html"
	"io/fs"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
)

// The texts that come with the program: NAME.txt and NAME.html.
//
//go:embed builtin/*
var builtin embed.FS

// Prefix begins a template that is one of Builtins.
const Prefix = "builtin:"

// Builtins are the names of the texts that come with the program, sorted.
func Builtins() []string {
	files, _ := fs.Glob(builtin, "builtin/*.txt") // the pattern is well-formed
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = strings.TrimSuffix(strings.TrimPrefix(f, "builtin/"), ".txt")
	}
	slices.Sort(names)
	return names
}

// Builtin returns the text and the HTML of that name.
func Builtin(name string) (text, html string, ok bool) {
	t, err := builtin.ReadFile("builtin/" + name + ".txt")
	h, err2 := builtin.ReadFile("builtin/" + name + ".html")
	return string(t), string(h), err == nil && err2 == nil
}

// Names are the facts that a text may hold, sorted.
func Names() []string {
	return []string{"address", "cutover", "cutover_de", "cutover_en", "domain", "migration", "name", "old_server", "port", "server", "submission", "submission_tls", "target", "tls", "username", "webmail"}
}

// Kinds are the kinds of target that a passage may be for, sorted.
func Kinds() []string { return []string{"google_workspace", "imap", "ionos", "microsoft365"} }

// services are where people of hosted targets read their mail.
var services = map[string]struct{ server, webmail string }{
	"microsoft365":     {"outlook.office365.com", "https://outlook.office.com"},
	"google_workspace": {"imap.gmail.com", "https://mail.google.com"},
}

// Facts are what one recipient has to know. Those that are not known are empty.
type Facts struct {
	Kind   string // of the recipient's target
	values map[string]string
}

// About gathers the facts of the recipient at address: of the mailbox that has it, at either
// side, or of the migration alone.
func About(m *plan.Migration, address string) Facts {
	loc, err := time.LoadLocation(m.Timezone)
	if err != nil {
		loc = time.UTC
	}
	at := m.Cutover.In(loc)
	f := Facts{values: map[string]string{
		"address": address, "name": address, "target": address, "migration": m.Name,
		"cutover":    at.Format("Mon 2 Jan 2006 15:04 MST"),
		"cutover_en": at.Format("Monday, 2 January 2006, 15:04 MST"),
		"cutover_de": german(at),
	}}
	_, f.values["domain"], _ = strings.Cut(address, "@")
	on, from := "", ""
	if len(m.Targets) == 1 {
		on = m.Targets[0].Key()
	}
	for _, b := range m.Mailboxes {
		if strings.EqualFold(b.Source, address) || strings.EqualFold(b.Target, address) {
			on, from = b.On, b.From
			f.values["target"] = b.Target
			if b.DisplayName != "" {
				f.values["name"] = b.DisplayName
			}
		}
	}
	if h, ok := m.Source(from); ok {
		f.values["old_server"] = h.Hostname
	}
	if h, ok := m.Target(on); ok {
		f.host(h)
	}
	return f
}

// host takes note of where the recipient's mail will be.
func (f *Facts) host(h plan.Host) {
	f.Kind = h.Kind
	f.values["server"], f.values["port"], f.values["tls"] = h.Hostname, strconv.Itoa(h.Port), protection(h.TLS)
	f.values["username"] = strings.ReplaceAll(h.Username, "{address}", f.values["target"])
	if s, hosted := services[h.Kind]; hosted {
		f.values["server"], f.values["webmail"], f.values["port"] = s.server, s.webmail, "993"
		f.values["username"] = f.values["target"]
	}
	if e, ok := plan.ParseEndpoint(h.Submission); ok {
		f.values["submission_tls"] = protection(e.TLS)
		f.values["submission"] = net.JoinHostPort(e.Host, strconv.Itoa(e.Port))
	}
}

// protection is how mail programs call a mode.
func protection(m plan.TLSMode) string {
	switch m {
	case plan.TLSStart:
		return "STARTTLS"
	case plan.TLSNone:
		return ""
	}
	return "SSL/TLS"
}

var (
	months = []string{"Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November", "Dezember"}
	days   = []string{"Sonntag", "Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag"}
)

// german is "Freitag, 15. Januar 2027, 18:00 Uhr (MEZ)".
func german(t time.Time) string {
	zone, _ := t.Zone()
	if name, ok := map[string]string{"CET": "MEZ", "CEST": "MESZ"}[zone]; ok {
		zone = name
	}
	return fmt.Sprintf("%s, %d. %s %d, %s Uhr (%s)", days[t.Weekday()], t.Day(), months[t.Month()-1], t.Year(), t.Format("15:04"), zone)
}

var (
	fact    = regexp.MustCompile(`\{([a-z][a-z0-9_]*)\}`)
	passage = regexp.MustCompile(`(?s)\{for ([a-z0-9_ ]+)\}(?:\r?\n)?(.*?)\{end\}(?:\r?\n)?`)
)

// Fill puts the facts into a text.
func (f Facts) Fill(text string) string { return f.fill(text, func(s string) string { return s }) }

// FillHTML puts them into HTML, in which they can be nothing but text.
func (f Facts) FillHTML(text string) string { return f.fill(text, html.EscapeString) }

func (f Facts) fill(text string, escape func(string) string) string {
	text = passage.ReplaceAllStringFunc(text, func(s string) string {
		m := passage.FindStringSubmatch(s)
		for _, word := range strings.Fields(m[1]) {
			if word == f.Kind || f.values[word] != "" {
				return m[2]
			}
		}
		return ""
	})
	return fact.ReplaceAllStringFunc(text, func(s string) string {
		if v, ok := f.values[s[1:len(s)-1]]; ok {
			return escape(v)
		}
		if slices.Contains(Names(), s[1:len(s)-1]) {
			return "" // a fact that isn't known of this recipient
		}
		return s
	})
}

// Unknown are what a text asks for that is no fact, and what its passages are for that is neither a fact
// nor a kind of target, each once.
func Unknown(text string) []string {
	var list []string
	for _, m := range passage.FindAllStringSubmatch(text, -1) {
		for _, word := range strings.Fields(m[1]) {
			if !slices.Contains(Kinds(), word) && !slices.Contains(Names(), word) {
				list = append(list, word)
			}
		}
	}
	for _, m := range fact.FindAllStringSubmatch(passage.ReplaceAllString(text, "$2"), -1) {
		if !slices.Contains(Names(), m[1]) {
			list = append(list, m[1])
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
