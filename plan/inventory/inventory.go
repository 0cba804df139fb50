// Package inventory holds what was observed of the world: the structural facts
// that a plan is made against, and the figures that only feed forecasts.
//
// Facts are what a step can be guarded with: folders with their UIDVALIDITY,
// accounts, RRsets, addresses. They go into inventory.lock, which is committed.
// Counts, sizes and rates change every minute; they are Estimates, are kept
// elsewhere and never reach a plan.
package inventory

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/plan"
)

// Inventory is what discover found. The order of its lists means nothing:
// Encode and Digest sort.
type Inventory struct {
	Lineage     string // random id of the migration, made once
	Sources     []Mailbox
	Targets     []Mailbox
	Addresses   []Address
	Directories []Directory // of targets that have one
	Domains     []Domain
	Recipients  []string // addresses of our domains that messages name, sorted, lower case
}

// Mailbox is an account at a host.
type Mailbox struct {
	Host    string // key of the source or target
	Address string
	Exists  bool // at a target: the login works. At a source always true
	Closed  bool // at a source: its copy is finished for good and it is not asked any more
	Folders []Folder
	Account // at a target that has a directory
}

// Folder is an IMAP mailbox. Its name is UTF-8 with "/" between levels.
type Folder struct {
	Name        string
	UIDValidity uint32
	SpecialUse  string // "\\Sent", "" = none
}

// Domain is what the name servers say about a domain.
type Domain struct {
	Name        string   // lower case, without final dot
	Servers     []string // host:port of the authoritative ones
	Complete    bool     // Sets is the whole zone
	Signed      bool     // with DNSSEC (RFC 4035)
	NegativeTTL uint32   // seconds that "there is no such record" is kept (RFC 2308 §5), 0 = not known
	Sets        []RRset
	SPF         []SPFRecord    // of other domains that the domain's SPF records lead to
	DMARC       string         // the policy that a CNAME at _dmarc leads to, "" = there is none, or it could not be had
	TTL         plan.TTLLimits // of the zone's host
	STS         STSPolicy      // the MTA-STS policy; the zero value = none, or it could not be had
	Chain       string         // DNSSEC: how the parent stands to it, one of the Chain constants
}

// STSPolicy is an MTA-STS policy (RFC 8461 §3.2) as a sender gets it.
type STSPolicy struct {
	ID     string // of the TXT record
	Mode   string // "enforce", "testing", "none"; "" = there is no policy
	MX     []string
	MaxAge time.Duration
}

// How the parent of a domain stands to its signatures, as far as it could be asked.
const (
	ChainUnknown = ""          // not asked
	ChainNone    = "none"      // no DS: nobody validates
	ChainValid   = "valid"     // a resolver takes the domain for authentic
	ChainBroken  = "broken"    // a resolver that validates refuses the domain
	ChainOrphan  = "orphan"    // a DS, and the zone has no key
	ChainUnseen  = "unchecked" // a DS, and the resolver that was asked doesn't validate
)

// SPFRecord is the SPF record of a domain that another one's record includes.
type SPFRecord struct {
	Domain string // without final dot
	Text   string
}

// SPFRecord returns the SPF record that was found for another domain, "" when
// none was, or when it was not asked for.
func (d Domain) SPFRecord(domain string) string {
	for _, s := range d.SPF {
		if s.Domain == domain {
			return s.Text
		}
	}
	return ""
}

// RRset is an observed record set, with the TTL that the zone's provider gives it.
type RRset struct {
	plan.RRset
	// OldTTL is the TTL that caches may still hold these data with: the largest that
	// an authoritative server gave since the data were first seen. It outlives
	// the lowering, so that a plan made in between waits as long as the one before it.
	OldTTL uint32
}

// Source returns the mailbox of that address at source host.
func (i *Inventory) Source(host, address string) (Mailbox, bool) {
	return findMailbox(i.Sources, host, address)
}

// Target returns the mailbox of that address at target host.
func (i *Inventory) Target(host, address string) (Mailbox, bool) {
	return findMailbox(i.Targets, host, address)
}

func findMailbox(list []Mailbox, host, address string) (Mailbox, bool) {
	for _, m := range list {
		if m.Host == host && m.Address == address {
			return m, true
		}
	}
	return Mailbox{}, false
}

// Domain returns what was observed of the domain.
func (i *Inventory) Domain(name string) (Domain, bool) {
	for _, d := range i.Domains {
		if d.Name == name {
			return d, true
		}
	}
	return Domain{}, false
}

// Set returns the record set of that owner name (FQDN) and type, without data
// when there is none.
func (d Domain) Set(name, typ string) RRset {
	for _, s := range d.Sets {
		if s.Name == name && s.Type == typ {
			return s
		}
	}
	return RRset{RRset: plan.RRset{Name: name, Type: typ}}
}

// Close marks source mailboxes whose copy is finished for good. The keys are
// source addresses.
func (i *Inventory) Close(addresses map[string]bool) {
	for n := range i.Sources {
		if addresses[i.Sources[n].Address] {
			i.Sources[n].Closed = true
		}
	}
}

// Digest is the SHA-256 of the facts as "sha256:<hex>", whatever the order
// they are held in and whatever comments the file had.
func (i *Inventory) Digest() string {
	sum := sha256.Sum256(i.Encode())
	return "sha256:" + hex.EncodeToString(sum[:])
}

// sorted is a copy in canonical order.
func (i *Inventory) sorted() *Inventory {
	c := &Inventory{
		Lineage: i.Lineage, Sources: sortMailboxes(i.Sources), Targets: sortMailboxes(i.Targets),
		Addresses: sortAddresses(i.Addresses), Directories: sortDirectories(i.Directories),
		Recipients: slices.Compact(slices.Sorted(slices.Values(i.Recipients))),
		Domains:    slices.SortedFunc(slices.Values(i.Domains), func(a, b Domain) int { return strings.Compare(a.Name, b.Name) }),
	}
	for n, d := range c.Domains {
		c.Domains[n].SPF = slices.SortedFunc(slices.Values(d.SPF), func(a, b SPFRecord) int { return strings.Compare(a.Domain, b.Domain) })
		c.Domains[n].STS.MX = slices.Sorted(slices.Values(d.STS.MX))
		c.Domains[n].Servers = slices.Sorted(slices.Values(d.Servers))
		c.Domains[n].Sets = slices.SortedFunc(slices.Values(d.Sets), func(a, b RRset) int {
			return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Type, b.Type))
		})
	}
	return c
}

func sortMailboxes(list []Mailbox) []Mailbox {
	list = slices.SortedFunc(slices.Values(list), func(a, b Mailbox) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), strings.Compare(a.Address, b.Address))
	})
	for n, m := range list {
		list[n].Account = m.Account.sorted()
		list[n].Folders = slices.SortedFunc(slices.Values(m.Folders), func(a, b Folder) int { return strings.Compare(a.Name, b.Name) })
	}
	return list
}
