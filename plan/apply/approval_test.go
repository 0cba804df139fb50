package apply

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mxodus/mxodus/plan"
)

// TestEachWayOfBeingVoid edits a sound approval, as a person with an editor or a clock could.
func TestEachWayOfBeingVoid(t *testing.T) {
	now := time.Date(2027, 1, 15, 17, 0, 0, 0, time.UTC)
	_, p := fixture(now)
	p.Gates[0].Approve = plan.Approval{By: []string{"kerstin@acme.example", "ops@msp.example"}, Count: 1, Expires: day}
	g := p.Gates[0]
	yes := Answer{Check: plan.CheckRef{Name: "bulk_copy_complete"}, OK: true}
	sound, err := NewApproval(p, "flip", "Kerstin@acme.example ", []Answer{yes}, now)
	if err != nil {
		t.Fatal(err)
	}
	if why := sound.void(p, g, []Answer{yes}, now, time.Time{}); why != "" {
		t.Fatalf("a sound approval is void: %s", why)
	}
	signed := func(a Approval) Approval { a.Evidence = a.evidence(); return a }
	for name, tt := range map[string]struct {
		edit  func(a *Approval)
		at    time.Time
		words string
	}{
		"another name":              {func(a *Approval) { a.By = "ops@msp.example" }, now, "changed after it was given"},
		"a later end":               {func(a *Approval) { a.Expires = "2030-01-01T00:00:00Z" }, now, "changed after it was given"},
		"a check more":              {func(a *Approval) { a.Held = append(a.Held, "target_accepts_mail") }, now, "changed after it was given"},
		"a check less":              {func(a *Approval) { a.Held = nil }, now, "changed after it was given"},
		"a warning more":            {func(a *Approval) { a.Warnings = []string{"anything"} }, now, "changed after it was given"},
		"another gate's":            {func(a *Approval) { a.Gate = "decommission"; *a = signed(*a) }, now, "the gate decommission"},
		"another plan's":            {func(a *Approval) { a.Plan = "sha256:ffff"; *a = signed(*a) }, now, "another plan"},
		"a stranger's":              {func(a *Approval) { a.By = "mallory@acme.example"; *a = signed(*a) }, now, "not asked"},
		"of tomorrow":               {func(a *Approval) { a.At = "2027-01-16T17:00:00Z"; *a = signed(*a) }, now, "has not come yet"},
		"without a time":            {func(a *Approval) { a.At = "soon"; *a = signed(*a) }, now, "no readable time"},
		"that outlives its gate":    {func(a *Approval) { a.Expires = "2030-01-01T00:00:00Z"; *a = signed(*a) }, now.Add(day), "expired 2027-01-16"},
		"without an end":            {func(a *Approval) { a.Expires = ""; *a = signed(*a) }, now.Add(day), "expired 2027-01-16"},
		"with an end like no other": {func(a *Approval) { a.Expires = "never"; *a = signed(*a) }, now.Add(day), "expired 2027-01-16"},
	} {
		a := sound
		tt.edit(&a)
		if why := a.void(p, g, []Answer{yes}, tt.at, time.Time{}); !strings.Contains(why, tt.words) {
			t.Errorf("an approval %s: %q, want %q", name, why, tt.words)
		}
	}
}

// TestTwoPersonsAreTwo: one person's second word counts once, however the name is spelled, and
// also when it was written into the file by hand.
func TestTwoPersonsAreTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := fixture(time.Now().Add(time.Hour))
		quick(p)
		p.Gates[0].Approve = plan.Approval{Count: 2}
		w, j, dir := newWorld(), &memoryJournal{budget: -1}, t.TempDir()
		agreeAs := func(by string) string {
			a, err := NewApproval(p, "flip", by, nil, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			path, err := Approve(dir, a)
			if err != nil {
				t.Fatal(err)
			}
			return path
		}
		path := agreeAs("kerstin@acme.example")
		agreeAs("KERSTIN@acme.example")
		twice, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// The same block once more, as a merge of two branches makes it.
		if err := os.WriteFile(path, append(twice, twice...), 0o644); err != nil {
			t.Fatal(err)
		}
		runFor(t, engine(m, p, w, j, dir), 90*time.Minute)
		if w.updates != 1 {
			t.Fatalf("%d writes: one person opened a gate for two", w.updates)
		}
		agreeAs("jens@acme.example")
		if runFor(t, engine(m, p, w, j, dir), time.Hour); w.updates < 2 {
			t.Error("two persons did not open the gate")
		}
	})
}

// TestAnApprovalThatComesByAPullRequest: a file written elsewhere opens the gate of a run that waits, and a
// stale one beside it, of the plan before, opens nothing.
func TestAnApprovalThatComesByAPullRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, old := fixture(time.Now().Add(time.Hour))
		quick(old)
		p := again(t, old, 2, old.Digest)
		w, j, dir, elsewhere := newWorld(), &memoryJournal{budget: -1}, t.TempDir(), t.TempDir()
		agree(t, dir, old, "flip")
		timer := time.AfterFunc(80*time.Minute, func() {
			if w.updates != 1 {
				t.Errorf("%d writes: the approval of another plan opened the gate", w.updates)
			}
			agree(t, elsewhere, p, "flip")
			if err := os.CopyFS(dir+"/approvals", os.DirFS(elsewhere+"/approvals")); err != nil {
				t.Error(err)
			}
		})
		defer timer.Stop()
		if runFor(t, engine(m, p, w, j, dir), 100*time.Minute); w.updates < 2 {
			t.Error("the file did not open the gate")
		}
	})
}
