package hosted

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/https"
)

// Client sends JSON requests to a host's interface and turns refusals into
// *providers.Error. It is safe for concurrent use; the fields aren't changed after the first call.
type Client struct {
	Base        string // URL without a final slash
	At          string // the host's name for people
	Credentials plan.SecretRef
	Secrets     providers.Secrets
	Clock       providers.Clock
	// Authorize puts the secret where the host wants it.
	Authorize func(h http.Header, secret string)
	// Words picks the host's own words out of the body of a refusal; "" = the body as it is.
	Words func(body []byte) string
	// Reason reclassifies a refusal by the host's own code; "" leaves what the status says. May be nil.
	Reason func(status int, body []byte) providers.Reason
	// Every is the time between two requests on average; Burst of them may come at once.
	Every time.Duration
	Burst int
	// Timeout bounds one request, its answer read; 0 = 30 seconds.
	Timeout time.Duration
	// HTTP sends; nil = a client of its own. Redirects are never followed: they would carry
	// the secret to wherever they point.
	HTTP *http.Client

	mu    sync.Mutex
	ahead time.Time // when the allowance that is spent so far is paid back
	quiet *http.Client
	skew  time.Duration    // of the host's clock, at its last answer
	told  bool             // whether it has told the time
	used  providers.Secret // the key, as the last request had it
}

// Skew is how far the host's clock was ahead of ours at its last answer (the Date
// field, RFC 9110 §6.6.1); known is false before the first.
func (c *Client) Skew() (ahead time.Duration, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skew, c.told
}

// Status is the HTTP status of a refusal; errors.As finds it in what Do returns.
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
	requestTimeout = 30 * time.Second
	maxBody        = 32 << 20
	maxTries       = 4
	longestWait    = 2 * time.Minute // that a Retry-After may ask for
)

// Do sends one request and reads the answer into out, which may be nil. op says what it
// is for: "read zone". Reading is tried again after network failures and 5xx; every
// request is after 429, which says that it was not carried out. A write
// that got no answer, or a 5xx, is Uncertain.
func (c *Client) Do(ctx context.Context, op, method, path string, in, out any) error {
	resolved, err := c.Secrets.Resolve(ctx, c.Credentials, "")
	if err != nil {
		return err
	}
	secret := strings.TrimSpace(resolved.Reveal())
	if secret == "" || strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return &providers.Error{
			Op: op, Subject: c.At, Reason: providers.Authentication,
			Err: fmt.Errorf("%s is empty or holds characters that no key has", c.Credentials), Remedy: "copy the key again, alone and on one line",
		}
	}
	c.mu.Lock()
	c.used = providers.Keep(secret)
	c.mu.Unlock()
	var body []byte
	if in != nil {
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("%s at %s: %w", op, c.At, err)
		}
	}
	read := method == http.MethodGet
	for try := 1; ; try++ {
		if err := c.pace(ctx); err != nil {
			return err
		}
		err := c.once(ctx, op, method, path, secret, body, out)
		wait := time.Second << (try - 1)
		switch reason := providers.ReasonOf(err); {
		case err == nil || ctx.Err() != nil && reason != providers.Uncertain:
			if err != nil {
				return context.Cause(ctx)
			}
			return nil
		case try == maxTries:
			return err
		case reason == providers.Throttled:
			if e, ok := errors.AsType[*providers.Error](err); ok && e.Wait > 0 {
				wait = e.Wait
			}
			if wait > longestWait {
				return err
			}
		case !read || reason != providers.Unreachable:
			return err
		}
		if err := c.Clock.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// Unreadable is the function of that name for an answer of this client's host: err may quote it, and the host may have put the
// key there.
func (c *Client) Unreadable(zone string, err error) error {
	c.mu.Lock()
	secret := c.used
	c.mu.Unlock()
	return Unreadable(zone, c.At, providers.ConcealError(err, secret.Reveal()))
}

// pace keeps to the rate: a bucket of Burst requests that fills by one each Every.
func (c *Client) pace(ctx context.Context) error {
	if c.Every <= 0 {
		return nil
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
		return nil
	}
	return c.Clock.Sleep(ctx, wait)
}

func (c *Client) client() *http.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.quiet == nil {
		own := http.Client{}
		if c.HTTP != nil {
			own = *c.HTTP
		}
		own.CheckRedirect = https.NoRedirects
		own.Jar = nil
		c.quiet = &own
	}
	return c.quiet
}

func (c *Client) once(ctx context.Context, op, method, path, secret string, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.Timeout, requestTimeout))
	defer cancel()
	connected := false
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected = true }})
	req, err := http.NewRequestWithContext(traced, method, c.Base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s at %s: %w", op, c.At, err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "mxodus")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	c.Authorize(req.Header, secret)

	write := method != http.MethodGet
	e := &providers.Error{Op: op, Subject: c.At, Reason: providers.Unreachable, Remedy: "see whether " + c.Base + " can be reached from here"}
	lost := func(err error) error {
		e.Err = https.WithoutURL(err, secret)
		if write && connected {
			e.Reason, e.Remedy = providers.Uncertain, "read the zone before doing anything else: the update may have been made"
		}
		return e
	}
	resp, err := c.client().Do(req)
	if err != nil {
		return lost(err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read, or is given up
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		c.mu.Lock()
		c.skew, c.told = at.Sub(c.Clock.Now()), true
		c.mu.Unlock()
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err == nil && len(text) > maxBody {
		err = fmt.Errorf("the answer is longer than %d octets", maxBody)
	}
	if err != nil {
		return lost(err)
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		if len(bytes.TrimSpace(text)) == 0 && write {
			return nil
		}
		var any json.RawMessage
		if out == nil { // a page of some proxy isn't the host's yes
			out = &any
		}
		if err := json.Unmarshal(text, out); err != nil {
			e.Reason, e.Err = providers.Protocol, https.Unreadable(text, secret, err)
			e.Remedy = "see whether " + c.Base + " is the right endpoint, and whether something between here and there answers in its place"
			if write {
				e.Reason = providers.Uncertain
			}
			return e
		}
		return nil
	}
	return c.refusal(e, resp, text, secret, write)
}

// refusal classifies a status other than 2xx (RFC 9110 §15).
func (c *Client) refusal(e *providers.Error, resp *http.Response, body []byte, secret string, write bool) error {
	e.Err = Status(resp.StatusCode)
	e.Remedy = "see what the host says, and its panel"
	words := ""
	if c.Words != nil {
		words = c.Words(body)
	}
	if words == "" {
		words = strings.TrimSpace(providers.Conceal(string(body), secret))
		words = strings.ToValidUTF8(words[:min(len(words), 500)], "�")
	}
	if words == "" {
		words = Status(resp.StatusCode).Error()
	}
	e.Server = providers.Conceal(words, secret)
	switch s := resp.StatusCode; {
	case s == http.StatusUnauthorized:
		e.Reason = providers.Authentication
	case s == http.StatusNotFound:
		e.Reason = providers.NotFound
	case s == http.StatusConflict, s == http.StatusPreconditionFailed:
		e.Reason = providers.Conflict
	case s == http.StatusTooManyRequests, s == http.StatusLocked: // either way it was not carried out
		e.Reason = providers.Throttled
		e.Wait = https.RetryAfter(resp.Header.Get("Retry-After"), c.Clock.Now())
		e.Remedy = "wait; the host limits how often it is asked"
	case s >= 500 && write:
		// Nobody knows whether it happened before or after the commit.
		e.Reason, e.Remedy = providers.Uncertain, "read the zone before doing anything else: the update may have been made"
	case s >= 500:
		e.Reason, e.Remedy = providers.Unreachable, "the host has trouble of its own: try again later"
	case s >= 300 && s < 400:
		e.Reason, e.Remedy = providers.Protocol, "the host redirects, which is not followed: see whether "+c.Base+" is the right endpoint"
	default:
		e.Reason = providers.Refused
	}
	if c.Reason != nil {
		if r := c.Reason(resp.StatusCode, body); r != "" {
			e.Reason = r
		}
	}
	if e.Reason == providers.Authentication {
		e.Remedy = fmt.Sprintf("see whether %s is right, still valid and allowed to change DNS", c.Credentials)
	}
	return e
}
