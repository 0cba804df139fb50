package spreadsheet

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"github.com/mxodus/mxodus/providers/faults"
)

// utf16LE is how Excel writes "Unicode text".
func utf16LE(s string) []byte {
	b := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(s)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return b
}

func latin1(s string) []byte {
	var b []byte
	for _, r := range s {
		b = append(b, byte(r))
	}
	return b
}

// TestLists: the same two people, as different programs write them.
func TestLists(t *testing.T) {
	want := []Mailbox{
		{Address: "anna@acme.example", Target: "anna@acme.example", Name: "Änne Müller", Kind: "user"},
		{Address: "info@acme.example", Target: "office@acme.example", Name: "Info", Kind: "shared"},
	}
	german := "E-Mail-Adresse;Zieladresse;Anzeigename;Typ\r\nAnna@acme.example;;Änne Müller;Benutzer\r\ninfo@acme.example;office@acme.example;Info;Freigegeben\r\n"
	for name, data := range map[string][]byte{
		"German, UTF-8 with BOM":  []byte("\ufeff" + german),
		"German, Latin-1":         latin1(german),
		"German, UTF-16":          utf16LE(german),
		"Mac":                     []byte(strings.ReplaceAll(german, "\r\n", "\r")),
		"with sep=":               []byte("sep=;\r\n" + german),
		"empty lines, more cells": []byte("\n\n" + strings.ReplaceAll(german, "\r\n", ";;\n") + ";;;;;\n\n"),
		"English, tab, first and last name": []byte("First Name [Required]\tLast Name [Required]\tEmail Address [Required]\tNew Primary Email [UPLOAD ONLY]\tType\n" +
			"Änne\tMüller\tanna@acme.example\t\tuser\nInfo\t\tinfo@acme.example\toffice@acme.example\tshared mailbox\n"),
		"login name at the target": []byte("mailbox,user principal name,display name,kind\nanna@acme.example,anna@acme.example,Änne Müller,\ninfo@acme.example,OFFICE@acme.example,Info,Team\n"),
	} {
		p, _, problems := Read(data)
		if len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
		if d := cmp.Diff(want, p.Mailboxes); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
}

// TestAddresses: aliases and forwarders in the shapes in which lists hold them.
func TestAddresses(t *testing.T) {
	p, _, problems := Read([]byte("User principal name,Display name,Proxy addresses,Forward to,Kennwort\n" +
		"anna@acme.example,Anna,SMTP:anna@acme.example+smtp:a.weber@acme.example+smtp:aw@acme.example,,geheim\n" +
		"rechnung@acme.example,,,\"belege@tax.example; chef@acme.example\",\n" +
		"jens@acme.example,Jens,X500:/o=Org/cn=jens,jens@home.example,x\n"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if d := cmp.Diff([]Alias{{"a.weber@acme.example", "anna@acme.example"}, {"aw@acme.example", "anna@acme.example"}}, p.Aliases); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]Forwarder{{"rechnung@acme.example", []string{"belege@tax.example", "chef@acme.example"}}}, p.Forwarders); d != "" {
		t.Error(d)
	}
	if len(p.Mailboxes) != 2 || p.Mailboxes[0].Password != "geheim" || len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "jens@home.example") {
		t.Errorf("got %+v", p)
	}

	// A list of aliases alone makes no mailboxes; a kind column says what a row is.
	p, _, problems = Read([]byte("Aliase;Postfach\ninfo@acme.example;anna@acme.example\nbuero@acme.example;anna@acme.example\n"))
	if len(problems) > 0 || len(p.Mailboxes) != 0 || len(p.Aliases) != 2 {
		t.Errorf("got %+v, %v", p, problems)
	}
	p, _, problems = Read([]byte("Adresse;Art;Ziel\nanna@acme.example;Postfach;a.weber@acme.example\ninfo@acme.example;Alias;a.weber@acme.example\nrechnung@acme.example;Weiterleitung;belege@tax.example\nteam@acme.example;Verteiler;\n"))
	if len(problems) > 0 || len(p.Mailboxes) != 1 || len(p.Notes) != 1 || len(p.Forwarders) != 1 {
		t.Errorf("got %+v, %v", p, problems)
	}
	if d := cmp.Diff([]Alias{{"info@acme.example", "anna@acme.example"}}, p.Aliases); d != "" {
		t.Error(d)
	}
}

// TestProblems: what can't be used is named by line and column, all of it, and
// no password is in the words.
func TestProblems(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"E-Mail;Name\nanna@acme.example;Anna\nnobody;Jens\n\"two words@acme.example\";x\n", `3:1: column "E-Mail": "nobody" is no address|4:1: column "E-Mail": "two" is no address`},
		{"Name;E-Mail\nAnna;anna@acme.example\nAnna;ANNA@acme.example\n", `3:6: column "E-Mail": anna@acme.example is in line 2 already`},
		{"Name;Telefon\nAnna;1\n", `1:1: no column holds the addresses: call one "address" or "E-Mail" (there are "Name", "Telefon")`},
		{"E-Mail;Adresse\na@b.example;x\n", `1:1: column "Adresse": it means address, and so does the column "E-Mail": rename the one that is not meant`},
		{"address,name\na@b.example,Weber, Anna\n", `2:1: the line has 3 cells, the first one names 2 columns: quote cells that hold ','`},
		{"address,password\na@b.example,\"geh\"eim\n", `2:`},
		{"address,name\n,Anna\n", `2:1: column "address": the address is missing`},
		{"address,type\na@b.example,robot\n", `2:13: column "type": "robot" is not known: want user, shared, catch-all, alias, forward or list`},
		{"", "the file is empty"},
		{"PK\x03\x04xl/", "this is a workbook, not CSV"},
		{"address\n\x00\n", "2:1: a NUL stands here"},
	} {
		_, _, problems := Read([]byte(tc.text))
		var lines []string
		for _, p := range problems {
			lines = append(lines, p.Error())
		}
		got := strings.Join(lines, "|")
		if got == "" || !strings.HasPrefix(got, tc.want) {
			t.Errorf("%q: got %s\nwant %s", tc.text, got, tc.want)
		}
		if strings.Contains(got, "geh") || strings.Contains(got, "eim") {
			t.Errorf("a password is in %s", got)
		}
	}
	many := "address\n" + strings.Repeat("x\n", 1000)
	if _, _, problems := Read([]byte(many)); len(problems) != maxProblems {
		t.Errorf("%d problems of 1000", len(problems))
	}
}

// TestMerge: what is there stays, also where the list says something else.
func TestMerge(t *testing.T) {
	table, err := ParseTable([]byte("address;floor\nAnna@acme.example;3\n"))
	if err != nil {
		t.Fatal(err)
	}
	added, there := table.Merge("address", []string{"address", "name", "wave"}, []map[string]string{
		{"address": "anna@acme.example", "name": "Anna"}, {"address": "jens@acme.example", "name": `Jens "JJ"`},
	})
	out, err := table.Encode()
	if want := "address;floor;name\nAnna@acme.example;3;\njens@acme.example;;\"Jens \"\"JJ\"\"\"\n"; err != nil || string(out) != want || added != 1 || there != 1 {
		t.Errorf("%d added, %d there, %v:\n%s", added, there, err, out)
	}
}

// TestWords: no name of a column means two things.
func TestWords(t *testing.T) {
	for _, table := range []map[string][]string{fields, kinds} {
		seen := map[string]string{}
		for field, words := range table {
			for _, w := range words {
				if w != key(w) {
					t.Errorf("%q of %s is never found", w, field)
				}
				if seen[w] != "" {
					t.Errorf("%q means %s and %s", w, field, seen[w])
				}
				seen[w] = field
			}
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("E-Mail;Name;Aliase\r\na@b.example;A;c@b.example\r\n"))
	f.Add(utf16LE("address\ta\n"))
	f.Add([]byte("sep=\"\n\"\n"))
	faults.Fuzz(f, func(t *testing.T, data []byte) {
		p, table, problems := Read(data)
		if len(problems) > 0 {
			return
		}
		for _, m := range p.Mailboxes {
			if !address.MatchString(m.Address) || !address.MatchString(m.Target) {
				t.Errorf("mailbox %+v", m)
			}
		}
		if _, err := table.Encode(); err != nil {
			t.Error(fmt.Errorf("%w: %q", err, data))
		}
	})
}
