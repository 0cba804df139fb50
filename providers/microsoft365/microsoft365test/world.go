package microsoft365test

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Trouble are the unpleasant behaviours. The zero value has none. A field named …Every
// spoils each nth request of its kind, one that is a number of times the next ones.
type Trouble struct {
	TokenLife    time.Duration // 0 = an hour
	TokenFailure int           // the next n requests for a token get AADSTS TokenCode
	TokenCode    int           // 0 = 7000215
	TokenBusy    int           // the next n requests for a token get 503

	ThrottleEvery    int // 429 with Retry-After, nothing is done
	BusyEvery        int // 503 without one, nothing is done
	AfterCommitEvery int // of writes: done, and answered with 500
	ExpireEvery      int // the token of this request counts as expired: 401
	RetryAfter       int // seconds that 429 asks to wait

	Late         time.Duration // how long what was just made can't be found
	Provision    time.Duration // how long a licence takes to become a mailbox
	Access       time.Duration // how long a right on a mailbox takes to count at its IMAP
	VerifyLate   int           // how often a domain isn't verified yet, with its record there
	RecordsLate  int           // how often a verified domain's records aren't named yet
	SigningLate  int           // how often DKIM can't be switched on yet
	PageSize     int           // of lists; 0 = everything at once
	PagesLoop    bool          // the last page leads to the first
	PagesTo      string        // pages lead to this base URL
	PagesExpired bool          // of Exchange: no second page can be had
	NulBodies    bool          // of Exchange: 403 has a body of NUL
	DetailAsJSON bool          // of Exchange: errors hold JSON in their text instead of an inner exception
}

// Unpleasant is much of it at once, and everything ends well for those who are patient.
func Unpleasant() Trouble {
	return Trouble{
		TokenLife: 90 * time.Second, ThrottleEvery: 17, BusyEvery: 23, AfterCommitEvery: 5, ExpireEvery: 29, RetryAfter: 1,
		Late: 300 * time.Millisecond, Provision: 700 * time.Millisecond, Access: 500 * time.Millisecond,
		VerifyLate: 2, RecordsLate: 1, SigningLate: 2, PageSize: 2,
	}
}

// world is what the tenant holds.
type world struct {
	SKUs       []*SKU
	Domains    []*Domain
	Users      []*User
	Mailboxes  []*Mailbox
	Groups     []*Group
	Contacts   []*Contact
	Principals []*Principal
	Rules      map[string]map[string]any // transport rules by name
	Everyone   map[string]bool           // dynamic groups by name
	Calls      []string                  // what was asked: "GET /users/…", "Set-Mailbox"

	made             func(address string) // is told of new mailboxes
	requests, writes int
	next             int
}

// SKU is a product.
type SKU struct {
	ID, Name    string
	Bought      int
	ServicePlan string // of Exchange
}

// Domain is one of the tenant's.
type Domain struct {
	Name              string
	Verified          bool
	Text              string // of the record that proves who owns it
	MX                string
	Relay             bool
	Services          []string
	DKIM              bool // keys are made
	Signing           bool
	VerifyN, RecordsN int
	SigningN          int
}

// User is an account.
type User struct {
	ID, Principal, Name, Location string
	Password                      string
	Blocked                       bool
	Licenses                      []string // SKU ids
	Made, Licensed                time.Time
	NoMailbox                     bool // a shared mailbox's: its mailbox is made at once
}

// Mailbox is what Exchange has.
type Mailbox struct {
	GUID, Object, Address, Name string
	Shared                      bool
	Aliases                     []string
	Receive, Send               int64
	Forward                     string // sends on to, and keeps
	IMAP                        bool
	Full                        map[string]time.Time // who may open it, by address or object id, since when
	SendAs                      map[string]bool
	Made                        time.Time
}

// Group is a distribution list.
type Group struct {
	GUID, Address, Name string
	Aliases             []string
	Members             []string // addresses
	External            bool
	Made                time.Time
}

// Contact stands for somebody outside.
type Contact struct{ Name, Address string }

// Principal is an application that Exchange knows.
type Principal struct{ App, Object, Name string }

func newWorld() world {
	return world{
		SKUs:     []*SKU{{"f245ecc8-75af-4f8e-b61f-27d8114de5f3", "O365_BUSINESS_PREMIUM", 25, "9aaf7827-d63c-4b61-89c3-182f06f82e5c"}},
		Domains:  []*Domain{{Name: "acme.onmicrosoft.com", Verified: true, Services: []string{"Email"}, MX: "acme.mail.protection.outlook.com"}},
		Rules:    map[string]map[string]any{},
		Everyone: map[string]bool{},
	}
}

// newID is a fresh id in the form that all of them have.
func (w *world) newID() string {
	w.next++
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", w.next)
}

func (w *world) domain(name string) *Domain {
	return find(w.Domains, func(d *Domain) bool { return strings.EqualFold(d.Name, name) })
}

// User finds a user by id or principal name.
func (w *world) user(id string) *User {
	return find(w.Users, func(u *User) bool { return strings.EqualFold(u.ID, id) || strings.EqualFold(u.Principal, id) })
}

func (w *world) mailbox(id string) *Mailbox {
	return find(w.Mailboxes, func(m *Mailbox) bool {
		return strings.EqualFold(m.GUID, id) || m.Object != "" && strings.EqualFold(m.Object, id) || m.has(id)
	})
}

func (m *Mailbox) has(address string) bool {
	return strings.EqualFold(m.Address, address) || containsFold(m.Aliases, address)
}

func (w *world) group(id string) *Group {
	return find(w.Groups, func(g *Group) bool {
		return strings.EqualFold(g.GUID, id) || strings.EqualFold(g.Address, id) || strings.EqualFold(g.Name, id) || containsFold(g.Aliases, id)
	})
}

func (w *world) contact(id string) *Contact {
	return find(w.Contacts, func(c *Contact) bool { return strings.EqualFold(c.Address, id) || strings.EqualFold(c.Name, id) })
}

func find[T any](list []*T, is func(*T) bool) *T {
	if i := slices.IndexFunc(list, is); i >= 0 {
		return list[i]
	}
	return nil
}

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(l string) bool { return strings.EqualFold(l, s) })
}

// holder says who has an address, "" for nobody.
func (w *world) holder(address string) string {
	if m := w.mailbox(address); m != nil {
		return m.Address
	}
	if g := w.group(address); g != nil {
		return g.Address
	}
	if c := w.contact(address); c != nil {
		return c.Address
	}
	return ""
}

// settle makes the mailboxes whose time has come.
func (t *Tenant) settle() {
	for _, u := range t.Users {
		if len(u.Licenses) == 0 || u.NoMailbox || t.mailbox(u.ID) != nil || t.now().Before(u.Licensed.Add(t.Trouble.Provision)) {
			continue
		}
		if !slices.ContainsFunc(u.Licenses, func(id string) bool {
			s := find(t.SKUs, func(s *SKU) bool { return s.ID == id })
			return s != nil && s.ServicePlan != "" && s.ServicePlan != "113feb6c-3fe4-4440-bddc-54d774bf0318"
		}) {
			continue
		}
		t.addMailbox(&Mailbox{Object: u.ID, Address: u.Principal, Name: u.Name})
	}
}

// addMailbox puts a mailbox there as new ones are.
func (t *Tenant) addMailbox(m *Mailbox) *Mailbox {
	m.GUID, m.Receive, m.Send, m.IMAP, m.Full, m.SendAs = t.newID(), 36<<20, 35<<20, true, map[string]time.Time{}, map[string]bool{}
	t.Mailboxes = append(t.Mailboxes, m)
	if t.made != nil {
		t.made(m.Address)
	}
	return m
}

// AddUser puts a licensed user with a mailbox there.
func (t *Tenant) AddUser(address, name string) *User {
	t.Lock()
	defer t.Unlock()
	u := &User{ID: t.newID(), Principal: address, Name: name, Location: "DE", Licenses: []string{t.SKUs[0].ID}}
	t.Users = append(t.Users, u)
	t.settle()
	return u
}

// Access is what becomes of a login by IMAP.
type Access string

// The outcomes: the login works; AUTHENTICATE is refused, without a reason; it is
// taken, and the next command meets "User is authenticated but not connected".
const (
	Open         Access = "open"
	Refused      Access = "refused"
	NotConnected Access = "not_connected"
)

// IMAPLogin says what becomes of a login to a mailbox with an application's token.
func (t *Tenant) IMAPLogin(token, address string) Access {
	t.Lock()
	defer t.Unlock()
	t.settle()
	i, why := t.good(ExchangeResource, token)
	if why != "" || i.app == nil || !slices.Contains(i.app.Exchange, "IMAP.AccessAsApp") {
		return Refused
	}
	p := find(t.Principals, func(p *Principal) bool { return strings.EqualFold(p.App, i.app.ClientID) })
	if p == nil || !strings.EqualFold(p.Object, i.app.ObjectID) {
		return Refused // unknown, or by the wrong object id
	}
	m := t.mailbox(address)
	if m == nil || !m.IMAP {
		return NotConnected
	}
	since, ok := m.Full[strings.ToLower(i.app.ObjectID)]
	if !ok || t.now().Before(since.Add(t.Trouble.Access)) {
		return NotConnected
	}
	return Open
}

// Asked counts the requests whose text begins with prefix.
func (t *Tenant) Asked(prefix string) int {
	t.Lock()
	defer t.Unlock()
	n := 0
	for _, c := range t.Calls {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}
	return n
}
