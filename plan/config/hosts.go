package config

import (
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/mxodus/mxodus/plan"
)

// addressTemplate stands for the address that logs in.
const addressTemplate = "{address}"

// ionosRegions are the endings of imap.ionos.*.
var ionosRegions = []string{"com", "de", "co.uk", "es", "fr", "it"}

func (l *loader) secret(n *node, ctx *hcl.EvalContext) cty.Value {
	b := &body{l: l, syn: n.block.Body, ctx: ctx, at: n.at}
	ref := plan.SecretRef{Name: n.label(0), Pos: n.pos()}
	kinds := attributes(b.syn)
	if len(kinds) != 1 {
		l.errorf(&n.at, "Secret without one place", "A secret block has exactly one of command, csv, env, file, keyring and prompt; this one has %d.", len(kinds))
		return cty.DynamicVal
	}
	ref.Kind = kinds[0].Name
	if ref.Kind == "command" {
		if ref.Argv = b.argv("command"); len(ref.Argv) == 0 || ref.Argv[0] == "" {
			b.errorf("command", "Empty command", "Write the program and its arguments as a list: [\"pass\", \"show\", \"mail/{address}\"].")
		}
		return cty.CapsuleVal(secretType, &ref)
	}
	ref.Ref = b.str(ref.Kind, "")
	switch ref.Kind {
	case "file", "csv":
		ref.Ref = b.path(ref.Kind)
		l.reader.secrets[ref.Ref] = true
		if _, read := l.reader.cache[ref.Ref]; read {
			b.errorf(ref.Kind, "File that an expression has read", "%q is a secret, and an expression that this block depends on reads it.", ref.Ref)
		}
	case "env":
		if name := strings.ReplaceAll(ref.Ref, addressTemplate, ""); strings.ContainsAny(name, "= \x00") || ref.Ref == "" {
			b.errorf("env", "No variable name", "%q is no name of an environment variable.", ref.Ref)
		}
	case "keyring":
		if service, user, ok := strings.Cut(ref.Ref, "/"); !ok || service == "" || user == "" {
			b.errorf("keyring", "No keyring entry", "Write service/user, such as \"mxodus/tsig\".")
		}
	case "prompt":
		if ref.Ref == "" {
			b.errorf("prompt", "Empty prompt", "Write what the person should be asked for.")
		}
	}
	return cty.CapsuleVal(secretType, &ref)
}

// path is a file within the migration's folder, "" when absent.
func (b *body) path(name string) string {
	p := b.str(name, "")
	if p == "" {
		return ""
	}
	clean := cleanPath(p)
	if clean == "." || path.IsAbs(clean) || strings.HasPrefix(clean, "../") || clean == ".." || strings.Contains(clean, "\\") {
		b.errorf(name, "Path outside of the folder", "%q does not lie in the migration's folder: write it relative to the folder, without \"..\".", p)
		return ""
	}
	return clean
}

// literalSecretPaths are the files that secret blocks name in plain text. They are
// known before anything is evaluated, so no expression can read them first.
func (l *loader) literalSecretPaths() {
	for _, n := range l.blocks {
		if n.root != "secret" {
			continue
		}
		for _, name := range []string{"file", "csv"} {
			if a := n.block.Body.Attributes[name]; a != nil {
				if v, diags := a.Expr.Value(nil); !diags.HasErrors() && v.Type() == cty.String && v.IsKnown() && !v.IsNull() {
					l.reader.secrets[cleanPath(v.AsString())] = true
				}
			}
		}
	}
}

func (l *loader) host(n *node, ctx *hcl.EvalContext) cty.Value {
	b := &body{l: l, syn: n.block.Body, ctx: ctx, at: n.at}
	h := plan.Host{
		Kind: n.label(0), Name: n.label(1),
		CAFile:      b.path("ca_file"),
		Credentials: b.credentials("credentials"),
		Limits:      b.limits(),
		Oversize:    b.oversize(),
		Settings:    map[string]string{},
		Pos:         n.pos(),
	}
	if n.root == "source" {
		h.Retire = b.word("retire", "by_hand", "by_hand", "keep")
	} else {
		h.Submission = b.submission("submission")
	}
	if probe := b.str("smtp_probe", ""); probe != "" {
		h.SMTPProbe = probe
		if probe != "off" {
			h.SMTPProbe = b.hostPort("smtp_probe", 25)
		}
	}
	switch h.Kind {
	case "microsoft365":
		b.microsoft365(&h)
	case "google_workspace":
		b.googleWorkspace(&h)
	default:
		b.imap(&h)
	}
	if len(h.Settings) == 0 {
		h.Settings = nil
	}
	if n.root == "source" {
		l.m.Sources = append(l.m.Sources, h)
	} else {
		l.m.Targets = append(l.m.Targets, h)
	}
	return cty.True // hostValue makes what expressions see
}

// imap reads what IMAP hosts have in common.
func (b *body) imap(h *plan.Host) {
	h.Hostname = b.hostname("host")
	if h.Kind == "ionos" {
		h.Settings["region"] = b.word("region", "com", ionosRegions...)
		if !b.has("host") {
			h.Hostname = "imap.ionos." + h.Settings["region"]
		}
	}
	h.TLS = b.tls(h.Hostname)
	standard := 993 // RFC 8314 §3.2
	if h.TLS != plan.TLSImplicit {
		standard = 143
	}
	h.Port = b.integer("port", standard, 1, 65535)
	h.Username = b.str("username", addressTemplate)
	h.Auth = b.word("auth", "plain", "plain", "login", "xoauth2")
	h.Namespace = b.str("namespace", "")
}

func (b *body) microsoft365(h *plan.Host) {
	h.TLS, h.Username, h.Auth = plan.TLSImplicit, addressTemplate, "xoauth2"
	h.Settings["tenant"] = b.str("tenant", "")
	h.Settings["client_id"] = b.str("client_id", "")
	h.Settings["cloud"] = b.word("cloud", "global", "global", "usgov", "china")
	h.Settings["exchange"] = b.word("exchange", "rest", "rest", "by_hand")
	for _, name := range []string{"tenant", "client_id"} {
		if b.has(name) && h.Settings[name] == "" {
			b.errorf(name, "Empty value", "%q is empty: the tenant's portal shows it.", name)
		}
	}
	b.endpoints(h, "login", "graph", "exchange")
}

// googleWorkspace is IMAP by a service account with domain-wide delegation:
// its key names the token service, each address the person it stands for.
func (b *body) googleWorkspace(h *plan.Host) {
	h.Hostname, h.Port = "imap.gmail.com", 993
	h.TLS, h.Username, h.Auth = plan.TLSImplicit, addressTemplate, "xoauth2"
	b.endpoints(h, "token")
}

// endpoints reads other addresses for a host's services: base URLs, and
// host:port for IMAP.
func (b *body) endpoints(h *plan.Host, web ...string) {
	e := b.nested("endpoints")
	for _, name := range web {
		if u := e.webURL(name); u != "" {
			h.Settings["endpoints."+name] = u
		}
	}
	if imap := e.hostPort("imap", 993); imap != "" {
		h.Settings["endpoints.imap"] = imap
	}
}

func (b *body) limits() plan.Limits {
	n := b.nested("limits")
	return plan.Limits{
		ConnectionsPerMailbox: n.integer("connections_per_mailbox", 5, 1, 100),
		ConnectionsTotal:      n.integer("connections_total", 50, 1, 10_000),
		MessagesPerSecond:     n.rate("messages_per_second", 1e6),
		BytesPerSecond:        n.size("bytes_per_second"),
		MaxMessageSize:        n.size("max_message_size"),
		DoubtGrace:            n.duration("doubt_grace", 120*time.Second, 0, 24*time.Hour),
		StallTimeout:          n.duration("stall_timeout", 60*time.Second, time.Millisecond, 24*time.Hour),
	}
}

func (b *body) oversize() plan.Oversize {
	n := b.nested("oversize")
	return plan.Oversize{Limit: n.size("limit"), Action: n.word("action", "quarantine", "quarantine")}
}

// hostname is a host name or IP address, "" when absent.
func (b *body) hostname(name string) string {
	s := b.str(name, "")
	if !b.has(name) {
		return ""
	}
	host, err := parseHost(s)
	if err != nil {
		b.errorf(name, "No host", "%v; the port is an attribute of its own.", err)
	}
	return host
}

// hostPort is "host:port", "" when absent; port 0 makes the port necessary.
func (b *body) hostPort(name string, port int) string {
	s := b.str(name, "")
	if s == "" {
		return ""
	}
	hp, err := parseHostPort(s, port)
	if err != nil {
		b.errorf(name, "No host and port", "%v.", err)
	}
	return hp
}

func (b *body) hostPorts(name string, port int) []string {
	var out []string
	for _, s := range b.strs(name) {
		hp, err := parseHostPort(s, port)
		if err != nil {
			b.errorf(name, "No host and port", "%v.", err)
			continue
		}
		out = append(out, hp)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// tls is the mode; without protection only a loopback address is accepted.
func (b *body) tls(host string) plan.TLSMode {
	mode := plan.TLSMode(b.word("tls", string(plan.TLSImplicit), "implicit", "starttls", "none"))
	if mode == plan.TLSNone && host != "" && !isLoopback(host) {
		b.errorf("tls", "Unprotected connection", "tls = \"none\" is for a loopback address alone: mail and password would be readable on the way to %s.", host)
	}
	return mode
}

// webURL is an https base URL without a final slash, "" when absent.
func (b *body) webURL(name string) string {
	s := b.str(name, "")
	if s == "" {
		return ""
	}
	if err := checkWebURL(s); err != nil {
		b.errorf(name, "No URL", "%q: %v.", name, err)
		b.redact()
		return ""
	}
	return strings.TrimRight(s, "/")
}

func checkWebURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("want a URL such as https://host/path")
	case u.User != nil:
		return errors.New("a URL with a password in it would be committed: leave it out")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return errors.New("http is for a loopback address alone: write https")
	}
	return nil
}

func (l *loader) smtp(n *node, ctx *hcl.EvalContext) cty.Value {
	b := &body{l: l, syn: n.block.Body, ctx: ctx, at: n.at}
	s := plan.SMTPServer{
		Name: n.label(0), Host: b.hostname("host"),
		Username: b.str("username", ""), Credentials: b.credentials("credentials"),
		From: b.str("from", ""), CAFile: b.path("ca_file"), Pos: n.pos(),
	}
	s.TLS = b.tls(s.Host)
	standard := map[plan.TLSMode]int{plan.TLSImplicit: 465, plan.TLSStart: 587, plan.TLSNone: 25}[s.TLS]
	s.Port = b.integer("port", standard, 1, 65535)
	from, err := mail.ParseAddress(s.From)
	if err != nil {
		b.errorf("from", "No sender", "%q is no sender: write \"IT <it@acme.example>\" (RFC 5322 §3.4).", s.From)
		return nameVal("smtp", s.Name)
	}
	if s.Username == "" && !s.Credentials.IsZero() {
		s.Username = from.Address
	}
	if s.Username != "" && s.Credentials.IsZero() {
		b.errorf("username", "User without a secret", "Add credentials = secret.NAME, or leave the username out to hand in mail without a login.")
	}
	l.m.SMTP = append(l.m.SMTP, s)
	return nameVal("smtp", s.Name)
}

func (l *loader) zone(n *node, ctx *hcl.EvalContext) cty.Value {
	b := &body{l: l, syn: n.block.Body, ctx: ctx, at: n.at}
	safety := b.nested("safety")
	z := plan.ZoneConfig{
		Kind: n.label(0), Name: n.label(1),
		Zone: b.fqdn("zone"), Credentials: b.credentials("credentials"), Endpoint: b.webURL("endpoint"),
		Authoritative: b.hostPorts("authoritative", 53), Resolver: b.hostPort("resolver", 53), Observe: b.hostPorts("observe", 53),
		MaxDeletes: safety.integer("max_deletes", -1, 0, 1_000_000),
		Unmanaged:  safety.word("unmanaged", "keep", "keep"),
		Pos:        n.pos(),
	}
	if z.Kind == "rfc2136" {
		z.Server = b.hostPort("server", 53)
		if host, _, err := net.SplitHostPort(z.Server); err == nil && isLoopback(host) && len(z.Authoritative) == 0 {
			z.Authoritative = []string{z.Server}
		}
		if len(b.blocks("key")) > 0 {
			key := b.nested("key")
			z.KeyName = key.fqdn("name")
			z.KeyAlgorithm = key.word("algorithm", "hmac-sha256", "hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512")
			if z.Credentials = key.credentials("secret"); b.has("credentials") {
				b.errorf("credentials", "Two secrets", "The key block's secret signs updates (RFC 8945): leave credentials out.")
			}
		} else if b.has("credentials") {
			b.errorf("credentials", "Secret without a key", "Updates are signed with a key that has a name (RFC 8945): a key block with name and secret, instead of credentials.")
		}
	} else if z.Kind != "by_hand" && !b.has("credentials") {
		l.errorf(&n.at, "Missing attribute", "A dns block of kind %s needs %q.", z.Kind, "credentials")
	}
	l.m.Zones = append(l.m.Zones, z)
	return cty.True
}

// fqdn is a domain name, lower case with a final dot; "" when absent.
func (b *body) fqdn(name string) string {
	s := b.str(name, "")
	if s == "" {
		return ""
	}
	out, err := relativeName(s)
	if err != nil || out == "@" {
		b.errorf(name, "No domain name", "%q is no domain name.", s)
		return ""
	}
	return out + "."
}

// relativeName checks the labels of a name in a zone, which may begin with
// "_" or be "*", and returns it in lower case without a final dot.
func relativeName(s string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	if name == "@" {
		return name, nil
	}
	if len(name) > 253 {
		return "", fmt.Errorf("%q is longer than 253 octets", s)
	}
	for i, label := range strings.Split(name, ".") {
		bad := strings.ContainsFunc(label, func(r rune) bool {
			return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
		})
		if i == 0 && label == "*" {
			continue
		}
		if label == "" || len(label) > 63 || bad {
			return "", fmt.Errorf("%q is no name in a zone: want letters, digits, \"-\" and \"_\" between dots", s)
		}
	}
	return name, nil
}
