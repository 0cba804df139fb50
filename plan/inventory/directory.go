package inventory

import (
	"cmp"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/literal"
)

// Directory is what a target that can be asked about itself has told: licences
// and domains. What it holds of users and addresses stands with those.
type Directory struct {
	Host string // key of the target
	// Application is true when the target's mailboxes can be given to the application that copies.
	Application bool
	Licenses    []License
	Domains     []DirectoryDomain
}

// License is a product that users need to have a mailbox.
type License struct {
	Name  string // as the configuration writes it: O365_BUSINESS_PREMIUM
	Free  int    // units that nobody has; what users have already is not in it
	Quota int64  // octets a mailbox of it may hold, 0 = not known
}

// DirectoryDomain is a domain that the target knows, and what it asks the
// zone for. A value that it has not named yet is empty.
type DirectoryDomain struct {
	Name         string
	Verified     bool
	Verification string            // TXT that proves who owns the domain
	MX           string            // host name
	SPF          string            // the whole record
	Autodiscover string            // host name
	DKIM         map[string]string // selector -> host name of its key
	Signing      bool              // DKIM is switched on
	CatchAll     string            // address that gets the mail which nobody else gets, "" = none
}

// Directory returns what the target of that key has told of itself.
func (i *Inventory) Directory(host string) (Directory, bool) {
	for _, d := range i.Directories {
		if d.Host == host {
			return d, true
		}
	}
	return Directory{Host: host}, false
}

// Domain returns what the target says of the domain; the zero value is a
// domain that it doesn't have.
func (d Directory) Domain(name string) (DirectoryDomain, bool) {
	for _, dom := range d.Domains {
		if dom.Name == name {
			return dom, true
		}
	}
	return DirectoryDomain{Name: name}, false
}

// License returns the licence of that name.
func (d Directory) License(name string) (License, bool) {
	for _, l := range d.Licenses {
		if l.Name == name {
			return l, true
		}
	}
	return License{}, false
}

func sortDirectories(list []Directory) []Directory {
	list = slices.SortedFunc(slices.Values(list), func(a, b Directory) int { return strings.Compare(a.Host, b.Host) })
	for n, d := range list {
		list[n].Licenses = slices.SortedFunc(slices.Values(d.Licenses), func(a, b License) int { return strings.Compare(a.Name, b.Name) })
		list[n].Domains = slices.SortedFunc(slices.Values(d.Domains), func(a, b DirectoryDomain) int { return strings.Compare(a.Name, b.Name) })
	}
	return list
}

func encodeDirectory(w *literal.Writer, d Directory) {
	if d.Application {
		w.Bool("application", true)
	}
	for _, l := range d.Licenses {
		w.Block("license", []string{l.Name}, func() {
			w.Int("free", int64(l.Free))
			if l.Quota > 0 {
				w.Int("quota", l.Quota)
			}
		})
	}
	for _, dom := range d.Domains {
		w.Block("domain", []string{dom.Name}, func() {
			w.Bool("verified", dom.Verified)
			if dom.Signing {
				w.Bool("dkim_signing", true)
			}
			w.String("verification", dom.Verification)
			w.String("mx", dom.MX)
			w.String("spf", dom.SPF)
			w.String("autodiscover", dom.Autodiscover)
			w.String("catch_all", dom.CatchAll)
			var selectors []literal.Entry
			for s, host := range dom.DKIM {
				selectors = append(selectors, literal.Entry{Key: s, Text: host})
			}
			slices.SortFunc(selectors, func(a, b literal.Entry) int { return strings.Compare(a.Key, b.Key) })
			w.Map("dkim", selectors)
		})
	}
}

const most = 1 << 50 // octets or units: far more than there are

func parseDirectory(b *literal.Block) (Directory, error) {
	bd := literal.Decode(b, 1)
	d := Directory{Host: bd.Label(0), Application: bd.Bool("application")}
	for _, lb := range bd.Blocks("license") {
		ld := literal.Decode(lb, 1)
		l := License{Name: ld.Label(0), Free: int(ld.Int("free", -1<<31, 1<<31-1)), Quota: ld.Int("quota", 0, most)}
		if err := ld.End(); err != nil {
			return Directory{}, err
		}
		if _, twice := d.License(l.Name); twice {
			return Directory{}, literal.Errorf(lb.Line, "the license %q stands here twice", l.Name)
		}
		d.Licenses = append(d.Licenses, l)
	}
	for _, db := range bd.Blocks("domain") {
		dd := literal.Decode(db, 1)
		dom := DirectoryDomain{
			Name: dd.Label(0), Verified: dd.Bool("verified"), Signing: dd.Bool("dkim_signing"), Verification: dd.String("verification"),
			MX: dd.String("mx"), SPF: dd.String("spf"), Autodiscover: dd.String("autodiscover"), CatchAll: dd.String("catch_all"),
		}
		for _, e := range dd.Map("dkim") {
			if dom.DKIM == nil {
				dom.DKIM = map[string]string{}
			}
			if dom.DKIM[e.Key] != "" || e.Key == "" || e.Text == "" {
				return Directory{}, literal.Errorf(e.Line, "the DKIM selector %q is %q: want each selector once, with the host of its key", e.Key, e.Text)
			}
			dom.DKIM[e.Key] = e.Text
		}
		if err := dd.End(); err != nil {
			return Directory{}, err
		}
		if _, twice := d.Domain(dom.Name); twice {
			return Directory{}, literal.Errorf(db.Line, "the domain %q stands here twice", dom.Name)
		}
		d.Domains = append(d.Domains, dom)
	}
	return d, bd.End()
}

// Address is an alias, list or forwarder that the target was asked about.
// One that could not be asked about is not in the inventory. Kind and what
// follows are known only where the target has a directory.
type Address struct {
	Host     string // key of the target
	Address  string
	Exists   bool
	Kind     string   // "alias", "list", "forwarder"; "mailbox", "other" for what the configuration can't name so; "" = not known
	Deliver  []string // where mail to it goes: a mailbox, the members, addresses outside
	External bool     // of a list: outsiders may write to it
	KeepCopy bool     // of a forwarder
}

// Address returns what is known of an address at a target host.
func (i *Inventory) Address(host, address string) (Address, bool) {
	for _, a := range i.Addresses {
		if a.Host == host && a.Address == address {
			return a, true
		}
	}
	return Address{}, false
}

// AddressExists reports whether the target host is known to have address.
func (i *Inventory) AddressExists(host, address string) bool {
	a, _ := i.Address(host, address)
	return a.Exists
}

func sortAddresses(list []Address) []Address {
	list = slices.SortedFunc(slices.Values(list), func(a, b Address) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), strings.Compare(a.Address, b.Address))
	})
	for n, a := range list {
		list[n].Deliver = slices.Sorted(slices.Values(a.Deliver))
	}
	return list
}

func encodeAddress(w *literal.Writer, a Address) {
	w.Bool("exists", a.Exists)
	w.String("kind", a.Kind)
	if a.External {
		w.Bool("external", true)
	}
	if a.KeepCopy {
		w.Bool("keep_copy", true)
	}
	w.Strings("deliver", a.Deliver)
}

func parseAddress(b *literal.Block) (Address, error) {
	bd := literal.Decode(b, 2)
	a := Address{
		Host: bd.Label(0), Address: bd.Label(1), Exists: bd.Bool("exists"), Kind: bd.String("kind"),
		External: bd.Bool("external"), KeepCopy: bd.Bool("keep_copy"), Deliver: bd.Strings("deliver"),
	}
	switch a.Kind {
	case "", "alias", "list", "forwarder", "mailbox", "other":
	default:
		return Address{}, literal.Errorf(b.Line, "the address %q is of kind %q: want alias, list, forwarder, mailbox or other", a.Address, a.Kind)
	}
	return a, bd.End()
}

// Account is what a directory knows of a mailbox's owner.
type Account struct {
	Kind          plan.MailboxKind // UserMailbox or SharedMailbox; "" = not known
	DisplayName   string
	Licenses      []string
	UsageLocation string
	FullAccess    []string
	SendAs        []string

	// What copying needs of the mailbox itself.
	IMAP        bool  // it may be reached by IMAP
	Application bool  // the application that copies may open it
	Largest     int64 // octets of the largest message it takes, 0 = not known
}

func (a Account) sorted() Account {
	for _, list := range []*[]string{&a.Licenses, &a.FullAccess, &a.SendAs} {
		*list = slices.Sorted(slices.Values(*list))
	}
	return a
}

func encodeAccount(w *literal.Writer, a Account) {
	w.String("kind", string(a.Kind))
	w.String("display_name", a.DisplayName)
	w.String("usage_location", a.UsageLocation)
	w.Strings("licenses", a.Licenses)
	w.Strings("full_access", a.FullAccess)
	w.Strings("send_as", a.SendAs)
	if a.IMAP {
		w.Bool("imap", true)
	}
	if a.Application {
		w.Bool("application", true)
	}
	if a.Largest > 0 {
		w.Int("largest", a.Largest)
	}
}

func parseAccount(bd *literal.Decoder) Account {
	return Account{
		IMAP: bd.Bool("imap"), Application: bd.Bool("application"), Largest: bd.Int("largest", 0, most),
		Kind: plan.MailboxKind(bd.String("kind")), DisplayName: bd.String("display_name"), UsageLocation: bd.String("usage_location"),
		Licenses: bd.Strings("licenses"), FullAccess: bd.Strings("full_access"), SendAs: bd.Strings("send_as"),
	}
}
