package libdns_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libdns/libdns"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns/hosted/hostedtest"
	zone "github.com/mxodus/mxodus/providers/libdns"
	"github.com/mxodus/mxodus/providers/providertest"
)

const acme = "acme.example."

// memory is a libdns provider over a store.
type memory struct {
	store *hostedtest.Store

	mu    sync.Mutex
	after error // of the next write, once it is carried out
	first error // likewise, before
}

func (m *memory) GetRecords(_ context.Context, zone string) ([]libdns.Record, error) {
	var list []libdns.Record
	for _, r := range m.store.Records() {
		rr := libdns.RR{Name: libdns.RelativeName(r.Name, zone), Type: r.Type, TTL: time.Duration(r.TTL) * time.Second, Data: r.Data}
		if r.Type == "TXT" {
			rr.Data, _ = plan.TXTText(r.Data)
		}
		// Some providers give host names without the final dot.
		if r.Type == "MX" && r.Data != "0 ." {
			rr.Data = strings.TrimSuffix(r.Data, ".")
		}
		list = append(list, rr)
	}
	return list, nil
}

func (m *memory) record(zone string, r libdns.Record) hostedtest.Record {
	rr := r.RR()
	out := hostedtest.Record{Name: libdns.AbsoluteName(rr.Name, zone), Type: rr.Type, TTL: uint32(rr.TTL / time.Second), Data: rr.Data}
	if rr.Type == "TXT" {
		out.Data = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(rr.Data) + `"`
		if c, err := plan.CanonicalRdata("TXT", out.Data); err == nil {
			out.Data = c
		}
	}
	return out
}

func (m *memory) fault(p *error) (err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	err, *p = *p, nil
	return err
}

func (m *memory) SetRecords(_ context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	if err := m.fault(&m.first); err != nil {
		return nil, err
	}
	err := m.store.Edit(func(list []hostedtest.Record) ([]hostedtest.Record, error) {
		touched := map[string]bool{}
		for _, r := range recs {
			n := m.record(zone, r)
			touched[n.Name+" "+n.Type] = true
		}
		var next []hostedtest.Record
		for _, r := range list {
			if !touched[r.Name+" "+r.Type] {
				next = append(next, r)
			}
		}
		for _, r := range recs {
			next = append(next, m.record(zone, r))
		}
		return next, nil
	})
	return recs, errors.Join(err, m.fault(&m.after))
}

func (m *memory) DeleteRecords(_ context.Context, zone string, recs []libdns.Record) ([]libdns.Record, error) {
	err := m.store.Edit(func(list []hostedtest.Record) ([]hostedtest.Record, error) {
		var next []hostedtest.Record
		for _, have := range list {
			keep := true
			for _, r := range recs {
				gone := m.record(zone, r)
				if have.Name == gone.Name && have.Type == gone.Type && have.TTL == gone.TTL {
					a, b := plan.RRset{Data: []string{have.Data}}, plan.RRset{Data: []string{gone.Data}}
					keep = keep && !a.SameData(b)
				}
			}
			if keep {
				next = append(next, have)
			}
		}
		return next, nil
	})
	return recs, err
}

var (
	under    *memory
	register = sync.OnceFunc(func() {
		zone.Register("memory", func(secret string) (zone.Provider, error) {
			if secret != "right" {
				return nil, errors.New("the key " + secret + " has not the right form")
			}
			return under, nil
		})
	})
)

func open(t *testing.T, secret string) (*memory, providers.Zone) {
	t.Helper()
	under = &memory{store: hostedtest.NewStore(acme)}
	register()
	z, err := zone.NewZone("memory", acme, hostedtest.Ref, hostedtest.Secret(secret), hostedtest.NewClock())
	if err != nil {
		t.Fatal(err)
	}
	return under, z
}

func TestZone(t *testing.T) {
	providertest.TestZone(t, func(t *testing.T) providertest.ZoneFixture {
		m, z := open(t, "right")
		return providertest.ZoneFixture{
			Zone: z, Name: acme,
			Refuses:    func(s plan.RRset) bool { return s.Type == "TLSA" },
			Put:        func(_ *testing.T, sets ...plan.RRset) { m.store.Put(sets...) },
			Read:       func(_ *testing.T, name, typ string) plan.RRset { return m.store.Set(name, typ) },
			Serial:     func(*testing.T) uint32 { return m.store.Serial() },
			LoseAnswer: func() { m.after = errors.New("connection reset") },
			DropWrite:  func() { m.first = errors.New("connection reset") },
		}
	})
}

func TestErrors(t *testing.T) {
	_, z := open(t, "wrong-canary")
	_, err := z.Lookup(t.Context(), acme, "MX")
	if providers.ReasonOf(err) != providers.Authentication || strings.Contains(err.Error(), "wrong-canary") {
		t.Errorf("a wrong key: %v", err)
	}
	if _, err := zone.NewZone("none", acme, hostedtest.Ref, hostedtest.Secret("x"), hostedtest.NewClock()); err == nil || !strings.Contains(err.Error(), "memory") {
		t.Errorf("a provider that isn't there: %v", err)
	}
}
