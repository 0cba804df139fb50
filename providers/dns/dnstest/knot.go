package dnstest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
)

// Knot is a running knotd.
type Knot struct {
	Addr string // host:port
	Key  Key    // may update and transfer every zone

	dir string
}

// StartKnot runs knotd, without privileges and on a free loopback port, until the test ends. zones
// are zone files by origin, completed as NewZone does. Where Knot DNS isn't installed the test is
// skipped.
func StartKnot(tb TB, zones map[string]string) *Knot {
	tb.Helper()
	knotd := Find("knotd")
	if knotd == "" {
		tb.Skipf("Knot DNS is not installed")
	}
	// Its control socket is a path, which systems limit to about 100 octets: test
	// folders can be longer.
	dir, err := os.MkdirTemp("", "knot")
	if err != nil {
		tb.Fatalf("%v", err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) }) // a folder of ours alone
	k := &Knot{Addr: freeAddr(tb), Key: newKey("mxodus."), dir: dir}
	host, port, _ := net.SplitHostPort(k.Addr)
	conf := fmt.Sprintf(`server:
    rundir: %q
    listen: %s@%s
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: info
database:
    storage: %q
    journal-db-max-size: 32M
key:
  - id: %s
    algorithm: %s
    secret: %s
acl:
  - id: ours
    key: %s
    action: [update, transfer]
template:
  - id: default
    storage: %q
    zonefile-sync: -1
    acl: ours
zone:
`, dir, host, port, dir, k.Key.Name, strings.TrimSuffix(k.Key.algorithm(), "."), k.Key.Secret, k.Key.Name, dir)
	for origin, file := range zones {
		writeFile(tb, filepath.Join(dir, zoneFile(origin)), completed(tb, origin, file))
		conf += fmt.Sprintf("  - domain: %s\n    file: %q\n", origin, zoneFile(origin))
	}
	writeFile(tb, filepath.Join(dir, "knot.conf"), conf)
	Daemon(tb, dir, func() bool { return serves(k.Addr, zones) }, knotd, "-c", filepath.Join(dir, "knot.conf"))
	return k
}

// serves reports whether a server answers for all zones with authority.
func serves(addr string, zones map[string]string) bool {
	client := &dns.Client{Net: "tcp", Timeout: time.Second}
	for origin := range zones {
		m := new(dns.Msg)
		m.SetQuestion(origin, dns.TypeSOA)
		r, _, err := client.ExchangeContext(context.Background(), m, addr)
		if err != nil || r.Rcode != dns.RcodeSuccess || !r.Authoritative {
			return false
		}
	}
	return true
}

// Put changes the zone past every provider, as an administrator with knsupdate would.
func (k *Knot) Put(zone string, list ...plan.RRset) error { return k.as().Put(zone, list...) }

// Set is one set as the server answers it.
func (k *Knot) Set(name, typ string) (plan.RRset, error) { return k.as().Set(k.Addr, name, typ) }

// as speaks to the server the way BIND is spoken to: over the same RFCs.
func (k *Knot) as() *BIND { return &BIND{Addr: k.Addr, Key: k.Key} }

// Log is what the server wrote so far.
func (k *Knot) Log() string { return readLog(filepath.Join(k.dir, "log")) }
