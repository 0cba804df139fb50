package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/providers/dns"
	"github.com/mxodus/mxodus/providers/dns/mailcheck"
)

// checkDNS are the flags of check dns.
type checkDNS struct {
	selectors []string
	resolver  string
	servers   []string
	markdown  bool
	noFetch   bool
}

func newCheckDNS(a *app) *cobra.Command {
	var o checkDNS
	cmd := &cobra.Command{
		Use:   "dns [DOMAIN]",
		Short: "Report on a domain's mail records; exit 5 when something is wrong",
		Long: "check dns looks at delegation, MX, SPF, DKIM, DMARC, MTA-STS, TLS reporting,\n" +
			"autodiscover and DNSSEC of any domain, and changes nothing. A domain of the\n" +
			"folder is asked through the folder's servers; without DOMAIN all of them are.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.checkDNS(cmd.Context(), strings.Join(args, ""), o)
		},
	}
	cmd.Flags().StringArrayVar(&o.selectors, "selector", nil, "look for this DKIM `selector` too; may be given several times")
	cmd.Flags().StringVar(&o.resolver, "resolver", "", "`host:port` for recursive look-ups (default: the folder's, else the system's)")
	cmd.Flags().StringArrayVar(&o.servers, "server", nil, "ask this authoritative `host:port` instead of those of the delegation; may be given several times")
	cmd.Flags().BoolVar(&o.markdown, "markdown", false, "print Markdown")
	cmd.Flags().BoolVar(&o.noFetch, "no-fetch", false, "don't fetch the MTA-STS policy over HTTPS")
	return cmd
}

// watched is a domain and who observes it.
type watched struct {
	domain  string
	servers *dns.NameServers
}

func (a *app) checkDNS(ctx context.Context, domain string, o checkDNS) error {
	if o.markdown && a.json {
		return usage("-markdown and -json exclude each other")
	}
	list, err := a.watched(domain, o)
	if err != nil {
		return err
	}
	sound := true
	for i, w := range list {
		options := mailcheck.Options{Selectors: o.selectors}
		if !o.noFetch {
			tr := policyTransport(w.servers)
			defer tr.CloseIdleConnections()
			options.HTTP = &http.Client{Transport: tr, Timeout: 20 * time.Second}
		}
		r, err := mailcheck.Run(ctx, w.servers, w.domain, options)
		if err != nil {
			return err
		}
		sound = sound && r.OK
		if i > 0 && !a.json {
			fmt.Fprintln(a.stdout)
		}
		switch {
		case a.json:
			err = a.writeJSON(r)
		case o.markdown:
			err = checkMarkdown(a.stdout, r)
		default:
			err = checkText(a.stdout, r)
		}
		if err != nil {
			return err
		}
	}
	if !sound {
		return exit(exitGate)
	}
	return nil
}

// watched are the domains to check: the one named, or all of the folder.
func (a *app) watched(domain string, o checkDNS) ([]watched, error) {
	// Outside of a migration's folder any domain may be named. A folder whose configuration has a
	// mistake says so: asking other servers than it names would be a wrong answer.
	files, err := filepath.Glob(filepath.Join(a.dir, "*.mx.hcl"))
	if err != nil {
		return nil, err
	}
	var domains []plan.Domain
	var m *plan.Migration
	if domain == "" || len(files) > 0 {
		loaded, err := a.load()
		if err != nil {
			return nil, err
		}
		m, domains = loaded.Migration, loaded.Migration.Domains
	}
	observer := func(cfg plan.ZoneConfig) *dns.NameServers {
		if o.resolver != "" {
			cfg.Resolver = o.resolver
		}
		if len(o.servers) > 0 {
			cfg.Authoritative = o.servers
		}
		return dns.NewNameServers(cfg, a.clock)
	}
	var list []watched
	for _, d := range domains {
		if cfg, ok := m.Zone(d.Zone); ok && (domain == "" || strings.EqualFold(strings.TrimSuffix(domain, "."), d.Name)) {
			list = append(list, watched{d.Name, observer(cfg)})
		}
	}
	switch {
	case len(list) > 0:
		return list, nil
	case domain == "":
		return nil, usage("the configuration holds no domain: name one, as in mxodus check dns acme.example")
	}
	if _, err := dns.Name(domain); err != nil {
		return nil, usage("%v", err)
	}
	return []watched{{domain, observer(plan.ZoneConfig{})}}, nil
}

// policyTransport finds the policy's host by the same resolver as everything else.
func policyTransport(ns *dns.NameServers) *http.Transport {
	return &http.Transport{
		TLSHandshakeTimeout: 10 * time.Second,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			var last error = fmt.Errorf("%s has no address", host)
			for _, typ := range []string{"A", "AAAA"} {
				found, err := ns.Resolve(ctx, host, typ)
				if err != nil {
					last = err
					continue
				}
				for _, addr := range found.Set.Data {
					conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, net.JoinHostPort(addr, port))
					if err == nil {
						return conn, nil
					}
					last = err
				}
			}
			return nil, last
		},
	}
}

var severityWords = map[mailcheck.Severity]string{
	mailcheck.Fine: "ok", mailcheck.Note: "note", mailcheck.Warning: "warning", mailcheck.Wrong: "WRONG",
}

// checkText is for people at a terminal: what is wrong first within each check, then what was seen.
func checkText(w io.Writer, r mailcheck.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\n", render.Escape(r.Domain), verdict(r))
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "  %-8s %-12s %s\n", severityWords[f.Severity], f.Check, render.Escape(subject(r, f)+f.Detail))
		if f.Remedy != "" && f.Severity != mailcheck.Fine {
			fmt.Fprintf(&b, "  %21s what to do: %s\n", "", render.Escape(f.Remedy))
		}
	}
	if r.SPF != nil && len(r.SPF.Below) > 0 {
		fmt.Fprintf(&b, "\n  SPF, %d look-ups of 10\n", r.SPF.Lookups)
		for _, n := range r.SPF.Below {
			spfText(&b, n, 2)
		}
	}
	if len(r.Servers) > 0 {
		fmt.Fprintf(&b, "\n  %-28s %-11s %-24s %s\n", "name server", "serial", "TTL", "MX")
		for _, s := range r.Servers {
			if s.Problem != "" {
				fmt.Fprintf(&b, "  %-28s %s\n", render.Escape(s.Address), render.Escape(s.Problem))
				continue
			}
			fmt.Fprintf(&b, "  %-28s %-11d %-24s %s\n", render.Escape(s.Address), s.Serial, ttls(s), render.Escape(strings.Join(s.MX, ", ")))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func verdict(r mailcheck.Report) string {
	n := map[mailcheck.Severity]int{}
	for _, f := range r.Findings {
		n[f.Severity]++
	}
	switch {
	case n[mailcheck.Wrong] > 0:
		return fmt.Sprintf("%d wrong, %d to look at", n[mailcheck.Wrong], n[mailcheck.Warning])
	case n[mailcheck.Warning] > 0:
		return fmt.Sprintf("nothing wrong, %d to look at", n[mailcheck.Warning])
	}
	return "nothing wrong"
}

// subject is said where it isn't the domain itself.
func subject(r mailcheck.Report, f mailcheck.Finding) string {
	if f.Subject == r.Domain {
		return ""
	}
	return f.Subject + ": "
}

func spfText(b *strings.Builder, n mailcheck.Include, depth int) {
	line := fmt.Sprintf("%s%s (%d)", strings.Repeat("  ", depth), n.Term, n.Lookups)
	if n.Error != "" {
		line += "  " + n.Error
	}
	fmt.Fprintln(b, render.Escape(line))
	for _, below := range n.Below {
		spfText(b, below, depth+1)
	}
}

func ttls(s mailcheck.Server) string {
	var list []string
	for typ, ttl := range s.TTL {
		list = append(list, fmt.Sprintf("%s %d", typ, ttl))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// markdownText is text that Markdown takes for nothing but text, also in a table.
func markdownText(s string) string {
	var b strings.Builder
	for _, r := range render.Escape(s) {
		if strings.ContainsRune("\\`*_{}[]<>()#+!|~", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func checkMarkdown(w io.Writer, r mailcheck.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s: %s\n\n| | check | what | what to do |\n|---|---|---|---|\n", markdownText(r.Domain), verdict(r))
	for _, f := range r.Findings {
		remedy := ""
		if f.Severity != mailcheck.Fine {
			remedy = f.Remedy
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", severityWords[f.Severity], markdownText(f.Check), markdownText(subject(r, f)+f.Detail), markdownText(remedy))
	}
	if len(r.Servers) > 0 {
		b.WriteString("\n| name server | serial | TTL | MX |\n|---|---|---|---|\n")
		for _, s := range r.Servers {
			fmt.Fprintf(&b, "| %s | %d | %s | %s |\n", markdownText(s.Address), s.Serial, ttls(s), markdownText(strings.Join(s.MX, ", ")+s.Problem))
		}
	}
	if len(r.Sets) > 0 {
		b.WriteString("\n| name | record |\n|---|---|\n")
		for _, set := range r.Sets {
			for _, line := range set.Lines() {
				fmt.Fprintf(&b, "| %s | %s |\n", markdownText(strings.TrimSuffix(set.Name, ".")), markdownText(line))
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
