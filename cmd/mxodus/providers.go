package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan/config"
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
	{"cloudflare", []string{"dns"}, "zones at Cloudflare"},
	{"digitalocean", []string{"dns"}, "zones at DigitalOcean"},
	{"google_workspace", []string{"source", "target"}, "Google Workspace over IMAP by a service account; addresses at a target are made by hand and proven"},
	{"hetzner", []string{"dns"}, "zones at Hetzner (Cloud API)"},
	{"imap", []string{"source", "target"}, "any IMAP host; addresses at a target are made by hand and proven"},
	{"ionos", []string{"source", "target", "dns"}, "IONOS Mail over IMAP, by region; zones over the IONOS DNS API"},
	{"libdns", []string{"dns"}, "zones of any libdns provider that was compiled in, see docs/dns.md"},
	{"microsoft365", []string{"source", "target"}, "Microsoft 365: domains, users, licences and addresses, and mailboxes over IMAP"},
	{"powerdns", []string{"dns"}, "zones of a PowerDNS server over its HTTP interface"},
	{"rfc2136", []string{"dns"}, "dynamic updates signed with TSIG (BIND, Knot, PowerDNS and others)"},
}

func newProviders(a *app) *cobra.Command {
	var schema bool
	cmd := &cobra.Command{
		Use:   "providers",
		Short: "List the systems that mxodus speaks to",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			if schema {
				// For editors: one object, made from what files are held against.
				return a.writeJSON(config.Describe())
			}
			if a.json {
				return a.writeJSON(struct {
					Providers []kind `json:"providers"`
				}{kinds})
			}
			for _, k := range kinds {
				if _, err := fmt.Fprintf(a.stdout, "%-16s %-16s %s\n", k.Name, strings.Join(k.Roles, ", "), k.What); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&schema, "schema", false, "print every block, attribute, default and function of the language as JSON")
	return cmd
}
