package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// Records transfers the zone (AXFR, RFC 5936). A server that refuses transfers
// makes it incomplete, which is no error; a transfer that breaks off is one.
// Left out are the SOA, the name servers of the apex, and what signing
// maintains by itself; DS records stay, because people write them.
func (z *RFC2136) Records(ctx context.Context) (sets []plan.RRset, complete bool, err error) {
	key, err := z.key(ctx)
	if err != nil {
		return nil, false, err
	}
	rrs, err := z.transfer(ctx, key)
	switch providers.ReasonOf(err) {
	case "":
		if err != nil {
			return nil, false, err
		}
	case providers.Refused:
		return nil, false, nil
	default:
		return nil, false, err
	}
	var kept []dns.RR
	for _, rr := range rrs {
		if !z.upkeep(rr) {
			kept = append(kept, rr)
		}
	}
	return setsOf(kept), true, nil
}

// upkeep reports whether rr belongs to the zone's own administration.
func (z *RFC2136) upkeep(rr dns.RR) bool {
	switch rr.Header().Rrtype {
	case dns.TypeSOA, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM,
		dns.TypeDNSKEY, dns.TypeCDS, dns.TypeCDNSKEY, dns.TypeZONEMD, typeSigning:
		return true
	case dns.TypeNS:
		return dns.CanonicalName(rr.Header().Name) == z.Zone
	}
	return false
}

// typeSigning is BIND's private type for the state of signing (ARM, "private-type records").
const typeSigning = 65534

// maxTransfer bounds what a transfer may hold: some 250,000 records.
const maxTransfer = 16 << 20

func (z *RFC2136) transfer(ctx context.Context, key *tsigKey) ([]dns.RR, error) {
	const op = "transfer zone"
	conn, err := (&net.Dialer{Timeout: z.timeout()}).DialContext(ctx, "tcp", z.Server)
	if err != nil {
		return nil, z.unreachable(ctx, op, plainly(err))
	}
	defer func() { _ = conn.Close() }() // only read from now on
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	m := new(dns.Msg)
	m.SetAxfr(z.Zone)
	key.sign(m, z.Clock.Now())
	co := &dns.Conn{Conn: conn}
	var mac string
	var out []byte
	if key != nil {
		out, mac, err = dns.TsigGenerate(m, key.secret.Reveal(), "", false)
	} else {
		out, err = m.Pack()
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", op, z.subject(), err)
	}
	if _, err := co.Write(out); err != nil {
		return nil, z.unreachable(ctx, op, plainly(err))
	}

	var rrs []dns.RR
	octets := 0
	for first := true; ; first = false {
		// The deadline is for progress, not for the whole: large zones take their time.
		extend := time.AfterFunc(z.timeout(), func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
		raw, err := co.ReadMsgHeader(nil)
		extend.Stop()
		if err != nil {
			return nil, z.unreachable(ctx, op, errors.Join(errUnfinished, plainly(err)))
		}
		if octets += len(raw); octets > maxTransfer {
			return nil, &providers.Error{
				Op: op, Subject: z.subject(), Reason: providers.Protocol, Err: fmt.Errorf("the transfer doesn't end within %d MiB", maxTransfer>>20),
				Remedy: "see whether the server is the zone's; a zone of that size is beyond what is kept in memory here",
			}
		}
		r := new(dns.Msg)
		if err := r.Unpack(raw); err != nil || r.Id != m.Id || !r.Response {
			return nil, &providers.Error{Op: op, Subject: z.subject(), Reason: providers.Protocol, Err: errors.Join(errOther, err)}
		}
		if key != nil {
			// Each message is signed with the digest of the one before (RFC 8945 §5.3.1).
			if t := r.IsTsig(); t != nil {
				err = dns.TsigVerify(raw, key.secret.Reveal(), mac, !first)
				mac = t.MAC
			} else {
				err = nil // what may be unsigned, signatureError knows
			}
			if err := z.signatureError(op, key, r, err); err != nil {
				return nil, err
			}
		}
		if r.Rcode != dns.RcodeSuccess {
			return nil, z.refusal(op, r)
		}
		if first && (len(r.Answer) == 0 || r.Answer[0].Header().Rrtype != dns.TypeSOA) {
			return nil, &providers.Error{
				Op: op, Subject: z.subject(), Reason: providers.Protocol,
				Err: errors.New("the transfer does not begin with the SOA (RFC 5936 §2.2)"),
			}
		}
		rrs = append(rrs, r.Answer...)
		if last := len(rrs) - 1; last > 0 && rrs[last].Header().Rrtype == dns.TypeSOA {
			return rrs[:last], nil
		}
	}
}
