package main

import (
	"bytes"
	"context"
	"encoding/base32"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/plan/config"
	"github.com/mxodus/mxodus/plan/discover"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/state"
)

func newDiscover(a *app) *cobra.Command {
	var generate bool
	cmd := &cobra.Command{
		Use:   "discover",
		Short: "Observe source, target and DNS; write inventory.lock",
		Long: "discover logs in at both hosts, reads folders, sizes and recipients, asks the name servers,\n" +
			"and writes what it found to inventory.lock. It changes nothing outside.\n\n" +
			"With -generate it also looks into mailboxes that nothing declares yet but the source's table of\n" +
			"passwords names, and drafts what the configuration lacks into drafts/: mailboxes, addresses that mail\n" +
			"names and that have no home, folder rules, domains with their records. Nothing uses drafts\n" +
			"before a person has moved or imported them.",
		Example: "  mxodus discover\n  mxodus discover -generate",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := a.load()
			if err != nil {
				return err
			}
			if generate {
				if err := a.generate(cmd.Context(), loaded); err != nil {
					return err
				}
				if len(loaded.Migration.Mailboxes) == 0 {
					return nil // there is nothing to be guarded yet
				}
			}
			seen, err := a.observe(cmd.Context(), loaded)
			if err != nil {
				return err
			}
			if a.json {
				return a.writeJSON(seen.json())
			}
			return seen.text(a)
		},
	}
	cmd.Flags().BoolVar(&generate, "generate", false, "draft what the configuration lacks into drafts/")
	return cmd
}

// observation is what discover found, and whether facts differ from the last time.
type observation struct {
	inv     *inventory.Inventory
	est     *inventory.Estimates
	changed bool
}

// observe looks at the world and writes inventory.lock and the estimates.
// Nothing is written when something could not be read.
func (a *app) observe(ctx context.Context, loaded *config.Loaded) (observation, error) {
	prev, err := a.readInventory()
	if err != nil {
		return observation{}, err
	}
	closed, err := a.closedMailboxes(ctx)
	if err != nil {
		return observation{}, err
	}
	if prev != nil {
		prev.Close(closed)
	}
	sys, err := newSystems(a, loaded)
	if err != nil {
		return observation{}, err
	}
	progress := func(line string) {
		if !a.json {
			fmt.Fprintln(a.stderr, render.Escape(line))
		}
	}
	inv, est, err := discover.Observe(ctx, loaded.Migration, sys, prev, a.newLineage, progress)
	if err != nil {
		return observation{}, err
	}
	inv.Close(closed)
	seen := observation{inv: inv, est: est}
	data := inv.Encode()
	old, err := os.ReadFile(a.path(lockFile))
	if seen.changed = err != nil || !bytes.Equal(old, data); seen.changed {
		if err := state.WriteFile(a.path(lockFile), data, 0o644); err != nil {
			return observation{}, err
		}
	}
	// Sizes of mailboxes are nobody else's business: 0600.
	return seen, state.WriteFile(a.path(estimatesFile), est.Encode(), 0o600)
}

// closedMailboxes are those whose copy the journal says is over for good; they
// aren't asked again, because their accounts may be gone.
func (a *app) closedMailboxes(ctx context.Context) (map[string]bool, error) {
	if !state.Exists(a.dir) {
		return nil, nil
	}
	db, err := state.Open(a.dir)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	entries, err := db.Entries(ctx, 0)
	if err != nil {
		return nil, err
	}
	return apply.ClosedMailboxes(entries), nil
}

// newLineage is a random name of 80 bits for a migration.
func (a *app) newLineage() string {
	return base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").EncodeToString(a.entropy(10)) // Crockford's alphabet
}

// discoverJSON is the object of `discover -json`.
type discoverJSON struct {
	Inventory  string   `json:"inventory"` // digest
	Lineage    string   `json:"lineage"`
	Changed    bool     `json:"changed"`
	Mailboxes  int      `json:"mailboxes"`
	Missing    []string `json:"missing"` // addresses without a mailbox at the target yet
	Messages   int64    `json:"messages"`
	Octets     int64    `json:"octets"`
	Domains    int      `json:"domains"`
	RecordSets int      `json:"record_sets"`
	Recipients int      `json:"recipients"`
}

func (o observation) json() discoverJSON {
	messages, octets := o.est.Total()
	j := discoverJSON{Inventory: o.inv.Digest(), Lineage: o.inv.Lineage, Changed: o.changed, Mailboxes: len(o.inv.Sources), Missing: []string{},
		Messages: messages, Octets: octets, Domains: len(o.inv.Domains), Recipients: len(o.inv.Recipients)}
	for _, t := range o.inv.Targets {
		if !t.Exists {
			j.Missing = append(j.Missing, t.Address)
		}
	}
	for _, d := range o.inv.Domains {
		j.RecordSets += len(d.Sets)
	}
	return j
}

func (o observation) text(a *app) error {
	j := o.json()
	var b strings.Builder
	messages := counted(int(j.Messages), "message", "messages")
	if j.Octets > 0 || j.Messages == 0 { // many hosts don't tell (no STATUS=SIZE)
		messages += ", " + render.Size(j.Octets)
	}
	fmt.Fprintf(&b, "%s, %s; %s with %s; %s seen as recipients.\n",
		counted(j.Mailboxes, "mailbox", "mailboxes"), messages,
		counted(j.Domains, "domain", "domains"), counted(j.RecordSets, "record set", "record sets"), counted(j.Recipients, "address", "addresses"))
	for _, m := range j.Missing {
		fmt.Fprintf(&b, "  not at the target yet: %s\n", render.Escape(m))
	}
	if o.changed {
		fmt.Fprintf(&b, "%s is written. Review and commit it.\n", lockFile)
	} else {
		fmt.Fprintf(&b, "%s is unchanged.\n", lockFile)
	}
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

// counted is "1 mailbox", "25 mailboxes".
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return render.Count(int64(n)) + " " + many
}
