package dns_test

import (
	"context"
	"errors"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns"
	"github.com/mxodus/mxodus/providers/dns/dnstest"
	"github.com/mxodus/mxodus/providers/providertest"
)

const zoneName = "acme.example."

// realClock is the system's: TSIG needs it.
type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }
func (realClock) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// vault resolves every reference to one secret.
type vault string

func (v vault) Resolve(context.Context, plan.SecretRef, string) (providers.Secret, error) {
	if v == "" {
		return providers.Secret{}, errors.New("secret.tsig (env TSIG): the variable TSIG is not set")
	}
	return providers.Keep(string(v)), nil
}

var tsigRef = plan.SecretRef{Name: "tsig", Kind: "env", Ref: "TSIG"}

func newRFC2136(t *testing.T, server string, key dnstest.Key) providers.Zone {
	t.Helper()
	z, _, err := dns.New(plan.ZoneConfig{
		Kind: "rfc2136", Server: server, KeyName: key.Name, KeyAlgorithm: "hmac-sha256", Credentials: tsigRef,
	}, "acme.example", vault(key.Secret), realClock{})
	if err != nil {
		t.Fatal(err)
	}
	return z
}

var testKey = dnstest.Key{Name: "mxodus.", Algorithm: mdns.HmacSHA256, Secret: "Zm9yIHRlc3RzIGFsb25lLCAzMiBvY3RldHMgbG9uZyE="}

func newZone(t *testing.T, origin, file string, clock providers.Clock) *dnstest.Zone {
	t.Helper()
	z, err := dnstest.NewZone(origin, file, clock)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func listen(t *testing.T, addr string, key *dnstest.Key, zones ...*dnstest.Zone) *dnstest.Server {
	t.Helper()
	s, err := dnstest.Listen(addr, key, zones...)
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

func proxy(t *testing.T, server string) *dnstest.Proxy {
	t.Helper()
	p, err := dnstest.ListenProxy(server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func throughProxy(f providertest.ZoneFixture, p *dnstest.Proxy) providertest.ZoneFixture {
	f.BeforeWrite = p.BeforeUpdate
	f.LoseAnswer = func() { p.LoseAnswers(1) }
	f.DropWrite = func() { p.DropUpdates(1) }
	return f
}

func doubleFixture(t *testing.T, z *dnstest.Zone) providertest.ZoneFixture {
	return providertest.ZoneFixture{
		Name: zoneName,
		Put: func(t *testing.T, sets ...plan.RRset) {
			if err := z.Put(sets...); err != nil {
				t.Fatal(err)
			}
		},
		Read:   func(_ *testing.T, name, typ string) plan.RRset { return z.Set(name, typ) },
		Serial: func(*testing.T) uint32 { return z.Serial() },
	}
}

func TestRFC2136OnTheDouble(t *testing.T) {
	providertest.TestZone(t, func(t *testing.T) providertest.ZoneFixture {
		z := newZone(t, zoneName, "", realClock{})
		p := proxy(t, listen(t, "127.0.0.1:0", &testKey, z).Addr())
		f := doubleFixture(t, z)
		f.Zone = newRFC2136(t, p.Addr(), testKey)
		return throughProxy(f, p)
	})
}

func TestRFC2136OnBIND(t *testing.T) {
	providertest.TestZone(t, func(t *testing.T) providertest.ZoneFixture {
		b := dnstest.StartBIND(t, dnstest.BINDOptions{Zones: map[string]string{zoneName: ""}})
		p := proxy(t, b.Addr)
		ns := &dns.NameServers{Clock: realClock{}}
		f := providertest.ZoneFixture{
			Zone: newRFC2136(t, p.Addr(), b.Key),
			Name: zoneName,
			Put: func(t *testing.T, sets ...plan.RRset) {
				if err := b.Put(zoneName, sets...); err != nil {
					t.Fatal(err)
				}
			},
			Read: func(t *testing.T, name, typ string) plan.RRset {
				set, err := b.Set(b.Addr, name, typ)
				if err != nil {
					t.Fatal(err)
				}
				return set
			},
			Serial: func(t *testing.T) uint32 {
				serial, err := ns.Serial(t.Context(), b.Addr, zoneName)
				if err != nil {
					t.Fatal(err)
				}
				return serial
			},
		}
		return throughProxy(f, p)
	})
}

func TestByHandOnTheDouble(t *testing.T) {
	providertest.TestZone(t, func(t *testing.T) providertest.ZoneFixture {
		z := newZone(t, zoneName, "", realClock{})
		f := doubleFixture(t, z)
		hand, _, err := dns.New(plan.ZoneConfig{
			Kind:          "by_hand",
			Authoritative: []string{listen(t, "127.0.0.1:0", nil, z).Addr(), listen(t, "127.0.0.1:0", nil, z).Addr()},
		}, "acme.example", nil, realClock{})
		if err != nil {
			t.Fatal(err)
		}
		f.Zone = hand
		return f
	})
}

func TestRFC2136OnKnot(t *testing.T) {
	providertest.TestZone(t, func(t *testing.T) providertest.ZoneFixture {
		k := dnstest.StartKnot(t, map[string]string{zoneName: ""})
		p := proxy(t, k.Addr)
		ns := &dns.NameServers{Clock: realClock{}}
		f := providertest.ZoneFixture{
			Zone: newRFC2136(t, p.Addr(), k.Key),
			Name: zoneName,
			Put: func(t *testing.T, sets ...plan.RRset) {
				if err := k.Put(zoneName, sets...); err != nil {
					t.Fatal(err)
				}
			},
			Read: func(t *testing.T, name, typ string) plan.RRset {
				set, err := k.Set(name, typ)
				if err != nil {
					t.Fatal(err)
				}
				return set
			},
			Serial: func(t *testing.T) uint32 {
				serial, err := ns.Serial(t.Context(), k.Addr, zoneName)
				if err != nil {
					t.Fatal(err)
				}
				return serial
			},
		}
		return throughProxy(f, p)
	})
}
