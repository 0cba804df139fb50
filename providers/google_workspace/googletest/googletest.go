// Package googletest is a double of a Google Workspace: the token service of a service account with
// domain-wide delegation, and Gmail's IMAP with its labels. Each unpleasant behaviour is a
// switch of Trouble.
package googletest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// Account is the service account that New makes.
const Account = "mover@acme-migration.iam.gserviceaccount.com"

// Workspace is the double. AddAccount, Deliver, File and Snapshot are those of its mailboxes.
type Workspace struct {
	*imaptest.Double

	mu      sync.Mutex
	key     *rsa.PrivateKey
	server  *httptest.Server
	trouble Trouble
	issued  map[string]grant
	count   int
	octets  int64 // that were read or written over IMAP
	appends int
	logins  int
	now     func() time.Time
}

type grant struct {
	user  string
	until time.Time
}

// Trouble are the unpleasant behaviours.
type Trouble struct {
	NotDelegated bool          // the administrator has not delegated the scope
	TokenLife    time.Duration // 0 = an hour
	Bandwidth    int64         // octets of messages after which the account is over its limits, 0 = none
	CutAppends   int           // every nth APPEND gets no answer, and is stored
	TooMany      int           // every nth login is one connection too many
	Localized    bool          // German names of system folders
}

// New starts the double.
func New(t Trouble, now func() time.Time) (*Workspace, error) {
	w := &Workspace{trouble: t, issued: map[string]grant{}, now: now}
	var err error
	if w.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	top, sent, bin, drafts, starred, important, all := "[Gmail]", "Sent Mail", "Trash", "Drafts", "Starred", "Important", "All Mail"
	if t.Localized {
		top, sent, bin, drafts, starred, important, all = "[Google Mail]", "Gesendet", "Papierkorb", "Entwürfe", "Markiert", "Wichtig", "Alle Nachrichten"
	}
	under := func(name, use string) imaptest.Standing {
		return imaptest.Standing{Name: top + "/" + name, Attributes: []string{`\HasNoChildren`, use}}
	}
	manners := imaptest.Manners{
		Greeting: "Gimap ready for requests from 192.0.2.7 a640c23a62f3a",
		Before:   strings.Fields("UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN X-GM-EXT-1 XYZZY SASL-IR AUTH=XOAUTH2 AUTH=PLAIN AUTH=PLAIN-CLIENTTOKEN AUTH=OAUTHBEARER"),
		After: strings.Fields("UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN X-GM-EXT-1 UIDPLUS COMPRESS=DEFLATE ENABLE MOVE CONDSTORE ESEARCH UTF8=ACCEPT " +
			"LIST-EXTENDED LIST-STATUS LITERAL- SPECIAL-USE APPENDLIMIT=35651584"),
		ID: `"name" "GImap" "vendor" "Google, Inc." "support-url" "http://support.google.com/mail" "version" "gmail_imap_260101.00"`,
		Folders: []imaptest.Standing{
			{Name: top, Attributes: []string{`\HasChildren`, `\Noselect`}},
			under(all, `\All`), under(drafts, `\Drafts`), under(important, `\Important`), under(sent, `\Sent`),
			under("Spam", `\Junk`), under(starred, `\Flagged`), under(bin, `\Trash`),
		},
		FoldNames: true, Gmail: true, Condstore: true,
		RefuseName: func(name string) string {
			for level := range strings.SplitSeq(name, "/") {
				if strings.Join(strings.Fields(level), " ") != level {
					return "NO [CANNOT] Folder contains excess whitespace (Failure)"
				}
			}
			if strings.Contains(name, "^") {
				return "NO [CANNOT] Invalid folder name (Failure)"
			}
			return ""
		},
		Permanent: []string{`\Answered`, `\Flagged`, `\Draft`, `\Deleted`, `\Seen`, "$NotPhishing", "$Phishing", `\*`},
		Token:     w.login,
		Command:   w.command,
		Midway:    func(*imaptest.Visitor) string { return w.used(0) },
		Append:    w.append,
		TooLarge: func(size int64) string {
			if size > 35_651_584 {
				return "BAD [TOOBIG] Message too large. https://support.google.com/mail/answer/6584#limit"
			}
			return ""
		},
		Appended: "(Success)",
		Unknown:  func(what string) string { return "BAD Could not parse command" },
	}
	if w.Double, err = imaptest.NewDouble(manners, true, now); err != nil {
		return nil, err
	}
	w.server = httptest.NewServer(http.HandlerFunc(w.token))
	return w, nil
}

// Close ends both servers.
func (w *Workspace) Close() error {
	w.server.Close()
	return w.Double.Close()
}

// TokenURL is the token service's address.
func (w *Workspace) TokenURL() string { return w.server.URL + "/token" }

// Key is the service account's key file.
func (w *Workspace) Key() string {
	der, err := x509.MarshalPKCS8PrivateKey(w.key)
	if err != nil {
		panic(err) // of an RSA key
	}
	b, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": Account, "client_id": "104857600000000000000", "private_key_id": "8f2c1d",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": "https://oauth2.googleapis.com/token",
	})
	if err != nil {
		panic(err) // of strings
	}
	return string(b)
}

// Lift lets the account read and write again.
func (w *Workspace) Lift() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.octets, w.trouble.Bandwidth = 0, 0
}

// Use counts octets as if they had been read or written.
func (w *Workspace) Use(octets int64) { w.used(octets) }

// Tokens is how many were issued.
func (w *Workspace) Tokens() int { w.mu.Lock(); defer w.mu.Unlock(); return w.count }

// token answers a JWT bearer grant (RFC 7523).
func (w *Workspace) token(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	refuse := func(code, description string) {
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(rw, `{"error":%q,"error_description":%q}`, code, description)
	}
	if err := r.ParseForm(); err != nil || r.PostForm.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		refuse("unsupported_grant_type", "Invalid grant_type")
		return
	}
	claims, ok := w.verified(r.PostForm.Get("assertion"))
	switch {
	case !ok:
		refuse("invalid_grant", "Invalid JWT Signature.")
	case w.trouble.NotDelegated || claims.Scope != "https://mail.google.com/":
		refuse("unauthorized_client", "Unauthorized client or scope in request.")
	case !w.Has(claims.Sub):
		refuse("invalid_grant", "Invalid email or User ID")
	default:
		life := w.trouble.TokenLife
		if life == 0 {
			life = time.Hour
		}
		w.count++
		token := fmt.Sprintf("ya29.c.%d-of-the-double", w.count)
		w.issued[token] = grant{strings.ToLower(claims.Sub), w.now().Add(life)}
		rw.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(rw, `{"access_token":%q,"expires_in":%d,"token_type":"Bearer"}`, token, int(life/time.Second))
	}
}

type claims struct {
	Iss, Sub, Scope, Aud string
	Iat, Exp             int64
}

func (w *Workspace) verified(assertion string) (c claims, ok bool) {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return c, false
	}
	payload, err1 := base64.RawURLEncoding.DecodeString(parts[1])
	signature, err2 := base64.RawURLEncoding.DecodeString(parts[2])
	if err1 != nil || err2 != nil || json.Unmarshal(payload, &c) != nil {
		return c, false
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsa.VerifyPKCS1v15(&w.key.PublicKey, crypto.SHA256, sum[:], signature) != nil {
		return c, false
	}
	now := w.now().Unix()
	return c, c.Iss == Account && c.Aud == w.TokenURL() && c.Iat <= now+300 && c.Exp > now-300 && c.Exp-c.Iat <= 3600
}

func (w *Workspace) login(user, token string) (refusal, challenge string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.logins++; w.trouble.TooMany > 0 && w.logins%w.trouble.TooMany == 0 {
		return "NO [ALERT] Too many simultaneous connections. (Failure)", ""
	}
	if g, ok := w.issued[token]; !ok || !strings.EqualFold(g.user, user) || !w.now().Before(g.until) {
		return "NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)", `{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}`
	}
	return "", ""
}

const over = "[OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)"

func (w *Workspace) command(c *imaptest.Visitor, name string) string {
	w.mu.Lock()
	g := w.issued[c.Token]
	expired := !w.now().Before(g.until)
	w.mu.Unlock()
	if expired {
		return "* BYE Session expired, please login again."
	}
	if name == "UID FETCH" || name == "APPEND" {
		if w.used(0) != "" {
			return "NO " + over
		}
	}
	return ""
}

// used counts octets and says how a session over its limits ends.
func (w *Workspace) used(n int64) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.octets += n; w.trouble.Bandwidth > 0 && w.octets > w.trouble.Bandwidth {
		return "* BYE " + over
	}
	return ""
}

func (w *Workspace) append(_ *imaptest.Visitor, _ string, s *imaptest.Stored) imaptest.Fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.octets += int64(len(s.Octets))
	w.appends++
	return imaptest.Fate{Cut: w.trouble.CutAppends > 0 && w.appends%w.trouble.CutAppends == 0}
}
