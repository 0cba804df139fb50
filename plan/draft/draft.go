// Package draft proposes what a configuration lacks, from what was seen:
// mailboxes that log in and aren't declared, addresses that mail names and that have no
// home, folders that would fall together, records that the move needs.
//
// It is pure: what was seen in, text out. What it writes is for a person to
// read, change and move into the configuration; nothing of it is used before.
package draft

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"slices"
	"strconv"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/spreadsheet"
)

// Seen is what was found at the hosts and name servers.
type Seen struct {
	// Mailboxes are all that were looked into, declared or not.
	Mailboxes []Mailbox
	// Domains are those of the mailboxes' addresses, with their mail records.
	Domains []Domain
}

// Mailbox is a mailbox at a source.
type Mailbox struct {
	From       string // key of the source
	Address    string
	Declared   bool
	Folders    []Folder
	Recipients map[string]int // addresses of the domains that its messages name, and how often
}

// Folder is a folder as the source lists it.
type Folder struct {
	Name       string // UTF-8, "/" between levels
	SpecialUse string // "\\Sent", "" = none
	Messages   int
}

// Domain is a domain's records.
type Domain struct {
	Name     string // lower case, without final dot
	Declared bool
	Sets     []plan.RRset // names with a final dot
}

// Set returns the set of that owner and type, without data when there is none.
func (d Domain) Set(owner, typ string) plan.RRset {
	for _, s := range d.Sets {
		if s.Name == owner && s.Type == typ {
			return s
		}
	}
	return plan.RRset{Name: owner, Type: typ}
}

// Address is an address that mail names and that nothing declares.
type Address struct {
	Address  string
	Messages int    // how many of the newest messages name it
	Mailbox  string // where most of them lie; "" when they lie nowhere twice
	In       int    // how many of them lie there
}

// Addresses are those of the migration's domains that mail names and that have no
// home: not as mailbox, alias, list or forwarder, nor among those to ignore.
// Those that are named most come first.
func Addresses(m *plan.Migration, seen Seen) []Address {
	known := map[string]bool{}
	for _, b := range m.Mailboxes {
		known[b.Source], known[b.Target] = true, true
	}
	for _, a := range m.Aliases {
		known[a.Address] = true
	}
	for _, l := range m.Lists {
		known[l.Address] = true
	}
	for _, f := range m.Forwarders {
		known[f.Address] = true
	}
	for _, d := range m.Domains {
		for _, a := range d.IgnoreAddresses {
			known[a] = true
		}
	}
	for _, b := range seen.Mailboxes {
		known[b.Address] = true
	}
	found := map[string]*Address{}
	for _, b := range seen.Mailboxes {
		for a, n := range b.Recipients {
			if a = strings.ToLower(a); known[a] {
				continue
			}
			f := found[a]
			if f == nil {
				f = &Address{Address: a}
				found[a] = f
			}
			f.Messages += n
			if n > f.In || n == f.In && b.Address < f.Mailbox {
				f.In, f.Mailbox = n, b.Address
			}
		}
	}
	list := []Address{}
	for _, f := range found {
		list = append(list, *f)
	}
	slices.SortFunc(list, func(x, y Address) int {
		return cmp.Or(cmp.Compare(y.Messages, x.Messages), strings.Compare(x.Address, y.Address))
	})
	return list
}

// MailboxTable is a CSV file of the mailboxes that aren't declared, in the form that
// mailboxes.csv has; nil when there are none.
func MailboxTable(seen Seen) []byte {
	rows := [][]string{{"address", "target", "name"}}
	for _, b := range sorted(seen.Mailboxes) {
		if !b.Declared {
			rows = append(rows, []string{b.Address, b.Address, name(b.Address)})
		}
	}
	return table(rows)
}

// AliasTable is a CSV file of the addresses without a home and the mailbox that
// their mail lies in, in the form that aliases.csv has; nil when there are none. Anybody can send mail to an address that a spreadsheet
// would run as a formula: such addresses are left out.
func AliasTable(addresses []Address) []byte {
	rows := [][]string{{"alias", "address", "messages", "of them there"}}
	for _, a := range addresses {
		if !Formula(a.Address) {
			rows = append(rows, []string{a.Address, a.Mailbox, strconv.Itoa(a.Messages), strconv.Itoa(a.In)})
		}
	}
	return table(rows)
}

// Formula reports whether a spreadsheet would take an address for a formula. An apostrophe before it, as exports have, would make
// another address of it here.
func Formula(address string) bool { return spreadsheet.Guarded(address) != address }

func table(rows [][]string) []byte {
	if len(rows) < 2 {
		return nil
	}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	// A write to a buffer fails only for a separator that isn't one.
	_ = w.WriteAll(rows)
	return b.Bytes()
}

func sorted(list []Mailbox) []Mailbox {
	return slices.SortedFunc(slices.Values(list), func(x, y Mailbox) int { return strings.Compare(x.Address, y.Address) })
}

// name is what a local part says of a person: "anna.weber" is "Anna Weber".
func name(address string) string {
	local, _, _ := strings.Cut(address, "@")
	words := strings.FieldsFunc(local, func(r rune) bool { return r == '.' || r == '_' || r == '-' })
	for i, w := range words {
		r := []rune(w)
		words[i] = strings.ToUpper(string(r[:1])) + string(r[1:])
	}
	return strings.Join(words, " ")
}
