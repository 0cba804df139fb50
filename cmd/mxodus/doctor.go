package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/providers"
)

func newDoctor(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Try every login, zone, name server and mail server; say how to mend what fails",
		Long: "doctor logs in everywhere, reads the zones and asks the name servers and mail servers.\n" +
			"It changes nothing. Exit code 5: something does not work.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd.Context()) },
	}
}

// trial is one thing that doctor tries. Codes and names are a contract with scripts.
type trial struct {
	check, subject, pos string
	try                 func(context.Context) (detail string, err error)
}

// doctorTrials bounds how many trials run at the same time.
const doctorTrials = 8

func (a *app) doctor(ctx context.Context) error {
	loaded, err := a.load()
	if err != nil {
		return err
	}
	sys, err := newSystems(a, loaded)
	if err != nil {
		return err
	}
	trials := trialsOf(loaded.Migration, sys)
	findings := make([]findingJSON, len(trials))
	var wg sync.WaitGroup
	slots := make(chan struct{}, doctorTrials)
	for i, t := range trials {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			findings[i] = t.run(ctx)
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, w := range sys.secrets.Warnings() {
		findings = append(findings, findingJSON{Check: "secret", Subject: "secrets", OK: true, Code: "readable_by_others", Detail: w, Remedy: "chmod 600 the file"})
	}
	bad := slices.ContainsFunc(findings, func(f findingJSON) bool { return !f.OK })
	for _, f := range findings {
		if err := a.showFinding(f); err != nil {
			return err
		}
	}
	if bad {
		return exit(exitGate)
	}
	return nil
}

func (t trial) run(ctx context.Context) findingJSON {
	detail, err := t.try(ctx)
	f := findingJSON{Check: t.check, Subject: t.subject, OK: err == nil, Code: "ok", Detail: detail, Source: t.pos}
	if err != nil {
		f.Code, f.Detail = "failed", err.Error()
		if e, ok := errors.AsType[*providers.Error](err); ok {
			f.Code, f.Remedy = string(e.Reason), e.Remedy
		}
	}
	return f
}

// trialsOf is everything that the migration will need, in the configuration's order.
func trialsOf(m *plan.Migration, sys *systems) []trial {
	var list []trial
	for _, b := range m.Mailboxes {
		list = append(list,
			trial{"source_login", b.Source + " at " + b.From, b.Pos.String(), func(ctx context.Context) (string, error) {
				return login(ctx, sys.Source, b.From, b.Source, b.Credentials)
			}},
			trial{"target_login", b.Target + " at " + b.On, b.Pos.String(), func(ctx context.Context) (string, error) {
				detail, err := login(ctx, sys.Target, b.On, b.Target, b.Credentials)
				if providers.ReasonOf(err) == providers.Authentication {
					// A plan makes accounts that are missing; a person mends a wrong password.
					return "", fmt.Errorf("%w (where the account does not exist yet, the plan has a step for it)", err)
				}
				return detail, err
			}})
	}
	for _, d := range m.Domains {
		list = append(list, domainTrials(m, d, sys)...)
	}
	for _, s := range m.SMTP {
		list = append(list, trial{"smtp_login", fmt.Sprintf("smtp %s (%s)", s.Name, net.JoinHostPort(s.Host, fmt.Sprint(s.Port))), s.Pos.String(), func(ctx context.Context) (string, error) {
			n, err := sys.Notifier(s.Name)
			if err != nil {
				return "", err
			}
			return "takes mail from " + s.From, n.Check(ctx)
		}})
	}
	for _, h := range m.Targets {
		if h.SMTPProbe != "" && h.SMTPProbe != "off" {
			list = append(list, trial{"smtp_probe", h.SMTPProbe, h.Pos.String(), func(ctx context.Context) (string, error) {
				_, _, err := sys.RecipientProbe().Accepts(ctx, h.SMTPProbe, "postmaster@"+firstDomain(m))
				return "answers", err
			}})
		}
	}
	return list
}

func firstDomain(m *plan.Migration) string {
	if len(m.Domains) > 0 {
		return m.Domains[0].Name
	}
	return "localhost"
}

func login(ctx context.Context, host func(string) (providers.MailHost, error), key, address string, credentials plan.SecretRef) (string, error) {
	h, err := host(key)
	if err != nil {
		return "", err
	}
	return "logs in", h.Login(ctx, providers.Account{Address: address, Credentials: credentials})
}

// domainTrials read the zone and ask every authoritative server for the MX.
func domainTrials(m *plan.Migration, d plan.Domain, sys *systems) []trial {
	zone := trial{"zone", d.Name + " at " + d.Zone, d.Pos.String(), func(ctx context.Context) (string, error) {
		z, err := sys.Zone(d.Name)
		if err != nil {
			return "", err
		}
		mx, err := z.Lookup(ctx, d.Name+".", "MX")
		return "MX " + strings.Join(mx.Lines(), ", "), err
	}}
	servers := trial{"name_servers", d.Name, d.Pos.String(), func(ctx context.Context) (string, error) {
		ns, err := sys.NameServers(d.Name)
		if err != nil {
			return "", err
		}
		list, err := ns.Authoritative(ctx, d.Name)
		if err != nil {
			return "", err
		}
		return agree(ctx, ns, list, d.Name)
	}}
	return []trial{zone, servers}
}

// agree asks every server for the MX and reports those that differ from the first.
func agree(ctx context.Context, ns providers.NameServers, servers []string, domain string) (string, error) {
	var first providers.Answer
	for i, server := range servers {
		ans, err := ns.Ask(ctx, server, domain+".", "MX")
		switch {
		case err != nil:
			return "", err
		case !ans.Authoritative:
			return "", &providers.Error{Op: "ask for MX", Subject: server, Reason: providers.Protocol, Server: ans.Rcode, Remedy: "the server is named for " + domain + " but does not serve it: mend the delegation or the server"}
		case i == 0:
			first = ans
		case !ans.Set.Equal(first.Set):
			return "", &providers.Error{Op: "compare MX", Subject: domain, Reason: providers.Conflict,
				Err:    fmt.Errorf("%s serves %v, %s serves %v", first.Server, first.Set.Lines(), server, ans.Set.Lines()),
				Remedy: "wait until the zone has reached every name server, or mend the one that lags"}
		}
	}
	return fmt.Sprintf("%d servers agree", len(servers)), nil
}

func (a *app) showFinding(f findingJSON) error {
	if a.json {
		return a.writeJSON(f)
	}
	sign := "ok   "
	if !f.OK {
		sign = "FAIL "
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-13s %s", sign, f.Check, render.Escape(f.Subject))
	if f.Detail != "" {
		fmt.Fprintf(&b, ": %s", render.Escape(f.Detail))
	}
	b.WriteByte('\n')
	if f.Remedy != "" {
		fmt.Fprintf(&b, "      what to do: %s\n", render.Escape(f.Remedy))
	}
	if !f.OK && f.Source != "" {
		fmt.Fprintf(&b, "      configured in %s\n", render.Escape(f.Source))
	}
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}
