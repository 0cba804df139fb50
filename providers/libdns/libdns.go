// Package libdns makes zones of libdns providers (https://github.com/libdns),
// which exist for most DNS hosts. None is part of mxodus: whoever needs one compiles
// it in, as docs/dns.md shows.
package libdns

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libdns/libdns"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns"
	"github.com/mxodus/mxodus/providers/dns/hosted"
)

// Provider is what a libdns provider has to be able to do.
type Provider interface {
	libdns.RecordGetter
	libdns.RecordSetter
	libdns.RecordDeleter
}

// Make makes a provider from the secret that the dns block's credentials refer to.
type Make func(secret string) (Provider, error)

var (
	mu    sync.Mutex
	makes = map[string]Make{}
)

// Register gives a provider the name under which dns "libdns" "NAME" finds it. It is meant
// for init functions, and panics when the name is taken.
func Register(name string, make Make) {
	mu.Lock()
	defer mu.Unlock()
	if _, taken := makes[name]; taken || name == "" || make == nil {
		panic(fmt.Sprintf("libdns: %q is registered already, or nothing", name))
	}
	makes[name] = make
}

// Registered are the names that were registered, sorted.
func Registered() []string {
	mu.Lock()
	defer mu.Unlock()
	var list []string
	for name := range makes {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// NewZone makes the zone of that canonical name at the provider that was registered as
// name. It touches no network and resolves no secret.
func NewZone(name, zone string, ref plan.SecretRef, secrets providers.Secrets, clock providers.Clock) (*hosted.Zone, error) {
	zone, err := dns.Name(zone)
	if err != nil {
		return nil, err
	}
	mu.Lock()
	make, ok := makes[name]
	mu.Unlock()
	if !ok {
		known := "none is"
		if list := Registered(); len(list) > 0 {
			known = "there are " + strings.Join(list, ", ")
		}
		return nil, fmt.Errorf("no libdns provider %q was compiled in (%s): write dns \"libdns\" \"NAME\", and see docs/dns.md for how to add one", name, known)
	}
	a := &api{name: name, zone: zone, make: make, ref: ref, secrets: secrets}
	return &hosted.Zone{Name: zone, At: name, Host: a, Clock: clock}, nil
}

// api is one zone at a libdns provider.
type api struct {
	name    string
	zone    string // canonical
	make    Make
	ref     plan.SecretRef
	secrets providers.Secrets

	mu       sync.Mutex
	secret   providers.Secret
	provider Provider
}

// open makes the provider once, and again when the secret is another.
func (a *api) open(ctx context.Context) (Provider, string, error) {
	resolved, err := a.secrets.Resolve(ctx, a.ref, "")
	if err != nil {
		return nil, "", err
	}
	secret := strings.TrimSpace(resolved.Reveal())
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.provider == nil || a.secret.Reveal() != secret {
		var p Provider
		err := guarded(func() (err error) { p, err = a.make(secret); return err })
		if err != nil {
			return nil, "", &providers.Error{
				Op: "open zone", Subject: dns.Readable(a.zone) + " at " + a.name, Reason: providers.Authentication,
				Err: providers.ConcealError(err, secret), Remedy: fmt.Sprintf("see whether %s has the form that the provider wants", a.ref),
			}
		}
		a.provider, a.secret = p, providers.Keep(secret)
	}
	return a.provider, secret, nil
}

// guarded makes an error of a panic: it would end a migration in the middle, with the stranger's words, which may hold
// the secret, on the screen.
func guarded(call func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the provider has a bug: %v", r)
		}
	}()
	return call()
}

// Features: libdns promises neither atomic changes nor limits of TTLs.
func (a *api) Features() providers.ZoneFeatures { return providers.ZoneFeatures{} }

// Check implements hosted.Host: these are the types that libdns has forms for.
func (a *api) Check(set plan.RRset) error {
	return hosted.OnlyTypes(set, "A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TXT")
}

// List implements hosted.Host.
func (a *api) List(ctx context.Context) ([]hosted.Record, error) {
	p, secret, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	var records []libdns.Record
	err = guarded(func() (err error) { records, err = p.GetRecords(ctx, a.zone); return err })
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &providers.Error{
			Op: "read zone", Subject: dns.Readable(a.zone) + " at " + a.name, Reason: providers.Unreachable,
			Err: providers.ConcealError(err, secret), Remedy: "see whether the host can be reached and the key is right",
		}
	}
	list := make([]hosted.Record, 0, len(records))
	for _, r := range records {
		h, err := a.read(r.RR())
		if err != nil {
			return nil, hosted.Unreadable(a.zone, a.name, providers.ConcealError(err, secret))
		}
		list = append(list, h)
	}
	return list, nil
}

// read: names are relative to the zone, texts are plain, host names may lack their final dot.
func (a *api) read(rr libdns.RR) (hosted.Record, error) {
	out := hosted.Record{Type: strings.ToUpper(rr.Type), TTL: uint32(rr.TTL / time.Second)}
	var err error
	if out.Name, err = hosted.Absolute(rr.Name, a.zone); err != nil {
		return out, err
	}
	data := rr.Data
	switch out.Type {
	case "TXT":
		data = hosted.Quoted(data)
	case "CNAME", "MX", "NS", "SRV":
		data = hosted.Dotted(data)
	}
	if out.Data, err = dns.Canonical(out.Type, data); err != nil {
		out.Data = data // a type or spelling that isn't managed here stays as it is
	}
	return out, nil
}

func (a *api) write(set plan.RRset, data string) (libdns.Record, error) {
	rr := libdns.RR{Name: dns.Relative(set.Name, a.zone), Type: set.Type, TTL: time.Duration(set.TTL) * time.Second, Data: data}
	if set.Type == "TXT" {
		text, err := plan.TXTText(data)
		if err != nil {
			return nil, err
		}
		rr.Data = text
	}
	return rr.Parse()
}

// Write implements hosted.Host: sets that end are deleted, then all others are set in one call.
func (a *api) Write(ctx context.Context, was []hosted.Record, changes []plan.RRsetChange) error {
	p, secret, err := a.open(ctx)
	if err != nil {
		return err
	}
	var remove, set []libdns.Record
	for _, c := range changes {
		for _, data := range c.New.Data {
			r, err := a.write(c.New, data)
			if err != nil {
				return err
			}
			set = append(set, r)
		}
		if c.New.Exists() {
			continue
		}
		for _, r := range was {
			if r.Name == c.New.Name && r.Type == c.New.Type {
				// Deleting matches exactly, so each record is named with the TTL that it was read with.
				l, err := a.write(plan.RRset{Name: r.Name, Type: r.Type, TTL: r.TTL}, r.Data)
				if err != nil {
					return err
				}
				remove = append(remove, l)
			}
		}
	}
	if len(remove) > 0 {
		if err := guarded(func() error { _, err := p.DeleteRecords(ctx, a.zone, remove); return err }); err != nil {
			return a.failed(err, secret)
		}
	}
	if len(set) > 0 {
		if err := guarded(func() error { _, err := p.SetRecords(ctx, a.zone, set); return err }); err != nil {
			return a.failed(err, secret)
		}
	}
	return nil
}

// failed: what an error of a libdns provider leaves behind is undefined. (AtomicErr, which would say
// that nothing changed, is an interface that every error satisfies.)
func (a *api) failed(err error, secret string) error {
	return &providers.Error{
		Op: "update zone", Subject: dns.Readable(a.zone) + " at " + a.name, Reason: providers.Uncertain, Err: providers.ConcealError(err, secret),
		Remedy: "read the zone before doing anything else: the update may have been made",
	}
}
