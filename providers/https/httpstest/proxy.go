// Package httpstest puts faults before the double of an HTTP API: what services, and the proxies before them, do to their clients, one request
// at a time. Only tests import it.
package httpstest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
)

// Proxy stands before a double and spoils requests. It is safe for concurrent use.
type Proxy struct {
	URL string // scheme and host

	to     string
	server *httptest.Server
	other  *httptest.Server // where redirects and pages lead that lead away
	client *http.Client
	stop   chan struct{}

	mu        sync.Mutex
	fault     *Fault
	next      int // the request from now on that is spoiled
	seen      int
	writes    []int // which of them may change something
	carried   int
	inflicted bool
	astray    int
	poured    int64
	first     map[string]answer // to a GET, since Spoil
}

// TB is what Start needs of a *testing.T.
type TB interface {
	Helper()
	Cleanup(func())
}

// Start runs a proxy before the double at to, a URL without path, until the test ends.
func Start(tb TB, to string) *Proxy {
	tb.Helper()
	p := &Proxy{to: strings.TrimRight(to, "/"), stop: make(chan struct{}), first: map[string]answer{}}
	transport := &http.Transport{DisableCompression: true}
	p.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	p.server = httptest.NewServer(http.HandlerFunc(p.serve))
	p.other = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		p.astray++
		p.mu.Unlock()
		w.WriteHeader(http.StatusOK)
	}))
	p.URL = p.server.URL
	tb.Cleanup(func() {
		close(p.stop)
		p.server.Close()
		p.other.Close()
		transport.CloseIdleConnections()
	})
	return p
}

// Spoil has the nth request from now on meet f, and the following ones too where f lasts. It forgets all counts.
func (p *Proxy) Spoil(n int, f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.next, p.seen, p.carried, p.inflicted, p.poured, p.writes = &f, n, 0, 0, false, 0, nil
	p.first = map[string]answer{}
}

// Clear ends the fault.
func (p *Proxy) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = nil
}

// Counts are the requests since Spoil, and those among them that may change something and that the double has answered with 2xx.
func (p *Proxy) Counts() (requests, carried int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen, p.carried
}

// Writes are the numbers, from 1, of the requests since Spoil that may change something.
func (p *Proxy) Writes() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.writes)
}

// Inflicted reports whether the fault has made a difference.
func (p *Proxy) Inflicted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inflicted
}

// Astray are the requests that went where a redirect or a page has led them.
func (p *Proxy) Astray() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.astray
}

// Poured are the octets of endless answers that the client has taken, by what the system had room for.
func (p *Proxy) Poured() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.poured
}

// answer is what the double has said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// exchange is one request that is spoiled.
type exchange struct {
	p    *Proxy
	w    http.ResponseWriter
	r    *http.Request
	body []byte
	nth  int // since the fault began, from 1
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	x := &exchange{p: p, w: w, r: r, body: body}
	p.mu.Lock()
	p.seen++
	if x.write() {
		p.writes = append(p.writes, p.seen)
	}
	f := p.fault
	if f != nil && (p.seen == p.next || f.Lasts && p.seen > p.next) {
		x.nth = p.seen - p.next + 1
	}
	p.mu.Unlock()
	if x.nth == 0 {
		a, ok := x.forward(r.URL.RequestURI())
		if ok {
			x.send(a)
		}
		return
	}
	f.spoil(x)
}

// forward asks the double.
func (x *exchange) forward(uri string) (answer, bool) {
	req, err := http.NewRequestWithContext(context.WithoutCancel(x.r.Context()), x.r.Method, x.p.to+uri, bytes.NewReader(x.body))
	if err != nil {
		panic(err)
	}
	req.Header = x.r.Header.Clone()
	req.Header.Del("Accept-Encoding")
	req.Host = x.r.Host
	resp, err := x.p.client.Do(req)
	if err != nil {
		return answer{}, false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, false
	}
	a := answer{resp.StatusCode, resp.Header, body}
	x.p.mu.Lock()
	defer x.p.mu.Unlock()
	if x.write() && a.status/100 == 2 {
		x.p.carried++
	}
	if _, known := x.p.first[x.r.URL.RequestURI()]; !known && !x.write() {
		x.p.first[x.r.URL.RequestURI()] = a
	}
	return a, true
}

// write reports whether the request may change something: Exchange's cmdlets that read are POSTs, too.
func (x *exchange) write() bool {
	return x.r.Method != http.MethodGet && !strings.HasPrefix(x.r.Header.Get("X-CmdletName"), "Get-")
}

func (x *exchange) done() {
	x.p.mu.Lock()
	defer x.p.mu.Unlock()
	x.p.inflicted = true
}

func (x *exchange) send(a answer) {
	for k, v := range a.header {
		if k != "Content-Length" && k != "Transfer-Encoding" {
			x.w.Header()[k] = v
		}
	}
	x.w.WriteHeader(a.status)
	_, _ = x.w.Write(a.body) // a client that is gone needs no answer
}

// secret is what the client has shown of itself.
func (x *exchange) secret() string {
	for _, name := range []string{"X-Api-Key", "Authorization"} {
		if v := x.r.Header.Get(name); v != "" {
			return strings.TrimPrefix(v, "Bearer ")
		}
	}
	return ""
}
