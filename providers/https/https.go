// Package https holds what clients of HTTP APIs have in common: a transport that trusts the authority of
// a ca_file, the wait that an answer names, and errors without the URL, which may hold what nobody should see.
package https

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mxodus/mxodus/providers"
)

// NewTransport returns a transport of TLS 1.2 and above. caFile, relative to root, names authorities to trust besides the
// system's, "" = none: one of one's own signs overridden endpoints alone. now is the time that
// certificates are judged by, nil = the system's. A file that can't be read or holds no certificate is an error.
func NewTransport(root, caFile string, now func() time.Time) (*http.Transport, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // documented
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, Time: now}
	if caFile == "" {
		return transport, nil
	}
	if !filepath.IsAbs(caFile) {
		caFile = filepath.Join(root, caFile)
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("the ca_file can't be read: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("the ca_file holds no certificate")
	}
	transport.TLSClientConfig.RootCAs = roots
	return transport, nil
}

// NoRedirects is the CheckRedirect of clients that carry secrets. Followed, a redirect takes along the body of a POST (307), and the
// token to another port of the same host.
func NoRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// RetryAfter reads seconds or a date (RFC 9110 §10.2.3); 0 = not said, or past.
func RetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if n, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

// Unreadable says that an answer isn't what was asked for, why, and how it begins. secret, which the other side may have sent
// back in any form, is left out of both; body has to be whole, since half a secret isn't known for one.
func Unreadable(body []byte, secret string, err error) error {
	err = providers.ConcealError(err, secret)
	text := strings.TrimSpace(strings.ToValidUTF8(providers.Conceal(string(body), secret), "\ufffd"))
	if text == "" {
		return fmt.Errorf("the answer can't be read: %w", err)
	}
	begins := []rune(text[:min(len(text), 4*200)])
	return fmt.Errorf("the answer can't be read: %w; it begins %q", err, string(begins[:min(len(begins), 200)]))
}

// Sent is a field of the form that an answer's request had as its body, "" when that can't be told: an assertion, which libraries make and
// send without showing it, and which the other side may quote.
func Sent(resp *http.Response, field string) string {
	if resp == nil || resp.Request == nil || resp.Request.GetBody == nil {
		return ""
	}
	body, err := resp.Request.GetBody()
	if err != nil {
		return ""
	}
	defer func() { _ = body.Close() }() // of memory
	text, err := io.ReadAll(body)
	if err != nil {
		return ""
	}
	form, err := url.ParseQuery(string(text))
	if err != nil {
		return ""
	}
	return form.Get(field)
}

// WithoutURL takes method and URL off an error of net/http: the caller says what was asked and where. Such errors quote what can't be
// read of an answer's head, such as a Location; secret is left out of that.
func WithoutURL(err error, secret string) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer in time")
	}
	return providers.ConcealError(err, secret)
}
