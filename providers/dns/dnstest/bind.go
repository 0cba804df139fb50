package dnstest

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
)

// TB is what StartBIND needs of a *testing.T.
type TB interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
	Cleanup(func())
	TempDir() string
}

// BIND is a running named.
type BIND struct {
	Addr      string // host:port of the primary
	Secondary string // host:port of the secondary, "" = none
	Key       Key    // may update and transfer every zone
	Weak      Key    // is known to the server, but may do neither

	dir string
}

// BINDOptions are what a named is started with.
type BINDOptions struct {
	// Zones are zone files by origin ("acme.example."). "." is a root zone.
	Zones map[string]string
	// Secondary starts a second named that follows the first by NOTIFY and transfer.
	Secondary bool
	// NoTransfer refuses transfers even to Key.
	NoTransfer bool
}

// StartBIND runs named, without privileges and on free loopback ports, until the test ends.
// Zone files are completed as NewZone does. Where BIND isn't installed the test is skipped.
func StartBIND(tb TB, o BINDOptions) *BIND {
	tb.Helper()
	named := Find("named")
	if named == "" {
		tb.Skipf("BIND is not installed")
	}
	b := &BIND{Key: newKey("mxodus."), Weak: newKey("weak."), dir: tb.TempDir()}
	b.Addr = freeAddr(tb)
	if o.Secondary {
		b.Secondary = freeAddr(tb)
	}
	primary := filepath.Join(b.dir, "primary")
	conf := b.options(primary, b.Addr)
	for origin, file := range o.Zones {
		name := zoneFile(origin)
		writeFile(tb, filepath.Join(primary, name), completed(tb, origin, file))
		conf += fmt.Sprintf("zone %q {\n\ttype primary;\n\tfile %q;\n\tupdate-policy { grant %s zonesub ANY; };\n", origin, name, b.Key.Name)
		if o.NoTransfer {
			conf += "\tallow-transfer { none; };\n"
		} else {
			conf += fmt.Sprintf("\tallow-transfer { key %q; };\n", b.Key.Name)
		}
		if o.Secondary {
			host, port, _ := net.SplitHostPort(b.Secondary)
			conf += fmt.Sprintf("\tnotify explicit;\n\talso-notify { %s port %s; };\n", host, port)
		} else {
			conf += "\tnotify no;\n"
		}
		conf += "};\n"
	}
	b.run(tb, named, primary, b.Addr, conf, o.Zones)
	if o.Secondary {
		secondary := filepath.Join(b.dir, "secondary")
		host, port, _ := net.SplitHostPort(b.Addr)
		conf := b.options(secondary, b.Secondary)
		for origin := range o.Zones {
			conf += fmt.Sprintf("zone %q {\n\ttype secondary;\n\tfile %q;\n\tprimaries { %s port %s key %q; };\n\tnotify no;\n};\n",
				origin, zoneFile(origin), host, port, b.Key.Name)
		}
		b.run(tb, named, secondary, b.Secondary, conf, o.Zones)
	}
	return b
}

func newKey(name string) Key {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	return Key{Name: name, Algorithm: dns.HmacSHA256, Secret: base64.StdEncoding.EncodeToString(raw)}
}

func freeAddr(tb TB) string {
	tb.Helper()
	tcp, udp, err := listen("127.0.0.1:0")
	if err != nil {
		tb.Fatalf("no free port: %v", err)
	}
	addr := tcp.Addr().String()
	if err := errors.Join(tcp.Close(), udp.Close()); err != nil {
		tb.Fatalf("free port: %v", err)
	}
	return addr
}

func zoneFile(origin string) string {
	return "zone." + strings.ReplaceAll(strings.Trim(origin, "."), "/", "_") + ".db"
}

func (b *BIND) options(dir, addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	conf := fmt.Sprintf(`options {
	directory %q;
	listen-on port %s { %s; };
	listen-on-v6 { none; };
	pid-file none;
	session-keyfile none;
	lock-file none;
	recursion no;
	dnssec-validation no;
	empty-zones-enable no;
	notify-delay 0;
	max-journal-size 1m;
	masterfile-format text;
};
controls { };
logging { category default { default_stderr; }; };
`, dir, port, host)
	for _, k := range []Key{b.Key, b.Weak} {
		conf += fmt.Sprintf("key %q { algorithm %s; secret %q; };\n", k.Name, strings.TrimSuffix(k.algorithm(), "."), k.Secret)
	}
	return conf
}

// completed is the zone file with SOA and name servers.
func completed(tb TB, origin, file string) string {
	tb.Helper()
	z, err := NewZone(origin, file, nil)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	all := z.newest()
	var text strings.Builder
	text.WriteString(all.soa(z.origin).String() + "\n")
	for _, types := range all {
		for typ, rrs := range types {
			for _, rr := range rrs {
				if typ != dns.TypeSOA {
					text.WriteString(rr.String() + "\n")
				}
			}
		}
	}
	return text.String()
}

func writeFile(tb TB, path, text string) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		tb.Fatalf("%v", err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatalf("%v", err)
	}
}

// run starts one named and waits until it serves every zone.
func (b *BIND) run(tb TB, named, dir, addr, conf string, zones map[string]string) {
	tb.Helper()
	writeFile(tb, filepath.Join(dir, "named.conf"), conf)
	Daemon(tb, dir, func() bool { return serves(addr, zones) }, named, "-g", "-n", "1", "-c", filepath.Join(dir, "named.conf"))
}

func readLog(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Log is what the primary wrote so far.
func (b *BIND) Log() string { return readLog(filepath.Join(b.dir, "primary", "log")) }

// Put changes the primary past every provider, as an administrator with nsupdate would.
func (b *BIND) Put(zone string, list ...plan.RRset) error {
	m := new(dns.Msg)
	m.SetUpdate(zone)
	for _, s := range list {
		typ := dns.StringToType[s.Type]
		m.RemoveRRset([]dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: s.Name, Rrtype: typ, Class: dns.ClassINET}}})
	}
	for _, s := range list {
		for _, data := range s.Data {
			rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", s.Name, s.TTL, s.Type, data))
			if err != nil {
				return err
			}
			m.Insert([]dns.RR{rr})
		}
	}
	m.SetTsig(b.Key.Name, b.Key.algorithm(), 300, time.Now().Unix())
	client := &dns.Client{Net: "tcp", Timeout: 10 * time.Second, TsigSecret: map[string]string{b.Key.Name: b.Key.Secret}}
	r, _, err := client.Exchange(m, b.Addr)
	if err != nil {
		return err
	}
	if r.Rcode != dns.RcodeSuccess {
		return fmt.Errorf("named answers %s", dns.RcodeToString[r.Rcode])
	}
	return nil
}

// Set is one set as server (b.Addr or b.Secondary) answers it.
func (b *BIND) Set(server, name, typ string) (plan.RRset, error) {
	m := new(dns.Msg)
	t := dns.StringToType[typ]
	m.SetQuestion(dns.CanonicalName(name), t)
	client := &dns.Client{Net: "tcp", Timeout: 10 * time.Second}
	r, _, err := client.Exchange(m, server)
	if err != nil {
		return plan.RRset{}, err
	}
	seen := r.Answer
	if t == dns.TypeNS && !r.Authoritative && len(r.Answer) == 0 {
		seen = r.Ns // a delegation
	} else if !r.Authoritative {
		return plan.RRset{}, fmt.Errorf("named answers %s without authority", dns.RcodeToString[r.Rcode])
	}
	var rrs []dns.RR
	for _, rr := range seen {
		if rr.Header().Rrtype == t && dns.CanonicalName(rr.Header().Name) == dns.CanonicalName(name) {
			rrs = append(rrs, rr)
		}
	}
	return set(dns.CanonicalName(name), t, rrs), nil
}
