package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/dns"
)

// web fetches pages over HTTPS; hosts are found by the domain's own resolver.
type web struct{ servers *dns.NameServers }

// longestPage is what senders read of an MTA-STS policy (RFC 8461 §3.3 lets them limit it).
const longestPage = 64 << 10

// Web implements providers.Webs.
func (s *systems) Web(domain string) (providers.Web, error) {
	z, ok := s.zones[domain]
	if !ok {
		return nil, fmt.Errorf("no dns block holds the records of %s", domain)
	}
	ns, ok := z.servers.(*dns.NameServers)
	if !ok {
		return nil, fmt.Errorf("the name servers of %s find no web servers", domain)
	}
	return web{ns}, nil
}

// Get implements providers.Web. Each call has a connection of its own: pages are
// fetched rarely, and nothing is left open.
func (w web) Get(ctx context.Context, url string) (providers.Page, error) {
	reply, err := w.Ask(ctx, http.MethodGet, url, "")
	return reply.Page, err
}

// Ask implements providers.WebAsker.
func (w web) Ask(ctx context.Context, method, url, body string) (providers.Reply, error) {
	tr := policyTransport(w.servers)
	defer tr.CloseIdleConnections()
	client := &http.Client{
		Transport: tr, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return providers.Reply{}, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "text/xml; charset=utf-8")
	}
	refuse := func(reason providers.Reason, err error) (providers.Reply, error) {
		return providers.Reply{}, &providers.Error{Op: "fetch", Subject: url, Reason: reason, Err: err}
	}
	resp, err := client.Do(req)
	if err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // without the URL, which is the subject
		}
		return refuse(providers.Unreachable, err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read, or is given up
	page, err := io.ReadAll(io.LimitReader(resp.Body, longestPage+1))
	if err != nil {
		return refuse(providers.Unreachable, err)
	}
	if len(page) > longestPage {
		return refuse(providers.TooLarge, fmt.Errorf("the page is longer than %d octets", longestPage))
	}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		kind = ""
	}
	return providers.Reply{
		Page:     providers.Page{Status: resp.StatusCode, Type: strings.ToLower(kind), Body: string(page)},
		Location: resp.Header.Get("Location"),
	}, nil
}
