package entra

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/mxodus/mxodus/providers"
)

// early is how long before its end a token is renewed: a request that is begun with it
// has to end in time, and an IMAP session dies with its token.
const early = 5 * time.Minute

// Source holds the token for one service. It is safe for concurrent use.
type Source struct {
	clock providers.Clock
	fetch func(context.Context) (grant, error)

	room    chan struct{} // holds one: whoever reads or writes what follows
	token   providers.Secret
	ends    time.Time
	renewAt time.Time
	failed  error // a refusal that asking again doesn't change, until failedTo
	until   time.Time
}

// Token returns a token that is good for a while yet. Errors are *providers.Error; a
// refusal of the credential is kept for some seconds, so that many workers
// aren't many failed sign-ins.
func (s *Source) Token(ctx context.Context) (string, error) {
	token, _, err := s.Held(ctx, "")
	return token, err
}

// Renew returns a token other than refused, which the service didn't take. Of many
// callers with the same refused token one fetches a new one for all.
func (s *Source) Renew(ctx context.Context, refused string) (string, error) {
	token, _, err := s.Held(ctx, refused)
	return token, err
}

// Held is Token, or Renew where refused isn't "", and says when the token ends.
func (s *Source) Held(ctx context.Context, refused string) (token string, ends time.Time, err error) {
	select {
	case s.room <- struct{}{}:
		defer func() { <-s.room }()
	case <-ctx.Done():
		return "", time.Time{}, context.Cause(ctx)
	}
	now := s.clock.Now()
	if held := s.token.Reveal(); held != "" && held != refused && now.Before(s.renewAt) {
		return held, s.ends, nil
	}
	if s.failed != nil && now.Before(s.until) {
		return "", time.Time{}, s.failed
	}
	g, err := s.fetch(ctx)
	if err != nil {
		if providers.ReasonOf(err) == providers.Authentication {
			s.failed, s.until = err, now.Add(10*time.Second)
		}
		return "", time.Time{}, err
	}
	// A life that is shorter than twice the lead is halved.
	s.token, s.ends, s.renewAt, s.failed = g.token, now.Add(g.life), now.Add(max(g.life-early, g.life/2)), nil
	return s.token.Reveal(), s.ends, nil
}

// Claims are what an application's token says of it. Tokens are opaque to those who carry
// them (https://learn.microsoft.com/entra/identity-platform/access-tokens); what
// is read here only shortens a way or explains a refusal, and nothing depends on it.
type Claims struct {
	Tenant string   `json:"tid"`
	Object string   `json:"oid"` // of the enterprise application
	App    string   `json:"appid"`
	Roles  []string `json:"roles"`
}

// Has reports whether the token carries the application permission.
func (c Claims) Has(role string) bool { return slices.Contains(c.Roles, role) }

// ClaimsOf reads a token; ok is false where it can't be read.
func ClaimsOf(token string) (Claims, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return Claims{}, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Claims{}, false
	}
	var c Claims
	if json.Unmarshal(raw, &c) != nil || c.Tenant == "" {
		return Claims{}, false
	}
	return c, true
}
