package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// kind is a system that mxodus speaks to, under the label that the
// configuration uses.
type kind struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles"` // "source", "target", "dns"
	What  string   `json:"what"`
}

// kinds are the systems that newSystems can wire.
var kinds = []kind{
	{"by_hand", []string{"dns"}, "a zone that a person edits; every change is proven by the name servers"},
	{"imap", []string{"source", "target"}, "any IMAP host; addresses at a target are made by hand and proven"},
	{"ionos", []string{"source", "target", "dns"}, "IONOS Mail over IMAP, by region; zones over the IONOS DNS API"},
	{"rfc2136", []string{"dns"}, "dynamic updates signed with TSIG (BIND, Knot, PowerDNS and others)"},
}

func newProviders(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "providers",
		Short: "List the systems that mxodus speaks to",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				return a.writeJSON(struct {
					Providers []kind `json:"providers"`
				}{kinds})
			}
			for _, k := range kinds {
				if _, err := fmt.Fprintf(a.stdout, "%-10s %-16s %s\n", k.Name, strings.Join(k.Roles, ", "), k.What); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
