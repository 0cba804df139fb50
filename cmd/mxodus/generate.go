package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/config"
	"github.com/mxodus/mxodus/plan/draft"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns"
	"github.com/mxodus/mxodus/state"
)

// draftsDir is where proposals go. Nothing reads them before a person has moved them.
const draftsDir = "drafts"

// draftHeaders is how many of a folder's newest messages are searched for recipients.
const draftHeaders = 500

// mailRecords are what the draft of a domain is made from where its zone can't be listed.
var mailRecords = []struct{ prefix, typ string }{
	{"", "MX"}, {"", "TXT"}, {"autodiscover.", "CNAME"}, {"autoconfig.", "CNAME"}, {"_autodiscover._tcp.", "SRV"},
	{"_imaps._tcp.", "SRV"}, {"_submission._tcp.", "SRV"}, {"_dmarc.", "CNAME"}, {"_dmarc.", "TXT"}, {"_mta-sts.", "TXT"},
}

// generateJSON is the object of `discover -generate -json` that comes first.
type generateJSON struct {
	Mailboxes []string       `json:"mailboxes"` // that log in and aren't declared
	Refused   []string       `json:"refused"`   // that have a password and can't log in
	Addresses []draftAddress `json:"addresses"` // that mail names and nothing declares
	Domains   []string       `json:"domains"`   // that aren't declared
	Written   []string       `json:"written"`
}

type draftAddress struct {
	Address  string `json:"address"`
	Messages int    `json:"messages"`
	Mailbox  string `json:"mailbox"`
}

// generate looks at what the configuration names and at what it doesn't name yet, and writes
// drafts of the difference.
func (a *app) generate(ctx context.Context, loaded *config.Loaded) error {
	m := loaded.Migration
	// Only the sources are asked: a target may still be without its key.
	asked := *m
	asked.Targets, asked.Zones, asked.Domains, asked.SMTP, asked.Validation = nil, nil, nil, nil, plan.Validation{}
	sys, err := newSystems(a, &config.Loaded{Migration: &asked, Files: loaded.Files})
	if err != nil {
		return err
	}
	g := &generator{app: a, m: m, sys: sys, out: generateJSON{Mailboxes: []string{}, Refused: []string{}, Addresses: []draftAddress{}, Domains: []string{}, Written: []string{}}}
	if err := g.mailboxes(ctx); err != nil {
		return err
	}
	if err := g.domains(ctx); err != nil {
		return err
	}
	addresses := draft.Addresses(m, g.seen)
	for _, x := range addresses {
		g.out.Addresses = append(g.out.Addresses, draftAddress{x.Address, x.Messages, x.Mailbox})
	}
	for _, file := range []struct {
		name string
		text []byte
	}{
		{"mailboxes.csv", draft.MailboxTable(g.seen)},
		{"aliases.csv", draft.AliasTable(addresses)},
		{m.Name + "-drafted" + config.Suffix, draft.HCL(m, g.seen)},
	} {
		if err := g.write(filepath.Join(draftsDir, file.name), file.text); err != nil {
			return err
		}
	}
	if a.json {
		return a.writeJSON(g.out)
	}
	return g.show()
}

type generator struct {
	app  *app
	m    *plan.Migration
	sys  *systems
	seen draft.Seen
	out  generateJSON
	mu   sync.Mutex // guards seen, out and progress
}

func (g *generator) say(format string, args ...any) {
	if !g.app.json {
		fmt.Fprintln(g.app.stderr, render.Escape(fmt.Sprintf(format, args...)))
	}
}

// candidate is a mailbox to look into.
type candidate struct {
	from     string
	account  providers.Account
	declared bool
}

// candidates are the mailboxes that are declared, and those that a source has a password for.
func (g *generator) candidates(ctx context.Context) ([]candidate, error) {
	var list []candidate
	known := map[string]bool{}
	for _, b := range g.m.Mailboxes {
		known[b.From+" "+b.Source] = true
		list = append(list, candidate{b.From, providers.Account{Address: b.Source, Credentials: b.Credentials}, true})
	}
	for _, h := range g.m.Sources {
		addresses, err := g.sys.secrets.Addresses(ctx, h.Credentials)
		if err != nil {
			return nil, err
		}
		for _, a := range addresses {
			if !known[h.Key()+" "+a] && strings.Contains(a, "@") {
				list = append(list, candidate{h.Key(), providers.Account{Address: a}, false})
			}
		}
	}
	return list, nil
}

// mailboxes looks into all candidates, several at the same time.
func (g *generator) mailboxes(ctx context.Context) error {
	list, err := g.candidates(ctx)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		g.say("nothing to look into: put the mailboxes' passwords into the table of the source's secret, or declare mailboxes")
	}
	var names []string
	for _, d := range g.m.Domains {
		names = append(names, d.Name)
	}
	for _, c := range list {
		names = append(names, domainOf(c.account.Address))
	}
	slices.Sort(names)
	names = slices.Compact(names)
	room := make(chan struct{}, doctorTrials)
	var all sync.WaitGroup
	for _, c := range list {
		if ctx.Err() != nil {
			break
		}
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			box, err := g.look(ctx, c, names)
			g.mu.Lock()
			defer g.mu.Unlock()
			if err != nil {
				g.out.Refused = append(g.out.Refused, c.account.Address)
				g.say("%s at %s can't be looked into: %v", c.account.Address, c.from, err)
				return
			}
			g.seen.Mailboxes = append(g.seen.Mailboxes, box)
			if !c.declared {
				g.out.Mailboxes = append(g.out.Mailboxes, c.account.Address)
			}
			g.say("%s: %s", c.account.Address, counted(len(box.Folders), "folder", "folders"))
		})
	}
	all.Wait()
	slices.Sort(g.out.Mailboxes)
	slices.Sort(g.out.Refused)
	return ctx.Err()
}

func domainOf(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }

// look reads a mailbox's folders and who its mail is for.
func (g *generator) look(ctx context.Context, c candidate, domains []string) (draft.Mailbox, error) {
	box := draft.Mailbox{From: c.from, Address: c.account.Address, Declared: c.declared}
	host, err := g.sys.Source(c.from)
	if err != nil {
		return box, err
	}
	folders, err := host.Folders(ctx, c.account)
	if err != nil {
		return box, err
	}
	for _, f := range folders {
		if f.Selectable {
			box.Folders = append(box.Folders, draft.Folder{Name: f.Name, SpecialUse: f.SpecialUse, Messages: int(f.Messages)})
		}
	}
	box.Recipients, err = host.Recipients(ctx, c.account, domains, draftHeaders)
	return box, err
}

// domains reads the records of the mailboxes' domains. One that has no zone here is drafted
// without what it has today.
func (g *generator) domains(ctx context.Context) error {
	names := map[string]bool{} // name -> declared
	for _, b := range g.seen.Mailboxes {
		names[domainOf(b.Address)] = false
	}
	for _, d := range g.m.Domains {
		names[d.Name] = true
	}
	for name, declared := range names {
		d := draft.Domain{Name: name, Declared: declared}
		var err error
		if d.Sets, err = g.records(ctx, name); err != nil {
			g.say("%s: its records can't be read: %v", name, err)
		}
		if !declared {
			g.out.Domains = append(g.out.Domains, name)
		}
		g.seen.Domains = append(g.seen.Domains, d)
	}
	slices.Sort(g.out.Domains)
	return ctx.Err()
}

// records asks the domain's name servers for what mail needs.
func (g *generator) records(ctx context.Context, domain string) ([]plan.RRset, error) {
	var cfg plan.ZoneConfig
	if d, ok := g.m.Domain(domain); ok {
		cfg, _ = g.m.Zone(d.Zone)
	} else if len(g.m.Zones) > 0 {
		cfg = g.m.Zones[0]
	}
	ns := dns.NewNameServers(cfg, g.app.clock)
	servers, err := ns.Authoritative(ctx, domain)
	if err != nil {
		return nil, err
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("no name server is delegated to")
	}
	var sets []plan.RRset
	for _, r := range mailRecords {
		ans, err := ns.Ask(ctx, servers[0], r.prefix+domain+".", r.typ)
		if err != nil {
			return sets, err
		}
		if ans.Set.Exists() {
			sets = append(sets, ans.Set)
		}
	}
	return sets, nil
}

// write writes a draft. One that a person has changed since stays.
func (g *generator) write(name string, text []byte) error {
	if text == nil {
		return nil
	}
	path := g.app.path(name)
	old, err := os.ReadFile(path)
	if err == nil && !bytes.Equal(old, text) {
		return fmt.Errorf("%s is there already and says something else: move what you use of it, delete it, and run mxodus discover -generate again", filepath.ToSlash(name))
	}
	if err := state.WriteFile(path, text, 0o644); err != nil {
		return err
	}
	g.out.Written = append(g.out.Written, filepath.ToSlash(name))
	return nil
}

func (g *generator) show() error {
	var b strings.Builder
	if n := len(g.out.Mailboxes); n > 0 {
		fmt.Fprintf(&b, "%s that nothing declares yet.\n", counted(n, "mailbox logs in", "mailboxes log in"))
	}
	if n := len(g.out.Addresses); n > 0 {
		fmt.Fprintf(&b, "%s a home and named in mail:\n", counted(n, "address without", "addresses without"))
	}
	for i, x := range g.out.Addresses {
		if i == 10 {
			fmt.Fprintf(&b, "  … and %d more in drafts/aliases.csv\n", len(g.out.Addresses)-i)
			break
		}
		fmt.Fprintf(&b, "  %-40s %s, most of them in %s\n", render.Escape(x.Address), counted(x.Messages, "message", "messages"), render.Escape(x.Mailbox))
	}
	var formulas []string
	for _, x := range g.out.Addresses {
		if draft.Formula(x.Address) {
			formulas = append(formulas, x.Address)
		}
	}
	if n := len(formulas); n > 0 {
		fmt.Fprintf(&b, "Not drafted, because spreadsheets would run %s as a formula; declare an alias if it is real: %s", counted(n, "address", "addresses"),
			render.Escape(strings.Join(formulas[:min(n, 10)], ", ")))
		if n > 10 {
			b.WriteString(", …; -json names all")
		}
		b.WriteByte('\n')
	}
	for _, w := range g.out.Written {
		fmt.Fprintf(&b, "wrote %s\n", render.Escape(w))
	}
	switch {
	case len(g.out.Written) == 0 && len(formulas) == 0:
		b.WriteString("Nothing to draft: all that was seen is declared.\n")
	case len(g.out.Written) > 0:
		b.WriteString("\nNothing uses the drafts before you do. Read them, take out what is not meant, then:\n")
	}
	for _, w := range g.out.Written {
		if strings.HasSuffix(w, config.Suffix) {
			fmt.Fprintf(&b, "  mv %s .\n", render.Escape(w))
		} else {
			fmt.Fprintf(&b, "  mxodus import %s\n", render.Escape(w))
		}
	}
	_, err := g.app.stdout.Write([]byte(b.String()))
	return err
}
