package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan/config"
	"github.com/mxodus/mxodus/providers/canary"
	"github.com/mxodus/mxodus/providers/faults"
)

// secretFields are all attributes of the language that hold a secret, and all ways to say where one is. The
// URL of a webhook is one: whoever knows it may write there.
func secretFields() []string {
	list := []string{"notify url"}
	var walk func(path string, b config.BlockReference)
	walk = func(path string, b config.BlockReference) {
		for _, a := range b.Attributes {
			if a.Type == "secret" || path == "secret" {
				list = append(list, path+" "+a.Name)
			}
		}
		for _, n := range b.Blocks {
			walk(path+" "+n.Type, n)
		}
	}
	for _, b := range config.Describe().Blocks {
		walk(strings.TrimSpace(b.Type+" "+b.Kind), b)
	}
	slices.Sort(list)
	return list
}

// canaries are the secrets of all runs of TestSecretsOfEveryField: one of its own for each field.
type canaries struct {
	mu     sync.Mutex
	fields map[string]string // field -> its canary
}

// run is one migration folder whose secrets are canaries.
type canaryRun struct {
	*folder
	all     *canaries
	secrets map[string]string // what it is called -> the canary
	pages   map[string]string // what was shown besides
}

func (c *canaries) run(f *folder) *canaryRun {
	return &canaryRun{folder: f, all: c, secrets: map[string]string{}, pages: map[string]string{}}
}

// keep makes a canary: with characters that other forms write otherwise.
func keep(field string) string {
	return "Can4ry+/&=\"%7 " + strings.NewReplacer(" ", "-", "_", "").Replace(field)
}

// key is a canary of characters that keys of HTTP interfaces have.
func key(field string) string {
	return "Can4ry+/&=%7." + strings.NewReplacer(" ", "-", "_", "").Replace(field)
}

// used says that the canary of a field has been where it belongs: a double has taken it.
func (r *canaryRun) used(field, secret string, seen bool) {
	r.t.Helper()
	if !seen {
		r.t.Errorf("the secret of %s has not reached its system: looking for it proves nothing", field)
		return
	}
	r.secrets[field] = secret
	r.all.mu.Lock()
	defer r.all.mu.Unlock()
	r.all.fields[field] = secret
}

// end searches everything that was written and printed.
func (r *canaryRun) end() {
	r.t.Helper()
	texts := r.files("secrets")
	r.mu.Lock()
	texts["what was printed"] = r.printed.String()
	r.mu.Unlock()
	maps.Copy(texts, r.pages)
	if len(texts["what was printed"]) < 500 {
		r.t.Errorf("only %d octets were printed", len(texts["what was printed"]))
	}
	found := canary.Leaks(texts, r.secrets)
	for _, line := range found[:min(len(found), 20)] {
		r.t.Error(line)
	}
	faults.Count(r.t, "secrets searched for", canary.Searched(r.secrets))
	octets := 0
	for _, text := range texts {
		octets += len(text)
	}
	r.t.Logf("%d secrets in %d forms, %d texts of %d octets", len(r.secrets), canary.Searched(r.secrets), len(texts), octets)
}

// any runs the program without regard to its exit code, but for that of a bug.
func (f *folder) any(args ...string) string {
	f.t.Helper()
	c := f.start(args...)
	if code := c.code(); code == exitBug || code < 0 {
		f.t.Errorf("mxodus %s: exit code %d\n%s", strings.Join(args, " "), code, tail(c.output(), 3000))
	}
	return c.output()
}

// terminal runs the program on a terminal of its own; what is typed there answers its questions.
func (f *folder) terminal(typed string, args ...string) string {
	f.t.Helper()
	screen := filepath.Join(f.t.TempDir(), "screen")
	in, keys := io.Pipe()
	c := f.startAs("script", []string{"-qefc", "mxodus " + strings.Join(args, " "), screen}, in)
	if typed != "" {
		// What is typed before the question would be shown by the terminal itself.
		for range 1000 {
			if text, _ := os.ReadFile(screen); strings.Contains(string(text), ": ") {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond) // the question comes before the echo goes off
		fmt.Fprint(keys, typed)
	}
	keys.Close()
	<-c.ended
	text, err := os.ReadFile(screen)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(text) + c.output()
}

// TestSecretsOfEveryField runs migrations in which every attribute of the language that holds a secret has one of its own, with
// servers that take it and with servers that quote it when they refuse it, and looks for each of them in all that was
// written and shown. A new attribute fails the test until it has a canary.
func TestSecretsOfEveryField(t *testing.T) {
	t.Parallel()
	all := &canaries{fields: map[string]string{}}
	t.Run("runs", func(t *testing.T) {
		for name, run := range map[string]func(*testing.T, *canaries){
			"a migration":       canaryMigration,
			"where secrets are": canaryPlaces,
			"probes":            canaryProbes,
			"zones":             canaryZones,
			"Microsoft 365":     canaryTenant,
			"Google":            canaryGoogle,
			"IONOS":             canaryIONOS,
		} {
			t.Run(name, func(t *testing.T) { t.Parallel(); run(t, all) })
		}
	})
	owner := map[string]string{}
	fields := secretFields()
	for _, field := range fields {
		c, ok := all.fields[field]
		if !ok {
			t.Errorf("%s has no canary: give it one in a run of this test", field)
			continue
		}
		if other, twice := owner[c]; twice {
			t.Errorf("%s and %s have the same canary", field, other)
		}
		owner[c] = field
	}
	for field := range all.fields {
		if !slices.Contains(fields, field) {
			t.Errorf("%s is no field of the language that holds a secret", field)
		}
	}
	t.Logf("%d fields: %s", len(fields), strings.Join(fields, ", "))
}

const canaryBlocks = `
variable "hook" {
  type = string
}

secret "own" {
  file = "secrets/own"
}

secret "shared" {
  file = "secrets/shared"
}

mailbox "own" {
  source      = "olaf@acme.example"
  target      = "olaf@acme.example"
  credentials = secret.own
}

shared_mailbox "shared" {
  source      = "rita@acme.example"
  target      = "rita@acme.example"
  credentials = secret.shared
}

notify "team" {
  on  = ["gate.waiting", "gate.blocked", "step.failed", "phase.done"]
  url = var.hook
}
`

// canaryMigration is a whole migration between mail servers, with every command before, between and after.
func canaryMigration(t *testing.T, all *canaries) {
	w := startWorld(t, servers{people: 3})
	own := map[string]string{"olaf@acme.example": keep("mailbox credentials"), "rita@acme.example": keep("shared_mailbox credentials")}
	pass := func(else_ string) func(string) string {
		return func(a string) string {
			if p := own[a]; p != "" {
				return p
			}
			return keep(else_) + a
		}
	}
	w.source.pass, w.target.pass = pass("source imap credentials"), pass("target imap credentials")
	listed := w.people
	w.people = append(slices.Clone(w.people), "olaf@acme.example", "rita@acme.example")
	for i, p := range w.people {
		w.source.open(p)
		if i != 2 {
			w.target.open(p)
		}
		w.newMX.Accept(p)
		w.oldMX.Accept(p)
	}
	for _, p := range w.people {
		w.send(w.source, p, "before")
	}
	var hooked sync.Map
	var refuses atomic.Bool
	hook := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		hooked.Store(r.URL.Path, true)
		if refuses.Load() {
			rw.WriteHeader(http.StatusForbidden)
		}
		fmt.Fprintf(rw, "no hook at %s, %s", r.URL.Path, r.RequestURI)
	}))
	t.Cleanup(hook.Close)
	const token = "Can4ry-7f31c0a9-hook"

	w.people = listed
	f := w.migration(pace{lead: 10 * time.Second, provision: 9 * time.Second, notice: 4 * time.Second, repeat: 3 * time.Second, delta: time.Second, hold: 3 * time.Second})
	w.people = append(slices.Clone(listed), "olaf@acme.example", "rita@acme.example")
	r := all.run(f)
	f.write("acme.mx.hcl", f.read("acme.mx.hcl")+canaryBlocks)
	for name, side := range map[string]*mailHost{"old": w.source, "new": w.target} {
		table := "address,password\n"
		for _, a := range listed {
			table += a + `,"` + strings.ReplaceAll(side.pass(a), `"`, `""`) + "\"\n"
		}
		f.write("secrets/"+name+".csv", table)
	}
	f.write("secrets/own", own["olaf@acme.example"]+"\n")
	f.write("secrets/shared", own["rita@acme.example"]+"\n")
	f.env = append(f.env, "MXODUS_VAR_hook="+hook.URL+"/hook/"+token)

	f.open = true
	before := names(t, f.dir)
	f.run(0, "validate")
	f.run(0, "validate", "-json")
	f.any("doctor")
	f.any("doctor", "-json")
	f.run(0, "discover")
	f.run(2, "plan", "-detailed-exitcode", "-out", "plans/0001.plan")
	f.run(0, "plan", "-json")
	const file = "plans/0001.plan"
	// A run that is asked to show its stacks (SIGQUIT), and the next one that goes on from there.
	c := f.start("apply", "-wait", file)
	for range 500 {
		if all := f.files(); strings.Contains(all[".mxodus/state.db-wal"]+all[".mxodus/state.db"], "run.started") {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	_ = c.cmd.Process.Signal(syscall.SIGQUIT)
	if out := c.output(); !strings.Contains(out, "goroutine ") {
		t.Errorf("SIGQUIT shows no stacks:\n%s", tail(out, 1000))
	}
	f.approve("flip")
	f.approve("decommission")
	run := f.start("apply", "-wait", "-json", file)
	looked := false
	for ev := range run.events {
		if ev.State == "by_hand" {
			w.act(f, ev.Step)
		}
		if ev.Type == "phase" && ev.Phase == "bulk_copy" && !looked {
			looked = true
			r.look(file)
			private(t, f.dir, before) // with the logs of databases, and locks
			refuses.Store(true)       // and its words quote the address
		}
	}
	if code := run.code(); code != 0 {
		t.Fatalf("apply: exit code %d\n%s", code, tail(run.output(), 4000))
	}
	r.look(file)
	f.any("rollback", "-to", "provision", "-out", "plans/back.plan")
	f.any("manifest", "verify", "-contents")
	f.run(0, "state", "backup", "backup")
	private(t, f.dir, before)
	_, told := hooked.Load("/hook/" + token)
	if !told {
		hooked.Range(func(k, _ any) bool { t.Logf("the hook was asked for %v", k); return true })
	}
	r.used("notify url", token, told)
	r.used("mailbox credentials", own["olaf@acme.example"], len(w.target.read(t, "olaf@acme.example")["INBOX"]) > 0)
	r.used("shared_mailbox credentials", own["rita@acme.example"], len(w.target.read(t, "rita@acme.example")["INBOX"]) > 0)
	w.source.open("anna@acme.example")
	r.used("source imap credentials", keep("source imap credentials"), len(w.source.read(t, "anna@acme.example")) > 0)
	r.used("target imap credentials", keep("target imap credentials"), len(w.target.read(t, "anna@acme.example")["INBOX"]) > 0)
	r.used("dns rfc2136 key secret", w.dns.key.Secret, len(differences(w.dns.records(t), w.before)) > 0)
	r.used("smtp credentials", smtpPassword, len(w.oldMX.Messages()) > 0)
	r.end()
}

// look is every command that shows something of a migration that is under way.
func (r *canaryRun) look(plan string) {
	r.t.Helper()
	for _, args := range [][]string{
		{"show", plan}, {"show", "-json", plan}, {"show", "-html", plan}, {"show", "-markdown", plan}, {"verify", plan}, {"verify", "-json", plan},
		{"status"}, {"status", "-json"}, {"status", "-metrics"}, {"simulate"}, {"report"}, {"report", "-html", "report.html"}, {"report", "-json"},
		{"check"}, {"check", "-json"}, {"check", "dns"}, {"doctor", "-json"}, {"manifest", "export"}, {"manifest", "find", "late1@other.example"}, {"state", "list"},
		{"notify", "-preview", "users"}, {"providers"}, {"providers", "-schema"}, {"discover", "-json"}, {"plan", "-offline"},
	} {
		r.any(args...)
	}
	r.pages["a terminal"] += r.terminal("", "status") + r.terminal("", "plan")
	c := r.start("serve", "-listen", "127.0.0.1:0", "-json")
	url := serveURL(r.t, c)
	for _, path := range []string{"/", "/live", "/status.json", "/nothing"} {
		r.pages["the page "+path] += fetchPage(r.t, url+path)
	}
	_ = c.cmd.Process.Signal(os.Interrupt)
	<-c.ended
}

// serveURL is where serve says it listens.
func serveURL(t *testing.T, c *child) string {
	t.Helper()
	for ev := range c.events {
		if ev.URL != "" {
			return strings.TrimSuffix(ev.URL, "/")
		}
	}
	t.Fatalf("serve didn't say where it listens:\n%s", c.output())
	return ""
}

func fetchPage(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return fmt.Sprint(resp.Header) + string(body)
}
