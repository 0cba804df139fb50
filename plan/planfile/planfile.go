// Package planfile reads and writes plan files: HCL restricted to literals, one
// step a block, one fact a line, in an order that never depends on who writes.
//
// Line 1 names the format and line 2 is the SHA-256 of the file without line 2,
// so a plan that was changed by as much as one bit is refused.
package planfile

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/literal"
)

// Format is the version of the plan file that this package reads and writes.
const Format = 1

const firstLine = "# mxodus plan, format "

// ErrDigest is what errors.Is finds in the error of a plan whose second line is
// not the digest of the rest: somebody has edited it.
var ErrDigest = errors.New("the plan was changed after it was written")

// ErrFormat is what errors.Is finds in the error of a file that is no plan, or
// a plan of another format.
var ErrFormat = errors.New("not a plan that this mxodus can read")

// DigestError tells what the second line says and what the file's digest is.
type DigestError struct{ Line, File string }

func (e *DigestError) Error() string {
	line := "no digest"
	if e.Line != "" {
		line = e.Line
	}
	return fmt.Sprintf("%v: its second line says %s, its content has %s; take the file from version control again, or make a new plan", ErrDigest, line, e.File)
}

// Unwrap makes errors.Is(err, ErrDigest) true.
func (e *DigestError) Unwrap() error { return ErrDigest }

// FormatError tells what the first line says.
type FormatError struct {
	Format string // "" : the first line names none
}

func (e *FormatError) Error() string {
	n, err := strconv.Atoi(e.Format)
	switch {
	case e.Format == "":
		return fmt.Sprintf("%v: its first line is not %q; was another file named?", ErrFormat, firstLine+strconv.Itoa(Format))
	case err == nil && n > Format:
		return fmt.Sprintf("%v: it has format %d, written by a newer mxodus (this one reads format %d); install the version that wrote it, or plan again", ErrFormat, n, Format)
	case strings.HasSuffix(e.Format, "\r"):
		return fmt.Sprintf("%v: its lines end in CR LF, which is an edit; git keeps them as they are with \"*.plan text eol=lf\" in .gitattributes, as mxodus init writes it", ErrFormat)
	}
	return fmt.Sprintf("%v: it has format %.20q, and this mxodus reads format %d; plan again", ErrFormat, e.Format, Format)
}

// Unwrap makes errors.Is(err, ErrFormat) true.
func (e *FormatError) Unwrap() error { return ErrFormat }

// Encode writes p in canonical form and sets p.Digest. Steps, gates and
// findings keep their order. Positions in the configuration are not written:
// a comment that moves a line changes no plan. Two steps with one address, or a
// window that names no phase, are errors: such a plan could not be read back.
func Encode(p *plan.Plan) ([]byte, error) {
	body, err := encodeBody(p)
	if err != nil {
		return nil, err
	}
	first := []byte(firstLine + strconv.Itoa(Format) + "\n")
	p.Digest = digest(first, body)
	return bytes.Join([][]byte{first, []byte("# " + p.Digest + "\n"), body}, nil), nil
}

func digest(parts ...[]byte) string {
	h := sha256.New()
	for _, b := range parts {
		h.Write(b)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

func encodeBody(p *plan.Plan) ([]byte, error) {
	loc, err := time.LoadLocation(p.Timezone)
	if err != nil {
		return nil, fmt.Errorf("the plan's time zone: %w", err)
	}
	w := &literal.Writer{}
	w.Block("plan", []string{p.Name}, func() {
		w.Int("number", int64(p.Number))
		w.String("lineage", p.Lineage)
		w.String("parent", p.Parent)
		w.String("config", p.Config)
		w.String("inventory", p.Inventory)
		w.String("cutover", p.Cutover.In(loc).Format(time.RFC3339Nano))
		w.String("timezone", p.Timezone)
		w.String("rollback", string(p.Rollback))
	})
	for _, win := range p.Schedule {
		w.Block("phase", []string{string(win.Phase)}, func() {
			w.String("start", moment(win.Start, loc))
			w.String("until", until(win.Until, loc))
			w.String("hours", win.Hours)
			w.String("repeat", duration(win.Repeat))
			w.String("gate", win.Gate)
		})
	}
	for _, g := range p.Gates {
		w.Block("gate", []string{g.Name}, func() {
			var require []string
			for _, c := range g.Require {
				require = append(require, c.String())
			}
			w.Strings("require", require)
			w.Strings("by", g.Approve.By)
			w.Int("count", int64(g.Approve.Count))
			w.String("expires", duration(g.Approve.Expires))
		})
	}
	for _, f := range p.Findings {
		w.Block("finding", []string{f.Check}, func() {
			w.String("severity", string(f.Severity))
			w.String("gate", f.Gate)
			w.String("subject", f.Subject)
			w.String("summary", f.Summary)
			w.Strings("detail", f.Detail)
			w.String("remedy", f.Remedy)
		})
	}
	seen := map[string]bool{}
	for _, s := range p.Steps {
		if seen[s.Address] || s.Address == "" {
			return nil, fmt.Errorf("the plan has two steps with the address %q", s.Address)
		}
		seen[s.Address] = true
		w.Block("step", []string{s.Address}, func() { encodeStep(w, s, loc) })
	}
	return w.Bytes(), nil
}

func encodeStep(w *literal.Writer, s plan.Step, loc *time.Location) {
	w.String("phase", string(s.Phase))
	w.String("action", string(s.Action))
	w.Strings("from", s.From)
	w.Strings("to", s.To)
	w.Strings("after", s.After)
	w.String("gate", s.Gate)
	w.String("start", moment(s.Start, loc))
	w.String("settle", seconds(s.Settle))
	w.String("repeat", duration(s.Repeat))
	w.String("until", until(s.Until, loc))
	w.String("expect", string(s.Expect))
	w.String("undo", string(s.Undo))
	w.Strings("detail", s.Detail)
}

// moment writes absolute times in the migration's zone, so that the zone of
// the machine that plans doesn't show.
func moment(m plan.Moment, loc *time.Location) string {
	if m.Anchor == plan.AnchorAbsolute {
		m.At = m.At.In(loc)
	}
	return m.String()
}

func until(u plan.Until, loc *time.Location) string {
	if u.Converged > 0 {
		return u.String()
	}
	return moment(u.Moment, loc)
}

func duration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return plan.FormatDuration(d)
}

// seconds writes TTLs as name servers count them.
func seconds(d time.Duration) string {
	if d > 0 && d%time.Second == 0 {
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	return duration(d)
}

// header checks the first two lines and returns the plan's digest.
func header(data []byte) (string, error) {
	first, rest, ok := bytes.Cut(data, []byte("\n"))
	format, named := strings.CutPrefix(string(first), firstLine)
	if !ok || !named || format == "" {
		return "", &FormatError{}
	}
	if format != strconv.Itoa(Format) {
		return "", &FormatError{format}
	}
	second, rest, _ := bytes.Cut(rest, []byte("\n"))
	want := digest(data[:len(first)+1], rest)
	if line, ok := strings.CutPrefix(string(second), "# "); !ok || line != want {
		if !strings.HasPrefix(line, "sha256:") || len(line) != len(want) {
			line = ""
		}
		return "", &DigestError{Line: line, File: want}
	}
	return want, nil
}

// DigestLine is what the second line of the file at path says, "" when it says nothing. It is not
// checked: Decode does that.
func DigestLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, 4096))
	if !lines.Scan() || !lines.Scan() {
		return ""
	}
	return strings.TrimPrefix(lines.Text(), "# ")
}
