package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mxodus/mxodus/plan/planfile"
	"github.com/mxodus/mxodus/providers/canary"
	inflicted "github.com/mxodus/mxodus/providers/faults"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
	"github.com/mxodus/mxodus/state"
)

// slow is a schedule under which an apply has much to do at once: to lower the TTL and to copy.
// The flip is far away.
var slow = pace{lead: time.Hour, provision: 2 * time.Hour, notice: time.Minute, repeat: time.Hour, delta: time.Minute, hold: time.Hour}

// badInput is a small company with a saved plan that would be applied at once.
type badInput struct {
	*testing.T
	*world
	*folder
}

func newBadInput(t *testing.T) *badInput {
	t.Helper()
	t.Parallel()
	w := startWorld(t, servers{people: 2})
	w.target.open(w.people[1])
	w.plant(imaptest.Generate(3, 20))
	f := w.migration(slow)
	f.run(0, "plan", "-out", "plans/0001.plan")
	return &badInput{t, w, f}
}

// scene is all that a refused command may not have changed: mail at both hosts, zone, files.
func (b *badInput) scene() (lines []string) {
	b.Helper()
	for _, h := range []*mailHost{b.source, b.target} {
		for _, p := range b.people {
			all := h.read(b.T, p)
			for name, mails := range all {
				for _, m := range mails {
					lines = append(lines, fmt.Sprintf("%s %s %q %d %s %v", h.address, p, name, m.UID, m.SHA256, m.Flags))
				}
				lines = append(lines, fmt.Sprintf("%s %s %q", h.address, p, name))
			}
		}
	}
	lines = append(lines, b.dns.transfer(b.T)["acme.example. SOA"]...)
	for name, text := range b.files("secrets", ".mxodus") {
		lines = append(lines, name+"\n"+text)
	}
	lines = append(lines, fmt.Sprintf("%d notices", len(b.oldMX.Messages())))
	slices.Sort(lines)
	return lines
}

// refused runs a command that has to end with an exit code and words, and to leave
// everything as it is. No step of the plan may be in the journal.
func (b *badInput) refused(code int, words []string, args ...string) string {
	b.Helper()
	before := b.scene()
	out := b.run(code, args...)
	b.says(out, words...)
	if after := b.scene(); !slices.Equal(before, after) {
		b.Errorf("mxodus %s was refused and has changed something:\n%s", strings.Join(args, " "), newLines(before, after))
	}
	return out
}

// says wants words in what a person reads, in the form of an error message.
func (b *badInput) says(out string, words ...string) {
	b.Helper()
	plain := strings.Join(strings.Fields(out), " ")
	for _, w := range words {
		if !strings.Contains(plain, w) {
			b.Errorf("the message doesn't say %q:\n%s", w, out)
		}
	}
	for _, never := range []string{"goroutine", "panic", ".go:", "%!", "<nil>"} {
		if strings.Contains(out, never) {
			b.Errorf("the message holds %q:\n%s", never, out)
		}
	}
	for _, line := range canary.Leaks(map[string]string{"the message": out}, b.secrets()) {
		b.Error(line)
	}
}

// untouched wants a journal without a step.
func (b *badInput) untouched() {
	b.Helper()
	for _, e := range b.journal() {
		if e.Step != "" {
			b.Errorf("the journal has %s %s", e.Event, e.Step)
		}
	}
}

// works wants that the plan is applied once nothing is in its way.
func (b *badInput) works(args ...string) {
	b.Helper()
	before := b.scene()
	b.run(0, args...)
	if slices.Equal(before, b.scene()) {
		b.Errorf("mxodus %s has changed nothing", strings.Join(args, " "))
	}
	for i, p := range b.people {
		for _, l := range imaptest.Diff(b.source.read(b.T, p), b.target.read(b.T, p), english) {
			b.Errorf("mailbox %d: %s", i, l)
		}
	}
}

func newLines(before, after []string) string {
	var b strings.Builder
	for _, l := range after {
		if !slices.Contains(before, l) {
			fmt.Fprintf(&b, "+ %.200s\n", l)
		}
	}
	for _, l := range before {
		if !slices.Contains(after, l) {
			fmt.Fprintf(&b, "- %.200s\n", l)
		}
	}
	return b.String()
}

// apply is the command that most cases try.
var applyFirst = []string{"apply", "plans/0001.plan"}

func TestWrongPassword(t *testing.T) {
	for _, side := range []struct{ name, file string }{{"source", "secrets/old.csv"}, {"target", "secrets/new.csv"}} {
		t.Run(side.name, func(t *testing.T) {
			b := newBadInput(t)
			host := map[string]*mailHost{"source": b.source, "target": b.target}[side.name]
			right := b.read(side.file)
			b.edit(side.file, host.pass(b.people[0]), "mistyped-4711")
			words := []string{b.people[0], host.address, "AUTHENTICATIONFAILED"}
			out := b.refused(5, append([]string{"nothing was changed", "what to do:"}, words...), applyFirst...)
			if strings.Contains(out, "mistyped-4711") || strings.Contains(out, b.people[1]) {
				t.Errorf("the message holds the password, or names who has a good one:\n%s", out)
			}
			b.untouched()
			// At the target a login that is refused may also mean an account that is still to be made.
			before, code := b.scene(), map[string]int{"source": 1, "target": 0}[side.name]
			out = b.run(code, "discover")
			if b.says(out, b.people[0], map[string]string{"source": "check the name and the password", "target": "its password is wrong"}[side.name]); code != 0 && !slices.Equal(before, b.scene()) {
				t.Error("a discover that failed has changed something")
			}
			if strings.Contains(out, "mistyped-4711") {
				t.Errorf("the message holds the password:\n%s", out)
			}
			b.write(side.file, right)
			b.works(applyFirst...)
		})
	}
}

func TestUnreachableHost(t *testing.T) {
	b := newBadInput(t)
	before, zone := b.source.read(t, b.people[0]), b.dns.records(t)
	b.target.finish()
	b.says(b.run(5, applyFirst...), "nothing was changed", b.target.address, "connection refused", "what to do:")
	b.untouched()
	b.says(b.run(1, "plan"), b.target.address, "connection refused")
	if lines := differences(b.dns.records(t), zone); len(lines) > 0 {
		t.Errorf("the zone has changed: %v", lines)
	}
	if lines := imaptest.Diff(before, b.source.read(t, b.people[0]), nil); len(lines) > 0 {
		t.Errorf("the source has changed: %v", lines)
	}
}

// TestWrongKey: a signature that the name server refuses is found before the first write.
func TestWrongKey(t *testing.T) {
	b := newBadInput(t)
	good := slices.Clone(b.env)
	b.env = append(b.env, "TEST_TSIG=d3Jvbmcga2V5LCBuZXZlciBnaXZlbiB0byBhbnlib2R5")
	b.refused(5, []string{"nothing was changed", "acme.example", "mxodus.", "what to do:"}, applyFirst...)
	b.untouched()
	b.env = append(slices.Clone(good), "TEST_TSIG=no base64!")
	b.refused(5, []string{"nothing was changed", "base64", "what to do:"}, applyFirst...)
	b.env = good
	b.works(applyFirst...)
}

// TestRefusedUpdate: the key is good for reading and the server takes no update. What only the write
// can tell fails that step with the server's words; the zone is as before and a further run does it.
func TestRefusedUpdate(t *testing.T) {
	b := newBadInput(t)
	zone := b.dns.records(t)
	b.dns.refuse(true)
	b.says(b.run(6, applyFirst...), "dns/acme.example/", "REFUSED", b.dns.primary)
	if lines := differences(b.dns.records(t), zone); len(lines) > 0 {
		t.Errorf("the zone has changed: %v", lines)
	}
	s := b.status()
	failures, _ := s["failures"].([]any)
	if len(failures) == 0 || s["complete"] != false {
		t.Errorf("status after a refused update: %v", s)
	}
	b.dns.refuse(false)
	b.run(0, applyFirst...)
	if lines := differences(b.dns.records(t), zone); len(lines) == 0 {
		t.Error("the second run has not lowered a TTL")
	}
}

// TestConfiguration: mistakes in the files come with file and line, before anything is asked.
func TestConfiguration(t *testing.T) {
	b := newBadInput(t)
	for _, tc := range []struct {
		name, file, old, new string
		words                []string
	}{
		{"CSV without a column", "mailboxes.csv", "address,target,name", "address,name,surname", []string{"acme.mx.hcl line ", "target"}},
		{"CSV with an empty address", "mailboxes.csv", b.people[1] + "," + b.people[1], "," + b.people[1], []string{"mailboxes.csv:3", "address"}},
		{"CSV with an address twice", "mailboxes.csv", b.people[1] + ",", b.people[0] + ",", []string{"mailboxes.csv:3", b.people[0]}},
		{"unknown attribute", "acme.mx.hcl", "smtp_probe  =", "smtp_prob   =", []string{"acme.mx.hcl line ", "smtp_prob", "smtp_probe"}},
		{"unknown block", "acme.mx.hcl", `alias "info"`, `alais "info"`, []string{"acme.mx.hcl line ", "alais", "alias"}},
		{"unknown secret", "acme.mx.hcl", "credentials = secret.post", "credentials = secret.pots", []string{"acme.mx.hcl line ", "secret", "pots"}},
	} {
		right := b.read(tc.file)
		b.edit(tc.file, tc.old, tc.new)
		for _, args := range [][]string{{"validate"}, {"plan"}, applyFirst} {
			out := b.refused(1, tc.words, args...)
			if t.Failed() {
				t.Fatalf("%s, %s:\n%s", tc.name, args[0], out)
			}
		}
		b.write(tc.file, right)
	}
	b.untouched()
	b.works(applyFirst...)
}

// TestEditedPlan: not one octet of a reviewed plan can be another one.
func TestEditedPlan(t *testing.T) {
	b := newBadInput(t)
	right := b.read("plans/0001.plan")
	a := &app{dir: b.dir}
	for i := range right {
		for _, bit := range []byte{1, 0x20, 0x80} {
			edited := []byte(right)
			edited[i] ^= bit
			_, err := planfile.Decode(edited)
			if err == nil {
				t.Fatalf("octet %d (%q) may be %q", i, right[i], edited[i])
			}
			if bit == 1 { // a file is written
				b.write("plans/0001.plan", string(edited))
				if _, _, err := a.readPlan(b.path("plans/0001.plan")); a.exitCode(err) != exitRefused {
					t.Errorf("octet %d (%q, now %q): exit code %d: %v", i, right[i], edited[i], a.exitCode(err), err)
				}
			}
		}
	}
	inflicted.Count(t, "flipped octets", 3*len(right))
	// What a plan without any digest is, is another question.
	for name, edited := range map[string]string{"empty": "", "another file": b.read("mailboxes.csv")} {
		b.write("plans/0001.plan", edited)
		if out := b.refused(1, []string{"plans/0001.plan", "not a plan that this mxodus can read"}, applyFirst...); t.Failed() {
			t.Fatalf("%s:\n%s", name, out)
		}
	}
	for name, edited := range map[string]string{
		"a value":       strings.Replace(right, "mail.acme.example.", "evil.acme.example.", 1),
		"the gate":      strings.Replace(right, `gate "flip"`, `gate "fly"`, 1),
		"the end":       right[:len(right)-1],
		"another line":  right + "\n",
		"CR LF":         strings.ReplaceAll(right, "\n", "\r\n"),
		"a lost octet":  right[:900] + right[901:],
		"twice":         right + right,
		"with a prefix": " " + right,
	} {
		if edited == right {
			t.Fatalf("%s: the edit changed nothing", name)
		}
		b.write("plans/0001.plan", edited)
		words := []string{"plans/0001.plan: the plan was changed after it was written", "version control"}
		switch name {
		case "with a prefix":
			words = []string{"its first line is not"}
		case "CR LF":
			words = []string{"its lines end in CR LF", ".gitattributes"}
		}
		b.refused(4, words, applyFirst...)
	}
	b.untouched()
	b.write("plans/0001.plan", right)
	b.works(applyFirst...)
}

func TestStalePlan(t *testing.T) {
	t.Run("superseded", func(t *testing.T) {
		b := newBadInput(t)
		b.edit("acme.mx.hcl", `["v=spf1 mx -all"]`, `["v=spf1 mx ~all"]`)
		b.run(0, "plan", "-out", "plans/0002.plan")
		b.works("apply", "plans/0002.plan")
		b.edit("acme.mx.hcl", `["v=spf1 mx ~all"]`, `["v=spf1 mx -all"]`)
		b.refused(4, []string{"it is superseded: plan 0002", "what to do: plan again"}, applyFirst...)
	})
	t.Run("configuration", func(t *testing.T) {
		b := newBadInput(t)
		b.edit("acme.mx.hcl", `["v=spf1 mx -all"]`, `["v=spf1 mx ~all"]`)
		b.refused(4, []string{"the configuration has changed since", "what to do: plan again"}, applyFirst...)
		b.refused(4, []string{"plans/0001.plan does not verify", "what to do:"}, "verify", "plans/0001.plan")
		b.untouched()
		// Comments and the order of rows are no change.
		b.edit("acme.mx.hcl", `["v=spf1 mx ~all"]`, `["v=spf1 mx -all"] # as agreed`)
		b.write("mailboxes.csv", "address,target,name\n"+b.people[1]+","+b.people[1]+",jens\n"+b.people[0]+","+b.people[0]+",anna\n")
		b.works(applyFirst...)
	})
	t.Run("lineage", func(t *testing.T) {
		b := newBadInput(t)
		// The same configuration in another folder is another migration.
		twin := newFolder(t, b.files(".mxodus", "plans"), b.env[4:]...)
		if err := os.Remove(twin.path("inventory.lock")); err != nil {
			t.Fatal(err)
		}
		twin.run(0, "plan", "-out", "plans/0001.plan")
		b.write("plans/0001.plan", twin.read("plans/0001.plan"))
		b.refused(4, []string{"it belongs to another migration: lineage", "what to do: plan again"}, applyFirst...)
		b.untouched()
	})
	t.Run("no inventory", func(t *testing.T) {
		b := newBadInput(t)
		lock := b.read("inventory.lock")
		if err := os.Remove(b.path("inventory.lock")); err != nil {
			t.Fatal(err)
		}
		b.refused(4, []string{"there is no inventory.lock beside the plan", "mxodus plan"}, applyFirst...)
		b.refused(1, []string{"there is no inventory.lock"}, "plan", "-offline")
		b.untouched()
		b.write("inventory.lock", lock)
		b.works(applyFirst...)
	})
	t.Run("no plan", func(t *testing.T) {
		b := newBadInput(t)
		b.refused(1, []string{"there is no plan at plans/0009.plan", "mxodus plan -out"}, "apply", "plans/0009.plan")
		b.refused(4, []string{"plans are never overwritten", "plans/0002.plan"}, "plan", "-out", "plans/0001.plan")
	})
}

// TestSecondApply: while one run is at work, a second one is told who it is.
func TestSecondApply(t *testing.T) {
	b := newBadInput(t)
	one := b.start("apply", "-wait", "-json", "plans/0001.plan")
	for ev := range one.events {
		if ev.Type == "wait" || ev.State == "by_hand" {
			break // everything that is due is done or told
		}
	}
	pid := fmt.Sprintf("process %d on ", one.cmd.Process.Pid)
	out := b.run(7, applyFirst...)
	b.says(out, "another mxodus is at work in this folder", pid, "mxodus apply", "wait for it to end or stop it")
	out = b.run(7, "apply", "-json", "plans/0001.plan")
	var e errorJSON
	if err := json.Unmarshal([]byte(strings.TrimSpace(out)), &e); err != nil || e.Type != "error" || e.Code != 7 || !strings.Contains(e.Error, pid) {
		t.Errorf("apply -json: %v\n%s", err, out)
	}
	if s := b.status(); !strings.Contains(fmt.Sprint(s["running"]), fmt.Sprint(one.cmd.Process.Pid)) {
		t.Errorf("status names %v as running, want process %d", s["running"], one.cmd.Process.Pid)
	}
	b.run(0, "approve", "flip", "-by", "kerstin@acme.example") // takes no lease
	if err := one.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := one.code(); code != 130 {
		t.Errorf("after Ctrl-C: exit code %d, want 130\n%s", code, tail(one.output(), 2000))
	}
	b.run(0, applyFirst...)
}

// TestDamagedState: a journal that can't be believed is neither used nor mended.
func TestDamagedState(t *testing.T) {
	b := newBadInput(t)
	b.works(applyFirst...)
	path := state.Path(b.dir)
	right, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func([]byte) []byte{
		"no database": func([]byte) []byte { return []byte(strings.Repeat("no database ", 500)) },
		"head":        func(b []byte) []byte { copy(b[:16], "SQLite format 4\x00"); return b },
		"a page":      func(b []byte) []byte { copy(b[4096:], strings.Repeat("\xff", 4096)); return b },
		"cut off":     func(b []byte) []byte { return b[:4096+100] },
	} {
		damaged := damage(slices.Clone(right))
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, suffix := range []string{"-wal", "-shm"} {
			_ = os.Remove(path + suffix) // there may be none
		}
		for _, args := range [][]string{applyFirst, {"status"}} {
			out := b.refused(1, []string{".mxodus/state.db is damaged", "restore it from a backup"}, args...)
			if t.Failed() {
				t.Fatalf("%s:\n%s", name, out)
			}
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != string(damaged) {
			t.Errorf("%s: the damaged file was written to, %v", name, err)
		}
	}
	if err := os.WriteFile(path, right, 0o600); err != nil {
		t.Fatal(err)
	}
	b.run(0, applyFirst...)
}
