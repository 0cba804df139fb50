package dns_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns"
	"github.com/mxodus/mxodus/providers/dns/dnstest"
	"github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// skewed is the system's clock, wrong by so much.
type skewed struct {
	realClock
	by time.Duration
}

func (c skewed) Now() time.Time { return time.Now().Add(c.by) }

// update is the change that the tests of refusals try.
var update = []plan.RRsetChange{{
	Old: plan.RRset{Name: "www." + zoneName, Type: "A", TTL: 300, Data: []string{"192.0.2.1"}},
	New: plan.RRset{Name: "www." + zoneName, Type: "A", TTL: 300, Data: []string{"192.0.2.2"}},
}}

const wwwFile = "www 300 IN A 192.0.2.1\n"

// authServer is a server that takes signed updates, real or not.
type authServer struct {
	addr string
	key  dnstest.Key
	set  func(t *testing.T) plan.RRset // www A
}

func signedServers(t *testing.T) map[string]func(t *testing.T) authServer {
	t.Helper()
	return map[string]func(t *testing.T) authServer{
		"double": func(t *testing.T) authServer {
			z := newZone(t, zoneName, wwwFile, realClock{})
			return authServer{
				addr: listen(t, "127.0.0.1:0", &testKey, z).Addr(), key: testKey,
				set: func(*testing.T) plan.RRset { return z.Set("www."+zoneName, "A") },
			}
		},
		"BIND": func(t *testing.T) authServer {
			b := dnstest.StartBIND(t, dnstest.BINDOptions{Zones: map[string]string{zoneName: wwwFile}})
			return authServer{addr: b.Addr, key: b.Key, set: func(t *testing.T) plan.RRset {
				set, err := b.Set(b.Addr, "www."+zoneName, "A")
				if err != nil {
					t.Fatal(err)
				}
				return set
			}}
		},
	}
}

// TestSignatures: every way in which a signature can be wrong is an Authentication error
// that names the remedy, with look-ups, updates and transfers alike, and shows no secret.
func TestSignatures(t *testing.T) {
	for name, start := range signedServers(t) {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			wrong := "d3Jvbmcgc2VjcmV0LCBidXQgMzIgb2N0ZXRzIGxvbmc="
			for _, c := range []struct {
				name   string
				zone   *dns.RFC2136
				server string // the server's words
				remedy string
			}{
				{"wrong secret", &dns.RFC2136{KeyName: s.key.Name, Secrets: vault(wrong), Clock: realClock{}}, "BADSIG", "is not the server's"},
				{"unknown key", &dns.RFC2136{KeyName: "other.", Secrets: vault(s.key.Secret), Clock: realClock{}}, "BADKEY", "other."},
				{"wrong algorithm", &dns.RFC2136{KeyName: s.key.Name, Algorithm: "hmac-sha512", Secrets: vault(s.key.Secret), Clock: realClock{}}, "BADKEY", "hmac-sha512"},
				{"clock an hour slow", &dns.RFC2136{KeyName: s.key.Name, Secrets: vault(s.key.Secret), Clock: skewed{by: -time.Hour}}, "BADTIME", "clock"},
				{"clock an hour fast", &dns.RFC2136{KeyName: s.key.Name, Secrets: vault(s.key.Secret), Clock: skewed{by: time.Hour}}, "BADTIME", "clock"},
			} {
				t.Run(c.name, func(t *testing.T) {
					z := c.zone
					z.Server, z.Zone, z.Credentials = s.addr, zoneName, tsigRef
					_, lookErr := z.Lookup(t.Context(), "www."+zoneName, "A")
					_, _, listErr := z.Records(t.Context())
					for op, err := range map[string]error{"Lookup": lookErr, "Update": z.Update(t.Context(), update), "Records": listErr} {
						e, ok := errors.AsType[*providers.Error](err)
						if !ok || e.Reason != providers.Authentication || !strings.Contains(e.Server, c.server) || !strings.Contains(e.Remedy, c.remedy) {
							t.Errorf("%s: %#v, want %s from the server", op, err, c.server)
							continue
						}
						if text := fmt.Sprintf("%v %+v", err, *e); strings.Contains(text, s.key.Secret) || strings.Contains(text, wrong) {
							t.Errorf("%s: the error shows a secret", op)
						}
					}
					if got := s.set(t); !got.Equal(update[0].Old) {
						t.Errorf("the zone was changed: %v", got)
					}
					faults.Count(t, "TSIG cases", 1)
				})
			}
		})
	}
}

func TestSecretsThatAreNone(t *testing.T) {
	for _, c := range []struct {
		name, secret string
		reason       providers.Reason
	}{
		{"not to be had", "", ""},
		{"no base64", "hunter2!", providers.Authentication},
	} {
		t.Run(c.name, func(t *testing.T) {
			z := &dns.RFC2136{Server: "127.0.0.1:1", Zone: zoneName, KeyName: "k.", Credentials: tsigRef, Secrets: vault(c.secret), Clock: realClock{}}
			_, err := z.Lookup(t.Context(), zoneName, "MX")
			if err == nil || providers.ReasonOf(err) != c.reason || !strings.Contains(err.Error(), "secret.tsig") {
				t.Errorf("error %v, want one that names secret.tsig", err)
			}
			if c.secret != "" && strings.Contains(err.Error(), c.secret) {
				t.Errorf("error %v shows the secret", err)
			}
		})
	}
}

// TestUpdateRefused: BIND knows the key, and its policy says no.
func TestUpdateRefused(t *testing.T) {
	b := dnstest.StartBIND(t, dnstest.BINDOptions{Zones: map[string]string{zoneName: wwwFile}, NoTransfer: true})
	refused := func(t *testing.T, z providers.Zone) {
		t.Helper()
		err := z.Update(t.Context(), update)
		e, ok := errors.AsType[*providers.Error](err)
		if !ok || e.Reason != providers.Refused || e.Server != "REFUSED" || !strings.Contains(e.Remedy, "update-policy") {
			t.Errorf("Update: %v, want a refusal with the server's word", err)
		}
		if set, err := z.Lookup(t.Context(), "www."+zoneName, "A"); err != nil || !set.Equal(update[0].Old) {
			t.Errorf("the zone holds %v, %v", set, err)
		}
	}
	t.Run("a key without rights", func(t *testing.T) { refused(t, newRFC2136(t, b.Addr, b.Weak)) })
	t.Run("no key", func(t *testing.T) {
		refused(t, &dns.RFC2136{Server: b.Addr, Zone: zoneName, Clock: realClock{}})
	})
	t.Run("an MX to a host of the zone without address", func(t *testing.T) {
		z := newRFC2136(t, b.Addr, b.Key)
		change := []plan.RRsetChange{{Old: mx(0), New: mx(300, "10 nowhere."+zoneName)}}
		err := z.Update(t.Context(), change)
		e, ok := errors.AsType[*providers.Error](err)
		if !ok || e.Reason != providers.Refused || !strings.Contains(e.Remedy, "address") {
			t.Errorf("Update: %v, want BIND's refusal with what to do", err)
		}
		if set, err := z.Lookup(t.Context(), zoneName, "MX"); err != nil || set.Exists() {
			t.Errorf("the zone holds %v, %v", set, err)
		}
	})
	t.Run("no transfer", func(t *testing.T) {
		sets, complete, err := newRFC2136(t, b.Addr, b.Key).Records(t.Context())
		if err != nil || complete || sets != nil {
			t.Errorf("Records: %d sets, complete %v, %v; want an incomplete zone without error", len(sets), complete, err)
		}
	})
	t.Run("a part of the server's zone", func(t *testing.T) {
		part := "part." + zoneName
		z := &dns.RFC2136{Server: b.Addr, Zone: part, KeyName: b.Key.Name, Credentials: tsigRef, Secrets: vault(b.Key.Secret), Clock: realClock{}}
		err := z.Update(t.Context(), []plan.RRsetChange{{Old: plan.RRset{Name: part, Type: "A"}, New: plan.RRset{Name: part, Type: "A", TTL: 60, Data: []string{"192.0.2.1"}}}})
		e, ok := errors.AsType[*providers.Error](err)
		if !ok || e.Reason != providers.Refused || e.Server != "NOTAUTH" || !strings.Contains(e.Remedy, "not the primary") {
			t.Errorf("Update: %v, want a refusal: the zone begins further up", err)
		}
	})
	t.Run("a zone that the server doesn't serve", func(t *testing.T) {
		z := &dns.RFC2136{Server: b.Addr, Zone: "other.example.", KeyName: b.Key.Name, Credentials: tsigRef, Secrets: vault(b.Key.Secret), Clock: realClock{}}
		if _, err := z.Lookup(t.Context(), "other.example.", "MX"); providers.ReasonOf(err) != providers.Refused {
			t.Errorf("Lookup: %v, want a refusal", err)
		}
	})
}

func TestServerTrouble(t *testing.T) {
	z := newZone(t, zoneName, wwwFile, realClock{})
	s := listen(t, "127.0.0.1:0", &testKey, z)
	zone := newRFC2136(t, s.Addr(), testKey).(*dns.RFC2136)
	zone.Timeout = 300 * time.Millisecond

	t.Run("refused", func(t *testing.T) {
		s.RefuseUpdates(true)
		defer s.RefuseUpdates(false)
		if err := zone.Update(t.Context(), update); providers.ReasonOf(err) != providers.Refused {
			t.Errorf("Update: %v, want a refusal", err)
		}
	})
	t.Run("SERVFAIL", func(t *testing.T) {
		s.Fail(mdns.RcodeServerFailure)
		defer s.Fail(0)
		if _, err := zone.Lookup(t.Context(), "www."+zoneName, "A"); providers.ReasonOf(err) != providers.Unreachable {
			t.Errorf("Lookup: %v, want it to be tried again", err)
		}
	})
	t.Run("silent", func(t *testing.T) {
		s.Silent(true)
		defer s.Silent(false)
		if _, err := zone.Lookup(t.Context(), "www."+zoneName, "A"); providers.ReasonOf(err) != providers.Unreachable {
			t.Errorf("Lookup: %v, want unreachable", err)
		}
		if _, _, err := zone.Records(t.Context()); providers.ReasonOf(err) != providers.Unreachable {
			t.Errorf("Records: %v, want unreachable", err)
		}
	})
	t.Run("a secondary", func(t *testing.T) {
		if err := newRFC2136(t, listen(t, "127.0.0.1:0", nil, z).Addr(), testKey).Update(t.Context(), update); providers.ReasonOf(err) != providers.Authentication {
			t.Errorf("Update: %v, want the key to be refused", err)
		}
	})
	t.Run("lame", func(t *testing.T) {
		s.Lame(true)
		defer s.Lame(false)
		if _, err := zone.Lookup(t.Context(), "www."+zoneName, "A"); providers.ReasonOf(err) != providers.Refused {
			t.Errorf("Lookup: %v, want a refusal: an empty answer without authority proves nothing", err)
		}
	})
	t.Run("nothing listens", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		gone := newRFC2136(t, ln.Addr().String(), testKey)
		if err := gone.Update(t.Context(), update); providers.ReasonOf(err) != providers.Unreachable {
			t.Errorf("Update: %v, want unreachable", err)
		}
	})
	if got := z.Set("www."+zoneName, "A"); !got.Equal(update[0].Old) {
		t.Errorf("the zone was changed: %v", got)
	}
}

// TestTransferOfManyMessages: each message of a transfer is signed on top of the one before.
func TestTransferOfManyMessages(t *testing.T) {
	var file strings.Builder
	var want []string
	for i := range 3000 {
		fmt.Fprintf(&file, "h%04d 300 IN TXT %q\n", i, strings.Repeat("x", 100))
		want = append(want, fmt.Sprintf("h%04d.%s TXT", i, zoneName))
	}
	check := func(t *testing.T, z providers.Zone) {
		t.Helper()
		sets, complete, err := z.Records(t.Context())
		if err != nil || !complete {
			t.Fatalf("Records: complete %v, %v", complete, err)
		}
		var got []string
		for _, s := range sets {
			got = append(got, s.Name+" "+s.Type)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d sets, want %d", len(got), len(want))
		}
	}
	t.Run("double", func(t *testing.T) {
		check(t, newRFC2136(t, listen(t, "127.0.0.1:0", &testKey, newZone(t, zoneName, file.String(), realClock{})).Addr(), testKey))
	})
	t.Run("BIND", func(t *testing.T) {
		b := dnstest.StartBIND(t, dnstest.BINDOptions{Zones: map[string]string{zoneName: file.String()}})
		check(t, newRFC2136(t, b.Addr, b.Key))
	})
}

// TestTransferBreaksOff: half a zone must not look like a zone.
func TestTransferBreaksOff(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			conn, err := ln.Accept()
			if err != nil {
				return err
			}
			co := &mdns.Conn{Conn: conn}
			q, err := co.ReadMsg()
			if err != nil {
				return err
			}
			r := new(mdns.Msg)
			r.SetReply(q)
			for _, line := range []string{zoneName + " 60 IN SOA a. b. 1 2 3 4 5", "www." + zoneName + " 60 IN A 192.0.2.1"} {
				rr, err := mdns.NewRR(line)
				if err != nil {
					return err
				}
				r.Answer = append(r.Answer, rr)
			}
			return errors.Join(co.WriteMsg(r), conn.Close())
		}()
	}()
	z := &dns.RFC2136{Server: ln.Addr().String(), Zone: zoneName, Clock: realClock{}}
	sets, complete, err := z.Records(t.Context())
	if err == nil || complete || len(sets) > 0 {
		t.Errorf("Records: %d sets, complete %v, %v; want an error", len(sets), complete, err)
	}
	if err := errors.Join(<-done, ln.Close()); err != nil {
		t.Error(err)
	}
}

// TestForgedAnswers: whoever stands in between can't say "so it is" for the server.
func TestForgedAnswers(t *testing.T) {
	for name, secret := range map[string]string{"unsigned": "", "signed by another": "Zm9yZ2VkIGJ5IHNvbWVib2R5LCAzMiBvY3RldHMhISE="} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			forger := &mdns.Server{Listener: ln, MsgAcceptFunc: func(mdns.Header) mdns.MsgAcceptAction { return mdns.MsgAccept }}
			if secret != "" {
				forger.TsigSecret = map[string]string{testKey.Name: secret}
			}
			forger.Handler = mdns.HandlerFunc(func(w mdns.ResponseWriter, m *mdns.Msg) {
				r := new(mdns.Msg)
				r.SetReply(m)
				r.Authoritative = true
				if m.Question[0].Qtype == mdns.TypeAXFR {
					soa := &mdns.SOA{Hdr: mdns.RR_Header{Name: zoneName, Rrtype: mdns.TypeSOA, Class: mdns.ClassINET}, Ns: ".", Mbox: "."}
					r.Answer = []mdns.RR{soa, soa}
				}
				if secret != "" {
					r.SetTsig(testKey.Name, mdns.HmacSHA256, 300, time.Now().Unix())
				}
				if err := w.WriteMsg(r); err != nil {
					t.Error(err)
				}
			})
			started := make(chan struct{})
			forger.NotifyStartedFunc = func() { close(started) }
			ended := make(chan error, 1)
			go func() { ended <- forger.ActivateAndServe() }()
			<-started
			z := newRFC2136(t, ln.Addr().String(), testKey)
			if set, err := z.Lookup(t.Context(), "www."+zoneName, "A"); providers.ReasonOf(err) != providers.Protocol {
				t.Errorf("Lookup: %v, %v; want the answer to be refused", set, err)
			}
			if sets, complete, err := z.Records(t.Context()); providers.ReasonOf(err) != providers.Protocol || complete {
				t.Errorf("Records: %v, complete %v, %v; want the transfer to be refused", sets, complete, err)
			}
			if err := errors.Join(forger.Shutdown(), <-ended); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSilentlyPassedOver: a server that answers NOERROR and does nothing is found out.
func TestSilentlyPassedOver(t *testing.T) {
	z := newZone(t, zoneName, "www 300 IN RP admin.example. .\n", realClock{})
	zone := newRFC2136(t, listen(t, "127.0.0.1:0", &testKey, z).Addr(), testKey)
	// RP is none of the types whose absence is asked for before a CNAME is added.
	err := zone.Update(t.Context(), []plan.RRsetChange{{
		Old: plan.RRset{Name: "www." + zoneName, Type: "CNAME"},
		New: plan.RRset{Name: "www." + zoneName, Type: "CNAME", TTL: 300, Data: []string{"a.example."}},
	}})
	if providers.ReasonOf(err) != providers.Refused || !strings.Contains(err.Error(), "NOERROR") {
		t.Errorf("Update: %v, want it to be found out", err)
	}
}

func TestNewRefusesBadConfigurations(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  plan.ZoneConfig
		want string
	}{
		{"unknown kind", plan.ZoneConfig{Kind: "carrier_pigeon"}, "carrier_pigeon"},
		{"no server", plan.ZoneConfig{Kind: "rfc2136"}, "server"},
		{"another zone", plan.ZoneConfig{Kind: "rfc2136", Server: "127.0.0.1:53", Zone: "other.example."}, "not in the zone"},
		{"broken algorithm", plan.ZoneConfig{Kind: "rfc2136", Server: "127.0.0.1:53", KeyName: "k.", KeyAlgorithm: "hmac-md5"}, "hmac-sha256"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := dns.New(c.cfg, "acme.example", nil, realClock{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one about %q", err, c.want)
			}
		})
	}
}
