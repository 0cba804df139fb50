package config

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// table is a CSV file as read, kept so that a bad value can be traced back to
// its line and column.
type table struct {
	file    string
	columns []string
	rows    []row
}

type row struct {
	line  int
	cells []string
}

// readTable reads CSV as RFC 4180 has it, and as spreadsheets write it: with
// a BOM, with ";" or a tab as separator, with or without CRLF. The first line
// holds the names of the columns. file is for messages.
func readTable(file, text string) (*table, error) {
	text = strings.TrimPrefix(text, "\ufeff")
	if !strings.Contains(text, "\n") {
		text = strings.ReplaceAll(text, "\r", "\n") // Excel for Mac, "CSV (Macintosh)"
	}
	if strings.TrimSpace(text) == "" {
		return nil, fmt.Errorf("%s is empty: its first line has to name the columns", file)
	}
	r := csv.NewReader(strings.NewReader(text))
	r.Comma = separator(text)
	r.FieldsPerRecord = -1
	t := &table{file: file}
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if pe, ok := errors.AsType[*csv.ParseError](err); ok {
			return nil, fmt.Errorf("%s:%d:%d: %w", file, pe.Line, pe.Column, pe.Err)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		line, _ := r.FieldPos(0)
		if t.columns == nil {
			if t.columns, err = header(file, line, cells); err != nil {
				return nil, err
			}
			continue
		}
		if len(cells) != len(t.columns) {
			return nil, fmt.Errorf("%s:%d has %d fields, the first line names %d columns (%s)",
				file, line, len(cells), len(t.columns), strings.Join(t.columns, ", "))
		}
		for i, c := range cells {
			cells[i] = cty.StringVal(c).AsString()
		}
		t.rows = append(t.rows, row{line: line, cells: cells})
		if len(t.rows) > maxInstances {
			return nil, fmt.Errorf("%s has more than %d rows", file, maxInstances)
		}
	}
}

func header(file string, line int, cells []string) ([]string, error) {
	var columns []string
	for i, c := range cells {
		name := cty.StringVal(strings.TrimSpace(c)).AsString()
		switch {
		case name == "":
			return nil, fmt.Errorf("%s:%d: column %d has no name", file, line, i+1)
		case slices.Contains(columns, name):
			return nil, fmt.Errorf("%s:%d: two columns are called %q", file, line, name)
		}
		columns = append(columns, name)
	}
	return columns, nil
}

// separator is the one of comma, semicolon and tab that the first line holds
// most often outside of quotes.
func separator(text string) rune {
	count := map[rune]int{}
	quoted := false
	for _, c := range text {
		if c == '"' {
			quoted = !quoted
		}
		if !quoted && c == '\n' {
			break
		}
		if !quoted {
			count[c]++
		}
	}
	best := ','
	for _, c := range ";\t" {
		if count[c] > count[best] {
			best = c
		}
	}
	return best
}

// value is the table as a list of objects of strings.
func (t *table) value() cty.Value {
	if len(t.rows) == 0 {
		types := map[string]cty.Type{}
		for _, c := range t.columns {
			types[c] = cty.String
		}
		return cty.ListValEmpty(cty.Object(types))
	}
	list := make([]cty.Value, 0, len(t.rows))
	for _, r := range t.rows {
		list = append(list, t.object(r))
	}
	return cty.ListVal(list)
}

func (t *table) object(r row) cty.Value {
	attrs := make(map[string]cty.Value, len(t.columns))
	for i, c := range t.columns {
		attrs[c] = cty.StringVal(r.cells[i])
	}
	return cty.ObjectVal(attrs)
}

// trace finds the row that each.key and each.value came from: the value is
// the row itself, or both are cells of one row. It is how an error can name
// the line of a list that an expression has taken apart.
func (r *reader) trace(key string, value cty.Value) (*table, *row) {
	for _, t := range r.tables {
		for i := range t.rows {
			if t.matches(&t.rows[i], key, value) {
				return t, &t.rows[i]
			}
		}
	}
	return nil, nil
}

func (t *table) matches(r *row, key string, value cty.Value) bool {
	switch {
	case value == cty.NilVal || value.IsMarked() || !value.IsKnown() || value.IsNull():
		return false
	case value.Type() == cty.String:
		return slices.Contains(r.cells, key) && slices.Contains(r.cells, value.AsString())
	case value.Type().IsObjectType():
		return len(value.Type().AttributeTypes()) == len(t.columns) && t.isRow(r, value)
	}
	return false
}

func (t *table) isRow(r *row, value cty.Value) bool {
	for i, c := range t.columns {
		if !value.Type().HasAttribute(c) {
			return false
		}
		v := value.GetAttr(c)
		if v.Type() != cty.String || !v.IsKnown() || v.IsNull() || v.AsString() != r.cells[i] {
			return false
		}
	}
	return true
}

// place is "mailboxes.csv:4, column \"address\"" for the cell that holds
// text; column is tried first.
func (t *table) place(r *row, column, text string) string {
	i := slices.Index(t.columns, column)
	if i < 0 {
		i = slices.Index(r.cells, text)
	}
	if i < 0 {
		return fmt.Sprintf("%s:%d", t.file, r.line)
	}
	return fmt.Sprintf("%s:%d, column %q", t.file, r.line, t.columns[i])
}
