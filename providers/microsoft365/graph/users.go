package graph

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/mxodus/mxodus/providers"
)

// User is an account. Addresses are returned only when they are asked for, and only read:
// Exchange changes them.
type User struct {
	ID          string   `json:"id"`
	Principal   string   `json:"userPrincipalName"`
	DisplayName string   `json:"displayName"`
	Location    string   `json:"usageLocation"`
	Mail        string   `json:"mail"`
	Addresses   []string `json:"proxyAddresses"` // "SMTP:" the primary one, "smtp:" others
	Enabled     *bool    `json:"accountEnabled"`
	Licenses    []struct {
		SKU string `json:"skuId"`
	} `json:"assignedLicenses"`
	Assigned    []AssignedPlan `json:"assignedPlans"`
	Provisioned []struct {
		Service string `json:"service"`
		Status  string `json:"provisioningStatus"`
	} `json:"provisionedPlans"`
}

// AssignedPlan is a service that a licence of the user brings.
type AssignedPlan struct {
	Service string `json:"service"`
	Status  string `json:"capabilityStatus"`
	Plan    string `json:"servicePlanId"`
}

const userFields = "?$select=id,userPrincipalName,displayName,usageLocation,mail,proxyAddresses,accountEnabled,assignedLicenses,assignedPlans,provisionedPlans"

// HasAddress reports whether mail to address reaches the user.
func (u User) HasAddress(address string) bool {
	return strings.EqualFold(u.Mail, address) || slices.ContainsFunc(u.Addresses, func(a string) bool { return strings.EqualFold(a, "smtp:"+address) })
}

// plansOfMailboxes are the service plans of Exchange Online that come with a mailbox, and
// how much it holds. EXCHANGE_S_FOUNDATION comes without one.
// https://learn.microsoft.com/entra/identity/users/licensing-service-plan-reference
var plansOfMailboxes = map[string]int64{
	"9aaf7827-d63c-4b61-89c3-182f06f82e5c": 50 << 30,  // EXCHANGE_S_STANDARD
	"efb87545-963c-4e0d-99df-69c6916d9eb0": 100 << 30, // EXCHANGE_S_ENTERPRISE
	"4a82b400-a79f-41a4-b4e2-e94f5787b113": 2 << 30,   // EXCHANGE_S_DESKLESS
}

// MailboxComes reports whether the user's licences bring a mailbox.
func (u User) MailboxComes() bool {
	return slices.ContainsFunc(u.Assigned, func(p AssignedPlan) bool {
		return strings.EqualFold(p.Service, "exchange") && strings.EqualFold(p.Status, "Enabled") && p.Plan != foundation
	})
}

// Provisioning is what Graph says about the making of the user's mailbox: "Success",
// "PendingInput", …; "" when it says nothing.
func (u User) Provisioning() string {
	for _, p := range u.Provisioned {
		if strings.EqualFold(p.Service, "exchange") {
			return p.Status
		}
	}
	return ""
}

const foundation = "113feb6c-3fe4-4440-bddc-54d774bf0318"

// SKU is a product that the tenant has bought.
type SKU struct {
	ID       string `json:"skuId"`
	Name     string `json:"skuPartNumber"`
	Status   string `json:"capabilityStatus"`
	Consumed int    `json:"consumedUnits"`
	Prepaid  struct {
		Enabled int `json:"enabled"`
	} `json:"prepaidUnits"`
	Plans []struct {
		ID string `json:"servicePlanId"`
	} `json:"servicePlans"`
}

// Free is how many units nobody has; less than none where some ran out.
func (s SKU) Free() int { return s.Prepaid.Enabled - s.Consumed }

// Quota is how much a mailbox of it holds, 0 when it brings none or that isn't known.
func (s SKU) Quota() int64 {
	var most int64
	for _, p := range s.Plans {
		most = max(most, plansOfMailboxes[p.ID])
	}
	return most
}

// User reads a user by id or principal name; ok is false when there is none.
func (g *Client) User(ctx context.Context, id string) (u User, ok bool, err error) {
	err = g.do(ctx, "read the user", id, http.MethodGet, "/users/"+seg(id)+userFields, nil, &u)
	if providers.ReasonOf(err) == providers.NotFound {
		return User{}, false, nil
	}
	if err == nil && u.ID == "" {
		err = g.empty("read the user", id, "a user")
	}
	return u, err == nil, err
}

// Users reads all of them.
func (g *Client) Users(ctx context.Context) ([]User, error) {
	return list[User](ctx, g, "list the users of", "/users"+userFields+"&$top=999")
}

// NewUser is what a user is made of. Password is its first one, to be changed at the first sign-in.
type NewUser struct {
	Principal, DisplayName, Location, Password string
	Nickname                                   string // Exchange's alias
}

// CreateUser makes a user and returns it. One of that name is a Conflict.
func (g *Client) CreateUser(ctx context.Context, n NewUser) (User, error) {
	body := map[string]any{
		"accountEnabled": true, "displayName": n.DisplayName, "mailNickname": n.Nickname, "userPrincipalName": n.Principal,
		"passwordProfile": map[string]any{"password": n.Password, "forceChangePasswordNextSignIn": true},
	}
	if n.Location != "" {
		body["usageLocation"] = n.Location
	}
	var u User
	err := g.create(ctx, "create the user", n.Principal, "/users", body, &u)
	if e, ok := asError(err); ok {
		e.Server = strings.ReplaceAll(e.Server, n.Password, "…")
		if e.Reason == providers.Refused && CodeOf(err) == "Request_BadRequest" {
			if _, there, readErr := g.User(ctx, n.Principal); readErr == nil && there {
				e.Reason = providers.Conflict // the text that says so changes
			}
		}
	}
	return u, err
}

// ChangeUser sets properties: displayName, usageLocation, accountEnabled.
func (g *Client) ChangeUser(ctx context.Context, id string, properties map[string]any) error {
	return g.do(ctx, "change the user", id, http.MethodPatch, "/users/"+seg(id), properties, nil)
}

// AssignLicense gives the user a licence; one that the user has already is no error.
// Without a usage location it is refused.
func (g *Client) AssignLicense(ctx context.Context, id, sku string) error {
	body := map[string]any{ // both arrays are required
		"addLicenses":    []any{map[string]any{"skuId": sku, "disabledPlans": []string{}}},
		"removeLicenses": []string{},
	}
	return g.do(ctx, "give a licence to", id, http.MethodPost, "/users/"+seg(id)+"/assignLicense", body, nil)
}

// SKUs reads what the tenant has bought.
func (g *Client) SKUs(ctx context.Context) ([]SKU, error) {
	return list[SKU](ctx, g, "read the licences of", "/subscribedSkus")
}

// Organization is the tenant's id.
func (g *Client) Organization(ctx context.Context) (string, error) {
	orgs, err := list[struct {
		ID string `json:"id"`
	}](ctx, g, "read the organisation of", "/organization?$select=id")
	if err != nil || len(orgs) == 0 {
		return "", err
	}
	return orgs[0].ID, nil
}

// ServicePrincipal is the object id of an application's enterprise application in this
// tenant, which is another one than the registration's; "" when there is none.
func (g *Client) ServicePrincipal(ctx context.Context, clientID string) (string, error) {
	apps, err := list[struct {
		ID string `json:"id"`
	}](ctx, g, "find the enterprise application in", "/servicePrincipals?$select=id&$filter=appId+eq+"+quoted(clientID))
	if err == nil && len(apps) > 0 {
		return apps[0].ID, nil
	}
	// The same by its key.
	var app struct {
		ID string `json:"id"`
	}
	byKey := g.do(ctx, "find the enterprise application in", g.c.At, http.MethodGet, "/servicePrincipals(appId="+quoted(clientID)+")?$select=id", nil, &app)
	if byKey == nil || providers.ReasonOf(byKey) == providers.NotFound {
		return app.ID, err
	}
	return "", byKey
}

// Group is a list or another group that gets mail.
type Group struct {
	ID        string   `json:"id"`
	Mail      string   `json:"mail"`
	Addresses []string `json:"proxyAddresses"`
	Security  bool     `json:"securityEnabled"`
	Types     []string `json:"groupTypes"`
}

// GroupByMail finds the group that gets mail for address. Distribution lists can be read
// here, and changed by Exchange alone.
func (g *Client) GroupByMail(ctx context.Context, address string) (Group, bool, error) {
	groups, err := list[Group](ctx, g, "find the group of", "/groups?$select=id,mail,proxyAddresses,securityEnabled,groupTypes&$filter=mail+eq+"+quoted(address))
	if err != nil || len(groups) == 0 {
		return Group{}, false, err
	}
	return groups[0], true, nil
}

// Members are the addresses of a group's members.
func (g *Client) Members(ctx context.Context, group string) ([]string, error) {
	members, err := list[User](ctx, g, "read the members of a group of", "/groups/"+seg(group)+"/members?$select=id,mail,userPrincipalName")
	var addresses []string
	for _, m := range members {
		if m.Mail == "" {
			m.Mail = m.Principal
		}
		addresses = append(addresses, strings.ToLower(m.Mail))
	}
	return addresses, err
}

func asError(err error) (*providers.Error, bool) { return errors.AsType[*providers.Error](err) }
