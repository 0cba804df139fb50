package spreadsheet

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/unicode/norm"
)

// MaxOctets is the size of the largest file that is read: more is a wrong file.
const MaxOctets = 32 << 20

const maxRows = 100_000

// Table is a CSV file as spreadsheets write it.
type Table struct {
	Columns  []string // as they stand there, blanks around them taken off
	Rows     []Row
	Comma    rune   // ',', ';' or a tab
	Encoding string // "UTF-8", "UTF-16", "Windows-1252"
}

// Row is a line of a Table with as many cells as it has columns.
type Row struct {
	Cells []string // blanks around them taken off
	Line  int      // in the file, from 1
	at    []int    // column in that line at which each cell begins, from 1
}

// Empty reports whether no cell holds anything.
func (r Row) Empty() bool {
	return !slices.ContainsFunc(r.Cells, func(c string) bool { return c != "" })
}

// ParseTable reads a CSV file: comma, semicolon or tab between cells, with or without
// a byte-order mark, UTF-8, UTF-16 or Windows-1252 (which Latin-1 is a part of). The first line that holds
// anything names the columns. Errors name line and column; rows without
// content are left out.
func ParseTable(data []byte) (*Table, error) {
	if len(data) > MaxOctets {
		return nil, fmt.Errorf("the file has more than %d MB", MaxOctets>>20)
	}
	text, encoding, err := decode(data)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(text, "\n") {
		text = strings.ReplaceAll(text, "\r", "\n") // Excel for Mac, "CSV (Macintosh)"
	}
	t := &Table{Encoding: encoding}
	first := strings.TrimLeft(text, "\r\n")
	line, rest, _ := strings.Cut(first, "\n")
	if name, ok := strings.CutPrefix(strings.TrimSpace(line), "sep="); ok && len(name) == 1 {
		// Excel writes and reads this line.
		t.Comma = rune(name[0])
		text = strings.Repeat("\n", strings.Count(text[:len(text)-len(rest)], "\n")) + rest
	} else {
		t.Comma = mostOf(line)
	}
	r := csv.NewReader(strings.NewReader(text))
	r.Comma, r.FieldsPerRecord = t.Comma, -1
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if pe, ok := errors.AsType[*csv.ParseError](err); ok {
			return nil, &Problem{Line: pe.Line, Column: pe.Column, Text: "a quote is open or stands alone: cells with quotes or separators are quoted, and quotes in them doubled"}
		}
		if err != nil {
			return nil, err
		}
		row := Row{Cells: make([]string, len(cells)), at: make([]int, len(cells))}
		for i, c := range cells {
			row.Cells[i] = norm.NFC.String(strings.TrimSpace(c))
			row.Line, row.at[i] = r.FieldPos(i)
		}
		row.Line, _ = r.FieldPos(0)
		switch {
		case row.Empty():
		case t.Columns == nil:
			t.Columns = row.Cells
		case len(row.Cells) < len(t.Columns) || len(row.Cells) > len(t.Columns) && !empty(row.Cells[len(t.Columns):]):
			return nil, &Problem{Line: row.Line, Column: 1, Text: fmt.Sprintf("the line has %d cells, the first one names %d columns: quote cells that hold %q", len(row.Cells), len(t.Columns), t.Comma)}
		case len(t.Rows) == maxRows:
			return nil, &Problem{Line: row.Line, Column: 1, Text: fmt.Sprintf("there are more than %d rows", maxRows)}
		default:
			row.Cells = row.Cells[:len(t.Columns)]
			t.Rows = append(t.Rows, row)
		}
	}
	if t.Columns == nil {
		return nil, errors.New("the file is empty: its first line has to name the columns")
	}
	return t, nil
}

func empty(cells []string) bool { return Row{Cells: cells}.Empty() }

// decode makes UTF-8 of what spreadsheets write.
func decode(data []byte) (text, encoding string, err error) {
	switch {
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}), bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		b, err := unicode.UTF16(unicode.LittleEndian, unicode.ExpectBOM).NewDecoder().Bytes(data)
		if err != nil {
			return "", "", errors.New("the file begins as UTF-16 and can't be read as such: save it as \"CSV UTF-8\"")
		}
		return string(b), "UTF-16", nil
	case bytes.HasPrefix(data, []byte("PK\x03\x04")), bytes.HasPrefix(data, []byte{0xd0, 0xcf, 0x11, 0xe0}):
		return "", "", errors.New("this is a workbook, not CSV: open it and save it as \"CSV UTF-8\"")
	case utf8.Valid(data):
		text, encoding = strings.TrimPrefix(string(data), "\ufeff"), "UTF-8"
	default:
		b, err := charmap.Windows1252.NewDecoder().Bytes(data)
		if err != nil {
			return "", "", err
		}
		text, encoding = string(b), "Windows-1252"
	}
	if i := strings.IndexByte(text, 0); i >= 0 {
		return "", "", &Problem{Line: 1 + strings.Count(text[:i], "\n"), Column: i - strings.LastIndexByte(text[:i], '\n'), Text: "a NUL stands here: this is no CSV file"}
	}
	return text, encoding, nil
}

// mostOf is the separator that a line holds most often outside of quotes.
func mostOf(line string) rune {
	count := map[rune]int{}
	quoted := false
	for _, c := range line {
		if c == '"' {
			quoted = !quoted
		} else if !quoted {
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

// Merge adds rows, each a cell by column, to a table. A row whose key is there
// already is left out, also when its other cells differ: what a person has
// written stays. Columns that the table lacks are added at its end. The key is
// compared without regard to case.
func (t *Table) Merge(key string, columns []string, rows []map[string]string) (added, there int) {
	for _, c := range columns {
		if !slices.Contains(t.Columns, c) && (c == key || slices.ContainsFunc(rows, func(r map[string]string) bool { return r[c] != "" })) {
			t.Columns = append(t.Columns, c)
			for i := range t.Rows {
				t.Rows[i].Cells = append(t.Rows[i].Cells, "")
			}
		}
	}
	at := slices.Index(t.Columns, key)
	seen := map[string]bool{}
	for _, r := range t.Rows {
		seen[strings.ToLower(r.Cells[at])] = true
	}
	for _, row := range rows {
		k := strings.ToLower(row[key])
		if seen[k] {
			there++
			continue
		}
		seen[k] = true
		added++
		cells := make([]string, len(t.Columns))
		for i, c := range t.Columns {
			cells[i] = row[c]
		}
		t.Rows = append(t.Rows, Row{Cells: cells})
	}
	return added, there
}

// Encode is the table as a file: UTF-8, its own separator, LF.
func (t *Table) Encode() ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.Comma = t.Comma
	if err := w.Write(t.Columns); err != nil {
		return nil, err
	}
	for _, r := range t.Rows {
		if err := w.Write(r.Cells); err != nil {
			return nil, err
		}
	}
	w.Flush()
	return b.Bytes(), w.Error()
}
