package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/plan/spreadsheet"
	"github.com/mxodus/mxodus/state"
)

func newImport(a *app) *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "import LIST.csv",
		Short: "Fill mailboxes.csv and its like from a spreadsheet",
		Long: "import reads a list of mailboxes as spreadsheets and panels write it: comma, semicolon or\n" +
			"tab; UTF-8, UTF-16 or Latin-1; column names in English or German (E-Mail, Zieladresse,\n" +
			"Anzeigename, Vorname, Nachname, Kennwort, Aliase, Weiterleitung, Lizenz, Typ, …).\n\n" +
			"It adds rows to mailboxes.csv, aliases.csv and forwarders.csv, and passwords to the tables in\n" +
			"secrets/. Rows that are there already stay as they are. A cell that can't be used is named by\n" +
			"line and column, and then nothing is written.",
		Example: "  mxodus import export.csv\n  mxodus import -dry-run \"Postfächer 2026.csv\"",
		Args:    oneArg("a CSV file"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.importList(args[0], dry) },
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be added, and write nothing")
	return cmd
}

// importJSON is the object of `import -json`.
type importJSON struct {
	File     string        `json:"file"`
	Encoding string        `json:"encoding"`
	Rows     int           `json:"rows"`
	Used     []columnJSON  `json:"used"`
	Unused   []string      `json:"unused"`
	Notes    []string      `json:"notes"`
	Tables   []tableChange `json:"tables"`
	Problems []problemJSON `json:"problems"`
	Written  bool          `json:"written"`
}

type columnJSON struct {
	Column string `json:"column"`
	Field  string `json:"field"`
}

type problemJSON struct {
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Name   string `json:"name,omitempty"`
	Text   string `json:"text"`
}

// tableChange is what becomes of one table of the migration.
type tableChange struct {
	File  string `json:"file"`
	Added int    `json:"added"`
	There int    `json:"there"` // rows that were there already

	text []byte
	mode fs.FileMode
}

func (a *app) importList(name string, dry bool) error {
	path := a.path(name)
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(file, spreadsheet.MaxOctets+1))
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	people, list, problems := spreadsheet.Read(data)
	out := importJSON{File: a.name(path), Notes: people.Notes, Unused: people.Unused}
	for _, p := range problems {
		out.Problems = append(out.Problems, problemOf(p))
	}
	if list != nil {
		out.Encoding, out.Rows = list.Encoding, len(list.Rows)
	}
	for _, u := range people.Used {
		out.Used = append(out.Used, columnJSON{u.Column, u.Field})
	}
	if len(problems) == 0 {
		for _, t := range tables(people) {
			if own, err := filepath.Abs(a.path(t.file)); err == nil && own == filepath.Clean(path) {
				return usage("%s is a table of the migration itself: import reads another list into it", a.name(path))
			}
			change, err := a.merge(t)
			if err != nil {
				return err
			}
			out.Tables = append(out.Tables, change)
		}
		if !dry {
			for _, c := range out.Tables {
				if c.Added == 0 {
					continue
				}
				if err := state.WriteFile(a.path(c.File), c.text, c.mode); err != nil {
					return err
				}
				out.Written = true
			}
			// A list may hold passwords: what git must not see is named before anybody commits.
			if out.Written {
				if _, err := a.ignore(); err != nil {
					return err
				}
			}
		}
	}
	if err := a.showImport(out, dry); err != nil {
		return err
	}
	if len(problems) > 0 {
		return exit(exitError1)
	}
	return nil
}

func problemOf(err error) problemJSON {
	if p, ok := errors.AsType[*spreadsheet.Problem](err); ok {
		return problemJSON{p.Line, p.Column, p.Name, p.Text}
	}
	return problemJSON{Text: err.Error()}
}

// peopleTable is what a list has for one table of the migration.
type peopleTable struct {
	file    string
	columns []string // the first one is the key
	rows    []map[string]string
	mode    fs.FileMode
}

// tables shares out what a list says.
func tables(p spreadsheet.People) []peopleTable {
	mailboxes := peopleTable{"mailboxes.csv", []string{"address", "target", "name", "kind", "license", "location", "wave"}, nil, 0o644}
	aliases := peopleTable{"aliases.csv", []string{"alias", "address"}, nil, 0o644}
	forwarders := peopleTable{"forwarders.csv", []string{"address", "deliver"}, nil, 0o644}
	source := peopleTable{"secrets/source.csv", []string{"address", "password"}, nil, 0o600}
	target := peopleTable{"secrets/target.csv", []string{"address", "password"}, nil, 0o600}
	for _, m := range p.Mailboxes {
		kind := m.Kind
		if kind == "user" {
			kind = "" // the default needs no column
		}
		mailboxes.rows = append(mailboxes.rows, map[string]string{"address": m.Address, "target": m.Target, "name": m.Name, "kind": kind,
			"license": m.License, "location": m.Location, "wave": m.Wave})
		if m.Password != "" {
			source.rows = append(source.rows, map[string]string{"address": m.Address, "password": m.Password})
		}
		if m.TargetPassword != "" {
			target.rows = append(target.rows, map[string]string{"address": m.Target, "password": m.TargetPassword})
		}
	}
	for _, x := range p.Aliases {
		aliases.rows = append(aliases.rows, map[string]string{"alias": x.Alias, "address": x.Address})
	}
	for _, f := range p.Forwarders {
		forwarders.rows = append(forwarders.rows, map[string]string{"address": f.Address, "deliver": strings.Join(f.Deliver, " ")})
	}
	var list []peopleTable
	for _, t := range []peopleTable{mailboxes, aliases, forwarders, source, target} {
		if len(t.rows) > 0 {
			list = append(list, t)
		}
	}
	return list
}

// merge adds rows to a table of the migration; one that isn't there yet begins with its columns.
func (a *app) merge(t peopleTable) (tableChange, error) {
	data, err := os.ReadFile(a.path(t.file))
	if errors.Is(err, fs.ErrNotExist) {
		data = []byte(strings.Join(t.columns[:2], ",") + "\n")
		if t.file == "mailboxes.csv" {
			data = []byte("address,target,name\n")
		}
	} else if err != nil {
		return tableChange{}, err
	}
	table, err := spreadsheet.ParseTable(data)
	if err != nil {
		return tableChange{}, fmt.Errorf("%s can't be added to: %w", t.file, err)
	}
	if !slices.Contains(table.Columns, t.columns[0]) {
		return tableChange{}, fmt.Errorf("%s has no column %q, so that nobody can tell which rows are there already: rename the one that holds it", t.file, t.columns[0])
	}
	c := tableChange{File: t.file, mode: t.mode}
	c.Added, c.There = table.Merge(t.columns[0], t.columns, t.rows)
	c.text, err = table.Encode()
	return c, err
}

func (a *app) showImport(out importJSON, dry bool) error {
	if a.json {
		for _, list := range []*[]string{&out.Unused, &out.Notes} {
			if *list == nil {
				*list = []string{}
			}
		}
		if out.Used == nil {
			out.Used = []columnJSON{}
		}
		if out.Tables == nil {
			out.Tables = []tableChange{}
		}
		if out.Problems == nil {
			out.Problems = []problemJSON{}
		}
		return a.writeJSON(out)
	}
	var b bytes.Buffer
	file := render.Escape(out.File)
	for _, p := range out.Problems {
		where := file
		if p.Line > 0 {
			where += fmt.Sprintf(":%d:%d", p.Line, p.Column)
		}
		if p.Name != "" {
			where += fmt.Sprintf(", column %q", p.Name)
		}
		fmt.Fprintf(&b, "%s: %s\n", where, render.Escape(p.Text))
	}
	if len(out.Problems) > 0 {
		fmt.Fprintf(&b, "Nothing was written. Mend %s and import it again.\n", file)
		_, err := a.stderr.Write(b.Bytes())
		return err
	}
	fmt.Fprintf(&b, "%s: %s, %s\n", file, counted(out.Rows, "row", "rows"), out.Encoding)
	for _, u := range out.Used {
		fmt.Fprintf(&b, "  %-24s is the %s\n", render.Escape(u.Column), u.Field)
	}
	if len(out.Unused) > 0 {
		fmt.Fprintf(&b, "  not used: %s\n", render.Escape(strings.Join(out.Unused, ", ")))
	}
	secrets := false
	for _, t := range out.Tables {
		fmt.Fprintf(&b, "%-20s %s added", t.File, counted(t.Added, "row", "rows"))
		if t.There > 0 {
			fmt.Fprintf(&b, ", %s there already and left alone", counted(t.There, "row", "rows"))
		}
		b.WriteByte('\n')
		secrets = secrets || t.mode == 0o600
	}
	for _, n := range out.Notes {
		fmt.Fprintf(&b, "To do by hand: %s\n", render.Escape(n))
	}
	if secrets {
		fmt.Fprintf(&b, "%s holds passwords: keep it out of git, and delete it when they are no longer needed.\n", file)
	}
	if dry {
		b.WriteString("Nothing was written (-dry-run).\n")
	} else if out.Written {
		b.WriteString("Next: mxodus validate\n")
	}
	_, err := a.stdout.Write(b.Bytes())
	return err
}
