package exchange

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/microsoft365/rest"
)

// Refusal is what Exchange says of itself in an error: the .NET type tells errors apart.
type Refusal struct {
	Status rest.Status
	Type   string // "Microsoft.Exchange.Configuration.Tasks.ManagementObjectNotFoundException"
}

func (r *Refusal) Error() string {
	if r.Type == "" {
		return r.Status.Error()
	}
	return r.Type[strings.LastIndex(r.Type, ".")+1:] + " (" + r.Status.Error() + ")"
}

// Unwrap gives the status.
func (r *Refusal) Unwrap() error { return r.Status }

// TypeOf is the last part of the .NET type in err's chain: "ManagementObjectNotFoundException".
func TypeOf(err error) string {
	r, ok := errors.AsType[*Refusal](err)
	if !ok {
		return ""
	}
	return r.Type[strings.LastIndex(r.Type, ".")+1:]
}

// IsThere reports whether err says that what was to be made is there already. A 409 or 412 that says no more doesn't: taken
// for it, a right that nobody gave would count as given.
func IsThere(err error) bool {
	e, ok := errors.AsType[*providers.Error](err)
	return ok && e.Reason == providers.Conflict && isThere(TypeOf(err), e.Server)
}

func isThere(kind, words string) bool {
	return !addressTaken(words) && (strings.HasSuffix(kind, "ADObjectAlreadyExistsException") || strings.HasSuffix(kind, "MemberAlreadyExistsException") ||
		strings.Contains(kind, "AlreadyExist") || strings.Contains(words, "already exist"))
}

// AddressTaken reports whether err says that somebody else has the address.
func AddressTaken(err error) bool {
	e, ok := errors.AsType[*providers.Error](err)
	return ok && e.Reason == providers.Conflict && addressTaken(e.Server)
}

func addressTaken(words string) bool {
	return strings.Contains(words, "is already being used by the proxy addresses")
}

// The two grants that the interface needs, and how each is given.
const (
	permissionRemedy = "give the application the permission Exchange.ManageAsApp of Office 365 Exchange Online and admin consent: https://entra.microsoft.com, App registrations, the application, API permissions, Add a permission, APIs my organization uses, Office 365 Exchange Online, Application permissions; then Grant admin consent"
	roleRemedy       = "give the application the role Exchange Administrator: https://entra.microsoft.com, Roles & admins, Exchange Administrator, Add assignments, the application; it takes some minutes to count"
)

// explain unwraps what a cmdlet met. The outer message is always the same and says
// nothing: "Invalid Operation", "Error executing cmdlet".
func explain(e *providers.Error, r rest.Request, status int, body []byte) {
	refusal := &Refusal{Status: rest.Status(status)}
	e.Err = refusal
	words := ""
	refusal.Type, words = unwrap(body)
	if words != "" {
		e.Server = words
	}
	kind := refusal.Type[strings.LastIndex(refusal.Type, ".")+1:]
	switch {
	case status == http.StatusUnauthorized:
		// Seen: without the permission 401, with it and without a role 403, with both 200.
		e.Reason, e.Remedy = providers.Authentication, "Exchange doesn't take the application's token: "+permissionRemedy
	case status == http.StatusForbidden:
		e.Reason, e.Remedy = providers.Refused, "the application may speak to Exchange and has no role there: "+roleRemedy
	case strings.HasSuffix(kind, "ManagementObjectNotFoundException"), strings.HasPrefix(words, "Ex94914C|"):
		e.Reason, e.Remedy = providers.NotFound, "it isn't there, or not yet: new objects take some minutes to be seen everywhere"
	case addressTaken(words):
		e.Reason, e.Remedy = providers.Conflict, "take the address from whoever has it now, or leave it out of the configuration"
	case isThere(kind, words):
		e.Reason, e.Remedy = providers.Conflict, "something of this name is there already"
	case strings.Contains(words, "is not present in the role definition of the current user"), strings.HasSuffix(kind, "CommandNotFoundException"):
		e.Reason, e.Remedy = providers.Refused, "the application may not use "+r.Op+", or the tenant has no licence with it: "+roleRemedy
	case status == http.StatusNotFound && refusal.Type == "" && words == "":
		e.Reason, e.Remedy = providers.Protocol, "see whether endpoints.exchange is right"
	case status == http.StatusNotFound:
		e.Reason = providers.NotFound
	case status == http.StatusBadRequest:
		e.Reason, e.Remedy = providers.Refused, "see what Exchange says"
	}
}

// unwrap finds the .NET type and the words of a refusal, in the order in which they are worth
// something.
func unwrap(body []byte) (kind, words string) {
	var said struct {
		Error struct {
			Message string   `json:"message"`
			Inner   struct { // spelled innererror and innerError
				Internal struct {
					Message string `json:"message"`
					Type    string `json:"type"`
				} `json:"internalexception"`
			} `json:"innererror"`
			Details []struct {
				Message string `json:"message"`
			} `json:"details"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &said) != nil {
		return "", "" // a refusal may be a run of NUL
	}
	if i := said.Error.Inner.Internal; i.Message != "" {
		return i.Type, i.Message
	}
	if len(said.Error.Details) == 0 || said.Error.Details[0].Message == "" {
		return "", said.Error.Message
	}
	detail := said.Error.Details[0].Message
	var nested struct{ Message, TypeName string }
	if json.Unmarshal([]byte(detail), &nested) == nil && nested.Message != "" {
		return nested.TypeName, nested.Message
	}
	if rest, ok := strings.CutPrefix(detail, "|"); ok {
		if kind, words, ok = strings.Cut(rest, "|"); ok {
			return kind, words
		}
	}
	return "", detail
}
