package main

import (
	"bufio"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// initOptions are the answers that init needs. Flags give them; on a terminal
// what is missing is asked for.
type initOptions struct {
	Name                     string
	From, To                 string // kinds of source and target
	Region, TargetRegion     string // of ionos
	SourceHost, TargetHost   string // of imap
	SourcePort, TargetPort   int    // 0: the default
	SourcePlain, TargetPlain bool   // without TLS: a loopback address with a port of its own
	SMTPProbe                string // of an imap target
	Tenant, ClientID         string // of microsoft365
	License, Country         string
	Domain, DNS, DNSServer   string
	MX, Cutover, Timezone    string
	MXValues                 []string // follow from the target
	SPF, DNSSecret           string
	Directory, Derived       bool
	Google                   bool
	SourceTable, TargetTable bool // passwords stand in secrets/source.csv, secrets/target.csv
}

// question is one answer that init needs.
type question struct {
	flag     string
	text     string
	value    *string
	needed   func(*initOptions) bool   // nil: always
	fallback func(*initOptions) string // nil: an answer is needed
	check    func(string) string       // what is wrong with an answer, "" when nothing is
}

var (
	namePattern    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,62}$`)
	hostPattern    = regexp.MustCompile(`^(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	guidPattern    = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	skuPattern     = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)
	secondsPattern = regexp.MustCompile(`:[0-5][0-9]:[0-5][0-9]$`)
	regionNames    = "com de co.uk es fr it"
)

// regions are where IONOS is: the zone of times and the country of users there.
var regions = map[string]struct{ zone, country string }{
	"de": {"Europe/Berlin", "DE"}, "co.uk": {"Europe/London", "GB"}, "es": {"Europe/Madrid", "ES"},
	"fr": {"Europe/Paris", "FR"}, "it": {"Europe/Rome", "IT"}, "com": {"", "US"},
}

// dnsSecrets names the environment variable that holds the key of a DNS host.
var dnsSecrets = map[string]string{
	"ionos": "IONOS_API_KEY", "cloudflare": "CLOUDFLARE_API_TOKEN", "hetzner": "HETZNER_API_TOKEN",
	"digitalocean": "DIGITALOCEAN_TOKEN", "powerdns": "POWERDNS_API_KEY", "rfc2136": "MXODUS_TSIG", "by_hand": "",
}

func oneOf(list string) func(string) string {
	return func(s string) string {
		if slices.Contains(strings.Fields(list), s) {
			return ""
		}
		return "want one of " + strings.Join(strings.Fields(list), ", ")
	}
}

func matching(p *regexp.Regexp, want string) func(string) string {
	return func(s string) string {
		if p.MatchString(s) {
			return ""
		}
		return "want " + want
	}
}

func always(s string) func(*initOptions) string { return func(*initOptions) string { return s } }

// The kinds that init writes for; what else the language knows is written by hand.
const (
	sourceKinds = "imap ionos google_workspace"
	targetKinds = "imap ionos microsoft365 google_workspace"
	dnsKinds    = "by_hand ionos cloudflare hetzner digitalocean powerdns rfc2136"
)

// questions are in the order in which they are asked: later ones depend on earlier ones.
func (o *initOptions) questions(now time.Time) []question {
	is := func(value *string, kind string) func(*initOptions) bool {
		return func(*initOptions) bool { return *value == kind }
	}
	zoned := func(o *initOptions) bool { return o.Domain != "" }
	host := func(what string) func(string) string { return matching(hostPattern, "the name of "+what) }
	reachable := func(what string) func(string) string { // with a port or without
		return func(s string) string {
			if h, _, err := splitHost(s); err != nil || !hostPattern.MatchString(h) {
				return "want the name of " + what + ", or name:port"
			}
			return ""
		}
	}
	return []question{
		{flag: "from", text: "Where the mail is now: " + strings.ReplaceAll(sourceKinds, " ", ", "), value: &o.From,
			fallback: always("imap"), check: oneOf(sourceKinds)},
		{flag: "region", text: "IONOS region (com, de, co.uk, es, fr, it)", value: &o.Region, needed: is(&o.From, "ionos"), fallback: always("de"), check: oneOf(regionNames)},
		{flag: "source-host", text: "IMAP host that the mail leaves", value: &o.SourceHost, needed: is(&o.From, "imap"), check: reachable("an IMAP host such as imap.old.example")},
		{flag: "to", text: "Where it goes: " + strings.ReplaceAll(targetKinds, " ", ", "), value: &o.To,
			fallback: func(o *initOptions) string {
				if o.From == "ionos" && o.TargetHost == "" {
					return "microsoft365"
				}
				return "imap"
			}, check: oneOf(targetKinds)},
		{flag: "target-region", text: "IONOS region there (com, de, co.uk, es, fr, it)", value: &o.TargetRegion, needed: is(&o.To, "ionos"), fallback: always("de"), check: oneOf(regionNames)},
		{flag: "target-host", text: "IMAP host that the mail goes to", value: &o.TargetHost, needed: is(&o.To, "imap"), check: reachable("an IMAP host such as imap.new.example")},
		{flag: "tenant", text: "Microsoft 365 tenant, such as acme.onmicrosoft.com", value: &o.Tenant, needed: is(&o.To, "microsoft365"),
			check: func(s string) string {
				if guidPattern.MatchString(s) {
					return ""
				}
				if !strings.Contains(s, ".") {
					return "want the tenant's name such as acme.onmicrosoft.com, or its id"
				}
				return host("the tenant such as acme.onmicrosoft.com")(s)
			}},
		{flag: "client-id", text: "Application (client) id of the app registration there", value: &o.ClientID, needed: is(&o.To, "microsoft365"),
			check: matching(guidPattern, "a GUID such as 6f0c1e52-9d1b-4b53-8f0e-0c6d7c7b3a11")},
		{flag: "license", text: "Licence that each user gets, as the tenant calls it", value: &o.License, needed: is(&o.To, "microsoft365"),
			fallback: always("O365_BUSINESS_PREMIUM"), check: matching(skuPattern, "a name such as O365_BUSINESS_PREMIUM")},
		{flag: "country", text: "Country of the users, two letters", value: &o.Country, needed: is(&o.To, "microsoft365"),
			fallback: func(o *initOptions) string { return regions[o.Region].country }, check: matching(regexp.MustCompile(`^[A-Z]{2}$`), "two capital letters such as DE")},
		{flag: "domain", text: "Mail domain whose MX moves (empty: mail only)", value: &o.Domain, fallback: always(""),
			check: func(s string) string {
				if s == "" || hostPattern.MatchString(s) && strings.Contains(s, ".") {
					return ""
				}
				return "want a domain such as acme.example"
			}},
		{flag: "dns", text: "Who holds its zone: " + strings.ReplaceAll(dnsKinds, " ", ", "), value: &o.DNS, needed: zoned,
			fallback: always("by_hand"), check: oneOf(dnsKinds)},
		{flag: "dns-server", text: "Name server that takes signed updates, host:port", value: &o.DNSServer,
			needed: func(o *initOptions) bool { return zoned(o) && o.DNS == "rfc2136" }, check: hostPort},
		{flag: "dns-server", text: "Address of the PowerDNS API, such as http://127.0.0.1:8081", value: &o.DNSServer,
			needed: func(o *initOptions) bool { return zoned(o) && o.DNS == "powerdns" }, check: webAddress},
		{flag: "mx", text: "Host of the new MX", value: &o.MX, needed: func(o *initOptions) bool { return zoned(o) && o.To == "imap" },
			fallback: func(o *initOptions) string { h, _, _ := splitHost(o.TargetHost); return h }, check: host("a mail exchanger such as mx.new.example")},
		{flag: "smtp-probe", text: "Where to ask who takes mail, host:port (empty: port 25 of the new MX; off: nowhere)", value: &o.SMTPProbe,
			needed: func(o *initOptions) bool { return o.To == "imap" && o.SMTPProbe != "" }, check: func(s string) string {
				if s == "off" {
					return ""
				}
				return hostPort(s)
			}},
		{flag: "timezone", text: "Time zone", value: &o.Timezone,
			fallback: func(o *initOptions) string {
				if z := regions[o.Region].zone; z != "" {
					return z
				}
				return "UTC"
			},
			check: func(s string) string {
				if _, err := time.LoadLocation(s); err != nil || s == "Local" || s == "" {
					return "want an IANA name such as Europe/Berlin"
				}
				return ""
			}},
		{flag: "cutover", text: "Cutover, local time", value: &o.Cutover,
			fallback: func(o *initOptions) string {
				loc, err := time.LoadLocation(o.Timezone)
				if err != nil {
					loc = time.UTC
				}
				return friday(now.In(loc)).Format(cutoverForm)
			},
			check: func(s string) string {
				if _, err := time.Parse(cutoverForm, s[:min(len(s), len(cutoverForm))]); err != nil || len(s) > len(cutoverForm) && !secondsPattern.MatchString(s) {
					return "want a local time such as 2027-01-15T18:00"
				}
				return ""
			}},
	}
}

const cutoverForm = "2006-01-02T15:04"

// splitHost takes a port off, where one is given: 0 means the default.
func splitHost(s string) (host string, port int, err error) {
	if !strings.Contains(s, ":") {
		return s, 0, nil
	}
	host, text, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return host, int(n), err
}

// plain reports whether tls = "none" is meant: a server of this machine at a port of its own.
func plain(host string, port int) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() && port != 0 && port != 993
}

func hostPort(s string) string {
	h, p, err := net.SplitHostPort(s)
	if err != nil || !hostPattern.MatchString(h) || !regexp.MustCompile(`^[0-9]{1,5}$`).MatchString(p) {
		return "want host:port such as ns1.acme.example:53"
	}
	return ""
}

func webAddress(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.ContainsAny(s, "\"\\$%{} \t\r\n") {
		return "want an address such as http://127.0.0.1:8081"
	}
	return ""
}

// answers fills in what the flags don't say: by asking on a terminal, else by
// the defaults. An answer that can't be used is asked for again on a terminal,
// and a usage error elsewhere.
func (a *app) answers(o *initOptions) error {
	if o.Name == "" {
		if name := filepath.Base(a.dir); namePattern.MatchString(name) {
			o.Name = name
		} else {
			o.Name = "migration"
		}
	}
	if !namePattern.MatchString(o.Name) {
		return usage("-name %q: want letters, digits, _ and -, beginning with a letter", o.Name)
	}
	// A host says what it is a host of.
	for _, h := range []struct{ host, kind *string }{{&o.SourceHost, &o.From}, {&o.TargetHost, &o.To}} {
		if *h.host != "" && *h.kind == "" {
			*h.kind = "imap"
		}
	}
	ask := a.stdinTTY && !a.json
	in := bufio.NewScanner(a.stdin)
	for _, q := range o.questions(a.clock.Now()) {
		if q.needed != nil && !q.needed(o) {
			continue
		}
		fallback := ""
		if q.fallback != nil {
			fallback = q.fallback(o)
		}
		given := *q.value != ""
		for {
			if !given && ask {
				fmt.Fprint(a.stderr, q.text)
				if fallback != "" {
					fmt.Fprintf(a.stderr, " [%s]", fallback)
				}
				fmt.Fprint(a.stderr, ": ")
				if !in.Scan() {
					ask = false
				}
				*q.value = strings.TrimSpace(in.Text())
			}
			if *q.value == "" {
				*q.value = fallback
			}
			problem := q.check(*q.value)
			if problem == "" {
				break
			}
			if given || !ask {
				return usage("-%s %q: %s", q.flag, *q.value, problem)
			}
			fmt.Fprintf(a.stderr, "  %s\n", problem)
			*q.value = ""
		}
	}
	o.follow()
	return nil
}

// follow sets what follows from the answers.
func (o *initOptions) follow() {
	o.Domain = strings.ToLower(o.Domain)
	// Both were looked at when they were given.
	o.SourceHost, o.SourcePort, _ = splitHost(o.SourceHost)
	o.TargetHost, o.TargetPort, _ = splitHost(o.TargetHost)
	o.SourcePlain, o.TargetPlain = plain(o.SourceHost, o.SourcePort), plain(o.TargetHost, o.TargetPort)
	o.Directory = o.To == "microsoft365"
	o.Derived = o.To == "microsoft365"
	o.Google = o.From == "google_workspace" || o.To == "google_workspace"
	o.SourceTable = o.From != "google_workspace"
	o.TargetTable = o.To == "imap" || o.To == "ionos"
	if o.Domain != "" {
		o.DNSSecret = dnsSecrets[o.DNS]
	}
	switch o.To {
	case "google_workspace": // support.google.com/a/answer/174125
		o.MXValues, o.SPF = []string{"1 smtp.google.com."}, "v=spf1 include:_spf.google.com ~all"
	case "ionos":
		o.MXValues = []string{"10 mx00.ionos." + o.TargetRegion + ".", "10 mx01.ionos." + o.TargetRegion + "."}
		o.SPF = "v=spf1 include:_spf-eu.ionos.com ~all"
		if o.TargetRegion == "com" {
			o.SPF = "v=spf1 include:_spf-us.ionos.com ~all"
		}
	case "imap":
		o.MXValues = []string{"10 " + o.MX + "."}
	}
}

// friday is 18:00 on the first Friday that is four weeks or more from now.
func friday(now time.Time) time.Time {
	days := 28 + (int(time.Friday)-int(now.Weekday())+7)%7
	y, m, d := now.Date()
	return time.Date(y, m, d+days, 18, 0, 0, 0, now.Location())
}
