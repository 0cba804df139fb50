package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	libdnsapi "github.com/libdns/libdns"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers/google_workspace/googletest"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
	"github.com/mxodus/mxodus/providers/libdns"
	"github.com/mxodus/mxodus/providers/microsoft365/microsoft365test"
	"github.com/mxodus/mxodus/providers/smtp/smtptest"
)

// quotingHost is an IMAP server that takes some passwords and quotes, in every form, those that it refuses.
func quotingHost(t *testing.T, right map[string]string) (*imaptest.Double, func(password string) bool) {
	t.Helper()
	taken := make(chan string, 10_000)
	login := func(user, password string) string {
		if right[user] == password {
			taken <- password
			return ""
		}
		return fmt.Sprintf("NO [AUTHENTICATIONFAILED] %s may not log in with %s: %s", user, password, quoted(user, password))
	}
	d, err := imaptest.NewDouble(imaptest.Manners{
		Before: []string{"AUTH=PLAIN", "AUTH=XOAUTH2", "SASL-IR"}, After: []string{"UIDPLUS", "LITERAL+", "MOVE", "NAMESPACE", "UNSELECT", "SPECIAL-USE"},
		Permanent: []string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`}, Login: login,
		Token: func(user, token string) (string, string) {
			if refusal := login(user, token); refusal != "" {
				return refusal, fmt.Sprintf(`{"status":"401 for %s","schemes":"Bearer","scope":"%s"}`, token, token)
			}
			return "", ""
		},
	}, false, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	for user := range right {
		d.AddAccount(user)
	}
	return d, func(password string) bool {
		for {
			select {
			case got := <-taken:
				if got == password {
					return true
				}
			default:
				return false
			}
		}
	}
}

// plainWorld is what migrations of these tests have in common: a source, a target and name servers that nothing is wrong with.
type plainWorld struct {
	*world
	record *recorder
	blocks map[string]string // of the configuration, by what they are
}

func startPlain(t *testing.T) *plainWorld {
	t.Helper()
	rec := &recorder{}
	w := &plainWorld{record: rec, world: startWorldOn(t, servers{people: 2, record: rec}, strings.Replace(oldZone, "$TTL 4", "$TTL 3600", 1))}
	w.target.open(w.people[1])
	imap := func(kind, name string, h *mailHost) string {
		return fmt.Sprintf("%s \"imap\" {\n  host = \"127.0.0.1\"\n  port = %d\n  tls = \"none\"\n  credentials = secret.%s\n  smtp_probe = \"%s\"\n}\n\nsecret \"%s\" {\n  csv = \"secrets/%s.csv\"\n}\n",
			kind, h.port(), name, w.newMX.Addr, name, name)
	}
	w.blocks = map[string]string{
		"migration": fmt.Sprintf("migration \"acme\" {\n  cutover = \"%s\"\n}\n", time.Now().Add(72*time.Hour).UTC().Format(time.RFC3339)),
		"source":    imap("source", "old", w.source), "target": imap("target", "new", w.target),
		"mailbox": "mailbox \"anna\" {\n  source = \"anna@acme.example\"\n  target = \"anna@acme.example\"\n}\n",
		"dns": fmt.Sprintf("dns \"rfc2136\" {\n  server = \"%s\"\n  key {\n    name = \"mxodus.\"\n    secret = secret.tsig\n  }\n}\n\nsecret \"tsig\" {\n  env = \"TSIG\"\n}\n",
			w.dns.primary),
		"domain": "domain \"acme.example\" {\n  record \"MX\" \"@\" {\n    at = phase.flip\n    values = [\"10 mail.acme.example.\"]\n  }\n}\n",
	}
	return w
}

// folder writes a migration, with some blocks instead of those that it has by itself.
func (w *plainWorld) folder(instead map[string]string, files map[string]string, env ...string) *folder {
	w.t.Helper()
	var hcl strings.Builder
	for _, name := range []string{"migration", "source", "target", "mailbox", "dns", "domain", "more"} {
		text, ok := instead[name]
		if !ok {
			text = w.blocks[name]
		}
		hcl.WriteString(text + "\n")
	}
	all := map[string]string{"acme.mx.hcl": hcl.String(), "secrets/old.csv": "address,password\n", "secrets/new.csv": "address,password\n"}
	for _, p := range w.people {
		all["secrets/old.csv"] += p + "," + sourcePassword(p) + "\n"
		all["secrets/new.csv"] += p + "," + targetPassword(p) + "\n"
	}
	for name, text := range files {
		all[name] = text
	}
	return newFolder(w.t, all, append(env, "TSIG="+w.dns.key.Secret)...)
}

// refused runs what asks the front, for one round of refusals.
func refused(f *folder, fr *front) {
	for i := range quotingStatus {
		f.any([][]string{{"doctor", "-json"}, {"plan"}, {"discover"}, {"doctor"}}[i%4]...)
		fr.next()
	}
}

// canaryZones has a key for each host of zones.
func canaryZones(t *testing.T, all *canaries) {
	w := startPlain(t)
	for kind, start := range zoneDoubles(t) {
		url, secret, store := start("acme.example.")
		for _, set := range []plan.RRset{
			{Name: "acme.example.", Type: "MX", TTL: 3600, Data: []string{"10 mx.old.example.", "20 mx2.old.example."}},
			{Name: "acme.example.", Type: "NS", TTL: 3600, Data: []string{"ns1.acme.example.", "ns2.acme.example."}},
			{Name: "mail.acme.example.", Type: "A", TTL: 3600, Data: []string{"192.0.2.25"}},
		} {
			store.Put(set)
		}
		fr := startFront(t, url)
		if len(kind)%2 == 1 { // the hosts share the rounds
			fr.turn = 2 * len(quotingStatus)
		}
		f := w.folder(map[string]string{"dns": fmt.Sprintf("dns \"%s\" {\n  credentials = secret.zone\n  endpoint = \"%s\"\n  authoritative = [\"%s\"]\n  resolver = \"%s\"\n}\n\nsecret \"zone\" {\n  file = \"secrets/zone\"\n}\n",
			kind, fr.URL, w.dns.primary, w.dns.primary)}, map[string]string{"secrets/zone": secret + "\n"})
		r := all.run(f)
		field := "dns " + kind + " credentials"
		f.any("doctor")
		f.run(0, "plan", "-out", "plans/0001.plan")
		r.used(field, secret, fr.has(secret))
		// Writes are refused with the key in the words, then everything is.
		fr.refuse(true, true)
		f.any("apply", "plans/0001.plan")
		f.any("status", "-json")
		f.any("report")
		fr.refuse(true, false)
		refused(f, fr)
		f.any("apply", "plans/0001.plan")
		wrong := key(field + " wrong")
		f.write("secrets/zone", wrong+"\n")
		r.secrets["a wrong key of "+kind] = wrong
		refused(f, fr)
		r.end()
	}

	// A provider of libdns is a stranger: its errors quote the key, and it may panic with it.
	for _, secret := range []string{key("dns libdns credentials"), key("libdns wrong"), key("libdns panics")} {
		f := w.folder(map[string]string{"dns": fmt.Sprintf("dns \"libdns\" \"canary\" {\n  credentials = secret.zone\n  authoritative = [\"%s\"]\n  resolver = \"%s\"\n}\n\nsecret \"zone\" {\n  env = \"ZONE\"\n}\n",
			w.dns.primary, w.dns.primary)}, nil, "ZONE="+secret)
		r := all.run(f)
		r.secrets["the key of a provider of libdns"] = secret
		if strings.HasSuffix(secret, "-credentials") {
			f.run(0, "plan", "-out", "plans/0001.plan")
			r.used("dns libdns credentials", secret, true)
			f.any("apply", "plans/0001.plan")
		}
		for _, args := range [][]string{{"doctor"}, {"doctor", "-json"}, {"plan"}, {"discover"}} {
			f.any(args...)
		}
		r.end()
	}

	// Without a key block nothing is signed with it.
	inert := keep("dns rfc2136 credentials")
	f := w.folder(map[string]string{"dns": fmt.Sprintf("dns \"rfc2136\" {\n  server = \"%s\"\n  credentials = secret.zone\n}\n\nsecret \"zone\" {\n  env = \"ZONE\"\n}\n", w.dns.primary)}, nil, "ZONE="+inert)
	r := all.run(f)
	r.used("dns rfc2136 credentials", inert, true)
	f.any("doctor")
	f.any("plan")
	f.any("doctor", "-json")
	r.end()
}

// stranger is a provider of libdns in the program of these tests.
type stranger struct{ secret string }

func init() {
	libdns.Register("canary", func(secret string) (libdns.Provider, error) { return stranger{secret}, nil })
}

func (s stranger) fails() error {
	if strings.HasSuffix(s.secret, "-panics") {
		panic("the key " + s.secret + " is a surprise: " + quoted("", s.secret))
	}
	return errors.New("401 for Authorization: Bearer " + s.secret + ", " + quoted("", s.secret))
}

func (s stranger) GetRecords(context.Context, string) ([]libdnsapi.Record, error) {
	if strings.HasSuffix(s.secret, "-credentials") {
		return []libdnsapi.Record{libdnsapi.RR{Name: "@", Type: "MX", TTL: time.Hour, Data: "10 mx.old.example."}, libdnsapi.RR{Name: "@", Type: "MX", TTL: time.Hour, Data: "20 mx2.old.example."}}, nil
	}
	return nil, s.fails()
}

func (s stranger) SetRecords(context.Context, string, []libdnsapi.Record) ([]libdnsapi.Record, error) {
	return nil, s.fails()
}

func (s stranger) DeleteRecords(context.Context, string, []libdnsapi.Record) ([]libdnsapi.Record, error) {
	return nil, s.fails()
}

// canaryTenant has an application's secret on both sides.
func canaryTenant(t *testing.T, all *canaries) {
	w := startPlain(t)
	for _, side := range []string{"source", "target"} {
		app := microsoft365test.Application()
		app.Secret = key(side + " tenant application")
		tenant := microsoft365test.New(app)
		t.Cleanup(tenant.Close)
		tenant.MX = "mail.acme.example"
		tenant.Domains = append(tenant.Domains, &microsoft365test.Domain{Name: "acme.example", Verified: true, Services: []string{"Email"}, MX: "mail.acme.example", DKIM: true})
		tenant.AddUser("anna@acme.example", "Anna")
		tenant.Lock()
		tenant.Principals = append(tenant.Principals, &microsoft365test.Principal{App: app.ClientID, Object: app.ObjectID, Name: "mxodus"})
		for _, m := range tenant.Mailboxes {
			m.Full, m.IMAP = map[string]time.Time{strings.ToLower(app.ObjectID): time.Now().Add(-time.Hour)}, true
		}
		tenant.Unlock()
		boxes, err := tenant.StartIMAP(microsoft365test.IMAPTrouble{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { boxes.Close() })
		fr := startFront(t, tenant.URL)
		block := fmt.Sprintf("%s \"microsoft365\" {\n  tenant = \"acme.onmicrosoft.com\"\n  client_id = \"%s\"\n  credentials = secret.app\n  ca_file = \"new.pem\"\n  smtp_probe = \"%s\"\n  endpoints {\n    login = \"%s/login\"\n    graph = \"%s/graph\"\n    exchange = \"%s/exchange\"\n    imap = \"localhost:%d\"\n  }\n}\n\nsecret \"app\" {\n  file = \"secrets/app\"\n}\n",
			side, app.ClientID, w.newMX.Addr, fr.URL, fr.URL, fr.URL, boxes.Port())
		f := w.folder(map[string]string{side: block}, map[string]string{"secrets/app": app.Secret + "\n", "new.pem": string(boxes.Authority().PEM())})
		r := all.run(f)
		r.secrets["tokens"] = "eyJhbGciOiJSUzI1NiJ9"
		f.any("doctor", "-json")
		f.run(0, "plan", "-out", "plans/0001.plan")
		r.used(side+" microsoft365 credentials", app.Secret, fr.has(app.Secret))
		f.any("apply", "plans/0001.plan")
		// The services refuse, with the token in their words; then the token service does, with the secret.
		services := []string{"/login"}
		if side == "target" {
			services = []string{"/graph", "/exchange", "/login"}
		}
		for _, quotes := range services {
			fr.only(quotes)
			fr.refuse(true, false)
			refused(f, fr)
			f.any("apply", "plans/0001.plan")
		}
		f.any("report", "-json")
		if !fr.quoted(r.secrets["tokens"]) && side == "target" {
			t.Error("no token was quoted: looking for one proves nothing")
		}
		r.end()
	}
}

// canaryGoogle has a service account's key on both sides.
func canaryGoogle(t *testing.T, all *canaries) {
	w := startPlain(t)
	for _, side := range []string{"source", "target"} {
		g, err := googletest.New(googletest.Trouble{}, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { g.Close() })
		g.AddAccount("anna@acme.example")
		fr := startFront(t, strings.TrimSuffix(g.TokenURL(), "/token"))
		block := fmt.Sprintf("%s \"google_workspace\" {\n  credentials = secret.account\n  ca_file = \"new.pem\"\n  smtp_probe = \"%s\"\n  endpoints {\n    token = \"%s\"\n    imap = \"localhost:%d\"\n  }\n}\n\nsecret \"account\" {\n  file = \"secrets/account.json\"\n}\n",
			side, w.newMX.Addr, g.TokenURL(), g.Port())
		f := w.folder(map[string]string{side: block}, map[string]string{"secrets/account.json": g.Key(), "new.pem": string(g.Authority().PEM())})
		r := all.run(f)
		var account struct {
			PrivateKey string `json:"private_key"`
		}
		if err := json.Unmarshal([]byte(g.Key()), &account); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(account.PrivateKey, "\n")
		r.secrets["tokens"], r.secrets["assertions"] = "-of-the-double", "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVC"
		f.any("doctor", "-json")
		f.run(0, "plan", "-out", "plans/0001.plan")
		out := f.any("doctor")
		r.used(side+" google_workspace credentials", lines[len(lines)/2], g.Tokens() > 0 && !strings.Contains(out, "get a token"))
		f.any("apply", "plans/0001.plan")
		f.edit("acme.mx.hcl", g.TokenURL(), fr.URL+"/token")
		fr.refuse(true, false)
		refused(f, fr)
		f.any("apply", "plans/0001.plan")
		if !fr.quoted(r.secrets["assertions"]) {
			t.Error("no assertion was quoted: looking for one proves nothing")
		}
		r.end()
	}
}

// canaryIONOS has mailboxes at IONOS on both sides, right passwords, wrong ones and tokens, at servers that quote them.
func canaryIONOS(t *testing.T, all *canaries) {
	w := startPlain(t)
	for _, side := range []string{"source", "target"} {
		field := side + " ionos credentials"
		right := keep(field)
		d, taken := quotingHost(t, map[string]string{"anna@acme.example": right})
		block := func(auth string) string {
			return fmt.Sprintf("%s \"ionos\" {\n  host = \"127.0.0.1\"\n  port = %d\n  tls = \"none\"\n  auth = \"%s\"\n  credentials = secret.box\n  smtp_probe = \"%s\"\n}\n\nsecret \"box\" {\n  file = \"secrets/box\"\n}\n", side, d.Port(), auth, w.newMX.Addr)
		}
		for i, auth := range []string{"plain", "login", "xoauth2"} {
			f := w.folder(map[string]string{side: block(auth)}, map[string]string{"secrets/box": right + "\n"})
			r := all.run(f)
			f.any("doctor")
			f.run(0, "plan", "-out", "plans/0001.plan")
			if i == 0 {
				r.used(field, right, taken(right))
			}
			wrong := keep(field + " wrong " + auth)
			r.secrets["a password"], r.secrets["a wrong password"] = right, wrong
			f.write("secrets/box", wrong+"\n")
			for _, args := range [][]string{{"doctor"}, {"doctor", "-json"}, {"discover"}, {"plan"}, {"apply", "plans/0001.plan"}, {"status"}, {"check"}, {"report"}} {
				f.any(args...)
			}
			if out := f.any("doctor"); !strings.Contains(out, "may not log in with") {
				t.Errorf("%s: the server's words are not shown:\n%s", auth, out)
			}
			r.end()
		}
		// The same by the command for one mailbox, without a migration.
		f := newFolder(t, map[string]string{"secrets/pw": right, "secrets/wrong": keep("copy wrong")}, "PW="+right)
		r := all.run(f)
		r.secrets["a password"], r.secrets["a wrong password"] = right, keep("copy wrong")
		at := fmt.Sprintf("imap+none://anna%%40acme.example@127.0.0.1:%d", d.Port())
		for _, password := range []string{"env:PW", "file:secrets/wrong", "command:cat secrets/wrong"} {
			for _, more := range [][]string{nil, {"-json"}} {
				f.any(append(append([]string{"copy", "-source-password", "env:PW", "-target-password", password}, more...), at, at)...)
			}
		}
		r.end()
	}
}

// canaryProbes logs in to an outside account, and to a server for notices that quotes what it refuses.
func canaryProbes(t *testing.T, all *canaries) {
	w := startPlain(t)
	right := key("validation probe credentials")
	d, taken := quotingHost(t, map[string]string{"probe": right})
	sends, err := smtptest.Start(smtptest.Config{AcceptAll: true, Username: "probe@outside.example", Password: right})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sends.Close() })
	post := quotingSMTP(t)
	more := fmt.Sprintf(`
secret "outside" {
  file = "secrets/outside"
}

validation {
  probe "trip" {
    imap        = "imap+none://probe@127.0.0.1:%d"
    smtp        = "smtp+none://probe@outside.example@%s"
    credentials = secret.outside
    timeout     = "1s"
  }
}

smtp "office" {
  host        = "127.0.0.1"
  port        = %s
  tls         = "none"
  username    = "it@acme.example"
  credentials = secret.post
  from        = "IT <it@acme.example>"
}

secret "post" {
  file = "secrets/post"
}

notify "users" {
  at       = phase.lower_ttl.start
  to       = [for m in mailbox.anna : m]
  via      = smtp.office
  subject  = "hello"
  template = "notice.txt"
}
`, d.Port(), sends.Addr, post[strings.LastIndexByte(post, ':')+1:])
	more = strings.Replace(more, "[for m in mailbox.anna : m]", `["anna@acme.example"]`, 1)
	f := w.folder(map[string]string{"more": more}, map[string]string{"secrets/outside": right + "\n", "secrets/post": keep("smtp wrong") + "\n", "notice.txt": "hello\n"})
	r := all.run(f)
	r.secrets["the password of smtp"] = keep("smtp wrong")
	f.any("doctor")
	r.used("validation probe credentials", right, taken(right))
	f.run(0, "plan", "-out", "plans/0001.plan")
	wrong := key("probe wrong")
	r.secrets["a wrong password of the probe"] = wrong
	f.write("secrets/outside", wrong+"\n")
	for range 5 { // the ways in which the server quotes
		f.any("doctor")
		f.any("check", "trip")
		f.any("apply", "plans/0001.plan")
	}
	if out := f.any("doctor", "-json"); !strings.Contains(out, "535") || !strings.Contains(out, "may not log in with") {
		t.Errorf("the servers' words are not shown:\n%s", out)
	}
	r.end()
}

// canaryPlaces has a secret in each place that a secret block can name, and in the places where none may be.
func canaryPlaces(t *testing.T, all *canaries) {
	w := startPlain(t)
	places := map[string]string{}
	for _, kind := range []string{"env", "file", "csv", "command", "keyring", "prompt"} {
		places[kind] = keep("secret " + kind)
	}
	d, taken := quotingHost(t, map[string]string{"env": places["env"], "file": places["file"], "csv": places["csv"], "command": places["command"], "keyring": places["keyring"], "prompt": places["prompt"]})
	// The command notes what it and the program that runs it were started with.
	const script = "for p in self $PPID; do tr '\\0' '\\n' < /proc/$p/cmdline; done >> seen.txt\ncat secrets/command\n"
	block := map[string]string{
		"env": `env = "PW"`, "file": `file = "secrets/file"`, "csv": `csv = "secrets/table.csv"`, "command": `command = ["sh", "secrets/script", "{address}"]`,
		"keyring": `keyring = "mxodus/canary"`, "prompt": `prompt = "The password, please"`,
	}
	for kind, secret := range places {
		source := fmt.Sprintf("source \"imap\" {\n  host = \"127.0.0.1\"\n  port = %d\n  tls = \"none\"\n  username = \"%s\"\n  credentials = secret.here\n  smtp_probe = \"%s\"\n}\n\nsecret \"here\" {\n  %s\n}\n", d.Port(), kind, w.newMX.Addr, block[kind])
		f := w.folder(map[string]string{"source": source}, map[string]string{
			"secrets/file": secret + "\n", "secrets/table.csv": "address,password\nanna@acme.example,\"" + strings.ReplaceAll(secret, `"`, `""`) + "\"\n", "secrets/script": script, "secrets/command": secret + "\n",
		}, map[string][]string{"env": {"PW=" + secret}}[kind]...)
		r := all.run(f)
		if kind == "prompt" {
			r.pages["the terminal"] = f.terminal(secret+"\n", "doctor")
			r.used("secret "+kind, secret, taken(secret))
		} else {
			for _, args := range [][]string{{"doctor"}, {"plan", "-out", "plans/0001.plan"}, {"apply", "plans/0001.plan"}, {"verify", "plans/0001.plan"}} {
				f.any(args...)
			}
			// No keyring answers here: what this shows is that asking for one shows nothing.
			r.used("secret "+kind, secret, taken(secret) || kind == "keyring")
		}
		if _, there := f.files()["seen.txt"]; there != (kind == "command") {
			t.Errorf("%s: the command has run: %v", kind, there)
		}
		if kind == "csv" {
			f.write("secrets/table.csv", "address,password\nanna@acme.example,\""+secret+"\nx\n") // a stray quote
			f.any("doctor")
			f.any("doctor", "-json")
		}
		f.any("validate", "-json")
		r.end()
	}

	// Somebody writes the secret itself where its reference belongs: the message shows the line without it.
	f := w.folder(map[string]string{"source": "source \"imap\" {\n  host = \"127.0.0.1\"\n  credentials = \"" + key("literal") + "\"\n}\n",
		"dns": "dns \"rfc2136\" {\n  server = \"127.0.0.1\"\n  key {\n    name = \"mxodus.\"\n    secret = \"" + key("literal key") + "\"\n  }\n}\n"}, nil)
	r := all.run(f)
	r.secrets["a literal"], r.secrets["a literal key"] = key("literal"), key("literal key")
	for _, args := range [][]string{{"validate"}, {"validate", "-json"}, {"plan"}, {"doctor"}, {"copy", "imap+none://anna:" + strings.ReplaceAll(key("literal"), "%", "%25") + "@127.0.0.1", "imap+none://b@127.0.0.1"}} {
		if code := f.start(args...); code.code() == 0 {
			t.Errorf("mxodus %v takes a secret as it is", args[0])
		}
	}
	if err := os.Remove(f.path("acme.mx.hcl")); err != nil { // it is where they are
		t.Fatal(err)
	}
	// The command line that the test wrote itself is no finding.
	f.mu.Lock()
	text := f.printed.String()
	f.printed.Reset()
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "$ ") {
			f.printed.WriteString(line)
		}
	}
	f.mu.Unlock()
	r.end()
}
