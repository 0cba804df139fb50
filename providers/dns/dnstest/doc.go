// Package dnstest is a double of the domain name system, on loopback.
//
// A Zone is the master copy. Any number of Servers serve it, as its primary or as
// secondaries that lag, lie, fail or keep silent; a primary takes updates signed
// with TSIG (RFC 2136, 8945) and hands out transfers (RFC 5936). A Resolver asks
// servers and keeps answers for their TTL. Nothing here needs a test: the demo runs
// on it. StartBIND runs a real named beside it.
//
// Left out are wildcards (RFC 4592), DNSSEC and incremental transfers: where a test needs
// them, it uses BIND.
package dnstest

import (
	"strings"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
)

// Key is a TSIG key.
type Key struct {
	Name      string // FQDN with final dot
	Algorithm string // "hmac-sha256." when empty
	Secret    string // base64
}

func (k Key) algorithm() string {
	if k.Algorithm == "" {
		return dns.HmacSHA256
	}
	return dns.CanonicalName(k.Algorithm)
}

// set makes a plan.RRset of records of one name and type. It is written apart from
// the provider's own reading, so that one doesn't hide the other's mistakes.
func set(name string, typ uint16, rrs []dns.RR) plan.RRset {
	s := plan.RRset{Name: name, Type: dns.Type(typ).String()}
	for _, rr := range rrs {
		s.TTL = rr.Header().Ttl
		data, known := strings.CutPrefix(rr.String(), rr.Header().String())
		if !known { // RFC 3597 §5: the header names class and type by number
			data = data[strings.Index(data, `\#`):]
		}
		if canonical, err := plan.CanonicalRdata(s.Type, data); err == nil {
			data = canonical
		}
		s.Data = append(s.Data, data)
	}
	return sorted(s)
}
