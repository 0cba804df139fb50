package microsoft365test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // x5t (RFC 7515 §4.1.7)
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The resources that tokens are for.
const (
	GraphResource    = "https://graph.microsoft.com"
	ExchangeResource = "https://outlook.office365.com"
)

// loginState is what the token service remembers.
type loginState struct {
	issued  map[string]issued
	jtis    map[string]bool // of assertions: none is good twice
	count   int             // of tokens
	refused int             // requests that got no token
	codes   map[string]*deviceCode
	refresh map[string]string // refresh token -> user
}

type issued struct {
	app      *App // nil: a person's
	user     string
	resource string
	until    time.Time
}

type deviceCode struct {
	client string
	user   string // "" = nobody has signed in yet
	denied bool
}

// Tokens is how many tokens were issued, Refusals how many requests got none.
func (t *Tenant) Tokens() int   { t.Lock(); defer t.Unlock(); return t.login.count }
func (t *Tenant) Refusals() int { t.Lock(); defer t.Unlock(); return t.login.refused }

// Revoke makes every token that was issued so far worthless.
func (t *Tenant) Revoke() { t.Lock(); defer t.Unlock(); t.login.issued = nil }

// Holder is whom a token that is good for the resource was issued to: an
// application's client id, or "person:" and the user's name. why says why it isn't good.
func (t *Tenant) Holder(resource, token string) (holder, why string) {
	t.Lock()
	defer t.Unlock()
	i, why := t.good(resource, token)
	switch {
	case why != "":
		return "", why
	case i.app == nil:
		return "person:" + i.user, ""
	}
	return i.app.ClientID, ""
}

func (t *Tenant) good(resource, token string) (issued, string) {
	i, ok := t.login.issued[token]
	switch {
	case !ok:
		return issued{}, "unknown"
	case i.resource != resource:
		return issued{}, "audience"
	case !t.now().Before(i.until):
		return issued{}, "expired"
	}
	return i, ""
}

// Permitted reports whether an application's token for Exchange carries the permission,
// such as IMAP.AccessAsApp.
func (t *Tenant) Permitted(token, permission string) bool {
	t.Lock()
	defer t.Unlock()
	i, why := t.good(ExchangeResource, token)
	return why == "" && i.app != nil && slices.Contains(i.app.Exchange, permission)
}

// tokenTexts are the words of the service; they change, and nobody may branch on them.
var tokenTexts = map[int]struct {
	status int
	err    string
	text   string
}{
	7000215: {401, "invalid_client", "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '...'."},
	7000222: {401, "invalid_client", "The provided client secret keys for app '...' are expired."},
	7000218: {401, "invalid_client", "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."},
	7000112: {400, "unauthorized_client", "Application '...' is disabled."},
	700016:  {400, "unauthorized_client", "Application with identifier '...' was not found in the directory 'Acme'."},
	700027:  {401, "invalid_client", "The certificate with identifier used to sign the client assertion is not registered on application."},
	700024:  {401, "invalid_client", "Client assertion is not within its valid time range."},
	90002:   {400, "invalid_request", "Tenant '...' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."},
	65001:   {400, "invalid_grant", "The user or administrator has not consented to use the application with ID '...'."},
	70011:   {400, "invalid_scope", "The provided value for the input parameter 'scope' is not valid."},
	1002012: {400, "invalid_scope", "The provided value for scope ... is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier."},
	53003:   {400, "access_denied", "Access has been blocked by Conditional Access policies."},
	9002313: {400, "invalid_request", "Invalid request. Request is malformed or invalid."},
	70016:   {400, "authorization_pending", "OAuth 2.0 device flow error. Authorization is pending. Continue polling."},
	70020:   {400, "expired_token", "The provided value for the input parameter 'device_code' is not valid. This device code has expired."},
}

func (t *Tenant) refuse(w http.ResponseWriter, code int) {
	t.login.refused++
	x, ok := tokenTexts[code]
	if !ok {
		x.status, x.err, x.text = 400, "invalid_request", "Something else."
	}
	body, _ := json.Marshal(map[string]any{ // of strings and numbers
		"error": x.err, "error_description": fmt.Sprintf("AADSTS%d: %s\r\nTrace ID: 5c4a9b2e-0000-4000-8000-00000000%04d\r\nCorrelation ID: c0ffee00-0000-4000-8000-000000000000\r\nTimestamp: 2026-11-26 04:22:28Z", code, x.text, t.login.refused),
		"error_codes": []int{code}, "timestamp": "2026-11-26 04:22:28Z", "trace_id": fmt.Sprintf("5c4a9b2e-0000-4000-8000-00000000%04d", t.login.refused),
		"correlation_id": "c0ffee00-0000-4000-8000-000000000000", "error_uri": fmt.Sprintf("https://login.microsoftonline.com/error?code=%d", code),
	})
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(x.status)
	_, _ = w.Write(body)
}

func (t *Tenant) token(w http.ResponseWriter, r *http.Request) {
	t.Lock()
	defer t.Unlock()
	if err := r.ParseForm(); err != nil {
		t.refuse(w, 9002313)
		return
	}
	switch tr := &t.Trouble; {
	case tr.TokenBusy > 0:
		tr.TokenBusy--
		writeJSON(w, http.StatusServiceUnavailable, `{"error":"temporarily_unavailable"}`)
		return
	case tr.TokenFailure > 0:
		tr.TokenFailure--
		t.refuse(w, max(tr.TokenCode, 0)+map[bool]int{true: 7000215}[tr.TokenCode == 0])
		return
	}
	if !t.is(r.PathValue("tenant")) {
		t.refuse(w, 90002)
		return
	}
	switch r.PostForm.Get("grant_type") {
	case "client_credentials":
		t.clientCredentials(w, r)
	case "urn:ietf:params:oauth:grant-type:device_code":
		t.deviceToken(w, r)
	case "refresh_token":
		user, ok := t.login.refresh[r.PostForm.Get("refresh_token")]
		if !ok {
			t.refuse(w, 70008)
			return
		}
		t.personToken(w, r, user)
	default:
		t.refuse(w, 9002313)
	}
}

func (t *Tenant) clientCredentials(w http.ResponseWriter, r *http.Request) {
	app := t.app(r.PostForm.Get("client_id"))
	if app == nil {
		t.refuse(w, 700016)
		return
	}
	if app.Disabled {
		t.refuse(w, 7000112)
		return
	}
	scope := r.PostForm.Get("scope")
	resource, ok := strings.CutSuffix(scope, "/.default")
	switch {
	case !ok:
		t.refuse(w, 1002012)
		return
	case resource != GraphResource && resource != ExchangeResource:
		t.refuse(w, 70011)
		return
	}
	switch secret, assertion := r.PostForm.Get("client_secret"), r.PostForm.Get("client_assertion"); {
	case secret == "" && assertion == "":
		t.refuse(w, 7000218)
		return
	case assertion != "":
		if r.PostForm.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
			t.refuse(w, 9002313)
			return
		}
		if code := t.checkAssertion(app, assertion, "http://"+r.Host+r.URL.Path); code != 0 {
			t.refuse(w, code)
			return
		}
	case secret != app.Secret || app.Secret == "":
		t.refuse(w, 7000215)
		return
	case app.Expired:
		t.refuse(w, 7000222)
		return
	}
	t.issue(w, issued{app: app, resource: resource}, "")
}

func (t *Tenant) issue(w http.ResponseWriter, i issued, refresh string) {
	life := t.Trouble.TokenLife
	if life == 0 {
		life = time.Hour
	}
	t.login.count++
	i.until = t.now().Add(life)
	claims := map[string]any{"aud": i.resource, "tid": TenantID, "n": t.login.count, "exp": i.until.Unix()}
	if i.app != nil {
		claims["appid"], claims["oid"] = i.app.ClientID, i.app.ObjectID
		claims["roles"] = i.app.Graph
		if i.resource == ExchangeResource {
			claims["roles"] = i.app.Exchange
		}
	} else {
		claims["upn"] = i.user
	}
	payload, _ := json.Marshal(claims) // of strings and numbers
	token := "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString(payload) + "." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "signature-%d", t.login.count))
	if t.login.issued == nil {
		t.login.issued = map[string]issued{}
	}
	t.login.issued[token] = i
	extra := ""
	if refresh != "" {
		extra = fmt.Sprintf(`,"refresh_token":%q`, refresh)
	}
	writeJSON(w, 200, `{"token_type":"Bearer","expires_in":%d,"ext_expires_in":%d,"access_token":%q%s}`, int(life/time.Second), int(life/time.Second), token, extra)
}

// checkAssertion verifies as the platform says it does; 0 = good.
func (t *Tenant) checkAssertion(app *App, jwt, audience string) int {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 || app.Cert == nil {
		return 700027
	}
	var header map[string]string
	var claims struct {
		Aud, Iss, Sub, Jti string
		Nbf, Exp           int64
	}
	for i, into := range []any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(raw, into) != nil {
			return 9002313
		}
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return 9002313
	}
	key, ok := app.Cert.PublicKey.(*rsa.PublicKey)
	if !ok {
		return 700027
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	long, short := sha256.Sum256(app.Cert.Raw), sha1.Sum(app.Cert.Raw) //nolint:gosec // see above
	named := header["x5t#S256"] == base64.RawURLEncoding.EncodeToString(long[:]) || header["x5t"] == base64.RawURLEncoding.EncodeToString(short[:])
	switch {
	case !named:
		return 700027
	case header["alg"] == "PS256" && !app.NoPS256:
		err = rsa.VerifyPSS(key, crypto.SHA256, sum[:], signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case header["alg"] == "RS256":
		err = rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature)
	default:
		return 700027
	}
	now := t.now().Unix()
	switch {
	case err != nil, claims.Aud != audience, claims.Iss != app.ClientID, claims.Sub != app.ClientID, claims.Jti == "", t.login.jtis[claims.Jti]:
		return 700027
	case now < claims.Nbf, now >= claims.Exp:
		return 700024
	}
	if t.login.jtis == nil {
		t.login.jtis = map[string]bool{}
	}
	t.login.jtis[claims.Jti] = true
	return 0
}

func (t *Tenant) openID(w http.ResponseWriter, r *http.Request) {
	t.Lock()
	defer t.Unlock()
	if !t.is(r.PathValue("tenant")) {
		t.refuse(w, 90002)
		return
	}
	writeJSON(w, 200, `{"issuer":"https://login.microsoftonline.com/%s/v2.0","token_endpoint":%q}`, TenantID, t.URL+"/login/"+TenantID+"/oauth2/v2.0/token")
}

// deviceCode begins a sign-in (RFC 8628 §3.2).
func (t *Tenant) deviceCode(w http.ResponseWriter, r *http.Request) {
	t.Lock()
	defer t.Unlock()
	if err := r.ParseForm(); err != nil || !t.is(r.PathValue("tenant")) {
		t.refuse(w, 90002)
		return
	}
	if t.login.codes == nil {
		t.login.codes = map[string]*deviceCode{}
	}
	code := fmt.Sprintf("device-%d", len(t.login.codes)+1)
	t.login.codes[code] = &deviceCode{client: r.PostForm.Get("client_id")}
	writeJSON(w, 200, `{"device_code":%q,"user_code":"USER%d","verification_uri":"https://microsoft.com/devicelogin","expires_in":900,"interval":1,"message":"…"}`, code, len(t.login.codes))
}

// SignIn completes the sign-in that shows the code, as user; "" denies it.
func (t *Tenant) SignIn(userCode, user string) {
	t.Lock()
	defer t.Unlock()
	for code, c := range t.login.codes {
		if strings.TrimPrefix(code, "device-") == strings.TrimPrefix(userCode, "USER") {
			c.user, c.denied = user, user == ""
		}
	}
}

func (t *Tenant) deviceToken(w http.ResponseWriter, r *http.Request) {
	c := t.login.codes[r.PostForm.Get("device_code")]
	switch {
	case c == nil:
		t.refuse(w, 70020)
	case c.denied:
		writeJSON(w, 400, `{"error":"authorization_declined","error_codes":[70002]}`)
	case c.user == "":
		t.refuse(w, 70016)
	default:
		delete(t.login.codes, r.PostForm.Get("device_code"))
		t.personToken(w, r, c.user)
	}
}

func (t *Tenant) personToken(w http.ResponseWriter, r *http.Request, user string) {
	resource := ""
	for scope := range strings.FieldsSeq(r.PostForm.Get("scope")) {
		if u, err := url.Parse(scope); err == nil && u.Host != "" {
			resource = u.Scheme + "://" + u.Host
		}
	}
	if t.login.refresh == nil {
		t.login.refresh = map[string]string{}
	}
	refresh := fmt.Sprintf("refresh-%d", len(t.login.refresh)+1)
	t.login.refresh[refresh] = user
	t.issue(w, issued{user: user, resource: resource}, refresh)
}
