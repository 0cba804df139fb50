package planfile

import (
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/plan/planner"
)

func world() (*plan.Migration, *inventory.Inventory) {
	m := &plan.Migration{
		Name: "lab", Timezone: "UTC", Cutover: time.Date(2027, 1, 15, 17, 0, 0, 0, time.UTC),
		Sources:   []plan.Host{{Kind: "imap", Name: "old"}},
		Targets:   []plan.Host{{Kind: "imap", Name: "new"}},
		Mailboxes: []plan.Mailbox{{Block: "u", Source: "a@lab.example", Target: "a@lab.example", From: "imap.old", On: "imap.new"}},
		Domains: []plan.Domain{{Name: "lab.example", TTLDuring: 300 * time.Second, TTLRestore: time.Hour, SPF: "replace",
			Records: []plan.Record{{Type: "MX", Name: "@", At: plan.Flip, Values: []string{"10 mx.new.example."}}}}},
	}
	inv := &inventory.Inventory{
		Lineage: "l1", Sources: []inventory.Mailbox{{Host: "imap.old", Address: "a@lab.example", Exists: true}},
		Domains: []inventory.Domain{{Name: "lab.example", Sets: []inventory.RRset{{RRset: plan.RRset{Name: "lab.example.", Type: "MX", TTL: 3600, Data: []string{"10 mx.old.example."}}, OldTTL: 3600}}}},
	}
	return m, inv
}

func TestVerify(t *testing.T) {
	m, inv := world()
	parent := "sha256:aa"
	made := func() *plan.Plan {
		p := planner.Make(planner.Input{Migration: m, Inventory: inv, Number: 2, Parent: parent})
		data, err := Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		if p, err = Decode(data); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range []struct {
		name   string
		change func(p *plan.Plan, m *plan.Migration, inv *inventory.Inventory, parent *string)
		want   string // "" : the same
	}{
		{"as it was made", func(*plan.Plan, *plan.Migration, *inventory.Inventory, *string) {}, ""},
		{"a step less", func(p *plan.Plan, _ *plan.Migration, _ *inventory.Inventory, _ *string) { p.Steps = p.Steps[1:] }, "the plan lacks the step account/a@lab.example"},
		{"a step more", func(p *plan.Plan, _ *plan.Migration, _ *inventory.Inventory, _ *string) {
			p.Steps = append(p.Steps, plan.Step{Address: "dns/lab.example/A/@", Phase: plan.Flip, Action: plan.Delete})
		}, "the step dns/lab.example/A/@ has no cause"},
		{"another record", func(p *plan.Plan, _ *plan.Migration, _ *inventory.Inventory, _ *string) {
			for i := range p.Steps {
				if p.Steps[i].Address == "dns/lab.example/MX/@" {
					p.Steps[i].To = []string{"300 MX 10 mx.evil.example."}
				}
			}
		}, "mx.evil.example"},
		{"a gate without approval", func(p *plan.Plan, _ *plan.Migration, _ *inventory.Inventory, _ *string) {
			p.Gates = append(p.Gates, plan.Gate{Name: "flip"})
		}, "the gates differ"},
		{"a finding less", func(p *plan.Plan, _ *plan.Migration, _ *inventory.Inventory, _ *string) { p.Findings = nil }, "the plan leaves out that"},
		{"a finding more", func(p *plan.Plan, _ *plan.Migration, _ *inventory.Inventory, _ *string) {
			p.Findings = append(p.Findings, plan.Finding{Check: "x", Severity: plan.Passes, Summary: "fine"})
		}, "now nothing says so"},
		{"another inventory", func(_ *plan.Plan, _ *plan.Migration, inv *inventory.Inventory, _ *string) {
			inv.Domains[0].Sets[0].TTL = 7200
		}, "the inventory is sha256:"},
		{"another configuration", func(_ *plan.Plan, m *plan.Migration, _ *inventory.Inventory, _ *string) { m.Domains[0].TTLDuring *= 2 }, "the configuration is sha256:"},
		{"another lineage", func(_ *plan.Plan, _ *plan.Migration, inv *inventory.Inventory, _ *string) { inv.Lineage = "l2" }, "the lineage is l1 in the plan and l2 here"},
		{"another parent", func(_ *plan.Plan, _ *plan.Migration, _ *inventory.Inventory, parent *string) { *parent = "" }, "the parent is sha256:aa in the plan and none here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, inv := world()
			p, parent := made(), parent
			digest := p.Digest
			c.change(p, m, inv, &parent)
			facts, err := Verify(p, m, inv, parent)
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(facts, "\n")
			if (c.want == "") != (len(facts) == 0) || !strings.Contains(all, c.want) {
				t.Errorf("got %q, want %q", facts, c.want)
			}
			if p.Digest != digest {
				t.Error("the plan's digest was changed")
			}
		})
	}
	t.Run("rollback", func(t *testing.T) {
		back := made()
		back.Rollback, back.Steps = plan.Notice, nil
		if facts, err := Verify(back, m, inv, parent); err != nil || len(facts) > 0 {
			t.Errorf("got %q, %v", facts, err)
		}
		if facts, _ := Verify(back, m, inv, "sha256:bb"); len(facts) != 1 {
			t.Errorf("got %q", facts)
		}
	})
}

// An edited plan is refused; where the edit can be read, it is told which step
// says what the committed files don't give.
func TestEdits(t *testing.T) {
	m, inv := world()
	data, err := Encode(planner.Make(planner.Input{Migration: m, Inventory: inv, Number: 1}))
	if err != nil {
		t.Fatal(err)
	}
	if facts := Edits(data, m, inv); len(facts) > 0 {
		t.Errorf("of a sound plan: %q", facts)
	}
	lines := strings.Split(string(data), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "step ") {
			lines[i] = strings.Replace(l, "/", "/x", 1)
			break
		}
	}
	facts := strings.Join(Edits([]byte(strings.Join(lines, "\n")), m, inv), "\n")
	if !strings.Contains(facts, "the plan lacks the step") || !strings.Contains(facts, "has no cause") {
		t.Errorf("got %q", facts)
	}
	for _, bad := range []string{"", "x", "a\nb\nc", string(data) + "}", string(data[:len(data)/2])} {
		Edits([]byte(bad), m, inv) // doesn't panic
	}
}
