package mailcheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/mailrecords"
)

// longestPolicy is what senders read of a policy (RFC 8461 §3.3 lets them limit it).
const longestPolicy = 64 << 10

func (c *check) mtaSTS(ctx context.Context) {
	const name = "mta_sts"
	at := "_mta-sts." + c.domain
	records, l := c.texts(ctx, at, mailrecords.IsSTS)
	switch {
	case l.err != nil:
		c.unanswered(name, at, l.err)
		return
	case len(records) == 0:
		c.find(name, at, Note, "mta_sts_none", "no MTA-STS policy", "", l.source)
		return
	case len(records) > 1:
		c.find(name, at, Wrong, "mta_sts_many", "there are several records, and senders take notice of none then (RFC 8461 §3.1)", "leave one of them", l.source)
		return
	}
	if _, err := mailrecords.ParseSTS(records[0]); err != nil {
		c.find(name, at, Wrong, "mta_sts_syntax", "senders take no notice of the record: "+err.Error(), "mend it", l.source)
		return
	}
	host := "mta-sts." + c.report.Domain
	if c.options.HTTP == nil {
		c.find(name, host, Note, "mta_sts_not_fetched", "the record is there; the policy itself was not fetched", "", l.source)
		return
	}
	body, err := c.fetch(ctx, "https://"+host+"/.well-known/mta-sts.txt")
	if err != nil {
		c.find(name, host, Wrong, "mta_sts_unreachable", "the record promises a policy that can't be fetched: "+err.Error(), "see that https://"+host+"/.well-known/mta-sts.txt answers 200 with a certificate for its name, without a redirect", l.source)
		return
	}
	policy, err := mailrecords.ParsePolicy(body)
	if err != nil {
		c.find(name, host, Wrong, "mta_sts_policy", "senders take no notice of the policy: "+err.Error(), "mend the file, then give the record a new id", "https://"+host)
		return
	}
	var left []string
	for _, mx := range c.mxHosts {
		if !policy.Allows(mx) {
			left = append(left, strings.TrimSuffix(mx, "."))
		}
	}
	age := plan.FormatDuration(policy.MaxAge)
	switch {
	case len(left) > 0 && policy.Mode == "enforce":
		c.find(name, host, Wrong, "mta_sts_mx", fmt.Sprintf("senders that know the policy refuse %s, for as long as %s (RFC 8461 §5)", strings.Join(left, ", "), age), "add the hosts to the policy and give the record a new id", "https://"+host)
	case len(left) > 0 && policy.Mode == "testing":
		c.find(name, host, Warning, "mta_sts_mx", "the policy doesn't name "+strings.Join(left, ", "), "add the hosts before the mode becomes enforce", "https://"+host)
	default:
		c.find(name, host, Fine, "mta_sts_sound", fmt.Sprintf("mode %s, max_age %s", policy.Mode, age), "", "https://"+host)
	}
}

// fetch reads the policy as senders do: no redirect, 200 alone, plain text (RFC 8461 §3.3).
func (c *check) fetch(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := *c.options.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		return "", errors.Unwrap(err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read, or is given up
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("HTTP %s", resp.Status)
	}
	if t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || t != "text/plain" {
		return "", fmt.Errorf("its type is %q instead of text/plain", resp.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, longestPolicy+1))
	if err == nil && len(body) > longestPolicy {
		err = fmt.Errorf("it is longer than %d octets", longestPolicy)
	}
	return string(body), err
}
