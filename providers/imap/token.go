package imap

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

// Token is a bearer token (RFC 6750) and when it ends.
type Token struct {
	Value  providers.Secret
	Expiry time.Time // zero: not known
}

// Tokens are where the bearer tokens of XOAUTH2 logins come from.
type Tokens interface {
	// Token returns a token that opens the mailbox of address. refused is "", or the token
	// that the host has just refused: then the answer is another one, and it is fetched
	// once however many connections ask. An error is what a person should read; no
	// error and no log holds a token. It is safe for concurrent use.
	Token(ctx context.Context, address, refused string) (Token, error)
}

// renewal is when to replace a token, and a session that logged in with it, so that no answer is
// outstanding that the end of the token could cut off: after five sixths of the time that it
// has left now, which makes 50 of Microsoft's 60 minutes. Zero: never, also where the end is no
// news: a token that is over already is for the host to refuse.
func (t Token) renewal(now time.Time) time.Time {
	if !t.Expiry.After(now) {
		return time.Time{}
	}
	return now.Add(t.Expiry.Sub(now) * 5 / 6)
}

func due(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

// SharedTokens are Tokens that are kept until some time before their end and fetched once
// for all connections that want one. Its fields don't change after first use.
type SharedTokens struct {
	Clock providers.Clock
	// Fetch gets a new token. For app-only tokens that open every mailbox, address says nothing.
	Fetch func(ctx context.Context, address string) (Token, error)
	// One says that a token opens every mailbox, so that one is enough.
	One bool

	mu   sync.Mutex
	held map[string]*heldToken
}

type heldToken struct {
	turn  chan struct{} // holds one element while somebody fetches
	token Token
	renew time.Time
}

// Token implements Tokens.
func (t *SharedTokens) Token(ctx context.Context, address, refused string) (Token, error) {
	if t.One {
		address = ""
	}
	h := t.of(address)
	select {
	case h.turn <- struct{}{}:
	case <-ctx.Done():
		return Token{}, context.Cause(ctx)
	}
	defer func() { <-h.turn }()
	if h.token.Value.Reveal() != "" && h.token.Value.Reveal() != refused && !due(h.renew, t.Clock.Now()) {
		return h.token, nil
	}
	token, err := t.Fetch(ctx, address)
	if err != nil {
		return Token{}, err
	}
	h.token, h.renew = token, token.renewal(t.Clock.Now())
	return token, nil
}

func (t *SharedTokens) of(address string) *heldToken {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held == nil {
		t.held = map[string]*heldToken{}
	}
	h := t.held[address]
	if h == nil {
		h = &heldToken{turn: make(chan struct{}, 1)}
		t.held[address] = h
	}
	return h
}

// secretTokens are tokens that somebody else makes: the secret is the token.
type secretTokens struct {
	secrets providers.Secrets
	ref     plan.SecretRef
}

// Token reads the secret, and anew after a refusal: a command may print another one by then.
func (t secretTokens) Token(ctx context.Context, address, refused string) (Token, error) {
	if f, ok := t.secrets.(interface {
		Forget(ref plan.SecretRef, address string)
	}); ok && refused != "" {
		f.Forget(t.ref, address)
	}
	value, err := t.secrets.Resolve(ctx, t.ref, address)
	return Token{Value: providers.Keep(strings.TrimSpace(value.Reveal()))}, err
}

// xoauth2 is the client's side of the XOAUTH2 mechanism, as Google and Microsoft
// document it: one response, and after a refusal a challenge that says why and
// wants an empty answer before the NO comes.
type xoauth2 struct {
	user  string
	token providers.Secret
	why   string // of the refusal, as the server sent it
}

// Start returns the initial response.
func (x *xoauth2) Start() (mechanism string, response []byte, err error) {
	token := x.token.Reveal()
	if strings.ContainsAny(x.user+token, "\x00\x01\r\n") || token == "" {
		return "", nil, errors.New("the name or the token holds characters that XOAUTH2 can't carry, or is empty")
	}
	return "XOAUTH2", []byte("user=" + x.user + "\x01auth=Bearer " + token + "\x01\x01"), nil
}

// Next takes note of the reason and answers with nothing.
func (x *xoauth2) Next(challenge []byte) ([]byte, error) {
	x.why = reasonOf(challenge)
	return []byte{}, nil
}

// reasonOf reads what a server says of a token that it refuses: {"status":"400","schemes":"Bearer","scope":"…"}.
func reasonOf(challenge []byte) string {
	var said struct{ Status, Scope string }
	if json.Unmarshal(challenge, &said) != nil || said.Status == "" {
		return strings.ToValidUTF8(string(challenge[:min(len(challenge), 200)]), "?")
	}
	words := "status " + said.Status
	if said.Scope != "" {
		words += ", wants scope " + said.Scope
	}
	return words[:min(len(words), 200)]
}

const tokenRemedy = "check that the app's token has the scope for IMAP with an administrator's consent, that the app may open this mailbox, " +
	"and that the mailbox is ready and IMAP is on for it: the host says the same for all of these"
