package copy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/mxodus/mxodus/plan"
	"github.com/mxodus/mxodus/providers"
	"github.com/mxodus/mxodus/providers/imap"
	"github.com/mxodus/mxodus/providers/imap/imaptest"
)

// holds compares what a side has, as "folder subject" lines, with what it should have.
func holds(t *testing.T, what string, s server, want ...string) {
	t.Helper()
	names := map[string]string{}
	for _, w := range want {
		_, subject, _ := strings.Cut(w, " ")
		sum := sha256.Sum256(mail("", subject).Octets)
		names[hex.EncodeToString(sum[:])] = subject
	}
	var got []string
	for folder, mails := range s.read(t) {
		for _, m := range mails {
			name := names[m.SHA256]
			if name == "" {
				name = "something else"
			}
			got = append(got, folder+" "+name)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s holds\n  %s\nwant\n  %s", what, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func carry(t *testing.T, s server, from string, to string, uids ...uint32) {
	t.Helper()
	if _, err := s.selected(t, from).Move(uidSet(uids...), to).Wait(); err != nil {
		t.Fatal(err)
	}
}

// TestCarriesBackWhatTheSourceNeverHad has people work at the target after the flip: new mail, a new
// folder, copied messages moved, deleted and copied. The source gets what is new, once, and
// nothing else; and a second attempt at the migration brings none of it over again.
func TestCarriesBackWhatTheSourceNeverHad(t *testing.T) {
	for name, start := range kinds {
		t.Run(name, func(t *testing.T) {
			src, dst := start(t)
			dst.fill(t, []imaptest.GeneratedMail{mail("INBOX", "old at the target")})
			src.fill(t, []imaptest.GeneratedMail{
				mail("INBOX", "one"), mail("INBOX", "two"), mail("INBOX", "three"), mail("INBOX", "twin"), mail("INBOX", "twin"), mail("Gesendet", "four"), mail("A", "five"),
			})
			b := newBench(t, src, dst, t.TempDir(), nil)
			b.mailbox.Folders.Map = map[string]string{"Gesendet": "Verschickt", "A": "B/A"}
			b.pass(providers.BeforeFlip)
			base := []string{"INBOX one", "INBOX two", "INBOX three", "INBOX twin", "INBOX twin", "Gesendet four", "A five"}

			dst.fill(t, []imaptest.GeneratedMail{mail("INBOX", "new"), mail("INBOX", "twin"), mail("Verschickt", "answer", `\Seen`), mail("Project/X", "plan"), mail("B/A", "six")})
			carry(t, dst, "INBOX", "Project/X", 3)                           // two: a copied one
			expunge(t, dst, "INBOX", 4)                                      // three
			store(t, dst, "INBOX", 2, goimap.StoreFlagsAdd, goimap.FlagSeen) // one
			src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "straggler")})
			if r := b.pass(providers.AfterFlip); r.Copied != 1 {
				t.Fatalf("the straggler: %+v", r)
			}
			before := src.read(t)
			if r := b.pass(providers.CarryBack); r.Copied != 5 || r.Flags+r.Moved+r.Deleted != 0 {
				t.Errorf("carried back: %+v, want 5 copied and nothing else", r)
			}
			all := append(base, "INBOX straggler", "INBOX new", "INBOX twin", "Gesendet answer", "Project/X plan", "A six")
			holds(t, "the source", src, all...)
			if lines := imaptest.Diff(src.read(t), before, nil); slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "too many") }) {
				t.Errorf("what the source had was touched: %v", lines)
			}
			b.idle(providers.CarryBack)
			for folder := range src.read(t) {
				if strings.Contains(strings.ToLower(folder), "mxodus") {
					t.Errorf("the folder %s is left at the source", folder)
				}
			}

			// A second attempt: mail has come to both sides meanwhile.
			src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "after the rollback")})
			dst.fill(t, []imaptest.GeneratedMail{mail("INBOX", "late")})
			if r := b.pass(providers.AfterFlip); r.Copied != 1 {
				t.Errorf("forward again: %+v, want what came after the rollback alone", r)
			}
			b.idle(providers.AfterFlip)
			if r := b.pass(providers.CarryBack); r.Copied != 1 {
				t.Errorf("back again: %+v, want the late one alone", r)
			}
			b.idle(providers.AfterFlip)
			b.idle(providers.CarryBack)
			holds(t, "the source", src, append(all, "INBOX after the rollback", "INBOX late")...)
			holds(t, "the target", dst, "INBOX old at the target", "INBOX one", "INBOX twin", "INBOX twin", "Verschickt four", "B/A five", "INBOX straggler",
				"INBOX new", "INBOX twin", "Verschickt answer", "Project/X plan", "Project/X two", "B/A six", "INBOX after the rollback", "INBOX late")
		})
	}
}

// TestCarriesBackAcrossNewUIDs gives the target's folder another UIDVALIDITY between the two directions.
func TestCarriesBackAcrossNewUIDs(t *testing.T) {
	src, dst := dovecots(t)
	first := []imaptest.GeneratedMail{mail("A", "one"), mail("A", "twin"), mail("A", "twin")}
	src.fill(t, first)
	b := newBench(t, src, dst, t.TempDir(), nil)
	b.pass(providers.BeforeFlip)
	replace(t, dst, "A", append([]imaptest.GeneratedMail{mail("A", "new")}, first...))
	if r := b.pass(providers.CarryBack); r.Copied != 1 {
		t.Errorf("%+v, want the new one alone", r)
	}
	holds(t, "the source", src, "A one", "A twin", "A twin", "A new")
	replace(t, src, "A", append([]imaptest.GeneratedMail{mail("A", "new")}, first...))
	b.idle(providers.AfterFlip)
	b.idle(providers.CarryBack)
}

// TestAFolderThatPeopleMadeIsNoBaseline has a straggler reach a folder of the source whose name people
// have given to a folder at the target after the flip: what they had there by then goes back, too.
func TestAFolderThatPeopleMadeIsNoBaseline(t *testing.T) {
	src, dst := memories(t)
	dst.fill(t, []imaptest.GeneratedMail{mail("INBOX", "old at the target")})
	src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one")})
	b := newBench(t, src, dst, t.TempDir(), nil)
	b.pass(providers.BeforeFlip)
	dst.fill(t, []imaptest.GeneratedMail{mail("Project", "theirs")})
	src.fill(t, []imaptest.GeneratedMail{mail("Project", "straggler")})
	b.pass(providers.AfterFlip)
	b.pass(providers.CarryBack)
	b.idle(providers.CarryBack)
	holds(t, "the source", src, "INBOX one", "Project straggler", "Project theirs")
}

// TestDoubtsOfTheOtherDirectionAreSettledFirst kills a pass in each direction when its messages are
// stored and nobody has heard of it.
func TestDoubtsOfTheOtherDirectionAreSettledFirst(t *testing.T) {
	src, dst := dovecots(t)
	src.fill(t, []imaptest.GeneratedMail{mail("INBOX", "one")})
	b := newBench(t, src, dst, t.TempDir(), nil)
	b.die(b.to, dst, providers.BeforeFlip)
	if r := b.pass(providers.CarryBack); r.Copied != 0 {
		t.Errorf("carried back: %+v: what came from the source is no news there", r)
	}
	dst.fill(t, []imaptest.GeneratedMail{mail("INBOX", "new")})
	b.die(b.source, src, providers.CarryBack)
	b.idle(providers.AfterFlip)
	b.pass(providers.CarryBack)
	b.idle(providers.CarryBack)
	holds(t, "the source", src, "INBOX one", "INBOX new")
	holds(t, "the target", dst, "INBOX one", "INBOX new")
}

// die makes a pass that ends, with its process as it were, when messages have been stored at s.
func (b *bench) die(x *end, s server, mode providers.PassMode) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	defer cancel()
	dial := x.dial
	defer func() { x.dial = dial }()
	x.dial = func(ctx context.Context) (session, error) {
		under, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return &cutoff{session: under, after: func(raw string, batch []imap.Message) {
			for _, m := range batch {
				octets, err := io.ReadAll(m.Body)
				if err != nil {
					b.t.Error(err)
				}
				s.fill(b.t, []imaptest.GeneratedMail{{Folder: raw, Octets: octets, Flags: m.Flags, Date: m.InternalDate}})
			}
			cancel()
		}}, nil
	}
	if _, err := b.engine.pass(ctx, providers.PassSpec{Mailbox: b.mailbox, Mode: mode}, b.source, b.to); err == nil {
		b.t.Fatal("the pass came to its end")
	}
}

// TestKilledOnTheWayBack kills a process that carries mail back, with SIGKILL and at random, with
// mail coming to both sides meanwhile.
func TestKilledOnTheWayBack(t *testing.T) {
	t.Parallel()
	kills := 6
	if testing.Short() {
		kills = 3
	}
	src, dst := dovecots(t)
	state := t.TempDir()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	src.fill(t, imaptest.Generate(seed, 200))
	b := newBench(t, src, dst, state, nil)
	b.pass(providers.BeforeFlip)
	dst.fill(t, imaptest.Generate(seed+1, 300))
	run := func(mode providers.PassMode, limit time.Duration) (finished bool) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childSource+"="+src.address, childTarget+"="+dst.address, childState+"="+state, childMode+"="+string(mode))
		cmd.SysProcAttr = withParent()
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
		defer timer.Stop()
		err := cmd.Wait()
		if cmd.ProcessState.Exited() && err != nil {
			t.Fatalf("the pass failed by itself: %v", err)
		}
		return err == nil
	}
	for killed, n := 0, uint64(2); killed < kills; n++ {
		mode := []providers.PassMode{providers.CarryBack, providers.CarryBack, providers.AfterFlip}[random.IntN(3)]
		if !run(mode, time.Duration(20+random.IntN(600))*time.Millisecond) {
			killed++
			continue
		}
		src.fill(t, imaptest.Generate(seed+2*n, 40))
		dst.fill(t, imaptest.Generate(seed+2*n+1, 40))
	}
	for _, mode := range []providers.PassMode{providers.CarryBack, providers.AfterFlip} {
		if !run(mode, time.Minute) {
			t.Fatalf("the last pass %s did not finish", mode)
		}
	}
	b.equal()
	b.idle(providers.CarryBack)
	b.idle(providers.AfterFlip)
}

// TestFoldersGoBackToWhereTheyCameFrom inverts a mapping.
func TestFoldersGoBackToWhereTheyCameFrom(t *testing.T) {
	entries := func(names ...string) (list []imap.ListEntry) {
		for _, n := range names {
			list = append(list, imap.ListEntry{Raw: n, Name: n, Selectable: true})
		}
		return list
	}
	source := entries("INBOX", "Gesendete Objekte", "A", "A/B", "Spam")
	target := entries("INBOX", "Sent Items", "X", "X/B", "New")
	rules, err := inverse(source, target, plan.FolderRules{Map: map[string]string{"Gesendete Objekte": "Sent Items", "A": "X"}, Exclude: []string{"Spam"}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"INBOX": "INBOX", "Sent Items": "Gesendete Objekte", "X": "A", "X/B": "A/B"}
	if fmt.Sprint(rules.Map) != fmt.Sprint(want) || len(rules.Exclude) > 0 {
		t.Errorf("%v, want %v", rules, want)
	}
}
