package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/mxodus/mxodus/plan"
)

// Suffix is how the files of a migration end.
const Suffix = ".mx.hcl"

// MaxFileSize is how many octets one .mx.hcl file may have.
const MaxFileSize = 2 << 20

// Bounds keep a mistake, or a pull request from a stranger, from taking the
// machine down. They lie far above any real migration.
const (
	maxDataSize  = 32 << 20 // octets of one file that an expression reads
	maxNesting   = 200      // brackets within brackets
	maxParts     = 5000     // lines and interpolations of one text
	maxInstances = 100_000  // of one for_each
	maxSteps     = 2_000_000
	maxValueSize = 64 << 20 // octets of text in one evaluated block or local
	maxLoops     = 8 * maxValueSize
)

// Options is what the caller knows besides the files.
type Options struct {
	// Vars are -var settings, the strongest.
	Vars map[string]string
	// VarFiles are paths within the file system, later ones win.
	VarFiles []string
	// Environ is in the form of os.Environ; only MXODUS_VAR_… is read.
	Environ []string
	// Version is held against required_version; "" skips that.
	Version string
	// Facts are what targets with a directory have told so far.
	Facts Facts
}

// Facts are what targets ask the zones of domains for: by the target's key
// ("microsoft365"), the domain's name, and the fact's name, one of FactNames or
// "dkim." and a selector. A fact that is missing or empty is known only after
// provision: an expression that uses it can stand in a record's values and
// nowhere else.
type Facts map[string]map[string]map[string]string

// FactNames are the facts of a domain besides its DKIM keys, as expressions name
// them: target.microsoft365.domain["acme.example"].mx.
var FactNames = []string{"autodiscover", "mx", "spf", "verification"}

// dkimSelectors are those that a target with a directory always has.
var dkimSelectors = []string{"selector1", "selector2"}

// directories are the kinds of target that tell facts.
var directories = map[string]bool{"microsoft365": true}

// Loaded is what Load found.
type Loaded struct {
	Migration *plan.Migration      // nil when there were errors
	Files     map[string]*hcl.File // for excerpts, also when there were errors
	Warnings  hcl.Diagnostics
}

// Load reads every .mx.hcl file at the top of fsys. The Loaded is never nil.
// The diagnostics are the errors, sorted by file and line; they hold no value
// that an expression had except addresses and names that are wrong. fsys
// bounds what file and its relatives can read: with os.Root.FS neither ".."
// nor a symbolic link leads out of the folder.
func Load(fsys fs.FS, o Options) (*Loaded, hcl.Diagnostics) {
	l := &loader{
		fsys:    fsys,
		options: o,
		files:   map[string]*hcl.File{},
		nodes:   map[string]*node{},
		reader:  newReader(fsys),
		domains: map[string]*node{},
		notices: map[string]*body{},
	}
	m := l.run()
	errs, warnings := split(l.diags)
	out := &Loaded{Files: l.files, Warnings: warnings}
	if !errs.HasErrors() {
		out.Migration = m
	}
	return out, errs
}

// loader carries one Load through its stages.
type loader struct {
	fsys    fs.FS
	options Options
	files   map[string]*hcl.File
	diags   hcl.Diagnostics

	blocks []*node          // in order of file and line
	nodes  map[string]*node // by address
	reader *reader
	eval   evaluator
	traced int // errors that were traced to a CSV row

	exhausted bool // the budget of eval is spent, and that is reported

	settings map[string]setting // of variables
	location *time.Location     // of local times, once the migration block is read

	m          plan.Migration
	mailboxes  []declared[plan.Mailbox]
	aliases    []declared[plan.Alias]
	lists      []declared[plan.List]
	forwarders []declared[plan.Forwarder]
	domains    map[string]*node // by name
	notices    map[string]*body // by name
}

func (l *loader) run() *plan.Migration {
	stages := []func(){l.parse, l.declare, l.link}
	for _, stage := range stages {
		if stage(); l.diags.HasErrors() {
			return nil
		}
	}
	return l.build()
}

func (l *loader) errorf(at *hcl.Range, summary, format string, args ...any) {
	l.diags = append(l.diags, problem(at, summary, format, args...))
}

func (l *loader) warnf(at *hcl.Range, summary, format string, args ...any) {
	d := problem(at, summary, format, args...)
	d.Severity = hcl.DiagWarning
	l.diags = append(l.diags, d)
}

func problem(at *hcl.Range, summary, format string, args ...any) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: at}
}

// parse reads all files into l.files.
func (l *loader) parse() {
	entries, err := fs.ReadDir(l.fsys, ".")
	if err != nil {
		l.errorf(nil, "Folder can't be read", "%v", err)
		return
	}
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), Suffix) || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		src, err := readBounded(l.fsys, e.Name(), MaxFileSize)
		if err != nil {
			l.errorf(&hcl.Range{Filename: e.Name(), Start: hcl.InitialPos, End: hcl.InitialPos}, "File can't be read", "%v", err)
			continue
		}
		f, diags := parseSource(e.Name(), src)
		l.diags = append(l.diags, diags...)
		l.files[e.Name()] = f
	}
	if len(l.files) == 0 && !l.diags.HasErrors() {
		l.errorf(nil, "No configuration", "This folder holds no file that ends in %s. \"mxodus init\" writes one.", Suffix)
	}
}

// parseSource parses one file. The file is never nil, so that excerpts work.
func parseSource(name string, src []byte) (*hcl.File, hcl.Diagnostics) {
	src = []byte(strings.TrimPrefix(string(src), "\ufeff"))
	tokens, _ := hclsyntax.LexConfig(src, name, hcl.InitialPos)
	if at := tooDeep(tokens); at != nil {
		return &hcl.File{Bytes: src, Body: &hclsyntax.Body{}}, hcl.Diagnostics{problem(at, "Nested too deeply",
			"More than %d brackets or operators stand within each other here.", maxNesting)}
	}
	if at := tooLong(tokens); at != nil {
		return &hcl.File{Bytes: src, Body: &hclsyntax.Body{}}, hcl.Diagnostics{problem(at, "Text too long",
			"One text has more than %d lines and ${ } here. Put it into a file of its own: file(\"...\").", maxParts)}
	}
	f, diags := hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	if f == nil {
		f = &hcl.File{Bytes: src, Body: &hclsyntax.Body{}}
	}
	return f, diags
}

// tooDeep finds the token at which brackets, or operators that nest to the
// right, go deeper than the recursive parser should follow.
func tooDeep(tokens hclsyntax.Tokens) *hcl.Range {
	var open []hclsyntax.TokenType
	operators := 0
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOParen, hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenTemplateInterp,
			hclsyntax.TokenTemplateControl, hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc:
			open = append(open, t.Type)
		case hclsyntax.TokenCParen, hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenTemplateSeqEnd,
			hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc:
			open = open[:max(0, len(open)-1)]
		case hclsyntax.TokenBang, hclsyntax.TokenMinus, hclsyntax.TokenQuestion, hclsyntax.TokenPlus, hclsyntax.TokenStar,
			hclsyntax.TokenSlash, hclsyntax.TokenPercent, hclsyntax.TokenAnd, hclsyntax.TokenOr, hclsyntax.TokenEqualOp,
			hclsyntax.TokenNotEqual:
			operators++
		case hclsyntax.TokenComma:
			operators = 0
		case hclsyntax.TokenNewline:
			// Within round and square brackets a line goes on.
			if len(open) == 0 || open[len(open)-1] == hclsyntax.TokenOBrace {
				operators = 0
			}
		}
		if len(open) > maxNesting || operators > maxNesting {
			return &t.Range
		}
	}
	return nil
}

// tooLong finds the token at which a text has more lines and interpolations than the parser, whose work grows with
// their square, should follow.
func tooLong(tokens hclsyntax.Tokens) *hcl.Range {
	parts := 0
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenStringLit, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
			if parts++; parts > maxParts {
				return &t.Range
			}
		case hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc:
			parts = 0
		}
	}
	return nil
}

func readBounded(fsys fs.FS, name string, limit int64) ([]byte, error) {
	if !fs.ValidPath(name) {
		return nil, fmt.Errorf("%q is no path within the migration's folder: write it relative to the folder, without \"..\"", name)
	}
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, readError(name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is no file", name)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%q has %d octets, more than the %d that are allowed", name, info.Size(), limit)
	}
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, readError(name, err)
	}
	return b, nil
}

var errNoFile = errors.New("there is no file")

// readError says what went wrong in the system's words, without the path of
// the folder itself.
func readError(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w %q in the migration's folder", errNoFile, name)
	}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return fmt.Errorf("%q can't be read: %w", name, err)
}

// split sorts diagnostics by place and tells errors from warnings.
func split(diags hcl.Diagnostics) (errs, warnings hcl.Diagnostics) {
	slices.SortStableFunc(diags, compareDiagnostics)
	for _, d := range diags {
		if d.Severity == hcl.DiagError {
			errs = append(errs, d)
		} else {
			warnings = append(warnings, d)
		}
	}
	return condense(errs), condense(warnings)
}

func compareDiagnostics(a, b *hcl.Diagnostic) int {
	place := func(d *hcl.Diagnostic) (string, int, int) {
		if d.Subject == nil {
			return "", 0, 0
		}
		return d.Subject.Filename, d.Subject.Start.Line, d.Subject.Start.Column
	}
	af, al, ac := place(a)
	bf, bl, bc := place(b)
	if c := strings.Compare(af, bf); c != 0 {
		return c
	}
	if al != bl {
		return al - bl
	}
	return ac - bc
}

// maxAlike is how many diagnostics of one kind at one place are shown: a
// CSV file with a thousand bad rows is one mistake.
const maxAlike = 10

// maxShown is how many diagnostics are shown at all, and longestWord how much of a word in them.
const (
	maxShown    = 100
	longestWord = 300
)

// clip shortens the words of a text that are longer than anybody reads.
func clip(text string) string {
	if len(text) <= longestWord {
		return text
	}
	words := strings.Split(text, " ")
	for i, w := range words {
		if len(w) > longestWord {
			words[i] = fmt.Sprintf("%s…(%d octets)…%s", strings.ToValidUTF8(w[:longestWord/2], ""), len(w), strings.ToValidUTF8(w[len(w)-20:], ""))
		}
	}
	return strings.Join(words, " ")
}

func condense(diags hcl.Diagnostics) hcl.Diagnostics {
	type kind struct{ summary, place string }
	seen := map[kind]int{}
	of := func(d *hcl.Diagnostic) kind {
		k := kind{summary: d.Summary}
		if d.Subject != nil {
			k.place = d.Subject.String()
		}
		return k
	}
	for _, d := range diags {
		seen[of(d)]++
	}
	shown := map[kind]int{}
	var out hcl.Diagnostics
	for i, d := range diags {
		if len(out) == maxShown {
			last := *out[maxShown-1]
			last.Detail += fmt.Sprintf(" (and %d more of these and others)", len(diags)-i)
			out[maxShown-1] = &last
			return out
		}
		if len(d.Detail) > longestWord || len(d.Summary) > longestWord {
			short := *d
			short.Detail, short.Summary = clip(d.Detail), clip(d.Summary)
			d = &short
		}
		k := of(d)
		shown[k]++
		switch {
		case shown[k] < maxAlike || shown[k] == maxAlike && seen[k] == maxAlike:
			out = append(out, d)
		case shown[k] == maxAlike:
			last := *d
			last.Detail += fmt.Sprintf(" (and %d more like this)", seen[k]-maxAlike)
			out = append(out, &last)
		}
	}
	return out
}

// cleanPath is p as fs.FS wants it: "./a//b" becomes "a/b".
func cleanPath(p string) string { return path.Clean(strings.TrimPrefix(p, "./")) }
