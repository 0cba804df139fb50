package secret

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// maxFile bounds a file of secrets, maxOutput what a command may write.
const (
	maxFile   = 16 << 20
	maxOutput = 64 << 10
)

// read returns a file below the root and notes when others can read it too.
func (r *Resolver) read(name string) ([]byte, error) {
	f, err := r.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, plain(name, err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, plain(name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", name)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		r.warn(fmt.Sprintf("%s holds secrets, and its mode %04o lets others on this machine at it: chmod 600 %s", name, mode, name))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, plain(name, err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s has more than %d MB", name, maxFile>>20)
	}
	return b, nil
}

// plain is err without the path of the folder.
func plain(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no file %s", name)
	}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return fmt.Errorf("%s can't be read: %w", name, err)
}

// table is a CSV file of passwords by address in lower case.
type table map[string][]row

type row struct {
	line     int
	password providers.Secret
}

// readTable reads CSV with the columns address and password, in any order and
// among others, as spreadsheets write it: BOM, CRLF, ";" or tab.
func readTable(b []byte) (table, error) {
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	if !utf8.Valid(b) {
		return nil, errors.New("the file is not UTF-8: save it as \"CSV UTF-8\"")
	}
	first, _, _ := bytes.Cut(b, []byte("\n"))
	r := csv.NewReader(bytes.NewReader(b))
	r.FieldsPerRecord = -1
	for _, c := range ";\t" {
		if bytes.Count(first, []byte(string(c))) > bytes.Count(first, []byte(string(r.Comma))) {
			r.Comma = c
		}
	}
	t := table{}
	address, password, columns := -1, -1, 0
	for {
		cells, err := r.Read()
		switch {
		case errors.Is(err, io.EOF) && columns == 0:
			return nil, errors.New("the file is empty")
		case errors.Is(err, io.EOF):
			return t, nil
		case err != nil:
			if pe, ok := errors.AsType[*csv.ParseError](err); ok {
				return nil, fmt.Errorf("line %d, column %d: %w (a field with quotes or separators stands in double quotes, and quotes in it are doubled)", pe.Line, pe.Column, pe.Err)
			}
			return nil, err
		}
		line, _ := r.FieldPos(0)
		if columns == 0 {
			column := func(name string) int {
				return slices.IndexFunc(cells, func(c string) bool { return strings.EqualFold(strings.TrimSpace(c), name) })
			}
			if address, password, columns = column("address"), column("password"), len(cells); address < 0 || password < 0 {
				return nil, errors.New("its first line does not name the columns address and password")
			}
			continue
		}
		if len(cells) != columns {
			return nil, fmt.Errorf("line %d has %d fields, the first line has %d", line, len(cells), columns)
		}
		key := strings.ToLower(strings.TrimSpace(cells[address]))
		t[key] = append(t[key], row{line, providers.Keep(cells[password])})
	}
}

// lookup finds the password of an address, without regard to case.
func (t table) lookup(ref plan.SecretRef, address string) (providers.Secret, error) {
	fail := func(problem, remedy string) (providers.Secret, error) {
		return providers.Secret{}, &Error{Ref: ref, Address: address, Problem: problem, Remedy: remedy}
	}
	if address == "" {
		return fail("the table is looked up by an address, and there is none here", "use env, file or command for this block")
	}
	rows := t[strings.ToLower(strings.TrimSpace(address))]
	switch {
	case len(rows) == 0:
		return fail("no row has this address", "add a row with the address and its password")
	case rows[0].password.Reveal() == "":
		return fail(fmt.Sprintf("the password in line %d is empty", rows[0].line), "fill it in")
	}
	for _, other := range rows[1:] {
		if other.password.Reveal() != rows[0].password.Reveal() {
			return fail(fmt.Sprintf("lines %d and %d have different passwords", rows[0].line, other.line), "keep one of them")
		}
	}
	return rows[0].password, nil
}

// run executes a command, without a shell, in the migration's folder and
// returns the first line that it writes. problem is "" when all went well; it
// holds nothing that the command wrote.
func (r *Resolver) run(ctx context.Context, argv []string, address string) (line, problem string, err error) {
	if len(argv) == 0 {
		return "", "the command is empty", nil
	}
	args := make([]string, 0, len(argv))
	for i, a := range argv {
		// An address may begin with "-" (RFC 5321 §4.1.2), and the program
		// would take it for an option.
		if strings.HasPrefix(a, addressTemplate) && (strings.HasPrefix(address, "-") || i == 0) {
			return "", "the address can't stand at the begin of an argument", nil
		}
		args = append(args, strings.ReplaceAll(a, addressTemplate, address))
	}
	timed, cancel := context.WithTimeout(ctx, r.options.CommandTimeout)
	defer cancel()
	cmd := exec.CommandContext(timed, args[0], args[1:]...)
	cmd.Dir = r.root.Name()
	cmd.WaitDelay = time.Second // what it started may still hold the pipe
	out := &bounded{}
	cmd.Stdout = out
	err = cmd.Run()
	switch exit, failed := errors.AsType[*exec.ExitError](err); {
	case ctx.Err() != nil:
		return "", "interrupted", ctx.Err()
	case timed.Err() != nil:
		return "", fmt.Sprintf("no answer within %s", plan.FormatDuration(r.options.CommandTimeout)), nil
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return "", fmt.Sprintf("there is no program %q", args[0]), nil
	case out.full:
		return "", "it wrote more than a secret", nil
	case failed:
		return "", "it failed with " + exit.ProcessState.String(), nil
	case err != nil:
		return "", fmt.Sprintf("%q can't be run", args[0]), nil
	}
	first, _, _ := strings.Cut(out.buf.String(), "\n")
	return strings.TrimSuffix(first, "\r"), "", nil
}

// bounded keeps what a command writes, up to maxOutput.
type bounded struct {
	buf  bytes.Buffer
	full bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.buf.Len()+len(p) > maxOutput {
		b.full = true
		return 0, errors.New("too much output")
	}
	return b.buf.Write(p)
}
