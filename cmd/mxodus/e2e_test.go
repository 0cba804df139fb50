package main

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/providers/canary"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// TestWholeMigration runs a complete migration by one unattended apply: on two Dovecots (maildir, mdbox)
// and two BINDs, and once more on the embedded servers, which every machine has.
func TestWholeMigration(t *testing.T) {
	t.Run("Dovecot and BIND", func(t *testing.T) {
		t.Parallel()
		wholeMigration(t, startWorld(t, servers{dovecot: true, bind: true, people: 6}), 3000)
	})
	t.Run("embedded servers", func(t *testing.T) {
		t.Parallel()
		wholeMigration(t, startWorld(t, servers{people: 6}), 900)
	})
}

func wholeMigration(t *testing.T, w *world, messages int) {
	w.plant(imaptest.Generate(7, messages))
	f := w.migration(pace{lead: 25 * time.Second, provision: 23 * time.Second, notice: 8 * time.Second, repeat: 5 * time.Second, delta: 2 * time.Second, hold: 12 * time.Second})
	f.run(0, "validate")
	f.run(2, "plan", "-detailed-exitcode", "-out", "plans/0001.plan")
	f.run(0, "verify", "plans/0001.plan")
	f.approve("flip")
	f.approve("decommission")

	began := time.Now()
	run := f.start("apply", "-wait", "-json", "plans/0001.plan")
	last, summary := w.unattended(f, run)
	took := time.Since(began)
	if code := run.code(); code != 0 {
		t.Fatalf("apply: exit code %d\n%s", code, tail(run.output(), 4000))
	}
	if last.Type != "exit" || last.Code == nil || *last.Code != 0 {
		t.Errorf("the last line of apply -json is %+v, want exit with code 0", last)
	}
	if summary.Type != "summary" || summary.Copied < w.planted || summary.Quarantined != 0 || summary.Doubt != 0 {
		t.Errorf("the line before it is %+v, want a summary of at least %d copied", summary, w.planted)
	}
	for _, step := range []string{"account/" + w.people[5], "alias/info@acme.example", "list/team@acme.example", "retire/" + w.people[0]} {
		if !w.played[step] {
			t.Errorf("apply never asked for the step %s", step)
		}
	}

	w.finished(f)
	for _, name := range []string{"archive/report.html", "archive/report.json", "archive/" + w.people[0] + ".jsonl"} {
		if sum := sha256.Sum256([]byte(f.read(name))); !strings.Contains(f.read("archive/SHA256SUMS"), hex.EncodeToString(sum[:])+"  "+strings.TrimPrefix(name, "archive/")) {
			t.Errorf("%s is not the file whose digest was archived", name)
		}
	}
	n := w.compare()
	if n <= w.planted {
		t.Errorf("%d messages at the new host, %d were planted at the old one, and more came meanwhile", n, w.planted)
	}
	got := w.dns.records(t)
	for _, line := range differences(got, w.flipped()) {
		t.Errorf("zone: %s", line)
	}
	for _, p := range w.people {
		if c := w.notices()[p]; c != 1 {
			t.Errorf("%s got %d notices, want 1", p, c)
		}
	}
	f.mu.Lock()
	texts := map[string]string{"what was printed": f.printed.String()}
	f.mu.Unlock()
	maps.Copy(texts, f.files("secrets"))
	for _, line := range canary.Leaks(texts, w.secrets()) {
		t.Error(line)
	}
	t.Logf("%d messages at the new host, %d planted, apply took %.1f s, %d files and %d octets of output without a secret, %.1f MB resident at most",
		n, w.planted, took.Seconds(), len(texts)-1, len(texts["what was printed"]), float64(run.memory())/1e6)
}

// unattended plays the people around a run of apply -json until it ends, and
// returns its last two lines.
func (w *world) unattended(f *folder, c *child) (last, summary event) {
	once := map[string]bool{}
	first := func(name string) bool { defer func() { once[name] = true }(); return !once[name] }
	for ev := range c.events {
		last, summary = ev, last
		switch {
		case ev.State == "by_hand":
			if strings.HasPrefix(ev.Step, "retire/") && first("status") {
				w.waiting(f)
			}
			w.act(f, ev.Step)
		case strings.HasPrefix(ev.Step, "copy/") && first("bulk"):
			for _, p := range w.people {
				w.send(w.source, p, "during the bulk copy")
			}
		case ev.Type == "phase" && ev.Phase == "flip" && first("flip"):
			w.send(w.source, w.people[0], "straggler")
			w.send(w.source, w.people[0], "straggler")
			w.send(w.source, w.people[len(w.people)-1], "straggler")
			w.send(w.target, w.people[1], "by the new MX")
		case ev.Type == "phase" && ev.Phase == "delta" && first("delta"):
			w.send(w.source, w.people[2], "pinned sender")
		}
	}
	return last, summary
}

// waiting looks at status while apply waits for a person.
func (w *world) waiting(f *folder) {
	s := f.status()
	if s["phase"] != "decommission" || s["complete"] != false {
		w.t.Errorf("status while accounts are to be closed: phase %v, complete %v", s["phase"], s["complete"])
	}
	next, _ := s["next"].(map[string]any)
	steps, _ := s["steps"].(map[string]any)
	if next["kind"] != "by_hand" || !strings.HasPrefix(next["step"].(string), "retire/") {
		w.t.Errorf("status: next is %v, want by_hand", next)
	}
	if n, _ := steps["by_hand"].(float64); n < 1 {
		w.t.Errorf("status: steps are %v, want some by hand", steps)
	}
	if got := f.start("status", "-detailed-exitcode").code(); got != 3 {
		w.t.Errorf("status -detailed-exitcode: %d, want 3", got)
	}
}

// finished is what the program's own commands say after the end.
func (w *world) finished(f *folder) {
	t := w.t
	s := f.status()
	steps, _ := s["steps"].(map[string]any)
	if s["migration"] != "acme" || s["complete"] != true || s["phase"] != "decommission" || s["next"] != nil {
		t.Errorf("status: migration %v, complete %v, phase %v, next %v", s["migration"], s["complete"], s["phase"], s["next"])
	}
	if steps["done"] != steps["total"] || steps["failed"] != 0.0 || steps["waiting"] != 0.0 || steps["by_hand"] != 0.0 {
		t.Errorf("status: steps are %v", steps)
	}
	boxes, _ := s["mailboxes"].([]any)
	copied := 0
	for _, b := range boxes {
		box, _ := b.(map[string]any)
		n, _ := box["copied"].(float64)
		copied += int(n)
		if box["messages"] != box["copied"] || box["quarantined"] != 0.0 || box["doubt"] != 0.0 || !slices.Contains(w.people, box["address"].(string)) {
			t.Errorf("status: a mailbox is %v", box)
		}
	}
	if len(boxes) != len(w.people) || copied < w.planted {
		t.Errorf("status: %d messages copied in %d mailboxes, %d were planted", copied, len(boxes), w.planted)
	}
	f.run(0, "status", "-detailed-exitcode")
	f.run(0, "verify", "plans/0001.plan")
	f.run(0, "report")
	serial := w.dns.ask(t, w.dns.primary, "acme.example.", 6)
	f.run(0, "apply", "-wait", "plans/0001.plan")
	if out := f.run(0, "plan", "-detailed-exitcode"); !strings.Contains(out, "0 to create, 0 to change") && !strings.Contains(strings.ToLower(out), "nothing to do") {
		t.Errorf("a second plan finds something to do:\n%s", out)
	}
	if after := w.dns.ask(t, w.dns.primary, "acme.example.", 6); !slices.Equal(serial, after) {
		t.Errorf("the second run wrote to the zone: %v, then %v", serial, after)
	}
}

// tail is the end of a long text.
func tail(s string, n int) string { return s[max(0, len(s)-n):] }
