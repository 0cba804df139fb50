package exchange

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/mxodus/mxodus/providers"
)

// Mailbox is what Get-Mailbox tells.
type Mailbox struct {
	GUID      string    `json:"Guid"`
	Identity  string    `json:"Identity"`
	Object    string    `json:"ExternalDirectoryObjectId"` // of its user, in Graph
	Name      string    `json:"DisplayName"`
	Address   string    `json:"PrimarySmtpAddress"`
	Principal string    `json:"UserPrincipalName"`
	Addresses addresses `json:"EmailAddresses"`
	Kind      string    `json:"RecipientTypeDetails"` // UserMailbox, SharedMailbox, …
	Receive   Size      `json:"MaxReceiveSize"`
	Send      Size      `json:"MaxSendSize"`
	Quota     Size      `json:"ProhibitSendReceiveQuota"`

	Forward     string   `json:"ForwardingAddress"`     // a recipient, by its name
	ForwardSMTP string   `json:"ForwardingSmtpAddress"` // "smtp:who@outside"
	Keeps       flexBool `json:"DeliverToMailboxAndForward"`
}

// Forwards reports whether mail to the mailbox is sent on, and kept too.
func (m Mailbox) Forwards() bool { return (m.Forward != "" || m.ForwardSMTP != "") && bool(m.Keeps) }

// ID is what a cmdlet finds the mailbox by without mistake.
func (m Mailbox) ID() string {
	for _, id := range []string{m.GUID, m.Object, m.Address} {
		if id != "" {
			return id
		}
	}
	return m.Identity
}

// Shared reports whether it is a shared mailbox.
func (m Mailbox) Shared() bool { return strings.EqualFold(m.Kind, "SharedMailbox") }

// Has reports whether mail to address reaches it.
func (m Mailbox) Has(address string) bool {
	return strings.EqualFold(m.Address, address) || m.Addresses.Has(address)
}

// addresses are proxy addresses: "SMTP:" the primary one, "smtp:" others, and other kinds.
type addresses []string

// UnmarshalJSON takes a list and a single value.
func (a *addresses) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = addresses{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// Has reports whether address is among them.
func (a addresses) Has(address string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return strings.EqualFold(s, "smtp:"+address) })
}

// SMTP are the addresses that mail comes by, in lower case.
func (a addresses) SMTP() []string {
	var list []string
	for _, s := range a {
		if len(s) > 5 && strings.EqualFold(s[:5], "smtp:") {
			list = append(list, strings.ToLower(s[5:]))
		}
	}
	return list
}

// Size is a number of octets as Exchange writes it: "36 MB (37,748,736 bytes)"; 0 = not said, -1 = unlimited.
type Size int64

var (
	inBytes = regexp.MustCompile(`\(([0-9,. ]+) bytes\)`)
	inUnits = regexp.MustCompile(`(?i)^\s*([0-9.]+)\s*([KMGT]?B)?`)
)

// UnmarshalJSON takes its text, its number, and an object that holds either.
func (s *Size) UnmarshalJSON(b []byte) error {
	*s = 0
	var n int64
	if json.Unmarshal(b, &n) == nil {
		*s = Size(n)
		return nil
	}
	var text string
	if json.Unmarshal(b, &text) != nil {
		return nil // something else: not said
	}
	*s = ParseSize(text)
	return nil
}

// ParseSize reads "36 MB (37,748,736 bytes)", "150MB", "Unlimited".
func ParseSize(text string) Size {
	if strings.EqualFold(strings.TrimSpace(text), "unlimited") {
		return -1
	}
	if m := inBytes.FindStringSubmatch(text); m != nil {
		n, err := strconv.ParseInt(strings.NewReplacer(",", "", ".", "", " ", "").Replace(m[1]), 10, 64)
		if err == nil {
			return Size(n)
		}
	}
	m := inUnits.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	f, err := strconv.ParseFloat(m[1], 64)
	if err != nil || f < 0 || f > 1<<40 {
		return 0
	}
	unit := map[string]float64{"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}[strings.ToUpper(m[2])]
	return Size(f * unit)
}

// Mailbox finds a mailbox by any of its addresses; ok is false when there is none.
func (c *Client) Mailbox(ctx context.Context, address string) (Mailbox, bool, error) {
	return one[Mailbox](ctx, c, "", "Get-Mailbox", Params{"Identity": address})
}

// Mailboxes reads all of them.
func (c *Client) Mailboxes(ctx context.Context) ([]Mailbox, error) {
	var list []Mailbox
	return list, c.Run(ctx, "", "Get-Mailbox", Params{"ResultSize": "Unlimited"}, &list)
}

// one reads a single object; ok is false when there is none.
func one[T any](ctx context.Context, c *Client, mailbox, cmdlet string, p Params) (v T, ok bool, err error) {
	var list []T
	err = c.Run(ctx, mailbox, cmdlet, p, &list)
	switch {
	case providers.ReasonOf(err) == providers.NotFound:
		return v, false, nil
	case err != nil || len(list) == 0:
		return v, false, err
	case len(list) > 1:
		return v, false, &providers.Error{Op: cmdlet, Subject: asText(p["Identity"]), Reason: providers.Conflict, Server: strconv.Itoa(len(list)) + " objects answer to this name", Remedy: "rename all but one of them"}
	}
	return list[0], true, nil
}

func asText(v any) string { s, _ := v.(string); return s }

// CAS are a mailbox's protocols.
type CAS struct {
	Address string `json:"PrimarySmtpAddress"`
	IMAP    *bool  `json:"ImapEnabled"`
}

// CASMailbox reads whether a mailbox may be reached by IMAP.
func (c *Client) CASMailbox(ctx context.Context, address string) (CAS, bool, error) {
	return one[CAS](ctx, c, "", "Get-CASMailbox", Params{"Identity": address})
}

// Permission is who may do what with a mailbox.
type Permission struct {
	User    string   `json:"User"`
	Trustee string   `json:"Trustee"`
	Rights  rights   `json:"AccessRights"`
	Deny    flexBool `json:"Deny"`
}

// flexBool takes true and "True".
type flexBool bool

func (f *flexBool) UnmarshalJSON(b []byte) error {
	*f = flexBool(strings.EqualFold(strings.Trim(string(b), `"`), "true"))
	return nil
}

// rights takes a list and "FullAccess, ReadPermission".
type rights []string

func (r *rights) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		for part := range strings.SplitSeq(text, ",") {
			*r = append(*r, strings.TrimSpace(strings.Trim(part, "{}")))
		}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(r))
}

func (p Permission) gives(right string) bool {
	return !bool(p.Deny) && slices.ContainsFunc(p.Rights, func(r string) bool { return strings.EqualFold(r, right) })
}

// FullAccess lists who may open the mailbox, in lower case: addresses, names or ids, as Exchange shows them.
func (c *Client) FullAccess(ctx context.Context, address string) ([]string, error) {
	return c.holders(ctx, "Get-MailboxPermission", address, "FullAccess")
}

// SendAs lists who may send in the mailbox's name.
func (c *Client) SendAs(ctx context.Context, address string) ([]string, error) {
	return c.holders(ctx, "Get-RecipientPermission", address, "SendAs")
}

func (c *Client) holders(ctx context.Context, cmdlet, address, right string) ([]string, error) {
	var list []Permission
	err := c.Run(ctx, "", cmdlet, Params{"Identity": address}, &list)
	if providers.ReasonOf(err) == providers.NotFound {
		return nil, nil
	}
	var who []string
	for _, p := range list {
		if p.gives(right) {
			who = append(who, strings.ToLower(p.User+p.Trustee))
		}
	}
	return who, err
}

// Group is a distribution list.
type Group struct {
	GUID      string    `json:"Guid"`
	Identity  string    `json:"Identity"`
	Name      string    `json:"DisplayName"`
	Address   string    `json:"PrimarySmtpAddress"`
	Addresses addresses `json:"EmailAddresses"`
	Closed    *flexBool `json:"RequireSenderAuthenticationEnabled"`
}

// ID is what a cmdlet finds the list by without mistake.
func (g Group) ID() string {
	if g.GUID != "" {
		return g.GUID
	}
	return g.Address
}

// External reports whether people outside may write to it.
func (g Group) External() bool { return g.Closed != nil && !bool(*g.Closed) }

// Group finds a list by any of its addresses.
func (c *Client) Group(ctx context.Context, address string) (Group, bool, error) {
	return one[Group](ctx, c, "", "Get-DistributionGroup", Params{"Identity": address})
}

// Groups reads all lists.
func (c *Client) Groups(ctx context.Context) ([]Group, error) {
	var list []Group
	return list, c.Run(ctx, "", "Get-DistributionGroup", Params{"ResultSize": "Unlimited"}, &list)
}

// Recipient is anything that gets mail.
type Recipient struct {
	Address   string    `json:"PrimarySmtpAddress"`
	External  string    `json:"ExternalEmailAddress"` // of a contact: "SMTP:who@outside"
	Kind      string    `json:"RecipientTypeDetails"`
	Addresses addresses `json:"EmailAddresses"`
}

// Leads is where mail to it goes in the end: to the address outside, of a contact.
func (r Recipient) Leads() string {
	if _, outside, ok := strings.Cut(r.External, ":"); ok {
		return strings.ToLower(outside)
	}
	if r.External != "" {
		return strings.ToLower(r.External)
	}
	return strings.ToLower(r.Address)
}

// Contact reports whether it stands for somebody outside.
func (r Recipient) Contact() bool {
	return strings.EqualFold(r.Kind, "MailContact") || strings.EqualFold(r.Kind, "MailUser") || r.External != ""
}

// Recipient finds whoever has the address.
func (c *Client) Recipient(ctx context.Context, address string) (Recipient, bool, error) {
	return one[Recipient](ctx, c, "", "Get-Recipient", Params{"Identity": address})
}

// Members reads the members of a list.
func (c *Client) Members(ctx context.Context, group string) ([]Recipient, error) {
	var list []Recipient
	return list, c.Run(ctx, "", "Get-DistributionGroupMember", Params{"Identity": group, "ResultSize": "Unlimited"}, &list)
}

// DKIM is the signing of a domain.
type DKIM struct {
	Domain    string   `json:"Domain"`
	Enabled   flexBool `json:"Enabled"`
	Status    string   `json:"Status"` // Valid, CnameMissing, NoDKIMKeys
	Selector1 string   `json:"Selector1CNAME"`
	Selector2 string   `json:"Selector2CNAME"`
}

// On reports whether the domain's mail is signed.
func (d DKIM) On() bool { return bool(d.Enabled) }

// DKIMs reads all domains' signing.
func (c *Client) DKIMs(ctx context.Context) ([]DKIM, error) {
	var list []DKIM
	return list, c.Run(ctx, "", "Get-DkimSigningConfig", nil, &list)
}

// ServicePrincipal is an application that Exchange knows.
type ServicePrincipal struct {
	App    string `json:"AppId"`
	Object string `json:"ObjectId"`
	Name   string `json:"DisplayName"`
	SID    string `json:"Sid"`
	ID     string `json:"Identity"`
}

// ServicePrincipals reads all applications that Exchange knows.
func (c *Client) ServicePrincipals(ctx context.Context) ([]ServicePrincipal, error) {
	var list []ServicePrincipal
	return list, c.Run(ctx, "", "Get-ServicePrincipal", nil, &list)
}

// AcceptedDomain is how Exchange takes a domain's mail.
type AcceptedDomain struct {
	Domain string `json:"DomainName"`
	Type   string `json:"DomainType"` // Authoritative, InternalRelay
}

// Relays reports whether it takes mail for every name of the domain.
func (d AcceptedDomain) Relays() bool { return strings.EqualFold(d.Type, "InternalRelay") }

// AcceptedDomain reads how a domain's mail is taken.
func (c *Client) AcceptedDomain(ctx context.Context, domain string) (AcceptedDomain, bool, error) {
	return one[AcceptedDomain](ctx, c, "", "Get-AcceptedDomain", Params{"Identity": domain})
}

// TransportRule is a rule for mail on its way.
type TransportRule struct {
	Name  string `json:"Name"`
	State string `json:"State"` // Enabled, Disabled
	To    rights `json:"RedirectMessageTo"`
}

// On reports whether the rule works.
func (r TransportRule) On() bool { return !strings.EqualFold(r.State, "Disabled") }

// TransportRule finds a rule by its name.
func (c *Client) TransportRule(ctx context.Context, name string) (TransportRule, bool, error) {
	return one[TransportRule](ctx, c, "", "Get-TransportRule", Params{"Identity": name})
}
