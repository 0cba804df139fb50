// Package spreadsheet reads the lists of mailboxes that admins have: exports of
// hosts and tenants, and tables kept by hand, with column names in English or
// German. What it can't read it names by line and column; it guesses nothing
// about mail.
//
// It is pure: octets in, lists out.
package spreadsheet

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Problem is a place in a file that can't be used. Text holds no cell that may be a password.
type Problem struct {
	Line, Column int    // from 1; the column in octets, as editors of plain text count
	Name         string // of the column, "" when it is not about one
	Text         string
}

func (p *Problem) Error() string {
	s := fmt.Sprintf("%d:%d: ", p.Line, p.Column)
	if p.Name != "" {
		s += fmt.Sprintf("column %q: ", p.Name)
	}
	return s + p.Text
}

// People is what a list says.
type People struct {
	Mailboxes  []Mailbox
	Aliases    []Alias
	Forwarders []Forwarder
	Used       []Use    // what was made of which column, in the file's order
	Unused     []string // columns that mean nothing here
	Notes      []string // rows that mean something that is to be declared by hand
}

// Mailbox is a row that is a mailbox. Passwords leave this package in these
// two fields and nowhere else.
type Mailbox struct {
	Address, Target, Name, License, Location, Wave string
	Kind                                           string // "user", "shared", "catch_all"
	Password, TargetPassword                       string
}

// Alias is a further address of a mailbox.
type Alias struct{ Alias, Address string }

// Forwarder is an address whose mail goes elsewhere.
type Forwarder struct {
	Address string
	Deliver []string
}

// Use says which field a column was taken for.
type Use struct{ Column, Field string }

// forwardTo is the field with the longest name.
const forwardTo = "address that mail goes on to"

// The fields, and how columns are called that hold them: letters and digits in
// lower case, umlauts as they are.
var fields = map[string][]string{
	"address": {"address", "email", "emailaddress", "mail", "mailaddress", "mailbox", "source", "sourceaddress", "oldaddress", "currentaddress",
		"adresse", "emailadresse", "mailadresse", "postfach", "postfachadresse", "quelle", "quelladresse", "alteadresse", "bisherigeadresse", "primarysmtpaddress", "primaryemail", "primäreadresse"},
	"target":     {"target", "targetaddress", "destination", "newaddress", "newemail", "newprimaryemail", "ziel", "zieladresse", "neueadresse", "neueemail", "neueemailadresse"},
	"upn":        {"userprincipalname", "upn", "benutzerprinzipalname", "username", "benutzername", "login", "anmeldename"},
	"name":       {"name", "displayname", "fullname", "anzeigename", "vollständigername", "vollername", "bezeichnung"},
	"first name": {"firstname", "givenname", "vorname"},
	"last name":  {"lastname", "surname", "familyname", "nachname", "familienname"},
	"password": {"password", "apppassword", "passwort", "kennwort", "apppasswort", "anwendungspasswort", "sourcepassword", "oldpassword", "quellpasswort",
		"altespasswort", "alteskennwort"},
	"target password": {"targetpassword", "newpassword", "zielpasswort", "neuespasswort", "neueskennwort"},
	"license":         {"license", "licence", "licenses", "licences", "sku", "lizenz", "lizenzen"},
	"location":        {"usagelocation", "nutzungsstandort", "verwendungsstandort"},
	"wave":            {"wave", "welle", "batch", "gruppe"},
	"kind":            {"kind", "type", "typ", "art", "recipienttype", "recipienttypedetails", "mailboxtype", "postfachtyp"},
	"alias": {"alias", "aliases", "aliase", "aliasse", "aliasadresse", "aliasadressen", "proxyaddresses", "proxyadressen", "emailaddresses",
		"weitereadressen", "additionaladdresses", "emailalias", "emailaliases", "emailaliase"},
	forwardTo: {"forward", "forwardto", "forwardingaddress", "forwarding", "deliver", "weiterleitung", "weiterleitungan", "weiterleitenan", "weiterleitungsziel", "umleitung", "umleitungan"},
}

// kinds are what the cells of a kind column say.
var kinds = map[string][]string{
	"user":      {"", "user", "usermailbox", "mailbox", "benutzer", "benutzerpostfach", "postfach", "person", "basic", "business"},
	"shared":    {"shared", "sharedmailbox", "freigegeben", "freigegebenespostfach", "gemeinsam", "gemeinsamespostfach", "funktionspostfach", "sammelpostfach", "team"},
	"catch_all": {"catchall", "catchallpostfach"},
	"alias":     {"alias", "aliasadresse"},
	"forward":   {"forward", "forwarder", "forwarding", "weiterleitung", "umleitung"},
	"list":      {"list", "distributionlist", "distributiongroup", "group", "mailinglist", "verteiler", "verteilerliste", "verteilergruppe", "mailingliste"},
}

var (
	brackets = regexp.MustCompile(`\[[^\]]*\]|\([^)]*\)`) // "Email Address [Required]" of Google
	address  = regexp.MustCompile(`^[^\s@<>,;:"()\[\]\\]{1,64}@(?:[\pL\pN](?:[\pL\pN-]{0,61}[\pL\pN])?\.)+[\pL\pN](?:[\pL\pN-]{0,61}[\pL\pN])?$`)
)

// key is a name of a column, or a word in a cell, as the tables above have it.
func key(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, brackets.ReplaceAllString(s, ""))
}

func lookUp(table map[string][]string, word string) string {
	for name, words := range table {
		if slices.Contains(words, word) {
			return name
		}
	}
	return ""
}

// maxProblems is how many a person reads before mending the first.
const maxProblems = 20

// Read takes a list apart. With problems nothing of it is to be used.
func Read(data []byte) (People, *Table, []error) {
	t, err := ParseTable(data)
	if err != nil {
		return People{}, nil, []error{err}
	}
	r := &reader{table: t, at: map[string]int{}, lines: map[string]int{}}
	r.header()
	if len(r.problems) == 0 {
		for _, row := range t.Rows {
			if len(r.problems) < maxProblems {
				r.row(row)
			}
		}
		r.targets()
	}
	return r.People, t, r.problems
}

type reader struct {
	People
	table    *Table
	at       map[string]int // field -> column
	lines    map[string]int // address -> line that makes it something
	problems []error
}

// header finds out what each column means.
func (r *reader) header() {
	for i, c := range r.table.Columns {
		field := lookUp(fields, key(c))
		before, twice := r.at[field]
		switch {
		case field == "":
			if c != "" {
				r.Unused = append(r.Unused, c)
			}
		case twice:
			r.problems = append(r.problems, &Problem{Line: 1, Column: 1, Name: c, Text: fmt.Sprintf("it means %s, and so does the column %q: rename the one that is not meant", field, r.table.Columns[before])})
		default:
			r.at[field] = i
		}
	}
	// A login name beside an address is what the person is called at the target.
	if upn, ok := r.at["upn"]; ok {
		delete(r.at, "upn")
		for _, field := range []string{"address", "target"} {
			if _, taken := r.at[field]; !taken {
				r.at[field] = upn
				break
			}
		}
	}
	if _, ok := r.at["address"]; !ok && len(r.problems) == 0 {
		r.problems = append(r.problems, &Problem{Line: 1, Column: 1, Text: fmt.Sprintf(
			"no column holds the addresses: call one \"address\" or \"E-Mail\" (there are %s)", quoted(r.table.Columns))})
	}
	for i, c := range r.table.Columns {
		for field, at := range r.at {
			if at == i {
				r.Used = append(r.Used, Use{c, field})
			}
		}
	}
}

func quoted(list []string) string {
	out := make([]string, 0, len(list))
	for _, s := range list[:min(len(list), 12)] {
		out = append(out, fmt.Sprintf("%q", s))
	}
	return strings.Join(out, ", ")
}

// cell is what the row says of a field, "" where no column holds it.
func (r *reader) cell(row Row, field string) string {
	if i, ok := r.at[field]; ok {
		return row.Cells[i]
	}
	return ""
}

func (r *reader) problem(row Row, field, format string, args ...any) {
	p := &Problem{Line: row.Line, Column: 1, Text: fmt.Sprintf(format, args...)}
	if i, ok := r.at[field]; ok {
		p.Name = r.table.Columns[i]
		if i < len(row.at) {
			p.Column = row.at[i]
		}
	}
	r.problems = append(r.problems, p)
}

// addresses are those in a cell, in lower case. "smtp:" before them and any of
// blanks, commas, semicolons and "+" between them (exports of Microsoft 365) are fine.
func (r *reader) addresses(row Row, field string) []string {
	var list []string
	cell := strings.ReplaceAll(r.cell(row, field), "+smtp:", " ")
	cell = strings.ReplaceAll(cell, "+SMTP:", " ")
	for _, a := range strings.FieldsFunc(cell, func(c rune) bool { return unicode.IsSpace(c) || strings.ContainsRune(",;|", c) }) {
		if len(a) > 5 && strings.EqualFold(a[:5], "smtp:") {
			a = a[5:]
		} else if scheme, _, ok := strings.Cut(a, ":"); ok && !strings.Contains(scheme, "@") {
			continue // "X500:", "SIP:": addresses that mail doesn't go to
		}
		if a = strings.ToLower(a); !address.MatchString(a) {
			r.problem(row, field, "%q is no address", a)
			continue
		}
		list = append(list, a)
	}
	return list
}

// one is the one address of a cell.
func (r *reader) one(row Row, field string) string {
	list := r.addresses(row, field)
	if len(list) > 1 {
		r.problem(row, field, "one address is wanted here, and there are %d", len(list))
	}
	if len(list) != 1 {
		return ""
	}
	return list[0]
}

func (r *reader) row(row Row) {
	before := len(r.problems)
	kind := lookUp(kinds, key(r.cell(row, "kind")))
	if kind == "" {
		r.problem(row, "kind", "%q is not known: want user, shared, catch-all, alias, forward or list", r.cell(row, "kind"))
		return
	}
	a := r.one(row, "address")
	if a == "" {
		if len(r.problems) == before {
			r.problem(row, "address", "the address is missing")
		}
		return
	}
	forward := r.addresses(row, forwardTo)
	if len(r.problems) > before {
		return
	}
	_, kinds := r.at["kind"]
	switch {
	case kind == "list":
		r.Notes = append(r.Notes, fmt.Sprintf("line %d: %s is a list: declare it as distribution_list with its members", row.Line, a))
	case kind == "alias":
		to := r.one(row, "target")
		if to == "" {
			to = r.one(row, forwardTo)
		}
		if to == "" {
			r.problem(row, "address", "%s is an alias, and no column says of which mailbox (\"target\" or \"forward to\")", a)
			return
		}
		r.alias(row, a, to)
	case kind == "forward" || len(forward) > 0 && !kinds && r.cell(row, "password") == "":
		if len(forward) == 0 {
			forward = r.addresses(row, "target")
		}
		if len(forward) == 0 {
			r.problem(row, "address", "%s is a forwarder, and no column says where to (\"forward to\")", a)
			return
		}
		if r.claim(row, "address", a) {
			r.Forwarders = append(r.Forwarders, Forwarder{a, forward})
		}
	case r.aliasesOnly():
		for _, alias := range r.addresses(row, "alias") {
			r.alias(row, alias, a)
		}
	default:
		r.mailbox(row, a, kind, forward)
	}
}

// aliasesOnly reports whether the list says nothing but which alias is whose.
func (r *reader) aliasesOnly() bool {
	_, alias := r.at["alias"]
	return alias && len(r.at) == 2
}

func (r *reader) mailbox(row Row, a, kind string, forward []string) {
	m := Mailbox{
		Address: a, Target: r.one(row, "target"), Kind: kind, Name: r.cell(row, "name"), License: r.cell(row, "license"),
		Location: strings.ToUpper(r.cell(row, "location")), Wave: r.cell(row, "wave"),
		Password: r.cell(row, "password"), TargetPassword: r.cell(row, "target password"),
	}
	if m.Target == "" {
		m.Target = a
	}
	if m.Name == "" {
		m.Name = strings.TrimSpace(r.cell(row, "first name") + " " + r.cell(row, "last name"))
	}
	if !r.claim(row, "address", a) {
		return
	}
	r.Mailboxes = append(r.Mailboxes, m)
	for _, alias := range r.addresses(row, "alias") {
		if alias != a && alias != m.Target {
			r.alias(row, alias, a)
		}
	}
	if len(forward) > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("line %d: %s also forwards to %s: nothing here brings that over, set it at the target", row.Line, a, strings.Join(forward, ", ")))
	}
}

func (r *reader) alias(row Row, alias, to string) {
	if r.claim(row, "alias", alias) {
		r.Aliases = append(r.Aliases, Alias{alias, to})
	}
}

// claim says that an address is one thing: two rows can't both say what it is.
func (r *reader) claim(row Row, field, a string) bool {
	if line := r.lines[a]; line > 0 {
		r.problem(row, field, "%s is in line %d already", a, line)
		return false
	}
	r.lines[a] = row.Line
	return true
}

// targets brings the aliases of this list to the mailboxes that it calls by
// their address at the target.
func (r *reader) targets() {
	source := map[string]string{}
	for _, m := range r.Mailboxes {
		source[m.Target] = m.Address
	}
	for _, m := range r.Mailboxes {
		source[m.Address] = m.Address
	}
	for i, a := range r.Aliases {
		if s := source[a.Address]; s != "" {
			r.Aliases[i].Address = s
		}
	}
}
