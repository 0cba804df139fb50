package entra

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/oauth2"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/https"
)

// Refused is what the token service said, by its numbers.
type Refused struct {
	Codes []int // AADSTS numbers
	Trace string
}

func (r *Refused) Error() string {
	s := fmt.Sprintf("AADSTS%d", r.Codes[0])
	if r.Trace != "" {
		s += ", trace " + r.Trace
	}
	return s
}

// CodeOf is the first AADSTS number in err's chain, 0 when there is none.
func CodeOf(err error) int {
	if r, ok := errors.AsType[*Refused](err); ok {
		return r.Codes[0]
	}
	return 0
}

func hasCode(err error, code int) bool {
	r, ok := errors.AsType[*Refused](err)
	return ok && slices.Contains(r.Codes, code)
}

// meaning is what a number of the token service means and what a person does about it.
type meaning struct {
	reason providers.Reason
	remedy string
}

const (
	portalSecrets  = "https://entra.microsoft.com, App registrations, the application, Certificates & secrets"
	portalOverview = "https://entra.microsoft.com, App registrations, the application, Overview"
)

// meanings by AADSTS number.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
var meanings = map[int]meaning{
	7000215: {providers.Authentication, "the client secret is wrong: copy its value, not its ID, or make a new one (" + portalSecrets + ")"},
	7000222: {providers.Authentication, "the client secret has run out: make a new one (" + portalSecrets + ") and put it where credentials refers to"},
	7000218: {providers.Authentication, "the application signs in with a secret or certificate: set credentials; or, for a person, allow public client flows (App registrations, the application, Authentication)"},
	700016:  {providers.Authentication, "the tenant doesn't know the application: compare client_id and tenant with " + portalOverview + ", and give admin consent in this tenant"},
	7000112: {providers.Authentication, "the application is switched off: https://entra.microsoft.com, Enterprise applications, the application, Properties, Enabled for users to sign-in"},
	700027:  {providers.Authentication, "the certificate is not the application's: upload it (" + portalSecrets + "), and see that the clock of this machine is right"},
	700024:  {providers.Authentication, "the assertion's times don't fit: set the clock of this machine right"},
	90002:   {providers.Authentication, "there is no such tenant: tenant is its id or a name such as acme.onmicrosoft.com (" + portalOverview + "); a national cloud needs cloud = \"usgov\" or \"china\""},
	900023:  {providers.Authentication, "tenant is neither an id nor a domain name: see " + portalOverview},
	5000224: {providers.Authentication, "the tenant was deleted or is not to be used: ask its owner"},
	500011:  {providers.Authentication, "the service is not there in this tenant: a tenant without an Exchange licence has no Exchange Online; in a national cloud set cloud"},
	70011:   {providers.Authentication, "the token service doesn't know the service that the token is for: set cloud to the tenant's, and report it if it is"},
	1002012: {providers.Authentication, "the token service doesn't take the scope: set cloud to the tenant's, and report it if it is"},
	53003:   {providers.Authentication, "a Conditional Access policy blocks the sign-in: https://entra.microsoft.com, Protection, Conditional Access, Sign-in logs names it; leave this application out of it"},
	9002313: {providers.Protocol, "the token service can't read the request: if endpoints.login leads over a proxy, see what it changes; else report it"},
	50126:   {providers.Authentication, "name or password is wrong: sign in again"},
	50076:   {providers.Authentication, "the sign-in needs a second factor: sign in again and confirm it"},
	50079:   {providers.Authentication, "the account has to register a second factor first: sign in at https://aka.ms/mfasetup"},
	70020:   {providers.Authentication, "the code has run out: start again and sign in within its time"},
	700082:  {providers.Authentication, "the sign-in has run out: sign in again"},
	70008:   {providers.Authentication, "the sign-in has run out: sign in again"},
	50196:   {providers.Throttled, "the token service sees a loop of requests: wait some minutes"},
	90033:   {providers.Unreachable, "the token service has trouble of its own: try again later"},
}

// explain turns what x/oauth2 met into a *providers.Error: the number decides, then the status.
func (c *Client) explain(err error, secret string) error {
	e := &providers.Error{Op: "get a token for", Subject: c.subject(), Reason: providers.Unreachable, Remedy: "see whether " + c.c.Login + " can be reached from here"}
	refusal, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		if _, ok := errors.AsType[*providers.Error](err); ok {
			return err
		}
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		} else if strings.HasPrefix(err.Error(), "the certificate is good from") {
			e.Reason, e.Remedy = providers.Authentication, "make a new certificate and upload it ("+portalSecrets+"), or set the clock right"
		} else {
			e.Reason, e.Remedy = providers.Protocol, "see whether endpoints.login is right: "+c.c.Login
		}
		e.Err = providers.ConcealError(err, secret)
		return e
	}
	var said struct {
		Codes       []int  `json:"error_codes"`
		Description string `json:"error_description"`
		Trace       string `json:"trace_id"`
	}
	_ = json.Unmarshal(refusal.Body, &said) // what isn't JSON says nothing
	assertion := https.Sent(refusal.Response, "client_assertion")
	words, _, _ := strings.Cut(said.Description, "\r\n")
	words, _, _ = strings.Cut(words, "\n")
	if words == "" {
		words = providers.Conceal(string(refusal.Body), secret, assertion)
		words = strings.TrimSpace(strings.ToValidUTF8(words[:min(len(words), 300)], "�"))
	}
	e.Server = providers.Conceal(words, secret, assertion)
	status := 0
	if refusal.Response != nil {
		status = refusal.Response.StatusCode
	}
	e.Err = fmt.Errorf("HTTP %d", status)
	switch {
	case status == http.StatusTooManyRequests:
		e.Reason, e.Remedy = providers.Throttled, "wait; the token service limits how often it is asked"
		e.Wait = https.RetryAfter(refusal.Response.Header.Get("Retry-After"), c.c.Clock.Now())
	case status >= 500:
		e.Remedy = "the token service has trouble of its own: try again later"
	case status >= 300 && status < 400:
		e.Reason, e.Remedy = providers.Protocol, "the token service redirects, which is not followed: see whether endpoints.login is right: "+c.c.Login
	case status == http.StatusNotFound && len(said.Codes) == 0:
		e.Reason, e.Remedy = providers.NotFound, "see whether endpoints.login is right: "+c.c.Login
	default:
		e.Reason, e.Remedy = providers.Authentication, "see what the token service says, and the sign-in logs at https://entra.microsoft.com"
	}
	if len(said.Codes) == 0 {
		return e
	}
	e.Err = &Refused{Codes: said.Codes, Trace: providers.Conceal(said.Trace, secret, assertion)}
	for _, code := range said.Codes {
		if code == 65001 {
			e.Reason = providers.Authentication
			e.Remedy = "nobody has given consent: an administrator opens " + c.c.Login + "/" + url.PathEscape(c.c.Tenant) + "/adminconsent?client_id=" + url.QueryEscape(c.c.ClientID)
			break
		}
		if m, known := meanings[code]; known {
			e.Reason, e.Remedy = m.reason, m.remedy
			break
		}
	}
	return e
}
