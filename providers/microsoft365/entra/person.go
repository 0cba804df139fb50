package entra

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"sync"

	"golang.org/x/oauth2"

	"github.com/mxodus/mxodus/providers"
)

// CommandLineTools is Microsoft's own public application for administrators at a
// terminal ("Microsoft Graph Command Line Tools"). A person who has no application
// registered signs in with it. Graph alone takes its tokens.
const CommandLineTools = "14d82eec-204b-4c2f-b7e8-296a70dab67e"

// person is a sign-in by device code: one for all services, kept by its refresh
// token, which is never written anywhere.
type person struct {
	mu      sync.Mutex
	refresh string
}

// byPerson gets a token with the sign-in there is, or asks for one (RFC 8628).
func (c *Client) byPerson(ctx context.Context, scope string) (grant, error) {
	c.person.mu.Lock()
	defer c.person.mu.Unlock()
	base := c.c.Login + "/" + url.PathEscape(c.c.Tenant) + "/oauth2/v2.0/"
	conf := oauth2.Config{
		ClientID: cmp.Or(c.c.ClientID, CommandLineTools), Scopes: []string{scope, "offline_access"},
		Endpoint: oauth2.Endpoint{TokenURL: c.tokenURL(), DeviceAuthURL: base + "devicecode", AuthStyle: oauth2.AuthStyleInParams},
	}
	if c.person.refresh != "" {
		t, err := conf.TokenSource(ctx, &oauth2.Token{RefreshToken: c.person.refresh}).Token()
		if err == nil {
			c.person.refresh = cmp.Or(t.RefreshToken, c.person.refresh)
			return grantOf(t), nil
		}
		err = c.explain(err, c.person.refresh)
		if providers.ReasonOf(err) != providers.Authentication || hasCode(err, 65001) {
			return grant{}, err // the sign-in is good; another won't help
		}
		c.person.refresh = ""
	}
	if c.c.Person == nil {
		return grant{}, &providers.Error{Op: "get a token for", Subject: c.subject(), Reason: providers.Authentication,
			Err: errors.New("there are no credentials, and nobody at a terminal who could sign in"), Remedy: "set client_id and credentials, or run mxodus at a terminal"}
	}
	code, err := conf.DeviceAuth(ctx)
	if err != nil {
		return grant{}, c.explain(err, "")
	}
	c.c.Person(code.VerificationURI, code.UserCode)
	t, err := conf.DeviceAccessToken(ctx, code)
	if ctx.Err() != nil {
		return grant{}, context.Cause(ctx)
	}
	if err != nil {
		return grant{}, c.explain(err, code.DeviceCode)
	}
	c.person.refresh = t.RefreshToken
	return grantOf(t), nil
}
