package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/render"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/cloudflare"
	"github.com/mxodus/mxodus/providers/digitalocean"
	"github.com/mxodus/mxodus/providers/hetzner"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/ionos"
)

// behind looks behind refused logins. Other hosts of a provider are tried for a few
// mailboxes and not for all: when the region is wrong, it is wrong for every one, and hosts
// count refused logins.
type behind struct {
	mu    sync.Mutex
	tried map[string]int    // host's key -> mailboxes that other hosts were tried for
	found map[string]string // host's key -> the host that took the password
}

const triedElsewhere = 2

func newBehind() *behind { return &behind{tried: map[string]int{}, found: map[string]string{}} }

// login returns what looks behind the login of an address at the host of that key.
func (b *behind) login(hosts map[string]imap.Host, key, address string, credentials plan.SecretRef) func(context.Context, error) imap.Diagnosis {
	return func(ctx context.Context, err error) imap.Diagnosis {
		h, ok := hosts[key]
		if !ok {
			return imap.Diagnosis{Code: "failed", Detail: err.Error()}
		}
		others := b.others(key, h.Dialer.Host)
		d := h.Diagnose(ctx, providers.Account{Address: address, Credentials: credentials}, err, others)
		if d.Code == imap.WrongHost {
			host := strings.TrimPrefix(d.Remedy, "use ")
			d.Remedy = fmt.Sprintf("set region = %q in the block", strings.TrimPrefix(host, "imap.ionos."))
			b.mu.Lock()
			b.found[key] = host
			b.mu.Unlock()
		}
		return d
	}
}

// others are the hosts to try for one more mailbox.
func (b *behind) others(key string, h plan.Host) []string {
	if h.Kind != "ionos" || !strings.HasPrefix(h.Hostname, "imap.ionos.") {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if host := b.found[key]; host != "" {
		return []string{host}
	}
	if b.tried[key]++; b.tried[key] > triedElsewhere {
		return nil
	}
	var list []string
	for _, r := range strings.Fields(regionNames) {
		list = append(list, "imap.ionos."+r)
	}
	return list
}

// lagging is the error for two name servers that serve different records.
func lagging(ctx context.Context, ns providers.NameServers, domain string, first, other providers.Answer) error {
	e := &codedError{code: "name_server_lag",
		detail: fmt.Sprintf("%s serves %s, and %s serves %s", first.Server, strings.Join(first.Set.Lines(), ", "), other.Server, strings.Join(other.Set.Lines(), ", ")),
		remedy: "wait until the zone has reached every name server, or mend the one that lags; the flip waits for all of them"}
	a, err1 := ns.Serial(ctx, first.Server, domain)
	b, err2 := ns.Serial(ctx, other.Server, domain)
	if err1 == nil && err2 == nil && a != b {
		late := other.Server
		if int32(a-b) < 0 { // RFC 1982
			late = first.Server
		}
		e.detail += fmt.Sprintf("; %s is behind (serial %d and %d)", late, a, b)
	}
	return e
}

// port25Timeout is how long one exchanger may take to answer.
const port25Timeout = 8 * time.Second

// port25Trials ask whether this machine may connect to port 25: checks before the flip need it
// where a target has neither a directory nor a smtp_probe. The exchangers that the domain has today are
// as good as any.
func port25Trials(m *plan.Migration, sys *systems) []trial {
	var list []trial
	for _, d := range m.Domains {
		target, ok := m.Target(d.Mail)
		zone, zoned := m.Zone(d.Zone)
		if !ok || !zoned || target.SMTPProbe != "" || target.Kind == "microsoft365" || target.Kind == "google_workspace" || !zone.Worldly() {
			continue
		}
		list = append(list, trial{check: "port_25", subject: d.Name, pos: target.Pos.String(), try: func(ctx context.Context) (string, error) {
			ns, err := sys.NameServers(d.Name)
			if err != nil {
				return "", err
			}
			return port25(ctx, ns, d.Name, (&net.Dialer{}).DialContext)
		}})
	}
	return list
}

func port25(ctx context.Context, ns providers.NameServers, domain string, dial func(context.Context, string, string) (net.Conn, error)) (string, error) {
	mx, err := ns.Resolve(ctx, domain+".", "MX")
	if err != nil {
		return "", err
	}
	var failures []string
	for _, data := range mx.Set.Data {
		_, host, _ := strings.Cut(data, " ")
		if host == "." || host == "" {
			continue
		}
		host = strings.TrimSuffix(host, ".")
		dialed, cancel := context.WithTimeout(ctx, port25Timeout)
		conn, err := dial(dialed, "tcp", net.JoinHostPort(host, "25"))
		cancel()
		if err == nil {
			conn.Close()
			return "port 25 of " + host + " can be reached", nil
		}
		if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
			continue // that is the zone's fault, and no sign of a firewall
		}
		failures = append(failures, host+": "+err.Error())
	}
	if len(failures) == 0 {
		return "no exchanger of today is known, so it was not tried", nil
	}
	return "", &codedError{code: "port_25_blocked", detail: "no exchanger can be reached at port 25 (" + strings.Join(failures, "; ") + ")",
		remedy: `many networks block port 25: run mxodus where it is open, or set smtp_probe = "host:port" or "off" in the target`}
}

// --- the clock --------------------------------------------------------------------

// clockLimit is how far a clock may be off: tokens, signed updates and the
// flip's moment depend on it (RFC 8945 gives TSIG five minutes).
const clockLimit = time.Minute

// apis are where the hosts' HTTP interfaces are.
var apis = map[string]string{
	"cloudflare": cloudflare.Endpoint, "digitalocean": digitalocean.Endpoint, "hetzner": hetzner.Endpoint, "ionos": ionos.Endpoint,
}

// clockTrial compares the clock with the Date of a HTTPS answer, where the
// migration speaks to somebody who sends one. Nobody else is asked. client is
// nil but in tests.
func clockTrial(m *plan.Migration, clock providers.Clock, client *http.Client) (trial, bool) {
	var list []string
	for _, z := range m.Zones {
		switch {
		case z.Endpoint != "":
			list = append(list, z.Endpoint)
		case apis[z.Kind] != "":
			list = append(list, apis[z.Kind])
		}
	}
	for _, h := range slices.Concat(m.Targets, m.Sources) {
		if h.Kind == "microsoft365" {
			if login := h.Settings["endpoints.login"]; login != "" {
				list = append(list, login)
			} else {
				list = append(list, "https://login.microsoftonline.com")
			}
		}
	}
	list = slices.DeleteFunc(list, func(u string) bool { return !strings.HasPrefix(u, "https://") })
	if len(list) == 0 {
		return trial{}, false
	}
	if client == nil {
		client = &http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return trial{check: "clock", subject: "this machine", try: func(ctx context.Context) (string, error) { return clockAgainst(ctx, client, clock, list[0]) }}, true
}

func clockAgainst(ctx context.Context, client *http.Client, clock providers.Clock, address string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
	if err != nil {
		return "", err
	}
	before := clock.Now()
	resp, err := client.Do(req)
	if err != nil {
		return "the time of " + req.URL.Host + " can't be had: not compared", nil // another trial tells of a host that is out of reach
	}
	resp.Body.Close()
	there, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return req.URL.Host + " tells no time: not compared", nil
	}
	// The answer's time lies between asking and reading; Date has whole seconds.
	off := before.Add(clock.Now().Sub(before) / 2).Sub(there)
	if off.Abs() <= clockLimit {
		return "the clock agrees with " + req.URL.Host, nil
	}
	where := "ahead of"
	if off < 0 {
		where = "behind"
	}
	return "", &codedError{code: "clock_off", detail: fmt.Sprintf("the clock is %s %s %s", render.Span(off.Abs()), where, req.URL.Host),
		remedy: "let the system keep its time (timedatectl set-ntp true): tokens, signed DNS updates and the moment of the flip depend on it"}
}
