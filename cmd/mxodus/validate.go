package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/render"
)

func newValidate(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "validate",
		Short: "Check the configuration without touching the network",
		Args:  noArgs,
		RunE:  func(*cobra.Command, []string) error { return a.validate() },
	}
}

// validateJSON is the object of `validate -json`.
type validateJSON struct {
	Valid       bool             `json:"valid"`
	Migration   string           `json:"migration,omitempty"`
	Config      string           `json:"config,omitempty"` // digest of the meaning
	Mailboxes   int              `json:"mailboxes"`
	Domains     int              `json:"domains"`
	Diagnostics []diagnosticJSON `json:"diagnostics"`
}

func (a *app) validate() error {
	loaded, err := a.load()
	if a.json {
		out := validateJSON{Diagnostics: []diagnosticJSON{}}
		switch conf, isConf := errors.AsType[*configError](err); {
		case isConf:
			out.Diagnostics = diagnosticsJSON(conf.diags)
		case err != nil:
			return err
		default:
			m := loaded.Migration
			out = validateJSON{Valid: true, Migration: m.Name, Config: m.Digest(), Mailboxes: len(m.Mailboxes), Domains: len(m.Domains),
				Diagnostics: diagnosticsJSON(loaded.Warnings)}
		}
		if err := a.writeJSON(out); err != nil || out.Valid {
			return err
		}
		return exit(exitError1)
	}
	if err != nil {
		return err
	}
	m := loaded.Migration
	_, err = fmt.Fprintf(a.stdout, "The configuration is valid: %s, %s.\n", render.Escape(m.Name), describe(m))
	return err
}

// describe counts what a migration is about.
func describe(m *plan.Migration) string {
	return counted(len(m.Mailboxes), "mailbox", "mailboxes") + ", " + counted(len(m.Domains), "domain", "domains")
}
