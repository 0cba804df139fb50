package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/config"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/cloudflare"
	"github.com/mxodus/mxodus/providers/digitalocean"
	"github.com/mxodus/mxodus/providers/dns"
	"github.com/mxodus/mxodus/providers/dns/hosted"
	google "github.com/mxodus/mxodus/providers/google_workspace"
	"github.com/mxodus/mxodus/providers/hetzner"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/copy"
	"github.com/mxodus/mxodus/providers/ionos"
	"github.com/mxodus/mxodus/providers/libdns"
	"github.com/mxodus/mxodus/providers/microsoft365"
	"github.com/mxodus/mxodus/providers/microsoft365/entra"
	"github.com/mxodus/mxodus/providers/powerdns"
	"github.com/mxodus/mxodus/providers/secret"
	"github.com/mxodus/mxodus/providers/smtp"
)

// systems are the providers that one migration's configuration names.
type systems struct {
	sources, targets map[string]imap.Host
	zones            map[string]zoneAt // by domain
	notifiers        map[string]*smtp.Notifier
	correspondents   map[string]*correspondent      // by probe
	submissions      map[string]*smtp.Submission    // by target
	byHand           map[string]bool                // targets whose Exchange a person changes
	directories      map[string]providers.Directory // by target key
	copier           *copy.Engine
	probe            *smtp.Probe
	secrets          *secret.Resolver
	clock            providers.Clock
}

type zoneAt struct {
	zone    providers.Zone
	servers providers.NameServers
}

// newSystems wires the providers that the configuration names. It touches no
// network and resolves no secret. A kind or a feature that no provider serves
// is an error that names its place in the configuration.
func newSystems(a *app, loaded *config.Loaded) (*systems, error) {
	m := loaded.Migration
	if err := unserved(m); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(a.dir)
	if err != nil {
		return nil, err
	}
	// The root stays open as long as the process: secrets are read when they are needed.
	secrets := secret.New(root, secret.Options{LookupEnv: a.lookupEnv, Prompt: a.prompt, Keyring: secret.SystemKeyring})
	a.secrets.Store(secrets)
	s := &systems{
		sources: map[string]imap.Host{}, targets: map[string]imap.Host{}, zones: map[string]zoneAt{},
		notifiers: map[string]*smtp.Notifier{}, correspondents: map[string]*correspondent{}, submissions: map[string]*smtp.Submission{},
		probe: &smtp.Probe{}, secrets: secrets, clock: a.clock,
		directories: map[string]providers.Directory{}, byHand: map[string]bool{},
	}
	tokens := map[string]imap.Tokens{}
	dialer := func(h plan.Host) imap.Host {
		return imap.Host{Dialer: &imap.Dialer{Tokens: tokens[h.Key()], Canary: h.Auth == "xoauth2", Host: h, Secrets: secrets, Clock: a.clock, Root: a.dir, Spool: filepath.Join(a.dir, ".mxodus")}}
	}
	// byTokens gives a host whose mailboxes are opened by tokens its address and the tokens.
	byTokens := func(h *plan.Host) (tenant *microsoft365.Tenant, err error) {
		switch h.Kind {
		case "microsoft365":
			if tenant, err = microsoft365.New(*h, microsoft365.Options{Secrets: secrets, Clock: a.clock, Root: a.dir, Person: a.signIn}); err == nil {
				h.Hostname, h.Port = tenant.IMAP()
				tokens[h.Key()] = tenantTokens{tenant.ExchangeTokens()}
			}
		case "google_workspace":
			var workspace *google.Workspace
			if workspace, err = google.New(*h, google.Options{Secrets: secrets, Root: a.dir}); err == nil {
				h.Hostname, h.Port = workspace.IMAP()
				tokens[h.Key()] = &imap.SharedTokens{Clock: a.clock, Fetch: func(ctx context.Context, address string) (imap.Token, error) {
					token, ends, err := workspace.Token(ctx, address)
					return imap.Token{Value: providers.Keep(token), Expiry: ends}, err
				}}
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.Pos, err)
		}
		return tenant, nil
	}
	for _, h := range m.Sources {
		if _, err := byTokens(&h); err != nil {
			return nil, err
		}
		s.sources[h.Key()] = dialer(h)
	}
	for _, h := range m.Targets {
		tenant, err := byTokens(&h)
		if err != nil {
			return nil, err
		}
		if tenant != nil {
			s.directories[h.Key()], s.byHand[h.Key()] = tenant, h.Settings["exchange"] == "by_hand"
		}
		s.targets[h.Key()] = dialer(h)
		if s.submissions[h.Key()], err = newSubmission(h, a, secrets); err != nil {
			return nil, fmt.Errorf("%s: %w", h.Pos, err)
		}
	}
	for _, p := range m.Validation.Probes {
		if s.correspondents[p.Name], err = newCorrespondent(p, a, secrets); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Pos, err)
		}
	}
	for _, d := range m.Domains {
		cfg, ok := m.Zone(d.Zone)
		if !ok {
			continue
		}
		zone, servers, err := newZone(cfg, d.Name, secrets, a.clock)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", cfg.Pos, err)
		}
		if err := refusedTTLs(d, zone.Features()); err != nil {
			return nil, err
		}
		s.zones[d.Name] = zoneAt{zone, servers}
	}
	for _, server := range m.SMTP {
		o := smtp.Options{Secrets: secrets}
		if server.CAFile != "" {
			if o.CA, err = os.ReadFile(a.path(server.CAFile)); err != nil {
				return nil, fmt.Errorf("%s: the ca_file can't be read: %w", server.Pos, err)
			}
		}
		if s.notifiers[server.Name], err = smtp.New(server, o); err != nil {
			return nil, fmt.Errorf("%s: %w", server.Pos, err)
		}
	}
	s.copier = copy.New(copy.Options{
		Source: dialers(s.sources, "source"), Target: dialers(s.targets, "target"),
		StateDir: filepath.Join(a.dir, ".mxodus"), Clock: a.clock,
	})
	return s, nil
}

// refusedTTLs names every TTL of the configuration that the zone's host would refuse
// when it is written, weeks from now.
func refusedTTLs(d plan.Domain, f providers.ZoneFeatures) error {
	var problems []string
	for _, r := range (plan.TTLLimits{Minimum: f.MinimumTTL, Maximum: f.MaximumTTL}).Refuse(d) {
		problems = append(problems, fmt.Sprintf("%s: %s: %s; choose a TTL that the host takes", r.Pos, r.Subject, r.Words))
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "\n"))
	}
	return nil
}

// hostedZones make zones of hosts with an HTTP interface, by kind.
var hostedZones = map[string]func(zone, endpoint string, ref plan.SecretRef, secrets providers.Secrets, clock providers.Clock) (*hosted.Zone, error){
	"cloudflare":   cloudflare.NewZone,
	"digitalocean": digitalocean.NewZone,
	"hetzner":      hetzner.NewZone,
	"ionos":        ionos.NewZone,
	"powerdns":     powerdns.NewZone,
}

// newZone is the zone that holds the domain's records, and who observes it.
func newZone(cfg plan.ZoneConfig, domain string, secrets providers.Secrets, clock providers.Clock) (providers.Zone, providers.NameServers, error) {
	open, ok := hostedZones[cfg.Kind]
	if cfg.Kind == "libdns" {
		ok = true
		open = func(zone, _ string, ref plan.SecretRef, secrets providers.Secrets, clock providers.Clock) (*hosted.Zone, error) {
			return libdns.NewZone(cfg.Name, zone, ref, secrets, clock)
		}
	}
	if !ok {
		return dns.New(cfg, domain, secrets, clock)
	}
	name := cfg.Zone
	if name == "" {
		name = domain
	}
	zone, err := open(name, cfg.Endpoint, cfg.Credentials, secrets, clock)
	if err != nil {
		return nil, nil, err
	}
	if _, err := dns.Owned(zone.Name, domain, "MX"); err != nil {
		return nil, nil, err
	}
	return zone, dns.NewNameServers(cfg, clock), nil
}

func dialers(hosts map[string]imap.Host, side string) func(string) (*imap.Dialer, error) {
	return func(key string) (*imap.Dialer, error) {
		h, ok := hosts[key]
		if !ok {
			return nil, fmt.Errorf("the configuration has no %s %q", side, key)
		}
		return h.Dialer, nil
	}
}

// unserved names what the language knows and this build has no provider for.
// It is refused before anything is touched, never skipped.
func unserved(m *plan.Migration) error {
	var problems []string
	refuse := func(pos plan.Pos, format string, args ...any) {
		problems = append(problems, fmt.Sprintf("%s: ", pos)+fmt.Sprintf(format, args...))
	}
	served := func(role, name string) bool {
		return slices.ContainsFunc(kinds, func(k kind) bool { return k.Name == name && slices.Contains(k.Roles, role) })
	}
	for _, h := range m.Sources {
		if !served("source", h.Kind) {
			refuse(h.Pos, "no provider serves source %q yet; mxodus providers lists those there are", h.Kind)
		}
	}
	for _, h := range m.Targets {
		if !served("target", h.Kind) {
			refuse(h.Pos, "no provider serves target %q yet; mxodus providers lists those there are", h.Kind)
		}
	}
	for _, z := range m.Zones {
		if !served("dns", z.Kind) {
			refuse(z.Pos, "no provider serves dns %q yet; dns \"by_hand\" works with every host", z.Kind)
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("%s", strings.Join(problems, "\n"))
	}
	return nil
}

// prompt asks for a secret at the terminal, without an echo.
func (a *app) prompt(ctx context.Context, text string) (string, error) {
	if !a.stdinTTY || a.hidden == nil {
		return "", fmt.Errorf("there is no terminal to ask at")
	}
	if _, err := fmt.Fprintf(a.stderr, "%s: ", text); err != nil {
		return "", err
	}
	defer fmt.Fprintln(a.stderr)
	return a.hidden()
}

func (s *systems) Source(key string) (providers.MailHost, error) {
	return host(s.sources, key, "source")
}
func (s *systems) Target(key string) (providers.MailHost, error) {
	return host(s.targets, key, "target")
}

func host(hosts map[string]imap.Host, key, side string) (providers.MailHost, error) {
	h, ok := hosts[key]
	if !ok {
		return nil, fmt.Errorf("the configuration has no %s %q", side, key)
	}
	return h, nil
}

func (s *systems) Zone(domain string) (providers.Zone, error) {
	z, ok := s.zones[domain]
	if !ok {
		return nil, fmt.Errorf("no dns block holds the records of %s", domain)
	}
	return z.zone, nil
}

func (s *systems) NameServers(domain string) (providers.NameServers, error) {
	z, ok := s.zones[domain]
	if !ok {
		return nil, fmt.Errorf("no dns block holds the records of %s", domain)
	}
	return z.servers, nil
}

func (s *systems) Copier() providers.Copier { return s.copier }

func (s *systems) Notifier(name string) (providers.Notifier, error) {
	n, ok := s.notifiers[name]
	if !ok {
		return nil, fmt.Errorf("there is no block smtp %q", name)
	}
	return n, nil
}

func (s *systems) RecipientProbe() providers.RecipientProbe { return s.probe }

// Directory is that of a target which has one.
func (s *systems) Directory(key string) (providers.Directory, bool) {
	d, ok := s.directories[key]
	return d, ok
}

// tenantTokens are an application's tokens for the IMAP of a tenant: one opens every mailbox.
type tenantTokens struct{ source *entra.Source }

// Token implements imap.Tokens.
func (t tenantTokens) Token(ctx context.Context, _, refused string) (imap.Token, error) {
	token, ends, err := t.source.Held(ctx, refused)
	return imap.Token{Value: providers.Keep(token), Expiry: ends}, err
}

// signIn shows a person where to sign in.
func (a *app) signIn(page, code string) {
	fmt.Fprintf(a.stderr, "To sign in, open %s and type in the code %s\n", render.Escape(page), render.Escape(code))
}
