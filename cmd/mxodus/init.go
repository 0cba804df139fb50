package main

import (
	"bufio"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan/config"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/state"
)

// The files that init writes, as templates.
//
//go:embed init/*
var initFiles embed.FS

// initOptions are the answers that init needs. Flags give them; on a terminal
// what is missing is asked for.
type initOptions struct {
	Name, SourceHost, TargetHost, Domain, MX, Cutover, Timezone string
}

func newInit(a *app) *cobra.Command {
	var o initOptions
	cmd := &cobra.Command{
		Use:   "init [FOLDER]",
		Short: "Write the files of a new migration",
		Long: "init writes a commented migration from one IMAP host to another, tables to fill\n" +
			"in, and what git has to know. It asks for what the flags don't say.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("init takes one folder at most, and got %d", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				a.dir = a.path(args[0])
			}
			return a.init(o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Name, "name", "", "`name` of the migration (default: that of the folder)")
	f.StringVar(&o.SourceHost, "source-host", "", "IMAP `host` that the mail leaves")
	f.StringVar(&o.TargetHost, "target-host", "", "IMAP `host` that the mail goes to")
	f.StringVar(&o.Domain, "domain", "", "mail `domain` whose MX moves; none: mail only")
	f.StringVar(&o.MX, "mx", "", "`host` of the new MX (default: the target host)")
	f.StringVar(&o.Cutover, "cutover", "", "local `time` of the flip, such as 2027-01-15T18:00 (default: a Friday in four weeks)")
	f.StringVar(&o.Timezone, "timezone", "", "IANA `zone` of all times (default: UTC)")
	return cmd
}

// initJSON is the object of `init -json`.
type initJSON struct {
	Migration string   `json:"migration"`
	Written   []string `json:"written"`
	Kept      []string `json:"kept"` // there already and left as they were
}

func (a *app) init(o initOptions) error {
	if old, _ := filepath.Glob(filepath.Join(escapeGlob(a.dir), "*"+config.Suffix)); len(old) > 0 {
		return fmt.Errorf("%s is there already: init writes new migrations only, take another folder", a.name(old[0]))
	}
	if err := a.answers(&o); err != nil {
		return err
	}
	out := initJSON{Migration: o.Name, Written: []string{}, Kept: []string{}}
	for _, file := range []struct {
		template, path string
		mode           fs.FileMode
	}{
		{"migration.mx.hcl.tmpl", o.Name + config.Suffix, 0o644},
		{"mailboxes.csv", "mailboxes.csv", 0o644},
		{"aliases.csv", "aliases.csv", 0o644},
		{"secrets.csv", "secrets/source.csv", 0o600},
		{"secrets.csv", "secrets/target.csv", 0o600},
		{"gitattributes", ".gitattributes", 0o644},
	} {
		text, err := initText(file.template, o)
		if err != nil {
			return err
		}
		path := a.path(file.path)
		if _, err := os.Lstat(path); err == nil {
			out.Kept = append(out.Kept, file.path)
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := state.WriteFile(path, text, file.mode); err != nil {
			return err
		}
		out.Written = append(out.Written, file.path)
	}
	wrote, err := a.ignore()
	if err != nil {
		return err
	}
	if wrote {
		out.Written = append(out.Written, ".gitignore")
	} else {
		out.Kept = append(out.Kept, ".gitignore")
	}
	if a.json {
		return a.writeJSON(out)
	}
	var b strings.Builder
	for _, name := range out.Written {
		fmt.Fprintf(&b, "wrote %s\n", render.Escape(name))
	}
	for _, name := range out.Kept {
		fmt.Fprintf(&b, "kept  %s\n", render.Escape(name))
	}
	fmt.Fprintf(&b, "\nNext: fill in mailboxes.csv and the tables in secrets/ (git ignores those), read\n%s, then run mxodus validate and mxodus plan.\n", o.Name+config.Suffix)
	_, err = fmt.Fprint(a.stdout, b.String())
	return err
}

func initText(name string, o initOptions) ([]byte, error) {
	t, err := template.ParseFS(initFiles, "init/"+name)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	if err := t.Execute(&b, o); err != nil {
		return nil, err
	}
	if filepath.Ext(name) != ".tmpl" {
		return []byte(b.String()), nil
	}
	text, diags := config.Format(o.Name+config.Suffix, []byte(b.String()))
	if diags.HasErrors() {
		return nil, fmt.Errorf("the migration file can't be made: %w", diags)
	}
	return text, nil
}

// ignore sees to it that .gitignore names what must not be committed, and
// reports whether it had to write.
func (a *app) ignore() (bool, error) {
	want, err := initFiles.ReadFile("init/gitignore")
	if err != nil {
		return false, err
	}
	path := a.path(".gitignore")
	have, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	lines := strings.Split(string(have), "\n")
	text := string(have)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	added := false
	for line := range strings.Lines(string(want)) {
		if !slices.Contains(lines, strings.TrimSuffix(line, "\n")) {
			text, added = text+line, true
		}
	}
	if !added {
		return false, nil
	}
	return true, state.WriteFile(path, []byte(text), 0o644)
}

var (
	namePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,62}$`)
	hostPattern = regexp.MustCompile(`^(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
)

// answers fills in what the flags don't say: by asking on a terminal, else by
// the defaults. An answer that can't be used is a usage error.
func (a *app) answers(o *initOptions) error {
	if o.Name == "" {
		if name := filepath.Base(a.dir); namePattern.MatchString(name) {
			o.Name = name
		} else {
			o.Name = "migration"
		}
	}
	questions := []struct {
		text  string
		value *string
	}{
		{"IMAP host that the mail leaves", &o.SourceHost},
		{"IMAP host that the mail goes to", &o.TargetHost},
		{"Mail domain whose MX moves (empty: mail only)", &o.Domain},
		{"Cutover, local time such as 2027-01-15T18:00 (empty: a Friday in four weeks)", &o.Cutover},
		{"Time zone (empty: UTC)", &o.Timezone},
	}
	if a.stdinTTY && !a.json {
		in := bufio.NewScanner(a.stdin)
		for _, q := range questions {
			if *q.value != "" {
				continue
			}
			fmt.Fprintf(a.stderr, "%s: ", q.text)
			if !in.Scan() {
				break
			}
			*q.value = strings.TrimSpace(in.Text())
		}
	}
	if o.Timezone == "" {
		o.Timezone = "UTC"
	}
	loc, err := time.LoadLocation(o.Timezone)
	if err != nil || o.Timezone == "Local" {
		return usage("-timezone %q: want an IANA name such as Europe/Berlin", o.Timezone)
	}
	if o.Cutover == "" {
		o.Cutover = friday(a.clock.Now().In(loc)).Format("2006-01-02T15:04")
	}
	if _, err := time.ParseInLocation("2006-01-02T15:04", o.Cutover, loc); err != nil {
		return usage("-cutover %q: want a local time such as 2027-01-15T18:00", o.Cutover)
	}
	if o.MX == "" {
		o.MX = o.TargetHost
	}
	switch {
	case !namePattern.MatchString(o.Name):
		return usage("-name %q: want letters, digits, _ and -, beginning with a letter", o.Name)
	case !hostPattern.MatchString(o.SourceHost):
		return usage("-source-host %q: want the name of an IMAP host such as imap.old.example", o.SourceHost)
	case !hostPattern.MatchString(o.TargetHost):
		return usage("-target-host %q: want the name of an IMAP host such as imap.new.example", o.TargetHost)
	case o.Domain != "" && (!hostPattern.MatchString(o.Domain) || !strings.Contains(o.Domain, ".")):
		return usage("-domain %q: want a domain such as acme.example", o.Domain)
	case !hostPattern.MatchString(o.MX):
		return usage("-mx %q: want the name of a mail exchanger such as mx.new.example", o.MX)
	}
	o.Domain = strings.ToLower(o.Domain)
	return nil
}

// friday is 18:00 on the first Friday that is four weeks or more from now.
func friday(now time.Time) time.Time {
	days := 28 + (int(time.Friday)-int(now.Weekday())+7)%7
	y, m, d := now.Date()
	return time.Date(y, m, d+days, 18, 0, 0, 0, now.Location())
}
