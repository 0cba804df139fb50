package hosted

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns"
)

// Dotted adds the final dot that hosts leave out of host names.
func Dotted(host string) string {
	if strings.HasSuffix(host, ".") {
		return host
	}
	return host + "."
}

// Undotted takes the final dot off a host name, but not off the root (the null MX, RFC 7505).
func Undotted(host string) string {
	if host == "." || strings.HasSuffix(host, " .") {
		return host
	}
	return strings.TrimSuffix(host, ".")
}

// Quoted is plain text in presentation form, as one string, whatever it begins with.
func Quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// Absolute is the canonical name of one that a host gives relative to the zone, "@" or "" for the zone itself.
func Absolute(name, zone string) (string, error) {
	switch name {
	case "", "@":
		return zone, nil
	}
	return dns.Name(name + "." + zone)
}

// OnlyTypes refuses a type that isn't among those that the host serves.
func OnlyTypes(set plan.RRset, types ...string) error {
	if slices.Contains(types, set.Type) {
		return nil
	}
	return fmt.Errorf("the host serves %s alone", strings.Join(types, ", "))
}

// Difference takes a set's records apart against what is wanted: those that stay, those that go, and
// the data that has to come.
func Difference(was []Record, c plan.RRsetChange) (stay, gone []Record, come []string) {
	come = slices.Clone(c.New.Data)
	for _, r := range was {
		if r.Name != c.New.Name || r.Type != c.New.Type || r.Disabled {
			continue
		}
		if i := slices.Index(come, r.Data); i >= 0 {
			come = slices.Delete(come, i, i+1)
			stay = append(stay, r)
		} else {
			gone = append(gone, r)
		}
	}
	return stay, gone, come
}

// ID remembers the host's id of a zone. It is safe for concurrent use.
type ID struct {
	mu sync.Mutex
	id string
}

// Get returns what was remembered, else what find finds.
func (i *ID) Get(find func() (string, error)) (string, error) {
	i.mu.Lock()
	id := i.id
	i.mu.Unlock()
	if id != "" {
		return id, nil
	}
	id, err := find()
	if err == nil {
		i.Set(id)
	}
	return id, err
}

// Set remembers another id; "" forgets it.
func (i *ID) Set(id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.id = id
}

// Forget drops the id when err says that the host knows it no more.
func (i *ID) Forget(err error) {
	if s := StatusOf(err); s == http.StatusNotFound || s == http.StatusUnauthorized {
		i.Set("")
	}
}

// NoZone says that the account has no zone of that name; said is the host's refusal, if there was one.
func NoZone(zone, at string, said error) error {
	err := errors.New("the account has no zone of exactly that name")
	if said != nil {
		err = fmt.Errorf("%w (%w)", err, said)
	}
	return &providers.Error{
		Op: "find zone", Subject: dns.Readable(zone) + " at " + at, Reason: providers.NotFound, Err: err,
		Remedy: "see whether the key is of the account that holds the zone, and may read it; for a domain inside of a larger zone, name that as zone",
	}
}

// MaxPages and MaxRecords are far more than any zone here has: a list beyond them is the host's mistake.
const (
	MaxPages   = 400
	MaxRecords = 200_000
)

// ErrNoList, ErrCircle and ErrEndless are what lists can be that aren't zones.
var (
	ErrNoList  = errors.New("the answer holds no list of records")
	ErrCircle  = errors.New("its pages lead in a circle")
	ErrEndless = fmt.Errorf("its records don't end within %d pages, or %d records", MaxPages, MaxRecords)
)

// Whole tells an error where a list came in pages and isn't whole: records that come or go meanwhile move the others from
// one page to another. want is how many the host has counted, 0 when it hasn't.
func Whole(zone, at string, got, want int) error {
	if want == 0 || got == want {
		return nil
	}
	return &providers.Error{
		Op: "read zone", Subject: dns.Readable(zone) + " at " + at, Reason: providers.Unreachable,
		Err:    fmt.Errorf("the host counts %d and lists %d: the zone was changed while it was read", want, got),
		Remedy: "ask again; nothing was changed",
	}
}

// Unreadable says that an answer of the host makes no sense. What the host may have quoted is err's maker's to conceal; hosts
// that have a Client use its Unreadable.
func Unreadable(zone, at string, err error) error {
	return &providers.Error{
		Op: "read zone", Subject: dns.Readable(zone) + " at " + at, Reason: providers.Protocol, Err: err,
		Remedy: "see the record in the host's panel; nothing was changed",
	}
}
