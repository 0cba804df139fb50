package microsoft365_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers/microsoft365"
)

var update = flag.Bool("update", false, "write the script that TestScript compares with")

// TestScript: the script for a person says what the cmdlets would have done, and no name in it can become
// a command.
func TestScript(t *testing.T) {
	evil := "Rem'; Remove-Mailbox x; ‘$(Get-Date)\n& calc"
	m := &plan.Migration{
		Mailboxes: []plan.Mailbox{
			{Kind: plan.UserMailbox, Target: "anna@acme.example", On: "microsoft365"},
			{Kind: plan.SharedMailbox, Target: "info@acme.example", On: "microsoft365", DisplayName: evil, FullAccess: []string{"anna@acme.example"}, SendAs: []string{"o'neil@acme.example"}},
			{Kind: plan.CatchAllMailbox, Target: "rest@acme.example", On: "microsoft365"},
		},
		Aliases:    []plan.Alias{{Address: "sales@acme.example", Deliver: "anna@acme.example", On: "microsoft365"}},
		Lists:      []plan.List{{Address: "team@acme.example", Members: []string{"anna@acme.example"}, On: "microsoft365"}},
		Forwarders: []plan.Forwarder{{Address: "bills@acme.example", Deliver: []string{"x@elsewhere.example"}, On: "microsoft365"}, {Address: "kept@acme.example", Deliver: []string{"x@elsewhere.example"}, KeepCopy: true, On: "microsoft365"}},
		Domains:    []plan.Domain{{Name: "acme.example", Mail: "microsoft365"}},
	}
	host := plan.Host{Kind: "microsoft365", Oversize: plan.Oversize{Limit: 150 << 20}, Settings: map[string]string{"tenant": "acme.onmicrosoft.com", "client_id": "6f0c1e52-9d1b-4b53-8f0e-0c6d7c7b3a11", "exchange": "by_hand"}}
	p := &plan.Plan{Header: plan.Header{Name: "acme\nRemove-Mailbox x", Number: 3}}
	for _, a := range []string{"domain/acme.example/keys", "shared/info@acme.example", "access/anna@acme.example", "access/info@acme.example", "catchall/rest@acme.example",
		"alias/sales@acme.example", "list/team@acme.example", "forwarder/bills@acme.example", "forwarder/kept@acme.example", "domain/acme.example/dkim"} {
		_, rest, _ := strings.Cut(a, "/")
		p.Steps = append(p.Steps, plan.Step{Address: a, Action: plan.ByHand, To: []string{rest + " at microsoft365"}})
	}
	p.Steps = append(p.Steps, plan.Step{Address: "retire/anna@acme.example", Action: plan.ByHand})
	got := microsoft365.Script(p, m, host)
	golden := filepath.Join("testdata", "exchange.ps1")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the script has changed; go test -update writes it, for review:\n%s", got)
	}
	for line := range strings.SplitSeq(got, "\n") {
		if strings.HasPrefix(line, "Remove-") || strings.HasPrefix(line, "& ") {
			t.Errorf("a name became a command: %s", line)
		}
	}
	if microsoft365.Script(&plan.Plan{}, m, host) != "" {
		t.Error("a script without a step")
	}
	if pwsh, err := exec.LookPath("pwsh"); err == nil {
		out, err := exec.Command(pwsh, "-NoProfile", "-Command", "$e = $null; [void][System.Management.Automation.Language.Parser]::ParseFile('"+golden+"', [ref]$null, [ref]$e); $e.Count").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "0" {
			t.Errorf("PowerShell's own parser: %s, %v", out, err)
		}
	}
}
