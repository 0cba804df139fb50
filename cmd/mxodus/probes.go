package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/apply"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dkim"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/smtp"
)

// correspondent is the outside account of a probe block.
type correspondent struct {
	*smtp.Notifier
	inbox   imap.Host
	account providers.Account
	address string
}

var _ providers.Correspondent = (*correspondent)(nil)

// newCorrespondent wires the account of a probe block. It doesn't connect.
func newCorrespondent(p plan.Probe, a *app, secrets providers.Secrets) (*correspondent, error) {
	in, ok := plan.ParseEndpoint(p.IMAP)
	out, ok2 := plan.ParseEndpoint(p.SMTP)
	if !ok || !ok2 {
		return nil, fmt.Errorf("probe %q: imap and smtp have to be imaps://user@host and smtps://user@host", p.Name)
	}
	n, err := smtp.New(plan.SMTPServer{
		Name: "of probe " + p.Name, Host: out.Host, Port: submissionPort(out), TLS: out.TLS, Username: out.User, Credentials: p.Credentials, From: p.Address(),
	}, smtp.Options{Secrets: secrets})
	if err != nil {
		return nil, err
	}
	host := plan.Host{Kind: "imap", Hostname: in.Host, Port: in.Port, TLS: in.TLS, Credentials: p.Credentials}
	return &correspondent{
		Notifier: n, address: p.Address(), account: providers.Account{Address: in.User},
		inbox: imap.Host{Dialer: &imap.Dialer{Host: host, Secrets: secrets, Clock: a.clock, Root: a.dir}},
	}, nil
}

// submissionPort is that of RFC 8314 §3.3 where the URL has none.
func submissionPort(e plan.Endpoint) int {
	switch {
	case e.Port != 0:
		return e.Port
	case e.TLS == plan.TLSImplicit:
		return 465
	}
	return 587
}

func (c *correspondent) Address() string { return c.address }

func (c *correspondent) Check(ctx context.Context) error {
	if err := c.inbox.Login(ctx, c.account); err != nil {
		return err
	}
	return c.Notifier.Check(ctx)
}

func (c *correspondent) Find(ctx context.Context, q providers.Query) ([]providers.Found, error) {
	return c.inbox.Find(ctx, c.account, q)
}

// newSubmission wires where the mailboxes of a target send mail, nil where that isn't known.
func newSubmission(h plan.Host, a *app, secrets providers.Secrets) (*smtp.Submission, error) {
	if h.Submission == "" {
		return nil, nil
	}
	e, ok := plan.ParseEndpoint(h.Submission)
	if !ok {
		return nil, fmt.Errorf("target %s: submission has to be smtps://host", h.Key())
	}
	s := &smtp.Submission{
		Server:  plan.SMTPServer{Name: "of target " + h.Key(), Host: e.Host, Port: submissionPort(e), TLS: e.TLS, CAFile: h.CAFile},
		Options: smtp.Options{Secrets: secrets}, Credentials: h.Credentials,
	}
	if h.CAFile != "" {
		var err error
		if s.Options.CA, err = os.ReadFile(a.path(h.CAFile)); err != nil {
			return nil, fmt.Errorf("target %s: the ca_file can't be read: %w", h.Key(), err)
		}
	}
	return s, nil
}

func (s *systems) Correspondent(probe string) (providers.Correspondent, error) {
	c, ok := s.correspondents[probe]
	if !ok {
		return nil, fmt.Errorf("there is no block probe %q", probe)
	}
	return c, nil
}

func (s *systems) MailExchange() providers.MailExchange { return &smtp.Exchange{} }

func (s *systems) Submission(target string) (providers.Submission, error) {
	if _, ok := s.targets[target]; !ok {
		return nil, fmt.Errorf("the configuration has no target %q", target)
	}
	if sub := s.submissions[target]; sub != nil {
		return sub, nil
	}
	return nil, nil
}

func (s *systems) Signatures(domain string) (providers.Signatures, error) {
	servers, err := s.NameServers(domain)
	if err != nil {
		return nil, err
	}
	return dkim.Verifier{Resolver: servers}, nil
}

// probeTrials try the outside accounts, and say what a person will have to send.
func probeTrials(m *plan.Migration, sys *systems) []trial {
	var list []trial
	for _, p := range m.Validation.Probes {
		list = append(list, trial{check: "probe_login", subject: "probe " + p.Name + " (" + p.Address() + ")", pos: p.Pos.String(), try: func(ctx context.Context) (string, error) {
			c, err := sys.Correspondent(p.Name)
			if err != nil {
				return "", err
			}
			return "logs in to receive and to send", c.Check(ctx)
		}})
	}
	if len(list) == 0 {
		return nil
	}
	for _, h := range m.Targets {
		list = append(list, trial{check: "probe_outbound", subject: h.Key(), pos: h.Pos.String(), try: func(ctx context.Context) (string, error) {
			sub := sys.submissions[h.Key()]
			if sub == nil {
				return "mxodus can't send as its mailboxes (no submission): a person sends the outbound probe, and the plan says what", nil
			}
			for _, b := range m.Mailboxes {
				if b.On == h.Key() {
					return "mail can be sent as " + b.Target, sub.Check(ctx, providers.Account{Address: b.Target, Credentials: b.Credentials})
				}
			}
			return "no mailbox goes there", nil
		}})
	}
	return list
}

// probeNow sends the mail of one probe and says what became of it.
func (a *app) probeNow(ctx context.Context, r *running, name string) error {
	answers, err := r.engine.ProbeNow(ctx, name)
	if err != nil {
		return err
	}
	if len(answers) == 0 {
		return usage("the plan has no steps of the probe %s: plan again", render.Escape(name))
	}
	bad := false
	for _, ans := range answers {
		bad = bad || !ans.OK
		if err := a.showProbe(ans); err != nil {
			return err
		}
	}
	if bad {
		return exit(exitGate)
	}
	return nil
}

// probeWays say in words which way a message takes.
var probeWays = map[string]string{"in": "by the new MX", "old": "by the old MX", "out": "to the outside"}

func (a *app) showProbe(ans apply.ProbeAnswer) error {
	route := ""
	if ans.To != "" {
		route = ans.From + " → " + ans.To
	} else if ans.Mailbox != "" {
		route = "from " + ans.Mailbox
	}
	detail := ans.Words
	code := "arrived"
	switch {
	case ans.Skipped:
		code = "not_sent"
	case ans.OK:
		after := "arrived at once"
		if d := ans.Done.Sub(ans.Sent).Round(100 * time.Millisecond); d > 0 {
			after = "arrived after " + plan.FormatDuration(d)
		}
		detail = append([]string{after}, detail...)
	default:
		code = "failed"
	}
	if ans.Why != "" {
		detail = append([]string{ans.Why}, detail...)
	}
	if a.json {
		f := findingJSON{Check: "probe." + ans.Probe, Subject: strings.TrimSpace(probeWays[ans.Way] + " " + ans.To), OK: ans.OK, Code: code, Detail: strings.Join(detail, "; ")}
		if ans.ID != "" {
			f.Source = "Message-ID <" + ans.ID + ">"
		}
		if !ans.OK {
			f.Remedy = ans.Remedy
		}
		return a.writeJSON(f)
	}
	sign := map[bool]string{true: "yes", false: "no "}[ans.OK]
	if ans.Skipped {
		sign = "-  "
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  probe %s %s", sign, render.Escape(ans.Probe), probeWays[ans.Way])
	if route != "" {
		fmt.Fprintf(&b, ": %s", render.Escape(route))
	}
	b.WriteByte('\n')
	for _, d := range detail {
		fmt.Fprintf(&b, "     %s\n", render.Escape(d))
	}
	if !ans.OK && ans.Remedy != "" {
		fmt.Fprintf(&b, "     what to do: %s\n", render.Escape(ans.Remedy))
	}
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}
