// Package mxodus holds the test of the module's structure; the program is in cmd/mxodus.
package mxodus

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"strings"
	"testing"
)

const module = "github.com/mxodus/mxodus"

// layer is what a package may import of this module. The first rule whose
// folder holds the package decides.
var layers = []struct {
	folder string
	may    []string // folders; "x" allows x and everything below it, "=x" x alone
	why    string
}{
	{"cmd", []string{"plan", "providers", "state"}, "the program wires everything"},
	{"plan/apply", []string{"plan", "=providers", "=state"}, "the engine knows contracts, never a provider"},
	{"plan/discover", []string{"plan", "=providers"}, "observing knows contracts, never a provider"},
	{"plan/render", []string{"=plan", "plan/timeline", "plan/inventory"}, "views are pure"},
	{"plan/literal", nil, "a form of text"},
	{"plan/spf", nil, "a form of text"},
	{"plan/trace", nil, "a form of text"},
	{"plan/mailrecords", nil, "a form of text"},
	{"plan/draft", []string{"=plan", "plan/spreadsheet"}, "proposals are pure"},
	{"plan/spreadsheet", nil, "a form of text"},
	{"plan/planfile", []string{"=plan", "plan/planner", "plan/inventory", "plan/literal"}, "reading and writing plans is pure"},
	{"plan/planner", []string{"=plan", "plan/spf", "plan/mailrecords", "plan/inventory", "plan/timeline"}, "the planner is pure"},
	{"plan/timeline", []string{"=plan", "plan/inventory"}, "time is arithmetic"},
	{"plan/config", []string{"=plan", "plan/notice"}, "the language knows the vocabulary alone"},
	{"plan/notice", []string{"=plan"}, "texts for people are pure"},
	{"plan/inventory", []string{"=plan", "plan/literal"}, "facts are values"},
	{"plan", nil, "the vocabulary imports nothing of ours"},
	{"state", []string{"=plan", "state"}, "state imports the vocabulary alone"},
	{"providers/providertest", []string{"=plan", "plan/inventory", "=providers"}, "a suite knows the contract alone"},
	{"providers/imap", []string{"=plan", "=providers", "state", "providers/imap"}, "a provider knows neither the engine nor another provider"},
	{"providers/dns/hosted/hostedtest", []string{"=plan", "=providers", "=providers/faults", "providers/https"}, "a double and its suite know the contract"},
	{"providers/dns", []string{"=plan", "plan/mailrecords", "=providers", "providers/dns", "=providers/https"}, "a provider knows neither the engine nor another provider"},
	{"providers/cloudflare", []string{"=plan", "=providers", "providers/dns", "providers/cloudflare"}, "a host of zones knows what zones have in common, and no other host"},
	{"providers/digitalocean", []string{"=plan", "=providers", "providers/dns", "providers/digitalocean"}, "a host of zones knows what zones have in common, and no other host"},
	{"providers/google_workspace/googletest", []string{"=plan", "=providers", "=providers/imap/imaptest"}, "a double; mail servers are played in one way"},
	{"providers/google_workspace", []string{"=plan", "=providers", "providers/google_workspace", "=providers/https"}, "a provider knows neither the engine nor another provider"},
	{"providers/hetzner", []string{"=plan", "=providers", "providers/dns", "providers/hetzner"}, "a host of zones knows what zones have in common, and no other host"},
	{"providers/ionos/ionostest", []string{"=plan", "=providers", "providers/dns", "providers/ionos", "=providers/imap/imaptest"}, "a double; mail servers are played in one way"},
	{"providers/ionos", []string{"=plan", "=providers", "providers/dns", "providers/ionos"}, "a host of zones knows what zones have in common, and no other host"},
	{"providers/libdns", []string{"=plan", "=providers", "providers/dns", "providers/libdns"}, "a host of zones knows what zones have in common, and no other host"},
	{"providers/microsoft365/microsoft365test", []string{"plan", "=providers", "providers/microsoft365", "=providers/imap/imaptest"}, "a double; mail servers are played in one way"},
	{"providers/microsoft365", []string{"plan", "=providers", "providers/microsoft365", "=providers/https"}, "a provider knows neither the engine nor another provider"},
	{"providers/powerdns", []string{"=plan", "=providers", "providers/dns", "providers/powerdns"}, "a host of zones knows what zones have in common, and no other host"},
	{"providers/smtp/smtptest", []string{"providers/smtp/smtptest", "=providers/dns/dnstest"}, "a double; real servers are started in one way"},
	{"providers/smtp", []string{"=plan", "=providers", "providers/smtp"}, "a provider knows neither the engine nor another provider"},
	{"providers/dkim", []string{"=plan", "=providers"}, "a provider knows neither the engine nor another provider"},
	{"providers/secret", []string{"=plan", "=providers"}, "a provider knows neither the engine nor another provider"},
	{"providers/faults", nil, "what tests share"},
	{"providers/canary", nil, "what tests share"},
	{"providers/leaks", nil, "what tests share"},
	{"providers/tlstest", []string{"=providers/canary"}, "what tests share"},
	{"providers/https", []string{"=providers"}, "what clients of HTTP APIs share"},
	{"providers/webhook", []string{"=providers"}, "a provider knows neither the engine nor another provider"},
	{"providers", []string{"=plan", "plan/inventory"}, "contracts speak the vocabulary"},
}

type listed struct {
	ImportPath string
	Imports    []string
}

func TestImportsRunDownwards(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("go list: %v\n%s", err, e.Stderr)
		}
		t.Fatal(err)
	}
	n := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		from := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if from == "" {
			continue
		}
		n++
		for _, imp := range p.Imports {
			to, ours := strings.CutPrefix(imp, module+"/")
			if ours && !allowed(t, from, to) {
				t.Errorf("%s imports %s", from, to)
			}
		}
	}
	if n < 10 {
		t.Errorf("go list found %d packages: the test looked at nothing", n)
	}
}

func allowed(t *testing.T, from, to string) bool {
	t.Helper()
	for _, l := range layers {
		if !under(from, l.folder) {
			continue
		}
		for _, may := range l.may {
			if exact, ok := strings.CutPrefix(may, "="); ok && to == exact || !ok && under(to, may) {
				return true
			}
		}
		t.Logf("rule of %s: %s", l.folder, l.why)
		return false
	}
	t.Errorf("%s is in no layer: give it one here", from)
	return true
}

func under(p, folder string) bool {
	return p == folder || strings.HasPrefix(p, folder+"/")
}

// TestLayersHaveNames keeps the folders whose names say nothing away.
func TestLayersHaveNames(t *testing.T) {
	out, err := exec.Command("go", "list", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(string(out)) {
		switch path.Base(p) {
		case "util", "utils", "common", "helpers", "misc", "internal":
			t.Errorf("%s: a package is named for what it is", p)
		}
	}
}
