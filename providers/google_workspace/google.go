// Package google is a Google Workspace as a source or target of mail: IMAP by a service
// account with domain-wide delegation, which needs nobody's password.
//
// There is no directory here: users, aliases and groups are made by a person, and an IMAP login or a
// RCPT TO proves it.
package google

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/https"
)

// Scope is what IMAP wants, and what an administrator delegates to the service account
// (https://developers.google.com/workspace/gmail/imap/xoauth2-protocol).
const Scope = "https://mail.google.com/"

// Options are what a workspace needs besides its block of the configuration.
type Options struct {
	Secrets providers.Secrets
	Root    string // the migration's folder: ca_file is relative to it
}

// Workspace is one source or target of kind google_workspace. It is safe for concurrent use.
type Workspace struct {
	host    plan.Host
	options Options
	http    *http.Client

	mu  sync.Mutex
	key *jwt.Config // once it was read
}

// New makes the workspace of a block. It touches no network and resolves no secret. A ca_file
// that can't be read is an error.
func New(host plan.Host, o Options) (*Workspace, error) {
	w := &Workspace{host: host, options: o}
	transport, err := https.NewTransport(o.Root, host.CAFile, nil)
	if err != nil {
		return nil, err
	}
	w.http = &http.Client{Transport: transport, Timeout: time.Minute, CheckRedirect: https.NoRedirects}
	return w, nil
}

// IMAP is where the mailboxes are reached.
func (w *Workspace) IMAP() (host string, port int) {
	if e := w.host.Settings["endpoints.imap"]; e != "" {
		if h, p, err := net.SplitHostPort(e); err == nil {
			if n, err := strconv.Atoi(p); err == nil {
				return h, n
			}
		}
	}
	return cmp.Or(w.host.Hostname, "imap.gmail.com"), cmp.Or(w.host.Port, 993)
}

// Token gets a token that opens the mailbox of address: the service account asks for it in
// that person's name (RFC 7523, sub). It asks the token service every time; callers keep the token.
//
// Errors are *providers.Error: Authentication where the key, the delegation or the address isn't
// right, Throttled or Unreachable where asking again may help.
func (w *Workspace) Token(ctx context.Context, address string) (token string, expiry time.Time, err error) {
	key, err := w.serviceAccount(ctx)
	if err != nil {
		return "", time.Time{}, err
	}
	person := *key
	person.Subject = address
	t, err := person.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, w.http)).Token()
	if err != nil {
		return "", time.Time{}, w.refusal(address, person.Email, err)
	}
	return t.AccessToken, t.Expiry, nil
}

// serviceAccount reads the key, once.
func (w *Workspace) serviceAccount(ctx context.Context) (*jwt.Config, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.key != nil {
		return w.key, nil
	}
	text, err := w.options.Secrets.Resolve(ctx, w.host.Credentials, "")
	if err != nil {
		return nil, err
	}
	key, err := parseKey(text.Reveal())
	if err != nil {
		return nil, &providers.Error{Op: "read the key of the service account from", Subject: w.host.Credentials.String(), Reason: providers.Authentication, Err: err,
			Remedy: "make a key of type JSON for the service account in the Google Cloud console, and store the file as it is"}
	}
	if e := w.host.Settings["endpoints.token"]; e != "" {
		key.TokenURL = e
	}
	w.key = key
	return key, nil
}

// parseKey reads the file that the console hands out. Its errors hold nothing of it.
func parseKey(text string) (*jwt.Config, error) {
	var f struct {
		Type         string `json:"type"`
		ClientEmail  string `json:"client_email"`
		PrivateKeyID string `json:"private_key_id"`
		PrivateKey   string `json:"private_key"`
		TokenURI     string `json:"token_uri"`
	}
	switch {
	case json.Unmarshal([]byte(text), &f) != nil:
		return nil, errors.New("it is no JSON")
	case f.Type != "service_account":
		return nil, errors.New("its type is not service_account")
	case f.ClientEmail == "" || f.PrivateKey == "":
		return nil, errors.New("client_email or private_key is missing")
	}
	uri := cmp.Or(f.TokenURI, "https://oauth2.googleapis.com/token")
	if !strings.HasPrefix(uri, "https://") {
		return nil, errors.New("its token_uri is not https")
	}
	return &jwt.Config{Email: f.ClientEmail, PrivateKeyID: f.PrivateKeyID, PrivateKey: []byte(f.PrivateKey), Scopes: []string{Scope}, TokenURL: uri}, nil
}

// refusal says what a person can do. The texts of the service are in
// https://developers.google.com/identity/protocols/oauth2/service-account#error-codes.
func (w *Workspace) refusal(address, account string, err error) error {
	e := &providers.Error{Op: "get a token for", Subject: address, Reason: providers.Unreachable, Err: errors.New("the token service can't be reached")}
	answer, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		if strings.Contains(err.Error(), "private key") {
			e.Reason, e.Err = providers.Authentication, errors.New("the service account's key is no RSA key in PEM")
			e.Remedy = "store the JSON key file as the console hands it out"
			return e
		}
		if u := errors.Unwrap(err); u != nil {
			err = u
		}
		if n, ok := errors.AsType[net.Error](err); ok {
			e.Err = n
		}
		e.Remedy = "it is tried again"
		return e
	}
	var said struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	_ = json.Unmarshal(answer.Body, &said) // what is no JSON is told by its status
	e.Server = providers.Conceal(strings.TrimSpace(said.Error+" "+said.Description), https.Sent(answer.Response, "assertion"))
	status := 0
	if answer.Response != nil {
		status = answer.Response.StatusCode
	}
	if e.Server == "" {
		e.Server = fmt.Sprintf("status %d", status)
	}
	switch {
	case said.Error == "unauthorized_client" || said.Error == "access_denied":
		e.Reason = providers.Authentication
		e.Remedy = fmt.Sprintf("in the admin console, under Security, API controls, Domain-wide delegation, add the client ID of %s with the scope %s; it takes up to a day to count everywhere", account, Scope)
	case said.Error == "invalid_grant":
		e.Reason = providers.Authentication
		e.Remedy = "look whether the address is a user of the workspace (not an alias or a group), whether the key was revoked, and whether this machine's clock is right"
	case said.Error == "invalid_scope":
		e.Reason = providers.Authentication
		e.Remedy = "delegate the scope " + Scope + " to the service account"
	case status == http.StatusTooManyRequests || status >= 500:
		e.Reason = providers.Throttled
		if s, err := strconv.Atoi(answer.Response.Header.Get("Retry-After")); err == nil && s > 0 {
			e.Wait = time.Duration(s) * time.Second
		}
	default:
		e.Reason = providers.Refused
	}
	return e
}
