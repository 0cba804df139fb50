// Package hostedtest is what the doubles of DNS hosts' HTTP interfaces have in
// common: a store of records, and faults that any of them can be made to have. Only
// doubles and tests import it.
package hostedtest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// Record is one record of a Store. Data is presentation form, host names with a final dot.
type Record struct {
	ID       string
	Name     string // lower case, with a final dot
	Type     string
	TTL      uint32
	Data     string
	Disabled bool
}

// Store holds a zone's records. It is safe for concurrent use.
type Store struct {
	Zone string // with a final dot

	mu      sync.Mutex
	records []Record
	serial  uint32
	last    int
}

// NewStore is a zone without records.
func NewStore(zone string) *Store { return &Store{Zone: zone, serial: 1} }

// Edit runs f on a copy of the records and keeps what it returns, unless that is an error: then
// nothing has changed. Records without an ID get one. Whatever changes raises the serial.
func (s *Store) Edit(f func(records []Record) ([]Record, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next, err := f(slices.Clone(s.records))
	if err != nil {
		return err
	}
	for i := range next {
		if next[i].ID == "" {
			s.last++
			next[i].ID = strconv.Itoa(1000 + s.last)
		}
	}
	if !slices.Equal(next, s.records) {
		s.serial++
		s.records = next
	}
	return nil
}

// Records are all records, in the order in which they came.
func (s *Store) Records() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.records)
}

// Serial counts the edits that changed something.
func (s *Store) Serial() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serial
}

// Put replaces sets past the interface, as somebody in the panel does. A set without data is
// deleted. Disabled records of the set go too.
func (s *Store) Put(sets ...plan.RRset) {
	_ = s.Edit(func(list []Record) ([]Record, error) { // it returns no error
		for _, set := range sets {
			list = slices.DeleteFunc(list, func(r Record) bool { return r.Name == set.Name && r.Type == set.Type })
			for _, data := range set.Data {
				list = append(list, Record{Name: set.Name, Type: set.Type, TTL: set.TTL, Data: data})
			}
		}
		return list, nil
	})
}

// Set is a published set as a name server would answer it.
func (s *Store) Set(name, typ string) plan.RRset {
	set := plan.RRset{Name: name, Type: typ}
	for _, r := range s.Records() {
		if r.Name != name || r.Type != typ || r.Disabled {
			continue
		}
		data := r.Data
		if rr, err := mdns.NewRR(fmt.Sprintf("%s %d IN %s %s", r.Name, r.TTL, r.Type, r.Data)); err == nil && rr != nil && typ != "TXT" {
			data = strings.TrimPrefix(rr.String(), rr.Header().String())
		}
		if c, err := plan.CanonicalRdata(typ, data); err == nil {
			data = c
		}
		set.TTL = max(set.TTL, r.TTL)
		set.Data = append(set.Data, data)
	}
	slices.Sort(set.Data)
	set.Data = slices.Compact(set.Data)
	return set
}

// Invalid says why a real host would refuse the records: data that isn't of its type, or something
// beside a CNAME. "" = it would take them.
func Invalid(list []Record) string {
	alias := map[string]bool{}
	for _, r := range list {
		if r.Type == "CNAME" && !r.Disabled {
			if alias[r.Name] {
				return "two CNAMEs at " + r.Name
			}
			alias[r.Name] = true
		}
	}
	seen := map[Record]bool{}
	for _, r := range list {
		if r.Disabled {
			continue
		}
		if alias[r.Name] && r.Type != "CNAME" {
			return r.Type + " beside a CNAME at " + r.Name
		}
		if rr, err := mdns.NewRR(fmt.Sprintf("%s %d IN %s %s", r.Name, r.TTL, r.Type, r.Data)); err != nil || rr == nil {
			return fmt.Sprintf("%q is no %s", r.Data, r.Type)
		}
		id := r
		id.ID, id.TTL = "", 0
		if seen[id] {
			return fmt.Sprintf("%s %s %s is there twice", r.Name, r.Type, r.Data)
		}
		seen[id] = true
	}
	return ""
}

// Secret resolves every reference to one secret.
type Secret string

// Resolve implements providers.Secrets.
func (s Secret) Resolve(context.Context, plan.SecretRef, string) (providers.Secret, error) {
	return providers.Keep(string(s)), nil
}

// Ref is a reference for Secret.
var Ref = plan.SecretRef{Name: "dns", Kind: "env", Ref: "DNS_KEY"}

// Clock moves when somebody sleeps on it, and then at once.
type Clock struct {
	mu    sync.Mutex
	now   time.Time
	slept time.Duration
}

// NewClock is a clock that stands at some moment.
func NewClock() *Clock { return &Clock{now: time.Date(2027, 1, 15, 18, 0, 0, 0, time.UTC)} }

// Now implements providers.Clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Sleep implements providers.Clock.
func (c *Clock) Sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.slept += d
	return nil
}

// Slept is how long everybody slept so far.
func (c *Clock) Slept() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.slept
}
