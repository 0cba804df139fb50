package apply

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// hostsOf are the host names of an MX set, with final dot, in its order.
func hostsOf(set plan.RRset) []string {
	var list []string
	for _, data := range set.Data {
		if _, host, ok := strings.Cut(data, " "); ok {
			list = append(list, strings.ToLower(host))
		}
	}
	return list
}

// newMXSound: are the hosts of the new MX names with addresses, do they answer,
// and is no host of the old MX left beside them?
func newMXSound(ctx context.Context, e *Engine, a *Answer) {
	a.Remedy = "publish the MX exactly as the target names it, and see that its hosts answer on port 25 with a certificate for their names"
	e.eachFlip(a, func(f flip) {
		p := e.prospect(a)
		for _, r := range f.records {
			if r.at.typ != "MX" || !r.want.Exists() {
				continue
			}
			e.mxRecord(ctx, p, r, a)
		}
		if r, ok := f.set("MX", "@"); ok && r.want.Exists() {
			e.mxAnswers(ctx, f, r, a)
		}
	})
}

// mxRecord looks at what the set says.
func (e *Engine) mxRecord(ctx context.Context, p *prospect, r record, a *Answer) {
	old := hostsOf(r.from)
	hosts := hostsOf(r.want)
	moved := !r.want.SameData(r.from)
	for _, host := range hosts {
		short := strings.TrimSuffix(host, ".")
		if host == "." {
			a.no("%s: the new MX says that the domain takes no mail (RFC 7505)", r.at.fqdn())
			continue
		}
		if moved && slices.Contains(old, host) {
			a.no("%s: %s is a host of the old MX, and is left beside the new one: some mail would go on to the source", r.at.fqdn(), short)
		}
		if _, err := netip.ParseAddr(short); err == nil {
			a.no("%s: the new MX names an address where a host name has to stand (RFC 1035 §3.3.9): %s", r.at.fqdn(), short)
			continue
		}
		if alias, err := p.find(ctx, host, "CNAME"); err == nil && alias.Exists() {
			a.no("the new MX host %s is an alias of %s (RFC 2181 §10.3)", short, strings.TrimSuffix(alias.Data[0], "."))
			continue
		}
		switch has, err := p.addresses(ctx, host); {
		case err != nil:
			a.warn("whether the new MX host %s has an address could not be asked: %v", short, err)
		case !has:
			a.no("the new MX host %s has no address: mail to it waits and comes back", short)
		}
	}
}

// mxPatience bounds one look at a mail exchanger.
const mxPatience = 20 * time.Second

// mxAnswers looks at the servers themselves.
func (e *Engine) mxAnswers(ctx context.Context, f flip, r record, a *Answer) {
	host, ok := e.Migration.Target(f.domain.Mail)
	if !ok {
		return
	}
	if host.SMTPProbe == "off" {
		a.warn("%s: whether the new MX answers and how it protects connections was not asked: smtp_probe is off", f.domain.Name)
		return
	}
	probe, ok := e.Systems.RecipientProbe().(providers.ExchangerProbe)
	if !ok {
		return // target_accepts_mail asks for a recipient all the same
	}
	servers := e.newExchangers(host, f.domain.Name)
	roots := e.rootsOf(host)
	var dead []string
	for _, server := range servers {
		name := mxNameFor(server, host, r)
		x, err := e.greetOnce(ctx, probe, server, name)
		if err != nil {
			dead = append(dead, fmt.Sprintf("%s does not answer: %v", server, err))
			a.saw(e, server, "EHLO", err.Error())
			continue
		}
		a.saw(e, server, "EHLO", x.Greeting)
		certificateFits(e, x, server, name, host.SMTPProbe != "", roots, a)
	}
	if len(servers) > 0 && len(dead) == len(servers) {
		a.Detail = append(a.Detail, dead...)
		a.OK = false
		return
	}
	for _, d := range dead {
		a.warn("one of several mail exchangers: %s", d)
	}
}

func (e *Engine) greetOnce(ctx context.Context, probe providers.ExchangerProbe, server, name string) (providers.Exchanger, error) {
	return roundOf(ctx).greets.get(server+" "+name, func() (providers.Exchanger, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, mxPatience, errTooSlow)
		defer cancel()
		return probe.Greet(ctx, e.reach(ctx, server), name)
	})
}

// mxNameFor is the name that senders know the server by: its own, or where
// another address is asked in its place the best host of the MX.
func mxNameFor(server string, host plan.Host, r record) string {
	if host.SMTPProbe == "" {
		name, _, err := net.SplitHostPort(server)
		if err == nil {
			return name
		}
	}
	for _, s := range mxHosts(r.want) {
		return strings.TrimSuffix(s, ":25")
	}
	return ""
}

// rootsOf are the certificates that the target's ca_file adds; nil = the system's alone.
func (e *Engine) rootsOf(host plan.Host) *x509.CertPool {
	if host.CAFile == "" {
		return nil
	}
	pem, err := os.ReadFile(filepath.Join(e.Dir, filepath.FromSlash(host.CAFile)))
	if err != nil {
		return nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM(pem)
	return pool
}

// certificateFits judges what a server showed. Where another address than the MX is asked
// in its place, its certificate says nothing about the MX: then it only warns.
func certificateFits(e *Engine, x providers.Exchanger, server, name string, instead bool, roots *x509.CertPool, a *Answer) {
	switch {
	case !x.STARTTLS:
		a.warn("%s offers no STARTTLS: mail reaches it in clear", server)
		return
	case x.TLS != nil:
		a.no("%s offers STARTTLS and it does not come about: senders that take the offer can't deliver: %v", server, x.TLS)
		return
	case len(x.Chain) == 0:
		a.no("%s shows no certificate", server)
		return
	}
	leaf := x.Chain[0]
	a.saw(e, server, "its certificate", fmt.Sprintf("for %s, until %s", strings.Join(leaf.DNSNames, ", "), leaf.NotAfter.UTC().Format(time.DateOnly)))
	if err := leaf.VerifyHostname(name); err != nil {
		if instead {
			a.warn("%s, which is asked in place of the MX, has no certificate for %s", server, name)
		} else {
			a.no("%s has no certificate for its name %s: %v", server, name, err)
		}
		return
	}
	pool := x509.NewCertPool()
	for _, c := range x.Chain[1:] {
		pool.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Intermediates: pool, Roots: roots, CurrentTime: e.Clock.Now()}); err != nil {
		a.warn("the certificate of %s is not one that senders with MTA-STS would take: %v", server, err)
	}
}

// tlsaFits: where the new MX has TLSA records, do they fit its certificate?
// Senders that keep to DANE deliver to nobody else (RFC 7672 §2.2).
func tlsaFits(ctx context.Context, e *Engine, a *Answer) {
	a.Remedy = "publish the TLSA record for the certificate that the new MX shows, or take it out, and wait out its TTL"
	e.eachFlip(a, func(f flip) {
		r, ok := f.set("MX", "@")
		if !ok {
			return
		}
		p := e.prospect(a)
		for _, host := range hostsOf(r.want) {
			if host == "." {
				continue
			}
			set, _, err := p.follow(ctx, "_25._tcp."+host, "TLSA")
			if err != nil || !set.Exists() {
				continue // nobody knows of one: senders don't either, as far as can be told from here
			}
			e.tlsaOf(ctx, f, strings.TrimSuffix(host, "."), set, p.signed(ctx, host), a)
		}
	})
}

// tlsaOf looks at one host. Without DNSSEC senders pass TLSA records over (RFC 7672
// §2.1.3), so that a wrong one only warns.
func (e *Engine) tlsaOf(ctx context.Context, f flip, name string, set plan.RRset, signed bool, a *Answer) {
	no := a.warn
	if signed {
		no = a.no
	}
	host, ok := e.Migration.Target(f.domain.Mail)
	probe, able := e.Systems.RecipientProbe().(providers.ExchangerProbe)
	servers := e.newExchangers(host, f.domain.Name)
	if !ok || !able || host.SMTPProbe == "off" || len(servers) == 0 {
		a.warn("%s has TLSA records, and its certificate could not be asked for", name)
		return
	}
	server := net.JoinHostPort(name, "25")
	if host.SMTPProbe != "" {
		server = host.SMTPProbe
	}
	x, err := e.greetOnce(ctx, probe, server, name)
	switch {
	case err != nil:
		a.warn("%s has TLSA records, and its certificate could not be asked for", name)
	case !x.STARTTLS || x.TLS != nil || len(x.Chain) == 0:
		no("%s has TLSA records and offers no TLS: senders that keep to DANE don't deliver (RFC 7672 §2.2)", name)
	case !slices.ContainsFunc(set.Data, func(data string) bool { return tlsaMatches(data, x.Chain) }):
		no("none of the TLSA records of %s fits the certificate that it shows: senders that keep to DANE don't deliver", name)
	}
}

// tlsaMatches reports whether a TLSA record fits a chain (RFC 6698 §2.1, as
// RFC 7672 §3.1 uses it: DANE-TA and DANE-EE).
func tlsaMatches(data string, chain []*x509.Certificate) bool {
	fields := strings.Fields(data)
	if len(fields) < 4 {
		return false
	}
	usage, err1 := strconv.Atoi(fields[0])
	selector, err2 := strconv.Atoi(fields[1])
	matching, err3 := strconv.Atoi(fields[2])
	want, err4 := hex.DecodeString(strings.Join(fields[3:], ""))
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil {
		return false
	}
	candidates := chain[:1]
	if usage == 2 || usage == 0 {
		candidates = chain
	}
	for _, c := range candidates {
		part := c.Raw
		if selector == 1 {
			part = c.RawSubjectPublicKeyInfo
		}
		switch matching {
		case 1:
			sum := sha256.Sum256(part)
			part = sum[:]
		case 2:
			sum := sha512.Sum512(part)
			part = sum[:]
		}
		if subtle.ConstantTimeCompare(part, want) == 1 {
			return true
		}
	}
	return false
}

// reach is where a mail exchanger is dialled. A host of one of our own domains may not
// exist before the flip: its address is taken from the plan or from the domain's own
// servers, because the system's resolver would keep the answer that there is none.
func (e *Engine) reach(ctx context.Context, server string) string {
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return server
	}
	if _, ours := e.owner(strings.ToLower(host) + "."); !ours {
		return server
	}
	p := e.prospect(&Answer{})
	for _, typ := range []string{"A", "AAAA"} {
		if set, _, err := p.follow(ctx, host+".", typ); err == nil && set.Exists() {
			return net.JoinHostPort(set.Data[0], port)
		}
	}
	return server
}

// accepts asks the mail exchanger at server (host:port) about a recipient.
func (e *Engine) accepts(ctx context.Context, server, address string) (ok bool, words string, err error) {
	return e.Systems.RecipientProbe().Accepts(ctx, e.reach(ctx, server), address)
}
