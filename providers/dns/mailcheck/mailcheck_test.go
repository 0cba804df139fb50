package mailcheck_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mxodus/mxodus/providers/dns"
	"github.com/mxodus/mxodus/providers/dns/dnstest"
	"github.com/mxodus/mxodus/providers/dns/mailcheck"
	"github.com/mxodus/mxodus/providers/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }
func (realClock) Sleep(ctx context.Context, _ time.Duration) error {
	return errors.New("nobody sleeps here")
}

const acme = "acme.example."

// sound is a domain with nothing wrong.
const sound = `
@ 300 IN MX 0 mx.mail.example.
@ 300 IN TXT "v=spf1 include:spf.mail.example -all"
@ 300 IN TXT "other"
default._domainkey 300 IN CNAME acme.dkim.mail.example.
_dmarc 300 IN TXT "v=DMARC1; p=none; rua=mailto:d@acme.example"
autodiscover 300 IN CNAME autodiscover.mail.example.
_smtp._tls 300 IN TXT "v=TLSRPTv1; rua=mailto:t@acme.example"
`

const host = `
mx 300 IN A 192.0.2.1
spf 300 IN TXT "v=spf1 ip4:192.0.2.0/24 -all"
acme.dkim 300 IN TXT "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA"
autodiscover 300 IN A 192.0.2.2
alias 300 IN CNAME mx
loop 300 IN TXT "v=spf1 include:loop2.mail.example -all"
loop2 300 IN TXT "v=spf1 include:loop.mail.example -all"
broken 300 IN TXT "v=spf1 ip4:300.0.0.1 -all"
two 300 IN TXT "v=spf1 -all"
two 300 IN TXT "v=spf1 +all"
six 300 IN TXT "v=spf1 a:mx.mail.example a:mx.mail.example a:mx.mail.example a:mx.mail.example a:mx.mail.example ip4:192.0.2.1 -all"
short.dkim 300 IN TXT "v=DKIM1; p=MIGfMA0GCSqGSIb3"
test.dkim 300 IN TXT "v=DKIM1; t=y; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA"
empty.dkim 300 IN TXT "v=DKIM1; p="
`

// world is acme.example at two servers, the mail host's zone at a third, and a resolver.
type world struct {
	ns       *dns.NameServers
	zone     *dnstest.Zone
	parent   *dnstest.Zone
	servers  [2]*dnstest.Server
	resolver *dnstest.Resolver
}

func start(t *testing.T, file string) *world {
	t.Helper()
	zone := func(origin, file string) *dnstest.Zone {
		z, err := dnstest.NewZone(origin, file, realClock{})
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	listen := func(zones ...*dnstest.Zone) *dnstest.Server {
		s, err := dnstest.Listen("127.0.0.1:0", nil, zones...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	}
	w := &world{zone: zone(acme, file), parent: zone("example.", "")}
	w.servers = [2]*dnstest.Server{listen(w.zone), listen(w.zone)}
	others := listen(zone("mail.example.", host), zone("reports.example.", "acme.example._report._dmarc 300 IN TXT \"v=DMARC1\"\n"), zone("silent.example.", ""))
	r, err := dnstest.ListenResolver("127.0.0.1:0", realClock{}, w.servers[0].Addr(), others.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	w.resolver = r
	w.ns = &dns.NameServers{Servers: []string{w.servers[0].Addr(), w.servers[1].Addr()}, Resolver: r.Addr(), Clock: realClock{}, Timeout: 300 * time.Millisecond}
	return w
}

// notFine are the codes of all warnings and faults.
func notFine(r mailcheck.Report) []string {
	var codes []string
	for _, f := range r.Findings {
		if f.Severity == mailcheck.Wrong || f.Severity == mailcheck.Warning {
			codes = append(codes, string(f.Severity)+" "+f.Code)
		}
	}
	slices.Sort(codes)
	return codes
}

func run(t *testing.T, w *world, o mailcheck.Options) mailcheck.Report {
	t.Helper()
	r, err := mailcheck.Run(t.Context(), w.ns, "Acme.Example", o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		if f.Severity == mailcheck.Wrong && f.Remedy == "" {
			t.Errorf("%s has no remedy", f.Code)
		}
		if f.OK != (f.Severity != mailcheck.Wrong) || f.Detail == "" || f.Check == "" || f.Subject == "" {
			t.Errorf("finding %+v", f)
		}
	}
	if r.OK != !slices.ContainsFunc(r.Findings, func(f mailcheck.Finding) bool { return !f.OK }) {
		t.Errorf("OK is %v", r.OK)
	}
	return r
}

// TestFaults: one thing is wrong, and exactly that is said.
func TestFaults(t *testing.T) {
	swap := func(old, new string) string {
		s := strings.Replace(sound, old, new, 1)
		if s == sound {
			panic(old)
		}
		return s
	}
	spf := `"v=spf1 include:spf.mail.example -all"`
	dkim := "acme.dkim.mail.example."
	dmarc := `"v=DMARC1; p=none; rua=mailto:d@acme.example"`
	for _, c := range []struct {
		name string
		file string
		want []string
	}{
		{"nothing", sound, nil},
		{"no MX", swap("@ 300 IN MX 0 mx.mail.example.\n", ""), []string{"wrong mx_none"}},
		{"MX to an alias", swap("0 mx.mail.example.", "0 alias.mail.example."), []string{"wrong mx_alias"}},
		{"MX to an alias of its own", swap("0 mx.mail.example.", "0 mail") + "mail 60 IN CNAME mx.mail.example.\n", []string{"wrong mx_alias"}},
		{"MX to nowhere", swap("0 mx.mail.example.", "0 nowhere.mail.example."), []string{"wrong mx_no_address"}},
		{"MX to an address", swap("0 mx.mail.example.", "0 192.0.2.1."), []string{"wrong mx_address"}},
		{"null MX beside another", sound + "@ 300 IN MX 5 .\n", []string{"wrong mx_null_beside"}},
		{"null MX", swap("0 mx.mail.example.", "0 ."), nil},
		{"no SPF", swap("@ 300 IN TXT "+spf+"\n", ""), []string{"warning spf_none"}},
		{"two SPF records", sound + "@ 300 IN TXT \"v=spf1 -all\"\n", []string{"wrong spf_many"}},
		{"SPF with a slip", swap(spf, `"v=spf1 ipv4:192.0.2.1 -all"`), []string{"wrong spf_syntax"}},
		{"SPF that includes nothing", swap(spf, `"v=spf1 include:nowhere.mail.example -all"`), []string{"wrong spf_include"}},
		{"SPF that includes a broken one", swap(spf, `"v=spf1 include:broken.mail.example -all"`), []string{"wrong spf_include"}},
		{"SPF that includes two", swap(spf, `"v=spf1 include:two.mail.example -all"`), []string{"wrong spf_include"}},
		{"SPF in a circle", swap(spf, `"v=spf1 include:loop.mail.example -all"`), []string{"wrong spf_include"}},
		{"eleven look-ups", swap(spf, `"v=spf1 include:six.mail.example a:mx.mail.example a:mx.mail.example a:mx.mail.example a:mx.mail.example a:mx.mail.example -all"`), []string{"wrong spf_many_lookups"}},
		{"ten look-ups", swap(spf, `"v=spf1 include:six.mail.example a:mx.mail.example a:mx.mail.example a:mx.mail.example a:mx.mail.example -all"`), nil},
		{"three void look-ups", swap(spf, `"v=spf1 a:n1.mail.example a:n2.mail.example mx:n3.mail.example -all"`), []string{"wrong spf_void"}},
		{"two void look-ups", swap(spf, `"v=spf1 a:n1.mail.example mx:n3.mail.example -all"`), nil},
		{"SPF that lets all through", swap(spf, `"v=spf1 +all"`), []string{"wrong spf_all_pass"}},
		{"SPF without an end", swap(spf, `"v=spf1 include:spf.mail.example"`), []string{"warning spf_neutral"}},
		{"SPF with ptr", swap(spf, `"v=spf1 ptr -all"`), []string{"warning spf_ptr"}},
		{"no DKIM", swap("default._domainkey 300 IN CNAME "+dkim+"\n", ""), []string{"warning dkim_none"}},
		{"DKIM to nowhere", swap(dkim, "nowhere.dkim.mail.example."), []string{"warning dkim_none", "wrong dkim_dangling"}},
		{"a short key", swap(dkim, "short.dkim.mail.example."), []string{"warning dkim_short"}},
		{"a key for tests", swap(dkim, "test.dkim.mail.example."), []string{"warning dkim_testing"}},
		{"a revoked key", swap(dkim, "empty.dkim.mail.example."), nil},
		{"no DMARC", swap("_dmarc 300 IN TXT "+dmarc+"\n", ""), []string{"warning dmarc_none"}},
		{"two DMARC records", sound + "_dmarc 300 IN TXT \"v=DMARC1; p=reject\"\n", []string{"wrong dmarc_many"}},
		{"DMARC with a slip", swap(dmarc, `"v=DMARC1; p=monitor"`), []string{"wrong dmarc_syntax"}},
		{"reports to who takes them", swap("mailto:d@acme.example", "mailto:d@reports.example"), nil},
		{"reports to who doesn't", swap("mailto:d@acme.example", "mailto:d@silent.example"), []string{"warning dmarc_reports_refused"}},
		{"DMARC of somebody else's", swap("_dmarc 300 IN TXT "+dmarc, "_dmarc 300 IN CNAME acme.example._report._dmarc.reports.example."), []string{"wrong dmarc_syntax"}},
		{"TLS-RPT with a slip", swap("rua=mailto:t@acme.example", "rua=t@acme.example"), []string{"wrong tls_rpt_syntax"}},
		{"two ways of autodiscover", sound + "_autodiscover._tcp 300 IN SRV 0 0 443 old.mail.example.\n", []string{"warning autodiscover_several"}},
		{"MTA-STS with a slip", sound + "_mta-sts 300 IN TXT \"v=STSv1; id=a-b\"\n", []string{"wrong mta_sts_syntax"}},
		{"two MTA-STS records", sound + "_mta-sts 300 IN TXT \"v=STSv1; id=1\"\n_mta-sts 300 IN TXT \"v=STSv1; id=2\"\n", []string{"wrong mta_sts_many"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := notFine(run(t, start(t, c.file), mailcheck.Options{})); !slices.Equal(got, c.want) {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

// TestServers: what is wrong with the servers, not with the zone.
func TestServers(t *testing.T) {
	for _, c := range []struct {
		name string
		turn func(*world)
		want []string
	}{
		{"one is lame", func(w *world) { w.servers[1].Lame(true) }, []string{"wrong server_lame"}},
		{"one refuses", func(w *world) { w.servers[1].Fail(mdns.RcodeRefused) }, []string{"wrong server_lame"}},
		{"one is silent", func(w *world) { w.servers[1].Silent(true) }, []string{"wrong server_unreachable"}},
		{"none answers", func(w *world) { w.servers[0].Silent(true); w.servers[1].Silent(true) }, []string{"wrong server_unreachable", "wrong server_unreachable"}},
		{"they differ", func(w *world) {
			lie := w.zone.Set(acme, "MX")
			lie.Data = []string{"10 evil.mail.example."}
			w.servers[1].Lie(lie)
		}, []string{"wrong servers_differ"}},
		{"their TTLs differ", func(w *world) {
			lie := w.zone.Set(acme, "TXT")
			lie.TTL = 3600
			w.servers[1].Lie(lie)
		}, []string{"wrong servers_differ"}},
		{"one server alone", func(w *world) { w.ns.Servers = w.ns.Servers[:1] }, []string{"warning one_server"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := start(t, sound)
			c.turn(w)
			got := notFine(run(t, w, mailcheck.Options{}))
			// The resolver asks the first server too; whatever it can't find out is no finding of ours here.
			got = slices.DeleteFunc(got, func(code string) bool { return strings.HasSuffix(code, "_unanswered") })
			if !slices.Equal(got, c.want) {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

// TestNothingIsPoisoned: names of the domain that don't exist are never asked at the resolver.
func TestNothingIsPoisoned(t *testing.T) {
	w := start(t, "@ 300 IN MX 0 mx.mail.example.\n")
	run(t, w, mailcheck.Options{Selectors: []string{"selector1"}})
	for name, typ := range map[string]string{
		"_dmarc": "TXT", "_mta-sts": "TXT", "_smtp._tls": "TXT", "autodiscover": "CNAME", "selector1._domainkey": "TXT", "default._domainkey": "CNAME", "_autodiscover._tcp": "SRV",
	} {
		if w.resolver.Knows(name+"."+acme, typ) {
			t.Errorf("the resolver was asked for %s %s", name, typ)
		}
	}
	if !w.resolver.Knows("mx.mail.example.", "A") {
		t.Error("the resolver was not asked for a name that is not the domain's")
	}
}

func TestSPFTree(t *testing.T) {
	w := start(t, strings.Replace(sound, "include:spf.mail.example", "include:six.mail.example include:spf.mail.example", 1))
	r := run(t, w, mailcheck.Options{})
	if r.SPF == nil || r.SPF.Lookups != 7 || len(r.SPF.Below) != 2 || r.SPF.Below[0].Lookups != 5 || r.SPF.Below[1].Lookups != 0 {
		t.Errorf("tree %+v", r.SPF)
	}
	if len(r.Servers) != 2 || r.Servers[0].TTL["MX"] != 300 || r.Servers[0].Serial != r.Servers[1].Serial {
		t.Errorf("servers %+v", r.Servers)
	}
}

const dnskey = "@ 300 IN DNSKEY 257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==\n"

// TestDNSSEC: the DS is asked at the resolver, since it is the parent's.
func TestDNSSEC(t *testing.T) {
	ds := "@ 300 IN DS 2371 13 2 1F987CC6583E92DF0890718C42A98EF7C4F4F1B4E9F1D1D1B4E9F1D1B4E9F1D1\n"
	for _, c := range []struct {
		name string
		file string
		turn func(*dnstest.Resolver)
		want string
	}{
		{"unsigned", "", nil, "dnssec_none"},
		{"a key without DS", dnskey, nil, "dnssec_no_ds"},
		{"a DS without key", ds, nil, "dnssec_orphan_ds"},
		{"valid", dnskey + ds, func(r *dnstest.Resolver) { r.Validate(true) }, "dnssec_valid"},
		{"a resolver that doesn't validate", dnskey + ds, nil, "dnssec_unvalidated"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := start(t, sound+c.file)
			if c.turn != nil {
				c.turn(w.resolver)
			}
			r := run(t, w, mailcheck.Options{})
			if !slices.ContainsFunc(r.Findings, func(f mailcheck.Finding) bool { return f.Code == c.want }) {
				t.Errorf("no %s in %+v", c.want, r.Findings)
			}
		})
	}
	t.Run("a broken chain", func(t *testing.T) {
		w := start(t, sound+dnskey+ds)
		w.resolver.Break(true)
		if authentic, broken, err := w.ns.Validated(t.Context(), acme, "SOA"); authentic || !broken || err != nil {
			t.Errorf("Validated: %v, %v, %v", authentic, broken, err)
		}
	})
}

// TestPolicy: the policy is fetched as senders do.
func TestPolicy(t *testing.T) {
	good := "version: STSv1\nmode: enforce\nmx: mx.mail.example\nmax_age: 604800\n"
	for _, c := range []struct {
		name string
		do   func(w http.ResponseWriter)
		want string
	}{
		{"sound", func(w http.ResponseWriter) { w.Write([]byte(good)) }, "mta_sts_sound"},
		{"another MX", func(w http.ResponseWriter) { w.Write([]byte(strings.Replace(good, "mx.mail", "*.old", 1))) }, "mta_sts_mx"},
		{"no policy", func(w http.ResponseWriter) { w.Write([]byte("hello")) }, "mta_sts_policy"},
		{"not found", func(w http.ResponseWriter) { w.WriteHeader(404) }, "mta_sts_unreachable"},
		{"a redirect", func(w http.ResponseWriter) {
			w.Header().Set("Location", "https://elsewhere.example/")
			w.WriteHeader(302)
		}, "mta_sts_unreachable"},
		{"HTML", func(w http.ResponseWriter) { w.Header().Set("Content-Type", "text/html"); w.Write([]byte(good)) }, "mta_sts_unreachable"},
		{"endless", func(w http.ResponseWriter) { w.Write([]byte(strings.Repeat("x", 70<<10))) }, "mta_sts_unreachable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := ""
			s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = r.Host + r.URL.Path
				w.Header().Set("Content-Type", "text/plain; charset=utf-8")
				c.do(w)
			}))
			defer s.Close()
			roots := s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
			tr := &http.Transport{
				TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"},
				DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, s.Listener.Addr().String())
				},
			}
			defer tr.CloseIdleConnections()
			r := run(t, start(t, sound+"_mta-sts 300 IN TXT \"v=STSv1; id=1\"\n"), mailcheck.Options{HTTP: &http.Client{Transport: tr}})
			if !slices.ContainsFunc(r.Findings, func(f mailcheck.Finding) bool { return f.Code == c.want }) {
				t.Errorf("no %s in %+v", c.want, r.Findings)
			}
			if asked != "mta-sts.acme.example/.well-known/mta-sts.txt" {
				t.Errorf("asked for %s", asked)
			}
		})
	}
}

func TestContextEnds(t *testing.T) {
	w := start(t, sound)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := mailcheck.Run(ctx, w.ns, "acme.example", mailcheck.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
	if _, err := mailcheck.Run(t.Context(), w.ns, "no domain", mailcheck.Options{}); err == nil {
		t.Error("Run of no domain: no error")
	}
}
