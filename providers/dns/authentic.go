package dns

import (
	"context"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/providers"
)

// Validated asks the configured resolver whether it takes an answer for authentic: it sets AD
// where the chain of signatures from the root holds (RFC 4035 §3.2.3, asked for as in RFC 6840 §5.7).
// A resolver that validates answers SERVFAIL where the chain is broken, and NOERROR to
// whoever asks without checking (CD); broken tells that case.
func (n *NameServers) Validated(ctx context.Context, name, typ string) (authentic, broken bool, err error) {
	name, t, err := question(name, typ)
	if err != nil {
		return false, false, err
	}
	resolvers, err := n.resolvers()
	if err != nil {
		return false, false, err
	}
	query := func(checking bool) (*dns.Msg, error) {
		m := new(dns.Msg)
		m.SetQuestion(name, t)
		m.RecursionDesired, m.AuthenticatedData, m.CheckingDisabled = true, checking, !checking
		m.SetEdns0(payload, false)
		r, _, err := exchange(ctx, "tcp", resolvers[0], m, nil, 2*n.timeout())
		if err == nil && !answers(r, name, t) {
			err = errOther
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			return nil, &providers.Error{
				Op: "ask resolver", Subject: resolvers[0], Reason: providers.Unreachable, Err: err,
				Remedy: "name a resolver that answers over TCP with resolver = \"host:port\"",
			}
		}
		return r, nil
	}
	r, err := query(true)
	if err != nil || r.Rcode != dns.RcodeServerFailure {
		return err == nil && r.AuthenticatedData && r.Rcode == dns.RcodeSuccess, false, err
	}
	r, err = query(false)
	return false, err == nil && r.Rcode == dns.RcodeSuccess && len(r.Answer) > 0, err
}
