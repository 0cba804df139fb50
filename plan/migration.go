package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"time"
)

// Pos is where something stands in the configuration. It is kept for
// messages and takes no part in digests.
type Pos struct {
	File string
	Line int
}

// String is "acme.mx.hcl:84", or "" when the position is unknown.
func (p Pos) String() string {
	if p.File == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// MarshalJSON leaves positions out of every canonical encoding.
func (Pos) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// Migration is what the configuration wants: fully evaluated, every default
// filled in, every list in canonical order (by name or address). It holds
// references to secrets and never their values.
type Migration struct {
	Name     string
	Timezone string // IANA name
	Cutover  time.Time

	Sources []Host
	Targets []Host
	Zones   []ZoneConfig
	SMTP    []SMTPServer

	Mailboxes  []Mailbox // also shared and catch-all ones
	Aliases    []Alias
	Lists      []List
	Forwarders []Forwarder
	Domains    []Domain

	Schedule   []Window // one for each of the nine phases, in order
	Gates      []Gate
	Validation Validation
	Notices    []NoticeConfig
}

// SecretRef names where a secret is; it is safe to print. Exactly one of
// the kinds is set. Ref is the name of the variable, the path, the keyring
// entry or the prompt; Argv the command. Paths are relative to the folder of
// the migration.
type SecretRef struct {
	Name string   // the label of the secret block
	Kind string   // "env", "file", "command", "csv", "keyring", "prompt"; "" means no secret
	Ref  string   `json:",omitempty"`
	Argv []string `json:",omitempty"`
	Pos  Pos      `json:"-"`
}

// IsZero reports whether no secret is referred to.
func (s SecretRef) IsZero() bool { return s.Kind == "" }

// String is "secret.mail (csv secrets/mailboxes.csv)".
func (s SecretRef) String() string {
	if s.IsZero() {
		return "no secret"
	}
	ref := s.Ref
	if s.Kind == "command" {
		ref = fmt.Sprintf("%q", s.Argv)
	}
	return fmt.Sprintf("secret.%s (%s %s)", s.Name, s.Kind, ref)
}

// HostKey names a source, target or zone among its kind: "imap" or "imap.lab".
func HostKey(kind, name string) string {
	if name == "" {
		return kind
	}
	return kind + "." + name
}

// Host is a mail host: where mailboxes are now or will be.
type Host struct {
	Kind     string // "imap", "ionos", "microsoft365", ...
	Name     string // second label, "" when there is one of its kind
	Hostname string
	Port     int
	TLS      TLSMode
	CAFile   string // PEM, relative to the migration's folder; "" = the system's roots
	Username string // template, "{address}" by default
	Auth     string // "plain", "login", "xoauth2"

	Credentials SecretRef
	Limits      Limits
	Oversize    Oversize
	Namespace   string            // "" = ask the server
	SMTPProbe   string            // host:port, "" = the hosts of the MX at port 25 (of a target the new one, of a source the old one), "off" = never
	Submission  string            `json:",omitempty"` // of a target: "smtps://host:port" where its people's mail programs send, "" = not known
	Retire      string            // of a source: "by_hand" or "keep"
	Settings    map[string]string `json:",omitempty"` // what only this kind knows: region, tenant, client_id, endpoints
	Pos         Pos               `json:"-"`
}

// Key is how the configuration refers to the host behind source. or target.
func (h Host) Key() string { return HostKey(h.Kind, h.Name) }

// TLSMode is how a connection is protected.
type TLSMode string

// The modes. None is accepted for loopback addresses alone.
const (
	TLSImplicit TLSMode = "implicit"
	TLSStart    TLSMode = "starttls"
	TLSNone     TLSMode = "none"
)

// Limits bound what a host is asked to bear. A zero means no limit of ours.
type Limits struct {
	ConnectionsPerMailbox int
	ConnectionsTotal      int
	MessagesPerSecond     float64
	BytesPerSecond        int64
	MaxMessageSize        int64 // octets
	DoubtGrace            time.Duration
	StallTimeout          time.Duration
}

// Oversize says what becomes of messages that are larger than the target takes.
type Oversize struct {
	Limit  int64 // octets; 0 = what the server says
	Action string
}

// ZoneConfig is a dns block: where records are changed and how they are observed.
type ZoneConfig struct {
	Kind          string // "rfc2136", "by_hand", "ionos", ...
	Name          string
	Server        string // host:port of the primary (rfc2136)
	Zone          string // FQDN with final dot; "" = the domain
	KeyName       string // TSIG key, FQDN with final dot
	KeyAlgorithm  string // "hmac-sha256"
	Credentials   SecretRef
	Endpoint      string
	Authoritative []string // host:port; empty = by delegation from the root
	Resolver      string   // host:port; "" = the system's
	Observe       []string // host:port of resolvers to watch
	MaxDeletes    int      // -1 = no limit said
	Unmanaged     string   // "keep"
	Pos           Pos      `json:"-"`
}

// Key is how the configuration refers to the zone behind dns.
func (z ZoneConfig) Key() string { return HostKey(z.Kind, z.Name) }

// Worldly reports whether names outside the zone can be asked about: a resolver
// is named, or the zone is not one of a laboratory on this machine.
func (z ZoneConfig) Worldly() bool {
	if z.Resolver != "" {
		return true
	}
	for _, server := range append([]string{z.Server}, z.Authoritative...) {
		host, _, err := net.SplitHostPort(server)
		if err != nil {
			continue
		}
		if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() || host == "localhost" {
			return false
		}
	}
	return true
}

// SMTPServer is where notices are handed in.
type SMTPServer struct {
	Name        string
	Host        string
	Port        int
	TLS         TLSMode
	Username    string
	Credentials SecretRef
	From        string // RFC 5322 mailbox
	CAFile      string
	Pos         Pos `json:"-"`
}

// MailboxKind tells personal mailboxes from shared and catch-all ones.
type MailboxKind string

// The kinds of mailbox.
const (
	UserMailbox     MailboxKind = "user"
	SharedMailbox   MailboxKind = "shared"
	CatchAllMailbox MailboxKind = "catch_all"
)

// Mailbox is an account whose mail moves.
type Mailbox struct {
	Block         string // label of the block: "user"
	Key           string // for_each key, "" without for_each
	Kind          MailboxKind
	Source        string // address at the source
	Target        string // address at the target
	From          string // Key of the source host
	On            string // Key of the target host
	DisplayName   string
	License       string
	UsageLocation string
	Wave          int
	Credentials   SecretRef // overrides the hosts' when set
	Deletes       string    // "keep" or "mirror"
	Folders       FolderRules
	FullAccess    []string // target addresses (shared mailboxes)
	SendAs        []string
	Pos           Pos `json:"-"`
}

// FolderRules choose and rename folders. Names are UTF-8 with "/" between
// levels, whatever the server's separator is. Include empty means all;
// "*" in a glob crosses levels. INBOX is matched without regard to case.
type FolderRules struct {
	Include []string
	Exclude []string
	Map     map[string]string
}

// Alias is a further address of a mailbox or list.
type Alias struct {
	Address string
	Deliver string // target address it delivers to
	On      string // Key of the target host
	Pos     Pos    `json:"-"`
}

// List is a distribution list.
type List struct {
	Address  string
	Members  []string
	External bool
	On       string
	Pos      Pos `json:"-"`
}

// Forwarder sends on to addresses outside.
type Forwarder struct {
	Address  string
	Deliver  []string
	KeepCopy bool
	On       string
	Pos      Pos `json:"-"`
}

// Domain is a mail domain whose records change.
type Domain struct {
	Name            string // lower case, without final dot
	Zone            string // Key of the ZoneConfig
	Mail            string // Key of the target host
	TTLDuring       time.Duration
	TTLRestore      time.Duration
	SPF             string // "replace" or "overlap"
	Records         []Record
	IgnoreAddresses []string
	Pos             Pos `json:"-"`
}

// Record is an RRset that the configuration writes out.
type Record struct {
	Type   string // upper case
	Name   string // relative to the domain, "@" for the apex
	At     Phase  // when it is published
	Values []string
	TTL    time.Duration // 0 = the domain's TTLRestore
	Match  string        // "prefix" owns only the strings that begin with it
	Keep   bool          // an existing RRset wins
	Pos    Pos           `json:"-"`
}

// Window is when a phase may run.
type Window struct {
	Phase  Phase
	Start  Moment
	Until  Until
	Hours  string // "HH:MM-HH:MM" in the migration's zone, "" = always
	Repeat time.Duration
	Gate   string // name of the gate that has to open first
	Pos    Pos    `json:"-"`
}

// Until ends a phase: at a moment, or when Converged passes in a row found
// nothing to do. The zero value means "when its steps are done".
type Until struct {
	Moment    Moment
	Converged int
}

// String is the form in plan files: "converged(3)" or a moment.
func (u Until) String() string {
	if u.Converged > 0 {
		return fmt.Sprintf("converged(%d)", u.Converged)
	}
	return u.Moment.String()
}

// ParseUntil reads what String writes.
func ParseUntil(s string) (Until, error) {
	var n int
	if _, err := fmt.Sscanf(s, "converged(%d)", &n); err == nil && n > 0 && s == fmt.Sprintf("converged(%d)", n) {
		return Until{Converged: n}, nil
	}
	m, err := ParseMoment(s)
	return Until{Moment: m}, err
}

// Gate is what must hold before the steps behind it may run.
type Gate struct {
	Name    string
	Require []CheckRef
	Approve Approval
	Pos     Pos `json:"-"`
}

// CheckRef names a check, with its argument where it has one:
// no_stragglers_for["7d"].
type CheckRef struct {
	Name string
	Arg  string
}

// String is the form in plan files and on screens.
func (c CheckRef) String() string {
	if c.Arg == "" {
		return c.Name
	}
	return fmt.Sprintf("%s[%q]", c.Name, c.Arg)
}

// ParseCheckRef reads what String writes.
func ParseCheckRef(s string) (CheckRef, error) {
	for i := range len(s) {
		if s[i] != '[' {
			continue
		}
		var arg string
		if _, err := fmt.Sscanf(s[i:], "[%q]", &arg); err != nil || s != fmt.Sprintf("%s[%q]", s[:i], arg) {
			return CheckRef{}, fmt.Errorf("%q is no check: want name or name[\"argument\"]", s)
		}
		return CheckRef{Name: s[:i], Arg: arg}, nil
	}
	if s == "" {
		return CheckRef{}, fmt.Errorf("a check needs a name")
	}
	return CheckRef{Name: s}, nil
}

// Approval is who has to agree before a gate opens.
type Approval struct {
	By      []string // empty: anybody
	Count   int      // 0: nobody has to
	Expires time.Duration
}

// Validation is what is compared at the end.
type Validation struct {
	MaxDifference float64 // share of a mailbox's messages, 0.01 = 1 %
	Sample        []string
	Probes        []Probe
}

// Probe is a round trip by an outside account.
type Probe struct {
	Name        string
	IMAP        string
	SMTP        string
	Credentials SecretRef
	Expect      []string
	Timeout     time.Duration
	Pos         Pos `json:"-"`
}

// NoticeConfig is a message to people, by mail or to a webhook.
type NoticeConfig struct {
	Name     string
	At       Moment
	On       []string // events
	To       []string // addresses
	Via      string   // name of the SMTPServer
	URL      string
	Subject  string
	Template string // path, relative to the migration's folder
	Body     string // the template's text, so that a change of it is a change of the plan
	HTML     string
	Pos      Pos `json:"-"`
}

// Window returns the schedule of phase p.
func (m *Migration) Window(p Phase) Window {
	for _, w := range m.Schedule {
		if w.Phase == p {
			return w
		}
	}
	return Window{Phase: p}
}

// Gate returns the gate of that name.
func (m *Migration) Gate(name string) (Gate, bool) {
	for _, g := range m.Gates {
		if g.Name == name {
			return g, true
		}
	}
	return Gate{}, false
}

// Source returns the source host with that Key.
func (m *Migration) Source(key string) (Host, bool) { return findHost(m.Sources, key) }

// Target returns the target host with that Key.
func (m *Migration) Target(key string) (Host, bool) { return findHost(m.Targets, key) }

func findHost(hosts []Host, key string) (Host, bool) {
	for _, h := range hosts {
		if h.Key() == key {
			return h, true
		}
	}
	return Host{}, false
}

// Zone returns the dns block with that Key.
func (m *Migration) Zone(key string) (ZoneConfig, bool) {
	for _, z := range m.Zones {
		if z.Key() == key {
			return z, true
		}
	}
	return ZoneConfig{}, false
}

// Domain returns the domain of that name.
func (m *Migration) Domain(name string) (Domain, bool) {
	for _, d := range m.Domains {
		if d.Name == name {
			return d, true
		}
	}
	return Domain{}, false
}

// MailboxAt returns the mailbox whose source address is address.
func (m *Migration) MailboxAt(address string) (Mailbox, bool) {
	for _, b := range m.Mailboxes {
		if b.Source == address {
			return b, true
		}
	}
	return Mailbox{}, false
}

// Digest is the SHA-256 of the migration's meaning, as "sha256:<hex>":
// positions, comments and the order of files or CSV rows don't change it.
func (m *Migration) Digest() string {
	return digest(m)
}

// digest hashes the JSON encoding of v. Structs encode in field order and
// maps by sorted key, so equal values give equal bytes.
func digest(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("plan: a value that can't be encoded: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
