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
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/secret"
)

func newDoctor(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Try every login, zone, name server and mail server; say how to mend what fails",
		Long: "doctor logs in everywhere, reads the zones and asks the name servers and mail servers.\n" +
			"It changes nothing. Exit code 5: something does not work.",
		Example: "  mxodus doctor\n  mxodus doctor -json | jq 'select(.ok | not)'\n  mxodus explain wrong_host",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd.Context()) },
	}
}

// trial is one thing that doctor tries. Codes and names are a contract with scripts.
type trial struct {
	check, subject, pos string
	try                 func(context.Context) (detail string, err error)
	behind              func(context.Context, error) imap.Diagnosis // looks behind a failure; may be nil
	group               string                                      // what several trials that went well are called together
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
	findings = append(directoryFindings(ctx, loaded.Migration, sys), findings...)
	for _, w := range sys.secrets.Warnings() {
		findings = append(findings, findingJSON{Check: "secret", Subject: "secrets", OK: true, Code: "readable_by_others", Detail: w, Remedy: "chmod 600 the file"})
	}
	bad := slices.ContainsFunc(findings, func(f findingJSON) bool { return !f.OK })
	if err := a.showFindings(findings); err != nil {
		return err
	}
	if bad {
		return exit(exitGate)
	}
	return nil
}

func (t trial) run(ctx context.Context) findingJSON {
	detail, err := t.try(ctx)
	f := findingJSON{Check: t.check, Subject: t.subject, OK: err == nil, Code: "ok", Detail: detail, Source: t.pos, group: t.group}
	if err == nil {
		return f
	}
	f.Code, f.Detail = "failed", err.Error()
	if e, ok := errors.AsType[*secret.Error](err); ok {
		f.Code, f.Detail, f.Remedy = "secret", "the secret can't be had: "+e.Ref.String()+": "+e.Problem, e.Remedy
		return f
	}
	if e, ok := errors.AsType[*providers.Error](err); ok {
		f.Code, f.Remedy = string(e.Reason), e.Remedy
		if t.behind != nil {
			d := t.behind(ctx, err)
			f.Code, f.Remedy = d.Code, d.Remedy
			f.Detail = strings.Replace(f.Detail, e.Error(), d.Detail, 1)
		}
	}
	if c, ok := errors.AsType[*codedError](err); ok {
		f.OK, f.Code, f.Detail, f.Remedy = c.ok, c.code, c.detail, c.remedy
	}
	return f
}

// codedError is a failure that a trial has a code of its own for.
type codedError struct {
	code, detail, remedy string
	ok                   bool // worth telling, and no failure
}

func (e *codedError) Error() string { return e.detail }

// trialsOf is everything that the migration will need, in the configuration's order.
func trialsOf(m *plan.Migration, sys *systems) []trial {
	var list []trial
	behind := newBehind()
	for _, b := range m.Mailboxes {
		list = append(list,
			trial{check: "source_login", subject: b.Source + " at " + b.From, pos: b.Pos.String(), group: "at " + b.From + " log in", behind: behind.login(sys.sources, b.From, b.Source, b.Credentials),
				try: func(ctx context.Context) (string, error) {
					return login(ctx, sys.Source, b.From, b.Source, b.Credentials)
				}},
			targetTrial(b, sys, behind.login(sys.targets, b.On, b.Target, b.Credentials)))
	}
	for _, d := range m.Domains {
		list = append(list, domainTrials(m, d, sys)...)
	}
	for _, s := range m.SMTP {
		list = append(list, trial{check: "smtp_login", subject: fmt.Sprintf("smtp %s (%s)", s.Name, net.JoinHostPort(s.Host, fmt.Sprint(s.Port))), pos: s.Pos.String(), try: func(ctx context.Context) (string, error) {
			n, err := sys.Notifier(s.Name)
			if err != nil {
				return "", err
			}
			return "takes mail from " + s.From, n.Check(ctx)
		}})
	}
	list = append(list, probeTrials(m, sys)...)
	for _, h := range m.Targets {
		if h.SMTPProbe != "" && h.SMTPProbe != "off" {
			list = append(list, trial{check: "smtp_probe", subject: h.SMTPProbe, pos: h.Pos.String(), try: func(ctx context.Context) (string, error) {
				_, _, err := sys.RecipientProbe().Accepts(ctx, h.SMTPProbe, "postmaster@"+firstDomain(m))
				return "answers", err
			}})
		}
	}
	list = append(list, port25Trials(m, sys)...)
	if t, ok := clockTrial(m, sys.clock, nil); ok {
		list = append(list, t)
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
	zone := trial{check: "zone", subject: d.Name + " at " + d.Zone, pos: d.Pos.String(), try: func(ctx context.Context) (string, error) {
		z, err := sys.Zone(d.Name)
		if err != nil {
			return "", err
		}
		mx, err := z.Lookup(ctx, d.Name+".", "MX")
		return "MX " + strings.Join(mx.Lines(), ", "), err
	}}
	servers := trial{check: "name_servers", subject: d.Name, pos: d.Pos.String(), try: func(ctx context.Context) (string, error) {
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
			return "", lagging(ctx, ns, domain, first, ans)
		}
	}
	return fmt.Sprintf("%d servers agree", len(servers)), nil
}
