package apply

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
)

func TestAdmitNamesEachFact(t *testing.T) {
	m, p := fixture(time.Date(2027, 1, 15, 17, 0, 0, 0, time.UTC))
	inv := &inventory.Inventory{Lineage: "L1"}
	if err := Admit(p, m, inv, nil, nil); err != nil {
		t.Fatal(err)
	}
	m.Mailboxes[0].Wave = 2
	if err := Admit(p, m, &inventory.Inventory{Lineage: "L2"}, nil, nil); err == nil || !strings.Contains(err.Error(), "configuration has changed") || !strings.Contains(err.Error(), "lineage") {
		t.Errorf("changed configuration and lineage: %v", err)
	}
	m.Mailboxes[0].Wave = 0
	other := *p
	other.Number, other.Digest = 2, "sha256:other"
	entry := runEntryOf(&other)
	entry.Plan = other.Digest
	j := &memoryJournal{budget: -1}
	j.Append(t.Context(), entry)
	if err := Admit(p, m, inv, j.entries, nil); err == nil || !strings.Contains(err.Error(), "superseded") {
		t.Errorf("superseded: %v", err)
	}
	if err := Admit(p, m, inv, j.entries, []string{"sha256:other"}); err != nil {
		t.Errorf("a descendant of the applied plan: %v", err)
	}
}

func TestApprovalIsBoundToPlanEvidenceAndTime(t *testing.T) {
	now := time.Date(2027, 1, 15, 17, 0, 0, 0, time.UTC)
	_, p := fixture(now)
	p.Gates[0].Approve = plan.Approval{By: []string{"kerstin@acme.example"}, Count: 1, Expires: day}
	g := p.Gates[0]
	yes := Answer{Check: plan.CheckRef{Name: "bulk_copy_complete"}, OK: true}
	no := yes
	no.OK = false
	warned := yes
	warned.Warnings = []string{"anna has messages in quarantine"}
	if _, err := NewApproval(p, "flip", "mallory@acme.example", nil, now); err == nil {
		t.Error("a person who is not asked could approve")
	}
	if _, err := NewApproval(p, "flop", "kerstin@acme.example", nil, now); err == nil {
		t.Error("a gate that does not exist was approved")
	}
	a, err := NewApproval(p, "flip", "kerstin@acme.example", []Answer{yes}, now)
	if err != nil {
		t.Fatal(err)
	}
	other := *p
	other.Digest = "sha256:ffff"
	for name, tt := range map[string]struct {
		plan      *plan.Plan
		answers   []Answer
		at        time.Time
		notBefore time.Time
		void      bool
	}{
		"fresh":             {p, []Answer{yes}, now.Add(time.Hour), time.Time{}, false},
		"expired":           {p, []Answer{yes}, now.Add(day), time.Time{}, true},
		"other plan":        {&other, []Answer{yes}, now, time.Time{}, true},
		"turned false":      {p, []Answer{no}, now, time.Time{}, true},
		"new warning":       {p, []Answer{warned}, now, time.Time{}, true},
		"window has closed": {p, []Answer{yes}, now.Add(5 * time.Hour), now.Add(4 * time.Hour), true},
	} {
		if why := a.void(tt.plan, g, tt.answers, tt.at, tt.notBefore); (why != "") != tt.void {
			t.Errorf("%s: %q", name, why)
		}
	}
	dir := t.TempDir()
	path, err := Approve(dir, a)
	if err != nil || !strings.HasPrefix(path[len(dir):], "/approvals/flip-") {
		t.Fatalf("%s, %v", path, err)
	}
	got, err := Approvals(dir, "flip", p.Digest)
	if err != nil || len(got) != 1 || got[0].By != a.By || !slices.Equal(got[0].Held, a.Held) || got[0].Expires != a.Expires {
		t.Errorf("read back: %+v, %v", got, err)
	}
}
