// Package rest sends requests to Microsoft's services: with a token that is
// renewed once when it is refused, at a rate, again after throttling and after
// trouble of the network or the service.
//
// A request may arrive twice: a service that answers 5xx may have done what it was asked
// for before. Callers make only requests that can stand that: to read, to set, and to
// create what may be there already. What creates is not sent again before its caller has
// looked, and the last error of everything that writes says that it was left open.
package rest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/https"
)

// Tokens are where access tokens come from; *entra.Source is one.
type Tokens interface {
	Token(ctx context.Context) (string, error)
	Renew(ctx context.Context, refused string) (string, error)
}

// Client sends requests to one service. It is safe for concurrent use; its fields aren't
// changed after the first call.
type Client struct {
	Base   string // URL without a final slash
	At     string // the service's name for people
	Tokens Tokens
	HTTP   *http.Client
	Clock  providers.Clock
	// Every is the time between two requests on average, Burst how many may come at once.
	Every time.Duration
	Burst int
	// Explain fills in what the service's own refusals mean. e holds what the status says;
	// body is the answer.
	Explain func(e *providers.Error, r Request, status int, body []byte)

	mu    sync.Mutex
	ahead time.Time // when the allowance that is spent so far is paid back
}

// Request is one of them.
type Request struct {
	Op      string // what it is for: "create the user"
	Subject string // whom or what about
	Method  string
	Path    string // behind Base, or a whole URL, which has to be at the same host
	Header  http.Header
	Body    any // as JSON; nil = none
	Effect  Effect
}

// Effect is what a request does.
type Effect int

// The effects.
const (
	Reads   Effect = iota
	Sets           // the same again changes nothing
	Creates        // the same again may be refused
)

// OpenError is in the chain of an Unreachable error when what was to be written may have been: no answer
// came, or one that leaves it open. Look before doing it again.
type OpenError struct {
	Request [sha256.Size]byte // the same for the same request
	Err     error
}

func (e *OpenError) Error() string { return e.Err.Error() }

// Unwrap returns what came in the place of an answer.
func (e *OpenError) Unwrap() error { return e.Err }

// Status is the HTTP status of a refusal; errors.As finds it.
type Status int

func (s Status) Error() string { return fmt.Sprintf("HTTP %d %s", int(s), http.StatusText(int(s))) }

// StatusOf is the HTTP status in err's chain, 0 when there is none.
func StatusOf(err error) int {
	if s, ok := errors.AsType[Status](err); ok {
		return int(s)
	}
	return 0
}

const (
	maxBody     = 64 << 20
	maxTries    = 5
	longestWait = 2 * time.Minute // that a Retry-After may ask for
)

// Do sends r and reads the answer into out, which may be nil. Errors are
// *providers.Error. Throttled ones carry the wait when it is longer than Do waits itself;
// Unreachable means that trying again didn't help, which isn't tried with what creates, and that nobody
// knows whether it was done: of what writes it is an *OpenError.
func (c *Client) Do(ctx context.Context, r Request, out any) error {
	target, err := c.url(r.Path)
	if err != nil {
		return &providers.Error{Op: r.Op, Subject: r.Subject, Reason: providers.Protocol, Err: err, Remedy: "nothing was sent there, because it would get the token; report it"}
	}
	var body []byte
	if r.Body != nil {
		if body, err = json.Marshal(r.Body); err != nil {
			return fmt.Errorf("%s: %w", r.Op, err)
		}
	}
	token, err := c.Tokens.Token(ctx)
	if err != nil {
		return err
	}
	renewed := false
	for try := 1; ; try++ {
		if err := c.pace(ctx); err != nil {
			return err
		}
		err := c.once(ctx, r, target, token, body, out)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e, ok := errors.AsType[*providers.Error](err)
		wait := time.Second << (try - 1)
		switch {
		case !ok:
			return err
		case StatusOf(err) == http.StatusUnauthorized && !renewed:
			// It may have run out on the way, or have been taken back.
			renewed = true
			if token, err = c.Tokens.Renew(ctx, token); err != nil {
				return err
			}
			continue
		case e.Reason == providers.Throttled:
			wait = max(wait, e.Wait)
		case e.Reason != providers.Unreachable:
			return err
		}
		open := e.Reason == providers.Unreachable && r.Effect != Reads
		if try >= maxTries || wait > longestWait || open && r.Effect == Creates {
			if open {
				e.Err = &OpenError{sha256.Sum256(append([]byte(r.Method+" "+target+" "), body...)), e.Err}
			}
			return err
		}
		if err := c.Clock.Sleep(ctx, wait); err != nil {
			return err
		}
		renewed = false // a wait may be longer than a token lives
	}
}

// url is where path leads: never to another host, which would get the token.
func (c *Client) url(path string) (string, error) {
	if strings.HasPrefix(path, "/") {
		return c.Base + path, nil
	}
	base, err := url.Parse(c.Base)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(path)
	if err != nil || u.Scheme != base.Scheme || !strings.EqualFold(u.Host, base.Host) || u.User != nil {
		return "", fmt.Errorf("%s leads to %.200q, which is not at %s", c.At, path, base.Host)
	}
	return path, nil
}

// pace keeps to the rate: a bucket of Burst requests that fills by one each Every.
func (c *Client) pace(ctx context.Context) error {
	if c.Every <= 0 {
		return ctx.Err()
	}
	now := c.Clock.Now()
	c.mu.Lock()
	if c.ahead.Before(now) {
		c.ahead = now
	}
	c.ahead = c.ahead.Add(c.Every)
	wait := c.ahead.Sub(now) - time.Duration(max(c.Burst, 1))*c.Every
	c.mu.Unlock()
	if wait <= 0 {
		return ctx.Err()
	}
	return c.Clock.Sleep(ctx, wait)
}

func (c *Client) once(ctx context.Context, r Request, target, token string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, r.Method, target, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: %w", r.Op, err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "mxodus")
	if body != nil {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	for name, values := range r.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	req.Header.Set("Authorization", "Bearer "+token)
	e := &providers.Error{Op: r.Op, Subject: r.Subject, Reason: providers.Unreachable, Remedy: "see whether " + c.Base + " can be reached from here, and run the command again"}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		e.Err = https.WithoutURL(err, token)
		return e
	}
	defer func() { _ = resp.Body.Close() }() // it was read, or is given up
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		e.Err = https.WithoutURL(err, token)
		return e
	case len(text) > maxBody:
		e.Reason, e.Err = providers.Protocol, fmt.Errorf("the answer is longer than %d octets", maxBody)
		return e
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		if len(bytes.TrimSpace(text)) == 0 && (out == nil || r.Method != http.MethodGet) {
			return nil
		}
		var any json.RawMessage
		if out == nil { // a page of some proxy isn't the service's yes
			out = &any
		}
		if err := json.Unmarshal(text, out); err != nil {
			e.Reason, e.Err = providers.Protocol, https.Unreadable(text, token, err)
			e.Remedy = "see whether " + c.Base + " is the right endpoint, and whether something between here and there answers in its place"
			return e
		}
		return nil
	}
	return c.refusal(e, r, resp, text, token)
}

// refusal classifies a status other than 2xx (RFC 9110 §15).
func (c *Client) refusal(e *providers.Error, r Request, resp *http.Response, body []byte, token string) error {
	e.Err = Status(resp.StatusCode)
	e.Remedy = "see what the service says"
	if words := strings.TrimSpace(strings.Trim(providers.Conceal(string(body), token), "\x00")); words != "" {
		e.Server = strings.ToValidUTF8(words[:min(len(words), 500)], "�")
	}
	switch s := resp.StatusCode; {
	case s == http.StatusUnauthorized:
		e.Reason = providers.Authentication
	case s == http.StatusForbidden:
		e.Reason = providers.Refused
	case s == http.StatusNotFound:
		// A proxy's page is no word about a user.
		e.Reason, e.Remedy = providers.Protocol, "see whether "+c.Base+" is the right endpoint"
		if json.Valid(body) && len(body) > 0 {
			e.Reason, e.Remedy = providers.NotFound, "see what the service says"
		}
	case s == http.StatusConflict, s == http.StatusPreconditionFailed:
		e.Reason = providers.Conflict
	case s == http.StatusTooManyRequests:
		e.Reason, e.Remedy = providers.Throttled, "wait; the service limits how often it is asked"
		e.Wait = https.RetryAfter(resp.Header.Get("Retry-After"), c.Clock.Now())
	case s == http.StatusServiceUnavailable || s == http.StatusGatewayTimeout:
		e.Reason, e.Remedy = providers.Throttled, "the service has trouble of its own: try again later"
		e.Wait = https.RetryAfter(resp.Header.Get("Retry-After"), c.Clock.Now())
	case s >= 500:
		e.Remedy = "the service has trouble of its own: try again later"
	case s >= 300 && s < 400:
		e.Reason, e.Remedy = providers.Protocol, "the service redirects, which is not followed: see whether "+c.Base+" is the right endpoint"
	default:
		e.Reason = providers.Refused
	}
	if c.Explain != nil {
		c.Explain(e, r, resp.StatusCode, body)
	}
	e.Server, e.Err = providers.Conceal(e.Server, token), providers.ConcealError(e.Err, token) // Explain has unpacked what was packed
	return e
}
