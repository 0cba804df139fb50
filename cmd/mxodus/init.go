package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan/config"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/state"
)

// The files that init writes, as templates.
//
//go:embed init/*
var initFiles embed.FS

func newInit(a *app) *cobra.Command {
	var o initOptions
	cmd := &cobra.Command{
		Use:   "init [FOLDER]",
		Short: "Write the files of a new migration",
		Long: "init writes a commented migration, tables to fill in, and what git has to know. It asks\n" +
			"for what the flags don't say; without a terminal it takes defaults. Nothing is contacted.",
		Example: "  mxodus init acme\n" +
			"  mxodus init -from ionos -region de -to microsoft365 -tenant acme.onmicrosoft.com \\\n" +
			"    -client-id 6f0c1e52-9d1b-4b53-8f0e-0c6d7c7b3a11 -domain acme.example -dns ionos acme\n" +
			"  mxodus init -source-host imap.old.example -target-host imap.new.example -domain acme.example acme",
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
			return a.init(o, strings.Join(args, ""))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Name, "name", "", "`name` of the migration (default: that of the folder)")
	f.StringVar(&o.From, "from", "", "`kind` of host that the mail leaves: "+strings.ReplaceAll(sourceKinds, " ", ", "))
	f.StringVar(&o.Region, "region", "", "IONOS `region` of the source: com, de, co.uk, es, fr, it")
	f.StringVar(&o.SourceHost, "source-host", "", "IMAP `host` that the mail leaves, or host:port")
	f.StringVar(&o.To, "to", "", "`kind` of host that the mail goes to: "+strings.ReplaceAll(targetKinds, " ", ", "))
	f.StringVar(&o.TargetRegion, "target-region", "", "IONOS `region` of the target")
	f.StringVar(&o.TargetHost, "target-host", "", "IMAP `host` that the mail goes to, or host:port")
	f.StringVar(&o.SMTPProbe, "smtp-probe", "", "`host:port` where the target is asked who takes mail, or off (default: port 25 of the new MX)")
	f.StringVar(&o.Tenant, "tenant", "", "Microsoft 365 `tenant`, such as acme.onmicrosoft.com")
	f.StringVar(&o.ClientID, "client-id", "", "application `id` of the app registration in that tenant")
	f.StringVar(&o.License, "license", "", "`name` of the licence of each user (default: O365_BUSINESS_PREMIUM)")
	f.StringVar(&o.Country, "country", "", "`country` of the users, two letters (default: that of the IONOS region)")
	f.StringVar(&o.Domain, "domain", "", "mail `domain` whose MX moves; none: mail only")
	f.StringVar(&o.DNS, "dns", "", "`kind` of DNS host of the domain (default: by_hand)")
	f.StringVar(&o.DNSServer, "dns-server", "", "`address` of the name server (rfc2136) or of the API (powerdns)")
	f.StringVar(&o.MX, "mx", "", "`host` of the new MX (default: the target host)")
	f.StringVar(&o.Cutover, "cutover", "", "local `time` of the flip, such as 2027-01-15T18:00 (default: a Friday in four weeks)")
	f.StringVar(&o.Timezone, "timezone", "", "IANA `zone` of all times (default: that of the IONOS region, else UTC)")
	return cmd
}

// initJSON is the object of `init -json`.
type initJSON struct {
	Migration string   `json:"migration"`
	Written   []string `json:"written"`
	Kept      []string `json:"kept"` // there already and left as they were
}

// init writes the files of a migration into the app's folder. folder is what the person
// called it, "" when they are in it.
func (a *app) init(o initOptions, folder string) error {
	if old, _ := filepath.Glob(filepath.Join(escapeGlob(a.dir), "*"+config.Suffix)); len(old) > 0 {
		return fmt.Errorf("%s is there already: init writes new migrations only, take another folder", a.name(old[0]))
	}
	if err := a.answers(&o); err != nil {
		return err
	}
	out := initJSON{Migration: o.Name, Written: []string{}, Kept: []string{}}
	for _, file := range o.files() {
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
	b.WriteString("\nNext:\n")
	next := o.next()
	if folder != "" {
		next = slices.Insert(next, 0, "cd "+render.Escape(folder))
	}
	for i, line := range next {
		fmt.Fprintf(&b, "  %d. %s\n", i+1, line)
	}
	_, err = fmt.Fprint(a.stdout, b.String())
	return err
}

// initFile is a file that init writes, and the template that it is made of.
type initFile struct {
	template, path string
	mode           fs.FileMode
}

// files are those that the answers ask for.
func (o *initOptions) files() []initFile {
	mailboxes := "mailboxes.csv"
	if o.Directory {
		mailboxes = "mailboxes_directory.csv"
	}
	list := []initFile{
		{"migration.mx.hcl.tmpl", o.Name + config.Suffix, 0o644},
		{mailboxes, "mailboxes.csv", 0o644},
		{"aliases.csv", "aliases.csv", 0o644},
		{"forwarders.csv", "forwarders.csv", 0o644},
		{"gitattributes", ".gitattributes", 0o644},
	}
	if o.SourceTable {
		list = append(list, initFile{"secrets.csv", "secrets/source.csv", 0o600})
	}
	if o.TargetTable {
		list = append(list, initFile{"secrets.csv", "secrets/target.csv", 0o600})
	}
	return list
}

// next is what a person does after init, one line each.
func (o *initOptions) next() []string {
	list := []string{"Who moves: fill in mailboxes.csv, or run mxodus import LIST.csv on a spreadsheet you have."}
	switch {
	case o.From == "ionos":
		list = append(list, "secrets/source.csv: address and password of each mailbox; where 2FA is on, an app password.")
	case o.SourceTable:
		list = append(list, "secrets/source.csv: address and password of each mailbox at the old host.")
	}
	if o.TargetTable {
		list = append(list, "secrets/target.csv: the same at the new host.")
	}
	if o.To == "microsoft365" {
		list = append(list, "secrets/graph.pem: certificate and key of the app registration (or its client secret).")
	}
	if o.Google {
		list = append(list, "secrets/google.json: the key of the service account.")
	}
	if o.DNSSecret != "" {
		list = append(list, "export "+o.DNSSecret+"=…: the key of the DNS host.")
	}
	return append(list, "mxodus doctor tries it all; mxodus plan -out plans/0001.plan shows what would be done.")
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
