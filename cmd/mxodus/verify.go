package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/config"
	"github.com/mxodus/mxodus/plan/planfile"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/providers/secret"
)

func newVerify(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "verify PLAN",
		Short: "Make the plan again offline and compare; look for secrets in it",
		Long: "verify makes the plan again from the committed files and compares byte by byte,\n" +
			"follows its chain of parents, and looks for secrets in plan and inventory.\n" +
			"It needs no network and no credential. Exit code 4 when something differs.",
		Args: oneArg("a plan file"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.verify(cmd.Context(), args[0]) },
	}
}

// verifyJSON is the object of `verify -json`.
type verifyJSON struct {
	Plan    string   `json:"plan"` // digest
	Number  int      `json:"number"`
	OK      bool     `json:"ok"`
	Differs []string `json:"differs"`
	Secrets int      `json:"secrets"` // values that were looked for
	Skipped []string `json:"skipped"` // secrets that can't be read here without asking somebody
}

func (a *app) verify(ctx context.Context, name string) error {
	p, data, err := a.readPlan(a.path(name))
	if err != nil {
		return a.tellEdits(name, err)
	}
	loaded, err := a.load()
	if err != nil {
		return err
	}
	inv, err := a.readInventory()
	if err != nil {
		return err
	}
	if inv == nil {
		return fmt.Errorf("there is no %s to compare with: commit it together with the plan", lockFile)
	}
	out := verifyJSON{Plan: p.Digest, Number: p.Number, Differs: []string{}, Skipped: []string{}}
	facts, err := planfile.Verify(p, loaded.Migration, inv, p.Parent)
	if err != nil {
		return err
	}
	out.Differs = append(out.Differs, facts...)
	out.Differs = append(out.Differs, a.checkParent(p)...)
	lock, err := os.ReadFile(a.path(lockFile))
	if err != nil {
		return err
	}
	found, err := a.scanSecrets(ctx, loaded, map[string][]byte{name: data, lockFile: lock})
	if err != nil {
		return err
	}
	out.Differs = append(out.Differs, found.hits...)
	out.Secrets, out.Skipped = found.values, append(out.Skipped, found.skipped...)
	out.OK = len(out.Differs) == 0
	if a.json {
		if err := a.writeJSON(out); err != nil || out.OK {
			return err
		}
		return exit(exitRefused)
	}
	if !out.OK {
		return exitWith(exitRefused, fmt.Errorf("%s does not verify:\n%s\nwhat to do: plan again, review and commit plan, configuration and %s together",
			render.Escape(name), strings.Join(out.Differs, "\n"), lockFile))
	}
	_, err = fmt.Fprintf(a.stdout, "%s verifies: plan %04d is what the configuration and %s give; %s looked for, none found.\n",
		render.Escape(name), p.Number, lockFile, counted(out.Secrets, "secret", "secrets"))
	for _, s := range out.Skipped {
		if err == nil {
			_, err = fmt.Fprintf(a.stdout, "  not looked for: %s\n", render.Escape(s))
		}
	}
	return err
}

// tellEdits adds to the refusal of an edited plan what it says that the committed
// files don't give, as far as that can be told.
func (a *app) tellEdits(name string, refusal error) error {
	if !errors.Is(refusal, planfile.ErrDigest) {
		return refusal
	}
	data, err := os.ReadFile(a.path(name))
	if err != nil {
		return refusal
	}
	loaded, err := a.load()
	if err != nil {
		return refusal
	}
	inv, err := a.readInventory()
	if err != nil || inv == nil {
		return refusal
	}
	facts := planfile.Edits(data, loaded.Migration, inv)
	if len(facts) == 0 {
		return refusal
	}
	return exitWith(exitRefused, fmt.Errorf("%w\n%s", refusal, strings.Join(facts, "\n")))
}

// checkParent says in words what is wrong with the chain that p hangs on.
func (a *app) checkParent(p *plan.Plan) []string {
	if p.Parent == "" {
		if p.Number > 1 {
			return []string{fmt.Sprintf("plan %04d names no parent", p.Number)}
		}
		return nil
	}
	known := a.knownPlans()
	parent := known[p.Parent]
	if parent == nil {
		return []string{fmt.Sprintf("its parent %s is not in %s/", p.Parent, plansDir)}
	}
	var facts []string
	if parent.Lineage != p.Lineage {
		facts = append(facts, fmt.Sprintf("its parent belongs to another migration: lineage %q, here %q", parent.Lineage, p.Lineage))
	}
	if parent.Number >= p.Number && p.Rollback == "" {
		facts = append(facts, fmt.Sprintf("its parent has number %d, which is not before %d", parent.Number, p.Number))
	}
	return facts
}

// secretScan is what scanSecrets found.
type secretScan struct {
	values  int
	hits    []string
	skipped []string
}

// shortest is the length from which a secret is looked for; shorter ones would
// be found in any text.
const shortest = 6

// scanSecrets looks for the values of the migration's secrets in files, as they
// are and in the encodings they travel in. Secrets that only a person, a
// program or a keyring knows are not asked for.
func (a *app) scanSecrets(ctx context.Context, loaded *config.Loaded, files map[string][]byte) (secretScan, error) {
	var scan secretScan
	root, err := os.OpenRoot(a.dir)
	if err != nil {
		return scan, err
	}
	defer root.Close()
	resolver := secret.New(root, secret.Options{LookupEnv: a.lookupEnv})
	seen := map[string]bool{}
	for _, use := range secretUses(loaded.Migration) {
		switch use.ref.Kind {
		case "env", "file", "csv":
		default:
			scan.skip(use.ref)
			continue
		}
		resolved, err := resolver.Resolve(ctx, use.ref, use.address)
		if err != nil {
			scan.skip(use.ref) // nothing here to be found
			continue
		}
		value := resolved.Reveal()
		if len(value) < shortest || seen[value] {
			continue
		}
		seen[value] = true
		scan.values++
		for name, data := range files {
			if holds(string(data), value) {
				scan.hits = append(scan.hits, fmt.Sprintf("%s holds the value of %s: take it out of the history, and change the secret", name, use.ref))
			}
		}
	}
	slices.Sort(scan.hits)
	return scan, nil
}

func (s *secretScan) skip(ref plan.SecretRef) {
	if text := ref.String(); !slices.Contains(s.skipped, text) {
		s.skipped = append(s.skipped, text)
	}
}

func holds(text, secret string) bool {
	for _, form := range []string{
		secret, url.QueryEscape(secret), url.PathEscape(secret), hex.EncodeToString([]byte(secret)),
		base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)),
		fmt.Sprintf("%q", secret),
	} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

// secretUse is a secret and the address that it is looked up for.
type secretUse struct {
	ref     plan.SecretRef
	address string
}

// secretUses lists every secret of a migration with every address it is for.
func secretUses(m *plan.Migration) []secretUse {
	var uses []secretUse
	add := func(ref plan.SecretRef, address string) {
		if !ref.IsZero() {
			uses = append(uses, secretUse{ref, address})
		}
	}
	for _, b := range m.Mailboxes {
		add(b.Credentials, b.Source)
		add(b.Credentials, b.Target)
		if h, ok := m.Source(b.From); ok {
			add(h.Credentials, b.Source)
		}
		if h, ok := m.Target(b.On); ok {
			add(h.Credentials, b.Target)
		}
	}
	for _, z := range m.Zones {
		add(z.Credentials, "")
	}
	for _, s := range m.SMTP {
		add(s.Credentials, s.Username)
	}
	for _, p := range m.Validation.Probes {
		add(p.Credentials, "")
	}
	return uses
}
