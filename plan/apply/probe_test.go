package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
)

const goodResults = "Authentication-Results: mx.outside.example; spf=pass smtp.mailfrom=anna@acme.example; dkim=pass header.d=acme.example; dmarc=pass\r\n"

// probed is the fixture with a probe; byHand leaves the outbound one to a person.
func probedFixture(cutover time.Time, byHand bool) (*plan.Migration, *plan.Plan) {
	m, p := fixture(cutover)
	expect := []string{"dkim=pass", "dmarc=pass", "spf=pass"}
	m.Validation.Probes = []plan.Probe{{Name: "trip", IMAP: "imaps://" + outsideAddress + "@imap.outside.example", SMTP: "smtps://" + outsideAddress + "@smtp.outside.example", Expect: expect, Timeout: 10 * time.Minute}}
	m.Validation.Sample = []string{"heaviest", "lightest"}
	p.Config = m.Digest()
	out := plan.Step{Address: "validate/probe/trip/outbound/acme.example", Phase: plan.Validate, Action: plan.Check, To: expect, Undo: plan.NoneNeeded}
	if byHand {
		out.Action, out.Detail = plan.ByHand, []string{"send a mail"}
	}
	steps := []plan.Step{
		{Address: "validate/probe/trip", Phase: plan.Validate, Action: plan.Check, Undo: plan.NoneNeeded},
		{Address: "validate/probe/trip/old", Phase: plan.Validate, Action: plan.Check, Undo: plan.NoneNeeded},
		out,
	}
	i := slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Phase == plan.Hold })
	p.Steps = slices.Insert(p.Steps, i, steps...)
	return m, p
}

func probedWorld() *world {
	w := newWorld()
	w.post.submits, w.post.results, w.post.delay = true, goodResults, 20*time.Second
	w.post.signed = []providers.Signature{{Domain: "acme.example"}}
	return w
}

// upToHold runs a migration until the hold, or until d after the cutover.
func upToHold(t *testing.T, e *Engine, d time.Duration) Outcome {
	t.Helper()
	agree(t, e.Dir, e.Plan, "flip")
	stop := make(chan struct{})
	e.Stop = stop
	go func() {
		time.Sleep(time.Until(e.Plan.Cutover.Add(d)))
		close(stop)
	}()
	out, err := e.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestProbesGoAllWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cutover := time.Now().Add(3 * time.Hour)
		m, p := probedFixture(cutover, false)
		w, j := probedWorld(), &memoryJournal{budget: -1}
		e := engine(m, p, w, j, t.TempDir())
		upToHold(t, e, 2*time.Hour)
		want := []string{"in anna@acme.example", "in jens@acme.example", "old anna@acme.example by mx.old.example:25", "old jens@acme.example by mx.old.example:25", "out anna@acme.example"}
		if got := slices.Sorted(slices.Values(w.post.sends)); !slices.Equal(got, want) {
			t.Errorf("sent %q, want %q", got, want)
		}
		for _, s := range []string{"validate/probe/trip", "validate/probe/trip/old", "validate/probe/trip/outbound/acme.example"} {
			st := e.Record.State(s)
			if st.Done.IsZero() {
				t.Errorf("%s is not done: %+v", s, st.Failed)
			}
			for _, r := range st.Probes {
				if !r.OK() || r.Done.Sub(r.Sent) < 20*time.Second {
					t.Errorf("%s: %+v", s, r)
				}
			}
		}
		// The new MX is probed when no cache can lead to the old one any more.
		until, _ := e.outlook().stragglersUntil()
		if r := e.Record.State("validate/probe/trip").Probes["in/anna@acme.example"]; r.Sent.Before(until) {
			t.Errorf("the probe by the new MX went out at %v, caches last until %v", r.Sent, until)
		}
		if how := e.Record.State("validate/probe/trip/outbound/acme.example").How; !strings.Contains(how, "its receiver says spf=pass") || !strings.Contains(how, "its DKIM signature by acme.example holds") {
			t.Errorf("evidence: %s", how)
		}
		if how := e.Record.State("validate/probe/trip/old").How; !strings.Contains(how, "carried over once") {
			t.Errorf("evidence: %s", how)
		}
		if _, over := e.Record.PhaseEnd(plan.Validate); !over {
			t.Error("the validation is not over")
		}
	})
}

// Each of these keeps the hold from beginning, in words that a person can use.
func TestProbesThatFail(t *testing.T) {
	for _, c := range []struct {
		name, step, words string
		world             func(*world)
	}{
		{"SPF", "validate/probe/trip/outbound/acme.example", "its receiver says spf=fail, expected spf=pass", func(w *world) {
			w.post.results = strings.Replace(goodResults, "spf=pass", "spf=fail", 1)
		}},
		{"no Authentication-Results", "validate/probe/trip/outbound/acme.example", "writes no Authentication-Results", func(w *world) { w.post.results = "" }},
		{"the receiver is believed for nothing", "validate/probe/trip/outbound/acme.example", "doesn't hold: broken", func(w *world) {
			w.post.signed = []providers.Signature{{Domain: "acme.example", Err: errors.New("broken")}}
		}},
		{"signed by somebody else", "validate/probe/trip/outbound/acme.example", "is by other.example, which is not acme.example", func(w *world) {
			w.post.signed = []providers.Signature{{Domain: "other.example"}}
		}},
		{"not signed", "validate/probe/trip/outbound/acme.example", "not signed by DKIM", func(w *world) { w.post.signed = nil }},
		{"lost", "validate/probe/trip", "the probe from probe@outside.example to anna@acme.example has not come to the target within 10m", func(w *world) { w.post.loses = true }},
		{"late caches", "validate/probe/trip", "came by the old MX", func(w *world) { w.post.byOld = 1000 }},
		{"twice", "validate/probe/trip/old", "is at the target 2 times", func(w *world) { w.post.twice = true }},
		{"port 25 blocked", "validate/probe/trip/old", "deliver mx.old.example:25: unreachable", func(w *world) {
			w.post.refusal = &providers.Error{Op: "deliver", Subject: "mx.old.example:25", Reason: providers.Unreachable}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, p := probedFixture(time.Now().Add(3*time.Hour), false)
				w := probedWorld()
				c.world(w)
				e := engine(m, p, w, &memoryJournal{budget: -1}, t.TempDir())
				upToHold(t, e, 5*time.Hour)
				st := e.Record.State(c.step)
				if st.Failed == nil || !strings.Contains(st.Failed.Error, c.words) {
					t.Errorf("%+v, want %q", st.Failed, c.words)
				}
				if _, over := e.Record.PhaseEnd(plan.Validate); over || !st.Done.IsZero() {
					t.Error("the validation is over all the same")
				}
				if n := len(w.post.sends); n > 45 {
					t.Errorf("%d messages in 5 hours: people's mailboxes fill with probes", n)
				}
			})
		})
	}
}

// What was mended passes at the next attempt; a run that begins anew makes it at once.
func TestProbeAfterMending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := probedFixture(time.Now().Add(3*time.Hour), false)
		w, j, dir := probedWorld(), &memoryJournal{budget: -1}, t.TempDir()
		w.post.results = strings.Replace(goodResults, "spf=pass", "spf=softfail", 1)
		upToHold(t, engine(m, p, w, j, dir), time.Hour)
		w.post.results = goodResults
		e := engine(m, p, w, j, dir)
		e.Wait = false
		began := time.Now()
		var out Outcome
		for range 3 { // what a person does: once, and again when it parks
			var err error
			if out, err = e.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Second)
			e = engine(m, p, w, j, dir)
			e.Wait = false
		}
		if st := e.Record.State("validate/probe/trip/outbound/acme.example"); st.Done.IsZero() || st.Done.Sub(began) > 2*time.Minute {
			t.Errorf("%+v %+v", st.Failed, out.Waiting)
		}
	})
}

// Where nothing may be sent to the old MX from here, a person's word ends that step, and no other.
func TestOldMXOnAPersonsWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := probedFixture(time.Now().Add(3*time.Hour), false)
		w, j, dir := probedWorld(), &memoryJournal{budget: -1}, t.TempDir()
		w.post.refusal = &providers.Error{Op: "deliver", Subject: "mx.old.example:25", Reason: providers.Unreachable}
		upToHold(t, engine(m, p, w, j, dir), time.Hour)
		e := engine(m, p, w, j, dir)
		if _, err := e.Done(context.Background(), "validate/probe/trip/old"); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Done(context.Background(), "validate/probe/trip"); err == nil {
			t.Error("a word is taken for a probe that can tell")
		}
		if _, err := e.Run(stopping(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		if st := e.Record.State("validate/probe/trip/old"); st.Done.IsZero() || st.How != "word" {
			t.Errorf("%+v", st)
		}
	})
}

func stopping(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestOutboundByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cutover := time.Now().Add(3 * time.Hour)
		m, p := probedFixture(cutover, true)
		w, j, dir := probedWorld(), &memoryJournal{budget: -1}, t.TempDir()
		token := plan.ProbeToken(p.Lineage, "trip", "acme.example")
		write := func(at time.Time, results, from string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.post.outside = append(w.post.outside, found(providers.Mail{ID: fmt.Sprint(at.Unix()), From: from, To: outsideAddress, Subject: "mxodus probe " + token}, results, at))
		}
		bad := strings.Replace(goodResults, "dmarc=pass", "dmarc=fail", 1)
		write(cutover.Add(-time.Hour), goodResults, "Anna <anna@acme.example>") // before the flip: proves nothing
		e := engine(m, p, w, j, dir)
		var told []string
		e.Events = func(ev Event) {
			if ev.State == "by_hand" {
				told = append(told, ev.Step)
			}
		}
		step, _ := p.Step("validate/probe/trip/outbound/acme.example")
		go func() {
			time.Sleep(time.Until(cutover.Add(time.Hour)))
			write(time.Now(), goodResults, "evil@other.example")
			time.Sleep(time.Minute)
			write(time.Now(), bad, "anna@acme.example")
			if pr := e.Prove(t.Context(), step); pr.Proven || !strings.Contains(pr.Words, "dmarc=fail") {
				t.Errorf("%+v", pr)
			}
			time.Sleep(time.Minute)
			write(time.Now(), goodResults, "Anna <ANNA@acme.example>")
		}()
		upToHold(t, e, 3*time.Hour)
		if st := e.Record.State(step.Address); st.Done.IsZero() || st.How != "proven" || st.Done.Before(cutover.Add(62*time.Minute)) || !slices.Contains(told, step.Address) {
			t.Errorf("%+v, told %v", st, told)
		}
	})
}

// A machine that dies at any commit of the probes sends none twice for nothing and proves all in the end.
func TestProbesSurviveDeath(t *testing.T) {
	for _, after := range []bool{false, true} {
		for budget := 0; budget < 48; budget += 5 {
			synctest.Test(t, func(t *testing.T) {
				cutover := time.Now().Add(3 * time.Hour)
				m, p := probedFixture(cutover, false)
				w, j, dir := probedWorld(), &memoryJournal{budget: -1}, t.TempDir()
				upToHold(t, engine(m, p, w, j, dir), time.Minute)
				j.budget, j.after = budget, after
				j.died = func() {
					go func() {
						w.mu.Lock()
						defer w.mu.Unlock()
						w.dead = true
					}()
				}
				_, _ = engine(m, p, w, j, dir).Run(stopping(t, time.Hour))
				synctest.Wait()
				w.dead, j.gone, j.budget = false, false, -1
				e := engine(m, p, w, j, dir)
				if _, err := e.Run(stopping(t, 90*time.Minute)); err != nil {
					t.Fatal(err)
				}
				if _, over := e.Record.PhaseEnd(plan.Validate); !over {
					t.Errorf("budget %d: the validation is not over", budget)
				}
				for a, list := range w.post.target {
					seen := map[string]int{}
					for _, f := range list {
						if seen[string(f.Octets)]++; seen[string(f.Octets)] > 1 {
							t.Errorf("budget %d: %s has a probe twice", budget, a)
						}
					}
				}
			})
		}
	}
}

func TestSampleIsDecidedByTheDigest(t *testing.T) {
	var list []plan.Mailbox
	sizes := map[string]int{}
	for i := range 12 {
		a := fmt.Sprintf("m%02d@acme.example", i)
		list = append(list, plan.Mailbox{Source: a, Target: a, Kind: plan.UserMailbox})
		sizes[a] = 100 - i
	}
	list[5].Kind = plan.CatchAllMailbox
	names := func(words []string, digest string) string {
		var out []string
		for _, m := range sampled(list, words, sizes, digest) {
			out = append(out, m.Source[:3])
		}
		return strings.Join(out, " ")
	}
	if got := names([]string{"heaviest", "lightest", "catch_all", "m07@acme.example"}, "a"); got != "m00 m05 m07 m11" {
		t.Errorf("%s", got)
	}
	words := []string{"heaviest", "random:3"}
	first := names(words, "a")
	if len(strings.Fields(first)) != 4 || names(words, "a") != first {
		t.Errorf("%s, then %s", first, names(words, "a"))
	}
	differ := false
	for _, d := range []string{"b", "c", "d"} {
		differ = differ || names(words, d) != first
	}
	if !differ {
		t.Error("the digest decides nothing")
	}
	slices.Reverse(list)
	if names(words, "a") != first {
		t.Error("the order of the mailboxes decides")
	}
	if got := names([]string{"random:50"}, "a"); len(strings.Fields(got)) != 12 {
		t.Errorf("more than there are: %s", got)
	}
}
