package apply

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/plan/inventory"
	"github.com/mxodus/mxodus/plan/planner"
	"github.com/mxodus/mxodus/providers"
)

// tenant is a directory in memory: what was asked for takes a while, in two parts.
type tenant struct {
	mu       sync.Mutex
	name     string // of the user, "" = not there
	license  bool
	applied  int
	slow     time.Duration // from asking to being there
	asked    time.Time
	half     bool // the next change is cut short after its first part
	refuse   error
	findings []providers.Finding
}

func (d *tenant) Observe(_ context.Context, q providers.DirectoryQuery) (providers.DirectoryFacts, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := providers.DirectoryFacts{Directory: inventory.Directory{Host: "microsoft365"}, Pending: map[string]string{}}
	for _, m := range q.Mailboxes {
		box := inventory.Mailbox{Host: "microsoft365", Address: m.Target, Exists: d.name != ""}
		if box.Exists {
			box.Kind, box.DisplayName, box.UsageLocation = plan.UserMailbox, d.name, "DE"
			if d.license {
				box.Licenses = []string{"basic"}
			}
			if time.Since(d.asked) < d.slow {
				f.Pending[m.Target] = "Exchange is still making the mailbox"
			}
		}
		f.Mailboxes = append(f.Mailboxes, box)
	}
	return f, nil
}

func (d *tenant) Apply(_ context.Context, c providers.DirectoryChange) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refuse != nil {
		return d.refuse
	}
	d.applied++
	d.name, d.asked = c.Of.Mailboxes[0].DisplayName, time.Now()
	if d.half {
		d.half = false
		return errors.New("the connection broke")
	}
	d.license = true
	return nil
}

func (d *tenant) Check(context.Context, []string) []providers.Finding { return d.findings }

// tenantWorld is a world whose target has a directory.
type tenantWorld struct {
	*world
	tenant *tenant
}

func (w tenantWorld) Directory(string) (providers.Directory, bool) { return w.tenant, true }

// accountPlan is a plan with nothing but a user to make, as the planner makes it.
func accountPlan(t *testing.T, seen inventory.Mailbox) (*plan.Migration, *plan.Plan) {
	t.Helper()
	m := &plan.Migration{
		Name: "acme", Timezone: "UTC", Cutover: time.Now().Add(time.Hour),
		Targets:   []plan.Host{{Kind: "microsoft365"}},
		Mailboxes: []plan.Mailbox{{Source: "anna@acme.example", Target: "anna@acme.example", From: "imap.old", On: "microsoft365", Kind: plan.UserMailbox, DisplayName: "Anna", License: "basic", UsageLocation: "DE"}},
	}
	seen.Host, seen.Address = "microsoft365", "anna@acme.example"
	whole := planner.Make(planner.Input{Migration: m, Inventory: &inventory.Inventory{Lineage: "x", Targets: []inventory.Mailbox{seen}}, Number: 1})
	s, ok := whole.Step("account/anna@acme.example")
	if !ok {
		t.Fatal("no step")
	}
	s.Gate = ""
	p := &plan.Plan{Header: whole.Header, Steps: []plan.Step{s}, Digest: "sha256:1"}
	return m, p
}

func TestDirectorySteps(t *testing.T) {
	annas := func(name string) inventory.Mailbox {
		return inventory.Mailbox{Exists: true, Account: inventory.Account{Kind: plan.UserMailbox, DisplayName: name, UsageLocation: "DE"}}
	}
	for _, c := range []struct {
		name    string
		planned inventory.Mailbox
		now     *tenant
		how     string // the step is done so; "" = it isn't
		applied int
		drift   bool
		waits   bool
	}{
		{name: "nobody is there", how: "changed", applied: 1},
		{name: "somebody else made it as wanted", now: &tenant{name: "Anna", license: true}, how: "already"},
		{name: "as planned against", planned: annas("A."), now: &tenant{name: "A."}, how: "changed", applied: 1},
		{name: "cut short before", now: &tenant{name: "Anna"}, how: "changed", applied: 1},
		{name: "somebody else's", now: &tenant{name: "Another Anna"}, drift: true},
		{name: "gone since", planned: annas("A."), drift: true},
		{name: "takes its time", now: &tenant{slow: time.Hour}, applied: 1, waits: true},
		{name: "throttled", now: &tenant{refuse: &providers.Error{Op: "create", Reason: providers.Throttled, Wait: 5 * time.Minute}}, waits: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if c.now == nil {
					c.now = &tenant{}
				}
				m, p := accountPlan(t, c.planned)
				w, j := tenantWorld{newWorld(), c.now}, &memoryJournal{budget: -1}
				e := engine(m, p, w.world, j, t.TempDir())
				e.Systems, e.Wait = w, false
				out, err := e.Run(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				st := e.Record.State(p.Steps[0].Address)
				if st.How != c.how || (st.Done.IsZero() == (c.how != "")) || w.tenant.applied != c.applied || (st.Drift != nil) != c.drift {
					t.Errorf("done %q after %d changes, drift %v; %+v", st.How, w.tenant.applied, st.Drift, out)
				}
				if len(out.Drift) > 0 != c.drift || len(out.Failed) > 0 {
					t.Errorf("%+v", out)
				}
				if c.waits && (len(out.Waiting) == 0 || out.Waiting[0].Kind != WaitTime || out.Waiting[0].Until.IsZero()) {
					t.Errorf("waits for %+v", out.Waiting)
				}
				if !c.waits {
					return
				}
				// With -wait the same plan ends by itself.
				w.tenant.refuse = nil
				e = engine(m, p, w.world, j, t.TempDir())
				e.Systems, e.Wait = w, true
				if _, err := e.Run(t.Context()); err != nil || e.Record.State(p.Steps[0].Address).Done.IsZero() {
					t.Errorf("it never ends: %v", err)
				}
			})
		})
	}
}

// TestDirectoryCutShort: a change that broke in the middle, or a machine that died around it, is gone on
// with, and nothing is taken for drift.
func TestDirectoryCutShort(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 0; ; n++ {
			finished := false
			synctest.Test(t, func(t *testing.T) {
				m, p := accountPlan(t, inventory.Mailbox{})
				w, dir := tenantWorld{newWorld(), &tenant{half: true}}, t.TempDir()
				j := &memoryJournal{budget: n, after: after}
				e := engine(m, p, w.world, j, dir)
				e.Systems, e.Wait = w, false
				_, err := e.Run(t.Context())
				finished = err == nil && !j.gone
				e = engine(m, p, w.world, &memoryJournal{entries: j.entries, budget: -1}, dir)
				e.Systems, e.Wait = w, false
				if _, err = e.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				if !w.tenant.license { // the second run met the cut
					e = engine(m, p, w.world, &memoryJournal{entries: j.entries, budget: -1}, dir)
					e.Systems, e.Wait = w, false
					_, err = e.Run(t.Context())
				}
				if st := e.Record.State(p.Steps[0].Address); err != nil || st.Done.IsZero() || st.Drift != nil || !w.tenant.license {
					t.Errorf("died at commit %d (after=%v): %+v, %v", n, after, st, err)
				}
			})
			if finished || t.Failed() {
				break
			}
		}
	}
}

// TestDirectoryPreflight: a grant that is missing ends apply before its first write.
func TestDirectoryPreflight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := accountPlan(t, inventory.Mailbox{})
		w := tenantWorld{newWorld(), &tenant{findings: []providers.Finding{
			{Check: "graph_token", Subject: "microsoft365", OK: true, Code: "ok"},
			{Check: "graph_permission", Subject: "microsoft365", Code: "consent_missing", Detail: "the application may not", Remedy: "give it"},
		}}}
		e := engine(m, p, w.world, &memoryJournal{budget: -1}, t.TempDir())
		e.Systems, e.Wait = w, false
		_, err := e.Run(t.Context())
		if _, ok := errors.AsType[*PreflightError](err); !ok || !strings.Contains(err.Error(), "consent_missing") || !strings.Contains(err.Error(), "give it") {
			t.Errorf("%v", err)
		}
		if w.tenant.applied != 0 {
			t.Errorf("%d changes", w.tenant.applied)
		}
	})
}
