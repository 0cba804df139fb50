package apply

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/trace"
	"github.com/mxodus/mxodus/providers"
)

// outbound follows a message from a mailbox of the domain, at the target, to the outside account,
// and holds what its receiver says of it against what is expected.
func (p *probing) outbound(ctx context.Context, outside providers.Correspondent, domain string) (ProbeResult, error) {
	m, ok := p.e.sender(domain)
	if !ok {
		return ProbeResult{}, fmt.Errorf("no mailbox of %s is at the target", domain)
	}
	submission, err := p.e.Systems.Submission(m.On)
	if err != nil {
		return ProbeResult{}, err
	}
	if submission == nil {
		return ProbeResult{}, fmt.Errorf("the target %s names no submission server any more: plan again", m.On)
	}
	r, err := p.attempt(ctx, ProbeResult{Probe: p.probe.Name, Way: wayOut, Mailbox: domain, From: m.Target, To: outside.Address()},
		func(mail providers.Mail) error {
			return submission.Send(ctx, providers.Account{Address: m.Target, Credentials: m.Credentials}, mail)
		})
	if err != nil || r.OK() {
		return r, err
	}
	found, err := outside.Find(ctx, providers.Query{MessageID: r.ID})
	switch {
	case err != nil:
		return r, err
	case len(found) == 0:
		return p.waiting(ctx, r, r.Sent, "to the outside account")
	}
	words, wrong, err := p.e.judge(ctx, found[0], domain, p.probe.Expect)
	switch {
	case err != nil:
		return r, err
	case len(wrong) > 0:
		return p.over(ctx, r, "the probe from %s to %s arrived, and %s", r.From, r.To, strings.Join(wrong, "; "))
	}
	return p.arrived(ctx, r, words...)
}

// sender is the mailbox by which mail of the domain goes out: a sampled one where there is one.
func (e *Engine) sender(domain string) (plan.Mailbox, bool) {
	for _, list := range [][]plan.Mailbox{e.sample(), e.Migration.Mailboxes} {
		for _, m := range list {
			if _, d, _ := strings.Cut(m.Target, "@"); strings.EqualFold(d, domain) && m.Kind == plan.UserMailbox {
				return m, true
			}
		}
	}
	return plan.Mailbox{}, false
}

// judge reads what the receiver of a message says of it, and verifies its signature without
// believing anybody. words are what was found, wrong what is not as expected.
func (e *Engine) judge(ctx context.Context, f providers.Found, domain string, expect []string) (words, wrong []string, err error) {
	fields := trace.Fields(f.Octets)
	verdict, said := trace.Verdict(fields)
	for _, want := range expect {
		method, value, _ := strings.Cut(want, "=")
		got := verdict.Says(method)
		switch {
		case !said:
		case slices.Contains(got, value):
			words = append(words, "its receiver says "+want)
		case len(got) == 0:
			wrong = append(wrong, fmt.Sprintf("its receiver says nothing of %s", method))
		default:
			wrong = append(wrong, fmt.Sprintf("its receiver says %s=%s, expected %s", method, strings.Join(got, ","), want))
		}
	}
	if !said && len(expect) > 0 {
		wrong = append(wrong, "its receiver writes no Authentication-Results, so that nothing can be told of "+strings.Join(expect, ", ")+": use an outside account at a host that does")
	}
	if slices.Contains(expect, "dkim=pass") {
		signed, flaw, err := e.signedBy(ctx, f.Octets, domain)
		switch {
		case err != nil:
			return words, wrong, err
		case flaw != "":
			wrong = append(wrong, flaw)
		default:
			words = append(words, "its DKIM signature by "+signed+" holds")
		}
	}
	return append(words, place(f)...), wrong, nil
}

// signedBy verifies a message's signatures and returns the domain of one that holds and is the
// sender's own, in the relaxed sense of RFC 7489 §3.1.1, or what is wrong.
func (e *Engine) signedBy(ctx context.Context, message []byte, domain string) (signed, flaw string, err error) {
	verifier, err := e.Systems.Signatures(domain)
	if err != nil {
		return "", "", err
	}
	list, err := verifier.Verify(ctx, message)
	if err != nil {
		return "", "", err
	}
	if len(list) == 0 {
		return "", "it is not signed by DKIM", nil
	}
	var flaws []string
	for _, s := range list {
		aligned := s.Domain == domain || strings.HasSuffix(s.Domain, "."+domain) || strings.HasSuffix(domain, "."+s.Domain)
		switch {
		case s.Err != nil:
			flaws = append(flaws, fmt.Sprintf("its DKIM signature by %s doesn't hold: %v", s.Domain, s.Err))
		case !aligned:
			flaws = append(flaws, fmt.Sprintf("its DKIM signature is by %s, which is not %s", s.Domain, domain))
		default:
			return s.Domain, "", nil
		}
	}
	return "", strings.Join(flaws, "; "), nil
}

// proveOutbound looks for the message that a person sends where mxodus can't.
func (e *Engine) proveOutbound(ctx context.Context, s plan.Step) Proof {
	rest := strings.TrimPrefix(s.Address, "validate/probe/")
	name, domain, ok := strings.Cut(rest, "/outbound/")
	if !ok {
		return Proof{}
	}
	outside, err := e.Systems.Correspondent(name)
	if err != nil {
		return Proof{Possible: true, Words: err.Error()}
	}
	token := plan.ProbeToken(e.Plan.Lineage, name, domain)
	found, err := outside.Find(ctx, providers.Query{Subject: token})
	if err != nil {
		return Proof{Possible: true, Words: err.Error()}
	}
	var newest *providers.Found
	for i, f := range found {
		if f.At.Before(e.Record.Flipped()) || !from(f.Octets, domain) {
			continue
		}
		if newest == nil || f.At.After(newest.At) {
			newest = &found[i]
		}
	}
	if newest == nil {
		return Proof{Possible: true, Words: "no mail from " + domain + " with the subject mxodus probe " + token + " has arrived at " + outside.Address()}
	}
	words, wrong, err := e.judge(ctx, *newest, domain, s.To)
	switch {
	case err != nil:
		return Proof{Possible: true, Words: err.Error()}
	case len(wrong) > 0:
		return Proof{Possible: true, Words: "the newest mail arrived, and " + strings.Join(wrong, "; ")}
	}
	return Proof{Proven: true, Possible: true, Words: strings.Join(words, "; ")}
}

// from reports whether a message names a sender of the domain.
func from(message []byte, domain string) bool {
	for _, v := range trace.Values(trace.Fields(message), "From") {
		v = strings.ToLower(v)
		if i := strings.LastIndexByte(v, '@'); i >= 0 && strings.Trim(v[i+1:], "> \t") == domain {
			return true
		}
	}
	return false
}
